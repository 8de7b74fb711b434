//! The one writer of a store: takes updates from the source, publishes generations, has them snapshotted,
//! and says when the state of the data changes.
//!
//! Invariants:
//! * Only [`Update::Fresh`] proves anything; what changes meanwhile is as proved as what it replaces.
//! * Nothing of a list is served before its end, and then all of it in one generation.
//! * An update that breaks the writer takes nothing away, and is not forgotten: what it was about is neither proved
//!   nor has it a position until it is listed anew.
//! * The runtime that this runs on is never held up for longer than `INLINE_WORK` takes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use metrics::Counter;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::keeper::Keeper;
use super::latency::{Cause, Latency};
use super::lineage::Lineage;
use super::lists::Lists;
use super::report::Report;
use super::staged::Staged;
use super::state::{DataState, Limits};
use super::triggers::Triggers;
use super::{Generation, Proof, Store};
use crate::ops::catalogue;
use crate::ops::clock::WallClock;
use crate::ops::metrics::Metrics;
use crate::ops::readiness;
use crate::source::{Comparison, Event, Resume, Standing, Update, Wanted};
use crate::zone::Table;
use crate::zone::change::Change;
use crate::zone::digest::Digest;
use crate::zone::object::{Kind, Kinds};
use crate::zone::table::{Difference, Effect, Relist};

/// How often the state is looked at without a cause: transitions are noticed this late at most.
const TICK: Duration = Duration::from_secs(1);

/// A list that makes more work than this (objects and endpoints) is applied on a thread of its own: so much takes
/// about ten milliseconds, which nobody who asks for `/health` notices.
const INLINE_WORK: usize = 10_000;

