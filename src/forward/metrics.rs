//! The forwarder's metrics: CoreDNS's names, the older `coredns_forward_*` names that dashboards still ask
//! for, and our own for what CoreDNS does not count.
//!
//! Labels are bounded: at most 15 upstreams a `forward`, a fixed list of response codes, nine causes. Handles
//! are resolved once; a labelled series appears when there is something to count.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{Counter, Histogram};

use super::error::Cause;
use super::query::Transport;
use crate::ops::catalogue as names;
use crate::ops::metrics::Metrics;
use crate::ops::rcode;

const OVERLOADS: &str = "outlast_forward_in_flight_rejects_total";
const FAILURES: &str = "outlast_forward_failures_total";
const HEDGES: &str = "outlast_forward_hedges_total";

/// The value of `proxy_name` that CoreDNS's forward plugin sets.
const PROXY_NAME: &str = "forward";

/// What is counted for a whole `forward`.
pub(super) struct ForwardMetrics {
    /// Refused over `max_concurrent`.
    pub(super) rejects: Counter,
    /// Turned away over the bound on forwards in flight.
    pub(super) overloads: Counter,
    /// Queries that found every upstream down.
    pub(super) all_down: Counter,
}

impl ForwardMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        metrics.describe_counter(OVERLOADS, "Queries turned away because too many forwards were in flight.");
        metrics.describe_counter(FAILURES, "Exchanges with an upstream that brought no reply, by cause.");
        let present = |name| {
            let counter = metrics.counter(name, &[]);
            counter.increment(0);
            counter
        };
        metrics.describe_counter(HEDGES, "Second tries at another upstream because the first one was late.");
        Self {
            rejects: present(names::FORWARD_REJECTS),
            overloads: present(OVERLOADS),
            all_down: present(names::FORWARD_HEALTHCHECK_BROKEN),
        }
    }
}

/// What is counted for one upstream.
pub(super) struct UpstreamMetrics {
    /// Where series come from on first use.
    metrics: Arc<Metrics>,
    /// `to`: the upstream as `ip:port`.
    to: String,
    /// By rcode, the last for those without a mnemonic.
    replies: [OnceLock<ReplyMetrics>; rcode::COUNT + 1],
    /// Queries on connections that were there already and on new ones, by transport.
    connections: [OnceLock<[Counter; 2]>; 3],
}

/// What is counted for one response code of one upstream.
struct ReplyMetrics {
    /// [`names::PROXY_DURATION`]
    duration: Histogram,
    /// [`names::FORWARD_REQUESTS`], of all response codes together.
    alias_requests: Counter,
    /// [`names::FORWARD_RESPONSES`]
    alias_responses: Counter,
    /// [`names::FORWARD_DURATION`]
    alias_duration: Histogram,
}

impl UpstreamMetrics {
    pub(super) fn new(metrics: Arc<Metrics>, to: SocketAddr) -> Self {
        Self { metrics, to: to.to_string(), replies: Default::default(), connections: Default::default() }
    }

    /// A reply came after `took`.
    pub(super) fn replied(&self, rcode: u16, took: Duration) {
        let mnemonic = rcode::mnemonic(rcode);
        let index = mnemonic.map_or(rcode::COUNT, |_| usize::from(rcode));
        let series = self.replies[index].get_or_init(|| self.register(mnemonic.unwrap_or("OTHER")));
        series.duration.record(took);
        series.alias_requests.increment(1);
        series.alias_responses.increment(1);
        series.alias_duration.record(took);
    }

    /// No reply came. Rare enough to look the series up each time.
    pub(super) fn failed(&self, cause: &Cause) {
        self.metrics.counter(FAILURES, &[("to", &self.to), ("cause", cause.label())]).increment(1);
    }

    /// A query was sent as the second try of one for which another upstream was late.
    pub(super) fn hedged(&self) {
        self.metrics.counter(HEDGES, &[("to", &self.to)]).increment(1);
    }

