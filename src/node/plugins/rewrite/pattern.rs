//! Which names a rule is for, and what becomes of them. Names are in presentation form: absolute, in lower case.

use regex::{Captures, Regex};

use super::NAME;
use crate::corefile::{Error, Token};
use crate::node::plugins::regexp;

/// What a name is compared with.
#[derive(Clone, Debug)]
pub(super) enum Pattern {
    /// The whole name.
    Exact(String),
    /// The name's beginning. It ends with a dot, and so at the end of a label, as CoreDNS has it.
    Prefix(String),
    /// The name's end, which need not be where a label begins.
    Suffix(String),
    /// Any part of the name; ends with a dot, too.
    Substring(String),
    /// The name somewhere.
    Regex(Regex),
}

/// The words for them.
const KINDS: &str = "exact, prefix, suffix, substring, regex";

impl Pattern {
    /// Reads the word for the kind of match, and what is to match.
    pub(super) fn read(kind: &Token, from: &Token) -> Result<Self, Error> {
        Ok(match kind.text.to_ascii_lowercase().as_str() {
            "exact" => Self::exact(from),
            "prefix" => Self::Prefix(absolute(&from.text)),
            "suffix" => Self::Suffix(absolute(&from.text)),
            "substring" => Self::Substring(absolute(&from.text)),
            "regex" => Self::Regex(regexp::compile(NAME, from)?),
            _ => {
                return Err(kind.error(format!(
                    "plugin/rewrite: '{}' is no way to match a name: write one of {KINDS}",
                    kind.text
                )));
            }
        })
    }

    /// The whole name.
    pub(super) fn exact(from: &Token) -> Self {
        Self::Exact(absolute(&from.text))
    }

    /// Whether `name` matches.
    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(from) => name == from,
            Self::Prefix(from) => name.starts_with(from),
            Self::Suffix(from) => name.ends_with(from),
            Self::Substring(from) => name.contains(from),
            Self::Regex(from) => from.is_match(name),
        }
    }

    /// What `to` makes of `name`, or `None` where it does not match. Only the part that matches is replaced, but
    /// an expression replaces the whole name.
    pub(super) fn replace(&self, name: &str, to: &str) -> Option<String> {
        match self {
            Self::Exact(from) => (name == from).then(|| to.to_owned()),
            Self::Prefix(from) => name.strip_prefix(from.as_str()).map(|rest| format!("{to}{rest}")),
            Self::Suffix(from) => name.strip_suffix(from.as_str()).map(|rest| format!("{rest}{to}")),
            Self::Substring(from) => name.contains(from).then(|| name.replace(from, to)),
            Self::Regex(from) => from.captures(name).map(|groups| expand(to, &groups)),
        }
    }

    /// Reads what names are to become.
    pub(super) fn replacement(&self, to: &Token) -> Result<String, Error> {
        if let Self::Regex(from) = self {
            let groups = from.captures_len();
            if let Some(missing) = placeholders(&to.text).find(|(_, group)| *group >= groups) {
                return Err(to.error(format!(
                    "plugin/rewrite: '{}' uses group {}, but '{from}' has {} groups",
                    to.text,
                    missing.1,
                    groups - 1
                )));
            }
        }
        Ok(absolute(&to.text))
    }
}

/// In lower case, with a final dot.
pub(super) fn absolute(text: &str) -> String {
    let mut name = text.to_ascii_lowercase();
    if !name.ends_with('.') {
        name.push('.');
    }
    name
}

/// Where `{0}`, `{1}`, … are in `text`, and which groups they mean.
fn placeholders(text: &str) -> impl Iterator<Item = (std::ops::Range<usize>, usize)> {
    text.match_indices('{').filter_map(|(start, _)| {
        let digits = text[start + 1..].find('}').map(|len| &text[start + 1..start + 1 + len])?;
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let group = plain.then(|| digits.parse().ok()).flatten()?;
        Some((start..start + digits.len() + 2, group))
    })
}

/// `to` with the groups in place.
fn expand(to: &str, groups: &Captures<'_>) -> String {
    let mut expanded = String::new();
    let mut done = 0;
    for (place, group) in placeholders(to) {
        expanded.push_str(&to[done..place.start]);
        expanded.push_str(groups.get(group).map_or("", |m| m.as_str()));
        done = place.end;
    }
    expanded.push_str(&to[done..]);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corefile::Position;

    fn word(text: &str) -> Token {
        Token { text: text.to_owned(), quoted: false, position: Position::of_file("Corefile") }
    }

    #[test]
    fn each_kind_replaces_what_it_matches() {
        struct Case {
            name: &'static str,
            kind: &'static str,
            from: &'static str,
            to: &'static str,
            given: &'static str,
            want: Option<&'static str>,
        }
        for Case { name, kind, from, to, given, want } in [
            Case { name: "exact", kind: "exact", from: "A.b", to: "X.y", given: "a.b.", want: Some("x.y.") },
            Case { name: "not quite", kind: "exact", from: "a.b", to: "x", given: "c.a.b.", want: None },
            Case { name: "prefix", kind: "prefix", from: "a", to: "x", given: "a.b.", want: Some("x.b.") },
            Case {
                name: "a prefix is whole labels",
                kind: "prefix",
                from: "a",
                to: "x",
                given: "ab.c.",
                want: None,
            },
            Case {
                name: "suffix",
                kind: "Suffix",
                from: ".b.c",
                to: ".y",
                given: "a.b.c.",
                want: Some("a.y."),
            },
            Case {
                name: "suffix within a label",
                kind: "suffix",
                from: "b",
                to: "y",
                given: "ab.",
                want: Some("ay."),
            },
            Case {
                name: "substring",
                kind: "substring",
                from: "b.c",
                to: "y",
                given: "a.b.c.d.",
                want: Some("a.y.d."),
            },
            Case { name: "twice", kind: "substring", from: "b", to: "y", given: "b.b.", want: Some("y.y.") },
            Case {
                name: "regex",
                kind: "regex",
                from: r"(.*)-(b)\.c",
                to: "{1}.X.{2}",
                given: "a-b.c.d.",
                want: Some("a.x.b."),
            },
            Case {
                name: "regex, whole match",
                kind: "regex",
                from: "b",
                to: "{0}{0}",
                given: "abc.",
                want: Some("bb."),
            },
            Case {
                name: "regex, group without match",
                kind: "regex",
                from: "^a(x)?",
                to: "b{1}c",
                given: "a.",
                want: Some("bc."),
            },
            Case {
                name: "regex, no group",
                kind: "regex",
                from: "a",
                to: "{x}{",
                given: "a.",
                want: Some("{x}{."),
            },
        ] {
            let pattern = Pattern::read(&word(kind), &word(from)).unwrap();
            let to = pattern.replacement(&word(to)).unwrap();
            assert_eq!(pattern.replace(given, &to).as_deref(), want, "{name}");
            assert_eq!(pattern.matches(given), want.is_some(), "{name}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = Pattern::read(&word("glob"), &word("a")).unwrap_err();
        assert!(error.message().contains("write one of exact, prefix"), "{error}");
        let pattern = Pattern::read(&word("regex"), &word("(a)")).unwrap();
        let error = pattern.replacement(&word("{2}")).unwrap_err();
        assert!(error.message().contains("uses group 2, but '(a)' has 1 groups"), "{error}");
    }
}
