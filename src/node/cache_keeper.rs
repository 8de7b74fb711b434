//! The keeper of a cache: brings its replies back from the disk before the node answers, and writes them there now
//! and then, so that a node that restarts while every upstream is down answers the names that were in use.
//!
//! Invariants:
//! * The query path never waits for a disk, nor does the runtime: files are read at start, and written by a thread of
//!   the blocking pool.
//! * Over time no more than [`WRITE_RATE`] is written, whatever is asked: a cache changes with every miss, and disks
//!   of flash cells wear.
//! * A folder that cannot be written is said once, and tried again.
//! * A folder that processes of a node share is written by the one that owns it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metrics::{Counter, Gauge};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::forward::cache::{Class, Persisted, Store};
use crate::ops::clock::WallClock;
use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;
use crate::ops::ownership::Ownership;
use crate::snapshot::cache::{CachedReply, Says};
use crate::snapshot::disk::Disk;
use crate::snapshot::folder::{Access, Folder};
use crate::snapshot::save::{SaveError, Saved};
use crate::snapshot::schedule::Schedule;

/// Bytes a second that are written at most over time: 5 GiB a day, which the cheapest flash storage bears for years. A
/// cache of some thousand names is written every `snapshot_interval`, a full one of 32 MiB every few minutes.
pub const WRITE_RATE: u64 = 64 << 10;

/// How often is looked whether there is something to write.
const LOOK: Duration = Duration::from_secs(1);

/// What a keeper has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheKeeperConfig {
    /// The folder, for this cache alone.
    pub dir: PathBuf,
    /// Which cache it is: files of others are not read.
    pub cache: String,
    /// Least time between two writes.
    pub interval: Duration,
}

/// Loads and writes the replies of one cache.
pub struct CacheKeeper {
    /// What it has to know.
    config: CacheKeeperConfig,
    /// The replies.
    store: Arc<Store>,
    /// The folder; gone after a panic of a writer.
    folder: Option<Folder>,
    /// When to write.
    schedule: Schedule,
    /// [`Store::changes`] when it was last looked at.
    seen: u64,
    /// Unix time of what leaves the process.
    clock: Arc<WallClock>,
    /// For the schedule.
    jitter: Jitter,
    /// Whether the last write failed: failures are logged once.
    failing: bool,
    /// Whether the folder is ours to write to.
    ownership: Ownership,
    /// What is measured.
    gauges: Gauges,
}

/// Measures of a cache on the disk.
struct Gauges {
    /// Unix time of the newest file.
    written: Gauge,
    /// Its size.
    bytes: Gauge,
    /// Replies that came back at start.
    restored: Gauge,
    /// Writes that failed.
    failures: Counter,
}

impl Gauges {
    fn new(metrics: &Metrics, cache: &str) -> Self {
        let gauge = |name, help| {
            metrics.describe_gauge(name, help);
            metrics.gauge(name, &[("cache", cache)])
        };
        let failures = "outlast_cache_snapshot_failures_total";
        metrics.describe_counter(failures, "Files of cached replies that could not be written.");
        Self {
            written: gauge(
                "outlast_cache_snapshot_written_timestamp_seconds",
                "When the newest file of cached replies was written.",
            ),
            bytes: gauge("outlast_cache_snapshot_size_bytes", "Size of the newest file of cached replies."),
            restored: gauge(
                "outlast_cache_restored_replies",
                "Cached replies that were read from the disk at start.",
            ),
            failures: metrics.counter(failures, &[("cache", cache)]),
        }
    }
}

impl CacheKeeper {
    /// Opens the folder; never fails: without a folder that can be written, replies are kept in memory only.
    pub fn open(
        config: CacheKeeperConfig,
        store: Arc<Store>,
        disk: Arc<dyn Disk>,
        clock: Arc<WallClock>,
        jitter: Jitter,
        metrics: &Metrics,
    ) -> Self {
        let folder = Folder::open(disk, &config.dir);
        let failing = match folder.access() {
            Access::Writable => false,
            Access::MemoryOnly { why } => {
                tracing::error!(%why, cache = %config.cache,
                    "cached replies cannot be written: memory only, a restart without upstreams will have none");
                true
            }
        };
        let (gauges, schedule) = (Gauges::new(metrics, &config.cache), Schedule::new(config.interval));
        let (folder, ownership) = (Some(folder), Ownership::always());
        Self { config, store, folder, schedule, seen: 0, clock, jitter, failing, ownership, gauges }
    }

