//! What is counted, by listener: CoreDNS's families and ours.

use std::sync::Arc;

use arc_swap::ArcSwap;
use metrics::{Counter, Gauge};

use crate::forward::cache::store::{Evicted, Size};
use crate::forward::cache::verdict::WhyStale;
use crate::ops::catalogue;
use crate::ops::metrics::Metrics;
use crate::ops::tally::Tally;

/// The handles of a cache, one set for each listener that its block is on.
pub(super) struct Counters {
    /// Where they are registered.
    metrics: Arc<Metrics>,
    /// The label `zones`.
    zones: String,
    /// Of the listeners that have been heard of. Their number is that of the Corefile's.
    servers: ArcSwap<Vec<Arc<ServerCounters>>>,
}

/// The handles of one listener.
pub(super) struct ServerCounters {
    /// Its identity.
    server: String,
    /// Queries that were looked up.
    pub(super) requests: Tally,
    /// Those that found nothing.
    pub(super) misses: Counter,
    /// Those that found records.
    pub(super) hits: Tally,
    /// Those that found a denial or a failure.
    pub(super) denial_hits: Tally,
    /// Refreshes that were begun.
    pub(super) refreshes: Counter,
    /// Replies to another question than was asked.
    pub(super) drops: Counter,
    /// Replies from expired entries.
    served_stale: Tally,
    /// The same by reason, in the order of [`WhyStale::ALL`].
    stale: [Tally; WhyStale::ALL.len()],
    /// Entries that went for others.
    evictions: Counter,
    /// The same of denials and failures.
    denial_evictions: Counter,
    /// Entries.
    entries: Gauge,
    /// The same of denials and failures.
    denial_entries: Gauge,
    /// Bytes of all entries.
    bytes: Gauge,
    /// Queries upstream that are under way.
    flights: Gauge,
    /// Queries that waited for the reply to another one.
    pub(super) shared: Counter,
    /// Queries that found as many flights as there may be.
    pub(super) overloads: Counter,
}

impl Counters {
    /// Counters of a cache for these zones.
    pub(super) fn new(metrics: Arc<Metrics>, zones: String) -> Self {
        metrics.describe_counter(
            "outlast_cache_stale_answers_total",
            "Answers from expired entries, by reason.",
        );
        metrics
            .describe_counter("outlast_cache_shared_total", "Queries that waited for another one's reply.");
        metrics.describe_gauge("outlast_cache_flights", "Queries upstream of the cache that are under way.");
        metrics.describe_gauge("outlast_cache_bytes", "Bytes that the entries of the cache count as.");
        metrics.describe_counter("outlast_overload_total", "What was refused because a limit was reached.");
        Self { metrics, zones, servers: ArcSwap::default() }
    }

    /// Those of the listener of this identity.
    pub(super) fn of(&self, server: &str) -> Arc<ServerCounters> {
        let known = |all: &[Arc<ServerCounters>]| all.iter().find(|one| one.server == server).cloned();
        if let Some(known) = known(&self.servers.load()) {
            return known;
        }
        let new = Arc::new(self.register(server));
        self.servers.rcu(|all| {
            let mut all = Vec::clone(all);
            if known(&all).is_none() {
                all.push(new.clone());
            }
            all
        });
        new
    }

    fn register(&self, server: &str) -> ServerCounters {
        let zones = self.zones.as_str();
        let labels = [("server", server), ("zones", zones), ("view", "")];
        let typed = |kind| [("server", server), ("type", kind), ("zones", zones), ("view", "")];
        let counter = |name| self.metrics.counter(name, &labels);
        let of_type = |name, kind| self.metrics.counter(name, &typed(kind));
        let hits = |kind| self.metrics.tally(catalogue::CACHE_HITS, &typed(kind));
        let entries = |kind| self.metrics.gauge(catalogue::CACHE_ENTRIES, &typed(kind));
        let stale = |why: WhyStale| {
            let labels = [("server", server), ("zones", zones), ("reason", why.as_str())];
            self.metrics.tally("outlast_cache_stale_answers_total", &labels)
        };
        ServerCounters {
            server: server.to_owned(),
            requests: self.metrics.tally(catalogue::CACHE_REQUESTS, &labels),
            misses: counter(catalogue::CACHE_MISSES),
            hits: hits("success"),
            denial_hits: hits("denial"),
            refreshes: counter(catalogue::CACHE_PREFETCH),
            drops: counter(catalogue::CACHE_DROPS),
            served_stale: self.metrics.tally(catalogue::CACHE_SERVED_STALE, &labels),
            stale: WhyStale::ALL.map(stale),
            evictions: of_type(catalogue::CACHE_EVICTIONS, "success"),
            denial_evictions: of_type(catalogue::CACHE_EVICTIONS, "denial"),
            entries: entries("success"),
            denial_entries: entries("denial"),
            bytes: self.metrics.gauge("outlast_cache_bytes", &[("server", server), ("zones", zones)]),
            flights: self.metrics.gauge("outlast_cache_flights", &[("server", server), ("zones", zones)]),
            shared: self
                .metrics
                .counter("outlast_cache_shared_total", &[("server", server), ("zones", zones)]),
            overloads: self.metrics.counter("outlast_overload_total", &[("limit", "cache_flights")]),
        }
    }
}

/// A flight that is counted while it is under way.
pub(super) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl ServerCounters {
    /// Counts a flight until what this gives is dropped.
    pub(super) fn flight(&self) -> InFlight {
        self.flights.increment(1.0);
        InFlight(self.flights.clone())
    }

    /// A hit, of records or of a denial or failure.
    pub(super) fn hit(&self, denial: bool) {
        self.hits_of(denial).increment(1);
    }

    /// What counts hits, of denials and failures or of records.
    pub(super) const fn hits_of(&self, denial: bool) -> &Tally {
        if denial { &self.denial_hits } else { &self.hits }
    }

    /// A reply from an expired entry.
    pub(super) fn stale(&self, why: WhyStale) {
        self.stale_tallies(why).for_each(|tally| tally.increment(1));
    }

    /// What counts replies from expired entries that are given for this reason.
    pub(super) fn stale_tallies(&self, why: WhyStale) -> impl Iterator<Item = &Tally> {
        let of_reason = WhyStale::ALL.iter().position(|w| *w == why).and_then(|at| self.stale.get(at));
        [Some(&self.served_stale), of_reason].into_iter().flatten()
    }

    /// Something was stored.
    pub(super) fn stored(&self, evicted: Evicted, size: Size) {
        self.evictions.increment(evicted.success);
        self.denial_evictions.increment(evicted.denial);
        self.entries.set(size.success as f64);
        self.denial_entries.set(size.denial as f64);
        self.bytes.set(size.bytes as f64);
    }
}
