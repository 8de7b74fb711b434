//! Pieces of what has to be there, as they are missed, mended, counted and named.

use std::fmt;
use std::net::IpAddr;

use super::Ip;
use super::layout::{ChainName, SetName, TABLE};

/// One piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Piece {
    /// The interface.
    Link,
    /// One of its addresses.
    Address(IpAddr),
    /// A whole table.
    Table(Ip),
    /// A set.
    Set(Ip, SetName),
    /// What is always in a set.
    Elements(Ip, SetName),
    /// A chain, or where the kernel calls it.
    Chain(Ip, ChainName),
    /// The rules of a chain.
    Rules(Ip, ChainName),
    /// Chains or sets of somebody else in our table.
    Strange(Ip),
    /// Rules of iptables for an address.
    Iptables(IpAddr),
    /// That the datagrams which renew an address come to our table.
    Renewal(IpAddr),
}

impl Piece {
    /// All values of the label `what`; [`Self::what`] gives one of them.
    pub const WHATS: [&'static str; 8] =
        ["link", "address", "table", "set", "chain", "rule", "iptables", "renewal"];

    /// The value of the label `what`.
    pub const fn what(&self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Address(_) => "address",
            Self::Table(_) | Self::Strange(_) => "table",
            Self::Set(..) | Self::Elements(..) => "set",
            Self::Chain(..) => "chain",
            Self::Rules(..) => "rule",
            Self::Iptables(_) => "iptables",
            Self::Renewal(_) => "renewal",
        }
    }

    /// Whose table it belongs to; `None` for what is in none.
    pub const fn ip(&self) -> Option<Ip> {
        match self {
            Self::Link | Self::Address(_) | Self::Iptables(_) | Self::Renewal(_) => None,
            Self::Table(ip)
            | Self::Set(ip, _)
            | Self::Elements(ip, _)
            | Self::Chain(ip, _)
            | Self::Rules(ip, _)
            | Self::Strange(ip) => Some(*ip),
        }
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link => f.write_str("the interface"),
            Self::Address(address) => write!(f, "address {address}"),
            Self::Table(ip) => write!(f, "table {ip} {TABLE}"),
            Self::Set(ip, set) => write!(f, "set {ip} {TABLE} {}", set.as_str()),
            Self::Elements(ip, set) => write!(f, "elements of set {ip} {TABLE} {}", set.as_str()),
            Self::Chain(ip, chain) => write!(f, "chain {ip} {TABLE} {}", chain.as_str()),
            Self::Rules(ip, chain) => write!(f, "rules of chain {ip} {TABLE} {}", chain.as_str()),
            Self::Strange(ip) => write!(f, "what is not ours in table {ip} {TABLE}"),
            Self::Iptables(address) => write!(f, "rules of iptables for {address}"),
            Self::Renewal(address) => write!(f, "the renewal of {address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_names_and_are_counted_by_kind() {
        let cases = [
            (Piece::Link, "link", "the interface"),
            (Piece::Address("10.96.0.10".parse().unwrap()), "address", "address 10.96.0.10"),
            (Piece::Table(Ip::V4), "table", "table ip outlast"),
            (Piece::Set(Ip::V6, SetName::Live), "set", "set ip6 outlast live"),
            (Piece::Elements(Ip::V4, SetName::Local), "set", "elements of set ip outlast local"),
            (Piece::Chain(Ip::V4, ChainName::NatPre), "chain", "chain ip outlast nat-pre"),
            (Piece::Rules(Ip::V4, ChainName::Out), "rule", "rules of chain ip outlast out"),
            (Piece::Strange(Ip::V6), "table", "what is not ours in table ip6 outlast"),
            (Piece::Iptables("fd00:96::a".parse().unwrap()), "iptables", "rules of iptables for fd00:96::a"),
            (Piece::Renewal("10.96.0.10".parse().unwrap()), "renewal", "the renewal of 10.96.0.10"),
        ];
        for (piece, what, text) in cases {
            assert_eq!((piece.what(), piece.to_string().as_str()), (what, text));
            assert!(Piece::WHATS.contains(&what), "{what}");
        }
    }
}
