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
pub mod metadata;
pub mod minimal;
pub mod nsid;
pub mod pprof;
pub mod prometheus;
pub mod ready;
pub mod refused;
mod search_path;
pub mod whoami;

use std::sync::Arc;

use super::chain::Plugin;
use super::setup::Context;
use crate::corefile::{self, Directive, Error, Token};
use crate::zone::name::Labels;

/// Reads the directives of one plugin in one server block: its part in the chain, if it has one, and what it
/// asks of the process. Nothing is opened, started or sent before the whole Corefile is accepted.
pub type Setup = fn(&[&Directive], &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error>;

/// Every plugin, in the order of the chain.
pub const PLUGINS: &[(&str, Setup)] = &[
    (metadata::NAME, metadata::setup),
    (nsid::NAME, nsid::setup),
    (bufsize::NAME, bufsize::setup),
    (bind::NAME, bind::setup),
    (debug::NAME, debug::setup),
    (ready::NAME, ready::setup),
    (health::NAME, health::setup),
    (pprof::NAME, pprof::setup),
    (prometheus::NAME, prometheus::setup),
    (errors::NAME, errors::setup),
    (log::NAME, log::setup),
    // In CoreDNS it is the outermost; `cancel.rs` says why it is here.
    (cancel::NAME, cancel::setup),
    (local::NAME, local::setup),
    (any::NAME, any::setup),
    (chaos::NAME, chaos::setup),
    (loadbalance::NAME, loadbalance::setup),
    (autopath::NAME, autopath::setup),
    (acl::NAME, acl::setup),
    (header::NAME, header::setup),
    (minimal::NAME, minimal::setup),
    (hosts::NAME, hosts::setup),
    (kubernetes::NAME, kubernetes::options::setup),
    (forward::NAME, forward::setup),
    (whoami::NAME, whoami::setup),
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
