//! Plans of clusters of any size, the same for the same seed: what drills, tests and benches are made with.
//!
//! May use [`crate::zone::object`] only. Objects come out one service at a time: a plan of millions costs a few
//! bytes for each service until its objects are asked for.

use std::collections::VecDeque;
use std::iter::Enumerate;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::vec::IntoIter;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::zone::object::{
    Addresses, EndpointSlice, Endpoints, Labels, Namespace, Object, Pod, Port, Protocol, Service, Shape,
};

/// Services of a namespace.
const SERVICES_A_NAMESPACE: usize = 50;

/// Endpoints of a slice, the EndpointSlice controller's default (`--max-endpoints-per-slice`).
const ENDPOINTS_A_SLICE: usize = 100;

/// Fewest and most endpoints of a service, where the numbers asked for allow it.
const ENDPOINTS_A_SERVICE: (usize, usize) = (3, 20);

/// Pods of a node, the kubelet's default (`--max-pods`).
const PODS_A_NODE: usize = 110;

/// Nodes that have a /24 of 10.128.0.0/9 for their pods.
const MAX_NODES: usize = 1 << 15;

/// Where the addresses of services begin in 10.96.0.0/12: the first ones are the cluster's own.
const FIRST_SERVICE: u32 = 10;

/// Most services of a cluster: the addresses of 10.96.0.0/12.
pub const MAX_SERVICES: usize = (1 << 20) - FIRST_SERVICE as usize;

/// Most endpoints of a cluster: 110 pods on each of 32,768 nodes.
pub const MAX_ENDPOINTS: usize = MAX_NODES * PODS_A_NODE;

/// What the services are called after.
const APPS: [&str; 16] = [
    "web", "api", "cart", "checkout", "search", "billing", "auth", "mail", "stock", "orders", "users",
    "events", "reports", "pricing", "gateway", "worker",
];

/// What namespaces are called after.
const TEAMS: [&str; 8] = ["shop", "bank", "media", "data", "infra", "mobile", "partner", "ops"];

/// The letters that Kubernetes makes generated names of: no vowels, so that no words come out.
const GENERATED: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The plan of a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Cluster {
    /// How many services.
    services: usize,
    /// How many addresses in all slices together.
    endpoints: usize,
    /// What the random choices start from.
    seed: u64,
    /// Whether the pods are among the objects.
    pods: bool,
}

impl Cluster {
    /// A cluster of exactly so many services and endpoint addresses (see [`possible`](Self::possible)), at about 50 services
    /// a namespace: of 20 services one is an ExternalName, one a dual-stack ClusterIP, two are headless
    /// StatefulSets, the others ClusterIPs with 3 to 20 endpoints, or more or fewer where the numbers ask for it.
    pub const fn sized(services: usize, endpoints: usize) -> Self {
        Self { services, endpoints, seed: 1, pods: false }
    }

    /// The cluster that all figures are measured with: 10,000 services and 100,900 endpoints.
    pub const fn benchmark() -> Self {
        Self::sized(10_000, 100_900)
    }

    /// Whether there can be such a cluster: beyond these sizes the objects cannot be made.
    ///
    /// # Errors
    /// Says which number is too large.
    pub const fn possible(self) -> Result<Self, Impossible> {
        match (self.services, self.endpoints) {
            (services, _) if services > MAX_SERVICES => Err(Impossible::Services),
            (_, endpoints) if endpoints > MAX_ENDPOINTS => Err(Impossible::Endpoints),
            (0, 1..) => Err(Impossible::NoService),
            _ => Ok(self),
        }
    }

    /// Other random choices.
    #[must_use]
    pub const fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// With a Pod for every endpoint's pod.
    #[must_use]
    pub const fn with_pods(self) -> Self {
        Self { pods: true, ..self }
    }

    /// The objects, each service followed by its slices and pods. All addresses are different.
    pub fn objects(self) -> Vec<Object> {
        self.stream().collect()
    }

    /// The objects of [`objects`](Self::objects), made one service at a time.
    pub fn stream(self) -> Objects {
        let mut rng = SmallRng::seed_from_u64(self.seed);
        let shares = self.shares(&mut rng).into_iter();
        let nodes = self.endpoints.div_ceil(PODS_A_NODE).max(1);
        let maker = Maker { rng, nodes, pods_made: 0, with_pods: self.pods, objects: VecDeque::new() };
        Objects { shares: shares.enumerate(), maker }
    }

