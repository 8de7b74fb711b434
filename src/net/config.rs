//! What interception is told, checked without looking at the machine.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::layout::FLOWS;

/// At most so many addresses: each costs probes and a datagram at every beat.
pub const MAX_ADDRESSES: usize = 16;

/// The interface that addresses are put on, unless told otherwise: node-cache's, which is taken over as it is.
pub const INTERFACE: &str = "nodelocaldns";

/// The longest name of an interface in bytes (`IFNAMSIZ` without its zero).
const MAX_INTERFACE: usize = 15;

/// How often everything is looked at, besides what events say, unless told otherwise.
pub const LOOK: Duration = Duration::from_secs(60);

/// The shortest such time: a look lists our tables and the addresses of the machine.
pub const MIN_LOOK: Duration = Duration::from_secs(1);

/// Where processes of a node agree on who owns the addresses, unless told otherwise.
pub const OWNER: &str = "/run/outlast/owner";

/// The port of `/health` in rules of iptables, unless told otherwise.
pub const HEALTH_PORT: u16 = 8080;

/// For how much longer a connection is remembered than a listener keeps an idle one: its last packets come then.
const BEYOND_IDLE: Duration = Duration::from_secs(20);

/// What leads packets here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nftables if the kernel has it, else iptables if the program is there.
    Auto,
    /// Tables of our own, whose elements expire.
    Nftables,
    /// node-cache's rules by iptables, which do not.
    Iptables,
    /// Nothing: addresses only.
    Off,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Nftables, Self::Iptables, Self::Off];

    /// In flags, log lines and as the value of a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
            Self::Off => "off",
        }
    }
}

/// Who sends packets for Services elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KubeProxy {
    /// kube-proxy with iptables.
    Iptables,
    /// kube-proxy with nftables.
    Nftables,
    /// kube-proxy with IPVS, which has the addresses of Services on an interface of its own.
    Ipvs,
    /// Cilium, which sees packets before any rule does.
    Cilium,
    /// Nobody.
    None,
}

impl KubeProxy {
    /// In flags, log lines and as the value of a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
            Self::Ipvs => "ipvs",
            Self::Cilium => "cilium",
            Self::None => "none",
        }
    }

    /// Whether queries for the address of a Service can be answered here: their packets pass by our rules first.
    pub const fn leaves_services(self) -> bool {
        match self {
            Self::Iptables | Self::Nftables | Self::None => true,
            Self::Ipvs | Self::Cilium => false,
        }
    }
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The addresses to answer at: 1 to [`MAX_ADDRESSES`], each once.
    pub addresses: Vec<IpAddr>,
    /// Those of them that are known to be a Service's: others send these packets on where we do not.
    pub services: Vec<IpAddr>,
    /// The interface to put them on; `None` where they are there already.
    pub interface: Option<String>,
    /// What leads packets here.
    pub rules: Mode,
    /// Whether rules of iptables let our packets through firewalls.
    pub accept: bool,
    /// The port of DNS.
    pub port: u16,
    /// The port of `/health` in rules of iptables.
    pub health_port: u16,
    /// For how long a connection is remembered after its last packet: longer than listeners keep idle ones.
    pub flows: Duration,
    /// Whether addresses and rules go at a clean stop.
    pub teardown: bool,
    /// How often everything is looked at, besides what events say; at least [`MIN_LOOK`].
    pub look: Duration,
    /// Who sends packets for Services elsewhere, where that is known better than it can be seen.
    pub kube_proxy: Option<KubeProxy>,
    /// The folder where processes of a node agree on who owns the addresses; an absolute path.
    pub owner: PathBuf,
}

impl Config {
    /// Everything as it is unless told otherwise, for these addresses.
    pub fn of(addresses: Vec<IpAddr>) -> Self {
        Self {
            addresses,
            services: Vec::new(),
            interface: Some(INTERFACE.to_owned()),
            rules: Mode::Auto,
            accept: false,
            port: 53,
            health_port: HEALTH_PORT,
            flows: FLOWS,
            teardown: true,
            look: LOOK,
            kube_proxy: None,
            owner: PathBuf::from(OWNER),
        }
    }

