//! A reply as the bytes that are kept: a whole message without its OPT record, and where in it TTLs are.
//!
//! The question stands first and uncompressed, and owner names that are the question's point to it: whoever asks
//! next gets all of them in the letter case of their own question by overwriting one name. All TTLs of a kept reply
//! are the same number, so they are overwritten too. Nothing has to be decoded to answer from this.
//!
//! Whether a message can be given as it is, whatever the next one's letter case, is known beforehand: names are shortened
//! by pointers to what stands before them in the same letter case, so a name that ends as the question does, but for
//! letter case, would be shortened for those alone who spell the question as it does.
//!
//! Every index is checked; no bytes can make these functions panic or read out of bounds.

use super::super::wire;

/// Type number of the OPT pseudo-record (RFC 6891 §6.1.1).
const OPT: u16 = 41;

/// In a record: type, class, TTL and the length of its data, from the end of its name on.
const TTL_AT: usize = 4;
/// See [`TTL_AT`].
const LENGTH_AT: usize = 8;
/// See [`TTL_AT`].
const DATA_AT: usize = 10;

/// A reply that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The message, with nothing behind its last record.
    message: Box<[u8]>,
    /// Where the TTLs of its records are.
    ttls: Box<[u16]>,
    /// How long it would be without name compression, as metrics count it.
    uncompressed: u32,
    /// See [`Packet::takes_any_case`].
    takes_any_case: bool,
}

impl Packet {
    /// Takes a message in: one uncompressed question, whole records, no OPT record. `None` if it is anything else.
    pub fn new(message: Vec<u8>) -> Option<Self> {
        // Offsets have 16 bits, as the length of a message has (RFC 1035 §4.2.2).
        if message.len() > wire::MAX_MESSAGE {
            return None;
        }
        let question = wire::Question::read(&message)?;
        let asked: Vec<&[u8]> = wire::labels(&message, wire::HEADER).collect();
        let mut takes_any_case = true;
        let mut at = question.end();
        let counts = [6, 8, 10].map(|at| wire::u16_at(&message, at).map(usize::from));
        let records = counts.into_iter().sum::<Option<usize>>()?;
        let mut ttls = Vec::new();
        let mut uncompressed = at;
        for _ in 0..records {
            let fields = wire::skip_name(&message, at)?;
            let kind = wire::u16_at(&message, fields)?;
            if kind == OPT {
                return None;
            }
            ttls.push(u16::try_from(fields + TTL_AT).ok()?);
            let data = fields + DATA_AT;
            let end = data + usize::from(wire::u16_at(&message, fields + LENGTH_AT)?);
            let mut names = wire::whole_name_len(&message, at)?;
            takes_any_case &= follows(&message, at, &asked);
            // What is left of the data, its names apart.
            let mut rest = end.checked_sub(data)?;
            for name in names_in(&message, kind, data)? {
                names += wire::whole_name_len(&message, name)?;
                rest = rest.checked_sub(wire::skip_name(&message, name)? - name)?;
                takes_any_case &= follows(&message, name, &asked);
            }
            uncompressed += names + DATA_AT + rest;
            at = end;
        }
        let uncompressed = u32::try_from(uncompressed).ok()?;
        let is_whole = at == message.len();
        is_whole.then(|| Self { message: message.into(), ttls: ttls.into(), uncompressed, takes_any_case })
    }

    /// Where the TTLs of its records are.
    pub fn ttls(&self) -> &[u16] {
        &self.ttls
    }

    /// How long it would be without name compression, in bytes.
    pub const fn uncompressed_len(&self) -> usize {
        self.uncompressed as usize
    }

    /// Whether it is written the same for every letter case of the question: no name in it ends as the question does in
    /// other letters.
    pub const fn takes_any_case(&self) -> bool {
        self.takes_any_case
    }

    /// The message as it was taken in.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The response code, without the bits of an OPT record, which is not kept.
    pub fn rcode(&self) -> u8 {
        self.message.get(3).copied().unwrap_or_default() & 0x0f
    }

    /// How many records its answer section has.
    pub fn answer_count(&self) -> u16 {
        wire::u16_at(&self.message, 6).unwrap_or_default()
    }

    /// Whether it is a reply to this question; `name` on the wire, in any letter case.
    pub fn answers(&self, name: &[u8], kind: u16, class: u16) -> bool {
        let [kind, class] = [kind, class].map(u16::to_be_bytes);
        let question = self.message.get(wire::HEADER..).unwrap_or_default();
        question.split_at_checked(name.len()).is_some_and(|(theirs, rest)| {
            theirs.eq_ignore_ascii_case(name) && rest.starts_with(&[kind, class].concat())
        })
    }

    /// How much memory it takes beside its own size, in bytes.
    pub fn heap(&self) -> usize {
        self.message.len() + size_of_val(&*self.ttls)
    }

    /// The message for somebody who asked for `name` (on the wire, the same name in any letter case), with this TTL
    /// in every record.
    pub fn message_for(&self, name: &[u8], ttl: u32) -> Vec<u8> {
        let mut message = self.message.to_vec();
        if let Some(theirs) = message.get_mut(wire::HEADER..wire::HEADER + name.len())
            && theirs.eq_ignore_ascii_case(name)
        {
            theirs.copy_from_slice(name);
        }
        for at in &self.ttls {
            let at = usize::from(*at);
            if let Some(field) = message.get_mut(at..at + 4) {
                field.copy_from_slice(&ttl.to_be_bytes());
            }
        }
        message
    }
}

