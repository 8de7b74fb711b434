//! A reply as the bytes that are kept: a whole message without its OPT record, and where in it TTLs are.
//!
//! The question stands first and uncompressed, and owner names that are the question's point to it: whoever asks
//! next gets all of them in the letter case of their own question by overwriting one name. All TTLs of a kept reply
//! are the same number, so they are overwritten too. Nothing has to be decoded to answer from this.
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
}

impl Packet {
    /// Takes a message in: one uncompressed question, whole records, no OPT record. `None` if it is anything else.
    pub fn new(message: Vec<u8>) -> Option<Self> {
        // Offsets have 16 bits, as the length of a message has (RFC 1035 §4.2.2).
        if message.len() > wire::MAX_MESSAGE {
            return None;
        }
        let mut at = wire::Question::read(&message)?.end();
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
            uncompressed +=
                wire::whole_name_len(&message, at)? + DATA_AT + data_len(&message, kind, data..end)?;
            at = end;
        }
        let uncompressed = u32::try_from(uncompressed).ok()?;
        (at == message.len()).then(|| Self { message: message.into(), ttls: ttls.into(), uncompressed })
    }

    /// Where the TTLs of its records are.
    pub fn ttls(&self) -> &[u16] {
        &self.ttls
    }

    /// How long it would be without name compression, in bytes.
    pub const fn uncompressed_len(&self) -> usize {
        self.uncompressed as usize
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

/// How long the data of a record is once its names stand in full. Only types of RFC 1035 §3.3 have compressed ones.
fn data_len(message: &[u8], kind: u16, data: std::ops::Range<usize>) -> Option<usize> {
    let name = |at| wire::whole_name_len(message, at);
    Some(match kind {
        // NS, CNAME and PTR.
        2 | 5 | 12 => name(data.start)?,
        // SOA: two names and five numbers.
        6 => name(data.start)? + name(wire::skip_name(message, data.start)?)? + 20,
        // MX: a number and a name.
        15 => 2 + name(data.start + 2)?,
        _ => data.len(),
    })
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