    /// Writes only while the folder is this process's among those of the node.
    #[must_use]
    pub fn sharing(mut self, ownership: Ownership) -> Self {
        self.ownership = ownership;
        self
    }

    /// What it was made for.
    pub const fn config(&self) -> &CacheKeeperConfig {
        &self.config
    }

    /// The cache that it keeps.
    pub const fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Brings back what the newest whole file holds; what the cache knows by itself is newer, and stays. Blocks.
    pub fn load(&mut self) {
        let Some(folder) = &mut self.folder else { return };
        let (store, clock, now) = (&self.store, &self.clock, self.store.now());
        let mut taken = 0_u64;
        let loaded = folder.load_replies(&self.config.cache, |reply, written| {
            // A clock that starts in 1970 must not make everything new.
            clock.raise_floor(written);
            let age = Duration::from_millis(clock.age_ms(reply.stored_at_ms));
            taken += u64::from(store.import(persisted(reply, age), now));
        });
        for rejected in &loaded.rejected {
            tracing::error!(file = %rejected.path.display(), "cached replies are not used: {rejected}");
        }
        for warning in &loaded.warnings {
            tracing::warn!(%warning, cache = %self.config.cache, "cached replies");
        }
        let Some(restored) = loaded.restored else { return };
        self.gauges.restored.set(taken as f64);
        self.gauges.bytes.set(restored.bytes as f64);
        self.gauges.written.set(restored.written_at_ms as f64 / 1000.0);
        tracing::info!(cache = %self.config.cache, replies = restored.replies, taken, took = ?restored.elapsed,
            "loaded cached replies");
        self.schedule.restored(now_std(), Duration::ZERO, self.jitter.unit());
    }

    /// Writes when it is time, until `stop`; then once more what is not on the disk yet.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = looks.tick() => {}
            }
            self.look();
            if self.schedule.due().is_some_and(|(at, _)| at <= now_std()) {
                self.write().await;
            }
        }
        self.look();
        if self.schedule.on_stop() {
            self.write().await;
        }
    }

    /// Sees what has happened to the cache since the last look.
    fn look(&mut self) {
        let changes = self.store.changes();
        if std::mem::replace(&mut self.seen, changes) != changes {
            let now = now_std();
            self.schedule.completed(now);
            self.schedule.changed(now);
        }
    }

    /// Writes all replies, off the runtime.
    async fn write(&mut self) {
        // Invariant: one writer. It stays due, and is looked at again in a second.
        if !self.ownership.is_ours() {
            return;
        }
        let Some(mut folder) = self.folder.take() else { return };
        self.schedule.started();
        let (store, cache, written) =
            (self.store.clone(), self.config.cache.clone(), self.clock.now_unix_ms());
        let writing = tokio::task::spawn_blocking(move || {
            let replies = store.export(store.now()).map(|item| cached(item, written));
            let result = folder.save_replies(&cache, written, replies);
            (folder, result)
        });
        let done = writing.await;
        let (now, unit) = (now_std(), self.jitter.unit());
        match done {
            Ok((folder, Ok(saved))) => {
                self.folder = Some(folder);
                self.schedule.written(now, unit);
                self.schedule.stretch(now + Duration::from_secs(saved.bytes / WRITE_RATE));
                self.saved(&saved, written);
            }
            Ok((folder, Err(error))) => {
                self.folder = Some(folder);
                self.schedule.failed(now, unit);
                self.failed(&error);
            }
            // The folder went with it: there is nothing to write to any more.
            Err(error) => {
                tracing::error!(%error, cache = %self.config.cache, "writing cached replies panicked: memory only");
            }
        }
    }

    fn saved(&mut self, saved: &Saved, written: u64) {
        self.gauges.bytes.set(saved.bytes as f64);
        self.gauges.written.set(written as f64 / 1000.0);
        for error in &saved.untidy {
            tracing::warn!(%error, "tidying up the folder of cached replies");
        }
        if std::mem::take(&mut self.failing) {
            tracing::info!(cache = %self.config.cache, "cached replies are written again");
        }
        tracing::debug!(cache = %self.config.cache, replies = saved.objects, bytes = saved.bytes, took = ?saved.elapsed,
            "cached replies written");
    }

    fn failed(&mut self, error: &SaveError) {
        self.gauges.failures.increment(1);
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(%error, cache = %self.config.cache,
                "cached replies not written: memory only until a retry succeeds");
        }
    }
}

