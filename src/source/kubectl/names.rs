//! Which texts can be names: the rules by which the API server admits them.
//!
//! A text that these refuse could not be written into a DNS message as one name, or would be two.

/// Longest DNS label in bytes (RFC 1035 §2.3.4).
pub(super) const MAX_LABEL: usize = 63;

/// Longest DNS name as text without its final dot (RFC 1035 §2.3.4: 255 bytes on the wire).
pub(super) const MAX_NAME: usize = 253;

/// What [`is_label`] takes, for people.
pub(super) const LABEL_RULE: &str = "1 to 63 lower-case letters, digits and '-'";

/// What [`is_subdomain`] takes, for people.
pub(super) const SUBDOMAIN_RULE: &str =
    "at most 253 characters, labels of lower-case letters, digits and '-' between dots";

/// An RFC 1123 label in lower case: the name of a namespace or service, a host name.
pub(super) fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=MAX_LABEL).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// An RFC 1123 subdomain in lower case: the name of a pod or slice.
pub(super) fn is_subdomain(text: &str) -> bool {
    text.len() <= MAX_NAME && text.split('.').all(is_label)
}

/// Any host name that DNS can carry, with or without a final dot: what an ExternalName may point at outside
/// of the cluster, where capitals and underscores do occur.
pub(super) fn is_target(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    text.len() <= MAX_NAME
        && text.split('.').all(|label| {
            (1..=MAX_LABEL).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

/// The name of a port, which is only ever compared, without regard to case.
pub(super) fn is_port_name(text: &str) -> bool {
    text.len() <= MAX_LABEL && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// A text in quotes for a message, cut where nobody would read on.
pub(super) fn quote(text: &str) -> String {
    const SHOWN: usize = 64;
    match text.char_indices().nth(SHOWN) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}… ({} bytes)", &text[..end], text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_as_the_api_server_does() {
        let (l63, l64) = ("a".repeat(63), "a".repeat(64));
        let n253 = format!("{l63}.{l63}.{l63}.{}", "a".repeat(61));
        let n254 = format!("{l63}.{l63}.{l63}.{}", "a".repeat(62));
        // text, label, subdomain, target
        let cases = [
            ("web", true, true, true),
            ("0-a", true, true, true),
            ("", false, false, false),
            (".", false, false, false),
            ("-a", false, false, true),
            ("a-", false, false, true),
            ("Web", false, false, true),
            ("a_b", false, false, true),
            ("a.b", false, true, true),
            ("a..b", false, false, false),
            ("a.b.", false, false, true),
            ("a b", false, false, false),
            ("ä", false, false, false),
            ("a\0", false, false, false),
            (&l63, true, true, true),
            (&l64, false, false, false),
            (&n253, false, true, true),
            (&n254, false, false, false),
        ];
        for (text, label, subdomain, target) in cases {
            assert_eq!(is_label(text), label, "label {text:?}");
            assert_eq!(is_subdomain(text), subdomain, "subdomain {text:?}");
            assert_eq!(is_target(text), target, "target {text:?}");
        }
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        assert_eq!(quote("a\n"), "\"a\\n\"");
        let long = quote(&"ä".repeat(1000));
        assert!(long.ends_with("… (2000 bytes)") && long.len() < 200, "{long}");
    }
}
