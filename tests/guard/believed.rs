//! What is meant is believed: what people delete, and what they roll out.

use std::time::Duration;

use outlast::testkit::client::Query;
use outlast::zone::object::Kind;

use super::world::{
    SERVICES, alone, asked, cluster, delete, follower, hub, name, slice, unseen, until_asked,
};

const HOLDS: &str = "outlast_guard_holds";

#[tokio::test]
async fn what_is_deleted_before_everybodys_eyes_is_deleted() {
    let server = cluster(SERVICES).await;
    let hub = hub(&server, Duration::from_secs(3600)).await;
    let node = follower(&hub).await;
    (0..SERVICES).for_each(|n| delete(&server, n));
    for n in [0, SERVICES / 2, SERVICES - 1] {
        until_asked(&node, &name(n), "NXDomain").await;
    }
    assert_eq!((hub.metric(HOLDS), node.metric(HOLDS)), (0.0, Some(0.0)));
}

#[tokio::test]
async fn a_rolling_redeploy_of_everything_while_nobody_looked_is_not_held() {
    let server = cluster(SERVICES).await;
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&server, Duration::from_secs(3600)).await;
    let (with_hub, node) = (follower(&hub).await, alone(&server, folder.path()).await);
    node.stop().await;
    unseen(&server, |server| {
        for n in 0..SERVICES {
            slice(server, n, &format!("s{n}-2"), 7);
            server.etcd().delete(Kind::EndpointSlice, "shop", &format!("s{n}-1")).unwrap();
        }
    });
    let node = alone(&server, folder.path()).await;
    for node in [&node, &with_hub] {
        let of = |n: usize| format!("1.{n}.237.10.in-addr.arpa.");
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        for n in 0..SERVICES {
            let query = Query::new(&of(n), hickory_proto::rr::RecordType::PTR).edns(1232);
            while node.client().ask(&query).await.unwrap().message.answers.is_empty() {
                assert!(std::time::Instant::now() < deadline, "s{n}\n{}", node.log());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        let old = Query::new("1.3.244.10.in-addr.arpa.", hickory_proto::rr::RecordType::PTR);
        assert!(
            node.client().ask(&old).await.unwrap().message.answers.is_empty(),
            "what was exchanged is gone"
        );
        assert_eq!(node.metric(HOLDS), Some(0.0));
        assert_eq!(asked(node, &name(0)).await, ("NoError 10.96.1.0".to_owned(), None));
    }
    assert_eq!(hub.metric(HOLDS), 0.0);
}
