//! The one writer of a store: takes updates from the source, publishes generations, has them snapshotted,
//! and says when the state of the data changes.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::keeper::Keeper;
use super::state::{DataState, Limits};
use super::{Generation, Store};
use crate::ops::catalogue;
use crate::ops::clock::WallClock;
use crate::ops::metrics::Metrics;
use crate::ops::readiness;
use crate::source::{Update, Wanted};
use crate::zone::object::Kind;
use crate::zone::table::Effect;

/// How often the state is looked at without a cause: transitions are noticed this late at most.
const TICK: Duration = Duration::from_secs(1);

/// Makes the generations of one store.
pub struct Writer {
    /// What it writes.
    store: Arc<Store>,
    /// Where it has them kept, if anywhere.
    keeper: Option<Keeper>,
    /// What the configuration needs.
    wanted: Wanted,
    /// For the state that is logged and exported; each plugin judges by its own.
    limits: Limits,
    /// Unix time, for serials.
    clock: Arc<WallClock>,
    /// Set once there is data.
    ready: Option<readiness::Handle>,
    /// The state that was said last.
    said: Option<&'static str>,
    /// Why the source was lost, until it is back.
    lost: Option<String>,
    /// Updates that broke the writer.
    panics: Counter,
    /// What is measured.
    gauges: Gauges,
}

/// Measures of the data.
struct Gauges {
    /// Seconds since the data was last proved.
    age: Gauge,
    /// Number of the generation.
    generation: Gauge,
    /// 1 for the state that holds, by [`DataState::NAMES`].
    states: [Gauge; DataState::NAMES.len()],
    /// Objects by kind.
    objects: [Gauge; Kind::ALL.len()],
    /// Addresses in all slices.
    endpoints: Gauge,
    /// Changes of state.
    transitions: Counter,
}

impl Gauges {
    fn new(metrics: &Metrics) -> Self {
        let gauge = |name, help| {
            metrics.describe_gauge(name, help);
            metrics.gauge(name, &[])
        };
        metrics.describe_gauge("outlast_data_state", "1 for the state that the cluster's data is in.");
        metrics.describe_gauge("outlast_objects", "Objects held, by kind.");
        metrics.describe_counter("outlast_data_state_transitions_total", "Changes of the state of the data.");
        Self {
            age: gauge("outlast_data_age_seconds", "Time since the data was last proved to be current."),
            generation: gauge("outlast_data_generation", "Number of the generation that is served."),
            states: DataState::NAMES.map(|s| metrics.gauge("outlast_data_state", &[("state", s)])),
            objects: Kind::ALL.map(|k| metrics.gauge("outlast_objects", &[("kind", k.as_str())])),
            endpoints: gauge("outlast_endpoints", "Addresses of ready endpoints held."),
            transitions: metrics.counter("outlast_data_state_transitions_total", &[]),
        }
    }
}

impl Writer {
    /// The writer of `store`.
    pub fn new(
        store: Arc<Store>,
        keeper: Option<Keeper>,
        wanted: Wanted,
        limits: Limits,
        clock: Arc<WallClock>,
        metrics: &Metrics,
    ) -> Self {
        let gauges = Gauges::new(metrics);
        let panics = metrics.counter(catalogue::PANICS, &[]);
        Self { store, keeper, wanted, limits, clock, ready: None, said: None, lost: None, panics, gauges }
    }

    /// Has readiness follow the data.
    pub fn with_readiness(mut self, handle: readiness::Handle) -> Self {
        self.ready = Some(handle);
        self
    }

    /// Serves what the newest snapshot holds, if there is one. Called before any socket is bound.
    pub fn boot(&mut self) {
        if let Some(booted) = self.keeper.as_mut().and_then(Keeper::load) {
            self.store.prove(booted.age);
            self.store.publish(booted.generation);
        }
        self.observe();
    }

