//! The metrics that CoreDNS and node-cache have and we keep: their exact names, types and buckets.
//!
//! Dashboards, alerts and autoscalers in the field query these by name, so a name, a bucket or a label here is
//! an interface. Labels are set where the series are made. Families of our own (`outlast_*`) are described by
//! their owners.

use Kind::{Counter, Gauge, Histogram};

/// Buckets T: 0.00025 s doubling to 8.192 s.
pub const BUCKETS_TIME: [f64; 16] = [
    0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048,
    4.096, 8.192,
];
/// Buckets P: 0.001 s doubling to 524.288 s, for what spans the whole control plane.
pub const BUCKETS_PROGRAMMING: [f64; 20] = [
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384,
    32.768, 65.536, 131.072, 262.144, 524.288,
];
/// Buckets S: 0.00025 s to 2.5 s in five steps, for self-probes.
pub const BUCKETS_SLIM: [f64; 5] = [0.00025, 0.0025, 0.025, 0.25, 2.5];
/// Buckets B: sizes of messages in bytes.
pub const BUCKETS_BYTES: [f64; 14] = [
    0.0, 100.0, 200.0, 300.0, 400.0, 511.0, 1023.0, 2047.0, 4095.0, 8291.0, 16000.0, 32000.0, 48000.0,
    64000.0,
];
/// Buckets D: the default of Prometheus' client libraries.
pub const BUCKETS_DEFAULT: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only ever grows.
    Counter,
    /// Goes both ways.
    Gauge,
    /// Counts into these buckets (upper bounds, ascending).
    Histogram(&'static [f64]),
}

/// A family of series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its `# HELP`.
    pub help: &'static str,
}

