//! Hubs and nodes of the release before and of the one after.

use std::time::Duration;

use bytes::Bytes;
use outlast::drill::standin::{Config, Standin};
use outlast::feed::frame::{Frame, Packet, Plan, State, Welcome};
use outlast::feed::view::View;
use outlast::feed::wire::follow_reply::Reply;
use outlast::feed::wire::{self, FollowReply};
use outlast::store::state::DataState;
use outlast::testkit::hub::{Follower, Kept, TestHub};
use outlast::testkit::scripted_hub::Told;
use prost::Message;

use super::world::{World, add, cluster};

const SECOND: Duration = Duration::from_secs(1);

/// A field that this release does not know: number 99, a text.
const LATER: &[u8] = &[0x9a, 0x06, 0x05, b'l', b'a', b't', b'e', b'r'];

/// What another release's hub says of this one: each message in it has a field of a later release.
fn later(frame: &Frame) -> FollowReply {
    use wire::frame::Frame as Of;
    let (number, mut body) = match wire::Frame::from(frame).frame.unwrap() {
        Of::Welcome(m) => (1_u8, m.encode_to_vec()),
        Of::WholeBegin(m) => (2, m.encode_to_vec()),
        Of::WholePart(m) => (3, m.encode_to_vec()),
        Of::WholeEnd(m) => (4, m.encode_to_vec()),
        Of::Batch(m) => (5, m.encode_to_vec()),
        other => panic!("{other:?}"),
    };
    body.extend(LATER);
    let mut bytes = vec![number << 3 | 2];
    prost::encoding::encode_varint(body.len() as u64, &mut bytes);
    bytes.extend(body);
    bytes.extend(LATER);
    FollowReply { reply: Some(Reply::Frame(Bytes::from(bytes))) }
}

/// A hub that speaks this version of the protocol.
fn welcome(protocol: u32, told: &Told) -> Frame {
    let Frame::Welcome(welcome) = told.welcome(Plan::Whole) else { unreachable!("a welcome") };
    Frame::Welcome(Welcome { protocol, release: format!("release of protocol {protocol}"), ..welcome })
}

#[tokio::test(start_paused = true)]
async fn a_node_follows_hubs_of_the_protocol_before_and_of_the_one_after() {
    for protocol in [0, 1, 2, 99] {
        let world = World::new(1);
        let mut told = cluster(10, &["a", "b"]);
        let mut hub = world.net.hub(super::world::address(1));
        let mut stream = hub.stream().await;
        let subscription = stream.subscription().await;
        assert_eq!(subscription.protocol, 1, "what this release speaks");
        assert!(stream.say(&welcome(protocol, &told)).await);
        assert!(stream.say_all(&told.frames()).await);
        told.position.versions = [11, 11, 11, 0];
        told.objects = cluster(11, &["a", "b", "c"]).objects;
        assert!(stream.say(&told.batch(vec![add("c")])).await);
        let nonce = stream.ping().await;
        assert!(stream.reply(told.heartbeat(nonce, State::Live, Duration::ZERO)).await);
        world.until("live", |world| world.state() == DataState::Live).await;
        assert_eq!(world.names(), ["a", "b", "c"], "protocol {protocol}");
        assert_eq!(world.metric("outlast_hub_digest_mismatches_total"), 0.0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_later_release_says_beside_what_is_known_is_passed_over() {
    let world = World::new(1);
    let told = cluster(10, &["a", "b"]);
    let mut hub = world.net.hub(super::world::address(1));
    let mut stream = hub.stream().await;
    let _ = stream.subscription().await;
    let unknown_frame = || FollowReply { reply: Some(Reply::Frame(Bytes::from_static(LATER))) };
    // A kind of frame, a kind of reply, and an object of a kind that are not known.
    let later_object = wire::Entry {
        change: Some(wire::entry::Change::Upsert(wire::Object { object: None })),
        ..wire::Entry::default()
    };
    let later_key = wire::Entry {
        change: Some(wire::entry::Change::Delete(wire::Key {
            kind: 9,
            namespace: "n".to_owned(),
            name: "x".to_owned(),
        })),
        ..wire::Entry::default()
    };
    let entries = vec![later_object, later_key];
    let part = wire::Frame { frame: Some(wire::frame::Frame::WholePart(wire::WholePart { entries })) };
    assert!(stream.reply(unknown_frame()).await);
    assert!(stream.reply(FollowReply { reply: None }).await);
    assert!(stream.reply(later(&told.welcome(Plan::Whole))).await);
    let [begin, entries, end] = told.frames();
    assert!(stream.reply(later(&begin)).await);
    assert!(stream.reply(Packet::of(&part)).await);
    assert!(stream.reply(later(&entries)).await);
    assert!(stream.reply(unknown_frame()).await);
    assert!(stream.reply(later(&end)).await);
    let nonce = stream.ping().await;
    assert!(stream.reply(told.heartbeat(nonce, State::Live, Duration::ZERO)).await);
    world.until("live", |world| world.state() == DataState::Live).await;
    let newer = cluster(11, &["a", "b", "c"]);
    assert!(stream.reply(later(&newer.batch(vec![add("c")]))).await);
    world.until("the change", |world| world.names() == ["a", "b", "c"]).await;
    // A state that is not known vouches for nothing.
    let nonce = stream.ping().await;
    let age = world.store.age();
    let mut heartbeat: FollowReply = newer.heartbeat(nonce, State::Live, Duration::ZERO).into();
    if let Some(Reply::Heartbeat(heartbeat)) = &mut heartbeat.reply {
        heartbeat.state = 17;
    }
    assert!(stream.reply(heartbeat).await);
    tokio::time::sleep(SECOND).await;
    assert!(world.store.age() > age);
    assert_eq!((world.left("garbage"), world.metric("outlast_hub_digest_mismatches_total")), (0.0, 0.0));
}

#[tokio::test]
async fn a_hub_serves_nodes_of_the_release_before_and_of_the_one_after() {
    let server = Standin::start(Config::default()).await.unwrap();
    let hub = TestHub::live(&server).await;
    for protocol in [1, 2, 99] {
        let mut kept = Kept::nothing(View { headless_only: false, pods: false });
        kept.standing.protocol = protocol;
        let mut follower = Follower::connect(hub.address, kept).await;
        follower.whole().await;
        let spoken = follower.welcome.as_ref().unwrap().protocol;
        assert_eq!(spoken, 1, "the lower of both");
        // Something that a later release asks.
        follower.ask(wire::FollowRequest { request: None }).await;
        let heartbeat = follower.heartbeat(7).await;
        assert_eq!((heartbeat.nonce, heartbeat.state), (7, State::Live));
    }
}
