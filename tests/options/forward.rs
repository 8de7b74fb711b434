//! The options of `forward`.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use hickory_proto::op::ResponseCode;
use outlast::forward::Transport;
use outlast::testkit::client::Query;
use outlast::testkit::node::TestNode;
use outlast::testkit::upstream::tls::Identity;
use outlast::testkit::upstream::{Behaviour, FakeUpstream};
use tokio::net::UdpSocket;

use super::cluster::a;
use super::process::PATIENCE;

/// Any name below `example.` that the upstreams know.
const ZONE: &str = "a.example. 60 A 192.0.2.1\nb.sub.example. 60 A 192.0.2.2\nc.other. 60 A 192.0.2.3\n";

fn node(from: &str, to: &[&FakeUpstream], lines: &str) -> TestNode {
    let to: Vec<_> = to.iter().map(|u| u.addr().to_string()).collect();
    TestNode::start(&format!(
        ".:0 {{\n bind 127.0.0.1\n forward {from} {} {{\n {lines}\n }}\n}}\n",
        to.join(" ")
    ))
}

#[tokio::test]
async fn forward_from_and_to() {
    let one = FakeUpstream::start(ZONE).await;
    let other = FakeUpstream::start("a.example. 60 A 192.0.2.9\n").await;
    let all = node(".", &[&one], "");
    assert_eq!(a(&all, "a.example.").await, "NoError 192.0.2.1");
    assert_eq!(a(&all, "c.other.").await, "NoError 192.0.2.3");
    let part = node("example", &[&other], "");
    assert_eq!(a(&part, "a.example.").await, "NoError 192.0.2.9");
    assert_eq!(a(&part, "c.other.").await, "ServFail", "nobody is asked for other zones");
}

#[tokio::test]
async fn forward_except() {
    let upstream = FakeUpstream::start(ZONE).await;
    let node = node(".", &[&upstream], "except sub.example other");
    assert_eq!(a(&node, "a.example.").await, "NoError 192.0.2.1");
    assert_eq!(a(&node, "b.sub.example.").await, "ServFail");
    assert_eq!(a(&node, "c.other.").await, "ServFail");
    assert_eq!(upstream.total(), 1);
}

/// How the upstream is asked for clients of each transport.
async fn transports(lines: &str) -> [Transport; 2] {
    let upstream = FakeUpstream::start(ZONE).await;
    let node = node(".", &[&upstream], lines);
    node.client().udp(&Query::a("a.example.")).await.unwrap();
    node.client().tcp(&Query::a("a.example.")).await.unwrap();
    let seen = upstream.seen();
    [seen[0].transport, seen[1].transport]
}

#[tokio::test]
async fn forward_force_tcp() {
    assert_eq!(transports("").await, [Transport::Udp, Transport::Tcp]);
    assert_eq!(transports("force_tcp").await, [Transport::Tcp, Transport::Tcp]);
}

#[tokio::test]
async fn forward_prefer_udp() {
    assert_eq!(transports("prefer_udp").await, [Transport::Udp, Transport::Udp]);
    let upstream = FakeUpstream::start(ZONE).await.on("a.example.", Behaviour::TruncateUdp);
    let node = node(".", &[&upstream], "prefer_udp");
    assert_eq!(a(&node, "a.example.").await, "NoError 192.0.2.1");
    let seen: Vec<_> = upstream.seen().iter().map(|s| s.transport).collect();
    assert_eq!(seen, [Transport::Udp, Transport::Tcp]);
}

#[tokio::test]
async fn forward_policy() {
    for (lines, want) in [
        // A fair coin that falls on one side 40 times does not happen.
        ("", None),
        ("policy random", None),
        ("policy round_robin", Some([16..=24, 16..=24])),
        ("policy sequential", Some([36..=40, 0..=4])),
    ] {
        let upstreams = [FakeUpstream::start(ZONE).await, FakeUpstream::start(ZONE).await];
        let node = node(".", &[&upstreams[0], &upstreams[1]], lines);
        for _ in 0..40 {
            assert_eq!(a(&node, "a.example.").await, "NoError 192.0.2.1", "{lines}");
        }
        let counts = [upstreams[0].total(), upstreams[1].total()];
        match want {
            // Where the machine is busy, one that is late for once has the other asked beside it.
            Some([first, second]) => {
                assert!(first.contains(&counts[0]) && second.contains(&counts[1]), "{lines}: {counts:?}");
            }
            None => assert!(counts[0] > 0 && counts[1] > 0, "{lines}: {counts:?}"),
        }
    }
}

