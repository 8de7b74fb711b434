//! The few looks a forwarder takes into a message: whose reply it is, whether it is whole, how large a reply
//! its sender takes. No decoding: a forwarded message stays the bytes it was.
//!
//! Every index is checked; no input can make these functions panic or read out of bounds.

/// Length of a message's header (RFC 1035 §4.1.1).
pub(crate) const HEADER: usize = 12;

/// Largest message that any transport of DNS carries: the length before a message on TCP has 16 bits
/// (RFC 1035 §4.2.2).
pub(crate) const MAX_MESSAGE: usize = u16::MAX as usize;

/// Longest name on the wire, length bytes and root label included (RFC 1035 §2.3.4).
const MAX_NAME: usize = 255;

/// Longest label (RFC 1035 §2.3.4). Larger length bytes are compression pointers or undefined.
const MAX_LABEL: u8 = 63;

/// Type number of the OPT pseudo-record (RFC 6891 §6.1.1).
const OPT: u16 = 41;

/// In byte 2 of the header: the message is a response.
const QR: u8 = 0x80;

/// In byte 2 of the header: the message was truncated.
const TC: u8 = 0x02;

/// The one question of a message, borrowed from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    /// The name asked for, on the wire, in the letter case of the message.
    pub(crate) name: &'a [u8],
    /// Type and class, four bytes.
    kind: &'a [u8],
}

impl<'a> Question<'a> {
    /// Reads the question of a message that has exactly one.
    ///
    /// A compressed name counts as unreadable: the first name of a message has nothing to point back to.
    pub(crate) fn read(message: &'a [u8]) -> Option<Self> {
        if u16_at(message, 4)? != 1 {
            return None;
        }
        let rest = message.get(HEADER..)?;
        let mut end = 0;
        loop {
            let length = *rest.get(end)?;
            end += 1 + usize::from(length);
            if length > MAX_LABEL || end > MAX_NAME {
                return None;
            }
            if length == 0 {
                return Some(Self { name: &rest[..end], kind: rest.get(end..end + 4)? });
            }
        }
    }

    /// Whether both ask the same: names in any letter case, type and class.
    pub(crate) fn same(&self, other: &Question<'_>) -> bool {
        // Length bytes are at most 63, below every letter, so a whole name can be compared as text.
        self.kind == other.kind && self.name.eq_ignore_ascii_case(other.name)
    }

    /// Where the question ends in its message.
    pub(crate) const fn end(&self) -> usize {
        HEADER + self.name.len() + self.kind.len()
    }
}

/// The message's id.
pub(crate) fn id(message: &[u8]) -> Option<u16> {
    u16_at(message, 0)
}

/// Writes the message's id; a message too short to have one is left alone.
pub(crate) fn set_id(message: &mut [u8], id: u16) {
    if let Some(field) = message.get_mut(..2) {
        field.copy_from_slice(&id.to_be_bytes());
    }
}

/// Whether the message is a response (QR).
pub(crate) fn is_response(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| flags & QR != 0)
}

/// Whether the message says that it was truncated (TC).
pub(crate) fn is_truncated(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| flags & TC != 0)
}

/// What a walk over a message's records found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// The response code, with the upper eight bits of an OPT record (RFC 6891 §6.1.3).
    pub(crate) rcode: u16,
    /// The UDP payload size of an OPT record.
    pub(crate) payload: Option<u16>,
}

/// Walks all records of a message. `None` if it has no single readable question, or ends before the last
/// record that its header promises. Bytes behind the last record are ignored.
pub(crate) fn summary(message: &[u8]) -> Option<Summary> {
    let records =
        [6, 8, 10].iter().try_fold(0_u32, |sum, &at| Some(sum + u32::from(u16_at(message, at)?)))?;
    let mut summary = Summary { rcode: u16::from(*message.get(3)? & 0x0f), payload: None };
    let mut at = Question::read(message)?.end();
    for _ in 0..records {
        at = skip_name(message, at)?;
        let length = usize::from(u16_at(message, at + 8)?);
        if u16_at(message, at)? == OPT {
            summary.payload = Some(u16_at(message, at + 2)?);
            summary.rcode = summary.rcode & 0x0f | u16::from(*message.get(at + 4)?) << 4;
        }
        at += 10 + length;
        if at > message.len() {
            return None;
        }
    }
    Some(summary)
}

/// How long the name at `at` is in full, pointers followed. `None` if it has no end, or is longer than a name can be.
pub(crate) fn whole_name_len(message: &[u8], mut at: usize) -> Option<usize> {
    let mut len = 0;
    while len < MAX_NAME {
        match *message.get(at)? {
            0 => return Some(len + 1),
            length @ 1..=MAX_LABEL => {
                len += 1 + usize::from(length);
                at += 1 + usize::from(length);
            }
            // Pointers lead backwards (RFC 1035 §4.1.4), so that there is an end.
            0xc0.. => {
                let to = usize::from(u16_at(message, at)? & 0x3fff);
                at = Some(to).filter(|to| *to < at)?;
            }
            _ => return None,
        }
    }
    None
}

