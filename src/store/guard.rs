//! The guard at the writer of an origin: which holds there are, for how long, and when to look again.
//!
//! [`crate::zone::guard`] judges a list; what it withholds becomes one *hold*. A hold ends when nothing of it is held
//! any more: because it turned up again, because an event says what became of it, because its time is over, or because
//! somebody accepts it ([`super::accepted`]).
//!
//! Invariants:
//! * Nothing that is held is believed to be gone that only one list has lacked, or while the source is lost: then it
//!   is held for longer.
//! * What is held stays under the clock of its first hold, however often it is missing again.
//! * While anything is held, another list is asked for again and again, ever more rarely.
//! * Where a hub has judged, its holds are taken as they are (`Holds::told`); they end when it says so.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::accepted::{self, Accepted};
use super::audit::Findings;
use super::open_hold::OpenHold;
use crate::ops::jitter::Jitter;
use crate::zone::Table;
use crate::zone::guard::{Policy, Verdict, judge};
use crate::zone::held::HeldSet;
use crate::zone::object::{Key, Kinds, Object, ObjectRef};
use crate::zone::table::{Difference, Fate, Relist, Withheld};

/// The first look at what is held: a list that was cut short by a fault is right again by then.
const FIRST_LOOK: Duration = Duration::from_secs(30);

/// The longest time between two looks: a whole list costs an API server something.
const MAX_BETWEEN_LOOKS: Duration = Duration::from_secs(600);

/// How much looks are jittered to either side: many may hold the same.
const LOOK_SWING: f64 = 0.25;

/// How lists are judged, and for how long removals are held back.
#[derive(Debug)]
pub struct Guard {
    /// How much a list may take away.
    pub policy: Policy,
    /// For how long it is held back at most.
    pub hold: Duration,
    /// Spreads the looks.
    pub jitter: Jitter,
}

/// The holds that there are.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// Those of our own guard, or those that the hub has told.
    active: Vec<OpenHold>,
    /// When another list is to be asked for, and after what time the next one; `None` while nothing is held.
    look: Option<(Instant, Duration)>,
    /// The id that was given last.
    last_id: u32,
}

impl Holds {
    /// A new hold of nothing yet, and its id.
    pub(super) fn begin(&mut self, why: &str, guard: &Guard, now: Instant) -> u32 {
        if self.last_id == 0 {
            // Another origin has others: a node that goes from one to the other does not take them for the same.
            self.last_id = (guard.jitter.unit() * f64::from(u32::MAX / 2)) as u32;
        }
        self.last_id = self.last_id.wrapping_add(1).max(1);
        let (id, until) = (self.last_id, now + guard.hold);
        self.active.push(OpenHold {
            id,
            why: why.into(),
            objects: 0,
            since: now,
            until,
            confirmed: false,
            postponed: false,
        });
        if self.look.is_none() {
            self.look = Some((now + guard.jitter.spread(FIRST_LOOK, LOOK_SWING), FIRST_LOOK));
        }
        id
    }

    /// These are the holds of the hub that is followed.
    pub(super) fn told(&mut self, holds: Vec<OpenHold>) {
        self.active = holds;
    }

