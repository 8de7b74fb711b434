//! DNS messages (RFC 1035 §4, RFC 6891, RFC 8914), as far as drills need them.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Bytes of a header.
const HEADER: usize = 12;

/// Pointers that a name may have: more than there can be labels in 255 bytes are a loop.
const MAX_POINTERS: usize = 128;

/// The option with an extended error, RFC 8914 §2.
const EDE: u16 = 15;

/// The type of the OPT record, RFC 6891 §6.1.1.
const OPT: u16 = 41;

/// What questions say that they can take over UDP, in bytes: loopback carries it in one piece.
const UDP_SIZE: u16 = 4096;

/// The class of the Internet.
const IN: u16 = 1;

/// A type of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Type {
    /// An IPv4 address.
    A,
    /// An alias.
    Cname,
    /// A name.
    Ptr,
    /// An IPv6 address.
    Aaaa,
    /// Where a service is, RFC 2782.
    Srv,
    /// Another, by its number.
    Other(u16),
}

impl Type {
    /// Its number.
    pub const fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Cname => 5,
            Self::Ptr => 12,
            Self::Aaaa => 28,
            Self::Srv => 33,
            Self::Other(number) => number,
        }
    }

    /// The type of this number.
    const fn of(number: u16) -> Self {
        match number {
            1 => Self::A,
            5 => Self::Cname,
            12 => Self::Ptr,
            28 => Self::Aaaa,
            33 => Self::Srv,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::A => f.write_str("A"),
            Self::Cname => f.write_str("CNAME"),
            Self::Ptr => f.write_str("PTR"),
            Self::Aaaa => f.write_str("AAAA"),
            Self::Srv => f.write_str("SRV"),
            Self::Other(number) => write!(f, "TYPE{number}"),
        }
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question {
    /// A name in lower case that ends with a dot; labels without dots in them.
    pub name: String,
    /// The type.
    pub kind: Type,
}

impl Question {
    /// A question.
    pub fn new(name: impl Into<String>, kind: Type) -> Self {
        Self { name: name.into(), kind }
    }

    /// As a message with this id, with EDNS.
    pub fn bytes(&self, id: u16) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.name.len() + 20);
        bytes.extend(id.to_be_bytes());
        // Recursion is desired; one question, one additional record.
        bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
        for label in self.name.split('.').filter(|label| !label.is_empty()) {
            bytes.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
        bytes.extend(self.kind.number().to_be_bytes());
        bytes.extend(IN.to_be_bytes());
        // The OPT record: the root, its type, the size, no flags, no options.
        bytes.push(0);
        bytes.extend(OPT.to_be_bytes());
        bytes.extend(UDP_SIZE.to_be_bytes());
        bytes.extend([0; 6]);
        bytes
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.kind)
    }
}

/// A record of an answer section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its owner name, in lower case.
    pub owner: String,
    /// Its type.
    pub kind: Type,
    /// Its TTL in seconds.
    pub ttl: u32,
    /// Its RDATA as zone files have it, names in lower case.
    pub data: String,
}

/// An extended error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtendedError {
    /// Its number, RFC 8914 §4.
    pub code: u16,
    /// What it says.
    pub text: String,
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub id: u16,
    /// Its code: 0 for NOERROR, 3 for NXDOMAIN (RFC 1035 §4.1.1).
    pub rcode: u8,
    /// Whether it was cut.
    pub truncated: bool,
    /// What it repeats of the question.
    pub question: Option<Question>,
    /// The answer section.
    pub answers: Vec<Record>,
    /// The extended errors.
    pub errors: Vec<ExtendedError>,
}

/// Bytes that are no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends too soon.
    #[error("it ends too soon")]
    Short,
    /// It is a question.
    #[error("it is no reply")]
    NoReply,
    /// A name goes round in circles, or has a label of a kind that there is not.
    #[error("a name in it cannot be read")]
    Name,
}

