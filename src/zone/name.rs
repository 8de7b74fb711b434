//! Names as questions ask them: labels in lower case, and what a name under a zone asks for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest name on the wire, RFC 1035 §2.3.4.
const MAX_NAME: usize = 255;

/// The most labels that fit into [`MAX_NAME`] bytes.
const MAX_LABELS: usize = 127;

/// A name in lower case, held in place: making one allocates nothing.
#[derive(Clone)]
pub struct Labels {
    /// The labels' bytes, one after the other.
    bytes: [u8; MAX_NAME],
    /// Where each label ends in `bytes`.
    ends: [u8; MAX_LABELS],
    /// How many labels there are; the root has none.
    count: u8,
}

/// A name is longer than RFC 1035 §2.3.4 allows, or a label is empty or over 63 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a domain name: a label has 1 to 63 bytes and a name at most 255")]
pub struct NotAName;

impl Labels {
    /// The root: no labels.
    pub const fn root() -> Self {
        Self { bytes: [0; MAX_NAME], ends: [0; MAX_LABELS], count: 0 }
    }

    /// Collects labels from left to right and lowers ASCII letters.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, NotAName> {
        let mut name = Self::root();
        let mut end = 0;
        for label in labels {
            let start = end;
            end += label.len();
            // On the wire each label has a length byte and the root one of its own.
            let wire = end + usize::from(name.count) + 2;
            if label.is_empty() || label.len() > 63 || wire > MAX_NAME {
                return Err(NotAName);
            }
            // Labels are short: a loop is ahead of copying and lowering in blocks.
            for (to, from) in name.bytes[start..end].iter_mut().zip(label) {
                *to = from.to_ascii_lowercase();
            }
            name.ends[usize::from(name.count)] = end as u8;
            name.count += 1;
        }
        Ok(name)
    }

    /// Reads presentation form without escapes, with or without the final dot.
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        match text.strip_suffix('.').unwrap_or(text) {
            "" => Ok(Self::root()),
            text => Self::from_labels(text.split('.').map(str::as_bytes)),
        }
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether this is the root.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The label at `index` from the left.
    ///
    /// # Panics
    /// If there is no such label.
    pub fn get(&self, index: usize) -> &[u8] {
        assert!(index < self.len(), "label index within the name");
        let start = index.checked_sub(1).map_or(0, |i| self.ends[i]);
        &self.bytes[usize::from(start)..usize::from(self.ends[index])]
    }

    /// The labels from left to right.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator + Clone {
        (0..self.len()).map(|i| self.get(i))
    }

    /// The labels' bytes without separators: something to hash.
    pub fn key(&self) -> &[u8] {
        let end = self.count.checked_sub(1).map_or(0, |last| self.ends[usize::from(last)]);
        &self.bytes[..usize::from(end)]
    }

    /// Whether this is `zone` or below it.
    pub fn is_within(&self, zone: &Self) -> bool {
        let Some(front) = self.len().checked_sub(zone.len()) else { return false };
        let skipped = front.checked_sub(1).map_or(0, |last| self.ends[last]);
        // The same bytes, and the same bounds between them; mostly not even as many bytes.
        let rest = self.key().get(usize::from(skipped)..).unwrap_or_default();
        rest == zone.key()
            && self.ends[front..self.len()]
                .iter()
                .zip(&zone.ends)
                .all(|(end, theirs)| end.wrapping_sub(skipped) == *theirs)
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.is_within(other)
    }
}

impl Eq for Labels {}

