//! Followers that read slowly, or not at all.

use outlast::testkit::hub::{Builder, Follower};
use outlast::zone::object::Kind;

use super::world::{PLAIN, cluster, many, service};

#[tokio::test]
async fn one_that_falls_out_of_the_history_gets_the_whole_state_and_stays_connected() {
    let server = cluster().await;
    let mut builder = Builder::new(&server);
    builder.config.history_bytes = 64 << 10;
    let hub = builder.start();
    hub.state("live").await;
    let mut slow = Follower::fresh(hub.address, PLAIN).await;
    slow.whole().await;
    let mut quick = Follower::fresh(hub.address, PLAIN).await;
    quick.whole().await;
    // Far more than windows, buffers and the history take.
    let mut count = 0;
    for round in 0..12 {
        many(&server, &format!("r{round}"), 1500);
        count += 1500;
        quick.count(Kind::Service, count).await;
    }
    assert_eq!(quick.wholes, 1, "who reads is told of changes");
    assert_eq!(slow.wholes, 1);
    slow.whole().await;
    slow.count(Kind::Service, count).await;
    assert_eq!(hub.metric("outlast_hub_whole_states_begun_total{why=\"too_slow\"}"), 1.0);
    // And goes on.
    service(&server, "last", false);
    slow.count(Kind::Service, count + 1).await;
    quick.count(Kind::Service, count + 1).await;
    assert!(hub.metric("outlast_hub_history_bytes") <= f64::from(64 << 10));
}

#[tokio::test]
async fn one_that_comes_back_too_late_gets_the_whole_state() {
    let server = cluster().await;
    let mut builder = Builder::new(&server);
    builder.config.history_bytes = 64 << 10;
    let hub = builder.start();
    hub.state("live").await;
    let mut follower = Follower::fresh(hub.address, PLAIN).await;
    follower.whole().await;
    let kept = follower.leave();
    let mut other = Follower::fresh(hub.address, PLAIN).await;
    many(&server, "a", 6000);
    other.count(Kind::Service, 6000).await;
    many(&server, "b", 6000);
    other.count(Kind::Service, 12_000).await;
    let mut back = Follower::connect(hub.address, kept).await;
    back.whole().await;
    assert_eq!(back.table.count(Kind::Service), 12_000);
    assert_eq!(hub.metric("outlast_hub_whole_states_begun_total{why=\"too_old\"}"), 1.0);
}
