//! Following from nothing, going on after a pause and at another hub, views.

use outlast::feed::frame::{Plan, State};
use outlast::testkit::hub::{Builder, Follower, Kept, TestHub};
use outlast::zone::object::Kind;

use super::world::{HEADLESS, PLAIN, PODS, cluster, pod, service, slice};

#[tokio::test]
async fn a_follower_with_nothing_gets_the_whole_state_and_then_changes() {
    let server = cluster().await;
    service(&server, "web", false);
    let hub = TestHub::live(&server).await;
    let mut follower = Follower::fresh(hub.address, PLAIN).await;
    follower.whole().await;
    assert_eq!(follower.welcome.as_ref().unwrap().plan, Plan::Whole);
    assert_eq!(follower.table.count(Kind::Service), 1);
    slice(&server, "web", "10.0.0.1");
    follower.count(Kind::EndpointSlice, 1).await;
    assert_eq!(follower.triggered, [1_767_225_600_000], "when the change was set off comes with it");
    server.etcd().delete(Kind::Service, "shop", "web").unwrap();
    follower.count(Kind::Service, 0).await;
    assert_eq!((follower.wholes, follower.batches), (1, 2));
    assert_eq!(follower.hubs, [hub.address]);
    let heartbeat = follower.heartbeat(7).await;
    assert_eq!((heartbeat.state, heartbeat.digests), (State::Live, follower.standing.digests));
    let position = heartbeat.position.unwrap();
    assert!(position.version(Kind::Service) >= follower.standing.position.version(Kind::Service));
}

#[tokio::test]
async fn a_follower_goes_on_from_where_it_was_at_this_hub_and_at_another() {
    let server = cluster().await;
    service(&server, "web", false);
    let (one, other) = (TestHub::live(&server).await, TestHub::live(&server).await);
    // The history is that of what has been asked for.
    for hub in [&one, &other] {
        Follower::fresh(hub.address, PLAIN).await.whole().await;
    }
    let mut follower = Follower::fresh(one.address, PLAIN).await;
    follower.whole().await;
    let mut kept = follower.leave();
    for (n, hub) in [&one, &other, &one].into_iter().enumerate() {
        slice(&server, "web", &format!("10.0.0.{}", n + 1));
        let version = server.etcd().revision();
        let mut follower = Follower::connect(hub.address, kept).await;
        follower.until(|f| f.standing.position.version(Kind::EndpointSlice) >= version).await;
        assert_eq!(follower.welcome.as_ref().unwrap().plan, Plan::Changes);
        assert_eq!(follower.wholes, 0, "no whole state at {n}");
        kept = follower.leave();
    }
    // Nothing happened: nothing is sent but the heartbeat.
    let mut follower = Follower::connect(other.address, kept).await;
    let heartbeat = follower.heartbeat(1).await;
    assert_eq!((follower.wholes, heartbeat.state), (0, State::Live));
}

#[tokio::test]
async fn another_state_at_the_same_position_is_put_right_by_a_whole_one() {
    let server = cluster().await;
    service(&server, "web", false);
    let hub = TestHub::live(&server).await;
    let mut follower = Follower::fresh(hub.address, PLAIN).await;
    follower.whole().await;
    let mut kept = follower.leave();
    let digest = kept.standing.digests.0[Kind::Service.index()].as_mut().unwrap();
    digest.hash ^= 1;
    let mut follower = Follower::connect(hub.address, kept).await;
    follower.whole().await;
    assert_eq!(follower.welcome.unwrap().plan, Plan::Whole);
    assert_eq!(hub.metric("outlast_hub_whole_states_begun_total{why=\"differs\"}"), 1.0);
}

#[tokio::test]
async fn views_have_what_they_are_of() {
    let server = cluster().await;
    service(&server, "web", false);
    service(&server, "db", true);
    slice(&server, "web", "10.0.0.1");
    slice(&server, "db", "10.0.0.2");
    pod(&server, "p1");
    let hub = TestHub::live(&server).await;
    let mut plain = Follower::fresh(hub.address, PLAIN).await;
    let mut pods = Follower::fresh(hub.address, PODS).await;
    let mut headless = Follower::fresh(hub.address, HEADLESS).await;
    let counts = |f: &Follower| [Kind::Service, Kind::EndpointSlice, Kind::Pod].map(|k| f.table.count(k));
    for (follower, want) in [(&mut plain, [2, 2, 0]), (&mut pods, [2, 2, 1]), (&mut headless, [2, 1, 0])] {
        follower.whole().await;
        assert_eq!(counts(follower), want);
    }
    // A service that becomes headless brings its slices.
    service(&server, "web", true);
    headless.count(Kind::EndpointSlice, 2).await;
    pod(&server, "p2");
    pods.count(Kind::Pod, 2).await;
    assert_eq!(plain.heartbeat(1).await.digests, plain.standing.digests);
}

#[tokio::test]
async fn a_hub_without_data_says_so_and_sends_it_once_it_has_some() {
    let server = cluster().await;
    server.faults().set_network(outlast::drill::standin::faults::Network::Refuse);
    let hub = Builder::new(&server).start();
    let mut follower = Follower::connect(hub.address, Kept::nothing(PLAIN)).await;
    let heartbeat = follower.heartbeat(1).await;
    assert_eq!((heartbeat.state, heartbeat.position), (State::Empty, None));
    assert_eq!(follower.welcome.as_ref().unwrap().plan, Plan::Wait);
    server.faults().set_network(outlast::drill::standin::faults::Network::Open);
    follower.whole().await;
    assert_eq!(follower.table.count(Kind::Namespace), 4);
}
