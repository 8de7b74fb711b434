//! What the API server's watch cache shows of the store: everything but consistent lists goes through it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Etcd, Event, State, TIMES_KEPT};
use crate::zone::object::Kind;

/// How far the cache has come.
pub(super) struct Cache {
    /// It shows what was there this long ago.
    pub(super) lag: Duration,
    /// It stays at this revision.
    pub(super) frozen: Option<u64>,
    /// Whether it also hears of revisions without an event of the kind.
    notified: bool,
    /// By kind: the newest revision of which it has heard without an event.
    progress: [u64; Kind::ALL.len()],
    /// When each revision was written, from old to new.
    times: VecDeque<(Instant, u64)>,
    /// What was there before the oldest of `times`.
    before: u64,
}

/// What a watch does next.
pub(in super::super) enum Next {
    /// Sends this event.
    Event(Arc<Event>),
    /// Waits.
    Idle {
        /// The version that a bookmark may carry.
        reached: u64,
        /// How far it has looked: there is no event between its cursor and this.
        seen: u64,
        /// When there is something that a lagging cache does not show yet.
        until: Option<Instant>,
    },
    /// Ends: it is too slow, or what it would need is not kept.
    Lost,
    /// Breaks off: the store is another.
    Replaced,
}

/// Whether the cache has come as far as a list asks for.
pub(in super::super) enum Wait {
    /// It has; this is the version of the list.
    Reached(u64),
    /// It has not; this is where it is.
    Behind(u64),
}

impl Cache {
    pub(super) fn new(notified: bool) -> Self {
        Self {
            lag: Duration::ZERO,
            frozen: None,
            notified,
            progress: Default::default(),
            times: VecDeque::new(),
            before: 1,
        }
    }

    /// Notes when `revision` was written.
    pub(super) fn wrote(&mut self, revision: u64, at: Instant) {
        if let Some(last) = self.times.back_mut().filter(|last| last.0 == at) {
            last.1 = revision;
            return;
        }
        if self.times.len() == TIMES_KEPT
            && let Some((_, oldest)) = self.times.pop_front()
        {
            self.before = oldest;
        }
        self.times.push_back((at, revision));
    }

    /// The store begins anew at `revision`; lag and freeze stay in force from here.
    pub(super) fn restart(&mut self, revision: u64) {
        self.progress = Default::default();
        self.times.clear();
        self.before = revision;
        self.frozen = self.frozen.map(|_| revision);
    }

    /// The revision that it shows.
    pub(super) fn visible(&self, newest: u64, now: Instant) -> u64 {
        if let Some(frozen) = self.frozen {
            return frozen;
        }
        if self.lag.is_zero() {
            return newest;
        }
        let upto = self.times.partition_point(|(at, _)| *at + self.lag <= now);
        upto.checked_sub(1).and_then(|i| self.times.get(i)).map_or(self.before, |(_, revision)| *revision)
    }

    /// When it will show more than `visible`.
    fn next_visible(&self, visible: u64) -> Option<Instant> {
        if self.frozen.is_some() || self.lag.is_zero() {
            return None;
        }
        let next = self.times.partition_point(|(_, revision)| *revision <= visible);
        self.times.get(next).map(|(at, _)| *at + self.lag)
    }
}

impl State {
    /// The revision that the cache shows of `kind`.
    fn visible(&self, kind: Kind, now: Instant) -> u64 {
        self.cache.visible(self.revision, now).max(self.kinds[kind.index()].floor()).min(self.revision)
    }

    /// The version that the cache knows itself to be at: of the last event, or of which it has heard.
    fn cached_version(&self, kind: Kind, visible: u64) -> u64 {
        let state = &self.kinds[kind.index()];
        let heard = self.cache.progress[kind.index()];
        state.last_event(visible).max(state.floor().min(visible)).max(heard.min(visible)).max(1)
    }

    /// Lets the cache hear that it is at `visible`, where the store tells it so.
    fn hear(&mut self, kind: Kind, visible: u64) -> u64 {
        if self.cache.notified {
            let heard = &mut self.cache.progress[kind.index()];
            *heard = visible.max(*heard);
        }
        self.cached_version(kind, visible)
    }
}

impl Etcd {
    /// What the cache shows of `kind`: the revision, and the version that a list of it has.
    pub(in super::super) fn cached(&self, kind: Kind) -> (u64, u64) {
        let state = self.lock();
        let visible = state.visible(kind, Instant::now());
        (visible, state.cached_version(kind, visible))
    }

    /// Whether the cache has reached `version`; a list that asks for it lets the cache hear how far it is.
    pub(in super::super) fn not_older_than(&self, kind: Kind, version: u64) -> Wait {
        let mut state = self.lock();
        let visible = state.visible(kind, Instant::now());
        if version > visible {
            return Wait::Behind(visible);
        }
        let known = state.cached_version(kind, visible);
        if known >= version {
            return Wait::Reached(known);
        }
        // A list that waits asks the store to tell how far it is; an old one does not answer.
        let known = state.hear(kind, visible);
        if known < version { Wait::Behind(known) } else { Wait::Reached(known) }
    }

    /// The newest revision, for a consistent read of `kind`, which the cache hears of.
    pub(in super::super) fn consistent(&self, kind: Kind) -> u64 {
        let mut state = self.lock();
        let visible = state.visible(kind, Instant::now());
        state.hear(kind, visible);
        state.revision
    }

    /// What a watch of this generation that has seen everything up to `cursor` does next; `limit` is how many
    /// events may wait for it, 0 for any number.
    pub(in super::super) fn next(&self, kind: Kind, generation: u64, cursor: u64, limit: usize) -> Next {
        let mut state = self.lock();
        if state.generation != generation {
            return Next::Replaced;
        }
        let visible = state.visible(kind, Instant::now());
        if visible < cursor {
            let until = state.cache.next_visible(visible);
            return Next::Idle { reached: 0, seen: cursor, until };
        }
        match state.kinds[kind.index()].after(cursor, visible) {
            None => Next::Lost,
            Some((waiting, _)) if limit > 0 && waiting > limit => Next::Lost,
            Some((_, Some(event))) => Next::Event(event),
            Some((_, None)) => {
                let until = state.cache.next_visible(visible);
                Next::Idle { reached: state.hear(kind, visible), seen: visible, until }
            }
        }
    }
}
