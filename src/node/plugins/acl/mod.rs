//! `acl [ZONES...] { allow|block|filter|drop [type TYPE...] [net CIDR...] ... }`: who may ask for what.
//!
//! ```text
//! acl example.org {
//!     allow net 10.0.0.0/8              goes on
//!     filter type AAAA                  NOERROR without records, EDE 17
//!     drop net 192.0.2.0/24             no reply at all
//!     block                             REFUSED, EDE 15
//! }
//! ```
//!
//! The first line that the query's type and the client's address fall under decides; without one the next `acl` of
//! the block does, and in the end the query goes on. `*` stands for every type or address, and so does leaving the
//! section out. The reason is said in an OPT record even if the query had none, as CoreDNS does.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use ipnet::IpNet;
use metrics::Counter;

use super::by_server::ByServer;
use super::zones;
use crate::corefile::{Directive, Error, Line, Statement, Token};
use crate::node::chain::{Next, Outcome, Plugin};
use crate::node::query::Query;
use crate::node::reply::{Ede, EdeCode, Frame, Reply};
use crate::node::setup::Context;
use crate::ops::catalogue;
use crate::ops::metrics::Metrics;
use crate::zone::name::Labels;

/// The plugin's name.
pub const NAME: &str = "acl";

/// Words that lines may begin with.
pub const OPTIONS: [&str; 4] = ["allow", "block", "filter", "drop"];

/// Types that hickory does not know by name.
const MORE_TYPES: [(&str, u16); 10] = [
    ("RP", 17),
    ("AFSDB", 18),
    ("LOC", 29),
    ("ZONEMD", 63),
    ("SPF", 99),
    ("EUI48", 108),
    ("EUI64", 109),
    ("IXFR", 251),
    ("MAILB", 253),
    ("URI", 256),
];

/// Collects the rules of all `acl` directives of a block, in their order.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let mut rules = Vec::new();
    for directive in directives {
        let zones = zones(directive.args(), cx)?;
        let policies = directive.lines().iter().map(policy).collect::<Result<_, _>>()?;
        rules.push(Rule { zones, policies });
    }
    let names: Vec<Vec<String>> =
        rules.iter().map(|rule| rule.zones.iter().map(ToString::to_string).collect()).collect();
    let metrics = cx.environment.metrics.clone();
    let counters = ByServer::new(move |server| Counters::new(&metrics, server, &names));
    Ok(vec![Arc::new(Acl { rules, counters })])
}

fn policy(line: &Line) -> Result<Policy, Error> {
    let action = match line.name().text.to_ascii_lowercase().as_str() {
        "allow" => Action::Allow,
        "block" => Action::Block,
        "filter" => Action::Filter,
        "drop" => Action::Drop,
        _ => return Err(line.unknown_property(NAME, &OPTIONS)),
    };
    let mut policy = Policy { action, kinds: None, nets: None };
    let mut words = line.args();
    while let Some((section, rest)) = words.split_first() {
        let end = rest.iter().position(is_section).unwrap_or(rest.len());
        let (values, others) = rest.split_at(end);
        words = others;
        let name = section.text.to_ascii_lowercase();
        if !is_section(section) {
            return Err(section.error(format!("plugin/acl: '{}': write 'type' or 'net'", section.text)));
        }
        if values.is_empty() {
            return Err(section.error(format!("plugin/acl: '{name}' needs at least one value, or '*'")));
        }
        let all = values.iter().any(|word| word.text == "*");
        match name.as_str() {
            "type" if all => policy.kinds = None,
            "type" => {
                let kinds = values.iter().map(kind).collect::<Result<Vec<_>, _>>()?;
                policy.kinds.get_or_insert_default().extend(kinds);
            }
            _ if all => policy.nets = None,
            _ => {
                let nets = values.iter().map(net).collect::<Result<Vec<_>, _>>()?;
                policy.nets.get_or_insert_default().extend(nets);
            }
        }
    }
    Ok(policy)
}

fn is_section(word: &Token) -> bool {
    ["type", "net"].iter().any(|section| word.text.eq_ignore_ascii_case(section))
}

/// A type by its name or, as RFC 3597 §5 spells those without, `TYPE65280`.
fn kind(word: &Token) -> Result<RecordType, Error> {
    let name = word.text.to_ascii_uppercase();
    let number = || {
        let more = MORE_TYPES.iter().find(|(more, _)| *more == name).map(|(_, number)| *number);
        more.or_else(|| name.strip_prefix("TYPE")?.parse().ok()).map(RecordType::from)
    };
    name.parse().ok().or_else(number).ok_or_else(|| {
        word.error(format!("plugin/acl: '{}' is not a type: write A, AAAA, … or TYPE65280", word.text))
    })
}

