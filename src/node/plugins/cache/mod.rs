//! `cache [TTL] [ZONES...] { ... }`: what plugins behind it answered, kept for as long as it is good, and used for
//! longer where upstreams are gone.
//!
//! * `options` reads the directive.
//! * `flight` lets all who ask the same wait for one reply.
//! * `convert` turns replies into what is kept of them, and back.
//! * `counters` counts.
//!
//! What is kept, for how long, and what is done with a query is [`crate::forward::cache`]'s.
//!
//! It stands twice in the chain. The *front* is where CoreDNS has it, and lets names pass that a plugin behind it
//! answers from memory: cluster names are never given from a cache while the table has them. The *rear* stands behind
//! `kubernetes` and has those of these names that fell through. Both share one store, and no name is with both.
//!
//! Invariants:
//! * A reply of `kubernetes` is never kept.
//! * A client that goes away, or has been given something expired, does not end the query upstream.
//! * A query with a client subnet (RFC 7871), and one that is no plain query, passes untouched.

mod convert;
mod counters;
mod flight;
mod options;

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use tokio::time::timeout;

pub use self::options::Persist;

use self::convert::wants_authentic_data;
use self::counters::{Counters, ServerCounters};
use self::flight::{Boarding, Flights, MAX_FLIGHTS, Takeoff, Waiting};
use self::options::Options;
use crate::corefile::{Directive, Error};
use crate::forward::cache::entry::Entry;
use crate::forward::cache::judge::{Judged, judge};
use crate::forward::cache::key::Question;
use crate::forward::cache::policy::{Policy, Refresh, Stale};
use crate::forward::cache::refresh::{self, Cause};
use crate::forward::cache::store::Answer;
use crate::forward::cache::verdict::{Reach, WhyStale};
use crate::forward::cache::{Found, Key, Limits, Store, Verdict, verdict};
use crate::node::chain::{Failure, Next, Outcome, Plugin, Rest, Upstreams};
use crate::node::opt::CLIENT_SUBNET;
use crate::node::plugins::{kubernetes, once};
use crate::node::query::Query;
use crate::node::reply::{EdeCode, Reply};
use crate::node::setup::Context;
use crate::ops::clock::WallClock;
use crate::ops::jitter::Jitter;
use crate::zone::name::Labels;

/// The plugin's name.
pub const NAME: &str = "cache";

/// Options that are accepted.
pub const OPTIONS: [&str; 10] = [
    "success",
    "denial",
    "prefetch",
    "serve_stale",
    "serve_stale_policy",
    "servfail",
    "disable",
    "keepttl",
    "persist",
    "max_bytes",
];

/// What the two parts of a cache share, and what outlives a configuration.
pub struct Shared {
    /// What is kept.
    store: Arc<Store>,
    /// Queries that are under way.
    flights: Arc<Flights<Outcome>>,
}

impl Shared {
    /// An empty cache with these bounds.
    pub fn new(limits: Limits, jitter: Jitter) -> Self {
        Self { store: Arc::new(Store::new(limits, jitter)), flights: Arc::new(Flights::new(MAX_FLIGHTS)) }
    }

    /// What is kept.
    pub const fn store(&self) -> &Arc<Store> {
        &self.store
    }
}

/// A cache of a configuration, for what writes it to a disk.
pub struct Kept {
    /// The same for the same server block and zones from one configuration to the next, and for one process to the
    /// next.
    pub identity: String,
    /// The cache.
    pub cache: Arc<Shared>,
    /// Where it outlives the process.
    pub persist: Persist,
}

/// Sets the front up.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let options = options::read(once(directives)?, cx)?;
    let identity = identity(&options, cx);
    let (limits, persist) = (options.limits, options.persist.clone());
    let (plugin, cache) = part(Part::Front, options, &identity, cx);
    let started = cache.clone();
    // Not before the configuration is accepted as a whole: the one before it uses the same store.
    cx.process.tasks.push(Box::new(move |_| {
        // Nobody's query has pushed them out.
        let _ = started.store.set_limits(limits);
    }));
    cx.process.caches.push(Kept { identity, cache, persist });
    Ok(vec![plugin])
}

