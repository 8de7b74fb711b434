//! The table: one immutable generation of everything that the cluster's names are made of.
//!
//! A [`Table`] is a value. Cloning it copies a handful of pointers; [`Table::apply`] changes the clone and
//! shares all that did not change with the original, which readers go on using. Writing a snapshot,
//! freezing, rolling back, comparing and judging are operations on tables and never stop a query.
//!
//! Indexes: objects by key, services with their slices, addresses to the services that have them (for PTR),
//! pods by address. All hold pointers to the same objects, or hashes; no string is stored twice.
//!
//! Cost of a change: the objects that it replaces and one path of each index, whatever the cluster's size.

mod build;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

pub use self::build::Builder;
use super::change::Change;
use super::digest::Digest;
use super::object::{EndpointSlice, Key, Kind, Kinds, Namespace, Object, ObjectRef, Pod, Service, Shape};
use super::trie::{Item, Trie};

/// One generation of the cluster's state.
#[derive(Clone, Default)]
pub struct Table {
    /// Namespaces by name.
    namespaces: Trie<ByKey<Namespace>>,
    /// Services with their slices, by namespace and name.
    services: Trie<Arc<ServiceEntry>>,
    /// EndpointSlices by key, also those that belong to no service.
    slices: Trie<ByKey<EndpointSlice>>,
    /// Addresses of services and endpoints to the entry in `services` that has them.
    reverse: Trie<Reverse>,
    /// Pods by key.
    pods: Trie<ByKey<Pod>>,
    /// Pods by namespace and address.
    pods_by_ip: Trie<PodByIp>,
    /// Services that exist as objects; entries with slices only do not count.
    service_count: usize,
    /// Addresses in all slices together.
    endpoint_count: usize,
    /// By kind.
    digests: [Digest; 4],
    /// Kinds whose list has been complete at least once.
    complete: Kinds,
    /// SOA serial: Unix time of the last change.
    serial: u32,
}

/// A service and the slices that name it; either may arrive first.
#[derive(Clone, Debug)]
pub struct ServiceEntry {
    /// The service, once it has arrived.
    service: Option<Arc<Service>>,
    /// Its slices.
    slices: Vec<Arc<EndpointSlice>>,
}

impl ServiceEntry {
    /// The service, if the object exists.
    pub fn service(&self) -> Option<&Service> {
        self.service.as_deref()
    }

    /// The slices that name it.
    pub fn slices(&self) -> impl Iterator<Item = &EndpointSlice> {
        self.slices.iter().map(|s| &**s)
    }

    /// Namespace and name; an entry always has a service or a slice.
    fn key(&self) -> (&str, &str) {
        match (&self.service, self.slices.first()) {
            (Some(s), _) => (&s.namespace, &s.name),
            (None, Some(s)) => (&s.namespace, &s.service),
            (None, None) => ("", ""),
        }
    }

    fn is_empty(&self) -> bool {
        self.service.is_none() && self.slices.is_empty()
    }

    /// Whether the service or one of its slices has this address.
    fn has_address(&self, ip: IpAddr) -> bool {
        cluster_ips(self.service.as_deref()).contains(&ip) || self.slices.iter().any(|s| has_endpoint(s, ip))
    }
}

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The state is the same as before.
    None,
    /// Something that answers depend on is different.
    Changed,
}

/// What replacing a whole state did.
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

// === Reading ===

