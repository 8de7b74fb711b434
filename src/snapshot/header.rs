//! What a snapshot says of itself, ahead of its objects: a mirror of `SnapshotHeader` in `feed.proto`, so that
//! neither the generated type nor any live type decides what is on the disk.

use crate::feed::position::Position;
use crate::feed::wire;
use crate::zone::object::{Kind, Kinds};
use crate::zone::{Table, digest};

/// What a snapshot says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The cluster's zone, lower case with the final dot, e.g. `cluster.local.`.
    pub zone: String,
    /// uid of the kube-system namespace; empty where the source has none.
    pub cluster_uid: String,
    /// How far the state had come, proved.
    pub position: Position,
    /// How far it had come as far as was told; at least `position`.
    pub told: Position,
    /// Kinds of which a guard was holding removals back: what is not among the objects is not known.
    pub held: Kinds,
    /// Which kinds are complete; of any other kind nothing can be concluded from absence.
    pub complete: Kinds,
    /// Version of the canonical encoding under the digests; digests of different versions do not compare.
    pub digest_version: u32,
    /// Digests of the state as it was received, by [`Kind::index`].
    pub digests: [KindDigest; Kind::ALL.len()],
    /// When it was written, Unix milliseconds.
    pub written_at_ms: u64,
    /// When the source last proved that this state was current, Unix milliseconds.
    pub proved_at_ms: u64,
    /// SOA serial of the state (RFC 1982 arithmetic).
    pub serial: u32,
    /// Where the state came from, for people, e.g. `file:/etc/outlast/cluster.yaml`.
    pub source: String,
    /// Whether the objects carry labels.
    pub labels: bool,
    /// Whether the EndpointSlices are those of headless services only.
    pub headless_only: bool,
    /// Version of the program that wrote it.
    pub writer: String,
}

/// The order-independent digest of all objects of a kind, as it was handed over; computed in the zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindDigest {
    /// XOR of the objects' 128-bit hashes.
    pub hash: u128,
    /// How many objects there are.
    pub count: u64,
}

impl std::fmt::Display for KindDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}/{}", self.hash, self.count)
    }
}

impl KindDigest {
    /// The digests of a table, by [`Kind::index`].
    pub fn of(table: &Table) -> [Self; Kind::ALL.len()] {
        Kind::ALL.map(|kind| {
            let digest = table.digest(kind);
            Self { hash: digest.hash, count: digest.count }
        })
    }
}

/// What the writer of a snapshot knows of a table and the table does not.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// The cluster's zone, lower case with the final dot.
    pub zone: String,
    /// Where the table came from, e.g. `file:/etc/outlast/cluster.yaml`.
    pub source: String,
    /// Whether its objects carry labels.
    pub labels: bool,
    /// Whether its EndpointSlices are those of headless services only.
    pub headless_only: bool,
    /// uid of the kube-system namespace; empty where the source has none.
    pub cluster_uid: String,
    /// How far the source had come with the table, proved.
    pub position: Position,
    /// How far it had come as far as was told.
    pub told: Position,
    /// Kinds of which a guard holds removals back.
    pub held: Kinds,
    /// The time now, Unix milliseconds.
    pub written_at_ms: u64,
    /// When the source last proved the table, Unix milliseconds.
    pub proved_at_ms: u64,
}

impl Header {
    /// The header of a snapshot that this program writes of a table.
    pub fn of(table: &Table, about: About) -> Self {
        let About {
            zone,
            source,
            labels,
            headless_only,
            cluster_uid,
            position,
            told,
            held,
            written_at_ms,
            proved_at_ms,
        } = about;
        Self {
            zone,
            cluster_uid,
            position,
            told,
            held,
            complete: table.complete(),
            digest_version: digest::VERSION,
            digests: KindDigest::of(table),
            written_at_ms,
            proved_at_ms,
            serial: table.serial(),
            source,
            labels,
            headless_only,
            writer: format!("outlast {}", env!("CARGO_PKG_VERSION")),
        }
    }

    /// How many objects the state had, by its digests.
    pub fn objects(&self) -> u64 {
        self.digests.iter().map(|d| d.count).fold(0, u64::saturating_add)
    }
}

// === On the disk ===

impl From<&Header> for wire::SnapshotHeader {
    fn from(h: &Header) -> Self {
        let [namespaces, services, endpoint_slices, pods] = h.digests.map(|d| {
            let (high, low) = ((d.hash >> 64) as u64, d.hash as u64);
            Some(wire::Digest { high, low, count: d.count })
        });
        Self {
            zone: h.zone.clone(),
            cluster_uid: h.cluster_uid.clone(),
            position: Some((&h.position).into()),
            complete: bits(h.complete),
            digest_version: h.digest_version,
            namespaces,
            services,
            endpoint_slices,
            pods,
            written_at_ms: h.written_at_ms,
            proved_at_ms: h.proved_at_ms,
            serial: h.serial,
            source: h.source.clone(),
            labels: h.labels,
            headless_only: h.headless_only,
            writer: h.writer.clone(),
            told: Some((&h.told).into()),
            held: bits(h.held),
        }
    }
}

impl From<wire::SnapshotHeader> for Header {
    fn from(h: wire::SnapshotHeader) -> Self {
        let digest = |d: Option<wire::Digest>| {
            let d = d.unwrap_or_default();
            KindDigest { hash: u128::from(d.high) << 64 | u128::from(d.low), count: d.count }
        };
        Self {
            zone: h.zone,
            cluster_uid: h.cluster_uid,
            position: h.position.as_ref().map_or(Position::UNKNOWN, Into::into),
            told: h.told.as_ref().or(h.position.as_ref()).map_or(Position::UNKNOWN, Into::into),
            held: kinds(h.held),
            complete: kinds(h.complete),
            digest_version: h.digest_version,
            digests: [h.namespaces, h.services, h.endpoint_slices, h.pods].map(digest),
            written_at_ms: h.written_at_ms,
            proved_at_ms: h.proved_at_ms,
            serial: h.serial,
            source: h.source,
            labels: h.labels,
            headless_only: h.headless_only,
            writer: h.writer,
        }
    }
}

/// A set of kinds as bits; those of kinds that are not known here are passed over.
fn kinds(bits: u32) -> Kinds {
    Kind::ALL.into_iter().filter(|k| bits & 1 << k.index() != 0).collect()
}

fn bits(kinds: Kinds) -> u32 {
    kinds.iter().fold(0, |bits, kind| bits | 1 << kind.index())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_on_the_disk() {
        let header = Header {
            zone: "cluster.local.".into(),
            cluster_uid: "u".into(),
            position: Position { epoch: 1, versions: [2, 3, 4, 5] },
            told: Position { epoch: 1, versions: [12, 13, 14, 15] },
            held: Kinds::NONE.with(Kind::Service),
            complete: Kinds::ALL.without(Kind::Service),
            digest_version: 6,
            digests: [1, 2, 3, 4].map(|n| KindDigest { hash: u128::MAX / n, count: n as u64 }),
            written_at_ms: 7,
            proved_at_ms: 8,
            serial: 9,
            source: "file:x".into(),
            labels: true,
            headless_only: true,
            writer: "0.1.0".into(),
        };
        assert_eq!(Header::from(wire::SnapshotHeader::from(&header)), header);
    }

    #[test]
    fn what_a_later_release_adds_is_passed_over() {
        let later = wire::SnapshotHeader { complete: u32::MAX, ..Default::default() };
        assert_eq!(Header::from(later).complete, Kinds::ALL);
    }
}
