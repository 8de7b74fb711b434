//! What parts of a process say of themselves to operators: rows for people, and the same in full for scripts.
//!
//! A part that has something to say [`Tells`] it; the control socket of its role collects what they say.

use serde::{Deserialize, Serialize};

/// A part of a process that has something to say to operators: followers, siblings, the API server's health,
/// interception.
pub trait Tells: Send + Sync + 'static {
    /// What it says now; from memory, at once.
    fn section(&self) -> Section;
}

/// A part of the status that only one role has (a hub's followers, its siblings, the API server's health): rows for
/// people, and the same in full for scripts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Section {
    /// What it is about, e.g. `followers`; short: it stands before the rows.
    pub title: String,
    /// A few rows, the most important first.
    pub rows: Vec<Row>,
    /// What it says to operators who ask what to do.
    pub advice: Vec<Advice>,
    /// In full, in a form of its own.
    pub data: serde_json::Value,
}

/// One line of a [`Section`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Row {
    /// The line.
    pub text: String,
    /// How bad it is.
    pub level: Level,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    #[default]
    Fine,
    /// Answers are right or as right as they can be, and somebody should look.
    Warn,
    /// Answers are missing or will be.
    Bad,
}

/// Something to do, or to know before doing anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Advice {
    /// How urgent it is.
    pub level: Level,
    /// For people, in whole sentences.
    pub text: String,
}
