//! What is counted of hubs, at a follower.

use std::net::SocketAddr;
use std::sync::Arc;

use metrics::{Counter, Gauge};

use crate::feed::wire;
use crate::feed::wire::follow_reply::Reply;
use crate::ops::metrics::Metrics;

/// The hub that is followed; there is one series, or none.
const CONNECTED: &str = "outlast_hub_connected";

/// Hubs that were left, by reason.
const LEFT: &str = "outlast_hub_left_total";

/// Bytes of frames, as they came.
const BYTES: &str = "outlast_hub_received_bytes_total";

/// Batches of changes.
const BATCHES: &str = "outlast_hub_received_batches_total";

/// Whole states that began.
const WHOLES: &str = "outlast_hub_received_whole_states_total";

/// Digests that differed.
const MISMATCHES: &str = "outlast_hub_digest_mismatches_total";

/// Whether they still do.
const ALARM: &str = "outlast_hub_digest_alarm";

/// About what a heartbeat is on the wire.
const HEARTBEAT_BYTES: usize = 160;

/// Handles, resolved once.
pub(super) struct HubMetrics {
    /// For series that vanish, and for reasons.
    metrics: Arc<Metrics>,
    /// [`BYTES`]
    bytes: Counter,
    /// [`BATCHES`]
    pub(super) batches: Counter,
    /// [`WHOLES`]
    pub(super) wholes: Counter,
    /// [`MISMATCHES`]
    pub(super) mismatches: Counter,
    /// [`ALARM`]
    pub(super) alarm: Gauge,
}

impl HubMetrics {
    pub(super) fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.describe_counter(LEFT, "Hubs that were left, by reason.");
        metrics.describe_counter(BYTES, "Bytes received from hubs, compressed as they came.");
        metrics.describe_counter(BATCHES, "Batches of changes received from hubs.");
        metrics.describe_counter(WHOLES, "Whole states that hubs began to send.");
        metrics.describe_counter(
            MISMATCHES,
            "Times that the state was not the hub's although it should have been.",
        );
        metrics.describe_gauge(ALARM, "Whether the state differs from the hub's even after a whole state.");
        Self {
            bytes: metrics.counter(BYTES, &[]),
            batches: metrics.counter(BATCHES, &[]),
            wholes: metrics.counter(WHOLES, &[]),
            mismatches: metrics.counter(MISMATCHES, &[]),
            alarm: metrics.gauge(ALARM, &[]),
            metrics: metrics.clone(),
        }
    }

    /// This hub is followed, or none.
    pub(super) fn connected(&self, hub: Option<SocketAddr>) {
        let help = "The hub that is followed.";
        let hub = hub.map(|hub| hub.to_string());
        let labels = hub.as_ref().map(|hub| [("hub", hub.as_str())]);
        let series: Vec<_> = labels.iter().map(|labels| (&labels[..], 1.0)).collect();
        self.metrics.replace_gauges(CONNECTED, help, &series);
    }

    /// A hub was left.
    pub(super) fn left(&self, reason: &'static str) {
        self.metrics.counter(LEFT, &[("reason", reason)]).increment(1);
    }

    /// Something came.
    pub(super) fn received(&self, reply: &wire::FollowReply) {
        let bytes = match &reply.reply {
            Some(Reply::Frame(bytes) | Reply::FrameZstd(bytes)) => bytes.len(),
            Some(Reply::Heartbeat(_)) => HEARTBEAT_BYTES,
            None => 0,
        };
        self.bytes.increment(bytes as u64);
    }
}
