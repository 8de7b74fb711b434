//! Replies: what the plugins decided, and how it becomes bytes.
//!
//! Records are encoded by hickory; the message around them is put together here:
//!
//! * The question is echoed byte for byte, and names point to it, which hickory's message builder does not do:
//!   it costs two records of a reply of 512 bytes.
//! * A reply that is too long loses its end: once a record does not fit, no later one is written, so that glue
//!   never takes the place of an answer.
//! * The OPT record is written last and its room is kept free, so that truncation can never push it out
//!   (RFC 6891 §7).

use std::iter;

use hickory_proto::ProtoError;
use hickory_proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_proto::rr::{Name, RData, Record};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};

use super::gate::HEADER;
use super::opt::ReplyOpt;
use super::query::Query;

/// Largest message over TCP, RFC 1035 §4.2.2.
const MAX_TCP: u16 = u16::MAX;

/// Largest payload of a UDP datagram over IPv4: no reply can be longer, whatever the client says.
const MAX_UDP: u16 = 65_507;

/// Any client takes a UDP reply of this size, RFC 1035 §4.2.1 and RFC 6891 §6.2.3.
const MIN_UDP: u16 = 512;

/// The two bits that make a pointer of a length, RFC 1035 §4.1.4.
const POINTER: u16 = 0xc000;

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
        HEADER + query.wire_question().len() + records + full_opt(query, self).len()
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
        RData::CNAME(name) => name_len(&name.0),
        RData::NS(name) => name_len(&name.0),
        RData::PTR(name) => name_len(&name.0),
        RData::SRV(srv) => 6 + name_len(&srv.target),
        RData::SOA(soa) => 20 + name_len(&soa.mname) + name_len(&soa.rname),
        other => {
            let mut bytes = Vec::new();
            let mut encoder = BinEncoder::new(&mut bytes);
            // What cannot be encoded is not sent either.
            let _ = other.emit(&mut encoder);
            bytes.len()
        }
    };
    name_len(&record.name) + FIXED + data
}

/// Length of a name on the wire; hickory counts the root label of the root only.
fn name_len(name: &Name) -> usize {
    if name.is_root() { 1 } else { name.len() + 1 }
}

/// The bytes of `reply` to `query`, at most as long as the transport and the client allow. `None` if it
/// cannot be encoded even as an error.
pub fn encode(query: &Query, reply: &Reply) -> Option<Vec<u8>> {
    let limit = if query.is_udp() { query.max_payload().clamp(MIN_UDP, MAX_UDP) } else { MAX_TCP };
    let failure = Reply::new(ResponseCode::ServFail, "");
    // An extended rcode cannot be said without an OPT record.
    let reply = if reply.rcode.high() > 0 && query.opt().is_none() { &failure } else { reply };
    let bare = |rcode| opt(query, rcode, &[], None);
    // Options are dropped before the reply is: padding, say, can be longer than what the client takes.
    encode_within(query, reply, &full_opt(query, reply), limit)
        .or_else(|| encode_within(query, reply, &bare(reply.rcode), limit))
        .or_else(|| encode_within(query, &failure, &bare(failure.rcode), limit))
}

/// BADVERS (RFC 6891 §6.1.3): the question and an OPT of our version.
pub fn bad_version(query: &Query) -> Option<Vec<u8>> {
    let reply = Reply::new(ResponseCode::BADVERS, "");
    let opt = ReplyOpt { rcode_high: reply.rcode.high(), ..ReplyOpt::default() };
    encode_within(query, &reply, &opt.bytes()?, MAX_TCP)
}

/// The OPT record of a reply: only if the query had one (RFC 6891 §7). The client's size is echoed as CoreDNS
/// does.
fn opt(query: &Query, rcode: ResponseCode, echoed: &[u8], ede: Option<&Ede>) -> Vec<u8> {
    let Some(theirs) = query.opt() else { return Vec::new() };
    let opt =
        ReplyOpt { size: theirs.size, rcode_high: rcode.high(), dnssec_ok: query.dnssec_ok(), echoed, ede };
    // Without options a record always fits.
    opt.bytes().or_else(|| ReplyOpt { echoed: &[], ede: None, ..opt }.bytes()).unwrap_or_default()
}

