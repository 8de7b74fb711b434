//! How processes of a node agree on who owns what they share: by locks of the kernel, in a folder that all of them see.
//!
//! ```text
//! DIR           for a moment, by who comes and who asks whether it is alone
//! DIR/present   shared, by every process, for as long as it lives
//! DIR/next      by the one that is ready and waits
//! DIR/owner     by the one that owns it all
//!
//! newcomer   locks next ── tries owner again and again ── has owner ── unlocks next
//! owner      sees that next is locked ── gives a last sign of life ── unlocks owner, and stands by
//! standby    sees that nobody has next or owner ── locks owner
//! ```
//!
//! Nothing is written, and nobody is asked: the kernel takes the locks of a process that is killed, at whatever step,
//! so that no state of a dead one is ever in the way.
//!
//! Invariants:
//! * `owner` has one holder, and nobody takes it ahead of who waits for it.
//! * Who waits unlocks `next` only once it has `owner`: whoever sees both free sees something that is nobody's.
//! * Locks on `present` change only under the lock on the folder: who finds itself alone is alone.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::watch;
use tokio::time::sleep;

use super::Ownership;

/// Mode of folders that are made: others may lock what they can read, and another user's process has to be seen.
const MODE: u32 = 0o755;

/// How long a process that ends may keep others from coming: longer than it takes to remove addresses and rules, which takes
/// programs that wait for each other (the xtables lock) up to 20 s.
pub const LONGEST_END: Duration = Duration::from_secs(25);

/// How often who comes looks whether it may.
const LOOK: Duration = Duration::from_millis(20);

/// How often is tried to ask whether one is alone, while others ask the same.
const TRIES: usize = 20;

/// Between two of these tries: others hold the lock for a few system calls.
const BETWEEN_TRIES: Duration = Duration::from_millis(1);

/// Why processes cannot agree.
#[derive(Debug, Error)]
pub enum OwnershipError {
    /// The system says no.
    #[error("{doing} {path}: {error}", path = .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What happened.
        error: io::Error,
    },
    /// Somebody is about to end, and does not.
    #[error(
        "{path}: a process that is ending has held it for {s} s: end that one (SIGKILL)",
        path = .0.display(),
        s = LONGEST_END.as_secs()
    )]
    Held(PathBuf),
}

/// Who is there.
#[derive(Debug)]
pub(super) struct Presence(Mutex<Doors>);

/// What says so.
#[derive(Debug)]
struct Doors {
    /// The folder itself, locked while the other one changes.
    folder: File,
    /// `present`.
    present: File,
    /// Whether `present` is ours alone, so that nobody can come.
    shut: bool,
}

impl Presence {
    /// Whether nobody else is there; nobody comes from then on, if `shut` says so. Where that cannot be asked, somebody
    /// may be. May wait for up to [`TRIES`] times [`BETWEEN_TRIES`].
    pub(super) fn is_alone(&self, shut: bool) -> bool {
        let try_again = |n: usize| {
            if n > 0 {
                std::thread::sleep(BETWEEN_TRIES);
            }
            self.try_alone(shut)
        };
        (0..TRIES).find_map(try_again).unwrap_or(false)
    }

    /// The same for who must not keep a thread waiting.
    async fn finds_itself_alone(&self) -> bool {
        for n in 0..TRIES {
            if n > 0 {
                sleep(BETWEEN_TRIES).await;
            }
            if let Some(alone) = self.try_alone(false) {
                return alone;
            }
        }
        false
    }

    /// The same at once; `None` while others ask, so that it cannot be asked.
    fn try_alone(&self, shut: bool) -> Option<bool> {
        let mut doors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if doors.shut {
            return Some(true);
        }
        doors.folder.try_lock().ok()?;
        let alone = doors.present.try_lock().is_ok();
        doors.shut = alone && shut;
        if !doors.shut {
            // The attempt alone has cost us the one that we had.
            let _ = doors.present.lock_shared();
        }
        let _ = doors.folder.unlock();
        Some(alone)
    }

    /// Others may come again.
    fn open(&self) {
        let mut doors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut doors.shut) {
            let _ = doors.present.lock_shared();
        }
    }
}

/// What a process has of what is shared. Dropped, it has nothing of it any more.
#[derive(Debug)]
pub struct Claim {
    /// Who else is there.
    presence: Arc<Presence>,
    /// Whether we hold `owner`, for everybody in this process; ahead of the lock, so that they hear of its end first.
    owned: watch::Sender<bool>,
    /// `next`.
    next: File,
    /// Whether we hold that.
    asks: bool,
    /// `owner`.
    owner: File,
}