macro_rules! families {
    ($($(#[$doc:meta])* $constant:ident = $name:literal, $kind:expr, $help:literal;)*) => {
        $(
            $(#[$doc])*
            #[doc = concat!("`", $name, "`: ", $help)]
            pub const $constant: &str = $name;
        )*
        /// Every family of the catalogue.
        pub const FAMILIES: &[Family] = &[
            $(Family { name: $constant, kind: $kind, help: $help },)*
        ];
    };
}

families! {
    // === The process ===
    BUILD_INFO = "coredns_build_info", Gauge, "Always 1; its labels tell what was built.";
    PANICS = "coredns_panics_total", Counter, "Panics that were caught.";
    PLUGIN_ENABLED = "coredns_plugin_enabled", Gauge, "Always 1; its labels tell which plugin serves which zone.";
    HEALTH_DURATION = "coredns_health_request_duration_seconds", Histogram(&BUCKETS_SLIM),
        "Time that the process's own request to /health took.";
    HEALTH_FAILURES = "coredns_health_request_failures_total", Counter,
        "The process's own requests to /health that failed.";

    // === Queries: counted and rendered by `dns_metrics`; the registry makes no handles of them ===
    DNS_REQUESTS = "coredns_dns_requests_total", Counter, "Queries by zone, protocol, family and type.";
    DNS_DURATION = "coredns_dns_request_duration_seconds", Histogram(&BUCKETS_TIME), "Time that an answer took.";
    DNS_REQUEST_SIZE = "coredns_dns_request_size_bytes", Histogram(&BUCKETS_BYTES), "Size of queries in bytes.";
    DNS_DO_REQUESTS = "coredns_dns_do_requests_total", Counter, "Queries with the DO bit.";
    DNS_RESPONSE_SIZE = "coredns_dns_response_size_bytes", Histogram(&BUCKETS_BYTES), "Size of answers in bytes.";
    DNS_RESPONSES = "coredns_dns_responses_total", Counter, "Answers by zone, rcode and plugin.";

    // === kubernetes ===
    PROGRAMMING_DURATION = "coredns_kubernetes_dns_programming_duration_seconds",
        Histogram(&BUCKETS_PROGRAMMING),
        "Time from what set a change of endpoints off until it is served, by kind of service.";

    // === node-cache ===
    NODECACHE_SETUP_ERRORS = "coredns_nodecache_setup_errors_total", Counter,
        "Errors of a node-local cache's set-up, by what it is about.";

    // === acl ===
    ACL_BLOCKED = "coredns_acl_blocked_requests_total", Counter, "Queries that `acl block` refused.";
    ACL_FILTERED = "coredns_acl_filtered_requests_total", Counter, "Queries that `acl filter` answered with nothing.";
    ACL_DROPPED = "coredns_acl_dropped_requests_total", Counter, "Queries that `acl drop` left without a reply.";
    ACL_ALLOWED = "coredns_acl_allowed_requests_total", Counter, "Queries that `acl` let pass.";

    // === autopath ===
    AUTOPATH_SUCCESS = "coredns_autopath_success_total", Counter, "Search paths that led to a name.";

    // === local ===
    LOCALHOST_REQUESTS = "coredns_local_localhost_requests_total", Counter,
        "Queries for names below or behind localhost.";

    // === hosts ===
    HOSTS_ENTRIES = "coredns_hosts_entries", Gauge, "Names and addresses of the hosts file and the block.";
    HOSTS_RELOAD_TIMESTAMP = "coredns_hosts_reload_timestamp_seconds", Gauge,
        "Unix time of the last change of the hosts file.";
    // === template ===
    TEMPLATE_MATCHES = "coredns_template_matches_total", Counter, "Queries that a template matched.";
    TEMPLATE_FAILURES = "coredns_template_template_failures_total", Counter,
        "Templates that could not be filled in, by section and template.";
    TEMPLATE_RR_FAILURES = "coredns_template_rr_failures_total", Counter,
        "Templates that did not make a record, by section and template.";
    // === cache ===
    CACHE_ENTRIES = "coredns_cache_entries", Gauge, "Entries of the cache by type.";
    CACHE_REQUESTS = "coredns_cache_requests_total", Counter, "Queries that were looked up in the cache.";
    CACHE_HITS = "coredns_cache_hits_total", Counter, "Queries that were answered from the cache, by type.";
    CACHE_MISSES = "coredns_cache_misses_total", Counter, "Queries that were not answered from the cache.";
    CACHE_PREFETCH = "coredns_cache_prefetch_total", Counter, "Refreshes of entries of the cache.";
    CACHE_DROPS = "coredns_cache_drops_total", Counter, "Replies that were not to the question.";
    CACHE_SERVED_STALE = "coredns_cache_served_stale_total", Counter, "Answers from expired entries.";
    CACHE_EVICTIONS = "coredns_cache_evictions_total", Counter, "Entries that made room for others, by type.";

    // === forward ===
    FORWARD_HEALTHCHECK_BROKEN = "coredns_forward_healthcheck_broken_total", Counter,
        "Times that every upstream was unhealthy.";
    FORWARD_REJECTS = "coredns_forward_max_concurrent_rejects_total", Counter,
        "Queries rejected because too many were in flight.";
    PROXY_DURATION = "coredns_proxy_request_duration_seconds", Histogram(&BUCKETS_TIME),
        "Time that an exchange with an upstream took.";
    PROXY_HEALTHCHECK_FAILURES = "coredns_proxy_healthcheck_failures_total", Counter,
        "Health probes that an upstream did not answer.";
    PROXY_CONN_HITS = "coredns_proxy_conn_cache_hits_total", Counter,
        "Queries to an upstream on a connection that was open already.";
    PROXY_CONN_MISSES = "coredns_proxy_conn_cache_misses_total", Counter,
        "Queries to an upstream on a new connection or socket.";
    /// Renamed in CoreDNS 1.11; popular dashboards and alerts still ask for it.
    FORWARD_REQUESTS = "coredns_forward_requests_total", Counter, "Queries sent to an upstream.";
    /// Renamed in CoreDNS 1.11; popular dashboards and alerts still ask for it.
    FORWARD_RESPONSES = "coredns_forward_responses_total", Counter, "Answers of an upstream by rcode.";
    /// Renamed in CoreDNS 1.11; popular dashboards and alerts still ask for it.
    FORWARD_DURATION = "coredns_forward_request_duration_seconds", Histogram(&BUCKETS_TIME),
        "Time that an upstream took.";
    /// Renamed in CoreDNS 1.11; popular alerts still ask for it.
    FORWARD_HEALTHCHECK_FAILURES = "coredns_forward_healthcheck_failures_total", Counter,
        "Health probes that an upstream did not answer.";

    // === Configuration ===
    /// Pre-set.
    RELOAD_FAILED = "coredns_reload_failed_total", Counter, "Changed configurations that were not taken over.";
    /// Set by reloads alone, not at the start.
    RELOAD_VERSION = "coredns_reload_version_info", Gauge, "The configuration that was reloaded last, by its hash.";

    // === The API server's client ===
    REST_REQUESTS = "coredns_kubernetes_rest_client_requests_total", Counter,
        "Requests to the API server by status code, method and host.";
    REST_DURATION = "coredns_kubernetes_rest_client_request_duration_seconds", Histogram(&BUCKETS_DEFAULT),
        "Time that an answer of the API server took.";
    REST_LIMITER_DURATION = "coredns_kubernetes_rest_client_rate_limiter_duration_seconds",
        Histogram(&BUCKETS_DEFAULT), "Time that a request waited for the client's own limit.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_types_and_buckets_are_coherent() {
        for (i, Family { name, kind, help }) in FAMILIES.iter().enumerate() {
            assert!(name.starts_with("coredns_"), "{name}");
            assert!(help.ends_with('.'), "{name}");
            assert_eq!(*kind == Counter, name.ends_with("_total"), "{name}");
            assert!(FAMILIES[..i].iter().all(|f| f.name != *name), "{name} twice");
            if let Histogram(bounds) = kind {
                assert!(name.ends_with("_seconds") || name.ends_with("_bytes"), "{name}");
                assert!(bounds.windows(2).all(|b| b[0] < b[1]), "{name}");
            }
        }
    }

    #[test]
    fn doubling_buckets_double() {
        for buckets in [&BUCKETS_TIME[..], &BUCKETS_PROGRAMMING] {
            assert!(buckets.windows(2).all(|b| (b[1] / b[0] - 2.0).abs() < 1e-9));
        }
    }
}
