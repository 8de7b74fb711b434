//! What becomes of an update: the next generation.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Broken, INLINE_WORK, Proof, Writer, away, guarded};
use crate::ops::blocking;
use crate::source::Event;
use crate::store::guard::{Applied, Judged};
use crate::store::latency::Cause;
use crate::store::lists::Gathered;
use crate::store::staged::Told;
use crate::store::{Generation, accepted};
use crate::zone::Table;
use crate::zone::change::Change;
use crate::zone::digest::Digest;
use crate::zone::guard::Policy;
use crate::zone::held::{self, HeldObject, HeldSet};
use crate::zone::hold::Entry;
use crate::zone::object::{Kind, Kinds};
use crate::zone::table::Effect;

impl Writer {
    /// Applies single changes.
    pub(super) fn change(&mut self, events: Vec<Event>) {
        let (mut table, now) = (self.data.table.clone(), self.now());
        let mut held = HeldSet::clone(&self.data.held);
        let mut effect = Effect::None;
        let (mut causes, mut released, mut touched) = (Vec::new(), Vec::new(), Vec::new());
        let under_way = self.lists.kinds();
        for Event { change, trigger, held: instead } in events {
            self.lineage.changed(change.kind());
            if let (Change::Upsert(_), false) = (&change, self.accepted.is_empty()) {
                self.accepted.forget([accepted::hash(&change.key())]);
            }
            if under_way.has(change.kind()) {
                touched.push(change.key());
            }
            if let (Some(triggers), Some(trigger), Change::Upsert(object)) =
                (&self.triggers, &trigger, &change)
            {
                triggers.note(object.key(), trigger.at_ms);
            }
            if !held.is_empty() || instead.is_some() {
                let key = change.key();
                let before = held.get(key.kind, key.namespace.as_bytes(), key.name.as_bytes());
                if let Some(hold) = before.map(HeldObject::hold) {
                    released.push(hold);
                    // Also where the same is served: what the origin says of it is another thing now.
                    effect = Effect::Changed;
                }
                if instead.is_some() {
                    effect = Effect::Changed;
                }
            }
            let cause = trigger.map(|trigger| Cause::new(change.namespace(), trigger));
            if held::apply(&mut table, &mut held, Entry { change, held: instead }, now) == Effect::Changed {
                effect = Effect::Changed;
                causes.extend(cause);
            }
        }
        if self.guard.is_some() {
            released.into_iter().for_each(|id| self.holds.released(id));
        }
        self.lists.changed(&touched, &self.data.table, &table);
        if effect == Effect::Changed {
            self.publish(table, held, &causes);
        }
    }

    /// The source has told everything of `kind` up to `version`, where it is as `digest` says.
    pub(super) fn told(&mut self, kind: Kind, version: u64, digest: Option<Digest>) {
        match self.staged.told(kind, version, self.lineage.known().told.version(kind)) {
            Told::Settled => {}
            Told::Waits => return,
            Told::CaughtUp(waited) => {
                if digest.is_some_and(|digest| self.with(kind, &waited) != digest) {
                    tracing::debug!(%kind, version, "what has changed does not lead to what there is, and waits");
                    self.staged.wait_on(kind, version, waited);
                    return;
                }
                self.change(waited);
            }
        }
        self.lineage.told(kind, version);
    }

    /// The source has gone over everything of `kind` up to `version`.
    pub(super) fn reached(&mut self, kind: Kind, version: u64) {
        if let Told::CaughtUp(waited) = self.staged.reached(kind, version) {
            // It is part of what was gone over, and not ahead of it.
            self.change(waited);
        }
        if !self.staged.differs(kind) {
            self.lineage.reached(kind, version);
        }
    }

    /// What would be received of `kind` with these changes of it.
    fn with(&self, kind: Kind, events: &[Event]) -> Digest {
        let (mut table, mut held, now) =
            (self.data.table.clone(), HeldSet::clone(&self.data.held), self.now());
        for Event { change, held: instead, .. } in events.iter().cloned() {
            held::apply(&mut table, &mut held, Entry { change, held: instead }, now);
        }
        held.received_digest(&table, kind)
    }

