//! The table of a family, as values: what has to be in the kernel, and nothing of how it gets there.
//!
//! As `nft` would print it for IPv4 and port 53 (`ip6` is the same with `ip6` and `ipv6_addr`):
//!
//! ```text
//! table ip outlast {
//!   set ours  { type ipv4_addr; }                                  every address
//!   set local { type ipv4_addr; }                                  those that no Service has
//!   set live  { type ipv4_addr; size 64; flags dynamic,timeout; }  those that are answered at
//!   set held  { type ipv4_addr; size 64; flags dynamic,timeout; }  those whose connections still are
//!   set flows { type ipv4_addr . inet_service; size 65536; flags dynamic,timeout; timeout 30s; }
//!   chain layout-1 { }                                             for people: which release made it
//!   chain pre { type filter hook prerouting priority -305;
//!     udp dport 53 ip daddr @live notrack
//!     tcp dport 53 ip daddr @ours goto tcp-any
//!   }
//!   chain out { type filter hook output priority -305;
//!     meta mark BEAT udp dport 53 ip daddr @ours update @live { ip daddr timeout 1s } update @held { … } drop
//!     meta mark HOLD udp dport 53 ip daddr @ours update @held { ip daddr timeout 1s } drop
//!     meta mark PROBE ip daddr @ours notrack accept
//!     udp dport 53 ip daddr @live notrack
//!     tcp dport 53 ip daddr @ours goto tcp-any
//!     udp sport 53 ip saddr @ours notrack
//!     tcp sport 53 ip saddr @ours notrack
//!   }
//!   chain tcp-any {
//!     tcp flags & (syn|ack) == syn goto tcp-first
//!     ip saddr . tcp sport @flows ip daddr @held update @flows { ip saddr . tcp sport } notrack
//!   }
//!   chain tcp-first {
//!     ip daddr @live update @flows { ip saddr . tcp sport } notrack accept
//!     delete @flows { ip saddr . tcp sport }
//!   }
//!   chain nat-pre  { type nat hook prerouting priority -101;  ip daddr @local jump fallback }
//!   chain nat-out  { type nat hook output priority -101;      ip daddr @local jump fallback }
//!   chain fallback { … }                                           [`super::fallback`]
//!   chain nat-post { type nat hook postrouting priority 99;   ip saddr @ours ct status dnat masquerade }
//! }
//! ```
//!
//! Why it is as it is:
//! * A packet that is not tracked is not translated either, so that it reaches our socket at the address of a Service;
//!   one that is tracked goes where kube-proxy sends it. `live` alone decides, packet by packet.
//! * A connection is decided by its SYN. One that began here stays here (`flows`) for as long as somebody is there
//!   (`held`), one that began at the cluster's DNS stays there: neither withdrawal nor recovery breaks one.
//! * Answers are never tracked: a late one would be a new connection to the kernel, and what its client sends next would
//!   be taken for a reply to it and given to a socket that is closed.
//! * Probes of our own are never tracked, live or not: how else could it be known that we answer again? They are told by
//!   a mark, as beats are.
//! * No name is a word of nft's own language (a chain `tcp` would be): whoever keeps the output of `nft list ruleset` to
//!   load it at boot could load none of it.
//! * Masquerading is for clients on the node itself, which have our own addresses as a source; pods keep theirs.

mod names;

use std::net::IpAddr;
use std::time::Duration;

use nlink::netlink::nftables::{
    Chain, CtStatus, DynsetExpr, DynsetOp, Expr, Family, PacketField, PayloadBase, Register, Rule, Set,
    SetElement, SetKeyType, TcpFlags,
};

pub use self::names::{ChainName, SetName};
use super::fallback::Fallback;
use super::{Endpoint, Ip};

/// The name of our table, in each family.
pub const TABLE: &str = "outlast";

/// The name of one that is tried out: it never lasts longer than its batch.
const TRIED: &str = "outlast-tried";

/// How long an address is answered at after a beat.
pub const LIFE: Duration = Duration::from_secs(1);

