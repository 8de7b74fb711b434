//! What is held back, and how that ends.

use tokio::time::Instant;

use super::{Guard, Kinds, Why, Writer};
use crate::store::accepted;
use crate::store::guard::{self, Applied};
use crate::store::open_hold::OpenHold;
use crate::zone::change::Change;
use crate::zone::guard::Verdict;
use crate::zone::held::HeldSet;
use crate::zone::hold::Hold;
use crate::zone::object::{Key, Object};

/// What a hub says that is held: the object, what the origin says of it, and the hold.
pub(in crate::store) type Told = Vec<(Key, Option<Object>, u32)>;

impl Writer {
    /// Judges lists by this from now on, or not at all: then nothing is held any longer.
    pub fn guards(&mut self, guard: Option<Guard>) {
        if guard.is_none() && self.guard.is_some() {
            self.accept();
        }
        self.guard = guard;
    }

    /// Makes `held` what is held after a list.
    pub(super) fn hold(&mut self, kinds: Kinds, applied: &Applied, told: Told, held: &mut HeldSet) {
        let mut entries = told;
        if let Some(guard) = &self.guard {
            self.report.verdict(&applied.verdict);
            applied.held.iter().for_each(|(_, _, hold)| self.holds.confirm(*hold));
            entries.extend(applied.held.iter().cloned());
            if let (Verdict::Hold { why, .. }, false) = (&applied.verdict, applied.withheld.is_empty()) {
                let id = self.holds.begin(why, guard, Instant::now());
                tracing::warn!(hold = id, why, objects = applied.withheld.len(), hold_for = ?guard.hold,
                    "a list takes away too much: what it lacks is served on; if that is meant: outlast ctl accept");
                let new = applied.withheld.iter().map(|w| (w.key.clone(), w.received.clone(), id));
                entries.extend(new);
            }
        }
        held.relisted(&applied.table, kinds, entries);
        if self.guard.is_some() && !self.holds.is_empty() {
            self.holds.count(held);
        }
    }

    /// These are the holds of the hub that is followed; what others have held is held no longer.
    pub(super) fn told_holds(&mut self, holds: Vec<Hold>) {
        let now = Instant::now();
        let holds: Vec<_> = holds.into_iter().map(|hold| OpenHold::told(hold, now)).collect();
        if self.staged.is_empty() {
            self.told_holds_wait = None;
            self.has_holds(holds);
            return;
        }
        // Invariant: what waits for what has been may say what becomes of a hold; nothing is let go before.
        self.holds.told_more(&holds);
        self.data.holds = self.holds.shown();
        self.show();
        self.told_holds_wait = Some(holds);
    }

    /// Ends the holds that were to end once nothing waits any more, if nothing does.
    pub(super) fn end_waiting_holds(&mut self) {
        if self.staged.is_empty()
            && let Some(holds) = self.told_holds_wait.take()
        {
            self.has_holds(holds);
        }
    }

    /// These are the holds that there are.
    fn has_holds(&mut self, holds: Vec<OpenHold>) {
        self.holds.told(holds);
        let mut ids: Vec<u32> = self.data.held.iter().map(|object| object.hold()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.retain(|id| !self.holds.has(*id));
        self.release(&ids);
        self.data.holds = self.holds.shown();
        self.show();
    }

    /// Ends what is over, and looks whether what is held has turned up again.
    pub(super) fn tick_holds(&mut self) {
        let now = Instant::now();
        if self.guard.is_none() || self.holds.is_empty() {
            return;
        }
        let over = self.holds.over(now, self.lost.is_some());
        if !over.is_empty() {
            tracing::warn!(holds = ?over, "nothing that was held back has turned up again: it is gone");
            self.release(&over);
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
    fn release(&mut self, ids: &[u32]) -> Vec<u64> {
        let (mut table, mut held) = (self.data.table.clone(), HeldSet::clone(&self.data.held));
        let changes: Vec<_> = ids.iter().flat_map(|id| held.release_all(*id)).collect();
        let keys: Vec<_> = changes.iter().map(Change::key).collect();
        table.apply(changes, self.now());
        self.lists.changed(&keys, &self.data.table, &table);
        if self.guard.is_some() {
            self.holds.count(&held);
        }
        if !keys.is_empty() {
            self.publish(table, held, &[]);
        }
        keys.iter().map(accepted::hash).collect()
    }

    /// Believes everything that is held back: returns how many holds that ends, and the hashes of the keys of their
    /// objects.
    pub(super) fn accept(&mut self) -> (usize, Vec<u64>) {
        let ids = self.holds.ids();
        let keys = self.release(&ids);
        self.accepted.add(Instant::now(), keys.iter().copied());
        (ids.len(), keys)
    }

    /// Another hub's operator has accepted the loss of these.
    pub(super) fn accept_keys(&mut self, keys: Vec<u64>) {
        self.accepted.add(Instant::now(), keys);
        let (mut table, mut held) = (self.data.table.clone(), HeldSet::clone(&self.data.held));
        let accepted: Vec<_> =
            held.iter().map(|object| object.key()).filter(|key| self.accepted.has(key)).cloned().collect();
        if accepted.is_empty() {
            return;
        }
        let mut changes = Vec::new();
        for key in &accepted {
            let object = held.get(key.kind, key.namespace.as_bytes(), key.name.as_bytes());
            changes.extend(object.map(|object| object.change()));
            held.release(key);
        }
        table.apply(changes, self.now());
        self.lists.changed(&accepted, &self.data.table, &table);
        self.holds.count(&held);
        tracing::info!(objects = accepted.len(), "what was held back was accepted at another hub");
        self.publish(table, held, &[]);
    }
}
