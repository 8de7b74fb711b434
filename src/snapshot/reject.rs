//! Why a generation is not served, and what became of its file.

use std::io;
use std::path::PathBuf;

use super::format::FormatError;

/// Why a generation is not served.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// It could not be read. That may pass: the file stays where it is.
    #[error(transparent)]
    Unreadable(io::Error),
    /// It is not an intact snapshot of a version that can be read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// It is of another zone.
    #[error("of zone {found}, and {expected} is served")]
    Zone {
        /// The zone in its header.
        found: String,
        /// The zone that is served.
        expected: String,
    },
    /// It has the replies of another cache.
    #[error("of cache {found}, and {expected} is served")]
    Cache {
        /// The cache in its header.
        found: String,
        /// The cache that is served.
        expected: String,
    },
}

impl Reason {
    /// A word for file names and metric labels.
    pub const fn slug(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "unreadable",
            Self::Format(error) => error.slug(),
            Self::Zone { .. } => "zone",
            Self::Cache { .. } => "cache",
        }
    }
}

/// A generation that is not served.
#[derive(Debug)]
pub struct Rejected {
    /// Its number.
    pub generation: u64,
    /// The file it was found in.
    pub path: PathBuf,
    /// Why it is not served.
    pub reason: Reason,
    /// What became of the file.
    pub aside: Aside,
}

/// What became of a rejected file.
#[derive(Debug)]
pub enum Aside {
    /// It has this name now.
    Moved(PathBuf),
    /// It stays where it is, because reading it may work another time.
    Left,
    /// It could not be renamed and stays where it is.
    Stuck(io::Error),
}

impl std::fmt::Display for Rejected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "reading snapshot gen-{}: {}", self.generation, self.reason)?;
        match &self.aside {
            Aside::Moved(path) => write!(f, "; now {}", path.display()),
            Aside::Left => Ok(()),
            Aside::Stuck(error) => write!(f, "; renaming {}: {error}", self.path.display()),
        }
    }
}
