//! Compression of names in a reply (RFC 1035 §4.1.4), as hickory does it: a reply is the same bytes, whichever of the
//! two ways wrote it.
//!
//! Each name that is written leaves the places of its labels behind, and a later one points to the first place from
//! which on the same labels follow, in the same letter case.

use super::writer::NotHere;

/// Places that are remembered; hickory remembers as many.
const MAX_PLACES: usize = 64;

/// Names that are compressed in one reply; hickory compresses as many.
const MAX_NAMES: usize = 120;

/// The first place that no pointer reaches: it has 14 bits.
const UNREACHABLE: usize = 0x3fff;

/// The two bits that make a pointer of a length.
pub(super) const POINTER: u16 = 0xc000;

/// Longest name on the wire (RFC 1035 §2.3.4).
pub(super) const MAX_NAME: usize = 255;

/// Where in a message labels begin.
pub struct Names {
    /// The places, in the order in which they were written.
    places: [u16; MAX_PLACES],
    /// How many of them count.
    len: usize,
    /// Names that were compressed.
    compressed: usize,
}

/// A name on the wire without its root.
pub struct Name {
    /// Its labels, each with its length before it.
    bytes: [u8; MAX_NAME],
    /// How many of them count.
    len: usize,
}

impl Name {
    /// Labels, and a zone on the wire with its root; `None` if that is too long for a name.
    pub fn new(labels: impl FnOnce(&mut dyn FnMut(&[u8])), zone: &[u8]) -> Option<Self> {
        let mut name = Self { bytes: [0; MAX_NAME], len: 0 };
        let mut fits = true;
        labels(&mut |label: &[u8]| {
            // A label of more than 63 bytes has no length byte.
            let length = u8::try_from(label.len()).ok().filter(|length| *length <= 63);
            fits &= length.is_some_and(|length| name.push(&[length]) && name.push(label));
        });
        let zone = zone.strip_suffix(&[0])?;
        // The root has its place, too.
        (fits && name.push(zone) && name.len < MAX_NAME).then_some(name)
    }

    fn push(&mut self, bytes: &[u8]) -> bool {
        let Some(place) = self.bytes.get_mut(self.len..self.len + bytes.len()) else { return false };
        place.copy_from_slice(bytes);
        self.len += bytes.len();
        true
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// How long it is when it is written in full.
    pub const fn wire_len(&self) -> usize {
        self.len + 1
    }
}

impl Names {
    /// Those of a message whose question's name stands in full at `at`.
    pub fn new(message: &[u8], mut at: usize) -> Self {
        let mut names = Self { places: [0; MAX_PLACES], len: 0, compressed: 0 };
        while let Some(length @ 1..=63) = message.get(at) {
            names.remember(at, at);
            at += 1 + usize::from(*length);
        }
        names
    }

    /// Appends a name to the message that ends at `len`, in full, as RFC 2782 has it for targets of SRV records.
    pub fn write_whole(&mut self, message: &mut [u8], len: &mut usize, name: &Name) -> Result<(), NotHere> {
        let start = *len;
        append(message, len, name.as_bytes())?;
        for label in starts(name.as_bytes()) {
            self.remember(start + label, *len);
        }
        append(message, len, &[0])
    }

    /// Appends a name, and a pointer instead of what stands there already.
    pub fn write(&mut self, message: &mut [u8], len: &mut usize, name: &Name) -> Result<(), NotHere> {
        if self.compressed >= MAX_NAMES {
            return self.write_whole(message, len, name);
        }
        self.compressed += 1;
        let (start, bytes) = (*len, name.as_bytes());
        // hickory writes it in full first, and goes by where that ends.
        let end = start + bytes.len();
        for label in starts(bytes) {
            let rest = bytes.get(label..).unwrap_or_default();
            if let Some(place) = self.find(message.get(..start).unwrap_or_default(), rest) {
                append(message, len, bytes.get(..label).unwrap_or_default())?;
                return append(message, len, &(POINTER | place).to_be_bytes());
            }
            self.remember(start + label, end);
        }
        append(message, len, bytes)?;
        append(message, len, &[0])
    }

    /// Remembers a place while the message ends at `end`.
    fn remember(&mut self, place: usize, end: usize) {
        if end < UNREACHABLE
            && let Some(slot) = self.places.get_mut(self.len)
        {
            // Below 2^14.
            *slot = place as u16;
            self.len += 1;
        }
    }

