//! Where histories begin: followers that come back to a hub that was restarted or replaced go on from where they were.

use outlast::drill::standin::Standin;
use outlast::testkit::hub::{Builder, Follower, Kept, TestHub};
use outlast::zone::object::Kind;

use super::world::{PLAIN, cluster, many, service, slice};

/// Followers that have everything, and are gone.
async fn followers(hub: &TestHub, count: usize) -> Vec<Kept> {
    let mut kept = Vec::new();
    for _ in 0..count {
        let mut follower = Follower::fresh(hub.address, PLAIN).await;
        follower.whole().await;
        kept.push(follower.leave());
    }
    kept
}

/// Has them come to this hub, and stay until they have so many services. None may need a whole state.
async fn come_back(hub: &TestHub, kept: Vec<Kept>, services: usize) -> Vec<Kept> {
    let mut left = Vec::new();
    for kept in kept {
        let mut follower = Follower::connect(hub.address, kept).await;
        follower.count(Kind::Service, services).await;
        follower.heartbeat(1).await;
        assert_eq!(follower.wholes, 0);
        left.push(follower.leave());
    }
    let begun = hub.scrape();
    let begun: Vec<_> = begun
        .lines()
        .filter(|line| line.starts_with("outlast_hub_whole_states_begun_total") && !line.ends_with(" 0"))
        .collect();
    assert!(begun.is_empty(), "{begun:?}");
    left
}

fn beside(server: &Standin, sibling: &TestHub) -> Builder {
    let mut builder = Builder::new(server);
    builder.config.siblings = vec![sibling.address];
    builder
}

#[tokio::test]
async fn a_hub_that_was_restarted_has_no_whole_state_to_send_to_those_who_come_back() {
    let server = cluster().await;
    many(&server, "s", 20);
    slice(&server, "web", "10.0.0.1");
    let folder = tempfile::tempdir().unwrap();
    let start = || Builder::new(&server).snapshot(folder.path().to_owned()).start();
    let hub = start();
    hub.state("live").await;
    let kept = followers(&hub, 3).await;
    hub.stop().await;
    service(&server, "meanwhile", false);
    let hub = start();
    hub.state("live").await;
    hub.until("it has caught up", |h| h.metric("outlast_objects{kind=\"Service\"}") == 21.0).await;
    // They come only now, when what they have is older than what the hub has.
    come_back(&hub, kept, 21).await;
}

#[tokio::test]
async fn hubs_that_are_replaced_one_after_the_other_send_no_whole_state() {
    let server = cluster().await;
    many(&server, "s", 20);
    slice(&server, "web", "10.0.0.1");
    let one = TestHub::live(&server).await;
    let mut kept = followers(&one, 2).await;
    let other = beside(&server, &one).start();
    other.state("live").await;
    one.stop().await;
    service(&server, "first", false);
    other.until("it has caught up", |h| h.metric("outlast_objects{kind=\"Service\"}") == 21.0).await;
    kept = come_back(&other, kept, 21).await;
    let one = beside(&server, &other).start();
    one.state("live").await;
    other.stop().await;
    service(&server, "second", false);
    one.until("it has caught up", |h| h.metric("outlast_objects{kind=\"Service\"}") == 22.0).await;
    come_back(&one, kept, 22).await;
}