impl Table {
    /// How many objects of a kind there are.
    pub const fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Namespace => self.namespaces.len(),
            Kind::Service => self.service_count,
            Kind::EndpointSlice => self.slices.len(),
            Kind::Pod => self.pods.len(),
        }
    }

    /// How many addresses all slices have together.
    pub const fn endpoint_count(&self) -> usize {
        self.endpoint_count
    }

    /// The kinds whose list has been complete at least once; a missing name of another kind may exist.
    pub const fn complete(&self) -> Kinds {
        self.complete
    }

    /// The SOA serial: Unix seconds of the last change; 0 before the first object.
    pub const fn serial(&self) -> u32 {
        self.serial
    }

    /// The digest of all objects of a kind.
    pub const fn digest(&self, kind: Kind) -> Digest {
        self.digests[kind.index()]
    }

    /// The namespace of this name.
    pub fn namespace(&self, name: &[u8]) -> Option<&Namespace> {
        let is = |o: &ByKey<Namespace>| o.0.name.as_bytes() == name;
        self.namespaces.get(hash_key(b"", name), is).map(|o| &*o.0)
    }

    /// The service of this name, with its slices.
    pub fn service(&self, namespace: &[u8], name: &[u8]) -> Option<&ServiceEntry> {
        self.entry(namespace, name).map(|e| &**e)
    }

    fn entry(&self, namespace: &[u8], name: &[u8]) -> Option<&Arc<ServiceEntry>> {
        let is = |e: &Arc<ServiceEntry>| {
            let (ns, n) = e.key();
            ns.as_bytes() == namespace && n.as_bytes() == name
        };
        self.services.get(hash_key(namespace, name), is)
    }

    /// Every service that has this address, as a cluster address or as that of an endpoint.
    pub fn by_address(&self, ip: IpAddr) -> impl Iterator<Item = &ServiceEntry> {
        let bits = address_bits(ip);
        self.reverse
            .all(hash_address(bits))
            .filter(move |r| r.address == bits)
            .flat_map(move |r| self.services.all(r.owner))
            .map(|e| &**e)
            .filter(move |e| e.has_address(ip))
    }

    /// A pod with this address in this namespace.
    pub fn pod(&self, namespace: &[u8], ip: IpAddr) -> Option<&Pod> {
        let is = |p: &PodByIp| p.0.ip == ip && p.0.namespace.as_bytes() == namespace;
        self.pods_by_ip.get(hash_pod(namespace, ip), is).map(|p| &*p.0)
    }

    /// Every object, kind by kind in storage order.
    pub fn objects(&self) -> impl Iterator<Item = ObjectRef<'_>> {
        let namespaces = self.namespaces.iter().map(|o| ObjectRef::Namespace(&o.0));
        let services = self.services.iter().filter_map(|e| e.service()).map(ObjectRef::Service);
        let slices = self.slices.iter().map(|o| ObjectRef::EndpointSlice(&o.0));
        let pods = self.pods.iter().map(|o| ObjectRef::Pod(&o.0));
        namespaces.chain(services).chain(slices).chain(pods)
    }

    /// The object of this key.
    pub fn object(&self, key: &Key) -> Option<ObjectRef<'_>> {
        self.find(key.kind, key.namespace.as_bytes(), key.name.as_bytes())
    }

    fn find(&self, kind: Kind, namespace: &[u8], name: &[u8]) -> Option<ObjectRef<'_>> {
        match kind {
            Kind::Namespace => self.namespace(name).map(ObjectRef::Namespace),
            Kind::Service => self.service(namespace, name)?.service().map(ObjectRef::Service),
            Kind::EndpointSlice => by_key(&self.slices, namespace, name).map(ObjectRef::EndpointSlice),
            Kind::Pod => by_key(&self.pods, namespace, name).map(ObjectRef::Pod),
        }
    }
}

