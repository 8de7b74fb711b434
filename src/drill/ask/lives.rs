//! What each service was from when on, read from the history of a stand-in.
//!
//! Invariant: moments of a service follow each other without a gap; the first one is what was there when reading began, or
//! at the moment before which all is forgotten.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::rules::{self, Endpoint, Seen, Service};
use crate::drill::standin::etcd::{Backup, Etcd, Stored, What, Write};
use crate::zone::object::Kind;

/// The label of a slice that says whose it is.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// What a service was from some moment on, until that of the next one.
pub(super) struct Moment {
    /// From when on; `None` for what was there before anything was written.
    pub(super) at: Option<Instant>,
    /// Whether it came about by a restore.
    pub(super) by_restore: bool,
    /// What there was, if anything.
    pub(super) seen: Option<Arc<Seen>>,
}

/// A service, and what it was.
struct Life {
    /// Its Service, if there is one.
    service: Option<Arc<Service>>,
    /// The endpoints of its slices, by slice.
    slices: BTreeMap<String, Vec<Endpoint>>,
    /// The oldest first, at least one.
    moments: Vec<Moment>,
}

impl Moment {
    /// Addresses of the service and its endpoints.
    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.seen.iter().flat_map(|seen| seen.addresses())
    }
}

impl Life {
    /// Whether the service has or had this address, as far as is known.
    fn has_had(&self, ip: IpAddr) -> bool {
        self.moments.iter().any(|moment| moment.addresses().any(|other| other == ip))
    }

    /// Whether nothing is left of it, and was not at this moment either: as if it had never been.
    fn is_over(&self, since: Instant) -> bool {
        let was_nothing = |moment: &Moment| moment.seen.is_none() && moment.at <= Some(since);
        self.service.is_none() && self.slices.is_empty() && self.moments.iter().all(was_nothing)
    }
}

/// Everything that was true.
pub struct Lives {
    /// Writes of the history that were read.
    read: u64,
    /// By `namespace/name`.
    services: HashMap<String, Life>,
    /// Services that have or had an address.
    holders: HashMap<IpAddr, BTreeSet<String>>,
    /// Namespaces that there are.
    namespaces: BTreeSet<String>,
    /// Whose each slice is, by the slice's key.
    owners: HashMap<String, String>,
}

impl Lives {
    /// Begins with what there is now.
    pub fn begin(etcd: &Etcd) -> Self {
        let (now, read) = etcd.so_far();
        let mut lives = Self {
            read,
            services: HashMap::new(),
            holders: HashMap::new(),
            namespaces: BTreeSet::new(),
            owners: HashMap::new(),
        };
        lives.fill(&now);
        for key in lives.services.keys().cloned().collect::<Vec<_>>() {
            lives.note(&key, None, false);
        }
        lives
    }

    /// Reads what was written since.
    pub fn read(&mut self, etcd: &Etcd) {
        let (writes, read) = etcd.history_since(self.read);
        for write in &writes {
            self.apply(write);
        }
        self.read = read;
    }

    /// Forgets what was read before; it is at hand as long as the stand-in has it, else never again.
    pub(super) fn forget_read(&self, etcd: &Etcd) {
        etcd.forget_read(self.read);
    }

    /// Forgets what was over before this moment: what was true then is the first that is known of each service.
    pub(super) fn forget(&mut self, before: Instant) {
        let Self { services, holders, .. } = self;
        services.retain(|key, life| {
            let since = life.moments.iter().rposition(|moment| moment.at <= Some(before)).unwrap_or_default();
            for moment in life.moments.drain(..since).collect::<Vec<_>>() {
                for ip in moment.addresses().filter(|ip| !life.has_had(*ip)) {
                    let Some(keys) = holders.get_mut(&ip) else { continue };
                    keys.remove(key);
                    if keys.is_empty() {
                        holders.remove(&ip);
                    }
                }
            }
            !life.is_over(before)
        });
    }

    /// What a service was, the oldest first; nothing if it never was.
    pub(super) fn of(&self, key: &str) -> &[Moment] {
        self.services.get(key).map_or(&[], |life| &life.moments)
    }

    /// Services that have or had this address, with what they were.
    pub(super) fn holders(&self, ip: IpAddr) -> Vec<(&str, &[Moment])> {
        let keys = self.holders.get(&ip).into_iter().flatten();
        keys.map(|key| (key.as_str(), self.of(key))).collect()
    }

    /// Services that there are now, with what they are, in order.
    pub(super) fn now(&self) -> Vec<(&str, &Seen)> {
        let mut all: Vec<_> = self
            .services
            .iter()
            .filter_map(|(key, life)| Some((key.as_str(), life.moments.last()?.seen.as_deref()?)))
            .collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }

