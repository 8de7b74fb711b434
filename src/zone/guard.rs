//! The guard: is a list believed?
//!
//! A wrong source does less harm than no source, if what would empty the zone is held back: an API server restored from
//! an old backup, a selector with a typo, rights that were taken away all look like a list from which much is missing.
//! [`judge`] looks at a list once, where it comes from its origin, before it is applied.
//!
//! It looks at *net loss*, never at churn of identities: slices, pods and addresses come and go all day, and a rolling
//! redeploy of everything exchanges them all. What counts is what somebody would miss: services that vanish, services
//! whose last endpoint does, and how many endpoints there are.
//!
//! Invariants:
//! * What is new or more is never withheld, nor is anything of a service that did not lose.
//! * Of what a table does not have nothing can be lost: a first list is always believed.

mod measure;

use std::collections::{BTreeSet, HashMap, HashSet};

use self::measure::{Loss, grouped};
use super::object::{Key, Kind, ObjectRef};
use super::table::{Fate, Relist, ServiceEntry, Table};

/// Losses up to this part of what there was are believed, in per cent. Deployments are scaled down by a third while a
/// node is away; backups and selectors lose more.
const PERCENT: usize = 30;

/// Losses of no more than this are believed: in a small cluster, one person's `kubectl delete` is most of it.
const COUNT: usize = 10;

/// How much a list may take away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether lists are judged at all.
    pub enabled: bool,
    /// A loss of more than this many per cent is too much, if it is more than `count`, too.
    pub percent: usize,
    /// A loss of more than this many is too much, if it is more than `percent`, too.
    pub count: usize,
}

impl Policy {
    /// `guard off`: every list is believed.
    pub const OFF: Self = Self { enabled: false, percent: PERCENT, count: COUNT };
}

impl Default for Policy {
    fn default() -> Self {
        Self { enabled: true, percent: PERCENT, count: COUNT }
    }
}

/// What becomes of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is applied whole.
    Apply,
    /// It is applied except for what makes the loss ([`Relist::finish_holding`]).
    Hold {
        /// For people, e.g. `a list of services lacks 6,000 of 10,000`.
        why: String,
        /// The objects that keep what they are, sorted. Never empty.
        withheld: Vec<Key>,
    },
}

/// Judges a list that is complete, before it is applied to `current`. A loss that somebody has `accepted` is none.
///
/// Costs a pass over the kinds that are listed.
pub fn judge(current: &Table, list: &Relist, policy: &Policy, accepted: impl Fn(&Key) -> bool) -> Verdict {
    if !policy.enabled {
        return Verdict::Apply;
    }
    let mut judge =
        Judge { current, list, policy, accepted: &accepted, reasons: Vec::new(), withheld: BTreeSet::new() };
    let kinds = list.kinds();
    if kinds.has(Kind::Namespace) || kinds.has(Kind::Service) {
        judge.services();
    }
    if kinds.has(Kind::EndpointSlice) {
        judge.endpoints();
    }
    if kinds.has(Kind::Pod) {
        judge.pods();
    }
    if judge.withheld.is_empty() {
        return Verdict::Apply;
    }
    Verdict::Hold { why: judge.reasons.join("; "), withheld: judge.withheld.into_iter().collect() }
}

/// A list that is being judged.
struct Judge<'a> {
    /// What is served.
    current: &'a Table,
    /// What would be.
    list: &'a Relist,
    /// How much may go.
    policy: &'a Policy,
    /// What may go however much it is.
    accepted: &'a dyn Fn(&Key) -> bool,
    /// What is too much.
    reasons: Vec<String>,
    /// What makes it so.
    withheld: BTreeSet<Key>,
}

/// How many endpoints a service has and would have.
struct Endpoints<'a> {
    /// The service and its slices as they are.
    entry: &'a ServiceEntry,
    /// How many it has, without those whose loss was accepted.
    before: usize,
    /// How many it would have.
    after: usize,
}