impl std::fmt::Display for Labels {
    /// Presentation form with the final dot; bytes outside of letters, digits, `-`, `_` and `*` as `\DDD`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_empty() {
            return f.write_str(".");
        }
        for label in self.iter() {
            for &byte in label {
                match byte {
                    b if b.is_ascii_alphanumeric() || b"-_*/".contains(&b) => write!(f, "{}", char::from(b))?,
                    b => write!(f, "\\{b:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Labels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// What a name below a cluster zone asks for: the labels left of the zone, taken apart.
///
/// Kubernetes DNS specification 1.1.0, and what CoreDNS makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'q> {
    /// The zone itself.
    Apex,
    /// A name that exists only because there are names below it: `svc`, `pod`, `dns`.
    Between,
    /// `ns.dns`: the name server itself.
    NameServer,
    /// `dns-version`
    Version,
    /// `NS.svc`
    ServiceNamespace(&'q [u8]),
    /// `NS.pod`
    PodNamespace(&'q [u8]),
    /// `SVC.NS.svc`
    Service(ServiceName<'q>),
    /// `ENDPOINT.SVC.NS.svc`
    Endpoint(ServiceName<'q>, &'q [u8]),
    /// `PORT.PROTOCOL.SVC.NS.svc`, one leading underscore removed from each.
    Port(ServiceName<'q>, PortFilter<'q>),
    /// `POD.NS.pod`
    Pod {
        /// The namespace.
        namespace: &'q [u8],
        /// The dashed address.
        pod: &'q [u8],
    },
    /// Nothing that could exist.
    Nothing,
}

/// A service by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceName<'q> {
    /// The namespace.
    pub namespace: &'q [u8],
    /// The service.
    pub service: &'q [u8],
}

/// Which ports a name asks for; an empty part matches any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortFilter<'q> {
    /// The port's name.
    pub port: &'q [u8],
    /// Its protocol.
    pub protocol: &'q [u8],
}

impl<'q> Subject<'q> {
    /// Takes apart the labels of `name` left of a zone of `zone` labels.
    pub fn of(name: &'q Labels, zone: usize) -> Self {
        let left = name.len().saturating_sub(zone);
        let label = |i: usize| name.get(i);
        let Some(last) = left.checked_sub(1) else { return Self::Apex };
        match (label(last), left) {
            (b"svc" | b"pod" | b"dns", 1) => Self::Between,
            (b"dns-version", 1) => Self::Version,
            (b"dns", 2) if label(0) == b"ns" => Self::NameServer,
            (b"svc", 2) => Self::ServiceNamespace(label(0)),
            (b"pod", 2) => Self::PodNamespace(label(0)),
            (b"pod", 3) => Self::Pod { namespace: label(1), pod: label(0) },
            (b"svc", 3..=5) => {
                let service = ServiceName { namespace: label(left - 2), service: label(left - 3) };
                match left {
                    3 => Self::Service(service),
                    4 => Self::Endpoint(service, label(0)),
                    _ => {
                        let filter = PortFilter { port: bare(label(0)), protocol: bare(label(1)) };
                        Self::Port(service, filter)
                    }
                }
            }
            _ => Self::Nothing,
        }
    }
}

/// A label without one leading underscore.
fn bare(label: &[u8]) -> &[u8] {
    label.strip_prefix(b"_").unwrap_or(label)
}

/// The address that a reverse name spells in full: four decimal labels under `in-addr.arpa` (RFC 1035 §3.5),
/// 32 hexadecimal ones under `ip6.arpa` (RFC 3596 §2.5).
pub fn reverse_address(name: &Labels) -> Option<IpAddr> {
    let label = |i: usize| name.get(i);
    let count = name.len();
    if count < 2 || label(count - 1) != b"arpa" {
        return None;
    }
    match (label(count - 2), count) {
        (b"in-addr", 6) => {
            let mut octets = [0; 4];
            for (i, octet) in octets.iter_mut().rev().enumerate() {
                *octet = decimal(label(i))?;
            }
            Some(IpAddr::V4(Ipv4Addr::from(octets)))
        }
        (b"ip6", 34) => {
            let mut bits = 0u128;
            for i in 0..32 {
                let [digit] = label(i) else { return None };
                bits |= u128::from(char::from(*digit).to_digit(16)?) << (4 * i);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bits)))
        }
        _ => None,
    }
}

/// 0 to 255 without leading zeros.
fn decimal(label: &[u8]) -> Option<u8> {
    let canonical = label.len() == 1 || label.first() != Some(&b'0');
    let digits = label.iter().all(u8::is_ascii_digit);
    if !canonical || !digits || label.len() > 3 {
        return None;
    }
    std::str::from_utf8(label).ok()?.parse().ok()
}

/// The address that a pod label spells: with exactly three dashes and no two in a row an IPv4 address, else
/// an IPv6 one. An IPv4-mapped address counts as the IPv4 address in it.
pub fn pod_address(label: &[u8]) -> Option<IpAddr> {
    let label = std::str::from_utf8(label).ok()?;
    let dashes = label.bytes().filter(|b| *b == b'-').count();
    if dashes == 3 && !label.contains("--") {
        let mut octets = [0; 4];
        for (octet, part) in octets.iter_mut().zip(label.split('-')) {
            *octet = decimal(part.as_bytes())?;
        }
        return Some(IpAddr::V4(Ipv4Addr::from(octets)));
    }
    // Long enough for every spelling of an IPv6 address; on the stack, because this is the query path.
    let mut text = [0; 45];
    let text = text.get_mut(..label.len())?;
    for (to, from) in text.iter_mut().zip(label.bytes()) {
        *to = if from == b'-' { b':' } else { from };
    }
    let address: Ipv6Addr = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4))
}

