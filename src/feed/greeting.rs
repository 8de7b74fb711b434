//! What hubs of one cluster tell each other.

use std::time::Duration;

use super::frame::State;
use super::position::Position;
use super::wire;

/// What one hub tells another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// Name of the hub; another one each time it starts.
    pub hub: String,
    /// Its release, for people.
    pub release: String,
    /// uid of its cluster; empty where it knows none yet.
    pub cluster_uid: String,
    /// How far it has been told.
    pub position: Position,
    /// State of its data.
    pub state: State,
    /// Since its data was last proved to be current.
    pub age: Duration,
    /// What operators have accepted.
    pub accepted: Vec<Accepted>,
}

/// One word of an operator: the loss of these is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// How long ago it was said.
    pub ago: Duration,
    /// Hashes of the keys of objects.
    pub keys: Vec<u64>,
}

impl From<Greeting> for wire::Greeting {
    fn from(g: Greeting) -> Self {
        let accepted = |a: Accepted| wire::Accepted { ago_ms: super::frame::millis_u64(a.ago), keys: a.keys };
        Self {
            hub: g.hub,
            release: g.release,
            cluster_uid: g.cluster_uid,
            position: Some((&g.position).into()),
            state: wire::heartbeat::State::from(g.state).into(),
            age_ms: super::frame::millis_u64(g.age),
            accepted: g.accepted.into_iter().map(accepted).collect(),
        }
    }
}

impl From<wire::Greeting> for Greeting {
    fn from(g: wire::Greeting) -> Self {
        let accepted = |a: wire::Accepted| Accepted { ago: Duration::from_millis(a.ago_ms), keys: a.keys };
        Self {
            state: State::read(g.state),
            hub: super::frame::short(g.hub),
            release: super::frame::short(g.release),
            cluster_uid: super::frame::short(g.cluster_uid),
            position: g.position.as_ref().map(Into::into).unwrap_or_default(),
            age: Duration::from_millis(g.age_ms),
            accepted: g.accepted.into_iter().map(accepted).collect(),
        }
    }
}
