//! What is measured and said of the data.

use std::time::Duration;

use metrics::{Counter, Gauge};

use super::state::{DataState, Facts};
use super::{Frozen, Generation};
use crate::feed::position::Position;
use crate::ops::metrics::Metrics;
use crate::zone::guard::Verdict;
use crate::zone::object::Kind;

/// Lists that were judged, by verdict.
const VERDICTS: &str = "outlast_guard_verdicts_total";
/// What audits have found, by kind.
const AUDITS: &str = "outlast_audit_differences_total";

/// Exports the state of the data, and logs its changes.
pub(super) struct Report {
    /// What is measured.
    gauges: Gauges,
    /// The state that was said last.
    said: Option<&'static str>,
}

/// Measures of the data.
struct Gauges {
    /// Seconds since the data was last proved.
    age: Gauge,
    /// Number of the generation.
    generation: Gauge,
    /// 1 for the state that holds, by [`DataState::NAMES`].
    states: [Gauge; DataState::NAMES.len()],
    /// Objects by kind.
    objects: [Gauge; Kind::ALL.len()],
    /// Addresses in all slices.
    endpoints: Gauge,
    /// Epoch of the positions.
    epoch: Gauge,
    /// How far the source has come, by kind.
    versions: [Gauge; Kind::ALL.len()],
    /// Changes of state.
    transitions: Counter,
    /// Whether something is frozen.
    frozen: Gauge,
    /// Until when it is.
    frozen_until: Gauge,
    /// Holds of the guard.
    holds: Gauge,
    /// Objects that are held.
    held: Gauge,
    /// Lists that were applied whole, and those of which something was held back.
    verdicts: [Counter; 2],
    /// What audits have found, by kind.
    audits: [Counter; Kind::ALL.len()],
}

impl Gauges {
    fn new(metrics: &Metrics) -> Self {
        let gauge = |name, help| {
            metrics.describe_gauge(name, help);
            metrics.gauge(name, &[])
        };
        metrics.describe_gauge("outlast_data_state", "1 for the state that the cluster's data is in.");
        metrics.describe_gauge("outlast_objects", "Objects held, by kind.");
        metrics.describe_counter("outlast_data_state_transitions_total", "Changes of the state of the data.");
        metrics.describe_gauge(
            "outlast_data_resource_version",
            "Highest resourceVersion that the data is known to have reached, by kind; 0 where it is unknown.",
        );
        metrics.describe_counter(VERDICTS, "Lists that the guard has judged, by verdict.");
        metrics.describe_counter(AUDITS, "Objects that an audit found to differ, and repaired, by kind.");
        let by_kind = |name| Kind::ALL.map(|kind| metrics.gauge(name, &[("kind", kind.as_str())]));
        Self {
            age: gauge("outlast_data_age_seconds", "Time since the data was last proved to be current."),
            generation: gauge("outlast_data_generation", "Number of the generation that is served."),
            states: DataState::NAMES.map(|s| metrics.gauge("outlast_data_state", &[("state", s)])),
            objects: by_kind("outlast_objects"),
            endpoints: gauge("outlast_endpoints", "Addresses of ready endpoints held."),
            epoch: gauge("outlast_data_epoch", "Restores of the cluster that were noticed."),
            versions: by_kind("outlast_data_resource_version"),
            transitions: metrics.counter("outlast_data_state_transitions_total", &[]),
            frozen: gauge("outlast_data_frozen", "1 while an operator has what is served stay what it is."),
            frozen_until: gauge(
                "outlast_data_frozen_until_timestamp_seconds",
                "When what is frozen ends by itself; 0 where nothing is.",
            ),
            holds: gauge("outlast_guard_holds", "Lists of which the guard holds something back."),
            held: gauge("outlast_guard_held_objects", "Objects served although the origin says otherwise."),
            verdicts: ["apply", "hold"].map(|verdict| metrics.counter(VERDICTS, &[("verdict", verdict)])),
            audits: Kind::ALL.map(|kind| metrics.counter(AUDITS, &[("kind", kind.as_str())])),
        }
    }
}

impl Report {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self { gauges: Gauges::new(metrics), said: None }
    }

    /// Exports how far the source has come.
    pub(super) fn position(&self, position: &Position) {
        self.gauges.epoch.set(position.epoch as f64);
        for (gauge, version) in self.gauges.versions.iter().zip(position.versions) {
            gauge.set(version as f64);
        }
    }

    /// Exports whether something is frozen, and until when.
    pub(super) fn frozen(&self, frozen: Option<&Frozen>) {
        self.gauges.frozen.set(if frozen.is_some() { 1.0 } else { 0.0 });
        let until_ms = frozen.map_or(0, |frozen| frozen.until_ms);
        self.gauges.frozen_until.set(until_ms as f64 / 1_000.0);
    }

    /// Exports what is held back.
    pub(super) fn holds(&self, generation: &Generation) {
        self.gauges.holds.set(generation.holds.len() as f64);
        self.gauges.held.set(generation.held.len() as f64);
    }

    /// A list was judged.
    pub(super) fn verdict(&self, verdict: &Verdict) {
        let [apply, hold] = &self.gauges.verdicts;
        match verdict {
            Verdict::Apply => apply.increment(1),
            Verdict::Hold { .. } => hold.increment(1),
        }
    }

    /// An audit has found so many objects of a kind to differ.
    pub(super) fn audited(&self, kind: Kind, differences: u64) {
        self.gauges.audits[kind.index()].increment(differences);
    }

    /// Exports what is served.
    pub(super) fn generation(&self, generation: &Generation) {
        let table = &generation.table;
        self.gauges.generation.set(generation.number as f64);
        for (gauge, kind) in self.gauges.objects.iter().zip(Kind::ALL) {
            gauge.set(table.count(kind) as f64);
        }
        self.gauges.endpoints.set(table.endpoint_count() as f64);
    }

    /// Exports the state of the data, and says so when it has changed. `lost` is why the source was lost.
    pub(super) fn state(&mut self, state: DataState, facts: Facts, lost: Option<&str>) {
        self.gauges.age.set(facts.age.as_secs_f64());
        for (gauge, name) in self.gauges.states.iter().zip(DataState::NAMES) {
            gauge.set(if name == state.name() { 1.0 } else { 0.0 });
        }
        if self.said == Some(state.name()) {
            return;
        }
        if self.said.is_some() {
            self.gauges.transitions.increment(1);
        }
        self.said = Some(state.name());
        let age = Duration::from_secs(facts.age.as_secs());
        let quiet = if facts.verified { "the source has gone quiet" } else { "not verified yet" };
        let why = lost.unwrap_or(quiet);
        match state {
            DataState::Live => tracing::info!(state = state.name(), "cluster data is live"),
            DataState::Stale { .. } => {
                tracing::warn!(state = state.name(), ?age, why, "cluster data is stale and still served");
            }
            DataState::Expired { .. } => {
                tracing::error!(
                    state = state.name(),
                    ?age,
                    why,
                    "cluster data is older than max_stale: SERVFAIL"
                );
            }
            DataState::Empty { missing } => {
                let missing = missing.iter().map(Kind::as_str).collect::<Vec<_>>().join(", ");
                tracing::warn!(
                    state = state.name(),
                    missing,
                    "no cluster data yet: SERVFAIL until the source appears"
                );
            }
        }
    }
}
