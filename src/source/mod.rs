//! Where a follower gets its objects: a file, (later) the API server or a hub.
//!
//! A source runs in a task of its own on the control runtime and speaks to the one writer ([`crate::node`]'s
//! store) over a bounded channel of [`Update`]s. It never touches a table and never waits for the query path.

pub mod file;
pub mod kubectl;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::zone::change::Change;
use crate::zone::object::{Kinds, Object};

/// How many updates may wait for the store before a source has to wait itself. A whole state is one update,
/// so a few are plenty.
pub const UPDATE_QUEUE: usize = 16;

/// Where a follower gets its objects, as it is configured and shown: `file:/etc/outlast/cluster.yaml`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceConfig {
    /// A file or a folder of objects.
    File(PathBuf),
}

impl fmt::Display for SourceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl FromStr for SourceConfig {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(PathBuf::from(path))),
            _ => Err(format!("{text:?} is not a source: write file:PATH")),
        }
    }
}

/// What the configuration needs of the objects; the rest is never kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Labels, for the selectors `labels` and `namespace_labels`.
    pub labels: bool,
    /// Pods, for `pods verified`.
    pub pods: bool,
}

impl Wanted {
    /// Everything that can be kept.
    pub const ALL: Self = Self { labels: true, pods: true };

    /// The kinds that a whole state has to be complete for.
    pub const fn kinds(self) -> Kinds {
        if self.pods { Kinds::ALL } else { Kinds::CORE }
    }
}

/// What a source tells the store.
#[derive(Debug)]
pub enum Update {
    /// A whole state of `kinds`, complete and just proved current; what is not in it does not exist.
    State {
        /// Every object of these kinds.
        objects: Vec<Object>,
        /// The kinds that the list is complete for.
        kinds: Kinds,
    },
    /// Single objects changed; proves freshness too.
    Changes(Vec<Change>),
    /// Nothing changed, and the source has just proved it.
    Fresh,
    /// The source cannot prove its state any more, and why; said once a loss.
    Lost {
        /// For people: what was tried and what happened.
        why: String,
    },
}
