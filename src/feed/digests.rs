//! Digests of a state, by kind, as they travel.

use super::wire;
use crate::zone::digest::{self, Digest};
use crate::zone::object::{Kind, Kinds};

/// Digests of a state as it was received, by [`Kind::index`]; `None` for what is not said, or was made by another
/// version of the encoding: it compares with nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digests(pub [Option<Digest>; Kind::ALL.len()]);

impl Digests {
    /// Nothing is said of any kind.
    pub const NONE: Self = Self([None; Kind::ALL.len()]);

    /// Those of `kinds`, as `of` says.
    pub fn of(kinds: Kinds, of: impl Fn(Kind) -> Digest) -> Self {
        Self(Kind::ALL.map(|kind| kinds.has(kind).then(|| of(kind))))
    }

    /// That of a kind.
    pub const fn get(&self, kind: Kind) -> Option<Digest> {
        self.0[kind.index()]
    }

    /// These without what they say of `kinds`.
    pub fn without(&self, kinds: Kinds) -> Self {
        Self(Kind::ALL.map(|kind| self.get(kind).filter(|_| !kinds.has(kind))))
    }

    /// The kinds of which both say something, and not the same.
    pub fn differing(&self, other: &Self) -> Kinds {
        let differs = |kind: &Kind| match (self.get(*kind), other.get(*kind)) {
            (Some(one), Some(other)) => one != other,
            _ => false,
        };
        Kind::ALL.into_iter().filter(differs).collect()
    }

    /// Reads what was made by this version of the encoding.
    pub(super) fn read(version: u32, message: Option<wire::Digests>) -> Self {
        let Some(m) = message.filter(|_| version == digest::VERSION) else { return Self::NONE };
        Self([m.namespaces, m.services, m.endpoint_slices, m.pods].map(|d| d.map(Digest::from)))
    }
}

impl From<wire::Digest> for Digest {
    fn from(d: wire::Digest) -> Self {
        Self { hash: u128::from(d.high) << 64 | u128::from(d.low), count: d.count }
    }
}

impl From<Digest> for wire::Digest {
    #[allow(clippy::cast_possible_truncation, reason = "a half each")]
    fn from(d: Digest) -> Self {
        Self { high: (d.hash >> 64) as u64, low: d.hash as u64, count: d.count }
    }
}

impl From<Digests> for wire::Digests {
    fn from(digests: Digests) -> Self {
        let [namespaces, services, endpoint_slices, pods] = digests.0.map(|d| d.map(Into::into));
        Self { namespaces, services, endpoint_slices, pods }
    }
}
