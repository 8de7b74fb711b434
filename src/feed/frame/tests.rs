//! Whatever is sent arrives, and whatever arrives is read or refused.

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::feed::arbitrary;
use crate::feed::view::View;
use crate::zone::change::Change;
use crate::zone::digest::Digest;
use crate::zone::hold::Held;

fn entry() -> impl Strategy<Value = Entry> {
    (arbitrary::object(), any::<(bool, bool, u32, u64)>()).prop_map(|(object, (delete, held, hold, at))| {
        let served = held.then(|| Held { served: object.clone(), hold });
        let change = if delete { Change::Delete(object.key()) } else { Change::Upsert(object) };
        Entry { change, held: served, triggered_at_ms: at }
    })
}

fn position() -> impl Strategy<Value = Position> {
    any::<(u32, [u32; 4])>()
        .prop_map(|(epoch, versions)| Position { epoch: epoch.into(), versions: versions.map(u64::from) })
}

fn digests() -> impl Strategy<Value = Digests> {
    any::<[Option<(u128, u64)>; 4]>()
        .prop_map(|all| Digests(all.map(|d| d.map(|(hash, count)| Digest { hash, count }))))
}

fn holds() -> impl Strategy<Value = Vec<Hold>> {
    let hold = any::<(u32, u32, u64, u64)>().prop_map(|(id, objects, held_ms, remaining_ms)| Hold {
        id,
        why: "because".into(),
        objects: objects as usize,
        held_ms,
        remaining_ms,
    });
    prop::collection::vec(hold, 0..3)
}

fn frame() -> impl Strategy<Value = Frame> {
    let text = || "[a-z]{0,8}";
    let entries = || prop::collection::vec(entry(), 0..20);
    let batch = (text(), prop::option::of(position()), digests(), entries(), prop::option::of(holds()));
    prop_oneof![
        (text(), text(), any::<(u64, bool, bool)>(), 0..3usize).prop_map(
            |(hub, cluster_uid, (epoch, labels, pods), plan)| Frame::Welcome(Welcome {
                protocol: PROTOCOL,
                release: "1.0".to_owned(),
                hub,
                cluster_uid,
                epoch,
                labels,
                pods,
                plan: [Plan::Changes, Plan::Whole, Plan::Wait][plan],
            })
        ),
        (text(), position(), any::<(u64, u32, bool)>()).prop_map(
            |(cluster_uid, position, (objects, serial, labels))| Frame::WholeBegin(WholeBegin {
                cluster_uid,
                position,
                objects,
                complete: Kinds::CORE,
                serial,
                labels,
            })
        ),
        entries().prop_map(Frame::WholePart),
        (position(), digests(), holds()).prop_map(|(position, digests, holds)| Frame::WholeEnd(WholeEnd {
            position,
            digests,
            holds
        })),
        batch.prop_map(|(cluster_uid, position, digests, entries, holds)| Frame::Batch(Batch {
            cluster_uid,
            position,
            digests,
            entries,
            holds
        })),
        any::<Vec<std::net::IpAddr>>()
            .prop_map(|ips| Frame::Hubs(ips.into_iter().map(|ip| (ip, 9953).into()).collect())),
        any::<u32>().prop_map(|ms| Frame::Move { within: Duration::from_millis(ms.into()) }),
        (any::<u32>(), text())
            .prop_map(|(ms, why)| Frame::RetryAfter { after: Duration::from_millis(ms.into()), why }),
        text().prop_map(|why| Frame::Refused { why }),
    ]
}

/// What arrives of what is sent.
fn sent(reply: wire::FollowReply) -> Result<Reply, FrameError> {
    wire::FollowReply::decode(&*reply.encode_to_vec()).expect("what was encoded decodes").try_into()
}

proptest! {
    #[test]
    fn a_frame_arrives_as_it_was_sent(frame in frame()) {
        let arrived = sent(Packet::from(&frame).into()).expect("a frame");
        prop_assert_eq!(arrived, Reply::Frame(frame));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), zstd: bool) {
        let _ = sent(Packet { bytes: bytes.into(), zstd }.into());
    }

    #[test]
    fn a_damaged_frame_never_panics(frame in frame(), at: prop::sample::Index, to: u8) {
        let Packet { bytes, zstd } = Packet::from(&frame);
        let mut bytes = bytes.to_vec();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        let _ = sent(Packet { bytes: bytes.into(), zstd }.into());
    }

    #[test]
    fn a_subscription_arrives_as_it_was_sent(position in position(), digests in digests(), whole: bool, pods: bool) {
        let subscription = Subscription {
            protocol: PROTOCOL,
            view: View { headless_only: !pods, pods },
            node: "node-1".to_owned(),
            position,
            digests,
            whole,
            ..Subscription::default()
        };
        let request = Request::Subscribe(Box::new(subscription));
        let message = wire::FollowRequest::from(request.clone()).encode_to_vec();
        let arrived = wire::FollowRequest::decode(&*message).expect("what was encoded decodes");
        prop_assert_eq!(Request::from(arrived), request);
    }
}

#[test]
fn large_frames_are_compressed_and_what_unpacks_to_more_than_is_allowed_is_refused() {
    let text = |length| Frame::Refused { why: "x".repeat(length) };
    assert!(!Packet::from(&text(100)).zstd);
    let packed = Packet::from(&text(100_000));
    assert!(packed.zstd && packed.len() < 1000);
    let bomb = Packet::from(&text(MAX_FRAME_BYTES + 1));
    assert!(bomb.len() < 10_000);
    assert!(matches!(sent(bomb.into()), Err(FrameError::Zstd(_))));
}

#[test]
fn texts_for_people_are_cut() {
    let Ok(Reply::Frame(Frame::Refused { why })) =
        sent(Packet::from(&Frame::Refused { why: "\u{e4}".repeat(1000) }).into())
    else {
        unreachable!("a refusal")
    };
    assert_eq!(why.len(), MAX_TEXT_BYTES);
}

#[test]
fn what_a_later_release_says_is_passed_over() {
    // Field 99 of a frame and of a reply.
    let later: &'static [u8] = &[0x9a, 0x06, 0x01, 0x00];
    let frame = Packet { bytes: Bytes::from_static(later), zstd: false };
    assert_eq!(sent(frame.into()).ok(), Some(Reply::Frame(Frame::Unknown)));
    let reply = wire::FollowReply::decode(later).expect("a message");
    assert_eq!(Reply::try_from(reply).ok(), Some(Reply::Unknown));
    assert_eq!(Request::from(wire::FollowRequest::decode(later).expect("a message")), Request::Unknown);
    assert_eq!(State::read(17), State::Frozen);
}

#[test]
fn digests_of_another_encoding_compare_with_nothing() {
    let some = Digests::of(Kinds::CORE, |_| Digest { hash: 1, count: 1 });
    assert_eq!(Digests::read(digest::VERSION + 1, Some(some.into())), Digests::NONE);
    let other = Digests::of(Kinds::ALL, |_| Digest { hash: 2, count: 1 });
    assert_eq!(some.differing(&Digests::NONE), Kinds::NONE);
    assert_eq!(some.differing(&other), Kinds::CORE, "pods are said by one only");
}
