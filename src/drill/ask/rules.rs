//! Which records a service has: the rules of Kubernetes' DNS (schema 1.1.0) as the recorded CoreDNS keeps them. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use serde_json::Value;

use super::message::{Message, Question, Type};

/// What names of services end with.
const SERVICES: &str = ".svc.cluster.local.";

/// What the weights of all SRV records of a name add up to, about.
const WEIGHTS: usize = 100;

/// NOERROR and NXDOMAIN, RFC 1035 §4.1.1.
const CODES: (u8, u8) = (0, 3);

// === What is asked about ===

/// What a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// A service, `namespace/name`.
    Service(String, Part),
    /// Whose address this is.
    Address(IpAddr),
}

/// Which name of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Its own.
    Whole,
    /// That of an endpoint.
    Host(String),
    /// That of a port: its name and its protocol.
    Port(String, String),
}

impl Subject {
    /// `None` for questions whose answers nobody here knows.
    pub(super) fn of(question: &Question) -> Option<Self> {
        match question.kind {
            Type::Ptr => address(&question.name).map(Self::Address),
            Type::A | Type::Aaaa | Type::Srv => {
                let labels: Vec<_> = question.name.strip_suffix(SERVICES)?.split('.').collect();
                let (part, service, namespace) = match labels[..] {
                    [service, namespace] => (Part::Whole, service, namespace),
                    [host, service, namespace] if !host.starts_with('_') => {
                        (Part::Host(host.to_owned()), service, namespace)
                    }
                    [port, protocol, service, namespace] if question.kind == Type::Srv => {
                        let part = Part::Port(
                            port.strip_prefix('_')?.to_owned(),
                            protocol.strip_prefix('_')?.to_owned(),
                        );
                        (part, service, namespace)
                    }
                    _ => return None,
                };
                Some(Self::Service(format!("{namespace}/{service}"), part))
            }
            Type::Cname | Type::Other(_) => None,
        }
    }
}

/// The address that a reverse name is of.
fn address(name: &str) -> Option<IpAddr> {
    if let Some(octets) = name.strip_suffix(".in-addr.arpa.") {
        let octets: Vec<u8> = octets.split('.').map(|octet| octet.parse().ok()).collect::<Option<_>>()?;
        let [d, c, b, a] = octets[..] else { return None };
        return Some(Ipv4Addr::new(a, b, c, d).into());
    }
    let nibbles: Vec<&str> = name.strip_suffix(".ip6.arpa.")?.split('.').rev().collect();
    if nibbles.len() != 32 || nibbles.iter().any(|nibble| nibble.len() != 1) {
        return None;
    }
    let number = u128::from_str_radix(&nibbles.concat(), 16).ok()?;
    Some(Ipv6Addr::from(number).into())
}

/// The reverse name of an address.
pub(super) fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
        }
        IpAddr::V6(ip) => {
            let nibbles = format!("{:032x}", u128::from(ip));
            nibbles.chars().rev().map(|nibble| format!("{nibble}.")).collect::<String>() + "ip6.arpa."
        }
    }
}

/// The name of a service, `namespace/name`.
pub(super) fn name_of(key: &str) -> String {
    let (namespace, service) = key.split_once('/').unwrap_or_default();
    format!("{service}.{namespace}{SERVICES}")
}

// === What objects say ===

/// A port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Port {
    /// Its name, in lower case; may be empty.
    name: String,
    /// Its protocol, in lower case.
    protocol: String,
    /// Its number.
    number: u16,
}

/// An endpoint that takes traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// What it is called below its service.
    pub(super) host: String,
    /// Its address.
    pub(super) ip: IpAddr,
    /// Its ports.
    ports: Arc<[Port]>,
}

/// What a Service says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    /// Whether it has no addresses of its own.
    pub(super) headless: bool,
    /// Whether it is another name for something else.
    alias: bool,
    /// Its own addresses.
    pub(super) ips: Vec<IpAddr>,
    /// Its ports.
    ports: Vec<Port>,
}

impl Service {
    /// Of a Service's JSON.
    pub(super) fn of(value: &Value) -> Self {
        let spec = &value["spec"];
        let ips = list(&spec["clusterIPs"]).filter_map(ip).collect();
        Self {
            headless: spec["clusterIP"] == "None",
            alias: spec["type"] == "ExternalName",
            ips,
            ports: ports(&spec["ports"]),
        }
    }
}

