//! At which of the wanted addresses queries can be answered here, and to whom the others are left.
//!
//! Pure. Where packets for Services pass by our rules before anybody else sends them on, all addresses are ours. IPVS has
//! them on an interface of its own, and Cilium takes them before any rule is asked: there queries for the address of a
//! Service never come here, and its being on another interface as well would only be in the way.

use std::fmt;
use std::net::IpAddr;

use super::config::KubeProxy;
use super::detect::IPVS_LINK;

/// What was seen of who sends packets for Services on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Who does.
    pub kube_proxy: KubeProxy,
    /// The addresses that kube-proxy has on its interface in IPVS mode.
    pub on_ipvs: Vec<IpAddr>,
}

/// Why an address is left to somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// kube-proxy has it on its interface.
    OnIpvs,
    /// It is a Service's, whose packets these send on before any rule of ours.
    Service(KubeProxy),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnIpvs => write!(f, "kube-proxy has it on {IPVS_LINK}"),
            Self::Service(who) => {
                write!(
                    f,
                    "it is a Service's, and {} sends its packets on before any rule of ours",
                    who.as_str()
                )
            }
        }
    }
}

/// An address that is left to somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Which.
    pub address: IpAddr,
    /// Why.
    pub why: Why,
}

/// What becomes of the wanted addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usable {
    /// Those that can be answered at, in their order.
    pub addresses: Vec<IpAddr>,
    /// The others, in theirs.
    pub left: Vec<Left>,
}

/// What becomes of these addresses, of which `services` are known to be a Service's.
pub fn usable(wanted: &[IpAddr], services: &[IpAddr], seen: &Seen) -> Usable {
    let mut usable = Usable::default();
    for address in wanted {
        match why_left(address, services, seen) {
            Some(why) => usable.left.push(Left { address: *address, why }),
            None => usable.addresses.push(*address),
        }
    }
    usable
}

/// Why an address has to be left to somebody else, if it has.
fn why_left(address: &IpAddr, services: &[IpAddr], seen: &Seen) -> Option<Why> {
    if seen.kube_proxy.leaves_services() {
        return None;
    }
    // The environment names one address of a Service, and kube-proxy has those of both families.
    if seen.kube_proxy == KubeProxy::Ipvs && seen.on_ipvs.contains(address) {
        return Some(Why::OnIpvs);
    }
    services.contains(address).then_some(Why::Service(seen.kube_proxy))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(of: &[&str]) -> Vec<IpAddr> {
        of.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn addresses_of_services_are_left_to_who_has_them_before_us() {
        const WANTED: [&str; 4] = ["10.96.0.10", "169.254.20.10", "fd00:96::a", "fd00:20::10"];
        struct Case {
            name: &'static str,
            kube_proxy: KubeProxy,
            services: &'static [&'static str],
            on_ipvs: &'static [&'static str],
            left: &'static [&'static str],
        }
        let none = Case { name: "", kube_proxy: KubeProxy::None, services: &[], on_ipvs: &[], left: &[] };
        let cases = [
            Case { name: "nobody", services: &["10.96.0.10"], ..none },
            Case { name: "iptables", kube_proxy: KubeProxy::Iptables, services: &["10.96.0.10"], ..none },
            Case {
                name: "what an IPVS mode of before has left, where a flag says iptables",
                kube_proxy: KubeProxy::Iptables,
                on_ipvs: &["10.96.0.10"],
                ..none
            },
            Case {
                name: "IPVS, by what is known and by what it has",
                kube_proxy: KubeProxy::Ipvs,
                services: &["10.96.0.10"],
                on_ipvs: &["10.96.0.1", "10.96.0.10", "fd00:96::a"],
                left: &[
                    "10.96.0.10: kube-proxy has it on kube-ipvs0",
                    "fd00:96::a: kube-proxy has it on kube-ipvs0",
                ],
            },
            Case {
                name: "IPVS, where kube-proxy is not there yet",
                kube_proxy: KubeProxy::Ipvs,
                services: &["10.96.0.10"],
                left: &[
                    "10.96.0.10: it is a Service's, and ipvs sends its packets on before any rule of ours",
                ],
                ..none
            },
            Case { name: "IPVS, and nothing is known", kube_proxy: KubeProxy::Ipvs, ..none },
            Case {
                name: "Cilium",
                kube_proxy: KubeProxy::Cilium,
                services: &["10.96.0.10", "fd00:96::a"],
                on_ipvs: &["169.254.20.10"],
                left: &[
                    "10.96.0.10: it is a Service's, and cilium sends its packets on before any rule of ours",
                    "fd00:96::a: it is a Service's, and cilium sends its packets on before any rule of ours",
                ],
            },
        ];
        for Case { name, kube_proxy, services, on_ipvs, left } in cases {
            let (wanted, seen) = (ips(&WANTED), Seen { kube_proxy, on_ipvs: ips(on_ipvs) });
            let got = usable(&wanted, &ips(services), &seen);
            let said: Vec<_> =
                got.left.iter().map(|left| format!("{}: {}", left.address, left.why)).collect();
            assert_eq!(said, left, "{name}");
            let is_left = |address: &IpAddr| got.left.iter().any(|left| left.address == *address);
            let rest: Vec<_> = wanted.into_iter().filter(|address| !is_left(address)).collect();
            assert_eq!(got.addresses, rest, "{name}");
        }
    }
}