/// Of two nodes that wait for the same silence, the one with the shorter limit gives up first, and neither before
/// its limit.
#[tokio::test]
async fn forward_read_timeout() {
    let upstream = FakeUpstream::start(ZONE).await.on("a.example.", Behaviour::Silent);
    let node = |timeout: Duration| {
        let lines = format!("read_timeout {}ms\n max_connect_attempts 1", timeout.as_millis());
        node(".", &[&upstream], &lines)
    };
    let gives_up = async |node: &TestNode, after: Duration| {
        let client = node.client().with_timeout(PATIENCE);
        let start = Instant::now();
        let answer = client.udp(&Query::a("a.example.")).await.unwrap();
        assert_eq!(answer.rcode(), ResponseCode::ServFail, "{after:?}");
        assert!(start.elapsed() >= after, "{after:?}: {:?}", start.elapsed());
    };
    // One is far below what holds without the option, the other above.
    let (short, long) = (Duration::from_millis(50), Duration::from_secs(4));
    let nodes = [node(short), node(long)];
    let mut later = std::pin::pin!(gives_up(&nodes[1], long));
    tokio::select! {
        biased;
        () = gives_up(&nodes[0], short) => {}
        () = &mut later => panic!("{long:?} are over before {short:?}"),
    }
    later.await;
}

/// Answers `queries` queries with NODATA, but none before the last of them has come.
async fn answers_together(socket: &UdpSocket, queries: usize) {
    let mut held = Vec::new();
    while held.len() < queries {
        let mut query = vec![0; 512];
        let (length, from) = socket.recv_from(&mut query).await.unwrap();
        query.truncate(length);
        held.push((query, from));
    }
    for (mut reply, to) in held {
        // QR and RD, RA and NOERROR.
        reply[2..4].copy_from_slice(&[0x81, 0x80]);
        socket.send_to(&reply, to).await.unwrap();
    }
}

#[tokio::test]
async fn forward_max_concurrent() {
    for (lines, refused) in [("", 0), ("max_concurrent 0", 0), ("max_concurrent 2", 3)] {
        let upstream = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let to = upstream.local_addr().unwrap();
        // The limit of one try is out of the way: the upstream decides when there are answers.
        let node = TestNode::start(&format!(
            ".:0 {{\n bind 127.0.0.1\n forward . {to} {{\n read_timeout 60s\n {lines}\n }}\n}}\n"
        ));
        let client = node.client().with_timeout(PATIENCE);
        let ask = |name: &'static str| async { client.udp(&Query::a(name)).await.unwrap().rcode() };
        let mut asked = FuturesUnordered::new();
        for name in ["a.example.", "b.example.", "c.example.", "d.example.", "e.example."] {
            asked.push(ask(name));
        }
        // Those are refused while the others are held.
        for _ in 0..refused {
            assert_eq!(asked.next().await, Some(ResponseCode::Refused), "{lines}");
        }
        let held = asked.len();
        let (codes, ()) = tokio::join!(asked.collect::<Vec<_>>(), answers_together(&upstream, held));
        assert_eq!(codes, vec![ResponseCode::NoError; held], "{lines}");
        let rejects = node.metric("coredns_forward_max_concurrent_rejects_total").unwrap_or_default();
        assert_eq!(rejects as usize, refused, "{lines}");
    }
}

#[tokio::test]
async fn forward_max_connect_attempts() {
    // By default there are two for each upstream.
    for (lines, want) in [("", 2), ("max_connect_attempts 1", 1), ("max_connect_attempts 4", 4)] {
        let upstream = FakeUpstream::start(ZONE).await.on("a.example.", Behaviour::Silent);
        let node = node(".", &[&upstream], &format!("read_timeout 50ms\n {lines}"));
        assert_eq!(a(&node, "a.example.").await, "ServFail", "{lines}");
        assert_eq!(upstream.count("a.example."), want, "{lines}");
    }
}

