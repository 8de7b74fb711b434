//! What is too much to be believed is held back, said, and let go: when it turns up again, when somebody accepts it, and
//! after its time.

use std::time::Duration;

use outlast::drill::standin::Standin;
use outlast::drill::standin::faults::{Fault, Refusal, Rule};
use outlast::ops::control::Command;
use outlast::testkit::hub::Builder;
use outlast::testkit::node::TestNode;
use outlast::zone::object::Kind;

use super::world::{
    SERVICES, all_are_answered, alone, asked, cluster, delete, empty_lists, follower, hub, name, put, shown,
    unseen, until_asked,
};

const HOUR: Duration = Duration::from_secs(3600);

const HOLDS: &str = "outlast_guard_holds";

const HELD: &str = "outlast_guard_held_objects";

/// One way to lose services that nobody meant to lose.
struct Case {
    name: &'static str,
    /// What happens to a cluster that had `SERVICES` of them.
    happens: fn(&Standin),
    /// The services that a list then lacks.
    lost: std::ops::Range<usize>,
}

const CASES: [Case; 2] = [
    Case { name: "an empty list", happens: |server| unseen(server, empty_lists), lost: 0..SERVICES },
    Case {
        name: "half a list",
        happens: |server| unseen(server, |server| (20..SERVICES).for_each(|n| delete(server, n))),
        lost: 20..SERVICES,
    },
];

/// Waits until so many services are held with their slices: each list makes a hold of its own.
async fn until_held(node: &TestNode, services: usize) {
    let objects = 2.0 * services as f64;
    node.until("all of it is held", |node| node.metric(HELD) == Some(objects)).await;
}

#[tokio::test]
async fn what_a_list_lacks_is_held_at_the_hub_for_all_nodes_until_one_word_frees_them() {
    for Case { name: case, happens, lost } in CASES {
        let server = cluster(SERVICES).await;
        let hub = hub(&server, HOUR).await;
        let nodes = [follower(&hub).await, follower(&hub).await];
        happens(&server);
        for node in &nodes {
            until_held(node, lost.len()).await;
            all_are_answered(node, lost.clone(), "lacks").await;
        }
        // What is new comes all the same.
        put(&server, 77);
        for node in &nodes {
            until_asked(node, &name(77), "NoError 10.96.1.77").await;
            assert_eq!(
                asked(node, &name(77)).await.1.map(|(code, text)| (code, text.contains("held"))),
                None
            );
        }
        // One who comes late is told, too.
        let late = follower(&hub).await;
        all_are_answered(&late, lost.clone(), "lacks").await;

        let said = hub.order(Command::Accept { zone: None }).await.unwrap();
        for node in nodes.iter().chain([&late]) {
            until_asked(node, &name(lost.start), "NXDomain").await;
            until_asked(node, &name(lost.end - 1), "NXDomain").await;
            assert_eq!(asked(node, &name(77)).await.0, "NoError 10.96.1.77", "{case}: {said}");
            node.until("nothing held", |node| node.metric(HOLDS) == Some(0.0)).await;
        }
        assert_eq!(hub.metric(HOLDS), 0.0, "{case}");
    }
}

#[tokio::test]
async fn a_word_at_one_hub_frees_the_nodes_of_its_sibling_too() {
    let server = cluster(SERVICES).await;
    let one = hub(&server, HOUR).await;
    let mut builder = Builder::new(&server);
    builder.config.siblings = vec![one.address];
    let other = builder.start();
    other.state("live").await;
    other.until("hubs have met", |hub| hub.metric("outlast_hub_siblings{state=\"met\"}") == 1.0).await;
    let nodes = [follower(&one).await, follower(&other).await];
    unseen(&server, |server| (20..SERVICES).for_each(|n| delete(server, n)));
    for node in &nodes {
        until_held(node, 20).await;
    }
    let _ = one.order(Command::Accept { zone: None }).await.unwrap();
    for node in &nodes {
        until_asked(node, &name(30), "NXDomain").await;
        assert_eq!(asked(node, &name(10)).await.0, "NoError 10.96.1.10");
    }
    assert_eq!(other.metric("outlast_hub_accepted_elsewhere_total"), 1.0);
}

