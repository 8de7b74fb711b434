//! The lookup: from a name and a type to an [`Answer`].
//!
//! Kubernetes DNS specification 1.1.0 as CoreDNS answers it, with these departures, in which the DNS
//! standard's answer is the better one:
//! * A name that has names below it exists for every type (RFC 8020): TXT at `svc`, at a namespace or at the
//!   apex, anything at `dns`, `dns-version` and `_tcp.SVC.NS.svc` is NODATA.
//! * SOA of a name that does not exist is NXDOMAIN.
//! * NS and `ns.dns` answer in any letter case, with the bound addresses where addresses are bound.
//! * Labels in front of a pod name are not ignored, and a pod has no SRV record.
//! * A service that has no cluster address yet is NODATA.
//! * PTR respects `namespace_labels`.

use std::net::IpAddr;

use super::answer::{Answer, Family, Records, name_servers, pointers, with_label};
use super::name::{Dashed, Labels, PortFilter, ServiceName, Subject, pod_address, reverse_address};
use super::object::{Endpoint, EndpointSlice, Kind, Kinds, Port, Protocol, Service, Shape};
use super::rules::{Pods, Rules, Zone};
use super::table::{ServiceEntry, Table};

/// Query types that the zone tells apart (RFC 1035 §3.2.2, RFC 3596, RFC 2782).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryType {
    /// A
    A,
    /// AAAA
    Aaaa,
    /// CNAME
    Cname,
    /// SRV
    Srv,
    /// PTR
    Ptr,
    /// TXT
    Txt,
    /// NS
    Ns,
    /// SOA
    Soa,
    /// AXFR and IXFR
    Transfer,
    /// Every other type, ANY included: the name is looked up, and has nothing of it.
    Other,
}

impl From<u16> for QueryType {
    fn from(value: u16) -> Self {
        match value {
            1 => Self::A,
            2 => Self::Ns,
            5 => Self::Cname,
            6 => Self::Soa,
            12 => Self::Ptr,
            16 => Self::Txt,
            28 => Self::Aaaa,
            33 => Self::Srv,
            251 | 252 => Self::Transfer,
            _ => Self::Other,
        }
    }
}

/// What a name leads to: ports times addresses.
#[derive(Clone)]
pub enum Hits<'a> {
    /// The cluster addresses of a service, for those of its ports that the name asks for.
    Cluster {
        /// The service.
        service: &'a Service,
        /// Its addresses.
        ips: &'a [IpAddr],
        /// Which ports the name asks for; `None` for all.
        filter: Option<PortFilter<'a>>,
    },
    /// Endpoints of a service.
    Endpoints {
        /// The service.
        service: &'a Service,
        /// Its slices.
        entry: &'a ServiceEntry,
        /// Which of them.
        filter: EndpointFilter<'a>,
    },
    /// One address: a pod.
    Address(IpAddr),
    /// The name server's own addresses.
    NameServer(&'a Table),
}

/// Which endpoints a name asks for.
#[derive(Clone, Copy)]
pub enum EndpointFilter<'a> {
    /// All.
    All,
    /// Those whose slice has such a port.
    Port(PortFilter<'a>),
    /// Those with this label.
    Label {
        /// The label.
        label: &'a [u8],
        /// The address that it spells, if it spells one.
        address: Option<IpAddr>,
    },
}

/// A port that a name asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PortHit {
    /// A port of this number.
    Number(u16),
    /// A port without a number, or no ports at all: addresses, but no SRV.
    Any,
}

impl PortFilter<'_> {
    fn matches(&self, port: &Port) -> bool {
        let same = |want: &[u8], have: &str| want.is_empty() || want.eq_ignore_ascii_case(have.as_bytes());
        same(self.port, &port.name) && same(self.protocol, port.protocol.label())
    }

    /// Whether any port passes: what a list without ports has.
    const fn is_any(&self) -> bool {
        self.port.is_empty() && self.protocol.is_empty()
    }
}

