//! The keeper: loads the newest snapshot at start, and writes the next ones without holding anybody up.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge};
use tokio::task::JoinHandle;

use super::control::Place;
use super::status::store::SnapshotStatus;
use super::{Generation, guard};
use crate::ops::clock::WallClock;
use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;
use crate::snapshot::disk::Disk;
use crate::snapshot::folder::{Access, Folder};
use crate::snapshot::frozen::{self, Kept};
use crate::snapshot::header::{About, Header, KindDigest};
use crate::snapshot::load::{Expect, Outcome};
use crate::snapshot::save::{SaveError, Saved};
use crate::snapshot::schedule::{Schedule, Why};
use crate::source::Resume;
use crate::zone::digest;
use crate::zone::object::Kinds;
use crate::zone::table::Builder;

/// What a keeper has to know of its node.
#[derive(Clone, Debug)]
pub struct KeeperConfig {
    /// The folder.
    pub dir: PathBuf,
    /// The zone that is served, lower case with the final dot.
    pub zone: String,
    /// Where the data comes from, e.g. `file:/etc/outlast/cluster.yaml`.
    pub source: String,
    /// Whether objects carry labels.
    pub labels: bool,
    /// Between two writes.
    pub interval: Duration,
    /// Data older than this is refused.
    pub max_stale: Option<Duration>,
}

/// Loads and writes the snapshots of one store.
pub struct Keeper {
    /// What it has to know.
    config: KeeperConfig,
    /// The folder; away while a write is under way.
    folder: Option<Folder>,
    /// The write under way.
    writing: Option<JoinHandle<(Folder, Result<Saved, SaveError>)>>,
    /// When to write.
    schedule: Schedule,
    /// Unix time for headers.
    clock: Arc<WallClock>,
    /// For the schedule.
    jitter: Jitter,
    /// When the newest snapshot was written, Unix milliseconds.
    written_at_ms: Option<u64>,
    /// The number of the newest snapshot.
    newest: Option<u64>,
    /// Why the last write failed, if it did: failures are logged once.
    failing: Option<String>,
    /// The disk, also while the folder is away.
    disk: Arc<dyn Disk>,
    /// What is measured.
    gauges: Gauges,
}

/// Measures of snapshots.
struct Gauges {
    /// Unix time of the newest snapshot.
    written: Gauge,
    /// Its age.
    age: Gauge,
    /// Its size.
    bytes: Gauge,
    /// How long the last write took.
    save: Gauge,
    /// How long loading took at start.
    load: Gauge,
    /// Whether nothing reaches the disk.
    memory_only: Gauge,
    /// Writes.
    saves: Counter,
    /// Failed writes.
    failures: Counter,
    /// Files that were not served.
    rejected: Counter,
}

impl Gauges {
    fn new(metrics: &Metrics) -> Self {
        let gauge = |name, help| {
            metrics.describe_gauge(name, help);
            metrics.gauge(name, &[])
        };
        let counter = |name, help| {
            metrics.describe_counter(name, help);
            metrics.counter(name, &[])
        };
        Self {
            written: gauge(
                "outlast_snapshot_written_timestamp_seconds",
                "When the newest snapshot was written.",
            ),
            age: gauge(
                "outlast_snapshot_age_seconds",
                "Time since the newest snapshot was written; -1 without one.",
            ),
            bytes: gauge("outlast_snapshot_size_bytes", "Size of the newest snapshot."),
            save: gauge("outlast_snapshot_save_seconds", "How long the last write of a snapshot took."),
            load: gauge("outlast_snapshot_load_seconds", "How long loading the snapshot took at start."),
            memory_only: gauge("outlast_snapshot_memory_only", "1 while no snapshot reaches the disk."),
            saves: counter("outlast_snapshot_saves_total", "Snapshots written."),
            failures: counter("outlast_snapshot_failures_total", "Snapshots that could not be written."),
            rejected: counter("outlast_snapshot_rejected_total", "Snapshots found and not served."),
        }
    }
}

/// A snapshot that was loaded.
pub struct Booted {
    /// What to serve.
    pub generation: Generation,
    /// How long ago it was proved to be current.
    pub age: Duration,
    /// From where the source may go on.
    pub resume: Resume,
}

