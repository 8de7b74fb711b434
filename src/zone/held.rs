//! Which objects are held, and what the origin says of each: what a [`Table`] is served with while a guard holds
//! something back ([`super::hold`] says what that means).
//!
//! A [`HeldSet`] is a value, as a table is: cloning it copies a few pointers, and a change shares what stays. Most of
//! the time it is empty, which a query finds out without a look into it.
//!
//! Invariants:
//! * Of each object in it the table has the one that is *served*; what the origin says of it is here, and differs.
//! * What the origin says anew of an object ends its hold: whoever applies a change to the table tells this set
//!   ([`apply`] does both).
//! * [`HeldSet::received_digest`] is that of what the origin says, whatever is held.

mod entries;

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

pub use self::entries::{State, apply, diff_states, entries};
use super::change::Change;
use super::digest::{self, Digest};
use super::object::{Key, Kind, Kinds, Object, ObjectRef};
use super::table::{Table, hash_key};
use super::trie::{Item, Trie};

/// The objects that are held, by key and by service.
#[derive(Clone, Debug, Default)]
pub struct HeldSet {
    /// All of them. Keys of different kinds may share a hash.
    by_key: Trie<Arc<HeldObject>>,
    /// The slices among them, by the service that they are served for.
    by_service: Trie<HeldSlice>,
    /// How many of them the origin says belong to another service.
    moved: usize,
    /// By kind: what makes the digest of what is served into that of what was received.
    digests: [Adjustment; Kind::ALL.len()],
    /// XOR over all of them, see [`HeldSet::digest`].
    sum: u128,
}

/// One object that is held.
#[derive(Debug, PartialEq, Eq)]
pub struct HeldObject {
    /// Which object it is.
    key: Key,
    /// What the origin says; `None` if the object is gone.
    received: Option<Object>,
    /// The id of the [`super::hold::Hold`] that it is part of.
    hold: u32,
    /// The service of the slice that is served; empty for other kinds.
    service: Box<str>,
    /// How it makes the digests of its kind differ.
    adjustment: Adjustment,
}

impl HeldObject {
    /// Which object it is.
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// What the origin says of it; `None` if it is gone.
    pub const fn received(&self) -> Option<&Object> {
        self.received.as_ref()
    }

    /// The id of the [`super::hold::Hold`] that it is part of.
    pub const fn hold(&self) -> u32 {
        self.hold
    }

    /// What it adds to the digest of the set. What the origin says of it is in the digests of what was received.
    fn contribution(&self) -> u128 {
        let mut bytes = Vec::with_capacity(64);
        bytes.push(self.key.kind.index() as u8);
        bytes.extend_from_slice(&self.hold.to_le_bytes());
        bytes.extend_from_slice(&self.adjustment.hash.to_le_bytes());
        bytes.extend_from_slice(self.key.namespace.as_bytes());
        bytes.push(b'/');
        bytes.extend_from_slice(self.key.name.as_bytes());
        xxh3_128(&bytes)
    }

    /// Whether it is a slice that the origin says belongs to another service.
    fn is_moved(&self) -> bool {
        matches!(&self.received, Some(Object::EndpointSlice(slice)) if slice.service != self.service)
    }

    /// What the origin says, as a change.
    pub fn change(&self) -> Change {
        match &self.received {
            Some(object) => Change::Upsert(object.clone()),
            None => Change::Delete(self.key.clone()),
        }
    }
}

/// What digests of served and of received objects differ in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Adjustment {
    /// XOR of the hashes of both.
    hash: u128,
    /// How many objects are served that the origin does not have.
    gone: u64,
}

// === Reading ===

impl HeldSet {
    /// Whether nothing is held.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many objects are held.
    pub const fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Two sets hold the same objects of the same states under the same holds exactly when their digests are equal.
    /// Digests of what was received say nothing of it.
    pub const fn digest(&self) -> Digest {
        Digest { hash: self.sum, count: self.len() as u64 }
    }

    /// Every object that is held, in no useful order.
    pub fn iter(&self) -> impl Iterator<Item = &HeldObject> {
        self.by_key.iter().map(|held| &**held)
    }

    /// The slices that the origin says belong to another service than they are served for: hardly ever any.
    pub(super) fn moved(&self) -> impl Iterator<Item = &Key> {
        let all = (self.moved > 0).then(|| self.iter());
        all.into_iter().flatten().filter(|held| held.is_moved()).map(HeldObject::key)
    }

    /// What is held of the object of this kind, namespace (empty for a Namespace) and name. Allocates nothing.
    pub fn get(&self, kind: Kind, namespace: &[u8], name: &[u8]) -> Option<&HeldObject> {
        if self.is_empty() {
            return None;
        }
        let is = |held: &Arc<HeldObject>| held.key.is(kind, namespace, name);
        self.by_key.get(hash_key(namespace, name), is).map(|held| &**held)
    }

