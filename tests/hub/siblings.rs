//! Hubs among themselves: who is behind, restores, what was accepted, and filling a hub that has nothing.

use std::time::Duration;

use outlast::drill::standin::Standin;
use outlast::drill::standin::faults::{Fault, Network, Rule};
use outlast::drill::standin::requests::ListKind;
use outlast::feed::frame::State;
use outlast::feed::greeting::Greeting;
use outlast::feed::position::Position;
use outlast::ops::control::Command;
use outlast::testkit::hub::{Builder, Follower, TestHub, meet};
use outlast::zone::object::Kind;

use super::world::{PLAIN, cluster, many, service, slice};

const SERVICES: &str = "outlast_objects{kind=\"Service\"}";

/// A hub that knows another one.
fn beside(server: &Standin, sibling: &TestHub) -> Builder {
    let mut builder = Builder::new(server);
    builder.config.siblings = vec![sibling.address];
    builder
}

/// Whole lists that were taken from a server, in whatever way.
fn lists(server: &Standin) -> u64 {
    server.requests().count(|asked| asked.list.is_some_and(|list| list != ListKind::Small))
}

/// Waits until both have met.
async fn met(hubs: [&TestHub; 2]) {
    for hub in hubs {
        hub.until("siblings have met", |h| h.metric("outlast_hub_siblings{state=\"met\"}") == 1.0).await;
    }
}

#[tokio::test]
async fn hubs_meet_and_a_sibling_of_another_cluster_is_not_believed() {
    let (server, elsewhere) = (cluster().await, cluster().await);
    let one = TestHub::live(&server).await;
    let other = beside(&server, &one).start();
    met([&one, &other]).await;
    assert_eq!(other.metric("outlast_hub_behind_sibling"), 0.0);
    elsewhere.etcd().set_cluster_uid("2f3a4b5c-0000-4000-8000-000000000001");
    let stray = beside(&elsewhere, &one).start();
    stray.state("live").await;
    one.until("a stranger is seen", |h| h.metric("outlast_hub_siblings{state=\"foreign\"}") == 1.0).await;
}

#[tokio::test]
async fn who_does_not_come_to_where_a_sibling_was_tells_its_followers_so() {
    let server = cluster().await;
    let hub = TestHub::live(&server).await;
    let mut follower = Follower::fresh(hub.address, PLAIN).await;
    follower.whole().await;
    let reached = follower.heartbeat(1).await;
    assert_eq!(reached.state, State::Live);
    let ahead = Greeting {
        hub: "ahead".to_owned(),
        cluster_uid: follower.standing.cluster_uid.clone(),
        position: Position { versions: [u64::MAX / 2; 4], ..reached.position.unwrap() },
        ..Greeting::default()
    };
    assert_ne!(meet(hub.address, &ahead).await.hub, "ahead", "it says how it is itself");
    tokio::time::sleep(Duration::from_secs(25)).await;
    let _ = meet(hub.address, &ahead).await;
    hub.until("it is behind", |h| h.metric("outlast_hub_behind_sibling") == 1.0).await;
    let heartbeat = follower.heartbeat(2).await;
    assert_eq!(heartbeat.state, State::Stale);
    assert!(heartbeat.why.starts_with("behind ahead in "), "{}", heartbeat.why);
    assert!(heartbeat.age < Duration::from_secs(30), "what it has is as old as it is");
}

#[tokio::test]
async fn a_restore_that_one_hub_has_seen_begins_an_epoch_at_both() {
    let (one_server, other_server) = (cluster().await, cluster().await);
    other_server.etcd().set_cluster_uid(&one_server.etcd().cluster_uid());
    let backup = one_server.etcd().save();
    for server in [&one_server, &other_server] {
        many(server, "s", 20);
    }
    let one = TestHub::live(&one_server).await;
    let other = beside(&other_server, &one).start();
    met([&one, &other]).await;
    one_server.etcd().restore(&backup);
    for hub in [&one, &other] {
        hub.until("a new epoch", |h| h.metric("outlast_data_epoch") == 1.0).await;
        hub.state("live").await;
    }
    assert_eq!(other.metric(SERVICES), 20.0, "listed anew, from its own API server");
}

