//! Where the cluster's own DNS answers, by the cluster's own objects: where queries can go while this process does not
//! answer them.
//!
//! It is the Service that has one of the addresses which this process answers at too, and one that is named; the latter
//! also where a node has endpoints of headless Services only.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::control::shown::Shown;
use crate::zone::object::{EndpointSlice, Protocol, Shape};
use crate::zone::table::{ServiceEntry, Table};

/// How often it is looked for: it is found by its address, in no time, and a reload may bring other stores.
const EVERY: Duration = Duration::from_secs(1);

/// Whom to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sought {
    /// The addresses that are answered at here.
    pub addresses: Vec<IpAddr>,
    /// Namespace and name of the Service whose endpoints are the cluster's DNS.
    pub named: (String, String),
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterDns {
    /// Which of the addresses are a Service's, in the order of the addresses.
    pub services: Vec<IpAddr>,
    /// Ready endpoints for datagrams, sorted; none at an address of ours.
    pub udp: Vec<SocketAddr>,
    /// Ready endpoints for connections, the same.
    pub tcp: Vec<SocketAddr>,
}

impl ClusterDns {
    /// What these tables know of it.
    pub fn find<'t>(tables: impl IntoIterator<Item = &'t Table>, sought: &Sought) -> Self {
        let mut found = Self::default();
        for table in tables {
            let (namespace, name) = (&sought.named.0, &sought.named.1);
            if let Some(entry) = table.service(namespace.as_bytes(), name.as_bytes()) {
                found.add(entry, sought);
            }
            for address in &sought.addresses {
                let mut has_it = table.by_address(*address).filter(|entry| has(entry, *address)).peekable();
                if has_it.peek().is_some() && !found.services.contains(address) {
                    found.services.push(*address);
                }
                has_it.for_each(|entry| found.add(entry, sought));
            }
        }
        for endpoints in [&mut found.udp, &mut found.tcp] {
            endpoints.sort_unstable();
            endpoints.dedup();
        }
        found.services.sort_by_key(|service| sought.addresses.iter().position(|address| address == service));
        found
    }

    /// With what was known before where nothing is known now: endpoints that are not ready for the API server may answer
    /// all the same, and are better than nobody.
    fn or_before(mut self, before: &Self) -> Self {
        for (now, before) in [(&mut self.udp, &before.udp), (&mut self.tcp, &before.tcp)] {
            for is_v4 in [true, false] {
                if !now.iter().any(|at| at.is_ipv4() == is_v4) {
                    now.extend(before.iter().filter(|at| at.is_ipv4() == is_v4));
                }
            }
            now.sort_unstable();
        }
        self
    }

    /// The endpoints of a service.
    fn add(&mut self, entry: &ServiceEntry, sought: &Sought) {
        for slice in entry.slices() {
            for (protocol, name, of) in
                [(Protocol::Udp, "dns", &mut self.udp), (Protocol::Tcp, "dns-tcp", &mut self.tcp)]
            {
                let Some(port) = port(slice, protocol, name) else { continue };
                let others = slice.endpoints.addresses().iter().filter(|ip| !sought.addresses.contains(ip));
                of.extend(others.map(|ip| SocketAddr::new(ip, port)));
            }
        }
    }
}

/// Whether a service has this address as its own: endpoints may have it, too.
fn has(entry: &ServiceEntry, address: IpAddr) -> bool {
    match entry.service().map(|service| &service.shape) {
        Some(Shape::ClusterIp(addresses)) => addresses.contains(&address),
        _ => false,
    }
}

/// The port of a protocol: the one of this name, as kubeadm's Service has them, or the only one.
fn port(slice: &EndpointSlice, protocol: Protocol, name: &str) -> Option<u16> {
    // Not given means TCP to Kubernetes.
    let is = |of: Protocol| of == protocol || (protocol == Protocol::Tcp && of == Protocol::Unset);
    let of: Vec<_> = slice.ports.iter().filter(|port| is(port.protocol)).collect();
    let named = of.iter().find(|port| &*port.name == name);
    match (named, of.as_slice()) {
        (Some(port), _) => port.number,
        (None, [only]) => only.number,
        (None, _) => None,
    }
}

