//! What a follower asks.

use super::short;
use crate::feed::digests::Digests;
use crate::feed::position::Position;
use crate::feed::view::View;
use crate::feed::wire;
use crate::zone::digest::{self, Digest};

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
