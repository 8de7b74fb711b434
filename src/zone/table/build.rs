//! Building a whole table at once.
//!
//! A change at a time would make every node of every index again for each item that is put into it, and leave
//! the memory in pieces. Here the objects are gathered first, and each index is then made from its sorted items
//! in one go: nothing is looked up, and every node is made once, as large as it has to be.

use std::sync::Arc;

use super::shared::Shared;
use super::{
    ByKey, Keyed, PodByIp, Reverse, ServiceEntry, Table, address_bits, cluster_ips, hash_address, hash_key,
};
use crate::zone::digest::Digest;
use crate::zone::object::{EndpointSlice, Kind, Kinds, Namespace, Object, ObjectRef, Pod, Service};
use crate::zone::trie::{Item, Trie};

/// Gathers objects for a table; see [`Table::build`].
#[derive(Debug, Default)]
pub struct Builder {
    /// Namespaces, in the order in which they came.
    namespaces: Vec<Arc<Namespace>>,
    /// Services, the same.
    services: Vec<Arc<Service>>,
    /// EndpointSlices, the same.
    slices: Vec<Arc<EndpointSlice>>,
    /// Pods, the same.
    pods: Vec<Arc<Pod>>,
}

impl Builder {
    /// Takes one more object; of two objects of one key the later one counts.
    pub fn add(&mut self, object: Object) {
        self.share(object.into());
    }

    /// [`Self::add`] for an object that another table may have, too.
    pub(in crate::zone) fn share(&mut self, object: Shared) {
        match object {
            Shared::Namespace(o) => self.namespaces.push(o),
            Shared::Service(o) => self.services.push(o),
            Shared::EndpointSlice(o) => self.slices.push(o),
            Shared::Pod(o) => self.pods.push(o),
        }
    }

    /// The table of what was added, complete for these kinds. `serial` is that of the zone's SOA, Unix time in
    /// seconds.
    pub fn finish(self, complete: Kinds, serial: u32) -> Table {
        let namespaces = latest(self.namespaces);
        let services = latest(self.services);
        let slices = latest(self.slices);
        let pods = latest(self.pods);
        let mut table = Table {
            service_count: services.len(),
            endpoint_count: slices.iter().map(|(_, s)| s.endpoints.len()).sum(),
            complete,
            serial,
            ..Table::default()
        };
        table.digests[Kind::Namespace.index()] = digest(&namespaces, |o| ObjectRef::Namespace(o));
        table.digests[Kind::Service.index()] = digest(&services, |o| ObjectRef::Service(o));
        table.digests[Kind::EndpointSlice.index()] = digest(&slices, |o| ObjectRef::EndpointSlice(o));
        table.digests[Kind::Pod.index()] = digest(&pods, |o| ObjectRef::Pod(o));

        let mut by_ip: Vec<_> = pods.iter().map(|(_, p)| hashed(PodByIp(p.clone()))).collect();
        by_ip.sort_unstable_by_key(|(hash, _)| *hash);
        table.pods_by_ip = Trie::from_sorted(&by_ip);
        table.pods = by_key(pods);
        table.namespaces = by_key(namespaces);

        let entries = entries(services, &slices);
        table.slices = by_key(slices);
        table.reverse = Trie::from_sorted(&reverse(&entries));
        table.services = Trie::from_sorted(&entries);
        table
    }
}

/// An item behind its hash, by which it is sorted.
type Hashed<T> = (u64, T);

fn hashed<T: Item>(item: T) -> Hashed<T> {
    (item.hash(), item)
}

/// What items are sorted by: the hash, and the key where different keys share a hash.
type Place<'k> = (u64, (&'k str, &'k str));

fn place<T: Keyed>((hash, object): &Hashed<Arc<T>>) -> Place<'_> {
    (*hash, object.parts())
}

/// Where the service stands that a slice names.
fn owner<'k>((hash, slice): &Hashed<&'k Arc<EndpointSlice>>) -> Place<'k> {
    (*hash, (&slice.namespace, &slice.service))
}

/// The last object of each key, sorted by hash.
fn latest<T: Keyed>(objects: Vec<Arc<T>>) -> Vec<Hashed<Arc<T>>> {
    let mut all: Vec<_> = objects.into_iter().map(|o| (o.key_hash(), o)).collect();
    // Stable, so that of one key the last to come stays the last.
    all.sort_by(|a, b| place(a).cmp(&place(b)));
    all.dedup_by(|later, earlier| {
        let same = place(later) == place(earlier);
        if same {
            std::mem::swap(later, earlier);
        }
        same
    });
    all
}

fn digest<T>(objects: &[Hashed<Arc<T>>], as_ref: impl Fn(&T) -> ObjectRef<'_>) -> Digest {
    let mut digest = Digest::default();
    objects.iter().for_each(|(_, o)| digest.add(as_ref(o)));
    digest
}

fn by_key<T: Keyed>(objects: Vec<Hashed<Arc<T>>>) -> Trie<ByKey<T>> {
    let items: Vec<_> = objects.into_iter().map(|(hash, o)| (hash, ByKey(o))).collect();
    Trie::from_sorted(&items)
}

/// Services with their slices, sorted by hash.
fn entries(
    services: Vec<Hashed<Arc<Service>>>,
    slices: &[Hashed<Arc<EndpointSlice>>],
) -> Vec<Hashed<Arc<ServiceEntry>>> {
    let mut named: Vec<Hashed<&Arc<EndpointSlice>>> = slices
        .iter()
        .filter(|(_, s)| !s.service.is_empty())
        .map(|(_, s)| (hash_key(s.namespace.as_bytes(), s.service.as_bytes()), s))
        .collect();
    named.sort_unstable_by(|a, b| owner(a).cmp(&owner(b)));
    let mut groups = named.chunk_by(|a, b| owner(a) == owner(b)).peekable();

    let mut entries = Vec::with_capacity(services.len());
    let mut push = |hash, service, group: &[Hashed<&Arc<EndpointSlice>>]| {
        let slices = group.iter().map(|(_, s)| Arc::clone(s)).collect();
        entries.push((hash, Arc::new(ServiceEntry { service, slices })));
    };
    // Both are in the same order: each service meets its slices, and slices without a service go in between.
    for service in services {
        while let Some(group) = groups.next_if(|g| owner(&g[0]) < place(&service)) {
            push(group[0].0, None, group);
        }
        let own = groups.next_if(|g| owner(&g[0]) == place(&service)).unwrap_or_default();
        push(service.0, Some(service.1), own);
    }
    groups.for_each(|group| push(group[0].0, None, group));
    entries
}

/// The addresses of every entry, each once, sorted by hash.
fn reverse(entries: &[Hashed<Arc<ServiceEntry>>]) -> Vec<Hashed<Reverse>> {
    let addresses = |e: &ServiceEntry| {
        cluster_ips(e.service.as_deref()).len() + e.slices().map(|s| s.endpoints.len()).sum::<usize>()
    };
    let mut all = Vec::with_capacity(entries.iter().map(|(_, e)| addresses(e)).sum());
    for (owner, entry) in entries {
        let own = cluster_ips(entry.service.as_deref()).iter().copied();
        for ip in own.chain(entry.slices().flat_map(|s| s.endpoints.addresses().iter())) {
            let address = address_bits(ip);
            all.push((hash_address(address), Reverse { address, owner: *owner }));
        }
    }
    all.sort_unstable_by_key(|(hash, r)| (*hash, r.address, r.owner));
    all.dedup();
    all
}