/// Sets the rear up.
pub fn setup_rear(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let options = options::read(once(directives)?, cx)?;
    let identity = identity(&options, cx);
    Ok(vec![part(Part::Rear, options, &identity, cx).0])
}

/// What tells the cache of this block from all others: where the block is asked, and for what it caches.
fn identity(options: &Options, cx: &Context<'_>) -> String {
    let mut identity = cx.keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    for bound in &cx.bound {
        // Writing to a string cannot fail.
        let _ = write!(identity, " on {}", bound.ip);
    }
    let _ = write!(identity, " for {}", zones(options));
    identity
}

fn zones(options: &Options) -> String {
    options.zones.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn part(part: Part, options: Options, identity: &str, cx: &Context<'_>) -> (Arc<dyn Plugin>, Arc<Shared>) {
    let carried = &cx.environment.carried;
    let shared =
        carried.keep(&format!("{NAME}/{identity}"), || Shared::new(options.limits, carried.jitter()));
    let counters = Counters::new(cx.environment.metrics.clone(), zones(&options));
    let Options { zones, policy, no_success, no_denial, .. } = options;
    let pause = match policy.refresh {
        Refresh::Popular { pause, .. } => pause,
        Refresh::InUse => Duration::MAX,
    };
    let clock = cx.environment.clock.clone();
    let inner =
        Inner { zones, policy, pause, no_success, no_denial, shared: shared.clone(), counters, clock };
    (Arc::new(Cache { part, inner: Arc::new(inner) }), shared)
}

/// Which of the two a cache is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Before the plugins that answer from memory.
    Front,
    /// Behind them.
    Rear,
}

/// One of the two parts of a cache.
struct Cache {
    /// Which.
    part: Part,
    /// The cache.
    inner: Arc<Inner>,
}

/// What flights need as well.
struct Inner {
    /// The zones whose names are cached.
    zones: Vec<Labels>,
    /// What is done with a query.
    policy: Policy,
    /// The pause after which hits are counted anew.
    pause: Duration,
    /// Names whose records are not kept.
    no_success: Vec<Labels>,
    /// Names whose denials and failures are not kept.
    no_denial: Vec<Labels>,
    /// What is kept, and what is under way.
    shared: Arc<Shared>,
    /// What is counted.
    counters: Counters,
    /// For the dates of signatures.
    clock: Arc<WallClock>,
}

#[async_trait]
impl Plugin for Cache {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome {
        let inner = &self.inner;
        let key = if self.has(query, next) && inner.can_cache(query) { key(query) } else { None };
        let Some(key) = key else { return next.run(query).await };
        let counters = inner.counters.of(query.router().identity());
        counters.requests.increment(1);
        let asked = Asked { inner, query, key, next, counters };
        // Boxed: what waits is larger than what is answered at once.
        Box::pin(asked.answer()).await
    }
}

impl Cache {
    /// Whether a name is this part's: the rear has those that a plugin between the two has in memory.
    fn has(&self, query: &Query, next: Next<'_>) -> bool {
        let in_memory = |plugin: &Arc<dyn Plugin>| plugin.answers_from_memory(query.labels());
        match self.part {
            Part::Front => !next.plugins().iter().any(in_memory),
            Part::Rear => next.before().iter().skip_while(|plugin| plugin.name() != NAME).any(in_memory),
        }
    }
}

/// The key of a query's question.
fn key(query: &Query) -> Option<Key> {
    Key::new(&Question {
        name: query.wire_name(),
        kind: query.kind().into(),
        class: query.class().into(),
        dnssec_ok: query.dnssec_ok(),
        checking_disabled: query.metadata().checking_disabled,
    })
}

impl Inner {
    /// Whether a query's answer is one for everybody.
    fn can_cache(&self, query: &Query) -> bool {
        query.is_query()
            && !matches!(query.kind(), RecordType::AXFR | RecordType::IXFR)
            && self.zones.iter().any(|zone| query.labels().is_within(zone))
            // RFC 7871 §7.3.1 would have it kept by subnet; nobody in a cluster sends one.
            && !query.opt().is_some_and(|opt| opt.has(query.bytes(), CLIENT_SUBNET))
    }

