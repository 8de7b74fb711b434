//! Where queries for local addresses go while this process does not answer: to the cluster's own DNS, one of its
//! endpoints for each connection, all alike often.
//!
//! Addresses of a Service need nothing of this: kube-proxy, or whoever does its work, sends them on.

use std::net::{IpAddr, SocketAddr};

use nlink::netlink::nftables::{CmpOp, Expr, NumgenKind, Register, Rule};

use super::layout::{ChainName, Terms};
use super::{Endpoint, Ip};
use crate::ops::pulse::Part;

/// Rules for at most so many endpoints, of each family and each protocol: a query passes by all of them.
pub const MAX_FALLBACK: usize = 32;

/// The endpoints that queries can go to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fallback {
    /// For datagrams, sorted.
    udp: Vec<SocketAddr>,
    /// For connections, sorted.
    tcp: Vec<SocketAddr>,
}

impl Fallback {
    /// Of these endpoints, without those at addresses of our own: a query would come back to where nobody answers.
    pub fn new(endpoints: &[Endpoint], ours: &[IpAddr]) -> Self {
        let of = |part: fn(&Endpoint) -> Option<SocketAddr>| {
            let mut all: Vec<_> = endpoints
                .iter()
                .filter_map(part)
                .filter(|at| !ours.contains(&at.ip()) && at.port() != 0)
                .collect();
            all.sort_unstable();
            all.dedup();
            Ip::ALL
                .into_iter()
                .flat_map(|ip| all.iter().filter(move |at| Ip::of(&at.ip()) == ip).take(MAX_FALLBACK))
                .copied()
                .collect()
        };
        Self { udp: of(|endpoint| endpoint.udp), tcp: of(|endpoint| endpoint.tcp) }
    }

    /// Those of a family and a protocol.
    pub fn targets(&self, ip: Ip, part: Part) -> Vec<SocketAddr> {
        let of = match part {
            Part::Udp => &self.udp,
            Part::Tcp => &self.tcp,
        };
        of.iter().copied().filter(|at| Ip::of(&at.ip()) == ip).collect()
    }

    /// Whether queries over IPv4 or IPv6 have somewhere to go, by both protocols.
    pub fn covers(&self, ip: Ip) -> bool {
        Part::ALL.into_iter().all(|part| !self.targets(ip, part).is_empty())
    }

    /// The rules of the chain [`ChainName::Fallback`] of a table.
    ///
    /// Of n endpoints the first is taken once in n, of the others the first once in n - 1, and the last by what is left.
    pub(super) fn rules(&self, table: &str, ip: Ip, port: u16) -> Vec<Rule> {
        let of = |part| {
            let targets = self.targets(ip, part);
            let count = targets.len();
            let rule = move |(n, to): (usize, SocketAddr)| {
                let empty = Rule::new(table, ChainName::Fallback.as_str()).family(Terms::of(ip).family);
                sends(empty, part, port, count - n, to)
            };
            targets.into_iter().enumerate().map(rule)
        };
        Part::ALL.into_iter().flat_map(of).collect()
    }
}

