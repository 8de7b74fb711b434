//! Objects in one line: `svc("shop/web").ip("10.96.0.1").port("http", 80)`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::zone::object::{
    Addresses, EndpointSlice, Endpoints, Labels, Namespace, Object, Pod, Port, Protocol, Service, Shape,
};

/// A namespace.
pub fn ns(name: &str) -> Object {
    Object::Namespace(Namespace { name: name.into(), labels: Labels::default() })
}

/// A pod, `name` as `namespace/name`.
pub fn pod(name: &str, ip: &str) -> Object {
    let (namespace, name) = split(name);
    let ip = ip.parse().expect("a test's pod has a valid address");
    Object::Pod(Pod { namespace, name, ip, labels: Labels::default() })
}

/// A service without addresses and ports, `name` as `namespace/name`.
pub fn svc(name: &str) -> Svc {
    let (namespace, name) = split(name);
    let shape = Shape::ClusterIp(Box::default());
    Svc(Service { namespace, name, shape, ports: Box::default(), labels: Labels::default() })
}

/// A slice of `service` without endpoints and ports, `name` as `namespace/name`.
pub fn slice(name: &str, service: &str) -> Slice {
    let (namespace, name) = split(name);
    Slice { namespace, name, service: service.into(), ports: vec![], labels: vec![], rows: vec![] }
}

/// Builds a [`Service`].
#[derive(Clone, Debug)]
pub struct Svc(Service);

impl Svc {
    /// One more cluster address.
    #[must_use]
    pub fn ip(mut self, address: &str) -> Self {
        let address = address.parse().expect("a test's service has valid addresses");
        let mut addresses = match self.0.shape {
            Shape::ClusterIp(addresses) => addresses.into_vec(),
            Shape::Headless | Shape::ExternalName(_) => vec![],
        };
        addresses.push(address);
        self.0.shape = Shape::ClusterIp(addresses.into());
        self
    }

    /// Without a cluster address: its endpoints answer.
    #[must_use]
    pub fn headless(mut self) -> Self {
        self.0.shape = Shape::Headless;
        self
    }

    /// An alias for `target`.
    #[must_use]
    pub fn external(mut self, target: &str) -> Self {
        self.0.shape = Shape::ExternalName(target.into());
        self
    }

    /// One more TCP port.
    #[must_use]
    pub fn port(self, name: &str, number: u16) -> Self {
        self.any_port(name, Some(number), Protocol::Tcp)
    }

    /// One more UDP port.
    #[must_use]
    pub fn udp(self, name: &str, number: u16) -> Self {
        self.any_port(name, Some(number), Protocol::Udp)
    }

    /// One more port.
    #[must_use]
    pub fn any_port(mut self, name: &str, number: Option<u16>, protocol: Protocol) -> Self {
        self.0.ports = more(self.0.ports, Port { name: name.into(), number, protocol });
        self
    }

    /// One more label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.0.labels = sorted(more(self.0.labels, (key.into(), value.into())));
        self
    }

    /// The object.
    pub fn build(self) -> Object {
        Object::Service(self.0)
    }
}

impl From<Svc> for Object {
    fn from(built: Svc) -> Self {
        built.build()
    }
}

/// Builds an [`EndpointSlice`].
#[derive(Clone, Debug)]
pub struct Slice {
    namespace: Box<str>,
    name: Box<str>,
    service: Box<str>,
    ports: Vec<Port>,
    labels: Vec<(Box<str>, Box<str>)>,
    rows: Vec<Row>,
}

/// One endpoint.
#[derive(Clone, Debug)]
struct Row {
    address: IpAddr,
    hostname: String,
    target: String,
    spelling: String,
}

impl Slice {
    /// One more endpoint with an IPv4 address.
    #[must_use]
    pub fn v4(self, address: &str) -> Self {
        let parsed: Ipv4Addr = address.parse().expect("a test's endpoint has a valid IPv4 address");
        self.row(parsed.into(), "")
    }

    /// One more endpoint with an IPv6 address, in this spelling.
    #[must_use]
    pub fn v6(self, address: &str) -> Self {
        let parsed: Ipv6Addr = address.parse().expect("a test's endpoint has a valid IPv6 address");
        let canonical = parsed.to_string() == address;
        self.row(parsed.into(), if canonical { "" } else { address })
    }

    fn row(mut self, address: IpAddr, spelling: &str) -> Self {
        let same_family = self.rows.iter().all(|row| row.address.is_ipv4() == address.is_ipv4());
        assert!(same_family, "a slice holds one family of addresses");
        self.rows.push(Row {
            address,
            hostname: String::new(),
            target: String::new(),
            spelling: spelling.into(),
        });
        self
    }

    /// The `hostname` of the endpoint before.
    #[must_use]
    pub fn host(mut self, hostname: &str) -> Self {
        self.last().hostname = hostname.into();
        self
    }

    /// The pod (`targetRef.name`) of the endpoint before.
    #[must_use]
    pub fn pod(mut self, name: &str) -> Self {
        self.last().target = name.into();
        self
    }

    fn last(&mut self) -> &mut Row {
        self.rows.last_mut().expect("an endpoint's names come after its address")
    }

    /// One more TCP port.
    #[must_use]
    pub fn port(self, name: &str, number: u16) -> Self {
        self.any_port(name, Some(number), Protocol::Tcp)
    }

    /// One more UDP port.
    #[must_use]
    pub fn udp(self, name: &str, number: u16) -> Self {
        self.any_port(name, Some(number), Protocol::Udp)
    }

    /// One more port.
    #[must_use]
    pub fn any_port(mut self, name: &str, number: Option<u16>, protocol: Protocol) -> Self {
        self.ports.push(Port { name: name.into(), number, protocol });
        self
    }

    /// One more label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.push((key.into(), value.into()));
        self
    }

    /// The object; a slice without endpoints is one of IPv4.
    pub fn build(self) -> Object {
        let Self { namespace, name, service, ports, labels, rows } = self;
        let v6: Box<[Ipv6Addr]> = rows
            .iter()
            .filter_map(|row| match row.address {
                IpAddr::V6(address) => Some(address),
                IpAddr::V4(_) => None,
            })
            .collect();
        let v4: Box<[Ipv4Addr]> = rows
            .iter()
            .filter_map(|row| match row.address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            })
            .collect();
        let addresses = if v6.is_empty() { Addresses::V4(v4) } else { Addresses::V6(v6) };
        let column = |of: fn(&Row) -> &str| rows.iter().map(of).collect::<Vec<_>>();
        let endpoints = Endpoints::new(
            addresses,
            &column(|row| &row.hostname),
            &column(|row| &row.target),
            &column(|row| &row.spelling),
        )
        .expect("all rows are of one family and have every column");
        let (ports, labels) = (ports.into(), sorted(labels.into()));
        Object::EndpointSlice(EndpointSlice { namespace, name, service, ports, endpoints, labels })
    }
}

impl From<Slice> for Object {
    fn from(built: Slice) -> Self {
        built.build()
    }
}

fn split(name: &str) -> (Box<str>, Box<str>) {
    let (namespace, name) = name.split_once('/').expect("a test names objects as namespace/name");
    (namespace.into(), name.into())
}

fn more<T>(list: Box<[T]>, item: T) -> Box<[T]> {
    let mut list = list.into_vec();
    list.push(item);
    list.into()
}

fn sorted(mut labels: Labels) -> Labels {
    labels.sort();
    labels
}
