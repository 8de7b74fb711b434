//! The gate: what is decided of a packet before any plugin sees it.
//!
//! Only the header is read by hand, because the gate has to answer packets that no parser accepts, and must
//! bound the counts before anything makes room for them. The rest is hickory's.

use std::net::SocketAddr;
use std::sync::Arc;

use hickory_proto::rr::DNSClass;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::Request;

use super::query::Query;
use super::reply;
use super::router::Router;

/// Size of a message's header, RFC 1035 §4.1.1.
pub const HEADER: usize = 12;

/// QR, in the third byte of the header.
const RESPONSE: u8 = 0x80;

/// Opcodes, RFC 1035 §4.1.1 and RFC 1996.
const QUERY: u8 = 0;
const NOTIFY: u8 = 4;

/// Rcodes, RFC 1035 §4.1.1.
const FORMERR: u8 = 1;
const SERVFAIL: u8 = 2;
const NOTIMP: u8 = 4;

/// What becomes of a packet.
pub enum Gate {
    /// Nothing is said to it: it is no query at all.
    Silence,
    /// It is answered as it is, without any plugin.
    Reply(Vec<u8>),
    /// It goes to the plugins.
    Pass(Arc<Query>),
    /// It goes to no block of this listener: REFUSED, and counted under the zone `dropped`.
    Refuse(Arc<Query>),
}

/// Judges a packet that `router` received from `source` at `local`.
pub fn judge(
    bytes: &[u8],
    source: SocketAddr,
    local: SocketAddr,
    protocol: Protocol,
    router: &Arc<Router>,
) -> Gate {
    let Some(header) = query_header(bytes) else { return Gate::Silence };
    if let Some(reply) = not_implemented(header) {
        return Gate::Reply(reply.to_vec());
    }
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    // A query has one question, and at most an OPT and a TSIG record.
    if count(4) != 1 || count(6) > 1 || count(8) > 1 || count(10) > 2 {
        return Gate::Reply(bare_reply(header, QUERY, FORMERR).to_vec());
    }
    let query = Request::from_bytes(bytes.to_vec(), source, protocol)
        .ok()
        .and_then(|request| Query::new(request, router.clone(), local).ok());
    let Some(query) = query else {
        return Gate::Reply(bare_reply(header, QUERY, FORMERR).to_vec());
    };
    if query.class() != DNSClass::IN && !router.takes_other_classes() {
        return Gate::Refuse(Arc::new(query));
    }
    if query.edns().is_some_and(|edns| edns.version() != 0) {
        return reply::bad_version(&query).map_or(Gate::Silence, Gate::Reply);
    }
    Gate::Pass(Arc::new(query))
}

/// SERVFAIL to a packet whose handling broke down. `None` for what is no query.
pub fn failure(bytes: &[u8]) -> Option<Vec<u8>> {
    query_header(bytes).map(|header| bare_reply(header, QUERY, SERVFAIL).to_vec())
}

/// NOTIMP to a message that is neither a query nor a notification (RFC 1035 §4.1.1): that needs no room, no plugin and
/// no parser, so that whoever only asks whether somebody is there hears it under any load. `None` for all others.
pub fn not_implemented(bytes: &[u8]) -> Option<[u8; HEADER]> {
    let header = query_header(bytes)?;
    let opcode = header[2] >> 3 & 0x0f;
    (opcode != QUERY && opcode != NOTIFY).then(|| bare_reply(header, opcode, NOTIMP))
}

/// Whether something is said to a packet, in whatever way: others are no queries at all.
pub fn is_heard(bytes: &[u8]) -> bool {
    query_header(bytes).is_some()
}

/// The header of what is no reply and no fragment.
fn query_header(bytes: &[u8]) -> Option<&[u8; HEADER]> {
    bytes.first_chunk::<HEADER>().filter(|header| header[2] & RESPONSE == 0)
}

/// A reply of a header alone.
fn bare_reply(query: &[u8; HEADER], opcode: u8, rcode: u8) -> [u8; HEADER] {
    let mut reply = [0; HEADER];
    reply[..2].copy_from_slice(&query[..2]);
    let recursion_desired = query[2] & 0x01;
    reply[2] = RESPONSE | opcode << 3 | recursion_desired;
    reply[3] = rcode;
    reply
}
