//! What becomes of an item: a slim object with only what DNS can use, or nothing.
//!
//! Some items are left out silently because that is what they mean (a finished pod, a pod without an
//! address). What no API server would have accepted is left out too, as the smallest unit that makes sense,
//! and noted in [`Drops`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::drops::{Drops, Reason};
use super::names::{LABEL_RULE, SUBDOMAIN_RULE, is_label, is_port_name, is_subdomain, is_target, quote};
use super::raw::{self, Item, Metadata, Number};
use crate::source::Wanted;
use crate::zone::object::{
    Addresses, EndpointSlice, Endpoints, Kind, Labels, Namespace, Object, Pod, Port, Protocol, Service, Shape,
};

/// The label that names the service of a slice.
/// <https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/>
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The cluster address of a headless service.
const HEADLESS: &str = "None";

/// `targetRef` names of this length and longer are not used: they would not fit into a label.
const TARGET_TOO_LONG: usize = 64;

/// What `item` is in DNS, if anything.
pub(super) fn convert(kind: Kind, mut item: Item, wanted: Wanted, drops: &mut Drops) -> Option<Object> {
    let Metadata { name, namespace, labels, deletion_timestamp, .. } =
        item.metadata.take().unwrap_or_default();
    let mut notes = Notes { kind, namespace: &namespace, name: &name, drops };
    let (valid, rule) = match kind {
        Kind::Namespace | Kind::Service => (is_label(&name), LABEL_RULE),
        Kind::EndpointSlice | Kind::Pod => (is_subdomain(&name), SUBDOMAIN_RULE),
    };
    if !valid {
        notes.drop(Reason::Name, || format!("its name has to be {rule}"));
        return None;
    }
    if kind != Kind::Namespace && !is_label(&namespace) {
        notes.drop(Reason::Namespace, || format!("its namespace has to be {LABEL_RULE}"));
        return None;
    }
    let service = labels.0.iter().rfind(|(key, _)| &**key == SERVICE_NAME).map(|(_, value)| value.clone());
    match kind {
        Kind::Namespace => Some(Object::Namespace(Namespace { labels: sorted(labels, wanted), name })),
        Kind::Service => {
            let spec = item.spec.unwrap_or_default();
            let shape = shape(&spec, &mut notes)?;
            let ports = ports(spec.ports, Unnumbered::Refused, &mut notes);
            let labels = sorted(labels, wanted);
            Some(Object::Service(Service { namespace, name, shape, ports, labels }))
        }
        Kind::EndpointSlice => {
            let service = service.unwrap_or_default();
            if !service.is_empty() && !is_label(&service) {
                notes.drop(Reason::ServiceName, || {
                    format!("label {SERVICE_NAME} is {}, it has to be {LABEL_RULE}", quote(&service))
                });
                return None;
            }
            let endpoints = endpoints(item.address_type.as_deref(), &item.endpoints, &mut notes)?;
            let ports = ports(item.ports, Unnumbered::All, &mut notes);
            let labels = sorted(labels, wanted);
            Some(Object::EndpointSlice(EndpointSlice { namespace, name, service, ports, endpoints, labels }))
        }
        Kind::Pod => {
            let status = item.status.unwrap_or_default();
            let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed" | "Unknown"));
            let ip = status.pod_ip.as_deref().unwrap_or_default();
            // A pod that is not up yet has no address; one that is over or going gives its address up.
            if over || deletion_timestamp.is_some() || ip.is_empty() {
                return None;
            }
            let ip = notes.address("status.podIP", ip)?;
            Some(Object::Pod(Pod { namespace, name, ip, labels: sorted(labels, wanted) }))
        }
    }
}

/// Writes down what is left out of one object.
struct Notes<'a> {
    /// Kind of the object.
    kind: Kind,
    /// Its namespace.
    namespace: &'a str,
    /// Its name.
    name: &'a str,
    /// The list to write to.
    drops: &'a mut Drops,
}

