//! The versioned store behind the stand-in: what etcd and the API server's watch cache are to a cluster.
//!
//! Every write takes the next revision. Of each object the versions since the kind's *floor* are kept, so that
//! lists can be answered as of an earlier revision; of each kind the events since then, so that watches can go
//! on from there. Objects are shared pointers: a list takes pointers, never texts.
//!
//! Three views: *now* (consistent lists), *the cache* (everything else; it may lag or be frozen, see
//! [`super::faults`]), and the *history* (what a test's oracle asks: who was what, when).
//!
//! Invariants: revisions only grow, except by [`restore`](Etcd::restore); of each object the newest version up to
//! the floor and all after it are there; a watch sees every event after its cursor in order, or ends.
//!
//! Limits: events kept for each kind ([`super::Config::history`]), entries of the history
//! ([`HISTORY_ENTRIES`]), and times of writes ([`TIMES_KEPT`]).

mod cache;
mod kind;
mod object;
mod replace;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use self::cache::Cache;
pub(super) use self::cache::{Next, Wait};
pub(super) use self::kind::Event;
use self::kind::KindState;
pub(super) use self::kind::{Page, Range};
use self::object::Draft;
pub use self::object::{ObjectError, Stored};
pub use self::replace::Backup;
use super::resource;
use crate::zone::object::Kind;

/// Entries of the history that are kept, the newest: enough for a test that changes things for hours, some
/// 100 bytes each.
pub const HISTORY_ENTRIES: usize = 200_000;

/// Times of writes that are kept, for a lagging cache: the newest; writes at the same time count as one.
pub const TIMES_KEPT: usize = 100_000;

/// One write, as the history keeps it.
#[derive(Clone, Debug)]
pub struct Write {
    /// When it was made.
    pub at: Instant,
    /// The revision of the store from then on.
    pub revision: u64,
    /// What was written.
    pub what: What,
}

/// What a write was.
#[derive(Clone, Debug)]
pub enum What {
    /// An object is there, or has changed.
    Put(Kind, Arc<Stored>),
    /// The object of this kind with this key is gone.
    Deleted(Kind, Arc<str>),
    /// Nothing that this API server serves: a lease, an event.
    Other,
    /// Everything was replaced: a restore, another cluster.
    Replaced(Backup),
}

/// The store. Shared: a clone is the same store.
#[derive(Clone)]
pub struct Etcd {
    /// Everything; locked for moments.
    state: Arc<Mutex<State>>,
    /// Wakes watches.
    changed: watch::Sender<()>,
}

/// Everything that the store knows.
struct State {
    /// The newest write.
    revision: u64,
    /// How often everything was replaced: watches end with their generation.
    generation: u64,
    /// By kind.
    kinds: [KindState; Kind::ALL.len()],
    /// What the API server's cache shows of it.
    cache: Cache,
    /// For oracles.
    history: std::collections::VecDeque<Write>,
    /// How many writes there ever were.
    written: u64,
    /// Events that are kept for each kind.
    keep: usize,
}

impl Etcd {
    /// A store at revision 1 that keeps `keep` events of each kind.
    pub(super) fn new(keep: usize, progress: bool) -> Self {
        let state = State {
            revision: 1,
            generation: 0,
            kinds: Default::default(),
            cache: Cache::new(progress),
            history: std::collections::VecDeque::new(),
            written: 0,
            keep,
        };
        Self { state: Arc::new(Mutex::new(state)), changed: watch::Sender::new(()) }
    }

    /// The four namespaces that every cluster has.
    pub(super) fn put_fresh_namespaces(&self) {
        for name in ["kube-system", "kube-public", "default", "kube-node-lease"] {
            self.put_raw(Kind::Namespace, &resource::fresh_namespace(name))
                .expect("a namespace of our own making");
        }
    }

    // --- writes ---

    /// Creates or replaces an object; returns its resourceVersion. `kind` and `apiVersion` may be left out. uid
    /// and creationTimestamp are kept if given, else taken over from the object that is replaced, else made up.
    ///
    /// # Errors
    /// When it has no name, or no namespace where the kind has one.
    pub fn put(&self, kind: Kind, object: &serde_json::Value) -> Result<u64, ObjectError> {
        self.put_raw(kind, &object.to_string())
    }