    /// Whether it can be meant.
    ///
    /// # Errors
    /// The first thing that cannot.
    pub fn check(&self) -> Result<(), Wrong> {
        let addresses = &self.addresses;
        if addresses.is_empty() {
            return Err(Wrong::NoAddress);
        }
        if addresses.len() > MAX_ADDRESSES {
            return Err(Wrong::TooMany(addresses.len()));
        }
        for (n, address) in addresses.iter().enumerate() {
            if let Some(kind) = unusable(*address) {
                return Err(Wrong::Address { address: *address, kind });
            }
            if addresses[..n].contains(address) {
                return Err(Wrong::Twice(*address));
            }
        }
        if let Some(name) = &self.interface {
            check_interface(name)?;
        }
        if self.port == 0 || self.health_port == 0 {
            return Err(Wrong::Port);
        }
        if self.accept && self.rules == Mode::Off {
            return Err(Wrong::Accept);
        }
        if self.look < MIN_LOOK {
            return Err(Wrong::Look(self.look));
        }
        if !self.owner.is_absolute() {
            return Err(Wrong::Owner(self.owner.clone()));
        }
        Ok(())
    }

    /// Has connections remembered for longer than listeners keep idle ones.
    #[must_use]
    pub fn with_idle(self, idle: Duration) -> Self {
        Self { flows: FLOWS.max(idle.saturating_add(BEYOND_IDLE)), ..self }
    }

    /// Whether nothing is put on the node and nothing leads queries anywhere.
    pub const fn leaves_all_to_others(&self) -> bool {
        matches!(self.rules, Mode::Off) && self.interface.is_none()
    }
}

/// What cannot be meant.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Wrong {
    /// No address.
    #[error("there is no address to answer at")]
    NoAddress,
    /// More than [`MAX_ADDRESSES`].
    #[error("{0} addresses: at most {MAX_ADDRESSES} can be answered at")]
    TooMany(usize),
    /// An address that no interface can have for this.
    #[error("{address} is {kind}: an address of a Service or one of the node's own is needed")]
    Address {
        /// Which.
        address: IpAddr,
        /// What it is instead.
        kind: &'static str,
    },
    /// The same one again.
    #[error("{0} is there twice")]
    Twice(IpAddr),
    /// A name that Linux gives to no interface.
    #[error(
        "{0:?} cannot be the name of an interface: 1 to {MAX_INTERFACE} bytes without '/', ':' and spaces"
    )]
    Interface(String),
    /// No port.
    #[error("port 0 cannot be answered at")]
    Port,
    /// Nothing is untracked, so that nothing has to be let through.
    #[error("rules that accept packets only go with rules that lead them here: not with --rules off")]
    Accept,
    /// Too often.
    #[error("looking every {} ms is too often: {} ms is the least", .0.as_millis(), MIN_LOOK.as_millis())]
    Look(Duration),
    /// A folder that means another one to every process.
    #[error("{} is not an absolute path: all processes of a node need the same folder", .0.display())]
    Owner(PathBuf),
}

/// What an address is that nobody can be answered at; `None` for all others.
fn unusable(address: IpAddr) -> Option<&'static str> {
    if address.is_unspecified() {
        return Some("no address");
    }
    if address.is_loopback() {
        return Some("a loopback address, which pods have themselves");
    }
    if address.is_multicast() {
        return Some("a multicast address");
    }
    match address {
        IpAddr::V4(v4) if v4.is_broadcast() => Some("the broadcast address"),
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Some("of this network, which nobody can ask"),
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Some("an IPv4 address in another spelling"),
        // Who asks would have to name an interface with it, and a resolv.conf of a pod cannot know which.
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("of one link alone"),
        IpAddr::V6(_) => None,
    }
}