/// A prefix, or an address alone.
fn net(word: &Token) -> Result<IpNet, Error> {
    match word.text.parse::<IpAddr>() {
        Ok(ip) => Ok(ip.into()),
        Err(_) => word.cidr(),
    }
}

/// What becomes of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// It goes on.
    Allow,
    /// REFUSED
    Block,
    /// NOERROR without records.
    Filter,
    /// No reply.
    Drop,
}

/// One line.
struct Policy {
    /// What becomes of queries that fall under it.
    action: Action,
    /// Of which types they are; `None` for all.
    kinds: Option<Vec<RecordType>>,
    /// From where they come; `None` for everywhere.
    nets: Option<Vec<IpNet>>,
}

impl Policy {
    fn is_for(&self, kind: RecordType, client: IpAddr) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
            && self.nets.as_ref().is_none_or(|nets| nets.iter().any(|net| net.contains(&client)))
    }
}

/// One directive.
struct Rule {
    /// The zones that it is for.
    zones: Vec<Labels>,
    /// Its lines.
    policies: Vec<Policy>,
}

/// The counters of one listener.
struct Counters {
    /// `coredns_acl_allowed_requests_total`
    allowed: Counter,
    /// By rule and by its zones.
    refused: Vec<Vec<ZoneCounters>>,
}

/// The counters of one zone of a rule.
struct ZoneCounters {
    /// `coredns_acl_blocked_requests_total`
    blocked: Counter,
    /// `coredns_acl_filtered_requests_total`
    filtered: Counter,
    /// `coredns_acl_dropped_requests_total`
    dropped: Counter,
}

impl Counters {
    fn new(metrics: &Metrics, server: &str, rules: &[Vec<String>]) -> Self {
        let zone = |zone: &String| {
            let counter = |name| metrics.counter(name, &[("server", server), ("zone", zone), ("view", "")]);
            ZoneCounters {
                blocked: counter(catalogue::ACL_BLOCKED),
                filtered: counter(catalogue::ACL_FILTERED),
                dropped: counter(catalogue::ACL_DROPPED),
            }
        };
        Self {
            allowed: metrics.counter(catalogue::ACL_ALLOWED, &[("server", server), ("view", "")]),
            refused: rules.iter().map(|zones| zones.iter().map(zone).collect()).collect(),
        }
    }
}

/// Keeps clients and questions out.
struct Acl {
    /// In the order of the Corefile.
    rules: Vec<Rule>,
    /// What was done.
    counters: ByServer<Counters>,
}

impl Acl {
    /// What becomes of a client's question: by which rule, for which of its zones, and what.
    fn judge(&self, client: IpAddr, name: &Labels, kind: RecordType) -> Option<(usize, usize, Action)> {
        let client = client.to_canonical();
        self.rules.iter().enumerate().find_map(|(at, rule)| {
            let zones = rule.zones.iter().enumerate();
            let matching = zones.filter(|(_, zone)| name.is_within(zone));
            let (zone, _) = matching.max_by_key(|(_, zone)| zone.len())?;
            let policy = rule.policies.iter().find(|policy| policy.is_for(kind, client))?;
            Some((at, zone, policy.action))
        })
    }
}

/// A reply that says why it is empty.
fn refusal(rcode: ResponseCode, code: EdeCode) -> Outcome {
    let ede = Some(Ede { code, text: String::new() });
    let frame = Frame { opt_always: true, ..Frame::DEFAULT };
    Reply { ede, frame, ..Reply::new(rcode, NAME) }.into()
}

#[async_trait]
impl Plugin for Acl {
    fn name(&self) -> &'static str {
        NAME
    }

    fn drops(&self, client: IpAddr, name: &Labels, kind: RecordType) -> bool {
        matches!(self.judge(client, name, kind), Some((_, _, Action::Drop)))
    }

    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome {
        let counters = self.counters.of(query);
        let decision = self.judge(query.source().ip(), query.labels(), query.kind());
        let zone = decision.and_then(|(rule, zone, _)| counters.refused.get(rule)?.get(zone));
        match (decision.map(|(_, _, action)| action), zone) {
            (Some(Action::Block), Some(zone)) => {
                zone.blocked.increment(1);
                refusal(ResponseCode::Refused, EdeCode::Blocked)
            }
            (Some(Action::Filter), Some(zone)) => {
                zone.filtered.increment(1);
                refusal(ResponseCode::NoError, EdeCode::Filtered)
            }
            (Some(Action::Drop), Some(zone)) => {
                zone.dropped.increment(1);
                Outcome::Silence
            }
            _ => {
                counters.allowed.increment(1);
                drop(counters);
                next.run(query).await
            }
        }
    }
}

#[cfg(test)]
mod tests;