/// A reply of the disk as one of the cache; it came `age` ago.
fn persisted(reply: CachedReply, age: Duration) -> Persisted {
    Persisted {
        name: reply.name.to_vec().into(),
        kind: reply.kind,
        class: reply.class,
        dnssec_ok: reply.dnssec_ok,
        checking_disabled: reply.checking_disabled,
        says: match reply.says {
            Says::Positive => Class::Positive,
            Says::NoData => Class::NoData,
            Says::NxDomain => Class::NxDomain,
        },
        reply: reply.message.to_vec().into(),
        age,
        ttl: reply.ttl,
        in_use: reply.used,
    }
}

/// A reply of the cache as one of the disk, as of `now` (Unix milliseconds).
fn cached(item: Persisted, now: u64) -> CachedReply {
    let age = u64::try_from(item.age.as_millis()).unwrap_or(u64::MAX);
    CachedReply {
        name: Bytes::from(item.name),
        kind: item.kind,
        class: item.class,
        dnssec_ok: item.dnssec_ok,
        checking_disabled: item.checking_disabled,
        says: match item.says {
            Class::Positive => Says::Positive,
            Class::NoData => Says::NoData,
            Class::NxDomain => Says::NxDomain,
        },
        message: Bytes::from(item.reply),
        stored_at_ms: now.saturating_sub(age),
        ttl: item.ttl,
        used: item.in_use,
    }
}

