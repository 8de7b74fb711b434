//! Hubs that are killed, hang, fall silent, or drip.

use std::time::Duration;

use outlast::feed::frame::{Frame, Plan, State};
use outlast::store::state::DataState;
use tokio::time::Instant;

use super::world::{World, add, address, cluster, welcome};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_hub_that_is_killed_is_left_at_once_for_another() {
    let world = World::new(2);
    let told = cluster(10, &["a", "b"]);
    let (hub, stream) = world.in_sync(&told).await;
    world.second(&told);
    drop((hub, stream));
    let after = world.live_at(2, 5 * SECOND).await;
    assert!(after <= SECOND, "{after:?}");
    assert_eq!(world.names(), ["a", "b"]);
    assert_eq!(world.metric("outlast_hub_received_whole_states_total"), 1.0, "it goes on from where it was");
    assert_eq!((world.left("closed"), world.said("left hub")), (1.0, 1));
    assert_eq!(world.said("cluster data is stale"), 0, "it never was");
}

#[tokio::test(start_paused = true)]
async fn without_any_hub_answers_go_on_and_say_how_old_they_are() {
    let world = World::new(2);
    let (hub, stream) = world.in_sync(&cluster(10, &["a", "b"])).await;
    let proved = Instant::now() - world.store.age();
    drop((hub, stream));
    tokio::time::sleep(3600 * SECOND).await;
    assert_eq!(world.names(), ["a", "b"]);
    assert!(matches!(world.state(), DataState::Stale { .. }), "{:?}", world.state());
    assert!(world.store.age().abs_diff(Instant::now() - proved) < SECOND, "an hour, and not a second less");
    let tries = world.net.dialled().len();
    assert!(
        (200..=700).contains(&tries),
        "two hubs, twice a minute each at least, but not more often: {tries}"
    );
    assert_eq!(world.said("cluster data is stale"), 1, "{}", world.log.text());
    assert!(world.said("left hub") <= 2, "a hub that is still gone is no news\n{}", world.log.text());
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_takes_connections_and_says_nothing_is_left_in_time() {
    let world = World::new(2);
    let told = cluster(10, &["a"]);
    let (hub, stream) = world.in_sync(&told).await;
    drop((hub, stream));
    // Its kernel still takes connections, and bytes.
    let mut held = world.net.door(address(1));
    let holding = tokio::spawn(async move {
        let mut pipes = Vec::new();
        while let Some(pipe) = held.recv().await {
            pipes.push(pipe);
        }
    });
    world.within(60 * SECOND, "silence", |world| world.left("silent") >= 1.0).await;
    world.second(&told);
    let after = world.live_at(2, 60 * SECOND).await;
    assert!(after <= 12 * SECOND, "{after:?}");
    assert_eq!(world.names(), ["a"]);
    holding.abort();
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_falls_silent_is_left_five_seconds_after_a_ping() {
    let world = World::new(2);
    let told = cluster(10, &["a"]);
    let (_hub, mut stream) = world.in_sync(&told).await;
    world.second(&told);
    let _unanswered = stream.ping().await;
    let asked = Instant::now();
    world.live_at(2, 60 * SECOND).await;
    let after = asked.elapsed();
    assert!((5 * SECOND..7 * SECOND).contains(&after), "{after:?}");
    assert_eq!((world.left("silent"), world.said("left hub")), (1.0, 1));
    assert_eq!(world.said("cluster data is stale"), 0, "another hub was found before");
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_tells_of_changes_and_answers_no_ping_proves_nothing_and_is_left() {
    let world = World::new(2);
    let mut told = cluster(10, &["a"]);
    let (hub, mut stream) = world.in_sync(&told).await;
    let proved = Instant::now() - world.store.age();
    let _unanswered = stream.ping().await;
    let asked = Instant::now();
    let mut version = 10;
    while world.left("silent") == 0.0 {
        version += 1;
        let name = format!("n{version}");
        told.position = cluster(version, &[]).position;
        told.objects.extend(cluster(version, &[&name]).objects);
        let _ = stream.say(&told.batch(vec![add(&name)])).await;
        assert!(asked.elapsed() < 60 * SECOND, "never left");
        assert!(world.store.age() >= proved.elapsed() - SECOND, "changes prove nothing");
        tokio::time::sleep(SECOND).await;
    }
    let after = asked.elapsed();
    assert!((29 * SECOND..33 * SECOND).contains(&after), "{after:?}");
    assert!(world.names().len() > 20, "what it told is served");
    drop((hub, stream));
    world.second(&told);
    world.live_at(2, 10 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn what_has_come_of_a_whole_state_that_stops_counts_for_nothing() {
    let world = World::new(2);
    let told = cluster(10, &["a", "b"]);
    let (hub, stream) = world.in_sync(&told).await;
    drop((hub, stream));
    let mut hub = world.net.hub(address(1));
    let mut stream = hub.stream().await;
    // Its log does not reach back, and it hangs behind the first part of its state.
    let newer = cluster(20, &["x"]);
    welcome(&mut stream, &newer, Plan::Whole).await;
    assert!(stream.say_all(&newer.frames()[..2]).await);
    world.within(30 * SECOND, "silence", |world| world.left("silent") == 1.0).await;
    assert_eq!(world.names(), ["a", "b"]);
    world.second(&cluster(21, &["a", "c"]));
    world.live_at(2, 10 * SECOND).await;
    assert_eq!(world.names(), ["a", "c"], "and nothing of x");
}

#[tokio::test(start_paused = true)]
async fn a_whole_state_that_drips_is_left_for_another_hub_but_not_if_there_is_none() {
    for hubs in [1, 2] {
        let world = World::new(hubs);
        let told = cluster(10, &["a", "b"]);
        let (hub, stream) = world.in_sync(&told).await;
        drop((hub, stream));
        let mut hub = world.net.hub(address(1));
        let mut stream = hub.stream().await;
        let newer = cluster(20, &["x", "y"]);
        welcome(&mut stream, &newer, Plan::Whole).await;
        let [begin, _, end] = newer.frames();
        assert!(stream.say(&begin).await);
        let began = Instant::now();
        // Four minutes, a part each four seconds.
        for step in 0..60 {
            let objects = ["x", "y"].get(step).map(|name| add(name).into()).into_iter().collect();
            if !stream.say(&Frame::WholePart(objects)).await {
                break;
            }
            tokio::time::sleep(4 * SECOND).await;
        }
        let dripped = began.elapsed();
        assert_eq!(world.names(), ["a", "b"], "nothing of it counts before its end");
        if hubs == 1 {
            assert!(dripped >= 240 * SECOND && stream.say(&end).await);
            world.until("all of it", |world| world.names() == ["x", "y"]).await;
        } else {
            assert!((120 * SECOND..130 * SECOND).contains(&dripped), "{dripped:?}");
            assert_eq!(world.left("slow"), 1.0);
            world.second(&newer);
            world.live_at(2, 60 * SECOND).await;
            assert_eq!(world.names(), ["x", "y"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_is_stale_keeps_its_followers_where_there_is_no_other_and_their_age_is_its_age() {
    let world = World::new(1);
    let told = cluster(10, &["a"]);
    let (_hub, mut stream) = world.in_sync(&told).await;
    for minute in 1..=3_u32 {
        let until = Instant::now() + 60 * SECOND;
        while Instant::now() < until {
            let nonce = stream.ping().await;
            let age = minute * 100 * SECOND;
            assert!(stream.reply(told.heartbeat(nonce, State::Stale, age)).await);
        }
        assert!(matches!(world.state(), DataState::Stale { .. }));
    }
    assert_eq!(world.left("stale"), 0.0);
    assert!(world.store.age() >= 100 * SECOND, "{:?}", world.store.age());
    assert_eq!(world.said("data of the hub is not live"), 1, "said once");
    assert_eq!(world.names(), ["a"]);
}