/// Where in the data of a record its names begin that may be written by pointers: those of RFC 1035 §3.3 alone.
fn names_in(message: &[u8], kind: u16, data: usize) -> Option<impl Iterator<Item = usize>> {
    let [first, second] = match kind {
        // NS, CNAME and PTR.
        2 | 5 | 12 => [Some(data), None],
        // SOA: two names and five numbers.
        6 => [Some(data), Some(wire::skip_name(message, data)?)],
        // MX: a number and a name.
        15 => [Some(data + 2), None],
        _ => [None, None],
    };
    Some(first.into_iter().chain(second))
}

/// Whether the labels at the end of a name that are the question's but for letter case are so in every letter.
fn follows(message: &[u8], at: usize, question: &[&[u8]]) -> bool {
    let name: Vec<&[u8]> = wire::labels(message, at).collect();
    let pairs = name.iter().rev().zip(question.iter().rev());
    pairs.take_while(|(own, asked)| own.eq_ignore_ascii_case(asked)).all(|(own, asked)| own == asked)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `Ab.` IN A, an A record by pointer, a TXT record of another name in the additional section.
    const REPLY: &[u8] = &[
        0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 1, // header
        2, b'A', b'b', 0, 0, 1, 0, 1, // question
        0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1, // answer
        1, b'x', 0, 0, 16, 0, 1, 0, 0, 0, 60, 0, 2, 1, b't', // additional
    ];

    #[test]
    fn the_next_one_s_letter_case_and_ttl_are_written_over() {
        let packet = Packet::new(REPLY.to_vec()).unwrap();
        let message = packet.message_for(b"\x02aB\0", 0x0102_0304);
        let mut want = REPLY.to_vec();
        want[13..15].copy_from_slice(b"aB");
        want[26..30].copy_from_slice(&[1, 2, 3, 4]);
        want[43..47].copy_from_slice(&[1, 2, 3, 4]);
        assert_eq!(message, want);
        assert_eq!(packet.message(), REPLY);
        assert_eq!((packet.rcode(), packet.heap()), (0, REPLY.len() + 4));
        // The pointer stands for a name of four bytes.
        assert_eq!(packet.uncompressed_len(), REPLY.len() + 2);
        // Another name is not written into it.
        assert_eq!(packet.message_for(b"\x02xx\0", 60), REPLY);
    }

    #[test]
    fn only_whole_messages_without_opt_are_taken_in() {
        let with = |at: usize, byte: u8| {
            let mut message = REPLY.to_vec();
            message[at] = byte;
            message
        };
        for (name, message) in [
            ("a byte behind the end", [REPLY, b"x"].concat()),
            ("a byte missing", REPLY[..REPLY.len() - 1].to_vec()),
            ("a record too many promised", with(9, 1)),
            ("a record left over", with(11, 0)),
            ("an OPT record", with(40, 41)),
            ("two questions", with(5, 2)),
            ("a compressed question", with(12, 0xc0)),
            ("nothing", Vec::new()),
        ] {
            assert_eq!(Packet::new(message), None, "{name}");
        }
    }

    #[test]
    fn what_differs_from_the_question_in_letter_case_is_not_for_every_letter_case() {
        // An alias of `a.Test.`, whose target and its address are these names.
        let message = |target: &[u8], owner: &[u8]| {
            let record = |owner: &[u8], kind: u8, data: &[u8]| {
                [owner, &[0, kind, 0, 1, 0, 0, 0, 60, 0, data.len() as u8], data].concat()
            };
            let header = [0, 0, 0x81, 0x80, 0, 1, 0, 2, 0, 0, 0, 0];
            let question = b"\x01a\x04Test\0\0\x01\0\x01";
            [&header[..], question, &record(b"\xc0\x0c", 5, target), &record(owner, 1, &[192, 0, 2, 1])]
                .concat()
        };
        for (name, target, owner, want) in [
            ("pointers", &b"\x01b\xc0\x0e"[..], &b"\xc0\x24"[..], true),
            ("in full, the same letters", b"\x01b\x04Test\0", b"\x01b\x04Test\0", true),
            ("elsewhere", b"\x01b\x04else\0", b"\x01b\x04ELSE\0", true),
            ("the root", b"\0", b"\0", true),
            ("a target in other letters", b"\x01b\x04test\0", b"\x01b\xc0\x0e", false),
            ("an owner in other letters", b"\x01b\xc0\x0e", b"\x01b\x04TEST\0", false),
            ("the name itself in other letters", b"\x01A\xc0\x0e", b"\xc0\x24", false),
        ] {
            let packet = Packet::new(message(target, owner)).unwrap();
            assert_eq!(packet.takes_any_case(), want, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), name: Vec<u8>) {
            let message = [&REPLY[..12], &bytes].concat();
            if let Some(packet) = Packet::new(message.clone()) {
                prop_assert_eq!(packet.message_for(&name, 7).len(), message.len());
            }
        }
    }
}
