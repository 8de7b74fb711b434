//! A part of a state: what those get who do not need all of it.
//!
//! With *headless only*, EndpointSlices are in the view only where their service exists and is headless: the names of
//! all others lead to cluster addresses, and their slices are most of the traffic. Pods are in it or not.
//!
//! Invariants:
//! * What was received of a view is what the same view of what was received is, whatever is held: two hubs of which
//!   only one holds something have the same digests. So where a headless service is held its slices are, too.
//! * A view follows its state at the cost of what changed.

use std::collections::BTreeSet;

use super::held::{HeldSet, State, diff_states};
use super::hold::Entry;
use super::object::{EndpointSlice, Key, Kind, Kinds, Object, Service, Shape};
use super::table::{Builder, Shared, Table};

/// A view, and the state that it was last made of.
#[derive(Clone, Default)]
pub struct Projection {
    /// Whether slices of services with cluster addresses are left out.
    headless_only: bool,
    /// Whether pods are in it.
    pods: bool,
    /// All that is served.
    all: Table,
    /// What is held of it.
    all_held: HeldSet,
    /// What is served within the view.
    table: Table,
    /// What is held of that.
    held: HeldSet,
}

/// An object within a view.
struct Seen {
    /// What is served.
    served: Shared,
    /// What the origin says instead, and under which hold that is not served.
    held: Option<(Option<Object>, u32)>,
}

/// A view is made anew if more than one in so many of its objects may have changed; see the same in the table's lists.
const MOST: usize = 4;

impl Projection {
    /// A view of a state without objects.
    pub fn new(headless_only: bool, pods: bool) -> Self {
        Self { headless_only, pods, ..Self::default() }
    }

    /// The kinds that are in it.
    pub const fn kinds(&self) -> Kinds {
        if self.pods { Kinds::ALL } else { Kinds::CORE }
    }

    /// What is in the view, and what is held of that. Complete are those of its kinds of which the state is.
    pub const fn state(&self) -> State<'_> {
        (&self.table, &self.held)
    }

    /// Follows the state. Returns the entries that make the view before into the view now, in the order of
    /// [`diff_states`].
    pub fn advance(&mut self, all: &Table, held: &HeldSet) -> Vec<Entry> {
        let before = (self.table.clone(), self.held.clone());
        self.follow(all, held);
        diff_states((&before.0, &before.1), self.state())
    }

    fn follow(&mut self, all: &Table, held: &HeldSet) {
        if self.pods && !self.headless_only {
            (self.table, self.held) = (all.clone(), held.clone());
            return;
        }
        let touched = self.touched(all, held);
        (self.all, self.all_held) = (all.clone(), held.clone());
        let complete = all.complete().intersection(self.kinds());
        let objects = self.kinds().iter().map(|kind| all.count(kind)).sum::<usize>();
        let anew = touched.len() > objects / MOST;
        if !self.headless_only {
            self.table = all.without_pods();
        } else if anew {
            self.table = self.build(complete);
        }
        let apply = self.headless_only && !anew;
        for key in touched {
            let Some(Seen { served, held }) = self.see(&key) else {
                self.held.release(&key);
                if apply {
                    self.table.delete(&key);
                }
                continue;
            };
            match held {
                Some((received, hold)) => self.held.insert(served.as_ref(), received, hold),
                None => drop(self.held.release(&key)),
            }
            if apply {
                self.table.upsert(served);
            }
        }
        self.table.follow(complete, all.serial());
    }

    /// The keys of everything that may be another in the view than it was.
    fn touched(&self, all: &Table, held: &HeldSet) -> BTreeSet<Key> {
        let mut touched = BTreeSet::new();
        let mut touch = |key: Key| {
            if !self.kinds().has(key.kind) {
                return;
            }
            // The shape of a service decides for its slices. Those that it has no longer changed themselves.
            if self.headless_only
                && key.kind == Kind::Service
                && let Some(entry) = all.service(key.namespace.as_bytes(), key.name.as_bytes())
            {
                touched.extend(entry.slices().map(slice_key));
            }
            touched.insert(key);
        };
        self.all.differences(all, |old, new| {
            if let Some(object) = new.or(old) {
                touch(object.key());
            }
        });
        self.all_held.differences(held, |key| touch(key.clone()));
        // A slice that is held back from another service follows the shapes of both.
        let moved = held.iter().filter(|held| held.is_moved()).map(|held| held.key());
        touched.extend(moved.cloned());
        touched
    }

    /// The view of the whole state.
    fn build(&self, complete: Kinds) -> Table {
        let mut builder = Builder::default();
        let keys = self.all.objects().map(|object| object.key());
        keys.filter_map(|key| self.see(&key)).for_each(|seen| builder.share(seen.served));
        builder.finish(complete, self.all.serial())
    }

    /// What the view has of an object.
    fn see(&self, key: &Key) -> Option<Seen> {
        if !self.kinds().has(key.kind) {
            return None;
        }
        let served = self.all.shared_object(key)?;
        let own = self.all_held.get(key.kind, key.namespace.as_bytes(), key.name.as_bytes());
        let held = own.map(|held| (held.received().cloned(), held.hold()));
        let Shared::EndpointSlice(slice) = &served else { return Some(Seen { served, held }) };
        if !self.headless_only {
            return Some(Seen { served, held });
        }
        let received = match own {
            None => Some(&**slice),
            Some(held) => held.received().and_then(as_slice),
        };
        let is_served = is_headless(self.served_service(&slice.namespace, &slice.service));
        let is_received =
            received.is_some_and(|r| is_headless(self.received_service(&r.namespace, &r.service)));
        match (is_served, is_received) {
            (true, true) => Some(Seen { served, held }),
            (true, false) => {
                let service = || self.held_service(&slice.namespace, &slice.service).map(|held| held.hold());
                let hold = own.map(|held| held.hold()).or_else(service);
                let held = hold.map(|hold| (None, hold));
                Some(Seen { served, held })
            }
            // Held back from where it is not seen: nothing would be kept by leaving it out.
            (false, true) => {
                let served = received.map_or(served.clone(), |r| Object::EndpointSlice(r.clone()).into());
                Some(Seen { served, held: None })
            }
            (false, false) => None,
        }
    }

    fn served_service(&self, namespace: &str, name: &str) -> Option<&Service> {
        self.all.service(namespace.as_bytes(), name.as_bytes())?.service()
    }

    fn held_service(&self, namespace: &str, name: &str) -> Option<&super::held::HeldObject> {
        self.all_held.get(Kind::Service, namespace.as_bytes(), name.as_bytes())
    }

    /// What the origin says of a service.
    fn received_service(&self, namespace: &str, name: &str) -> Option<&Service> {
        match self.held_service(namespace, name) {
            None => self.served_service(namespace, name),
            Some(held) => match held.received() {
                Some(Object::Service(service)) => Some(service),
                _ => None,
            },
        }
    }
}

