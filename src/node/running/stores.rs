//! The stores of a node that runs: their writers and sources, and how a reload hands them on.
//!
//! Invariants:
//! * A store that is wanted again goes on: with the same writer and the same watches if nothing else is asked of it,
//!   and else with a new source that goes on from where the old one was. What it holds is served all the while.
//! * A zone that had data never loses it by a reload: what takes over from a store has to hold as much first.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::ReloadError;
use crate::node::control::shown::ShownStore;
use crate::node::hub_memory::HubMemory;
use crate::node::plugins::kubernetes;
use crate::node::setup::{Environment, StoreConfig};
use crate::ops::clock::WallClock;
use crate::ops::drain::Drain;
use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;
use crate::ops::ownership::Ownership;
use crate::ops::readiness::{Membership, Readiness};
use crate::snapshot::disk::RealDisk;
use crate::source::hub::Means;
use crate::source::hub::known::Memory;
use crate::source::start::{self, Beginning};
use crate::source::{Resume, SourceConfig, UPDATE_QUEUE, Wanted};
use crate::store::Store;
use crate::store::control::Control;
use crate::store::guard::Guard;
use crate::store::keeper::{Keeper, KeeperConfig};
use crate::store::orders::Ordered;
use crate::store::writer::Writer;
use crate::zone::object::{Kind, Kinds};

/// How long a reload waits for what a new source has to list: a large cluster is listed in a few seconds. What takes
/// longer is looked for again at the next try, with the old configuration until then.
const FILL_LIMIT: Duration = Duration::from_secs(30);

/// What stores are made with and run on.
pub(super) struct Stores {
    /// Those that are kept up to date.
    live: Vec<LiveStore>,
    /// Whether folders are ours to write to.
    ownership: Ownership,
    /// What is measured.
    metrics: Arc<Metrics>,
    /// Unix time.
    clock: Arc<WallClock>,
    /// For schedules.
    jitter: Jitter,
    /// What `/ready` waits for.
    readiness: Readiness,
    /// Says when to stop.
    drain: Drain,
    /// Where writers and file sources run.
    control: Handle,
}

/// A store with its writer and its source.
struct LiveStore {
    /// What it is for.
    config: StoreConfig,
    /// The data.
    store: Arc<Store>,
    /// The way to its writer.
    control: Control,
    /// Whether `/ready` waits for it.
    membership: Membership,
    /// The kinds that are held with everything that is wanted of them.
    progress: watch::Receiver<Kinds>,
    /// Kinds that were held without labels when these were first wanted.
    unlabelled: Kinds,
    /// Kinds that were first wanted by a reload.
    unlisted: Kinds,
    /// Ends it: the last snapshot is written.
    stop: CancellationToken,
    /// Ends its source, and hands its writer back. A child of `stop`.
    pause: CancellationToken,
    /// Ends with the writer, after the last snapshot where there is one to write.
    task: JoinHandle<Writer>,
}

/// A store that has what its folder had, and no source yet.
pub(super) struct Booted {
    config: StoreConfig,
    store: Arc<Store>,
    membership: Membership,
    writer: Writer,
    /// From where the source may go on.
    resume: Resume,
}

/// The stores of a configuration, before it is taken over. Those that are new are stopped if it never is.
pub(super) struct Prepared {
    /// The new ones.
    new: Vec<LiveStore>,
    /// Every store of the configuration.
    wanted: Vec<(StoreConfig, Arc<Store>)>,
}

impl Drop for Prepared {
    fn drop(&mut self) {
        for store in self.new.drain(..) {
            store.discard();
        }
    }
}

impl Stores {
    pub(super) fn new(
        environment: &Environment,
        readiness: Readiness,
        drain: &Drain,
        control: &Handle,
    ) -> Self {
        Self {
            live: Vec::new(),
            ownership: environment.ownership.clone(),
            metrics: environment.metrics.clone(),
            clock: environment.clock.clone(),
            jitter: Jitter::for_process(),
            readiness,
            drain: drain.clone(),
            control: control.clone(),
        }
    }