impl<'a> Judge<'a> {
    /// Whether the list takes an object away, and nobody accepted that.
    fn lost(&self, object: ObjectRef<'_>) -> bool {
        matches!(self.list.fate(object), Fate::Gone) && !(self.accepted)(&object.key())
    }

    /// Services that vanish, or whose namespace does.
    fn services(&mut self) {
        let namespaces = self.current.namespaces().map(ObjectRef::Namespace);
        let gone: HashSet<&str> = namespaces.filter(|o| self.lost(*o)).map(|o| o.parts().1).collect();
        let mut loss = Loss::default();
        let mut lost = Vec::new();
        for service in self.current.services().filter_map(ServiceEntry::service) {
            let object = ObjectRef::Service(service);
            let vanishes = self.lost(object);
            if vanishes || gone.contains(&*service.namespace) {
                loss.before += 1;
                loss.lost += 1;
                lost.push((object, vanishes));
            } else if !matches!(self.list.fate(object), Fate::Gone) {
                loss.before += 1;
                loss.after += 1;
            }
        }
        let is_new = |o: &ObjectRef<'_>| o.kind() == Kind::Service && self.current.object(&o.key()).is_none();
        loss.after += self.list.staged().filter(is_new).count();
        if loss.is_too_much(self.policy) {
            self.reasons.push(self.why_services(loss));
            for (service, vanishes) in lost {
                if vanishes {
                    self.withheld.insert(service.key());
                }
                let (namespace, _) = service.parts();
                // A service without its namespace has no name.
                if gone.contains(namespace) {
                    self.withheld.insert(namespace_key(namespace));
                }
            }
        } else if self.no_namespace_left(gone.len()) {
            self.reasons.push("a list of namespaces is empty".to_owned());
            self.withheld.extend(gone.into_iter().map(namespace_key));
        }
    }

    fn why_services(&self, Loss { before, lost, .. }: Loss) -> String {
        let (lost, before) = (grouped(lost), grouped(before));
        if self.list.kinds().has(Kind::Service) {
            format!("a list of services lacks {lost} of {before}")
        } else {
            format!("a list of namespaces lacks those of {lost} of {before} services")
        }
    }

    /// Whether namespaces were listed, and all go without any new.
    fn no_namespace_left(&self, gone: usize) -> bool {
        let left = || {
            let stays = |o: ObjectRef<'_>| !matches!(self.list.fate(o), Fate::Gone);
            self.current.namespaces().any(|o| stays(ObjectRef::Namespace(o)))
                || self.list.staged().any(|o| o.kind() == Kind::Namespace)
        };
        gone > 0 && !left()
    }

    /// Services that lose their last endpoint, and endpoints altogether.
    fn endpoints(&mut self) {
        let (mut services, mut endpoints) = (Loss::default(), Loss::default());
        let mut losers = Vec::new();
        let mut added = self.added();
        // A slice whose service is gone is nobody's loss. That holds only once services are known.
        let known = self.current.complete().has(Kind::Service);
        for entry in self.current.services().filter(|e| !known || e.service().is_some()) {
            let service = self.count(entry, &mut added);
            services.before += usize::from(service.before > 0);
            services.lost += usize::from(service.before > 0 && service.after == 0);
            services.after += usize::from(service.after > 0);
            endpoints.before += service.before;
            endpoints.after += service.after;
            if service.after < service.before {
                losers.push(service);
            }
        }
        services.after += added.len();
        endpoints.after += added.values().sum::<usize>();
        endpoints.lost = endpoints.before.saturating_sub(endpoints.after);

        let (none_left, fewer) = (services.is_too_much(self.policy), endpoints.is_too_much(self.policy));
        if none_left {
            let (lost, before) = (grouped(services.lost), grouped(services.before));
            self.reasons.push(format!(
                "a list of EndpointSlices leaves {lost} of {before} services without endpoints"
            ));
        }
        if fewer {
            let (lost, before) = (grouped(endpoints.lost), grouped(endpoints.before));
            self.reasons.push(format!("a list of EndpointSlices lacks {lost} of {before} endpoints"));
        }
        for service in losers.into_iter().filter(|s| fewer || (none_left && s.after == 0)) {
            for slice in service.entry.slices() {
                let object = ObjectRef::EndpointSlice(slice);
                let key = || object.key();
                if self.after(service.entry, object) < slice.endpoints.len() && !(self.accepted)(&key()) {
                    self.withheld.insert(key());
                }
            }
        }
    }