/// The label that an address makes: `.` and `:` become `-`, and a final `-` gets a `0`.
pub struct Dashed {
    /// Its bytes; the longest is an IPv6 address with an embedded IPv4 one.
    bytes: [u8; 46],
    /// How many of them count.
    len: usize,
}

impl Dashed {
    /// The label of `address` in its canonical form.
    pub fn of(address: IpAddr) -> Self {
        let mut dashed = Self { bytes: [0; 46], len: 0 };
        // Writing to the array cannot fail: an address never needs more room than it has.
        let _ = std::fmt::Write::write_fmt(&mut dashed, format_args!("{address}"));
        dashed.finish()
    }

    /// The label of an address in the API's own spelling.
    pub fn of_spelling(spelling: &str) -> Self {
        let mut dashed = Self { bytes: [0; 46], len: 0 };
        let _ = std::fmt::Write::write_str(&mut dashed, spelling);
        dashed.finish()
    }

    fn finish(mut self) -> Self {
        if self.len > 0 && self.bytes[self.len - 1] == b'-' && self.len < self.bytes.len() {
            self.bytes[self.len] = b'0';
            self.len += 1;
        }
        self
    }

    /// The label's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl std::fmt::Write for Dashed {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for byte in text.bytes() {
            let place = self.bytes.get_mut(self.len).ok_or(std::fmt::Error)?;
            *place = if matches!(byte, b'.' | b':') { b'-' } else { byte.to_ascii_lowercase() };
            self.len += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Labels {
        Labels::parse(text).unwrap()
    }

    #[test]
    fn subjects() {
        let web = ServiceName { namespace: b"shop", service: b"web" };
        let port = |port, protocol| Subject::Port(web, PortFilter { port, protocol });
        for (text, want) in [
            ("cluster.local.", Subject::Apex),
            ("svc.cluster.local.", Subject::Between),
            ("POD.cluster.local.", Subject::Between),
            ("dns.cluster.local.", Subject::Between),
            ("ns.dns.cluster.local.", Subject::NameServer),
            ("x.dns.cluster.local.", Subject::Nothing),
            ("x.ns.dns.cluster.local.", Subject::Nothing),
            ("dns-version.cluster.local.", Subject::Version),
            ("a.dns-version.cluster.local.", Subject::Nothing),
            ("shop.svc.cluster.local.", Subject::ServiceNamespace(b"shop")),
            ("shop.pod.cluster.local.", Subject::PodNamespace(b"shop")),
            ("Web.Shop.svc.cluster.local.", Subject::Service(web)),
            ("a.web.shop.svc.cluster.local.", Subject::Endpoint(web, b"a")),
            ("_tcp.web.shop.svc.cluster.local.", Subject::Endpoint(web, b"_tcp")),
            ("_http._tcp.web.shop.svc.cluster.local.", port(b"http", b"tcp")),
            ("http.tcp.web.shop.svc.cluster.local.", port(b"http", b"tcp")),
            ("_._.web.shop.svc.cluster.local.", port(b"", b"")),
            ("a.b.c.web.shop.svc.cluster.local.", Subject::Nothing),
            ("10-0-0-1.shop.pod.cluster.local.", Subject::Pod { namespace: b"shop", pod: b"10-0-0-1" }),
            ("x.10-0-0-1.shop.pod.cluster.local.", Subject::Nothing),
            ("example.com.cluster.local.", Subject::Nothing),
        ] {
            assert_eq!(Subject::of(&name(text), 2), want, "{text}");
        }
    }

