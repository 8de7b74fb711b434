//! `bind ADDRESS|INTERFACE... { except ADDRESS|INTERFACE... }`: the addresses that a server block listens on.

use std::net::IpAddr;
use std::sync::Arc;

use crate::corefile::{Directive, Error, Position, Statement, Token, Warning};
use crate::node::chain::Plugin;
use crate::node::setup::{Context, LeftOut};

/// The plugin's name.
pub const NAME: &str = "bind";

/// Options that are accepted.
pub const OPTIONS: [&str; 1] = ["except"];

/// Collects the addresses of all `bind` lines of a block. Addresses that somebody else has on this node are left out, and
/// warned of: a Corefile is the same for all nodes.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let interfaces = interfaces()?;
    let mut left_out: Vec<&LeftOut> = Vec::new();
    for directive in directives {
        let words = directive.args();
        if words.is_empty() {
            return Err(directive.error("plugin/bind: write 'bind ADDRESS|INTERFACE...'"));
        }
        let mut excepted = Vec::new();
        for line in directive.lines() {
            if line.name().text != "except" {
                return Err(line.unknown_property(NAME, &OPTIONS));
            }
            for word in line.expect_args(1..=usize::MAX, "except ADDRESS|INTERFACE...")? {
                excepted.extend(addresses(word, &interfaces)?);
            }
        }
        for word in words {
            for address in addresses(word, &interfaces)? {
                if excepted.contains(&address) || cx.bound.contains(&address) {
                    continue;
                }
                match cx.environment.overrides.left.iter().find(|left| left.address == address.ip) {
                    Some(left) if left_out.contains(&left) => {}
                    Some(left) => {
                        warn(cx, word, left);
                        left_out.push(left);
                    }
                    None => cx.bound.push(address),
                }
            }
        }
    }
    match (cx.bound.is_empty(), directives.last()) {
        (true, Some(directive)) => Err(directive.error(nothing_left(&left_out))),
        _ => Ok(Vec::new()),
    }
}

/// Warns of an address that is left out.
fn warn(cx: &mut Context<'_>, word: &Token, LeftOut { address, why }: &LeftOut) {
    let text = format!("nothing is listened at {address}: {why}");
    tracing::warn!(target: "plugin/bind", "{} - {text}", word.position);
    cx.process.warnings.push(Warning { position: word.position.clone(), text });
}

/// Why a block has nothing to listen on.
fn nothing_left(left_out: &[&LeftOut]) -> String {
    if left_out.is_empty() {
        return "plugin/bind: every address is excepted; nothing is left to listen on".to_owned();
    }
    let each: Vec<_> = left_out.iter().map(|LeftOut { address, why }| format!("{address}: {why}")).collect();
    format!("plugin/bind: nothing is left to listen on: {}", each.join("; "))
}

/// An address of an interface of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The interface's name.
    pub interface: String,
    /// One of its addresses.
    pub address: BindAddress,
}

/// An address to listen on; link-local ones belong to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BindAddress {
    /// The address.
    pub ip: IpAddr,
    /// Index of the interface of an IPv6 link-local address, else 0.
    pub scope: u32,
}

/// The addresses of this host's interfaces.
pub fn interfaces() -> Result<Vec<InterfaceAddress>, Error> {
    let all = nix::ifaddrs::getifaddrs()
        .map_err(|e| Error::new(&Position::of_file("bind"), format!("reading interface addresses: {e}")))?;
    let address = |entry: nix::ifaddrs::InterfaceAddress| {
        let storage = entry.address?;
        let address = if let Some(v4) = storage.as_sockaddr_in() {
            BindAddress { ip: IpAddr::V4(v4.ip()), scope: 0 }
        } else {
            let v6 = storage.as_sockaddr_in6()?;
            BindAddress { ip: IpAddr::V6(v6.ip()), scope: v6.scope_id() }
        };
        Some(InterfaceAddress { interface: entry.interface_name, address })
    };
    Ok(all.filter_map(address).collect())
}

/// The addresses that a word names.
fn addresses(word: &Token, interfaces: &[InterfaceAddress]) -> Result<Vec<BindAddress>, Error> {
    if let Ok(ip) = word.text.parse::<IpAddr>() {
        return Ok(vec![BindAddress { ip, scope: 0 }]);
    }
    let of_interface: Vec<_> =
        interfaces.iter().filter(|i| i.interface == word.text).map(|i| i.address).collect();
    if of_interface.is_empty() {
        let mut names: Vec<_> = interfaces.iter().map(|i| i.interface.as_str()).collect();
        // An interface has an entry for each of its addresses, and these are not side by side.
        names.sort_unstable();
        names.dedup();
        return Err(word.error(format!(
            "plugin/bind: '{}' is neither an address nor an interface with addresses; interfaces are: {}",
            word.text,
            names.join(", ")
        )));
    }
    Ok(of_interface)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, address: &str, scope: u32) -> InterfaceAddress {
        let address = BindAddress { ip: address.parse().unwrap(), scope };
        InterfaceAddress { interface: name.to_owned(), address }
    }

    #[test]
    fn words_name_addresses_and_interfaces() {
        let interfaces = [
            interface("lo", "127.0.0.1", 0),
            interface("eth0", "10.0.0.7", 0),
            interface("lo", "::1", 0),
            interface("eth0", "fe80::1", 2),
        ];
        struct Case {
            word: &'static str,
            want: Result<&'static [(&'static str, u32)], &'static str>,
        }
        for case in [
            Case { word: "169.254.20.10", want: Ok(&[("169.254.20.10", 0)]) },
            Case { word: "fd00::1", want: Ok(&[("fd00::1", 0)]) },
            Case { word: "lo", want: Ok(&[("127.0.0.1", 0), ("::1", 0)]) },
            // A link-local address can only be bound with its interface.
            Case { word: "eth0", want: Ok(&[("10.0.0.7", 0), ("fe80::1", 2)]) },
            Case { word: "eth1", want: Err("'eth1' is neither an address nor an interface") },
            Case { word: "10.0.0.7:53", want: Err("interfaces are: eth0, lo") },
        ] {
            let word =
                Token { text: case.word.to_owned(), quoted: false, position: Position::of_file("Corefile") };
            match (addresses(&word, &interfaces), case.want) {
                (Ok(got), Ok(want)) => {
                    let got: Vec<_> = got.iter().map(|a| (a.ip.to_string(), a.scope)).collect();
                    let want: Vec<_> = want.iter().map(|(ip, scope)| ((*ip).to_owned(), *scope)).collect();
                    assert_eq!(got, want, "{}", case.word);
                }
                (Err(error), Err(want)) => assert!(error.message().contains(want), "{}: {error}", case.word),
                (got, want) => panic!("{}: {got:?}, not {want:?}", case.word),
            }
        }
    }
}
