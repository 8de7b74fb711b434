//! What hubs and their followers say to each other, and its way to the wire and back.
//!
//! Frames that many followers get alike are encoded and compressed once, as a [`Packet`], and shared.
//!
//! Invariant: bytes come from a network. Whatever they hold, reading them gives a value or a [`FrameError`], takes no
//! more than [`MAX_FRAME_BYTES`], and never panics. What this release does not know is passed over.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use super::convert::ConvertError;
use super::digests::Digests;
use super::entry::{Entry, read_holds, read_kinds, write_holds, write_kinds};
use super::position::Position;
use super::view::View;
use super::wire;
use crate::zone::digest::{self, Digest};
use crate::zone::hold::Hold;
use crate::zone::object::{Kind, Kinds};

/// Version of the protocol that this release speaks.
pub const PROTOCOL: u32 = 1;

/// What a frame may be when it is unpacked. Frames are made far smaller ([`PART_BYTES`]), but one object may be large:
/// the API server takes objects of 3 MiB.
pub const MAX_FRAME_BYTES: usize = 8 << 20;

/// What a message may be on the wire: a frame that does not compress, and what is around it.
pub const MAX_MESSAGE_BYTES: usize = MAX_FRAME_BYTES + (64 << 10);

/// About what a part of a large state or change is before it is packed: enough for compression to be worth it, little
/// enough to be decoded while the next one is on its way.
pub const PART_BYTES: usize = 256 << 10;

/// Frames below this gain less by compression than it costs.
const MIN_ZSTD_BYTES: usize = 512;

/// Level of compression: done once for all followers, and so worth more than the fastest.
const ZSTD_LEVEL: i32 = 3;

/// What is kept of a text for people, in bytes: a name of a node has at most 253.
const MAX_TEXT_BYTES: usize = 256;

/// Why a message is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// It is no message of the feed.
    #[error("not a message of the feed: {0}")]
    Message(#[from] prost::DecodeError),
    /// An object in it is none.
    #[error(transparent)]
    Object(#[from] ConvertError),
    /// It cannot be unpacked, or is too large when it is.
    #[error("unpacking a frame: {0}")]
    Zstd(std::io::Error),
    /// It is too large.
    #[error("a frame of {0} bytes, {MAX_FRAME_BYTES} at most are allowed")]
    TooLarge(usize),
    /// Something that has to be there is not.
    #[error("a {0} without what it is about")]
    Missing(&'static str),
    /// Where no cluster can be.
    #[error("a position that no cluster can be at: {0:?}")]
    Position(Position),
    /// A key that identifies nothing.
    #[error("a key of a {0} without name or namespace")]
    Key(Kind),
    /// What is served in place of an object is another object.
    #[error("an object is held in place of another one")]
    HeldKey,
    /// No address of a hub.
    #[error("{0:?} is not the address of a hub")]
    Address(String),
}

// === Follower to hub ===

/// What a follower asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// To be told of the state.
    Subscribe(Box<Subscription>),
    /// A heartbeat.
    Ping {
        /// Comes back in it.
        nonce: u64,
    },
    /// What this release does not know.
    Unknown,
}

/// What a follower has, and what it wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    /// Version of the protocol.
    pub protocol: u32,
    /// What it wants to be told of.
    pub view: View,
    /// Its name, for people.
    pub node: String,
    /// Its release, for people.
    pub release: String,
    /// uid of its cluster; empty where it knows none.
    pub cluster_uid: String,
    /// What it has; kinds at 0 have to be sent whole.
    pub position: Position,
    /// Of what it has, as received.
    pub digests: Digests,
    /// Of what it holds on the word of a guard.
    pub held: Digest,
    /// Whether the whole state is asked for, whatever the position says.
    pub whole: bool,
    /// Why, for people.
    pub why: String,
}

