//! Makes batches of what the store publishes: the one task that appends to the lines.
//!
//! It wakes with a publication, waits for what comes with it, and compares the newest state with the last one that was
//! told. Nobody waits for it but followers for their news, and it waits for nobody.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::line::{Line, Lines};
use super::metrics::IndexMetrics;
use super::state::State;
use crate::feed::entry::{Entry, Gathered, write_holds};
use crate::feed::frame::Packet;
use crate::feed::view::View;
use crate::feed::wire;
use crate::ops::blocking;
use crate::ops::switches;
use crate::store::Store;
use crate::store::triggers::Triggers;
use crate::zone::digest;
use crate::zone::hold;
use crate::zone::object::{Key, Kinds};
use crate::zone::view::Projection;

/// How long changes are gathered from the first one on: what a deployment changes in a moment is one batch, and nobody
/// notices a tenth of a second.
pub const BATCH_WAIT: Duration = Duration::from_millis(100);

/// How long it may take on top of that until the source has said the version of what it told: it says so at once.
const SETTLE_WAIT: Duration = Duration::from_millis(50);

/// How long the state that a hub began with is kept, so that followers of any view find a history that goes back to it:
/// those of a hub that was restarted or replaced are back by then. It shares most with the newest state.
const KEEP_ORIGIN: Duration = Duration::from_secs(3600);

/// How often whole states that are of no use any more are looked for, and figures are brought up to date.
const TICK: Duration = Duration::from_secs(1);

/// Tells the lines what happens in the store.
pub struct Index {
    /// Where it happens.
    store: Arc<Store>,
    /// What set changes off.
    triggers: Arc<Triggers>,
    /// Whom it is told.
    lines: Arc<Lines>,
    /// The first complete state, and when it came to be.
    origin: Option<(Instant, State)>,
    /// What each of them was told last.
    recorders: Vec<Recorder>,
    /// What is measured.
    metrics: Arc<IndexMetrics>,
}

/// What one line was told last.
struct Recorder {
    /// The line.
    line: Arc<Line>,
    /// What of the state is in its view.
    projection: Projection,
    /// The state, as far as it is in the view; `None` before the first.
    last: Option<State>,
}

impl Index {
    /// An index that has told nothing yet. Its histories begin with what is in the store, if that is complete.
    pub fn new(
        store: Arc<Store>,
        triggers: Arc<Triggers>,
        lines: Arc<Lines>,
        metrics: Arc<IndexMetrics>,
    ) -> Self {
        let mut index = Self { store, triggers, lines, origin: None, recorders: Vec::new(), metrics };
        index.keep_origin(&State::of(&index.store));
        index
    }

    /// Keeps the state if it is the first complete one.
    fn keep_origin(&mut self, state: &State) {
        if self.origin.is_none() && Kinds::CORE.minus(state.table.complete()).is_empty() {
            self.origin = Some((Instant::now(), state.clone()));
        }
    }

    /// Goes on until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let lines = self.lines.clone();
        let mut published = self.store.published();
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = published.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if stop.run_until_cancelled(self.gather()).await.is_none() {
                        return;
                    }
                    published.mark_unchanged();
                    self.advance().await;
                }
                () = lines.added.notified() => self.advance().await,
                _ = tick.tick() => self.tidy(),
            }
        }
    }

    /// Waits for what comes with a change.
    async fn gather(&self) {
        tokio::time::sleep(BATCH_WAIT).await;
        let mut published = self.store.published();
        let settled = async {
            while !self.store.current().reached.ahead.is_empty() {
                if published.changed().await.is_err() {
                    return;
                }
            }
        };
        // One that does not settle is told all the same; nobody goes on from there.
        let _ = tokio::time::timeout(SETTLE_WAIT, settled).await;
    }

    /// Tells every line what is new.
    async fn advance(&mut self) {
        for line in self.lines.all() {
            if !self.recorders.iter().any(|r| Arc::ptr_eq(&r.line, &line)) {
                self.recorders.push(Recorder::new(line));
            }
        }
        let (state, triggers) = (State::of(&self.store), self.triggers.take());
        self.keep_origin(&state);
        let origin = self.origin.as_ref().filter(|(since, _)| since.elapsed() < KEEP_ORIGIN);
        let origin = origin.map(|(_, state)| state.clone());
        let (mut recorders, metrics) = (std::mem::take(&mut self.recorders), self.metrics.clone());
        let begun = Instant::now();
        // Off the runtime: a change of everything is work.
        let work = blocking::spawn(move || {
            for recorder in &mut recorders {
                recorder.advance(origin.as_ref(), &state, &triggers, &metrics);
            }
            recorders
        });
        match work.await {
            Ok(recorders) => self.recorders = recorders,
            // The lines begin anew with the next publication, and their followers with a whole state.
            Err(error) => tracing::error!(%error, "telling followers of a change broke, which is a bug"),
        }
        self.metrics.took(begun.elapsed());
        self.tidy();
    }

    fn tidy(&mut self) {
        if let Some((since, state)) = &mut self.origin
            && since.elapsed() >= KEEP_ORIGIN
        {
            // That there was one is remembered: a later state is no beginning.
            *state = State::default();
        }
        self.lines.forget_unused();
        let lines = self.lines.all();
        self.recorders.retain(|r| lines.iter().any(|line| Arc::ptr_eq(&r.line, line)));
        lines.iter().for_each(|line| line.expire());
        let kept = lines.iter().map(|line| line.kept());
        let (packets, bytes) = kept.fold((0, 0), |(p, b), (packets, bytes)| (p + packets, b + bytes));
        self.metrics.kept(packets, bytes);
    }
}