/// For how long a connection is remembered after its last packet, unless listeners keep idle ones longer.
pub const FLOWS: Duration = Duration::from_secs(30);

/// The mark of a datagram that says: this address is answered at. It never leaves the machine: our rule drops it.
pub const BEAT: u32 = 0x4f55_544c;

/// The mark of one that says: this address takes nothing new, and connections of it are still answered.
pub const HOLD: u32 = 0x4f55_544d;

/// The mark of packets that ask whether we answer.
pub const PROBE: u32 = 0x4f55_544e;

/// The protocol's number.
const TCP: u8 = 6;

/// What a family calls things.
pub(super) struct Terms {
    /// The family of the table.
    pub(super) family: Family,
    /// The source.
    source: PacketField,
    /// The destination.
    destination: PacketField,
    /// The type of both.
    key: SetKeyType,
    /// Where the source is in the header, and how long it is, in bytes.
    source_at: (u32, u32),
    /// The register behind one of that length.
    behind: Register,
}

impl Terms {
    /// Those of this family.
    pub(super) const fn of(ip: Ip) -> Self {
        match ip {
            Ip::V4 => Self {
                family: Family::Ip,
                source: PacketField::Ip4Saddr,
                destination: PacketField::Ip4Daddr,
                key: SetKeyType::Ipv4Addr,
                source_at: (12, 4),
                behind: Register::Reg32_01,
            },
            Ip::V6 => Self {
                family: Family::Ip6,
                source: PacketField::Ip6Saddr,
                destination: PacketField::Ip6Daddr,
                key: SetKeyType::Ipv6Addr,
                source_at: (8, 16),
                behind: Register::R1,
            },
        }
    }

    /// A client of a connection: its address and its port.
    pub(super) fn flow_key(&self) -> SetKeyType {
        SetKeyType::Concat(vec![self.key.clone(), SetKeyType::InetService])
    }

    /// Packets to an address of this set.
    fn to(&self, rule: Rule, set: SetName) -> Rule {
        rule.match_in_set(self.destination, set.as_str())
    }

    /// Packets from an address of this set.
    fn from(&self, rule: Rule, set: SetName) -> Rule {
        rule.match_in_set(self.source, set.as_str())
    }

    /// Has the destination live for a second more in this set.
    fn renew(&self, rule: Rule, set: SetName) -> Rule {
        let mut renewed = DynsetExpr::new(DynsetOp::Update, set.as_str(), Register::R0);
        renewed.timeout = Some(LIFE);
        rule.dynset(self.destination, renewed)
    }

    /// Remembers or forgets the client of a connection.
    fn flow(&self, rule: Rule, op: DynsetOp) -> Rule {
        let (offset, len) = self.source_at;
        let load = |dreg, base, offset, len| Expr::Payload { dreg, base, offset, len };
        rule.match_l4proto(TCP)
            .expr(load(Register::R0, PayloadBase::Network, offset, len))
            .expr(load(self.behind, PayloadBase::Transport, 0, 2))
            .expr(Expr::Dynset(DynsetExpr::new(op, SetName::Flows.as_str(), Register::R0)))
    }
}

/// A rule that goes on in another chain.
fn goto(rule: Rule, chain: ChainName) -> Rule {
    rule.try_goto(chain.as_str()).expect("names of ours are short and of plain letters")
}

/// A rule that comes back from another chain.
fn jump(rule: Rule, chain: ChainName) -> Rule {
    rule.try_jump(chain.as_str()).expect("names of ours are short and of plain letters")
}

/// What has to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The name of the table.
    table: &'static str,
    /// Every address, sorted.
    ours: Vec<IpAddr>,
    /// Those that no Service has, sorted.
    local: Vec<IpAddr>,
    /// What is known of Services' addresses, also of those that are not ours now.
    services: Vec<IpAddr>,
    /// The port of DNS.
    port: u16,
    /// For how long a connection is remembered after its last packet.
    flows: Duration,
    /// Whether the kernel can have a rule forget one.
    forgets: bool,
    /// Where queries for local addresses go without us.
    pub fallback: Fallback,
}

