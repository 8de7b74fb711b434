//! Replies to what is kept of them, and back.

use std::fmt;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::Name;

use super::NAME;
use crate::forward::cache::Packet;
use crate::forward::cache::entry::{Class, Entry};
use crate::forward::cache::failure::{Failure, Reason};
use crate::forward::cache::judge::Said;
use crate::forward::cache::store::Failed;
use crate::node::plugins::forward::reply_from;
use crate::node::query::Query;
use crate::node::reply::{self, Ede, EdeCode, Reply};
use crate::ops::age::Age;

/// A reply to `query`, to be judged.
pub(super) fn said<'a>(query: &Query, reply: &'a Reply) -> Said<'a> {
    Said {
        kind: query.kind(),
        dnssec_ok: query.dnssec_ok(),
        rcode: reply.rcode,
        truncated: reply.truncated,
        answers: &reply.answers,
        authority: &reply.authority,
        additional: &reply.additional,
    }
}

/// Writes owner names that are the question's in its letter case: some stub resolvers compare them.
pub(super) fn respell(reply: &mut Reply, question: &Name) {
    for record in [&mut reply.answers, &mut reply.authority, &mut reply.additional].into_iter().flatten() {
        // In any letter case.
        if record.name == *question {
            record.name = question.clone();
        }
    }
}

/// Gives every record this TTL.
pub(super) fn set_ttl(reply: &mut Reply, ttl: u32) {
    for record in [&mut reply.answers, &mut reply.authority, &mut reply.additional].into_iter().flatten() {
        record.ttl = ttl;
    }
}

/// What is kept of a reply whose owner names are spelled as `query` has them; `None` if it cannot be written.
pub(super) fn pack(query: &Query, reply: &Reply) -> Option<Packet> {
    reply::encode_bare(query, reply).and_then(Packet::new)
}

/// What is remembered of a reply that says that there is none.
pub(super) fn failed(reply: &Reply) -> Failed {
    Failed {
        rcode: reply.rcode.low(),
        recursion_available: reply.recursion_available,
        by_upstream: true,
        reason: reply.ede.as_ref().map(reason),
    }
}

/// The same where nobody replied.
pub(super) fn unanswered(ede: &Ede) -> Failed {
    Failed {
        rcode: ResponseCode::ServFail.low(),
        recursion_available: false,
        by_upstream: false,
        reason: Some(reason(ede)),
    }
}

fn reason(ede: &Ede) -> Reason {
    Reason { code: ede.code.number(), text: ede.text.as_str().into() }
}

/// A reply to `query` from what is kept; `None` if it cannot be read.
pub(super) fn unpack(query: &Query, entry: &Entry, ttl: u32) -> Option<Reply> {
    let message = Message::from_vec(&entry.reply.message_for(query.wire_name(), ttl)).ok()?;
    let mut reply = reply_from(message, NAME);
    // As in CoreDNS: some stub resolvers disregard answers that are not authoritative.
    reply.authoritative = true;
    reply.authentic_data &= wants_authentic_data(query);
    Some(reply)
}

/// The same of an entry whose time has been over for so long.
pub(super) fn unpack_stale(query: &Query, entry: &Entry, ttl: u32, over: Duration) -> Option<Reply> {
    let ede = Some(Ede { code: stale_code(entry.class), text: Expired(over).to_string() });
    Some(Reply { ede, ..unpack(query, entry, ttl)? })
}

/// The code that says that such an entry has expired.
pub(super) const fn stale_code(class: Class) -> EdeCode {
    match class {
        Class::NxDomain => EdeCode::StaleNxDomain,
        Class::Positive | Class::NoData => EdeCode::StaleAnswer,
    }
}

/// For how long something has been over, as clients are told.
pub(super) struct Expired(pub(super) Duration);

impl fmt::Display for Expired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expired {} ago", Age(self.0))
    }
}

/// The reply to a question that failed a moment ago.
pub(super) fn remembered(failure: &Failure) -> Reply {
    let text = match &failure.reason {
        Some(Reason { code, text }) => format!("failed lately with code {code}: {text}"),
        None => "an upstream said so lately".to_owned(),
    };
    Reply {
        authoritative: failure.by_upstream,
        recursion_available: failure.recursion_available,
        ede: Some(Ede { code: EdeCode::CachedError, text }),
        ..Reply::new(ResponseCode::from(0, failure.rcode), NAME)
    }
}

/// Whether the client may be told that data is authentic: if it asked, by AD or DO (RFC 6840 §5.7 and §5.8).
pub(super) fn wants_authentic_data(query: &Query) -> bool {
    query.metadata().authentic_data || query.dnssec_ok()
}