/// The OPT record with everything that it may say.
fn full_opt(query: &Query, reply: &Reply) -> Vec<u8> {
    let echoed = query.opt().map(|opt| opt.echoed(query.bytes())).unwrap_or_default();
    opt(query, reply.rcode, &echoed, reply.ede.as_ref())
}

/// Header, question, as many whole records as fit before `opt`, and `opt`. `None` if not even the question fits.
fn encode_within(query: &Query, reply: &Reply, opt: &[u8], limit: u16) -> Option<Vec<u8>> {
    let mut metadata = Metadata::response_from_request(query.metadata());
    metadata.response_code = reply.rcode;
    metadata.authoritative = reply.authoritative;
    metadata.recursion_available = reply.recursion_available;
    metadata.authentic_data = reply.authentic_data;
    metadata.recursion_desired = query.is_query() && query.metadata().recursion_desired;
    metadata.checking_disabled = query.is_query() && query.metadata().checking_disabled;

    let mut bytes = Vec::with_capacity(512);
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_max_size(limit.checked_sub(u16::try_from(opt.len()).ok()?)?);
    let header = encoder.place::<Header>().ok()?;
    write_question(query, &mut encoder)?;
    let mut records = Records { question: query.name(), whole: true };
    let counts = HeaderCounts {
        queries: 1,
        answers: records.write(&reply.answers, &mut encoder)?,
        authorities: records.write(&reply.authority, &mut encoder)?,
        additionals: records.write(&reply.additional, &mut encoder)? + u16::from(!opt.is_empty()),
    };
    metadata.truncation = reply.truncated || !records.whole;
    header.replace(&mut encoder, Header { metadata, counts }).ok()?;
    // A record that did not fit has left its beginning behind.
    encoder.trim();
    bytes.extend_from_slice(opt);
    Some(bytes)
}

/// Echoes the question byte for byte, and lets the names that follow point to it.
fn write_question(query: &Query, encoder: &mut BinEncoder<'_>) -> Option<()> {
    encoder.emit_vec(query.wire_question()).ok()?;
    let root = HEADER + query.wire_name().len() - 1;
    let mut label = HEADER;
    for bytes in query.labels().iter() {
        encoder.store_label_pointer(label, root);
        label += 1 + bytes.len();
    }
    Some(())
}

/// Writes the sections of one message.
struct Records<'a> {
    /// The name that was asked for, to which most owner names are a pointer.
    question: &'a Name,
    /// Whether everything has fitted so far.
    whole: bool,
}

impl Records<'_> {
    /// Writes a section and counts what fitted: nothing after the first record that did not, so that what is
    /// missing is always the end of the message (RFC 2181 §9).
    fn write(&mut self, section: &[Record], encoder: &mut BinEncoder<'_>) -> Option<u16> {
        let mut count = 0;
        for record in section {
            if !self.whole {
                break;
            }
            // `emit_all` takes back what it wrote of a record that does not fit.
            match encoder.emit_all(iter::once(&Answer { record, question: self.question })) {
                Ok(_) => count += 1,
                Err(ProtoError::NotAllRecordsWritten { .. }) => self.whole = false,
                Err(_) => return None,
            }
        }
        Some(count)
    }
}

/// A record of a reply.
struct Answer<'a> {
    /// The record.
    record: &'a Record,
    /// The name that was asked for.
    question: &'a Name,
}

impl BinEncodable for Answer<'_> {
    /// As hickory writes it, but for owner names that are the question's: a pointer, without a search, and without
    /// the bound that hickory sets on the compressed names of a message.
    fn emit(&self, encoder: &mut BinEncoder<'_>) -> Result<(), ProtoError> {
        let Record { name, ttl, dns_class, data, .. } = self.record;
        if !name.is_root() && name.eq_case(self.question) {
            encoder.emit_u16(POINTER | HEADER as u16)?;
        } else {
            name.emit(encoder)?;
        }
        self.record.record_type().emit(encoder)?;
        dns_class.emit(encoder)?;
        encoder.emit_u32(*ttl)?;
        let length = encoder.place::<u16>()?;
        if !matches!(data, RData::Update0(_)) {
            data.emit(encoder)?;
        }
        // The encoder holds at most 65,535 bytes.
        let written = encoder.len_since_place(&length) as u16;
        length.replace(encoder, written)
    }
}