impl Claim {
    /// Comes to the processes that agree by this folder, which is made if it is missing; owns nothing yet. Blocks while
    /// the last one of them is ending, for a bounded time.
    ///
    /// # Errors
    /// A folder that cannot be made or locked, or a process that does not end.
    pub fn join(folder: &Path) -> Result<(Self, Ownership), OwnershipError> {
        make(folder)?;
        let open = |name: &str| {
            let path = folder.join(name);
            make(&path)?;
            File::open(&path).map_err(|error| OwnershipError::Io { doing: "opening", path, error })
        };
        let (present, next, owner) = (open("present")?, open("next")?, open("owner")?);
        let path = || folder.to_owned();
        let failed = |doing| move |error| OwnershipError::Io { doing, path: path(), error };
        let folder_lock = File::open(folder).map_err(failed("opening"))?;
        let began = Instant::now();
        let mut may = false;
        while !may {
            if locked(folder_lock.try_lock()).map_err(failed("locking"))? {
                may = locked(present.try_lock_shared()).map_err(failed("locking"))?;
                folder_lock.unlock().map_err(failed("unlocking"))?;
            }
            if !may && began.elapsed() >= LONGEST_END {
                return Err(OwnershipError::Held(folder.to_owned()));
            }
            if !may {
                std::thread::sleep(LOOK);
            }
        }
        let doors = Doors { folder: folder_lock, present, shut: false };
        let (presence, (owned, hears)) = (Arc::new(Presence(Mutex::new(doors))), watch::channel(false));
        let ownership = Ownership::claimed(hears, presence.clone());
        Ok((Self { presence, owned, next, asks: false, owner }, ownership))
    }

    /// Whether it is ours.
    pub fn owns(&self) -> bool {
        *self.owned.borrow()
    }

    /// Whether we wait for it, as others can see.
    pub const fn asks(&self) -> bool {
        self.asks
    }

    /// Waits for it, as others can see from now on; false where another process already does.
    pub fn ask(&mut self) -> bool {
        self.asks = self.asks || self.next.try_lock().is_ok();
        self.asks
    }

    /// Takes it if it is nobody's, and nobody else waits for it; whether it is ours now.
    pub fn try_own(&mut self) -> bool {
        if self.owns() {
            return true;
        }
        // Invariant: nobody is ahead of who waits.
        if !self.asks && self.is_asked() {
            return false;
        }
        self.take_back()
    }

    /// Takes it if it is nobody's, whoever waits for it: for a process that has just given it up and sees that nobody
    /// takes it. Whether it is ours now.
    pub fn take_back(&mut self) -> bool {
        if self.owns() {
            return true;
        }
        if self.owner.try_lock().is_err() {
            return false;
        }
        self.owned.send_replace(true);
        // Invariant: only now, so that both are never free in between.
        self.stop_asking();
        true
    }

    /// Whether another process waits for it.
    pub fn is_asked(&self) -> bool {
        !self.asks && is_held(&self.next)
    }

    /// Whether another process owns it.
    pub fn is_taken(&self) -> bool {
        !self.owns() && is_held(&self.owner)
    }

    /// It is nobody's from now on, and we do not wait for it.
    pub fn give_up(&mut self) {
        self.stop_asking();
        if self.owns() {
            // Our own parts hear of it first: two at once is what must never be.
            self.owned.send_replace(false);
            if let Err(error) = self.owner.unlock() {
                tracing::error!(%error, "what processes of this node share cannot be given up");
            }
        }
    }

    /// Whether nobody else is there. Blocks for some milliseconds where others ask the same.
    pub fn is_alone(&self) -> bool {
        self.presence.is_alone(false)
    }

    /// The same without blocking.
    pub async fn finds_itself_alone(&self) -> bool {
        self.presence.finds_itself_alone().await
    }

    /// Keeps others from coming, if nobody else is there, until [`Self::open`]; whether it does. Blocks for some
    /// milliseconds where others ask whether they are alone.
    pub fn shut(&self) -> bool {
        self.presence.is_alone(true)
    }

    /// Lets others come again.
    pub fn open(&self) {
        self.presence.open();
    }

    fn stop_asking(&mut self) {
        if std::mem::take(&mut self.asks)
            && let Err(error) = self.next.unlock()
        {
            tracing::error!(%error, "others still see this process waiting");
        }
    }
}

/// Makes a folder and those above it, where they are missing.
fn make(folder: &Path) -> Result<(), OwnershipError> {
    let made = DirBuilder::new().recursive(true).mode(MODE).create(folder);
    made.map_err(|error| OwnershipError::Io { doing: "making folder", path: folder.to_owned(), error })
}

/// Whether another process has this lock. Asked by a shared one, so that two that ask do not take each other for the
/// holder.
fn is_held(lock: &File) -> bool {
    let free = lock.try_lock_shared().is_ok();
    if free {
        let _ = lock.unlock();
    }
    !free
}

/// Whether it is locked now.
fn locked(tried: Result<(), TryLockError>) -> io::Result<bool> {
    match tried {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests;
