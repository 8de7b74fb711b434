//! What hubs and their followers say to each other, and its way to the wire and back.
//!
//! * here: what many followers get alike. `request`: what a follower asks. `heartbeat`: what it is told alone.
//! * `packet`: frames in bytes.
//!
//! Frames that many followers get alike are encoded and compressed once, as a [`Packet`], and shared.
//!
//! Invariant: bytes come from a network. Whatever they hold, reading them gives a value or a [`FrameError`], takes no
//! more than [`MAX_FRAME_BYTES`], and never panics. What this release does not know is passed over.

mod heartbeat;
mod packet;
mod request;

use std::net::SocketAddr;
use std::time::Duration;

pub use self::heartbeat::{Heartbeat, State};
pub use self::packet::{Packet, Reply};
pub use self::request::{Request, Subscription};
use super::convert::ConvertError;
use super::digests::Digests;
use super::entry::{Entry, read_holds, read_kinds, write_holds, write_kinds};
use super::position::Position;
use super::wire;
use crate::zone::digest;
use crate::zone::hold::Hold;
use crate::zone::object::{Kind, Kinds};

/// Version of the protocol that this release speaks.
pub const PROTOCOL: u32 = 1;

/// What a frame may be when it is unpacked. Frames are made far smaller ([`PART_BYTES`]), but one object may be large:
/// the API server takes objects of 3 MiB.
pub const MAX_FRAME_BYTES: usize = 8 << 20;

/// What a message may be on the wire: a frame that does not compress, and what is around it.
pub const MAX_MESSAGE_BYTES: usize = MAX_FRAME_BYTES + (64 << 10);

/// About what a part of a large state or change is before it is packed: enough for compression to be worth it, and little
/// enough for each of thousands of followers to have a copy of one on its way.
pub const PART_BYTES: usize = 32 << 10;

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

/// As much of a text as is kept.
pub(in crate::feed) fn short(mut text: String) -> String {
    let mut end = MAX_TEXT_BYTES.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
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

pub(in crate::feed) fn millis_u64(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
