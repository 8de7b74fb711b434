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

/// What may be another in a view than it was.
enum Touched {
    /// The objects of these keys.
    Keys(BTreeSet<Key>),
    /// So much that the view is made anew.
    Much,
}

/// A view is made anew if more than one in so many of all objects differ; see the same in the table's lists.
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

    /// Follows the state without saying what that changes: for a view that nobody has yet.
    pub fn follow(&mut self, all: &Table, held: &HeldSet) {
        if self.pods && !self.headless_only {
            (self.table, self.held) = (all.clone(), held.clone());
            return;
        }
        let touched = self.touched(all, held);
        (self.all, self.all_held) = (all.clone(), held.clone());
        let complete = all.complete().intersection(self.kinds());
        if !self.headless_only {
            self.table = all.without_pods();
        }
        match touched {
            Touched::Keys(keys) => keys.iter().for_each(|key| self.set(key, self.headless_only)),
            Touched::Much => {
                self.table = self.build(complete);
                self.held = HeldSet::default();
                self.may_be_held().iter().for_each(|key| self.set(key, false));
            }
        }
        self.table.follow(complete, all.serial());
    }

    /// Makes an object what it is in the view: what is held of it, and, if its table is not done yet, what is served.
    fn set(&mut self, key: &Key, serve: bool) {
        let Some(Seen { served, held }) = self.see(key) else {
            self.held.release(key);
            if serve {
                self.table.delete(key);
            }
            return;
        };
        match held {
            Some((received, hold)) => self.held.insert(served.as_ref(), received, hold),
            None => drop(self.held.release(key)),
        }
        if serve {
            self.table.upsert(served);
        }
    }

    /// What may be another in the view than it was.
    fn touched(&self, all: &Table, held: &HeldSet) -> Touched {
        let objects = self.kinds().iter().map(|kind| all.count(kind)).sum::<usize>();
        let mut touched = BTreeSet::new();
        // Where nothing but pods is left out the table is that of the state.
        if self.headless_only {
            let mut differ = 0;
            self.all.differences(all, |old, new| {
                let Some(object) = new.or(old).filter(|o| self.kinds().has(o.kind())) else { return };
                differ += 1;
                if differ <= objects / MOST {
                    self.touch(object.key(), all, &mut touched);
                }
            });
            if differ > objects / MOST {
                return Touched::Much;
            }
        }
        self.all_held.differences(held, |key| self.touch(key.clone(), all, &mut touched));
        touched.extend(held.moved().cloned());
        Touched::Keys(touched)
    }

    /// Adds an object, and what is in the view by its leave.
    fn touch(&self, key: Key, all: &Table, touched: &mut BTreeSet<Key>) {
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
    }

    /// Everything that may be held within the view.
    fn may_be_held(&self) -> BTreeSet<Key> {
        let mut keys = BTreeSet::new();
        self.all_held.iter().for_each(|held| self.touch(held.key().clone(), &self.all, &mut keys));
        keys
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
mod tests;
