//! Sets and chains of the table: their names, and what they are apart from what is in them.

use std::time::Duration;

use nlink::netlink::nftables::{BaseChain, Chain, FilterHook, NatHook, Priority, Set, SetKeyType};

use super::Terms;
use crate::net::Ip;

/// Room for addresses that are answered at: more than [`crate::net::config::MAX_ADDRESSES`].
const MAX_LIVE: u32 = 64;

/// Room for connections. Over it the packet is tracked, which makes it the cluster DNS's.
const MAX_FLOWS: u32 = 65_536;

/// Before `raw` (-300), where others have their own `notrack`, and before connection tracking (-200).
const BEFORE_TRACKING: Priority = Priority::Custom(-305);

/// Before kube-proxy's (-100).
const BEFORE_DNAT: Priority = Priority::Custom(-101);

/// Before kube-proxy's (100).
const BEFORE_SNAT: Priority = Priority::Custom(99);

/// A set of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetName {
    /// Every address.
    Ours,
    /// Those that no Service has.
    Local,
    /// Those that are answered at.
    Live,
    /// Those whose connections are.
    Held,
    /// Clients of these connections.
    Flows,
}

impl SetName {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Ours, Self::Local, Self::Live, Self::Held, Self::Flows];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Local => "local",
            Self::Live => "live",
            Self::Held => "held",
            Self::Flows => "flows",
        }
    }

    /// It as an empty one of this table and family.
    pub(super) fn of(self, table: &str, ip: Ip, flows: Duration) -> Set {
        let set = Set::new(table, self.as_str()).family(Terms::of(ip).family).key_type(self.key(ip));
        match self {
            Self::Ours | Self::Local => set,
            Self::Live | Self::Held => set.dynamic().per_element_timeouts().size(MAX_LIVE),
            Self::Flows => set.dynamic().timeout(flows).size(MAX_FLOWS),
        }
    }

    /// What its elements are.
    pub fn key(self, ip: Ip) -> SetKeyType {
        let terms = Terms::of(ip);
        match self {
            Self::Ours | Self::Local | Self::Live | Self::Held => terms.key,
            Self::Flows => terms.flow_key(),
        }
    }

    /// Whether packets fill it, with what expires.
    pub const fn is_filled_by_packets(self) -> bool {
        match self {
            Self::Ours | Self::Local => false,
            Self::Live | Self::Held | Self::Flows => true,
        }
    }
}

/// A chain of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChainName {
    /// Says of which layout the table is.
    Version,
    /// Connections from their second packet on.
    Tcp,
    /// The first packet of one.
    Syn,
    /// Where queries for local addresses go without us.
    Fallback,
    /// Packets from elsewhere.
    Pre,
    /// Packets of the machine itself.
    Out,
    /// Translation of packets from elsewhere.
    NatPre,
    /// Translation of packets of the machine itself.
    NatOut,
    /// Sources of what was translated.
    NatPost,
}

impl ChainName {
    /// All of them, each after those that it leads to.
    pub const ALL: [Self; 9] = [
        Self::Version,
        Self::Syn,
        Self::Tcp,
        Self::Fallback,
        Self::Pre,
        Self::Out,
        Self::NatPre,
        Self::NatOut,
        Self::NatPost,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Version => "layout-1",
            Self::Tcp => "tcp-any",
            Self::Syn => "tcp-first",
            Self::Fallback => "fallback",
            Self::Pre => "pre",
            Self::Out => "out",
            Self::NatPre => "nat-pre",
            Self::NatOut => "nat-out",
            Self::NatPost => "nat-post",
        }
    }

    /// Where the kernel calls it; `None` for those that other chains lead to.
    pub fn base(self) -> Option<BaseChain> {
        Some(match self {
            Self::Version | Self::Tcp | Self::Syn | Self::Fallback => return None,
            Self::Pre => BaseChain::filter(FilterHook::Prerouting, BEFORE_TRACKING),
            Self::Out => BaseChain::filter(FilterHook::Output, BEFORE_TRACKING),
            Self::NatPre => BaseChain::nat(NatHook::Prerouting, BEFORE_DNAT),
            Self::NatOut => BaseChain::nat(NatHook::Output, BEFORE_DNAT),
            Self::NatPost => BaseChain::nat(NatHook::Postrouting, BEFORE_SNAT),
        })
    }

    /// It as an empty one of this table and family.
    pub(super) fn of(self, table: &str, ip: Ip) -> Chain {
        let chain = Chain::new(table, self.as_str()).expect("names of ours are short and of plain letters");
        let chain = chain.family(Terms::of(ip).family);
        match self.base() {
            Some(base) => chain.base(base),
            None => chain,
        }
    }
}
