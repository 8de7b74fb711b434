//! The plugins: one file each, with its options, its rules and its tests.
//!
//! [`PLUGINS`] is the one place that knows them all: a new plugin is its file and a line there. Its order is
//! the order of the chain, which is CoreDNS 1.14.7's; the order in the Corefile means nothing.

pub mod acl;
pub mod any;
pub mod autopath;
pub mod bind;
pub mod bufsize;
mod by_server;
pub mod cache;
pub mod cancel;
pub mod chaos;
pub mod debug;
pub mod errors;
mod follow;
pub mod forward;
pub mod header;
pub mod health;
pub mod hosts;
pub mod kubernetes;
pub mod loadbalance;
pub mod local;
pub mod log;
pub mod loops;
pub mod metadata;
pub mod minimal;
pub mod multisocket;
pub mod nsid;
pub mod pprof;
pub mod prometheus;
pub mod ready;
pub mod refused;
mod regexp;
pub mod reload;
pub mod rewrite;
pub mod root;
mod search_path;
pub mod template;
pub mod timeouts;
pub mod tls;
pub mod whoami;

use std::sync::Arc;

use super::chain::Plugin;
use super::setup::Context;
use crate::corefile::{self, Directive, Error, Token};
use crate::zone::name::Labels;

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
    entry(metadata::NAME, &metadata::OPTIONS, metadata::setup),
    entry(timeouts::NAME, &timeouts::OPTIONS, timeouts::setup),
    entry(multisocket::NAME, &multisocket::OPTIONS, multisocket::setup),
    entry(reload::NAME, &reload::OPTIONS, reload::setup),
    entry(nsid::NAME, &nsid::OPTIONS, nsid::setup),
    entry(bufsize::NAME, &bufsize::OPTIONS, bufsize::setup),
    entry(bind::NAME, &bind::OPTIONS, bind::setup),
    entry(debug::NAME, &[], debug::setup),
    entry(ready::NAME, &ready::OPTIONS, ready::setup),
    entry(health::NAME, &health::OPTIONS, health::setup),
    entry(pprof::NAME, &pprof::OPTIONS, pprof::setup),
    entry(prometheus::NAME, &prometheus::OPTIONS, prometheus::setup),
    entry(errors::NAME, &errors::OPTIONS, errors::setup),
    entry(log::NAME, &log::OPTIONS, log::setup),
    // In CoreDNS it is the outermost; `cancel.rs` says why it is here.
    entry(cancel::NAME, &cancel::OPTIONS, cancel::setup),
    entry(local::NAME, &local::OPTIONS, local::setup),
    entry(any::NAME, &any::OPTIONS, any::setup),
    entry(chaos::NAME, &chaos::OPTIONS, chaos::setup),
    entry(loadbalance::NAME, &loadbalance::OPTIONS, loadbalance::setup),
    entry(rewrite::NAME, &rewrite::OPTIONS, rewrite::setup),
    entry(autopath::NAME, &autopath::OPTIONS, autopath::setup),
    entry(acl::NAME, &acl::OPTIONS, acl::setup),
    entry(cache::NAME, &cache::OPTIONS, cache::setup),
    entry(header::NAME, &header::OPTIONS, header::setup),
    entry(tls::NAME, &tls::OPTIONS, tls::setup),
    entry(minimal::NAME, &minimal::OPTIONS, minimal::setup),
    entry(template::NAME, &template::OPTIONS, template::setup),
    entry(hosts::NAME, &hosts::OPTIONS, hosts::setup),
    entry(kubernetes::NAME, &kubernetes::options::OPTIONS, kubernetes::options::setup),
    // Once more, for what falls through the names that the table answers.
    entry(cache::NAME, &cache::OPTIONS, cache::setup_rear),
    entry(loops::NAME, &loops::OPTIONS, loops::setup),
    entry(forward::NAME, &forward::OPTIONS, forward::setup),
    entry(whoami::NAME, &whoami::OPTIONS, whoami::setup),
];

/// The names of all plugins in the order of the chain, each once: `cache` stands twice in it.
pub fn names() -> impl Iterator<Item = &'static str> {
    let first = |(at, entry): &(usize, &Entry)| !PLUGINS[..*at].iter().any(|e| e.name == entry.name);
    PLUGINS.iter().enumerate().filter(first).map(|(_, entry)| entry.name)
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

/// The zones that the words name, or those of the server block if there are no words.
fn zones(words: &[Token], cx: &Context<'_>) -> Result<Vec<Labels>, Error> {
    if words.is_empty() { Ok(cx.zones.clone()) } else { labels(words) }
}

/// The zones that the words name, or every name if there are no words.
fn zones_or_root(words: &[Token]) -> Result<Vec<Labels>, Error> {
    if words.is_empty() { Ok(vec![Labels::root()]) } else { labels(words) }
}

fn labels(words: &[Token]) -> Result<Vec<Labels>, Error> {
    let mut zones = Vec::new();
    for word in words {
        for zone in corefile::zones(std::slice::from_ref(word))? {
            zones.push(Labels::parse(&zone).map_err(|e| word.error(format!("'{zone}': {e}")))?);
        }
    }
    Ok(zones)
}

/// Whether `name` is in any of the zones.
fn is_within(name: &Labels, zones: &[Labels]) -> bool {
    zones.iter().any(|zone| name.is_within(zone))
}
