//! A hub that stops.

use std::time::Duration;

use outlast::feed::frame::{Frame, Plan, Reply};
use outlast::testkit::hub::{Builder, Follower, TestHub};
use outlast::zone::object::Kind;

use super::world::{PLAIN, cluster, service};

#[tokio::test]
async fn followers_are_told_to_move_and_served_until_the_end() {
    let server = cluster().await;
    let (hub, other) = (TestHub::live(&server).await, TestHub::live(&server).await);
    Follower::fresh(other.address, PLAIN).await.whole().await;
    let mut follower = Follower::fresh(hub.address, PLAIN).await;
    follower.whole().await;
    let stopping = tokio::spawn(hub.stop());
    let within = loop {
        match follower.next().await {
            Some(Reply::Frame(Frame::Move { within })) => break within,
            Some(_) => {}
            None => panic!("told before the end"),
        }
    };
    assert_eq!(within, Duration::from_millis(500));
    assert_eq!(follower.heartbeat(1).await.digests, follower.standing.digests, "still there");
    service(&server, "late", false);
    follower.count(Kind::Service, 1).await;
    while follower.next().await.is_some() {}
    stopping.await.unwrap();
    service(&server, "web", false);
    let mut moved = Follower::connect(other.address, follower.leave()).await;
    moved.count(Kind::Service, 2).await;
    assert_eq!((moved.welcome.unwrap().plan, moved.wholes), (Plan::Changes, 0));
}

#[tokio::test]
async fn a_hub_that_comes_back_without_the_api_server_serves_its_snapshot() {
    let server = cluster().await;
    service(&server, "web", false);
    let folder = tempfile::tempdir().unwrap();
    let hub = Builder::new(&server).snapshot(folder.path().to_owned()).start();
    hub.state("live").await;
    let mut follower = Follower::fresh(hub.address, PLAIN).await;
    follower.whole().await;
    hub.stop().await;
    server.faults().set_network(outlast::drill::standin::faults::Network::Refuse);
    let hub = Builder::new(&server).snapshot(folder.path().to_owned()).start();
    let mut back = Follower::connect(hub.address, follower.leave()).await;
    back.until(|f| f.welcome.as_ref().is_some_and(|w| w.plan != Plan::Wait)).await;
    let heartbeat = back.heartbeat(1).await;
    assert_eq!(heartbeat.state, outlast::feed::frame::State::Stale);
    assert_eq!(heartbeat.digests, back.standing.digests, "in sync without a whole state");
    let mut fresh = Follower::fresh(hub.address, PLAIN).await;
    fresh.whole().await;
    assert_eq!(fresh.table.count(Kind::Service), 1);
}