#[tokio::test]
async fn what_turns_up_again_is_held_no_longer() {
    let server = cluster(SERVICES).await;
    let hub = hub(&server, HOUR).await;
    let node = follower(&hub).await;
    unseen(&server, empty_lists);
    until_held(&node, SERVICES).await;
    server.faults().clear();
    unseen(&server, |_| {});
    node.until("nothing held", |node| node.metric(HOLDS) == Some(0.0)).await;
    all_are_answered(&node, 0..0, "as before").await;
    assert_eq!(asked(&node, &name(0)).await.1, None, "{}", shown(&node));
}

#[tokio::test]
async fn what_is_held_for_its_time_is_believed_then() {
    let server = cluster(SERVICES).await;
    let hub = hub(&server, Duration::from_secs(3)).await;
    let node = follower(&hub).await;
    unseen(&server, |server| (20..SERVICES).for_each(|n| delete(server, n)));
    until_held(&node, 20).await;
    assert_eq!(asked(&node, &name(30)).await.0, "NoError 10.96.1.30");
    // Time alone removes nothing: another list has to lack it, too.
    hub.relist().await;
    until_asked(&node, &name(30), "NXDomain").await;
    assert_eq!(asked(&node, &name(10)).await.0, "NoError 10.96.1.10");
    node.until("nothing held", |node| node.metric(HOLDS) == Some(0.0)).await;
}

#[tokio::test]
async fn an_old_backup_is_noticed_and_what_it_lacks_is_held() {
    for bumped in [false, true] {
        let server = cluster(5).await;
        let backup = server.etcd().save();
        (5..SERVICES).for_each(|n| put(&server, n));
        server.etcd().advance_to(server.etcd().revision() + 10_000);
        put(&server, 0);
        let hub = hub(&server, HOUR).await;
        let node = follower(&hub).await;
        if bumped {
            server.etcd().restore_bumped(&backup, 1_000_000);
        } else {
            server.etcd().restore(&backup);
        }
        server.faults().cut_connections();
        until_held(&node, SERVICES - 5).await;
        all_are_answered(&node, 5..SERVICES, "lacks").await;
        // The cluster goes on from there.
        put(&server, 77);
        until_asked(&node, &name(77), "NoError 10.96.1.77").await;
        all_are_answered(&node, 5..SERVICES, "lacks").await;
        let _ = hub.order(Command::Accept { zone: None }).await.unwrap();
        until_asked(&node, &name(30), "NXDomain").await;
        assert_eq!(asked(&node, &name(3)).await.0, "NoError 10.96.1.3", "bumped: {bumped}");
    }
}

#[tokio::test]
async fn rights_that_are_taken_away_take_nothing_away() {
    let server = cluster(SERVICES).await;
    let hub = hub(&server, HOUR).await;
    let node = follower(&hub).await;
    let refused = server.faults().add(Rule::new(Fault::Answer(Refusal::Forbidden)));
    server.faults().cut_connections();
    hub.until("the hub is refused", |hub| hub.scrape().contains("code=\"403\"")).await;
    all_are_answered(&node, 0..0, "refused").await;
    assert_eq!(hub.metric(HOLDS), 0.0, "an error is no list");
    // And who has rights to nothing is given lists of nothing.
    empty_lists(&server);
    server.faults().remove(refused);
    unseen(&server, |_| {});
    until_held(&node, SERVICES).await;
    all_are_answered(&node, 0..SERVICES, "lacks").await;
}

#[tokio::test]
async fn a_node_without_a_hub_holds_for_itself_and_over_a_restart() {
    let server = cluster(SERVICES).await;
    let folder = tempfile::tempdir().unwrap();
    let node = alone(&server, folder.path()).await;
    unseen(&server, |server| (20..SERVICES).for_each(|n| delete(server, n)));
    until_held(&node, 20).await;
    all_are_answered(&node, 20..SERVICES, "lacks").await;
    node.stop().await;
    let node = alone(&server, folder.path()).await;
    until_held(&node, 20).await;
    all_are_answered(&node, 20..SERVICES, "lacks").await;
    assert_eq!(server.etcd().len(Kind::EndpointSlice), 20, "those of the cluster are gone");
}
