//! Hubs that send what nobody should.

use std::time::Duration;

use bytes::Bytes;
use outlast::feed::digests::Digests;
use outlast::feed::frame::{
    Batch, Frame, MAX_FRAME_BYTES, MAX_MESSAGE_BYTES, Plan, State, WholeBegin, WholeEnd,
};
use outlast::feed::position::Position;
use outlast::feed::wire::follow_reply::Reply;
use outlast::feed::wire::{self, FollowReply};
use outlast::source::hub::known::MAX_HUBS;
use outlast::store::state::DataState;
use prost::Message;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::world::{World, add, address, cluster, welcome};

fn frame(bytes: Vec<u8>) -> FollowReply {
    FollowReply { reply: Some(Reply::Frame(Bytes::from(bytes))) }
}

fn packed(bytes: &[u8]) -> FollowReply {
    FollowReply { reply: Some(Reply::FrameZstd(bytes.to_vec().into())) }
}

fn message(message: wire::frame::Frame) -> FollowReply {
    frame(wire::Frame { frame: Some(message) }.encode_to_vec())
}

fn said(said: &Frame) -> FollowReply {
    frame(wire::Frame::from(said).encode_to_vec())
}

/// A batch with this entry, which is wrong.
fn entry(entry: wire::Entry) -> FollowReply {
    message(wire::frame::Frame::Batch(wire::Batch { entries: vec![entry], ..wire::Batch::default() }))
}

fn upsert(object: wire::object::Object) -> wire::Entry {
    let object = wire::Object { object: Some(object) };
    wire::Entry { change: Some(wire::entry::Change::Upsert(object)), ..wire::Entry::default() }
}

/// What a hub says in place of what it should.
fn nonsense() -> Vec<(&'static str, FollowReply)> {
    let service = wire::Service {
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
        cluster_ips: vec![vec![10, 0, 0]],
        ..wire::Service::default()
    };
    let slice = wire::EndpointSlice {
        namespace: "shop".to_owned(),
        name: "web-1".to_owned(),
        service: "web".to_owned(),
        addresses: vec![10, 0, 0, 1, 7].into(),
        ..wire::EndpointSlice::default()
    };
    let namespace = |name: &str| {
        wire::object::Object::Namespace(wire::Namespace {
            name: name.to_owned(),
            ..wire::Namespace::default()
        })
    };
    let in_place_of_another =
        wire::Entry { held: Some(wire::Object { object: Some(namespace("b")) }), ..upsert(namespace("a")) };
    let key = wire::Key { kind: 1, ..wire::Key::default() };
    let no_key = wire::Entry { change: Some(wire::entry::Change::Delete(key)), ..wire::Entry::default() };
    let no_address = wire::Hubs { addresses: vec!["hub.example.org:9953".to_owned()] };
    let told = cluster(11, &["x"]);
    let [_, part, end] = told.frames();
    vec![
        ("bytes that are no message", frame(vec![0xff; 100])),
        ("a message that ends half way", frame(said_bytes(&told.batch(vec![add("x")]), 7))),
        ("bytes that cannot be unpacked", packed(&[0x42; 100])),
        ("a bomb", packed(&bomb())),
        ("a part of no whole state", said(&part)),
        ("an end of no whole state", said(&end)),
        ("a service with an address of three bytes", entry(upsert(wire::object::Object::Service(service)))),
        ("a slice with half an address", entry(upsert(wire::object::Object::EndpointSlice(slice)))),
        ("a namespace without a name", entry(upsert(namespace("")))),
        ("an object in place of another one", entry(in_place_of_another)),
        ("a key of nothing", entry(no_key)),
        (
            "a whole state that is nowhere",
            message(wire::frame::Frame::WholeBegin(wire::WholeBegin::default())),
        ),
        ("a hub that has a name", message(wire::frame::Frame::Hubs(no_address))),
        ("more than a message may be", frame(vec![0; MAX_MESSAGE_BYTES + 1])),
    ]
}

/// A frame without its last bytes.
fn said_bytes(frame: &Frame, less: usize) -> Vec<u8> {
    let mut bytes = wire::Frame::from(frame).encode_to_vec();
    bytes.truncate(bytes.len() - less);
    bytes
}

/// Little that unpacks to far more than a frame may be.
fn bomb() -> Vec<u8> {
    let bomb = zstd::bulk::compress(&vec![0; 16 * MAX_FRAME_BYTES], 3).unwrap();
    assert!(bomb.len() < 64 << 10, "{}", bomb.len());
    bomb
}