// === Changing ===

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
                Change::Upsert(object) => self.upsert(object),
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

    /// Makes the state of `kinds` exactly `objects`: upserts what differs, deletes what is not there, and
    /// leaves (and shares) everything else. Objects of other kinds are ignored.
    pub fn replace(&mut self, kinds: Kinds, objects: Vec<Object>, now: u32) -> Difference {
        let mut difference = Difference::default();
        // Of two objects of one key the later one counts, so that the same list never differs from itself.
        let mut seen = HashMap::with_capacity(objects.len());
        for (at, object) in objects.iter().enumerate().filter(|(_, o)| kinds.has(o.kind())) {
            seen.insert(key_fingerprint(ObjectRef::from(object)), at);
        }
        for (at, object) in objects.into_iter().enumerate() {
            if seen.get(&key_fingerprint(ObjectRef::from(&object))) == Some(&at) {
                difference.upserts += usize::from(self.upsert(object) == Effect::Changed);
            }
        }
        let gone: Vec<Key> = self
            .objects()
            .filter(|o| kinds.has(o.kind()) && !seen.contains_key(&key_fingerprint(*o)))
            .map(|o| o.key())
            .collect();
        difference.deletes = gone.len();
        for key in &gone {
            self.delete(key);
        }
        self.complete = self.complete.union(kinds);
        if !difference.is_empty() {
            self.touch(now);
        }
        difference
    }

    /// Serials only grow, also when the clock does not (RFC 1912 §2.2).
    fn touch(&mut self, now: u32) {
        self.serial = self.serial.max(now);
    }

    fn upsert(&mut self, object: Object) -> Effect {
        let kind = object.kind();
        let new = ObjectRef::from(&object);
        let (namespace, name) = new.parts();
        if self.find(kind, namespace.as_bytes(), name.as_bytes()) == Some(new) {
            return Effect::None;
        }
        self.digests[kind.index()].add(new);
        match object {
            Object::Namespace(new) => {
                let new = Arc::new(new);
                let old = self.namespaces.insert(ByKey(new.clone()), |o| o.0.name == new.name);
                self.forget(kind, old.as_ref().map(|o| ObjectRef::Namespace(&o.0)));
            }
            Object::Service(new) => {
                let new = Arc::new(new);
                let old = self.set_service(&new.namespace, &new.name, Some(new.clone()));
                self.forget(kind, old.as_deref().map(ObjectRef::Service));
            }
            Object::EndpointSlice(new) => {
                let new = Arc::new(new);
                let old = self.slices.insert(ByKey(new.clone()), |o| same_key(&*o.0, &*new)).map(|o| o.0);
                self.move_slice(old.as_ref(), Some(&new));
                self.forget(kind, old.as_deref().map(ObjectRef::EndpointSlice));
            }
            Object::Pod(new) => {
                let new = Arc::new(new);
                let old = self.pods.insert(ByKey(new.clone()), |o| same_key(&*o.0, &*new)).map(|o| o.0);
                self.move_pod(old.as_ref(), Some(&new));
                self.forget(kind, old.as_deref().map(ObjectRef::Pod));
            }
        }
        Effect::Changed
    }

    fn delete(&mut self, key: &Key) -> Effect {
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
            let hash = hash_pod(old.namespace.as_bytes(), old.ip);
            self.pods_by_ip.remove(hash, |p| Arc::ptr_eq(&p.0, old));
        }
        if let Some(new) = new {
            self.pods_by_ip.insert(PodByIp(new.clone()), |p| Arc::ptr_eq(&p.0, new));
        }
    }
}

fn cluster_ips(service: Option<&Service>) -> &[IpAddr] {
    match service.map(|s| &s.shape) {
        Some(Shape::ClusterIp(ips)) => ips,
        _ => &[],
    }
}

fn has_endpoint(slice: &EndpointSlice, ip: IpAddr) -> bool {
    use super::object::Addresses::{V4, V6};
    match (slice.endpoints.addresses(), ip) {
        (V4(all), IpAddr::V4(ip)) => all.contains(&ip),
        (V6(all), IpAddr::V6(ip)) => all.contains(&ip),
        _ => false,
    }
}

// === What the indexes hold ===

/// An object under its own key.
#[derive(Debug)]
struct ByKey<T>(Arc<T>);

impl<T> Clone for ByKey<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// An object that has a namespace and a name.
trait Keyed {
    fn parts(&self) -> (&str, &str);

    fn has_key(&self, namespace: &[u8], name: &[u8]) -> bool {
        let (ns, n) = self.parts();
        ns.as_bytes() == namespace && n.as_bytes() == name
    }

    fn key_hash(&self) -> u64 {
        let (namespace, name) = self.parts();
        hash_key(namespace.as_bytes(), name.as_bytes())
    }
}

impl Keyed for Namespace {
    fn parts(&self) -> (&str, &str) {
        ("", &self.name)
    }
}

impl Keyed for Service {
    fn parts(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }
}

impl Keyed for EndpointSlice {
    fn parts(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }
}

impl Keyed for Pod {
    fn parts(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }
}

fn same_key<T: Keyed>(a: &T, b: &T) -> bool {
    a.parts() == b.parts()
}

fn by_key<'t, T: Keyed>(trie: &'t Trie<ByKey<T>>, namespace: &[u8], name: &[u8]) -> Option<&'t T> {
    trie.get(hash_key(namespace, name), |o| o.0.has_key(namespace, name)).map(|o| &*o.0)
}

impl<T: Keyed> Item for ByKey<T> {
    fn hash(&self) -> u64 {
        self.0.key_hash()
    }
}

impl Item for Arc<ServiceEntry> {
    fn hash(&self) -> u64 {
        let (namespace, name) = self.key();
        hash_key(namespace.as_bytes(), name.as_bytes())
    }
}

/// An address and the hash of the service entry that has it. The entry itself is found by the hash and asked
/// whether it really has the address, so that this index need not follow the entry's changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reverse {
    /// IPv4 addresses in their IPv4-mapped form.
    address: [u8; 16],
    /// Hash of the key of the entry.
    owner: u64,
}