/// Something frozen that goes on being so.
pub(super) struct Thawing {
    /// What is to be served.
    pub(super) generation: Generation,
    /// How long ago it was proved to be current.
    pub(super) age: Duration,
    /// How long ago it was frozen.
    pub(super) since: Duration,
    /// For how much longer it is.
    pub(super) remaining: Duration,
    /// The snapshot that was rolled back to.
    pub(super) rolled_back_to: Option<u64>,
}

impl Keeper {
    /// Opens the folder; never fails: without a folder that can be written, data is kept in memory only.
    pub fn open(
        config: KeeperConfig,
        disk: Arc<dyn Disk>,
        clock: Arc<WallClock>,
        jitter: Jitter,
        metrics: &Metrics,
    ) -> Self {
        let gauges = Gauges::new(metrics);
        let folder = Folder::open(disk.clone(), &config.dir);
        let why = match folder.access() {
            Access::Writable => None,
            Access::MemoryOnly { why } => Some(why.clone()),
        };
        gauges.memory_only.set(if why.is_some() { 1.0 } else { 0.0 });
        if let Some(why) = &why {
            tracing::error!(%why, "no snapshot can be written: memory only, a restart without the source will have no data");
        }
        let schedule = Schedule::new(config.interval).with_max_stale(config.max_stale);
        Self {
            config,
            folder: Some(folder),
            writing: None,
            schedule,
            clock,
            jitter,
            written_at_ms: None,
            newest: None,
            failing: why,
            disk,
            gauges,
        }
    }

    /// Goes on as another configuration has it.
    pub fn reconfigure(&mut self, interval: Duration, max_stale: Option<Duration>) {
        (self.config.interval, self.config.max_stale) = (interval, max_stale);
        self.schedule.reconfigure(interval, max_stale);
    }

    /// Every object has its labels from now on.
    pub fn has_labels(&mut self) {
        self.config.labels = true;
    }

    /// Loads the newest snapshot that is whole.
    pub fn load(&mut self) -> Option<Booted> {
        let expect = Expect { zone: &self.config.zone, source: Some(&self.config.source) };
        let start = Instant::now();
        let loaded = self.folder.as_mut()?.load(&expect, |_| Builder::default());
        for rejected in &loaded.rejected {
            self.gauges.rejected.increment(1);
            tracing::error!(file = %rejected.path.display(), "snapshot is not served: {rejected}");
        }
        for warning in &loaded.warnings {
            tracing::warn!(%warning, "snapshot");
        }
        let Outcome::Loaded(mut restored) = loaded.outcome else { return None };
        let header = restored.header;
        self.clock.raise_floor(header.written_at_ms);
        let mut complete = header.complete;
        if self.config.labels && !header.labels {
            // Selectors cannot be applied to objects without labels.
            tracing::warn!(
                "the snapshot has no labels and the configuration selects by them: waiting for the source"
            );
            complete = Kinds::NONE;
            // Not even what is there can be answered by.
            restored.sink = Builder::default();
        }
        let table = restored.sink.finish(complete, header.serial);
        let digests = KindDigest::of(&table);
        let differs = header.digest_version == digest::VERSION && header.digests != digests;
        if differs {
            tracing::warn!("the snapshot's digests differ from its objects");
        }
        // A position that promises more than the table holds would leave a gap for good.
        let trusted = if differs || header.source != self.config.source { Kinds::NONE } else { complete };
        let resume = resume(&header, trusted);
        let age = Duration::from_millis(self.clock.age_ms(header.proved_at_ms));
        let elapsed = start.elapsed();
        self.gauges.load.set(elapsed.as_secs_f64());
        self.gauges.bytes.set(restored.bytes as f64);
        self.newest = Some(restored.generation);
        self.note_written(header.written_at_ms);
        if !complete.is_empty() {
            // What is good for nothing is not written back either: an older configuration may still want the file.
            let unit = self.jitter.unit();
            self.schedule.restored(now(), age, unit);
        }
        tracing::info!(snapshot = restored.generation, objects = restored.objects, endpoints = table.endpoint_count(),
            age = ?Duration::from_secs(age.as_secs()), took = ?elapsed, source = %header.source, "loaded snapshot");
        Some(Booted { generation: Generation { table, number: 1, ..Generation::default() }, age, resume })
    }

