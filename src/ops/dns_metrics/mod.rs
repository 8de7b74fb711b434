//! The `coredns_dns_*` families: what every query is counted into.
//!
//! Invariants:
//!
//! * Counting takes no lock and, once a kind of query was seen, allocates nothing: handles lie in arrays by
//!   protocol, family, type, rcode and plugin, each resolved on first use.
//! * The labels of each family are CoreDNS's, no more and no less, and their values come from closed sets:
//!   clients cannot create series.

mod labels;
mod zone;

pub use labels::{Family, Proto};
pub use zone::{Observation, ZoneMetrics};

use std::sync::Arc;

use super::catalogue;
use super::metrics::{LabelPair, Metrics, help_of};

/// The zone label of queries that were refused or failed before they reached a plugin.
pub const DROPPED: &str = "dropped";

/// The series of one listener.
pub struct ServerMetrics {
    /// By zone, the longest first, the root last.
    zones: Box<[Zone]>,
    /// See [`DROPPED`].
    dropped: ZoneMetrics,
}

/// A zone that queries are counted under.
struct Zone {
    /// Its labels from the root down, lower case: the order in which suffixes are compared.
    labels: Box<[Box<[u8]>]>,
    /// Its series.
    metrics: ZoneMetrics,
}

impl ServerMetrics {
    /// The series of a listener.
    ///
    /// `server` is the listener's identity, e.g. `dns://:53`; `zones` the keys of the server blocks of its
    /// `prometheus` instance, e.g. `cluster.local.`, with or without the final dot. Queries for none of them
    /// count under `.`.
    pub fn new(metrics: &Arc<Metrics>, server: &str, zones: &[String]) -> Self {
        let mut names: Vec<String> = zones.iter().map(|zone| canonical(zone)).collect();
        names.push(".".to_owned());
        let labels = |name: &str| -> Box<[Box<[u8]>]> {
            name.split('.')
                .rev()
                .filter(|label| !label.is_empty())
                .map(|label| label.as_bytes().into())
                .collect()
        };
        let mut zones: Vec<_> = names.iter().map(|name| (labels(name), name)).collect();
        // The longest match counts, so the longest zone is tried first; the root comes last and always matches.
        zones.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        zones.dedup();
        let zone = |name: &str| ZoneMetrics::new(metrics, server, name);
        Self {
            zones: zones.into_iter().map(|(labels, name)| Zone { labels, metrics: zone(name) }).collect(),
            dropped: zone(DROPPED),
        }
    }

    /// The series of the zone that a name belongs to, given as its labels in their order, without the root, in
    /// any letter case.
    pub fn zone_for_labels<'a, L>(&self, qname: L) -> &ZoneMetrics
    where
        L: DoubleEndedIterator<Item = &'a [u8]> + Clone,
    {
        let is_below = |zone: &&Zone| {
            let mut from_root = qname.clone().rev();
            zone.labels
                .iter()
                .all(|label| from_root.next().is_some_and(|own| own.eq_ignore_ascii_case(label)))
        };
        self.zones.iter().find(is_below).map_or(&self.dropped, |zone| &zone.metrics)
    }

    /// The series of queries that were refused or failed before they reached a plugin.
    pub const fn dropped(&self) -> &ZoneMetrics {
        &self.dropped
    }
}

/// A zone as its label spells it: lower case, with the final dot.
fn canonical(zone: &str) -> String {
    let mut zone = zone.to_ascii_lowercase();
    if !zone.ends_with('.') {
        zone.push('.');
    }
    zone
}

/// One plugin that serves one zone, for `coredns_plugin_enabled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PluginUse<'a> {
    /// The listener's identity.
    pub server: &'a str,
    /// The key of the server block, with the final dot.
    pub zone: &'a str,
    /// The view, or empty.
    pub view: &'a str,
    /// The plugin's name.
    pub name: &'a str,
}

