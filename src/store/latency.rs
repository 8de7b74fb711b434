//! How long it takes from what sets a change of endpoints off until it is served: CoreDNS's programming latency.

use std::time::Duration;

use metrics::Histogram;

use crate::ops::catalogue;
use crate::ops::metrics::Metrics;
use crate::source::Trigger;
use crate::zone::Table;
use crate::zone::object::Shape;

/// What set a change off, and whose change it is.
#[derive(Debug)]
pub(super) struct Cause {
    /// The namespace of the slice and its service.
    namespace: Box<str>,
    /// The service, and when.
    trigger: Trigger,
}

impl Cause {
    /// A change of a slice in this namespace.
    pub(super) fn new(namespace: &str, trigger: Trigger) -> Self {
        Self { namespace: namespace.into(), trigger }
    }
}

/// Measures programming latency, by CoreDNS's label `service_kind`.
pub(super) struct Latency {
    /// Services with an address of their own.
    cluster_ip: Histogram,
    /// Services that are their endpoints. Those without a selector have no triggers.
    headless: Histogram,
}

impl Latency {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let of = |kind| metrics.histogram(catalogue::PROGRAMMING_DURATION, &[("service_kind", kind)]);
        Self { cluster_ip: of("cluster_ip"), headless: of("headless_with_selector") }
    }

    /// What these have caused is served since `now_ms` (Unix milliseconds), by `table`. Changes of services that are
    /// not known, or have no endpoints to be served, do not count.
    pub(super) fn record(&self, causes: &[Cause], table: &Table, now_ms: u64) {
        for Cause { namespace, trigger } in causes {
            let entry = table.service(namespace.as_bytes(), trigger.service.as_bytes());
            let histogram = match entry.and_then(|e| e.service()).map(|s| &s.shape) {
                Some(Shape::ClusterIp(_)) => &self.cluster_ip,
                Some(Shape::Headless) => &self.headless,
                Some(Shape::ExternalName(_)) | None => continue,
            };
            // Two machines' clocks: what was set off in the future took no time.
            let took = Duration::from_millis(now_ms.saturating_sub(trigger.at_ms));
            histogram.record(took.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::object::{Kinds, Object, Service};

    #[test]
    fn kinds_of_services() {
        let service = |name: &str, shape| {
            let (namespace, name) = ("shop".into(), name.into());
            Object::Service(Service { namespace, name, shape, ports: [].into(), labels: [].into() })
        };
        let services = [
            service("web", Shape::ClusterIp([].into())),
            service("db", Shape::Headless),
            service("out", Shape::ExternalName("example.org".into())),
        ];
        let table = Table::build(services, Kinds::CORE, 1);
        let metrics = Metrics::new();
        let cause = |(namespace, service, at_ms): (&str, &str, u64)| {
            Cause::new(namespace, Trigger { service: service.into(), at_ms })
        };
        let causes = [
            ("shop", "web", 9_997),
            ("shop", "db", 5_000),
            ("shop", "db", 20_000),
            ("shop", "out", 9_000),
            ("shop", "gone", 9_000),
            ("other", "web", 9_000),
        ]
        .map(cause);
        Latency::new(&metrics).record(&causes, &table, 10_000);
        let text = metrics.render();
        let name = catalogue::PROGRAMMING_DURATION;
        let lines: Vec<_> = text.lines().filter_map(|l| l.strip_prefix(name)).collect();
        for line in [
            "_sum{service_kind=\"cluster_ip\"} 0.003",
            "_count{service_kind=\"cluster_ip\"} 1",
            "_bucket{service_kind=\"cluster_ip\",le=\"0.002\"} 0",
            "_bucket{service_kind=\"cluster_ip\",le=\"0.004\"} 1",
            "_sum{service_kind=\"headless_with_selector\"} 5",
            "_count{service_kind=\"headless_with_selector\"} 2",
            "_bucket{service_kind=\"headless_with_selector\",le=\"0.001\"} 1",
        ] {
            assert!(lines.contains(&line), "{line} in {lines:#?}");
        }
        assert_eq!(lines.iter().filter(|l| l.starts_with("_count")).count(), 2, "no other kind");
    }
}
