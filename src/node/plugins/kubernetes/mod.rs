//! `kubernetes`: the cluster's names, from the table.
//!
//! * [`options`] reads the block.
//! * [`records`] turns what the zone found into records.
//! * [`alias`] follows ExternalName services.
//! * [`fallback`] asks another server for names that are missing from stale data.
//! * `client` says what is known of a query and of who asks.
//!
//! What a client sees depends on the state of the data; the table of states is in ARCHITECTURE.md, and each
//! of its cells is one arm of `Kubernetes::serve` or `Kubernetes::mark`.

pub mod alias;
mod client;
pub mod fallback;
mod held;
pub mod options;
pub mod records;

use std::sync::Arc;

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;
use metrics::Counter;

use self::alias::Followed;
use self::fallback::Fallback;
use self::records::Encoder;
use crate::node::chain::{Next, Outcome, Plugin};
use crate::node::facts::Facts;
use crate::node::query::Query;
use crate::node::reply::{Ede, EdeCode, Reply};
use crate::ops::age::Age;
use crate::ops::clock::WallClock;
use crate::ops::jitter::answer_ttl;
use crate::ops::metrics::Metrics;
use crate::store::open_hold::OpenHold;
use crate::store::state::{DataState, Limits};
use crate::store::{Generation, Store};
use crate::zone::answer::{Answer, Records, VERSION_TTL};
use crate::zone::lookup::{QueryType, is_private_reverse};
use crate::zone::name::Labels;
use crate::zone::object::{Kind, Kinds};
use crate::zone::rules::{Rules, Zone};

/// The plugin's name in the Corefile and in metrics.
pub const NAME: &str = "kubernetes";

/// Records from stale data live at most this long, so that clients are soon back after a recovery.
const STALE_TTL: u32 = 30;

/// Negative answers from stale data live this long: what is missing may have appeared since.
const STALE_NEGATIVE_TTL: u32 = 5;

/// The plugin of one `kubernetes` block.
pub struct Kubernetes {
    /// What is answered.
    rules: Rules,
    /// What happens around the answer.
    policy: Policy,
    /// The data.
    store: Arc<Store>,
    /// Asked for names that are missing from stale data.
    fallback: Option<Fallback>,
    /// For the minute that TTLs depend on.
    clock: Arc<WallClock>,
    /// Counters of what is answered from what state.
    counters: Counters,
    /// What follows the cluster's own domains in the search path of a pod.
    host_search: Vec<Labels>,
}

/// Options that do not decide what the answer is.
#[derive(Clone, Debug)]
pub struct Policy {
    /// TTL of records in seconds, 0 to 3600.
    pub ttl: u32,
    /// Zones whose missing names go on to the next plugin.
    pub fallthrough: Vec<Labels>,
    /// How old data may be.
    pub limits: Limits,
    /// Hash of the node's name, so that not all nodes' clients come back at once.
    pub node: u64,
}

/// Counters, resolved once.
pub struct Counters {
    /// Answers from stale data, positive ones.
    stale_positive: Counter,
    /// The same, negative ones.
    stale_negative: Counter,
    /// SERVFAIL because data is missing.
    not_ready: Counter,
    /// SERVFAIL because data is too old.
    expired: Counter,
}

impl Counters {
    /// Registers the counters.
    pub fn new(metrics: &Metrics) -> Self {
        metrics.describe_counter(
            "outlast_stale_answers_total",
            "Answers given from data of unproved freshness.",
        );
        metrics.describe_counter("outlast_not_ready_answers_total", "SERVFAIL answers for want of data.");
        let stale = |answer| metrics.counter("outlast_stale_answers_total", &[("answer", answer)]);
        let failed = |reason| metrics.counter("outlast_not_ready_answers_total", &[("reason", reason)]);
        Self {
            stale_positive: stale("positive"),
            stale_negative: stale("negative"),
            not_ready: failed("empty"),
            expired: failed("expired"),
        }
    }
}