    fn is_disabled(&self, denial: bool, name: &Labels) -> bool {
        let zones = if denial { &self.no_denial } else { &self.no_success };
        zones.iter().any(|zone| name.is_within(zone))
    }

    /// Asks the plugins behind for `query`, and keeps what they say.
    async fn fetch(self: Arc<Self>, query: Query, key: Key, rest: Rest, cause: Cause) -> Outcome {
        let outcome = rest.next().run(&query).await;
        self.take_in(&query, &key, outcome, cause)
    }

    /// Keeps what can be kept of an outcome; what goes on to the client.
    fn take_in(&self, query: &Query, key: &Key, outcome: Outcome, cause: Cause) -> Outcome {
        let counters = self.counters.of(query.router().identity());
        let store = &self.shared.store;
        match outcome {
            // Cluster names are answered from the table, whatever plugin asks for them.
            Outcome::Reply(reply) if reply.plugin == kubernetes::NAME => Outcome::Reply(reply),
            Outcome::Reply(mut reply) => {
                convert::respell(&mut reply, query.name());
                let unix_s = self.clock.now_unix_ms() / 1000;
                match judge(&convert::said(query, &reply), &self.policy, unix_s) {
                    Judged::Keep { class, ttl } if !self.is_disabled(class.is_denial(), query.labels()) => {
                        let mut kept = Reply { ede: None, ..(*reply).clone() };
                        convert::set_ttl(&mut kept, ttl);
                        if let Some(packet) = convert::pack(query, &kept) {
                            let answer = Answer { class, reply: packet, ttl };
                            let evicted = store.keep(key, answer, &self.policy, cause, store.now());
                            counters.stored(evicted, store.size());
                            convert::set_ttl(&mut reply, ttl);
                        }
                    }
                    Judged::Failure => self.remember(query, key, convert::failed(&reply), &counters),
                    Judged::Keep { .. } | Judged::Pass => {}
                }
                Outcome::Reply(reply)
            }
            Outcome::Failed(failure) => {
                match &failure.ede {
                    // Whoever could not be reached will not be in the next moment (RFC 9520 §2). What this server
                    // itself turned away may be taken the next time, and has another code, or none.
                    Some(ede) if says_unreachable(ede.code) => {
                        self.remember(query, key, convert::unanswered(ede), &counters);
                    }
                    // An upstream has replied to another question: CoreDNS's cache drops that.
                    None if failure.rcode == ResponseCode::FormErr => counters.drops.increment(1),
                    _ => {}
                }
                Outcome::Failed(failure)
            }
            Outcome::Silence => Outcome::Silence,
        }
    }

    fn remember(
        &self,
        query: &Query,
        key: &Key,
        failed: crate::forward::cache::store::Failed,
        counters: &ServerCounters,
    ) {
        if self.is_disabled(true, query.labels()) {
            return;
        }
        let store = &self.shared.store;
        let evicted = store.remember(key, failed, self.policy.failure, store.now());
        counters.stored(evicted, store.size());
    }

    /// When an attempt to refresh something expired may be repeated.
    fn recheck(&self) -> Duration {
        match self.policy.stale {
            Stale::Immediate { recheck, .. } | Stale::Verify { recheck, .. } => recheck,
            Stale::Off | Stale::OnFailure { .. } => refresh::retry_after(self.shared.store.jitter()),
        }
    }

    /// An entry could not be refreshed.
    fn not_refreshed(&self, entry: &Entry) {
        let now = self.shared.store.now();
        entry.usage.retry_from(now, now.after(self.recheck()));
    }
}

/// Whether an error says that servers could not be reached.
const fn says_unreachable(code: EdeCode) -> bool {
    matches!(code, EdeCode::NoReachableAuthority | EdeCode::NetworkError | EdeCode::Code(22 | 23))
}

/// Whether upstreams have answered: anything else is a failure (RFC 8767 §4).
fn is_answer(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Reply(reply) => matches!(reply.rcode, ResponseCode::NoError | ResponseCode::NXDomain),
        Outcome::Failed(_) => false,
        Outcome::Silence => true,
    }
}

/// A query that is being answered.
struct Asked<'a> {
    inner: &'a Arc<Inner>,
    query: &'a Query,
    key: Key,
    next: Next<'a>,
    counters: Arc<ServerCounters>,
}

