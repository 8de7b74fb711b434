//! The one writer of a store: takes updates from the source, publishes generations, has them snapshotted,
//! and says when the state of the data changes.
//!
//! Invariants:
//! * Only [`Update::Fresh`] proves anything; what changes meanwhile is as proved as what it replaces.
//! * Nothing of a list is served before its end, and then all of it in one generation.
//! * An update that breaks the writer takes nothing away, and is not forgotten: what it was about is neither proved
//!   nor has it a position until it is listed anew.
//! * While something is frozen nothing else is published; what is received is applied behind it.
//! * The runtime that this runs on is never held up for longer than `INLINE_WORK` takes.

mod apply;
mod ask;
mod hold;
mod orders;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use metrics::Counter;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::accepted::Accepted;
use super::control::{Control, Order};
use super::guard::{Guard, Holds};
use super::keeper::Keeper;
use super::latency::Latency;
use super::lineage::Lineage;
use super::lists::Lists;
use super::open_hold::OpenHold;
use super::report::Report;
use super::staged::Staged;
use super::state::{DataState, Limits};
use super::triggers::Triggers;
use super::{Generation, Proof, Store};
use crate::feed::position::Position;
use crate::ops::blocking;
use crate::ops::catalogue;
use crate::ops::clock::WallClock;
use crate::ops::metrics::Metrics;
use crate::ops::readiness;
use crate::source::command::{Command, Commands, Why};
use crate::source::{Comparison, Link, Resume, SourceConfig, Standing, Update, Wanted};
use crate::zone::digest::Digest;
use crate::zone::object::{Kind, Kinds};

/// How often the state is looked at without a cause: transitions are noticed this late at most.
const TICK: Duration = Duration::from_secs(1);

/// What makes more work than this (objects and endpoints) is done on a thread of its own: so much takes
/// about ten milliseconds, which nobody who asks for `/health` notices.
const INLINE_WORK: usize = 10_000;

/// Makes the generations of one store.
pub struct Writer {
    /// What it writes.
    store: Arc<Store>,
    /// The newest state as it was received: what is published, unless something is frozen.
    data: Generation,
    /// Where it has them kept, if anywhere.
    keeper: Option<Keeper>,
    /// What the configuration needs.
    wanted: Wanted,
    /// For the state that is logged and exported; each plugin judges by its own.
    limits: Limits,
    /// Unix time, for serials and latencies.
    clock: Arc<WallClock>,
    /// Set once there is data.
    ready: Option<readiness::Handle>,
    /// Why the source was lost, until it is back.
    lost: Option<String>,
    /// Lists that are under way.
    lists: Lists,
    /// How far the source has come.
    lineage: Lineage,
    /// Changes of kinds that are not yet where the table has been.
    staged: Staged,
    /// Updates that broke the writer.
    panics: Counter,
    /// From the cause of a change to its service.
    latency: Latency,
    /// What is measured and said.
    report: Report,
    /// The kinds that are held with everything that is wanted of them.
    progress: watch::Sender<Kinds>,
    /// What set changes off, for those who pass them on.
    triggers: Option<Arc<Triggers>>,
    /// Judges lists, where they come from their origin.
    guard: Option<Guard>,
    /// Whether nothing is to be held any longer that is held now.
    lets_go: bool,
    /// What is held back.
    holds: Holds,
    /// The holds of the hub that is followed, while changes wait that may be about them.
    told_holds_wait: Option<Vec<OpenHold>>,
    /// Losses that somebody means.
    accepted: Accepted,
    /// Kinds whose next list is not judged: it is another cluster's.
    unjudged: Kinds,
    /// Kinds whose list under way is an audit.
    audited: Kinds,
    /// uid of a cluster that the source refuses.
    refused: Option<String>,
    /// Who the source follows, and what is known of them.
    link: Link,
    /// To the source.
    commands: Option<Commands>,
    /// When the source may be asked for kinds of which something was lost.
    ask_from: Instant,
    /// The way to here, for operators.
    control: Control,
    /// What they order.
    orders: mpsc::Receiver<Order>,
}

/// An update broke the writer.
#[derive(Debug)]
struct Broken;