/// Sends one in `left` to `to`.
fn sends(rule: Rule, part: Part, port: u16, left: usize, to: SocketAddr) -> Rule {
    let rule = match part {
        Part::Udp => rule.match_udp_dport(port),
        Part::Tcp => rule.match_tcp_dport(port),
    };
    let rule = match u32::try_from(left) {
        Ok(modulus @ 2..) => {
            let drawn = Expr::Numgen { dreg: Register::R0, kind: NumgenKind::Random, modulus, offset: 0 };
            let zero = 0_u32.to_ne_bytes().to_vec();
            rule.expr(drawn).expr(Expr::Cmp { sreg: Register::R0, op: CmpOp::Eq, data: zero })
        }
        _ => rule,
    };
    match to.ip() {
        IpAddr::V4(v4) => rule.dnat(v4, Some(to.port())),
        IpAddr::V6(v6) => rule.dnat_v6(v6, Some(to.port())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::layout::TABLE;

    fn at(of: &str) -> Option<SocketAddr> {
        (!of.is_empty()).then(|| of.parse().unwrap())
    }

    fn of(endpoints: &[(&str, &str)], ours: &[&str]) -> Fallback {
        let endpoints: Vec<_> =
            endpoints.iter().map(|(udp, tcp)| Endpoint { udp: at(udp), tcp: at(tcp) }).collect();
        let ours: Vec<_> = ours.iter().map(|a| a.parse().unwrap()).collect();
        Fallback::new(&endpoints, &ours)
    }

    fn text(targets: &[SocketAddr]) -> String {
        targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn endpoints_become_targets_by_family_and_protocol() {
        struct Case {
            name: &'static str,
            endpoints: &'static [(&'static str, &'static str)],
            ours: &'static [&'static str],
            /// IPv4 by UDP and TCP, IPv6 by both.
            want: [&'static str; 4],
            covers: [bool; 2],
        }
        let cases = [
            Case { name: "none", endpoints: &[], ours: &[], want: [""; 4], covers: [false; 2] },
            Case {
                name: "two, sorted, each once",
                endpoints: &[
                    ("10.1.0.2:53", "10.1.0.2:53"),
                    ("10.1.0.1:53", "10.1.0.1:53"),
                    ("10.1.0.2:53", "10.1.0.2:53"),
                ],
                ours: &[],
                want: ["10.1.0.1:53 10.1.0.2:53", "10.1.0.1:53 10.1.0.2:53", "", ""],
                covers: [true, false],
            },
            Case {
                name: "other ports for each protocol",
                endpoints: &[("10.1.0.1:1053", "10.1.0.1:1054")],
                ours: &[],
                want: ["10.1.0.1:1053", "10.1.0.1:1054", "", ""],
                covers: [true, false],
            },
            Case {
                name: "one protocol alone",
                endpoints: &[("10.1.0.1:53", "")],
                ours: &[],
                want: ["10.1.0.1:53", "", "", ""],
                covers: [false, false],
            },
            Case {
                name: "both families",
                endpoints: &[("[fd00::1]:53", "[fd00::1]:53"), ("10.1.0.1:53", "10.1.0.1:53")],
                ours: &[],
                want: ["10.1.0.1:53", "10.1.0.1:53", "[fd00::1]:53", "[fd00::1]:53"],
                covers: [true, true],
            },
            Case {
                name: "one of our own",
                endpoints: &[("169.254.20.10:53", "169.254.20.10:53"), ("10.1.0.1:53", "10.1.0.1:53")],
                ours: &["169.254.20.10"],
                want: ["10.1.0.1:53", "10.1.0.1:53", "", ""],
                covers: [true, false],
            },
            Case {
                name: "a port that is none",
                endpoints: &[("10.1.0.1:0", "10.1.0.1:0")],
                ours: &[],
                want: [""; 4],
                covers: [false; 2],
            },
        ];
        for Case { name, endpoints, ours, want, covers } in cases {
            let fallback = of(endpoints, ours);
            let got = [(Ip::V4, Part::Udp), (Ip::V4, Part::Tcp), (Ip::V6, Part::Udp), (Ip::V6, Part::Tcp)]
                .map(|(ip, part)| text(&fallback.targets(ip, part)));
            assert_eq!(got, want, "{name}");
            assert_eq!(Ip::ALL.map(|ip| fallback.covers(ip)), covers, "{name}");
        }
    }

    #[test]
    fn there_are_at_most_so_many() {
        let endpoints: Vec<_> = (0..100_u16)
            .map(|n| Endpoint { udp: at(&format!("10.1.0.{n}:53")), tcp: at(&format!("[fd00::{n:x}]:53")) })
            .collect();
        let fallback = Fallback::new(&endpoints, &[]);
        assert_eq!(fallback.targets(Ip::V4, Part::Udp).len(), MAX_FALLBACK);
        assert_eq!(fallback.targets(Ip::V6, Part::Tcp).len(), MAX_FALLBACK);
        assert_eq!(fallback.rules(TABLE, Ip::V4, 53).len(), MAX_FALLBACK);
    }

    #[test]
    fn the_first_of_n_is_taken_once_in_n_and_the_last_always() {
        let three = ["10.1.0.1:53", "10.1.0.2:53", "10.1.0.3:53"].map(|at| (at, ""));
        let rules = of(&three, &[]).rules(TABLE, Ip::V4, 53);
        let modulus = |rule: &Rule| {
            let exprs = rule.spec().lower(Terms::of(Ip::V4).family).unwrap();
            exprs
                .iter()
                .find_map(|expr| if let Expr::Numgen { modulus, .. } = expr { Some(*modulus) } else { None })
        };
        assert_eq!(rules.iter().map(modulus).collect::<Vec<_>>(), [Some(3), Some(2), None]);
    }

    #[test]
    fn the_same_endpoints_in_another_order_are_the_same() {
        let (a, b) = (("10.1.0.1:53", "10.1.0.1:53"), ("10.1.0.2:53", "10.1.0.2:53"));
        assert_eq!(of(&[a, b], &[]), of(&[b, a, b], &[]));
        assert_ne!(of(&[a, b], &[]), of(&[a], &[]));
    }
}
