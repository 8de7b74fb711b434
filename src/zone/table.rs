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
mod change;
mod diff;
mod relist;
mod shared;

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use xxhash_rust::xxh3::xxh3_64_with_seed;

pub use self::build::Builder;
pub use self::change::{Difference, Effect};
pub use self::relist::{Fate, Relist, Withheld};
pub(super) use self::shared::Shared;
use super::digest::Digest;
use super::object::{EndpointSlice, Key, Kind, Kinds, Namespace, ObjectRef, Pod, Service, Shape};
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
    /// Pods by address.
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

    /// The namespace that it is in.
    pub fn namespace(&self) -> &str {
        self.key().0
    }

    /// The name of the service.
    pub fn name(&self) -> &str {
        self.key().1
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

    /// Every namespace, in storage order.
    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.namespaces.iter().map(|o| &*o.0)
    }

    /// Every service, and every name of a service that only slices have yet, in storage order.
    pub fn services(&self) -> impl Iterator<Item = &ServiceEntry> {
        self.services.iter().map(|e| &**e)
    }

    /// Every pod, in storage order.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter().map(|o| &*o.0)
    }

    /// The EndpointSlice of this name.
    pub fn slice(&self, namespace: &[u8], name: &[u8]) -> Option<&EndpointSlice> {
        by_key(&self.slices, namespace, name)
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
        self.pods_at(ip).find(|pod| pod.namespace.as_bytes() == namespace)
    }

    /// Every pod with this address: those in the network of their node share it.
    pub fn pods_at(&self, ip: IpAddr) -> impl Iterator<Item = &Pod> {
        self.pods_by_ip.all(hash_address(address_bits(ip))).map(|p| &*p.0).filter(move |pod| pod.ip == ip)
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

/// A pod under its address.
#[derive(Clone, Debug)]
struct PodByIp(Arc<Pod>);

impl Item for PodByIp {
    fn hash(&self) -> u64 {
        hash_address(address_bits(self.0.ip))
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

pub(super) fn hash_key(namespace: &[u8], name: &[u8]) -> u64 {
    xxh3_64_with_seed(name, xxh3_64_with_seed(namespace, *SEED))
}

fn hash_address(bits: [u8; 16]) -> u64 {
    xxh3_64_with_seed(&bits, *SEED)
}

#[cfg(test)]
pub(super) use self::tests::any_object;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::zone::change::Change;
    use crate::zone::object::{Addresses, Endpoints, Object, Port, Protocol};

    fn ip(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    /// Few names and addresses, so that objects meet.
    pub(in crate::zone) fn any_object() -> impl Strategy<Value = Object> {
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
    pub(super) fn check(table: &Table, model: &BTreeMap<Key, Object>) {
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
            let pods = || {
                model.values().filter_map(|o| match o {
                    Object::Pod(pod) if pod.ip == ip(n) => Some(pod),
                    _ => None,
                })
            };
            for ns in ["o0", "o1"] {
                let known = pods().any(|pod| &*pod.namespace == ns);
                assert_eq!(table.pod(ns.as_bytes(), ip(n)).is_some(), known);
            }
            let key = |pod: &Pod| (pod.namespace.to_string(), pod.name.to_string());
            let mut have: Vec<_> = table.pods_at(ip(n)).map(key).collect();
            have.sort();
            assert_eq!(have, pods().map(key).collect::<Vec<_>>(), "pods at {}", ip(n));
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
    }
}
