//! `kubernetes`: the cluster's names, from the table.
//!
//! * [`options`] reads the block; [`added`] makes one for Corefiles that have none.
//! * `ruling` decides what becomes of a question: for the general handler, and for the inline lane.
//! * [`records`] turns what the zone found into records, `inline` writes it into a reply at once.
//! * [`alias`] follows ExternalName services.
//! * [`fallback`] asks another server for names that are missing from stale data.
//! * `client` says what is known of a query and of who asks.
//!
//! What a client sees depends on the state of the data; the table of states is in ARCHITECTURE.md, and each
//! of its cells is one arm of `Kubernetes::rule` or `Kubernetes::mark`.

pub mod added;
pub mod alias;
mod client;
pub mod fallback;
mod held;
mod inline;
pub mod options;
pub mod records;
mod ruling;

use std::sync::Arc;

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;
use metrics::Counter;
use tokio::time::Instant;

use self::alias::Followed;
use self::fallback::Fallback;
use self::records::Encoder;
use self::ruling::{Ruled, Ruling, STALE_NEGATIVE_TTL, Said, Sign};
use crate::node::chain::{Next, Outcome, Plugin};
use crate::node::facts::Facts;
use crate::node::lane::Role;
use crate::node::query::Query;
use crate::node::reply::{Ede, EdeCode, Reply};
use crate::ops::age::Age;
use crate::ops::clock::WallClock;
use crate::ops::metrics::Metrics;
use crate::ops::tally::Tally;
use crate::store::state::{DataState, Limits};
use crate::store::{Generation, Store};
use crate::zone::answer::Records;
use crate::zone::lookup::QueryType;
use crate::zone::name::Labels;
use crate::zone::object::{Kind, Kinds};
use crate::zone::rules::{Rules, Zone};

/// The plugin's name in the Corefile and in metrics.
pub const NAME: &str = "kubernetes";

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
    /// Whether the next plugin decides for as long as data is missing.
    pub forwards_while_empty: bool,
    /// How old data may be.
    pub limits: Limits,
    /// Hash of the node's name, so that not all nodes' clients come back at once.
    pub node: u64,
}

/// Counters, resolved once.
pub struct Counters {
    /// Answers from stale data, positive ones.
    stale_positive: Tally,
    /// The same, negative ones.
    stale_negative: Tally,
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
        let stale = |answer| metrics.tally("outlast_stale_answers_total", &[("answer", answer)]);
        let failed = |reason| metrics.counter("outlast_not_ready_answers_total", &[("reason", reason)]);
        Self {
            stale_positive: stale("positive"),
            stale_negative: stale("negative"),
            not_ready: failed("empty"),
            expired: failed("expired"),
        }
    }

    /// Where an answer from data of this state is counted, if it is.
    const fn of_stale(&self, state: DataState, sign: Sign) -> Option<&Tally> {
        match (state, sign) {
            (DataState::Stale { .. }, Sign::Positive) => Some(&self.stale_positive),
            (DataState::Stale { .. }, Sign::Negative) => Some(&self.stale_negative),
            _ => None,
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

    fn role(self: Arc<Self>, _identity: &str) -> Role {
        Role::Answers(self)
    }

    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome {
        // One generation for the whole answer.
        let generation = self.store.current().clone();
        let kind = QueryType::from(u16::from(query.kind()));
        let facts = self.store.facts(&generation);
        let Some(ruled) = self.rule(&generation, facts, query.labels(), kind) else {
            return next.run(query).await;
        };
        let Ruled { zone, ruling, said } = ruled;
        let encoder = self.encoder(query, zone, &generation, said.state);
        match ruling {
            Ruling::Next => next.run(query).await,
            Ruling::Refused => Reply::new(ResponseCode::Refused, "").into(),
            Ruling::Expired(age) => {
                self.counters.expired.increment(1);
                let text = format!("data is {} old, more than max_stale", Age(age));
                self.failure(query, zone, &generation, EdeCode::NoReachableAuthority, text).into()
            }
            Ruling::Records { records: records @ Records::Version, .. } => {
                let ttls = self.version_ttls(query.labels(), self.minute());
                Encoder { ttls, ..encoder }.records(&records).into()
            }
            Ruling::Records { records, is_data } => {
                let mut reply = encoder.records(&records);
                if is_data {
                    self.mark(&mut reply, said, Sign::Positive);
                }
                reply.into()
            }
            Ruling::Alias(target) => match self.follow(query, &encoder, target).await {
                Followed::Reply(mut reply) => {
                    self.mark(&mut reply, said, Sign::Positive);
                    reply.into()
                }
                Followed::NoData => self.negative(query, encoder, ResponseCode::NoError, said).await,
                Followed::NotReady(missing) => self.not_ready(query, zone, &generation, missing).into(),
            },
            Ruling::NoData => self.negative(query, encoder, ResponseCode::NoError, said).await,
            Ruling::NxDomain => self.negative(query, encoder, ResponseCode::NXDomain, said).await,
            Ruling::PassOn => self.pass_on(query, next, said).await,
            Ruling::NotReady(missing) => self.not_ready(query, zone, &generation, missing).into(),
        }
    }

    fn search_path(&self, query: &Query) -> Option<Vec<Labels>> {
        self.search_path_of(query)
    }

    fn describe(&self, query: &Query, facts: &Facts) {
        self.describe_query(query, facts);
    }
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
        let fallback = self.fallback_at(Instant::now(), state)?;
        // Where places to wait in are scarce our own answer is the second best.
        if query.may_wait() { fallback.ask(query).await } else { None }
    }

    /// Whom to ask for a name that is missing from data of this state, if anybody.
    fn fallback_at(&self, now: Instant, state: DataState) -> Option<&Fallback> {
        let fallback = self.fallback.as_ref().filter(|fallback| !fallback.is_resting(now));
        fallback.filter(|_| matches!(state, DataState::Stale { .. }))
    }

    fn encoder<'a>(
        &'a self,
        query: &'a Query,
        zone: &'a Zone,
        generation: &'a Generation,
        state: DataState,
    ) -> Encoder<'a> {
        let ttls = self.ttls(query.labels(), state, self.minute());
        Encoder { query, zone, rules: &self.rules, table: &generation.table, ttls }
    }

    /// Minutes of Unix time.
    fn minute(&self) -> u64 {
        self.clock.now_unix_ms() / 60_000
    }

    /// NODATA or NXDOMAIN; from stale data only after the fallback had its say.
    async fn negative(
        &self,
        query: &Query,
        encoder: Encoder<'_>,
        rcode: ResponseCode,
        said: Said<'_>,
    ) -> Outcome {
        // A name that exists has no more types elsewhere than here; only a missing name may be new.
        if rcode == ResponseCode::NXDomain
            && let Some(reply) = self.ask_fallback(query, said.state).await
        {
            return reply.into();
        }
        let ttls = encoder.ttls.of_denial(said.state);
        let mut reply = Encoder { ttls, ..encoder }.negative(rcode);
        self.mark(&mut reply, said, Sign::Negative);
        reply.into()
    }

    /// Says of an answer from stale data that it is, and counts it; and of records that a guard holds on to why.
    fn mark(&self, reply: &mut Reply, said: Said<'_>, sign: Sign) {
        if let Some((code, text)) = said.error(sign) {
            reply.ede = Some(Ede { code, text: text.to_string() });
        }
        if let Some(counter) = self.counters.of_stale(said.state, sign) {
            counter.increment(1);
        }
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
