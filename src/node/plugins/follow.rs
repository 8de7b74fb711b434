//! Files that plugins answer from, and the task that reads them again.
//!
//! Invariants:
//! * Queries read what is in memory; the file is read by a task of its own, beside the runtime's threads.
//! * A file that is gone or broken changes nothing: what was read before it stays, and a line says so once.
//! * The task begins and ends with the configuration.
//!
//! Whether a file has changed is told by its content: a ConfigMap's files change by a swap of symbolic links, and
//! times of last change are coarse.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, Guard};
use tokio::time::MissedTickBehavior;
use tracing::Level;
use xxhash_rust::xxh3::xxh3_128;

use crate::node::task::{Scope, Start};

/// The shortest time between two readings: changes need not be seen faster, and `reload 1ns` should not keep a
/// core busy.
const MIN_RELOAD: Duration = Duration::from_millis(100);

/// What a plugin makes of a file.
pub(super) trait Reader: Send + Sync + 'static {
    /// What is read; the default stands for a file that cannot be read yet.
    type Content: Default + Send + Sync;

    /// What the file is called: `weight file`.
    const WHAT: &'static str;

    /// The largest file that is read, in bytes.
    const MAX_BYTES: u64;

    /// What goes on to be used while the file is gone or broken: `the weights before it`.
    const BEFORE: &'static str;

    /// Whether a file that is not there is right although it is read only once.
    const OPTIONAL: bool;

    /// Reads a text.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    fn parse(&self, text: &str) -> Result<Self::Content, String>;

    /// Content that queries are answered from now on, and when the file was last changed. Called when the
    /// configuration begins, and after each change.
    fn taken(&self, _content: &Self::Content, _changed: Option<SystemTime>) {}

    /// Logs a line in the plugin's name.
    fn log(level: Level, text: fmt::Arguments<'_>);
}

/// Why a file gives no content.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// It cannot be read; it may be there later.
    #[error("reading {what} {}: {source}", path.display())]
    Unreadable {
        /// What it is called.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is too large, or a line of it is wrong.
    #[error("{what} {}: {why}", path.display())]
    Wrong {
        /// What it is called.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        why: String,
    },
}

/// The content of a file, as it is now or was when it was last right.
pub(super) struct Followed<R: Reader>(Arc<Shared<R>>);

/// What the task shares.
struct Shared<R: Reader> {
    /// Reads it.
    reader: R,
    /// The file.
    path: PathBuf,
    /// How often it is read again; zero for never.
    every: Duration,
    /// Its content.
    content: ArcSwap<R::Content>,
    /// How the file was when it was last looked at. Never held while reading.
    seen: Mutex<Seen>,
}

/// How a file was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// It could not be read.
    Unreadable,
    /// It had content of this hash.
    Content {
        /// Hash of its bytes.
        hash: u128,
        /// When it was last changed, if the file system knows.
        changed: Option<SystemTime>,
    },
}

impl Seen {
    /// When the file was last changed.
    const fn changed(self) -> Option<SystemTime> {
        match self {
            Self::Unreadable => None,
            Self::Content { changed, .. } => changed,
        }
    }

    /// Whether both found the same.
    fn is_same(self, other: Self) -> bool {
        match (self, other) {
            (Self::Unreadable, Self::Unreadable) => true,
            (Self::Content { hash, .. }, Self::Content { hash: other, .. }) => hash == other,
            _ => false,
        }
    }
}

