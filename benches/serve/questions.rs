//! What is asked, and what is right.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use hickory_proto::rr::RecordType;
use outlast::drill::cluster::Cluster;
use outlast::zone::object::{Object, Shape};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

/// Most ClusterIP names that are asked for.
const CLUSTER_IPS: usize = 8_000;

/// Addresses of a headless service that is asked for.
const TEN: usize = 10;

/// Targets of a service that is asked for with SRV.
const THREE: usize = 3;

/// Outside names: as many as the pods of one node may use, well within any forwarder's cache.
const OUTSIDE: usize = 2_000;

/// What a stub resolver appends to a name that has few dots, behind the pod's namespace.
const SEARCH: [&str; 2] = ["svc.cluster.local", "cluster.local"];

/// In ten questions of the mix: cluster names, then misses along the search list; the rest are outside names.
const MIX: (usize, usize) = (7, 2);

/// The order of all questions is drawn from this: in no order of the cluster, and the same in each run.
const SEED: u64 = 1;

/// A question and its reply.
#[derive(Clone)]
pub(crate) struct Question {
    /// The name, without a dot at its end.
    pub(crate) name: String,
    /// The reply.
    pub(crate) reply: Reply,
}

/// What is right.
#[derive(Clone)]
pub(crate) enum Reply {
    /// These A records.
    Addresses(Vec<Ipv4Addr>),
    /// An SRV record for each of these, and their A records in the additional section.
    Targets(Vec<Ipv4Addr>),
    /// NXDOMAIN.
    Missing,
}

impl Question {
    /// The type that is asked for.
    pub(crate) const fn kind(&self) -> RecordType {
        match self.reply {
            Reply::Targets(_) => RecordType::SRV,
            Reply::Addresses(_) | Reply::Missing => RecordType::A,
        }
    }
}

/// What is asked in one measurement.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Workload {
    /// Services with one address.
    ClusterIp,
    /// Headless services with ten.
    Headless,
    /// Named ports of headless services with three.
    Srv,
    /// Cluster names, misses along the search list, outside names.
    Mix,
    /// Names of other people, all of them in the caches.
    Outside,
    /// Services with one address once more, of servers that are bound to no address: the kernel tells them the one that
    /// was asked, and they tell it.
    Wildcard,
}

impl Workload {
    /// All, in the order in which they are measured.
    pub(crate) const ALL: [Self; 6] =
        [Self::ClusterIp, Self::Headless, Self::Srv, Self::Mix, Self::Outside, Self::Wildcard];

    /// For people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ClusterIp => "ClusterIP A",
            Self::Headless => "headless A, 10 addresses",
            Self::Srv => "SRV, 3 targets",
            Self::Mix => "70 % cluster, 20 % misses, 10 % outside",
            Self::Outside => "outside A, cached",
            Self::Wildcard => "ClusterIP A, wildcard address",
        }
    }
}

/// All questions.
pub(crate) struct Questions(HashMap<Workload, Vec<Question>>);

