//! Making the next generation out of one: every index follows every change, and shares what did not change.

use std::sync::Arc;

use super::shared::Shared;
use super::{
    Builder, ByKey, Keyed, PodByIp, ServiceEntry, Table, add_reverse, cluster_ips, has_endpoint, hash_key,
    remove_reverse, same_key,
};
use crate::zone::change::Change;
use crate::zone::digest::Digest;
use crate::zone::object::{EndpointSlice, Key, Kind, Kinds, Object, ObjectRef, Pod, Service};
use crate::zone::trie::{Item, Trie};

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The state is the same as before.
    None,
    /// Something that answers depend on is different.
    Changed,
}

/// What a list changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Objects that are new or different.
    pub upserts: usize,
    /// Objects that are gone.
    pub deletes: usize,
}

impl Difference {
    /// Whether the states are the same.
    pub const fn is_empty(&self) -> bool {
        self.upserts == 0 && self.deletes == 0
    }
}

impl Table {
    /// A table of these objects, complete for these kinds; of two objects of one key the later one counts.
    /// `now` is Unix time in seconds, for the serial.
    pub fn build(objects: impl IntoIterator<Item = Object>, complete: Kinds, now: u32) -> Self {
        let mut builder = Builder::default();
        objects.into_iter().for_each(|object| builder.add(object));
        builder.finish(complete, now)
    }