impl<R: Reader> Followed<R> {
    /// Reads a file for the first time. One that cannot be read may come later: until then there is no content, and
    /// what that means is logged and returned as well.
    ///
    /// # Errors
    /// A file that is wrong; or one that cannot be read, if it will not be read again and is not optional.
    pub(super) fn open(
        reader: R,
        path: PathBuf,
        every: Duration,
    ) -> Result<(Self, Option<String>), FileError> {
        let (seen, content, missing) = match look(&reader, &path) {
            (seen, Ok(content)) => (seen, content, None),
            (seen, Err(error @ FileError::Unreadable { .. })) if !every.is_zero() => {
                (seen, R::Content::default(), Some(format!("{error}; trying again every {every:?}")))
            }
            (seen, Err(error @ FileError::Unreadable { .. })) if R::OPTIONAL => {
                (seen, R::Content::default(), Some(format!("{error}; it is not tried again")))
            }
            (_, Err(error)) => return Err(error),
        };
        if let Some(missing) = &missing {
            R::log(Level::WARN, format_args!("{missing}"));
        }
        let content = ArcSwap::from_pointee(content);
        Ok((Self(Arc::new(Shared { reader, path, every, content, seen: Mutex::new(seen) })), missing))
    }

    /// The content; a pointer, taken without a lock.
    pub(super) fn current(&self) -> Guard<Arc<R::Content>> {
        self.0.content.load()
    }

    /// The work of following it, for [`Process::tasks`](crate::node::setup::Process::tasks).
    pub(super) fn start(&self) -> Start {
        let shared = self.0.clone();
        Box::new(move |scope: &Scope| {
            let changed = shared.seen.lock().unwrap_or_else(PoisonError::into_inner).changed();
            shared.reader.taken(&shared.content.load(), changed);
            if !shared.every.is_zero() {
                tokio::spawn(scope.stop.clone().run_until_cancelled_owned(follow(shared)));
            }
        })
    }
}

/// Reads the file again, at once (it was read when the configuration was, which may be long ago) and then every
/// so often.
async fn follow<R: Reader>(shared: Arc<Shared<R>>) {
    let mut ticks = tokio::time::interval(shared.every.max(MIN_RELOAD));
    // After a pause one reading does for all that were missed.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let reading = shared.clone();
        // Disks can be slow, and files can be on a network.
        if let Ok((seen, read)) =
            tokio::task::spawn_blocking(move || look(&reading.reader, &reading.path)).await
        {
            shared.take(seen, read);
        }
    }
}

impl<R: Reader> Shared<R> {
    /// Takes over what a reading found, if it differs from what the one before it found.
    fn take(&self, seen: Seen, read: Result<R::Content, FileError>) {
        let before = std::mem::replace(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner), seen);
        if before.is_same(seen) {
            return;
        }
        match read {
            Ok(content) => {
                self.content.store(Arc::new(content));
                self.reader.taken(&self.content.load(), seen.changed());
                R::log(Level::INFO, format_args!("reloaded {} {}", R::WHAT, self.path.display()));
            }
            Err(error) => R::log(Level::ERROR, format_args!("{error}; {} stay", R::BEFORE)),
        }
    }
}

/// How a file is, and its content.
fn look<R: Reader>(reader: &R, path: &Path) -> (Seen, Result<R::Content, FileError>) {
    let what = R::WHAT;
    let (bytes, changed) = match read(path, R::MAX_BYTES) {
        Ok(read) => read,
        Err(source) => {
            return (Seen::Unreadable, Err(FileError::Unreadable { what, path: path.to_owned(), source }));
        }
    };
    let seen = Seen::Content { hash: xxh3_128(&bytes), changed };
    let wrong = |why| FileError::Wrong { what, path: path.to_owned(), why };
    if bytes.len() as u64 > R::MAX_BYTES {
        return (seen, Err(wrong(format!("it is larger than {} MiB", R::MAX_BYTES >> 20))));
    }
    // Comments are in whatever encoding somebody's editor had, and must not keep a node from starting.
    (seen, reader.parse(&String::from_utf8_lossy(&bytes)).map_err(wrong))
}

/// The bytes of a file, one more than allowed at most, and when it was last changed.
fn read(path: &Path, max: u64) -> io::Result<(Vec<u8>, Option<SystemTime>)> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    let changed = file.metadata().and_then(|metadata| metadata.modified()).ok();
    file.take(max + 1).read_to_end(&mut bytes)?;
    Ok((bytes, changed))
}