    /// Loads what the folder of a store has. Blocks while it reads.
    pub(super) fn boot(&self, config: StoreConfig, store: Arc<Store>) -> Booted {
        self.loading(config, store)()
    }

    /// The same, to be done on any thread.
    fn loading(&self, config: StoreConfig, store: Arc<Store>) -> impl FnOnce() -> Booted + Send + 'static {
        let handle = self.readiness.register(kubernetes::NAME);
        let membership = handle.membership();
        // Until the configuration is taken over nobody waits for it.
        membership.put_off();
        let (metrics, clock, jitter) = (self.metrics.clone(), self.clock.clone(), self.jitter.fork());
        let ownership = self.ownership.clone();
        move || {
            let guard = guard(&config, jitter.fork());
            let keeper = keeper(&config, &clock, jitter, &metrics).map(|keeper| keeper.sharing(ownership));
            let writer = Writer::new(store.clone(), keeper, config.wanted, config.limits, clock, &metrics);
            let mut writer = writer.with_readiness(handle);
            writer.guards(guard);
            let resume = writer.boot();
            Booted { config, store, membership, writer, resume }
        }
    }

    /// Starts the source of a store, and what applies its updates.
    fn begin(&self, booted: Booted) -> anyhow::Result<LiveStore> {
        let Booted { config, store, membership, writer, resume } = booted;
        let stop = self.drain.draining().child_token();
        let (progress, control) = (writer.progress(), writer.control());
        let (pause, task) = self.follow(&config, writer, resume, &stop)?;
        let (unlabelled, unlisted) = (Kinds::NONE, Kinds::NONE);
        Ok(LiveStore {
            config,
            store,
            control,
            membership,
            progress,
            unlabelled,
            unlisted,
            stop,
            pause,
            task,
        })
    }

    /// Starts a source and has a writer follow it.
    fn follow(
        &self,
        config: &StoreConfig,
        mut writer: Writer,
        resume: Resume,
        stop: &CancellationToken,
    ) -> anyhow::Result<(CancellationToken, JoinHandle<Writer>)> {
        let (stop, pause) = (stop.clone(), stop.child_token());
        let (updates, queue) = mpsc::channel(UPDATE_QUEUE);
        let wanted = writer.wanted();
        let beginning = Beginning { wanted, resume, updates, stop: pause.clone() };
        let means = self.means(config);
        let commands = start::start_with(&config.source, beginning, means, &self.metrics, &self.control)?;
        writer.asks(commands);
        let paused = pause.clone();
        let task = self.control.spawn(async move {
            writer.follow(queue, &paused).await;
            if stop.is_cancelled() {
                writer.finish().await;
            }
            writer
        });
        Ok((pause, task))
    }

    /// What a source of hubs needs beside its configuration.
    fn means(&self, config: &StoreConfig) -> Means {
        let memory = |folder: &PathBuf| HubMemory::new(folder, Arc::new(RealDisk), self.ownership.clone());
        let memory = config.snapshot.as_ref().map(memory);
        Means { memory: memory.map(|memory| Arc::new(memory) as Arc<dyn Memory>), clock: self.clock.clone() }
    }

    /// Starts all sources: for the start of the process, once the sockets are bound.
    pub(super) fn begin_all(&mut self, booted: Vec<Booted>) -> anyhow::Result<()> {
        for booted in booted {
            booted.membership.count(booted.config.watched);
            let live = self.begin(booted)?;
            self.live.push(live);
        }
        Ok(())
    }

    /// Has everything ready that a configuration needs: new stores hold what their folders hold and follow their
    /// sources, stores that go on have what is newly wanted of them.
    ///
    /// # Errors
    /// A source that has not told in time what the configuration cannot do without: [`ReloadError::NotYet`]. Stores
    /// that were asked for more go on with that, which answers nobody differently.
    pub(super) async fn prepare(
        &mut self,
        wanted: Vec<(StoreConfig, Arc<Store>)>,
    ) -> Result<Prepared, ReloadError> {
        let mut prepared = Prepared { new: Vec::new(), wanted };
        let mut awaited = Vec::new();
        for (config, store) in prepared.wanted.clone() {
            if let Some(at) = self.live.iter().position(|live| Arc::ptr_eq(&live.store, &store)) {
                // To another place it goes only once everything else is in order: what is refused changes nothing.
                let running = &self.live[at].config.source;
                let source = if config.source.is_same_place(running) { &config.source } else { running };
                let here = StoreConfig { source: source.clone(), ..config.clone() };
                self.hand_over(at, &here).await?;
                let live = &self.live[at];
                awaited.push((live.owes(&config), live.progress.clone(), config));
                continue;
            }
            let load = self.loading(config.clone(), store);
            // In tests the log belongs to a thread.
            let log = tracing::dispatcher::get_default(Clone::clone);
            let load = move || tracing::dispatcher::with_default(&log, load);
            let booted = tokio::task::spawn_blocking(load).await.context("loading a snapshot")?;
            let live = self.begin(booted)?;
            // Where nobody has answered for the zone, its data may as well come later.
            let kinds = config.wanted.kinds().intersection(self.held(&config.zone));
            awaited.push((kinds, live.progress.clone(), config));
            prepared.new.push(live);
        }
        let deadline = tokio::time::Instant::now() + FILL_LIMIT;
        for (kinds, mut progress, config) in awaited {
            let filled = progress.wait_for(|held| kinds.minus(*held).is_empty());
            if !matches!(tokio::time::timeout_at(deadline, filled).await, Ok(Ok(_))) {
                let what = format!("{} has not yet told all of zone {}", config.source, config.zone);
                return Err(ReloadError::NotYet(what));
            }
        }
        Ok(prepared)
    }

    /// The kinds that the stores of a zone hold, which is what clients are used to.
    fn held(&self, zone: &str) -> Kinds {
        let of_zone = self.live.iter().filter(|live| live.config.zone == zone);
        of_zone.fold(Kinds::NONE, |held, live| held.union(live.store.current().table.complete()))
    }

    /// Has a store that goes on do what a configuration asks of it.
    async fn hand_over(&mut self, at: usize, config: &StoreConfig) -> anyhow::Result<()> {
        let live = &self.live[at];
        let next = StoreConfig { wanted: union(live.config.wanted, config.wanted), ..config.clone() };
        // Whether it is waited for is decided when the configuration is taken over.
        let same = StoreConfig { watched: live.config.watched, ..next.clone() } == live.config;
        if same || live.stop.is_cancelled() {
            return Ok(());
        }
        live.pause.cancel();
        let stop = live.stop.clone();
        let writer = (&mut self.live[at].task).await;
        let mut writer = writer.context("handing over the cluster's data")?;
        let headless_only = self.live[at].config.source.is_headless_only();
        writer.follows(&next.source, headless_only != next.source.is_headless_only());
        writer.guards(guard(&next, self.jitter.fork()));
        let resume = writer.reconfigure(next.wanted, next.limits, next.interval);
        let (pause, task) = self.follow(&next, writer, resume, &stop)?;
        let live = &mut self.live[at];
        (live.pause, live.task) = (pause, task);
        if next.wanted.labels && !live.config.wanted.labels {
            live.unlabelled = live.store.current().table.complete();
        }
        if next.wanted.pods && !live.config.wanted.pods {
            live.unlisted = Kinds::NONE.with(Kind::Pod);
        }
        live.config = StoreConfig { watched: live.config.watched, ..next };
        Ok(())
    }

    /// Goes on with the stores that were prepared; the others write their last snapshots and end.
    pub(super) async fn apply(&mut self, mut prepared: Prepared) {
        for (config, store) in &prepared.wanted {
            let Some(at) = self.live.iter().position(|live| Arc::ptr_eq(&live.store, store)) else {
                continue;
            };
            if let Err(error) = self.hand_over(at, config).await {
                tracing::error!(%error, zone = config.zone, "the cluster's data is not followed any more");
            }
        }
        self.live.append(&mut prepared.new);
        let (wanted, live) = (&prepared.wanted, std::mem::take(&mut self.live));
        let folders: Vec<&PathBuf> = wanted.iter().filter_map(|(c, _)| c.snapshot.as_ref()).collect();
        for mut live in live {
            match wanted.iter().find(|(_, store)| Arc::ptr_eq(store, &live.store)) {
                Some((config, _)) => {
                    live.config.watched = config.watched;
                    live.membership.count(config.watched);
                    self.live.push(live);
                }
                // The folder is another store's now, whose snapshots must not come before what this one has to say.
                None if live.config.snapshot.as_ref().is_some_and(|own| folders.contains(&own)) => {
                    live.discard();
                }
                None => live.retire(),
            }
        }
    }

    /// Every store that is kept up to date, for the next configuration.
    pub(super) fn running(&self) -> Vec<(StoreConfig, Arc<Store>)> {
        self.live.iter().map(|live| (live.config.clone(), live.store.clone())).collect()
    }

    /// The same, for operators.
    pub(super) fn shown(&self) -> Vec<ShownStore> {
        let shown = |live: &LiveStore| {
            let (config, store, control) = (live.config.clone(), live.store.clone(), live.control.clone());
            let (zone, source) = (config.zone.clone(), config.source.clone());
            let ordered = Ordered { zone, source, snapshot: config.snapshot.clone(), control };
            ShownStore { config, store, ordered }
        };
        self.live.iter().map(shown).collect()
    }

    /// Stops all of them, and waits until the last snapshots are written.
    pub(super) async fn stop(self) {
        self.live.iter().for_each(|live| live.stop.cancel());
        for live in self.live {
            // One that panicked has nothing to write.
            let _ = live.task.await;
        }
    }
}

