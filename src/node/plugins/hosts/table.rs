//! Names and addresses in the form of hosts(5): reading them, and looking them up.
//!
//! ```text
//! 192.0.2.10  www.example.org www     # and so on
//! 192.0.2.20  *.apps.example.org
//! ```

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::Name;

use crate::zone::name::Labels;

/// The longest name on the wire, RFC 1035 §2.3.4.
const MAX_NAME: usize = 255;

/// Most entries of a text: names, addresses and reverse names together. The largest lists of blocked names have
/// some 300,000 names; this many entries cost some 200 MiB.
pub(super) const MAX_ENTRIES: usize = 1_000_000;

/// Most names that an address leads back to: more have no room in a reply, and lists of blocked names have all of
/// theirs at one address.
const MAX_NAMES: usize = 1000;

/// What is taken of a text.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    /// Names outside of these zones are left out.
    pub(super) zones: Vec<Labels>,
    /// Whether addresses lead back to their names.
    pub(super) reverse: bool,
    /// The most entries; see [`MAX_ENTRIES`].
    pub(super) max: usize,
}

/// The addresses of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    /// IPv4 addresses, in the order of the text, each once.
    pub(super) v4: Vec<Ipv4Addr>,
    /// The same, IPv6.
    pub(super) v6: Vec<Ipv6Addr>,
}

/// Names with their addresses, and addresses with their names.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    /// By name as on the wire, in lower case.
    by_name: HashMap<Box<[u8]>, Addresses>,
    /// Names in lower case, in the order of the text.
    by_address: HashMap<IpAddr, Vec<Name>>,
    /// How many addresses of names and names of addresses there are.
    entries: usize,
}

/// A text has more entries than it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: there are more than {max} names and addresses")]
pub(super) struct TooMany {
    /// How many there may be.
    max: usize,
    /// Where the limit is passed, counted from 1.
    line: usize,
}

impl Scope {
    /// Reads a text. Lines that are no entries are passed over, as every reader of such files does: they are shared
    /// with programs that know more forms.
    pub(super) fn read(&self, text: &str) -> Result<Hosts, TooMany> {
        let mut hosts = Hosts::default();
        for (line, text) in (1..).zip(text.lines()) {
            let entry = text.split('#').next().unwrap_or_default();
            let mut words = entry.split_whitespace();
            let Some(ip) = words.next().and_then(address) else { continue };
            for name in words.filter_map(|word| Labels::parse(word).ok()) {
                if self.zones.iter().any(|zone| name.is_within(zone)) {
                    hosts.add(ip, &name, self.reverse);
                }
            }
            if hosts.entries > self.max {
                return Err(TooMany { max: self.max, line });
            }
        }
        Ok(hosts)
    }
}

impl Hosts {
    /// How many addresses of names and names of addresses there are.
    pub(super) const fn entries(&self) -> usize {
        self.entries
    }

    /// The addresses of exactly this name.
    pub(super) fn exact(&self, key: &Key) -> Option<&Addresses> {
        self.by_name.get(key.bytes())
    }

    /// The names of an address, in the order of the text.
    pub(super) fn names(&self, ip: IpAddr) -> &[Name] {
        self.by_address.get(&ip).map(Vec::as_slice).unwrap_or_default()
    }

    fn add(&mut self, ip: IpAddr, name: &Labels, reverse: bool) {
        let addresses = self.by_name.entry(Key::of(name).bytes().into()).or_default();
        let is_new = match ip {
            IpAddr::V4(ip) => push_once(&mut addresses.v4, ip),
            IpAddr::V6(ip) => push_once(&mut addresses.v6, ip),
        };
        // The way back is as new as the way there, and needs no search among all names of the address.
        if !is_new {
            return;
        }
        self.entries += 1;
        let is_wildcard = !name.is_empty() && name.get(0) == b"*";
        if !reverse || is_wildcard {
            return;
        }
        let names = self.by_address.entry(ip).or_default();
        if names.len() < MAX_NAMES
            && let Ok(mut name) = Name::from_labels(name.iter())
        {
            name.set_fqdn(true);
            names.push(name);
            self.entries += 1;
        }
    }
}

/// Adds what is not there yet; whether it was not.
fn push_once<T: PartialEq>(list: &mut Vec<T>, item: T) -> bool {
    let is_new = !list.contains(&item);
    if is_new {
        list.push(item);
    }
    is_new
}

