//! A list that comes in parts: gathered beside the table, applied to it in one generation.
//!
//! Invariant: what the list and the table have in common is never held twice. Each object is compared with the
//! table as it comes; of one that is equal only a fingerprint of its key remains, until the table changes below the
//! list ([`Relist::changed`]).

use std::collections::{HashMap, HashSet};

use xxhash_rust::xxh3::xxh3_128;

use super::shared::Shared;
use super::{Builder, Difference, Effect, Table};
use crate::zone::object::{Key, Kind, Kinds, Object, ObjectRef};

/// A list of some kinds that is under way. Holds what differs from the table and a fingerprint of everything else.
#[derive(Debug)]
pub struct Relist {
    /// The kinds that are listed.
    kinds: Kinds,
    /// Keys of what is in the list and stays what the table has.
    same: HashSet<Fingerprint>,
    /// Those of `same` of which the list does not say what they are.
    kept: HashSet<Fingerprint>,
    /// What is in the list and differs from the table; no key of it is in `same`.
    staged: HashMap<Fingerprint, Shared>,
}

/// What a list says of an object that the table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate<'a> {
    /// It is what it was, or its kind is not listed.
    Stays,
    /// It does not exist.
    Gone,
    /// It is now this.
    Becomes(ObjectRef<'a>),
}

/// An object that stays in the table although a list says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withheld {
    /// Which object.
    pub key: Key,
    /// What the list says of it; `None` if it is not in the list.
    pub received: Option<Object>,
}

impl Relist {
    /// A list of which nothing has come yet.
    pub fn new(kinds: Kinds) -> Self {
        Self { kinds, same: HashSet::new(), kept: HashSet::new(), staged: HashMap::new() }
    }

    /// Takes the next object of the list; of two objects of one key the later one counts, and one of a kind that is
    /// not listed does not. `table` is the generation that the list will be applied to, as far as its kinds are
    /// concerned and [`Self::changed`] does not say otherwise. [`Effect::None`] if the object is what the table has.
    pub fn take(&mut self, table: &Table, object: Object) -> Effect {
        let new = ObjectRef::from(&object);
        if !self.kinds.has(new.kind()) {
            return Effect::None;
        }
        let key = fingerprint(new);
        self.kept.remove(&key);
        if table.same_as(new) {
            self.staged.remove(&key);
            self.same.insert(key);
            return Effect::None;
        }
        self.same.remove(&key);
        self.staged.insert(key, object.into());
        Effect::Changed
    }

    /// Takes note that this object is in the list; it stays what it is.
    pub fn keep(&mut self, key: &Key) {
        let key = fingerprint_of(key.kind, &key.namespace, &key.name);
        if !self.staged.contains_key(&key) && self.same.insert(key) {
            self.kept.insert(key);
        }
    }

    /// The table that the list will be applied to has changed under this key, from `old` to `new`: what the list has
    /// in common with the old one is not what stays.
    pub fn changed(&mut self, key: &Key, old: &Table, new: &Table) {
        let fingerprint = fingerprint_of(key.kind, &key.namespace, &key.name);
        if !self.same.contains(&fingerprint) || old.object(key) == new.object(key) {
            return;
        }
        // What the list has not said stays what is known of it, as long as anything is.
        if self.kept.contains(&fingerprint) && new.object(key).is_some() {
            return;
        }
        if let Some(object) = old.shared_object(key) {
            self.same.remove(&fingerprint);
            self.kept.remove(&fingerprint);
            self.staged.insert(fingerprint, object);
        }
    }

    /// How much work [`Self::finish`] can be at most: objects and endpoints that it may have to look at.
    pub fn work(&self, table: &Table) -> usize {
        let objects = Kind::ALL.into_iter().map(|kind| table.count(kind)).sum::<usize>() + self.staged.len();
        let endpoints = self.staged.values().map(|o| match o {
            Shared::EndpointSlice(slice) => slice.endpoints.len(),
            _ => 0,
        });
        objects + table.endpoint_count() + endpoints.sum::<usize>()
    }

    /// Makes the kinds of `table` what the list says, and complete. `now` is Unix time in seconds.
    pub fn finish(self, table: &mut Table, now: u32) -> Difference {
        let deletes = table.objects().filter(|o| self.is_gone(*o)).count();
        let before = Kind::ALL.into_iter().map(|kind| table.count(kind)).sum::<usize>();
        // At least, because what is staged may replace what there is.
        let after = before.saturating_sub(deletes).max(self.staged.len());
        let complete = table.complete.union(self.kinds);
        let difference = if (self.staged.len() + deletes) * MOST > after {
            self.rebuild(table, deletes)
        } else {
            self.patch(table)
        };
        table.complete = complete;
        if !difference.is_empty() {
            table.touch(now);
        }
        difference
    }

