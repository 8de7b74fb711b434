//! When two replies are the same.

use hickory_proto::op::Message;
use hickory_proto::rr::{Record, RecordType};

/// What is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sameness {
    /// Every byte.
    Bytes,
    /// Every byte but the order of addresses and of mail exchanges, which is drawn anew for each reply.
    ButOrder,
}

impl Sameness {
    /// Whether both replies are the same in this sense.
    pub(crate) fn holds(self, a: Option<&[u8]>, b: Option<&[u8]>) -> bool {
        match (self, a, b) {
            (Self::ButOrder, Some(a), Some(b)) if a != b => ordered(a).is_some_and(|a| Some(a) == ordered(b)),
            _ => a == b,
        }
    }
}

/// A reply whose records are in an order that all replies share.
#[derive(PartialEq)]
struct Ordered {
    /// Which of them are in a reply that was cut is a matter of chance, too.
    len: Option<usize>,
    message: Message,
}

fn ordered(bytes: &[u8]) -> Option<Ordered> {
    let mut message = Message::from_vec(bytes).ok()?;
    let sections = [&mut message.answers, &mut message.authorities, &mut message.additionals];
    if message.metadata.truncation {
        sections.into_iter().for_each(Vec::clear);
        return Some(Ordered { len: None, message });
    }
    for section in sections {
        let is_drawn =
            |r: &Record| matches!(r.record_type(), RecordType::A | RecordType::AAAA | RecordType::MX);
        // Stable: all others stay where they are.
        section.sort_by_key(|record| is_drawn(record).then(|| record.to_string()));
    }
    Some(Ordered { len: Some(bytes.len()), message })
}
