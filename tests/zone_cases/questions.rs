//! Random questions about the objects of a cluster: about what is there, about what is almost there, in any
//! letter case. The same for the same seed.

use std::net::IpAddr;

use outlast::zone::lookup::QueryType;
use outlast::zone::object::{EndpointSlice, Object, Pod, Service, Shape};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// Makes questions.
pub(crate) struct Questions<'a> {
    /// Decides everything.
    rng: SmallRng,
    /// All services.
    services: Vec<&'a Service>,
    /// The services of rare shapes: aliases, and those of two address families.
    rare: Vec<&'a Service>,
    /// The slices that have endpoints.
    slices: Vec<&'a EndpointSlice>,
    /// All pods.
    pods: Vec<&'a Pod>,
}

impl<'a> Questions<'a> {
    /// Questions about these objects.
    pub(crate) fn new(objects: &'a [Object], seed: u64) -> Self {
        let (mut services, mut slices, mut pods) = (vec![], vec![], vec![]);
        for object in objects {
            match object {
                Object::Service(o) => services.push(o),
                Object::EndpointSlice(o) if !o.endpoints.is_empty() => slices.push(o),
                Object::Pod(o) => pods.push(o),
                Object::EndpointSlice(_) | Object::Namespace(_) => {}
            }
        }
        let is_rare = |s: &&&Service| match &s.shape {
            Shape::ExternalName(_) => true,
            Shape::ClusterIp(ips) => ips.len() > 1,
            Shape::Headless => false,
        };
        let rare = services.iter().filter(is_rare).copied().collect();
        Self { rng: SmallRng::seed_from_u64(seed), services, rare, slices, pods }
    }

    /// The next question.
    pub(crate) fn ask(&mut self) -> (String, QueryType) {
        let (labels, zone, kinds) = match self.rng.random_range(0..100) {
            0..22 => (self.service(), "cluster.local", &FORWARD[..]),
            22..40 => (self.port(), "cluster.local", &FORWARD[..]),
            40..58 => (self.endpoint(), "cluster.local", &FORWARD[..]),
            58..70 => (self.pod(), "cluster.local", &FORWARD[..]),
            70..88 => {
                let (labels, zone) = self.reverse();
                (labels, zone, &REVERSE[..])
            }
            88..94 => (self.namespace(), "cluster.local", &FORWARD[..]),
            _ => (self.special(), "cluster.local", &SPECIAL[..]),
        };
        let labels = if self.rng.random_bool(0.25) { self.spoil(labels) } else { labels };
        let name: String = labels.iter().map(|label| format!("{label}.")).collect::<String>() + zone + ".";
        let kind = *kinds.choose(&mut self.rng).expect("there are types");
        (self.mix_case(name), kind)
    }

    fn service(&mut self) -> Vec<String> {
        let services = if self.rng.random_bool(0.3) { &self.rare } else { &self.services };
        let service = services.choose(&mut self.rng).expect("there are services");
        words(&[&service.name, &service.namespace, "svc"])
    }

    fn port(&mut self) -> Vec<String> {
        let service = self.services.choose(&mut self.rng).expect("there are services");
        let port = ["_http", "http", "_client", "_peer", "_", "_admin"].choose(&mut self.rng);
        let protocol = ["_tcp", "_tcp", "_tcp", "tcp", "_udp", "_"].choose(&mut self.rng);
        let words = words(&[&service.name, &service.namespace, "svc"]);
        [port, protocol].into_iter().flatten().map(|&w| w.to_owned()).chain(words).collect()
    }

    fn endpoint(&mut self) -> Vec<String> {
        let slice = self.slices.choose(&mut self.rng).expect("there are slices");
        let at = self.rng.random_range(0..slice.endpoints.len());
        let endpoint = slice.endpoints.get(at).expect("within the slice");
        let dashed = dashed(endpoint.address);
        let label = match self.rng.random_range(0..10) {
            0..5 if !endpoint.hostname.is_empty() => endpoint.hostname,
            0..3 if !endpoint.target.is_empty() => endpoint.target,
            9 => "_tcp",
            _ => &dashed,
        };
        words(&[label, &slice.service, &slice.namespace, "svc"])
    }