/// The runtime's clock, which tests can stop.
fn now_std() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::forward::cache::key::Question;
    use crate::forward::cache::policy::{self, Bounds, Policy, Refresh, Stale};
    use crate::forward::cache::refresh::Cause;
    use crate::forward::cache::store::{Answer, Limits};
    use crate::forward::cache::{Key, Packet};
    use crate::node::test_support::Logs;
    use crate::snapshot::disk::RealDisk;

    const POLICY: Policy = Policy {
        success: Bounds { max: 3600, min: 5 },
        denial: Bounds { max: 1800, min: 5 },
        failure: Duration::from_secs(5),
        keep_ttl: false,
        stale: Stale::OnFailure { keep: policy::STALE_MAX },
        prefer_positive: false,
        refresh: Refresh::InUse,
    };

    fn store() -> Arc<Store> {
        Arc::new(Store::new(Limits::default(), Jitter::from_seed(1)))
    }

    fn key(name: &[u8]) -> Key {
        let question = Question { name, kind: 1, class: 1, dnssec_ok: false, checking_disabled: false };
        Key::new(&question).unwrap()
    }

    /// Has the store keep an answer to `name` of `size` bytes of text for an hour.
    fn keep(store: &Store, name: &[u8], size: usize) {
        let mut message = b"\0\0\x81\x80\0\x01\0\x01\0\0\0\0".to_vec();
        message.extend_from_slice(name);
        message.extend_from_slice(b"\0\x01\0\x01\xc0\x0c\0\x10\0\x01\0\0\x0e\x10");
        message.extend_from_slice(&u16::try_from(size).unwrap().to_be_bytes());
        message.extend((0..size).map(|_| rand::random::<u8>()));
        let answer = Answer { class: Class::Positive, reply: Packet::new(message).unwrap(), ttl: 3600 };
        store.keep(&key(name), answer, &POLICY, Cause::Miss, store.now());
    }

    fn keeper(dir: &Path, store: &Arc<Store>) -> CacheKeeper {
        let config = CacheKeeperConfig {
            dir: dir.to_owned(),
            cache: ".".to_owned(),
            interval: Duration::from_secs(60),
        };
        let clock = Arc::new(WallClock::with_system(1_767_225_600_000, || 0));
        CacheKeeper::open(
            config,
            store.clone(),
            Arc::new(RealDisk),
            clock,
            Jitter::from_seed(1),
            &Metrics::new(),
        )
    }

    fn files(dir: &Path) -> usize {
        std::fs::read_dir(dir).unwrap().count()
    }

    async fn pass(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_kept_comes_back_with_its_age() {
        let dir = tempfile::tempdir().unwrap();
        let (first, stop) = (store(), CancellationToken::new());
        let running = tokio::spawn(keeper(dir.path(), &first).run(stop.clone()));
        pass(10).await;
        assert_eq!(files(dir.path()), 0, "nothing to write");
        keep(&first, b"\x01a\0", 1);
        pass(3).await;
        assert_eq!(files(dir.path()), 1, "the first reply is written soon");
        keep(&first, b"\x01b\0", 1);
        pass(30).await;
        assert_eq!(files(dir.path()), 1, "the second waits for the interval");
        stop.cancel();
        running.await.unwrap();
        assert_eq!(files(dir.path()), 2, "and is written at the end");

        let second = store();
        keeper(dir.path(), &second).load();
        for name in [b"\x01a\0", b"\x01b\0"] {
            let (before, after) =
                (first.find(&key(name), first.now()), second.find(&key(name), second.now()));
            let (before, after) = (before.positive.unwrap(), after.positive.unwrap());
            assert_eq!((&before.reply, before.ttl), (&after.reply, after.ttl));
            assert_eq!(before.remaining(first.now()), after.remaining(second.now()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_of_several_processes_is_written_by_the_one_that_owns_it() {
        let dir = tempfile::tempdir().unwrap();
        let (store, stop) = (store(), CancellationToken::new());
        let (say, owned) = tokio::sync::watch::channel(false);
        let keeper = keeper(dir.path(), &store).sharing(Ownership::of(owned));
        let running = tokio::spawn(keeper.run(stop.clone()));
        keep(&store, b"\x01a\0", 1);
        pass(100).await;
        assert_eq!(files(dir.path()), 0, "it is another process's");
        say.send(true).unwrap();
        pass(2).await;
        assert_eq!(files(dir.path()), 1, "it was due all the while");
        keep(&store, b"\x01b\0", 1);
        pass(10).await;
        say.send(false).unwrap();
        stop.cancel();
        running.await.unwrap();
        assert_eq!(files(dir.path()), 1, "who has handed over writes no last one");
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_cache_is_written_more_rarely() {
        let dir = tempfile::tempdir().unwrap();
        let (store, stop) = (store(), CancellationToken::new());
        let running = tokio::spawn(keeper(dir.path(), &store).run(stop.clone()));
        // Random text does not compress: 200 x 64,000 bytes are 195 s at the rate.
        for n in 0..200 {
            keep(&store, &[1, n, 0], 64_000);
        }
        pass(5).await;
        assert_eq!(files(dir.path()), 1);
        keep(&store, b"\x01a\0", 1);
        pass(150).await;
        assert_eq!(files(dir.path()), 1, "held back by the rate");
        pass(60).await;
        assert_eq!(files(dir.path()), 2);
        stop.cancel();
        running.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_cannot_be_written_is_said_once_and_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        // A file is in the place of the folder.
        let place = dir.path().join("cache");
        std::fs::write(&place, "").unwrap();
        let (store, stop, logs) = (store(), CancellationToken::new(), Logs::capture("info"));
        let running = tokio::spawn(keeper(&place, &store).run(stop.clone()));
        keep(&store, b"\x01a\0", 1);
        pass(600).await;
        let lines = logs.take();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("cached replies cannot be written"), "{lines:?}");
        std::fs::remove_file(&place).unwrap();
        pass(600).await;
        assert_eq!(files(&place), 1);
        assert!(logs.take().iter().any(|line| line.contains("written again")));
        stop.cancel();
        running.await.unwrap();
    }
}
