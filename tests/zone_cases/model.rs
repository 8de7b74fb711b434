//! The zone a second time, as plainly as it can be said: every question goes through all objects. It shares
//! nothing with the code that it checks but the objects and the configuration.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use outlast::zone::lookup::QueryType;
use outlast::zone::object::{Endpoint, EndpointSlice, Object, Port, Service, Shape};
use outlast::zone::rules::{Pods, Rules};

/// What a question gets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Expected {
    /// There is no such name.
    Missing,
    /// The name exists and has nothing of the type.
    Nothing,
    /// An alias for this name.
    Alias(String),
    /// These records, sorted: `answer @ A 10.0.0.1`, `additional web.shop.svc A 10.0.0.1`.
    Records(Vec<String>),
}

/// Objects with the configuration that they are seen in.
pub(crate) struct Model<'a> {
    /// Everything there is.
    pub objects: &'a [Object],
    /// The configuration.
    pub rules: &'a Rules,
}

/// A port and an address that a name leads to.
struct Hit {
    /// `None` for an endpoint of a slice without ports.
    port: Option<u16>,
    address: IpAddr,
    /// Where a SRV record leads, without the zone.
    target: String,
}

impl Model<'_> {
    /// The answer to a name in `cluster.local.`, `in-addr.arpa.` or `ip6.arpa.`
    pub(crate) fn ask(&self, name: &str, kind: QueryType) -> Expected {
        let name = name.to_ascii_lowercase();
        let labels: Vec<&str> = name.trim_end_matches('.').split('.').collect();
        match &*labels {
            [left @ .., "cluster", "local"] => self.cluster(left, kind),
            ["in-addr" | "ip6", "arpa"] => self.apex(kind),
            [left @ .., "in-addr", "arpa"] => self.reverse(v4_of(left), kind),
            [left @ .., "ip6", "arpa"] => self.reverse(v6_of(left), kind),
            _ => panic!("{name} is in none of the zones"),
        }
    }

    fn cluster(&self, labels: &[&str], kind: QueryType) -> Expected {
        match *labels {
            [] => self.apex(kind),
            ["svc" | "pod" | "dns"] => Expected::Nothing,
            ["dns-version"] if kind == QueryType::Txt => records(vec!["answer @ TXT 1.1.0".to_owned()]),
            ["dns-version"] => Expected::Nothing,
            ["ns", "dns"] => {
                let servers = self.name_servers();
                let own = servers.into_iter().flat_map(|(_, addresses)| addresses);
                addresses_of(&own.collect::<Vec<_>>(), kind)
            }
            [namespace, "svc"] if self.exposes(namespace) => Expected::Nothing,
            [namespace, "pod"] if self.rules.pods != Pods::Disabled && self.exposes(namespace) => {
                Expected::Nothing
            }
            [pod, namespace, "pod"] => self.pod(pod, namespace, kind),
            [service, namespace, "svc"] => self.service(namespace, service, &[], kind),
            [label, service, namespace, "svc"] => self.service(namespace, service, &[label], kind),
            [port, protocol, service, namespace, "svc"] => {
                self.service(namespace, service, &[port, protocol], kind)
            }
            _ => Expected::Missing,
        }
    }

    fn apex(&self, kind: QueryType) -> Expected {
        match kind {
            QueryType::Soa => records(vec!["answer @ SOA".to_owned()]),
            QueryType::Ns => {
                let mut lines = Vec::new();
                for (host, addresses) in self.name_servers() {
                    lines.push(format!("answer @ NS {host}"));
                    lines.extend(addresses.iter().map(|ip| format!("additional {host} {}", address(*ip))));
                }
                records(lines)
            }
            _ => Expected::Nothing,
        }
    }

    // --- Objects ---

    fn services(&self) -> impl Iterator<Item = &Service> {
        self.objects.iter().filter_map(|o| if let Object::Service(s) = o { Some(s) } else { None })
    }

    /// The slices that count.
    fn slices(&self) -> impl Iterator<Item = &EndpointSlice> {
        let all = self.objects.iter();
        all.filter_map(|o| if let Object::EndpointSlice(s) = o { Some(s) } else { None })
            .filter(|_| !self.rules.no_endpoints)
    }

    fn slices_of(&self, service: &Service) -> Vec<&EndpointSlice> {
        let of = |s: &&EndpointSlice| s.namespace == service.namespace && s.service == service.name;
        self.slices().filter(of).collect()
    }

    fn exposes(&self, namespace: &str) -> bool {
        let exists = self.objects.iter().any(|o| matches!(o, Object::Namespace(n) if &*n.name == namespace));
        exists && (self.rules.namespaces.is_empty() || self.rules.namespaces.contains(namespace))
    }

    /// Reverse lookups look at namespaces only where some are configured.
    fn exposes_reverse(&self, namespace: &str) -> bool {
        self.rules.namespaces.is_empty() || self.exposes(namespace)
    }

    /// Hostname, else the pod's name where that is configured, else the address with dashes.
    fn label(&self, endpoint: &Endpoint<'_>) -> String {
        if !endpoint.hostname.is_empty() {
            return endpoint.hostname.to_owned();
        }
        if self.rules.endpoint_pod_names && !endpoint.target.is_empty() {
            return endpoint.target.to_owned();
        }
        let dashed = endpoint.address.to_string().replace(['.', ':'], "-");
        if dashed.ends_with('-') { dashed + "0" } else { dashed }
    }

    // --- Services ---

    /// A service's name with nothing, an endpoint's label, or a port and a protocol in front.
    fn service(&self, namespace: &str, name: &str, front: &[&str], kind: QueryType) -> Expected {
        let found = self.services().find(|s| &*s.namespace == namespace && &*s.name == name);
        let Some(service) = found.filter(|_| self.exposes(namespace)) else { return Expected::Missing };
        let slices = self.slices_of(service);
        let empty = slices.iter().all(|s| s.endpoints.is_empty());
        match (&service.shape, front) {
            (Shape::ExternalName(target), []) => match kind {
                _ if target.parse::<IpAddr>().is_ok() => Expected::Missing,
                QueryType::A | QueryType::Aaaa | QueryType::Cname => Expected::Alias(target.to_string()),
                _ => Expected::Nothing,
            },
            (Shape::ExternalName(_), _) => Expected::Missing,
            (Shape::ClusterIp(_), _) if self.rules.ignore_empty_service && empty => Expected::Missing,
            (Shape::ClusterIp(addresses), [] | [_, _]) => {
                let ports = ports(&service.ports, front);
                let target = format!("{name}.{namespace}.svc");
                let mut hits = Vec::new();
                for port in &ports {
                    let hit = |ip: &IpAddr| Hit { port: *port, address: *ip, target: target.clone() };
                    hits.extend(addresses.iter().map(hit));
                }
                if ports.is_empty() { Expected::Missing } else { hits_of(&hits, kind) }
            }
            (shape, _) => {
                let hits = self.endpoints(service, &slices, front);
                // The ports of a headless service are its endpoints'.
                let has_protocol = |ports: &[Port], label: &str| {
                    let of = |p: &Port| {
                        !p.protocol.label().is_empty() && label == format!("_{}", p.protocol.label())
                    };
                    ports.iter().any(of)
                };
                let between = |label: &str| match shape {
                    Shape::Headless => {
                        slices.iter().any(|s| !s.endpoints.is_empty() && has_protocol(&s.ports, label))
                    }
                    _ => has_protocol(&service.ports, label),
                };
                match front {
                    _ if !hits.is_empty() => hits_of(&hits, kind),
                    [label] if between(label) => Expected::Nothing,
                    _ => Expected::Missing,
                }
            }
        }
    }

    fn endpoints(&self, service: &Service, slices: &[&EndpointSlice], front: &[&str]) -> Vec<Hit> {
        let (label, filter) = match front {
            [label] => (Some(*label), &[][..]),
            filter => (None, filter),
        };
        let mut hits = Vec::new();
        for slice in slices {
            for endpoint in slice.endpoints.iter() {
                let own = self.label(&endpoint);
                if label.is_some_and(|label| label != own.to_ascii_lowercase()) {
                    continue;
                }
                let target = format!("{own}.{}.{}.svc", service.name, service.namespace);
                let hit = |port| Hit { port, address: endpoint.address, target: target.clone() };
                hits.extend(ports(&slice.ports, filter).into_iter().map(hit));
            }
        }
        hits
    }

    // --- Pods, addresses, name servers ---

    fn pod(&self, label: &str, namespace: &str, kind: QueryType) -> Expected {
        if self.rules.pods == Pods::Disabled || !self.exposes(namespace) {
            return Expected::Missing;
        }
        let dashes = label.matches('-').count();
        let text = if dashes == 3 && !label.contains("--") {
            label.replace('-', ".")
        } else {
            label.replace('-', ":")
        };
        let Ok(ip) = text.parse::<IpAddr>() else { return Expected::Missing };
        let known = |o: &Object| matches!(o, Object::Pod(p) if &*p.namespace == namespace && p.ip == ip);
        if self.rules.pods == Pods::Verified && !(ip.to_string() == text && self.objects.iter().any(known)) {
            return Expected::Missing;
        }
        addresses_of(&[ip.to_canonical()], kind)
    }

    fn reverse(&self, ip: Option<IpAddr>, kind: QueryType) -> Expected {
        let Some(ip) = ip else { return Expected::Missing };
        let owner = self.services().filter(|s| self.exposes_reverse(&s.namespace)).find(|s| match &s.shape {
            Shape::ClusterIp(ips) => ips.contains(&ip),
            _ => false,
        });
        let names = match owner {
            Some(service) => vec![format!("{}.{}.svc", service.name, service.namespace)],
            None => self.endpoint_names(ip),
        };
        match kind {
            _ if names.is_empty() => Expected::Missing,
            QueryType::Ptr => records(names.iter().map(|n| format!("answer @ PTR {n}")).collect()),
            QueryType::Soa => Expected::Nothing,
            _ => Expected::Missing,
        }
    }

    fn endpoint_names(&self, ip: IpAddr) -> Vec<String> {
        let mut names = Vec::new();
        for slice in self.slices().filter(|s| self.exposes_reverse(&s.namespace)) {
            for endpoint in slice.endpoints.iter().filter(|e| e.address == ip) {
                names.push(format!("{}.{}.{}.svc", self.label(&endpoint), slice.service, slice.namespace));
            }
        }
        names
    }

    /// The zone's name servers with their addresses: services that one of our own addresses is an endpoint of,
    /// else `ns.dns`.
    fn name_servers(&self) -> Vec<(String, Vec<IpAddr>)> {
        let mut servers = Vec::new();
        for slice in self.slices() {
            let own = slice.endpoints.iter().find(|e| self.rules.local_addresses.contains(&e.address));
            let service = self.services().find(|s| s.namespace == slice.namespace && s.name == slice.service);
            let (Some(own), Some(service)) = (own, service) else { continue };
            let name = format!("{}.{}.svc", service.name, service.namespace);
            match &service.shape {
                Shape::ClusterIp(ips) if !ips.is_empty() => servers.push((name, ips.to_vec())),
                Shape::Headless => {
                    let all = slice.endpoints.addresses().iter().collect();
                    servers.push((format!("{}.{name}", self.label(&own)), all));
                }
                _ => {}
            }
        }
        if servers.is_empty() {
            servers.push(("ns.dns".to_owned(), self.rules.local_addresses.clone()));
        }
        servers
    }
}