    fn pod(&mut self) -> Vec<String> {
        let pod = self.pods.choose(&mut self.rng).expect("there are pods");
        let label = match self.rng.random_range(0..10) {
            0..7 => dashed(pod.ip),
            7 => "fd00-10--7".to_owned(),
            8 => mapped(pod.ip),
            _ => "10-0-0-256".to_owned(),
        };
        words(&[&label, &pod.namespace, "pod"])
    }

    fn reverse(&mut self) -> (Vec<String>, &'static str) {
        let service = self.services.choose(&mut self.rng).expect("there are services");
        let slice = self.slices.choose(&mut self.rng).expect("there are slices");
        let endpoints: Vec<IpAddr> = slice.endpoints.addresses().iter().collect();
        let addresses = match &service.shape {
            Shape::ClusterIp(ips) if !ips.is_empty() && self.rng.random_bool(0.5) => ips,
            _ => &*endpoints,
        };
        match *addresses.choose(&mut self.rng).expect("there are addresses") {
            IpAddr::V4(ip) => (ip.octets().iter().rev().map(ToString::to_string).collect(), "in-addr.arpa"),
            IpAddr::V6(ip) => {
                let digits = format!("{:032x}", u128::from(ip));
                (digits.chars().rev().map(String::from).collect(), "ip6.arpa")
            }
        }
    }

    fn namespace(&mut self) -> Vec<String> {
        let service = self.services.choose(&mut self.rng).expect("there are services");
        let branch = if self.rng.random_bool(0.7) { "svc" } else { "pod" };
        words(&[&service.namespace, branch])
    }

    fn special(&mut self) -> Vec<String> {
        let names = ["", "svc", "pod", "dns", "ns.dns", "dns-version", "dns-version", "a.dns-version", "web"];
        let name = names.choose(&mut self.rng).expect("there are names");
        name.split('.').filter(|label| !label.is_empty()).map(str::to_owned).collect()
    }

    /// A name next to this one, that mostly does not exist.
    fn spoil(&mut self, mut labels: Vec<String>) -> Vec<String> {
        if labels.is_empty() {
            return labels;
        }
        let at = self.rng.random_range(0..labels.len());
        match self.rng.random_range(0..4) {
            0 => "nosuch".clone_into(&mut labels[at]),
            1 => drop(labels.remove(0)),
            2 => labels.insert(0, "0".to_owned()),
            // Another service's namespace, or another octet.
            _ => {
                let service = self.services.choose(&mut self.rng).expect("there are services");
                labels[at] = match labels[at].parse::<u8>() {
                    Ok(octet) => octet.wrapping_add(1).to_string(),
                    Err(_) => service.namespace.to_string(),
                };
            }
        }
        labels
    }

    fn mix_case(&mut self, name: String) -> String {
        if self.rng.random_bool(0.5) {
            return name;
        }
        let mut mixed = |c: char| if self.rng.random_bool(0.5) { c.to_ascii_uppercase() } else { c };
        name.chars().map(&mut mixed).collect()
    }
}

/// What names of the cluster are asked for.
const FORWARD: [QueryType; 14] = [
    QueryType::A,
    QueryType::A,
    QueryType::A,
    QueryType::A,
    QueryType::Aaaa,
    QueryType::Aaaa,
    QueryType::Srv,
    QueryType::Srv,
    QueryType::Srv,
    QueryType::Txt,
    QueryType::Ptr,
    QueryType::Cname,
    QueryType::Ns,
    QueryType::Soa,
];

/// What the zone's own names are asked for.
const SPECIAL: [QueryType; 8] = [
    QueryType::A,
    QueryType::Aaaa,
    QueryType::Txt,
    QueryType::Txt,
    QueryType::Ns,
    QueryType::Ns,
    QueryType::Soa,
    QueryType::Srv,
];

/// What reverse names are asked for.
const REVERSE: [QueryType; 8] = [
    QueryType::Ptr,
    QueryType::Ptr,
    QueryType::Ptr,
    QueryType::Ptr,
    QueryType::Ptr,
    QueryType::A,
    QueryType::Soa,
    QueryType::Other,
];

fn dashed(ip: IpAddr) -> String {
    ip.to_string().replace(['.', ':'], "-")
}

/// The IPv4-mapped spelling of an IPv4 address: the same address, another name.
fn mapped(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets().map(u16::from);
            format!("--ffff-{:x}-{:x}", a << 8 | b, c << 8 | d)
        }
        IpAddr::V6(ip) => dashed(ip.into()),
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}
