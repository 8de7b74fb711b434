//! Reverse zones of IP prefixes (RFC 1035 §3.5, RFC 3596 §2.5).

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

/// Bits that one label of a reverse name stands for.
const V4_LABEL_BITS: u8 = 8;
/// The same for IPv6: one hexadecimal digit.
const V6_LABEL_BITS: u8 = 4;

/// The zones that hold the reverse names of `prefix`, absolute, in the order of the addresses.
///
/// A prefix that ends on an octet (IPv4) or a digit (IPv6) is one zone; any other is split into the zones of
/// the next longer boundary, at most 128 for IPv4 and 8 for IPv6.
pub fn reverse_zones(prefix: IpNet) -> Vec<String> {
    let prefix = prefix.trunc();
    let bits = match prefix {
        IpNet::V4(_) => V4_LABEL_BITS,
        IpNet::V6(_) => V6_LABEL_BITS,
    };
    let boundary = prefix.prefix_len().next_multiple_of(bits);
    let labels = usize::from(boundary / bits);
    match prefix.subnets(boundary) {
        Ok(subnets) => subnets.map(|net| zone(net.network(), labels)).collect(),
        // Cannot happen, the boundary is neither shorter than the prefix nor longer than the address.
        Err(_) => vec![zone(prefix.network(), labels)],
    }
}

/// The reverse name of the leading `labels` octets or digits of an address.
fn zone(network: IpAddr, labels: usize) -> String {
    let mut name = String::new();
    // Writing to a String cannot fail.
    match network {
        IpAddr::V4(v4) => {
            for octet in v4.octets()[..labels].iter().rev() {
                let _ = write!(name, "{octet}.");
            }
            name + "in-addr.arpa."
        }
        IpAddr::V6(v6) => {
            let digits: Vec<u8> = v6.octets().iter().flat_map(|b| [b >> 4, b & 0xf]).collect();
            for digit in digits[..labels].iter().rev() {
                let _ = write!(name, "{digit:x}.");
            }
            name + "ip6.arpa."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_of_prefixes() {
        struct Case {
            prefix: &'static str,
            count: usize,
            first: &'static str,
            last: &'static str,
        }
        let one = |prefix, zone| Case { prefix, count: 1, first: zone, last: zone };
        for c in [
            one("10.0.0.0/8", "10.in-addr.arpa."),
            one("10.9.8.7/8", "10.in-addr.arpa."),
            one("192.168.1.0/24", "1.168.192.in-addr.arpa."),
            one("10.0.0.1/32", "1.0.0.10.in-addr.arpa."),
            one("0.0.0.0/0", "in-addr.arpa."),
            one("2001:db8::/32", "8.b.d.0.1.0.0.2.ip6.arpa."),
            one("fd00::/8", "d.f.ip6.arpa."),
            one("::/0", "ip6.arpa."),
            Case {
                prefix: "10.96.0.0/12",
                count: 16,
                first: "96.10.in-addr.arpa.",
                last: "111.10.in-addr.arpa.",
            },
            Case { prefix: "128.0.0.0/1", count: 128, first: "128.in-addr.arpa.", last: "255.in-addr.arpa." },
            Case {
                prefix: "10.0.0.4/31",
                count: 2,
                first: "4.0.0.10.in-addr.arpa.",
                last: "5.0.0.10.in-addr.arpa.",
            },
            Case { prefix: "fd00::/9", count: 8, first: "0.d.f.ip6.arpa.", last: "7.d.f.ip6.arpa." },
        ] {
            let zones = reverse_zones(c.prefix.parse().unwrap());
            assert_eq!(zones.len(), c.count, "{}", c.prefix);
            assert_eq!((zones[0].as_str(), zones[c.count - 1].as_str()), (c.first, c.last), "{}", c.prefix);
        }
        let host = reverse_zones("2001:db8::1/128".parse().unwrap());
        assert_eq!(host, [format!("1.{}8.b.d.0.1.0.0.2.ip6.arpa.", "0.".repeat(23))]);
    }
}
