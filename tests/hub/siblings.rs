//! Hubs among themselves: who is behind, restores, what was accepted, and filling a hub that has nothing.

use std::sync::Arc;
use std::time::Duration;

use outlast::drill::standin::Standin;
use outlast::drill::standin::faults::{Fault, Network, Rule};
use outlast::drill::standin::requests::ListKind;
use outlast::feed::frame::State;
use outlast::feed::greeting::Greeting;
use outlast::feed::position::Position;
use outlast::ops::clock::WallClock;
use outlast::ops::control::Command;
use outlast::ops::metrics::Metrics;
use outlast::source::hub::meet::Meetings;
use outlast::testkit::certs::{Ca, IdentityFolder};
use outlast::testkit::hub::{Builder, Follower, TestHub, meet};
use outlast::trust::config::TrustConfig;
use outlast::trust::name::Role;
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
async fn with_certificates_only_hubs_meet_hubs() {
    let server = cluster().await;
    let ca = Ca::new();
    let folders = [Role::Hub, Role::Node].map(|role| IdentityFolder::real(&ca, role));
    let [hub_trust, node_trust] = folders.each_ref().map(|f| TrustConfig::Tls(f.files()));
    let mut builder = Builder::new(&server);
    builder.config.trust = hub_trust.clone();
    let one = builder.start();
    let mut builder = beside(&server, &one);
    builder.config.trust = hub_trust;
    let other = builder.start();
    met([&one, &other]).await;
    let meetings = Meetings::new(&node_trust, Arc::new(WallClock::new(0)), &Metrics::new());
    let refused = meetings.with(one.address).meet(Greeting::default()).await.unwrap_err();
    assert!(refused.contains("hubs meet hubs"), "{refused}");
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
async fn more_restores_than_there_can_be_are_not_believed() {
    let server = cluster().await;
    let hub = TestHub::live(&server).await;
    let uid = meet(hub.address, &Greeting::default()).await.cluster_uid;
    let position = Position { epoch: u64::MAX - 1, versions: [1; 4] };
    let nonsense = Greeting { hub: "stray".to_owned(), cluster_uid: uid, position, ..Greeting::default() };
    let before = lists(&server);
    for _ in 0..3 {
        meet(hub.address, &nonsense).await;
    }
    // One that can be is, once, however often it is told of.
    let plausible = |epoch| Greeting { position: Position { epoch, versions: [1; 4] }, ..nonsense.clone() };
    for epoch in 3..6 {
        meet(hub.address, &plausible(epoch)).await;
    }
    let mut follower = Follower::fresh(hub.address, PLAIN).await;
    follower.until(|f| f.standing.position.epoch == 3).await;
    hub.until("everything is listed anew", |_| lists(&server) > before).await;
    assert_eq!(meet(hub.address, &plausible(6)).await.position.epoch, 3);
}

#[tokio::test]
async fn a_node_does_not_speak_as_a_hub() {
    let (server, authority) = (cluster().await, Ca::new());
    let [hub_identity, node_identity] =
        [Role::Hub, Role::Node].map(|role| IdentityFolder::real(&authority, role));
    let mut builder = Builder::new(&server);
    builder.config.trust = TrustConfig::Tls(hub_identity.files());
    let hub = builder.start();
    hub.state("live").await;
    for (identity, is_heard) in [(&hub_identity, true), (&node_identity, false)] {
        let trust = TrustConfig::Tls(identity.files());
        let meetings = Meetings::new(&trust, Arc::new(WallClock::new(0)), &Metrics::new());
        let greeting = Greeting { hub: format!("heard: {is_heard}"), ..Greeting::default() };
        let said = meetings.with(hub.address).meet(greeting).await;
        assert_eq!(said.is_ok(), is_heard, "{said:?}");
        if let Err(why) = said {
            assert!(why.contains("hubs meet hubs"), "{why}");
        }
    }
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
        hub.relist().await;
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