    /// [`put`](Self::put) of JSON text, whose order of fields is kept: for bulk loading.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_raw(&self, kind: Kind, text: &str) -> Result<u64, ObjectError> {
        let draft = Draft::parse(kind, text)?;
        Ok(self.write(|state, at| {
            let revision = state.revision + 1;
            state.put(kind, &draft, revision, at);
            revision
        }))
    }

    /// Creates or replaces an object at the revision that its own resourceVersion says: for replaying what was
    /// recorded. The store's revision becomes that, if it was lower.
    ///
    /// # Errors
    /// As [`put`](Self::put), and when it has no resourceVersion or the store has passed it.
    pub fn replay(&self, kind: Kind, text: &str) -> Result<u64, ObjectError> {
        let draft = Draft::parse(kind, text)?;
        let mut state = self.lock();
        let revision = draft.version_after(state.revision)?;
        state.put(kind, &draft, revision, Instant::now());
        drop(state);
        self.wake();
        Ok(revision)
    }

    /// Deletes at the revision that the object's text says, as a DELETED event has it.
    ///
    /// # Errors
    /// As [`replay`](Self::replay).
    pub fn replay_delete(&self, kind: Kind, text: &str) -> Result<u64, ObjectError> {
        let draft = Draft::parse(kind, text)?;
        let mut state = self.lock();
        let revision = draft.version_after(state.revision)?;
        state.delete(kind, &draft.key, revision, Instant::now());
        drop(state);
        self.wake();
        Ok(revision)
    }

    /// Deletes an object; `namespace` is empty for a Namespace. Returns the revision of the deletion; `None` if
    /// there is no such object.
    pub fn delete(&self, kind: Kind, namespace: &str, name: &str) -> Option<u64> {
        let key = resource::key(kind, namespace, name);
        self.write(|state, at| {
            let revision = state.revision + 1;
            state.delete(kind, &key, revision, at).then_some(revision)
        })
    }

    /// A write to something else, a lease say: the revision moves, no watch has an event. Returns the revision.
    pub fn touch(&self) -> u64 {
        self.write(|state, at| {
            state.reached(state.revision + 1, at, What::Other);
            state.revision
        })
    }

    /// As many writes to something else as it takes to reach `revision`; nothing if it is passed already.
    /// Returns the revision.
    pub fn advance_to(&self, revision: u64) -> u64 {
        self.write(|state, at| {
            if revision > state.revision {
                state.reached(revision, at, What::Other);
            }
            state.revision
        })
    }

    // --- reads ---

    /// The object as it is now; `namespace` is empty for a Namespace.
    pub fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<Arc<Stored>> {
        self.find(kind, &resource::key(kind, namespace, name), u64::MAX)
    }

    /// All objects of a kind as they are now, in the order of lists.
    pub fn all(&self, kind: Kind) -> Vec<Arc<Stored>> {
        self.lock().kinds[kind.index()].live(u64::MAX).cloned().collect()
    }

    /// How many objects of a kind there are.
    pub fn len(&self, kind: Kind) -> usize {
        self.lock().kinds[kind.index()].len()
    }

    /// The newest revision.
    pub fn revision(&self) -> u64 {
        self.lock().revision
    }

    /// Every write, the oldest first, up to [`HISTORY_ENTRIES`]: what was true when.
    pub fn history(&self) -> Vec<Write> {
        self.lock().history.iter().cloned().collect()
    }

    /// The writes after the first `read`, the oldest first, and how many there are now in all. What was forgotten is
    /// left out.
    pub fn history_since(&self, read: u64) -> (Vec<Write>, u64) {
        let state = self.lock();
        let forgotten = state.written - state.history.len() as u64;
        let skipped = usize::try_from(read.saturating_sub(forgotten)).unwrap_or(usize::MAX);
        (state.history.iter().skip(skipped).cloned().collect(), state.written)
    }

    /// Forgets the history so far: after a bulk load of which nobody will ask when it happened.
    pub fn clear_history(&self) {
        self.lock().history.clear();
    }

    /// Forgets the first `read` of all writes that there ever were, as far as they are still there: whoever asks has
    /// read them.
    pub fn forget_read(&self, read: u64) {
        let mut state = self.lock();
        let forgotten = state.written - state.history.len() as u64;
        let count = usize::try_from(read.saturating_sub(forgotten)).unwrap_or(usize::MAX);
        let count = count.min(state.history.len());
        state.history.drain(..count);
    }

    // --- for the API server ---

    /// The object with this key as of `revision`.
    pub(super) fn find(&self, kind: Kind, key: &str, revision: u64) -> Option<Arc<Stored>> {
        self.lock().kinds[kind.index()].get(key, revision).cloned()
    }

    /// Objects from `start` on, below `prefix`, as of `revision`, that `selected` wants; see [`Page`].
    pub(super) fn page(
        &self,
        kind: Kind,
        revision: u64,
        range: Range<'_>,
        selected: impl Fn(&Stored) -> bool,
    ) -> Page {
        self.lock().kinds[kind.index()].page(revision, range, selected)
    }

    /// Events of `kind` up to here are not kept: a watch or an exact list from before is refused.
    pub(super) fn floor(&self, kind: Kind) -> u64 {
        self.lock().kinds[kind.index()].floor()
    }

    /// Tells watches to look again.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// How often everything was replaced.
    pub(super) fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// Lets a lagging, frozen or silenced view be looked at again.
    pub(super) fn wake(&self) {
        self.changed.send_replace(());
    }

    /// The cache shows what was there this long ago.
    pub(super) fn set_lag(&self, lag: Duration) {
        self.lock().cache.lag = lag;
        self.wake();
    }

    /// The cache stays as it is now, or goes on.
    pub(super) fn set_frozen(&self, frozen: bool) {
        let mut state = self.lock();
        let now = Instant::now();
        state.cache.frozen = frozen.then(|| state.cache.visible(state.revision, now));
        drop(state);
        self.wake();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<T>(&self, change: impl FnOnce(&mut State, Instant) -> T) -> T {
        let result = change(&mut self.lock(), Instant::now());
        self.wake();
        result
    }
}

impl State {
    fn put(&mut self, kind: Kind, draft: &Draft<'_>, revision: u64, at: Instant) {
        let state = &mut self.kinds[kind.index()];
        let object = Arc::new(draft.render(revision, state.get(&draft.key, u64::MAX).map(|o| &**o)));
        state.put(object.clone(), revision, self.keep);
        self.reached(revision, at, What::Put(kind, object));
    }

    fn delete(&mut self, kind: Kind, key: &str, revision: u64, at: Instant) -> bool {
        let Some(key) = self.kinds[kind.index()].delete(key, revision, self.keep) else { return false };
        self.reached(revision, at, What::Deleted(kind, key));
        true
    }

    fn reached(&mut self, revision: u64, at: Instant, what: What) {
        self.revision = revision;
        self.cache.wrote(revision, at);
        if self.history.len() == HISTORY_ENTRIES {
            self.history.pop_front();
        }
        self.history.push_back(Write { at, revision, what });
        self.written += 1;
    }
}
