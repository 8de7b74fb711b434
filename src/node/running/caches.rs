//! The caches of a node that runs: what keeps them on the disk, and how a reload hands that on.
//!
//! Invariants:
//! * A cache holds what its folder had before the node answers by it.
//! * A folder has one keeper at a time: the one before has written its last file first.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_64;

use crate::forward::cache::Store;
use crate::node::cache_keeper::{CacheKeeper, CacheKeeperConfig};
use crate::node::plugins::cache::{Kept, Persist};
use crate::node::setup::{Environment, Overrides, StoreConfig};
use crate::ops::clock::WallClock;
use crate::ops::drain::Drain;
use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;
use crate::ops::ownership::Ownership;
use crate::snapshot::disk::RealDisk;
use crate::snapshot::schedule::DEFAULT_INTERVAL;
use crate::store::Store as ZoneStore;

/// The folder of cached replies within that of the snapshots.
const FOLDER: &str = "cache";

/// What keepers are made with and run on.
pub(super) struct Caches {
    /// Those that are kept.
    live: Vec<LiveCache>,
    /// Those that are not any more, and have not written their last files yet.
    leaving: Vec<LiveCache>,
    /// Where snapshots are, if flags say it.
    overrides: Overrides,
    /// Whether folders are ours to write to.
    ownership: Ownership,
    /// What is measured.
    metrics: Arc<Metrics>,
    /// Unix time.
    clock: Arc<WallClock>,
    /// For schedules.
    jitter: Jitter,
    /// Says when to stop.
    drain: Drain,
    /// Where keepers run.
    control: Handle,
}

/// A cache with its keeper.
struct LiveCache {
    /// What the keeper was made for.
    config: CacheKeeperConfig,
    /// The cache.
    store: Arc<Store>,
    /// Ends the keeper: the last file is written.
    stop: CancellationToken,
    /// Ends with it.
    task: JoinHandle<()>,
}

/// A cache that is to be kept, and how.
pub(super) type Wanted = (CacheKeeperConfig, Arc<Store>);

/// The folder of one cache among those of a node: by a hash, since an identity may be any text.
fn own_folder(dir: &Path, identity: &str) -> PathBuf {
    dir.join(format!("{:016x}", xxh3_64(identity.as_bytes())))
}

impl Caches {
    pub(super) fn new(environment: &Environment, drain: &Drain, control: &Handle) -> Self {
        Self {
            live: Vec::new(),
            leaving: Vec::new(),
            overrides: environment.overrides.clone(),
            ownership: environment.ownership.clone(),
            metrics: environment.metrics.clone(),
            clock: environment.clock.clone(),
            jitter: Jitter::for_process(),
            drain: drain.clone(),
            control: control.clone(),
        }
    }

    /// Which caches are kept, and where: in the folder that each names, or beside the first snapshots.
    pub(super) fn wanted(&self, caches: &[Kept], stores: &[(StoreConfig, Arc<ZoneStore>)]) -> Vec<Wanted> {
        let interval = self.overrides.snapshot_interval.unwrap_or(DEFAULT_INTERVAL);
        let first = stores.iter().find_map(|(config, _)| Some((config.snapshot.clone()?, config.interval)));
        let beside = first.or_else(|| Some((self.overrides.snapshot.clone()?, interval)));
        let keep = |kept: &Kept| {
            let persist = self.overrides.persist.as_ref().unwrap_or(&kept.persist);
            let (dir, interval) = match (persist, &beside) {
                (Persist::Folder(dir), Some((_, every))) => (dir.clone(), *every),
                (Persist::Folder(dir), None) => (dir.clone(), interval),
                (Persist::BesideSnapshots, Some((dir, every))) => (dir.join(FOLDER), *every),
                (Persist::BesideSnapshots, None) | (Persist::Off, _) => return None,
            };
            let cache = kept.identity.clone();
            let config = CacheKeeperConfig { dir: own_folder(&dir, &cache), cache, interval };
            Some((config, kept.cache.store().clone()))
        };
        caches.iter().filter_map(keep).collect()
    }

    /// Loads what the folders have. Blocks while it reads: for the start of the process.
    pub(super) fn boot(&self, wanted: Vec<Wanted>) -> Vec<CacheKeeper> {
        wanted.into_iter().map(|wanted| self.loading(wanted)()).collect()
    }