#[async_trait]
impl Plugin for Kubernetes {
    fn name(&self) -> &'static str {
        NAME
    }

    fn answers_from_memory(&self, name: &Labels) -> bool {
        self.rules.zone_of(name).is_some()
    }

    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome {
        // One generation for the whole answer.
        let generation = self.store.current().clone();
        let kind = QueryType::from(u16::from(query.kind()));
        let (zone, answer) = self.rules.lookup(&generation.table, query.labels(), kind);
        let Some(zone) = zone else { return next.run(query).await };
        let state = DataState::judge(self.store.facts(&generation), self.rules.kinds(), self.policy.limits);
        if let DataState::Expired { age } = state
            && is_data(&answer)
        {
            if matches!(answer, Answer::NxDomain) && self.may_be_upstream(query, zone) {
                return next.run(query).await;
            }
            self.counters.expired.increment(1);
            let text = format!("data is {} old, more than max_stale", Age(age));
            return self.failure(query, zone, &generation, EdeCode::NoReachableAuthority, text).into();
        }
        let encoder = self.encoder(query, zone, &generation, state);
        let said = Said {
            state,
            generation: &generation,
            hold: held::hold(&generation, query, zone, self.rules.pods, &answer),
        };
        match answer {
            Answer::NotOurs => next.run(query).await,
            Answer::Refused => Reply::new(ResponseCode::Refused, "").into(),
            Answer::Records(ref records) => {
                let mut reply = encoder.records(records);
                if is_data(&answer) {
                    self.mark(&mut reply, said, Sign::Positive);
                }
                reply.into()
            }
            Answer::Alias(target) => match self.follow(query, &encoder, target).await {
                Followed::Reply(mut reply) => {
                    self.mark(&mut reply, said, Sign::Positive);
                    reply.into()
                }
                Followed::NoData => self.negative(query, encoder, ResponseCode::NoError, said).await,
                Followed::NotReady(missing) => self.not_ready(query, zone, &generation, missing).into(),
            },
            Answer::NoData => self.negative(query, encoder, ResponseCode::NoError, said).await,
            Answer::NxDomain if self.falls_through(query.labels()) => self.pass_on(query, next, said).await,
            Answer::NxDomain => self.negative(query, encoder, ResponseCode::NXDomain, said).await,
            Answer::NotReady(_) if self.may_be_upstream(query, zone) => next.run(query).await,
            Answer::NotReady(missing) => self.not_ready(query, zone, &generation, missing).into(),
        }
    }

    fn search_path(&self, query: &Query) -> Option<Vec<Labels>> {
        self.search_path_of(query)
    }

    fn describe(&self, query: &Query, facts: &Facts) {
        self.describe_query(query, facts);
    }
}

/// Whether an answer is about the cluster's objects, whose data can be old or missing.
const fn is_data(answer: &Answer<'_>) -> bool {
    match answer {
        Answer::Records(Records::Soa | Records::Version) => false,
        Answer::Records(_) | Answer::Alias(_) | Answer::NoData | Answer::NxDomain => true,
        Answer::NotOurs | Answer::Refused | Answer::NotReady(_) => false,
    }
}

/// Whether an answer says that there is something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// Records.
    Positive,
    /// NXDOMAIN or NODATA.
    Negative,
}

/// What is to be said of an answer.
#[derive(Clone, Copy)]
struct Said<'a> {
    /// The state of the data that it is from.
    state: DataState,
    /// The data.
    generation: &'a Generation,
    /// The hold that it is under.
    hold: Option<&'a OpenHold>,
}

impl Kubernetes {
    /// Puts the parts together.
    pub fn new(
        rules: Rules,
        policy: Policy,
        store: Arc<Store>,
        fallback: Option<Fallback>,
        clock: Arc<WallClock>,
        counters: Counters,
    ) -> Self {
        Self { rules, policy, store, fallback, clock, counters, host_search: Vec::new() }
    }

    /// The same with the search path of the host, for `autopath`.
    #[must_use]
    pub fn with_host_search(self, host_search: Vec<Labels>) -> Self {
        Self { host_search, ..self }
    }

    /// Passes a missing name on. From stale data it may be missing only here, so the fallback has its say first,
    /// and a denial from upstream lives as short as ours would.
    async fn pass_on(&self, query: &Query, next: Next<'_>, said: Said<'_>) -> Outcome {
        if let Some(reply) = self.ask_fallback(query, said.state).await {
            return reply.into();
        }
        let mut outcome = next.run(query).await;
        if let Outcome::Reply(reply) = &mut outcome
            && matches!(said.state, DataState::Stale { .. })
            && reply.rcode == ResponseCode::NXDomain
        {
            for record in &mut reply.authority {
                record.ttl = record.ttl.min(STALE_NEGATIVE_TTL);
            }
            self.mark(reply, said, Sign::Negative);
        }
        outcome
    }

    /// The fallback's answer to a name that is missing from stale data.
    async fn ask_fallback(&self, query: &Query, state: DataState) -> Option<Reply> {
        match (&self.fallback, state) {
            // Where places to wait in are scarce our own answer is the second best.
            (Some(fallback), DataState::Stale { .. }) if query.may_wait() => fallback.ask(query).await,
            _ => None,
        }
    }

