//! What a hub tells one follower: the answer to its ping.

use std::time::Duration;

use super::{millis_u64, short};
use crate::feed::digests::Digests;
use crate::feed::position::Position;
use crate::feed::wire;
use crate::zone::digest;

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
    pub(in crate::feed) fn read(value: i32) -> Self {
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
