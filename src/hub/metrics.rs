//! What is measured of a hub.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use super::history::Reason;
use crate::ops::metrics::Metrics;

/// What the index measures.
pub struct IndexMetrics {
    /// Batches made.
    batches: Counter,
    /// Entries in them.
    entries: Counter,
    /// How long one took.
    took: Histogram,
    /// Packets in all histories.
    packets: Gauge,
    /// Bytes in all histories.
    bytes: Gauge,
}

impl IndexMetrics {
    /// Describes them.
    pub fn new(metrics: &Metrics) -> Self {
        let took = "outlast_hub_index_seconds";
        metrics.describe_histogram(took, "How long it took to find what has changed, and to encode it.");
        Self {
            batches: counter(metrics, "outlast_hub_batches_total", "Batches of changes made for followers."),
            entries: counter(metrics, "outlast_hub_entries_total", "Changes of objects in those batches."),
            took: metrics.histogram(took, &[]),
            packets: gauge(
                metrics,
                "outlast_hub_history_packets",
                "Packets kept for followers that come back.",
            ),
            bytes: gauge(metrics, "outlast_hub_history_bytes", "Bytes kept for followers that come back."),
        }
    }

    pub(super) fn batch(&self, entries: usize) {
        self.batches.increment(1);
        self.entries.increment(entries as u64);
    }

    pub(super) fn took(&self, took: Duration) {
        self.took.record(took.as_secs_f64());
    }

    pub(super) fn kept(&self, packets: usize, bytes: usize) {
        self.packets.set(packets as f64);
        self.bytes.set(bytes as f64);
    }
}

/// What the streams measure.
pub(super) struct ServeMetrics {
    /// Followers by [`Doing`].
    subscribers: [Gauge; Doing::ALL.len()],
    /// The same, to be read.
    counts: Arc<Counts>,
    /// Connections.
    pub(super) connections: Gauge,
    /// Connections that ended before they were of use.
    pub(super) failed: Counter,
    /// Connections from where too many were in their handshakes.
    pub(super) crowded: Counter,
    /// Bytes of frames sent.
    pub(super) sent: Counter,
    /// Followers that went on from where they were.
    pub(super) resumed: Counter,
    /// Whole states sent from the beginning, by why.
    wholes: [Counter; Reason::ALL.len()],
    /// Whole states sent to the end.
    pub(super) finished: Counter,
    /// Whole states made.
    pub(super) made: Counter,
    /// Followers that were told to come back later.
    pub(super) refused: Counter,
    /// Followers that were told to move.
    pub(super) moved: Counter,
    /// Heartbeats sent.
    pub(super) heartbeats: Counter,
}

/// Followers by [`Doing`], to be read.
#[derive(Debug, Default)]
pub(super) struct Counts([AtomicUsize; Doing::ALL.len()]);

impl Counts {
    /// How many there are of each, with what they do.
    pub(super) fn all(&self) -> [(&'static str, usize); Doing::ALL.len()] {
        Doing::ALL.map(|doing| (doing.as_str(), self.0[doing as usize].load(Ordering::Relaxed)))
    }
}

/// What a follower's stream is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// It has not said what it wants, or there is nothing for it yet.
    Waiting,
    /// It waits for its turn to get the whole state.
    Queued,
    /// It is being sent the whole state.
    Whole,
    /// It is told changes as they come.
    Live,
}

impl Doing {
    const ALL: [Self; 4] = [Self::Waiting, Self::Queued, Self::Whole, Self::Live];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Queued => "queued",
            Self::Whole => "whole",
            Self::Live => "live",
        }
    }
}

impl ServeMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let (subscribers, wholes) = ("outlast_hub_subscribers", "outlast_hub_whole_states_begun_total");
        metrics.describe_gauge(subscribers, "Followers, by what their stream is doing.");
        metrics.describe_counter(wholes, "Whole states that a follower had to be sent, by why.");
        let counter = |name, help| counter(metrics, name, help);
        Self {
            subscribers: Doing::ALL.map(|doing| metrics.gauge(subscribers, &[("state", doing.as_str())])),
            counts: Arc::default(),
            connections: gauge(metrics, "outlast_hub_connections", "Connections of followers and siblings."),
            failed: counter(
                "outlast_hub_connections_failed_total",
                "Connections that broke, or ended before anything was asked.",
            ),
            crowded: counter(
                "outlast_hub_connections_crowded_total",
                "Connections that were closed because too many from the same address were in their handshakes.",
            ),
            sent: counter("outlast_hub_sent_bytes_total", "Bytes of frames sent to followers."),
            resumed: counter("outlast_hub_resumed_total", "Followers that went on from where they were."),
            wholes: Reason::ALL.map(|reason| metrics.counter(wholes, &[("why", reason.as_str())])),
            finished: counter("outlast_hub_whole_states_sent_total", "Whole states sent to the end."),
            made: counter(
                "outlast_hub_whole_states_made_total",
                "Whole states encoded, each for all who share it.",
            ),
            refused: counter("outlast_hub_refused_total", "Followers that were told to come back later."),
            moved: counter("outlast_hub_moved_total", "Followers that were told to move to another hub."),
            heartbeats: counter("outlast_hub_heartbeats_total", "Heartbeats sent."),
        }
    }

    pub(super) fn whole(&self, why: Reason) {
        if let Some(at) = Reason::ALL.iter().position(|reason| *reason == why) {
            self.wholes[at].increment(1);
        }
    }

    /// One more follower does this.
    pub(super) fn begins(&self, doing: Doing) {
        self.subscribers[doing as usize].increment(1.0);
        self.counts.0[doing as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// One follower less does this.
    pub(super) fn ends(&self, doing: Doing) {
        self.subscribers[doing as usize].decrement(1.0);
        self.counts.0[doing as usize].fetch_sub(1, Ordering::Relaxed);
    }

    /// How many followers do what.
    pub(super) fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }
}

/// What the queue for whole states measures.
pub(super) struct GateMetrics {
    /// How many wait.
    pub(super) waiting: Gauge,
    /// How many are being sent.
    pub(super) running: Gauge,
    /// How many were passed over because they made no progress.
    pub(super) stalled: Counter,
}

impl GateMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            waiting: gauge(metrics, "outlast_hub_queue_length", "Followers that wait for a whole state."),
            running: gauge(metrics, "outlast_hub_transfers", "Whole states that are being sent."),
            stalled: counter(
                metrics,
                "outlast_hub_transfers_stalled_total",
                "Followers that were being sent a whole state and did not read: they count no longer.",
            ),
        }
    }
}

fn gauge(metrics: &Metrics, name: &'static str, help: &'static str) -> Gauge {
    metrics.describe_gauge(name, help);
    metrics.gauge(name, &[])
}

fn counter(metrics: &Metrics, name: &'static str, help: &'static str) -> Counter {
    metrics.describe_counter(name, help);
    metrics.counter(name, &[])
}