    /// The first place of these labels.
    fn find(&self, message: &[u8], labels: &[u8]) -> Option<u16> {
        let places = self.places.get(..self.len).unwrap_or_default();
        places.iter().copied().find(|place| stands_at(message, usize::from(*place), labels))
    }
}

/// Whether exactly these labels stand in the message at `at`, pointers followed.
fn stands_at(message: &[u8], mut at: usize, mut labels: &[u8]) -> bool {
    loop {
        match message.get(at) {
            Some(0) => return labels.is_empty(),
            Some(length @ 1..=63) => {
                let whole = message.get(at..at + 1 + usize::from(*length)).unwrap_or_default();
                let Some(rest) = labels.strip_prefix(whole).filter(|_| !whole.is_empty()) else {
                    return false;
                };
                labels = rest;
                at += whole.len();
            }
            Some(high @ 0xc0..) => {
                let Some(low) = message.get(at + 1) else { return false };
                let to = usize::from(u16::from_be_bytes([*high, *low]) & !POINTER);
                // Pointers lead backwards, so that there is an end.
                if to >= at {
                    return false;
                }
                at = to;
            }
            _ => return false,
        }
    }
}

/// Where the labels of a name begin in it.
fn starts(name: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at;
        at += 1 + usize::from(*name.get(start)?);
        Some(start)
    })
}

/// Appends bytes to a message that ends at `len`.
pub(super) fn append(message: &mut [u8], len: &mut usize, bytes: &[u8]) -> Result<(), NotHere> {
    message.get_mut(*len..*len + bytes.len()).ok_or(NotHere)?.copy_from_slice(bytes);
    *len += bytes.len();
    Ok(())
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr;
    use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};
    use proptest::prelude::*;

    use super::*;

    /// The names one after the other, by hickory; `!` before one has it written in full.
    fn theirs(names: &[String]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = BinEncoder::new(&mut bytes);
        for name in names {
            let (whole, name) = name.strip_prefix('!').map_or((false, name.as_str()), |name| (true, name));
            let encoding = if whole { NameEncoding::Uncompressed } else { NameEncoding::Compressed };
            encoder.set_name_encoding(encoding);
            rr::Name::from_ascii(name).unwrap().emit(&mut encoder).unwrap();
        }
        bytes
    }

    /// The same by this.
    fn ours(names: &[String]) -> Vec<u8> {
        let mut message = vec![0; 20_000];
        let mut len = 0;
        let mut known = Names::new(&[], 0);
        for name in names {
            let (whole, text) = name.strip_prefix('!').map_or((false, name.as_str()), |name| (true, name));
            let name = Name::new(
                |each| text.split('.').filter(|l| !l.is_empty()).for_each(|l| each(l.as_bytes())),
                &[0],
            );
            let name = name.unwrap();
            if whole {
                known.write_whole(&mut message, &mut len, &name).unwrap();
            } else {
                known.write(&mut message, &mut len, &name).unwrap();
            }
        }
        message.truncate(len);
        message
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn names_are_compressed_as_hickory_does_it() {
        for text in [
            "a.b.c. a.b.c.",
            "a.b.c. x.b.c. x.b.c. y.x.b.c.",
            "a.b.c. A.b.c. a.B.c.",
            "!a.b.c. !a.b.c. a.b.c. b.c. c.",
            "a.b.c. b. c. a.b. c.b.a.",
            "svc. a.svc. !b.svc. b.svc. c.b.svc.",
        ] {
            assert_eq!(ours(&words(text)), theirs(&words(text)), "{text}");
        }
    }

    #[test]
    fn more_names_than_are_remembered_are_still_the_same() {
        let many = |prefix: &str| -> Vec<String> {
            (0..200).map(|i| format!("{prefix}h{i}.x{}.zone.", i % 7)).collect()
        };
        assert_eq!(ours(&many("")), theirs(&many("")));
        assert_eq!(ours(&many("!")), theirs(&many("!")));
    }

    #[test]
    fn names_have_a_length() {
        let label = [b'x'; 63];
        let name =
            |labels: &[&[u8]], zone: &[u8]| Name::new(|each| labels.iter().for_each(|l| each(l)), zone);
        assert_eq!(name(&[b"a", b"bc"], b"\x01z\0").unwrap().as_bytes(), b"\x01a\x02bc\x01z");
        // 3 × 64 and 62, and the root: 255.
        assert_eq!(name(&[&label, &label, &label, &label[..61]], b"\0").unwrap().wire_len(), 255);
        assert!(name(&[&label, &label, &label, &label[..62]], b"\0").is_none());
        assert!(name(&[&label, &label, &label, &label[..59]], b"\x01z\0").is_some());
        assert!(name(&[&label, &label, &label, &label[..60]], b"\x01z\0").is_none());
        assert!(name(&[&[b'x'; 64]], b"\0").is_none());
    }

    proptest! {
        #[test]
        fn any_names_are_compressed_as_hickory_does_it(
            names in proptest::collection::vec("!?([abA]\\.){1,5}", 1..40)
        ) {
            prop_assert_eq!(ours(&names), theirs(&names));
        }
    }
}
