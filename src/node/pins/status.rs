//! What people and scripts see of what is pinned.

use serde::{Deserialize, Serialize};

use super::pin::Pin;

/// Values of one name and type that are pinned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PinStatus {
    /// The name, absolute and in lower case.
    pub name: String,
    /// The type of record, e.g. `AAAA`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The values, as they were written.
    pub values: Vec<String>,
    /// Seconds since it was first pinned.
    pub since_s: u64,
    /// Seconds until it ends.
    pub remaining_s: u64,
}

/// What became of an order, and whether a restart knows of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PinsDone {
    /// What was pinned, as it is now; or what was unpinned, as it was.
    pub pins: Vec<PinStatus>,
    /// What a restart knows.
    pub kept: Kept,
}

/// Whether a restart knows what is pinned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Kept {
    /// It does: it is in this folder.
    InFolder {
        /// Its path.
        dir: String,
    },
    /// No folder is configured: it does not.
    #[default]
    InMemory,
    /// The folder belongs to another process of the node; it is written once it is ours.
    AnotherOwner {
        /// Its path.
        dir: String,
    },
    /// The disk failed, and is tried again.
    Failed {
        /// Why.
        why: String,
    },
}

impl PinStatus {
    /// Of a pin, at a Unix time in milliseconds, that has so many seconds left.
    pub(super) fn of(pin: &Pin, now_ms: u64, remaining_s: u64) -> Self {
        Self {
            name: pin.name.to_string(),
            kind: pin.kind.to_string(),
            values: pin.values.iter().map(|value| value.text.clone()).collect(),
            since_s: now_ms.saturating_sub(pin.span.since_ms) / 1_000,
            remaining_s,
        }
    }
}

impl Kept {
    /// Whether nothing is wrong.
    pub const fn is_fine(&self) -> bool {
        !matches!(self, Self::Failed { .. })
    }
}

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InFolder { dir } => write!(f, "kept in {dir}: a restart goes on so"),
            Self::InMemory => f.write_str("in memory only, no folder is configured: a restart forgets it"),
            Self::AnotherOwner { dir } => {
                write!(f, "in memory only until the other process of this node gives {dir} away")
            }
            Self::Failed { why } => write!(f, "IN MEMORY ONLY, a restart forgets it: {why}"),
        }
    }
}