    fn falls_through(&self, name: &Labels) -> bool {
        self.policy.fallthrough.iter().any(|zone| name.is_within(zone))
    }

    /// Whether a name of which we can say nothing may have its answer upstream. Names that only this network
    /// can know must not leak.
    fn may_be_upstream(&self, query: &Query, zone: &Zone) -> bool {
        self.falls_through(query.labels()) && zone.reverse && !is_private_reverse(query.labels())
    }

    /// TTLs for this name now: what `ttl` says less jitter, and less again from stale data.
    fn encoder<'a>(
        &'a self,
        query: &'a Query,
        zone: &'a Zone,
        generation: &'a Generation,
        state: DataState,
    ) -> Encoder<'a> {
        let minute = self.clock.now_unix_ms() / 60_000;
        let cap = if matches!(state, DataState::Live) { u32::MAX } else { STALE_TTL };
        let lasting = |ttl| answer_ttl(ttl, self.policy.node, query.labels().key(), minute);
        let jittered = |ttl| lasting(ttl).min(cap);
        Encoder {
            query,
            zone,
            rules: &self.rules,
            table: &generation.table,
            ttl: jittered(self.policy.ttl),
            // The version of the specification is ours, whatever becomes of the data.
            version_ttl: lasting(VERSION_TTL),
            // Negative answers and SOA records never live longer than five minutes.
            soa_ttl: jittered(self.policy.ttl.min(records::MAX_SOA_TTL)),
            minimum: self.policy.ttl,
        }
    }

    /// NODATA or NXDOMAIN; from stale data only after the fallback had its say.
    async fn negative(
        &self,
        query: &Query,
        mut encoder: Encoder<'_>,
        rcode: ResponseCode,
        said: Said<'_>,
    ) -> Outcome {
        // A name that exists has no more types elsewhere than here; only a missing name may be new.
        if rcode == ResponseCode::NXDomain
            && let Some(reply) = self.ask_fallback(query, said.state).await
        {
            return reply.into();
        }
        if !matches!(said.state, DataState::Live) {
            encoder.soa_ttl = encoder.soa_ttl.min(STALE_NEGATIVE_TTL);
        }
        let mut reply = encoder.negative(rcode);
        self.mark(&mut reply, said, Sign::Negative);
        reply.into()
    }

    /// Says of an answer from stale data that it is, and counts it; and of records that a guard holds on to why.
    fn mark(&self, reply: &mut Reply, said: Said<'_>, sign: Sign) {
        let held = said.hold.filter(|_| sign == Sign::Positive);
        let DataState::Stale { .. } = said.state else {
            reply.ede = held.map(|hold| Ede { code: EdeCode::StaleAnswer, text: held::why(hold) });
            return;
        };
        let (code, counter) = match sign {
            Sign::Positive => (EdeCode::StaleAnswer, &self.counters.stale_positive),
            Sign::Negative => (EdeCode::StaleNxDomain, &self.counters.stale_negative),
        };
        counter.increment(1);
        reply.ede = Some(Ede { code, text: held::stale(said.state, said.generation, held) });
    }

    /// SERVFAIL because these kinds have never been seen whole.
    fn not_ready(&self, query: &Query, zone: &Zone, generation: &Generation, missing: Kinds) -> Reply {
        self.counters.not_ready.increment(1);
        let kinds: Vec<_> = missing.iter().map(Kind::as_str).collect();
        let text = format!("no data yet: {}", kinds.join(", "));
        self.failure(query, zone, generation, EdeCode::NotReady, text)
    }

    /// SERVFAIL with the zone's SOA, as CoreDNS gives it before it has synced.
    fn failure(
        &self,
        query: &Query,
        zone: &Zone,
        generation: &Generation,
        code: EdeCode,
        text: String,
    ) -> Reply {
        let encoder = self.encoder(query, zone, generation, DataState::Live);
        Reply { ede: Some(Ede { code, text }), ..encoder.negative(ResponseCode::ServFail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_objects_say_can_be_stale() {
        for (answer, want) in [
            (Answer::Records(Records::Soa), false),
            (Answer::Records(Records::Version), false),
            (Answer::Records(Records::NameServers), true),
            (Answer::Alias("web.example.org"), true),
            (Answer::NoData, true),
            (Answer::NxDomain, true),
            (Answer::NotOurs, false),
            (Answer::Refused, false),
            (Answer::NotReady(Kinds::CORE), false),
        ] {
            assert_eq!(is_data(&answer), want);
        }
    }
}
