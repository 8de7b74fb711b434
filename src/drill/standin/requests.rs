//! Counts of everything that was asked, and the watches that are open.
//!
//! Limit: [`MAX_ROWS`] combinations are told apart, what comes after is counted together.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::zone::object::Kind;

/// Combinations of user, agent, verb, kind, status and sort of list that are told apart: tests and drills have
/// some dozens; the limit keeps whoever invents user agents from filling the memory.
pub const MAX_ROWS: usize = 4_096;

/// What a request does, as rights and counts have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// One object.
    Get,
    /// A list.
    List,
    /// A watch.
    Watch,
    /// `/version`, `/readyz`, `/livez`, and whatever is not served.
    Other,
}

/// What a list asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListKind {
    /// Without a resourceVersion: what is there now.
    Consistent,
    /// With `0` or NotOlderThan: what the cache has.
    Cached,
    /// As of one version.
    Exact,
    /// `limit=1` or one object by its name, whatever its version: a look at how far the server is.
    Small,
    /// A page after the first.
    Continue,
    /// A watch that begins with the whole state.
    Streaming,
}

/// What was asked, by whom, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// The user; `system:anonymous` without a valid token.
    pub user: String,
    /// The `User-Agent` header.
    pub agent: String,
    /// What it does.
    pub verb: Verb,
    /// What it is about; `None` if it is about no kind that is served.
    pub kind: Option<Kind>,
    /// For lists and streaming lists.
    pub list: Option<ListKind>,
    /// The status of the answer; 0 where there was none (a hang).
    pub status: u16,
}

/// All counts.
#[derive(Default)]
pub struct Requests {
    /// How often each was asked.
    rows: Mutex<BTreeMap<Asked, u64>>,
    /// By kind.
    watches: Mutex<Vec<Arc<OpenWatch>>>,
}

/// One watch that is open: what is done to it from outside.
pub(super) struct OpenWatch {
    /// Its kind.
    kind: Kind,
    /// Nothing is delivered any more.
    pub(super) silent: AtomicBool,
    /// So many events are not delivered.
    pub(super) skip: AtomicUsize,
}

impl OpenWatch {
    /// Whether the next event is to be skipped; takes one off the count.
    pub(super) fn skips(&self) -> bool {
        self.skip.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
    }
}

/// Counts a watch as open until it is dropped.
pub(super) struct WatchGuard {
    /// Where it is counted.
    requests: Arc<Requests>,
    /// The watch.
    pub(super) watch: Arc<OpenWatch>,
}

impl Drop for WatchGuard {
    fn drop(&mut self) {
        self.requests.open().retain(|w| !Arc::ptr_eq(w, &self.watch));
    }
}

impl Requests {
    /// Every combination and how often it was asked.
    pub fn all(&self) -> Vec<(Asked, u64)> {
        self.rows().iter().map(|(asked, count)| (asked.clone(), *count)).collect()
    }

    /// How many of the requests `which` holds for.
    pub fn count(&self, which: impl Fn(&Asked) -> bool) -> u64 {
        self.rows().iter().filter(|(asked, _)| which(asked)).map(|(_, count)| count).sum()
    }

    /// Lists of everything, watches that were begun, and all others of the requests that `which` holds for. A streaming list
    /// is a list, a list of a few objects is none.
    pub fn by_weight(&self, which: impl Fn(&Asked) -> bool) -> [u64; 3] {
        let is_watch = |asked: &Asked| asked.verb == Verb::Watch && asked.list != Some(ListKind::Streaming);
        let is_list = |asked: &Asked| match asked.list {
            Some(ListKind::Small) => false,
            Some(_) => true,
            None => asked.verb == Verb::List,
        };
        let lists = self.count(|asked| which(asked) && is_list(asked));
        let watches = self.count(|asked| which(asked) && is_watch(asked));
        [lists, watches, self.count(which).saturating_sub(lists + watches)]
    }

    /// How many there were in all.
    pub fn total(&self) -> u64 {
        self.count(|_| true)
    }

    /// How many lists of a kind, streaming lists and small lists not counted.
    pub fn lists(&self, kind: Kind) -> u64 {
        let whole = |list| !matches!(list, Some(ListKind::Small | ListKind::Streaming));
        self.count(|asked| asked.verb == Verb::List && asked.kind == Some(kind) && whole(asked.list))
    }

    /// How many watches of a kind, streaming lists included.
    pub fn watches(&self, kind: Kind) -> u64 {
        self.count(|asked| asked.verb == Verb::Watch && asked.kind == Some(kind))
    }

    /// How many watches of a kind are open now.
    pub fn open_watches(&self, kind: Kind) -> usize {
        self.open().iter().filter(|w| w.kind == kind).count()
    }

    /// Counts from 0 again; open watches stay.
    pub fn reset(&self) {
        self.rows().clear();
    }

    /// Counts a request.
    pub(super) fn add(&self, asked: Asked) {
        let mut rows = self.rows();
        let crowded = rows.len() >= MAX_ROWS && !rows.contains_key(&asked);
        let asked =
            if crowded { Asked { user: String::new(), agent: String::new(), ..asked } } else { asked };
        *rows.entry(asked).or_default() += 1;
    }

    /// Counts a watch as open.
    pub(super) fn opened(self: &Arc<Self>, kind: Kind) -> WatchGuard {
        let watch = Arc::new(OpenWatch { kind, silent: AtomicBool::new(false), skip: AtomicUsize::new(0) });
        self.open().push(watch.clone());
        WatchGuard { requests: self.clone(), watch }
    }

    /// Does something to every watch that is open now.
    pub(super) fn each_open(&self, act: impl FnMut(&Arc<OpenWatch>)) {
        self.open().iter().for_each(act);
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<Asked, u64>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> MutexGuard<'_, Vec<Arc<OpenWatch>>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
