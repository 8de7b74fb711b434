//! Entries of one class: a map that is read without waiting for writers, and a ring of its keys by which a writer
//! finds what can go.
//!
//! What goes is the worst of a few that are drawn: what is of no use any more before what has expired, that before
//! what is good, and what was used long ago before what is in use. With [`SAMPLE`] of them the worst is nearly always
//! among the worst fifth, and no store costs more than a constant, whatever the size. Beside that each store looks at
//! [`SWEPT`] entries in turn and drops what is of no use, so that a cache below its bound is rid of it as well.
//!
//! Invariants:
//! * The ring has each key of the map once, and each slot knows its place in the ring.
//! * Only who holds the ring writes to the map, and never waits for anything while it does.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use rand::Rng;
use rand::rngs::SmallRng;

use super::entry::Entry;
use super::failure::Failure;
use super::moment::Moment;

/// Entries that are drawn for an eviction. Redis's documentation shows that ten come close to a true order by use.
const SAMPLE: usize = 10;

/// Entries that are looked at for each one that is stored: every entry in the time that half as many are stored.
const SWEPT: usize = 2;

/// Two counters before what an `Arc` holds.
const ARC: usize = 2 * size_of::<usize>();

/// What a shelf holds.
pub(super) trait Kept {
    /// Its memory beside its own size, in bytes.
    fn heap(&self) -> usize;

    /// How easily it can be done without, if what is stale for `keep` is of no use.
    fn rank(&self, now: Moment, keep: Duration) -> Rank;
}

/// How easily something can be done without: the largest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// Whether it is good for anything.
    pub(super) state: State,
    /// For how long nobody has asked for it.
    pub(super) idle: Duration,
}

/// Whether an entry is good for anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// For answers.
    Good,
    /// For answers if upstreams fail.
    Expired,
    /// For nothing.
    Dead,
}

impl Kept for Entry {
    fn heap(&self) -> usize {
        self.reply.heap()
    }

    fn rank(&self, now: Moment, keep: Duration) -> Rank {
        let state = if self.is_fresh(now) {
            State::Good
        } else if self.is_stale(now, keep) {
            State::Expired
        } else {
            State::Dead
        };
        Rank { state, idle: now.since(self.usage.last()) }
    }
}

impl Kept for Failure {
    fn heap(&self) -> usize {
        self.reason.as_ref().map_or(0, |reason| reason.text.len())
    }

    fn rank(&self, now: Moment, _: Duration) -> Rank {
        let state = if self.is_remembered(now) {
            State::Good
        } else if self.repeats(now) {
            State::Expired
        } else {
            State::Dead
        };
        Rank { state, idle: now.since(self.until.before(self.wait)) }
    }
}

/// The map of a shelf.
pub(super) struct Shelf<V> {
    /// By the bytes of a [`super::key::Key`].
    slots: DashMap<Arc<[u8]>, Slot<V>>,
}

/// An entry's place in the map.
struct Slot<V> {
    /// The entry.
    value: Arc<V>,
    /// Where in the ring its key is.
    at: usize,
    /// What it counts as, in bytes.
    weight: usize,
}

/// The keys of a shelf, in no order; who holds it is the shelf's writer.
#[derive(Default)]
pub(super) struct Ring {
    /// The keys.
    keys: Vec<Arc<[u8]>>,
    /// The entries before this place are still to be swept; none: the sweep begins anew.
    hand: usize,
}

impl Ring {
    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// All keys, as they are now.
    pub(super) fn keys(&self) -> Vec<Arc<[u8]>> {
        self.keys.clone()
    }
}

impl<V: Kept> Shelf<V> {
    pub(super) fn new() -> Self {
        Self { slots: DashMap::new() }
    }

    /// The entry of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<Arc<V>> {
        self.slots.get(key).map(|slot| slot.value.clone())
    }

    /// What an entry counts as, in bytes: its key and what it holds, the key's and its own counters, its slot in a
    /// map that is at worst 7/16 full, its place in a ring that is at worst half full.
    pub(super) fn weight(key: &[u8], value: &V) -> usize {
        let slot = size_of::<(Arc<[u8]>, Slot<V>)>() + 1;
        let place = size_of::<Arc<[u8]>>();
        ARC + key.len() + ARC + size_of::<V>() + value.heap() + slot * 16 / 7 + place * 2
    }

    /// What the entry of a key counts as; nothing if there is none.
    pub(super) fn weight_of(&self, key: &[u8]) -> usize {
        self.slots.get(key).map_or(0, |slot| slot.weight)
    }

    /// Puts an entry in, in the place of another one of the same key.
    pub(super) fn put(&self, ring: &mut Ring, key: &[u8], value: V) {
        let weight = Self::weight(key, &value);
        let value = Arc::new(value);
        if let Some(mut slot) = self.slots.get_mut(key) {
            slot.value = value;
            slot.weight = weight;
            return;
        }
        let key: Arc<[u8]> = key.into();
        let at = ring.keys.len();
        ring.keys.push(key.clone());
        self.slots.insert(key, Slot { value, at, weight });
    }

    /// Takes an entry out; what it counted as, in bytes.
    pub(super) fn remove(&self, ring: &mut Ring, key: &[u8]) -> Option<usize> {
        let (_, slot) = self.slots.remove(key)?;
        ring.keys.swap_remove(slot.at);
        if let Some(moved) = ring.keys.get(slot.at)
            && let Some(mut moved) = self.slots.get_mut(moved)
        {
            moved.at = slot.at;
        }
        Some(slot.weight)
    }

    /// Draws the entry that can best be done without.
    pub(super) fn worst(
        &self,
        ring: &Ring,
        now: Moment,
        keep: Duration,
        rng: &mut SmallRng,
    ) -> Option<(Rank, Arc<[u8]>)> {
        if ring.keys.is_empty() {
            return None;
        }
        let draw = |_| {
            let key = &ring.keys[rng.random_range(0..ring.keys.len())];
            Some((self.slots.get(key)?.value.rank(now, keep), key))
        };
        let worst = (0..SAMPLE).filter_map(draw).max_by_key(|(rank, _)| *rank);
        worst.map(|(rank, key)| (rank, key.clone()))
    }

    /// Looks at the next few entries and drops those that are of no use; what they counted as, in bytes.
    pub(super) fn sweep(&self, ring: &mut Ring, now: Moment, keep: Duration) -> usize {
        let mut freed = 0;
        for _ in 0..SWEPT {
            // From the end to the beginning: what takes an entry's place comes from the end, and has been looked at.
            ring.hand = if ring.hand == 0 { ring.keys.len() } else { ring.hand.min(ring.keys.len()) };
            let Some(at) = ring.hand.checked_sub(1) else { break };
            ring.hand = at;
            let Some(key) = ring.keys.get(at).cloned() else { break };
            if self.slots.get(&key).is_some_and(|s| s.value.rank(now, keep).state == State::Dead) {
                freed += self.remove(ring, &key).unwrap_or_default();
            }
        }
        freed
    }

    /// What all entries count as, added up.
    #[cfg(test)]
    pub(super) fn audit(&self, ring: &Ring) -> usize {
        assert_eq!(ring.keys.len(), self.slots.len());
        let weights = ring.keys.iter().enumerate().map(|(at, key)| {
            let slot = self.slots.get(key).expect("a key of the ring is in the map");
            assert_eq!(slot.at, at);
            assert_eq!(slot.weight, Self::weight(key, &slot.value));
            slot.weight
        });
        weights.sum()
    }
}
