//! Answers: what a lookup found, still borrowed from the table, and how it becomes records.
//!
//! A lookup decides *that* there are records; [`Records::visit`] produces them one by one into whatever the
//! caller writes, so that neither allocates.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use xxhash_rust::xxh3::xxh3_128;

use super::lookup::{Hits, PortHit};
use super::name::Dashed;
use super::object::{Endpoint, EndpointSlice, Kinds, Service, Shape};
use super::rules::Rules;
use super::table::Table;

/// What a lookup found.
#[derive(Clone)]
pub enum Answer<'a> {
    /// The name is in none of our zones.
    NotOurs,
    /// There are records.
    Records(Records<'a>),
    /// An ExternalName service was asked for an address or a CNAME: an alias for this name, as the object
    /// spells it.
    Alias(&'a str),
    /// The name exists and has nothing of this type (RFC 2308 §2.2).
    NoData,
    /// There is no such name. The only answer that `fallthrough` passes on.
    NxDomain,
    /// These kinds have never been complete, so that nothing can be said to be missing.
    NotReady(Kinds),
    /// Zone transfers are not answered here.
    Refused,
}

/// Records that a lookup found.
#[derive(Clone)]
pub enum Records<'a> {
    /// Addresses of one family.
    Addresses(Hits<'a>, Family),
    /// A SRV record for each target and port, with the targets' addresses.
    Services(Hits<'a>),
    /// The names of an address.
    Pointers(IpAddr),
    /// The zone's SOA record.
    Soa,
    /// The zone's NS records with the addresses of the name servers.
    NameServers,
    /// The version of the DNS specification that is followed.
    Version,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// A records.
    V4,
    /// AAAA records.
    V6,
}

impl Family {
    /// Whether an address is of this family.
    pub const fn has(self, ip: IpAddr) -> bool {
        matches!((self, ip), (Self::V4, IpAddr::V4(_)) | (Self::V6, IpAddr::V6(_)))
    }
}

/// The version of the Kubernetes DNS specification, the text of `dns-version`.
pub const SPECIFICATION: &str = "1.1.0";

/// TTL of the version record in seconds, whatever `ttl` says.
pub const VERSION_TTL: u32 = 28_800;

/// A section of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The answer section.
    Answer,
    /// The additional section.
    Additional,
}

/// Whose record it is.
#[derive(Clone, Copy)]
pub enum Owner<'a> {
    /// The name that was asked for, in the letter case in which it was asked.
    Question,
    /// A host of the zone.
    Host(Host<'a>),
}

/// A name below the zone, without the zone.
#[derive(Clone, Copy)]
pub enum Host<'a> {
    /// `SVC.NS.svc`
    Service {
        /// The namespace.
        namespace: &'a str,
        /// The service.
        service: &'a str,
    },
    /// `ENDPOINT.SVC.NS.svc`
    Endpoint {
        /// The endpoint whose label leads the name.
        endpoint: Endpoint<'a>,
        /// Whether pods lend their names to endpoints (`endpoint_pod_names`).
        pod_names: bool,
        /// The namespace.
        namespace: &'a str,
        /// The service.
        service: &'a str,
    },
    /// `ns.dns`
    NameServer,
}

impl Host<'_> {
    /// Calls `each` with every label from left to right.
    pub fn labels(&self, mut each: impl FnMut(&[u8])) {
        match self {
            Self::Service { namespace, service } => {
                [*service, *namespace, "svc"].iter().for_each(|l| each(l.as_bytes()));
            }
            Self::Endpoint { endpoint, pod_names, namespace, service } => {
                with_label(endpoint, *pod_names, |label| each(label));
                [*service, *namespace, "svc"].iter().for_each(|l| each(l.as_bytes()));
            }
            Self::NameServer => ["ns", "dns"].iter().for_each(|l| each(l.as_bytes())),
        }
    }

    /// Identifies the name among all hosts.
    fn fingerprint(&self) -> u128 {
        let mut bytes = [0u8; 256];
        let mut len = 0;
        self.labels(|label| {
            // Four labels of at most 63 bytes always fit; longer ones are cut at conversion.
            for byte in label.iter().chain(b".") {
                if let Some(place) = bytes.get_mut(len) {
                    *place = *byte;
                    len += 1;
                }
            }
        });
        xxh3_128(&bytes[..len])
    }
}

/// Calls `then` with the label of an endpoint: its hostname, else (if so configured) the name of its pod,
/// else its address with dashes.
pub(super) fn with_label<R>(endpoint: &Endpoint<'_>, pod_names: bool, then: impl FnOnce(&[u8]) -> R) -> R {
    if !endpoint.hostname.is_empty() {
        then(endpoint.hostname.as_bytes())
    } else if pod_names && !endpoint.target.is_empty() {
        then(endpoint.target.as_bytes())
    } else if !endpoint.spelling.is_empty() {
        then(Dashed::of_spelling(endpoint.spelling).as_bytes())
    } else {
        then(Dashed::of(endpoint.address).as_bytes())
    }
}