/// Makes the generations of one store.
pub struct Writer {
    /// What it writes.
    store: Arc<Store>,
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
        Self {
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
        }
    }

    /// Tells there what set changes off.
    #[must_use]
    pub fn with_triggers(mut self, triggers: Arc<Triggers>) -> Self {
        self.triggers = Some(triggers);
        self
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
            self.store.publish(booted.generation);
            self.staged = Staged::resumed(&booted.resume);
            self.lineage = Lineage::resumed(booted.resume);
            self.moved();
        }
        self.observe();
        self.resume()
    }

    /// Goes on with what is served, for another configuration, and says from where the new source may go on. What
    /// was wanted before goes on being kept: it is at hand, and the next configuration may want it again.
    pub fn reconfigure(&mut self, wanted: Wanted, limits: Limits, interval: Duration) -> Resume {
        // What the old source has begun to say, the new one does not go on with.
        self.lists = Lists::default();
        if wanted.labels && !self.wanted.labels {
            // What is held has none: it is served, and neither proved nor kept as if it had, until it is listed.
            self.lineage.broke(self.store.current().table.complete());
        }
        // The new source goes on from what was gone over.
        self.staged = Staged::resumed(self.lineage.known());
        self.wanted.labels |= wanted.labels;
        self.wanted.pods |= wanted.pods;
        self.limits = limits;
        if let Some(keeper) = &mut self.keeper {
            keeper.reconfigure(interval, limits.max_stale);
        }
        self.observe();
        self.resume()
    }

    /// From where a source may go on.
    fn resume(&self) -> Resume {
        let table = &self.store.current().table;
        let populated = Kind::ALL.into_iter().filter(|kind| table.count(*kind) > 0).collect();
        Resume { populated, ..self.lineage.known().clone() }
    }

    /// How far the store has come.
    fn standing(&self) -> Standing {
        let current = self.store.current();
        let digests = Kind::ALL.map(|kind| current.table.digest(kind));
        let complete = self.lineage.whole(current.table.complete());
        Standing { resume: self.resume(), digests, complete, verified: current.verified }
    }

    /// Whether the state, as it was received, has these digests.
    fn compare(&self, digests: &[Option<Digest>; Kind::ALL.len()]) -> Comparison {
        let table = &self.store.current().table;
        let (mut kinds, mut unsettled) = (Kinds::NONE, false);
        for (kind, digest) in Kind::ALL.into_iter().zip(digests) {
            match digest {
                Some(_) if self.staged.kinds().has(kind) => unsettled = true,
                Some(digest) if *digest != table.digest(kind) => kinds = kinds.with(kind),
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
        let mut tick = tokio::time::interval(TICK);
        let mut open = true;
        loop {
            let due = self.keeper.as_ref().and_then(Keeper::due);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = finished(&mut self.keeper) => {}
                // Ahead of the updates, or a source that never pauses would keep the disk and people waiting.
                () = until(due) => {
                    let (generation, age) = (self.store.current().clone(), self.store.age());
                    if let Some(keeper) = &mut self.keeper {
                        keeper.start(&generation, age, self.lineage.known());
                    }
                }
                _ = tick.tick() => {}
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
                        self.lose("the source has ended".to_owned());
                    }
                },
            }
            self.observe();
        }
    }

    /// Writes a last snapshot, if there is anything that the disk does not have.
    pub async fn finish(&mut self) {
        let (generation, age) = (self.store.current().clone(), self.store.age());
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
                guarded(|| self.lists.part(kinds, entries, &self.store.current().table))
            }
            Update::ListEnd { kinds } => self.end_list(kinds).await,
            Update::ListFailed { kinds } => guarded(|| self.lists.forget(kinds)),
            Update::Changes(events) => guarded(|| {
                let events = self.staged.hold_back(events);
                self.change(events);
            }),
            Update::Reached { kind, version } => guarded(|| {
                let waited = self.staged.reached(kind, version);
                self.lineage.reached(kind, version);
                self.change(waited);
                // What waited is part of what is told with this.
                self.lineage.settled(kind);
            }),
            Update::Told { kind, version } => guarded(|| {
                let waited = self.staged.told(kind, version, self.lineage.known().told.version(kind));
                self.lineage.told(kind, version);
                self.change(waited);
                self.lineage.settled(kind);
            }),
            Update::Holds(_) => Ok(()),
            Update::Compare { digests, answer } => guarded(|| {
                // Who asked may have gone.
                let _ = answer.send(self.compare(&digests));
            }),
            Update::Where { answer } => guarded(|| drop(answer.send(self.standing()))),
            Update::Lineage { cluster_uid, epoch } => guarded(|| {
                self.staged.forget(Kinds::ALL);
                self.lineage.begin(cluster_uid, epoch);
            }),
            Update::Fresh { as_of } => guarded(|| self.prove(as_of)),
            Update::Lost { why } => guarded(|| self.lose(why)),
            Update::Audited { .. } | Update::Refused { .. } => Ok(()),
        };
        self.moved();
        if let Err(Broken) = taken {
            self.panics.increment(1);
            self.staged.forget(about);
            self.lineage.broke(about);
            self.lose("an update from the source broke the writer, which is a bug".to_owned());
        }
    }

    /// Applies single changes.
    fn change(&mut self, events: Vec<Event>) {
        let (mut table, now) = (self.store.current().table.clone(), self.now());
        let mut effect = Effect::None;
        let mut causes = Vec::new();
        for Event { change, trigger, held } in events {
            let change = held.map_or(change, |held| Change::Upsert(held.served));
            self.lineage.changed(change.kind());
            if let (Some(triggers), Some(trigger), Change::Upsert(object)) =
                (&self.triggers, &trigger, &change)
            {
                triggers.note(object.key(), trigger.at_ms);
            }
            let cause = trigger.map(|trigger| Cause::new(change.namespace(), trigger));
            if table.apply([change], now) == Effect::Changed {
                effect = Effect::Changed;
                causes.extend(cause);
            }
        }
        if effect == Effect::Changed {
            self.publish(table, &causes);
        }
    }

    /// Applies a list that is complete.
    async fn end_list(&mut self, kinds: Kinds) -> Result<(), Broken> {
        let Some(list) = self.lists.end(kinds) else {
            // What broke it was counted where it broke; what it would have said is not known.
            self.lineage.broke(kinds);
            return Ok(());
        };
        let (current, now) = (self.store.current().clone(), self.now());
        let large = list.relist.work(&current.table) > INLINE_WORK;
        let (table, difference) = if large {
            let before = current.clone();
            let finished = tokio::task::spawn_blocking(move || finish(list.relist, &before.table, now));
            finished.await.map_err(|_| Broken)?
        } else {
            guarded(|| finish(list.relist, &current.table, now))?
        };
        guarded(|| self.listed(kinds, table, difference, &list.causes))?;
        if large {
            // The last one to hold the old generation takes it apart, which is work, too.
            drop(tokio::task::spawn_blocking(move || drop(current)));
        }
        Ok(())
    }

    /// Takes note of a list that was applied.
    fn listed(&mut self, kinds: Kinds, table: Table, difference: Difference, causes: &[Cause]) {
        self.lineage.listed(kinds);
        self.staged.forget(kinds);
        if self.wanted.labels
            && self.lineage.is_whole()
            && let Some(keeper) = &mut self.keeper
        {
            keeper.has_labels();
        }
        if !difference.is_empty() {
            tracing::info!(
                changed = difference.upserts,
                deleted = difference.deletes,
                endpoints = table.endpoint_count(),
                "new state from the source"
            );
        }
        if !difference.is_empty() || table.complete() != self.store.current().table.complete() {
            self.publish(table, causes);
        }
    }

    /// Publishes the next generation; `causes` are those of its changes.
    fn publish(&mut self, table: Table, causes: &[Cause]) {
        let complete = self.wanted.kinds().minus(table.complete()).is_empty();
        let current = self.store.current().clone();
        // Invariant: what is new is as proved as what it replaces.
        let (number, verified) = (current.number + 1, current.verified);
        let reached = Arc::new(self.lineage.known().clone());
        self.store.publish(Generation { table, number, verified, reached });
        self.latency.record(causes, &self.store.current().table, self.clock.now_unix_ms());
        if let Some(keeper) = &mut self.keeper {
            keeper.changed(complete);
        }
    }

    /// What is served has come further, or is of another lineage.
    fn moved(&self) {
        let current = self.store.current().clone();
        if *current.reached != *self.lineage.known() {
            let reached = Arc::new(self.lineage.known().clone());
            self.store.publish(Generation { reached, ..Generation::clone(&current) });
        }
    }

    /// Everything was current at this time.
    fn prove(&mut self, as_of: Instant) {
        // Invariant: what was lost is not vouched for.
        if !self.lineage.is_whole() || self.store.prove(as_of) == Proof::Older {
            return;
        }
        let current = self.store.current().clone();
        if !current.verified {
            self.store.publish(Generation { verified: true, ..Generation::clone(&current) });
        }
        if self.lost.take().is_some() {
            tracing::info!("source is back");
        }
        if let Some(keeper) = &mut self.keeper {
            keeper.proved();
        }
    }

    /// The source was lost. Said once, until it is back.
    fn lose(&mut self, why: String) {
        if self.lost.is_none() {
            tracing::warn!(%why, "source lost, serving what is known");
        }
        self.lost = Some(why);
        if let Some(keeper) = &mut self.keeper {
            keeper.source_lost();
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
        let held = self.lineage.whole(generation.table.complete());
        self.progress.send_if_modified(|said| std::mem::replace(said, held) != held);
        self.report.state(state, facts, self.lost.as_deref());
    }
}