impl<'a> Hits<'a> {
    const fn port_filter(&self) -> Option<PortFilter<'a>> {
        match self {
            Self::Cluster { filter, .. } => *filter,
            Self::Endpoints { filter: EndpointFilter::Port(filter), .. } => Some(*filter),
            _ => None,
        }
    }

    /// Calls `each` with every port of `ports` that the name asks for.
    pub(super) fn ports(&self, ports: &[Port], each: &mut dyn FnMut(PortHit)) {
        let filter = self.port_filter();
        if ports.is_empty() && filter.is_none_or(|f| f.is_any()) {
            each(PortHit::Any);
        }
        for port in ports.iter().filter(|p| filter.is_none_or(|f| f.matches(p))) {
            each(port.number.map_or(PortHit::Any, PortHit::Number));
        }
    }

    fn port_count(&self, ports: &[Port]) -> usize {
        let mut count = 0;
        self.ports(ports, &mut |_| count += 1);
        count
    }

    /// Calls `each` with every endpoint of the slices that have a port that the name asks for.
    pub(super) fn endpoints(&self, rules: &Rules, each: &mut dyn FnMut(&'a EndpointSlice, Endpoint<'a>)) {
        let Self::Endpoints { entry, filter, .. } = self else { return };
        let matches = |endpoint: &Endpoint<'_>| match filter {
            EndpointFilter::All | EndpointFilter::Port(_) => true,
            EndpointFilter::Label { label, address } => has_label(endpoint, rules, label, *address),
        };
        for slice in rules.slices(entry).filter(|s| self.port_count(&s.ports) > 0) {
            slice.endpoints.iter().filter(matches).for_each(|endpoint| each(slice, endpoint));
        }
    }

    /// How many hits there are: ports times addresses, repeated ones and both families included.
    pub(super) fn count(&self, rules: &Rules) -> usize {
        match self {
            Self::Cluster { service, ips, .. } => self.port_count(&service.ports) * ips.len(),
            Self::Endpoints { .. } => {
                let mut count = 0;
                self.endpoints(rules, &mut |slice, _| count += self.port_count(&slice.ports));
                count
            }
            Self::Address(_) => 1,
            Self::NameServer(_) => 0,
        }
    }

    /// Whether any hit has a port with a number.
    fn has_numbered_port(&self, rules: &Rules) -> bool {
        let mut found = false;
        let mut look = |ports: &[Port]| self.ports(ports, &mut |hit| found |= hit != PortHit::Any);
        match self {
            Self::Cluster { service, ips, .. } if !ips.is_empty() => look(&service.ports),
            Self::Endpoints { .. } => self.endpoints(rules, &mut |slice, _| look(&slice.ports)),
            _ => {}
        }
        found
    }

    fn has_family(&self, rules: &Rules, family: Family) -> bool {
        match self {
            Self::Cluster { ips, .. } => ips.iter().any(|ip| family.has(*ip)),
            Self::Endpoints { .. } => {
                let mut found = false;
                self.endpoints(rules, &mut |_, e| found |= family.has(e.address));
                found
            }
            Self::Address(ip) => family.has(*ip),
            Self::NameServer(table) => {
                let mut found = false;
                name_servers(table, rules, &mut |_, ip| found |= family.has(ip));
                found
            }
        }
    }
}

/// Whether `label` is the endpoint's. `address` is what the label spells as an address, worked out once for
/// all endpoints; comparing it first avoids printing every address.
fn has_label(endpoint: &Endpoint<'_>, rules: &Rules, label: &[u8], address: Option<IpAddr>) -> bool {
    let named = !endpoint.hostname.is_empty()
        || !endpoint.spelling.is_empty()
        || (rules.endpoint_pod_names && !endpoint.target.is_empty());
    let mapped = matches!(endpoint.address, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
    (named || mapped || address == Some(endpoint.address))
        && with_label(endpoint, rules.endpoint_pod_names, |own| own.eq_ignore_ascii_case(label))
}

impl Rules {
    /// Answers `name` from `table`; also says which zone it is in.
    pub fn lookup<'a>(
        &'a self,
        table: &'a Table,
        name: &'a Labels,
        kind: QueryType,
    ) -> (Option<&'a Zone>, Answer<'a>) {
        let Some(zone) = self.zone_of(name) else { return (None, Answer::NotOurs) };
        let lookup = Lookup { rules: self, table, kind };
        let answer = match kind {
            QueryType::Transfer => Answer::Refused,
            _ if zone.reverse => lookup.reverse(zone, name),
            _ => lookup.forward(Subject::of(name, zone.name.len())),
        };
        (Some(zone), lookup.unless_unknown(answer))
    }
}

/// What every step of a lookup needs.
#[derive(Clone, Copy)]
struct Lookup<'a> {
    /// The rules to answer by.
    rules: &'a Rules,
    /// The generation to answer from.
    table: &'a Table,
    /// The type that was asked for.
    kind: QueryType,
}

impl<'a> Lookup<'a> {
    /// Invariant: no negative answer while a kind that could contradict it is incomplete.
    fn unless_unknown(self, answer: Answer<'a>) -> Answer<'a> {
        match answer {
            Answer::NxDomain => self.missing(Kinds::CORE).unwrap_or(Answer::NxDomain),
            answer => answer,
        }
    }

    /// "Not ready", if one of these kinds is incomplete.
    fn missing(self, kinds: Kinds) -> Option<Answer<'a>> {
        let missing = kinds.minus(self.table.complete());
        (!missing.is_empty()).then_some(Answer::NotReady(missing))
    }