impl Layout {
    /// Of these addresses, of which those of `services` are a Service's, without anything to fall back to.
    pub fn new(addresses: &[IpAddr], services: &[IpAddr], port: u16, flows: Duration) -> Self {
        let (ours, local) = sorted(addresses, services);
        let (services, fallback) = (services.to_vec(), Fallback::default());
        Self { table: TABLE, ours, local, services, port, flows, forgets: true, fallback }
    }

    /// The same under a name that is nobody's.
    #[must_use]
    pub const fn to_be_tried(mut self) -> Self {
        self.table = TRIED;
        self
    }

    /// The name of the table.
    pub const fn table(&self) -> &'static str {
        self.table
    }

    /// The port of DNS.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// All addresses, sorted.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.ours
    }

    /// Other addresses are a Service's now; whether that changes anything in the tables.
    pub fn set_services(&mut self, services: &[IpAddr]) -> bool {
        let (_, local) = sorted(&self.ours, services);
        let changed = local != self.local;
        (self.local, self.services) = (local, services.to_vec());
        changed
    }

    /// These are all addresses from now on; whether that changes anything. Which of them are a Service's is as was last
    /// known. What there is to fall back to stays as it is.
    pub fn set_addresses(&mut self, addresses: &[IpAddr]) -> bool {
        let (ours, local) = sorted(addresses, &self.services);
        let changed = ours != self.ours;
        (self.ours, self.local) = (ours, local);
        changed
    }

    /// The cluster's DNS answers there now; whether that changes anything.
    pub fn set_endpoints(&mut self, endpoints: &[Endpoint]) -> bool {
        let fallback = Fallback::new(endpoints, &self.ours);
        let changed = fallback != self.fallback;
        self.fallback = fallback;
        changed
    }

    /// For how long a connection is remembered after its last packet.
    pub const fn flows(&self) -> Duration {
        self.flows
    }

    /// Whether a rule forgets connections that the cluster's DNS has.
    pub const fn forgets(&self) -> bool {
        self.forgets
    }

    /// Does without that rule, for kernels before 5.4: a client that uses a port of a remembered connection again while
    /// nothing is led here loses that one connection.
    pub const fn forget_nothing(&mut self) {
        self.forgets = false;
    }

    /// Whether there is to be a table of this family at all.
    pub fn has(&self, ip: Ip) -> bool {
        self.ours.iter().any(|address| Ip::of(address) == ip)
    }

    /// Whether this family has addresses that no Service has.
    pub fn has_local(&self, ip: Ip) -> bool {
        self.local.iter().any(|address| Ip::of(address) == ip)
    }

    /// Whether this is one of our addresses that no Service has.
    pub fn is_local(&self, address: &IpAddr) -> bool {
        self.local.contains(address)
    }

    /// A set of this family, empty.
    pub fn set(&self, ip: Ip, set: SetName) -> Set {
        set.of(self.table, ip, self.flows)
    }

    /// A chain of this family, empty.
    pub fn chain(&self, ip: Ip, chain: ChainName) -> Chain {
        chain.of(self.table, ip)
    }

    /// What is always in a set; `None` for those that packets fill.
    pub fn elements(&self, ip: Ip, set: SetName) -> Option<Vec<SetElement>> {
        let of = match set {
            SetName::Ours => &self.ours,
            SetName::Local => &self.local,
            SetName::Live | SetName::Held | SetName::Flows => return None,
        };
        Some(elements(of, ip))
    }

    /// The rules of a chain, in their order.
    pub fn rules(&self, ip: Ip, chain: ChainName) -> Vec<Rule> {
        let terms = Terms::of(ip);
        let port = self.port;
        let rule = || Rule::new(self.table, chain.as_str()).family(terms.family);
        match chain {
            ChainName::Version => Vec::new(),
            ChainName::Fallback => self.fallback.rules(self.table, ip, port),
            ChainName::Pre => vec![
                terms.to(rule().match_udp_dport(port), SetName::Live).notrack(),
                goto(terms.to(rule().match_tcp_dport(port), SetName::Ours), ChainName::Tcp),
            ],
            ChainName::Out => {
                let marked = |mark| terms.to(rule().match_mark(mark).match_udp_dport(port), SetName::Ours);
                vec![
                    terms.renew(terms.renew(marked(BEAT), SetName::Live), SetName::Held).drop(),
                    terms.renew(marked(HOLD), SetName::Held).drop(),
                    terms.to(rule().match_mark(PROBE), SetName::Ours).notrack().accept(),
                    terms.to(rule().match_udp_dport(port), SetName::Live).notrack(),
                    goto(terms.to(rule().match_tcp_dport(port), SetName::Ours), ChainName::Tcp),
                    terms.from(rule().match_udp_sport(port), SetName::Ours).notrack(),
                    terms.from(rule().match_tcp_sport(port), SetName::Ours).notrack(),
                ]
            }
            ChainName::Tcp => {
                let first = TcpFlags(TcpFlags::SYN.bits() | TcpFlags::ACK.bits());
                let known = [terms.source, PacketField::TcpSport];
                let known = rule().match_concat_in_set(&known, SetName::Flows.as_str());
                vec![
                    goto(rule().match_tcp_flags(TcpFlags::SYN, first), ChainName::Syn),
                    terms.flow(terms.to(known, SetName::Held), DynsetOp::Update).notrack(),
                ]
            }
            ChainName::Syn => {
                let begun = terms.flow(terms.to(rule(), SetName::Live), DynsetOp::Update);
                let forgotten = self.forgets.then(|| terms.flow(rule(), DynsetOp::Delete));
                [begun.notrack().accept()].into_iter().chain(forgotten).collect()
            }
            ChainName::NatPre | ChainName::NatOut => {
                vec![jump(terms.to(rule(), SetName::Local), ChainName::Fallback)]
            }
            ChainName::NatPost => {
                let ours = terms.from(rule(), SetName::Ours);
                vec![ours.match_ct_status(CtStatus::DST_NAT).masquerade()]
            }
        }
    }
}

