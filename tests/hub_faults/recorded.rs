//! What releases said, byte for byte, and what this one makes of it.
//!
//! `UPDATE=1 cargo test --test hub_faults recorded` records this release; what others said stays as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use outlast::feed::digests::Digests;
use outlast::feed::entry::Entry;
use outlast::feed::frame::{
    Batch, Frame, Heartbeat, PROTOCOL, Packet, Plan, Reply, Request, State, Subscription, Welcome,
    WholeBegin, WholeEnd,
};
use outlast::feed::position::Position;
use outlast::feed::view::View;
use outlast::feed::wire::{FollowReply, FollowRequest};
use outlast::store::state::DataState;
use outlast::testkit::cluster::{ns, slice, svc};
use outlast::zone::Table;
use outlast::zone::change::Change;
use outlast::zone::digest::Digest;
use outlast::zone::hold::{Held, Hold};
use outlast::zone::object::{Kind, Kinds, Object};
use prost::Message;

use super::world::{World, address};

/// What was recorded: a file each, of messages with their lengths ahead of them.
const FILES: [&str; 4] = ["subscribe", "whole", "batches", "heartbeats"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/feed")
}

/// The recordings of each release, by its folder; that of this one is there once it was made.
fn releases() -> Vec<PathBuf> {
    let own = folder().join(env!("CARGO_PKG_VERSION"));
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(&own).unwrap();
        for (name, bytes) in FILES.into_iter().zip(recording()) {
            fs::write(own.join(name), bytes).unwrap();
        }
    }
    assert!(own.is_dir(), "this release is not recorded: UPDATE=1 cargo test --test hub_faults recorded");
    let mut all: Vec<_> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

/// What this release says.
fn recording() -> [Vec<u8>; 4] {
    let requests = [subscription(), Request::Ping { nonce: 7 }].map(FollowRequest::from);
    let frames = |frames: Vec<Frame>| replies(frames.iter().map(|frame| Packet::from(frame).into()));
    let mut asked = Vec::new();
    requests.iter().for_each(|request| request.encode_length_delimited(&mut asked).unwrap());
    [asked, frames(whole()), frames(batches()), replies(heartbeats().into_iter().map(FollowReply::from))]
}

fn replies(replies: impl Iterator<Item = FollowReply>) -> Vec<u8> {
    let mut bytes = Vec::new();
    replies.for_each(|reply| reply.encode_length_delimited(&mut bytes).unwrap());
    bytes
}

/// Reads a recording as a network would deliver it.
fn read<M: Message + Default>(folder: &Path, name: &str) -> Vec<M> {
    let bytes = fs::read(folder.join(name)).unwrap();
    let (mut rest, mut messages) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        messages.push(M::decode_length_delimited(&mut rest).unwrap());
    }
    messages
}

// === What is said ===

fn position(version: u64) -> Position {
    Position { epoch: 3, versions: [version, version + 1, version + 2, 0] }
}

/// One object of each shape.
fn objects() -> Vec<Object> {
    vec![
        ns("shop"),
        svc("shop/web").ip("10.96.0.10").port("http", 80).build(),
        svc("shop/db").headless().port("sql", 5432).build(),
        svc("shop/out").external("db.example.org").build(),
        slice("shop/db-1", "db").v4("10.244.1.5").v4("10.244.2.5").port("sql", 5432).build(),
        slice("shop/web-1", "web").v4("10.244.1.6").port("http", 8080).build(),
    ]
}

fn digests(objects: &[Object]) -> Digests {
    let table = Table::build(objects.iter().cloned(), Kinds::CORE, 1);
    Digests::of(Kinds::CORE, |kind| table.digest(kind))
}

fn subscription() -> Request {
    Request::Subscribe(Box::new(Subscription {
        protocol: PROTOCOL,
        view: View { headless_only: false, pods: true },
        node: "node-7".to_owned(),
        release: "0.1.0".to_owned(),
        cluster_uid: "u".to_owned(),
        position: position(100),
        digests: digests(&objects()),
        held: Digest::default(),
        whole: true,
        why: "digests of Service differ".to_owned(),
    }))
}

