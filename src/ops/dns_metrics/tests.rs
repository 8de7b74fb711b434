//! Counting as a scrape shows it.

use super::*;
use std::sync::Arc;
use std::time::Duration;

use crate::ops::catalogue as names;
use crate::ops::rcode;

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

const SEEN: Observation = Observation {
    qtype: 1,
    proto: Proto::Udp,
    family: Family::V4,
    do_bit: false,
    request_len: 40,
    response_len: 90,
    rcode: 0,
    plugin: PluginLabel::of("kubernetes"),
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
    let (_, server) = server(&["Cluster.Local", "deep.cluster.local.", "10.in-addr.arpa.", "cluster.local."]);
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
    let failed = Observation { rcode: 2, plugin: PluginLabel::SERVER, ..SEEN };
    for seen in [SEEN, SEEN, other_type, tcp, failed] {
        zone.record(&seen);
    }
    server.dropped().record(&Observation { rcode: 5, plugin: PluginLabel::SERVER, response_len: 0, ..SEEN });
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
    let zone = || server.zone_for_labels(labels("."));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..20_000).for_each(|_| zone().record(&SEEN)));
            let mut shard = metrics.shard();
            let zone = &zone;
            scope.spawn(move || (0..20_000).for_each(|_| zone().record_in(&mut shard, &SEEN)));
        }
    });
    let counted = series(&metrics, "coredns_dns_");
    let ends: Vec<_> = counted.iter().filter_map(|line| line.rsplit(' ').next()).collect();
    // In the order of the names: durations, sizes of queries, queries, sizes of answers, answers.
    assert_eq!(ends, ["80000", "24", "80000", "3200000", "80000", "80000", "7200000", "80000"]);
}