impl Writer {
    /// The writer of `store`.
    pub fn new(
        store: Arc<Store>,
        keeper: Option<Keeper>,
        wanted: Wanted,
        limits: Limits,
        clock: Arc<WallClock>,
        metrics: &Metrics,
    ) -> Self {
        let place = keeper.as_ref().map(Keeper::place);
        let (control, orders) = Control::new(store.clone(), (wanted.kinds(), limits), place, clock.clone());
        Self {
            data: Generation::clone(&store.current()),
            store,
            keeper,
            wanted,
            limits,
            clock,
            ready: None,
            lost: None,
            lists: Lists::default(),
            lineage: Lineage::default(),
            staged: Staged::default(),
            panics: metrics.counter(catalogue::PANICS, &[]),
            latency: Latency::new(metrics),
            report: Report::new(metrics),
            progress: watch::Sender::new(Kinds::NONE),
            triggers: None,
            guard: None,
            lets_go: false,
            holds: Holds::default(),
            told_holds_wait: None,
            accepted: Accepted::default(),
            unjudged: Kinds::NONE,
            audited: Kinds::NONE,
            refused: None,
            link: Link::default(),
            commands: None,
            ask_from: Instant::now(),
            control,
            orders,
        }
    }

    /// The way to order something of it.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Tells there what set changes off.
    #[must_use]
    pub fn with_triggers(mut self, triggers: Arc<Triggers>) -> Self {
        self.triggers = Some(triggers);
        self
    }

    /// Judges lists before what they lack is removed: for sources that are the origin of what they tell.
    #[must_use]
    pub fn with_guard(mut self, guard: Guard) -> Self {
        self.guard = Some(guard);
        self
    }

    /// Asks the source there, from now on.
    pub fn asks(&mut self, commands: Commands) {
        self.commands = Some(commands);
    }

    /// The kinds that are held with everything that is wanted of them, as that changes.
    pub fn progress(&self) -> watch::Receiver<Kinds> {
        self.progress.subscribe()
    }

    /// Has readiness follow the data.
    pub fn with_readiness(mut self, handle: readiness::Handle) -> Self {
        self.ready = Some(handle);
        self
    }

    /// Serves what the newest snapshot holds, if there is one, and says from where its source may go on. Called
    /// before any socket is bound.
    pub fn boot(&mut self) -> Resume {
        if let Some(booted) = self.keeper.as_mut().and_then(Keeper::load) {
            self.store.prove_ago(booted.age);
            self.data = booted.generation;
            self.staged = Staged::resumed(&booted.resume);
            self.lineage = Lineage::resumed(booted.resume);
            self.lineage.broke(booted.broken);
        }
        // The source lists by itself what has no position.
        self.ask_from = Instant::now() + ask::ASKS_APART;
        self.boot_frozen();
        if self.data.number > 0 {
            self.show();
            self.moved();
        }
        self.observe();
        self.resume()
    }

    /// Goes on serving what an operator has frozen, whether or not there is anything else.
    fn boot_frozen(&mut self) {
        let Some(kept) = self.keeper.as_ref().and_then(Keeper::load_frozen) else { return };
        let frozen = self.frozen(kept.since, kept.remaining, kept.age, kept.rolled_back_to);
        tracing::warn!(remaining = ?kept.remaining, "frozen by an operator before the start: what was frozen is served");
        if self.data.number == 0 {
            // No snapshot is of any use: this is better than nothing, also once it is thawed. All of it is listed.
            self.store.prove_ago(kept.age);
            self.data = Generation { reached: Arc::default(), ..kept.generation.clone() };
        }
        self.store.publish(Generation { frozen: Some(Arc::new(frozen)), ..kept.generation });
    }

    /// Goes on with what is served, for another configuration, and says from where the new source may go on. What
    /// was wanted before goes on being kept: it is at hand, and the next configuration may want it again.
    pub fn reconfigure(&mut self, wanted: Wanted, limits: Limits, interval: Duration) -> Resume {
        // What the old source has begun to say, the new one does not go on with; whom it refuses, it says itself.
        self.lists = Lists::default();
        (self.refused, self.link) = (None, Link::default());
        if wanted.labels && !self.wanted.labels {
            // What is held has none: it is served, and neither proved nor kept as if it had, until it is listed.
            self.lineage.broke(self.data.table.complete());
        }
        // The new source lists by itself what has no position.
        self.ask_from = Instant::now() + ask::ASKS_APART;
        // The new source goes on from what was gone over.
        self.staged = Staged::resumed(self.lineage.known());
        self.told_holds_wait = None;
        self.wanted.labels |= wanted.labels;
        self.wanted.pods |= wanted.pods;
        self.limits = limits;
        if let Some(keeper) = &mut self.keeper {
            keeper.reconfigure(interval, limits.max_stale);
        }
        self.observe();
        self.resume()
    }

    /// This source tells the state from now on; of other EndpointSlices than the one before, if `other_slices`: what is
    /// held of them is served until they are listed. Ahead of [`reconfigure`](Self::reconfigure).
    pub fn follows(&mut self, source: &SourceConfig, other_slices: bool) {
        if other_slices {
            self.lineage.broke(Kinds::NONE.with(Kind::EndpointSlice));
        }
        if let Some(keeper) = &mut self.keeper {
            keeper.follows(source);
        }
    }

