//! What is measured of snapshots.

use metrics::{Counter, Gauge};

use crate::ops::metrics::Metrics;

/// Measures of snapshots.
pub(super) struct Gauges {
    /// Unix time of the newest snapshot.
    pub(super) written: Gauge,
    /// Its age.
    pub(super) age: Gauge,
    /// Its size.
    pub(super) bytes: Gauge,
    /// How long the last write took.
    pub(super) save: Gauge,
    /// How long loading took at start.
    pub(super) load: Gauge,
    /// Whether nothing reaches the disk.
    pub(super) memory_only: Gauge,
    /// Writes.
    pub(super) saves: Counter,
    /// Failed writes.
    pub(super) failures: Counter,
    /// Files that were not served.
    pub(super) rejected: Counter,
}

impl Gauges {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let gauge = |name, help| {
            metrics.describe_gauge(name, help);
            metrics.gauge(name, &[])
        };
        let counter = |name, help| {
            metrics.describe_counter(name, help);
            metrics.counter(name, &[])
        };
        Self {
            written: gauge(
                "outlast_snapshot_written_timestamp_seconds",
                "When the newest snapshot was written.",
            ),
            age: gauge(
                "outlast_snapshot_age_seconds",
                "Time since the newest snapshot was written; -1 without one.",
            ),
            bytes: gauge("outlast_snapshot_size_bytes", "Size of the newest snapshot."),
            save: gauge("outlast_snapshot_save_seconds", "How long the last write of a snapshot took."),
            load: gauge("outlast_snapshot_load_seconds", "How long loading the snapshot took at start."),
            memory_only: gauge("outlast_snapshot_memory_only", "1 while no snapshot reaches the disk."),
            saves: counter("outlast_snapshot_saves_total", "Snapshots written."),
            failures: counter("outlast_snapshot_failures_total", "Snapshots that could not be written."),
            rejected: counter("outlast_snapshot_rejected_total", "Snapshots found and not served."),
        }
    }
}
