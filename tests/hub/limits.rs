//! Whole states are shared and limited; followers are limited.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use outlast::feed::frame::{Frame, Reply};
use outlast::testkit::hub::{Builder, Follower, TestHub};
use outlast::zone::object::Kind;

use super::world::{PLAIN, cluster, service};

#[tokio::test]
async fn many_who_come_at_once_share_one_whole_state() {
    let server = cluster().await;
    service(&server, "web", false);
    let hub = TestHub::live(&server).await;
    let followers = join_all((0..20).map(|_| async {
        let mut follower = Follower::fresh(hub.address, PLAIN).await;
        follower.whole().await;
        follower
    }))
    .await;
    assert!(followers.iter().all(|f| f.table.count(Kind::Service) == 1));
    assert!(
        hub.metric("outlast_hub_whole_states_made_total") <= 2.0,
        "made once, or twice over a second's edge"
    );
    hub.until("all are live", |hub| hub.metric("outlast_hub_subscribers{state=\"live\"}") == 20.0).await;
    assert_eq!(hub.metric("outlast_hub_whole_states_sent_total"), 20.0);
    drop(followers);
    hub.until("all are gone", |hub| hub.metric("outlast_hub_subscribers{state=\"live\"}") == 0.0).await;
}

#[tokio::test]
async fn the_rate_of_whole_states_is_limited_and_those_in_sync_do_not_wait() {
    let server = cluster().await;
    let mut builder = Builder::new(&server);
    builder.config.transfers.rate = 4;
    let hub = builder.start();
    hub.state("live").await;
    let mut first = Follower::fresh(hub.address, PLAIN).await;
    first.whole().await;
    let begun = Instant::now();
    let crowd = join_all((0..10).map(|_| async {
        let mut follower = Follower::fresh(hub.address, PLAIN).await;
        follower.whole().await;
        begun.elapsed()
    }));
    let in_sync = async {
        hub.until("some wait", |hub| hub.metric("outlast_hub_queue_length") > 0.0).await;
        service(&server, "web", false);
        let asked = Instant::now();
        first.count(Kind::Service, 1).await;
        asked.elapsed()
    };
    let (crowd, in_sync) = tokio::join!(crowd, in_sync);
    let last = crowd.into_iter().max().unwrap();
    assert!(last >= Duration::from_secs(1), "3 at once and then 4 a second: {last:?}");
    assert!(in_sync < Duration::from_secs(1), "{in_sync:?}");
}

#[tokio::test]
async fn a_full_hub_sends_followers_away() {
    let server = cluster().await;
    let mut builder = Builder::new(&server);
    builder.config.max_subscribers = 1;
    let hub = builder.start();
    hub.state("live").await;
    let mut first = Follower::fresh(hub.address, PLAIN).await;
    first.whole().await;
    let mut second = Follower::fresh(hub.address, PLAIN).await;
    let Some(Reply::Frame(Frame::RetryAfter { after, .. })) = second.next().await else {
        panic!("it is sent away")
    };
    assert!(after >= Duration::from_secs(10) && after <= Duration::from_secs(20), "{after:?}");
    assert!(second.next().await.is_none());
    drop(first);
    hub.until("there is room", |hub| hub.metric("outlast_hub_subscribers{state=\"live\"}") == 0.0).await;
    Follower::fresh(hub.address, PLAIN).await.whole().await;
}
