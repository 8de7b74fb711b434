use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::zone::hold::{Entry, Held};
use crate::zone::table::any_object;

/// What is said of an object: an entry, made of two objects of one key.
#[derive(Clone, Debug)]
pub(in crate::zone) struct Step {
    /// What the origin says; `None` if the object is gone.
    received: Option<Object>,
    /// What is served instead, and under which hold.
    held: Option<(Object, u32)>,
    /// Of which object.
    key: Key,
}

pub(in crate::zone) fn any_step() -> impl Strategy<Value = Step> {
    (any_object(), any_object(), any::<bool>(), proptest::option::of(0u32..3)).prop_map(
        |(a, b, gone, hold)| {
            let key = a.key();
            // Another object of the same key only by chance; the same one often, which holds nothing.
            let served = if b.key() == key { b } else { a.clone() };
            Step { received: (!gone).then_some(a), held: hold.map(|hold| (served, hold)), key }
        },
    )
}

impl Step {
    pub(in crate::zone) fn entry(&self) -> Entry {
        let change = match &self.received {
            Some(object) => Change::Upsert(object.clone()),
            None => Change::Delete(self.key.clone()),
        };
        Entry { change, held: self.held.clone().map(|(served, hold)| Held { served, hold }) }
    }
}

/// A state as plain maps: what was received, and what is served where that differs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::zone) struct Model {
    pub(in crate::zone) received: BTreeMap<Key, Object>,
    held: BTreeMap<Key, (Object, u32)>,
}

impl Model {
    pub(in crate::zone) fn apply(&mut self, step: &Step) {
        match &step.received {
            Some(object) => drop(self.received.insert(step.key.clone(), object.clone())),
            None => drop(self.received.remove(&step.key)),
        }
        match &step.held {
            Some(held) if Some(&held.0) != step.received.as_ref() => {
                self.held.insert(step.key.clone(), held.clone());
            }
            _ => drop(self.held.remove(&step.key)),
        }
    }

    pub(in crate::zone) fn served(&self) -> BTreeMap<Key, Object> {
        let mut served = self.received.clone();
        served.extend(self.held.iter().map(|(key, (object, _))| (key.clone(), object.clone())));
        served
    }

    fn holds_of_service(&self, namespace: &str, service: &str) -> Vec<u32> {
        let of = |object: &Object| match object {
            Object::Namespace(o) => *o.name == *namespace,
            Object::Service(o) => *o.namespace == *namespace && *o.name == *service,
            Object::EndpointSlice(o) => *o.namespace == *namespace && *o.service == *service,
            Object::Pod(_) => false,
        };
        self.held.values().filter(|(object, _)| of(object)).map(|(_, hold)| *hold).collect()
    }

    fn check(&self, table: &Table, held: &HeldSet) {
        let served: BTreeMap<_, _> = table.objects().map(|o| (o.key(), o.to_object())).collect();
        assert_eq!(served, self.served());
        assert_eq!(held.len(), self.held.len());
        for kind in Kind::ALL {
            let mut digest = Digest::default();
            self.received.values().filter(|o| o.kind() == kind).for_each(|o| digest.add(o.into()));
            assert_eq!(held.received_digest(table, kind), digest, "{kind}");
        }
        for key in served.keys().chain(self.received.keys()) {
            assert_eq!(held.received(table, key).map(|o| o.to_object()).as_ref(), self.received.get(key));
            let hold =
                held.get(key.kind, key.namespace.as_bytes(), key.name.as_bytes()).map(HeldObject::hold);
            assert_eq!(hold, self.held.get(key).map(|(_, hold)| *hold));
        }
        for (namespace, service) in ["o0", "o1"].iter().flat_map(|ns| ["o0", "o1", "o2"].map(|s| (ns, s))) {
            let holds = self.holds_of_service(namespace, service);
            match held.is_held(namespace.as_bytes(), service.as_bytes()) {
                Some(hold) => assert!(holds.contains(&hold)),
                None => assert!(holds.is_empty(), "{holds:?}"),
            }
        }
    }
}

fn state(steps: &[Step], table: &mut Table, held: &mut HeldSet, model: &mut Model) {
    for step in steps {
        apply(table, held, step.entry(), 1);
        model.apply(step);
    }
}

proptest! {
    #[test]
    fn holds_what_it_is_told_to_and_knows_what_was_received(
        steps in proptest::collection::vec(any_step(), 0..60),
        ended in 0u32..3,
    ) {
        let (mut table, mut held, mut model) = Default::default();
        for step in steps {
            state(&[step], &mut table, &mut held, &mut model);
            model.check(&table, &held);
        }
        let before = held.clone();
        let changes = held.release_all(ended);
        prop_assert_eq!(changes.len(), model.held.values().filter(|(_, hold)| *hold == ended).count());
        table.apply(changes, 1);
        model.held.retain(|_, (_, hold)| *hold != ended);
        model.check(&table, &held);
        prop_assert_eq!(before.iter().count(), before.len(), "the older set is what it was");
    }

    #[test]
    fn entries_make_one_state_into_another(
        start in proptest::collection::vec(any_step(), 0..40),
        steps in proptest::collection::vec(any_step(), 0..20),
    ) {
        let (mut table, mut held, mut model) = Default::default();
        state(&start, &mut table, &mut held, &mut model);
        let (mut new_table, mut new_held, mut new_model) = (table.clone(), held.clone(), model.clone());
        state(&steps, &mut new_table, &mut new_held, &mut new_model);
        model.check(&table, &held);

        let changes = diff_states((&table, &held), (&new_table, &new_held));
        if model == new_model {
            prop_assert_eq!(&changes, &[]);
        }
        let whole = entries((&new_table, &new_held));
        let (mut again, mut again_held) = (Table::default(), HeldSet::default());
        for entry in whole {
            apply(&mut again, &mut again_held, entry, 1);
        }
        new_model.check(&again, &again_held);
        for entry in changes {
            apply(&mut table, &mut held, entry, 1);
        }
        new_model.check(&table, &held);
    }

    #[test]
    fn a_list_says_anew_what_is_held_of_its_kinds(
        steps in proptest::collection::vec(any_step(), 0..40),
        kind in proptest::sample::select(Kind::ALL.to_vec()),
    ) {
        let (mut table, mut held, mut model) = Default::default();
        state(&steps, &mut table, &mut held, &mut model);
        let still: Vec<_> = held.iter().filter(|h| h.key().kind == kind).map(|h| h.key().clone()).step_by(2).collect();
        let listed = still.iter().map(|key| (key.clone(), None, 7)).collect::<Vec<_>>();
        held.relisted(&table, Kinds::NONE.with(kind), listed);

        // What is served stays, until the list itself is applied.
        let served = model.served();
        for (key, object) in served.into_iter().filter(|(key, _)| key.kind == kind) {
            let is_still = still.contains(&key);
            let step = Step {
                received: (!is_still).then(|| object.clone()),
                held: is_still.then_some((object, 7)),
                key,
            };
            model.apply(&step);
        }
        model.check(&table, &held);
    }
}
