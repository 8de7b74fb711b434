//! The options of `forward`.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hickory_proto::op::ResponseCode;
use outlast::forward::Transport;
use outlast::testkit::client::Query;
use outlast::testkit::node::TestNode;
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
        assert_eq!(upstream.total(), want, "{lines}");
    }
}
