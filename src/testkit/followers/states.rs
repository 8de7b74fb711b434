//! States, and what packets make of them: worked out once for all followers that are in the same one.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::packets::Packet;
use crate::feed::entry::Entry;
use crate::zone::Table;
use crate::zone::change::Change;
use crate::zone::digest::Digest;
use crate::zone::held::{self, HeldSet};
use crate::zone::hold;
use crate::zone::object::{Kind, Kinds, ObjectRef};
use crate::zone::table::Relist;

/// Steps that are remembered: minutes of ten changes a second, for followers that are at different places.
const MAX_STEPS: usize = 4_096;

/// Serials play no part here.
const NOW: u32 = 1;

/// What followers have.
pub(super) struct State {
    /// Tells it from others.
    id: u64,
    /// What is served.
    pub(super) table: Table,
    /// What is held of it.
    held: HeldSet,
    /// Of what was received.
    pub(super) digests: [Digest; Kind::ALL.len()],
}

/// What identifies a state: of each kind the hashes of what is received and of what is served, and whether that is all.
type Content = [(u128, u128, bool); Kind::ALL.len()];

/// From a state, by packets that are told apart by a hash, as far as kinds are concerned.
type Step = (u64, Vec<u128>, [bool; Kind::ALL.len()], Sort);

/// What packets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Sort {
    /// Changes.
    Changes,
    /// A whole state.
    Whole,
}

/// All states, for a while.
pub(super) struct States {
    /// What is remembered.
    inner: Mutex<Inner>,
    /// Before anything has come.
    nothing: Arc<State>,
    /// How many steps were worked out.
    made: AtomicU64,
}

/// What is remembered.
#[derive(Default)]
struct Inner {
    /// What became of a state.
    steps: Bounded<Step, Arc<OnceLock<Arc<State>>>>,
    /// States by what they are.
    states: Bounded<Content, Arc<State>>,
    /// The newest of them.
    newest: Option<Arc<State>>,
}

impl Default for States {
    fn default() -> Self {
        let nothing =
            State { id: 0, table: Table::default(), held: HeldSet::default(), digests: Default::default() };
        Self { inner: Mutex::default(), nothing: Arc::new(nothing), made: AtomicU64::new(0) }
    }
}

impl States {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state before anything has come.
    pub(super) fn nothing(&self) -> Arc<State> {
        self.nothing.clone()
    }

    /// How many were worked out.
    pub(super) fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// What a packet of changes makes of a state, as far as these kinds are concerned.
    pub(super) fn changed(&self, from: &Arc<State>, packet: &Arc<Packet>, kinds: Kinds) -> Arc<State> {
        self.step((from.id, vec![packet.hash], each(kinds), Sort::Changes), || {
            let (mut table, mut held) = (from.table.clone(), from.held.clone());
            let entries = packet.entries.iter().filter(|entry| kinds.has(entry.change.kind()));
            for Entry { change, held: instead, .. } in entries.cloned() {
                let _ = held::apply(&mut table, &mut held, hold::Entry { change, held: instead }, NOW);
            }
            (table, held)
        })
    }

    /// What a whole state of these kinds makes of a state.
    pub(super) fn listed(&self, from: &Arc<State>, parts: &[Arc<Packet>], kinds: Kinds) -> Arc<State> {
        let hashes = parts.iter().map(|packet| packet.hash).collect();
        self.step((from.id, hashes, each(kinds), Sort::Whole), || {
            // What is listed may be compared with any state, where nothing else is in it: what is equal is shared.
            let newest = self.lock().newest.clone();
            let base = newest.filter(|newest| {
                newest.table.complete().minus(kinds).is_empty()
                    && from.table.complete().minus(kinds).is_empty()
            });
            let base = base.as_ref().unwrap_or(from);
            let (mut table, mut held) = (base.table.clone(), base.held.clone());
            let gone: Vec<_> = held.iter().map(|of| of.key().clone()).collect();
            for key in gone.iter().filter(|key| kinds.has(key.kind)) {
                let _ = held.release(key);
            }
            let mut list = Relist::new(kinds);
            for entry in parts.iter().flat_map(|part| &part.entries) {
                match (&entry.change, &entry.held) {
                    (change, Some(of)) if kinds.has(change.kind()) => {
                        let received = match change {
                            Change::Upsert(object) => Some(object.clone()),
                            Change::Delete(_) => None,
                        };
                        held.insert(ObjectRef::from(&of.served), received, of.hold);
                        let _ = list.take(&table, of.served.clone());
                    }
                    (Change::Upsert(object), None) => drop(list.take(&table, object.clone())),
                    _ => {}
                }
            }
            let _ = list.finish(&mut table, NOW);
            (table, held)
        })
    }

    /// The outcome of a step, worked out by the first who takes it.
    fn step(&self, step: Step, make: impl FnOnce() -> (Table, HeldSet)) -> Arc<State> {
        let outcome = self.lock().steps.entry(step);
        outcome
            .get_or_init(|| {
                let (table, held) = make();
                self.made.fetch_add(1, Ordering::Relaxed);
                self.intern(table, held)
            })
            .clone()
    }

    /// The one state that is this.
    fn intern(&self, table: Table, held: HeldSet) -> Arc<State> {
        let digests = Kind::ALL.map(|kind| held.received_digest(&table, kind));
        let complete = table.complete();
        let content = Kind::ALL.map(|k| (digests[k.index()].hash, table.digest(k).hash, complete.has(k)));
        let mut inner = self.lock();
        let known = inner.states.get(&content);
        let state = known.unwrap_or_else(|| {
            let id = inner.states.added + 1;
            let state = Arc::new(State { id, table, held, digests });
            inner.states.insert(content, state.clone());
            state
        });
        inner.newest = Some(state.clone());
        state
    }
}

/// Whether each kind is among these.
fn each(kinds: Kinds) -> [bool; Kind::ALL.len()] {
    Kind::ALL.map(|kind| kinds.has(kind))
}

/// A map that forgets its oldest entries.
struct Bounded<K, V> {
    /// What is remembered.
    map: HashMap<K, V>,
    /// The oldest first.
    order: VecDeque<K>,
    /// How many there ever were.
    added: u64,
}

impl<K, V> Default for Bounded<K, V> {
    fn default() -> Self {
        Self { map: HashMap::new(), order: VecDeque::new(), added: 0 }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Bounded<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        self.map.get(key).cloned()
    }

    fn insert(&mut self, key: K, value: V) {
        while self.order.len() >= MAX_STEPS
            && let Some(oldest) = self.order.pop_front()
        {
            self.map.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.map.insert(key, value);
        self.added += 1;
    }

    fn entry(&mut self, key: K) -> V
    where
        V: Default,
    {
        self.get(&key).unwrap_or_else(|| {
            let value = V::default();
            self.insert(key, value.clone());
            value
        })
    }
}
