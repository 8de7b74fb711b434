//! Hubs that end and come back, with all followers there are.

use std::time::Duration;

use super::world::{FULL, Speak, World, many};

/// How long the last may take to come back: a try at once, and another one for those that came before the hub was there;
/// a build that is not optimised, and what else the machine does, take the rest.
const BACK: Duration = Duration::from_secs(60);

/// What the API server is asked while a hub is restarted and all of its followers come back: lists, watches that are
/// open in the end, and what hubs ask beyond their checks.
async fn restarted(thin: usize, full: usize) -> (u64, usize, u64) {
    let world = World::new(1, Speak::Plain).await;
    let hub = world.hub(0).await;
    let followers = world.followers(thin, full);
    world.all_are_proved(&followers).await;
    let count = world.count();
    hub.stop().await;
    followers.doubt();
    let hub = world.hub(0).await;
    let took = world.all_are_proved(&followers).await;
    assert!(took < BACK, "{took:?}");
    world.change(9);
    world.all_have_it(&followers).await;
    assert_eq!(followers.metric("outlast_hub_digest_mismatches_total"), 0.0);
    let asked = (count.lists(), count.watches(1).await, count.beyond_checks(1));
    drop(hub);
    asked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_does_not_notice_how_many_come_back_at_once_to_a_hub_that_was_restarted() {
    let one = restarted(1, 0).await;
    assert_eq!(restarted(many() - FULL, FULL).await, one);
}

/// What the API server is asked while both hubs are replaced, one after the other.
async fn replaced(thin: usize, full: usize) -> (u64, usize, u64) {
    let world = World::new(2, Speak::Plain).await;
    let (first, second) = (world.hub(0).await, world.hub(1).await);
    let followers = world.followers(thin, full);
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
    assert_eq!(followers.metric("outlast_hub_digest_mismatches_total"), 0.0);
    let asked = (count.lists(), count.watches(2).await, count.beyond_checks(2));
    drop((first, second));
    asked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_how_many_follow_hubs_that_are_replaced_one_after_the_other() {
    let one = replaced(1, 0).await;
    assert_eq!(replaced(many() - FULL, FULL).await, one);
}