    /// Applies single changes in order. `now` is Unix time in seconds.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>, now: u32) -> Effect {
        let mut effect = Effect::None;
        for change in changes {
            let this = match change {
                Change::Upsert(object) => self.upsert(object.into()),
                Change::Delete(key) => self.delete(&key),
            };
            if this == Effect::Changed {
                effect = this;
            }
        }
        if effect == Effect::Changed {
            self.touch(now);
        }
        effect
    }

    /// Serials only grow, also when the clock does not (RFC 1912 §2.2).
    pub(super) fn touch(&mut self, now: u32) {
        self.serial = self.serial.max(now);
    }

    /// The same table without pods, which it is not complete for.
    pub(in crate::zone) fn without_pods(&self) -> Self {
        let mut table = Self {
            pods: Trie::default(),
            pods_by_ip: Trie::default(),
            complete: self.complete.without(Kind::Pod),
            ..self.clone()
        };
        table.digests[Kind::Pod.index()] = Digest::default();
        table
    }

    /// For a table that is made of another: which kinds it is complete for, and the other's serial.
    pub(in crate::zone) fn follow(&mut self, complete: Kinds, serial: u32) {
        self.complete = complete;
        self.touch(serial);
    }

    /// Whether this is what the table has under its key.
    pub(super) fn same_as(&self, object: ObjectRef<'_>) -> bool {
        let (namespace, name) = object.parts();
        self.find(object.kind(), namespace.as_bytes(), name.as_bytes()) == Some(object)
    }

    pub(in crate::zone) fn upsert(&mut self, object: Shared) -> Effect {
        let new = object.as_ref();
        let kind = new.kind();
        if self.same_as(new) {
            return Effect::None;
        }
        self.digests[kind.index()].add(new);
        match object {
            Shared::Namespace(new) => {
                let old = self.namespaces.insert(ByKey(new.clone()), |o| o.0.name == new.name);
                self.forget(kind, old.as_ref().map(|o| ObjectRef::Namespace(&o.0)));
            }
            Shared::Service(new) => {
                let old = self.set_service(&new.namespace, &new.name, Some(new.clone()));
                self.forget(kind, old.as_deref().map(ObjectRef::Service));
            }
            Shared::EndpointSlice(new) => {
                let old = self.slices.insert(ByKey(new.clone()), |o| same_key(&*o.0, &*new)).map(|o| o.0);
                self.move_slice(old.as_ref(), Some(&new));
                self.forget(kind, old.as_deref().map(ObjectRef::EndpointSlice));
            }
            Shared::Pod(new) => {
                let old = self.pods.insert(ByKey(new.clone()), |o| same_key(&*o.0, &*new)).map(|o| o.0);
                self.move_pod(old.as_ref(), Some(&new));
                self.forget(kind, old.as_deref().map(ObjectRef::Pod));
            }
        }
        Effect::Changed
    }

    pub(in crate::zone) fn delete(&mut self, key: &Key) -> Effect {
        let (ns, name) = (key.namespace.as_bytes(), key.name.as_bytes());
        let hash = hash_key(ns, name);
        let kind = key.kind;
        match kind {
            Kind::Namespace => {
                let old = self.namespaces.remove(hash, |o| o.0.name == key.name);
                self.forget(kind, old.as_ref().map(|o| ObjectRef::Namespace(&o.0)))
            }
            Kind::Service => {
                let old = self.set_service(&key.namespace, &key.name, None);
                self.forget(kind, old.as_deref().map(ObjectRef::Service))
            }
            Kind::EndpointSlice => {
                let old = self.slices.remove(hash, |o| o.0.has_key(ns, name)).map(|o| o.0);
                self.move_slice(old.as_ref(), None);
                self.forget(kind, old.as_deref().map(ObjectRef::EndpointSlice))
            }
            Kind::Pod => {
                let old = self.pods.remove(hash, |o| o.0.has_key(ns, name)).map(|o| o.0);
                self.move_pod(old.as_ref(), None);
                self.forget(kind, old.as_deref().map(ObjectRef::Pod))
            }
        }
    }

    /// Takes an object that was there out of its kind's digest.
    fn forget(&mut self, kind: Kind, old: Option<ObjectRef<'_>>) -> Effect {
        let Some(old) = old else { return Effect::None };
        self.digests[kind.index()].remove(old);
        Effect::Changed
    }

    /// Sets or removes the service object of an entry, and with it its addresses in `reverse`.
    fn set_service(
        &mut self,
        namespace: &str,
        name: &str,
        new: Option<Arc<Service>>,
    ) -> Option<Arc<Service>> {
        let mut entry = self.take_entry(namespace, name);
        let old = std::mem::replace(&mut entry.service, new);
        let owner = hash_key(namespace.as_bytes(), name.as_bytes());
        let (before, after) = (cluster_ips(old.as_deref()), cluster_ips(entry.service.as_deref()));
        for ip in before.iter().filter(|ip| !entry.has_address(**ip)) {
            remove_reverse(&mut self.reverse, *ip, owner);
        }
        for ip in after.iter().filter(|ip| !before.contains(ip)) {
            add_reverse(&mut self.reverse, *ip, owner);
        }
        self.service_count += usize::from(entry.service.is_some());
        self.service_count -= usize::from(old.is_some());
        self.put_entry(namespace, name, entry);
        old
    }

    /// Moves a slice from the entry that it named to the one that it names now.
    fn move_slice(&mut self, old: Option<&Arc<EndpointSlice>>, new: Option<&Arc<EndpointSlice>>) {
        self.endpoint_count += new.map_or(0, |s| s.endpoints.len());
        self.endpoint_count -= old.map_or(0, |s| s.endpoints.len());
        let stays = matches!((old, new), (Some(o), Some(n)) if o.service == n.service);
        if !stays && let Some(old) = old {
            self.change_slices(&old.namespace, &old.service, Some(old), None);
        }
        if let Some(new) = new {
            self.change_slices(&new.namespace, &new.service, old.filter(|_| stays), Some(new));
        }
    }

    /// Replaces one slice of the entry of a service. Slices that name no service have no entry.
    fn change_slices(
        &mut self,
        namespace: &str,
        service: &str,
        old: Option<&Arc<EndpointSlice>>,
        new: Option<&Arc<EndpointSlice>>,
    ) {
        if service.is_empty() {
            return;
        }
        let mut entry = self.take_entry(namespace, service);
        match (old.and_then(|old| entry.slices.iter().position(|s| Arc::ptr_eq(s, old))), new) {
            (Some(at), Some(new)) => entry.slices[at] = new.clone(),
            (Some(at), None) => drop(entry.slices.swap_remove(at)),
            (None, Some(new)) => {
                entry.slices.reserve_exact(1);
                entry.slices.push(new.clone());
            }
            (None, None) => {}
        }
        let owner = hash_key(namespace.as_bytes(), service.as_bytes());
        if let Some(old) = old {
            for ip in old.endpoints.addresses().iter() {
                // An address that the new slice, another slice or the service still has stays.
                if !entry.has_address(ip) {
                    remove_reverse(&mut self.reverse, ip, owner);
                }
            }
        }
        if let Some(new) = new {
            for ip in new.endpoints.addresses().iter() {
                if old.is_none_or(|old| !has_endpoint(old, ip)) {
                    add_reverse(&mut self.reverse, ip, owner);
                }
            }
        }
        self.put_entry(namespace, service, entry);
    }

    /// A copy of an entry to work on: its pointers, not its objects.
    fn take_entry(&self, namespace: &str, name: &str) -> ServiceEntry {
        let entry = self.service(namespace.as_bytes(), name.as_bytes());
        entry.cloned().unwrap_or(ServiceEntry { service: None, slices: Vec::new() })
    }

    fn put_entry(&mut self, namespace: &str, name: &str, entry: ServiceEntry) {
        let is = |e: &Arc<ServiceEntry>| e.key() == (namespace, name);
        if entry.is_empty() {
            self.services.remove(hash_key(namespace.as_bytes(), name.as_bytes()), is);
        } else {
            self.services.insert(Arc::new(entry), is);
        }
    }

    fn move_pod(&mut self, old: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>) {
        if let Some(old) = old {
            self.pods_by_ip.remove(PodByIp(old.clone()).hash(), |p| Arc::ptr_eq(&p.0, old));
        }
        if let Some(new) = new {
            self.pods_by_ip.insert(PodByIp(new.clone()), |p| Arc::ptr_eq(&p.0, new));
        }
    }
}
