//! What the `kubernetes` block decides about names: zones, exposure, pods, naming of endpoints.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::name::Labels;
use super::object::{EndpointSlice, Kind, Kinds, Labels as ObjectLabels, Service, Shape};
use super::selector::Selector;
use super::table::{ServiceEntry, Table};

/// How names below `pod` are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pods {
    /// Not at all.
    #[default]
    Disabled,
    /// Any name that spells an address leads to that address.
    Insecure,
    /// Only names of pods that exist.
    Verified,
}

/// A zone that is answered from the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its name.
    pub name: Labels,
    /// Whether it holds reverse names.
    pub reverse: bool,
}

impl Zone {
    /// The zone of this name.
    pub fn new(name: Labels) -> Self {
        let reverse = ["in-addr.arpa", "ip6.arpa"]
            .iter()
            .filter_map(|z| Labels::parse(z).ok())
            .any(|z| name.is_within(&z));
        Self { name, reverse }
    }
}

/// The rules of one `kubernetes` block.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The zones, in the order of the configuration.
    pub zones: Vec<Zone>,
    /// `pods`
    pub pods: Pods,
    /// `endpoint_pod_names`
    pub endpoint_pod_names: bool,
    /// `noendpoints`
    pub no_endpoints: bool,
    /// `ignore empty_service`
    pub ignore_empty_service: bool,
    /// `namespaces`; empty exposes all.
    pub namespaces: BTreeSet<Box<str>>,
    /// `namespace_labels`
    pub namespace_labels: Option<Selector>,
    /// `labels`, on services, slices and pods.
    pub labels: Option<Selector>,
    /// The name server's own addresses, for NS records.
    pub local_addresses: Vec<IpAddr>,
}

impl Rules {
    /// The zone whose names PTR records lead to: the first that is not a reverse zone.
    pub fn primary(&self) -> Option<&Zone> {
        self.zones.iter().find(|z| !z.reverse)
    }

    /// The longest zone that `name` is within.
    pub fn zone_of(&self, name: &Labels) -> Option<&Zone> {
        self.zones.iter().filter(|z| name.is_within(&z.name)).max_by_key(|z| z.name.len())
    }

    /// The kinds of objects that these rules need.
    pub fn kinds(&self) -> Kinds {
        match self.pods {
            Pods::Verified => Kinds::CORE.with(Kind::Pod),
            Pods::Disabled | Pods::Insecure => Kinds::CORE,
        }
    }

    /// Whether objects must carry their labels.
    pub const fn needs_labels(&self) -> bool {
        self.labels.is_some() || self.namespace_labels.is_some()
    }

    /// Whether names below this namespace are answered: it is listed (or nothing is), it exists, and it is
    /// selected.
    pub(super) fn exposes(&self, table: &Table, namespace: &[u8]) -> bool {
        let listed = self.namespaces.is_empty() || self.namespaces.iter().any(|n| n.as_bytes() == namespace);
        listed
            && table
                .namespace(namespace)
                .is_some_and(|ns| self.namespace_labels.as_ref().is_none_or(|s| s.matches(&ns.labels)))
    }

    /// Whether any service of the table is answered, as far as selectors decide that.
    pub fn selects_any(&self, table: &Table) -> bool {
        table.services().filter_map(ServiceEntry::service).any(|service| self.takes(table, service))
    }

    /// Whether the name of a service of the table is answered.
    pub fn answers(&self, table: &Table, entry: &ServiceEntry) -> bool {
        entry.service().is_some_and(|of| self.takes(table, of) && !self.hides_empty(of, entry))
    }

    /// Whether a service is answered, as far as selectors decide that.
    fn takes(&self, table: &Table, service: &Service) -> bool {
        self.exposes(table, service.namespace.as_bytes()) && self.selects(&service.labels)
    }

    /// The same for reverse lookups, which need a Namespace object only if something depends on it.
    pub(super) fn exposes_reverse(&self, table: &Table, namespace: &str) -> bool {
        let unrestricted = self.namespaces.is_empty() && self.namespace_labels.is_none();
        unrestricted || self.exposes(table, namespace.as_bytes())
    }

    /// Whether an object with these labels takes part.
    pub(super) fn selects(&self, labels: &ObjectLabels) -> bool {
        self.labels.as_ref().is_none_or(|s| s.matches(labels))
    }

    /// The slices of an entry that take part.
    pub(super) fn slices<'t>(&self, entry: &'t ServiceEntry) -> impl Iterator<Item = &'t EndpointSlice> {
        entry.slices().filter(|s| !self.no_endpoints && self.selects(&s.labels))
    }

    /// Whether `ignore empty_service` hides a service that has cluster addresses but no ready endpoint.
    pub(super) fn hides_empty(&self, service: &Service, entry: &ServiceEntry) -> bool {
        self.ignore_empty_service
            && matches!(service.shape, Shape::ClusterIp(_))
            && self.slices(entry).all(|s| s.endpoints.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_zone_counts_and_the_first_forward_zone_is_primary() {
        let zones = ["in-addr.arpa.", "local.", "cluster.local.", "10.in-addr.arpa."];
        let zones = zones.iter().map(|z| Zone::new(Labels::parse(z).unwrap())).collect();
        let rules = Rules { zones, ..Rules::default() };
        let zone = |name: &str| rules.zone_of(&Labels::parse(name).unwrap()).map(|z| z.name.to_string());
        assert_eq!(zone("a.cluster.local.").as_deref(), Some("cluster.local."));
        assert_eq!(zone("b.local.").as_deref(), Some("local."));
        assert_eq!(zone("1.10.in-addr.arpa.").as_deref(), Some("10.in-addr.arpa."));
        assert_eq!(zone("example.com."), None);
        assert_eq!(rules.primary().map(|z| z.name.to_string()).as_deref(), Some("local."));
        assert!(rules.zones[3].reverse && !rules.zones[1].reverse);
    }
}