    /// [`Self::finish`] for a list of which a guard withholds something: of these keys the table keeps what it
    /// has. Returns beside the difference what the list says of each of them.
    pub fn finish_holding(
        mut self,
        table: &mut Table,
        now: u32,
        withheld: Vec<Key>,
    ) -> (Difference, Vec<Withheld>) {
        let mut kept = Vec::with_capacity(withheld.len());
        for key in withheld {
            // Nothing can be kept of what is not there, and what stays is not withheld.
            let Some(Fate::Gone | Fate::Becomes(_)) = table.object(&key).map(|object| self.fate(object))
            else {
                continue;
            };
            let fingerprint = fingerprint_of(key.kind, &key.namespace, &key.name);
            let received = self.staged.remove(&fingerprint).map(|object| object.as_ref().to_object());
            self.same.insert(fingerprint);
            kept.push(Withheld { key, received });
        }
        (self.finish(table, now), kept)
    }

    /// The kinds that are listed.
    pub const fn kinds(&self) -> Kinds {
        self.kinds
    }

    /// What in the list differs from the table, or is not in it.
    pub fn staged(&self) -> impl Iterator<Item = ObjectRef<'_>> {
        self.staged.values().map(Shared::as_ref)
    }

    /// What becomes of an object of the table, as far as the list has come.
    pub fn fate(&self, object: ObjectRef<'_>) -> Fate<'_> {
        if !self.kinds.has(object.kind()) {
            return Fate::Stays;
        }
        let key = fingerprint(object);
        match self.staged.get(&key) {
            Some(newer) => Fate::Becomes(newer.as_ref()),
            None if self.same.contains(&key) => Fate::Stays,
            None => Fate::Gone,
        }
    }

    /// Whether the list says that this object of the table does not exist.
    fn is_gone(&self, object: ObjectRef<'_>) -> bool {
        matches!(self.fate(object), Fate::Gone)
    }

    /// Makes every index anew, of what stays (shared with the old ones) and what is new.
    fn rebuild(self, table: &mut Table, deletes: usize) -> Difference {
        let difference = Difference { upserts: self.staged.len(), deletes };
        let mut builder = Builder::default();
        let stays = |o: &Shared| {
            let o = o.as_ref();
            !self.kinds.has(o.kind()) || self.same.contains(&fingerprint(o))
        };
        table.shared().filter(stays).for_each(|object| builder.share(object));
        let Self { same, staged, .. } = self;
        drop(same);
        staged.into_values().for_each(|object| builder.share(object));
        *table = builder.finish(table.complete, table.serial);
        difference
    }

    /// Changes the indexes where they differ.
    fn patch(self, table: &mut Table) -> Difference {
        let gone: Vec<Key> = table.objects().filter(|o| self.is_gone(*o)).map(|o| o.key()).collect();
        let effects = self.staged.into_values().map(|object| table.upsert(object));
        let upserts = effects.filter(|effect| *effect == Effect::Changed).count();
        for key in &gone {
            table.delete(key);
        }
        Difference { upserts, deletes: gone.len() }
    }
}

/// Indexes are made anew if more than one in so many of the objects that they will hold is new, or as many go: one
/// by one, each of them would copy a path of several nodes that a few others share, and leave them in pieces.
const MOST: usize = 4;

/// Identifies an object among all others; 128 bits, so that a collision (which would keep a deleted object)
/// does not happen in practice.
type Fingerprint = u128;

fn fingerprint(object: ObjectRef<'_>) -> Fingerprint {
    let (namespace, name) = object.parts();
    fingerprint_of(object.kind(), namespace, name)
}