/// The data of a record.
#[derive(Clone, Copy)]
pub enum Data<'a> {
    /// RFC 1035 §3.4.1
    A(Ipv4Addr),
    /// RFC 3596 §2.2
    Aaaa(Ipv6Addr),
    /// RFC 2782; the priority is 0. The target is below the zone that was asked.
    Srv {
        /// 100 shared by all hits, at least 1.
        weight: u16,
        /// The port's number.
        port: u16,
        /// Where the service is.
        target: Host<'a>,
    },
    /// RFC 1035 §3.3.12; the name is below the primary zone.
    Ptr(Host<'a>),
    /// RFC 1035 §3.3.11; the name is below the zone that was asked.
    Ns(Host<'a>),
    /// RFC 1035 §3.3.14
    Txt(&'static str),
    /// RFC 1035 §3.3.13; its fields follow from the zone, the TTL and the table's serial.
    Soa,
}

impl Data<'_> {
    const fn address(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::A(ip),
            IpAddr::V6(ip) => Self::Aaaa(ip),
        }
    }
}

/// Room for keeping records distinct; one for each thread, so that its memory is used again.
#[derive(Default)]
pub struct Scratch {
    /// Addresses that were written.
    addresses: Distinct<IpAddr>,
    /// Targets with ports, and hosts, that were written.
    targets: Distinct<u128>,
    /// Hosts with an address that were written.
    glue: Distinct<(u128, IpAddr)>,
}

/// Remembers which values came before.
struct Distinct<T> {
    /// The first few, searched one by one.
    few: Vec<T>,
    /// All of them, once there are many.
    many: HashSet<T>,
}

impl<T> Default for Distinct<T> {
    fn default() -> Self {
        Self { few: Vec::new(), many: HashSet::new() }
    }
}

/// Up to this many values a search one by one is faster than hashing.
const FEW: usize = 24;

/// A table for more values than this is given back after use: a huge headless service asked once must not
/// cost memory for ever.
const KEEP: usize = 4096;

impl<T: Copy + Eq + std::hash::Hash> Distinct<T> {
    fn clear(&mut self) {
        self.few.clear();
        if self.many.capacity() > KEEP {
            self.many = HashSet::new();
        } else if !self.many.is_empty() {
            self.many.clear();
        }
    }

    /// Whether `value` has not come before.
    fn is_new(&mut self, value: T) -> bool {
        if self.many.is_empty() {
            if self.few.contains(&value) {
                return false;
            }
            if self.few.len() < FEW {
                self.few.push(value);
                return true;
            }
            self.many.extend(self.few.iter().copied());
        }
        self.many.insert(value)
    }
}

impl<'a> Records<'a> {
    /// Calls `each` with every record: the answer section's first, then the additional section's.
    pub fn visit(
        &self,
        table: &'a Table,
        rules: &'a Rules,
        scratch: &mut Scratch,
        each: &mut dyn FnMut(Section, Owner<'a>, Data<'a>),
    ) {
        scratch.addresses.clear();
        scratch.targets.clear();
        scratch.glue.clear();
        match self {
            Self::Addresses(hits, family) => hits.addresses(rules, &mut |ip| {
                if family.has(ip) && scratch.addresses.is_new(ip) {
                    each(Section::Answer, Owner::Question, Data::address(ip));
                }
            }),
            Self::Services(hits) => hits.services(rules, scratch, each),
            Self::Pointers(ip) => pointers(table, rules, *ip, &mut |host| {
                if scratch.targets.is_new(host.fingerprint()) {
                    each(Section::Answer, Owner::Question, Data::Ptr(host));
                }
            }),
            Self::Soa => each(Section::Answer, Owner::Question, Data::Soa),
            Self::Version => each(Section::Answer, Owner::Question, Data::Txt(SPECIFICATION)),
            Self::NameServers => {
                name_servers(table, rules, &mut |host, _| {
                    if scratch.targets.is_new(host.fingerprint()) {
                        each(Section::Answer, Owner::Question, Data::Ns(host));
                    }
                });
                name_servers(table, rules, &mut |host, ip| {
                    if scratch.glue.is_new((host.fingerprint(), ip)) {
                        each(Section::Additional, Owner::Host(host), Data::address(ip));
                    }
                });
            }
        }
    }
}

impl<'a> Hits<'a> {
    /// Calls `each` with every address, repeated ones included.
    fn addresses(&self, rules: &Rules, each: &mut dyn FnMut(IpAddr)) {
        match self {
            Self::Cluster { ips, .. } => ips.iter().for_each(|ip| each(*ip)),
            Self::Endpoints { .. } => self.endpoints(rules, &mut |_, endpoint| each(endpoint.address)),
            Self::Address(ip) => each(*ip),
            Self::NameServer(table) => name_servers(table, rules, &mut |_, ip| each(ip)),
        }
    }