impl Item for Reverse {
    fn hash(&self) -> u64 {
        hash_address(self.address)
    }
}

fn add_reverse(reverse: &mut Trie<Reverse>, ip: IpAddr, owner: u64) {
    let item = Reverse { address: address_bits(ip), owner };
    reverse.insert(item, |r| *r == item);
}

fn remove_reverse(reverse: &mut Trie<Reverse>, ip: IpAddr, owner: u64) {
    let item = Reverse { address: address_bits(ip), owner };
    reverse.remove(item.hash(), |r| *r == item);
}

/// A pod under its namespace and address.
#[derive(Clone, Debug)]
struct PodByIp(Arc<Pod>);

impl Item for PodByIp {
    fn hash(&self) -> u64 {
        hash_pod(self.0.namespace.as_bytes(), self.0.ip)
    }
}

const fn address_bits(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

// === Hashes ===

/// Differs from process to process, so that nobody can choose object names whose hashes collide.
static SEED: LazyLock<u64> = LazyLock::new(|| {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
});

fn hash_key(namespace: &[u8], name: &[u8]) -> u64 {
    xxh3_64_with_seed(name, xxh3_64_with_seed(namespace, *SEED))
}

fn hash_address(bits: [u8; 16]) -> u64 {
    xxh3_64_with_seed(&bits, *SEED)
}

fn hash_pod(namespace: &[u8], ip: IpAddr) -> u64 {
    hash_key(namespace, &address_bits(ip))
}

/// Identifies an object among all others; 128 bits, so that a collision (which would keep a deleted object)
/// does not happen in practice.
fn key_fingerprint(object: ObjectRef<'_>) -> u128 {
    let (namespace, name) = object.parts();
    let mut bytes = Vec::with_capacity(namespace.len() + name.len() + 2);
    bytes.push(object.kind().index() as u8);
    bytes.extend_from_slice(namespace.as_bytes());
    bytes.push(b'/');
    bytes.extend_from_slice(name.as_bytes());
    xxh3_128(&bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::zone::object::{Addresses, Endpoints, Port, Protocol};

    fn ip(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    /// Few names and addresses, so that objects meet.
    fn any_object() -> impl Strategy<Value = Object> {
        let name = |n: u8| Box::<str>::from(format!("o{n}"));
        let label = (0u8..3).prop_map(|n| Labels::from([("l".into(), n.to_string().into())]));
        let port =
            (0u16..3).prop_map(|n| Port { name: "p".into(), number: Some(n), protocol: Protocol::Tcp });
        prop_oneof![
            (0u8..2, label)
                .prop_map(move |(n, labels)| Object::Namespace(Namespace { name: name(n), labels })),
            (0u8..2, 0u8..3, proptest::option::of(proptest::collection::vec(0u8..6, 0..3)), port).prop_map(
                move |(ns, n, ips, port)| Object::Service(Service {
                    namespace: name(ns),
                    name: name(n),
                    shape: ips.map_or(Shape::Headless, |v| Shape::ClusterIp(v.into_iter().map(ip).collect())),
                    ports: [port].into(),
                    labels: Labels::default(),
                })
            ),
            (0u8..2, 0u8..4, 0u8..4, proptest::collection::vec(0u8..6, 0..4)).prop_map(
                move |(ns, n, service, ips)| {
                    let addresses = ips.iter().map(|n| [10, 0, 0, *n].into()).collect();
                    let endpoints = Endpoints::new::<&str>(Addresses::V4(addresses), &[], &[], &[]).unwrap();
                    let service = if service == 3 { "".into() } else { name(service) };
                    let (namespace, name) = (name(ns), name(n));
                    let (ports, labels) = (Box::default(), Labels::default());
                    Object::EndpointSlice(EndpointSlice {
                        namespace,
                        name,
                        service,
                        ports,
                        endpoints,
                        labels,
                    })
                }
            ),
            (0u8..2, 0u8..3, 0u8..4).prop_map(move |(ns, n, address)| Object::Pod(Pod {
                namespace: name(ns),
                name: name(n),
                ip: ip(address),
                labels: Labels::default(),
            })),
        ]
    }

    use crate::zone::object::Labels;

    /// What any index must say, worked out from the objects alone.
    fn check(table: &Table, model: &BTreeMap<Key, Object>) {
        let mut have: Vec<_> = table.objects().map(|o| (o.key(), o.to_object())).collect();
        have.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(have, model.iter().map(|(k, o)| (k.clone(), o.clone())).collect::<Vec<_>>());
        for kind in Kind::ALL {
            let mut digest = Digest::default();
            model.values().filter(|o| o.kind() == kind).for_each(|o| digest.add(o.into()));
            assert_eq!(table.digest(kind), digest);
            assert_eq!(table.count(kind), digest.count as usize);
        }
        let slices = || {
            model.values().filter_map(|o| match o {
                Object::EndpointSlice(s) => Some(s),
                _ => None,
            })
        };
        assert_eq!(table.endpoint_count(), slices().map(|s| s.endpoints.len()).sum::<usize>());
        for n in 0..6 {
            let mut owners: Vec<(String, String)> = slices()
                .filter(|s| !s.service.is_empty() && has_endpoint(s, ip(n)))
                .map(|s| (s.namespace.to_string(), s.service.to_string()))
                .chain(model.values().filter_map(|o| match o {
                    Object::Service(s) if cluster_ips(Some(s)).contains(&ip(n)) => {
                        Some((s.namespace.to_string(), s.name.to_string()))
                    }
                    _ => None,
                }))
                .collect();
            owners.sort();
            owners.dedup();
            let mut have: Vec<_> =
                table.by_address(ip(n)).map(|e| (e.key().0.to_owned(), e.key().1.to_owned())).collect();
            have.sort();
            assert_eq!(have, owners, "owners of {}", ip(n));
            for ns in ["o0", "o1"] {
                let known = model
                    .values()
                    .any(|o| matches!(o, Object::Pod(p) if p.ip == ip(n) && &*p.namespace == ns));
                assert_eq!(table.pod(ns.as_bytes(), ip(n)).is_some(), known);
            }
        }
    }

    proptest! {
        #[test]
        fn every_index_follows_every_change(
            start in proptest::collection::vec(any_object(), 0..30),
            steps in proptest::collection::vec((0u8..4, any_object()), 0..60),
        ) {
            let mut table = Table::build(start.clone(), Kinds::ALL, 1);
            let mut model: BTreeMap<_, _> = start.into_iter().map(|o| (o.key(), o)).collect();
            check(&table, &model);
            for (what, object) in steps {
                let key = object.key();
                if what == 0 {
                    let effect = table.apply([Change::Delete(key.clone())], 1);
                    prop_assert_eq!(effect == Effect::Changed, model.remove(&key).is_some());
                } else {
                    let before = model.insert(key, object.clone());
                    let effect = table.apply([Change::Upsert(object.clone())], 1);
                    prop_assert_eq!(effect == Effect::None, before.as_ref() == Some(&object));
                }
                check(&table, &model);
            }
        }

        #[test]
        fn replacing_a_state_gives_that_state_and_leaves_the_old_one(
            old in proptest::collection::vec(any_object(), 0..30),
            new in proptest::collection::vec(any_object(), 0..30),
        ) {
            let model = |objects: &[Object]| -> BTreeMap<Key, Object> {
                objects.iter().map(|o| (o.key(), o.clone())).collect()
            };
            let before = Table::build(old.clone(), Kinds::ALL, 1);
            let mut after = before.clone();
            let difference = after.replace(Kinds::ALL, new.clone(), 2);
            check(&before, &model(&old));
            check(&after, &model(&new));
            prop_assert_eq!(difference.is_empty(), model(&old) == model(&new));
            prop_assert_eq!(after.replace(Kinds::ALL, new, 3), Difference::default());
        }
    }

    #[test]
    fn a_state_of_some_kinds_leaves_the_others() {
        let ns = |n: &str| Object::Namespace(Namespace { name: n.into(), labels: Labels::default() });
        let pod = Object::Pod(Pod {
            namespace: "a".into(),
            name: "p".into(),
            ip: ip(1),
            labels: Labels::default(),
        });
        let mut table = Table::build([ns("a"), pod], Kinds::ALL, 5);
        let difference = table.replace(Kinds::NONE.with(Kind::Namespace), vec![ns("b")], 9);
        assert_eq!(difference, Difference { upserts: 1, deletes: 1 });
        assert_eq!((table.count(Kind::Namespace), table.count(Kind::Pod), table.serial()), (1, 1, 9));
    }
}