/// The endpoints of an EndpointSlice's JSON that take traffic.
pub(super) fn endpoints(value: &Value) -> Vec<Endpoint> {
    let ports: Arc<[Port]> = ports(&value["ports"]).into();
    let ready = |endpoint: &&Value| endpoint["conditions"]["ready"] != false;
    let each = |endpoint: &Value| {
        let ip = list(&endpoint["addresses"]).find_map(ip)?;
        let host = endpoint["hostname"].as_str().filter(|host| !host.is_empty());
        let host = host.map_or_else(|| dashed(ip), str::to_lowercase);
        Some(Endpoint { host, ip, ports: ports.clone() })
    };
    list(&value["endpoints"]).filter(ready).filter_map(each).collect()
}

/// The items of a list, none if there is none.
fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn ip(value: &Value) -> Option<IpAddr> {
    value.as_str()?.parse().ok()
}

fn ports(value: &Value) -> Vec<Port> {
    let each = |port: &Value| Port {
        name: port["name"].as_str().unwrap_or_default().to_lowercase(),
        protocol: port["protocol"].as_str().unwrap_or("TCP").to_lowercase(),
        number: port["port"].as_u64().and_then(|number| number.try_into().ok()).unwrap_or_default(),
    };
    list(value).map(each).collect()
}

/// How an endpoint without a host name is called: its address, with dashes.
fn dashed(ip: IpAddr) -> String {
    let text = ip.to_string().replace(['.', ':'], "-");
    let front = if text.starts_with('-') { "0" } else { "" };
    let back = if text.ends_with('-') { "0" } else { "" };
    format!("{front}{text}{back}")
}

// === What is answered ===

/// A service at some moment, with its endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// What it says itself.
    pub(super) service: Arc<Service>,
    /// Its endpoints that take traffic, of all its slices.
    pub(super) endpoints: Vec<Endpoint>,
}

impl Seen {
    /// Its addresses, and those of its endpoints.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.service.ips.iter().copied().chain(self.endpoints.iter().map(|endpoint| endpoint.ip))
    }
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// These records of the name, `TYPE RDATA` each.
    Records(BTreeSet<String>),
    /// The name has none of that type.
    NoData,
    /// There is no such name.
    NxDomain,
}

impl Said {
    /// What a reply says; `None` for a failure.
    pub(super) fn by(message: &Message, name: &str) -> Option<Self> {
        match message.rcode {
            code if code == CODES.1 => Some(Self::NxDomain),
            code if code != CODES.0 => None,
            _ if message.answers.is_empty() => Some(Self::NoData),
            _ => {
                let row = |record: &super::message::Record| {
                    let owner = if record.owner == name { "" } else { &record.owner };
                    format!("{owner}{} {}", record.kind, record.data)
                };
                Some(Self::Records(message.answers.iter().map(row).collect()))
            }
        }
    }

    /// Whether it says that there is something.
    pub(super) const fn is_positive(&self) -> bool {
        matches!(self, Self::Records(_))
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Records(rows) => rows.iter().cloned().collect::<Vec<_>>().join(", "),
            Self::NoData => "no such records".to_owned(),
            Self::NxDomain => "no such name".to_owned(),
        }
    }
}

impl From<BTreeSet<String>> for Said {
    fn from(rows: BTreeSet<String>) -> Self {
        if rows.is_empty() { Self::NoData } else { Self::Records(rows) }
    }
}

