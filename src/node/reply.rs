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
    Other,
    /// 3: the records may be out of date.
    StaleAnswer,
    /// 4: this server's operator wants it answered so, whatever the zone says.
    ForgedAnswer,
    /// 13: a failure that is remembered, and was not tried again.
    CachedError,
    /// 14: nothing is known yet.
    NotReady,
    /// 15: this server's operator does not want it answered.
    Blocked,
    /// 17: the client is one for whom it is not answered.
    Filtered,
    /// 19: that there is no such name may be out of date.
    StaleNxDomain,
    /// 22: the data is older than it may be, and its source cannot be reached.
    NoReachableAuthority,
    /// 23: a server could not be reached, or did not answer in time.
    NetworkError,
    /// Any code: what the configuration or an upstream says.
    Code(u16),
}

impl EdeCode {
    /// Its number.
    pub const fn number(self) -> u16 {
        match self {
            Self::Other => 0,
            Self::StaleAnswer => 3,
            Self::ForgedAnswer => 4,
            Self::CachedError => 13,
            Self::NotReady => 14,
            Self::Blocked => 15,
            Self::Filtered => 17,
            Self::StaleNxDomain => 19,
            Self::NoReachableAuthority => 22,
            Self::NetworkError => 23,
            Self::Code(number) => number,
        }
    }
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
    /// What plugins have decided of the message around the records.
    pub frame: Frame,
    /// The plugin that made it; empty where the server did.
    pub plugin: &'static str,
}

/// The parts of a reply that follow from the query unless a plugin decides otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// RD, if not the query's.
    pub recursion_desired: Option<bool>,
    /// CD, if not the query's.
    pub checking_disabled: Option<bool>,
    /// The UDP payload size that counts instead of the client's: the limit of the reply, and what its OPT says.
    pub max_payload: Option<u16>,
    /// NSID (RFC 5001), for clients that ask for it.
    pub nsid: Option<Box<[u8]>>,
    /// An OPT record even if the query had none.
    pub opt_always: bool,
}

impl Frame {
    /// What follows from the query.
    pub const DEFAULT: Self = Self {
        recursion_desired: None,
        checking_disabled: None,
        max_payload: None,
        nsid: None,
        opt_always: false,
    };
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
            frame: Frame::DEFAULT,
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
    let payload = reply.frame.max_payload.unwrap_or_else(|| query.max_payload());
    let limit = if query.is_udp() { payload.clamp(MIN_UDP, MAX_UDP) } else { MAX_TCP };
    let failure = Reply::new(ResponseCode::ServFail, "");
    // An extended rcode cannot be said without an OPT record.
    let says_opt = query.opt().is_some() || reply.frame.opt_always;
    let reply = if reply.rcode.high() > 0 && !says_opt { &failure } else { reply };
    let bare = |rcode| opt(query, &Reply { frame: reply.frame.clone(), ..Reply::new(rcode, "") }, &[], None);
    // Options are dropped before the reply is: padding, say, can be longer than what the client takes.
    encode_within(query, reply, &full_opt(query, reply), limit)
        .or_else(|| encode_within(query, reply, &bare(reply.rcode), limit))
        .or_else(|| encode_within(query, &failure, &bare(failure.rcode), limit))
}

/// The bytes of `reply` to `query` whole and without an OPT record, for a cache: names that are the question's point
/// to it. `None` if it cannot be encoded, or has no end within the longest message.
pub fn encode_bare(query: &Query, reply: &Reply) -> Option<Vec<u8>> {
    /// In byte 2 of the header: the message was truncated.
    const TC: u8 = 0x02;
    let bytes = encode_within(query, reply, &[], MAX_TCP)?;
    bytes.get(2).is_some_and(|flags| flags & TC == 0).then_some(bytes)
}

/// BADVERS (RFC 6891 §6.1.3): the question and an OPT of our version.
pub fn bad_version(query: &Query) -> Option<Vec<u8>> {
    let reply = Reply::new(ResponseCode::BADVERS, "");
    let opt = ReplyOpt { rcode_high: reply.rcode.high(), ..ReplyOpt::default() };
    encode_within(query, &reply, &opt.bytes()?, MAX_TCP)
}

