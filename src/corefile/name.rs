//! Zone names as people write them: checked, lower-cased, absolute.

/// The longest label, in bytes (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;

/// The longest name on the wire, with its length bytes and the root's (RFC 1035 §2.3.4).
const MAX_NAME: usize = 255;

/// Characters that a name may carry by protocol and that in a Corefile only ever are a slip.
const SUSPECT: &[char] = &['#', ',', ';', ':', '{', '}', '(', ')', '"', '\'', '='];

/// Makes `text` lower-case and absolute, with a final dot; `.` is the root. The error says what is wrong and
/// what would be right.
///
/// Escapes (`\.`, `\032`) count as the one byte they stand for and stay as they are written.
pub(super) fn normalize(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("zone is missing: write a domain name, or '.' for the root zone".to_owned());
    }
    if text == "." {
        return Ok(text.to_owned());
    }
    if !text.is_ascii() {
        return Err(invalid(text, "write letters beyond ASCII in punycode (xn--…)"));
    }
    if text.contains(|c: char| c.is_ascii_control() || c == ' ') {
        return Err(invalid(text, "it contains white space"));
    }
    if let Some(c) = text.chars().find(|c| SUSPECT.contains(c)) {
        return Err(invalid(text, &format!("'{c}' has no place in it")));
    }
    let labels = label_lengths(text)
        .ok_or_else(|| invalid(text, "an escape is \\DDD or a backslash and a character"))?;
    if labels.contains(&0) {
        return Err(invalid(text, "it has an empty label"));
    }
    if let Some(length) = labels.iter().find(|length| **length > MAX_LABEL) {
        return Err(invalid(text, &format!("a label is too long: {length} > {MAX_LABEL}")));
    }
    let wire = labels.iter().map(|length| length + 1).sum::<usize>() + 1;
    if wire > MAX_NAME {
        return Err(format!("specified zone is too long: {wire} > {MAX_NAME}"));
    }
    let mut name = text.to_ascii_lowercase();
    // `\.` at the end is part of the last label, which the count above has seen.
    if !ends_with_dot(text) {
        name.push('.');
    }
    Ok(name)
}

/// The message for a name that is none.
fn invalid(text: &str, why: &str) -> String {
    format!("zone is not a valid domain name: '{text}' ({why})")
}

/// Whether the name's last character is a dot that separates labels.
fn ends_with_dot(text: &str) -> bool {
    text.strip_suffix('.').is_some_and(|rest| {
        let backslashes = rest.bytes().rev().take_while(|b| *b == b'\\').count();
        backslashes % 2 == 0
    })
}

/// The length of each label on the wire, without the root's; `None` if an escape is malformed.
fn label_lengths(text: &str) -> Option<Vec<usize>> {
    let mut lengths = vec![0];
    let mut bytes = text.bytes().peekable();
    while let Some(b) = bytes.next() {
        match b {
            b'.' if bytes.peek().is_none() => break,
            b'.' => lengths.push(0),
            b'\\' => {
                let escaped = bytes.next()?;
                if escaped.is_ascii_digit() {
                    let digits = [escaped, bytes.next()?, bytes.next()?];
                    std::str::from_utf8(&digits).ok()?.parse::<u8>().ok()?;
                }
                *lengths.last_mut()? += 1;
            }
            _ => *lengths.last_mut()? += 1,
        }
    }
    Some(lengths)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 3 × 64 bytes on the wire, then `last` + 1, then the root's byte.
    fn name_of_four_labels(last: usize) -> String {
        let label = "a".repeat(63);
        format!("{label}.{label}.{label}.{}", "b".repeat(last))
    }

    #[test]
    fn accepted() {
        let long_label = "a".repeat(63);
        let long_name = name_of_four_labels(61);
        for (text, want) in [
            (".", ".".to_owned()),
            ("Example.ORG", "example.org.".to_owned()),
            ("example.org.", "example.org.".to_owned()),
            ("_tcp.svc", "_tcp.svc.".to_owned()),
            ("*.example", "*.example.".to_owned()),
            ("0/25.2.0.192.in-addr.arpa", "0/25.2.0.192.in-addr.arpa.".to_owned()),
            (r"a\.b.c", r"a\.b.c.".to_owned()),
            (r"a\046.", r"a\046.".to_owned()),
            (r"a\.", r"a\..".to_owned()),
            (long_label.as_str(), format!("{long_label}.")),
            (long_name.as_str(), format!("{long_name}.")),
        ] {
            assert_eq!(normalize(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn refused() {
        let long_label = "a".repeat(64);
        let long_name = name_of_four_labels(62);
        for (text, why) in [
            ("", "zone is missing"),
            ("..", "empty label"),
            ("a..b", "empty label"),
            (".a", "empty label"),
            ("a b", "white space"),
            ("münchen.example", "punycode"),
            ("a,b", "','"),
            ("a#b", "'#'"),
            ("{}", "'{'"),
            (r"a\", "escape"),
            (r"a\25", "escape"),
            (r"a\256", "escape"),
            (long_label.as_str(), "a label is too long: 64 > 63"),
            (long_name.as_str(), "specified zone is too long: 256 > 255"),
        ] {
            let error = normalize(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