    fn note_written(&mut self, at_ms: u64) {
        self.written_at_ms = Some(at_ms);
        self.gauges.written.set(at_ms as f64 / 1000.0);
        self.observe();
    }

    /// Exports the age of the newest snapshot.
    pub fn observe(&self) {
        let age = self.written_at_ms.map_or(-1.0, |at| self.clock.age_ms(at) as f64 / 1000.0);
        self.gauges.age.set(age);
    }

    // === What happens to the data ===

    /// The state changed, or was confirmed for the first time.
    pub fn changed(&mut self, complete: bool) {
        let now = now();
        if complete {
            self.schedule.completed(now);
        }
        self.schedule.changed(now);
    }

    /// The source proved that the state is what it was.
    pub fn proved(&mut self) {
        self.schedule.proved();
    }

    /// The source was lost.
    pub fn source_lost(&mut self) {
        self.schedule.source_lost(now());
    }

    /// When the next write is due.
    pub fn due(&self) -> Option<tokio::time::Instant> {
        self.schedule.due().map(|(at, _)| at.into())
    }

    /// Begins the write that is due: of this generation, which was proved this long ago, and how far its source had
    /// come with it.
    pub fn start(&mut self, generation: &Arc<Generation>, age: Duration, reached: &Resume) {
        let why = self.schedule.due().map_or(Why::Changed, |(_, why)| why);
        let Some(mut folder) = self.folder.take() else { return };
        self.schedule.started();
        let header = self.header(generation, age, reached);
        let generation = generation.clone();
        tracing::debug!(why = why.as_str(), "writing snapshot");
        // Off the runtime: a slow disk holds up neither the source nor the administration.
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let result = folder.save(&header, generation.table.objects());
            (folder, result)
        }));
    }

    /// Waits for the write under way; never, if there is none.
    pub async fn finished(&mut self) {
        let Some(writing) = &mut self.writing else { return std::future::pending().await };
        let result = writing.await;
        self.writing = None;
        let unit = self.jitter.unit();
        match result {
            Ok((folder, Ok(saved))) => {
                self.folder = Some(folder);
                self.schedule.written(now(), unit);
                self.saved(&saved);
            }
            Ok((folder, Err(error))) => {
                self.folder = Some(folder);
                self.schedule.failed(now(), unit);
                self.failed(&error);
            }
            // The writer panicked, and the folder went with it: there is nothing to write to any more.
            Err(error) => {
                self.gauges.memory_only.set(1.0);
                self.failing = Some(format!("writing a snapshot panicked: {error}"));
                tracing::error!(%error, "writing a snapshot panicked: memory only");
            }
        }
    }

    /// Writes what is not yet on the disk, for a clean stop.
    pub async fn stop(&mut self, generation: &Arc<Generation>, age: Duration, reached: &Resume) {
        if self.writing.is_some() {
            self.finished().await;
        }
        if self.schedule.on_stop() {
            self.start(generation, age, reached);
            // After a panic there is no folder, and no write to wait for.
            if self.writing.is_some() {
                self.finished().await;
            }
        }
    }

    fn saved(&mut self, saved: &Saved) {
        self.gauges.saves.increment(1);
        self.gauges.bytes.set(saved.bytes as f64);
        self.gauges.save.set(saved.elapsed.as_secs_f64());
        self.note_written(self.clock.now_unix_ms());
        self.gauges.memory_only.set(0.0);
        for error in &saved.untidy {
            tracing::warn!(%error, "tidying up the snapshot folder");
        }
        self.newest = Some(saved.generation);
        if self.failing.take().is_some() {
            tracing::info!(snapshot = saved.generation, "snapshots are written again");
        }
        tracing::debug!(snapshot = saved.generation, bytes = saved.bytes, took = ?saved.elapsed, "snapshot written");
    }

    fn failed(&mut self, error: &SaveError) {
        self.gauges.failures.increment(1);
        self.gauges.memory_only.set(1.0);
        if self.failing.replace(error.to_string()).is_none() {
            tracing::error!(%error, "snapshot not written: memory only until a retry succeeds");
        }
    }

    /// Where snapshots are kept.
    pub(super) fn place(&self) -> Place {
        let Self { disk, config, .. } = self;
        Place { disk: disk.clone(), dir: config.dir.clone(), zone: config.zone.clone() }
    }

    /// What is on the disk.
    pub(super) fn status(&self) -> SnapshotStatus {
        SnapshotStatus {
            dir: Some(self.config.dir.display().to_string()),
            newest: self.newest,
            age_s: self.written_at_ms.map(|at| self.clock.age_ms(at) / 1000),
            memory_only: self.failing.is_some(),
            why: self.failing.clone(),
        }
    }

    /// What an operator has frozen before the process began, and is to be served for so much longer.
    pub(super) fn load_frozen(&self) -> Option<Thawing> {
        let place = self.place();
        let kept = match frozen::load(&*place.disk, &place.dir, &place.zone, Builder::default()) {
            Ok(kept) => kept?,
            Err(why) => {
                tracing::error!(%why, "what was frozen cannot be served");
                return None;
            }
        };
        let Kept { mark, header, sink } = kept;
        self.clock.raise_floor(header.written_at_ms);
        let now = self.clock.now_unix_ms();
        // A clock that was set back makes nothing last longer than it was meant to.
        let remaining = mark.until_ms.saturating_sub(now.max(mark.since_ms));
        if remaining == 0 || (self.config.labels && !header.labels) {
            return None;
        }
        let resume = resume(&header, header.complete);
        let table = sink.finish(header.complete, header.serial);
        Some(Thawing {
            generation: Generation { table, number: 1, reached: Arc::new(resume), ..Generation::default() },
            age: Duration::from_millis(self.clock.age_ms(header.proved_at_ms)),
            since: Duration::from_millis(now.saturating_sub(mark.since_ms)),
            remaining: Duration::from_millis(remaining),
            rolled_back_to: mark.rolled_back_to,
        })
    }

    pub(super) fn header(&self, generation: &Generation, age: Duration, reached: &Resume) -> Header {
        let now = self.clock.now_unix_ms();
        let about = About {
            zone: self.config.zone.clone(),
            source: self.config.source.clone(),
            labels: self.config.labels,
            cluster_uid: reached.cluster_uid.clone(),
            position: reached.position,
            told: reached.told,
            held: guard::kinds(&generation.held),
            written_at_ms: now,
            proved_at_ms: now.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        };
        Header::of(&generation.table, about)
    }
}

