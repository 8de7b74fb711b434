//! When a hub is left, and for whom.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::HubSource;
use super::super::access::HubAccess;
use super::world::{World, address, at, of, remove};
use crate::feed::digests::Digests;
use crate::feed::frame::{Batch, Frame, Heartbeat, Packet, Plan, Request, State};
use crate::feed::wire;
use crate::ops::jitter::Jitter;
use crate::source::{Update, Wanted, command};
use crate::store::state::DataState;
use crate::trust::config::TrustConfig;

#[tokio::test(start_paused = true)]
async fn a_hub_that_is_frozen_is_not_left() {
    let mut world = World::new(2);
    let (hub, mut stream) = world.in_sync().await;
    for _ in 0..20 {
        let nonce = stream.ping().await;
        stream.beat(nonce, State::Frozen, 100, at(1, 10), of(&["a", "b"])).await;
    }
    world.settle().await;
    assert_eq!(*world.net.dialled.lock().expect("a test"), [hub], "minutes later, although there is another");
    assert_eq!(world.names(), ["a", "b"]);
    assert!(matches!(world.state(), DataState::Stale { age } if age.as_secs() > 100), "{:?}", world.state());
    let connected = world.control.status().await.connected.expect("it is followed");
    assert_eq!(connected.unwell.as_deref(), Some("because"));
    let nonce = stream.ping().await;
    stream.batch("u", at(1, 11), vec![remove("b")], of(&["a"])).await;
    stream.beat(nonce, State::Live, 0, at(1, 11), of(&["a"])).await;
    world.until("thawed", |world| matches!(world.state(), DataState::Live) && world.names() == ["a"]).await;
    assert_eq!(world.control.status().await.connected.expect("it is followed").unwell, None);
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_hangs_is_left_after_five_seconds() {
    let mut world = World::new(2);
    let (hub, mut stream) = world.in_sync().await;
    let _ = stream.ping().await;
    let began = Instant::now();
    let (other, _) = world.stream().await;
    let after = (Instant::now() - began).as_secs_f64();
    assert!(other != hub && (4.9..6.0).contains(&after), "{after}");
    assert_eq!(world.metric("outlast_hub_left_total{reason=\"silent\"}"), 1.0);
    assert_eq!(world.names(), ["a", "b"], "what is held is served");
}

#[tokio::test(start_paused = true)]
async fn garbage_is_left_and_counted() {
    let bytes = |bytes: &'static [u8]| wire::FollowReply {
        reply: Some(wire::follow_reply::Reply::Frame(bytes.into())),
    };
    let part = Packet::from(&Frame::WholePart(Vec::new())).into();
    let batch = Packet::from(&Frame::Batch(Batch::default())).into();
    for (name, reply) in
        [("no message", bytes(b"\xff\xff\xff")), ("a part of nothing", part), ("no welcome", batch)]
    {
        let mut world = World::new(1);
        let (_, mut stream) = world.stream().await;
        let _ = stream.subscription().await;
        stream.to.send(Ok(reply)).await.expect("the follower is there");
        let _ = world.stream().await;
        assert_eq!(world.metric("outlast_hub_left_total{reason=\"garbage\"}"), 1.0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn tries_of_a_hub_that_is_down_become_rare() {
    let world = World::new(0);
    let access = HubAccess {
        seeds: vec![address(1)],
        trust: TrustConfig::Plain,
        headless_only: false,
        name: "n1".to_owned(),
    };
    let (updates, mut queue) = mpsc::channel(4);
    let (_commands, commanded) = command::channel();
    let source = HubSource::with_dial(
        &access,
        Wanted::default(),
        None,
        Jitter::from_seed(1),
        &world.metrics,
        world.net.clone(),
    );
    tokio::spawn(source.run(updates, commanded, world.stop.clone()));
    tokio::time::sleep(Duration::from_secs(600)).await;
    let dialled = world.net.dialled.lock().expect("a test").len();
    assert!((20..=100).contains(&dialled), "{dialled}");
    assert!(matches!(queue.try_recv(), Ok(Update::Lost { why }) if why.contains("nobody is there")));
    assert!(queue.try_recv().is_err(), "said once");
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_is_behind_takes_nobody_back() {
    let mut world = World::new(2);
    let (first, stream) = world.in_sync().await;
    drop(stream);
    let (second, mut stream) = world.stream().await;
    let _ = stream.subscription().await;
    // Its log does not reach back, and its state is older.
    stream.welcome("u", 1, Plan::Whole).await;
    stream.whole("u", at(1, 8), &["old"]).await;
    let nonce = stream.ping().await;
    let behind = Instant::now();
    stream.beat(nonce, State::Live, 0, at(1, 8), Digests::NONE).await;
    world.settle().await;
    assert_eq!(world.names(), ["a", "b"]);
    // It stays behind, and there is another.
    stream.until_left(at(1, 9)).await;
    let left = Instant::now();
    assert!((24..=36).contains(&(left - behind).as_secs()), "{:?}", left - behind);
    let (next, _) = world.stream().await;
    assert!(next == first && next != second);
}

#[tokio::test(start_paused = true)]
async fn a_stale_hub_is_left_for_another_and_ever_more_patiently() {
    let mut world = World::new(2);
    let mut lasted = Vec::new();
    let (_, mut stream) = world.in_sync().await;
    for _ in 0..4 {
        let mut stale_since = None;
        while let Some(request) = stream.from.recv().await {
            match Request::from(request) {
                Request::Ping { nonce } => {
                    stale_since.get_or_insert_with(Instant::now);
                    stream.beat(nonce, State::Stale, 100, at(1, 10), of(&["a", "b"])).await;
                }
                Request::Subscribe(_) => stream.welcome("u", 1, Plan::Changes).await,
                Request::Unknown => panic!("it asks nothing unknown"),
            }
        }
        lasted.push((Instant::now() - stale_since.expect("pings came")).as_secs());
        (_, stream) = world.stream().await;
    }
    assert!(
        lasted.windows(2).all(|pair| pair[1] * 3 >= pair[0] * 4 - 1) && (24..=36).contains(&lasted[0]),
        "{lasted:?}"
    );
}

/// At another hub it would stand at the end of the queue, and all of them would go round for ever.
#[tokio::test(start_paused = true)]
async fn who_waits_for_a_whole_state_stays_at_a_stale_hub_and_leaves_an_empty_one() {
    for (state, stays) in [(State::Stale, true), (State::Empty, false)] {
        let mut world = World::new(2);
        let (_, mut stream) = world.stream().await;
        let _ = stream.subscription().await;
        stream.welcome("u", 1, Plan::Whole).await;
        let began = Instant::now();
        let answers = async {
            while let Some(request) = stream.from.recv().await {
                let Request::Ping { nonce } = Request::from(request) else { continue };
                let queued = Heartbeat { nonce, state, ahead: 9, ..Heartbeat::default() };
                let _ = stream.to.send(Ok(queued.into())).await;
            }
        };
        let left = tokio::time::timeout(Duration::from_secs(300), answers).await;
        assert_eq!(left.is_err(), stays, "{state:?}");
        assert!(stays || (24..=36).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn hubs_that_stop_are_left_at_a_random_moment_and_the_list_is_learned() {
    let mut world = World::new(1);
    let (first, stream) = world.in_sync().await;
    world.up(address(7));
    stream.say(Frame::Hubs(vec![first, address(7)])).await;
    stream.say(Frame::Move { within: Duration::from_secs(5) }).await;
    let began = Instant::now();
    let (next, mut moved) = world.stream().await;
    assert_eq!(next, address(7));
    assert!((Instant::now() - began).as_secs() <= 5);
    assert_eq!(moved.subscription().await.position, at(1, 10));
    assert!(matches!(world.state(), DataState::Live));
    // One that asks to be left alone is, and the other is not.
    moved.say(Frame::RetryAfter { after: Duration::from_secs(20), why: "full".to_owned() }).await;
    let began = Instant::now();
    let (next, stream) = world.stream().await;
    assert_eq!(next, first);
    assert!((Instant::now() - began).as_secs() < 2);
    drop(stream);
}

/// After all hubs were restarted in turn, everybody would be at one of them.
#[tokio::test(start_paused = true)]
async fn who_is_not_at_its_first_choice_goes_back_there_some_time_later() {
    let mut world = World::new(2);
    let (first, stream) = world.in_sync().await;
    drop(stream);
    let (second, mut stream) = world.stream().await;
    assert_ne!(second, first);
    let began = Instant::now();
    // It is well, and so is its follower.
    while let Some(request) = stream.from.recv().await {
        match Request::from(request) {
            Request::Ping { nonce } => {
                stream.beat(nonce, State::Live, 0, at(1, 10), of(&["a", "b"])).await;
            }
            _ => stream.welcome("u", 1, Plan::Changes).await,
        }
    }
    let (hub, mut stream) = world.stream().await;
    assert_eq!(hub, first);
    assert!((300..=920).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert_eq!(stream.subscription().await.position, at(1, 10), "it goes on from where it is");
    stream.welcome("u", 1, Plan::Changes).await;
    assert!(matches!(world.state(), DataState::Live), "{:?}", world.state());
    assert_eq!(world.metric("outlast_hub_left_total{reason=\"home\"}"), 1.0);
    // There it stays.
    let stays = async {
        while let Some(Request::Ping { nonce }) = stream.from.recv().await.map(Request::from) {
            stream.beat(nonce, State::Live, 0, at(1, 10), of(&["a", "b"])).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(3600), stays).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn silence_at_the_start_is_not_waited_out() {
    let mut world = World::new(2);
    let (first, _stream) = world.stream().await;
    let began = Instant::now();
    let (second, _) = world.stream().await;
    assert!(first != second && (Instant::now() - began).as_secs() <= 10);
}
