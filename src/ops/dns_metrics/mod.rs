//! The `coredns_dns_*` families: what every query is counted into.
//!
//! Invariants:
//!
//! * Counting takes no lock and reads no clock; a thread with a [`Shard`](super::shards::Shard) adds to cells that no
//!   other thread writes. Allocated is only what a thread counts for the first time.
//! * The labels of each family are CoreDNS's, no more and no less, and their values come from closed sets:
//!   clients cannot create series.
//! * Counts belong to the registry: a reload finds those of its zones again, and what was never counted is not
//!   shown.
//!
//! Memory: 1 kB for each (server, zone), and in it 1.7 kB for each thread that has counted there, and 256 bytes
//! more for each rcode that it has counted.

mod cells;
mod labels;
mod queries;
mod zone;

pub use labels::{Family, PluginLabel, Proto};
pub(super) use queries::Queries;
pub use zone::{Observation, ZoneMetrics};

use super::catalogue;
use super::metrics::{LabelPair, Metrics, help_of};

/// The zone label of queries that were refused or failed before they reached a plugin.
pub const DROPPED: &str = "dropped";

/// The series of one listener.
pub struct ServerMetrics {
    /// By zone, the longest first, the root last.
    zones: Box<[Zone]>,
    /// See [`DROPPED`].
    dropped: ZoneMetrics,
}

/// A zone that queries are counted under.
struct Zone {
    /// Its labels from the root down, lower case: the order in which suffixes are compared.
    labels: Box<[Box<[u8]>]>,
    /// Its series.
    metrics: ZoneMetrics,
}

impl ServerMetrics {
    /// The series of a listener, with what they counted before.
    ///
    /// `server` is the listener's identity, e.g. `dns://:53`; `zones` the keys of the server blocks of its
    /// `prometheus` instance, e.g. `cluster.local.`, with or without the final dot. Queries for none of them
    /// count under `.`.
    pub fn new(metrics: &Metrics, server: &str, zones: &[String]) -> Self {
        let mut names: Vec<String> = zones.iter().map(|zone| canonical(zone)).collect();
        names.push(".".to_owned());
        let labels = |name: &str| -> Box<[Box<[u8]>]> {
            name.split('.')
                .rev()
                .filter(|label| !label.is_empty())
                .map(|label| label.as_bytes().into())
                .collect()
        };
        let mut zones: Vec<_> = names.iter().map(|name| (labels(name), name)).collect();
        // The longest match counts, so the longest zone is tried first; the root comes last and always matches.
        zones.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        zones.dedup();
        let zone = |name: &str| metrics.queries.of(&metrics.pool, server, name);
        Self {
            zones: zones.into_iter().map(|(labels, name)| Zone { labels, metrics: zone(name) }).collect(),
            dropped: zone(DROPPED),
        }
    }

    /// The series of the zone that a name belongs to, given as its labels in their order, without the root, in
    /// any letter case.
    pub fn zone_for_labels<'a, L>(&self, qname: L) -> &ZoneMetrics
    where
        L: DoubleEndedIterator<Item = &'a [u8]> + Clone,
    {
        let is_below = |zone: &&Zone| {
            let mut from_root = qname.clone().rev();
            zone.labels
                .iter()
                .all(|label| from_root.next().is_some_and(|own| own.eq_ignore_ascii_case(label)))
        };
        self.zones.iter().find(is_below).map_or(&self.dropped, |zone| &zone.metrics)
    }

    /// The series of queries that were refused or failed before they reached a plugin.
    pub const fn dropped(&self) -> &ZoneMetrics {
        &self.dropped
    }
}

/// A zone as its label spells it: lower case, with the final dot.
fn canonical(zone: &str) -> String {
    let mut zone = zone.to_ascii_lowercase();
    if !zone.ends_with('.') {
        zone.push('.');
    }
    zone
}

/// One plugin that serves one zone, for `coredns_plugin_enabled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PluginUse<'a> {
    /// The listener's identity.
    pub server: &'a str,
    /// The key of the server block, with the final dot.
    pub zone: &'a str,
    /// The view, or empty.
    pub view: &'a str,
    /// The plugin's name.
    pub name: &'a str,
}

/// Sets `coredns_plugin_enabled` to 1 for exactly these: at the start and after every reload.
pub fn set_plugins_enabled(metrics: &Metrics, uses: &[PluginUse<'_>]) {
    let mut labels: Vec<[LabelPair<'_>; 4]> = uses
        .iter()
        .map(|PluginUse { server, zone, view, name }| {
            [("server", *server), ("zone", *zone), ("view", *view), ("name", *name)]
        })
        .collect();
    // A plugin used twice in a block is one series.
    labels.sort_unstable();
    labels.dedup();
    let series: Vec<(&[LabelPair<'_>], f64)> = labels.iter().map(|labels| (&labels[..], 1.0)).collect();
    metrics.replace_gauges(catalogue::PLUGIN_ENABLED, help_of(catalogue::PLUGIN_ENABLED), &series);
}

#[cfg(test)]
mod tests;