impl From<Request> for wire::FollowRequest {
    fn from(request: Request) -> Self {
        let request = match request {
            Request::Subscribe(s) => {
                let message = wire::Subscribe {
                    protocol: s.protocol,
                    view: Some(s.view.into()),
                    node: s.node,
                    release: s.release,
                    cluster_uid: s.cluster_uid,
                    position: Some((&s.position).into()),
                    digest_version: digest::VERSION,
                    digests: Some(s.digests.into()),
                    whole: s.whole,
                    why: s.why,
                    held: (s.held != Digest::default()).then(|| s.held.into()),
                };
                Some(wire::follow_request::Request::Subscribe(message))
            }
            Request::Ping { nonce } => Some(wire::follow_request::Request::Ping(wire::Ping { nonce })),
            Request::Unknown => None,
        };
        Self { request }
    }
}

impl From<wire::FollowRequest> for Request {
    fn from(message: wire::FollowRequest) -> Self {
        match message.request {
            Some(wire::follow_request::Request::Subscribe(s)) => Self::Subscribe(Box::new(Subscription {
                protocol: s.protocol,
                view: s.view.map(View::from).unwrap_or_default(),
                node: short(s.node),
                release: short(s.release),
                cluster_uid: short(s.cluster_uid),
                position: s.position.as_ref().map(Position::from).unwrap_or_default(),
                digests: Digests::read(s.digest_version, s.digests),
                whole: s.whole,
                why: short(s.why),
                held: s.held.map(Digest::from).unwrap_or_default(),
            })),
            Some(wire::follow_request::Request::Ping(wire::Ping { nonce })) => Self::Ping { nonce },
            None => Self::Unknown,
        }
    }
}

/// As much of a text as is kept.
pub(super) fn short(mut text: String) -> String {
    let mut end = MAX_TEXT_BYTES.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

// === Hub to follower ===

/// What a hub says.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// What many followers get alike.
    Frame(Frame),
    /// The answer to a ping.
    Heartbeat(Heartbeat),
    /// What this release does not know.
    Unknown,
}

/// What many followers get alike.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// The first reply to a subscription that is accepted.
    Welcome(Welcome),
    /// A whole state begins.
    WholeBegin(WholeBegin),
    /// A part of it.
    WholePart(Vec<Entry>),
    /// Its end; only now does it count.
    WholeEnd(WholeEnd),
    /// Changes.
    Batch(Batch),
    /// Every hub that is known.
    Hubs(Vec<SocketAddr>),
    /// The hub is about to stop: go elsewhere.
    Move {
        /// At a random moment within this time.
        within: Duration,
    },
    /// The hub ends the stream.
    RetryAfter {
        /// When to come back.
        after: Duration,
        /// For people.
        why: String,
    },
    /// The hub ends the stream, and coming back as you are is of no use.
    Refused {
        /// For people.
        why: String,
    },
    /// What this release does not know.
    Unknown,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plan {
    /// The changes since the position.
    #[default]
    Changes,
    /// The whole state, at once or when it is this follower's turn.
    Whole,
    /// Heartbeats, until the hub has a complete state itself; then another welcome.
    Wait,
}

/// The first reply to a subscription that is accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Welcome {
    /// Version of the protocol that the hub speaks in this stream.
    pub protocol: u32,
    /// Its release, for people.
    pub release: String,
    /// Its name, for people and logs.
    pub hub: String,
    /// uid of its cluster; empty where it knows none yet.
    pub cluster_uid: String,
    /// Its epoch.
    pub epoch: u64,
    /// Whether its objects carry labels.
    pub labels: bool,
    /// Whether it has pods.
    pub pods: bool,
    /// What comes next.
    pub plan: Plan,
}

/// A whole state begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WholeBegin {
    /// uid of the cluster.
    pub cluster_uid: String,
    /// Where the state will be at its end.
    pub position: Position,
    /// Objects to come.
    pub objects: u64,
    /// The kinds that are complete.
    pub complete: Kinds,
    /// SOA serial of the state.
    pub serial: u32,
    /// Whether the objects carry labels.
    pub labels: bool,
}

