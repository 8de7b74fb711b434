//! What hubs of one cluster tell each other.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

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
    /// How far it has gone over everything; what it has told beyond that may lack something.
    pub proved: Position,
    /// Which acceptances it knows, see [`Accepted::digest`].
    pub known: Vec<u64>,
    /// Whether it compares itself with a list of everything.
    pub auditing: bool,
}

/// One word of an operator: the loss of these is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// How long ago it was said.
    pub ago: Duration,
    /// Hashes of the keys of objects.
    pub keys: Vec<u64>,
}

impl Accepted {
    /// Tells one acceptance from another, in whatever order its keys are.
    pub fn digest(&self) -> u64 {
        let mut keys = self.keys.clone();
        keys.sort_unstable();
        let bytes: Vec<u8> = keys.iter().flat_map(|key| key.to_le_bytes()).collect();
        xxh3_64(&bytes)
    }
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
            proved: Some((&g.proved).into()),
            known: g.known,
            auditing: g.auditing,
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
            position: g
                .position
                .as_ref()
                .map(Position::from)
                .filter(Position::is_possible)
                .unwrap_or_default(),
            age: Duration::from_millis(g.age_ms),
            accepted: g.accepted.into_iter().map(accepted).collect(),
            proved: g.proved.as_ref().map(Position::from).filter(Position::is_possible).unwrap_or_default(),
            known: g.known,
            auditing: g.auditing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_read_as_it_was_written() {
        let greeting = Greeting {
            hub: "hub-1".to_owned(),
            release: "0.1.0".to_owned(),
            cluster_uid: "c".to_owned(),
            position: Position { epoch: 2, versions: [1, 2, 3, 0] },
            state: State::Stale,
            age: Duration::from_secs(7),
            accepted: vec![Accepted { ago: Duration::from_secs(1), keys: vec![5, 3] }],
            proved: Position { epoch: 2, versions: [1, 1, 1, 0] },
            known: vec![9],
            auditing: true,
        };
        assert_eq!(Greeting::from(wire::Greeting::from(greeting.clone())), greeting);
    }

    #[test]
    fn an_acceptance_is_the_same_in_any_order() {
        let of = |keys: &[u64]| Accepted { keys: keys.to_vec(), ..Accepted::default() }.digest();
        assert_eq!(of(&[1, 2, 3]), of(&[3, 1, 2]));
        assert_ne!(of(&[1, 2, 3]), of(&[1, 2]));
    }
}