/// The OPT record of a reply: only if the query had one (RFC 6891 §7). The client's size is echoed as CoreDNS
/// does.
fn opt(query: &Query, reply: &Reply, echoed: &[u8], ede: Option<&Ede>) -> Vec<u8> {
    let size = match query.opt() {
        Some(theirs) => theirs.size,
        None if reply.frame.opt_always => MIN_UDP,
        None => return Vec::new(),
    };
    let opt = ReplyOpt {
        size: reply.frame.max_payload.unwrap_or(size),
        rcode_high: reply.rcode.high(),
        dnssec_ok: query.dnssec_ok(),
        echoed,
        ede,
    };
    // Without options a record always fits.
    opt.bytes().or_else(|| ReplyOpt { echoed: &[], ede: None, ..opt }.bytes()).unwrap_or_default()
}

/// The OPT record with everything that it may say.
fn full_opt(query: &Query, reply: &Reply) -> Vec<u8> {
    let nsid = reply.frame.nsid.as_deref();
    let echoed = query.opt().map(|opt| opt.echoed(query.bytes(), nsid)).unwrap_or_default();
    opt(query, reply, &echoed, reply.ede.as_ref())
}

/// Header, question, as many whole records as fit before `opt`, and `opt`. `None` if not even the question fits.
fn encode_within(query: &Query, reply: &Reply, opt: &[u8], limit: u16) -> Option<Vec<u8>> {
    let mut metadata = Metadata::response_from_request(query.metadata());
    metadata.response_code = reply.rcode;
    metadata.authoritative = reply.authoritative;
    metadata.recursion_available = reply.recursion_available;
    metadata.authentic_data = reply.authentic_data;
    let Frame { recursion_desired, checking_disabled, .. } = reply.frame;
    metadata.recursion_desired =
        recursion_desired.unwrap_or(query.is_query() && query.metadata().recursion_desired);
    metadata.checking_disabled =
        checking_disabled.unwrap_or(query.is_query() && query.metadata().checking_disabled);

    let most = usize::from(limit).checked_sub(opt.len())?;
    let mut bytes = Vec::with_capacity(512);
    let mut encoder = BinEncoder::new(&mut bytes);
    // hickory writes a name in full before it shortens it, and needs the room for that.
    encoder.set_max_size(u16::MAX);
    let header = encoder.place::<Header>().ok()?;
    write_question(query, &mut encoder)?;
    if encoder.offset() > most {
        return None;
    }
    let mut records = Records { question: query.name(), most, whole: true };
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
    /// Bytes that there may be.
    most: usize,
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
            let begin = encoder.offset();
            // `emit_all` takes back what it wrote of a record that does not fit.
            match encoder.emit_all(iter::once(&Answer { record, question: self.question })) {
                Ok(_) if encoder.offset() <= self.most => count += 1,
                Ok(_) => {
                    encoder.set_offset(begin);
                    self.whole = false;
                }
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use hickory_proto::op::Message;
    use hickory_proto::rr::rdata::{A, SRV, TXT};
    use hickory_server::net::xfer::Protocol;
    use proptest::prelude::*;

    use super::*;
    use crate::node::gate::{Gate, judge};
    use crate::node::router::Router;
    use crate::ops::dns_metrics::ServerMetrics;
    use crate::ops::metrics::Metrics;
    use crate::testkit::client;

    /// A query as the plugins would see it.
    fn query(query: &client::Query, protocol: Protocol) -> Arc<Query> {
        let metrics = Arc::new(Metrics::new());
        let server = Arc::new(ServerMetrics::new(&metrics, "test", &[]));
        let router = Router::new("test".into(), vec![], server, metrics.counter("panics", &[]));
        let here = "127.0.0.1:53".parse().unwrap();
        match judge(&query.bytes(), here, here, protocol, &router) {
            Gate::Pass(query) => query,
            _ => unreachable!("a plain query passes the gate"),
        }
    }

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn a(owner: &str, last: usize) -> Record {
        let data = A(Ipv4Addr::new(10, 0, (last >> 8) as u8, last as u8));
        Record::from_rdata(name(owner), 5, RData::A(data))
    }

    /// SRV records with their glue; hosts have labels of these lengths.
    fn srv_reply(owner: &str, hosts: &[usize]) -> Reply {
        let mut reply = Reply::new(ResponseCode::NoError, "test");
        for (i, len) in hosts.iter().enumerate() {
            let host = format!("{i}{}.svc.example.", "h".repeat(*len));
            let data = RData::SRV(SRV::new(0, 1, 80, name(&host)));
            reply.answers.push(Record::from_rdata(name(owner), 5, data));
            reply.additional.push(a(&host, i));
        }
        reply
    }

    /// What is true of every reply, whatever had to be cut.
    fn check(asked: &client::Query, protocol: Protocol, limit: usize, reply: &Reply) {
        let query = query(asked, protocol);
        let bytes = encode(&query, reply).unwrap();
        assert!(bytes.len() <= limit, "{} bytes, at most {limit}", bytes.len());
        let message = Message::from_vec(&bytes).unwrap();
        assert!(bytes[HEADER..].starts_with(query.wire_question()), "the question is echoed");
        let counts: usize =
            [&message.answers, &message.authorities, &message.additionals].map(Vec::len).iter().sum();
        let all: Vec<_> =
            [&reply.answers, &reply.authority, &reply.additional].into_iter().flatten().collect();
        let got = [message.answers, message.authorities, message.additionals].concat();
        assert!(got.iter().eq(all[..counts].iter().copied()), "what is missing is the end");
        assert_eq!(message.metadata.truncation, counts < all.len(), "TC says that something is missing");
        if let Some(next) = all.get(counts) {
            assert!(bytes.len() + record_len(next) > limit, "the next record would have fitted");
        }
        let size = query.opt().map(|opt| opt.size);
        assert_eq!(message.edns.is_some(), size.is_some(), "OPT survives");
        if let Some(size) = size {
            let opt = opt(&query, reply, &[], None);
            assert_eq!(opt[3..5], size.to_be_bytes(), "the size is echoed as it was");
        }
    }

    #[test]
    fn no_reply_is_longer_than_any_size_that_clients_name() {
        let reply = srv_reply("_p._tcp.svc.example.", &[9; 50]);
        for size in (0..=512).step_by(64).chain(513..=4096).chain([u16::MAX]) {
            let asked =
                client::Query::new("_p._tcp.svc.example.", hickory_proto::rr::RecordType::SRV).edns(size);
            check(&asked, Protocol::Udp, usize::from(size.clamp(512, MAX_UDP)), &reply);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_cut_is_the_end_and_never_the_opt_record(
            hosts in proptest::collection::vec(0..50_usize, 0..60),
            label in "[a-zA-Z0-9_]{1,63}",
            size in proptest::option::of(0..5000_u16),
            cookie in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
            udp in any::<bool>(),
        ) {
            let owner = format!("{label}.svc.example.");
            let mut asked = client::Query::a(&owner);
            if let Some(size) = size {
                asked = asked.edns(size);
                if let Some(cookie) = cookie {
                    asked = asked.option(10, &cookie);
                }
            }
            let (protocol, limit) = match udp {
                true => (Protocol::Udp, usize::from(size.unwrap_or(0).max(512))),
                false => (Protocol::Tcp, 65_535),
            };
            check(&asked, protocol, limit, &srv_reply(&owner, &hosts));
        }
    }

    #[test]
    fn once_an_answer_does_not_fit_smaller_glue_does_not_take_its_place() {
        let query = query(&client::Query::a("x."), Protocol::Udp);
        let mut reply = srv_reply("x.", &[0; 3]);
        let long = RData::TXT(TXT::new(vec!["t".repeat(250), "t".repeat(250)]));
        reply.answers.insert(1, Record::from_rdata(name("x."), 5, long));
        let message = Message::from_vec(&encode(&query, &reply).unwrap()).unwrap();
        assert_eq!((message.answers.len(), message.additionals.len()), (1, 0));
        assert!(message.metadata.truncation);
    }

    #[test]
    fn a_record_that_fits_with_its_name_shortened_is_not_cut() {
        let query = query(&client::Query::a("x."), Protocol::Udp);
        let long = format!("{}.example.", "n".repeat(60));
        let mut reply = Reply::new(ResponseCode::NoError, "test");
        reply.answers.push(a(&long, 0));
        // The question takes 7 bytes behind the header, the first record 84, each of the others 16.
        let fit = (usize::from(MIN_UDP) - HEADER - 7 - 84) / 16;
        reply.answers.extend((1..=fit).map(|i| a(&long, i)));
        let encoded = |reply: &Reply| Message::from_vec(&encode(&query, reply).unwrap()).unwrap();
        let message = encoded(&reply);
        assert_eq!((message.answers.len(), message.metadata.truncation), (1 + fit, false));
        reply.answers.push(a(&long, 0));
        let message = encoded(&reply);
        assert_eq!((message.answers.len(), message.metadata.truncation), (1 + fit, true));
    }

    #[test]
    fn more_names_are_compressed_than_hickory_would() {
        let query = query(&client::Query::a("a.long.name.example."), Protocol::Tcp);
        let mut reply = Reply::new(ResponseCode::NoError, "test");
        reply.answers = (0..1000).map(|i| a("a.long.name.example.", i)).collect();
        let bytes = encode(&query, &reply).unwrap();
        assert_eq!(bytes.len(), HEADER + query.wire_question().len() + 1000 * 16);
        assert_eq!(Message::from_vec(&bytes).unwrap().answers, reply.answers);
    }

    #[test]
    fn letter_case_decides_what_is_compressed() {
        let query = query(&client::Query::a("Www.Example."), Protocol::Udp);
        let mut reply = Reply::new(ResponseCode::NoError, "test");
        reply.answers =
            vec![a("Www.Example.", 1), a("www.example.", 2), a("x.Example.", 3), a("x.example.", 4)];
        let message = Message::from_vec(&encode(&query, &reply).unwrap()).unwrap();
        let owners: Vec<_> = message.answers.iter().map(|r| r.name.to_ascii()).collect();
        assert_eq!(owners, ["Www.Example.", "www.example.", "x.Example.", "x.example."]);
    }

    #[test]
    fn options_give_way_to_the_reply() {
        struct Case {
            name: &'static str,
            asked: client::Query,
            ede: usize,
            /// Length of the OPT record, and whether there is TC.
            want: (usize, bool),
        }
        let asked = client::Query::a("x.");
        let cases = [
            Case { name: "nothing", asked: asked.clone().edns(512), ede: 0, want: (11, false) },
            Case {
                name: "a cookie and a reason",
                asked: asked.clone().edns(512).option(10, b"12345678"),
                ede: 9,
                want: (11 + 12 + 6 + 9, false),
            },
            Case {
                name: "padding that leaves no room for the question",
                asked: asked.clone().edns(512).option(12, &[0; 490]),
                ede: 0,
                want: (11, false),
            },
            Case {
                name: "padding that leaves room for the question only",
                asked: asked.clone().edns(512).option(12, &[0; 470]),
                ede: 0,
                want: (11 + 474, true),
            },
            Case { name: "a reason that is too long", asked: asked.edns(512), ede: 500, want: (11, false) },
        ];
        for Case { name, asked, ede, want } in cases {
            let query = query(&asked, Protocol::Udp);
            let text = "e".repeat(ede);
            let ede = (ede > 0).then_some(Ede { code: EdeCode::Other, text });
            let reply = Reply { answers: vec![a("x.", 1)], ede, ..Reply::new(ResponseCode::NoError, "test") };
            let bytes = encode(&query, &reply).unwrap();
            let message = Message::from_vec(&bytes).unwrap();
            let records = HEADER + query.wire_question().len() + 16 * message.answers.len();
            assert_eq!((bytes.len() - records, message.metadata.truncation), want, "{name}");
        }
    }

    #[test]
    fn an_extended_rcode_without_opt_is_servfail() {
        let reply = Reply::new(ResponseCode::BADCOOKIE, "test");
        for (asked, want) in [
            (client::Query::a("x."), ResponseCode::ServFail),
            (client::Query::a("x.").edns(512), ResponseCode::BADCOOKIE),
        ] {
            let bytes = encode(&query(&asked, Protocol::Udp), &reply).unwrap();
            assert_eq!(Message::from_vec(&bytes).unwrap().metadata.response_code, want);
        }
    }

    #[test]
    fn the_uncompressed_length_counts_every_byte() {
        let query = query(&client::Query::a("herd.shop.svc.cluster.local.").edns(1232), Protocol::Udp);
        let mut reply = Reply::new(ResponseCode::NoError, "test");
        reply.answers = (0..60).map(|i| a("herd.shop.svc.cluster.local.", i)).collect();
        assert_eq!(reply.uncompressed_len(&query), 12 + 29 + 4 + 60 * (29 + 14) + 11);
    }
}