    /// The same for one of them, to be done on any thread.
    fn loading(&self, (config, store): Wanted) -> impl FnOnce() -> CacheKeeper + Send + 'static {
        let (metrics, clock, jitter) = (self.metrics.clone(), self.clock.clone(), self.jitter.fork());
        let ownership = self.ownership.clone();
        move || {
            let keeper = CacheKeeper::open(config, store, Arc::new(RealDisk), clock, jitter, &metrics);
            let mut keeper = keeper.sharing(ownership);
            keeper.load();
            keeper
        }
    }

    /// Has keepers begin their work.
    pub(super) fn begin(&mut self, keepers: Vec<CacheKeeper>) {
        for keeper in keepers {
            let stop = self.drain.draining().child_token();
            let (config, store) = (keeper.config().clone(), keeper.store().clone());
            // Invariant: a folder has one keeper at a time.
            let before = self.leaving.extract_if(.., |leaving| leaving.config.dir == config.dir);
            let before: Vec<_> = before.map(|leaving| leaving.task).collect();
            let run = keeper.run(stop.clone());
            let task = self.control.spawn(async move {
                join_all(before).await;
                run.await;
            });
            self.live.push(LiveCache { config, store, stop, task });
        }
    }

    /// Loads what the folders of caches have that are not kept yet. Nothing else changes.
    pub(super) async fn prepare(&self, wanted: &[Wanted]) -> anyhow::Result<Vec<CacheKeeper>> {
        let mut keepers = Vec::new();
        for (config, store) in wanted {
            // The same cache in another folder holds what it needs: only its keeper is new.
            if self.live.iter().any(|live| Arc::ptr_eq(&live.store, store) && live.config == *config) {
                continue;
            }
            let load = self.loading((config.clone(), store.clone()));
            // In tests the log belongs to a thread.
            let log = tracing::dispatcher::get_default(Clone::clone);
            let load = move || tracing::dispatcher::with_default(&log, load);
            keepers.push(tokio::task::spawn_blocking(load).await.context("loading cached replies")?);
        }
        Ok(keepers)
    }

    /// Goes on with these; keepers that are no longer wanted write their last files and end.
    pub(super) fn apply(&mut self, wanted: &[Wanted], keepers: Vec<CacheKeeper>) {
        let is_wanted = |live: &LiveCache| {
            wanted.iter().any(|(config, store)| Arc::ptr_eq(&live.store, store) && live.config == *config)
        };
        let (stay, go): (Vec<_>, Vec<_>) = self.live.drain(..).partition(is_wanted);
        self.live = stay;
        go.iter().for_each(|live| live.stop.cancel());
        self.leaving.retain(|leaving| !leaving.task.is_finished());
        self.leaving.extend(go);
        self.begin(keepers);
    }

    /// Stops all of them, and waits until the last files are written.
    pub(super) async fn stop(self) {
        self.live.iter().for_each(|live| live.stop.cancel());
        for live in self.live.into_iter().chain(self.leaving) {
            // One that panicked has nothing to write.
            let _ = live.task.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;
    use crate::forward::cache::key::Question;
    use crate::forward::cache::policy::Policy;
    use crate::forward::cache::refresh::Cause;
    use crate::forward::cache::store::{Answer, Limits};
    use crate::forward::cache::{Class, Key, Packet};

    /// A store with one answer: `.` has no record of type A.
    fn store() -> Arc<Store> {
        let store = Store::new(Limits::default(), Jitter::from_seed(1));
        let asked = Question { name: b"\0", kind: 1, class: 1, dnssec_ok: false, checking_disabled: false };
        let reply = Packet::new(b"\0\0\x81\x80\0\x01\0\0\0\0\0\0\0\0\x01\0\x01".to_vec()).unwrap();
        let answer = Answer { class: Class::NoData, reply, ttl: 3600 };
        store.keep(&Key::new(&asked).unwrap(), answer, &Policy::default(), Cause::Miss, store.now());
        Arc::new(store)
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_has_one_keeper_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let environment = crate::node::test_support::environment();
        let mut caches = Caches::new(&environment, &Drain::new(), &Handle::current());
        let config = |seconds| CacheKeeperConfig {
            dir: dir.path().to_owned(),
            cache: ".".to_owned(),
            interval: Duration::from_secs(seconds),
        };
        let store = store();
        // The one before takes a minute to write its last file.
        let task = tokio::spawn(sleep(Duration::from_secs(60)));
        let stop = CancellationToken::new();
        caches.live.push(LiveCache { config: config(60), store: store.clone(), stop: stop.clone(), task });
        let wanted = [(config(30), store)];
        let keepers = caches.prepare(&wanted).await.unwrap();
        caches.apply(&wanted, keepers);
        assert!(stop.is_cancelled());
        let files = || std::fs::read_dir(dir.path()).unwrap().count();
        sleep(Duration::from_secs(50)).await;
        assert_eq!(files(), 0);
        sleep(Duration::from_secs(50)).await;
        assert_eq!(files(), 1);
        caches.stop().await;
    }
}
