//! What is held back, and how that ends.

use tokio::time::Instant;

use super::{Broken, Guard, INLINE_WORK, Kinds, Why, Writer, away};
use crate::store::accepted;
use crate::store::guard::{self, Applied};
use crate::store::open_hold::OpenHold;
use crate::zone::Table;
use crate::zone::change::Change;
use crate::zone::guard::Verdict;
use crate::zone::held::{HeldObject, HeldSet};
use crate::zone::hold::Hold;
use crate::zone::object::{Key, Object};

/// What a hub says that is held: the object, what the origin says of it, and the hold.
pub(in crate::store) type Told = Vec<(Key, Option<Object>, u32)>;

impl Writer {
    /// Judges lists by this from now on, or not at all: then nothing is held any longer once it follows.
    pub fn guards(&mut self, guard: Option<Guard>) {
        self.lets_go |= guard.is_none() && self.guard.is_some();
        self.guard = guard;
    }

    /// What is held after a list; `told` is what a hub says that is held of it.
    pub(super) async fn hold(
        &mut self,
        kinds: Kinds,
        applied: &mut Applied,
        told: Told,
    ) -> Result<HeldSet, Broken> {
        let mut entries = told;
        if let Some(guard) = &self.guard {
            self.report.verdict(&applied.verdict);
            applied.held.iter().for_each(|(_, _, hold)| self.holds.confirm(*hold));
            entries.append(&mut applied.held);
            if let (Verdict::Hold { why, .. }, false) = (&applied.verdict, applied.withheld.is_empty()) {
                let id = self.holds.begin(why, guard, Instant::now());
                tracing::warn!(hold = id, why, objects = applied.withheld.len(), hold_for = ?guard.hold,
                    "a list takes away too much: what it lacks is served on; if that is meant: outlast ctl accept");
                let withheld = std::mem::take(&mut applied.withheld);
                entries.extend(withheld.into_iter().map(|w| (w.key, w.received, id)));
            }
        }
        let mut held = HeldSet::clone(&self.data.held);
        if held.is_empty() && entries.is_empty() {
            return Ok(held);
        }
        let table = applied.table.clone();
        let held = away(held.len() + entries.len() > INLINE_WORK, move || {
            held.relisted(&table, kinds, entries);
            held
        });
        let held = held.await?;
        if self.guard.is_some() && !self.holds.is_empty() {
            self.holds.count(&held);
        }
        Ok(held)
    }

    /// These are the holds of the hub that is followed; what others have held is held no longer.
    pub(super) async fn told_holds(&mut self, holds: Vec<Hold>) -> Result<(), Broken> {
        let now = Instant::now();
        let holds: Vec<_> = holds.into_iter().map(|hold| OpenHold::told(hold, now)).collect();
        if self.staged.is_empty() {
            self.told_holds_wait = None;
            return self.has_holds(holds, |_| true).await;
        }
        // Invariant: what waits for what has been may say what becomes of a hold; nothing is let go before.
        self.holds.told_more(&holds);
        self.data.holds = self.holds.shown();
        self.show();
        self.told_holds_wait = Some(holds);
        Ok(())
    }

    /// Ends the holds that were to end once nothing waits any more, if nothing does.
    pub(super) async fn end_waiting_holds(&mut self) -> Result<(), Broken> {
        if self.staged.is_empty()
            && let Some(holds) = self.told_holds_wait.take()
        {
            // Invariant: a hold that nobody has told of is that of changes which have just come, and is told next.
            let known = self.holds.ids();
            return self.has_holds(holds, |id| known.contains(&id)).await;
        }
        Ok(())
    }