    /// Applies a list that is complete.
    pub(super) async fn end_list(&mut self, kinds: Kinds) -> Result<(), Broken> {
        // An audit is one list, whatever becomes of it.
        let mut audited = self.audited.intersection(kinds);
        self.audited = self.audited.minus(kinds);
        let Some(Gathered { relist, causes, held: told }) = self.lists.end(kinds) else {
            // What broke it was counted where it broke; what it would have said is not known.
            self.lineage.broke(kinds);
            return Ok(());
        };
        if !self.staged.kinds().intersection(kinds).is_empty() {
            // What waits is no difference.
            audited = Kinds::NONE;
        }
        let is_judged = self.unjudged.intersection(kinds).is_empty();
        let policy = self.guard.as_ref().filter(|_| is_judged).map_or(Policy::OFF, |guard| guard.policy);
        self.accepted.forget_old(Instant::now());
        let judged = Judged {
            table: self.data.table.clone(),
            held: HeldSet::clone(&self.data.held),
            policy,
            accepted: self.accepted.clone(),
            audit: !audited.is_empty(),
            now: self.now(),
        };
        let large = relist.work(&judged.table) > INLINE_WORK;
        let mut applied = away(large, move || judged.apply(relist)).await?;
        if let Some(found) = &applied.found {
            self.audit(audited, found);
        }
        let held = self.hold(kinds, &mut applied, told).await?;
        let old = large.then(|| self.data.table.clone());
        guarded(|| self.listed(kinds, applied, held, &causes))?;
        if let Some(old) = old {
            // The last one to hold the old generation takes it apart, which is work, too.
            drop(blocking::spawn(move || drop(old)));
        }
        Ok(())
    }

    /// Takes note of a list that was applied, and of what is held after it.
    fn listed(&mut self, kinds: Kinds, applied: Applied, held: HeldSet, causes: &[Cause]) {
        self.unjudged = self.unjudged.minus(kinds);
        self.lineage.listed(kinds);
        self.staged.forget(kinds);
        if self.wanted.labels
            && self.lineage.is_whole()
            && let Some(keeper) = &mut self.keeper
        {
            keeper.has_labels();
        }
        let Applied { table, difference, again, .. } = applied;
        self.accepted.forget(again);
        if !difference.is_empty() {
            tracing::info!(
                changed = difference.upserts,
                deleted = difference.deletes,
                endpoints = table.endpoint_count(),
                "new state from the source"
            );
        }
        let is_held = !self.data.held.is_empty() || !held.is_empty();
        if !difference.is_empty() || is_held || table.complete() != self.data.table.complete() {
            self.publish(table, held, causes);
        }
    }

    /// Publishes the next generation; `causes` are those of its changes.
    pub(super) fn publish(&mut self, table: Table, held: HeldSet, causes: &[Cause]) {
        let complete = self.wanted.kinds().minus(table.complete()).is_empty();
        // Invariant: what is new is as proved as what it replaces.
        self.data = Generation {
            table,
            number: self.data.number + 1,
            verified: self.data.verified,
            reached: Arc::new(self.lineage.known().clone()),
            held: Arc::new(held),
            holds: self.holds.shown(),
            frozen: None,
        };
        self.show();
        self.latency.record(causes, &self.data.table, self.clock.now_unix_ms());
        if let Some(keeper) = &mut self.keeper {
            keeper.changed(complete);
        }
    }

    /// What is served has come further, or is of another lineage.
    pub(super) fn moved(&mut self) {
        if *self.data.reached != *self.lineage.known() {
            self.data.reached = Arc::new(self.lineage.known().clone());
            self.show();
        }
    }

    /// Has what was received served.
    pub(super) fn show(&self) {
        // Invariant: what is frozen stays.
        if self.store.current().frozen.is_none() {
            self.store.publish(self.data.clone());
        }
    }

    /// Everything was current at this time.
    pub(super) fn prove(&mut self, as_of: Instant) {
        // Invariant: what was lost is not vouched for.
        if !self.lineage.is_whole() || self.store.prove(as_of) == Proof::Older {
            return;
        }
        self.refused = None;
        if !self.data.verified {
            self.data.verified = true;
            self.show();
        }
        if self.lost.take().is_some() {
            tracing::info!("source is back");
        }
        if let Some(keeper) = &mut self.keeper {
            keeper.proved();
        }
    }

    /// The source was lost. Said once, until it is back.
    pub(super) fn lose(&mut self, why: String) {
        if self.lost.is_none() {
            tracing::warn!(%why, "source lost, serving what is known");
        }
        self.lost = Some(why);
        if let Some(keeper) = &mut self.keeper {
            keeper.source_lost();
        }
    }
}
