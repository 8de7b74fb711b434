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

mod endpoints;
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

impl<'a> Judge<'a> {
    /// Whether the list takes an object away, and nobody accepted that.
    fn lost(&self, object: ObjectRef<'_>) -> bool {
        matches!(self.list.fate(object), Fate::Gone) && !(self.accepted)(&object.key())
    }

    /// Services that vanish, or whose namespace does.
    fn services(&mut self) {
        let goes = |object| matches!(self.list.fate(object), Fate::Gone);
        let namespaces = || self.current.namespaces().map(ObjectRef::Namespace).filter(|o| goes(*o));
        let gone: HashSet<&str> = namespaces().filter(|o| self.lost(*o)).map(|o| o.parts().1).collect();
        let leaving: HashSet<&str> = namespaces().map(|o| o.parts().1).collect();
        let mut loss = Loss::default();
        let mut lost = Vec::new();
        for service in self.current.services().filter_map(ServiceEntry::service) {
            let object = ObjectRef::Service(service);
            let vanishes = self.lost(object);
            if vanishes || gone.contains(&*service.namespace) {
                loss.before += 1;
                loss.lost += 1;
                lost.push((object, vanishes));
            } else if !goes(object) && !leaving.contains(&*service.namespace) {
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