    /// These are the holds that there are; of others those end that `may_end`.
    async fn has_holds(&mut self, holds: Vec<OpenHold>, may_end: impl Fn(u32) -> bool) -> Result<(), Broken> {
        self.holds.told(holds);
        let mut ids: Vec<u32> = self.data.held.iter().map(|object| object.hold()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.retain(|id| !self.holds.has(*id) && may_end(*id));
        self.release(&ids).await?;
        self.data.holds = self.holds.shown();
        self.show();
        Ok(())
    }

    /// Ends what is over, and looks whether what is held has turned up again.
    pub(super) async fn tick_holds(&mut self) {
        let now = Instant::now();
        if self.guard.is_none() || self.holds.is_empty() {
            return;
        }
        let over = self.holds.over(now, self.lost.is_some());
        if !over.is_empty() {
            tracing::warn!(holds = ?over, "nothing that was held back has turned up again: it is gone");
            self.let_go(&over).await;
        }
        let kinds = guard::kinds(&self.data.held);
        if let Some(guard) = &self.guard
            && self.holds.look(guard, now)
        {
            // One that the source has no ear for is asked for at the next look.
            let _ = self.ask(kinds, Why::Held);
        }
    }

    /// Ends holds: what the origin says of their objects is served, in one generation. Returns the hashes of their keys.
    async fn release(&mut self, ids: &[u32]) -> Result<Vec<u64>, Broken> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let (gone, now) = (ids.to_vec(), self.now());
        let (mut table, mut held) = (self.data.table.clone(), HeldSet::clone(&self.data.held));
        let released = away(held.len() > INLINE_WORK, move || {
            let changes: Vec<_> = gone.iter().flat_map(|id| held.release_all(*id)).collect();
            let keys: Vec<_> = changes.iter().map(Change::key).collect();
            let hashes: Vec<_> = keys.iter().map(accepted::hash).collect();
            table.apply(changes, now);
            (table, held, keys, hashes)
        });
        let (table, held, keys, hashes) = released.await?;
        self.holds.end(ids);
        if !keys.is_empty() {
            self.touched(&keys, &table).await;
            self.publish(table, held, &[]);
        }
        Ok(hashes)
    }

    /// The same, where nobody could do anything about a failure: what is held stays held.
    async fn let_go(&mut self, ids: &[u32]) -> Vec<u64> {
        match self.release(ids).await {
            Ok(hashes) => hashes,
            Err(Broken) => {
                self.panics.increment(1);
                tracing::error!(holds = ?ids, "ending what is held broke the writer, which is a bug: it is held on");
                Vec::new()
            }
        }
    }

    /// Tells lists under way what is about to change in the table; others have their turn in between.
    async fn touched(&mut self, keys: &[Key], table: &Table) {
        if self.lists.kinds().is_empty() {
            return;
        }
        for keys in keys.chunks(INLINE_WORK) {
            self.lists.changed(keys, &self.data.table, table);
            tokio::task::yield_now().await;
        }
    }

    /// Believes everything that is held back: returns how many holds that ends, and the hashes of the keys of their
    /// objects.
    pub(super) async fn accept(&mut self) -> (usize, Vec<u64>) {
        let ids = self.holds.ids();
        let keys = self.let_go(&ids).await;
        self.accepted.add(Instant::now(), keys.iter().copied());
        (ids.len(), keys)
    }

    /// Another hub's operator has accepted the loss of these.
    pub(super) async fn accept_keys(&mut self, keys: Vec<u64>) {
        self.accepted.add(Instant::now(), keys);
        if self.data.held.is_empty() {
            return;
        }
        let (known, now) = (self.accepted.clone(), self.now());
        let (mut table, mut held) = (self.data.table.clone(), HeldSet::clone(&self.data.held));
        let released = away(held.len() > INLINE_WORK, move || {
            let changes: Vec<_> =
                held.iter().filter(|object| known.has(object.key())).map(HeldObject::change).collect();
            let keys: Vec<_> = changes.iter().map(Change::key).collect();
            for key in &keys {
                held.release(key);
            }
            table.apply(changes, now);
            (table, held, keys)
        });
        let Ok((table, held, keys)) = released.await else {
            self.panics.increment(1);
            tracing::error!("accepting what another hub has accepted broke the writer, which is a bug");
            return;
        };
        if keys.is_empty() {
            return;
        }
        self.holds.count(&held);
        tracing::info!(objects = keys.len(), "what was held back was accepted at another hub");
        self.touched(&keys, &table).await;
        self.publish(table, held, &[]);
    }
}
