//! Frames in bytes: encoded and compressed once for all who get them, and read by each.

use bytes::Bytes;
use prost::Message;

use super::{Frame, FrameError, Heartbeat, MAX_FRAME_BYTES};
use crate::feed::wire;

/// Frames below this gain less by compression than it costs.
const MIN_ZSTD_BYTES: usize = 512;

/// Level of compression: done once for all followers, and so worth more than the fastest.
const ZSTD_LEVEL: i32 = 3;

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

/// A frame as it goes to many followers: encoded once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The bytes.
    pub(super) bytes: Bytes,
    /// Whether they are compressed.
    pub(super) zstd: bool,
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
