//! `source file PATH`: the cluster as `kubectl get ns,svc,endpointslices,pods -A -o json|yaml` printed it, in a
//! file or in a folder of files, followed as it changes.
//!
//! May depend on [`super::kubectl`] for what the text means, and on [`crate::ops`] for metrics.
//!
//! Invariants:
//! * All or nothing: a state is sent when every file of it was read to its end, unchanged meanwhile. A broken,
//!   empty or missing file never takes anything away; it is told as a loss, and the data stays.
//! * Files are touched on the blocking pool only, so that a hanging disk delays nothing but the next state.
//! * Freshness is proved by looking: as long as the files are what they were, each look says so.
//!
//! Known weakness: a file that is overwritten in place with as many bytes within one tick of the file system's
//! clock is taken for unchanged. Replacing it (write beside it, then rename) is always seen.

mod follow;
mod read;
mod report;
mod survey;

pub use super::report::DROPPED_TOTAL;
pub use read::{ReadError, read};
pub use report::{READS_TOTAL, SKIPPED_TOTAL};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::SendError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::command::{self, Command, Commanded};
use super::{Listed, Update, Wanted};
use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;
use crate::zone::object::Object;
use follow::{Follower, Look, Step};
use report::Report;

/// Time between two looks. A look costs one `stat` a file, so this is short: a change of the file is served
/// within about a second.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// Each wait is the interval times a random factor within this much of 1, so that the nodes of a cluster that
/// share a network file system do not look all at once.
const JITTER: f64 = 0.2;

/// A changed file is read once it has been left alone for this long: a writer that is still at it would be
/// caught between two documents.
const SETTLE: Duration = Duration::from_millis(250);

/// Entries of a part of a list: so many are compared with the table at a time, which takes well under a millisecond.
const PART: usize = 256;

/// Follows a file or folder.
pub struct FileSource {
    /// The file or folder.
    path: PathBuf,
    /// What the objects are needed for.
    wanted: Wanted,
    /// Mean time between two looks.
    interval: Duration,
    /// How long a changed file has to be left alone.
    settle: Duration,
    /// Spreads the looks, so that nodes that share a disk do not look in step.
    jitter: Jitter,
    /// Counts and logs.
    report: Report,
    /// What is asked of it.
    commanded: Option<Commanded>,
}

impl FileSource {
    /// A source that follows `path`; nothing is read before [`run`](Self::run).
    pub fn new(path: impl Into<PathBuf>, wanted: Wanted, metrics: Arc<Metrics>) -> Self {
        let path = path.into();
        let report = Report::new(&path, metrics);
        let jitter = Jitter::for_process();
        Self { path, wanted, interval: INTERVAL, settle: SETTLE, jitter, report, commanded: None }
    }

    /// Looks about every `interval` instead of every [`INTERVAL`].
    #[must_use]
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self.settle = SETTLE.min(interval / 4);
        self
    }

    /// Does what is asked of it here: a relist is a read at once, also of what has not changed.
    #[must_use]
    pub fn obeying(mut self, commanded: Commanded) -> Self {
        self.commanded = Some(commanded);
        self
    }

    /// Follows the path until `shutdown`, or until nobody receives any more. The first read starts at once;
    /// a full channel delays the next look.
    ///
    /// Sends one list of every wanted kind and then [`Update::Fresh`] when the files changed and could be read,
    /// [`Update::Fresh`] at each look that finds them unchanged, and [`Update::Lost`] once when they turn
    /// unreadable or vanish.
    pub async fn run(self, tx: Sender<Update>, shutdown: CancellationToken) {
        // Nothing that runs here holds a half-done state: it may stop at any await.
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = self.follow(tx) => {}
        }
    }

    async fn follow(mut self, tx: Sender<Update>) {
        let mut follower = Follower::new();
        let mut commanded = self.commanded.take();
        loop {
            // What changes during the look may be missing from it: what is found is as old as its beginning.
            let as_of = Instant::now();
            let look = self.look(&follower).await;
            let step = follower.judge(look, &self.report);
            let wait = match &step {
                // Somebody is writing: look again as soon as he can be done.
                Step::Wait => self.settle,
                _ => self.jitter.spread(self.interval, JITTER),
            };
            let told = match step {
                Step::State(objects) => self.tell_state(&tx, objects, as_of).await,
                Step::Fresh => tx.send(Update::Fresh { as_of }).await,
                Step::Lost(why) => tx.send(Update::Lost { why }).await,
                Step::Nothing | Step::Wait => Ok(()),
            };
            if told.is_err() {
                return;
            }
            let until = Instant::now() + wait;
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(until) => break,
                    command = command::next(&mut commanded) => match command {
                        Command::Relist { .. } => {
                            follower.reread();
                            break;
                        }
                        // A file is of no cluster.
                        Command::BeginEpoch(_) | Command::AcceptCluster => {}
                    },
                }
            }
        }
    }

    /// Sends a whole state.
    async fn tell_state(
        &self,
        tx: &Sender<Update>,
        objects: Vec<Object>,
        as_of: Instant,
    ) -> Result<(), SendError<Update>> {
        let kinds = self.wanted.kinds();
        let mut objects = objects.into_iter().map(|object| Listed::Object { object, trigger: None });
        loop {
            let entries: Vec<_> = objects.by_ref().take(PART).collect();
            if entries.is_empty() {
                break;
            }
            tx.send(Update::ListPart { kinds, entries }).await?;
        }
        tx.send(Update::ListEnd { kinds }).await?;
        tx.send(Update::Fresh { as_of }).await
    }

    /// Looks at the files, and reads them if they are not what they were.
    async fn look(&self, follower: &Follower) -> Look {
        let (path, wanted) = (self.path.clone(), self.wanted);
        let (seen, settle) = (follower.seen(), follower.settle(self.settle));
        let looked =
            tokio::task::spawn_blocking(move || follow::look(&path, wanted, seen.as_deref(), settle));
        looked.await.unwrap_or_else(|e| {
            let source = std::io::Error::other(e);
            Look::Failed(ReadError::Io { path: self.path.clone(), source })
        })
    }
}
