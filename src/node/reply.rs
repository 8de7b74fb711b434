//! Replies: what the plugins decided, and how it becomes bytes.
//!
//! Encoding is hickory's, but for the OPT record: it is written last and its room is kept free, so that
//! truncation can never push it out (RFC 6891 §7).

use hickory_proto::op::{Edns, Metadata, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{RData, Record};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};
use hickory_server::zone_handler::MessageResponseBuilder;

use super::query::Query;

/// Largest message over TCP, RFC 1035 §4.2.2.
const MAX_TCP: u16 = u16::MAX;

/// Largest payload of a UDP datagram over IPv4: no reply can be longer, whatever the client says.
const MAX_UDP: u16 = 65_507;

/// Option code of an Extended DNS Error, RFC 8914 §2.
const EDE: u16 = 15;

/// Extended DNS Errors that are said here, RFC 8914 §4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdeCode {
    /// 0: none of the other codes fits.
    Other = 0,
    /// 3: the records may be out of date.
    StaleAnswer = 3,
    /// 14: nothing is known yet.
    NotReady = 14,
    /// 19: that there is no such name may be out of date.
    StaleNxDomain = 19,
    /// 22: the data is older than it may be, and its source cannot be reached.
    NoReachableAuthority = 22,
}

/// An Extended DNS Error with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ede {
    /// What is wrong.
    pub code: EdeCode,
    /// For people.
    pub text: String,
}

/// A reply as the plugins hand it back.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Response code.
    pub rcode: ResponseCode,
    /// AA
    pub authoritative: bool,
    /// RA
    pub recursion_available: bool,
    /// AD
    pub authentic_data: bool,
    /// TC, where it was truncated before it came to us.
    pub truncated: bool,
    /// The answer section.
    pub answers: Vec<Record>,
    /// The authority section.
    pub authority: Vec<Record>,
    /// The additional section, without OPT.
    pub additional: Vec<Record>,
    /// Said to clients that sent an OPT record.
    pub ede: Option<Ede>,
    /// The plugin that made it; empty where the server did.
    pub plugin: &'static str,
}

impl Reply {
    /// An empty reply of `plugin`.
    pub const fn new(rcode: ResponseCode, plugin: &'static str) -> Self {
        Self {
            rcode,
            authoritative: false,
            recursion_available: false,
            authentic_data: false,
            truncated: false,
            answers: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
            ede: None,
            plugin,
        }
    }

    /// Its class for the `log` plugin.
    pub fn class(&self) -> ReplyClass {
        let has_soa = || self.authority.iter().any(|r| matches!(r.data, RData::SOA(_)));
        let has_ns = || self.authority.iter().any(|r| matches!(r.data, RData::NS(_)));
        match self.rcode {
            ResponseCode::NXDomain if has_soa() => ReplyClass::Denial,
            ResponseCode::NoError if !self.answers.is_empty() => ReplyClass::Success,
            ResponseCode::NoError if has_soa() => ReplyClass::Denial,
            ResponseCode::NoError if has_ns() => ReplyClass::Success,
            _ => ReplyClass::Error,
        }
    }

    /// How long the message would be without name compression, as CoreDNS' metrics and logs count it.
    pub fn uncompressed_len(&self, query: &Query) -> usize {
        let sections = [&self.answers, &self.authority, &self.additional];
        let records: usize = sections.into_iter().flatten().map(record_len).sum();
        let opt = edns(query, self.rcode, self.ede.as_ref()).map_or(0, |opt| opt.len());
        super::gate::HEADER + query.name().len() + 4 + records + opt
    }
}

/// Classes of replies for the `log` plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyClass {
    /// Records, or a delegation.
    Success,
    /// NXDOMAIN or NODATA.
    Denial,
    /// Everything else.
    Error,
}

/// Length of a record without name compression.
fn record_len(record: &Record) -> usize {
    // Type, class, TTL and the length of the data.
    const FIXED: usize = 10;
    let data = match &record.data {
        RData::A(_) => 4,
        RData::AAAA(_) => 16,
        RData::CNAME(name) => name.0.len(),
        RData::NS(name) => name.0.len(),
        RData::PTR(name) => name.0.len(),
        RData::SRV(srv) => 6 + srv.target.len(),
        RData::SOA(soa) => 20 + soa.mname.len() + soa.rname.len(),
        other => {
            let mut bytes = Vec::new();
            let mut encoder = BinEncoder::new(&mut bytes);
            // What cannot be encoded is not sent either.
            let _ = other.emit(&mut encoder);
            bytes.len()
        }
    };
    record.name.len() + FIXED + data
}

