//! `cache [TTL] [ZONES...] { ... }`: what plugins behind it answered, kept for as long as it is good, and used for
//! longer where upstreams are gone.
//!
//! * `options` reads the directive.
//! * `asked` answers a query; `inner` keeps what upstreams say.
//! * `flight` lets all who ask the same wait for one reply.
//! * `inline` gives what is good in the inline lane.
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

mod asked;
mod convert;
mod counters;
mod flight;
mod inline;
mod inner;
mod options;

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use self::options::Persist;

use self::asked::Asked;
use self::counters::Counters;
use self::flight::{Flights, MAX_EMPTY, MAX_FLIGHTS};
use self::inline::Hits;
use self::inner::Inner;
use self::options::Options;
use crate::corefile::{Directive, Error};
use crate::forward::cache::key::Question;
use crate::forward::cache::policy::Refresh;
use crate::forward::cache::{Key, Limits, Store};
use crate::node::chain::{Next, Outcome, Plugin};
use crate::node::lane::Role;
use crate::node::plugins::once;
use crate::node::query::Query;
use crate::node::setup::Context;
use crate::ops::jitter::Jitter;

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
        let flights = Arc::new(Flights::new(MAX_FLIGHTS, MAX_EMPTY));
        Self { store: Arc::new(Store::new(limits, jitter)), flights }
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
        // They were those of upstreams that may have been the wrong ones: what is put right is tried at once.
        started.store.forget_failures();
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

#[async_trait]
impl Plugin for Cache {
    fn name(&self) -> &'static str {
        NAME
    }

    fn role(self: Arc<Self>, identity: &str) -> Role {
        let (part, inner, counters) = (self.part, self.inner.clone(), self.inner.counters.of(identity));
        Role::Answers(Arc::new(Hits { part, inner, counters }))
    }

    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome {
        let inner = &self.inner;
        let key = if self.has(query, next) && inner.can_cache(query) { key(query) } else { None };
        let Some(key) = key else { return next.run(query).await };
        let counters = inner.counters.of(query.router().identity());
        counters.requests.increment(1);
        let asked = Asked { inner, query, key, next, counters };
        // Boxed: what waits is larger than what is answered at once.
        Box::pin(async move { asked.answer().await }).await
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

#[cfg(test)]
mod tests;
