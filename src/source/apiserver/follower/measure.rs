//! What a follower counts.

use std::time::Duration;

use metrics::{Counter, Gauge};

use super::Why;
use crate::ops::metrics::Metrics;
use crate::source::apiserver::fault::Fault;
use crate::zone::object::Kind;

/// Whole lists, by kind and reason.
pub(super) const LISTS: &str = "outlast_apiserver_lists_total";
/// Faults, by kind and what they were.
pub(super) const FAULTS: &str = "outlast_apiserver_faults_total";
/// Events that the main watch left out.
pub(super) const MISSED: &str = "outlast_apiserver_missed_events_total";
/// Watches given up because they did not say what another one did.
pub(super) const DEAD: &str = "outlast_apiserver_dead_watches_total";
/// How long the main watch has been open.
pub(super) const WATCH_AGE: &str = "outlast_apiserver_watch_age_seconds";

/// Counters of one kind.
pub(super) struct Measure {
    /// By [`Why::ALL`].
    lists: [Counter; Why::ALL.len()],
    /// By [`FAULT_NAMES`].
    faults: [Counter; FAULT_NAMES.len()],
    /// See [`MISSED`].
    missed: Counter,
    /// See [`DEAD`].
    dead: Counter,
    /// See [`WATCH_AGE`].
    watch_age: Gauge,
}

/// Faults as metrics name them.
const FAULT_NAMES: [&str; 7] =
    ["expired", "behind", "not_streaming", "denied", "busy", "unreachable", "malformed"];

impl Measure {
    /// The counters of `kind`, all there from the start.
    pub(super) fn new(metrics: &Metrics, kind: Kind) -> Self {
        metrics.describe_counter(LISTS, "Whole lists taken from the API server, by kind and reason.");
        metrics.describe_counter(FAULTS, "Interruptions of following the API server, by kind and fault.");
        metrics.describe_counter(MISSED, "Events that a watch left out and a verifying watch found.");
        metrics.describe_counter(DEAD, "Watches that were open and did not say any more what happened.");
        metrics.describe_gauge(
            WATCH_AGE,
            "How long the watch of a kind had been open when it was last looked at, at most 12 s ago; 0 while there is none.",
        );
        let kind = kind.as_str();
        Self {
            lists: Why::ALL.map(|why| metrics.counter(LISTS, &[("kind", kind), ("reason", why.as_str())])),
            faults: FAULT_NAMES.map(|fault| metrics.counter(FAULTS, &[("kind", kind), ("fault", fault)])),
            missed: metrics.counter(MISSED, &[("kind", kind)]),
            dead: metrics.counter(DEAD, &[("kind", kind)]),
            watch_age: metrics.gauge(WATCH_AGE, &[("kind", kind)]),
        }
    }

    /// A whole list was taken.
    pub(super) fn listed(&self, why: Why) {
        self.lists[why.index()].increment(1);
    }

    /// Following was interrupted.
    pub(super) fn fault(&self, fault: &Fault) {
        let at = match fault {
            Fault::Expired { .. } => 0,
            Fault::Behind { .. } => 1,
            Fault::NotStreaming { .. } => 2,
            Fault::Denied { .. } => 3,
            Fault::Busy { .. } => 4,
            Fault::Unreachable { .. } => 5,
            Fault::Malformed { .. } => 6,
        };
        self.faults[at].increment(1);
    }

    /// So many events were left out.
    pub(super) fn missed(&self, events: u64) {
        self.missed.increment(events);
    }

    /// The main watch has been open for so long.
    pub(super) fn watch_age(&self, age: Duration) {
        self.watch_age.set(age.as_secs_f64());
    }

    /// A watch was given up.
    pub(super) fn dead(&self) {
        self.dead.increment(1);
    }
}
