//! Following hubs that say what the test tells them to. `world`: those hubs, and their follower; `digests` and `leaving`: tests of these.

mod digests;
mod leaving;
mod world;

use std::time::Duration;

use tokio::time::Instant;

use self::world::{World, add, at, namespace, of, remove};
use crate::feed::entry::Entry;
use crate::feed::frame::{Batch, Frame, Plan, State};
use crate::store::status::outcome::Outcome;
use crate::zone::hold::{Held, Hold};

#[tokio::test(start_paused = true)]
async fn from_nothing_to_live_and_on() {
    let mut world = World::new(1);
    let (hub, stream) = world.in_sync().await;
    assert_eq!(world.names(), ["a", "b"]);
    assert_eq!(world.store.current().reached.position, at(1, 10));
    assert!(world.metrics.render().contains(&format!("outlast_hub_connected{{hub=\"{hub}\"}} 1")));
    let connected = world.control.status().await.connected.expect("it says who is followed");
    let said = (connected.address, connected.name, connected.release, connected.unwell);
    assert_eq!(said, (hub.to_string(), "hub-1".to_owned(), "0.9.0".to_owned(), None));
    stream.batch("u", at(1, 12), vec![add("c"), remove("a")], of(&["b", "c"])).await;
    world.until("the change", |world| world.names() == ["b", "c"]).await;
    assert_eq!(world.metric("outlast_hub_digest_mismatches_total"), 0.0);
    // A change in two batches is one.
    let entries = vec![add("d").into()];
    let half = Batch { cluster_uid: "u".to_owned(), entries, ..Batch::default() };
    stream.say(Frame::Batch(half)).await;
    world.settle().await;
    assert_eq!(world.names(), ["b", "c"]);
    stream.batch("u", at(1, 13), vec![add("e")], of(&["b", "c", "d", "e"])).await;
    world.until("both halves", |world| world.names() == ["b", "c", "d", "e"]).await;
}

