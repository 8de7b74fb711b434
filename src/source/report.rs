//! What was left out of objects, counted in the same way for every source.

use crate::ops::metrics::Metrics;
use crate::source::kubectl::Drops;

/// Units left out because no API server would accept them, by the object's kind and the reason.
pub const DROPPED_TOTAL: &str = "outlast_source_dropped_total";

/// Says what the metrics of this module count.
pub(super) fn describe(metrics: &Metrics) {
    metrics.describe_counter(DROPPED_TOTAL, "Parts of objects left out as invalid, by kind and reason.");
}

/// Counts `drops`; `log` gets kind, reason, count and examples of each.
pub(super) fn dropped(metrics: &Metrics, drops: &Drops, log: impl Fn(&str, &str, u64, &str)) {
    for (kind, reason, dropped) in drops.iter() {
        let (kind, reason, count) = (kind.as_str(), reason.as_str(), dropped.count);
        metrics.counter(DROPPED_TOTAL, &[("kind", kind), ("reason", reason)]).increment(count);
        log(kind, reason, count, &dropped.examples.join("; "));
    }
}
