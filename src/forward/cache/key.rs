//! What a reply is kept under.

use std::fmt;

/// Longest name on the wire (RFC 1035 §2.3.4).
const MAX_NAME: usize = 255;

/// Type and class, two bytes each, and one of flags.
const TAIL: usize = 5;

/// The flag of a question whose sender wants DNSSEC records (RFC 3225).
const DNSSEC_OK: u8 = 1;

/// The flag of a question whose sender does not want them checked (RFC 4035 §3.2.2).
const CHECKING_DISABLED: u8 = 2;

/// A question: name in lower case, type, class, DO and CD. Held in place: making one allocates nothing.
///
/// What else a query says (RD, its transport, who sent it) has no part in the answer.
#[derive(Clone)]
pub struct Key {
    /// The name on the wire, then the tail.
    bytes: [u8; MAX_NAME + TAIL],
    /// How many of them count.
    len: u16,
}

/// The parts of a [`Key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<'a> {
    /// The name on the wire, in any letter case.
    pub name: &'a [u8],
    /// Type.
    pub kind: u16,
    /// Class.
    pub class: u16,
    /// DO
    pub dnssec_ok: bool,
    /// CD
    pub checking_disabled: bool,
}

impl Key {
    /// The key of a question; `None` if its name is longer than a name can be, or has no end.
    pub fn new(question: &Question<'_>) -> Option<Self> {
        let len = question.name.len();
        if len > MAX_NAME || question.name.last() != Some(&0) {
            return None;
        }
        let mut bytes = [0; MAX_NAME + TAIL];
        bytes[..len].copy_from_slice(question.name);
        // Length bytes are at most 63, below every letter.
        bytes[..len].make_ascii_lowercase();
        bytes[len..len + 2].copy_from_slice(&question.kind.to_be_bytes());
        bytes[len + 2..len + 4].copy_from_slice(&question.class.to_be_bytes());
        if question.dnssec_ok {
            bytes[len + 4] |= DNSSEC_OK;
        }
        if question.checking_disabled {
            bytes[len + 4] |= CHECKING_DISABLED;
        }
        // At most 260.
        Some(Self { bytes, len: (len + TAIL) as u16 })
    }

    /// Something to hash and compare.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.as_bytes().escape_ascii())
    }
}

/// The question that [`Key::as_bytes`] stand for; `None` if they are not of a key.
pub fn question(bytes: &[u8]) -> Option<Question<'_>> {
    let (name, tail) = bytes.split_at_checked(bytes.len().checked_sub(TAIL)?)?;
    let &[kind_high, kind_low, class_high, class_low, flags] = tail else { return None };
    Some(Question {
        name,
        kind: u16::from_be_bytes([kind_high, kind_low]),
        class: u16::from_be_bytes([class_high, class_low]),
        dnssec_ok: flags & DNSSEC_OK != 0,
        checking_disabled: flags & CHECKING_DISABLED != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Question<'_> =
        Question { name: b"\x03www\x02ex\0", kind: 1, class: 1, dnssec_ok: false, checking_disabled: false };

    #[test]
    fn everything_but_letter_case_makes_another_key() {
        let key = |question| Key::new(&question).unwrap();
        let plain = key(PLAIN);
        assert_eq!(key(Question { name: b"\x03WwW\x02EX\0", ..PLAIN }), plain);
        for other in [
            Question { name: b"\x03wwx\x02ex\0", ..PLAIN },
            Question { name: b"\x02ex\0", ..PLAIN },
            Question { kind: 28, ..PLAIN },
            Question { class: 3, ..PLAIN },
            Question { dnssec_ok: true, ..PLAIN },
            Question { checking_disabled: true, ..PLAIN },
        ] {
            assert_ne!(key(other), plain, "{other:?}");
        }
    }

    #[test]
    fn a_key_can_be_read_back() {
        for asked in [
            PLAIN,
            Question { name: b"\0", kind: 65535, class: 255, ..PLAIN },
            Question { dnssec_ok: true, checking_disabled: true, ..PLAIN },
        ] {
            assert_eq!(question(Key::new(&asked).unwrap().as_bytes()), Some(asked));
        }
        assert_eq!(question(b"\0\x01"), None);
    }

    #[test]
    fn what_is_no_name_has_no_key() {
        let long = [&[b'a'; 255][..], &[0]].concat();
        for name in [&b""[..], b"\x03www", &long] {
            assert_eq!(Key::new(&Question { name, ..PLAIN }), None);
        }
    }
}