/// The rules of `dev_valid_name` of the kernel.
fn check_interface(name: &str) -> Result<(), Wrong> {
    let strange = |c: char| c == '/' || c == ':' || c.is_whitespace() || c == '\0';
    let fits = (1..=MAX_INTERFACE).contains(&name.len()) && name != "." && name != "..";
    if !fits || name.contains(strange) {
        return Err(Wrong::Interface(name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(addresses: &[&str]) -> Config {
        Config::of(addresses.iter().map(|a| a.parse().unwrap()).collect())
    }

    #[test]
    fn what_cannot_be_meant_is_said() {
        let many: Vec<_> = (0..17).map(|n| format!("10.0.0.{n}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let interface = |name: &str| Config { interface: Some(name.to_owned()), ..of(&["10.96.0.10"]) };
        let cases: [(&str, Config, &str); 20] = [
            ("none", of(&[]), "there is no address to answer at"),
            ("17", of(&many), "17 addresses: at most 16 can be answered at"),
            ("unspecified", of(&["0.0.0.0"]), "0.0.0.0 is no address: an address of"),
            ("unspecified, IPv6", of(&["::"]), ":: is no address: an address of"),
            ("loopback", of(&["127.0.0.53"]), "127.0.0.53 is a loopback address, which"),
            ("loopback, IPv6", of(&["10.96.0.10", "::1"]), "::1 is a loopback address, which"),
            ("multicast", of(&["224.0.0.251"]), "224.0.0.251 is a multicast address:"),
            ("multicast, IPv6", of(&["ff02::fb"]), "ff02::fb is a multicast address:"),
            ("broadcast", of(&["255.255.255.255"]), "255.255.255.255 is the broadcast address"),
            ("this network", of(&["0.1.2.3"]), "0.1.2.3 is of this network"),
            ("mapped", of(&["::ffff:10.96.0.10"]), "is an IPv4 address in another spelling"),
            ("link-local", of(&["fe80::10"]), "fe80::10 is of one link alone"),
            ("twice", of(&["10.96.0.10", "fd00::a", "10.96.0.10"]), "10.96.0.10 is there twice"),
            ("a long name", interface("sixteen-bytes-xx"), "\"sixteen-bytes-xx\" cannot be the name"),
            ("a path", interface("../nodelocaldns"), "cannot be the name of an interface"),
            ("port 0", Config { port: 0, ..of(&["10.96.0.10"]) }, "port 0 cannot be answered at"),
            (
                "port 0 of health",
                Config { health_port: 0, ..of(&["10.96.0.10"]) },
                "port 0 cannot be answered at",
            ),
            (
                "accepted without being led here",
                Config { rules: Mode::Off, accept: true, ..of(&["10.96.0.10"]) },
                "only go with rules that lead them here",
            ),
            (
                "too often",
                Config { look: Duration::from_millis(999), ..of(&["10.96.0.10"]) },
                "looking every 999 ms is too often: 1000 ms is the least",
            ),
            (
                "a relative folder",
                Config { owner: PathBuf::from("owner"), ..of(&["10.96.0.10"]) },
                "owner is not an absolute path",
            ),
        ];
        for (name, config, want) in cases {
            let said = config.check().expect_err(name).to_string();
            assert!(said.contains(want), "{name}: {said}");
        }
    }

    #[test]
    fn what_can_be_meant_is_taken() {
        let sixteen: Vec<_> = (1..17).map(|n| format!("10.0.0.{n}")).collect();
        let sixteen: Vec<_> = sixteen.iter().map(String::as_str).collect();
        let both = of(&["10.96.0.10", "169.254.20.10", "fd00:96::a", "fd00:20::10"]);
        let cases = [
            ("both families", both.clone()),
            ("16", of(&sixteen)),
            ("a name of 15 bytes", Config { interface: Some("fifteen-bytes-x".into()), ..both.clone() }),
            ("no interface", Config { interface: None, ..both.clone() }),
            ("once a second", Config { look: MIN_LOOK, ..both }),
        ];
        for (name, config) in cases {
            assert_eq!(config.check(), Ok(()), "{name}");
        }
    }

    #[test]
    fn names_that_the_kernel_refuses_are_refused() {
        for name in ["", ".", "..", "a b", "a\tb", "a/b", "eth0:1", "a\0"] {
            assert_eq!(check_interface(name), Err(Wrong::Interface(name.to_owned())), "{name:?}");
        }
    }

    #[test]
    fn connections_are_remembered_for_longer_than_idle_ones_are_kept() {
        let remembered = |idle| of(&["10.96.0.10"]).with_idle(Duration::from_secs(idle)).flows.as_secs();
        assert_eq!([0, 10, 11, 60].map(remembered), [30, 30, 31, 80]);
    }

    #[test]
    fn services_are_left_to_who_sees_packets_first() {
        for (of, leaves) in [
            (KubeProxy::Iptables, true),
            (KubeProxy::Nftables, true),
            (KubeProxy::None, true),
            (KubeProxy::Ipvs, false),
            (KubeProxy::Cilium, false),
        ] {
            assert_eq!(of.leaves_services(), leaves, "{}", of.as_str());
        }
    }
}