    /// The source that told the state had itself gone over no more than this: the next one begins there. Ahead of
    /// [`reconfigure`](Self::reconfigure).
    pub fn went_over(&mut self, proved: &Position) {
        self.lineage.went_over(proved);
        self.moved();
    }

    /// From where a source may go on.
    fn resume(&self) -> Resume {
        self.lineage.known().clone()
    }

    /// How far the store has come.
    fn standing(&self) -> Standing {
        let digests = Kind::ALL.map(|kind| self.data.received_digest(kind));
        let complete = self.lineage.whole(self.data.table.complete());
        let (held, verified) = (self.data.held.digest(), self.data.verified);
        Standing { resume: self.resume(), digests, held, complete, verified }
    }

    /// Whether the state, as it was received, has these digests.
    fn compare(&self, digests: &[Option<Digest>; Kind::ALL.len()]) -> Comparison {
        let (mut kinds, mut unsettled) = (Kinds::NONE, false);
        for (kind, digest) in Kind::ALL.into_iter().zip(digests) {
            match digest {
                Some(_) if self.staged.differs(kind) => kinds = kinds.with(kind),
                Some(_) if self.staged.kinds().has(kind) => unsettled = true,
                Some(digest) if *digest != self.data.received_digest(kind) => kinds = kinds.with(kind),
                Some(_) | None => {}
            }
        }
        match (kinds.is_empty(), unsettled) {
            (false, _) => Comparison::Differs { kinds },
            (true, true) => Comparison::Unsettled,
            (true, false) => Comparison::Same,
        }
    }

    /// What the configuration needs; more, where an earlier one needed more.
    pub const fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// Takes updates until `stop`, and then writes a last snapshot.
    pub async fn run(mut self, updates: mpsc::Receiver<Update>, stop: CancellationToken) {
        self.follow(updates, &stop).await;
        self.finish().await;
    }