    /// These are holds of the hub that is followed, beside those that are known.
    pub(super) fn told_more(&mut self, holds: &[OpenHold]) {
        self.active.retain(|known| holds.iter().all(|hold| hold.id != known.id));
        self.active.extend_from_slice(holds);
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// Whether there is one of this id.
    pub(super) fn has(&self, id: u32) -> bool {
        self.active.iter().any(|hold| hold.id == id)
    }

    /// The ids of all.
    pub(super) fn ids(&self) -> Vec<u32> {
        self.active.iter().map(|hold| hold.id).collect()
    }

    /// Counts anew what each of them holds, and ends those that hold nothing.
    pub(super) fn count(&mut self, held: &HeldSet) {
        let mut objects: HashMap<u32, usize> = HashMap::new();
        held.iter().for_each(|object| *objects.entry(object.hold()).or_default() += 1);
        for hold in &mut self.active {
            hold.objects = objects.get(&hold.id).copied().unwrap_or_default();
        }
        self.end_empty();
    }

    /// An object is held no longer, or by another hold.
    pub(super) fn released(&mut self, id: u32) {
        if let Some(hold) = self.active.iter_mut().find(|hold| hold.id == id) {
            hold.objects = hold.objects.saturating_sub(1);
        }
        self.end_empty();
    }

    fn end_empty(&mut self) {
        self.active.retain(|hold| {
            if hold.objects == 0 {
                tracing::info!(hold = hold.id, why = %hold.why, "nothing is held back any more");
            }
            hold.objects > 0
        });
        if self.active.is_empty() {
            self.look = None;
        }
    }

    /// Another list has lacked something that this holds.
    pub(super) fn confirm(&mut self, id: u32) {
        if let Some(hold) = self.active.iter_mut().find(|hold| hold.id == id) {
            hold.confirmed = true;
        }
    }

    /// These hold nothing any more.
    pub(super) fn end(&mut self, ids: &[u32]) {
        self.active.iter_mut().filter(|hold| ids.contains(&hold.id)).for_each(|hold| hold.objects = 0);
        self.end_empty();
    }

    /// Those whose time is over. What nobody can vouch for, because no list has confirmed it or the source is lost,
    /// goes on.
    pub(super) fn over(&mut self, now: Instant, is_lost: bool) -> Vec<u32> {
        let mut over = Vec::new();
        for hold in self.active.iter_mut().filter(|hold| hold.until <= now) {
            if hold.confirmed && !is_lost {
                over.push(hold.id);
            } else if !hold.postponed {
                hold.postponed = true;
                tracing::warn!(hold = hold.id, why = %hold.why, confirmed = hold.confirmed, source_lost = is_lost,
                    "nobody confirms now that what is held back is gone: it is held for longer");
            }
        }
        over
    }

    /// Whether it is time to ask for another list; if so, the next time is later.
    pub(super) fn look(&mut self, guard: &Guard, now: Instant) -> bool {
        let Some((at, interval)) = &mut self.look else { return false };
        if now < *at {
            return false;
        }
        *interval = (*interval * 2).min(MAX_BETWEEN_LOOKS);
        *at = now + guard.jitter.spread(*interval, LOOK_SWING);
        true
    }

    /// As they are shown and passed on.
    pub(super) fn shown(&self) -> Arc<[OpenHold]> {
        self.active.as_slice().into()
    }
}

// === Lists ===

/// What a list is applied to, and what by.
pub(super) struct Judged {
    /// What is served now.
    pub(super) table: Table,
    /// What of it is held.
    pub(super) held: HeldSet,
    /// How lists are judged; [`Policy::OFF`] where somebody else has.
    pub(super) policy: Policy,
    /// Losses that are meant.
    pub(super) accepted: Accepted,
    /// Whether it is to be known in what the list differs.
    pub(super) audit: bool,
    /// Unix time in seconds.
    pub(super) now: u32,
}

/// A list that is applied.
pub(super) struct Applied {
    /// What is to be served.
    pub(super) table: Table,
    /// What of it is held, under holds that were there before.
    pub(super) held: Vec<(Key, Option<Object>, u32)>,
    /// What else is held.
    pub(super) withheld: Vec<Withheld>,
    /// Why.
    pub(super) verdict: Verdict,
    /// Hashes of the keys of objects whose loss was accepted, and that the list has, and has otherwise.
    pub(super) again: Vec<u64>,
    /// In what the list differs, for an audit.
    pub(super) found: Option<Findings>,
    /// What is served otherwise.
    pub(super) difference: Difference,
}

impl Judged {
    /// Applies a list, except for what is to be held.
    pub(super) fn apply(self, list: Relist) -> Applied {
        let Self { mut table, held, policy, accepted, audit, now } = self;
        let old = audit.then(|| table.clone());
        let verdict = judge(&table, &list, &policy, |key| accepted.has(key));
        let mut again = Vec::new();
        if !accepted.is_empty() {
            let keys = list.staged().map(|object| object.key()).filter(|key| accepted.has(key));
            again.extend(keys.map(|key| accepted::hash(&key)));
        }
        let mut withheld: Vec<Key> = match &verdict {
            Verdict::Hold { withheld, .. } => withheld.clone(),
            Verdict::Apply => Vec::new(),
        };
        let mut still = HashMap::new();
        if policy.enabled {
            still = still_held(&table, &list, &held);
            let new: HashSet<_> = withheld.iter().cloned().collect();
            withheld.extend(still.keys().filter(|key| !new.contains(key)).cloned());
        }
        let (difference, kept) = list.finish_holding(&mut table, now, withheld);
        let found = old.map(|old| Findings::of(&old.diff(&table)));
        let (mut before, mut new) = (Vec::new(), Vec::new());
        for Withheld { key, received } in kept {
            match still.get(&key) {
                Some(hold) => before.push((key, received, *hold)),
                None => new.push(Withheld { key, received }),
            }
        }
        Applied { table, held: before, withheld: new, verdict, again, found, difference }
    }
}

/// What is held and has not turned up in a list, and the hold that it is part of.
fn still_held(table: &Table, list: &Relist, held: &HeldSet) -> HashMap<Key, u32> {
    let is_missing = |key: &Key, received: Option<&Object>| match table.object(key).map(|o| list.fate(o)) {
        Some(Fate::Gone) => true,
        // The same loss again.
        Some(Fate::Becomes(new)) => received.is_some_and(|received| ObjectRef::from(received) == new),
        Some(Fate::Stays) | None => false,
    };
    let of_list = held.iter().filter(|object| list.kinds().has(object.key().kind));
    let missing = of_list.filter(|object| is_missing(object.key(), object.received()));
    missing.map(|object| (object.key().clone(), object.hold())).collect()
}

/// The kinds of which anything is held.
pub(super) fn kinds(held: &HeldSet) -> Kinds {
    held.iter().map(|object| object.key().kind).collect()
}
