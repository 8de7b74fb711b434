//! The label values of the `coredns_dns_*` families, each with its place in an array of cells.
//!
//! Every set is closed, so that nobody can grow the number of series by asking for unusual things.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::ops::rcode;

/// The transport as labels name it; DNS over TLS counts as TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proto {
    /// `udp`
    Udp,
    /// `tcp`
    Tcp,
}

impl Proto {
    /// All, each at the place of its cells.
    pub(super) const ALL: [Self; 2] = [Self::Udp, Self::Tcp];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// The client's address family, by the numbers that labels have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4: `1`.
    V4,
    /// IPv6: `2`.
    V6,
}

impl Family {
    /// All, each at the place of its cells.
    pub(super) const ALL: [Self; 2] = [Self::V4, Self::V6];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::V4 => "1",
            Self::V6 => "2",
        }
    }
}

impl From<IpAddr> for Family {
    /// IPv4 clients of an IPv6 socket are IPv4 clients.
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// Record types that have a label of their own (IANA's numbers); all others are `other`.
const TYPES: [(u16, &str); 18] = [
    (1, "A"),
    (28, "AAAA"),
    (5, "CNAME"),
    (48, "DNSKEY"),
    (43, "DS"),
    (15, "MX"),
    (50, "NSEC3"),
    (47, "NSEC"),
    (2, "NS"),
    (12, "PTR"),
    (46, "RRSIG"),
    (6, "SOA"),
    (33, "SRV"),
    (16, "TXT"),
    (65, "HTTPS"),
    (64, "SVCB"),
    (251, "IXFR"),
    (252, "AXFR"),
];
/// `ANY` closes the list, 255 being far from the others.
const ANY: u16 = 255;
/// How many labels of types there are: the list, `ANY` and `other`.
pub(super) const TYPE_COUNT: usize = TYPES.len() + 2;

/// The place of each type number below 256, made when compiling: a query costs one read.
static TYPE_INDEX: [u8; 256] = {
    let mut index = [(TYPE_COUNT - 1) as u8; 256];
    let mut i = 0;
    while i < TYPES.len() {
        index[TYPES[i].0 as usize] = i as u8;
        i += 1;
    }
    index[ANY as usize] = TYPES.len() as u8;
    index
};

/// The place of a type.
pub(super) fn type_index(qtype: u16) -> usize {
    TYPE_INDEX.get(usize::from(qtype)).map_or(TYPE_COUNT - 1, |index| usize::from(*index))
}

/// The label at a place of [`type_index`].
pub(super) fn type_label(index: usize) -> &'static str {
    match TYPES.get(index) {
        Some((_, label)) => label,
        None if index == TYPES.len() => "ANY",
        None => "other",
    }
}

/// How many labels of rcodes there are: those within the list of mnemonics, and `other`.
pub(super) const RCODE_COUNT: usize = rcode::COUNT + 1;

/// The place of an rcode (with its extended bits).
pub(super) fn rcode_index(rcode: u16) -> usize {
    usize::from(rcode).min(RCODE_COUNT - 1)
}

/// The label at a place of [`rcode_index`]; within the list, what has no mnemonic is `RCODEn` as in CoreDNS.
pub(super) fn rcode_label(index: usize) -> Cow<'static, str> {
    if index < rcode::COUNT { rcode::text(index as u16) } else { "other".into() }
}

/// Who may write an answer; empty for the server itself. The most frequent come first.
const PLUGINS: [&str; 20] = [
    "",
    "kubernetes",
    "cache",
    "forward",
    "hosts",
    "template",
    "rewrite",
    "acl",
    "any",
    "autopath",
    "chaos",
    "dns64",
    "k8s_external",
    "local",
    "loop",
    "transfer",
    "whoami",
    "errors",
    "minimal",
    // What an operator has pinned, ahead of all plugins.
    "pin",
];
/// Who wrote an answer, as the label `plugin` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PluginLabel(u8);

impl PluginLabel {
    /// The server itself: no plugin was asked, or none answered.
    pub const SERVER: Self = Self::of("");

    /// How many there are: the list and `other`.
    pub(super) const COUNT: usize = PLUGINS.len() + 1;

    /// The label of a plugin, given by its name; unknown ones share `other`, and the empty name is the server's.
    ///
    /// What always writes as the same plugin can have it made when compiling.
    pub const fn of(plugin: &str) -> Self {
        // Lengths differ mostly, and who answers nearly everything is found in the first few comparisons.
        let mut place = 0;
        while place < PLUGINS.len() && !is_same(PLUGINS[place], plugin) {
            place += 1;
        }
        Self(place as u8)
    }

    /// Its place among [`Self::COUNT`].
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// `a == b`, which cannot be written so when compiling.
const fn is_same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// The label at a place of [`PluginLabel::index`].
pub(super) fn plugin_label(index: usize) -> &'static str {
    PLUGINS.get(index).copied().unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_the_labels_of_coredns() {
        for (qtype, want) in [
            (1, "A"),
            (28, "AAAA"),
            (12, "PTR"),
            (33, "SRV"),
            (16, "TXT"),
            (65, "HTTPS"),
            (64, "SVCB"),
            (252, "AXFR"),
            (255, "ANY"),
            (0, "other"),
            (13, "other"),
            (257, "other"),
            (65_535, "other"),
        ] {
            assert_eq!(type_label(type_index(qtype)), want, "{qtype}");
        }
        assert!((0..=u16::MAX).all(|qtype| type_index(qtype) < TYPE_COUNT));
    }

    #[test]
    fn rcodes_have_the_labels_of_coredns() {
        for (rcode, want) in [
            (0, "NOERROR"),
            (2, "SERVFAIL"),
            (3, "NXDOMAIN"),
            (5, "REFUSED"),
            (11, "DSOTYPENI"),
            (12, "RCODE12"),
            (16, "BADVERS"),
            (23, "BADCOOKIE"),
            (24, "other"),
            (4_095, "other"),
        ] {
            assert_eq!(rcode_label(rcode_index(rcode)), want, "{rcode}");
        }
    }

    #[test]
    fn plugins_have_their_names() {
        for name in PLUGINS {
            assert_eq!(plugin_label(PluginLabel::of(name).index()), name);
        }
        for name in ["unheard-of", "cach", "caches", "Cache"] {
            assert_eq!(plugin_label(PluginLabel::of(name).index()), "other", "{name}");
        }
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        for (address, want) in [("10.0.0.1", "1"), ("::ffff:10.0.0.1", "1"), ("fd00::1", "2")] {
            assert_eq!(Family::from(address.parse::<IpAddr>().unwrap()).label(), want, "{address}");
        }
    }
}
