//! Digests that differ: what is asked for, and whom.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::super::session::COMPARE_EVERY;
use super::world::{Stream, World, add, address, at, of, wrong};
use crate::feed::digests::Digests;
use crate::feed::frame::{Frame, Plan, Request, State};
use crate::feed::position::Position;
use crate::store::state::DataState;
use crate::zone::object::Kind;

/// The hub tells what does not lead to what it has. A whole state at this version mends that, and the next change is wrong again.
async fn until_alarm(world: &World, stream: &mut Stream, version: u64) {
    assert!(stream.asked_with(at(1, version), wrong()).await.whole, "{version}");
    stream.welcome("u", 1, Plan::Whole).await;
    stream.whole("u", at(1, version), &["a", "b"]).await;
    world.until("mended", |world| world.names() == ["a", "b"]).await;
    world.settle().await;
    tokio::time::advance(COMPARE_EVERY).await;
    stream.batch("u", at(1, version + 1), vec![add("d")], wrong()).await;
    world.until("alarm", |world| world.metric("outlast_hub_digest_alarm") == 1.0).await;
}

/// The hub sends everything, which was asked for, and is right.
async fn mend(world: &World, stream: &Stream, version: u64, names: &[&str]) {
    stream.welcome("u", 1, Plan::Whole).await;
    stream.whole("u", at(1, version), names).await;
    world.until("no alarm", |world| world.metric("outlast_hub_digest_alarm") == 0.0).await;
    assert_eq!(world.names(), names);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_digest_leads_to_one_whole_state_and_then_to_an_alarm() {
    let mut world = World::new(1);
    let (_, mut stream) = world.in_sync().await;
    let nonce = stream.ping().await;
    stream.beat(nonce, State::Live, 0, at(1, 10), wrong()).await;
    let subscription = stream.subscription().await;
    assert!(subscription.whole && subscription.why.contains("digests of Namespace"), "{}", subscription.why);
    stream.welcome("u", 1, Plan::Whole).await;
    // The whole state does not have the digest that the hub says it has either.
    stream.whole_as("u", at(1, 10), &["z"], wrong()).await;
    world.until("an alarm", |world| world.metric("outlast_hub_digest_alarm") == 1.0).await;
    world.settle().await;
    assert_eq!(
        world.names(),
        ["a", "b"],
        "what is not what it says does not take the place of what there was"
    );
    assert_eq!(world.metric("outlast_hub_digest_alarm"), 1.0);
    assert_eq!(world.metric("outlast_hub_digest_mismatches_total"), 2.0);
    let mismatch = world.control.status().await.mismatch.expect("it says so");
    assert!(mismatch.contains("Namespace"), "{mismatch}");
    // It is followed, not vouched for, and not asked again within the minute.
    let proved = Instant::now() - world.store.age();
    let mut pings = 0;
    let began = Instant::now();
    loop {
        match Request::from(stream.from.recv().await.expect("the follower is there")) {
            Request::Ping { nonce } => {
                pings += 1;
                stream.beat(nonce, State::Live, 0, at(1, 10), wrong()).await;
            }
            Request::Subscribe(subscription) => {
                assert!(subscription.whole);
                break;
            }
            Request::Unknown => panic!("it asks nothing unknown"),
        }
    }
    let asked_again = Instant::now() - began;
    assert!((55..90).contains(&asked_again.as_secs()) && pings >= 5, "{asked_again:?} {pings}");
    assert!(Instant::now() - world.store.age() <= proved + Duration::from_millis(5), "nothing was proved");
    assert!(matches!(world.state(), DataState::Stale { .. }), "{:?}", world.state());
    // And this time it helps.
    stream.welcome("u", 1, Plan::Whole).await;
    stream.whole("u", at(1, 11), &["a"]).await;
    world.until("healed", |world| world.metric("outlast_hub_digest_alarm") == 0.0).await;
    let nonce = stream.ping().await;
    stream.beat(nonce, State::Live, 0, at(1, 11), of(&["a"])).await;
    world.until("live", |world| matches!(world.state(), DataState::Live)).await;
    assert_eq!(world.control.status().await.mismatch, None);
}

/// One hub tells what does not lead to what it says it has, whole state or not: the other one is asked.
#[tokio::test(start_paused = true)]
async fn a_hub_that_is_wrong_is_left_for_another_which_is_asked_for_everything() {
    let mut world = World::new(2);
    let (wrong_hub, mut stream) = world.in_sync().await;
    let began = Instant::now();
    for (version, name) in [(11, "c"), (12, "d")] {
        tokio::time::advance(COMPARE_EVERY).await;
        stream.batch("u", at(1, version), vec![add(name)], wrong()).await;
        if version == 11 {
            // A whole state mends it, until the next change.
            assert!(stream.subscription().await.whole);
            stream.welcome("u", 1, Plan::Whole).await;
            stream.whole("u", at(1, version), &["a", "b"]).await;
            world.until("mended", |world| world.names() == ["a", "b"]).await;
            world.settle().await;
        }
    }
    world.until("alarm", |world| world.metric("outlast_hub_digest_alarm") == 1.0).await;
    let (other, mut stream) = world.stream().await;
    assert!(other != wrong_hub && (Instant::now() - began).as_secs() <= 13, "{:?}", began.elapsed());
    assert_eq!(world.metric("outlast_hub_left_total{reason=\"wrong\"}"), 1.0);
    assert!(stream.subscription().await.whole, "what is held is known to be wrong");
    mend(&world, &stream, 12, &["a", "b", "c", "d"]).await;
}

/// Hubs share whole states, and one may come from another hub a moment later than we have: nobody is taken back by it, and
/// nobody goes for that alone.
#[tokio::test(start_paused = true)]
async fn what_is_to_mend_a_state_and_is_behind_it_is_asked_for_again_once_the_hub_is_there() {
    for (name, there, wholes, left) in [
        ("it comes as far", 12, 2, 0.0),
        ("it never does", 10, 1, 1.0),
        ("it says that it has, and its whole state has not", 12, 4, 1.0),
    ] {
        let mut world = World::new(2);
        let (hub, mut stream) = world.in_sync().await;
        tokio::time::advance(COMPARE_EVERY).await;
        stream.batch("u", at(1, 11), vec![add("c")], wrong()).await;
        assert!(stream.asked_from(at(1, 10)).await.whole, "{name}");
        let began = Instant::now();
        for whole in 1..=wholes {
            if whole > 1 {
                let subscription = stream.asked_from(at(1, there)).await;
                assert!(subscription.whole && subscription.why.contains("behind"), "{}", subscription.why);
            }
            stream.welcome("u", 1, Plan::Whole).await;
            let is_there = left == 0.0 && whole == wholes;
            let (version, names) = if is_there { (there, &["a", "d"][..]) } else { (10, &["old"][..]) };
            stream.whole("u", at(1, version), names).await;
        }
        if left == 0.0 {
            assert_eq!(began.elapsed().as_secs(), 1, "{name}");
            world.until("what the hub has", |world| world.names() == ["a", "d"]).await;
            let nonce = stream.ping().await;
            stream.beat(nonce, State::Live, 0, at(1, 12), of(&["a", "d"])).await;
            world.until("proof", |world| world.store.age() <= Duration::from_secs(2)).await;
        } else {
            stream.until_left(at(1, there)).await;
            // As patiently as any hub that is behind; or after 1, 2 and 4 s.
            let most = if wholes == 1 { 24..=36 } else { 7..=8 };
            assert!(most.contains(&began.elapsed().as_secs()), "{name}: {:?}", began.elapsed());
            let (other, _) = world.stream().await;
            assert_ne!(other, hub, "{name}");
            assert_eq!(world.names(), ["a", "b", "c"], "{name}");
        }
        assert_eq!(world.metric("outlast_hub_left_total{reason=\"behind\"}"), left, "{name}");
        assert_eq!(world.metric("outlast_hub_digest_alarm"), 0.0, "{name}");
    }
}

/// One hub is alarmed about, and again, while the other one is down: it is followed for what it tells, and not for longer than the
/// other one is down.
#[tokio::test(start_paused = true)]
async fn a_hub_that_is_wrong_is_left_for_nobody_and_soon_for_one_that_was_down() {
    for alarms in [1, 2] {
        let mut world = World::new(2);
        let (wrong_hub, mut stream) = world.in_sync().await;
        let other = if wrong_hub == address(1) { address(2) } else { address(1) };
        world.down(other);
        tokio::time::advance(COMPARE_EVERY).await;
        stream.batch("u", at(1, 11), vec![add("c")], wrong()).await;
        for alarm in 1..=alarms {
            until_alarm(&world, &mut stream, 11 + alarm).await;
        }
        let alarmed = Instant::now();
        while alarmed.elapsed() < Duration::from_secs(20) {
            let nonce = stream.ping().await;
            stream.beat(nonce, State::Live, 0, at(1, 20), wrong()).await;
        }
        stream.batch("u", at(1, 21), vec![add("e")], wrong()).await;
        world.until("what happens", |world| world.names() == ["a", "b", "d", "e"]).await;
        world.up(other);
        let back = Instant::now();
        stream.until_left(at(1, 21)).await;
        let (next, mut stream) = world.stream().await;
        assert_eq!(next, other);
        assert!(back.elapsed().as_secs() <= 36, "as often as any hub is dialled: {:?}", back.elapsed());
        let failed =
            world.net.dialled.lock().expect("a test").iter().filter(|hub| **hub == other).count() - 1;
        assert!(failed > 0);
        assert_eq!(world.metric("outlast_hub_left_total{reason=\"unreachable\"}"), failed as f64);
        assert_eq!(world.metric("outlast_hub_left_total{reason=\"wrong\"}"), 1.0);
        assert!(stream.subscription().await.whole, "nobody was alarmed about this one");
        // It is no help, and the one that is wrong is not asked for a whole state again and again for that.
        stream.say(Frame::Refused { why: "not now".to_owned() }).await;
        let (next, mut stream) = world.stream().await;
        assert_eq!(next, wrong_hub);
        let subscription = stream.subscription().await;
        assert_eq!(subscription.whole, alarms == 1);
        if alarms > 1 {
            // A hub sends everything to whoever differs.
            assert_eq!(subscription.digests.get(Kind::Namespace), None, "it is known, and has its time");
            assert!(subscription.digests.get(Kind::Service).is_some());
            stream.welcome("u", 1, Plan::Changes).await;
            stream.batch("u", at(1, 22), vec![add("f")], wrong()).await;
            world.until("what happens", |world| world.names().contains(&"f".to_owned())).await;
        }
    }
}

/// One hub is alarmed about, and the other one hangs since it was dialled; the address of each.
async fn while_another_hangs() -> (World, Stream, [SocketAddr; 2]) {
    let mut world = World::new(2);
    let (wrong_hub, mut stream) = world.in_sync().await;
    let other = if wrong_hub == address(1) { address(2) } else { address(1) };
    world.hangs(other);
    tokio::time::advance(COMPARE_EVERY).await;
    stream.batch("u", at(1, 11), vec![add("c")], wrong()).await;
    until_alarm(&world, &mut stream, 11).await;
    let alarmed = Instant::now();
    while alarmed.elapsed() < Duration::from_secs(30) {
        let ping = tokio::time::timeout(Duration::from_secs(60), stream.ping()).await;
        stream.beat(ping.expect("it is heard"), State::Live, 0, at(1, 12), wrong()).await;
    }
    world.settle().await;
    assert_eq!(world.net.tries_of(other), 1, "it has not answered yet");
    (world, stream, [wrong_hub, other])
}

/// Dialling a machine that is gone takes seconds, and a hub that hangs takes longer.
#[tokio::test(start_paused = true)]
async fn a_hub_that_is_wrong_is_heard_while_another_one_is_dialled() {
    for mended_meanwhile in [false, true] {
        let (mut world, mut stream, [_, other]) = while_another_hangs().await;
        let right = if mended_meanwhile { of(&["a", "b", "d", "e"]) } else { wrong() };
        tokio::time::advance(COMPARE_EVERY).await;
        stream.batch("u", at(1, 13), vec![add("e")], right).await;
        world.until("what happens", |world| world.names() == ["a", "b", "d", "e"]).await;
        world.settle().await;
        assert_eq!(world.metric("outlast_hub_digest_alarm") == 0.0, mended_meanwhile);
        let mut next = world.lets_in(other).await;
        if mended_meanwhile {
            let mended = Instant::now();
            let nonce = stream.ping().await;
            assert!(
                mended.elapsed() < Duration::from_secs(1),
                "only a heartbeat proves it: {:?}",
                mended.elapsed()
            );
            stream.beat(nonce, State::Live, 0, at(1, 13), right).await;
            assert!(next.from.recv().await.is_none(), "there is no reason to go any more");
            world.until("proof", |world| world.store.age() <= Duration::from_secs(1)).await;
        } else {
            assert!(next.subscription().await.whole);
            mend(&world, &next, 14, &["a", "e"]).await;
        }
        let left = world.metric("outlast_hub_left_total{reason=\"wrong\"}");
        assert_eq!(left == 0.0, mended_meanwhile, "{left}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_is_on_the_list_no_longer_is_not_waited_for() {
    let (mut world, mut stream, [wrong_hub, _]) = while_another_hangs().await;
    world.up(address(7));
    stream.say(Frame::Hubs(vec![wrong_hub, address(7)])).await;
    let told = Instant::now();
    let left = tokio::time::timeout(Duration::from_secs(60), stream.until_left(at(1, 12))).await;
    assert!(left.is_ok() && told.elapsed().as_secs() <= 10, "{:?}", told.elapsed());
    assert_eq!(world.stream().await.0, address(7));
}

/// Its digests are of another state than ours: what another hub has said of ours counts, until that changes.
#[tokio::test(start_paused = true)]
async fn a_hub_that_is_behind_vouches_for_what_another_one_has_confirmed() {
    for (name, changes, vouches) in
        [("nothing has changed since", false, true), ("a change, and no word of it", true, false)]
    {
        let mut world = World::new(2);
        let (_, stream) = world.in_sync().await;
        if changes {
            // So soon after the comparison before, it is not compared.
            stream.batch("u", at(1, 11), vec![add("c")], wrong()).await;
            world.until("changed", |world| world.names() == ["a", "b", "c"]).await;
        }
        drop(stream);
        tokio::time::advance(Duration::from_secs(10)).await;
        let (_, mut stream) = world.stream().await;
        let _ = stream.subscription().await;
        stream.welcome("u", 1, Plan::Whole).await;
        stream.whole("u", at(1, 8), &["old"]).await;
        // Behind, and then where we are.
        let ours: &[&str] = if changes { &["a", "b", "c"] } else { &["a", "b"] };
        for (version, names, vouches) in [(9, &["old"][..], vouches), (11, ours, true)] {
            let nonce = stream.ping().await;
            tokio::time::advance(Duration::from_secs(1)).await;
            stream.beat(nonce, State::Live, 0, at(1, version), of(names)).await;
            world.settle().await;
            assert_eq!(world.store.age().as_secs() == 1, vouches, "{name}, version {version}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_restore_has_undone_is_asked_for_and_is_no_alarm() {
    let mut world = World::new(2);
    let (_, stream) = world.in_sync().await;
    drop(stream);
    // A hub that has not had b, and goes on to a state that was restored from before it.
    let (_, mut stream) = world.stream().await;
    let _ = stream.subscription().await;
    stream.welcome("u", 1, Plan::Whole).await;
    stream.whole("u", at(1, 9), &["a"]).await;
    world.settle().await;
    assert_eq!(world.names(), ["a", "b"], "it is behind");
    stream.batch("u", at(1, 10_000), vec![add("c")], of(&["a", "c"])).await;
    assert!(stream.subscription().await.whole, "b is not what the hub has");
    stream.welcome("u", 1, Plan::Whole).await;
    stream.whole("u", at(1, 10_000), &["a", "c"]).await;
    world.until("what was restored", |world| world.names() == ["a", "c"]).await;
    assert_eq!(world.metric("outlast_hub_digest_mismatches_total"), 0.0);
}

/// Hubs are exchanged for others with another encoding while a node's state is in doubt.
#[tokio::test(start_paused = true)]
async fn a_hub_without_digests_has_its_whole_state_trusted_where_another_one_left_doubts() {
    let mut world = World::new(1);
    let (_, mut stream) = world.in_sync().await;
    tokio::time::advance(COMPARE_EVERY).await;
    stream.batch("u", at(1, 11), vec![add("c")], wrong()).await;
    assert!(stream.subscription().await.whole);
    // Before it comes, the hub goes.
    drop(stream);
    let (_, mut stream) = world.stream().await;
    assert!(stream.subscription().await.whole);
    stream.welcome("u", 1, Plan::Whole).await;
    stream.whole_as("u", at(1, 12), &["a", "d"], Digests::NONE).await;
    world.until("what the other hub has", |world| world.names() == ["a", "d"]).await;
    let nonce = stream.ping().await;
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(world.store.age() >= Duration::from_secs(3), "{:?}", world.store.age());
    stream.beat(nonce, State::Live, 0, at(1, 12), Digests::NONE).await;
    world.until("proof", |world| world.store.age() <= Duration::from_secs(2)).await;
}

/// It is behind in a kind that nothing was wrong with: that is passed over, and no reason to doubt the others.
#[tokio::test(start_paused = true)]
async fn a_hub_without_digests_that_is_behind_in_other_kinds_has_those_in_doubt_trusted() {
    let mut world = World::new(1);
    let (_, mut stream) = world.in_sync().await;
    tokio::time::advance(COMPARE_EVERY).await;
    stream.batch("u", at(1, 11), vec![add("c")], wrong()).await;
    assert!(stream.subscription().await.whole);
    drop(stream);
    let (_, mut stream) = world.stream().await;
    assert!(stream.subscription().await.whole);
    stream.welcome("u", 1, Plan::Whole).await;
    let behind = Position { epoch: 1, versions: [12, 9, 12, 0] };
    stream.whole_as("u", behind, &["a", "d"], Digests::NONE).await;
    world.until("what the other hub has", |world| world.names() == ["a", "d"]).await;
    let nonce = stream.ping().await;
    tokio::time::advance(Duration::from_secs(2)).await;
    stream.beat(nonce, State::Live, 0, at(1, 12), Digests::NONE).await;
    world.until("proof", |world| world.store.age() <= Duration::from_secs(2)).await;
}

/// It has the address of the one that was alarmed about twice, and is asked at once for what was wrong.
#[tokio::test(start_paused = true)]
async fn a_hub_that_was_wrong_and_is_started_anew_is_believed_as_any_other() {
    for (name, hub, is_believed) in [("the same", "hub-1", false), ("another", "hub-2", true)] {
        let mut world = World::new(1);
        let (_, mut stream) = world.in_sync().await;
        tokio::time::advance(COMPARE_EVERY).await;
        stream.batch("u", at(1, 11), vec![add("c")], wrong()).await;
        for alarm in 1..=2 {
            until_alarm(&world, &mut stream, 11 + alarm).await;
        }
        drop(stream);
        let (_, mut stream) = world.stream().await;
        assert!(!stream.subscription().await.whole, "{name}: it has its time");
        stream.welcome_of(hub, "u", 1, Plan::Changes).await;
        if !is_believed {
            // Behind for a moment: what happens does not wait for what will never be.
            stream.batch("u", at(1, 10), vec![], wrong()).await;
            stream.batch("u", at(1, 15), vec![add("e")], wrong()).await;
            world.until("what happens", |world| world.names().contains(&"e".to_owned())).await;
            assert_eq!(world.metric("outlast_hub_digest_alarm"), 1.0, "{name}");
            continue;
        }
        let subscription = stream.subscription().await;
        assert!(subscription.whole && subscription.why.contains("started anew"), "{}", subscription.why);
        mend(&world, &stream, 15, &["a", "f"]).await;
    }
}

/// One hub was wrong once, one is down, and the one that is followed is wrong now.
#[tokio::test(start_paused = true)]
async fn who_was_wrong_has_another_turn_where_the_only_other_hub_is_down() {
    let mut world = World::new(3);
    let (first, mut stream) = world.in_sync().await;
    tokio::time::advance(COMPARE_EVERY).await;
    stream.batch("u", at(1, 11), vec![add("c")], wrong()).await;
    until_alarm(&world, &mut stream, 11).await;
    let (second, mut stream) = world.stream().await;
    assert!(stream.subscription().await.whole && second != first);
    let third = (1..=3).map(address).find(|hub| *hub != first && *hub != second).expect("there are three");
    world.down(third);
    mend(&world, &stream, 13, &["a", "b"]).await;
    world.settle().await;
    tokio::time::advance(COMPARE_EVERY).await;
    stream.batch("u", at(1, 14), vec![add("e")], wrong()).await;
    world.until("alarm", |world| world.metric("outlast_hub_digest_alarm") == 1.0).await;
    let alarmed = Instant::now();
    stream.until_left(at(1, 14)).await;
    let (next, mut stream) = world.stream().await;
    assert_eq!(next, first, "the third is down");
    // Not sooner than a hub that is wrong is asked again.
    assert!((90..=150).contains(&alarmed.elapsed().as_secs()), "{:?}", alarmed.elapsed());
    let tries = world.net.tries_of(third);
    assert!(tries >= 3, "it had its turn before: {tries}");
    assert!(stream.subscription().await.whole);
    mend(&world, &stream, 15, &["a", "right"]).await;
}

/// All that are at a hub that is wrong hear of another one in the same moment.
#[tokio::test(start_paused = true)]
async fn a_hub_that_is_new_is_not_gone_to_by_all_at_once() {
    let mut world = World::new(1);
    let (first, mut stream) = world.in_sync().await;
    tokio::time::advance(COMPARE_EVERY).await;
    stream.batch("u", at(1, 11), vec![add("c")], wrong()).await;
    until_alarm(&world, &mut stream, 11).await;
    let alarmed = Instant::now();
    while alarmed.elapsed() < Duration::from_secs(20) {
        let nonce = stream.ping().await;
        stream.beat(nonce, State::Live, 0, at(1, 12), wrong()).await;
    }
    world.up(address(7));
    stream.say(Frame::Hubs(vec![first, address(7)])).await;
    let told = Instant::now();
    stream.until_left(at(1, 12)).await;
    let (next, _) = world.stream().await;
    assert_eq!(next, address(7));
    assert!((10..=10_000).contains(&told.elapsed().as_millis()), "{:?}", told.elapsed());
}

/// Until it has listed a kind in an epoch, nobody knows whether what is held of that is what it has.
#[tokio::test(start_paused = true)]
async fn a_hub_in_a_new_epoch_vouches_for_nothing_before_it_has_all_kinds() {
    let mut world = World::new(2);
    let (_, stream) = world.in_sync().await;
    drop(stream);
    tokio::time::advance(Duration::from_secs(10)).await;
    let (_, mut stream) = world.stream().await;
    let _ = stream.subscription().await;
    stream.welcome("u", 2, Plan::Changes).await;
    let mut answered = Instant::now();
    for (version, vouches) in [(0, false), (20, true)] {
        let nonce = stream.ping().await;
        assert!(answered.elapsed() <= Duration::from_secs(2), "asked again soon: {:?}", answered.elapsed());
        tokio::time::advance(Duration::from_secs(1)).await;
        let position = Position { epoch: 2, versions: [20, version, version, 0] };
        stream.beat(nonce, State::Live, 0, position, of(&["a", "b"])).await;
        answered = Instant::now();
        world.settle().await;
        assert_eq!(world.store.age().as_secs() == 1, vouches, "services at version {version}");
    }
}