#[tokio::test(start_paused = true)]
async fn nonsense_is_left_and_changes_nothing() {
    for (name, nonsense) in nonsense() {
        let world = World::new(2);
        let told = cluster(10, &["a", "b"]);
        let (_hub, stream) = world.in_sync(&told).await;
        world.second(&told);
        let _ = stream.reply(nonsense).await;
        world.live_at(2, Duration::from_secs(10)).await;
        assert_eq!(world.left("garbage"), 1.0, "{name}\n{}", world.log.text());
        assert_eq!(world.said("reason=garbage"), 1, "{name}");
        assert_eq!(world.names(), ["a", "b"], "{name}");
        assert_eq!(world.metric("coredns_panics_total"), 0.0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn frames_out_of_order_are_left() {
    let newer = cluster(20, &["x"]);
    let [begin, part, _] = newer.frames();
    let batch = newer.batch(vec![add("x")]);
    let cases: [(&str, Option<Plan>, Vec<Frame>); 4] = [
        ("changes ahead of a welcome", None, vec![batch.clone()]),
        ("a whole state ahead of a welcome", None, vec![begin.clone()]),
        ("changes within a whole state", Some(Plan::Whole), vec![begin, part.clone(), batch]),
        ("a part ahead of its beginning", Some(Plan::Whole), vec![part]),
    ];
    for (name, plan, frames) in cases {
        let world = World::new(2);
        let told = cluster(10, &["a"]);
        let (hub, stream) = world.in_sync(&told).await;
        drop((hub, stream));
        let mut hub = world.net.hub(address(1));
        let mut stream = hub.stream().await;
        match plan {
            Some(plan) => welcome(&mut stream, &newer, plan).await,
            None => drop(stream.subscription().await),
        }
        let _ = stream.say_all(&frames).await;
        world.until(name, |world| world.left("garbage") == 1.0).await;
        assert_eq!(world.names(), ["a"], "{name}");
        world.second(&told);
        world.live_at(2, Duration::from_secs(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_speaks_no_http2_is_left() {
    for bytes in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &[0; 64], &[0xff; 100_000]] {
        let world = World::new(2);
        let told = cluster(10, &["a"]);
        let (hub, stream) = world.in_sync(&told).await;
        drop((hub, stream));
        let mut door = world.net.door(address(1));
        let mut pipe = door.recv().await.unwrap();
        let _ = pipe.write_all(bytes).await;
        world.second(&told);
        world.live_at(2, Duration::from_secs(30)).await;
        assert_eq!(world.names(), ["a"]);
        assert_eq!(world.said("cluster data is stale"), 0, "{}", world.log.text());
    }
}

#[tokio::test(start_paused = true)]
async fn absurd_numbers_are_numbers() {
    let world = World::new(1);
    let told = cluster(10, &["a"]);
    let (_hub, mut stream) = world.in_sync(&told).await;
    // More hubs than anybody has.
    let many =
        (0..5000_u16).map(|n| (std::net::Ipv4Addr::from(0x7f01_0000 + u32::from(n)), 1).into()).collect();
    assert!(stream.say(&Frame::Hubs(many)).await);
    // An age beyond all time proves nothing.
    let nonce = stream.ping().await;
    let proved = Instant::now() - world.store.age();
    assert!(stream.reply(told.heartbeat(nonce, State::Live, Duration::MAX)).await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(world.store.age() >= proved.elapsed() - Duration::from_millis(5), "{:?}", world.store.age());
    // A whole state that announces more objects than there are in the world.
    let begin = WholeBegin {
        cluster_uid: "u".to_owned(),
        position: cluster(20, &[]).position,
        objects: u64::MAX,
        complete: outlast::zone::object::Kinds::ALL,
        ..WholeBegin::default()
    };
    let newer = cluster(20, &["x"]);
    let [_, part, end] = newer.frames();
    assert!(stream.say_all(&[Frame::WholeBegin(begin), part, end]).await);
    world.until("it is what it is", |world| world.names() == ["x"]).await;
    // To be left alone for seven weeks.
    let dialled = world.net.dialled().len();
    assert!(
        stream
            .say(&Frame::RetryAfter { after: Duration::from_millis(u32::MAX.into()), why: String::new() })
            .await
    );
    let again = |world: &World| world.net.dialled()[dialled..].contains(&address(1));
    let after = world.within(Duration::from_secs(300), "another try", again).await;
    assert!((100..=240).contains(&after.as_secs()), "{after:?}");
    let known: std::collections::HashSet<_> = world.net.dialled().into_iter().collect();
    assert!(known.len() <= MAX_HUBS + 1, "{}", known.len());
}

#[tokio::test(start_paused = true)]
async fn a_position_beyond_what_etcd_counts_is_nonsense() {
    for position in [
        Position { epoch: 1, versions: [10, u64::MAX, 10, 0] },
        Position { epoch: u64::MAX, versions: [10, 10, 10, 0] },
    ] {
        let world = World::new(2);
        let told = cluster(10, &["a"]);
        let (mut hub, mut stream) = world.in_sync(&told).await;
        let batch = Batch {
            cluster_uid: "u".to_owned(),
            position: Some(position),
            digests: Digests::NONE,
            ..Batch::default()
        };
        let end = WholeEnd { position, digests: Digests::NONE, holds: Vec::new() };
        let begin = WholeBegin { cluster_uid: "u".to_owned(), position, ..WholeBegin::default() };
        for (left, frames) in
            [vec![Frame::Batch(batch)], vec![Frame::WholeBegin(begin), Frame::WholeEnd(end)]]
                .into_iter()
                .enumerate()
        {
            let _ = stream.say_all(&frames).await;
            world.until("left", |world| world.left("garbage") == left as f64 + 1.0).await;
            stream = hub.stream().await;
            let subscription = stream.subscription().await;
            assert_eq!(subscription.position, told.position, "nobody was taken there");
            assert!(stream.begin(&subscription, &told).await);
        }
        drop((hub, stream));
        world.second(&told);
        world.live_at(2, Duration::from_secs(20)).await;
        assert_eq!(world.state(), DataState::Live);
    }
}