/// Looks for it from now on, as long as anybody listens, and says when what is found differs.
pub(super) async fn follow(shown: Arc<ArcSwap<Shown>>, sought: Sought, say: watch::Sender<Arc<ClusterDns>>) {
    let mut looks = interval(EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !say.is_closed() {
        looks.tick().await;
        let generations: Vec<_> = shown.load().stores.iter().map(|of| of.store.current().clone()).collect();
        let found = ClusterDns::find(generations.iter().map(|generation| &generation.table), &sought);
        say.send_if_modified(|known| {
            let found = found.or_before(known);
            let differs = **known != found;
            if differs {
                *known = Arc::new(found);
            }
            differs
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::cluster::{ns, slice, svc};
    use crate::zone::object::{Kinds, Object};
    use crate::zone::table::Builder;

    /// Objects of a case.
    type Objects = Vec<Object>;

    fn sought(named: &str) -> Sought {
        let addresses = ["10.96.0.10", "169.254.20.10", "fd00:96::a"].map(|a| a.parse().unwrap());
        Sought { addresses: addresses.to_vec(), named: ("kube-system".to_owned(), named.to_owned()) }
    }

    fn text(endpoints: &[SocketAddr]) -> String {
        endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    /// kubeadm's, with these addresses.
    fn kube_dns(addresses: &[&str]) -> Object {
        let service = addresses.iter().fold(svc("kube-system/kube-dns"), |service, a| service.ip(a));
        service.udp("dns", 53).port("dns-tcp", 53).build()
    }

    #[test]
    fn endpoints_that_are_gone_are_kept_until_there_are_others() {
        let of = |udp: &[&str], tcp: &[&str]| {
            let parse = |all: &[&str]| all.iter().map(|at| at.parse().unwrap()).collect();
            ClusterDns { services: Vec::new(), udp: parse(udp), tcp: parse(tcp) }
        };
        let before = of(&["10.0.0.1:53", "[fd00::1]:53"], &["10.0.0.1:53"]);
        assert_eq!(of(&[], &[]).or_before(&before), before);
        let other = of(&["10.0.0.2:53"], &["10.0.0.2:53"]);
        let want = of(&["10.0.0.2:53", "[fd00::1]:53"], &["10.0.0.2:53"]);
        assert_eq!(other.or_before(&before), want);
    }

    #[test]
    fn it_is_found_by_its_address_and_by_its_name() {
        struct Case {
            name: &'static str,
            objects: Objects,
            named: &'static str,
            services: &'static [&'static str],
            udp: &'static str,
            tcp: &'static str,
        }
        let of =
            |name: &str| slice(name, "kube-dns").udp("dns", 53).port("dns-tcp", 53).port("metrics", 9153);
        let cases = [
            Case { name: "nothing", objects: vec![], named: "kube-dns", services: &[], udp: "", tcp: "" },
            Case {
                name: "kubeadm's",
                objects: vec![
                    kube_dns(&["10.96.0.10"]),
                    of("kube-system/kube-dns-1").v4("10.244.0.3").v4("10.244.0.2").build(),
                ],
                named: "other",
                services: &["10.96.0.10"],
                udp: "10.244.0.2:53 10.244.0.3:53",
                tcp: "10.244.0.2:53 10.244.0.3:53",
            },
            Case {
                name: "both families",
                objects: vec![
                    kube_dns(&["10.96.0.10", "fd00:96::a"]),
                    of("kube-system/kube-dns-1").v4("10.244.0.2").build(),
                    of("kube-system/kube-dns-2").v6("fd00:244::2").build(),
                ],
                named: "other",
                services: &["10.96.0.10", "fd00:96::a"],
                udp: "10.244.0.2:53 [fd00:244::2]:53",
                tcp: "10.244.0.2:53 [fd00:244::2]:53",
            },
            Case {
                name: "by its name, with other ports",
                objects: vec![
                    svc("kube-system/outlast-cluster-dns").headless().build(),
                    slice("kube-system/d-1", "outlast-cluster-dns")
                        .udp("", 1053)
                        .port("", 1054)
                        .v4("10.244.0.2")
                        .build(),
                ],
                named: "outlast-cluster-dns",
                services: &[],
                udp: "10.244.0.2:1053",
                tcp: "10.244.0.2:1054",
            },
            Case {
                name: "two ports, and none has the name",
                objects: vec![
                    kube_dns(&["10.96.0.10"]),
                    slice("kube-system/k-1", "kube-dns").udp("a", 1).udp("b", 2).v4("10.244.0.2").build(),
                ],
                named: "kube-dns",
                services: &["10.96.0.10"],
                udp: "",
                tcp: "",
            },
            Case {
                name: "an endpoint of our own",
                objects: vec![
                    kube_dns(&["10.96.0.10"]),
                    of("kube-system/kube-dns-1").v4("169.254.20.10").v4("10.244.0.2").build(),
                ],
                named: "kube-dns",
                services: &["10.96.0.10"],
                udp: "10.244.0.2:53",
                tcp: "10.244.0.2:53",
            },
            Case {
                name: "an endpoint at one of the addresses makes no service of it",
                objects: vec![
                    svc("shop/web").ip("10.96.0.7").udp("dns", 53).build(),
                    slice("shop/web-1", "web").udp("dns", 53).v4("169.254.20.10").v4("10.244.0.9").build(),
                ],
                named: "kube-dns",
                services: &[],
                udp: "",
                tcp: "",
            },
        ];
        for Case { name, objects, named, services, udp, tcp } in cases {
            let mut builder = Builder::default();
            ["kube-system", "shop"].map(ns).into_iter().chain(objects).for_each(|object| builder.add(object));
            let table = builder.finish(Kinds::CORE, 1);
            let found = ClusterDns::find([&table], &sought(named));
            let services: Vec<IpAddr> = services.iter().map(|a| a.parse().unwrap()).collect();
            assert_eq!(found.services, services, "{name}");
            assert_eq!((text(&found.udp).as_str(), text(&found.tcp).as_str()), (udp, tcp), "{name}");
        }
    }
}