#[test]
fn enabled_plugins_are_those_of_the_last_load() {
    let metrics = Metrics::new();
    let used = |name| PluginUse { server: "dns://:53", zone: ".", view: "", name };
    set_plugins_enabled(&metrics, &[used("forward"), used("cache"), used("forward")]);
    let series_of =
        |name| format!(r#"coredns_plugin_enabled{{server="dns://:53",zone=".",view="",name="{name}"}} 1"#);
    assert_eq!(series(&metrics, "coredns_plugin_enabled"), [series_of("cache"), series_of("forward")]);
    set_plugins_enabled(&metrics, &[used("cache")]);
    assert_eq!(series(&metrics, "coredns_plugin_enabled"), [series_of("cache")]);
}

/// Counts a query with handles of the registry: what the exporter makes of it is the form that all other families
/// have.
fn record_in_registry(metrics: &Metrics, (server, zone): (&str, &str), seen: &Observation) {
    let shared = [("server", server), ("zone", zone), ("view", "")];
    let count = |name, own: &[LabelPair<'static>]| {
        metrics.counter(name, &[&shared[..], own].concat()).increment(1);
    };
    let measure = |name, own: &[LabelPair<'static>], value: f64| {
        metrics.histogram(name, &[&shared[..], own].concat()).record(value);
    };
    let proto = ("proto", seen.proto.label());
    let qtype = ("type", labels::type_label(labels::type_index(seen.qtype)));
    count(names::DNS_REQUESTS, &[proto, ("family", seen.family.label()), qtype]);
    measure(names::DNS_DURATION, &[], seen.elapsed.as_secs_f64());
    measure(names::DNS_REQUEST_SIZE, &[proto], seen.request_len as f64);
    if seen.do_bit {
        count(names::DNS_DO_REQUESTS, &[]);
    }
    measure(names::DNS_RESPONSE_SIZE, &[proto], seen.response_len as f64);
    let rcode = ("rcode", rcode::mnemonic(seen.rcode).unwrap_or("other"));
    count(names::DNS_RESPONSES, &[rcode, ("plugin", labels::plugin_label(seen.plugin.index()))]);
}

/// All lines about queries, sorted, as the exporter has no order; and sums of seconds to the microsecond, as it adds up
/// fractions.
fn about_queries(metrics: &Metrics) -> Vec<String> {
    let text = metrics.render();
    let rounded = |line: &str| match line.split_once("} ") {
        Some((series, sum)) if line.contains("_seconds_sum{") => {
            format!("{series}}} {:.6}", sum.parse::<f64>().unwrap())
        }
        _ => line.to_owned(),
    };
    let mut lines: Vec<_> = text.lines().filter(|line| line.contains("coredns_dns_")).map(rounded).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn the_scrape_is_what_the_exporter_makes_of_the_same_queries() {
    let spelt = ("tls://\"a\"\\:853", "o\\dd.\\\\zone\".");
    let (own, exporter) = (Metrics::new(), Metrics::new());
    let server = ServerMetrics::new(&own, spelt.0, &[spelt.1.to_owned()]);
    let zone = server.zone_for_labels(labels(spelt.1));
    assert_eq!(zone.zone(), spelt.1);

    let mut seen = vec![SEEN];
    // On each bound and on both sides of it.
    let bounds = catalogue::BUCKETS_TIME.map(|bound| (bound * 1e9).round() as u64);
    let times = bounds.iter().flat_map(|bound| [bound - 1, *bound, bound + 1]);
    seen.extend(times.map(|ns| Observation { elapsed: Duration::from_nanos(ns), ..SEEN }));
    let bounds = catalogue::BUCKETS_BYTES.map(|bound| bound as usize);
    let sizes = bounds.iter().flat_map(|bound| [bound.saturating_sub(1), *bound, bound + 1]);
    seen.extend(sizes.map(|len| Observation {
        request_len: len,
        response_len: 65_535 - len,
        proto: Proto::Tcp,
        ..SEEN
    }));
    let types = [1, 28, 12, 33, 255, 99, 65_535].into_iter();
    seen.extend(types.map(|qtype| Observation { qtype, family: Family::V6, do_bit: true, ..SEEN }));
    let rcodes = [0, 2, 3, 5, 16, 24, 4_095].into_iter();
    seen.extend(rcodes.map(|rcode| Observation { rcode, plugin: PluginLabel::SERVER, ..SEEN }));
    let plugins = ["cache", "forward", "minimal", "unheard-of"].into_iter();
    seen.extend(plugins.map(|name| Observation { plugin: PluginLabel::of(name), ..SEEN }));

    let mut shard = own.shard();
    for (i, seen) in seen.iter().enumerate() {
        if i % 2 == 0 {
            zone.record(seen);
        } else {
            zone.record_in(&mut shard, seen);
        }
        record_in_registry(&exporter, spelt, seen);
    }
    assert_eq!(about_queries(&own), about_queries(&exporter));
}

#[test]
fn a_reload_keeps_what_was_counted() {
    let metrics = Metrics::new();
    let mut kept = metrics.shard();
    let mut count = 0;
    for _ in 0..3 {
        let server = ServerMetrics::new(&metrics, "dns://:53", &["a".to_owned()]);
        let zone = server.zone_for_labels(labels("a."));
        zone.record(&SEEN);
        zone.record_in(&mut kept, &SEEN);
        zone.record_in(&mut metrics.shard(), &SEEN);
        count += 3;
        drop(server);
        let requests = series(&metrics, "coredns_dns_requests_total");
        assert!(requests.len() == 1 && requests[0].ends_with(&format!(" {count}")), "{count}: {requests:?}");
    }
    // What is configured no more is still what was counted.
    let _other = ServerMetrics::new(&metrics, "dns://:5353", &[]);
    assert_eq!(series(&metrics, "coredns_dns_requests_total").len(), 1);
}

#[test]
fn a_scrape_in_the_middle_never_shrinks() {
    let (metrics, server) = server(&["."]);
    let zone = server.zone_for_labels(labels("."));
    // Each figure of the scrape, in its order, which is the same every time.
    let figures = || -> Vec<f64> {
        let text = metrics.render();
        let lines = text.lines().filter(|line| line.starts_with("coredns_dns_"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
    };
    zone.record(&SEEN);
    std::thread::scope(|scope| {
        let counting: Vec<_> = (0..3)
            .map(|_| {
                let mut shard = metrics.shard();
                scope.spawn(move || (0..30_000).for_each(|_| zone.record_in(&mut shard, &SEEN)))
            })
            .collect();
        let mut last = figures();
        while counting.iter().any(|thread| !thread.is_finished()) {
            let now = figures();
            assert!(now.len() == last.len() && now.iter().zip(&last).all(|(now, last)| now >= last));
            last = now;
        }
    });
    assert_eq!(figures()[0], 90_001.0);
}

#[test]
fn zones_that_nobody_asked_for_are_forgotten_with_their_configuration() {
    let metrics = Metrics::new();
    for i in 0..100 {
        let server = ServerMetrics::new(&metrics, "dns://:53", &[format!("zone-{i}.")]);
        if i % 50 == 0 {
            server.zone_for_labels(labels(&format!("zone-{i}."))).record(&SEEN);
        }
    }
    // Two that were counted, and of the last configuration its zone, the root and what is dropped.
    assert_eq!(metrics.queries.len(), 5);
}