impl Message {
    /// Reads a reply.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader { bytes, at: 0 };
        let (id, flags) = (reader.number()?, reader.number()?);
        let [questions, answers, authorities, additionals] =
            [reader.number()?, reader.number()?, reader.number()?, reader.number()?];
        if flags & 0x8000 == 0 {
            return Err(Malformed::NoReply);
        }
        let mut question = None;
        for _ in 0..questions {
            let name = reader.name()?;
            question = Some(Question::new(name, Type::of(reader.number()?)));
            reader.number()?;
        }
        let mut message = Self {
            id,
            rcode: (flags & 0xf) as u8,
            truncated: flags & 0x0200 != 0,
            question,
            answers: Vec::with_capacity(usize::from(answers).min(64)),
            errors: Vec::new(),
        };
        for _ in 0..answers {
            let record = reader.record()?;
            message.answers.extend(record);
        }
        for _ in 0..u32::from(authorities) + u32::from(additionals) {
            message.errors.extend(reader.errors()?);
        }
        Ok(message)
    }
}

/// Where reading is.
struct Reader<'a> {
    /// The whole message.
    bytes: &'a [u8],
    /// What comes next.
    at: usize,
}

impl<'a> Reader<'a> {
    /// The next bytes.
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(length).ok_or(Malformed::Short)?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed::Short)?;
        self.at = end;
        Ok(taken)
    }

    /// The next two bytes as a number.
    fn number(&mut self) -> Result<u16, Malformed> {
        let bytes = self.take(2)?.first_chunk().ok_or(Malformed::Short)?;
        Ok(u16::from_be_bytes(*bytes))
    }

    /// The next name, in lower case, with a dot at its end.
    fn name(&mut self) -> Result<String, Malformed> {
        let (mut name, mut at, mut pointers) = (String::new(), self.at, 0);
        loop {
            let length = *self.bytes.get(at).ok_or(Malformed::Short)?;
            at += 1;
            match length {
                0 => break,
                1..=63 => {
                    let end = at + usize::from(length);
                    let label = self.bytes.get(at..end).ok_or(Malformed::Short)?;
                    name.push_str(&String::from_utf8_lossy(label).to_lowercase().replace('.', "\\."));
                    name.push('.');
                    at = end;
                }
                192.. => {
                    let low = *self.bytes.get(at).ok_or(Malformed::Short)?;
                    if pointers == 0 {
                        self.at = at + 1;
                    }
                    pointers += 1;
                    if pointers > MAX_POINTERS {
                        return Err(Malformed::Name);
                    }
                    at = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                }
                _ => return Err(Malformed::Name),
            }
        }
        if pointers == 0 {
            self.at = at;
        }
        Ok(if name.is_empty() { ".".to_owned() } else { name })
    }

    /// The head of the next record, and its data.
    fn head(&mut self) -> Result<(String, u16, u32, Reader<'a>), Malformed> {
        let (owner, kind) = (self.name()?, self.number()?);
        self.number()?;
        let ttl = self.take(4)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        let length = usize::from(self.number()?);
        let at = self.at;
        self.take(length)?;
        // Names in data may point to what is before.
        let data = Reader { bytes: self.bytes.get(..self.at).ok_or(Malformed::Short)?, at };
        Ok((owner, kind, ttl.ok_or(Malformed::Short)?, data))
    }

    /// The next record, unless it is an OPT record.
    fn record(&mut self) -> Result<Option<Record>, Malformed> {
        let (owner, number, ttl, mut data) = self.head()?;
        if number == OPT {
            return Ok(None);
        }
        let kind = Type::of(number);
        let data = match kind {
            Type::A => {
                let octets: [u8; 4] = *data.take(4)?.first_chunk().ok_or(Malformed::Short)?;
                Ipv4Addr::from(octets).to_string()
            }
            Type::Aaaa => {
                let octets: [u8; 16] = *data.take(16)?.first_chunk().ok_or(Malformed::Short)?;
                Ipv6Addr::from(octets).to_string()
            }
            Type::Cname | Type::Ptr => data.name()?,
            Type::Srv => {
                let [priority, weight, port] = [data.number()?, data.number()?, data.number()?];
                format!("{priority} {weight} {port} {}", data.name()?)
            }
            Type::Other(_) => format!("{:02x?}", data.bytes.get(data.at..).unwrap_or_default()),
        };
        Ok(Some(Record { owner, kind, ttl, data }))
    }

    /// The extended errors in the next record, if it is an OPT record.
    fn errors(&mut self) -> Result<Vec<ExtendedError>, Malformed> {
        let (_, kind, _, mut data) = self.head()?;
        let mut errors = Vec::new();
        if kind != OPT {
            return Ok(errors);
        }
        while data.at < data.bytes.len() {
            let (option, length) = (data.number()?, data.number()?);
            let value = data.take(usize::from(length))?;
            if option == EDE {
                let (code, text) = value.split_first_chunk().ok_or(Malformed::Short)?;
                let text = String::from_utf8_lossy(text).into_owned();
                errors.push(ExtendedError { code: u16::from_be_bytes(*code), text });
            }
        }
        Ok(errors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reply to `web.shop. A` with these counts and these bytes behind the question.
    fn reply(flags: u16, counts: [u16; 3], rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 7];
        bytes.extend(flags.to_be_bytes());
        bytes.extend(1_u16.to_be_bytes());
        counts.iter().for_each(|count| bytes.extend(count.to_be_bytes()));
        bytes.extend(b"\x03Web\x04shop\x00\x00\x01\x00\x01");
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn a_question_in_bytes() {
        let bytes = Question::new("web.shop.", Type::Srv).bytes(0x0102);
        let want = b"\x01\x02\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x03web\x04shop\x00\x00\x21\x00\x01\
                     \x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00";
        assert_eq!(bytes, want);
        assert_eq!(Message::parse(&bytes), Err(Malformed::NoReply));
    }

    #[test]
    fn records_and_errors_of_a_reply() {
        let rest = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x0a\x60\x00\x15\
                     \xc0\x0c\x00\x21\x00\x01\x00\x00\x00\x05\x00\x0b\x00\x00\x00\x64\x00\x50\x02db\xc0\x10\
                     \xc0\x0c\x00\x1c\x00\x01\x00\x00\x00\x05\x00\x10\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\
                     \x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x09\x00\x0f\x00\x05\x00\x03old";
        let message = Message::parse(&reply(0x8580, [3, 0, 1], rest)).unwrap();
        let rows: Vec<_> =
            message.answers.iter().map(|r| format!("{} {} {} {}", r.owner, r.ttl, r.kind, r.data)).collect();
        assert_eq!(
            rows,
            ["web.shop. 5 A 10.96.0.21", "web.shop. 5 SRV 0 100 80 db.shop.", "web.shop. 5 AAAA fd00::1"]
        );
        assert_eq!(message.errors, [ExtendedError { code: 3, text: "old".to_owned() }]);
        assert_eq!((message.id, message.rcode, message.truncated), (7, 0, false));
        assert_eq!(message.question, Some(Question::new("web.shop.", Type::A)));
    }

    #[test]
    fn what_is_no_reply() {
        let loops = b"\xc0\x1a\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\x0a\x60\x00\x15";
        for (name, bytes, want) in [
            ("nothing", vec![], Malformed::Short),
            ("half a header", vec![0, 7, 0x85], Malformed::Short),
            ("an answer that is not there", reply(0x8580, [1, 0, 0], b""), Malformed::Short),
            ("an owner that points at itself", reply(0x8580, [1, 0, 0], loops), Malformed::Name),
            ("a label of an unknown kind", reply(0x8580, [1, 0, 0], b"\x80"), Malformed::Name),
        ] {
            assert_eq!(Message::parse(&bytes), Err(want), "{name}");
        }
        assert!(Message::parse(&reply(0x8783, [0, 0, 0], b"")).is_ok_and(|m| m.truncated && m.rcode == 3));
    }

    #[test]
    fn no_part_of_a_reply_is_trusted() {
        let rest = b"\xc0\x0c\x00\x21\x00\x01\x00\x00\x00\x05\x00\x0b\x00\x00\x00\x64\x00\x50\x02db\xc0\x10";
        let whole = reply(0x8580, [1, 0, 0], rest);
        for length in 0..whole.len() {
            assert_eq!(Message::parse(&whole[..length]), Err(Malformed::Short), "{length}");
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x3f, 0xc0, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                // It ends, with a message or not.
                let _ = Message::parse(&bytes);
            }
        }
    }
}