fn fingerprint_of(kind: Kind, namespace: &str, name: &str) -> Fingerprint {
    let mut bytes = Vec::with_capacity(namespace.len() + name.len() + 2);
    bytes.push(kind.index() as u8);
    bytes.extend_from_slice(namespace.as_bytes());
    bytes.push(b'/');
    bytes.extend_from_slice(name.as_bytes());
    xxh3_128(&bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::super::tests::{any_object, check};
    use super::*;
    use crate::zone::change::Change;
    use crate::zone::object::{Labels, Namespace, Pod};

    /// What a list says of one object.
    #[derive(Clone, Debug)]
    enum Entry {
        Is(Object),
        Stays(Key),
    }

    /// Mostly objects; the keys are those of objects that may or may not be there.
    fn any_entry() -> impl Strategy<Value = Entry> {
        prop_oneof![
            4 => any_object().prop_map(Entry::Is),
            1 => any_object().prop_map(|o| Entry::Stays(o.key())),
        ]
    }

    fn any_kinds() -> impl Strategy<Value = Kinds> {
        proptest::collection::vec(proptest::sample::select(Kind::ALL.to_vec()), 1..5)
            .prop_map(|kinds| kinds.into_iter().collect())
    }

    fn by_key(objects: &[Object]) -> BTreeMap<Key, Object> {
        objects.iter().map(|o| (o.key(), o.clone())).collect()
    }

    /// The state after a list, worked out from its entries alone.
    fn listed(before: &BTreeMap<Key, Object>, kinds: Kinds, list: &[Entry]) -> BTreeMap<Key, Object> {
        let mut after = before.clone();
        let mut there = BTreeSet::new();
        for entry in list {
            let key = match entry {
                Entry::Is(object) if kinds.has(object.kind()) => {
                    after.insert(object.key(), object.clone());
                    object.key()
                }
                Entry::Is(_) => continue,
                Entry::Stays(key) => key.clone(),
            };
            there.insert(key);
        }
        after.retain(|key, _| !kinds.has(key.kind) || there.contains(key));
        after
    }

    fn gather(table: &Table, kinds: Kinds, list: Vec<Entry>) -> Relist {
        let mut relist = Relist::new(kinds);
        for entry in list {
            match entry {
                Entry::Is(object) => drop(relist.take(table, object)),
                Entry::Stays(key) => relist.keep(&key),
            }
        }
        relist
    }

    proptest! {
        #[test]
        fn a_list_gives_the_state_that_it_says_and_leaves_the_old_one(
            old in proptest::collection::vec(any_object(), 0..30),
            kinds in any_kinds(),
            list in proptest::collection::vec(any_entry(), 0..30),
            meanwhile in any_object(),
        ) {
            let old = by_key(&old);
            let before = Table::build(old.values().cloned(), Kinds::NONE, 1);
            let relist = gather(&before, kinds, list.clone());

            // Other kinds go on changing while the list is under way.
            let (mut table, mut model) = (before.clone(), old.clone());
            if !kinds.has(meanwhile.kind()) {
                table.apply([Change::Upsert(meanwhile.clone())], 1);
                model.insert(meanwhile.key(), meanwhile);
            }
            let want = listed(&model, kinds, &list);
            let difference = relist.finish(&mut table, 2);
            check(&table, &want);
            check(&before, &old);
            prop_assert_eq!(table.complete(), kinds);
            let upserts = want.iter().filter(|(k, o)| model.get(*k) != Some(o)).count();
            let deletes = model.keys().filter(|k| !want.contains_key(*k)).count();
            prop_assert_eq!(difference, Difference { upserts, deletes });

            // The same list once more is no difference, whatever it held twice.
            let again: Vec<_> = want.values().cloned().map(Entry::Is).collect();
            prop_assert_eq!(gather(&table, kinds, again).finish(&mut table, 3), Difference::default());
        }

        #[test]
        fn one_by_one_and_all_at_once_come_to_the_same(
            old in proptest::collection::vec(any_object(), 0..30),
            kinds in any_kinds(),
            list in proptest::collection::vec(any_entry(), 0..30),
        ) {
            let before = Table::build(old.clone(), Kinds::NONE, 1);
            let want = listed(&by_key(&old), kinds, &list);
            let relist = || gather(&before, kinds, list.clone());
            let (mut patched, mut rebuilt) = (before.clone(), before.clone());
            let deletes = before.objects().filter(|o| relist().is_gone(*o)).count();
            prop_assert_eq!(relist().patch(&mut patched), relist().rebuild(&mut rebuilt, deletes));
            check(&patched, &want);
            check(&rebuilt, &want);
        }
    }

    proptest! {
        #[test]
        fn what_is_withheld_stays_and_all_else_is_applied(
            old in proptest::collection::vec(any_object(), 0..30),
            kinds in any_kinds(),
            list in proptest::collection::vec(any_entry(), 0..30),
            withheld in proptest::collection::btree_set(any_object().prop_map(|o| o.key()), 0..10),
        ) {
            let old = by_key(&old);
            let mut table = Table::build(old.values().cloned(), Kinds::NONE, 1);
            let said = listed(&old, kinds, &list);
            let (difference, kept) =
                gather(&table, kinds, list).finish_holding(&mut table, 2, withheld.iter().cloned().collect());

            let is_kept = |key: &Key| withheld.contains(key) && old.contains_key(key) && old.get(key) != said.get(key);
            let mut want = said.clone();
            want.extend(old.iter().filter(|(key, _)| is_kept(key)).map(|(k, o)| (k.clone(), o.clone())));
            check(&table, &want);
            let mut told = BTreeMap::new();
            told.extend(kept.into_iter().map(|w| (w.key, w.received)));
            let keys = old.keys().filter(|key| is_kept(key));
            prop_assert_eq!(told, keys.map(|k| (k.clone(), said.get(k).cloned())).collect::<BTreeMap<_, _>>());
            let upserts = want.iter().filter(|(k, o)| old.get(*k) != Some(o)).count();
            let deletes = old.keys().filter(|k| !want.contains_key(*k)).count();
            prop_assert_eq!(difference, Difference { upserts, deletes });
        }
    }

    fn ns(name: &str) -> Object {
        Object::Namespace(Namespace { name: name.into(), labels: Labels::default() })
    }

    fn pod(name: &str, ip: [u8; 4]) -> Object {
        let (namespace, labels) = ("a".into(), Labels::default());
        Object::Pod(Pod { namespace, name: name.into(), ip: ip.into(), labels })
    }

    #[test]
    fn what_a_list_and_the_table_had_in_common_stays_also_if_the_table_changes() {
        let mut table = Table::build([ns("a"), ns("b"), pod("p", [10, 0, 0, 1])], Kinds::NONE, 1);
        let pods = Kinds::NONE.with(Kind::Namespace).with(Kind::Pod);
        let moved = || pod("p", [10, 0, 0, 2]);
        let list =
            || vec![Entry::Is(ns("a")), Entry::Stays(ns("b").key()), Entry::Is(pod("p", [10, 0, 0, 1]))];
        let before = table.clone();
        let mut relist = gather(&before, pods, list());
        let changes = [Change::Delete(ns("a").key()), Change::Delete(ns("b").key()), Change::Upsert(moved())];
        let keys: Vec<_> = changes.iter().map(Change::key).collect();
        table.apply(changes, 2);
        keys.iter().for_each(|key| relist.changed(key, &before, &table));
        relist.finish(&mut table, 3);
        check(&table, &by_key(&before.objects().map(|o| o.to_object()).collect::<Vec<_>>()));

        let mut relist = gather(&before, pods, vec![Entry::Stays(moved().key())]);
        table.apply([Change::Upsert(moved())], 4);
        relist.changed(&moved().key(), &before, &table);
        relist.finish(&mut table, 5);
        check(&table, &by_key(&[moved()]));
    }

    #[test]
    fn a_list_of_some_kinds_leaves_the_others() {
        let namespaces = Kinds::NONE.with(Kind::Namespace);
        let mut table = Table::build([ns("a"), pod("p", [10, 0, 0, 1])], Kinds::NONE.with(Kind::Pod), 5);
        let list = gather(&table, namespaces, vec![Entry::Is(ns("b")), Entry::Is(pod("q", [10, 0, 0, 2]))]);
        assert_eq!(list.finish(&mut table, 9), Difference { upserts: 1, deletes: 1 });
        assert_eq!((table.count(Kind::Namespace), table.count(Kind::Pod), table.serial()), (1, 1, 9));
        assert_eq!(table.complete(), namespaces.with(Kind::Pod));
    }

    #[test]
    fn what_did_not_change_is_neither_held_nor_copied() {
        let many: Vec<_> = (0..100).map(|n| ns(&format!("n{n}"))).collect();
        let before = Table::build(many.clone(), Kinds::CORE, 5);
        for (name, new) in [("one by one", 1), ("all at once", 60)] {
            let new = (0..new).map(|n| Entry::Is(pod(&format!("p{n}"), [10, 0, 0, n])));
            let list = many.iter().cloned().map(Entry::Is).chain(new.clone()).collect();
            let relist = gather(&before, Kinds::ALL, list);
            assert_eq!(relist.staged.len(), new.len(), "{name}");
            let mut after = before.clone();
            relist.finish(&mut after, 6);
            for (old, new) in many.iter().map(|o| (before.object(&o.key()), after.object(&o.key()))) {
                let (Some(ObjectRef::Namespace(old)), Some(ObjectRef::Namespace(new))) = (old, new) else {
                    panic!("{name}: {old:?} and {new:?} are there");
                };
                assert!(std::ptr::eq(old, new), "{name}: {} is shared", new.name);
            }
        }
    }
}