impl Asked<'_> {
    async fn answer(self) -> Outcome {
        let store = &self.inner.shared.store;
        let now = store.now();
        let found = self.find(now);
        let reach = || match self.next.upstreams(self.query) {
            Some(Upstreams::Failing) => Reach::Failing,
            Some(Upstreams::Answering { recovered: Some(at) }) => {
                Reach::Answering { recovered: Some(store.moment(at)) }
            }
            Some(Upstreams::Answering { recovered: None }) | None => Reach::ANSWERING,
        };
        match verdict(&found, now, &self.inner.policy, reach) {
            Verdict::Fresh(entry) => self.fresh(entry),
            Verdict::FreshAndRefresh(entry) => {
                self.refresh(entry);
                self.fresh(entry)
            }
            Verdict::Stale { entry, refresh, why } => {
                if refresh {
                    self.refresh(entry);
                }
                self.stale(entry, why)
            }
            Verdict::Fetch { stale, patience } => self.fetch_or(stale, patience).await,
            Verdict::Failure(failure) => {
                self.counters.hit(true);
                convert::remembered(failure).into()
            }
            Verdict::Miss => {
                self.counters.misses.increment(1);
                match self.board() {
                    Boarding::First(waiting) => self.landed(waiting, true).await,
                    Boarding::Joined(waiting) => self.landed(waiting, false).await,
                    Boarding::Full => self.next.run(self.query).await,
                }
            }
        }
    }

    /// What is known of the question, and a hit for it.
    fn find(&self, now: crate::forward::cache::Moment) -> Found {
        let Inner { shared, pause, .. } = &**self.inner;
        let mut found = shared.store.find(&self.key, now);
        // What is disabled now may have been kept by the configuration before.
        if self.inner.is_disabled(false, self.query.labels()) {
            found.positive = None;
        }
        if self.inner.is_disabled(true, self.query.labels()) {
            (found.denial, found.failure) = (None, None);
        }
        for entry in [&found.positive, &found.denial].into_iter().flatten() {
            entry.usage.hit(now, *pause);
        }
        found
    }

    // === From what is kept ===

    fn fresh(&self, entry: &Entry) -> Outcome {
        self.counters.hit(entry.class.is_denial());
        let now = self.inner.shared.store.now();
        let ttl = if self.inner.policy.keep_ttl { entry.ttl } else { entry.remaining(now) };
        outcome(convert::unpack(self.query, entry, ttl))
    }

    fn stale(&self, entry: &Entry, why: WhyStale) -> Outcome {
        self.counters.hit(entry.class.is_denial());
        self.counters.stale(why);
        let over = self.inner.shared.store.now().since(entry.expiry());
        outcome(convert::unpack_stale(self.query, entry, self.inner.policy.stale.ttl(), over))
    }

    // === From upstreams ===

    /// Asks upstreams, or joins who does. A query without RD is for what is known here, and gets no flight.
    fn board(&self) -> Boarding<Outcome> {
        if !self.query.metadata().recursion_desired {
            return Boarding::Full;
        }
        self.depart(Takeoff::Attended, Cause::Miss, || {})
    }

    fn depart(
        &self,
        takeoff: Takeoff,
        cause: Cause,
        failed: impl FnOnce() + Send + 'static,
    ) -> Boarding<Outcome> {
        let fly = || {
            // Others may be answered from this who want to know whether data is authentic.
            let query = self.query.changed(|message| message.metadata.authentic_data = true);
            let query = query.unwrap_or_else(|| self.query.clone());
            let (inner, key, rest) = (self.inner.clone(), self.key.clone(), self.next.detach());
            let counted = self.counters.flight();
            async move {
                let _counted = counted;
                let outcome = inner.fetch(query, key, rest, cause).await;
                if !is_answer(&outcome) {
                    failed();
                }
                outcome
            }
        };
        let router = self.query.router().clone();
        let name = self.query.labels().clone();
        let broke = move || {
            router.panicked();
            tracing::error!(%name, "a query's handling panicked");
        };
        let boarding = self.inner.shared.flights.board(&self.key, takeoff, fly, broke);
        match boarding {
            Boarding::First(_) => {}
            Boarding::Joined(_) => self.counters.shared.increment(1),
            Boarding::Full => self.counters.overloads.increment(1),
        }
        boarding
    }

    /// Asks for an entry again behind the client's back, if nobody does already.
    fn refresh(&self, entry: &Arc<Entry>) {
        // A reply to a query without RD would not be kept.
        if !self.query.metadata().recursion_desired {
            return;
        }
        let now = self.inner.shared.store.now();
        let again = if entry.is_fresh(now) {
            let wait = now.after(refresh::retry_after(self.inner.shared.store.jitter()));
            // With the modes of CoreDNS the end of an entry has an attempt of its own.
            if matches!(self.inner.policy.stale, Stale::Off | Stale::OnFailure { .. }) {
                wait
            } else {
                wait.min(entry.expiry())
            }
        } else {
            now.after(self.inner.recheck())
        };
        // At the start already: one that takes long is not repeated either.
        entry.usage.retry_from(now, again);
        let (inner, of) = (self.inner.clone(), entry.clone());
        let failed = move || {
            if !of.is_fresh(inner.shared.store.now()) {
                inner.not_refreshed(&of);
            }
        };
        if let Boarding::First(_) = self.depart(Takeoff::Unattended, Cause::Refresh, failed) {
            self.counters.refreshes.increment(1);
        }
    }

    /// Asks upstreams; if they fail or take too long, an expired entry is given.
    async fn fetch_or(&self, stale: &Arc<Entry>, patience: Option<Duration>) -> Outcome {
        let asking = async {
            match self.board() {
                Boarding::First(waiting) => Some(self.landed(waiting, true).await),
                Boarding::Joined(waiting) => Some(self.landed(waiting, false).await),
                Boarding::Full if self.query.metadata().recursion_desired => None,
                Boarding::Full => Some(self.next.run(self.query).await),
            }
        };
        let asked = match patience {
            Some(patience) => timeout(patience, asking).await,
            None => Ok(asking.await),
        };
        let why = match asked {
            Ok(Some(outcome)) if is_answer(&outcome) => {
                if !(self.inner.policy.prefer_positive
                    && !stale.class.is_denial()
                    && denies(&outcome, self.query))
                {
                    self.counters.misses.increment(1);
                    return outcome;
                }
                WhyStale::Preferred
            }
            Ok(Some(_)) => WhyStale::Failed,
            Ok(None) => WhyStale::Failing,
            Err(_) => WhyStale::Slow,
        };
        if why != WhyStale::Preferred {
            self.inner.not_refreshed(stale);
        }
        self.stale(stale, why)
    }

    /// What a flight brings back, for this client.
    async fn landed(&self, waiting: Waiting<Outcome>, first: bool) -> Outcome {
        let Some(landed) = waiting.outcome().await else {
            return Outcome::error("plugin/cache: the query's handling panicked");
        };
        let mut reply = match &*landed {
            Outcome::Reply(reply) => reply.clone(),
            Outcome::Failed(Failure { rcode, error, ede }) => {
                return Outcome::Failed(Failure { rcode: *rcode, error: error.clone(), ede: ede.clone() });
            }
            Outcome::Silence => return Outcome::Silence,
        };
        if reply.truncated && !first {
            // What was too long for the other client may not be for this one.
            return self.next.run(self.query).await;
        }
        convert::respell(&mut reply, self.query.name());
        reply.authentic_data &= wants_authentic_data(self.query);
        Outcome::Reply(reply)
    }
}

/// Whether an answer says that there is no record.
fn denies(outcome: &Outcome, query: &Query) -> bool {
    match outcome {
        Outcome::Reply(reply) => {
            reply.rcode == ResponseCode::NXDomain
                || !reply
                    .answers
                    .iter()
                    .any(|r| query.kind() == RecordType::ANY || r.record_type() == query.kind())
        }
        Outcome::Failed(_) | Outcome::Silence => false,
    }
}

/// What was kept as a reply; it was written here, and can be read.
fn outcome(reply: Option<Reply>) -> Outcome {
    reply.map_or_else(|| Outcome::error("plugin/cache: an entry cannot be read"), Outcome::from)
}

#[cfg(test)]
mod tests;
