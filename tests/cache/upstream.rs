//! The upstream of scripts: the last plugin of the chain, which does as it is told and counts what reaches it.
//!
//! Modes: `answers`; `is silent` (two attempts of 2 s, as `forward` makes them); `is unreachable`; `is failing`
//! (SERVFAIL of its own), `is failing with CODE TEXT...`; `is refusing`; `is overloaded` (`max_concurrent`); `is full`
//! (as many forwards as ever may be); `is confused` (another question); `is truncating` over UDP; `is truncating small`
//! ones only, without an OPT record; `is unable` (NOTIMP); `is panicking`.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use outlast::corefile::parse_duration;
use outlast::node::chain::{Failure, Next, Outcome, Plugin, Upstreams};
use outlast::node::query::Query;
use outlast::node::reply::{Ede, EdeCode, Reply};
use tokio::time::Instant;

/// Its name as a plugin.
const NAME: &str = "upstream";

/// Two attempts of `forward` at an upstream that is silent.
const ATTEMPTS: Duration = Duration::from_secs(4);

/// What it does.
#[derive(Clone, Debug)]
enum Mode {
    Answers,
    Silent,
    Unreachable,
    Failing(Option<(u16, String)>),
    Refusing,
    Overloaded,
    Full,
    Confused,
    Truncating,
    TruncatingSmall,
    Unable,
    Panicking,
}

/// A question that reached it.
struct Seen {
    name: String,
}

/// What it does, knows and saw.
struct State {
    mode: Mode,
    takes: Duration,
    known: Option<Upstreams>,
    records: Vec<Record>,
    /// The authority section of negative answers.
    soa: Option<Record>,
    seen: Vec<Seen>,
    flags: String,
}

/// The upstream; clones are the same one.
#[derive(Clone)]
pub(super) struct Upstream(Arc<Mutex<State>>);

impl Upstream {
    /// One that knows nothing.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            mode: Mode::Answers,
            takes: Duration::ZERO,
            known: None,
            records: Vec::new(),
            soa: Some(soa("example.", "900", "60")),
            seen: Vec::new(),
            flags: String::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic that is scripted is not within it.
        self.0.lock().unwrap()
    }

    /// Does what a script says after `upstream`.
    pub(super) fn command(&self, words: &[&str]) {
        let mut state = self.state();
        match words {
            ["has", name, ttl, kind, data @ ..] => {
                let kind: RecordType = kind.parse().unwrap();
                let data = RData::try_from_str(kind, &data.join(" ")).unwrap();
                let record = Record::from_rdata(Name::from_ascii(name).unwrap(), ttl.parse().unwrap(), data);
                state.records.push(record);
            }
            ["lacks", name] => {
                let name = Name::from_ascii(name).unwrap();
                state.records.retain(|record| record.name != name);
            }
            ["soa", zone, ttl, minimum] => state.soa = Some(soa(zone, ttl, minimum)),
            ["no", "soa"] => state.soa = None,
            ["takes", time] => state.takes = parse_duration(time).unwrap(),
            ["is", "known", "to", "fail"] => state.known = Some(Upstreams::Failing),
            ["is", "not", "known", "to", "fail"] => {
                state.known = Some(Upstreams::Answering { recovered: None });
            }
            ["has", "recovered"] => {
                state.known = Some(Upstreams::Answering { recovered: Some(Instant::now()) });
            }
            ["answers"] => state.mode = Mode::Answers,
            ["is", "silent"] => state.mode = Mode::Silent,
            ["is", "unreachable"] => state.mode = Mode::Unreachable,
            ["is", "failing"] => state.mode = Mode::Failing(None),
            ["is", "failing", "with", code, text @ ..] => {
                state.mode = Mode::Failing(Some((code.parse().unwrap(), text.join(" "))));
            }
            ["is", "refusing"] => state.mode = Mode::Refusing,
            ["is", "overloaded"] => state.mode = Mode::Overloaded,
            ["is", "full"] => state.mode = Mode::Full,
            ["is", "confused"] => state.mode = Mode::Confused,
            ["is", "truncating"] => state.mode = Mode::Truncating,
            ["is", "truncating", "small"] => state.mode = Mode::TruncatingSmall,
            ["is", "unable"] => state.mode = Mode::Unable,
            ["is", "panicking"] => state.mode = Mode::Panicking,
            _ => panic!("no such upstream"),
        }
    }

    /// Questions (for a name) that have reached it since the last call.
    pub(super) fn take_seen(&self, name: Option<&str>) -> usize {
        let seen = std::mem::take(&mut self.state().seen);
        seen.iter().filter(|seen| name.is_none_or(|name| seen.name.eq_ignore_ascii_case(name))).count()
    }

    /// The flags of the last question that reached it.
    pub(super) fn last_flags(&self) -> String {
        self.state().flags.clone()
    }
}

/// `TTL` of the record, `minimum` of its data.
fn soa(zone: &str, ttl: &str, minimum: &str) -> Record {
    let zone = Name::from_ascii(zone).unwrap();
    let data = SOA::new(zone.clone(), zone.clone(), 1, 60, 60, 60, minimum.parse().unwrap());
    Record::from_rdata(zone, ttl.parse().unwrap(), RData::SOA(data))
}

