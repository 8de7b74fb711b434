//! States with what is held in them, as entries: object by object what the origin says, and what is served instead.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::HeldSet;
use crate::zone::change::Change;
use crate::zone::hold::{Entry, Held};
use crate::zone::object::{Key, Object, ObjectRef};
use crate::zone::table::{Effect, Table};

/// A state: what is served, and what is held of it.
pub type State<'a> = (&'a Table, &'a HeldSet);

/// The whole state, an entry an object, kind by kind in storage order.
pub fn entries<'a>((table, held): State<'a>) -> impl Iterator<Item = Entry> + 'a {
    table.objects().map(move |served| entry(served, held))
}

/// The entries that make one state into a newer one ([`apply`] does it), kind by kind in storage order; of each kind
/// what is gone and then the rest, sorted by key. Costs what changed, as [`Table::diff`] does.
pub fn diff_states(old: State<'_>, new: State<'_>) -> Vec<Entry> {
    if old.1.is_empty() && new.1.is_empty() {
        return old.0.diff(new.0).into_iter().map(|change| Entry { change, held: None }).collect();
    }
    let mut differ = BTreeSet::new();
    old.0.differences(new.0, |old, new| differ.extend(new.or(old).map(|object| object.key())));
    old.1.differences(new.1, |key| differ.extend([key.clone()]));
    let (table, held) = new;
    let mut entries: Vec<_> = differ
        .into_iter()
        .map(|key| match table.object(&key) {
            Some(served) => entry(served, held),
            None => Entry { change: Change::Delete(key), held: None },
        })
        .collect();
    // Stable: what is gone stays sorted by key, and so does the rest.
    let is_gone = |entry: &Entry| matches!(entry, Entry { change: Change::Delete(_), held: None });
    entries.sort_by_key(|entry| (entry.change.kind(), !is_gone(entry)));
    entries
}

/// Applies one entry to a state. `now` is Unix time in seconds. The effect is that on what is served.
pub fn apply(table: &mut Table, held: &mut HeldSet, entry: Entry, now: u32) -> Effect {
    let Entry { change, held: instead } = entry;
    let key = change.key();
    match instead {
        // What is served in place of another object would be held under the wrong key.
        Some(Held { served, hold }) if served.key() == key => {
            let received = match change {
                Change::Upsert(object) => Some(object),
                Change::Delete(_) => None,
            };
            held.insert(ObjectRef::from(&served), received, hold);
            table.apply([Change::Upsert(served)], now)
        }
        _ => {
            held.release(&key);
            table.apply([change], now)
        }
    }
}

/// What a state says of an object of its table.
fn entry(served: ObjectRef<'_>, held: &HeldSet) -> Entry {
    let (namespace, name) = served.parts();
    match held.get(served.kind(), namespace.as_bytes(), name.as_bytes()) {
        Some(of) => {
            Entry { change: of.change(), held: Some(Held { served: served.to_object(), hold: of.hold }) }
        }
        None => Entry { change: Change::Upsert(served.to_object()), held: None },
    }
}

impl HeldSet {
    /// Calls `each` with every key that is held otherwise, or in only one of the two.
    pub(in crate::zone) fn differences<'a>(&'a self, newer: &'a Self, mut each: impl FnMut(&'a Key)) {
        self.by_key.differences(
            &newer.by_key,
            |a, b| a.key == b.key,
            |old, new| {
                let same = matches!((old, new), (Some(a), Some(b)) if Arc::ptr_eq(a, b) || a == b);
                if !same && let Some(held) = new.or(old) {
                    each(&held.key);
                }
            },
        );
    }
}

impl From<Change> for Entry {
    fn from(change: Change) -> Self {
        Self { change, held: None }
    }
}

impl From<Object> for Entry {
    fn from(object: Object) -> Self {
        Change::Upsert(object).into()
    }
}

impl Entry {
    /// The object is gone.
    pub const fn delete(key: Key) -> Self {
        Self { change: Change::Delete(key), held: None }
    }

    /// The object that is served after it, if any.
    pub fn served(&self) -> Option<&Object> {
        match (&self.held, &self.change) {
            (Some(held), _) => Some(&held.served),
            (None, Change::Upsert(object)) => Some(object),
            (None, Change::Delete(_)) => None,
        }
    }
}