/// What is to be said of a name of a service. `None` where nobody here knows.
pub(super) fn said(seen: Option<&Seen>, part: &Part, question: &Question, key: &str) -> Option<Said> {
    let Some(Seen { service, endpoints }) = seen else { return Some(Said::NxDomain) };
    if service.alias {
        return None;
    }
    let hosts: Vec<&Endpoint> = match part {
        Part::Host(host) => endpoints.iter().filter(|endpoint| endpoint.host == *host).collect(),
        Part::Whole | Part::Port(..) if service.headless => endpoints.iter().collect(),
        Part::Whole | Part::Port(..) => Vec::new(),
    };
    let by_endpoint = service.headless || matches!(part, Part::Host(_));
    if by_endpoint && hosts.is_empty() {
        return Some(Said::NxDomain);
    }
    if question.kind == Type::Srv {
        let name = name_of(key);
        let wanted = |port: &&Port| match part {
            Part::Port(name, protocol) => port.name == *name && port.protocol == *protocol,
            Part::Whole | Part::Host(_) => true,
        };
        let mut targets = Vec::new();
        if by_endpoint {
            for endpoint in hosts {
                let ports = endpoint.ports.iter().filter(wanted);
                targets.extend(ports.map(|port| (port.number, format!("{}.{name}", endpoint.host))));
            }
        } else {
            for _ in &service.ips {
                targets.extend(service.ports.iter().filter(wanted).map(|port| (port.number, name.clone())));
            }
        }
        if targets.is_empty() && matches!(part, Part::Port(..)) {
            return Some(Said::NxDomain);
        }
        let weight = (WEIGHTS / targets.len().max(1)).max(1);
        let row = |(port, target)| format!("SRV 0 {weight} {port} {target}");
        return Some(targets.into_iter().map(row).collect::<BTreeSet<_>>().into());
    }
    let ips = if by_endpoint {
        hosts.iter().map(|endpoint| endpoint.ip).collect::<Vec<_>>()
    } else {
        service.ips.clone()
    };
    let rows = ips.into_iter().filter(|ip| ip.is_ipv4() == (question.kind == Type::A));
    Some(rows.map(|ip| format!("{} {ip}", question.kind)).collect::<BTreeSet<_>>().into())
}

/// What is to be said of an address that these services have or had.
pub(super) fn said_of<'a>(ip: IpAddr, seen: impl Iterator<Item = (&'a str, &'a Seen)>) -> Said {
    let (mut own, mut of_endpoints) = (BTreeSet::new(), BTreeSet::new());
    for (key, Seen { service, endpoints }) in seen {
        let name = name_of(key);
        if service.ips.contains(&ip) {
            own.insert(format!("PTR {name}"));
        }
        let hosts = endpoints.iter().filter(|endpoint| endpoint.ip == ip);
        of_endpoints.extend(hosts.map(|endpoint| format!("PTR {}.{name}", endpoint.host)));
    }
    let rows = if own.is_empty() { of_endpoints } else { own };
    if rows.is_empty() { Said::NxDomain } else { Said::Records(rows) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_questions_are_about() {
        let service = |part| Some(Subject::Service("shop/web".to_owned(), part));
        let port = |port: &str, protocol: &str| Part::Port(port.to_owned(), protocol.to_owned());
        let address = |text: &str| Some(Subject::Address(text.parse().unwrap()));
        let v6 = reverse("fd00::1".parse().unwrap());
        for (name, kind, want) in [
            ("web.shop.svc.cluster.local.", Type::A, service(Part::Whole)),
            ("web-0.web.shop.svc.cluster.local.", Type::Aaaa, service(Part::Host("web-0".to_owned()))),
            ("_http._tcp.web.shop.svc.cluster.local.", Type::Srv, service(port("http", "tcp"))),
            ("_http._tcp.web.shop.svc.cluster.local.", Type::A, None),
            ("http.tcp.web.shop.svc.cluster.local.", Type::Srv, None),
            ("_tcp.web.shop.svc.cluster.local.", Type::A, None),
            ("shop.svc.cluster.local.", Type::A, None),
            ("web.shop.pod.cluster.local.", Type::A, None),
            ("web.shop.svc.cluster.local.", Type::Other(16), None),
            ("21.0.96.10.in-addr.arpa.", Type::Ptr, address("10.96.0.21")),
            ("0.96.10.in-addr.arpa.", Type::Ptr, None),
            ("x.0.96.10.in-addr.arpa.", Type::Ptr, None),
            (&v6, Type::Ptr, address("fd00::1")),
        ] {
            assert_eq!(Subject::of(&Question::new(name, kind)), want, "{name} {kind}");
        }
        assert_eq!(reverse("10.96.0.21".parse().unwrap()), "21.0.96.10.in-addr.arpa.");
    }

    #[test]
    fn names_of_endpoints_without_a_host_name() {
        for (ip, want) in
            [("10.244.1.10", "10-244-1-10"), ("fd00::1", "fd00--1"), ("fd00::", "fd00--0"), ("::1", "0--1")]
        {
            assert_eq!(dashed(ip.parse().unwrap()), want);
        }
    }
}