/// These addresses, sorted, and those of them that no Service has.
fn sorted(addresses: &[IpAddr], services: &[IpAddr]) -> (Vec<IpAddr>, Vec<IpAddr>) {
    let mut ours = addresses.to_vec();
    ours.sort_unstable();
    ours.dedup();
    let local = ours.iter().copied().filter(|address| !services.contains(address)).collect();
    (ours, local)
}

/// Those of these addresses that are of this family, as elements.
pub(super) fn elements(addresses: &[IpAddr], ip: Ip) -> Vec<SetElement> {
    let of = addresses.iter().filter(|address| Ip::of(address) == ip);
    of.map(|address| match address {
        IpAddr::V4(v4) => SetElement::ipv4(*v4),
        IpAddr::V6(v6) => SetElement::ipv6(*v6),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(of: &[&str]) -> Vec<IpAddr> {
        of.iter().map(|a| a.parse().unwrap()).collect()
    }

    fn layout(ours: &[&str], services: &[&str]) -> Layout {
        Layout::new(&addresses(ours), &addresses(services), 53, FLOWS)
    }

    #[test]
    fn addresses_are_told_apart_by_family_and_by_whose_they_are() {
        let of = layout(&["169.254.20.10", "fd00:96::a", "10.96.0.10"], &["10.96.0.10", "fd00:96::a"]);
        let keys = |ip, set| -> Vec<usize> {
            of.elements(ip, set).unwrap().iter().map(|element| element.key().len()).collect()
        };
        assert_eq!(keys(Ip::V4, SetName::Ours), [4, 4]);
        assert_eq!(keys(Ip::V6, SetName::Ours), [16]);
        assert_eq!(
            of.elements(Ip::V4, SetName::Local),
            Some(vec![SetElement::ipv4("169.254.20.10".parse().unwrap())])
        );
        assert_eq!(of.elements(Ip::V6, SetName::Local), Some(Vec::new()));
        for set in [SetName::Live, SetName::Held, SetName::Flows] {
            assert_eq!(of.elements(Ip::V4, set), None, "{set:?} is filled by packets");
        }
    }

    #[test]
    fn a_family_without_an_address_has_no_table() {
        let of = layout(&["10.96.0.10"], &[]);
        assert!(of.has(Ip::V4) && !of.has(Ip::V6));
    }

    #[test]
    fn a_class_that_changes_is_a_change_and_the_same_again_is_none() {
        let mut of = layout(&["10.96.0.10", "169.254.20.10"], &[]);
        assert!(of.set_services(&addresses(&["10.96.0.10"])));
        assert!(!of.set_services(&addresses(&["10.96.0.10", "10.96.0.1"])), "that one is not ours");
        assert!(of.set_services(&[]));
        assert_eq!(of, layout(&["10.96.0.10", "169.254.20.10"], &[]));
    }

    #[test]
    fn an_address_that_comes_back_is_whose_it_was_known_to_be_meanwhile() {
        let (both, services) = (["10.96.0.10", "169.254.20.10"], ["10.96.0.10"]);
        let mut of = layout(&both, &services);
        assert!(!of.set_addresses(&addresses(&["169.254.20.10", "10.96.0.10"])), "the same in another order");
        assert!(of.set_addresses(&addresses(&["169.254.20.10"])));
        assert_eq!(of, layout(&["169.254.20.10"], &services));
        assert!(!of.set_services(&[]), "nothing in the tables");
        assert!(!of.set_services(&addresses(&services)));
        assert!(of.set_addresses(&addresses(&both)));
        assert_eq!(of, layout(&both, &services));
        assert!(!of.is_local(&"10.96.0.10".parse().unwrap()));
    }

    #[test]
    fn endpoints_at_addresses_of_our_own_are_nothing_to_fall_back_to() {
        let at = |of: &str| Endpoint { udp: of.parse().ok(), tcp: of.parse().ok() };
        let endpoints = [at("10.96.0.10:53"), at("10.244.0.10:53")];
        let mut of = layout(&["10.96.0.10", "169.254.20.10"], &[]);
        assert!(of.set_endpoints(&endpoints) && !of.set_endpoints(&endpoints));
        of.set_addresses(&addresses(&["169.254.20.10"]));
        assert!(of.set_endpoints(&endpoints), "it is somebody else's now");
    }

    #[test]
    fn every_rule_can_be_said_to_the_kernel() {
        let of = layout(&["10.96.0.10", "fd00:96::a"], &[]);
        for ip in Ip::ALL {
            for chain in ChainName::ALL {
                for rule in of.rules(ip, chain) {
                    let lowered = rule.spec().lower(Terms::of(ip).family);
                    assert!(lowered.is_ok_and(|exprs| !exprs.is_empty()), "{ip} {chain:?}: {rule:?}");
                }
            }
        }
    }

    #[test]
    fn a_kernel_whose_rules_forget_nothing_has_one_rule_less() {
        let mut of = layout(&["10.96.0.10", "fd00:96::a"], &[]);
        let count = |of: &Layout| Ip::ALL.map(|ip| of.rules(ip, ChainName::Syn).len());
        assert_eq!((of.forgets(), count(&of)), (true, [2, 2]));
        of.forget_nothing();
        assert_eq!((of.forgets(), count(&of)), (false, [1, 1]));
    }

    #[test]
    fn chains_come_after_those_that_they_lead_to() {
        let place = |wanted| ChainName::ALL.iter().position(|chain| *chain == wanted).unwrap();
        for (from, to) in [
            (ChainName::Tcp, ChainName::Syn),
            (ChainName::Pre, ChainName::Tcp),
            (ChainName::Out, ChainName::Tcp),
            (ChainName::NatPre, ChainName::Fallback),
            (ChainName::NatOut, ChainName::Fallback),
        ] {
            assert!(place(to) < place(from), "{from:?} leads to {to:?}");
        }
    }
}