/// The numbers of the ports that match: all without a filter, else those of this name and protocol, of which one
/// underscore does not count and an empty one matches any. No ports at all count as one without name and number.
fn ports(ports: &[Port], filter: &[&str]) -> Vec<Option<u16>> {
    let matches = |name: &str, protocol: &str| match filter {
        [want_name, want_protocol] => {
            [(*want_name, name), (*want_protocol, protocol)].iter().all(|(want, have)| {
                let want = want.strip_prefix('_').unwrap_or(want);
                want.is_empty() || want.eq_ignore_ascii_case(have)
            })
        }
        _ => true,
    };
    if ports.is_empty() && matches("", "") {
        return vec![None];
    }
    ports.iter().filter(|p| matches(&p.name, p.protocol.label())).map(|p| p.number).collect()
}

fn hits_of(hits: &[Hit], kind: QueryType) -> Expected {
    if kind != QueryType::Srv {
        return addresses_of(&hits.iter().map(|h| h.address).collect::<Vec<_>>(), kind);
    }
    let weight = (100 / hits.len().max(1)).max(1);
    let mut lines = Vec::new();
    for Hit { port, address: ip, target } in hits {
        if let Some(port) = port {
            lines.push(format!("answer @ SRV {weight} {port} {target}"));
            lines.push(format!("additional {target} {}", address(*ip)));
        }
    }
    records(lines)
}

