//! The plugins: one file each, with its options, its rules and its tests.
//!
//! [`PLUGINS`] is the one place that knows them all: a new plugin is its file and a line there. Its order is
//! the order of the chain, which is CoreDNS 1.14.7's; the order in the Corefile means nothing.

pub mod bind;
pub mod cache;
pub mod debug;
pub mod errors;
pub mod forward;
pub mod health;
pub mod kubernetes;
pub mod loadbalance;
pub mod log;
pub mod prometheus;
pub mod ready;
pub mod refused;

use std::sync::Arc;

use super::chain::Plugin;
use super::setup::Context;
use crate::corefile::{Directive, Error};

/// Reads the directives of one plugin in one server block: its part in the chain, if it has one, and what it
/// asks of the process. Nothing is opened, started or sent before the whole Corefile is accepted.
pub type Setup = fn(&[&Directive], &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error>;

/// Every plugin, in the order of the chain.
pub const PLUGINS: &[(&str, Setup)] = &[
    (bind::NAME, bind::setup),
    (debug::NAME, debug::setup),
    (ready::NAME, ready::setup),
    (health::NAME, health::setup),
    (prometheus::NAME, prometheus::setup),
    (errors::NAME, errors::setup),
    (log::NAME, log::setup),
    (loadbalance::NAME, loadbalance::setup),
    (cache::NAME, cache::setup),
    (kubernetes::NAME, kubernetes::options::setup),
    // Once more: names that `kubernetes` has in memory are cached behind it.
    (cache::NAME, cache::setup_rear),
    (forward::NAME, forward::setup),
];

/// The names of all plugins in the order of the chain, each once: `cache` stands twice in it.
pub fn names() -> impl Iterator<Item = &'static str> {
    let first = |(at, (name, _)): &(usize, &(&str, Setup))| !PLUGINS[..*at].iter().any(|(n, _)| n == name);
    PLUGINS.iter().enumerate().filter(first).map(|(_, (name, _))| *name)
}

/// The one directive of a plugin that may stand once in a server block.
pub fn once<'a>(directives: &[&'a Directive]) -> Result<&'a Directive, Error> {
    match directives {
        [only] => Ok(only),
        [first, second, ..] => Err(second.name.error(format!(
            "plugin/{}: this plugin can only be used once per Server Block; it is already at {}",
            second.name.text,
            first.position()
        ))),
        [] => unreachable!("setup is called for directives that are there"),
    }
}
