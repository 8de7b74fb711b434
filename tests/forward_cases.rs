//! Cases of forwarding, each by its number in the collection they come from: what a client of a whole node sees.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use outlast::forward::Transport;
use outlast::testkit::client::{Answer, Query};
use outlast::testkit::node::{Builder, TestNode};
use outlast::testkit::upstream::tls::Identity;
use outlast::testkit::upstream::{Behaviour, FakeUpstream};

/// How long a test waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// One address of `www.test.` that ends in the upstream's number, and 100 of `many.test.`, which is about 2 kB.
fn zone(upstream: u8) -> String {
    let many: String = (0..180).map(|i| format!("many.test. 60 A 198.51.{i}.{upstream}\n")).collect();
    format!("www.test. 60 A 192.0.2.{upstream}\nwww.lab.test. 60 A 192.0.2.{upstream}\n{many}")
}

/// The reply in short: `A`, `B` or `C` for a whole answer of that upstream, `TC`, or the code.
fn short(answer: &Answer) -> String {
    if answer.message.metadata.truncation {
        return "TC".to_owned();
    }
    match (answer.rcode(), answer.answers().first().and_then(|record| record.chars().last())) {
        (ResponseCode::NoError, Some('1')) => "A".to_owned(),
        (ResponseCode::NoError, Some('2')) => "B".to_owned(),
        (ResponseCode::NoError, Some('3')) => "C".to_owned(),
        (code, _) => format!("{code:?}"),
    }
}

async fn ask(node: &TestNode, query: &Query, client: Transport) -> Answer {
    let asker = node.client().with_timeout(PATIENCE);
    match client {
        Transport::Udp => asker.udp(query).await.unwrap(),
        _ => asker.tcp(query).await.unwrap(),
    }
}

struct Case {
    name: &'static str,
    /// How upstream A treats queries; B answers.
    a: Behaviour,
    /// Lines of the block; the order is sequential.
    lines: &'static str,
    query: Query,
    client: Transport,
    want: &'static str,
    /// The transports of the queries that A saw, but for probes.
    seen_by_a: &'static [Transport],
}

#[tokio::test]
async fn one_query() {
    use Transport::{Tcp, Udp};
    let www = || Query::a("www.test.");
    let case =
        |name, a, want| Case { name, a, lines: "", query: www(), client: Udp, want, seen_by_a: &[Udp] };
    let cases = [
        case("491: the first is silent, the second replies", Behaviour::Silent, "B"),
        case("494: a wrong id, then the right one", Behaviour::WrongIds(1), "A"),
        case("495: a different question", Behaviour::WrongQuestion, "FormErr"),
        Case { client: Tcp, seen_by_a: &[Tcp], ..case("496: a client over TCP", Behaviour::Answer, "A") },
        Case {
            lines: "force_tcp",
            query: Query::a("many.test."),
            seen_by_a: &[Tcp],
            ..case("497: 3 kB for a client that takes 512", Behaviour::Answer, "TC")
        },
        Case {
            lines: "prefer_udp",
            client: Tcp,
            query: Query::a("many.test."),
            seen_by_a: &[Udp, Tcp],
            ..case("498: truncated over UDP, whole over TCP", Behaviour::TruncateUdp, "A")
        },
        Case {
            lines: "except test",
            seen_by_a: &[],
            ..case("501: excepted, and no next plugin", Behaviour::Answer, "ServFail")
        },
        Case {
            lines: "failover SERVFAIL REFUSED",
            ..case("510: failover for SERVFAIL", Behaviour::Rcode(ResponseCode::ServFail), "B")
        },
        Case {
            lines: "failover SERVFAIL REFUSED",
            ..case("510: failover for REFUSED", Behaviour::Rcode(ResponseCode::Refused), "B")
        },
        Case {
            lines: "failover SERVFAIL REFUSED",
            ..case("510: no failover for NXDOMAIN", Behaviour::NxDomain, "NXDomain")
        },
    ];
    for Case { name, a, lines, query, client, want, seen_by_a } in cases {
        let first = FakeUpstream::start(&zone(1)).await;
        first.set_all(a);
        let second = FakeUpstream::start(&zone(2)).await;
        let node = TestNode::start(&format!(
            ".:0 {{\n bind 127.0.0.1\n errors\n forward . {} {} {{\n policy sequential\n {lines}\n }}\n}}\n",
            first.addr(),
            second.addr()
        ));
        let answer = ask(&node, &query, client).await;
        assert_eq!(short(&answer), want, "{name}");
        if want == "TC" {
            assert!(answer.raw.len() <= 512, "{name}: {}", answer.raw.len());
        }
        let seen = first.seen().into_iter().filter(|seen| seen.kind != RecordType::NS);
        assert_eq!(seen.map(|seen| seen.transport).collect::<Vec<_>>(), seen_by_a, "{name}");
        if name.starts_with("501") {
            node.logged("no next plugin found").await;
        }
    }
}

