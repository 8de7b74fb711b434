//! What can be asked and ordered.

use serde::{Deserialize, Serialize};

/// A request, as it is on the wire beside the version. Fields are added, never changed or taken away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// Everything that the process knows of itself.
    Status,
    /// Whether it is ready.
    Ready,
    /// Whether whoever answers gives signs of life, ready or not.
    Alive,
    /// How it would answer a question.
    Lookup {
        /// The name; without a final dot it is absolute, too.
        name: String,
        /// The type of record, e.g. `AAAA`.
        kind: String,
    },
    /// Believe what is held back, and follow a cluster that was refused.
    Accept {
        /// The store of this zone; every store without one.
        #[serde(default)]
        zone: Option<String>,
    },
    /// Go on serving what is served now, whatever comes.
    Freeze {
        /// For so many seconds; without a number, for as long as the process finds right.
        #[serde(default)]
        for_s: Option<u64>,
        /// As in [`Self::Accept`].
        #[serde(default)]
        zone: Option<String>,
    },
    /// Serve what was received again.
    Thaw {
        /// As in [`Self::Accept`].
        #[serde(default)]
        zone: Option<String>,
    },
    /// The snapshots on the disk.
    Generations {
        /// As in [`Self::Accept`].
        #[serde(default)]
        zone: Option<String>,
    },
    /// Serve a snapshot, frozen.
    Rollback {
        /// Its number.
        generation: u64,
        /// For so many seconds, as in [`Self::Freeze`].
        #[serde(default)]
        for_s: Option<u64>,
        /// The store of this zone; without one there has to be only one.
        #[serde(default)]
        zone: Option<String>,
    },
    /// Answer a name with a value, whatever comes; once more with another value adds that.
    Pin {
        /// The name; without a final dot it is absolute, too.
        name: String,
        /// The type of record, e.g. `AAAA`.
        kind: String,
        /// The value, as a zone file has it.
        value: String,
        /// For so many seconds, as in [`Self::Freeze`].
        #[serde(default)]
        for_s: Option<u64>,
    },
    /// Answer as the data says again.
    Unpin {
        /// The name; every name without one.
        #[serde(default)]
        name: Option<String>,
        /// The type of record; every type without one.
        #[serde(default)]
        kind: Option<String>,
    },
    /// What is pinned.
    Pins,
    /// What is asked for most and by whom, in the last seconds in which somebody has looked; it is counted from now on.
    Top,
}

impl Command {
    /// The name of each on the wire.
    pub(super) const NAMES: [&'static str; 13] = [
        "status",
        "ready",
        "alive",
        "lookup",
        "accept",
        "freeze",
        "thaw",
        "generations",
        "rollback",
        "pin",
        "unpin",
        "pins",
        "top",
    ];

    /// Its name on the wire.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Ready => "ready",
            Self::Alive => "alive",
            Self::Lookup { .. } => "lookup",
            Self::Accept { .. } => "accept",
            Self::Freeze { .. } => "freeze",
            Self::Thaw { .. } => "thaw",
            Self::Generations { .. } => "generations",
            Self::Rollback { .. } => "rollback",
            Self::Pin { .. } => "pin",
            Self::Unpin { .. } => "unpin",
            Self::Pins => "pins",
            Self::Top => "top",
        }
    }

    /// Whether it changes what is served: such a command goes to the log with who gave it.
    pub(super) const fn is_order(&self) -> bool {
        match self {
            Self::Status
            | Self::Ready
            | Self::Alive
            | Self::Lookup { .. }
            | Self::Generations { .. }
            | Self::Pins
            | Self::Top => false,
            Self::Accept { .. }
            | Self::Freeze { .. }
            | Self::Thaw { .. }
            | Self::Rollback { .. }
            | Self::Pin { .. }
            | Self::Unpin { .. } => true,
        }
    }
}