    /// How many endpoint addresses each service has: drawn within [`ENDPOINTS_A_SERVICE`], then moved one at a
    /// time until their sum is right; drawn freely where no such numbers have that sum.
    fn shares(self, rng: &mut SmallRng) -> Vec<usize> {
        let takes: Vec<usize> = (0..self.services).filter(|i| Role::of(*i) != Role::External).collect();
        let mut shares = vec![0; self.services];
        if takes.is_empty() {
            assert_eq!(self.endpoints, 0, "there is no service to have endpoints");
            return shares;
        }
        let (low, high) = ENDPOINTS_A_SERVICE;
        let (low, high) = match self.endpoints {
            n if n < low * takes.len() => (0, high),
            n if n > high * takes.len() => (low, self.endpoints),
            _ => (low, high),
        };
        // Start near the mean, so that little is left to move.
        let mean = self.endpoints / takes.len();
        let spread = (ENDPOINTS_A_SERVICE.1 - ENDPOINTS_A_SERVICE.0) / 2;
        for i in &takes {
            shares[*i] = rng.random_range(mean.saturating_sub(spread)..=mean + spread).clamp(low, high);
        }
        let mut sum: usize = shares.iter().sum();
        while sum != self.endpoints {
            for i in &takes {
                if sum < self.endpoints && shares[*i] < high {
                    shares[*i] += 1;
                    sum += 1;
                } else if sum > self.endpoints && shares[*i] > low {
                    shares[*i] -= 1;
                    sum -= 1;
                }
            }
        }
        shares
    }
}

/// Why there is no cluster of some size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// The addresses of services come to an end.
    #[error("at most {MAX_SERVICES} services have an address in 10.96.0.0/12")]
    Services,
    /// The addresses of pods come to an end.
    #[error(
        "at most {MAX_ENDPOINTS} endpoints have an address in 10.128.0.0/9 with {PODS_A_NODE} pods a node"
    )]
    Endpoints,
    /// Endpoints belong to services.
    #[error("without services there are no endpoints")]
    NoService,
}

/// The objects of a cluster, each service followed by its slices and pods.
#[derive(Debug)]
pub struct Objects {
    /// The services to come: number and endpoint addresses.
    shares: Enumerate<IntoIter<usize>>,
    /// Makes their objects, and has those of the last one that are still to be handed out.
    maker: Maker,
}

impl Iterator for Objects {
    type Item = Object;

    fn next(&mut self) -> Option<Object> {
        if self.maker.objects.is_empty() {
            let (number, share) = self.shares.next()?;
            let namespace = namespace_name(number / SERVICES_A_NAMESPACE);
            if number.is_multiple_of(SERVICES_A_NAMESPACE) {
                let name = Box::<str>::from(&*namespace);
                self.maker
                    .objects
                    .push_back(Object::Namespace(Namespace { name, labels: Labels::default() }));
            }
            self.maker.service(&namespace, number, Role::of(number), share);
        }
        self.maker.objects.pop_front()
    }
}

/// What a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    ClusterIp,
    DualStack,
    StatefulSet,
    External,
}

impl Role {
    /// Of 20 services in a row: 16 ClusterIPs, a dual-stack one, two StatefulSets, an ExternalName.
    const fn of(number: usize) -> Self {
        match number % 20 {
            5 | 15 => Self::StatefulSet,
            10 => Self::DualStack,
            19 => Self::External,
            _ => Self::ClusterIp,
        }
    }
}

/// A pod of a service.
struct Replica {
    /// Its name.
    name: String,
    /// Empty, or the name in its StatefulSet.
    hostname: String,
    /// Its IPv4 address.
    v4: Ipv4Addr,
    /// Its IPv6 address, used where the service is dual-stack.
    v6: Ipv6Addr,
}

/// Makes the objects one after the other.
#[derive(Debug)]
struct Maker {
    /// The random choices.
    rng: SmallRng,
    /// How many nodes the pods are spread over.
    nodes: usize,
    /// How many pods there are so far.
    pods_made: usize,
    /// Whether there is a Pod for every pod.
    with_pods: bool,
    /// Objects of one service, in their order.
    objects: VecDeque<Object>,
}

