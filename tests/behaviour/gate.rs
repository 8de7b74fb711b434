//! Who answers at all, and for how long a client is waited for.

use std::time::Duration;

use hickory_proto::rr::RecordType;
use outlast::testkit::client::Query;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::world::{World, said};

/// A name that no plugin of its block answers: SERVFAIL, and a line that says where the chain ended.
#[tokio::test]
async fn a_chain_that_ends_says_where() {
    let world = World::start(
        ".:0 {
            BIND
            errors
            kubernetes cluster.local {
                CLUSTER
            }
        }",
    )
    .await;
    world
        .check(&[
            ("outside of its zones", Query::a("example.com."), "ServFail"),
            (
                "reverse zones are none of its zones",
                Query::new("x.in-addr.arpa.", RecordType::PTR),
                "ServFail",
            ),
        ])
        .await;
    world.node.logged("plugin/errors: 2 example.com. A: plugin/kubernetes: no next plugin found").await;
}

/// No block for the name: REFUSED, which has a resolver try another server. It is not a failure of this one.
#[tokio::test]
async fn a_name_without_a_block_is_refused() {
    let world = World::start("cluster.local:0 {\n BIND\n errors\n KUBE\n}\nexample.org:0 {\n BIND\n}").await;
    world
        .check(&[
            ("another zone", Query::a("example.com."), "Refused"),
            (
                "a reverse zone of the plugin, not of the block",
                Query::new("x.in-addr.arpa.", RecordType::PTR),
                "Refused",
            ),
            ("a block without plugins", Query::a("example.org."), "Refused"),
            ("the block's own", Query::a("nosuch.cluster.local."), "NXDomain aa soa"),
        ])
        .await;
    assert!(!world.node.log().contains("no next plugin"), "{}", world.node.log());
}

/// A connection on which nothing comes is closed; `idle` says after how long, 10 s without it.
#[tokio::test]
async fn an_idle_connection_is_closed() {
    let world = World::start(".:0 {\n BIND\n timeouts {\n idle 1s\n read 1s\n }\n KUBE\n}").await;
    let mut stream = TcpStream::connect(world.node.dns).await.unwrap();
    let end = timeout(Duration::from_secs(20), stream.read(&mut [0; 2])).await.expect("closed in time");
    assert_eq!(end.unwrap_or(0), 0);
    assert_eq!(
        world.client.tcp(&Query::a("kubernetes.default.svc.cluster.local.")).await.unwrap().answers().len(),
        1
    );
}

/// Nobody gets the zone as a whole.
#[tokio::test]
async fn a_zone_transfer_gets_nothing() {
    let world = World::start(".:0 {\n BIND\n KUBE\n}").await;
    for kind in [RecordType::AXFR, RecordType::IXFR] {
        let query = Query::new("cluster.local.", kind);
        for answer in [world.client.udp(&query).await.unwrap(), world.client.tcp(&query).await.unwrap()] {
            assert_eq!(said(&query, &answer), "Refused", "{kind}");
        }
    }
}
