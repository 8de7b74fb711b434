//! What became of what an operator has ordered or asked.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What became of an order, for one store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreOutcome {
    /// The store's zone.
    pub zone: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What became of an order. An expected outcome is none the less one: what is said of it, people read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// What was held back is believed now.
    Accepted {
        /// Holds that ended.
        holds: u64,
        /// Objects that are gone now.
        objects: u64,
    },
    /// The cluster that was refused is followed now.
    ClusterAccepted {
        /// uid of its kube-system namespace.
        uid: String,
    },
    /// Nothing was held, and nobody refused.
    NothingHeld,
    /// What is served stays what it is.
    Frozen {
        /// For so many seconds.
        remaining_s: u64,
    },
    /// What is served is what a snapshot has.
    RolledBack {
        /// Its number.
        generation: u64,
        /// For so many seconds.
        remaining_s: u64,
    },
    /// What is received is served again.
    Thawed,
    /// It is served all along.
    NotFrozen,
    /// There is no data that could be frozen.
    NoData,
    /// There is no snapshot of this number.
    NoSuchGeneration {
        /// The number.
        generation: u64,
    },
    /// It could not be done; everything is as it was.
    Failed {
        /// For people: what was tried and what happened.
        why: String,
    },
}

impl Outcome {
    /// Whether the order is carried out; doing it again would change nothing.
    pub const fn is_done(&self) -> bool {
        match self {
            Self::Accepted { .. }
            | Self::ClusterAccepted { .. }
            | Self::NothingHeld
            | Self::Frozen { .. }
            | Self::RolledBack { .. }
            | Self::Thawed
            | Self::NotFrozen => true,
            Self::NoData | Self::NoSuchGeneration { .. } | Self::Failed { .. } => false,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted { holds, objects } => {
                write!(f, "accepted: {objects} objects of {holds} holds are no longer served")
            }
            Self::ClusterAccepted { uid } => {
                write!(f, "accepted: the cluster with uid {uid} is followed now")
            }
            Self::NothingHeld => f.write_str("nothing is held back, nothing to accept"),
            Self::Frozen { remaining_s } => {
                write!(f, "frozen for {remaining_s} s: what is served stays; end it with outlast ctl thaw")
            }
            Self::RolledBack { generation, remaining_s } => write!(
                f,
                "snapshot {generation} is served, frozen for {remaining_s} s; end it with outlast ctl thaw"
            ),
            Self::Thawed => f.write_str("thawed: what was received meanwhile is served"),
            Self::NotFrozen => f.write_str("not frozen, nothing to thaw"),
            Self::NoData => f.write_str("there is no data yet that could be frozen"),
            Self::NoSuchGeneration { generation } => {
                write!(f, "there is no snapshot {generation}: outlast ctl generations lists them")
            }
            Self::Failed { why } => f.write_str(why),
        }
    }
}

/// A snapshot that can be rolled back to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GenerationStatus {
    /// The zone of its store.
    pub zone: String,
    /// Its number.
    pub generation: u64,
    /// Seconds since it was written.
    pub age_s: u64,
    /// Seconds before now at which its data was proved to be current.
    pub proved_s: u64,
    /// Objects of all kinds.
    pub objects: u64,
    /// Size of its file.
    pub bytes: u64,
    /// Why it cannot be served, if so.
    pub unusable: Option<String>,
    /// Whether it is what is served.
    pub served: bool,
}

/// The answer to a question, as the process would give it to a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LookupStatus {
    /// The name that was asked for, absolute.
    pub name: String,
    /// The type.
    pub kind: String,
    /// Whose answer it is, e.g. `dns://:53`.
    pub server: String,
    /// The response code, e.g. `NXDOMAIN`; empty if there is no reply at all.
    pub rcode: String,
    /// Whether the server is the authority.
    pub authoritative: bool,
    /// Records as in a zone file.
    pub answers: Vec<String>,
    /// The same of the authority section.
    pub authority: Vec<String>,
    /// The same of the additional section.
    pub additional: Vec<String>,
    /// The Extended DNS Error (RFC 8914): code and text.
    pub ede: Option<(u16, String)>,
    /// The state of the data that the name belongs to, if it is the cluster's.
    pub state: Option<super::store::State>,
    /// Its age in seconds.
    pub age_s: Option<u64>,
    /// How long the answer took, in microseconds.
    pub took_us: u64,
}