impl Recorder {
    fn new(line: Arc<Line>) -> Self {
        let view = line.view();
        Self { line, projection: Projection::new(view.headless_only, view.pods), last: None }
    }

    /// Tells the line of this state; one that is told nothing yet begins with `origin`, where there is one.
    fn advance(
        &mut self,
        origin: Option<&State>,
        state: &State,
        triggers: &HashMap<Key, u64>,
        metrics: &IndexMetrics,
    ) {
        if !self.is_whole(state) {
            // Invariant: half a state is told to nobody.
            return;
        }
        if self.last.is_some() {
            let (packets, next) = self.go_on(state, triggers, metrics);
            return self.line.go_on(packets, next);
        }
        let origin = origin.filter(|origin| self.is_whole(origin));
        let first = origin.unwrap_or(state);
        let _ = self.projection.advance(&first.table, &first.held);
        let first = first.seen(self.projection.state());
        self.last = Some(first.clone());
        let since = origin.map(|_| self.go_on(state, triggers, metrics));
        self.line.begin(first, since);
    }

    /// Whether a state has everything that is in the view.
    fn is_whole(&self, state: &State) -> bool {
        self.line.view().kinds().minus(state.table.complete()).is_empty()
    }

    /// What leads from the last state to this one, as far as it is in the view: nothing where that is the same.
    fn go_on(
        &mut self,
        state: &State,
        triggers: &HashMap<Key, u64>,
        metrics: &IndexMetrics,
    ) -> (Vec<Packet>, State) {
        let mut entries = self.projection.advance(&state.table, &state.held);
        if switches::loses_entries() {
            entries.pop();
        }
        let next = state.seen(self.projection.state());
        let packets = match &self.last {
            Some(last) if !entries.is_empty() || is_news(last, &next) => {
                metrics.batch(entries.len());
                packets(last, &next, self.line.view(), entries, triggers)
            }
            _ => Vec::new(),
        };
        self.last = Some(next.clone());
        (packets, next)
    }
}

/// Whether something has to be told although no object differs.
fn is_news(last: &State, next: &State) -> bool {
    last.reached.cluster_uid != next.reached.cluster_uid
        || last.reached.told.epoch != next.reached.told.epoch
        || !next.has_holds_of(last)
}

/// The packets that lead from one state to the next.
fn packets(
    last: &State,
    next: &State,
    view: View,
    entries: Vec<hold::Entry>,
    triggers: &HashMap<Key, u64>,
) -> Vec<Packet> {
    let (mut packets, mut gathered) = (Vec::new(), Gathered::default());
    for entry in entries {
        let mut entry = Entry::from(entry);
        entry.triggered_at_ms = triggers.get(&entry.change.key()).copied().unwrap_or(0);
        if let Some(entries) = gathered.push((&entry).into()) {
            // In the middle of a change there is no state to speak of.
            packets.push(packet(next, wire::Batch { entries, ..wire::Batch::default() }));
        }
    }
    let mark = next.mark(view);
    let batch = wire::Batch {
        position: Some((&mark.position).into()),
        digest_version: digest::VERSION,
        digests: Some(mark.digests.into()),
        entries: gathered.take(),
        holds: (!next.has_holds_of(last)).then(|| write_holds(&next.told_holds())),
        ..wire::Batch::default()
    };
    packets.push(packet(next, batch));
    packets
}

