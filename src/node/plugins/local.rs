//! `local`: names of the machine itself are answered here and never leave it.
//!
//! * `localhost` and every name below it is the loopback address (RFC 6761 §6.3).
//! * So is `localhost` in front of any name, which resolvers with a search list ask for.
//! * `0.in-addr.arpa`, `127.in-addr.arpa` and `255.in-addr.arpa` are empty (RFC 6303 §4.1) but for the PTR record of
//!   127.0.0.1.
//!
//! Replies are authoritative, which CoreDNS's are not: nobody else can be asked about these zones.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{NS, PTR, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use metrics::Counter;

use super::once;
use crate::corefile::{Directive, Error, Statement};
use crate::node::chain::{Next, Outcome, Plugin};
use crate::node::lane::worker::Worker;
use crate::node::lane::writer::Writer;
use crate::node::lane::{self, Reached, Role, Step};
use crate::node::query::Query;
use crate::node::reply::Reply;
use crate::node::setup::Context;
use crate::ops::catalogue;
use crate::zone::name::Labels;

/// The plugin's name.
pub const NAME: &str = "local";

/// It has no options.
pub const OPTIONS: [&str; 0] = [];

/// What lines are logged under.
const TARGET: &str = "plugin/local";

/// TTL of all records, in seconds: a week, since none of it changes.
const TTL: u32 = 604_800;

/// The first label of an intercepted name, and the zone of the same name.
const LOCALHOST: &[u8] = b"localhost";

/// The numbers of the reverse zones.
const REVERSE: [&[u8]; 3] = [b"0", b"127", b"255"];

/// Takes nothing.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let directive = once(directives)?;
    directive.no_args()?;
    directive.no_body()?;
    let intercepted = cx.environment.metrics.counter(catalogue::LOCALHOST_REQUESTS, &[]);
    intercepted.increment(0);
    Ok(vec![Arc::new(Local { intercepted })])
}

/// What a name is, seen from the machine itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// `localhost`
    Localhost,
    /// A name below `localhost`, or with `localhost` in front.
    Intercepted,
    /// One of the empty zones.
    Apex,
    /// `1.0.0.127.in-addr.arpa`
    Loopback,
    /// `0.127.in-addr.arpa` and `0.0.127.in-addr.arpa`, which exist because there is something below (RFC 8020).
    Between,
    /// No name, in one of the empty zones.
    Nothing,
    /// A name of others.
    Elsewhere,
}

impl Place {
    fn of(name: &Labels) -> Self {
        let mut labels = name.iter();
        match (labels.next_back(), labels.next_back(), labels.next_back()) {
            (Some(LOCALHOST), None, _) => return Self::Localhost,
            (Some(LOCALHOST), ..) => return Self::Intercepted,
            (Some(b"arpa"), Some(b"in-addr"), Some(number)) if REVERSE.contains(&number) => {}
            _ if !name.is_empty() && name.get(0) == LOCALHOST => return Self::Intercepted,
            _ => return Self::Elsewhere,
        }
        match (name.get(name.len() - 3), name.len()) {
            (_, 3) => Self::Apex,
            (b"127", 4) if name.get(0) == b"0" => Self::Between,
            (b"127", 5) if name.get(0) == b"0" && name.get(1) == b"0" => Self::Between,
            (b"127", 6) if name.get(0) == b"1" && name.get(1) == b"0" && name.get(2) == b"0" => {
                Self::Loopback
            }
            _ => Self::Nothing,
        }
    }

    /// How many labels its zone has.
    fn zone_len(self, name: &Labels) -> usize {
        match self {
            Self::Localhost => 1,
            // The name stands for a zone of its own.
            Self::Intercepted => name.len(),
            _ => 3,
        }
    }
}

/// Answers for the machine itself.
struct Local {
    /// `coredns_local_localhost_requests_total`
    intercepted: Counter,
}

impl Local {
    fn reply(&self, query: &Query, place: Place) -> Option<Reply> {
        let localhost = || Name::from_labels([LOCALHOST]).ok();
        let zone = query.name().trim_to(place.zone_len(query.labels()));
        let soa = || {
            let mailbox = localhost()?.prepend_label(b"root".as_slice()).ok()?;
            let timers = i32::try_from(TTL).unwrap_or(i32::MAX);
            Some(RData::SOA(SOA::new(localhost()?, mailbox, 1, timers, timers, timers, TTL)))
        };
        let data = match (place, query.kind()) {
            (Place::Localhost | Place::Intercepted, RecordType::A) => {
                Some(RData::A(Ipv4Addr::LOCALHOST.into()))
            }
            (Place::Localhost | Place::Intercepted, RecordType::AAAA) => {
                Some(RData::AAAA(Ipv6Addr::LOCALHOST.into()))
            }
            (Place::Loopback, RecordType::PTR) => Some(RData::PTR(PTR(localhost()?))),
            (Place::Localhost | Place::Apex, RecordType::SOA) => Some(soa()?),
            (Place::Localhost | Place::Apex, RecordType::NS) => Some(RData::NS(NS(localhost()?))),
            _ => None,
        };
        let rcode = if place == Place::Nothing { ResponseCode::NXDomain } else { ResponseCode::NoError };
        let mut reply = Reply { authoritative: true, ..Reply::new(rcode, NAME) };
        match data {
            Some(data) => reply.answers.push(Record::from_rdata(query.name().clone(), TTL, data)),
            None => reply.authority.push(Record::from_rdata(zone, TTL, soa()?)),
        }
        Some(reply)
    }
}

