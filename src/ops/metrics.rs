//! The process's metrics: one owned registry, no globals, so that tests run several nodes side by side.
//!
//! Everything is registered through [`Metrics`]; handles are resolved once and kept by their users.

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

/// A label of a series.
pub type LabelPair<'a> = (&'static str, &'a str);

/// Buckets T of CoreDNS: 0.00025 s doubling to 8.192 s.
pub const BUCKETS_TIME: [f64; 16] = [
    0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048,
    4.096, 8.192,
];

/// The registry of one process.
pub struct Metrics {
    /// Keeps the series.
    recorder: PrometheusRecorder,
    /// Renders them.
    handle: PrometheusHandle,
}

impl Metrics {
    /// An empty registry.
    pub fn new() -> Self {
        let recorder = buckets(PrometheusBuilder::new()).build_recorder();
        Self { handle: recorder.handle(), recorder }
    }

    /// The counter of this name and these labels.
    pub fn counter(&self, name: &'static str, labels: &[LabelPair<'_>]) -> Counter {
        self.recorder.register_counter(&key(name, labels), &METADATA)
    }

    /// The gauge of this name and these labels.
    pub fn gauge(&self, name: &'static str, labels: &[LabelPair<'_>]) -> Gauge {
        self.recorder.register_gauge(&key(name, labels), &METADATA)
    }

    /// The histogram of this name and these labels.
    pub fn histogram(&self, name: &'static str, labels: &[LabelPair<'_>]) -> Histogram {
        self.recorder.register_histogram(&key(name, labels), &METADATA)
    }

    /// Says what a counter counts, for `# HELP`.
    pub fn describe_counter(&self, name: &'static str, help: &'static str) {
        self.recorder.describe_counter(KeyName::from(name), None, help.into());
    }

    /// The whole registry in Prometheus' text format.
    pub fn render(&self) -> String {
        self.handle.render()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Nothing filters by level or module here.
static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

fn key(name: &'static str, labels: &[LabelPair<'_>]) -> Key {
    Key::from_parts(name, labels.iter().map(|(k, v)| Label::new(*k, v.to_string())).collect::<Vec<_>>())
}

fn buckets(builder: PrometheusBuilder) -> PrometheusBuilder {
    builder
        .set_buckets_for_metric(Matcher::Suffix("_duration_seconds".into()), &BUCKETS_TIME)
        .unwrap_or_else(|_| PrometheusBuilder::new())
}