    /// How many endpoints a slice of a service will give it.
    fn after(&self, entry: &ServiceEntry, slice: ObjectRef<'_>) -> usize {
        let ObjectRef::EndpointSlice(now) = slice else { return 0 };
        match self.list.fate(slice) {
            Fate::Stays => now.endpoints.len(),
            Fate::Becomes(ObjectRef::EndpointSlice(new)) if *new.service == *entry.name() => {
                new.endpoints.len()
            }
            Fate::Becomes(_) | Fate::Gone => 0,
        }
    }

    /// Counts the endpoints of a service, and takes what comes to it out of `added`.
    fn count(
        &self,
        entry: &'a ServiceEntry,
        added: &mut HashMap<(&'a str, &'a str), usize>,
    ) -> Endpoints<'a> {
        let mut service = Endpoints { entry, before: 0, after: 0 };
        for slice in entry.slices() {
            let object = ObjectRef::EndpointSlice(slice);
            let (now, after) = (slice.endpoints.len(), self.after(entry, object));
            let is_accepted = after < now && (self.accepted)(&object.key());
            service.before += if is_accepted { after } else { now };
            service.after += after;
        }
        service.after += added.remove(&(entry.namespace(), entry.name())).unwrap_or(0);
        service
    }

    /// Endpoints in slices that their service did not have, by namespace and service.
    fn added(&self) -> HashMap<(&'a str, &'a str), usize> {
        let mut added = HashMap::new();
        for object in self.list.staged() {
            let ObjectRef::EndpointSlice(new) = object else { continue };
            let had = self.current.slice(new.namespace.as_bytes(), new.name.as_bytes());
            let is_new = had.is_none_or(|old| old.service != new.service);
            if is_new && !new.service.is_empty() && !new.endpoints.is_empty() {
                *added.entry((&*new.namespace, &*new.service)).or_default() += new.endpoints.len();
            }
        }
        added
    }

    /// Pods altogether. What is missing of a namespace that has as many as before is churn.
    fn pods(&mut self) {
        let mut namespaces: HashMap<&str, Loss> = HashMap::new();
        for pod in self.current.pods() {
            let loss = namespaces.entry(&pod.namespace).or_default();
            let object = ObjectRef::Pod(pod);
            if self.lost(object) {
                loss.before += 1;
            } else if !matches!(self.list.fate(object), Fate::Gone) {
                loss.before += 1;
                loss.after += 1;
            }
        }
        for new in self.list.staged().filter(|o| o.kind() == Kind::Pod) {
            if self.current.object(&new.key()).is_none() {
                namespaces.entry(new.parts().0).or_default().after += 1;
            }
        }
        let mut all = Loss::default();
        for loss in namespaces.values() {
            all.before += loss.before;
            all.after += loss.after;
        }
        all.lost = all.before.saturating_sub(all.after);
        if all.is_too_much(self.policy) {
            let (lost, before) = (grouped(all.lost), grouped(all.before));
            self.reasons.push(format!("a list of pods lacks {lost} of {before}"));
            let fewer = |namespace: &str| namespaces.get(namespace).is_some_and(|l| l.after < l.before);
            let pods = self.current.pods().filter(|pod| fewer(&pod.namespace)).map(ObjectRef::Pod);
            let lost: Vec<_> = pods.filter(|pod| self.lost(*pod)).map(|pod| pod.key()).collect();
            self.withheld.extend(lost);
        }
    }
}

fn namespace_key(name: &str) -> Key {
    Key { kind: Kind::Namespace, namespace: "".into(), name: name.into() }
}

#[cfg(test)]
mod tests;