/// The end of a whole state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WholeEnd {
    /// Where the state is.
    pub position: Position,
    /// Of the state as it was received.
    pub digests: Digests,
    /// Every hold there is.
    pub holds: Vec<Hold>,
}

/// Changes, and what the state is after them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// uid of the cluster: a new one begins before the entries if it differs.
    pub cluster_uid: String,
    /// Where the state is after the entries; a new epoch begins before them if it differs. `None` in all but the last
    /// of several batches that are one change: the state between them is nobody's.
    pub position: Option<Position>,
    /// Of the state after the entries, as it was received.
    pub digests: Digests,
    /// What has changed.
    pub entries: Vec<Entry>,
    /// Every hold there is, if that has changed.
    pub holds: Option<Vec<Hold>>,
}

/// State of a hub's data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Proved not long ago.
    Live,
    /// Proved some time ago.
    Stale,
    /// Not yet complete.
    #[default]
    Empty,
    /// An operator has frozen it, or it is in a state that this release does not know: nothing is proved by it.
    Frozen,
}

/// The answer to a ping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// That of the ping.
    pub nonce: u64,
    /// State of the hub's data.
    pub state: State,
    /// Since it was last proved to be current.
    pub age: Duration,
    /// Where the follower is once everything ahead of this is applied; `None` while a whole state is being sent or
    /// waited for.
    pub position: Option<Position>,
    /// Of what the follower has then.
    pub digests: Digests,
    /// For people: why the state is not live.
    pub why: String,
    /// Followers that are ahead in the queue for a whole state.
    pub ahead: u32,
}

// === Frames and their messages ===

impl From<&Frame> for wire::Frame {
    fn from(frame: &Frame) -> Self {
        use wire::frame::Frame as Out;
        let frame = match frame {
            Frame::Welcome(w) => Out::Welcome(wire::Welcome {
                protocol: w.protocol,
                release: w.release.clone(),
                hub: w.hub.clone(),
                cluster_uid: w.cluster_uid.clone(),
                epoch: w.epoch,
                labels: w.labels,
                pods: w.pods,
                plan: write_plan(w.plan).into(),
            }),
            Frame::WholeBegin(b) => Out::WholeBegin(wire::WholeBegin {
                cluster_uid: b.cluster_uid.clone(),
                position: Some((&b.position).into()),
                objects: b.objects,
                complete: write_kinds(b.complete),
                serial: b.serial,
                labels: b.labels,
            }),
            Frame::WholePart(entries) => {
                Out::WholePart(wire::WholePart { entries: entries.iter().map(Into::into).collect() })
            }
            Frame::WholeEnd(e) => Out::WholeEnd(wire::WholeEnd {
                position: Some((&e.position).into()),
                digest_version: digest::VERSION,
                digests: Some(e.digests.into()),
                holds: Some(write_holds(&e.holds)),
            }),
            Frame::Batch(b) => Out::Batch(wire::Batch {
                cluster_uid: b.cluster_uid.clone(),
                position: b.position.as_ref().map(Into::into),
                digest_version: digest::VERSION,
                digests: Some(b.digests.into()),
                entries: b.entries.iter().map(Into::into).collect(),
                holds: b.holds.as_deref().map(write_holds),
            }),
            Frame::Hubs(addresses) => {
                Out::Hubs(wire::Hubs { addresses: addresses.iter().map(ToString::to_string).collect() })
            }
            Frame::Move { within } => Out::Move(wire::Move { within_ms: millis_u32(*within) }),
            Frame::RetryAfter { after, why } => {
                Out::RetryAfter(wire::RetryAfter { ms: millis_u32(*after), why: why.clone() })
            }
            Frame::Refused { why } => Out::Refused(wire::Refused { why: why.clone() }),
            Frame::Unknown => return Self { frame: None },
        };
        Self { frame: Some(frame) }
    }
}

impl TryFrom<wire::Frame> for Frame {
    type Error = FrameError;