    /// Takes updates until `stop`.
    pub async fn follow(&mut self, mut updates: mpsc::Receiver<Update>, stop: &CancellationToken) {
        if std::mem::take(&mut self.lets_go) {
            self.accept().await;
        }
        let mut tick = tokio::time::interval(TICK);
        let mut open = true;
        loop {
            let due = self.keeper.as_ref().and_then(Keeper::due);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = finished(&mut self.keeper) => {}
                // Never closed: a way to it is in this writer's own hands.
                Some(order) = self.orders.recv() => self.obey(order).await,
                // Ahead of the updates, or a source that never pauses would keep the disk and people waiting.
                () = until(due) => {
                    let (generation, age) = (Arc::new(self.data.clone()), self.store.received_age());
                    if let Some(keeper) = &mut self.keeper {
                        keeper.start(&generation, age, self.lineage.known());
                    }
                }
                _ = tick.tick() => self.tick().await,
                update = updates.recv(), if open => match update {
                    Some(update) => {
                        let ends = matches!(update, Update::ListEnd { .. });
                        self.take(update).await;
                        if ends {
                            // A source that lists and proves in one go is to be heard out.
                            tokio::task::yield_now().await;
                        }
                        if !updates.is_empty() {
                            // What is half said is no state to tell people of.
                            continue;
                        }
                    }
                    // A source that ended is a source that was lost; what it sent goes on being served.
                    None => {
                        open = false;
                        self.lists = Lists::default();
                        self.link = Link::default();
                        self.lose("the source has ended".to_owned());
                    }
                },
            }
            self.observe();
        }
    }

    /// Writes a last snapshot, if there is anything that the disk does not have.
    pub async fn finish(&mut self) {
        let (generation, age) = (Arc::new(self.data.clone()), self.store.received_age());
        if let Some(keeper) = &mut self.keeper {
            keeper.stop(&generation, age, self.lineage.known()).await;
        }
    }

    // === Updates ===

    /// Applies one update; one that breaks the writer is lost, and what is served stays.
    async fn take(&mut self, update: Update) {
        let about = kinds(&update);
        let taken = match update {
            Update::ListPart { kinds, entries } => {
                guarded(|| self.lists.part(kinds, entries, &self.data.table))
            }
            Update::ListEnd { kinds } => self.end_list(kinds).await,
            Update::ListFailed { kinds } => guarded(|| {
                self.lists.forget(kinds);
                self.audited = self.audited.minus(kinds);
            }),
            Update::Changes(events) => guarded(|| {
                let events = self.staged.hold_back(events);
                self.change(events);
            }),
            Update::Reached { kind, version } => guarded(|| self.reached(kind, version)),
            Update::Told { kind, version, digest } => guarded(|| self.told(kind, version, digest)),
            Update::Holds(holds) => self.told_holds(holds).await,
            Update::Compare { digests, answer } => guarded(|| {
                // Who asked may have gone.
                let _ = answer.send(self.compare(&digests));
            }),
            Update::Where { answer } => guarded(|| {
                // Who begins anew goes on from what was told: what waits was told by another, and may be older.
                self.staged.forget(Kinds::ALL);
                self.told_holds_wait = None;
                drop(answer.send(self.standing()));
            }),
            Update::Lineage { cluster_uid, epoch } => guarded(|| {
                self.staged.forget(Kinds::ALL);
                self.told_holds_wait = None;
                if cluster_uid != self.lineage.known().cluster_uid {
                    // What another cluster lacks of this one is no loss.
                    (self.unjudged, self.refused) = (Kinds::ALL, None);
                }
                self.lineage.begin(cluster_uid, epoch);
            }),
            Update::Fresh { as_of } => guarded(|| self.prove(as_of)),
            Update::Lost { why } => guarded(|| self.lose(why)),
            Update::Audited { kind } => guarded(|| self.audited = self.audited.with(kind)),
            Update::Refused { cluster_uid } => guarded(|| self.refused = Some(cluster_uid)),
            Update::Link(link) => guarded(|| self.link = link),
        };
        let taken = match taken {
            Ok(()) => self.end_waiting_holds().await,
            Err(Broken) => Err(Broken),
        };
        self.moved();
        if let Err(Broken) = taken {
            self.panics.increment(1);
            self.staged.forget(about);
            self.audited = self.audited.minus(about);
            self.lineage.broke(about);
            self.lose("an update from the source broke the writer, which is a bug".to_owned());
        }
    }

    /// Unix time in seconds.
    fn now(&self) -> u32 {
        u32::try_from(self.clock.now_unix_ms() / 1000).unwrap_or(u32::MAX)
    }

    // === What is said of it ===

    /// Exports the state of the data, and says so when it has changed.
    fn observe(&mut self) {
        let generation = self.store.current().clone();
        let facts = self.store.facts(&generation);
        let state = DataState::judge(facts, self.wanted.kinds(), self.limits);
        if let Some(keeper) = &self.keeper {
            keeper.observe();
        }
        self.report.generation(&generation);
        self.report.position(&self.lineage.known().position);
        if let Some(ready) = &self.ready {
            // However old: a node that has data is of more use than one that is taken out of service.
            ready.set(!matches!(state, DataState::Empty { .. }));
        }
        let held = self.lineage.whole(self.data.table.complete());
        self.report.holds(&self.data);
        self.progress.send_if_modified(|said| std::mem::replace(said, held) != held);
        self.report.frozen(generation.frozen.as_deref());
        let why = if generation.frozen.is_some() {
            Some("frozen by an operator")
        } else {
            why_unproved(&self.link, self.lost.as_deref())
        };
        self.report.state(state, facts, why);
    }
}

/// What is known of why nothing is proved, if that is so.
fn why_unproved<'a>(link: &'a Link, lost: Option<&'a str>) -> Option<&'a str> {
    let of_peer = link.unwell.as_deref().filter(|why| !why.is_empty());
    let differs = link.mismatch.as_ref().map(|_| "it differs from what the hub has");
    of_peer.or(lost).or(differs)
}

/// Does what may break.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Broken> {
    // What breaks half way leaves the store as it was: a generation is published whole or not at all.
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Broken)
}

/// Does what may break, on a thread of its own if it is a lot of work.
async fn away<T: Send + 'static>(
    is_large: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Broken> {
    if is_large {
        return blocking::spawn(work).await.map_err(|_| Broken);
    }
    guarded(work)
}

/// The kinds that an update tells of.
fn kinds(update: &Update) -> Kinds {
    match update {
        Update::ListPart { kinds, .. } | Update::ListEnd { kinds } | Update::ListFailed { kinds } => *kinds,
        Update::Changes(events) => events.iter().map(|event| event.change.kind()).collect(),
        Update::Reached { kind, .. } | Update::Told { kind, .. } | Update::Audited { kind } => {
            Kinds::NONE.with(*kind)
        }
        Update::Refused { .. } | Update::Holds(_) | Update::Compare { .. } | Update::Where { .. } => {
            Kinds::NONE
        }
        Update::Lineage { .. } | Update::Link(_) | Update::Fresh { .. } | Update::Lost { .. } => Kinds::NONE,
    }
}

async fn finished(keeper: &mut Option<Keeper>) {
    match keeper {
        Some(keeper) => keeper.finished().await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