/// An address without its zone (RFC 4007 §11), which means nothing to clients.
pub(super) fn address(word: &str) -> Option<IpAddr> {
    let bare = word.split('%').next().unwrap_or_default();
    bare.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// A name to look up: as on the wire, in lower case and on the stack.
pub(super) struct Key {
    /// The bytes.
    bytes: [u8; MAX_NAME],
    /// How many of them count.
    len: usize,
}

impl Key {
    /// The key of a name.
    pub(super) fn of(name: &Labels) -> Self {
        let mut key = Self { bytes: [0; MAX_NAME], len: 0 };
        name.iter().for_each(|label| key.push(label));
        key
    }

    /// The key of the wildcard that a name falls under: `*` and all labels but the first. `None` for the root.
    pub(super) fn of_wildcard(name: &Labels) -> Option<Self> {
        let mut labels = name.iter();
        labels.next()?;
        let mut key = Self { bytes: [0; MAX_NAME], len: 0 };
        key.push(b"*");
        labels.for_each(|label| key.push(label));
        Some(key)
    }

    fn push(&mut self, label: &[u8]) {
        let end = self.len + 1 + label.len();
        // A name that `Labels` has taken fits, and so does one whose first label is shorter.
        if let Some([length, place @ ..]) = self.bytes.get_mut(self.len..end) {
            *length = label.len() as u8;
            place.copy_from_slice(label);
            self.len = end;
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Labels {
        Labels::parse(text).unwrap()
    }

    fn scope(zones: &[&str], reverse: bool) -> Scope {
        Scope { zones: zones.iter().map(|z| name(z)).collect(), reverse, max: MAX_ENTRIES }
    }

    fn addresses(hosts: &Hosts, name: &str) -> Option<String> {
        let found = hosts.exact(&Key::of(&self::name(name)))?;
        let v4 = found.v4.iter().map(ToString::to_string);
        Some(v4.chain(found.v6.iter().map(ToString::to_string)).collect::<Vec<_>>().join(" "))
    }

    fn names(hosts: &Hosts, ip: &str) -> String {
        hosts.names(ip.parse().unwrap()).iter().map(Name::to_ascii).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_text_is_read() {
        let text = "# a comment\n192.0.2.1 A.Example b.example. # c.example\n\n\t192.0.2.2\ta.example\r\n\
                    2001:db8::1 a.example\nfe80::1%eth0 link.example\n::ffff:192.0.2.3 mapped.example\n\
                    192.0.2.1 a.example\nnonsense d.example\n192.0.2.4\n192.0.2.5 e..example f.example\n\
                    192.0.2.6 a.test *.example\n";
        let hosts = scope(&["example"], true).read(text).unwrap();
        for (name, want) in [
            ("a.example", Some("192.0.2.1 192.0.2.2 2001:db8::1")),
            ("b.example", Some("192.0.2.1")),
            ("c.example", None),
            ("d.example", None),
            ("link.example", Some("fe80::1")),
            ("mapped.example", Some("192.0.2.3")),
            ("f.example", Some("192.0.2.5")),
            ("a.test", None),
            ("*.example", Some("192.0.2.6")),
            ("example", None),
            ("ab.example", None),
        ] {
            assert_eq!(addresses(&hosts, name).as_deref(), want, "{name}");
        }
        for (ip, want) in [
            ("192.0.2.1", "a.example. b.example."),
            ("192.0.2.2", "a.example."),
            ("2001:db8::1", "a.example."),
            ("192.0.2.3", "mapped.example."),
            ("192.0.2.6", ""),
        ] {
            assert_eq!(names(&hosts, ip), want, "{ip}");
        }
        // Seven addresses of names, of which the wildcard's leads back to no name, and `b.example`'s.
        assert_eq!(hosts.entries(), 8 + 7);
        assert_eq!(scope(&["example"], false).read(text).unwrap().entries(), 8);
    }

    /// A list of blocked names: what it costs must not grow with the square of their number.
    #[test]
    fn an_address_of_very_many_names() {
        let text: String = (0..100_000).map(|i| format!("0.0.0.0 n{i}.example\n")).collect();
        let hosts = scope(&["."], true).read(&text).unwrap();
        assert_eq!(addresses(&hosts, "n99999.example").as_deref(), Some("0.0.0.0"));
        assert_eq!(hosts.names("0.0.0.0".parse().unwrap()).len(), MAX_NAMES);
        assert_eq!(hosts.entries(), 100_000 + MAX_NAMES);
    }

    #[test]
    fn labels_are_told_apart() {
        let hosts = scope(&["."], true).read("192.0.2.1 ab.c\n192.0.2.2 a.bc").unwrap();
        assert_eq!(addresses(&hosts, "ab.c").as_deref(), Some("192.0.2.1"));
        assert_eq!(addresses(&hosts, "a.bc").as_deref(), Some("192.0.2.2"));
        assert_eq!(addresses(&hosts, "abc"), None);
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        for (name, want) in [("a.b.c", Some("*.b.c")), ("c", Some("*")), (".", None)] {
            let key = Key::of_wildcard(&self::name(name));
            let want = want.map(|want| Key::of(&self::name(want)).bytes().to_vec());
            assert_eq!(key.map(|key| key.bytes().to_vec()), want, "{name}");
        }
    }

    #[test]
    fn the_longest_name_has_a_key() {
        let long = [&"x".repeat(63)[..]; 3].join(".") + "." + &"x".repeat(61);
        let hosts = scope(&["."], true).read(&format!("192.0.2.1 {long}")).unwrap();
        assert_eq!(addresses(&hosts, &long).as_deref(), Some("192.0.2.1"));
    }

    #[test]
    fn entries_are_bounded() {
        let scope = |reverse, max| Scope { max, ..scope(&["."], reverse) };
        let text = "10.0.0.1 a\n10.0.0.2 b\n10.0.0.2 b\n";
        let error = scope(true, 3).read(text).unwrap_err();
        assert_eq!(error.to_string(), "line 2: there are more than 3 names and addresses");
        assert!(scope(true, 4).read(text).is_ok() && scope(false, 2).read(text).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in r"([a-z0-9.:#%* \n]|\PC){0,60}") {
            let _ = scope(&["."], true).read(&text);
        }
    }
}