    fn try_from(message: wire::Frame) -> Result<Self, FrameError> {
        use wire::frame::Frame as In;
        let Some(frame) = message.frame else { return Ok(Self::Unknown) };
        Ok(match frame {
            In::Welcome(w) => Self::Welcome(Welcome {
                plan: read_plan(w.plan()),
                protocol: w.protocol,
                release: short(w.release),
                hub: short(w.hub),
                cluster_uid: short(w.cluster_uid),
                epoch: w.epoch,
                labels: w.labels,
                pods: w.pods,
            }),
            In::WholeBegin(b) => Self::WholeBegin(WholeBegin {
                cluster_uid: short(b.cluster_uid),
                position: read_position(&b.position.ok_or(FrameError::Missing("WholeBegin"))?)?,
                objects: b.objects,
                complete: read_kinds(b.complete),
                serial: b.serial,
                labels: b.labels,
            }),
            In::WholePart(p) => Self::WholePart(read_entries(p.entries)?),
            In::WholeEnd(e) => Self::WholeEnd(WholeEnd {
                position: read_position(&e.position.ok_or(FrameError::Missing("WholeEnd"))?)?,
                digests: Digests::read(e.digest_version, e.digests),
                holds: e.holds.map(read_holds).unwrap_or_default(),
            }),
            In::Batch(b) => Self::Batch(Batch {
                cluster_uid: short(b.cluster_uid),
                position: b.position.as_ref().map(read_position).transpose()?,
                digests: Digests::read(b.digest_version, b.digests),
                entries: read_entries(b.entries)?,
                holds: b.holds.map(read_holds),
            }),
            In::Hubs(h) => {
                let read = |text: String| text.parse().map_err(|_| FrameError::Address(short(text)));
                Self::Hubs(h.addresses.into_iter().map(read).collect::<Result<_, _>>()?)
            }
            In::Move(m) => Self::Move { within: Duration::from_millis(m.within_ms.into()) },
            In::RetryAfter(r) => {
                Self::RetryAfter { after: Duration::from_millis(r.ms.into()), why: short(r.why) }
            }
            In::Refused(r) => Self::Refused { why: short(r.why) },
        })
    }
}

/// A position that moves a follower: what cannot be would keep it from ever following anybody else.
fn read_position(message: &wire::Position) -> Result<Position, FrameError> {
    let position = Position::from(message);
    if position.is_possible() { Ok(position) } else { Err(FrameError::Position(position)) }
}

fn read_entries(entries: Vec<wire::Entry>) -> Result<Vec<Entry>, FrameError> {
    entries.into_iter().filter_map(|entry| Entry::read(entry).transpose()).collect()
}

const fn write_plan(plan: Plan) -> wire::welcome::Plan {
    match plan {
        Plan::Changes => wire::welcome::Plan::Changes,
        Plan::Whole => wire::welcome::Plan::Whole,
        Plan::Wait => wire::welcome::Plan::Wait,
    }
}

const fn read_plan(plan: wire::welcome::Plan) -> Plan {
    match plan {
        wire::welcome::Plan::Changes => Plan::Changes,
        wire::welcome::Plan::Whole => Plan::Whole,
        wire::welcome::Plan::Wait => Plan::Wait,
    }
}

