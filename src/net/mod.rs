//! Interception: queries for the cluster's DNS are answered on the node itself, and go to the cluster's DNS again
//! within about a second whenever this process does not answer.
//!
//! Pods ask the address of a Service, or one of the node's own that their `resolv.conf` has. Both are put on an
//! interface of the node, and a table of nftables keeps packets for them from connection tracking, and thereby from
//! the rules that would send them elsewhere, as long as a *live* element says so. It expires by itself:
//!
//! ```text
//! every 300 ms   all parts beat? probes answered? ready?     > beat
//!                yes: a marked datagram for each address     > mark > the kernel's rule > element lives 1 s longer
//!                no:  nothing                                > the element expires, queries go to the cluster's DNS
//! ```
//!
//! So a process that was killed, stopped, or is stuck withdraws without doing anything: that is the whole idea.
//!
//! # Reading order
//!
//! 1. [`config`]: what is wanted, checked without looking at the machine.
//! 2. [`layout`]: the table of a family as values, and [`fallback`]: where queries go without us.
//! 3. [`beat`]: when to renew and when not to; [`pace`]: how often the same thing is mended. Both are pure.
//! 4. [`detect`]: what machine this is, [`usable`]: which addresses are left to somebody else, and [`promises`]: what that
//!    means. [`link`], [`nft`]: interface, addresses and tables in the kernel, in terms of [`piece`]s. [`iptables`]: rules where
//!    there are no such tables, [`rules`]: either of them; `leftovers`: what node-cache has left.
//! 5. [`mark`], [`probe`]: how the kernel is told that we answer, and how we know. [`watch`]: what others do to it.
//! 6. [`keep`] puts back what they took away, [`run`] is the loop, with what becomes of the addresses where several processes
//!    of a node have them one after another, [`start`] its thread; [`metrics`] and [`section`] say how it goes.
//! 7. [`beside`]: what may take longer than an element lives is done beside the loop. [`accept`] has packets pass firewalls of
//!    iptables, [`around`] sees who has addresses before us ([`sight`]) and says what that means, [`lookout`] what node-cache
//!    has left.
//!
//! Invariants:
//! * Elements that make packets come here expire within a second of the last proof that they are answered.
//! * One process of a node owns the addresses (`ops::ownership`); it alone renews, mends and removes.
//! * Nothing of others is ever changed, apart from what node-cache has for our addresses: no table, no link, no address, no
//!   rule. An interface of the configured name and of kind `dummy` counts as ours whoever has made it, node-cache for one:
//!   it is taken as it is, and is deleted at a clean stop with every address on it. So do rules of node-cache's own text.
//! * Where elements expire, no program is run within a beat.
//! * What is renewed is renewed by a packet, never by a change of the ruleset: others list their rules undisturbed.

pub mod accept;
pub mod around;
pub mod beat;
pub mod beside;
pub mod config;
pub mod detect;
pub mod fallback;
pub mod iptables;
pub mod keep;
pub mod layout;
mod leftovers;
pub mod link;
pub mod lookout;
pub mod mark;
pub mod metrics;
pub mod nft;
pub mod pace;
pub mod piece;
pub mod probe;
pub mod promises;
mod repairs;
pub mod rules;
pub mod run;
pub mod section;
pub mod sight;
pub mod start;
pub mod usable;
pub mod watch;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The name of the thread that beats.
const THREAD: &str = "outlast-net";

/// A version of IP: each has a table of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ip {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Ip {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// Of this address.
    pub const fn of(address: &IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// As nftables calls the family of its tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }
}

impl fmt::Display for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where the cluster's own DNS answers: one ready endpoint of its Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Datagrams.
    pub udp: Option<SocketAddr>,
    /// Connections.
    pub tcp: Option<SocketAddr>,
}