/// The labels of the name at `at`, pointers followed: up to the root, or to what is no label.
pub(crate) fn labels(message: &[u8], mut at: usize) -> impl Iterator<Item = &[u8]> {
    let mut len = 0;
    std::iter::from_fn(move || {
        loop {
            match *message.get(at)? {
                length @ 1..=MAX_LABEL => {
                    let label = message.get(at + 1..at + 1 + usize::from(length))?;
                    len += 1 + label.len();
                    at += 1 + label.len();
                    return (len < MAX_NAME).then_some(label);
                }
                0xc0.. => {
                    let to = usize::from(u16_at(message, at)? & 0x3fff);
                    at = Some(to).filter(|to| *to < at)?;
                }
                _ => return None,
            }
        }
    })
}

/// The message's header and question only, and TC set: what is left of a reply that could not be read whole.
/// `None` if there is no single readable question.
pub(crate) fn truncated(message: &[u8]) -> Option<Vec<u8>> {
    let mut cut = message.get(..Question::read(message)?.end())?.to_vec();
    cut[2] |= TC;
    cut[6..HEADER].fill(0);
    Some(cut)
}

pub(crate) fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    let bytes = message.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// Where the name at `at` ends; pointers are not followed, their end is the name's.
pub(crate) fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=MAX_LABEL => at += 1 + usize::from(length),
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `Ab.` IN A, one A record by pointer, one OPT of 1232 bytes with extended rcode 1.
    const REPLY: &[u8] = &[
        0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 1, // header
        2, b'A', b'b', 0, 0, 1, 0, 1, // question
        0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1, // answer
        0, 0, 41, 4, 208, 1, 0, 0, 0, 0, 0, // OPT
    ];

    fn with(at: usize, byte: u8) -> Vec<u8> {
        let mut message = REPLY.to_vec();
        message[at] = byte;
        message
    }

    #[test]
    fn a_summary_needs_a_whole_message() {
        struct Case {
            name: &'static str,
            message: Vec<u8>,
            want: Option<Summary>,
        }
        let whole = Some(Summary { rcode: 16, payload: Some(1232) });
        let cases = [
            Case { name: "whole", message: REPLY.to_vec(), want: whole },
            Case { name: "bytes behind the end", message: [REPLY, b"xyz"].concat(), want: whole },
            Case { name: "last byte missing", message: REPLY[..REPLY.len() - 1].to_vec(), want: None },
            Case { name: "one record too many promised", message: with(7, 2), want: None },
            Case { name: "two questions", message: with(5, 2), want: None },
            Case { name: "compressed question", message: with(12, 0xc0), want: None },
            Case { name: "undefined label type", message: with(20, 0x80), want: None },
            Case { name: "header only", message: REPLY[..HEADER].to_vec(), want: None },
            Case { name: "empty", message: vec![], want: None },
        ];
        for case in cases {
            assert_eq!(summary(&case.message), case.want, "{}", case.name);
        }
    }

    #[test]
    fn questions_are_the_same_in_any_letter_case_but_not_of_another_type_or_class() {
        let question = Question::read(REPLY).unwrap();
        for (at, byte, want) in
            [(13, b'a', true), (14, b'B', true), (13, b'c', false), (17, 2, false), (19, 3, false)]
        {
            let other = with(at, byte);
            assert_eq!(question.same(&Question::read(&other).unwrap()), want, "byte {at} = {byte}");
        }
    }

    #[test]
    fn a_truncated_reply_keeps_header_and_question_only() {
        let cut = truncated(REPLY).unwrap();
        assert_eq!(cut.len(), 20);
        assert!(is_truncated(&cut) && is_response(&cut) && id(&cut) == Some(0x1234));
        assert_eq!(summary(&cut), Some(Summary { rcode: 0, payload: None }));
    }

    #[test]
    fn an_overlong_name_is_not_read() {
        let mut message = REPLY[..HEADER].to_vec();
        for _ in 0..4 {
            message.push(63);
            message.extend_from_slice(&[b'x'; 63]);
        }
        message.extend_from_slice(&[0, 0, 1, 0, 1]);
        assert!(Question::read(&message).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (summary(&bytes), truncated(&bytes), id(&bytes), is_response(&bytes));
            let with_counts: Vec<u8> = REPLY[..HEADER].iter().copied().chain(bytes).collect();
            if let Some(cut) = truncated(&with_counts) {
                prop_assert!(summary(&cut).is_some());
            }
        }
    }
}
