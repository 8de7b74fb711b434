//! What the files of a snapshot folder are called. A name that is none of these is somebody else's file and is
//! never touched.

/// Digits of a generation: as many as the largest number has, so that names sort as numbers do.
const DIGITS: usize = 20;

/// Hexadecimal digits that make a temporary name unique.
const NONCE_DIGITS: usize = 16;

/// What a file in the folder is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// A complete generation.
    Generation(u64),
    /// A generation that was renamed aside.
    Rejected(u64),
    /// A file that was being written; of use to its writer only.
    Temporary,
    /// None of ours.
    Foreign,
}

impl Name {
    pub(super) fn parse(name: &str) -> Self {
        if let Some(rest) = name.strip_suffix(".tmp") {
            return match rest.rsplit_once('.') {
                Some((_, nonce)) if nonce.len() == NONCE_DIGITS && is_all(nonce, u8::is_ascii_hexdigit) => {
                    Self::Temporary
                }
                _ => Self::Foreign,
            };
        }
        let Some((digits, rest)) = name.strip_prefix("gen-").and_then(|n| n.split_at_checked(DIGITS)) else {
            return Self::Foreign;
        };
        match (digits.parse(), rest) {
            _ if !is_all(digits, u8::is_ascii_digit) => Self::Foreign,
            (Ok(number), ".snap") => Self::Generation(number),
            (Ok(number), rest) if rest.starts_with(".snap.rejected-") => Self::Rejected(number),
            _ => Self::Foreign,
        }
    }
}

fn is_all(text: &str, is: fn(&u8) -> bool) -> bool {
    text.bytes().all(|b| is(&b))
}

/// The file name of a generation.
pub(super) fn generation(number: u64) -> String {
    format!("gen-{number:0width$}.snap", width = DIGITS)
}

/// The file name of a generation that was renamed aside.
pub(super) fn rejected(number: u64, slug: &str) -> String {
    format!("{}.rejected-{slug}", generation(number))
}

/// A temporary name for what will be called `name`.
pub(super) fn temporary(name: &str) -> String {
    format!("{name}.{:0width$x}.tmp", rand::random::<u64>(), width = NONCE_DIGITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let cases = [
            ("gen-00000000000000000012.snap", Name::Generation(12)),
            ("gen-18446744073709551615.snap", Name::Generation(u64::MAX)),
            ("gen-18446744073709551616.snap", Name::Foreign),
            ("gen-12.snap", Name::Foreign),
            ("gen-+0000000000000000012.snap", Name::Foreign),
            ("gen-0000000000000000001é.snap", Name::Foreign),
            ("gen-00000000000000000012.snap.old", Name::Foreign),
            ("gen-00000000000000000012.snap.rejected-zone", Name::Rejected(12)),
            ("gen-00000000000000000012.snap.0123456789abcdef.tmp", Name::Temporary),
            ("notes.tmp", Name::Foreign),
            ("notes.of-16-characters.tmp", Name::Foreign),
            ("", Name::Foreign),
        ];
        for (name, expected) in cases {
            assert_eq!(Name::parse(name), expected, "{name}");
        }
    }

    #[test]
    fn what_is_made_is_recognised() {
        assert_eq!(Name::parse(&generation(7)), Name::Generation(7));
        assert_eq!(Name::parse(&rejected(7, "checksum")), Name::Rejected(7));
        assert_eq!(Name::parse(&temporary(&generation(7))), Name::Temporary);
        assert_eq!(Name::parse(&temporary("probe")), Name::Temporary);
    }
}