/// What a snapshot lets its source go on from: its position for the kinds that are `trusted`. Which cluster and epoch
/// it was is worth knowing even where every kind has to be listed.
fn resume(header: &Header, trusted: Kinds) -> Resume {
    let (mut position, mut told) = (header.position, header.told);
    // What is missing from the objects is not known where removals were held back.
    for kind in Kinds::ALL.minus(trusted.minus(header.held)).iter() {
        position.versions[kind.index()] = 0;
        told.versions[kind.index()] = 0;
    }
    Resume { cluster_uid: header.cluster_uid.clone(), position, told, ..Resume::default() }
}

/// The runtime's clock, which tests can stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use super::*;
    use crate::feed::position::Position;
    use crate::snapshot::disk::{DiskFile, Entry, RealDisk};
    use crate::zone::Table;
    use crate::zone::object::{Namespace, Object};

    fn keeper(dir: &Path, labels: bool, disk: Arc<dyn Disk>) -> Keeper {
        let config = KeeperConfig {
            max_stale: None,
            dir: dir.to_owned(),
            zone: "cluster.local.".to_owned(),
            source: "file:x".to_owned(),
            labels,
            interval: Duration::from_secs(60),
        };
        let clock = Arc::new(WallClock::new(0));
        Keeper::open(config, disk, clock, Jitter::from_seed(1), &Metrics::new())
    }

    fn generation() -> Arc<Generation> {
        let objects = [Object::Namespace(Namespace { name: "shop".into(), labels: [].into() })];
        Arc::new(Generation {
            table: Table::build(objects, Kinds::CORE, 1),
            number: 1,
            verified: true,
            ..Generation::default()
        })
    }

    /// Of pods, too, which the generation does not have.
    fn reached() -> Resume {
        let position = Position { epoch: 2, versions: [11, 12, 13, 14] };
        Resume { cluster_uid: "u".to_owned(), position, ..Resume::default() }
    }

    fn snapshots(dir: &Path) -> usize {
        std::fs::read_dir(dir).expect("the folder is there").count()
    }

    #[tokio::test]
    async fn what_cannot_be_used_is_not_written_back() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut without = keeper(dir.path(), false, Arc::new(RealDisk));
        without.changed(true);
        without.stop(&generation(), Duration::ZERO, &reached()).await;
        assert_eq!(snapshots(dir.path()), 1);

        let mut selecting = keeper(dir.path(), true, Arc::new(RealDisk));
        let booted = selecting.load().expect("it is whole").generation;
        assert_eq!(booted.table.complete(), Kinds::NONE, "selectors see nothing in it");
        selecting.proved();
        assert_eq!(selecting.due(), None);
        selecting.stop(&Arc::new(booted), Duration::ZERO, &reached()).await;
        assert_eq!(snapshots(dir.path()), 1);

        let mut without = keeper(dir.path(), false, Arc::new(RealDisk));
        let booted = without.load().expect("it is what it was").generation;
        assert_eq!(booted.table.complete(), Kinds::CORE);
    }

    #[tokio::test]
    async fn a_source_goes_on_where_the_snapshot_is_whole() {
        struct Case {
            name: &'static str,
            labels: bool,
            source: &'static str,
            want: [u64; 4],
        }
        let cases = [
            Case { name: "all but what it lacks", labels: false, source: "file:x", want: [11, 12, 13, 0] },
            Case { name: "labels are wanted", labels: true, source: "file:x", want: [0; 4] },
            Case { name: "another source", labels: false, source: "file:y", want: [0; 4] },
        ];
        for Case { name, labels, source, want } in cases {
            let dir = tempfile::tempdir().expect("a temporary folder");
            let mut first = keeper(dir.path(), false, Arc::new(RealDisk));
            first.changed(true);
            first.stop(&generation(), Duration::ZERO, &reached()).await;

            let mut second = keeper(dir.path(), labels, Arc::new(RealDisk));
            source.clone_into(&mut second.config.source);
            let resume = second.load().expect("it is whole").resume;
            let position = Position { epoch: 2, versions: want };
            assert_eq!(
                resume,
                Resume { cluster_uid: "u".to_owned(), position, ..Resume::default() },
                "{name}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_after_a_panic_ends() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut keeper = keeper(dir.path(), false, Arc::new(Panicking));
        keeper.changed(true);
        keeper.start(&generation(), Duration::ZERO, &reached());
        keeper.finished().await;
        keeper.changed(true);
        assert_eq!(keeper.due(), None, "there is nothing to write to any more");
        let (generation, reached) = (generation(), reached());
        let stop = keeper.stop(&generation, Duration::ZERO, &reached);
        tokio::time::timeout(Duration::from_secs(60), stop).await.expect("it ends");
    }

    /// A disk that panics where a snapshot would get its name.
    #[derive(Debug)]
    struct Panicking;

    impl Disk for Panicking {
        fn make_dir(&self, dir: &Path) -> io::Result<()> {
            RealDisk.make_dir(dir)
        }

        fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            RealDisk.create_new(path)
        }

        fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
            panic!("a test's disk")
        }

        fn sync_dir(&self, dir: &Path) -> io::Result<()> {
            RealDisk.sync_dir(dir)
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            RealDisk.remove(path)
        }

        fn remove_abandoned(&self, path: &Path) -> io::Result<bool> {
            RealDisk.remove_abandoned(path)
        }

        fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
            RealDisk.list(dir)
        }

        fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
            RealDisk.read(path, limit)
        }
    }
}