impl Maker {
    /// Service `number` with `share` endpoint addresses.
    fn service(&mut self, namespace: &str, number: usize, role: Role, share: usize) {
        let app = APPS[number % APPS.len()];
        let name: Box<str> = format!("{app}-{}", number % SERVICES_A_NAMESPACE).into();
        let (v4, v6) = service_addresses(number);
        let shape = match role {
            Role::ClusterIp => Shape::ClusterIp([IpAddr::V4(v4)].into()),
            Role::DualStack => Shape::ClusterIp([IpAddr::V4(v4), IpAddr::V6(v6)].into()),
            Role::StatefulSet => Shape::Headless,
            Role::External => Shape::ExternalName(format!("{app}.example.com").into()),
        };
        let (ports, target_ports) = ports(role);
        let (namespace, labels) = (Box::<str>::from(namespace), Labels::default());
        self.objects.push_back(Object::Service(Service {
            namespace: namespace.clone(),
            name: name.clone(),
            shape,
            ports,
            labels,
        }));
        // The addresses of a dual-stack service: one pod of an odd number has no IPv6 address yet.
        let (pods, with_v6) = match role {
            Role::DualStack => (share.div_ceil(2), share / 2),
            _ => (share, 0),
        };
        let replicas = self.replicas(&name, role, pods);
        for chunk in replicas.chunks(ENDPOINTS_A_SLICE) {
            let addresses = Addresses::V4(chunk.iter().map(|r| r.v4).collect());
            self.slice(&namespace, &name, &target_ports, addresses, chunk);
        }
        for chunk in replicas[..with_v6].chunks(ENDPOINTS_A_SLICE) {
            let addresses = Addresses::V6(chunk.iter().map(|r| r.v6).collect());
            self.slice(&namespace, &name, &target_ports, addresses, chunk);
        }
        if self.with_pods {
            self.objects.extend(replicas.into_iter().map(|replica| {
                let (name, ip) = (replica.name.into(), IpAddr::V4(replica.v4));
                Object::Pod(Pod { namespace: namespace.clone(), name, ip, labels: Labels::default() })
            }));
        }
    }

    fn slice(
        &mut self,
        namespace: &str,
        service: &str,
        ports: &[Port],
        addresses: Addresses,
        of: &[Replica],
    ) {
        let hostnames: Vec<_> = of.iter().map(|r| &*r.hostname).collect();
        let targets: Vec<_> = of.iter().map(|r| &*r.name).collect();
        let name = format!("{service}-{}", self.generated::<5>());
        self.objects.push_back(Object::EndpointSlice(EndpointSlice {
            namespace: namespace.into(),
            name: name.into(),
            service: service.into(),
            ports: ports.into(),
            endpoints: Endpoints::new(addresses, &hostnames, &targets, &[])
                .expect("every address has its replica"),
            labels: Labels::default(),
        }));
    }

    fn replicas(&mut self, service: &str, role: Role, count: usize) -> Vec<Replica> {
        let revision = self.generated::<10>();
        (0..count)
            .map(|ordinal| {
                let (v4, v6) = pod_addresses(self.pods_made, self.nodes);
                self.pods_made += 1;
                let stateful = role == Role::StatefulSet;
                let name = match stateful {
                    true => format!("{service}-{ordinal}"),
                    false => format!("{service}-{revision}-{}", self.generated::<5>()),
                };
                let hostname = if stateful { name.clone() } else { String::new() };
                Replica { name, hostname, v4, v6 }
            })
            .collect()
    }

    /// A generated part of a name.
    fn generated<const LENGTH: usize>(&mut self) -> String {
        (0..LENGTH).map(|_| char::from(GENERATED[self.rng.random_range(0..GENERATED.len())])).collect()
    }
}

fn namespace_name(number: usize) -> String {
    let team = TEAMS[number % TEAMS.len()];
    match number / TEAMS.len() {
        0 => team.to_owned(),
        round => format!("{team}-{round}"),
    }
}

/// The ports of a service, and those of its slices.
fn ports(role: Role) -> (Box<[Port]>, Box<[Port]>) {
    let port = |name: &str, number| Port { name: name.into(), number: Some(number), protocol: Protocol::Tcp };
    match role {
        Role::ClusterIp | Role::DualStack => ([port("http", 80)].into(), [port("http", 8080)].into()),
        Role::StatefulSet => {
            let both: Box<[Port]> = [port("client", 5432), port("peer", 5433)].into();
            (both.clone(), both)
        }
        Role::External => Default::default(),
    }
}

