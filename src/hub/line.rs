//! What the followers of one view share: the history, the newest state, and whole states that are being sent.
//!
//! The index appends, streams read along; the lock is held for a few pointers only.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
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
use crate::ops::switches::{self, Protection};

/// All who ask for a whole state within this time share one, and one that nobody reads is kept for as long.
pub const SHARE_WHOLE: Duration = Duration::from_secs(1);

/// After that they share it while no more has changed since than this part of the history: what is sent twice is less
/// than another whole state, and what they have to catch up with is there for a while.
const SHARE_HISTORY: u64 = 4;

/// How many whole states of one view there are at most, however slowly they are read; who comes then shares the newest.
const MAX_WHOLES: usize = 4;

/// A view that nobody has followed for this long is not kept up any more.
const UNUSED: Duration = Duration::from_secs(3600);

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
    /// The whole state that was made last.
    whole: Option<Shared>,
    /// All that somebody reads, or may begin to; the oldest first.
    wholes: Vec<Weak<Whole>>,
}

/// A whole state that may be shared.
struct Shared {
    /// It.
    whole: Arc<Whole>,
    /// When it was made.
    made: Instant,
    /// When somebody began to read it last.
    used: Instant,
    /// What had ever been appended to the history then.
    appended: u64,
    /// What the source had told by then.
    told: Position,
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

    /// Begins with this state, or begins anew: cursors that are there lead nowhere then. What has happened `since` is
    /// there in the same moment: nobody sets out from a beginning that is forgotten in the next one.
    pub(super) fn begin(&self, state: State, since: Option<(Vec<Packet>, State)>) {
        let mut inner = self.lock();
        let base = inner.history.as_ref().map_or(0, History::head) + 1;
        let history = History::new(base, state.mark(self.view), self.limit);
        inner.history =
            Some(if switches::is_off(Protection::Limits) { history.unbounded() } else { history });
        inner.now = Arc::new(state);
        if let Some((packets, state)) = since {
            inner.go_on(packets, state, self.view);
        }
        let old = inner.whole.take();
        self.tell(inner);
        drop(old);
    }

    /// These packets lead to this state. Without any it is the same, and the source has told more or proved it anew.
    pub(super) fn go_on(&self, packets: Vec<Packet>, state: State) {
        let is_news = !packets.is_empty();
        let mut inner = self.lock();
        inner.go_on(packets, state, self.view);
        if is_news {
            self.tell(inner);
        }
    }

    /// Wakes the streams.
    fn tell(&self, mut inner: MutexGuard<'_, Inner>) {
        let Some(head) = inner.history.as_ref().map(History::head) else { return };
        let late = inner.late();
        drop(inner);
        self.head.send_replace(head);
        // Not under the lock: this frees them.
        late.iter().for_each(|whole| whole.revoke());
    }

    /// Forgets a whole state that nobody reads.
    pub(super) fn expire(&self) {
        let expired = {
            let mut inner = self.lock();
            inner.wholes.retain(|whole| whole.strong_count() > 0);
            // Those that wait for their turn come one after the other, and each begins to read.
            inner.whole.take_if(|shared| {
                Arc::strong_count(&shared.whole) == 1 && shared.used.elapsed() >= SHARE_WHOLE
            })
        };
        // This frees it: not under the lock.
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

    /// A whole state, that of others where it is as good as a new one, and whether it had to be made. `None` before
    /// there is a complete one. One that is to mend what a follower has at this position is not behind that, if there is
    /// anything newer: of the past nobody takes anything.
    pub fn whole(&self, labels: bool, mends: Option<&Position>) -> Option<(Arc<Whole>, bool)> {
        let mut inner = self.lock();
        let history = inner.history.as_ref()?;
        let (head, appended) = (history.head(), history.appended());
        inner.wholes.retain(|whole| whole.strong_count() > 0);
        let is_full = inner.wholes.len() >= MAX_WHOLES;
        let limit = self.limit as u64 / SHARE_HISTORY;
        let told = inner.now.reached.told;
        let Inner { whole: shared, history: Some(history), .. } = &mut *inner else { return None };
        if let Some(shared) = shared
            // Invariant: whoever is through with it can go on.
            && history.reaches(shared.whole.seq())
            && !shared.whole.has_failed()
        {
            let since = appended - shared.appended;
            let is_near = since < limit && since < shared.whole.bytes();
            let is_past = shared.told != told && mends.is_some_and(|mends| shared.told.is_behind(mends));
            if is_full || !is_past && (is_near || shared.made.elapsed() < SHARE_WHOLE) {
                shared.used = Instant::now();
                return Some((shared.whole.clone(), false));
            }
        }
        let (whole, now) = (Whole::begin(head, inner.now.clone(), self.view, labels), Instant::now());
        inner.wholes.push(Arc::downgrade(&whole));
        let shared = Shared { whole: whole.clone(), made: now, used: now, appended, told };
        let old = inner.whole.replace(shared);
        drop(inner);
        // It may be the last of it: not under the lock.
        drop(old);
        Some((whole, true))
    }
}

impl Inner {
    /// These packets lead to this state; none to the same state, of which more is known.
    fn go_on(&mut self, packets: Vec<Packet>, state: State, view: View) {
        let Some(history) = &mut self.history else { return };
        if packets.is_empty() {
            history.moved(state.reached.told, state.is_settled(view));
        } else {
            history.append(packets, state.mark(view));
        }
        self.now = Arc::new(state);
    }

