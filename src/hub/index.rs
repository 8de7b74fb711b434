//! Makes batches of what the store publishes: the one task that appends to the lines.
//!
//! It wakes with a publication, waits for what comes with it, and compares the newest state with the last one that was
//! told. Nobody waits for it but followers for their news, and it waits for nobody.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::line::{Line, Lines};
use super::metrics::IndexMetrics;
use super::state::State;
use crate::feed::entry::{Entry, write_holds};
use crate::feed::frame::{PART_BYTES, Packet};
use crate::feed::view::View;
use crate::feed::wire;
use crate::store::Store;
use crate::store::triggers::Triggers;
use crate::zone::digest;
use crate::zone::held::diff_states;
use crate::zone::object::Key;

/// How long changes are gathered from the first one on: what a deployment changes in a moment is one batch, and nobody
/// notices a tenth of a second.
pub const BATCH_WAIT: Duration = Duration::from_millis(100);

/// How long it may take on top of that until the source has said the version of what it told: it says so at once.
const SETTLE_WAIT: Duration = Duration::from_millis(50);

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
    /// What each of them was told last.
    recorders: Vec<Recorder>,
    /// What is measured.
    metrics: Arc<IndexMetrics>,
}

/// What one line was told last.
struct Recorder {
    /// The line.
    line: Arc<Line>,
    /// The state; `None` before the first.
    last: Option<State>,
}

impl Index {
    /// An index that has told nothing yet.
    pub fn new(
        store: Arc<Store>,
        triggers: Arc<Triggers>,
        lines: Arc<Lines>,
        metrics: Arc<IndexMetrics>,
    ) -> Self {
        Self { store, triggers, lines, recorders: Vec::new(), metrics }
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
                self.recorders.push(Recorder { line, last: None });
            }
        }
        let (state, triggers) = (State::of(&self.store), self.triggers.take());
        let (mut recorders, metrics) = (std::mem::take(&mut self.recorders), self.metrics.clone());
        let begun = Instant::now();
        // Off the runtime: a change of everything is work.
        let work = tokio::task::spawn_blocking(move || {
            for recorder in &mut recorders {
                recorder.advance(&state, &triggers, &metrics);
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

    fn tidy(&self) {
        let lines = self.lines.all();
        lines.iter().for_each(|line| line.expire());
        let kept = lines.iter().map(|line| line.kept());
        let (packets, bytes) = kept.fold((0, 0), |(p, b), (packets, bytes)| (p + packets, b + bytes));
        self.metrics.kept(packets, bytes);
    }
}

impl Recorder {
    /// Tells the line of this state.
    fn advance(&mut self, state: &State, triggers: &HashMap<Key, u64>, metrics: &IndexMetrics) {
        let view = self.line.view();
        if !view.kinds().minus(state.table.complete()).is_empty() {
            // Invariant: half a state is told to nobody.
            return;
        }
        match &self.last {
            None => self.line.begin(state.clone()),
            Some(last) => match batches(last, state, view, triggers, metrics) {
                None => self.line.moved(state.clone()),
                Some(packets) => self.line.append(packets, state.clone()),
            },
        }
        self.last = Some(state.clone());
    }
}

/// The packets that lead from one state to the next; `None` if nothing has to be said.
fn batches(
    last: &State,
    next: &State,
    view: View,
    triggers: &HashMap<Key, u64>,
    metrics: &IndexMetrics,
) -> Option<Vec<Packet>> {
    let kinds = view.kinds();
    let entries = diff_states((&last.table, &last.held), (&next.table, &next.held));
    let entries: Vec<_> = entries.into_iter().filter(|entry| kinds.has(entry.change.kind())).collect();
    let is_same_lineage = last.reached.cluster_uid == next.reached.cluster_uid
        && last.reached.told.epoch == next.reached.told.epoch;
    let has_same_holds = next.has_holds_of(last);
    if entries.is_empty() && is_same_lineage && has_same_holds {
        return None;
    }
    metrics.batch(entries.len());
    let mut packets = Vec::new();
    let mut part = Vec::new();
    let mut bytes = 0;
    let mut entries = entries.into_iter().peekable();
    while let Some(entry) = entries.next() {
        let mut entry = Entry::from(entry);
        entry.triggered_at_ms = triggers.get(&entry.change.key()).copied().unwrap_or(0);
        let message = wire::Entry::from(&entry);
        bytes += message.encoded_len();
        part.push(message);
        if bytes >= PART_BYTES && entries.peek().is_some() {
            // In the middle of a change there is no state to speak of.
            packets.push(packet(
                next,
                wire::Batch { entries: std::mem::take(&mut part), ..wire::Batch::default() },
            ));
            bytes = 0;
        }
    }
    let mark = next.mark(view);
    packets.push(packet(
        next,
        wire::Batch {
            position: Some((&mark.position).into()),
            digest_version: digest::VERSION,
            digests: Some(mark.digests.into()),
            entries: part,
            holds: (!has_same_holds).then(|| write_holds(&next.holds)),
            ..wire::Batch::default()
        },
    ));
    Some(packets)
}

/// A batch of changes that lead to `state`.
fn packet(state: &State, batch: wire::Batch) -> Packet {
    let batch = wire::Batch { cluster_uid: state.reached.cluster_uid.clone(), ..batch };
    Packet::of(&wire::Frame { frame: Some(wire::frame::Frame::Batch(batch)) })
}