    /// The hold that the answers of a service are under: its own, that of its namespace, or that of one of its
    /// slices. Allocates nothing.
    pub fn is_held(&self, namespace: &[u8], service: &[u8]) -> Option<u32> {
        if self.is_empty() {
            return None;
        }
        let object = self.get(Kind::Service, namespace, service);
        let object = object.or_else(|| self.get(Kind::Namespace, b"", namespace));
        object.map(HeldObject::hold).or_else(|| {
            let of = |slice: &HeldSlice| {
                slice.0.key.namespace.as_bytes() == namespace && slice.0.service.as_bytes() == service
            };
            self.by_service.get(hash_key(namespace, service), of).map(|slice| slice.0.hold)
        })
    }

    /// What the origin says of an object, whatever `table` serves.
    pub fn received<'a>(&'a self, table: &'a Table, key: &Key) -> Option<ObjectRef<'a>> {
        match self.get(key.kind, key.namespace.as_bytes(), key.name.as_bytes()) {
            Some(held) => held.received().map(ObjectRef::from),
            None => table.object(key),
        }
    }

    /// The digest of what the origin says of a kind, where `table` is what is served.
    pub const fn received_digest(&self, table: &Table, kind: Kind) -> Digest {
        let (served, adjustment) = (table.digest(kind), &self.digests[kind.index()]);
        Digest { hash: served.hash ^ adjustment.hash, count: served.count.saturating_sub(adjustment.gone) }
    }
}

// === Changing ===

impl HeldSet {
    /// Holds an object: `served` is what the table has and keeps, `received` what the origin says, `None` if the object
    /// is gone. If both are the same nothing is held.
    pub fn insert(&mut self, served: ObjectRef<'_>, received: Option<Object>, hold: u32) {
        let key = served.key();
        self.release(&key);
        if received.as_ref().is_some_and(|object| ObjectRef::from(object) == served) {
            return;
        }
        let of_received = received.as_ref().map_or(0, |object| digest::hash(object.into()));
        let adjustment =
            Adjustment { hash: digest::hash(served) ^ of_received, gone: u64::from(received.is_none()) };
        let service = match served {
            ObjectRef::EndpointSlice(slice) => slice.service.clone(),
            _ => Box::default(),
        };
        let of_kind = &mut self.digests[key.kind.index()];
        of_kind.hash ^= adjustment.hash;
        of_kind.gone += adjustment.gone;
        let held = Arc::new(HeldObject { key, received, hold, service, adjustment });
        self.moved += usize::from(held.is_moved());
        self.sum ^= held.contribution();
        if !held.service.is_empty() {
            self.by_service.insert(HeldSlice(held.clone()), |slice| slice.0.key == held.key);
        }
        self.by_key.insert(held.clone(), |other| other.key == held.key);
    }

    /// The object is no longer held; the table is to have what the origin says of it. Whether it was held.
    pub fn release(&mut self, key: &Key) -> bool {
        if self.is_empty() {
            return false;
        }
        let hash = hash_key(key.namespace.as_bytes(), key.name.as_bytes());
        let Some(held) = self.by_key.remove(hash, |held| held.key == *key) else { return false };
        self.moved -= usize::from(held.is_moved());
        self.sum ^= held.contribution();
        if !held.service.is_empty() {
            self.by_service.remove(HeldSlice(held.clone()).hash(), |slice| slice.0.key == *key);
        }
        let of_kind = &mut self.digests[key.kind.index()];
        of_kind.hash ^= held.adjustment.hash;
        of_kind.gone -= held.adjustment.gone;
        true
    }

    /// Ends a hold. Returns what the origin says of the objects that it held, for the table, in no order.
    pub fn release_all(&mut self, hold: u32) -> Vec<Change> {
        let changes: Vec<_> = self.iter().filter(|held| held.hold == hold).map(HeldObject::change).collect();
        if changes.len() == self.len() {
            // Nothing is left to look for.
            *self = Self::default();
            return changes;
        }
        for change in &changes {
            self.release(&change.key());
        }
        changes
    }

    /// After a list of `kinds`: of these kinds exactly this is held, of which `table` has what is served. Each comes
    /// with what the origin says of it and the id of its hold.
    pub fn relisted(
        &mut self,
        table: &Table,
        kinds: Kinds,
        held: impl IntoIterator<Item = (Key, Option<Object>, u32)>,
    ) {
        let before: Vec<_> = self.iter().map(|h| &h.key).filter(|k| kinds.has(k.kind)).cloned().collect();
        for key in &before {
            self.release(key);
        }
        for (key, received, hold) in held {
            // Invariant: what is held is in the table.
            if let Some(served) = table.object(&key) {
                self.insert(served, received, hold);
            }
        }
    }
}

// === What the indexes hold ===

impl Item for Arc<HeldObject> {
    fn hash(&self) -> u64 {
        hash_key(self.key.namespace.as_bytes(), self.key.name.as_bytes())
    }
}

/// A slice under the service that it is served for.
#[derive(Clone, Debug)]
struct HeldSlice(Arc<HeldObject>);

impl Item for HeldSlice {
    fn hash(&self) -> u64 {
        hash_key(self.0.key.namespace.as_bytes(), self.0.service.as_bytes())
    }
}

#[cfg(test)]
pub(super) mod tests;
