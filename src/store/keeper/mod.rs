//! The keeper: loads the newest snapshot at start, and writes the next ones without holding anybody up.
//!
//! * here: writing. `load`: what a start finds. `gauges`: what is measured.
//!
//! Invariant: a folder that processes of a node share is written by the one that owns it, and read by all.

mod gauges;
mod load;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use self::gauges::Gauges;
pub use self::load::Booted;
use super::control::Place;
use super::status::store::SnapshotStatus;
use super::{Generation, guard};
use crate::ops::blocking;
use crate::ops::clock::WallClock;
use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;
use crate::ops::ownership::Ownership;
use crate::snapshot::disk::Disk;
use crate::snapshot::folder::{Access, Folder};
use crate::snapshot::header::{About, Header};
use crate::snapshot::save::{SaveError, Saved};
use crate::snapshot::schedule::{Schedule, Why};
use crate::source::{Resume, SourceConfig};

/// How long a write waits while another process of the node owns the folder, before it is asked again.
const NOT_OURS: Duration = Duration::from_secs(1);

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
    /// Whether EndpointSlices are those of headless services only.
    pub headless_only: bool,
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
    /// Whether the folder is ours to write to.
    ownership: Ownership,
    /// What is measured.
    gauges: Gauges,
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
            ownership: Ownership::always(),
            gauges,
        }
    }

    /// Writes only while the folder is this process's among those of the node.
    #[must_use]
    pub fn sharing(mut self, ownership: Ownership) -> Self {
        self.ownership = ownership;
        self
    }

    /// Goes on as another configuration has it.
    pub fn reconfigure(&mut self, interval: Duration, max_stale: Option<Duration>) {
        (self.config.interval, self.config.max_stale) = (interval, max_stale);
        self.schedule.reconfigure(interval, max_stale);
    }

    /// This source tells what is kept from now on.
    pub fn follows(&mut self, source: &SourceConfig) {
        self.config.source = source.to_string();
        self.config.headless_only = source.is_headless_only();
    }

    /// Every object has its labels from now on.
    pub fn has_labels(&mut self) {
        self.config.labels = true;
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

    /// When the next write is due, or when to ask again while it is another process's.
    pub fn due(&self) -> Option<tokio::time::Instant> {
        let (at, _) = self.schedule.due()?;
        let at = if self.ownership.is_ours() { at } else { at.max(now() + NOT_OURS) };
        Some(at.into())
    }

    /// Begins the write that is due: of this generation, which was proved this long ago, and how far its source had
    /// come with it.
    pub fn start(&mut self, generation: &Arc<Generation>, age: Duration, reached: &Resume) {
        // Invariant: one writer. It stays due until it is ours, or has been written by whoever it belongs to.
        if !self.ownership.is_ours() {
            return;
        }
        let why = self.schedule.due().map_or(Why::Changed, |(_, why)| why);
        let Some(mut folder) = self.folder.take() else { return };
        self.schedule.started();
        let header = self.header(generation, age, reached);
        let generation = generation.clone();
        tracing::debug!(why = why.as_str(), "writing snapshot");
        // Off the runtime: a slow disk holds up neither the source nor the administration.
        self.writing = Some(blocking::spawn(move || {
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

    /// Writes what is not yet on the disk, for a clean stop; what another process has taken over is that one's to write.
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

    pub(super) fn header(&self, generation: &Generation, age: Duration, reached: &Resume) -> Header {
        let now = self.clock.now_unix_ms();
        let about = About {
            zone: self.config.zone.clone(),
            source: self.config.source.clone(),
            labels: self.config.labels,
            headless_only: self.config.headless_only,
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

/// The runtime's clock, which tests can stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