    /// A probe got no reply.
    pub(super) fn probe_failed(&self) {
        let to = ("to", self.to.as_str());
        let named = [("proxy_name", PROXY_NAME), to];
        self.metrics.counter(names::PROXY_HEALTHCHECK_FAILURES, &named).increment(1);
        self.metrics.counter(names::FORWARD_HEALTHCHECK_FAILURES, &[to]).increment(1);
    }

    /// A query was sent on a connection that was there already (`reused`), or on a new one; over UDP each is new.
    pub(super) fn connection(&self, transport: Transport, reused: bool) {
        let index = match transport {
            Transport::Udp => 0,
            Transport::Tcp => 1,
            Transport::Tls => 2,
        };
        let [hits, misses] = self.connections[index].get_or_init(|| {
            let labels = [("proxy_name", PROXY_NAME), ("to", self.to.as_str()), ("proto", transport.label())];
            [names::PROXY_CONN_HITS, names::PROXY_CONN_MISSES].map(|name| self.metrics.counter(name, &labels))
        });
        if reused { hits } else { misses }.increment(1);
    }

    fn register(&self, rcode: &str) -> ReplyMetrics {
        let labels = [("to", self.to.as_str()), ("rcode", rcode)];
        let named = [("proxy_name", PROXY_NAME), labels[0], labels[1]];
        ReplyMetrics {
            duration: self.metrics.histogram(names::PROXY_DURATION, &named),
            alias_requests: self.metrics.counter(names::FORWARD_REQUESTS, &labels[..1]),
            alias_responses: self.metrics.counter(names::FORWARD_RESPONSES, &labels),
            alias_duration: self.metrics.histogram(names::FORWARD_DURATION, &labels),
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
        for name in [names::FORWARD_HEALTHCHECK_BROKEN, names::FORWARD_REJECTS, OVERLOADS] {
            assert!(text.contains(&format!("\n{name} 0\n")), "{name} in {text}");
        }
        assert!(!text.contains("192.0.2.1"), "{text}");

        upstream.replied(3, Duration::from_micros(400));
        upstream.replied(0, Duration::from_millis(3));
        upstream.replied(3841, Duration::from_millis(3));
        upstream.failed(&Cause::Timeout);
        upstream.probe_failed();
        upstream.hedged();
        upstream.connection(Transport::Tls, false);
        upstream.connection(Transport::Tls, true);
        upstream.connection(Transport::Tls, true);
        let text = metrics.render();
        for line in [
            r#"coredns_proxy_request_duration_seconds_bucket{proxy_name="forward",to="192.0.2.1:53",rcode="NXDOMAIN",le="0.0005"} 1"#,
            r#"coredns_proxy_request_duration_seconds_count{proxy_name="forward",to="192.0.2.1:53",rcode="OTHER"} 1"#,
            r#"coredns_forward_requests_total{to="192.0.2.1:53"} 3"#,
            r#"coredns_forward_responses_total{to="192.0.2.1:53",rcode="NOERROR"} 1"#,
            r#"coredns_forward_request_duration_seconds_count{to="192.0.2.1:53",rcode="NXDOMAIN"} 1"#,
            r#"outlast_forward_failures_total{to="192.0.2.1:53",cause="timeout"} 1"#,
            r#"coredns_proxy_healthcheck_failures_total{proxy_name="forward",to="192.0.2.1:53"} 1"#,
            r#"coredns_forward_healthcheck_failures_total{to="192.0.2.1:53"} 1"#,
            r#"coredns_proxy_conn_cache_misses_total{proxy_name="forward",to="192.0.2.1:53",proto="tcp-tls"} 1"#,
            r#"coredns_proxy_conn_cache_hits_total{proxy_name="forward",to="192.0.2.1:53",proto="tcp-tls"} 2"#,
            r#"outlast_forward_hedges_total{to="192.0.2.1:53"} 1"#,
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