#[tokio::test]
async fn what_is_accepted_at_one_hub_frees_the_nodes_of_both() {
    let server = cluster().await;
    many(&server, "s", 20);
    let one = TestHub::live(&server).await;
    let other = beside(&server, &one).start();
    met([&one, &other]).await;
    let mut follower = Follower::fresh(other.address, PLAIN).await;
    follower.whole().await;
    server.faults().add(Rule::new(Fault::Empty).of(Kind::Service));
    for hub in [&one, &other] {
        hub.relist();
        hub.until("the loss is held back", |h| h.metric("outlast_guard_holds") == 1.0).await;
        assert_eq!(hub.metric(SERVICES), 20.0);
    }
    let accepted = one.order(Command::Accept { zone: None }).await.unwrap();
    assert_eq!(accepted[0]["outcome"], "accepted", "{accepted}");
    for hub in [&one, &other] {
        hub.until("nothing is held", |h| h.metric("outlast_guard_holds") == 0.0).await;
    }
    follower.count(Kind::Service, 0).await;
    assert_eq!(other.metric("outlast_hub_accepted_elsewhere_total"), 1.0);
    // One that was down meanwhile hears of it when it comes.
    let late = beside(&server, &other).start();
    late.until("it has heard", |h| h.metric("outlast_hub_accepted_elsewhere_total") == 1.0).await;
}

#[tokio::test]
async fn a_hub_without_anything_fills_from_a_sibling_and_goes_on_with_watches() {
    let server = cluster().await;
    many(&server, "s", 20);
    let one = TestHub::live(&server).await;
    server.faults().set_network(Network::Refuse);
    server.faults().cut_connections();
    let other = beside(&server, &one).start();
    other.until("it is filled", |h| h.metric(SERVICES) == 20.0).await;
    let mut follower = Follower::fresh(other.address, PLAIN).await;
    follower.whole().await;
    assert_eq!(follower.table.count(Kind::Service), 20);
    let heartbeat = follower.heartbeat(1).await;
    assert!(heartbeat.state != State::Empty && heartbeat.age < Duration::from_secs(60), "{heartbeat:?}");
    // It is told what has happened since, by a watch.
    let before = lists(&server);
    service(&server, "web", false);
    server.faults().set_network(Network::Open);
    follower.count(Kind::Service, 21).await;
    other.state("live").await;
    assert_eq!(lists(&server), before, "nothing was listed");
}

#[tokio::test]
async fn a_hub_with_nothing_and_nobody_says_so_and_takes_what_a_sibling_has_later() {
    let server = cluster().await;
    service(&server, "web", false);
    server.faults().set_network(Network::Refuse);
    let one = Builder::new(&server).start();
    let other = beside(&server, &one).start();
    met([&one, &other]).await;
    for hub in [&one, &other] {
        hub.state("empty").await;
    }
    server.faults().set_network(Network::Open);
    for hub in [&one, &other] {
        hub.until("it has data", |h| h.metric(SERVICES) == 1.0).await;
    }
}

#[tokio::test]
async fn hubs_that_are_replaced_one_after_the_other_cost_the_api_server_no_list() {
    let server = cluster().await;
    service(&server, "web", false);
    slice(&server, "web", "10.0.0.1");
    let one = TestHub::live(&server).await;
    let other = beside(&server, &one).start();
    other.state("live").await;
    let before = lists(&server);
    one.stop().await;
    let one = beside(&server, &other).start();
    one.state("live").await;
    other.stop().await;
    let other = beside(&server, &one).start();
    other.state("live").await;
    slice(&server, "web", "10.0.0.2");
    let mut follower = Follower::fresh(other.address, PLAIN).await;
    follower.whole().await;
    follower.until(|f| f.table.endpoint_count() == 1).await;
    assert_eq!(lists(&server), before);
}