    #[test]
    fn reverse_names() {
        for (text, want) in [
            ("20.14.96.10.in-addr.arpa.", Some("10.96.14.20")),
            ("20.14.96.10.IN-ADDR.arpa.", Some("10.96.14.20")),
            ("020.14.96.10.in-addr.arpa.", None),
            ("256.14.96.10.in-addr.arpa.", None),
            ("14.96.10.in-addr.arpa.", None),
            ("1.20.14.96.10.in-addr.arpa.", None),
            ("in-addr.arpa.", None),
            ("arpa.", None),
            (".", None),
            (
                "e.1.e.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.d.f.ip6.arpa.",
                Some("fd10:96::e1e"),
            ),
            ("x.1.e.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.d.f.ip6.arpa.", None),
        ] {
            assert_eq!(reverse_address(&name(text)), want.map(|w| w.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn pod_labels() {
        for (label, want) in [
            ("10-244-5-9", Some("10.244.5.9")),
            ("fd10-244-5--9", Some("fd10:244:5::9")),
            ("--1", Some("::1")),
            ("--ffff-a00-1", Some("10.0.0.1")),
            ("2001-db8--1", Some("2001:db8::1")),
            ("fe80-0-0-1", None),
            ("256-1-1-1", None),
            ("010-1-2-3", None),
            ("probe", None),
            ("", None),
        ] {
            assert_eq!(pod_address(label.as_bytes()), want.map(|w| w.parse().unwrap()), "{label}");
        }
    }

    #[test]
    fn dashed_labels() {
        for (address, want) in [
            ("10.0.0.1", "10-0-0-1"),
            ("fd00::", "fd00--0"),
            ("::1", "--1"),
            ("fd10:244:1::15", "fd10-244-1--15"),
        ] {
            assert_eq!(Dashed::of(address.parse().unwrap()).as_bytes(), want.as_bytes());
        }
        assert_eq!(Dashed::of_spelling("FD00:0:0::1").as_bytes(), b"fd00-0-0--1");
        assert_eq!(Dashed::of_spelling(&"x".repeat(300)).as_bytes().len(), 46);
    }

    #[test]
    fn names_have_limits() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert!(Labels::parse(&longest).is_ok());
        assert!(Labels::parse(&format!("{longest}a")).is_err());
        assert!(Labels::parse(&format!("{label}a")).is_err());
        assert!(Labels::parse("a..b").is_err());
        assert!(Labels::parse(&vec!["a"; 127].join(".")).is_ok());
        assert!(Labels::parse(&vec!["a"; 128].join(".")).is_err());
    }

    #[test]
    fn suffixes_align_with_labels() {
        let zone = name("cluster.local.");
        assert!(name("a.cluster.LOCAL.").is_within(&zone) && zone.is_within(&zone));
        assert!(!name("acluster.local.").is_within(&zone) && !name("local.").is_within(&zone));
        assert!(zone.is_within(&Labels::root()));
    }

    proptest! {
        #[test]
        fn any_label_is_taken_apart_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = pod_address(&bytes);
            if let Ok(name) = Labels::from_labels([bytes.as_slice(), b"shop", b"svc", b"cluster", b"local"]) {
                let _ = Subject::of(&name, 2);
                let _ = reverse_address(&name);
            }
        }

        #[test]
        fn reverse_names_and_pod_labels_round_trip(v4 in any::<[u8; 4]>(), v6 in any::<u128>()) {
            let ip = IpAddr::from(v4);
            prop_assert_eq!(pod_address(Dashed::of(ip).as_bytes()), Some(ip));
            let v6 = Ipv6Addr::from(v6);
            if v6.to_ipv4_mapped().is_none() && v6.to_ipv4().is_none() {
                prop_assert_eq!(pod_address(Dashed::of(IpAddr::V6(v6)).as_bytes()), Some(IpAddr::V6(v6)));
            }
            let digits: Vec<String> =
                v6.octets().iter().flat_map(|o| [o >> 4, o & 15]).rev().map(|d| format!("{d:x}")).collect();
            let reverse = format!("{}.ip6.arpa.", digits.join("."));
            prop_assert_eq!(reverse_address(&name(&reverse)), Some(IpAddr::V6(v6)));
        }
    }
}
