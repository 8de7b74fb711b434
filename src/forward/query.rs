//! A query as it leaves, and what a message that arrives means for it.
//!
//! Invariants:
//! * The query leaves as it came but for a new random id; the reply carries the client's id again.
//! * Nothing is taken for a reply that has not QR set or carries another id (RFC 5452 §9).

use std::fmt;

use bytes::Bytes;

use super::wire::{self, Question};

/// The size of a UDP reply that every query takes (RFC 1035 §4.2.1); smaller sizes in an OPT record count as
/// this one (RFC 6891 §6.2.3).
const MIN_UDP_REPLY: usize = 512;

/// The largest UDP reply read whole, whatever a client's OPT record asks for. What servers send at most by
/// default (RFC 6891 §6.2.5 suggests it); it bounds the memory of a forward. Larger ones count as truncated.
const MAX_UDP_REPLY: usize = 4096;

/// Messages that are no reply to any query, before an exchange is given up. Late replies to others cannot
/// arrive on a fresh socket, so these are forged: giving up leaves a forger 64 guesses of 65,536 a port.
pub(super) const MAX_STRAYS: usize = 64;

/// How a query travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A datagram each way.
    Udp,
    /// A connection (RFC 7766).
    Tcp,
    /// A connection within TLS (RFC 7858).
    Tls,
}

impl Transport {
    /// The label `proto` of CoreDNS's metrics about upstreams.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tcp-tls",
        }
    }
}

impl fmt::Display for Transport {
    /// As Go names networks in errors: what carries TLS is TCP.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp | Self::Tls => "tcp",
        })
    }
}

/// A client's query that can be forwarded: one readable question, and short enough for every transport.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The message as it came.
    message: &'a [u8],
    /// Its question.
    question: Question<'a>,
}

impl<'a> Query<'a> {
    /// Reads `message`; `None` unless it has exactly one question, uncompressed, and at most 65,535 bytes.
    pub fn read(message: &'a [u8]) -> Option<Self> {
        (message.len() <= wire::MAX_MESSAGE).then_some(())?;
        Some(Self { message, question: Question::read(message)? })
    }

    /// The name asked for, in wire format and the client's letter case.
    pub const fn name(&self) -> &'a [u8] {
        self.question.name
    }

    /// How large a UDP reply the client takes, in bytes.
    pub(super) fn reply_room(&self) -> usize {
        let asked = wire::summary(self.message).and_then(|s| s.payload).map_or(MIN_UDP_REPLY, usize::from);
        asked.clamp(MIN_UDP_REPLY, MAX_UDP_REPLY)
    }

    /// The message as it leaves.
    pub(super) fn with_id(&self, id: u16) -> Vec<u8> {
        let mut sent = self.message.to_vec();
        wire::set_id(&mut sent, id);
        sent
    }

    /// The message as it came; where ids are given out over a connection.
    pub(super) const fn message(&self) -> &'a [u8] {
        self.message
    }

    /// The reply as the client gets it: with the id of its own query.
    pub(super) fn reply(&self, mut message: Vec<u8>, rcode: u16) -> Exchanged {
        wire::set_id(&mut message, wire::id(self.message).unwrap_or_default());
        // A reply may live long in a cache: nothing unused is kept with it.
        message.shrink_to_fit();
        Exchanged::Reply { message: message.into(), rcode }
    }

    /// What a message that arrived means for the query that left with `id`.
    pub(super) fn judge(&self, id: u16, message: &[u8]) -> Verdict {
        // Anyone may have sent this: what does not prove that it answers the query is not looked at further.
        if message.len() < wire::HEADER || wire::id(message) != Some(id) || !wire::is_response(message) {
            return Verdict::Stray;
        }
        if !Question::read(message).is_some_and(|theirs| self.question.same(&theirs)) {
            return Verdict::OtherQuestion { rcode: header_rcode(message) };
        }
        match wire::summary(message) {
            Some(summary) => Verdict::Reply { rcode: summary.rcode },
            None => Verdict::Cut,
        }
    }
}

/// What an upstream sent back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exchanged {
    /// A reply to the question, whole or marked as truncated, with the query's own id.
    Reply {
        /// The message.
        message: Bytes,
        /// Its response code, with the extended bits of an OPT record.
        rcode: u16,
    },
    /// A reply with the right id to another question, or to none.
    OtherQuestion {
        /// The response code of its header.
        rcode: u16,
    },
}

impl Exchanged {
    /// The upstream's response code.
    pub const fn rcode(&self) -> u16 {
        match self {
            Self::Reply { rcode, .. } | Self::OtherQuestion { rcode } => *rcode,
        }
    }

    /// Whether this is a reply with TC set: the whole one is to be had over TCP.
    pub fn is_truncated(&self) -> bool {
        matches!(self, Self::Reply { message, .. } if wire::is_truncated(message))
    }
}

/// What a message that arrived means for a query.
pub(super) enum Verdict {
    /// Not a reply to it.
    Stray,
    /// A reply to another question.
    OtherQuestion { rcode: u16 },
    /// A reply, whole.
    Reply { rcode: u16 },
    /// A reply that ends within a record.
    Cut,
}

pub(super) fn header_rcode(message: &[u8]) -> u16 {
    message.get(3).map_or(0, |flags| u16::from(flags & 0x0f))
}
