//! The options of `forward`.

use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use outlast::forward::Transport;
use outlast::testkit::client::Query;
use outlast::testkit::node::TestNode;
use outlast::testkit::upstream::{Behaviour, FakeUpstream};

use super::cluster::a;

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
        ("policy round_robin", Some([20, 20])),
        ("policy sequential", Some([40, 0])),
    ] {
        let upstreams = [FakeUpstream::start(ZONE).await, FakeUpstream::start(ZONE).await];
        let node = node(".", &[&upstreams[0], &upstreams[1]], lines);
        for _ in 0..40 {
            assert_eq!(a(&node, "a.example.").await, "NoError 192.0.2.1", "{lines}");
        }
        let counts = [upstreams[0].total(), upstreams[1].total()];
        match want {
            Some(want) => assert_eq!(counts, want, "{lines}"),
            None => assert!(counts[0] > 0 && counts[1] > 0, "{lines}: {counts:?}"),
        }
    }
}

#[tokio::test]
async fn forward_read_timeout() {
    for (timeout, range) in [("50ms", 50..1500), ("1500ms", 1500..20_000)] {
        let upstream = FakeUpstream::start(ZONE).await.on("a.example.", Behaviour::Silent);
        let node = node(".", &[&upstream], &format!("read_timeout {timeout}\n max_connect_attempts 1"));
        let client = node.client().with_timeout(Duration::from_secs(25));
        let start = Instant::now();
        let answer = client.udp(&Query::a("a.example.")).await.unwrap();
        assert_eq!(answer.rcode(), ResponseCode::ServFail, "{timeout}");
        assert!(range.contains(&start.elapsed().as_millis()), "{timeout}: {:?}", start.elapsed());
    }
}

#[tokio::test]
async fn forward_max_concurrent() {
    for (lines, want) in [("", 0), ("max_concurrent 0", 0), ("max_concurrent 2", 3)] {
        let upstream = FakeUpstream::start(ZONE).await;
        upstream.set_all(Behaviour::Delay(Duration::from_millis(700)));
        let node = node(".", &[&upstream], lines);
        let client = node.client().with_timeout(Duration::from_secs(10));
        let ask = |name: &'static str| async move { client.udp(&Query::a(name)).await.unwrap().rcode() };
        let codes = tokio::join!(
            ask("a.example."),
            ask("b.sub.example."),
            ask("c.other."),
            ask("a.example."),
            ask("b.sub.example.")
        );
        let codes = [codes.0, codes.1, codes.2, codes.3, codes.4];
        assert_eq!(codes.iter().filter(|c| **c == ResponseCode::Refused).count(), want, "{lines}: {codes:?}");
        let rejects = node.metric("coredns_forward_max_concurrent_rejects_total").unwrap_or_default();
        assert_eq!(rejects as usize, want, "{lines}");
    }
}

#[tokio::test]
async fn forward_max_connect_attempts() {
    // By default there are two for each upstream.
    for (lines, want) in [("", 2), ("max_connect_attempts 1", 1), ("max_connect_attempts 4", 4)] {
        let upstream = FakeUpstream::start(ZONE).await.on("a.example.", Behaviour::Silent);
        let node = node(".", &[&upstream], &format!("read_timeout 50ms\n {lines}"));
        assert_eq!(a(&node, "a.example.").await, "ServFail", "{lines}");
        assert_eq!(upstream.total(), want, "{lines}");
    }
}