#[tokio::test]
async fn case_492_one_silent_upstream() {
    let upstream = FakeUpstream::start(&zone(1)).await;
    upstream.set_all(Behaviour::Silent);
    let node = TestNode::start(&format!(
        ".:0 {{\n bind 127.0.0.1\n errors\n forward . {} {{\n read_timeout 400ms\n }}\n}}\n",
        upstream.addr()
    ));
    let started = Instant::now();
    let answer = ask(&node, &Query::a("www.test.").edns(1232), Transport::Udp).await;
    assert_eq!(answer.rcode(), ResponseCode::ServFail);
    assert!(started.elapsed() >= Duration::from_millis(800), "two attempts of read_timeout");
    assert_eq!(upstream.count("www.test."), 2);
    assert_eq!(answer.ede(), [(23, format!("{} over udp: i/o timeout", upstream.addr()))]);
    node.logged(&format!("->{}: i/o timeout", upstream.addr())).await;
    node.until("probes", |_| upstream.count(".") >= 2).await;
}

#[tokio::test]
async fn case_493_an_upstream_that_cannot_be_reached() {
    let closed = FakeUpstream::start("").await.stop().await;
    let node = TestNode::start(&format!(
        ".:0 {{\n bind 127.0.0.1\n errors\n forward . {closed} {{\n read_timeout 60s\n }}\n}}\n"
    ));
    let answer = ask(&node, &Query::a("www.test."), Transport::Udp).await;
    assert_eq!(answer.rcode(), ResponseCode::ServFail);
    let series = format!("outlast_forward_failures_total{{to=\"{closed}\",cause=\"refused\"}}");
    assert_eq!(node.metric(&series), Some(2.0), "two attempts");
    node.logged(&format!("->{closed}: read: connection refused")).await;
}

#[tokio::test]
async fn case_499_a_pooled_connection_is_closed_between_queries() {
    let upstream = FakeUpstream::start(&zone(1)).await;
    let node = TestNode::start(&format!(
        ".:0 {{\n bind 127.0.0.1\n forward . {} {{\n force_tcp\n max_connect_attempts 1\n }}\n}}\n",
        upstream.addr()
    ));
    for _ in 0..5 {
        assert_eq!(short(&ask(&node, &Query::a("www.test."), Transport::Udp).await), "A");
        upstream.close_connections();
    }
}

#[tokio::test]
async fn case_500_max_concurrent() {
    let slow = Behaviour::Delay(Duration::from_secs(1));
    let upstream = FakeUpstream::start(&zone(1)).await.on("www.test.", slow);
    let node = TestNode::start(&format!(
        ".:0 {{\n bind 127.0.0.1\n errors\n forward . {} {{\n max_concurrent 1\n }}\n}}\n",
        upstream.addr()
    ));
    let query = Query::a("www.test.");
    let mut both = FuturesUnordered::new();
    both.push(ask(&node, &query, Transport::Udp));
    both.push(ask(&node, &query, Transport::Udp));
    assert_eq!(short(&both.next().await.unwrap()), "Refused", "at once");
    assert_eq!(short(&both.next().await.unwrap()), "A");
    assert_eq!(node.metric("coredns_forward_max_concurrent_rejects_total"), Some(1.0));
    node.logged("concurrent queries exceeded maximum 1").await;
}

#[tokio::test]
async fn case_502_two_forwards() {
    let lab = FakeUpstream::start(&zone(1)).await;
    let other = FakeUpstream::start(&zone(2)).await;
    let node = TestNode::start(&format!(
        ".:0 {{\n bind 127.0.0.1\n forward lab.test {}\n forward . {}\n}}\n",
        lab.addr(),
        other.addr()
    ));
    for (name, want) in [("www.lab.test.", "A"), ("www.test.", "B")] {
        assert_eq!(short(&ask(&node, &Query::a(name), Transport::Udp).await), want, "{name}");
    }
}