#[async_trait]
impl Plugin for Upstream {
    fn name(&self) -> &'static str {
        NAME
    }

    fn takes_other_classes(&self) -> bool {
        true
    }

    fn upstreams(&self, _: &Query) -> Option<Upstreams> {
        self.state().known
    }

    fn recovered(&self, _: &[u8]) -> Option<Instant> {
        match self.state().known {
            Some(Upstreams::Answering { recovered }) => recovered,
            Some(Upstreams::Failing) | None => None,
        }
    }

    async fn serve(&self, query: &Query, _: Next<'_>) -> Outcome {
        let (mode, takes) = {
            let mut state = self.state();
            let header = query.metadata();
            let flags = [
                (header.recursion_desired, "rd"),
                (header.authentic_data, "ad"),
                (header.checking_disabled, "cd"),
                (query.dnssec_ok(), "do"),
            ];
            let flags: Vec<_> = flags.iter().filter(|(set, _)| *set).map(|(_, flag)| *flag).collect();
            state.flags = flags.join(" ");
            let seen = Seen { name: query.name().to_string() };
            state.seen.push(seen);
            (state.mode.clone(), state.takes)
        };
        tokio::time::sleep(takes).await;
        let reply = |rcode| Reply { recursion_available: true, ..Reply::new(rcode, NAME) };
        match mode {
            Mode::Answers => self.answer(query).into(),
            Mode::Silent => {
                tokio::time::sleep(ATTEMPTS).await;
                fail(ResponseCode::ServFail, EdeCode::NoReachableAuthority, "i/o timeout")
            }
            Mode::Unreachable => fail(ResponseCode::ServFail, EdeCode::NetworkError, "connection refused"),
            Mode::Failing(why) => {
                let ede = why.map(|(code, text)| Ede { code: EdeCode::Code(code), text });
                Reply { ede, ..reply(ResponseCode::ServFail) }.into()
            }
            Mode::Refusing => reply(ResponseCode::Refused).into(),
            Mode::Overloaded => fail(ResponseCode::Refused, EdeCode::Other, "exceeded maximum 1"),
            Mode::Full => fail(ResponseCode::ServFail, EdeCode::Other, "too many are in flight"),
            Mode::Confused => {
                Outcome::Failed(Failure { rcode: ResponseCode::FormErr, error: None, ede: None })
            }
            Mode::Truncating if query.is_udp() => {
                Reply { truncated: true, ..reply(ResponseCode::NoError) }.into()
            }
            Mode::TruncatingSmall if query.edns().is_none() => {
                Reply { truncated: true, ..reply(ResponseCode::NoError) }.into()
            }
            Mode::Truncating | Mode::TruncatingSmall => self.answer(query).into(),
            Mode::Unable => reply(ResponseCode::NotImp).into(),
            Mode::Panicking => panic!("as scripted"),
        }
    }
}

/// No reply, as `forward` says it.
fn fail(rcode: ResponseCode, code: EdeCode, text: &str) -> Outcome {
    let ede = Some(Ede { code, text: text.to_owned() });
    Outcome::Failed(Failure { rcode, error: Some(text.to_owned()), ede })
}

impl Upstream {
    /// What it knows. Records of the name `more.` and below come along in the additional section, NS records of
    /// other names in the authority section; who asks for authentic data is told that it is.
    fn answer(&self, query: &Query) -> Reply {
        let state = self.state();
        let mut reply = Reply {
            recursion_available: true,
            authentic_data: query.metadata().authentic_data || query.dnssec_ok(),
            ..Reply::new(ResponseCode::NoError, NAME)
        };
        let more = Name::from_ascii("more.").unwrap();
        let additional = state.records.iter().filter(|record| more.zone_of(&record.name)).cloned();
        let mut name = query.name().clone();
        loop {
            let here: Vec<_> = state.records.iter().filter(|record| record.name == name).collect();
            let wanted =
                |record: &&&Record| query.kind() == RecordType::ANY || record.record_type() == query.kind();
            let found: Vec<Record> = here.iter().filter(wanted).map(|record| (**record).clone()).collect();
            let alias = here.iter().find_map(|record| match &record.data {
                RData::CNAME(target) => Some(((*record).clone(), target.0.clone())),
                _ => None,
            });
            if !found.is_empty() {
                reply.answers.extend(found);
                reply.additional.extend(additional);
            } else if let Some((record, target)) = alias {
                reply.answers.push(record);
                name = target;
                continue;
            } else {
                let cut = here.iter().find(|record| record.record_type() == RecordType::NS);
                reply.authority.extend(cut.map(|record| (**record).clone()).or_else(|| state.soa.clone()));
                if here.is_empty() {
                    reply.rcode = ResponseCode::NXDomain;
                }
            }
            break;
        }
        for record in &mut reply.answers {
            record.dns_class = query.class();
        }
        reply
    }
}