/// Sets `coredns_plugin_enabled` to 1 for exactly these: at the start and after every reload.
pub fn set_plugins_enabled(metrics: &Metrics, uses: &[PluginUse<'_>]) {
    let mut labels: Vec<[LabelPair<'_>; 4]> = uses
        .iter()
        .map(|PluginUse { server, zone, view, name }| {
            [("server", *server), ("zone", *zone), ("view", *view), ("name", *name)]
        })
        .collect();
    // A plugin used twice in a block is one series.
    labels.sort_unstable();
    labels.dedup();
    let series: Vec<(&[LabelPair<'_>], f64)> = labels.iter().map(|labels| (&labels[..], 1.0)).collect();
    metrics.replace_gauges(catalogue::PLUGIN_ENABLED, help_of(catalogue::PLUGIN_ENABLED), &series);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// The labels of a name.
    fn labels(name: &str) -> impl DoubleEndedIterator<Item = &[u8]> + Clone {
        name.split('.').filter(|label| !label.is_empty()).map(str::as_bytes)
    }

    fn server(zones: &[&str]) -> (Arc<Metrics>, ServerMetrics) {
        let metrics = Arc::new(Metrics::new());
        let zones: Vec<_> = zones.iter().map(|zone| (*zone).to_owned()).collect();
        let server = ServerMetrics::new(&metrics, "dns://:53", &zones);
        (metrics, server)
    }

    const SEEN: Observation<'static> = Observation {
        qtype: 1,
        proto: Proto::Udp,
        family: Family::V4,
        do_bit: false,
        request_len: 40,
        response_len: 90,
        rcode: 0,
        plugin: "kubernetes",
        elapsed: Duration::from_micros(300),
    };

    /// The series of the scrape that begin so, without buckets, sorted.
    fn series(metrics: &Metrics, prefix: &str) -> Vec<String> {
        let text = metrics.render();
        let mut lines: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with(prefix) && !line.contains("_bucket{"))
            .map(str::to_owned)
            .collect();
        lines.sort_unstable();
        lines
    }

    #[test]
    fn the_longest_zone_counts() {
        struct Case {
            qname: &'static str,
            want: &'static str,
        }
        let cases = [
            Case { qname: "a.svc.cluster.local.", want: "cluster.local." },
            Case { qname: "cluster.local.", want: "cluster.local." },
            Case { qname: "A.SVC.Cluster.LOCAL.", want: "cluster.local." },
            Case { qname: "x.deep.cluster.local.", want: "deep.cluster.local." },
            Case { qname: "notcluster.local.", want: "." },
            Case { qname: "local.", want: "." },
            Case { qname: "4.3.2.10.in-addr.arpa.", want: "10.in-addr.arpa." },
            Case { qname: "110.in-addr.arpa.", want: "." },
            Case { qname: "example.org.", want: "." },
            Case { qname: ".", want: "." },
        ];
        let (_, server) =
            server(&["Cluster.Local", "deep.cluster.local.", "10.in-addr.arpa.", "cluster.local."]);
        for Case { qname, want } in cases {
            assert_eq!(server.zone_for_labels(labels(qname)).zone(), want, "{qname}");
        }
        assert_eq!(server.dropped().zone(), "dropped");
    }

    #[test]
    fn a_query_counts_once_in_each_family() {
        let (metrics, server) = server(&["."]);
        server.zone_for_labels(labels("a.")).record(&SEEN);
        let zone = r#"server="dns://:53",zone=".",view="""#;
        assert_eq!(
            series(&metrics, "coredns_dns_"),
            [
                format!("coredns_dns_request_duration_seconds_count{{{zone}}} 1"),
                format!("coredns_dns_request_duration_seconds_sum{{{zone}}} 0.0003"),
                format!(r#"coredns_dns_request_size_bytes_count{{{zone},proto="udp"}} 1"#),
                format!(r#"coredns_dns_request_size_bytes_sum{{{zone},proto="udp"}} 40"#),
                format!(r#"coredns_dns_requests_total{{{zone},proto="udp",family="1",type="A"}} 1"#),
                format!(r#"coredns_dns_response_size_bytes_count{{{zone},proto="udp"}} 1"#),
                format!(r#"coredns_dns_response_size_bytes_sum{{{zone},proto="udp"}} 90"#),
                format!(r#"coredns_dns_responses_total{{{zone},rcode="NOERROR",plugin="kubernetes"}} 1"#),
            ]
        );
        let bucket = format!(r#"coredns_dns_request_duration_seconds_bucket{{{zone},le="0.0005"}} 1"#);
        assert!(metrics.render().contains(&bucket));
    }

    #[test]
    fn each_difference_has_its_own_series() {
        let (metrics, server) = server(&["cluster.local"]);
        let zone = server.zone_for_labels(labels("a.cluster.local."));
        let other_type = Observation { qtype: 99, ..SEEN };
        let tcp = Observation { proto: Proto::Tcp, family: Family::V6, do_bit: true, ..SEEN };
        let failed = Observation { rcode: 2, plugin: "", ..SEEN };
        for seen in [SEEN, SEEN, other_type, tcp, failed] {
            zone.record(&seen);
        }
        server.dropped().record(&Observation { rcode: 5, plugin: "", response_len: 0, ..SEEN });
        let zone = r#"server="dns://:53",zone="cluster.local.",view="""#;
        let dropped = r#"server="dns://:53",zone="dropped",view="""#;
        assert_eq!(
            series(&metrics, "coredns_dns_requests_total"),
            [
                format!(r#"coredns_dns_requests_total{{{zone},proto="tcp",family="2",type="A"}} 1"#),
                format!(r#"coredns_dns_requests_total{{{zone},proto="udp",family="1",type="A"}} 3"#),
                format!(r#"coredns_dns_requests_total{{{zone},proto="udp",family="1",type="other"}} 1"#),
                format!(r#"coredns_dns_requests_total{{{dropped},proto="udp",family="1",type="A"}} 1"#),
            ]
        );
        assert_eq!(
            series(&metrics, "coredns_dns_responses_total"),
            [
                format!(r#"coredns_dns_responses_total{{{zone},rcode="NOERROR",plugin="kubernetes"}} 4"#),
                format!(r#"coredns_dns_responses_total{{{zone},rcode="SERVFAIL",plugin=""}} 1"#),
                format!(r#"coredns_dns_responses_total{{{dropped},rcode="REFUSED",plugin=""}} 1"#),
            ]
        );
        assert_eq!(
            series(&metrics, "coredns_dns_do_requests_total"),
            [format!("coredns_dns_do_requests_total{{{zone}}} 1")]
        );
    }

    #[test]
    fn nothing_is_exported_before_a_query() {
        let (metrics, _server) = server(&["."]);
        assert_eq!(series(&metrics, "coredns_dns_"), [""; 0]);
    }

    #[test]
    fn threads_count_together() {
        let (metrics, server) = server(&["."]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1_000).for_each(|_| server.zone_for_labels(labels(".")).record(&SEEN)));
            }
        });
        let requests = series(&metrics, "coredns_dns_requests_total");
        assert!(requests.len() == 1 && requests[0].ends_with(" 4000"), "{requests:?}");
        assert!(series(&metrics, "coredns_dns_request_duration_seconds_count")[0].ends_with(" 4000"));
    }

    #[test]
    fn enabled_plugins_are_those_of_the_last_load() {
        let metrics = Metrics::new();
        let used = |name| PluginUse { server: "dns://:53", zone: ".", view: "", name };
        set_plugins_enabled(&metrics, &[used("forward"), used("cache"), used("forward")]);
        let series_of = |name| {
            format!(r#"coredns_plugin_enabled{{server="dns://:53",zone=".",view="",name="{name}"}} 1"#)
        };
        assert_eq!(series(&metrics, "coredns_plugin_enabled"), [series_of("cache"), series_of("forward")]);
        set_plugins_enabled(&metrics, &[used("cache")]);
        assert_eq!(series(&metrics, "coredns_plugin_enabled"), [series_of("cache")]);
    }
}
