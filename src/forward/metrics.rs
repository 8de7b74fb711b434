//! The forwarder's metrics: CoreDNS's names, the older `coredns_forward_*` names that dashboards still ask
//! for, and our own for what CoreDNS does not count.
//!
//! Labels are bounded: at most 15 upstreams a `forward`, a fixed list of response codes, seven causes. Handles
//! are resolved once; a labelled series appears when there is something to count.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{Counter, Histogram};

use super::error::Cause;
use crate::ops::metrics::Metrics;

const REQUEST_DURATION: &str = "coredns_proxy_request_duration_seconds";
const ALIAS_REQUESTS: &str = "coredns_forward_requests_total";
const ALIAS_RESPONSES: &str = "coredns_forward_responses_total";
const ALIAS_DURATION: &str = "coredns_forward_request_duration_seconds";
const REJECTS: &str = "coredns_forward_max_concurrent_rejects_total";
const BROKEN: &str = "coredns_forward_healthcheck_broken_total";
const OVERLOADS: &str = "outlast_forward_in_flight_rejects_total";
const FAILURES: &str = "outlast_forward_failures_total";

/// The value of `proxy_name` that CoreDNS's forward plugin sets.
const PROXY_NAME: &str = "forward";

/// Response codes by their number, as CoreDNS writes them; what is not here is counted as `OTHER`.
const RCODES: [(u16, &str); 20] = [
    (0, "NOERROR"),
    (1, "FORMERR"),
    (2, "SERVFAIL"),
    (3, "NXDOMAIN"),
    (4, "NOTIMP"),
    (5, "REFUSED"),
    (6, "YXDOMAIN"),
    (7, "YXRRSET"),
    (8, "NXRRSET"),
    (9, "NOTAUTH"),
    (10, "NOTZONE"),
    (11, "DSOTYPENI"),
    (16, "BADVERS"),
    (17, "BADKEY"),
    (18, "BADTIME"),
    (19, "BADMODE"),
    (20, "BADNAME"),
    (21, "BADALG"),
    (22, "BADTRUNC"),
    (23, "BADCOOKIE"),
];

/// What is counted for a whole `forward`.
pub(super) struct ForwardMetrics {
    /// Refused over `max_concurrent`.
    pub(super) rejects: Counter,
    /// Turned away over the bound on forwards in flight.
    pub(super) overloads: Counter,
}

impl ForwardMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        metrics.describe_counter(REJECTS, "Counter of queries rejected because max_concurrent was reached.");
        metrics.describe_counter(BROKEN, "Counter of times that all upstreams were found unhealthy.");
        metrics.describe_counter(OVERLOADS, "Queries turned away because too many forwards were in flight.");
        metrics.describe_counter(FAILURES, "Exchanges with an upstream that brought no reply, by cause.");
        metrics.describe_counter(ALIAS_REQUESTS, "Replies of each upstream (older name).");
        metrics.describe_counter(ALIAS_RESPONSES, "Replies of each upstream by response code (older name).");
        let present = |name| {
            let counter = metrics.counter(name, &[]);
            counter.increment(0);
            counter
        };
        // Alerts ask for it before the first health probe.
        let _broken = present(BROKEN);
        Self { rejects: present(REJECTS), overloads: present(OVERLOADS) }
    }
}

/// What is counted for one upstream.
pub(super) struct UpstreamMetrics {
    /// Where series come from on first use.
    metrics: Arc<Metrics>,
    /// `to`: the upstream as `ip:port`.
    to: String,
    /// By index into [`RCODES`], the last for all others.
    replies: [OnceLock<ReplyMetrics>; RCODES.len() + 1],
}

/// What is counted for one response code of one upstream.
struct ReplyMetrics {
    /// [`REQUEST_DURATION`]
    duration: Histogram,
    /// [`ALIAS_REQUESTS`], of all response codes together.
    alias_requests: Counter,
    /// [`ALIAS_RESPONSES`]
    alias_responses: Counter,
    /// [`ALIAS_DURATION`]
    alias_duration: Histogram,
}

impl UpstreamMetrics {
    pub(super) fn new(metrics: Arc<Metrics>, to: SocketAddr) -> Self {
        Self { metrics, to: to.to_string(), replies: Default::default() }
    }

    /// A reply came after `took`.
    pub(super) fn replied(&self, rcode: u16, took: Duration) {
        let index = RCODES.iter().position(|&(number, _)| number == rcode).unwrap_or(RCODES.len());
        let series =
            self.replies[index].get_or_init(|| self.register(RCODES.get(index).map_or("OTHER", |r| r.1)));
        series.duration.record(took);
        series.alias_requests.increment(1);
        series.alias_responses.increment(1);
        series.alias_duration.record(took);
    }

    /// No reply came. Rare enough to look the series up each time.
    pub(super) fn failed(&self, cause: &Cause) {
        self.metrics.counter(FAILURES, &[("to", &self.to), ("cause", cause.label())]).increment(1);
    }

    fn register(&self, rcode: &str) -> ReplyMetrics {
        let labels = [("to", self.to.as_str()), ("rcode", rcode)];
        let named = [("proxy_name", PROXY_NAME), labels[0], labels[1]];
        ReplyMetrics {
            duration: self.metrics.histogram(REQUEST_DURATION, &named),
            alias_requests: self.metrics.counter(ALIAS_REQUESTS, &labels[..1]),
            alias_responses: self.metrics.counter(ALIAS_RESPONSES, &labels),
            alias_duration: self.metrics.histogram(ALIAS_DURATION, &labels),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_appear_with_their_first_count_and_unlabelled_ones_at_once() {
        let metrics = Arc::new(Metrics::new());
        let _forward = ForwardMetrics::new(&metrics);
        let upstream = UpstreamMetrics::new(metrics.clone(), "192.0.2.1:53".parse().unwrap());
        let text = metrics.render();
        for name in [BROKEN, REJECTS, OVERLOADS] {
            assert!(text.contains(&format!("\n{name} 0\n")), "{name} in {text}");
        }
        assert!(!text.contains("192.0.2.1"), "{text}");

        upstream.replied(3, Duration::from_micros(400));
        upstream.replied(0, Duration::from_millis(3));
        upstream.replied(3841, Duration::from_millis(3));
        upstream.failed(&Cause::Timeout);
        let text = metrics.render();
        for line in [
            r#"coredns_proxy_request_duration_seconds_bucket{proxy_name="forward",to="192.0.2.1:53",rcode="NXDOMAIN",le="0.0005"} 1"#,
            r#"coredns_proxy_request_duration_seconds_count{proxy_name="forward",to="192.0.2.1:53",rcode="OTHER"} 1"#,
            r#"coredns_forward_requests_total{to="192.0.2.1:53"} 3"#,
            r#"coredns_forward_responses_total{to="192.0.2.1:53",rcode="NOERROR"} 1"#,
            r#"coredns_forward_request_duration_seconds_count{to="192.0.2.1:53",rcode="NXDOMAIN"} 1"#,
            r#"outlast_forward_failures_total{to="192.0.2.1:53",cause="timeout"} 1"#,
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
