//! Hubs that end and come back, with all followers there are.

use std::time::Duration;

use super::world::{FULL, Speak, World, many};

/// How long the last may take to come back: a try at once, and another one for those that came before the hub was there;
/// a build that is not optimised, and what else the machine does, take the rest.
const BACK: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_come_back_at_once_to_a_hub_that_was_restarted() {
    let world = World::new(1, Speak::Plain).await;
    let hub = world.hub(0).await;
    let followers = world.followers(many() - FULL, FULL);
    world.all_are_proved(&followers).await;
    let count = world.count();
    hub.stop().await;
    followers.doubt();
    let hub = world.hub(0).await;
    let took = world.all_are_proved(&followers).await;
    assert!(took < BACK, "{took:?}");
    world.change(9);
    world.all_have_it(&followers).await;
    assert_eq!(count.lists(), 0, "the hub goes on from its snapshot, and so do they");
    assert_eq!((count.watches(1).await, count.beyond_checks(1)), (3, 0));
    let wholes = followers.metric("outlast_hub_received_whole_states_total");
    assert_eq!(wholes, followers.len() as f64, "the first one of each, and none since");
    assert_eq!(followers.metric("outlast_hub_digest_mismatches_total"), 0.0);
    drop(hub);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_hubs_are_replaced_one_after_the_other() {
    let world = World::new(2, Speak::Plain).await;
    let (first, second) = (world.hub(0).await, world.hub(1).await);
    let followers = world.followers(many() - FULL, FULL);
    world.all_are_proved(&followers).await;
    let count = world.count();
    first.stop().await;
    world.change(9);
    world.all_have_it(&followers).await;
    let first = world.hub(0).await;
    second.stop().await;
    world.change(9);
    world.all_have_it(&followers).await;
    let second = world.hub(1).await;
    followers.doubt();
    world.all_are_proved(&followers).await;
    assert_eq!(count.lists(), 0, "hubs go on from their snapshots, and followers at the other hub");
    assert_eq!((count.watches(2).await, count.beyond_checks(2)), (6, 0));
    let wholes = followers.metric("outlast_hub_received_whole_states_total");
    assert_eq!(wholes, followers.len() as f64, "the first one of each, and none since");
    assert_eq!(followers.metric("outlast_hub_digest_mismatches_total"), 0.0);
    drop((first, second));
}
