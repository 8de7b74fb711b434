//! Keys of server blocks: `[SCHEME://]ZONE[:PORT]`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::error::{Error, Position};
use super::reverse::reverse_zones;
use super::token::Token;
use super::{Warning, name};

/// The transport that a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// UDP and TCP (RFC 1035).
    Dns,
    /// DNS over TLS (RFC 7858).
    Tls,
    /// DNS over HTTPS (RFC 8484).
    Https,
    /// DNS over HTTPS on HTTP/3.
    Https3,
    /// DNS over QUIC (RFC 9250).
    Quic,
    /// CoreDNS's own gRPC service.
    Grpc,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Self; 6] = [Self::Dns, Self::Tls, Self::Https, Self::Https3, Self::Quic, Self::Grpc];

    /// What stands before `://`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Https => "https",
            Self::Https3 => "https3",
            Self::Quic => "quic",
            Self::Grpc => "grpc",
        }
    }

    /// The port of a key that names none, unless a flag changes it for [`Self::Dns`].
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Dns => 53,
            Self::Tls | Self::Quic => 853,
            Self::Https | Self::Https3 | Self::Grpc => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a server block is responsible for, and on which port. Prints as `dns://example.org.:53`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerKey {
    /// The transport.
    pub scheme: Scheme,
    /// The zone, lower-case and absolute; `.` is the root.
    pub zone: String,
    /// The port; 0 lets the system choose one.
    pub port: u16,
    /// As it was written, environment variables expanded.
    pub text: String,
    /// Where it was written.
    pub position: Position,
}

impl fmt::Display for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.zone, self.port)
    }
}

impl ServerKey {
    /// Reads a key; a prefix gives one key for each of its reverse zones. `dns_port` is the port of a `dns`
    /// key that names none.
    pub(super) fn parse(
        token: &Token,
        dns_port: u16,
        warnings: &mut Vec<Warning>,
    ) -> Result<Vec<Self>, Error> {
        let (scheme, rest) = split_scheme(&token.text).map_err(|why| token.error(why))?;
        let (zone, port) = split_port(rest).map_err(|why| token.error(why))?;
        let port = port.unwrap_or(if scheme == Scheme::Dns { dns_port } else { scheme.default_port() });
        if zone.parse::<Ipv4Addr>().is_ok() {
            warnings.push(Warning {
                position: token.position.clone(),
                text: format!(
                    "the key '{}' is taken as a domain name, not as an address: to listen on an address write \
                     'bind {zone}' in the block, for its reverse zone write {zone}/32",
                    token.text
                ),
            });
        }
        let zones = zones(zone).map_err(|why| token.error(why))?;
        let key =
            |zone| Self { scheme, zone, port, text: token.text.clone(), position: token.position.clone() };
        Ok(zones.into_iter().map(key).collect())
    }
}

/// The zones that `text` names: one domain name, or the reverse zones of a prefix.
pub(super) fn zones(text: &str) -> Result<Vec<String>, String> {
    match prefix(text)? {
        Some(prefix) => Ok(reverse_zones(prefix)),
        None if text.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) => Err(format!(
            "'{text}' is an address, not a zone: write a prefix such as {text}/128 for its reverse zone"
        )),
        None => Ok(vec![name::normalize(text)?]),
    }
}

/// The prefix that `text` is, or `None` if it is something else. A slash alone does not make one: zones of
/// classless delegations (RFC 2317) have it in their names.
fn prefix(text: &str) -> Result<Option<IpNet>, String> {
    let Some((address, _)) = text.split_once('/') else { return Ok(None) };
    let Ok(ip) = address.parse::<IpAddr>() else { return Ok(None) };
    // CoreDNS refuses these; a Corefile that relies on them would not load there.
    if ip.is_ipv6() && text.starts_with([':', '0']) {
        return Err(format!("invalid CIDR {text}: an IPv6 prefix must not begin with ':' or '0'"));
    }
    let length = if ip.is_ipv6() { 128 } else { 32 };
    text.parse()
        .map(Some)
        .map_err(|_| format!("invalid CIDR {text}: the length must be a number from 0 to {length}"))
}

/// Splits off `SCHEME://`.
fn split_scheme(text: &str) -> Result<(Scheme, &str), String> {
    let Some((scheme, rest)) = text.split_once("://") else { return Ok((Scheme::Dns, text)) };
    match Scheme::ALL.into_iter().find(|s| s.as_str() == scheme) {
        Some(scheme) => Ok((scheme, rest)),
        None => {
            let known = Scheme::ALL.map(Scheme::as_str).join(", ");
            Err(format!("unknown scheme '{scheme}' in '{text}': it must be one of {known}"))
        }
    }
}