    fn forward(self, subject: Subject<'a>) -> Answer<'a> {
        match subject {
            Subject::Apex => match self.kind {
                QueryType::Soa => Answer::Records(Records::Soa),
                QueryType::Ns => self.name_servers(),
                _ => Answer::NoData,
            },
            Subject::Between => Answer::NoData,
            Subject::Version if self.kind == QueryType::Txt => Answer::Records(Records::Version),
            Subject::Version => Answer::NoData,
            Subject::NameServer => self.hits(Hits::NameServer(self.table)),
            Subject::ServiceNamespace(namespace) if self.rules.exposes(self.table, namespace) => {
                Answer::NoData
            }
            Subject::PodNamespace(namespace)
                if self.rules.pods != Pods::Disabled && self.rules.exposes(self.table, namespace) =>
            {
                Answer::NoData
            }
            Subject::Pod { namespace, pod } => self.pod(namespace, pod),
            Subject::Service(name) => self.service(name, EndpointFilter::All),
            Subject::Port(name, filter) => self.service(name, EndpointFilter::Port(filter)),
            Subject::Endpoint(name, label) => {
                self.service(name, EndpointFilter::Label { label, address: pod_address(label) })
            }
            Subject::ServiceNamespace(_) | Subject::PodNamespace(_) | Subject::Nothing => Answer::NxDomain,
        }
    }

    fn service(self, name: ServiceName<'a>, filter: EndpointFilter<'a>) -> Answer<'a> {
        let Self { rules, table, .. } = self;
        if !rules.exposes(table, name.namespace) {
            return Answer::NxDomain;
        }
        let Some(entry) = table.service(name.namespace, name.service) else { return Answer::NxDomain };
        let Some(service) = entry.service().filter(|s| rules.selects(&s.labels)) else {
            return Answer::NxDomain;
        };
        // Whatever depends on endpoints waits until their list is complete.
        let endpoints = |filter| match self.missing(Kinds::NONE.with(Kind::EndpointSlice)) {
            Some(answer) => answer,
            None => self.endpoints(Hits::Endpoints { service, entry, filter }),
        };
        let cluster = |ips: &'a [IpAddr], filter| {
            if rules.ignore_empty_service
                && let Some(answer) = self.missing(Kinds::NONE.with(Kind::EndpointSlice))
            {
                return answer;
            }
            if rules.hides_empty(service, entry) {
                return Answer::NxDomain;
            }
            let hits = Hits::Cluster { service, ips, filter };
            if hits.port_count(&service.ports) == 0 { Answer::NxDomain } else { self.hits(hits) }
        };
        match (&service.shape, filter) {
            (Shape::ExternalName(target), EndpointFilter::All) => self.alias(target),
            (Shape::ExternalName(_), _) => Answer::NxDomain,
            (Shape::ClusterIp(ips), EndpointFilter::All) => cluster(ips, None),
            (Shape::ClusterIp(ips), EndpointFilter::Port(filter)) => cluster(ips, Some(filter)),
            (Shape::ClusterIp(_), EndpointFilter::Label { .. }) if rules.hides_empty(service, entry) => {
                Answer::NxDomain
            }
            (Shape::ClusterIp(_), EndpointFilter::Label { label, .. })
                if has_protocol(&service.ports, label) =>
            {
                Answer::NoData
            }
            (_, filter) => endpoints(filter),
        }
    }

    fn alias(self, target: &'a str) -> Answer<'a> {
        // An address is not a name: such a service leads nowhere.
        if target.is_empty() || target.parse::<IpAddr>().is_ok() {
            return Answer::NxDomain;
        }
        match self.kind {
            QueryType::A | QueryType::Aaaa | QueryType::Cname => Answer::Alias(target),
            _ => Answer::NoData,
        }
    }

    /// Endpoints, if there are any; the name exists only through them.
    fn endpoints(self, hits: Hits<'a>) -> Answer<'a> {
        if hits.count(self.rules) > 0 {
            return self.hits(hits);
        }
        match &hits {
            // `_tcp.SVC.NS.svc` has `_PORT._tcp.SVC.NS.svc` below it.
            Hits::Endpoints { entry, filter: EndpointFilter::Label { label, .. }, service }
                if service.shape == Shape::Headless
                    && self
                        .rules
                        .slices(entry)
                        .any(|s| !s.endpoints.is_empty() && has_protocol(&s.ports, label)) =>
            {
                Answer::NoData
            }
            _ => Answer::NxDomain,
        }
    }

    fn pod(self, namespace: &'a [u8], label: &'a [u8]) -> Answer<'a> {
        let Self { rules, table, .. } = self;
        if rules.pods == Pods::Disabled || !rules.exposes(table, namespace) {
            return Answer::NxDomain;
        }
        let Some(ip) = pod_address(label) else { return Answer::NxDomain };
        if rules.pods == Pods::Verified {
            let known = table.pod(namespace, ip).is_some_and(|pod| rules.selects(&pod.labels));
            // Only the canonical spelling is the pod's name.
            if !known || Dashed::of(ip).as_bytes() != label {
                return self.missing(Kinds::NONE.with(Kind::Pod)).unwrap_or(Answer::NxDomain);
            }
        }
        self.hits(Hits::Address(ip))
    }

    /// A name that leads to these hits exists: records of the type that was asked for, or NODATA.
    fn hits(self, hits: Hits<'a>) -> Answer<'a> {
        let records = match self.kind {
            QueryType::A if hits.has_family(self.rules, Family::V4) => Records::Addresses(hits, Family::V4),
            QueryType::Aaaa if hits.has_family(self.rules, Family::V6) => {
                Records::Addresses(hits, Family::V6)
            }
            QueryType::Srv if hits.has_numbered_port(self.rules) => Records::Services(hits),
            _ => return Answer::NoData,
        };
        Answer::Records(records)
    }

    fn name_servers(self) -> Answer<'a> {
        let mut any = false;
        name_servers(self.table, self.rules, &mut |_, _| any = true);
        if any {
            return Answer::Records(Records::NameServers);
        }
        self.missing(Kinds::CORE).unwrap_or(Answer::NoData)
    }

    fn reverse(self, zone: &Zone, name: &'a Labels) -> Answer<'a> {
        let subject = Subject::of(name, zone.name.len());
        if matches!(subject, Subject::Apex | Subject::NameServer) {
            return self.forward(subject);
        }
        let Some(ip) = reverse_address(name) else { return Answer::NxDomain };
        let mut found = false;
        pointers(self.table, self.rules, ip, &mut |_| found = true);
        match self.kind {
            QueryType::Ptr if found => Answer::Records(Records::Pointers(ip)),
            QueryType::Soa if found => Answer::NoData,
            // Other types of a reverse name are for `fallthrough`, as CoreDNS has it.
            _ => Answer::NxDomain,
        }
    }
}

/// Whether `label` is `_tcp`, `_udp` or `_sctp` and one of the ports has that protocol.
fn has_protocol(ports: &[Port], label: &[u8]) -> bool {
    let Some(protocol) = label.strip_prefix(b"_") else { return false };
    ports.iter().any(|p| p.protocol != Protocol::Unset && p.protocol.label().as_bytes() == protocol)
}

/// Whether a name under a reverse zone is about addresses that only this network can know: private
/// (RFC 1918), shared (RFC 6598) or unique local (RFC 4193). Partial names count by what they spell.
pub fn is_private_reverse(name: &Labels) -> bool {
    let count = name.len();
    let octet = |i: usize| -> Option<u8> {
        let at = count.checked_sub(3 + i)?;
        std::str::from_utf8(name.get(at)).ok()?.parse().ok()
    };
    if count < 3 || name.get(count - 1) != b"arpa" {
        return false;
    }
    match name.get(count - 2) {
        b"in-addr" => match (octet(0), octet(1)) {
            (Some(10), _) | (Some(192), Some(168)) => true,
            (Some(172), Some(second)) => (16..32).contains(&second),
            (Some(100), Some(second)) => (64..128).contains(&second),
            _ => false,
        },
        b"ip6" => name.get(count - 3) == b"f" && count > 3 && matches!(name.get(count - 4), b"c" | b"d"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_reverse_names() {
        for (name, want) in [
            ("1.0.96.10.in-addr.arpa.", true),
            ("96.10.in-addr.arpa.", true),
            ("1.16.172.in-addr.arpa.", true),
            ("1.32.172.in-addr.arpa.", false),
            ("172.in-addr.arpa.", false),
            ("5.168.192.in-addr.arpa.", true),
            ("5.64.100.in-addr.arpa.", true),
            ("5.128.100.in-addr.arpa.", false),
            ("8.8.8.8.in-addr.arpa.", false),
            ("1.0.d.f.ip6.arpa.", true),
            ("1.0.0.c.f.ip6.arpa.", true),
            ("8.b.d.0.1.0.0.2.ip6.arpa.", false),
            ("in-addr.arpa.", false),
            ("10.cluster.local.", false),
        ] {
            assert_eq!(is_private_reverse(&Labels::parse(name).unwrap()), want, "{name}");
        }
    }
}