impl Notes<'_> {
    /// Leaves out one unit; `what` says which, what it is and what it should be.
    fn drop(&mut self, reason: Reason, what: impl FnOnce() -> String) {
        let Self { kind, namespace, name, .. } = *self;
        self.drops.note(kind, reason, || match namespace {
            "" => format!("{kind} {}: {}", quote(name), what()),
            _ => format!("{kind} {} in namespace {}: {}", quote(name), quote(namespace), what()),
        });
    }

    /// Reads an address of either family. IPv4 in IPv6 (`::ffff:10.0.0.1`) is not an address of a cluster.
    fn address(&mut self, field: &str, text: &str) -> Option<IpAddr> {
        let address = text.parse::<IpAddr>().ok().filter(|a| a.to_canonical() == *a);
        if address.is_none() {
            self.drop(Reason::Address, || {
                format!("{field} is {}, neither an IPv4 nor an IPv6 address", quote(text))
            });
        }
        address
    }
}

/// The labels as the zone keeps them: sorted, one value a key; none if no selector needs them.
fn sorted(labels: raw::LabelList, wanted: Wanted) -> Labels {
    if !wanted.labels {
        return Labels::default();
    }
    let mut labels = labels.0;
    labels.sort_by(|a, b| a.0.cmp(&b.0));
    labels.dedup_by(|later, kept| {
        let same = later.0 == kept.0;
        if same {
            std::mem::swap(later, kept);
        }
        same
    });
    labels.into()
}

/// What a service's name leads to; `None` where it leads nowhere.
fn shape(spec: &raw::Spec, notes: &mut Notes<'_>) -> Option<Shape> {
    if spec.kind.as_deref() == Some("ExternalName") {
        let target = spec.external_name.as_deref().unwrap_or_default();
        // An address is kept although it is no name: the zone answers that it leads nowhere.
        if target.parse::<IpAddr>().is_err() && !is_target(target) {
            notes.drop(Reason::ExternalName, || {
                format!("externalName is {}, it has to be a DNS name", quote(target))
            });
            return None;
        }
        return Some(Shape::ExternalName(target.into()));
    }
    let addresses = match &spec.cluster_ips[..] {
        [] => spec.cluster_ip.as_slice(),
        several => several,
    };
    if addresses.first().is_some_and(|first| &**first == HEADLESS) {
        return Some(Shape::Headless);
    }
    // Empty while the API server has not assigned one.
    let assigned = addresses.iter().filter(|text| !text.is_empty());
    Some(Shape::ClusterIp(assigned.filter_map(|text| notes.address("clusterIP", text)).collect()))
}

/// What a port without a number means.
#[derive(Clone, Copy)]
enum Unnumbered {
    /// In a service: nothing, it has to have one.
    Refused,
    /// In a slice: every port.
    All,
}

fn ports(raw: Vec<raw::Port>, unnumbered: Unnumbered, notes: &mut Notes<'_>) -> Box<[Port]> {
    raw.into_iter().filter_map(|p| port(p, unnumbered, notes)).collect()
}

fn port(raw: raw::Port, unnumbered: Unnumbered, notes: &mut Notes<'_>) -> Option<Port> {
    let raw::Port { name, port, protocol } = raw;
    let number = match (port, unnumbered) {
        (Some(Number::Port(number)), _) => Some(number),
        (None, Unnumbered::All) => None,
        (None, Unnumbered::Refused) => {
            notes.drop(Reason::Port, || format!("port {} has no number, 1 to 65535", quote(&name)));
            return None;
        }
        (Some(Number::Absurd(number)), _) => {
            notes.drop(Reason::Port, || format!("port {} is {number}, not 1 to 65535", quote(&name)));
            return None;
        }
    };
    if !is_port_name(&name) {
        notes.drop(Reason::PortName, || {
            format!("port name {} is not at most 63 letters, digits and '-'", quote(&name))
        });
        return None;
    }
    let Some(protocol) = Protocol::parse(&protocol) else {
        notes.drop(Reason::Protocol, || {
            format!("port {} has protocol {}, not TCP, UDP or SCTP", quote(&name), quote(&protocol))
        });
        return None;
    };
    Some(Port { name, number, protocol })
}