/// A batch of changes that lead to `state`.
fn packet(state: &State, batch: wire::Batch) -> Packet {
    let batch = wire::Batch { cluster_uid: state.reached.cluster_uid.clone(), ..batch };
    Packet::of(&wire::Frame { frame: Some(wire::frame::Frame::Batch(batch)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::frame::{Frame, Reply};
    use crate::feed::position::Position;
    use crate::hub::history::Next;
    use crate::ops::metrics::Metrics;
    use crate::source::Resume;
    use crate::zone::Table;
    use crate::zone::change::Change;
    use crate::zone::object::{Namespace, Object};

    const VIEW: View = View { headless_only: false, pods: false };

    fn namespace(name: &str) -> Change {
        Change::Upsert(Object::Namespace(Namespace { name: name.into(), labels: [].into() }))
    }

    /// A complete state of these namespaces, told up to a version.
    fn state(names: &[String], version: u64, ahead: Kinds) -> State {
        let mut table = Table::build([], Kinds::CORE, 1);
        let _ = table.apply(names.iter().map(|name| namespace(name)), 1);
        let told = Position { epoch: 1, versions: [version, 1, 1, 0] };
        let reached = Resume { cluster_uid: "c".to_owned(), told, ahead, ..Resume::default() };
        State { table, reached: Arc::new(reached), ..State::default() }
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("{:016x}", (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect()
    }

    fn batch(line: &Line, seq: u64) -> crate::feed::frame::Batch {
        let Next::Packet(packet) = line.after(seq) else { unreachable!("a packet") };
        match Reply::try_from(wire::FollowReply::from(packet)) {
            Ok(Reply::Frame(Frame::Batch(batch))) => batch,
            other => unreachable!("a batch, not {other:?}"),
        }
    }

    #[test]
    fn what_is_said_of_a_state_that_follows_another() {
        let metrics = IndexMetrics::new(&Metrics::new());
        let line = Arc::new(Line::new(VIEW, 1 << 30));
        let mut recorder = Recorder::new(line.clone());
        let mut tell = |state: &State| recorder.advance(None, state, &HashMap::new(), &metrics);
        tell(&State { table: Table::default(), ..state(&names(1), 1, Kinds::NONE) });
        assert!(line.now().is_none(), "half a state is told to nobody");
        tell(&state(&names(1), 10, Kinds::NONE));
        assert_eq!(*line.head().borrow(), 1);
        tell(&state(&names(1), 12, Kinds::NONE));
        assert_eq!(
            (line.after(1), line.stand(1).map(|(p, _)| p.versions[0])),
            (Next::Wait, Some(12)),
            "no batch"
        );
        tell(&state(&names(2), 13, Kinds::NONE));
        let said = batch(&line, 1);
        assert_eq!((said.entries.len(), said.position.map(|p| p.versions[0])), (1, Some(13)));
        // A change of everything comes in several packets, of which the last one says where it has led to.
        tell(&state(&names(40_000), 14, Kinds::NONE));
        let head = *line.head().borrow();
        assert!(head > 3, "{head}");
        let parts: Vec<_> = (2..head).map(|seq| batch(&line, seq)).collect();
        assert_eq!(parts.iter().map(|part| part.entries.len()).sum::<usize>(), 39_998);
        let (last, others) = parts.split_last().expect("some");
        assert!(last.position.is_some() && others.iter().all(|part| part.position.is_none()));
        assert!(line.stand(head).is_some() && line.stand(3).is_none(), "nobody stands in the middle");
        // Another epoch is news, though nothing else differs.
        let mut restored = state(&names(40_000), 5, Kinds::NONE);
        Arc::make_mut(&mut restored.reached).told.epoch = 2;
        tell(&restored);
        let said = batch(&line, head);
        assert_eq!((said.entries.len(), said.position.map(|p| p.epoch)), (0, Some(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_history_begins_with_the_state_that_the_hub_began_with() {
        let metrics = Arc::new(IndexMetrics::new(&Metrics::new()));
        let lines = Arc::new(Lines::new(false, 1 << 30));
        let mut index = Index::new(Store::new(), Arc::default(), lines.clone(), metrics);
        index.keep_origin(&State { table: Table::default(), ..state(&names(1), 1, Kinds::NONE) });
        assert!(index.origin.is_none(), "half a state is no beginning");
        index.keep_origin(&state(&names(1), 10, Kinds::NONE));
        index.keep_origin(&state(&names(2), 20, Kinds::NONE));
        index.store.hold(state(&names(3), 30, Kinds::NONE).table);
        let line = lines.of(VIEW);
        index.advance().await;
        assert_eq!(line.stand(1).map(|(position, _)| position.versions[0]), Some(10));
        assert_eq!(batch(&line, 1).entries.len(), 2, "and what has changed since is one batch");
        // One that comes an hour later has to do with what there is.
        tokio::time::advance(KEEP_ORIGIN).await;
        let line = lines.of(View { headless_only: true, ..VIEW });
        index.advance().await;
        assert_eq!((line.after(1), *line.head().borrow()), (Next::Wait, 1));
    }
}