#[tokio::test]
async fn cases_503_to_506_what_starts() {
    let identity = Identity::new(&["dns.example"]);
    let tls =
        format!("tls://192.0.2.1 {{\n tls_servername dns.example\n tls {}\n }}", identity.ca().display());
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    };
    let two = file("two", "search a.example\nnameserver 192.0.2.1\noptions ndots:5\nnameserver 192.0.2.2\n");
    let none = file("none", "search a.example\n");
    let addresses = |count: u8| (1..=count).map(|i| format!("192.0.2.{i}")).collect::<Vec<_>>().join(" ");
    let (most, more) = (addresses(15), addresses(16));
    for (name, to, wrong) in [
        ("503: a file with two servers", two.as_str(), None),
        ("504: a file without a server", &none, Some("no nameserver line with an IP address")),
        ("504: it is skipped beside others", &format!("{none} 192.0.2.1"), None),
        ("505: 15 upstreams", &most, None),
        ("505: 16 upstreams", &more, Some("forward takes at most 15 upstreams, not 16")),
        ("505: a server that is named twice counts once", &format!("{most} {two}"), None),
        ("506: within TLS, at port 853 (tests of the options verify names)", &tls, None),
    ] {
        let error = Builder::default().check(&format!(".:53 {{\n forward . {to}\n}}\n")).err();
        let error = error.map(|e| e.to_string());
        match wrong {
            None => assert_eq!(error, None, "{name}"),
            Some(part) => {
                assert!(error.as_deref().is_some_and(|e| e.contains(part)), "{name}: {error:?}");
            }
        }
    }
}

#[tokio::test]
async fn case_507_no_probes_with_max_fails_0() {
    let upstream = FakeUpstream::start(&zone(1)).await.on("www.test.", Behaviour::Silent);
    let node = TestNode::start(&format!(
        ".:0 {{\n bind 127.0.0.1\n forward . {} {{\n max_fails 0\n read_timeout 30ms\n }}\n}}\n",
        upstream.addr()
    ));
    for _ in 0..10 {
        assert_eq!(short(&ask(&node, &Query::a("www.test."), Transport::Udp).await), "ServFail");
    }
    assert_eq!(upstream.count("."), 0);
}

#[tokio::test]
async fn cases_508_509_all_are_down() {
    for (lines, asked) in [("", 1), ("failfast_all_unhealthy_upstreams", 0)] {
        let mut upstreams = Vec::new();
        for i in 1..=3 {
            let upstream = FakeUpstream::start(&zone(i)).await;
            // Probes are not answered, queries would be.
            upstream.set(".", Behaviour::Silent);
            upstream.set("dead.test.", Behaviour::Silent);
            upstreams.push(upstream);
        }
        let to: Vec<_> = upstreams.iter().map(|u| u.addr().to_string()).collect();
        let node = TestNode::start(&format!(
            ".:0 {{\n bind 127.0.0.1\n errors\n forward . {} {{\n max_fails 1\n health_check 10ms\n \
             read_timeout 50ms\n {lines}\n }}\n}}\n",
            to.join(" ")
        ));
        assert_eq!(short(&ask(&node, &Query::a("dead.test."), Transport::Udp).await), "ServFail");
        node.until("all are down", |node| node.log().matches("upstream is down").count() == 3).await;
        let broken = "coredns_forward_healthcheck_broken_total";
        let before = node.metric(broken).unwrap();
        let answer = short(&ask(&node, &Query::a("www.test."), Transport::Udp).await);
        let asked_now: usize = upstreams.iter().map(|u| u.count("www.test.")).sum();
        assert_eq!(asked_now, asked, "{lines}");
        assert_eq!(node.metric(broken), Some(before + 1.0), "{lines}");
        if asked == 1 {
            let any = HashSet::from(["A", "B", "C"]);
            assert!(any.contains(answer.as_str()), "{answer}");
        } else {
            assert_eq!(answer, "ServFail");
            node.logged("no healthy proxies").await;
        }
    }
}