/// Splits off `:PORT`. What follows the last colon is a port unless it ends a prefix, as in `fd00::/8`.
fn split_port(text: &str) -> Result<(&str, Option<u16>), String> {
    if text.starts_with(':') && !text.contains('/') {
        return Err(format!("zone is missing in '{text}': write .{text} for the root zone"));
    }
    let Some((zone, port)) = text.rsplit_once(':') else { return Ok((text, None)) };
    if port.is_empty() {
        return Err(format!("expecting data after last colon: '{text}'"));
    }
    if port.contains('/') {
        return Ok((text, None));
    }
    if text.parse::<IpAddr>().is_ok() {
        return Ok((text, None)); // an IPv6 address, refused where zones are read
    }
    match port.parse() {
        Ok(number) if port.bytes().all(|b| b.is_ascii_digit()) => Ok((zone, Some(number))),
        _ => Err(format!("invalid port '{port}' in '{text}': it must be a number from 0 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Token {
        Token { text: text.to_owned(), quoted: false, position: Position { file: "t".into(), line: 3 } }
    }

    fn parse(text: &str) -> Result<Vec<String>, Error> {
        let keys = ServerKey::parse(&token(text), 1053, &mut Vec::new())?;
        Ok(keys.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn accepted() {
        for (text, want) in [
            (".", "dns://.:1053"),
            (".:53", "dns://.:53"),
            (".:0", "dns://.:0"),
            ("Example.ORG", "dns://example.org.:1053"),
            ("example.org.:5353", "dns://example.org.:5353"),
            ("dns://.", "dns://.:1053"),
            ("tls://example.org", "tls://example.org.:853"),
            ("https://.", "https://.:443"),
            ("https3://.", "https3://.:443"),
            ("quic://.:8853", "quic://.:8853"),
            ("grpc://.", "grpc://.:443"),
            ("10.0.0.0/8", "dns://10.in-addr.arpa.:1053"),
            ("0.0.0.0/0:53", "dns://in-addr.arpa.:53"),
            ("10.0.0.0/24:53", "dns://0.0.10.in-addr.arpa.:53"),
            ("2001:db8::/32", "dns://8.b.d.0.1.0.0.2.ip6.arpa.:1053"),
            ("tls://2001:db8::/32:53", "tls://8.b.d.0.1.0.0.2.ip6.arpa.:53"),
            ("0/25.2.0.192.in-addr.arpa:53", "dns://0/25.2.0.192.in-addr.arpa.:53"),
            ("10.0.0.1:53", "dns://10.0.0.1.:53"),
        ] {
            assert_eq!(parse(text), Ok(vec![want.to_owned()]), "{text}");
        }
        let split = parse("10.96.0.0/12:53").unwrap();
        assert_eq!((split.len(), split[0].as_str()), (16, "dns://96.10.in-addr.arpa.:53"));
    }

    #[test]
    fn refused() {
        for (text, why) in [
            ("", "zone is missing"),
            (":53", "zone is missing in ':53'"),
            ("dns://", "zone is missing"),
            ("example.org:", "expecting data after last colon"),
            ("example.org:dns", "invalid port 'dns'"),
            ("example.org:65536", "invalid port '65536'"),
            ("example.org:+53", "invalid port '+53'"),
            ("a:b:53", "':' has no place in it"),
            ("http://example.org", "unknown scheme 'http'"),
            ("DNS://example.org", "unknown scheme 'DNS'"),
            ("::/0", "invalid CIDR ::/0"),
            ("::1/128", "must not begin with ':' or '0'"),
            ("0:1::/32", "must not begin with ':' or '0'"),
            ("10.0.0.0/33", "invalid CIDR 10.0.0.0/33"),
            ("2001:db8::/129", "invalid CIDR 2001:db8::/129"),
            ("10.0.0.0/x", "a number from 0 to 32"),
            ("2001:db8::1", "is an address, not a zone"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.message().contains(why), "{text}: {error}");
            assert_eq!(error.position().line, 3, "{text}");
        }
    }

    #[test]
    fn an_address_for_a_zone_is_remarked_on() {
        let mut warnings = Vec::new();
        ServerKey::parse(&token("169.254.20.10:53"), 53, &mut warnings).unwrap();
        assert!(warnings[0].text.contains("bind 169.254.20.10"), "{}", warnings[0].text);
        ServerKey::parse(&token("10.in-addr.arpa"), 53, &mut warnings).unwrap();
        assert_eq!(warnings.len(), 1);
    }
}
