//! `bind ADDRESS|INTERFACE... { except ADDRESS|INTERFACE... }`: the addresses that a server block listens on.

use std::net::IpAddr;
use std::sync::Arc;

use crate::corefile::{Directive, Error, Statement, Token};
use crate::node::chain::Plugin;
use crate::node::setup::Context;

/// The plugin's name.
pub const NAME: &str = "bind";

/// Collects the addresses of all `bind` lines of a block.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let interfaces = cx.environment.interfaces()?;
    for directive in directives {
        let words = directive.args();
        if words.is_empty() {
            return Err(directive.error("plugin/bind: write 'bind ADDRESS|INTERFACE...'"));
        }
        let mut excepted = Vec::new();
        for line in directive.lines() {
            if line.name().text != "except" {
                return Err(line.unknown_property(NAME, &["except"]));
            }
            for word in line.expect_args(1..=usize::MAX, "except ADDRESS|INTERFACE...")? {
                excepted.extend(addresses(word, &interfaces)?);
            }
        }
        for word in words {
            for address in addresses(word, &interfaces)? {
                if !excepted.contains(&address) && !cx.bound.contains(&address) {
                    cx.bound.push(address);
                }
            }
        }
        if cx.bound.is_empty() {
            return Err(
                directive.error("plugin/bind: every address is excepted; nothing is left to listen on")
            );
        }
    }
    Ok(Vec::new())
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

/// The addresses that a word names.
fn addresses(word: &Token, interfaces: &[InterfaceAddress]) -> Result<Vec<BindAddress>, Error> {
    if let Ok(ip) = word.text.parse::<IpAddr>() {
        return Ok(vec![BindAddress { ip, scope: 0 }]);
    }
    let of_interface: Vec<_> =
        interfaces.iter().filter(|i| i.interface == word.text).map(|i| i.address).collect();
    if of_interface.is_empty() {
        let mut names: Vec<_> = interfaces.iter().map(|i| i.interface.as_str()).collect();
        names.dedup();
        return Err(word.error(format!(
            "plugin/bind: '{}' is neither an address nor an interface with addresses; interfaces are: {}",
            word.text,
            names.join(", ")
        )));
    }
    Ok(of_interface)
}