impl LiveStore {
    /// The kinds that it has to list before it can do what `config` asks: what was wanted all along, and is still
    /// missing, holds up nothing.
    fn owes(&self, config: &StoreConfig) -> Kinds {
        let labels = if config.wanted.labels { self.unlabelled } else { Kinds::NONE };
        labels.union(self.unlisted.intersection(config.wanted.kinds()))
    }

    /// Ends it, with its last snapshot.
    fn retire(self) {
        self.membership.withdraw();
        self.stop.cancel();
    }

    /// Ends it without one.
    fn discard(self) {
        self.membership.withdraw();
        self.pause.cancel();
    }
}

/// What both want.
const fn union(one: Wanted, other: Wanted) -> Wanted {
    Wanted { labels: one.labels || other.labels, pods: one.pods || other.pods }
}

/// Judges lists where they come from their origin. A hub has judged what it tells.
fn guard(config: &StoreConfig, jitter: Jitter) -> Option<Guard> {
    let is_origin = !matches!(config.source, SourceConfig::Hub(_));
    if is_origin { config.guard.guard(jitter) } else { None }
}

/// Keeps a store's snapshots, if there is a folder for them.
fn keeper(config: &StoreConfig, clock: &Arc<WallClock>, jitter: Jitter, metrics: &Metrics) -> Option<Keeper> {
    let Some(dir) = &config.snapshot else {
        tracing::warn!(source = %config.source,
            "no snapshot folder is configured: memory only, a restart without the source will have no data \
             (set 'snapshot DIR', --snapshot or OUTLAST_SNAPSHOT)");
        return None;
    };
    let keeper = KeeperConfig {
        dir: dir.clone(),
        zone: config.zone.clone(),
        source: config.source.to_string(),
        labels: config.wanted.labels,
        headless_only: config.source.is_headless_only(),
        interval: config.interval,
        max_stale: config.limits.max_stale,
    };
    Some(Keeper::open(keeper, Arc::new(RealDisk), clock.clone(), jitter, metrics))
}
