//! The status of one store.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::feed::position::Position;
use crate::source::SourceConfig;
use crate::store::Store;
use crate::store::state::{DataState, Limits};
use crate::zone::object::{Kind, Kinds};

/// Most names of objects that a hold gives as examples.
pub const MAX_EXAMPLES: usize = 5;

/// A figure for each kind of object, by its name (`EndpointSlice`).
pub type ByKind = BTreeMap<String, u64>;

/// One store: what is served, how old it is, from whom, and what is withheld from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreStatus {
    /// The zone that the data is for.
    pub zone: String,
    /// What the data is followed from.
    pub follows: Follows,
    /// The same as it is configured, e.g. `file:/etc/outlast/cluster.yaml`.
    pub source: String,
    /// Who is connected to, where that is somebody in particular.
    pub connected: Option<Connected>,
    /// The state of the data.
    pub state: State,
    /// Kinds that have never been seen whole; the names that need them get SERVFAIL.
    pub missing: Vec<String>,
    /// Seconds since the data was last proved to be current.
    pub age_s: u64,
    /// From how many seconds on that makes it stale.
    pub stale_after_s: u64,
    /// From how many seconds on it is not served any more, if ever.
    pub max_stale_s: Option<u64>,
    /// Whether a source has confirmed the data since the process began.
    pub verified: bool,
    /// Why the source was lost, until it is back.
    pub lost: Option<String>,
    /// uid of another cluster whose data was offered and refused.
    pub refused_cluster: Option<String>,
    /// Why the data is taken not to be what the origin has, after a whole transfer has not helped.
    pub mismatch: Option<String>,
    /// Number of the generation in memory.
    pub generation: u64,
    /// Objects by kind.
    pub objects: ByKind,
    /// Addresses of ready endpoints.
    pub endpoints: u64,
    /// uid of the cluster.
    pub cluster_uid: String,
    /// Restores of the cluster that were noticed.
    pub epoch: u64,
    /// resourceVersions up to which the data was gone over.
    pub position: ByKind,
    /// resourceVersions up to which the source has told.
    pub told: ByKind,
    /// Digests of the objects as they were received, in hexadecimal.
    pub digests: BTreeMap<String, String>,
    /// What the guard holds back.
    pub holds: Vec<HoldStatus>,
    /// Whether an operator has frozen what is served.
    pub frozen: Option<Frozen>,
    /// What is on the disk.
    pub snapshot: SnapshotStatus,
    /// Whether only what readers see is told: the writer, which knows the rest, has not answered in time.
    pub partial: bool,
}

/// What data is followed from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Follows {
    /// A file.
    File,
    /// The API server.
    ApiServer,
    /// A hub.
    Hub,
    /// Something that this release does not know.
    #[default]
    #[serde(other)]
    Other,
}

impl From<&SourceConfig> for Follows {
    fn from(source: &SourceConfig) -> Self {
        match source {
            SourceConfig::File(_) => Self::File,
            SourceConfig::ApiServer(_) => Self::ApiServer,
            SourceConfig::Hub(_) => Self::Hub,
        }
    }
}

/// Who is at the other end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Connected {
    /// Its address.
    pub address: String,
    /// Its release.
    pub release: String,
    /// Its name.
    pub name: String,
    /// For how many seconds.
    pub since_s: u64,
    /// Why its own data is not live, as it says, if so; empty where it gives no reason.
    pub unwell: Option<String>,
}

/// The state of the data, see [`DataState`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Proved not long ago.
    Live,
    /// Served, and older.
    Stale,
    /// Older than `max_stale`: SERVFAIL.
    Expired,
    /// There never was any: SERVFAIL.
    Empty,
    /// Something that this release does not know.
    #[default]
    #[serde(other)]
    Other,
}

impl State {
    /// As metrics and logs name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Stale => "stale",
            Self::Expired => "expired",
            Self::Empty => "empty",
            Self::Other => "unknown",
        }
    }
}

impl From<DataState> for State {
    fn from(state: DataState) -> Self {
        match state {
            DataState::Live => Self::Live,
            DataState::Stale { .. } => Self::Stale,
            DataState::Expired { .. } => Self::Expired,
            DataState::Empty { .. } => Self::Empty,
        }
    }
}

/// A verdict of the guard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HoldStatus {
    /// Tells it from others.
    pub id: u32,
    /// What was about to happen.
    pub why: String,
    /// How many objects are served in spite of it.
    pub objects: u64,
    /// Seconds since it began.
    pub held_s: u64,
    /// Seconds until what is held is believed to be gone.
    pub remaining_s: u64,
    /// Some of the objects as `Kind namespace/name`, at most [`MAX_EXAMPLES`].
    pub examples: Vec<String>,
}

/// What is served was frozen by an operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Frozen {
    /// Seconds since then.
    pub since_s: u64,
    /// Seconds until it ends by itself.
    pub remaining_s: u64,
    /// The snapshot that is served in place of what was there; `None` if what was there is served.
    pub rolled_back_to: Option<u64>,
}

/// What is on the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SnapshotStatus {
    /// The folder, if one is configured.
    pub dir: Option<String>,
    /// Number of the newest file.
    pub newest: Option<u64>,
    /// Seconds since it was written.
    pub age_s: Option<u64>,
    /// Whether nothing reaches the disk now.
    pub memory_only: bool,
    /// Why.
    pub why: Option<String>,
}

impl StoreStatus {
    /// What a reader of the store sees: all that can be said without its writer. `needed` and `limits` are those of
    /// the configuration.
    pub fn read(store: &Store, needed: Kinds, limits: Limits) -> Self {
        let generation = store.current().clone();
        let table = &generation.table;
        let facts = store.facts(&generation);
        let state = DataState::judge(facts, needed, limits);
        let reached = &generation.reached;
        let by_kind = |figure: &dyn Fn(Kind) -> u64| -> ByKind {
            needed.iter().map(|kind| (kind.as_str().to_owned(), figure(kind))).collect()
        };
        let versions = |position: &Position| by_kind(&|kind| position.version(kind));
        Self {
            state: state.into(),
            missing: needed.minus(facts.complete).iter().map(|kind| kind.as_str().to_owned()).collect(),
            age_s: facts.age.as_secs(),
            stale_after_s: limits.stale_after.as_secs(),
            max_stale_s: limits.max_stale.as_ref().map(Duration::as_secs),
            verified: facts.verified,
            generation: generation.number,
            objects: by_kind(&|kind| table.count(kind) as u64),
            endpoints: table.endpoint_count() as u64,
            cluster_uid: reached.cluster_uid.clone(),
            epoch: reached.position.epoch,
            position: versions(&reached.position),
            told: versions(&reached.told),
            ..Self::default()
        }
    }

    /// Objects of a kind.
    pub fn count(&self, kind: Kind) -> u64 {
        self.objects.get(kind.as_str()).copied().unwrap_or_default()
    }
}