/// The used endpoints; `None` for a slice whose addresses are of no use in DNS.
fn endpoints(family: Option<&str>, raw: &[raw::Endpoint], notes: &mut Notes<'_>) -> Option<Endpoints> {
    match family {
        Some("IPv4") => {
            let v4 = |address| match address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            };
            let rows = Rows::<Ipv4Addr>::collect(raw, v4, notes);
            Some(rows.pack(Addresses::V4))
        }
        Some("IPv6") => {
            let v6 = |address| match address {
                // An IPv4 address in disguise would come out as the address of another family.
                IpAddr::V6(address) if address.to_ipv4_mapped().is_none() => Some(address),
                _ => None,
            };
            let rows = Rows::<Ipv6Addr>::collect(raw, v6, notes);
            Some(rows.pack(Addresses::V6))
        }
        other => {
            notes.drop(Reason::AddressType, || match other {
                Some(other) => format!("addressType is {}, only IPv4 and IPv6 are used", quote(other)),
                None => "addressType is missing, it has to be IPv4 or IPv6".to_owned(),
            });
            None
        }
    }
}

/// Used endpoints by column, one row an address.
struct Rows<'a, A> {
    addresses: Vec<A>,
    hostnames: Vec<&'a str>,
    targets: Vec<&'a str>,
    spellings: Vec<&'a str>,
}

impl<'a, A: ToString> Rows<'a, A> {
    /// The addresses of all used endpoints of which `family` says that they belong here.
    fn collect(
        raw: &'a [raw::Endpoint],
        family: impl Fn(IpAddr) -> Option<A>,
        notes: &mut Notes<'_>,
    ) -> Self {
        let mut rows = Self { addresses: vec![], hostnames: vec![], targets: vec![], spellings: vec![] };
        for endpoint in raw.iter().filter(|e| e.conditions.ready != Some(false)) {
            let hostname = hostname(endpoint, notes);
            let target = target(endpoint, notes);
            for text in &endpoint.addresses {
                let Ok(address) = text.parse() else {
                    notes.drop(Reason::Address, || {
                        format!("endpoint {} is neither an IPv4 nor an IPv6 address", quote(text))
                    });
                    continue;
                };
                let Some(address) = family(address) else {
                    notes.drop(Reason::AddressFamily, || {
                        format!("endpoint {text} is not of the slice's addressType")
                    });
                    continue;
                };
                rows.spellings.push(spelling(text, &address));
                rows.addresses.push(address);
                rows.hostnames.push(hostname);
                rows.targets.push(target);
            }
        }
        rows
    }

    fn pack(self, addresses: impl FnOnce(Box<[A]>) -> Addresses) -> Endpoints {
        Endpoints::new(addresses(self.addresses.into()), &self.hostnames, &self.targets, &self.spellings)
            .expect("a row has one entry in every column")
    }
}

/// The endpoint's `hostname`, or empty.
fn hostname<'a>(endpoint: &'a raw::Endpoint, notes: &mut Notes<'_>) -> &'a str {
    let name = endpoint.hostname.as_deref().unwrap_or_default();
    if name.is_empty() || is_label(name) {
        return name;
    }
    notes.drop(Reason::Hostname, || format!("hostname {} is not {LABEL_RULE}", quote(name)));
    ""
}

/// The endpoint's `targetRef.name`, or empty.
fn target<'a>(endpoint: &'a raw::Endpoint, notes: &mut Notes<'_>) -> &'a str {
    let name = endpoint.target_ref.as_ref().and_then(|t| t.name.as_deref()).unwrap_or_default();
    // A long name is nothing absurd, it only cannot be a label.
    if name.is_empty() || name.len() >= TARGET_TOO_LONG {
        return "";
    }
    if !is_subdomain(name) {
        notes.drop(Reason::TargetName, || format!("targetRef.name {} is not {SUBDOMAIN_RULE}", quote(name)));
        return "";
    }
    name
}

/// How the API spelled the address, if not in its canonical form: an endpoint without a name is named after
/// that. A dotted tail (`::10.0.0.1`) is left out, it would make four labels of the name.
fn spelling<'a>(text: &'a str, address: &impl ToString) -> &'a str {
    if text.contains('.') || address.to_string() == text { "" } else { text }
}