fn millis_u32(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

pub(super) fn millis_u64(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl From<State> for wire::heartbeat::State {
    fn from(state: State) -> Self {
        match state {
            State::Live => Self::Live,
            State::Stale => Self::Stale,
            State::Empty => Self::Empty,
            State::Frozen => Self::Frozen,
        }
    }
}

impl State {
    /// Reads a state; one of a later release is taken for the one that proves nothing.
    pub(super) fn read(value: i32) -> Self {
        match wire::heartbeat::State::try_from(value) {
            Ok(wire::heartbeat::State::Live) => Self::Live,
            Ok(wire::heartbeat::State::Stale) => Self::Stale,
            Ok(wire::heartbeat::State::Empty) => Self::Empty,
            Ok(wire::heartbeat::State::Frozen) | Err(_) => Self::Frozen,
        }
    }
}

impl From<Heartbeat> for wire::Heartbeat {
    fn from(h: Heartbeat) -> Self {
        Self {
            nonce: h.nonce,
            state: wire::heartbeat::State::from(h.state).into(),
            age_ms: millis_u64(h.age),
            position: h.position.as_ref().map(Into::into),
            digest_version: digest::VERSION,
            digests: (h.digests != Digests::NONE).then(|| h.digests.into()),
            why: h.why,
            ahead: h.ahead,
        }
    }
}

impl From<wire::Heartbeat> for Heartbeat {
    fn from(h: wire::Heartbeat) -> Self {
        Self {
            nonce: h.nonce,
            state: State::read(h.state),
            age: Duration::from_millis(h.age_ms),
            position: h.position.as_ref().map(Position::from).filter(Position::is_possible),
            digests: Digests::read(h.digest_version, h.digests),
            why: short(h.why),
            ahead: h.ahead,
        }
    }
}

// === Packets ===

/// A frame as it goes to many followers: encoded once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The bytes.
    bytes: Bytes,
    /// Whether they are compressed.
    zstd: bool,
}

impl Packet {
    /// Encodes a frame, and compresses it where that is worth it.
    pub fn of(frame: &wire::Frame) -> Self {
        let plain = frame.encode_to_vec();
        if plain.len() >= MIN_ZSTD_BYTES
            // What cannot be compressed goes out as it is.
            && let Ok(packed) = zstd::bulk::compress(&plain, ZSTD_LEVEL)
            && packed.len() < plain.len()
        {
            return Self { bytes: packed.into(), zstd: true };
        }
        Self { bytes: plain.into(), zstd: false }
    }

    /// Its size on the wire, but for a few bytes around it.
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl From<&Frame> for Packet {
    fn from(frame: &Frame) -> Self {
        Self::of(&frame.into())
    }
}

impl From<Packet> for wire::FollowReply {
    fn from(Packet { bytes, zstd }: Packet) -> Self {
        use wire::follow_reply::Reply;
        Self { reply: Some(if zstd { Reply::FrameZstd(bytes) } else { Reply::Frame(bytes) }) }
    }
}

impl From<Heartbeat> for wire::FollowReply {
    fn from(heartbeat: Heartbeat) -> Self {
        Self { reply: Some(wire::follow_reply::Reply::Heartbeat(heartbeat.into())) }
    }
}

impl TryFrom<wire::FollowReply> for Reply {
    type Error = FrameError;

    fn try_from(message: wire::FollowReply) -> Result<Self, FrameError> {
        use wire::follow_reply::Reply as In;
        let frame = match message.reply {
            None => return Ok(Self::Unknown),
            Some(In::Heartbeat(heartbeat)) => return Ok(Self::Heartbeat(heartbeat.into())),
            Some(In::Frame(bytes)) => bytes,
            Some(In::FrameZstd(bytes)) => {
                zstd::bulk::decompress(&bytes, MAX_FRAME_BYTES).map_err(FrameError::Zstd)?.into()
            }
        };
        if frame.len() > MAX_FRAME_BYTES {
            return Err(FrameError::TooLarge(frame.len()));
        }
        Ok(Self::Frame(wire::Frame::decode(frame)?.try_into()?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::feed::arbitrary;
    use crate::zone::change::Change;
    use crate::zone::hold::Held;

    fn entry() -> impl Strategy<Value = Entry> {
        (arbitrary::object(), any::<(bool, bool, u32, u64)>()).prop_map(
            |(object, (delete, held, hold, at))| {
                let served = held.then(|| Held { served: object.clone(), hold });
                let change = if delete { Change::Delete(object.key()) } else { Change::Upsert(object) };
                Entry { change, held: served, triggered_at_ms: at }
            },
        )
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
            (position(), digests(), holds()).prop_map(|(position, digests, holds)| Frame::WholeEnd(
                WholeEnd { position, digests, holds }
            )),
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
                held: digests.0[0].unwrap_or_default(),
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
}