fn whole() -> Vec<Frame> {
    let entries = |objects: &[Object]| objects.iter().cloned().map(|o| Change::Upsert(o).into()).collect();
    let objects = objects();
    vec![
        Frame::Welcome(Welcome {
            protocol: PROTOCOL,
            release: "0.1.0".to_owned(),
            hub: "hub-1".to_owned(),
            cluster_uid: "u".to_owned(),
            epoch: 3,
            labels: false,
            pods: false,
            plan: Plan::Whole,
        }),
        Frame::Hubs(vec![address(1), "[::1]:9953".parse().unwrap()]),
        Frame::WholeBegin(WholeBegin {
            cluster_uid: "u".to_owned(),
            position: position(100),
            objects: objects.len() as u64,
            complete: Kinds::CORE,
            serial: 17,
            labels: false,
        }),
        Frame::WholePart(entries(&objects[..3])),
        Frame::WholePart(entries(&objects[3..])),
        Frame::WholeEnd(WholeEnd { position: position(100), digests: digests(&objects), holds: Vec::new() }),
    ]
}

/// After them: `out` is gone, `db` has lost its slice and that is held, `web` has another address.
fn batches() -> Vec<Frame> {
    let objects = objects();
    let web = svc("shop/web").ip("10.96.0.11").port("http", 80).build();
    let held = Held { served: objects[4].clone(), hold: 1 };
    let after: Vec<_> = [&objects[..1], std::slice::from_ref(&web), &objects[2..3], &objects[5..]].concat();
    let hold =
        Hold { id: 1, why: "a list lacks it".into(), objects: 1, held_ms: 1000, remaining_ms: 3_599_000 };
    let one = Batch {
        cluster_uid: "u".to_owned(),
        entries: vec![Entry { triggered_at_ms: 1_767_225_600_000, ..Change::Upsert(web).into() }],
        ..Batch::default()
    };
    let last = Batch {
        cluster_uid: "u".to_owned(),
        position: Some(position(110)),
        digests: digests(&after),
        entries: vec![
            Change::Delete(objects[3].key()).into(),
            Entry { held: Some(held), ..Change::Delete(objects[4].key()).into() },
        ],
        holds: Some(vec![hold]),
    };
    vec![Frame::Batch(one), Frame::Batch(last)]
}

fn heartbeats() -> Vec<Heartbeat> {
    let Frame::Batch(last) = batches().remove(1) else { unreachable!("a batch") };
    let heartbeat = |nonce, state, why: &str| Heartbeat {
        nonce,
        state,
        age: Duration::from_millis(1500),
        position: last.position,
        digests: last.digests,
        why: why.to_owned(),
        ahead: 0,
    };
    let waits =
        Heartbeat { position: None, digests: Digests::NONE, ahead: 3, ..heartbeat(3, State::Empty, "") };
    vec![heartbeat(1, State::Live, ""), heartbeat(2, State::Stale, "the API server is gone"), waits]
}

// === What is made of it ===

#[test]
fn what_each_release_said_means_what_it_meant() {
    for release in releases() {
        let at = release.display();
        let said = |name| -> Vec<Reply> {
            read::<FollowReply>(&release, name).into_iter().map(|m| Reply::try_from(m).unwrap()).collect()
        };
        let frames = |frames: Vec<Frame>| frames.into_iter().map(Reply::Frame).collect::<Vec<_>>();
        let asked: Vec<_> =
            read(&release, "subscribe").into_iter().map(|m: FollowRequest| Request::from(m)).collect();
        assert_eq!(asked, [subscription(), Request::Ping { nonce: 7 }], "{at}");
        assert_eq!(said("whole"), frames(whole()), "{at}");
        assert_eq!(said("batches"), frames(batches()), "{at}");
        let heartbeats: Vec<_> = heartbeats().into_iter().map(Reply::Heartbeat).collect();
        assert_eq!(said("heartbeats"), heartbeats, "{at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_follows_what_each_release_said() {
    for release in releases() {
        let world = World::new(1);
        let mut hub = world.net.hub(address(1));
        let mut stream = hub.stream().await;
        let _ = stream.subscription().await;
        for name in ["whole", "batches"] {
            for reply in read::<FollowReply>(&release, name) {
                assert!(stream.reply(reply).await);
            }
        }
        let nonce = stream.ping().await;
        let live = Heartbeat { nonce, ..heartbeats().remove(0) };
        assert!(stream.reply(live).await);
        world.until("live", |world| world.state() == DataState::Live).await;
        let current = world.store.current().clone();
        assert_eq!(current.reached.told, position(110));
        assert_eq!(current.table.count(Kind::EndpointSlice), 2, "what is held is served");
        assert_eq!(current.holds.len(), 1);
        assert_eq!(current.table.count(Kind::Service), 2);
        assert_eq!(world.metric("outlast_hub_digest_mismatches_total"), 0.0);
    }
}