/// The bytes of `reply` to `query`, at most as long as the transport and the client allow. `None` if it
/// cannot be encoded even as an error.
pub fn encode(query: &Query, reply: &Reply) -> Option<Vec<u8>> {
    let limit = if query.is_udp() { query.max_payload().clamp(512, MAX_UDP) } else { MAX_TCP };
    let opt = edns(query, reply.rcode, reply.ede.as_ref()).unwrap_or_default();
    encode_within(query, reply, &opt, limit).or_else(|| {
        let failure = Reply::new(ResponseCode::ServFail, "");
        encode_within(query, &failure, &opt, limit)
    })
}

fn encode_within(query: &Query, reply: &Reply, opt: &[u8], limit: u16) -> Option<Vec<u8>> {
    let mut metadata = Metadata::response_from_request(query.metadata());
    metadata.response_code = reply.rcode;
    metadata.authoritative = reply.authoritative;
    metadata.truncation = reply.truncated;
    metadata.recursion_available = reply.recursion_available;
    metadata.authentic_data = reply.authentic_data;
    metadata.recursion_desired = query.is_query() && query.metadata().recursion_desired;
    metadata.checking_disabled = query.is_query() && query.metadata().checking_disabled;

    let mut bytes = Vec::with_capacity(512);
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_max_size(limit.checked_sub(u16::try_from(opt.len()).ok()?)?);
    MessageResponseBuilder::new(&query.request().queries, None)
        .build(metadata, &reply.answers, &reply.authority, &[], &reply.additional)
        .destructive_emit(&mut encoder)
        .ok()?;
    // A record that did not fit has left its beginning behind.
    encoder.trim();
    if !opt.is_empty() {
        let additional = bytes.get_mut(10..12)?;
        let count = u16::from_be_bytes([additional[0], additional[1]]).checked_add(1)?;
        additional.copy_from_slice(&count.to_be_bytes());
        bytes.extend_from_slice(opt);
    }
    Some(bytes)
}

/// The OPT record of a reply: only if the query had one (RFC 6891 §7). The client's size is echoed as
/// CoreDNS does; of its options those that are agreed between neighbours are kept, client subnet is not.
fn edns(query: &Query, rcode: ResponseCode, ede: Option<&Ede>) -> Option<Vec<u8>> {
    let theirs = query.edns()?;
    let mut ours = Edns::new();
    ours.set_version(0)
        .set_dnssec_ok(theirs.flags().dnssec_ok)
        .set_max_payload(theirs.max_payload())
        .set_rcode_high(rcode.high());
    let kept = [EdnsCode::NSID, EdnsCode::Expire, EdnsCode::Cookie, EdnsCode::Keepalive, EdnsCode::Padding];
    for (code, option) in theirs.options().as_ref() {
        if kept.contains(code) {
            ours.options_mut().insert(option.clone());
        }
    }
    if let Some(ede) = ede {
        let mut data = (ede.code as u16).to_be_bytes().to_vec();
        data.extend_from_slice(ede.text.as_bytes());
        ours.options_mut().insert(EdnsOption::Unknown(EDE, data));
    }
    let mut bytes = Vec::with_capacity(64);
    ours.emit(&mut BinEncoder::new(&mut bytes)).ok()?;
    // `Edns` sets the smallest size that RFC 6891 §6.2.3 lets a sender say; the echo is literal.
    bytes.get_mut(3..5)?.copy_from_slice(&theirs.max_payload().to_be_bytes());
    Some(bytes)
}

/// BADVERS (RFC 6891 §6.1.3): the question and an OPT of our version.
pub fn bad_version(query: &Query) -> Option<Vec<u8>> {
    let mut opt = Edns::new();
    opt.set_version(0).set_rcode_high(ResponseCode::BADVERS.high());
    let mut bytes = Vec::new();
    opt.emit(&mut BinEncoder::new(&mut bytes)).ok()?;
    bytes.get_mut(3..5)?.copy_from_slice(&[0, 0]);
    encode_within(query, &Reply::new(ResponseCode::BADVERS, ""), &bytes, MAX_TCP)
}