fn addresses_of(addresses: &[IpAddr], kind: QueryType) -> Expected {
    let wanted = |ip: &&IpAddr| match kind {
        QueryType::A => ip.is_ipv4(),
        QueryType::Aaaa => ip.is_ipv6(),
        _ => false,
    };
    records(addresses.iter().filter(wanted).map(|ip| format!("answer @ {}", address(*ip))).collect())
}

/// An address record's type and data.
pub(crate) fn address(ip: IpAddr) -> String {
    format!("{} {ip}", if ip.is_ipv4() { "A" } else { "AAAA" })
}

fn records(mut lines: Vec<String>) -> Expected {
    lines.sort();
    lines.dedup();
    if lines.is_empty() { Expected::Nothing } else { Expected::Records(lines) }
}

fn v4_of(labels: &[&str]) -> Option<IpAddr> {
    let [d, c, b, a] = labels else { return None };
    format!("{a}.{b}.{c}.{d}").parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

fn v6_of(labels: &[&str]) -> Option<IpAddr> {
    if labels.len() != 32 || labels.iter().any(|l| l.len() != 1) {
        return None;
    }
    let digits: Vec<&str> = labels.iter().rev().copied().collect();
    let groups: Vec<String> = digits.chunks(4).map(<[&str]>::concat).collect();
    groups.join(":").parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}
