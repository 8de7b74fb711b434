//! What is measured of siblings. By what they are and not by who: names and addresses come and go.

use metrics::{Counter, Gauge};

use crate::ops::metrics::Metrics;

/// Addresses of siblings, by what they are.
const SIBLINGS: &str = "outlast_hub_siblings";
/// Meetings, by how they went.
const MEETINGS: &str = "outlast_hub_meetings_total";
/// Whether this hub is behind.
const BEHIND: &str = "outlast_hub_behind_sibling";
/// Acceptances that were heard.
const ACCEPTED: &str = "outlast_hub_accepted_elsewhere_total";

/// Handles, resolved once.
pub(super) struct SiblingMetrics {
    /// Those that answer.
    pub(super) met: Gauge,
    /// Those that do not.
    pub(super) silent: Gauge,
    /// Those of another cluster.
    pub(super) foreign: Gauge,
    /// Meetings that came about.
    pub(super) meetings: Counter,
    /// Meetings that did not.
    pub(super) failed: Counter,
    /// See [`BEHIND`].
    pub(super) behind: Gauge,
    /// See [`ACCEPTED`].
    pub(super) accepted: Counter,
}

impl SiblingMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        metrics.describe_gauge(
            SIBLINGS,
            "Other hubs, by whether they answer; foreign are those of another cluster, which is a mistake in somebody's \
             configuration.",
        );
        metrics.describe_counter(MEETINGS, "Questions to other hubs how they are, by whether they answered.");
        metrics.describe_gauge(
            BEHIND,
            "1 while this hub has not come to where a sibling was 30 s ago: its followers are asked to go elsewhere.",
        );
        metrics.describe_counter(ACCEPTED, "Losses that an operator has accepted at another hub.");
        let (state, outcome) =
            (|s| metrics.gauge(SIBLINGS, &[("state", s)]), |o| metrics.counter(MEETINGS, &[("outcome", o)]));
        Self {
            met: state("met"),
            silent: state("silent"),
            foreign: state("foreign"),
            meetings: outcome("met"),
            failed: outcome("failed"),
            behind: metrics.gauge(BEHIND, &[]),
            accepted: metrics.counter(ACCEPTED, &[]),
        }
    }
}
