//! Followers that join.

use super::world::{FULL, Speak, World, many};

/// What the API server is asked while so many followers join and follow changes.
async fn joined(thin: usize, full: usize, speak: Speak) -> (u64, usize, u64) {
    let world = World::new(2, speak).await;
    let hubs = [world.hub(0).await, world.hub(1).await];
    let count = world.count();
    let followers = world.followers(thin, full);
    world.all_are_proved(&followers).await;
    world.change(9);
    world.all_have_it(&followers).await;
    assert_eq!(followers.metric("outlast_hub_digest_mismatches_total"), 0.0);
    (count.lists(), count.watches(hubs.len()).await, count.beyond_checks(hubs.len()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_is_asked_the_same_by_one_follower_and_by_all_of_a_large_cluster() {
    let one = joined(0, 1, Speak::Tls).await;
    assert_eq!(one, (0, 6, 0), "a watch a kind and hub, and what hubs check");
    assert_eq!(joined(90, 10, Speak::Tls).await, one);
    assert_eq!(joined(many() - FULL, FULL, Speak::Plain).await, one);
}