/// The addresses of service `number`: from 10.96.0.10 in 10.96.0.0/12, the range that most installers use, and
/// from fd00:10:96::a.
fn service_addresses(number: usize) -> (Ipv4Addr, Ipv6Addr) {
    let offset = u32::try_from(number).expect("services are counted in millions at most") + FIRST_SERVICE;
    assert!(offset < 1 << 20, "10.96.0.0/12 has no more addresses");
    let v4 = u32::from(Ipv4Addr::new(10, 96, 0, 0)) + offset;
    let v6 = u128::from(Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0)) + u128::from(offset);
    (v4.into(), v6.into())
}

/// The addresses of pod `number`: every node has a /24 of 10.128.0.0/9 and a /64 of fd00:10:128::/48, and the
/// pods go round the nodes, so that the addresses of a service are scattered as they are in life.
fn pod_addresses(number: usize, nodes: usize) -> (Ipv4Addr, Ipv6Addr) {
    // .1 is the node's bridge.
    const FIRST: usize = 2;
    let (node, host) = (number % nodes, number / nodes + FIRST);
    let node = u16::try_from(node).expect("10.128.0.0/9 has a /24 for 32,768 nodes");
    assert!(usize::from(node) < MAX_NODES, "10.128.0.0/9 has a /24 for 32,768 nodes");
    let host = u8::try_from(host).expect("no node has more than 110 pods");
    let [high, low] = node.to_be_bytes();
    let v6 = Ipv6Addr::new(0xfd00, 0x10, 0x128, node, 0, 0, 0, u16::from(host));
    (Ipv4Addr::new(10, 128 + high, low, host), v6)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn sizes_are_exact_and_nothing_is_twice() {
        for (services, endpoints) in
            [(0, 0), (1, 0), (1, 1), (20, 5), (100, 1000), (10, 5000), (10_000, 100_900), (100, 100_000)]
        {
            let (mut found_services, mut found_endpoints) = (0, 0);
            let (mut keys, mut addresses) = (HashSet::new(), HashSet::new());
            for object in Cluster::sized(services, endpoints).objects() {
                assert!(keys.insert(object.key()), "{}", object.key());
                match object {
                    Object::Service(o) => {
                        found_services += 1;
                        if let Shape::ClusterIp(ips) = &o.shape {
                            assert!(ips.iter().all(|a| addresses.insert(*a)));
                        }
                    }
                    Object::EndpointSlice(o) => {
                        found_endpoints += o.endpoints.len();
                        assert!(o.endpoints.len() <= ENDPOINTS_A_SLICE);
                        assert!(o.endpoints.iter().all(|e| addresses.insert(e.address)));
                    }
                    Object::Namespace(_) | Object::Pod(_) => {}
                }
            }
            assert_eq!((found_services, found_endpoints), (services, endpoints));
        }
    }

    #[test]
    fn the_benchmark_is_shaped_like_a_cluster() {
        let objects = Cluster::benchmark().objects();
        let (mut headless, mut external, mut dual, mut namespaces) = (0, 0, 0, 0);
        for object in &objects {
            match object {
                Object::Namespace(_) => namespaces += 1,
                Object::Service(o) => match &o.shape {
                    Shape::Headless => headless += 1,
                    Shape::ExternalName(_) => external += 1,
                    Shape::ClusterIp(ips) => dual += usize::from(ips.len() == 2),
                },
                Object::EndpointSlice(_) | Object::Pod(_) => {}
            }
        }
        assert_eq!((namespaces, headless, external, dual), (200, 1000, 500, 500));
    }

    #[test]
    fn a_seed_makes_the_same_cluster_again() {
        let cluster = Cluster::sized(50, 500).with_pods();
        assert_eq!(cluster.objects(), cluster.objects());
        assert_ne!(cluster.objects(), cluster.seed(2).objects());
    }

    #[test]
    fn what_cannot_be_is_said() {
        for (services, endpoints, verdict) in [
            (0, 0, None),
            (MAX_SERVICES, MAX_ENDPOINTS, None),
            (MAX_SERVICES + 1, 0, Some(Impossible::Services)),
            (1, MAX_ENDPOINTS + 1, Some(Impossible::Endpoints)),
            (0, 1, Some(Impossible::NoService)),
        ] {
            let possible = Cluster::sized(services, endpoints).possible();
            assert_eq!(possible.err(), verdict, "{services} {endpoints}");
        }
        assert_eq!(service_addresses(MAX_SERVICES - 1).0, Ipv4Addr::new(10, 111, 255, 255));
        pod_addresses(MAX_ENDPOINTS - 1, MAX_NODES);
    }
}