    /// Takes updates until `stop`, and then writes a last snapshot.
    pub async fn run(mut self, mut updates: mpsc::Receiver<Update>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        let mut open = true;
        loop {
            let due = self.keeper.as_ref().and_then(Keeper::due);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = finished(&mut self.keeper) => {}
                update = updates.recv(), if open => match update {
                    Some(update) => self.update_safely(update),
                    // A source that ended is a source that was lost; what it sent goes on being served.
                    None => {
                        open = false;
                        self.lose("the source has ended".to_owned());
                    }
                },
                () = until(due) => {
                    let (generation, age) = (self.store.current().clone(), self.store.age());
                    if let Some(keeper) = &mut self.keeper {
                        keeper.start(&generation, age);
                    }
                }
                _ = tick.tick() => {}
            }
            self.observe();
        }
        let (generation, age) = (self.store.current().clone(), self.store.age());
        if let Some(keeper) = &mut self.keeper {
            keeper.stop(&generation, age).await;
        }
    }

    /// Applies one update; one that breaks the writer is lost, and what is served stays.
    fn update_safely(&mut self, update: Update) {
        let apply = std::panic::AssertUnwindSafe(|| self.update(update));
        if std::panic::catch_unwind(apply).is_err() {
            self.panics.increment(1);
            self.lose("an update from the source broke the writer, which is a bug".to_owned());
        }
    }

    /// Applies one update.
    fn update(&mut self, update: Update) {
        let current = self.store.current().clone();
        let now = u32::try_from(self.clock.now_unix_ms() / 1000).unwrap_or(u32::MAX);
        let mut table = current.table.clone();
        let changed = match update {
            Update::Lost { why } => return self.lose(why),
            Update::Fresh => false,
            Update::State { objects, kinds } => {
                let complete = table.complete();
                let difference = table.replace(kinds, objects, now);
                if !difference.is_empty() {
                    tracing::info!(
                        changed = difference.upserts,
                        deleted = difference.deletes,
                        endpoints = table.endpoint_count(),
                        "new state from the source"
                    );
                }
                !difference.is_empty() || complete != table.complete()
            }
            Update::Changes(changes) => table.apply(changes, now) == Effect::Changed,
        };
        // What is published is proved: freshness first would vouch for the old generation.
        if changed || !current.verified {
            let number = current.number + u64::from(changed);
            self.store.publish(Generation { table, number, verified: true });
        }
        self.store.prove(Duration::ZERO);
        if self.lost.take().is_some() {
            tracing::info!("source is back");
        }
        match &mut self.keeper {
            Some(keeper) if changed => {
                let complete = self.wanted.kinds().minus(self.store.current().table.complete()).is_empty();
                keeper.changed(complete);
            }
            Some(keeper) => keeper.proved(),
            None => {}
        }
    }

    fn lose(&mut self, why: String) {
        tracing::warn!(%why, "source lost, serving what is known");
        self.lost = Some(why);
        if let Some(keeper) = &mut self.keeper {
            keeper.source_lost();
        }
    }

    /// Exports the state of the data, and says so when it has changed.
    fn observe(&mut self) {
        let generation = self.store.current().clone();
        let facts = self.store.facts(&generation);
        let state = DataState::judge(facts, self.wanted.kinds(), self.limits);
        let table = &generation.table;
        self.gauges.age.set(facts.age.as_secs_f64());
        if let Some(keeper) = &self.keeper {
            keeper.observe();
        }
        self.gauges.generation.set(generation.number as f64);
        for (gauge, name) in self.gauges.states.iter().zip(DataState::NAMES) {
            gauge.set(if name == state.name() { 1.0 } else { 0.0 });
        }
        for (gauge, kind) in self.gauges.objects.iter().zip(Kind::ALL) {
            gauge.set(table.count(kind) as f64);
        }
        self.gauges.endpoints.set(table.endpoint_count() as f64);
        if let Some(ready) = &self.ready {
            // However old: a node that has data is of more use than one that is taken out of service.
            ready.set(!matches!(state, DataState::Empty { .. }));
        }
        if self.said == Some(state.name()) {
            return;
        }
        if self.said.is_some() {
            self.gauges.transitions.increment(1);
        }
        self.said = Some(state.name());
        let age = Duration::from_secs(facts.age.as_secs());
        let quiet = if facts.verified { "the source has gone quiet" } else { "not verified yet" };
        let why = self.lost.as_deref().unwrap_or(quiet);
        match state {
            DataState::Live => tracing::info!(state = state.name(), "cluster data is live"),
            DataState::Stale { .. } => {
                tracing::warn!(state = state.name(), ?age, why, "cluster data is stale and still served");
            }
            DataState::Expired { .. } => {
                tracing::error!(
                    state = state.name(),
                    ?age,
                    why,
                    "cluster data is older than max_stale: SERVFAIL"
                );
            }
            DataState::Empty { missing } => {
                let missing = missing.iter().map(Kind::as_str).collect::<Vec<_>>().join(", ");
                tracing::warn!(
                    state = state.name(),
                    missing,
                    "no cluster data yet: SERVFAIL until the source appears"
                );
            }
        }
    }
}

async fn finished(keeper: &mut Option<Keeper>) {
    match keeper {
        Some(keeper) => keeper.finished().await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
