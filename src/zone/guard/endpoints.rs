//! What a list of EndpointSlices takes away.

use std::collections::HashMap;

use super::Judge;
use super::measure::{Loss, grouped};
use crate::zone::object::{Kind, ObjectRef};
use crate::zone::table::{Fate, ServiceEntry};

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
    /// Services that lose their last endpoint, and endpoints altogether.
    pub(super) fn endpoints(&mut self) {
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
}
