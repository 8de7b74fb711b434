//! TO of the Corefile: where an upstream is, and whether TLS is spoken there. Pure.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;

/// Port of upstreams that name none.
const PORT: u16 = 53;

/// Port of upstreams within TLS that name none (RFC 7858 §3.1).
const TLS_PORT: u16 = 853;

/// An upstream as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it is.
    pub place: Place,
    /// What is spoken there.
    pub security: Security,
}

/// Where an upstream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// At this address.
    Address(SocketAddr),
    /// At the addresses of a host, which are looked up once.
    Host {
        /// Its name.
        name: String,
        /// The port at each address.
        port: u16,
    },
    /// At the name servers that a file lists, which has none yet: it is read again until it does.
    File(PathBuf),
}

/// What is spoken with an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// DNS over UDP and TCP.
    Plain,
    /// DNS over TLS (RFC 7858).
    Tls {
        /// What its certificate has to be for; `None`: what is configured for all, or where it is.
        name: Option<String>,
    },
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self { place: Place::Address(address), security: Security::Plain }
    }
}

/// What a word of TO is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word<'a> {
    /// An address.
    Target(Target),
    /// No address: a file or, if there is none, the name of a host; as which it stands here, if it can be one.
    Other {
        /// The word without its scheme.
        text: &'a str,
        /// The host.
        host: Option<Target>,
    },
    /// An upstream of a kind that is not spoken: `https`, `grpc`, …
    Scheme(&'a str),
}

/// Reads a word of TO; `interface` gives the index of an interface by its name, for addresses such as
/// `fe80::1%eth0` (RFC 4007 §11).
pub fn parse(word: &str, interface: impl Fn(&str) -> Option<u32>) -> Word<'_> {
    let (tls, text) = match word.split_once("://") {
        None => (false, word),
        Some(("dns", text)) => (false, text),
        Some(("tls", text)) => (true, text),
        Some((scheme, _)) => return Word::Scheme(scheme),
    };
    let default = if tls { TLS_PORT } else { PORT };
    // Behind `%` stands a server's name, or an interface, and behind that the port.
    let (host, named, port) = match text.split_once('%') {
        Some((host, named)) if tls => {
            let (named, port) = split_port(named);
            (bare(host), Some(named), port)
        }
        _ => {
            let (host, port) = split_port(text);
            (host, None, port)
        }
    };
    let port = match port {
        None => default,
        Some(port) => match port.parse() {
            Ok(port) => port,
            Err(_) => return Word::Other { text, host: None },
        },
    };
    let security = match named {
        _ if !tls => Security::Plain,
        named => Security::Tls { name: named.map(str::to_owned) },
    };
    if let Some(address) = address(host, port, interface) {
        return Word::Target(Target { place: Place::Address(address), security });
    }
    let host = is_host(host).then(|| {
        let place = Place::Host { name: host.to_owned(), port };
        Target { place, security }
    });
    Word::Other { text, host }
}

/// Host and port of `host`, `host:port`, `v6`, `[v6]` and `[v6]:port`.
fn split_port(text: &str) -> (&str, Option<&str>) {
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        return (host, rest.strip_prefix(':').or((!rest.is_empty()).then_some(rest)));
    }
    match text.rsplit_once(':') {
        // More than one colon is an IPv6 address.
        Some((host, port)) if !host.contains(':') => (host, Some(port)),
        _ => (text, None),
    }
}

fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn address(host: &str, port: u16, interface: impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    let Some((ip, zone)) = host.split_once('%') else {
        return host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port));
    };
    let index = interface(zone).or_else(|| zone.parse().ok())?;
    Some(SocketAddrV6::new(ip.parse::<Ipv6Addr>().ok()?, port, 0, index).into())
}

/// Whether it can be a host's name (RFC 1123 §2.1); one that ends in a number is a mistyped address.
fn is_host(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= 253
        && name.split('.').all(label)
        && name.rsplit('.').next().is_some_and(|last| last.bytes().any(|b| b.is_ascii_alphabetic()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn eth0(name: &str) -> Option<u32> {
        (name == "eth0").then_some(7)
    }

    /// A word in short: `192.0.2.1:53`, `tls 192.0.2.1:853 name`, `host …`, or what it is instead.
    fn short(word: &str) -> String {
        let target = |Target { place, security }: Target| {
            let place = match place {
                Place::Address(address) => address.to_string(),
                Place::Host { name, port } => format!("host {name}:{port}"),
                Place::File(path) => format!("file {}", path.display()),
            };
            match security {
                Security::Plain => place,
                Security::Tls { name: None } => format!("tls {place}"),
                Security::Tls { name: Some(name) } => format!("tls {place} {name}"),
            }
        };
        match parse(word, eth0) {
            Word::Target(found) => target(found),
            Word::Other { text, host: Some(host) } => format!("{text} or {}", target(host)),
            Word::Other { text, host: None } => format!("{text} only"),
            Word::Scheme(scheme) => format!("{scheme}?"),
        }
    }

    #[test]
    fn words_are_addresses_or_something_else() {
        for (word, want) in [
            ("192.0.2.1", "192.0.2.1:53"),
            ("192.0.2.1:5353", "192.0.2.1:5353"),
            ("dns://192.0.2.1", "192.0.2.1:53"),
            ("dns://[fd00::1]:54", "[fd00::1]:54"),
            ("fd00::1", "[fd00::1]:53"),
            ("[fd00::1]", "[fd00::1]:53"),
            ("fe80::1%eth0", "[fe80::1%7]:53"),
            ("[fe80::1%eth0]:54", "[fe80::1%7]:54"),
            ("tls://192.0.2.1", "tls 192.0.2.1:853"),
            ("tls://192.0.2.1:8853", "tls 192.0.2.1:8853"),
            ("tls://192.0.2.1%dns.example", "tls 192.0.2.1:853 dns.example"),
            ("tls://192.0.2.1%dns.example:8853", "tls 192.0.2.1:8853 dns.example"),
            ("tls://[fd00::1]%dns.example:8853", "tls [fd00::1]:8853 dns.example"),
            ("tls://fd00::1%dns.example", "tls [fd00::1]:853 dns.example"),
            ("tls://[fd00::1]:8853", "tls [fd00::1]:8853"),
            ("tls://dns.example", "dns.example or tls host dns.example:853"),
            ("dns.example:54", "dns.example:54 or host dns.example:54"),
            ("dns.example.", "dns.example. or host dns.example.:53"),
            ("/etc/resolv.conf", "/etc/resolv.conf only"),
            ("192.0.2.256", "192.0.2.256 only"),
            ("192.0.2.1:99999", "192.0.2.1:99999 only"),
            ("[fd00::1]x", "[fd00::1]x only"),
            ("", " only"),
            ("https://192.0.2.1", "https?"),
            ("grpc://192.0.2.1", "grpc?"),
        ] {
            assert_eq!(short(word), want, "{word}");
        }
    }

    proptest! {
        #[test]
        fn any_address_is_read_as_written(address: SocketAddr) {
            let address = match address {
                SocketAddr::V6(v6) => SocketAddr::new((*v6.ip()).into(), v6.port()),
                v4 => v4,
            };
            let word = address.to_string();
            prop_assert_eq!(parse(&word, eth0), Word::Target(address.into()));
        }

        #[test]
        fn no_word_makes_it_panic(word in "[ -~]{0,20}") {
            let _ = parse(&word, eth0);
        }
    }
}