    fn apply(&mut self, write: &Write) {
        let at = Some(write.at);
        match &write.what {
            What::Put(Kind::Service, object) => {
                let service = Arc::new(Service::of(&object.value()));
                self.life(object.key()).service = Some(service);
                self.note(object.key(), at, false);
            }
            What::Deleted(Kind::Service, key) => {
                self.life(key).service = None;
                self.note(key, at, false);
            }
            What::Put(Kind::EndpointSlice, object) => {
                let (before, now) = self.put_slice(object);
                for key in before.iter().filter(|before| now.as_ref() != Some(before)).chain(&now) {
                    self.note(key, at, false);
                }
            }
            What::Deleted(Kind::EndpointSlice, key) => {
                if let Some(owner) = self.remove_slice(key) {
                    self.note(&owner, at, false);
                }
            }
            What::Put(Kind::Namespace, object) => {
                if self.namespaces.insert(object.name().to_owned()) {
                    self.note_namespace(object.name(), at);
                }
            }
            What::Deleted(Kind::Namespace, key) => {
                if self.namespaces.remove(&**key) {
                    self.note_namespace(key, at);
                }
            }
            What::Put(Kind::Pod, _) | What::Deleted(Kind::Pod, _) | What::Other => {}
            What::Replaced(backup) => {
                for life in self.services.values_mut() {
                    life.service = None;
                    life.slices.clear();
                }
                self.namespaces.clear();
                self.owners.clear();
                self.fill(backup);
                for key in self.services.keys().cloned().collect::<Vec<_>>() {
                    self.note(&key, at, true);
                }
            }
        }
    }

    /// Takes everything over that a backup has, without a moment of it.
    fn fill(&mut self, backup: &Backup) {
        let names = backup.objects(Kind::Namespace).iter().map(|object| object.name().to_owned());
        self.namespaces.extend(names);
        for object in backup.objects(Kind::Service) {
            let service = Arc::new(Service::of(&object.value()));
            self.life(object.key()).service = Some(service);
        }
        for object in backup.objects(Kind::EndpointSlice) {
            self.put_slice(object);
        }
    }

    /// Takes a slice over; whose it was, and whose it is now.
    fn put_slice(&mut self, object: &Stored) -> (Option<String>, Option<String>) {
        let value = object.value();
        let before = self.remove_slice(object.key());
        let service = value["metadata"]["labels"][SERVICE_NAME].as_str().filter(|name| !name.is_empty());
        let owner = service.map(|service| format!("{}/{service}", object.namespace()));
        if let Some(owner) = &owner {
            self.owners.insert(object.key().to_string(), owner.clone());
            self.life(owner).slices.insert(object.key().to_string(), rules::endpoints(&value));
        }
        (before, owner)
    }

    /// Forgets a slice; whose it was.
    fn remove_slice(&mut self, key: &str) -> Option<String> {
        let owner = self.owners.remove(key)?;
        self.life(&owner).slices.remove(key);
        Some(owner)
    }

    /// A service's life; a new one if it was never heard of.
    fn life(&mut self, key: &str) -> &mut Life {
        self.services.entry(key.to_owned()).or_insert_with(|| Life {
            service: None,
            slices: BTreeMap::new(),
            moments: vec![Moment { at: None, by_restore: false, seen: None }],
        })
    }

    /// Another moment of every service of a namespace.
    fn note_namespace(&mut self, namespace: &str, at: Option<Instant>) {
        let within = |key: &&String| key.split_once('/').is_some_and(|(of, _)| of == namespace);
        for key in self.services.keys().filter(within).cloned().collect::<Vec<_>>() {
            self.note(&key, at, false);
        }
    }

    /// Another moment of a service, if it is another one than before.
    fn note(&mut self, key: &str, at: Option<Instant>, by_restore: bool) {
        let has_namespace = key.split_once('/').is_some_and(|(of, _)| self.namespaces.contains(of));
        let Some(life) = self.services.get_mut(key) else { return };
        let seen = life.service.as_ref().filter(|_| has_namespace).map(|service| {
            let endpoints = life.slices.values().flatten().cloned().collect();
            Arc::new(Seen { service: service.clone(), endpoints })
        });
        if let Some(seen) = &seen {
            for ip in seen.addresses() {
                self.holders.entry(ip).or_default().insert(key.to_owned());
            }
        }
        let moment = Moment { at, by_restore, seen };
        match (at, life.moments.last_mut()) {
            (_, Some(last)) if last.seen == moment.seen => {}
            (None, Some(first)) => *first = moment,
            _ => life.moments.push(moment),
        }
    }
}
