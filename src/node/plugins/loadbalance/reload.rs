//! A weight file, and the task that reads it again.
//!
//! Invariants:
//! * Queries read what is in memory; the file is read by a task of its own, beside the runtime's threads.
//! * A file that is gone or broken changes nothing: the weights before it stay, and a line says so once.
//! * The task begins with the first query and ends with the plugin.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;
use xxhash_rust::xxh3::xxh3_128;

use super::TARGET;
use super::weights::{NotWeights, Weights};

/// The largest file that is read: some 50,000 addresses. What is larger is not a weight file.
const MAX_BYTES: u64 = 1 << 20;

/// The shortest time between two readings: changes need not be seen faster, and `reload 1ns` should not keep a
/// core busy.
const MIN_RELOAD: Duration = Duration::from_millis(100);

/// Why a file gives no weights.
#[derive(Debug, thiserror::Error)]
pub(super) enum WeightFileError {
    /// It cannot be read; it may be there later.
    #[error("reading weight file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no text, or larger than such a file can be.
    #[error("weight file {}: {what}", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// In what way.
        what: &'static str,
    },
    /// A line of it is wrong.
    #[error("weight file {}: {source}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What and where.
        source: NotWeights,
    },
}

/// The weights of a file, as it is now or was when it was last right.
pub(super) struct WeightFile {
    /// What the task shares.
    shared: Arc<Shared>,
    /// How often it is read again; zero for never.
    every: Duration,
    /// Reads it again, from the first query on.
    task: OnceLock<AbortOnDropHandle<()>>,
}

struct Shared {
    /// The file.
    path: PathBuf,
    /// Its weights.
    weights: ArcSwap<Weights>,
    /// How the file was when it was last looked at. Never held while reading.
    seen: Mutex<Seen>,
}

/// How a file was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// It could not be read.
    Unreadable,
    /// It had content of this hash.
    Content(u128),
}

impl WeightFile {
    /// Reads a file for the first time. One that cannot be read may come later: without weights all addresses
    /// are equal until then.
    ///
    /// # Errors
    /// A file that is wrong; or one that cannot be read, if it will not be read again.
    pub(super) fn open(path: PathBuf, every: Duration) -> Result<Self, WeightFileError> {
        let (seen, weights) = match look(&path) {
            (seen, Ok(weights)) => (seen, weights),
            (seen, Err(error @ WeightFileError::Unreadable { .. })) if !every.is_zero() => {
                tracing::warn!(target: TARGET, "{error}; trying again every {every:?}");
                (seen, Weights::default())
            }
            (_, Err(error)) => return Err(error),
        };
        let shared = Shared { path, weights: ArcSwap::from_pointee(weights), seen: Mutex::new(seen) };
        Ok(Self { shared: Arc::new(shared), every, task: OnceLock::new() })
    }

    /// The weights. To be called within the runtime.
    pub(super) fn current(&self) -> Guard<Arc<Weights>> {
        if !self.every.is_zero() {
            self.task.get_or_init(|| {
                let follow = follow(self.shared.clone(), self.every.max(MIN_RELOAD));
                AbortOnDropHandle::new(tokio::spawn(follow))
            });
        }
        self.shared.weights.load()
    }
}

/// Reads the file again, at once (it was read when the configuration was, which may be long ago) and then every
/// so often.
async fn follow(shared: Arc<Shared>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    // After a pause one reading does for all that were missed.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let path = shared.path.clone();
        // Disks can be slow, and files can be on a network.
        if let Ok((seen, read)) = tokio::task::spawn_blocking(move || look(&path)).await {
            shared.take(seen, read);
        }
    }
}

impl Shared {
    /// Takes over what a reading found, if it differs from what the one before it found.
    fn take(&self, seen: Seen, read: Result<Weights, WeightFileError>) {
        let before = std::mem::replace(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner), seen);
        if before == seen {
            return;
        }
        match read {
            Ok(weights) => {
                self.weights.store(Arc::new(weights));
                tracing::info!(target: TARGET, "reloaded weight file {}", self.path.display());
            }
            Err(error) => tracing::error!(target: TARGET, "{error}; the weights before it stay"),
        }
    }
}

/// How a file is, and its weights.
fn look(path: &Path) -> (Seen, Result<Weights, WeightFileError>) {
    let bytes = match read(path) {
        Ok(bytes) => bytes,
        Err(source) => {
            return (Seen::Unreadable, Err(WeightFileError::Unreadable { path: path.to_owned(), source }));
        }
    };
    let seen = Seen::Content(xxh3_128(&bytes));
    let not_text = |what| WeightFileError::NotText { path: path.to_owned(), what };
    if bytes.len() as u64 > MAX_BYTES {
        return (seen, Err(not_text("it is larger than 1 MiB")));
    }
    let weights = str::from_utf8(&bytes).map_err(|_| not_text("it is not UTF-8 text")).and_then(|text| {
        Weights::parse(text).map_err(|source| WeightFileError::Wrong { path: path.to_owned(), source })
    });
    (seen, weights)
}

/// The bytes of a file, one more than allowed at most.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