    /// Whole states that lead to where nobody can go on from any more: who reads one has to begin again anyway, and
    /// those who do not even read hold it for nothing.
    fn late(&mut self) -> Vec<Arc<Whole>> {
        let Some(history) = &self.history else { return Vec::new() };
        let late = |whole: &Arc<Whole>| !history.reaches(whole.seq());
        let found: Vec<_> = self.wholes.iter().filter_map(Weak::upgrade).filter(late).collect();
        self.wholes.retain(|whole| !found.iter().any(|late| std::ptr::eq(whole.as_ptr(), Arc::as_ptr(late))));
        self.whole.take_if(|shared| late(&shared.whole));
        found
    }
}

/// The lines of all views that somebody asked for.
pub struct Lines {
    /// Whether there are pods at all.
    pods: bool,
    /// Bytes of history that are kept for each.
    limit: usize,
    /// One for each view, and when somebody was known to follow it: a handful at most.
    lines: Mutex<Vec<(Arc<Line>, Instant)>>,
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
        if let Some((line, used)) = lines.iter_mut().find(|(line, _)| line.view == view) {
            *used = Instant::now();
            return line.clone();
        }
        let line = Arc::new(Line::new(view, self.limit));
        lines.push((line.clone(), Instant::now()));
        self.added.notify_one();
        line
    }

