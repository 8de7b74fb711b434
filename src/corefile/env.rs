//! Environment variables inside words.

/// The two ways to write a variable.
const STYLES: [(&str, &str); 2] = [("{$", "}"), ("{%", "%}")];

/// Replaces every `{$NAME}` and `{%NAME%}` in `text` by what `lookup` gives, or by nothing if it is unset.
///
/// A value is taken as it is: what it contains is not expanded again, so that a variable can neither loop nor
/// bring in another. A placeholder without a name or without an end stays as it is.
pub(super) fn expand(text: String, lookup: &dyn Fn(&str) -> Option<String>) -> String {
    if !STYLES.iter().any(|(open, _)| text.contains(open)) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find('{') {
        let (before, candidate) = rest.split_at(at);
        out.push_str(before);
        match placeholder(candidate) {
            Some((name, after)) => {
                out.push_str(&lookup(name).unwrap_or_default());
                rest = after;
            }
            None => {
                out.push('{');
                rest = &candidate[1..];
            }
        }
    }
    out + rest
}

/// The name of the placeholder that `text` begins with, and what follows it.
fn placeholder(text: &str) -> Option<(&str, &str)> {
    STYLES
        .iter()
        .find_map(|(open, close)| text.strip_prefix(open)?.split_once(close))
        .filter(|(name, _)| !name.is_empty())
}

/// The process's own variables; bytes that are not UTF-8 are replaced.
pub(super) fn process(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expansion() {
        struct Case {
            name: &'static str,
            text: &'static str,
            want: &'static str,
        }
        let lookup = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "B" => Some("two words".to_owned()),
            "C" => Some("{$A}".to_owned()),
            _ => None,
        };
        for c in [
            Case { name: "no placeholder", text: "a{b}$c", want: "a{b}$c" },
            Case { name: "alone", text: "{$A}", want: "1" },
            Case { name: "the other style", text: "{%A%}", want: "1" },
            Case { name: "several", text: "x{$A}-{%B%}.{$A}", want: "x1-two words.1" },
            Case { name: "not set", text: "x{$NONE}y{%NONE%}", want: "xy" },
            Case { name: "a value is not expanded again", text: "{$C}", want: "{$A}" },
            Case { name: "no name", text: "{$}{$A}", want: "{$}1" },
            Case { name: "no end", text: "{$A", want: "{$A" },
            Case { name: "the wrong end", text: "{%A}", want: "{%A}" },
            Case { name: "one inside another is part of the name", text: "{$A{$A}", want: "" },
            Case { name: "a Go template loses its variable", text: "{{$A}}", want: "{1}" },
            Case { name: "a Go template with spaces keeps it", text: "{{ $A }}", want: "{{ $A }}" },
        ] {
            assert_eq!(expand(c.text.to_owned(), &lookup), c.want, "{}", c.name);
        }
    }
}