    fn services(
        &self,
        rules: &Rules,
        scratch: &mut Scratch,
        each: &mut dyn FnMut(Section, Owner<'a>, Data<'a>),
    ) {
        let count = self.count(rules);
        let weight = u16::try_from(100 / count.max(1)).unwrap_or(100).max(1);
        match self {
            Self::Cluster { service, ips, .. } => {
                let target = Host::Service { namespace: &service.namespace, service: &service.name };
                self.ports(&service.ports, &mut |hit| {
                    if let PortHit::Number(port) = hit
                        && scratch.targets.is_new(u128::from(port))
                    {
                        each(Section::Answer, Owner::Question, Data::Srv { weight, port, target });
                    }
                });
                for ip in ips.iter().filter(|ip| scratch.addresses.is_new(**ip)) {
                    each(Section::Additional, Owner::Host(target), Data::address(*ip));
                }
            }
            Self::Endpoints { service, .. } => {
                let host = |endpoint: Endpoint<'a>| Host::Endpoint {
                    endpoint,
                    pod_names: rules.endpoint_pod_names,
                    namespace: &service.namespace,
                    service: &service.name,
                };
                self.endpoints(rules, &mut |slice: &'a EndpointSlice, endpoint| {
                    let target = host(endpoint);
                    let name = target.fingerprint();
                    self.ports(&slice.ports, &mut |hit| {
                        if let PortHit::Number(port) = hit
                            && scratch.targets.is_new(name.wrapping_add(u128::from(port)))
                        {
                            each(Section::Answer, Owner::Question, Data::Srv { weight, port, target });
                        }
                    });
                });
                self.endpoints(rules, &mut |slice: &'a EndpointSlice, endpoint| {
                    let mut has_port = false;
                    self.ports(&slice.ports, &mut |hit| has_port |= hit != PortHit::Any);
                    let target = host(endpoint);
                    if has_port && scratch.glue.is_new((target.fingerprint(), endpoint.address)) {
                        let data = Data::address(endpoint.address);
                        each(Section::Additional, Owner::Host(target), data);
                    }
                });
            }
            Self::Address(_) | Self::NameServer(_) => {}
        }
    }
}

/// Calls `each` with every name of an address. The first service that has it as a cluster address is the
/// only name; otherwise every endpoint that has it lends its own.
pub(super) fn pointers<'a>(table: &'a Table, rules: &Rules, ip: IpAddr, each: &mut dyn FnMut(Host<'a>)) {
    let visible = |s: &&Service| rules.selects(&s.labels) && rules.exposes_reverse(table, &s.namespace);
    let owner = table
        .by_address(ip)
        .filter_map(|e| e.service())
        .filter(visible)
        .find(|s| matches!(&s.shape, Shape::ClusterIp(ips) if ips.contains(&ip)));
    if let Some(s) = owner {
        return each(Host::Service { namespace: &s.namespace, service: &s.name });
    }
    for entry in table.by_address(ip) {
        for slice in rules.slices(entry).filter(|s| rules.exposes_reverse(table, &s.namespace)) {
            for endpoint in slice.endpoints.iter().filter(|e| e.address == ip) {
                each(Host::Endpoint {
                    endpoint,
                    pod_names: rules.endpoint_pod_names,
                    namespace: &slice.namespace,
                    service: &slice.service,
                });
            }
        }
    }
}

/// Calls `each` with every name server of the zone and its addresses: the services that one of our own
/// addresses is an endpoint of, else `ns.dns` with our own addresses.
pub(super) fn name_servers<'a>(table: &'a Table, rules: &'a Rules, each: &mut dyn FnMut(Host<'a>, IpAddr)) {
    let mut any = false;
    for ip in &rules.local_addresses {
        for entry in table.by_address(*ip) {
            let Some(service) = entry.service() else { continue };
            for slice in rules.slices(entry) {
                let Some(own) = slice.endpoints.iter().find(|e| e.address == *ip) else { continue };
                let (namespace, name) = (&*service.namespace, &*service.name);
                match &service.shape {
                    Shape::ClusterIp(ips) => {
                        any |= !ips.is_empty();
                        let host = Host::Service { namespace, service: name };
                        ips.iter().for_each(|ip| each(host, *ip));
                    }
                    Shape::Headless => {
                        any = true;
                        let pod_names = rules.endpoint_pod_names;
                        let host = Host::Endpoint { endpoint: own, pod_names, namespace, service: name };
                        slice.endpoints.addresses().iter().for_each(|ip| each(host, ip));
                    }
                    Shape::ExternalName(_) => {}
                }
            }
        }
    }
    if !any {
        rules.local_addresses.iter().for_each(|ip| each(Host::NameServer, *ip));
    }
}
