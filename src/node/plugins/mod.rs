//! The plugins: one file each, with its options, its rules and its tests.
//!
//! [`PLUGINS`] is the one place that knows them all: a new plugin is its file and a line there. Its order is
//! the order of the chain, which is CoreDNS 1.14.7's; the order in the Corefile means nothing.

pub mod bind;
pub mod debug;
pub mod errors;
pub mod forward;
pub mod health;
pub mod kubernetes;
pub mod loadbalance;
pub mod log;
pub mod loops;
pub mod multisocket;
pub mod prometheus;
pub mod ready;
pub mod refused;
pub mod reload;
pub mod root;
pub mod timeouts;
pub mod tls;

use std::sync::Arc;

use super::chain::Plugin;
use super::setup::Context;
use crate::corefile::{Directive, Error};

/// Reads the directives of one plugin in one server block: its part in the chain, if it has one, and what it
/// asks of the process. Nothing is opened, started or sent before the whole Corefile is accepted.
pub type Setup = fn(&[&Directive], &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error>;

/// A plugin as the Corefile knows it.
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// The words that lines of its block may begin with; each has a test in which it changes something.
    pub options: &'static [&'static str],
    /// Reads its directives.
    pub setup: Setup,
}

const fn entry(name: &'static str, options: &'static [&'static str], setup: Setup) -> Entry {
    Entry { name, options, setup }
}

/// Every plugin, in the order of the chain.
pub const PLUGINS: &[Entry] = &[
    entry(root::NAME, &root::OPTIONS, root::setup),
    entry(timeouts::NAME, &timeouts::OPTIONS, timeouts::setup),
    entry(multisocket::NAME, &multisocket::OPTIONS, multisocket::setup),
    entry(reload::NAME, &reload::OPTIONS, reload::setup),
    entry(bind::NAME, &bind::OPTIONS, bind::setup),
    entry(debug::NAME, &[], debug::setup),
    entry(ready::NAME, &ready::OPTIONS, ready::setup),
    entry(health::NAME, &health::OPTIONS, health::setup),
    entry(prometheus::NAME, &prometheus::OPTIONS, prometheus::setup),
    entry(errors::NAME, &errors::OPTIONS, errors::setup),
    entry(log::NAME, &log::OPTIONS, log::setup),
    entry(loadbalance::NAME, &loadbalance::OPTIONS, loadbalance::setup),
    entry(tls::NAME, &tls::OPTIONS, tls::setup),
    entry(kubernetes::NAME, &kubernetes::options::OPTIONS, kubernetes::options::setup),
    entry(loops::NAME, &loops::OPTIONS, loops::setup),
    entry(forward::NAME, &forward::OPTIONS, forward::setup),
];

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