/// The table after a list.
fn finish(list: Relist, table: &Table, now: u32) -> (Table, Difference) {
    let mut table = table.clone();
    let difference = list.finish(&mut table, now);
    (table, difference)
}

/// Does what may break.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Broken> {
    // What breaks half way leaves the store as it was: a generation is published whole or not at all.
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Broken)
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
        Update::Lineage { .. } | Update::Fresh { .. } | Update::Lost { .. } => Kinds::NONE,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Listed;
    use crate::zone::object::{Kind, Namespace, Object};

    const NAMESPACES: Kinds = Kinds::NONE.with(Kind::Namespace);

    fn writer(store: Arc<Store>) -> Writer {
        let clock = Arc::new(WallClock::new(0));
        Writer::new(store, None, Wanted::default(), Limits::default(), clock, &Metrics::new())
    }

    /// A store and its writer in a task.
    struct Written {
        store: Arc<Store>,
        updates: mpsc::Sender<Update>,
    }

    impl Written {
        fn new() -> Self {
            let store = Store::new();
            let (updates, queue) = mpsc::channel(4);
            tokio::spawn(writer(store.clone()).run(queue, CancellationToken::new()));
            Self { store, updates }
        }

        /// Sends a list of so many namespaces and its end.
        async fn list(&self, namespaces: usize) {
            let entries = (0..namespaces).map(|n| {
                let object = Object::Namespace(Namespace { name: format!("n{n}").into(), labels: [].into() });
                Listed::Object { object, trigger: None }
            });
            let part = Update::ListPart { kinds: NAMESPACES, entries: entries.collect() };
            for update in [part, Update::ListEnd { kinds: NAMESPACES }] {
                self.updates.send(update).await.expect("the writer runs");
            }
        }

        /// Waits until so many namespaces are served, and says how often others had their turn meanwhile.
        async fn served(&self, namespaces: usize) -> usize {
            let mut turns = 0;
            while self.store.current().table.count(Kind::Namespace) != namespaces {
                tokio::task::yield_now().await;
                turns += 1;
            }
            turns
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_list_leaves_the_runtime_to_others() {
        let written = Written::new();
        written.list(10).await;
        assert!(written.served(10).await < 10, "a small one is applied in its turn");
        // Time does not pass, and so no tick helps.
        let many = 2 * INLINE_WORK;
        written.list(many).await;
        assert!(written.served(many).await > 10, "others went on");
        written.list(0).await;
        written.served(0).await;
        let generation = written.store.current().clone();
        assert_eq!((generation.number, generation.verified), (3, false), "lists prove nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_lost_is_not_vouched_for_until_it_is_listed() {
        let store = Store::new();
        let mut writer = writer(store.clone());
        let fresh = || Update::Fresh { as_of: Instant::now() };
        writer.lineage.broke(NAMESPACES);
        writer.take(fresh()).await;
        assert!(!store.current().verified);
        writer.take(Update::ListEnd { kinds: Kinds::CORE }).await;
        writer.take(fresh()).await;
        assert!(store.current().verified);
    }
}