#[tokio::test(start_paused = true)]
async fn freshness_is_that_of_the_ping_less_the_age() {
    let mut world = World::new(1);
    let (_, mut stream) = world.in_sync().await;
    let nonce = stream.ping().await;
    let sent = Instant::now();
    tokio::time::advance(Duration::from_secs(3)).await;
    stream.beat(nonce, State::Stale, 2, at(1, 10), of(&["a", "b"])).await;
    world.settle().await;
    assert_eq!(world.store.age().as_secs(), (Instant::now() - sent).as_secs() + 2);
    // Neither a hub that has nothing nor one that is frozen proves anything.
    for state in [State::Empty, State::Frozen] {
        let before = world.store.age();
        let nonce = stream.ping().await;
        let waited = world.store.age() - before;
        stream.beat(nonce, state, 0, at(1, 10), of(&["a", "b"])).await;
        world.settle().await;
        assert!(waited.as_secs() > 4 && world.store.age() >= before + waited, "{state:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_resumption_asks_for_what_is_missing_only_and_at_any_hub() {
    let mut world = World::new(2);
    let (hub, stream) = world.in_sync().await;
    drop(stream);
    let (other, mut stream) = world.stream().await;
    assert_ne!(other, hub, "the one that failed stands behind");
    let subscription = stream.subscription().await;
    assert_eq!((subscription.position, subscription.cluster_uid.as_str()), (at(1, 10), "u"));
    assert_eq!(subscription.digests, of(&["a", "b"]));
    assert!(!subscription.whole);
    stream.welcome("u", 1, Plan::Changes).await;
    stream.batch("u", at(1, 11), vec![add("c")], of(&["a", "b", "c"])).await;
    world.until("the change", |world| world.names() == ["a", "b", "c"]).await;
    assert_eq!(world.metric("outlast_hub_received_whole_states_total"), 1.0);
    assert_eq!(world.metric("outlast_hub_left_total{reason=\"closed\"}"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn another_cluster_is_refused_until_it_is_accepted() {
    let mut world = World::new(1);
    let (_, stream) = world.in_sync().await;
    drop(stream);
    let (_, mut stream) = world.stream().await;
    let _ = stream.subscription().await;
    stream.welcome("other", 0, Plan::Whole).await;
    stream.whole("other", at(0, 5), &["x"]).await;
    world.settle().await;
    assert_eq!(world.names(), ["a", "b"]);
    world.until("left", |world| world.metric("outlast_hub_left_total{reason=\"foreign\"}") == 1.0).await;
    let status = world.control.status().await;
    assert_eq!((status.refused_cluster.as_deref(), status.connected), (Some("other"), None));
    let accepted = world.control.accept().await.outcome;
    assert_eq!(accepted, Outcome::ClusterAccepted { uid: "other".to_owned() });
    let (_, mut stream) = world.stream().await;
    let _ = stream.subscription().await;
    stream.welcome("other", 0, Plan::Whole).await;
    stream.whole("other", at(0, 5), &["x"]).await;
    world.until("the other cluster", |world| world.names() == ["x"]).await;
    assert_eq!(world.store.current().reached.cluster_uid, "other");
    // Lower than before, in another cluster.
    world.until("its position", |world| world.store.current().reached.position == at(0, 5)).await;
    assert_eq!(world.control.status().await.refused_cluster, None);
}

#[tokio::test(start_paused = true)]
async fn another_cluster_is_accepted_also_while_one_is_connected() {
    let mut world = World::new(2);
    let (_, stream) = world.in_sync().await;
    drop(stream);
    let (_, mut stream) = world.stream().await;
    let _ = stream.subscription().await;
    stream.welcome("other", 0, Plan::Whole).await;
    world.until("left", |world| world.metric("outlast_hub_left_total{reason=\"foreign\"}") == 1.0).await;
    // The other hub says nothing: the order comes in the middle of its session.
    let (_, mut stream) = world.stream().await;
    let _ = stream.subscription().await;
    let accepted = world.control.accept().await.outcome;
    assert_eq!(accepted, Outcome::ClusterAccepted { uid: "other".to_owned() });
    world.settle().await;
    stream.welcome("other", 0, Plan::Whole).await;
    stream.whole("other", at(0, 5), &["x"]).await;
    world.until("the other cluster", |world| world.names() == ["x"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_later_epoch_is_followed_and_an_earlier_one_is_not() {
    let mut world = World::new(1);
    let (_, stream) = world.in_sync().await;
    stream.batch("u", at(2, 4), vec![remove("b")], of(&["a"])).await;
    world.until("the restored state", |world| world.names() == ["a"]).await;
    assert_eq!(world.store.current().reached.position, at(2, 4));
    drop(stream);
    let (_, mut stream) = world.stream().await;
    assert_eq!(stream.subscription().await.position, at(2, 4));
    stream.welcome("u", 1, Plan::Whole).await;
    stream.whole("u", at(1, 20), &["a", "b"]).await;
    world.until("left", |world| world.metric("outlast_hub_left_total{reason=\"behind\"}") == 1.0).await;
    assert_eq!(world.names(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_is_behind_and_holds_nothing_ends_no_hold() {
    let mut world = World::new(2);
    let (_, stream) = world.in_sync().await;
    let hold = Hold { id: 7, why: "a list".into(), objects: 1, held_ms: 0, remaining_ms: 5_000 };
    let held = Held { served: namespace("b"), hold: 7 };
    let entry = Entry { held: Some(held), ..Entry::from(remove("b")) };
    let batch = Batch {
        cluster_uid: "u".to_owned(),
        position: Some(at(1, 12)),
        digests: of(&["a"]),
        entries: vec![entry],
        holds: Some(vec![hold]),
    };
    stream.say(Frame::Batch(batch)).await;
    world.until("it is held", |world| world.store.current().held.len() == 1).await;
    drop(stream);
    let (_, mut stream) = world.stream().await;
    let _ = stream.subscription().await;
    stream.welcome("u", 1, Plan::Whole).await;
    stream.whole("u", at(1, 9), &["a", "b"]).await;
    world.settle().await;
    assert_eq!(world.names(), ["a", "b"], "it has yet to see that b is gone");
    // It has no guard, and says so once it is there.
    stream.batch("u", at(1, 12), vec![remove("b")], of(&["a"])).await;
    world.until("believed", |world| world.names() == ["a"]).await;
    world.until("no hold", |world| world.store.current().holds.is_empty()).await;
}
