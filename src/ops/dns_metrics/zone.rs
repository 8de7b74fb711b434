//! The series of one (server, zone), resolved on first use.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{Counter, Histogram};

use super::labels::{self, Family, PLUGIN_COUNT, Proto, RCODE_COUNT, TYPE_COUNT};
use crate::ops::catalogue as names;
use crate::ops::metrics::{LabelPair, Metrics};

/// What there is to count of one query, once it is done.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// The type asked for.
    pub qtype: u16,
    /// How the query came.
    pub proto: Proto,
    /// From what kind of address.
    pub family: Family,
    /// Whether the query had the DO bit.
    pub do_bit: bool,
    /// Length of the query in bytes.
    pub request_len: usize,
    /// Length of the answer in bytes before compression; 0 if none was sent.
    pub response_len: usize,
    /// The answer's rcode with its extended bits; 0 (NOERROR) if none was sent.
    pub rcode: u16,
    /// The plugin that wrote the answer; empty if the server did.
    pub plugin: &'a str,
    /// Time from the beginning of the plugin chain to the answer.
    pub elapsed: Duration,
}

/// Handles of one (server, zone).
pub struct ZoneMetrics {
    /// Where handles come from.
    metrics: Arc<Metrics>,
    /// Values of the labels that all series share.
    shared: SharedLabels,
    /// By protocol, family and type.
    requests: [[[OnceLock<Counter>; TYPE_COUNT]; Family::COUNT]; Proto::COUNT],
    /// For all queries.
    duration: OnceLock<Histogram>,
    /// By protocol.
    request_size: [OnceLock<Histogram>; Proto::COUNT],
    /// For all queries.
    do_requests: OnceLock<Counter>,
    /// By protocol.
    response_size: [OnceLock<Histogram>; Proto::COUNT],
    /// By rcode and plugin; most rcodes never occur, so each one's row is made on first use.
    responses: [OnceLock<Box<PluginRow>>; RCODE_COUNT],
}

/// The counters of one rcode, by plugin.
type PluginRow = [OnceLock<Counter>; PLUGIN_COUNT];

/// Values of the labels that all series of a zone share.
struct SharedLabels {
    /// The listener, e.g. `dns://:53`.
    server: Box<str>,
    /// The zone, lower case with its final dot, or `dropped`.
    zone: Box<str>,
}

impl ZoneMetrics {
    pub(super) fn new(metrics: &Arc<Metrics>, server: &str, zone: &str) -> Self {
        Self {
            metrics: Arc::clone(metrics),
            shared: SharedLabels { server: server.into(), zone: zone.into() },
            requests: Default::default(),
            duration: OnceLock::new(),
            request_size: Default::default(),
            do_requests: OnceLock::new(),
            response_size: Default::default(),
            responses: Default::default(),
        }
    }

    /// The value of the label `zone`.
    pub fn zone(&self) -> &str {
        &self.shared.zone
    }

    /// Counts one query. Without locks and, after the first of its kind, without allocating.
    pub fn record(&self, seen: &Observation<'_>) {
        let proto = ("proto", seen.proto.label());
        let type_index = labels::type_index(seen.qtype);
        self.requests[seen.proto as usize][seen.family as usize][type_index]
            .get_or_init(|| {
                let family = ("family", seen.family.label());
                self.counter(names::DNS_REQUESTS, &[proto, family, ("type", labels::type_label(type_index))])
            })
            .increment(1);
        self.duration.get_or_init(|| self.histogram(names::DNS_DURATION, &[])).record(seen.elapsed);
        self.request_size[seen.proto as usize]
            .get_or_init(|| self.histogram(names::DNS_REQUEST_SIZE, &[proto]))
            .record(seen.request_len as f64);
        if seen.do_bit {
            self.do_requests.get_or_init(|| self.counter(names::DNS_DO_REQUESTS, &[])).increment(1);
        }
        self.response_size[seen.proto as usize]
            .get_or_init(|| self.histogram(names::DNS_RESPONSE_SIZE, &[proto]))
            .record(seen.response_len as f64);
        let (rcode, plugin) = (labels::rcode_index(seen.rcode), labels::plugin_index(seen.plugin));
        self.responses[rcode].get_or_init(Box::default)[plugin]
            .get_or_init(|| {
                let rcode = labels::rcode_label(rcode);
                self.counter(
                    names::DNS_RESPONSES,
                    &[("rcode", &rcode), ("plugin", labels::plugin_label(plugin))],
                )
            })
            .increment(1);
    }

    fn counter(&self, name: &'static str, own: &[LabelPair<'_>]) -> Counter {
        self.metrics.counter(name, &self.shared.with(own))
    }

    fn histogram(&self, name: &'static str, own: &[LabelPair<'_>]) -> Histogram {
        self.metrics.histogram(name, &self.shared.with(own))
    }
}

impl SharedLabels {
    /// These labels and a family's own, exactly CoreDNS's set: one more would split sums in alerts. There
    /// are no views here, and CoreDNS has the label without them too.
    fn with<'a>(&'a self, own: &[LabelPair<'a>]) -> Vec<LabelPair<'a>> {
        let shared = [("server", &*self.server), ("zone", &*self.zone), ("view", "")];
        [&shared[..], own].concat()
    }
}
