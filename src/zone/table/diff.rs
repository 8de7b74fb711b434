//! What two generations differ in.
//!
//! Generations that came of each other share all that did not change, and are compared by what they do not share:
//! nodes by their pointers, then objects by theirs, and only then by value. So comparing costs what changed, whatever
//! the cluster's size; a table that was made anew costs a pass over its pointers.

use std::sync::Arc;

use super::{ByKey, Keyed, Table, same_key};
use crate::zone::change::Change;
use crate::zone::object::{Key, ObjectRef};
use crate::zone::trie::Trie;

impl Table {
    /// The changes that make this table into `newer`, as far as objects are concerned: kind by kind in storage order,
    /// of each kind what is gone and then what is new or different, sorted by key.
    pub fn diff(&self, newer: &Self) -> Vec<Change> {
        let (mut gone, mut here) = (Vec::new(), Vec::new());
        self.differences(newer, |old, new| match (old, new) {
            (_, Some(new)) => here.push((new.key(), new)),
            (Some(old), None) => gone.push(old.key()),
            (None, None) => {}
        });
        gone.sort_unstable();
        here.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        in_order(gone, here)
    }

    /// Calls `each` with every object that differs: as it is here and as it is in `newer`; `None` where there is none.
    /// Kinds come in storage order, objects of a kind in none.
    ///
    /// Returns how many nodes of all indexes were looked into.
    pub fn differences<'a>(
        &'a self,
        newer: &'a Self,
        mut each: impl FnMut(Option<ObjectRef<'a>>, Option<ObjectRef<'a>>),
    ) -> usize {
        let namespaces = objects(&self.namespaces, &newer.namespaces, |old, new| {
            each(old.map(ObjectRef::Namespace), new.map(ObjectRef::Namespace));
        });
        let services = self.services.differences(
            &newer.services,
            |a, b| a.key() == b.key(),
            |old, new| {
                // An entry is another one also when only its slices are.
                let service =
                    |entry: Option<&'a Arc<super::ServiceEntry>>| entry.and_then(|e| e.service.as_ref());
                differing(service(old), service(new), |old, new| {
                    each(old.map(ObjectRef::Service), new.map(ObjectRef::Service));
                });
            },
        );
        let slices = objects(&self.slices, &newer.slices, |old, new| {
            each(old.map(ObjectRef::EndpointSlice), new.map(ObjectRef::EndpointSlice));
        });
        let pods = objects(&self.pods, &newer.pods, |old, new| {
            each(old.map(ObjectRef::Pod), new.map(ObjectRef::Pod));
        });
        namespaces + services + slices + pods
    }
}

/// The differences of one index by key.
fn objects<'a, T: Keyed + Eq>(
    old: &'a Trie<ByKey<T>>,
    new: &'a Trie<ByKey<T>>,
    mut each: impl FnMut(Option<&'a T>, Option<&'a T>),
) -> usize {
    let same = |a: &ByKey<T>, b: &ByKey<T>| same_key(&*a.0, &*b.0);
    old.differences(new, same, |old, new| differing(old.map(|o| &o.0), new.map(|o| &o.0), &mut each))
}

/// Calls `each` unless both are the same object, or equal.
fn differing<'a, T: Eq>(
    old: Option<&'a Arc<T>>,
    new: Option<&'a Arc<T>>,
    mut each: impl FnMut(Option<&'a T>, Option<&'a T>),
) {
    let same = match (old, new) {
        (Some(old), Some(new)) => Arc::ptr_eq(old, new) || old == new,
        (None, None) => true,
        _ => false,
    };
    if !same {
        each(old.map(|o| &**o), new.map(|o| &**o));
    }
}

/// Both lists, which are sorted by key, as one list of changes.
fn in_order(gone: Vec<Key>, here: Vec<(Key, ObjectRef<'_>)>) -> Vec<Change> {
    let mut changes = Vec::with_capacity(gone.len() + here.len());
    let mut gone = gone.into_iter().peekable();
    for (key, object) in here {
        while let Some(key) = gone.next_if(|g| g.kind <= key.kind) {
            changes.push(Change::Delete(key));
        }
        changes.push(Change::Upsert(object.to_object()));
    }
    changes.extend(gone.map(Change::Delete));
    changes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::tests::{any_object, check};
    use super::*;
    use crate::zone::object::{Kind, Kinds, Labels, Object, Pod};

    /// What a change is sorted by.
    fn place(change: &Change) -> (Kind, bool, Key) {
        match change {
            Change::Delete(key) => (key.kind, false, key.clone()),
            Change::Upsert(object) => (object.kind(), true, object.key()),
        }
    }

    proptest! {
        #[test]
        fn the_older_table_becomes_the_newer(
            start in proptest::collection::vec(any_object(), 0..30),
            steps in proptest::collection::vec((0u8..4, any_object()), 0..30),
            rebuilt in any::<bool>(),
        ) {
            let old = Table::build(start.clone(), Kinds::ALL, 1);
            let mut model: BTreeMap<_, _> = start.into_iter().map(|o| (o.key(), o)).collect();
            let before = model.clone();
            let mut new = old.clone();
            for (what, object) in steps {
                if what == 0 {
                    model.remove(&object.key());
                    new.apply([Change::Delete(object.key())], 1);
                } else {
                    model.insert(object.key(), object.clone());
                    new.apply([Change::Upsert(object)], 1);
                }
            }
            if rebuilt {
                new = Table::build(model.values().cloned(), Kinds::ALL, 1);
            }
            let changes = old.diff(&new);
            prop_assert!(changes.is_sorted_by_key(place));
            let kept = |k: &Key| before.get(k) == model.get(k);
            let differ = before.keys().filter(|k| !kept(k)).count()
                + model.keys().filter(|k| !before.contains_key(*k)).count();
            prop_assert_eq!(changes.len(), differ, "nothing but what differs, each once");
            let mut table = old;
            table.apply(changes, 1);
            check(&table, &model);
            prop_assert_eq!(new.diff(&new.clone()), []);
        }
    }

    fn pod(n: u32) -> Object {
        let ip = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into();
        Object::Pod(Pod {
            namespace: "a".into(),
            name: format!("p{n}").into(),
            ip,
            labels: Labels::default(),
        })
    }

    #[test]
    fn one_change_costs_the_same_in_a_large_table() {
        let visited = |count: u32| {
            let old = Table::build((0..count).map(pod), Kinds::ALL, 1);
            let mut new = old.clone();
            new.apply([Change::Upsert(pod(count)), Change::Delete(pod(0).key())], 1);
            let mut differ = 0;
            let visited = old.differences(&new, |_, _| differ += 1);
            assert_eq!(differ, 2);
            visited
        };
        // Two paths from the root, each of a level for every factor of 32, and what hangs on their last nodes.
        let (small, large) = (visited(1_000), visited(100_000));
        assert!(large <= 3 * small && large < 400, "{small} and {large} nodes");
        let table = Table::build((0..1_000).map(pod), Kinds::ALL, 1);
        assert_eq!(table.differences(&table.clone(), |_, _| ()), 0);
    }
}
