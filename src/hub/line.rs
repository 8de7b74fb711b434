//! What the followers of one view share: the history, the newest state, and whole states that are being sent.
//!
//! The index appends, streams read along; the lock is held for a few pointers only.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::history::{History, Next, Resumed};
use super::state::State;
use super::whole::Whole;
use crate::feed::digests::Digests;
use crate::feed::frame::{Packet, Subscription};
use crate::feed::position::Position;
use crate::feed::view::View;

/// All who ask for a whole state within this time share one.
pub const SHARE_WHOLE: Duration = Duration::from_secs(1);

/// The shared side of one view.
pub struct Line {
    /// Which one.
    view: View,
    /// Bytes of history that are kept.
    limit: usize,
    /// What is shared.
    inner: Mutex<Inner>,
    /// The newest boundary; 0 before there is any. Wakes the streams.
    head: watch::Sender<u64>,
}

/// What is shared.
#[derive(Default)]
struct Inner {
    /// What changed lately; `None` before there is a complete state.
    history: Option<History>,
    /// The state at its head.
    now: Arc<State>,
    /// The whole state that was made last, and when.
    whole: Option<(Instant, Arc<Whole>)>,
}

impl Line {
    /// Nothing is known yet.
    pub fn new(view: View, limit: usize) -> Self {
        Self { view, limit, inner: Mutex::default(), head: watch::Sender::new(0) }
    }

    /// Which view it is of.
    pub const fn view(&self) -> View {
        self.view
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // === The index ===

    /// Begins with this state, or begins anew: cursors that are there lead nowhere then.
    pub(super) fn begin(&self, state: State) {
        let mut inner = self.lock();
        let base = inner.history.as_ref().map_or(0, History::head) + 1;
        inner.history = Some(History::new(base, state.mark(self.view), self.limit));
        (inner.now, inner.whole) = (Arc::new(state), None);
        drop(inner);
        self.head.send_replace(base);
    }

    /// These packets lead to this state.
    pub(super) fn append(&self, packets: Vec<Packet>, state: State) {
        let mut inner = self.lock();
        let Some(history) = &mut inner.history else { return };
        history.append(packets, state.mark(self.view));
        let head = history.head();
        inner.now = Arc::new(state);
        drop(inner);
        self.head.send_replace(head);
    }

    /// The state is the same, and the source has told more or proved it anew.
    pub(super) fn moved(&self, state: State) {
        let mut inner = self.lock();
        if let Some(history) = &mut inner.history {
            history.moved(state.reached.told, state.is_settled(self.view));
        }
        inner.now = Arc::new(state);
    }

    /// Forgets a whole state that nobody new may share.
    pub(super) fn expire(&self) {
        let expired = {
            let mut inner = self.lock();
            inner.whole.take_if(|(made, _)| made.elapsed() >= SHARE_WHOLE)
        };
        // Where nobody reads it any more, this frees it: not under the lock.
        drop(expired);
    }

    /// Packets and bytes that are kept.
    pub(super) fn kept(&self) -> (usize, usize) {
        self.lock().history.as_ref().map_or((0, 0), |history| (history.len(), history.bytes()))
    }

    // === Streams ===

    /// The newest boundary, as it moves on.
    pub fn head(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// The newest state; `None` before there is a complete one.
    pub fn now(&self) -> Option<Arc<State>> {
        let inner = self.lock();
        inner.history.is_some().then(|| inner.now.clone())
    }

    /// What comes after a boundary.
    pub fn after(&self, seq: u64) -> Next {
        self.lock().history.as_ref().map_or(Next::Wait, |history| history.after(seq))
    }

    /// From where a follower goes on; `None` before there is a complete state.
    pub fn resume(&self, follower: &Subscription) -> Option<Resumed> {
        self.lock().history.as_ref().map(|history| history.resume(follower, self.view.kinds()))
    }

    /// Where a follower is that has come to this boundary.
    pub fn stand(&self, seq: u64) -> Option<(Position, Digests)> {
        let inner = self.lock();
        let mark = inner.history.as_ref()?.mark(seq)?;
        Some((mark.until, mark.digests))
    }

    /// A whole state, that of others who ask within the same second, and whether it had to be made. `None` before
    /// there is a complete one.
    pub fn whole(&self, labels: bool) -> Option<(Arc<Whole>, bool)> {
        let mut inner = self.lock();
        let head = inner.history.as_ref()?.head();
        if let Some((made, whole)) = &inner.whole
            && made.elapsed() < SHARE_WHOLE
            && !whole.has_failed()
        {
            return Some((whole.clone(), false));
        }
        let whole = Whole::begin(head, inner.now.clone(), self.view, labels);
        inner.whole = Some((Instant::now(), whole.clone()));
        Some((whole, true))
    }
}

/// The lines of all views that somebody asked for.
pub struct Lines {
    /// Whether there are pods at all.
    pods: bool,
    /// Bytes of history that are kept for each.
    limit: usize,
    /// One for each view: a handful at most.
    lines: Mutex<Vec<Arc<Line>>>,
    /// There is a new one.
    pub(super) added: Notify,
}

impl Lines {
    /// None yet.
    pub const fn new(pods: bool, limit: usize) -> Self {
        Self { pods, limit, lines: Mutex::new(Vec::new()), added: Notify::const_new() }
    }

    /// The line of a view, or of the nearest one that there is.
    pub fn of(&self, view: View) -> Arc<Line> {
        let view = View { pods: view.pods && self.pods, ..view };
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.iter().find(|line| line.view == view) {
            return line.clone();
        }
        let line = Arc::new(Line::new(view, self.limit));
        lines.push(line.clone());
        self.added.notify_one();
        line
    }

    /// Those that there are.
    pub fn all(&self) -> Vec<Arc<Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
