//! Loops over real sockets: what goes round is refused, and cluster names are answered all the while.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use outlast::testkit::client::Query;
use outlast::testkit::node::TestNode;
use outlast::testkit::upstream::FakeUpstream;
use tokio::net::UdpSocket;

use super::fixture::{Place, WEB_ADDRESS, free, web};

/// A Corefile at this address that answers the cluster and forwards all else.
fn corefile(place: &Place, at: SocketAddr, forward: SocketAddr) -> String {
    format!(
        ".:{} {{\n bind {}\n loop\n {}\n forward . {forward}\n}}\n",
        at.port(),
        at.ip(),
        place.kubernetes("")
    )
}

/// Cluster names are answered, and others are refused with the reason.
async fn broken(node: &TestNode) {
    let cluster = node.client().udp(&web()).await.unwrap();
    assert!(cluster.answers()[0].ends_with(WEB_ADDRESS), "{:?}", cluster.answers());
    let outside = node.client().udp(&Query::a("www.example.").edns(1232)).await.unwrap();
    assert_eq!(outside.rcode(), ResponseCode::ServFail);
    assert_eq!(outside.ede(), [(0, "forwarding of zone . leads back to this server".to_owned())]);
}

const DETECTED: &str = "outlast_loop_detected{zone=\".\"}";

/// CoreDNS exits: a node without any DNS is worse than one that refuses what goes round.
#[tokio::test]
async fn a_forward_to_the_own_address_is_broken_and_cluster_names_are_answered() {
    let (place, at) = (Place::new(), free());
    let mut node = TestNode::start(&corefile(&place, at, at));
    node.state("live").await;
    node.logged("[ERROR] plugin/loop: Loop (127.0.0.1:").await;
    broken(&node).await;
    assert_eq!(node.metric(DETECTED), Some(1.0));
    let log = node.log();
    let line = log.lines().find(|l| l.contains("plugin/loop")).unwrap();
    let words = format!(
        "-> {at}) detected for zone \".\", see https://coredns.io/plugins/loop#troubleshooting. Query: \"HINFO "
    );
    assert!(line.contains(&words), "{line}");

    let upstream = FakeUpstream::start("www.example. 60 A 192.0.2.1").await;
    node.reload(&corefile(&place, at, upstream.addr())).await.unwrap();
    let outside = node.client().udp(&Query::a("www.example.")).await.unwrap();
    assert_eq!(outside.answers(), ["www.example. 60 IN A 192.0.2.1"]);
    assert_eq!(node.metric(DETECTED), Some(0.0));
    node.until("the probe at the upstream", |_| {
        upstream.seen().iter().any(|seen| format!("{seen:?}").contains("HINFO"))
    })
    .await;
}

/// A server between, which sends everything back.
#[tokio::test]
async fn a_forward_that_leads_back_over_another_server_is_broken() {
    let (place, at) = (Place::new(), free());
    let between = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let upstream = between.local_addr().unwrap();
    tokio::spawn(async move {
        let mut packet = vec![0; 4096];
        loop {
            let (len, from) = between.recv_from(&mut packet).await.unwrap();
            let query = packet[..len].to_vec();
            let back = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            back.send_to(&query, at).await.unwrap();
            let mut reply = vec![0; 4096];
            // One query at a time would hold up the probe that comes round.
            let answer = tokio::time::timeout(Duration::from_millis(50), back.recv(&mut reply)).await;
            if let Ok(Ok(len)) = answer {
                between.send_to(&reply[..len], from).await.unwrap();
            }
        }
    });
    let node = TestNode::start(&corefile(&place, at, upstream));
    node.state("live").await;
    node.logged("[ERROR] plugin/loop: Loop (").await;
    broken(&node).await;
}

/// Two servers that forward to each other: one of them at least refuses, and both answer the cluster's names.
#[tokio::test]
async fn two_servers_that_forward_to_each_other_stop() {
    let (place, other) = (Place::new(), Place::new());
    let (here, there) = (free(), free());
    let one = TestNode::start(&corefile(&place, here, there));
    let two = TestNode::start(&corefile(&other, there, here));
    one.state("live").await;
    two.state("live").await;
    one.until("either is broken", |one| {
        one.metric(DETECTED) == Some(1.0) || two.metric(DETECTED) == Some(1.0)
    })
    .await;
    for node in [&one, &two] {
        let cluster = node.client().udp(&web()).await.unwrap();
        assert!(cluster.answers()[0].ends_with(WEB_ADDRESS));
        let outside = node.client().udp(&Query::a("www.example.")).await.unwrap();
        assert_eq!(outside.rcode(), ResponseCode::ServFail);
    }
}

#[tokio::test]
async fn what_does_not_come_back_is_no_loop() {
    let (place, at) = (Place::new(), free());
    let upstream = FakeUpstream::start("www.example. 60 A 192.0.2.1").await;
    let node = TestNode::start(&corefile(&place, at, upstream.addr()));
    node.until("the probe", |_| upstream.total() > 0).await;
    // Longer than a probe is looked for.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(node.metric(DETECTED), Some(0.0));
    assert_eq!(upstream.total(), 1, "one probe a start");
    assert!(!node.log().contains("plugin/loop"), "{}", node.log());
}
