//! A hub whose digests are not those of what it sends: one transfer, an alarm, and then ever more patience.

use std::time::Duration;

use outlast::feed::digests::Digests;
use outlast::feed::frame::{Frame, Plan, Request, State};
use outlast::store::state::DataState;
use outlast::testkit::scripted_hub::{ScriptedHub, Stream, Told};
use tokio::time::Instant;

use super::world::{World, cluster};

const HOUR: Duration = Duration::from_secs(3600);

/// Tells of `told`, and vouches for something else.
async fn lie(mut stream: Stream, told: Told, ends_after_whole: bool) {
    let wrong = cluster(1, &["what nobody sent"]).digests();
    while let Some(asked) = stream.asked().await {
        match asked {
            Request::Subscribe(subscription) if subscription.whole => {
                let [begin, part, end] = told.frames();
                let end = match end {
                    Frame::WholeEnd(end) => {
                        Frame::WholeEnd(outlast::feed::frame::WholeEnd { digests: wrong, ..end })
                    }
                    other => other,
                };
                let _ = stream.say_all(&[told.welcome(Plan::Whole), begin, part, end]).await;
                if ends_after_whole {
                    return;
                }
            }
            Request::Subscribe(_) => drop(stream.say(&told.welcome(Plan::Changes)).await),
            Request::Ping { nonce } => {
                let mut heartbeat = told.heartbeat(nonce, State::Live, Duration::ZERO);
                heartbeat.digests = wrong;
                let _ = stream.reply(heartbeat).await;
            }
            Request::Unknown => {}
        }
    }
}

/// Lies to whoever comes.
async fn liar(mut hub: ScriptedHub, told: Told, ends_after_whole: bool) {
    loop {
        let stream = hub.stream().await;
        tokio::spawn(lie(stream, told.clone(), ends_after_whole));
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_digest_costs_one_whole_state_and_not_one_after_the_other() {
    // Whether the hub stays or ends its stream each time, in which case the follower comes back.
    for ends in [false, true] {
        let world = World::new(1);
        let told = cluster(10, &["a", "b"]);
        let (hub, stream) = world.in_sync(&told).await;
        drop((hub, stream));
        let began = Instant::now();
        let lying = tokio::spawn(liar(world.net.hub(super::world::address(1)), told.clone(), ends));
        let alarm = |world: &World| world.metric("outlast_hub_digest_alarm") == 1.0;
        world.within(Duration::from_secs(30), "the alarm", alarm).await;
        let wholes = || world.metric("outlast_hub_received_whole_states_total") - 1.0;
        assert_eq!(wholes(), 1.0, "the one that was no help");
        assert_eq!(world.names(), ["a", "b"]);

        tokio::time::sleep(HOUR).await;
        // After 1, 2, 4, 8, 16 and 32 minutes.
        assert!((5.0..=7.0).contains(&wholes()), "{} whole states in an hour (ends: {ends})", wholes());
        assert_eq!(world.said("differs from the hub's even after a whole state") as f64, wholes());
        assert_eq!(world.names(), ["a", "b"], "what it said is served");
        assert!(matches!(world.state(), DataState::Stale { .. }), "and not vouched for: {:?}", world.state());
        assert!(world.store.age() >= began.elapsed() - Duration::from_secs(1), "{:?}", world.store.age());

        // Another hub, or the same one put right.
        lying.abort();
        let _ = lying.await;
        tokio::spawn(world.net.hub(super::world::address(1)).serve(told.clone()));
        world.live_at(1, HOUR).await;
        assert!(!alarm(&world));
    }
}

#[tokio::test(start_paused = true)]
async fn digests_of_another_encoding_are_believed_and_not_compared() {
    let world = World::new(1);
    let told = cluster(10, &["a"]);
    let (_hub, mut stream) = world.in_sync(&told).await;
    for _ in 0..12 {
        let nonce = stream.ping().await;
        let mut heartbeat = told.heartbeat(nonce, State::Live, Duration::ZERO);
        heartbeat.digests = Digests::NONE;
        assert!(stream.reply(heartbeat).await);
    }
    assert_eq!(world.state(), DataState::Live);
    assert_eq!(world.metric("outlast_hub_digest_mismatches_total"), 0.0);
}
