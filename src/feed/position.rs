//! The position of a state: how far, for each kind of object, a follower has come.

use super::wire;
use crate::zone::object::Kind;

/// For each kind the highest resourceVersion seen, within an epoch. It is a property of the cluster, not of
/// the hub it was heard from.
///
/// Positions compare only within one epoch; a restore of the cluster from an older state opens a new one. See
/// [resource versions](https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Counts the restores of the cluster that were noticed; 0 at first.
    pub epoch: u64,
    /// By [`Kind::index`]; 0 where it is unknown.
    pub versions: [u64; Kind::ALL.len()],
}

impl Position {
    /// Nothing is known of any kind: what a source without resourceVersions, such as a file, has.
    pub const UNKNOWN: Self = Self { epoch: 0, versions: [0; Kind::ALL.len()] };

    /// The highest resourceVersion seen of `kind`; 0 where it is unknown.
    pub const fn version(&self, kind: Kind) -> u64 {
        self.versions[kind.index()]
    }

    /// Whether it is behind another one: of an earlier epoch, or of the same one and behind in any kind.
    pub fn is_behind(&self, other: &Self) -> bool {
        let mut kinds = self.versions.iter().zip(&other.versions);
        self.epoch < other.epoch || (self.epoch == other.epoch && kinds.any(|(own, other)| own < other))
    }
}

/// The highest version there can be: etcd counts in signed numbers of 64 bits.
const MAX_VERSION: u64 = i64::MAX as u64;

/// The highest epoch that is believed: nobody restores a cluster so often, and whoever believed in the last epoch there
/// is could never follow anything again.
const MAX_EPOCH: u64 = u32::MAX as u64;

impl Position {
    /// Whether a cluster can be there at all.
    pub fn is_possible(&self) -> bool {
        self.epoch <= MAX_EPOCH && self.versions.iter().all(|version| *version <= MAX_VERSION)
    }
}

impl From<&wire::Position> for Position {
    fn from(p: &wire::Position) -> Self {
        Self { epoch: p.epoch, versions: [p.namespaces, p.services, p.endpoint_slices, p.pods] }
    }
}

impl From<&Position> for wire::Position {
    fn from(p: &Position) -> Self {
        let [namespaces, services, endpoint_slices, pods] = p.versions;
        Self { epoch: p.epoch, namespaces, services, endpoint_slices, pods }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind() {
        let at = |epoch, services| Position { epoch, versions: [5, services, 5, 0] };
        for (one, other, want) in [
            (at(1, 5), at(1, 5), false),
            (at(1, 5), at(1, 6), true),
            (at(1, 6), at(1, 5), false),
            (at(1, 6), at(2, 1), true),
            (at(2, 1), at(1, 6), false),
            (at(1, 6), Position { epoch: 1, versions: [6, 1, 1, 0] }, true),
            (at(1, 6), Position::UNKNOWN, false),
        ] {
            assert_eq!(one.is_behind(&other), want, "{one:?} {other:?}");
        }
    }

    #[test]
    fn each_kind_keeps_its_version() {
        let position = Position { epoch: 7, versions: [1, 2, 3, 4] };
        let sent = wire::Position::from(&position);
        assert_eq!(sent.endpoint_slices, position.version(Kind::EndpointSlice));
        assert_eq!(Position::from(&sent), position);
    }
}
