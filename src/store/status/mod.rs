//! What a process says of itself over its control socket: to people as one screen, to scripts as JSON.
//!
//! It is a model of its own and not the live types: it is read by programs of other releases and by scripts. Every
//! field has a default, so that a reader takes what it knows and leaves the rest. Times are durations in whole
//! seconds, as in "so long ago" or "in so long": they hold whatever the clocks of the two ends say.
//!
//! * here: the process as a whole, and what roles add to it ([`Section`]).
//! * `store`: one store, which is what most of the screen is about.
//! * `outcome`: what became of an order.

pub mod outcome;
pub mod store;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use self::store::StoreStatus;
pub use crate::ops::control::section::{Advice, Level, Row, Section};
use crate::ops::pulse::Silent;
use crate::ops::readiness::State;

/// A whole process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Which part of Outlast it is.
    pub role: Role,
    /// Its release, e.g. `0.1.0`.
    pub release: String,
    /// Name of the node or the hub.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// Seconds since it began.
    pub up_s: u64,
    /// Whether it is ready, and what it waits for.
    pub ready: Ready,
    /// Where it answers, e.g. `dns://:53 0.0.0.0:53`.
    pub listening: Vec<String>,
    /// The data, one for each source, folder and zone.
    pub stores: Vec<StoreStatus>,
    /// Its certificate, where it has one.
    pub certificate: Option<Certificate>,
    /// What else the role has to say.
    pub sections: Vec<Section>,
}

/// Which part of Outlast a process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It answers queries.
    #[default]
    Node,
    /// It watches the API server for nodes.
    Hub,
    /// Something that this release does not know.
    #[serde(other)]
    Other,
}

impl Role {
    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Hub => "hub",
            Self::Other => "process",
        }
    }
}

/// Whether a process is ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ready {
    /// Whether `/ready` says so.
    pub ready: bool,
    /// What it waits for.
    pub pending: Vec<String>,
    /// Whether it is about to end.
    pub shutting_down: bool,
}

impl From<State> for Ready {
    fn from(state: State) -> Self {
        match state {
            State::Ready => Self { ready: true, ..Self::default() },
            State::Pending(names) => {
                Self { pending: names.into_iter().map(str::to_owned).collect(), ..Self::default() }
            }
            State::ShuttingDown => Self { shutting_down: true, ..Self::default() },
        }
    }
}

/// Whether whoever answers gives signs of life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Alive {
    /// Whether everybody does.
    pub alive: bool,
    /// Who does not, and for how long.
    pub silent: Option<String>,
}

impl From<Option<Silent>> for Alive {
    fn from(silent: Option<Silent>) -> Self {
        Self { alive: silent.is_none(), silent: silent.map(|silent| silent.to_string()) }
    }
}

/// A certificate that others know this process by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Certificate {
    /// Its file.
    pub path: String,
    /// Seconds until it expires; negative since then.
    pub expires_in_s: i64,
    /// For how many seconds it counts in all.
    pub life_s: u64,
    /// For how many seconds after that others take it nevertheless.
    pub grace_s: u64,
    /// Why it cannot be used, if so.
    pub why: Option<String>,
}

impl Certificate {
    /// Of the file at `path`: how many seconds are left of so many, or why it cannot be used.
    pub fn new(path: &Path, left_s: Result<i64, String>, life_s: u64, grace_s: u64) -> Self {
        let (expires_in_s, why) = match left_s {
            Ok(left) => (left, None),
            Err(why) => (0, Some(why)),
        };
        Self { path: path.display().to_string(), expires_in_s, life_s, grace_s, why }
    }
}