    /// Those that there are.
    pub fn all(&self) -> Vec<Arc<Line>> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|(line, _)| line.clone()).collect()
    }

    /// Forgets those that nobody has followed for long. Whoever calls holds one reference to each line, and no other
    /// but these, those of followers and our own is there.
    pub(super) fn forget_unused(&self) {
        let now = Instant::now();
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).retain_mut(|(line, used)| {
            if Arc::strong_count(line) > 2 {
                *used = now;
            }
            now.saturating_duration_since(*used) < UNUSED
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::frame::Frame;
    use crate::hub::whole::Part;
    use crate::source::Resume;
    use crate::zone::Table;
    use crate::zone::change::Change;
    use crate::zone::object::{Kinds, Namespace, Object};

    const VIEW: View = View { headless_only: false, pods: false };

    /// A state of so many namespaces.
    fn state(names: usize, version: u64) -> State {
        let mut table = Table::build([], Kinds::CORE, 1);
        let namespace =
            |n: usize| Object::Namespace(Namespace { name: format!("n{n}").into(), labels: [].into() });
        let _ = table.apply((0..names).map(|n| Change::Upsert(namespace(n))), 1);
        let told = Position { epoch: 1, versions: [version, 1, 1, 0] };
        let reached = Resume { cluster_uid: "c".to_owned(), told, ..Resume::default() };
        State { table, reached: Arc::new(reached), ..State::default() }
    }

    /// A line with a history of this many bytes, at a state of many namespaces.
    fn line(limit: usize) -> Line {
        let line = Line::new(VIEW, limit);
        line.begin(state(1000, 1), None);
        line
    }

    /// Something of about this size changes.
    fn change(line: &Line, version: u64, size: usize) {
        // Text that does not compress.
        let text = (0..size as u64 / 16)
            .map(|n| format!("{:016x}", (n + version).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        line.go_on(vec![Packet::from(&Frame::Refused { why: text.collect() })], state(1000, version));
    }

    async fn made(whole: &Whole) {
        let mut progress = whole.progress();
        while whole.part(usize::MAX) == Part::Wait {
            progress.changed().await.expect("it is there");
        }
    }

    /// Waits until nobody but the line and this test has it: whoever made it is done.
    fn alone(whole: &Arc<Whole>) {
        while Arc::strong_count(whole) > 2 {
            std::thread::yield_now();
        }
    }

    #[tokio::test]
    async fn in_a_storm_a_whole_state_is_shared_while_little_has_changed() {
        let line = line(1 << 20);
        let (whole, is_new) = line.whole(false, None).expect("a state");
        made(&whole).await;
        assert!(is_new && whole.bytes() > 1000, "{}", whole.bytes());
        tokio::time::pause();
        tokio::time::advance(2 * SHARE_WHOLE).await;
        change(&line, 2, 160);
        assert!(
            line.whole(false, None).is_some_and(|(other, is_new)| !is_new && Arc::ptr_eq(&other, &whole))
        );
        // Who would catch up with more than that gets a new one.
        change(&line, 3, 40_000);
        assert!(
            line.whole(false, None).is_some_and(|(other, is_new)| is_new && !Arc::ptr_eq(&other, &whole))
        );
    }

    #[tokio::test]
    async fn what_is_to_mend_a_state_is_not_behind_it() {
        let line = line(1 << 20);
        let (whole, _) = line.whole(false, None).expect("a state");
        made(&whole).await;
        change(&line, 3, 160);
        let at = |version| Position { epoch: 1, versions: [version, 1, 1, 0] };
        for (name, mends, want) in [
            ("who mends nothing", None, false),
            ("who was there", Some(at(1)), false),
            ("who has come further", Some(at(2)), true),
            ("that one is shared, too", Some(at(3)), false),
            ("who is ahead of all there is", Some(at(4)), false),
        ] {
            let made = line.whole(false, mends.as_ref()).map(|(_, made)| made);
            assert_eq!(made, Some(want), "{name}");
        }
    }

    #[tokio::test]
    async fn one_that_nobody_reads_is_forgotten() {
        let line = line(1 << 20);
        let (whole, _) = line.whole(false, None).expect("a state");
        made(&whole).await;
        alone(&whole);
        tokio::time::pause();
        tokio::time::advance(2 * SHARE_WHOLE).await;
        line.expire();
        assert!(line.whole(false, None).is_some_and(|(_, is_new)| !is_new), "somebody reads it");
        drop(whole);
        tokio::time::advance(2 * SHARE_WHOLE).await;
        line.expire();
        assert!(line.whole(false, None).is_some_and(|(_, is_new)| is_new));
    }

    #[tokio::test]
    async fn slow_readers_hold_a_few_whole_states_at_most() {
        let line = line(1 << 20);
        let mut slow = Vec::new();
        for version in 2..20 {
            let (whole, _) = line.whole(false, None).expect("a state");
            made(&whole).await;
            slow.push(whole);
            tokio::time::pause();
            tokio::time::advance(2 * SHARE_WHOLE).await;
            tokio::time::resume();
            change(&line, version, 40_000);
        }
        slow.dedup_by(|one, other| Arc::ptr_eq(one, other));
        assert_eq!(slow.len(), MAX_WHOLES);
        // Where the history no longer reaches them they are worth nothing, and hold nothing.
        change(&line, 20, 4 << 20);
        assert!(slow.iter().all(|whole| whole.has_failed() && whole.part(0) == Part::Failed));
        assert!(line.whole(false, None).is_some_and(|(_, is_new)| is_new));
    }

    #[tokio::test(start_paused = true)]
    async fn a_view_that_nobody_follows_is_forgotten_after_a_while() {
        let lines = Lines::new(true, 1 << 20);
        let followed = lines.of(VIEW);
        drop(lines.of(View { pods: true, ..VIEW }));
        let _index = lines.all();
        tokio::time::advance(UNUSED / 2).await;
        lines.forget_unused();
        assert_eq!(lines.all().len(), 2);
        tokio::time::advance(UNUSED).await;
        lines.forget_unused();
        assert_eq!(lines.all().iter().map(|line| line.view()).collect::<Vec<_>>(), [followed.view()]);
    }
}