fn is_headless(service: Option<&Service>) -> bool {
    matches!(service, Some(Service { shape: Shape::Headless, .. }))
}

fn as_slice(object: &Object) -> Option<&EndpointSlice> {
    match object {
        Object::EndpointSlice(slice) => Some(slice),
        _ => None,
    }
}

fn slice_key(slice: &EndpointSlice) -> Key {
    Key { kind: Kind::EndpointSlice, namespace: slice.namespace.clone(), name: slice.name.clone() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::zone::digest::Digest;
    use crate::zone::held::tests::{Model, Step, any_step};
    use crate::zone::held::{apply, entries};
    use crate::zone::object::{Addresses, Endpoints, Labels};

    type Objects = BTreeMap<Key, Object>;

    /// The part of some objects that is in a view.
    fn part(objects: &Objects, headless_only: bool, pods: bool) -> Objects {
        let is_in = |object: &Object| match object {
            Object::Pod(_) => pods,
            Object::EndpointSlice(slice) if headless_only => {
                let (kind, namespace, name) = (Kind::Service, slice.namespace.clone(), slice.service.clone());
                let service = objects.get(&Key { kind, namespace, name });
                matches!(service, Some(Object::Service(Service { shape: Shape::Headless, .. })))
            }
            _ => true,
        };
        objects.iter().filter(|(_, o)| is_in(o)).map(|(k, o)| (k.clone(), o.clone())).collect()
    }

    fn check(projection: &Projection, model: &Model) {
        let received = part(&model.received, projection.headless_only, projection.pods);
        // What is received and not held back by anything that is in the view is served.
        let mut served = received.clone();
        served.extend(part(&model.served(), projection.headless_only, projection.pods));
        let (table, held) = projection.state();
        let have: Objects = table.objects().map(|o| (o.key(), o.to_object())).collect();
        assert_eq!(have, served);
        for kind in Kind::ALL {
            let mut digest = Digest::default();
            received.values().filter(|o| o.kind() == kind).for_each(|o| digest.add(o.into()));
            assert_eq!(held.received_digest(table, kind), digest, "{kind}");
            assert_eq!(table.count(kind), served.keys().filter(|k| k.kind == kind).count());
        }
        for key in served.keys() {
            assert_eq!(held.received(table, key).map(|o| o.to_object()).as_ref(), received.get(key), "{key}");
        }
        assert_eq!(table.complete(), projection.kinds().without(Kind::Namespace));
    }

    proptest! {
        #[test]
        fn a_view_follows_its_state(
            headless_only in any::<bool>(),
            pods in any::<bool>(),
            steps in proptest::collection::vec(proptest::collection::vec(any_step(), 0..8), 0..20),
        ) {
            let mut all = Table::build([], Kinds::ALL.without(Kind::Namespace), 1);
            let (mut held, mut model) = (HeldSet::default(), Model::default());
            let mut projection = Projection::new(headless_only, pods);
            projection.advance(&all, &held);
            for steps in steps {
                let (mut table, mut held_before) = (projection.state().0.clone(), projection.state().1.clone());
                for step in &steps {
                    apply(&mut all, &mut held, Step::entry(step), 1);
                    model.apply(step);
                }
                let changes = projection.advance(&all, &held);
                check(&projection, &model);
                for entry in changes {
                    apply(&mut table, &mut held_before, entry, 1);
                }
                let whole = |t: &Table, h: &HeldSet| {
                    let mut all: Vec<_> = entries((t, h)).collect();
                    all.sort_by_key(|e| e.change.key());
                    all
                };
                let (now, now_held) = projection.state();
                prop_assert_eq!(whole(&table, &held_before), whole(now, now_held));
                prop_assert_eq!(projection.advance(&all, &held), []);
            }
        }
    }

    fn service(shape: Shape) -> Object {
        let (namespace, name) = ("a".into(), "s".into());
        Object::Service(Service { namespace, name, shape, ports: Box::default(), labels: Labels::default() })
    }

    fn slice(name: &str, service: &str) -> Object {
        let addresses = Addresses::V4([[10, 0, 0, 1].into()].into());
        Object::EndpointSlice(EndpointSlice {
            namespace: "a".into(),
            name: name.into(),
            service: service.into(),
            ports: Box::default(),
            endpoints: Endpoints::new::<&str>(addresses, &[], &[], &[]).unwrap(),
            labels: Labels::default(),
        })
    }

    #[test]
    fn slices_come_and_go_with_the_shape_of_their_service() {
        let cluster = || service(Shape::ClusterIp([[10, 96, 0, 1].into()].into()));
        let alias = || service(Shape::ExternalName("elsewhere.".into()));
        let gone = || Entry::delete(service(Shape::Headless).key());
        let steps: Vec<(&str, Entry, Vec<Entry>)> = vec![
            ("a slice before its service", slice("x", "s").into(), vec![]),
            (
                "the service, headless",
                service(Shape::Headless).into(),
                vec![service(Shape::Headless).into(), slice("x", "s").into()],
            ),
            ("another slice", slice("y", "s").into(), vec![slice("y", "s").into()]),
            ("a slice of no service", slice("z", "other").into(), vec![]),
            ("a slice goes over", slice("y", "other").into(), vec![Entry::delete(slice("y", "s").key())]),
            (
                "it gets an address",
                cluster().into(),
                vec![cluster().into(), Entry::delete(slice("x", "s").key())],
            ),
            ("a slice of such a service", slice("y", "s").into(), vec![]),
            (
                "it is headless again",
                service(Shape::Headless).into(),
                vec![service(Shape::Headless).into(), slice("x", "s").into(), slice("y", "s").into()],
            ),
            (
                "it becomes an alias",
                alias().into(),
                vec![
                    alias().into(),
                    Entry::delete(slice("x", "s").key()),
                    Entry::delete(slice("y", "s").key()),
                ],
            ),
            ("it is gone", gone(), vec![gone()]),
        ];
        let (mut all, mut held) = (Table::default(), HeldSet::default());
        let mut projection = Projection::new(true, false);
        for (name, entry, want) in steps {
            apply(&mut all, &mut held, entry, 1);
            assert_eq!(projection.advance(&all, &held), want, "{name}");
        }
    }

    #[test]
    fn the_slices_of_a_headless_service_are_held_with_it() {
        let (mut all, mut held) = (Table::default(), HeldSet::default());
        all.apply([service(Shape::Headless), slice("x", "s")].map(super::super::change::Change::Upsert), 1);
        let mut projection = Projection::new(true, false);
        projection.advance(&all, &held);
        held.insert((&service(Shape::Headless)).into(), None, 7);
        let entries = projection.advance(&all, &held);
        let of: Vec<_> = entries.iter().map(|e| (e.change.kind(), e.held.as_ref().map(|h| h.hold))).collect();
        assert_eq!(of, [(Kind::Service, Some(7)), (Kind::EndpointSlice, Some(7))]);
        let (table, held) = projection.state();
        assert_eq!(table.count(Kind::EndpointSlice), 1, "served");
        assert_eq!(held.received_digest(table, Kind::EndpointSlice), Digest::default(), "not received");
    }
}