impl Questions {
    /// Those about this cluster, as its plan says.
    pub(crate) fn of(cluster: Cluster) -> Self {
        let (mut cluster_ips, mut headless, mut srv) = (vec![], vec![], vec![]);
        let mut endpoints = HashMap::<_, Vec<_>>::new();
        let mut shapes = vec![];
        let mut namespaces = vec![];
        for object in cluster.stream() {
            match object {
                Object::Namespace(o) => namespaces.push(o.name),
                Object::Service(o) => shapes.push((format!("{}.{}", o.name, o.namespace), o.shape)),
                Object::EndpointSlice(o) => {
                    let addresses = o.endpoints.iter().filter_map(|e| v4(e.address));
                    endpoints.entry(format!("{}.{}", o.service, o.namespace)).or_default().extend(addresses);
                }
                Object::Pod(_) => {}
            }
        }
        for (service, shape) in shapes {
            let name = format!("{service}.svc.cluster.local");
            match shape {
                Shape::ClusterIp(ips) if ips.len() == 1 => {
                    let addresses = ips.iter().copied().filter_map(v4).collect();
                    cluster_ips.push(Question { name, reply: Reply::Addresses(addresses) });
                }
                Shape::Headless => {
                    let addresses = endpoints.remove(&service).unwrap_or_default();
                    match addresses.len() {
                        TEN => headless.push(Question { name, reply: Reply::Addresses(addresses) }),
                        THREE => {
                            let name = format!("_client._tcp.{name}");
                            srv.push(Question { name, reply: Reply::Targets(addresses) });
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        let mut rng = SmallRng::seed_from_u64(SEED);
        cluster_ips.shuffle(&mut rng);
        cluster_ips.truncate(CLUSTER_IPS);
        let outside: Vec<_> = (0..OUTSIDE).map(outside).collect();
        let mut mix: Vec<_> = (0..cluster_ips.len())
            .map(|number| match number % 10 {
                part if part < MIX.0 => cluster_ips[number].clone(),
                part if part < MIX.0 + MIX.1 => missing(&outside[number % OUTSIDE], number, &namespaces),
                _ => outside[number % OUTSIDE].clone(),
            })
            .collect();
        mix.shuffle(&mut rng);
        Self(HashMap::from([
            (Workload::Wildcard, cluster_ips.clone()),
            (Workload::ClusterIp, cluster_ips),
            (Workload::Headless, headless),
            (Workload::Srv, srv),
            (Workload::Mix, mix),
            (Workload::Outside, outside),
        ]))
    }

    /// Those of one measurement.
    pub(crate) fn about(&self, workload: Workload) -> &[Question] {
        &self.0[&workload]
    }

    /// Which part of the replies of a workload is NXDOMAIN, from 0 to 1.
    pub(crate) fn missing(&self, workload: Workload) -> f64 {
        let questions = self.about(workload);
        let missing = questions.iter().filter(|q| matches!(q.reply, Reply::Missing)).count();
        missing as f64 / questions.len() as f64
    }

    /// Writes names and addresses, a line each: what [`read_zone`] reads.
    pub(crate) fn write_zone(&self, path: &Path) -> Result<(), String> {
        let mut text = String::new();
        let zones = [Workload::ClusterIp, Workload::Headless, Workload::Outside];
        for question in zones.into_iter().flat_map(|workload| self.about(workload)) {
            if let Reply::Addresses(addresses) = &question.reply {
                text.push_str(&question.name);
                for address in addresses {
                    write!(text, " {address}").map_err(|e| e.to_string())?;
                }
                text.push('\n');
            }
        }
        std::fs::write(path, text).map_err(|e| format!("writing {}: {e}", path.display()))
    }

    /// Writes the questions of a workload as dnsperf reads them.
    pub(crate) fn write_queries(&self, workload: Workload, path: &Path) -> Result<(), String> {
        let mut text = String::new();
        for question in self.about(workload) {
            writeln!(text, "{} {}", question.name, question.kind()).map_err(|e| e.to_string())?;
        }
        std::fs::write(path, text).map_err(|e| format!("writing {}: {e}", path.display()))
    }
}

/// Names and their addresses, as [`Questions::write_zone`] wrote them.
pub(crate) fn read_zone(path: &Path) -> Vec<(String, Vec<Ipv4Addr>)> {
    let text = std::fs::read_to_string(path).unwrap();
    let record = |line: &str| {
        let mut words = line.split(' ');
        let name = words.next().unwrap().to_owned();
        (name, words.map(|word| word.parse().unwrap()).collect())
    };
    text.lines().map(record).collect()
}

/// An outside name, with an address of the documentation's ranges (RFC 5737).
fn outside(number: usize) -> Question {
    let address = Ipv4Addr::new(198, 51, 100, (number % 250) as u8 + 1);
    Question { name: format!("www-{number}.example.com"), reply: Reply::Addresses(vec![address]) }
}

/// What a stub resolver asks first about an outside name.
fn missing(outside: &Question, number: usize, namespaces: &[Box<str>]) -> Question {
    let name = &outside.name;
    let name = match SEARCH.get(number / 10 % (SEARCH.len() + 1)) {
        Some(suffix) => format!("{name}.{suffix}"),
        None => format!("{name}.{}.{}", namespaces[number % namespaces.len()], SEARCH[0]),
    };
    Question { name, reply: Reply::Missing }
}

/// An IPv4 address.
const fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}