// === Connections ===

/// A pause between two queries.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks until the upstream has seen this many connections, or as often as is enough to see that it will not.
async fn asks_until(node: &TestNode, upstream: &FakeUpstream, connections: usize, pause: Duration) {
    const ENOUGH: usize = 20;
    for _ in 0..ENOUGH {
        assert_eq!(a(node, "a.example.").await, "NoError 192.0.2.1");
        if upstream.connections() >= connections {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

#[tokio::test]
async fn forward_expire() {
    for (lines, want) in [("expire 60s", 1), ("expire 5ms", 2)] {
        let upstream = FakeUpstream::start(ZONE).await;
        let node = node(".", &[&upstream], &format!("force_tcp\n {lines}"));
        asks_until(&node, &upstream, 2, PAUSE).await;
        assert_eq!(upstream.connections(), want, "{lines}");
    }
}

#[tokio::test]
async fn forward_max_age() {
    for (lines, want) in [("", 1), ("max_age 0", 1), ("max_age 50ms", 2)] {
        let upstream = FakeUpstream::start(ZONE).await;
        let node = node(".", &[&upstream], &format!("force_tcp\n expire 60s\n {lines}"));
        asks_until(&node, &upstream, 2, PAUSE).await;
        assert_eq!(upstream.connections(), want, "{lines}");
    }
}

#[tokio::test]
async fn forward_max_idle_conns() {
    for (lines, want) in [("", 2), ("max_idle_conns 0", 2), ("max_idle_conns 1", 3)] {
        let together = Behaviour::Delay(Duration::from_millis(200));
        let upstream = FakeUpstream::start(ZONE).await.on("a.example.", together);
        let node = node(".", &[&upstream], &format!("force_tcp\n {lines}"));
        // Two queries at a time need two connections; the second time there is one, or there are two.
        for _ in 0..2 {
            let both = join_all([a(&node, "a.example."), a(&node, "a.example.")]).await;
            assert_eq!(both, ["NoError 192.0.2.1"; 2], "{lines}");
        }
        assert_eq!(upstream.connections(), want, "{lines}");
    }
}

#[tokio::test]
async fn forward_source_address() {
    for (lines, want) in [("", [127, 0, 0, 1]), ("source_address 127.0.0.5", [127, 0, 0, 5])] {
        let upstream = FakeUpstream::start(ZONE).await;
        let node = node(".", &[&upstream], lines);
        node.client().udp(&Query::a("a.example.")).await.unwrap();
        node.client().tcp(&Query::a("a.example.")).await.unwrap();
        let sources: Vec<_> = upstream.seen().iter().map(|seen| seen.source.ip()).collect();
        assert_eq!(sources, [IpAddr::V4(Ipv4Addr::from(want)); 2], "{lines}");
    }
}

// === TLS ===

/// A node with one upstream within TLS, and what it answers.
async fn over_tls(upstream: &FakeUpstream, named: &str, lines: &str) -> String {
    let to = upstream.addr();
    let node = TestNode::start(&format!(
        ".:0 {{\n bind 127.0.0.1\n errors\n forward . tls://{}{named}:{} {{\n {lines}\n }}\n}}\n",
        to.ip(),
        to.port()
    ));
    let answer = a(&node, "a.example.").await;
    if answer == "ServFail" && node.log().contains("invalid peer certificate") {
        return "untrusted".to_owned();
    }
    answer
}

#[tokio::test]
async fn forward_tls() {
    let identity = Identity::new(&["127.0.0.1"]);
    let (ca, other) = (identity.ca(), Identity::new(&["127.0.0.1"]));
    let upstream = FakeUpstream::start_tls(ZONE, &identity).await;
    let with = |ca: &std::path::Path| format!("tls {}", ca.display());
    assert_eq!(over_tls(&upstream, "", &with(&ca)).await, "NoError 192.0.2.1");
    assert_eq!(over_tls(&upstream, "", &with(&other.ca())).await, "untrusted");
    assert!(upstream.seen().iter().all(|seen| seen.transport == Transport::Tls));

    let identity = Identity::new(&["127.0.0.1"]).wanting_clients();
    let upstream = FakeUpstream::start_tls(ZONE, &identity).await;
    let (ca, (certificate, key)) = (identity.ca(), identity.client());
    let lines = format!("tls {} {} {}", certificate.display(), key.display(), ca.display());
    assert_eq!(over_tls(&upstream, "", &lines).await, "NoError 192.0.2.1");
    assert_eq!(over_tls(&upstream, "", &with(&ca)).await, "ServFail", "the upstream wants a certificate");
}

#[tokio::test]
async fn forward_tls_servername() {
    let identity = Identity::new(&["dns.example"]);
    let upstream = FakeUpstream::start_tls(ZONE, &identity).await;
    for (named, servername, want) in [
        ("", "", "untrusted"),
        ("", "tls_servername dns.example", "NoError 192.0.2.1"),
        ("", "tls_servername other.example", "untrusted"),
        ("%dns.example", "", "NoError 192.0.2.1"),
        ("%dns.example", "tls_servername other.example", "NoError 192.0.2.1"),
        ("%other.example", "tls_servername dns.example", "untrusted"),
    ] {
        let lines = format!("tls {}\n {servername}", identity.ca().display());
        assert_eq!(over_tls(&upstream, named, &lines).await, want, "{named} {servername}");
    }
}

// === Health ===

#[tokio::test]
async fn forward_max_fails() {
    for (lines, probes) in [("max_fails 0", false), ("", true), ("max_fails 1", true)] {
        let upstream = FakeUpstream::start(ZONE).await;
        upstream.set_all(Behaviour::Silent);
        let node = node(".", &[&upstream], &format!("read_timeout 50ms\n health_check 10ms\n {lines}"));
        for _ in 0..3 {
            assert_eq!(a(&node, "a.example.").await, "ServFail", "{lines}");
        }
        if probes {
            node.until("a probe", |_| upstream.count(".") > 0).await;
        }
        assert_eq!(upstream.count(".") > 0, probes, "{lines}");
    }
}

#[tokio::test]
async fn forward_health_check() {
    // Nobody listens there: a probe fails at once.
    let closed = FakeUpstream::start(ZONE).await.stop().await;
    let start = |lines: &str| {
        TestNode::start(&format!(".:0 {{\n bind 127.0.0.1\n forward . {closed} {{\n {lines}\n }}\n}}\n"))
    };
    let failures = |node: &TestNode| {
        let series =
            format!("coredns_proxy_healthcheck_failures_total{{proxy_name=\"forward\",to=\"{closed}\"}}");
        node.metric(&series).unwrap_or_default()
    };
    let slow = start("health_check 60s");
    assert_eq!(a(&slow, "a.example.").await, "ServFail");
    slow.until("the first probe", |node| failures(node) > 0.0).await;
    let fast = start("health_check 10ms");
    assert_eq!(a(&fast, "a.example.").await, "ServFail");
    fast.until("20 probes", |node| failures(node) >= 20.0).await;
    assert_eq!(failures(&slow), 1.0);

    for (words, name, recursion) in
        [("", ".", true), ("no_rec", ".", false), ("no_rec domain probe.example", "probe.example.", false)]
    {
        let upstream = FakeUpstream::start(ZONE).await.on("a.example.", Behaviour::Silent);
        let node = node(".", &[&upstream], &format!("read_timeout 50ms\n health_check 1s {words}"));
        assert_eq!(a(&node, "a.example.").await, "ServFail", "{words}");
        node.until("a probe", |_| upstream.count(name) > 0).await;
        let probe = upstream.seen().into_iter().find(|seen| seen.name == name).unwrap();
        assert_eq!(probe.raw[2] & 1 == 1, recursion, "{words}");
    }
}

#[tokio::test]
async fn forward_failfast_all_unhealthy_upstreams() {
    let closed = FakeUpstream::start(ZONE).await.stop().await;
    for (lines, asked, logged) in
        [("", 2.0, "connection refused"), ("failfast_all_unhealthy_upstreams", 0.0, "no healthy proxies")]
    {
        let node = TestNode::start(&format!(
            ".:0 {{\n bind 127.0.0.1\n errors\n forward . {closed} {{\n max_fails 1\n health_check 10ms\n \
             {lines}\n }}\n}}\n"
        ));
        let refusals = || {
            let series = format!("outlast_forward_failures_total{{to=\"{closed}\",cause=\"refused\"}}");
            node.metric(&series).unwrap_or_default()
        };
        assert_eq!(a(&node, "a.example.").await, "ServFail");
        node.logged("upstream is down").await;
        let before = refusals();
        assert_eq!(a(&node, "b.sub.example.").await, "ServFail");
        assert_eq!(refusals() - before, asked, "{lines}");
        assert!(node.log().contains(&format!("b.sub.example. A: {logged}")) || asked > 0.0, "{}", node.log());
        assert_eq!(node.metric("coredns_forward_healthcheck_broken_total"), Some(1.0), "{lines}");
    }
}

// === Other upstreams ===

#[tokio::test]
async fn forward_failover() {
    for (lines, want, asked) in [
        ("", "ServFail", 0),
        ("failover REFUSED", "ServFail", 0),
        ("failover REFUSED SERVFAIL", "NoError 192.0.2.1", 1),
    ] {
        let failing = Behaviour::Rcode(ResponseCode::ServFail);
        let first = FakeUpstream::start(ZONE).await.on("a.example.", failing);
        let second = FakeUpstream::start(ZONE).await;
        let node = node(".", &[&first, &second], &format!("policy sequential\n {lines}"));
        assert_eq!(a(&node, "a.example.").await, want, "{lines}");
        assert_eq!(second.total(), asked, "{lines}");
    }
}

/// What a node answers whose first `forward` has `lines`, and whose second one has every name.
async fn with_next(behaviour: Behaviour, lines: &str) -> String {
    let first = FakeUpstream::start("").await.on("a.example.", behaviour);
    let second = FakeUpstream::start(ZONE).await;
    let node = TestNode::start(&format!(
        ".:0 {{\n bind 127.0.0.1\n forward example {} {{\n {lines}\n }}\n forward . {}\n}}\n",
        first.addr(),
        second.addr()
    ));
    a(&node, "a.example.").await
}

#[tokio::test]
async fn forward_next() {
    for (lines, want) in
        [("", "NXDomain"), ("next REFUSED", "NXDomain"), ("next NXDOMAIN", "NoError 192.0.2.1")]
    {
        assert_eq!(with_next(Behaviour::NxDomain, lines).await, want, "{lines}");
    }
    // Behind the last `forward` there is nobody to ask.
    let last = FakeUpstream::start("").await;
    let node = node(".", &[&last], "next NXDOMAIN");
    assert_eq!(a(&node, "a.example.").await, "NXDomain");
}

#[tokio::test]
async fn forward_next_on_nodata() {
    let nodata = || Behaviour::Rcode(ResponseCode::NoError);
    assert_eq!(with_next(nodata(), "").await, "NoError");
    assert_eq!(with_next(nodata(), "next_on_nodata").await, "NoError 192.0.2.1");
    assert_eq!(with_next(Behaviour::NxDomain, "next_on_nodata").await, "NXDomain");
}

#[tokio::test]
async fn forward_resolver() {
    let upstream = FakeUpstream::start(ZONE).await;
    let knows = FakeUpstream::start("dns.example. 60 A 127.0.0.1\n").await;
    let does_not = FakeUpstream::start("").await;
    let start = |resolver: &FakeUpstream| {
        TestNode::start(&format!(
            ".:0 {{\n bind 127.0.0.1\n forward . dns.example:{} {{\n resolver {}\n }}\n}}\n",
            upstream.addr().port(),
            resolver.addr()
        ))
    };
    let node = start(&knows);
    node.logged("an upstream's name was looked up").await;
    assert_eq!(a(&node, "a.example.").await, "NoError 192.0.2.1");
    let node = start(&does_not);
    node.logged("an upstream's name has no address yet").await;
    assert_eq!(a(&node, "a.example.").await, "ServFail");
}