impl Step for Local {
    fn has_at_hand(&self, name: &Labels) -> bool {
        Place::of(name) != Place::Elsewhere
    }

    fn answer(&self, asked: &lane::Asked<'_>, _: &mut Worker, _: &mut Writer<'_>) -> Reached {
        if self.has_at_hand(asked.question.labels()) {
            Reached::General { at_hand: true }
        } else {
            Reached::Next
        }
    }
}

#[async_trait]
impl Plugin for Local {
    fn name(&self) -> &'static str {
        NAME
    }

    fn role(self: Arc<Self>, _identity: &str) -> Role {
        Role::Answers(self)
    }

    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome {
        let place = Place::of(query.labels());
        if place == Place::Elsewhere {
            return next.run(query).await;
        }
        if place == Place::Intercepted {
            self.intercepted.increment(1);
            tracing::debug!(target: TARGET, "intercepting localhost query for {} {}, from {}", query.labels(),
                query.kind(), query.source());
        }
        match self.reply(query, place) {
            Some(reply) => reply.into(),
            None => Outcome::error("plugin/local: a name is too long"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::test_support::{Ask, Logs, Scene, plugins};

    #[tokio::test]
    async fn local_alone() {
        use RecordType::{A, AAAA, NS, PTR, SOA, TXT};
        let scene = Scene::new("local", |_| Reply::new(ResponseCode::Refused, "last").into());
        let soa = |zone: &str| {
            format!("{zone} 604800 IN SOA localhost. root.localhost. 1 604800 604800 604800 604800")
        };
        // The answer, or the zone of a denial.
        for (name, kind, answer, denial) in [
            ("LocalHost.", A, "LocalHost. 604800 IN A 127.0.0.1", ""),
            ("localhost.", AAAA, "localhost. 604800 IN AAAA ::1", ""),
            ("localhost.", NS, "localhost. 604800 IN NS localhost.", ""),
            ("localhost.", SOA, &soa("localhost."), ""),
            ("localhost.", TXT, "", "localhost."),
            ("a.b.localhost.", A, "a.b.localhost. 604800 IN A 127.0.0.1", ""),
            ("localhost.example.org.", AAAA, "localhost.example.org. 604800 IN AAAA ::1", ""),
            ("localhost.example.org.", TXT, "", "localhost.example.org."),
            ("127.in-addr.arpa.", A, "", "127.in-addr.arpa."),
            ("0.in-addr.arpa.", SOA, &soa("0.in-addr.arpa."), ""),
            ("255.in-addr.arpa.", NS, "255.in-addr.arpa. 604800 IN NS localhost.", ""),
            ("1.0.0.127.in-addr.arpa.", PTR, "1.0.0.127.in-addr.arpa. 604800 IN PTR localhost.", ""),
            ("1.0.0.127.in-addr.arpa.", A, "", "127.in-addr.arpa."),
            ("0.0.127.in-addr.arpa.", PTR, "", "127.in-addr.arpa."),
            ("0.127.in-addr.arpa.", PTR, "", "127.in-addr.arpa."),
            ("2.0.0.127.in-addr.arpa.", PTR, "NXDomain", "127.in-addr.arpa."),
            ("1.0.0.0.in-addr.arpa.", PTR, "NXDomain", "0.in-addr.arpa."),
            ("0.1.0.0.127.in-addr.arpa.", PTR, "NXDomain", "127.in-addr.arpa."),
            ("128.in-addr.arpa.", PTR, "Refused", ""),
            ("notlocalhost.", A, "Refused", ""),
            (".", NS, "Refused", ""),
        ] {
            let message = scene.message(&Ask { name, kind, ..Ask::default() }).await.unwrap();
            let rcode = message.metadata.response_code;
            let mut got: Vec<_> = message.answers.iter().map(ToString::to_string).collect();
            if rcode != ResponseCode::NoError {
                got.push(format!("{rcode:?}"));
            }
            assert_eq!(got.join(" "), answer, "{name} {kind}");
            let authority: Vec<_> = message.authorities.iter().map(ToString::to_string).collect();
            let want: Vec<_> = Some(denial).filter(|zone| !zone.is_empty()).map(soa).into_iter().collect();
            assert_eq!(authority, want, "{name} {kind}");
            assert_eq!(message.metadata.authoritative, answer != "Refused", "{name} {kind}");
        }
        assert_eq!(scene.metric(catalogue::LOCALHOST_REQUESTS), Some(3.0), "not those of localhost itself");
    }

    #[tokio::test]
    async fn who_asks_for_localhost_is_told_in_detailed_logs() {
        let scene = Scene::new("local", |_| Outcome::Silence);
        let logs = Logs::capture("debug");
        scene.run(&Ask { name: "localhost.example.", ..Ask::default() }).await;
        let want = "intercepting localhost query for localhost.example. A, from 10.240.0.1:40212";
        assert_eq!(logs.take(), [format!("[DEBUG] plugin/local: {want}")]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (body, want) in [("local x", "write 'local'"), ("local {\n}", "takes no block")] {
            let error = plugins(body).err().unwrap_or_else(|| panic!("{body} is accepted"));
            assert!(error.position().line == 2 && error.message().contains(want), "{body}: {error}");
        }
    }
}
