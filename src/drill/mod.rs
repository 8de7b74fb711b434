//! Drills: outages on purpose, without a cluster, and a report of what was promised and what was seen.
//!
//! ```text
//! catalogue ── a Drill: promise, load, bounds ──> play ──> its own function ──> Observed
//!                                                                                  │
//!                                        Report: kept, broken or skipped <── report ┘
//! ```
//!
//! Reading order: this page, [`catalogue`] (what there is), [`play`] (how several are played), [`report`] (what is said of
//! them). [`standin`] is the API server of all of them, [`ask`] asks and judges, [`churn`] changes the cluster meanwhile.
//! Drills that are played with [`processes`] are in `control_plane`, `hubs`, `nodes`, `addresses` and `soak`, which has a whole
//! [`day`] pass; [`memory`] has hubs without sockets, for drills that are about hours.
//!
//! Invariants:
//!
//! * A drill can fail: each names the protections without which it breaks its promise, and can be played without them.
//! * A promise is a figure that is written down before anything is played; nothing is measured and then promised.
//! * A drill that cannot be played where it is started is told as skipped, never as kept.
//! * Loopback alone, and nothing that outlives the drill: whoever it starts, it ends.
//!
//! Part of the crate proper, so that a drill on a production machine and the tests run the same code.

mod addresses;
pub mod ask;
pub mod catalogue;
pub mod churn;
pub mod cluster;
mod control_plane;
pub mod day;
pub mod files;
mod hubs;
pub mod live;
pub mod memory;
mod nodes;
pub mod play;
pub mod processes;
pub mod report;
mod simulated;
mod soak;
pub mod standin;
mod storm;
#[cfg(test)]
pub(crate) mod test_support;
mod without;

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use self::report::Figures;
use self::report::growth::Growth;
pub use self::without::{NoProtection, Without};

/// An outage with a promise.
pub struct Drill {
    /// Its name: lower case, with hyphens.
    pub name: &'static str,
    /// What happens, in a line.
    pub about: &'static str,
    /// What is promised, in a line.
    pub promise: &'static str,
    /// What is asked meanwhile, in a line.
    pub load: &'static str,
    /// How it is played.
    pub how: How,
    /// How many minutes it lasts where nothing else is said, for one whose length is the user's to choose. It is not one of
    /// [`all`](catalogue::ALL), which end within ten minutes.
    pub minutes: Option<u64>,
    /// Whether no other one is played meanwhile: it promises milliseconds, and what others start shares the processors.
    pub alone: bool,
    /// Whether it is about the control plane: then no answer may fail and none may be wrong.
    pub control_plane: bool,
    /// Protections without which it breaks its promise; at least one.
    pub without: &'static [Without],
    /// What is promised, in figures.
    pub bounds: Bounds,
    /// Plays it. An error is for what keeps it from being played, not for what it shows.
    pub play: fn(&Play<'_>) -> anyhow::Result<Played>,
}

/// How many minutes a drill may last whose length is the user's to choose.
pub const MINUTES: RangeInclusive<u64> = 2..=120;

/// How a drill is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// With processes, sockets and real time.
    Processes,
    /// In the drill's own process, in simulated time.
    Simulated,
    /// With processes in a network of their own, which takes root.
    Root,
}

impl How {
    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Processes => "processes",
            Self::Simulated => "simulated",
            Self::Root => "root",
        }
    }
}

/// What a drill promises, in figures. [`Figures`] says what each is of.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds {
    /// Most questions without a proper answer.
    pub failed: u64,
    /// Most answers that were never right.
    pub wrong: u64,
    /// The longest time without an answer.
    pub gap: Duration,
    /// When answers begin to say that they are old; `None` where that is not promised.
    pub detect: Option<RangeInclusive<Duration>>,
    /// When they have ceased to at the latest, after the end of the fault; `None` where that is not promised.
    pub recover: Option<Duration>,
    /// How often the API server may be asked.
    pub asked: Asked,
    /// Within which time 99 of 100 answers come; `None` where that is not promised.
    pub p99: Option<Duration>,
}

/// How often the API server may be asked from the beginning of the fault to the end of the recovery, by everybody
/// together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing is promised.
    Freely,
    /// So often in all.
    InAll {
        /// Most lists of everything.
        lists: u64,
        /// Most watches that are begun.
        watches: u64,
        /// Most other requests.
        small: u64,
    },
    /// So many requests of any kind a minute, and 30 at once.
    EachMinute(u64),
}

/// What a drill is played with.
pub struct Play<'a> {
    /// Where its files are; it has the folder for itself.
    pub folder: &'a Path,
    /// The program whose processes are started.
    pub program: &'a Path,
    /// Whether it is the short form: less load, for a shorter time, with the same promise.
    pub short: bool,
    /// How many minutes it lasts, if it was said: within [`MINUTES`], for drills that have a length of their own.
    pub minutes: Option<u64>,
    /// Protections that are off. In this process they are off already; [`Without::switches`] is for those that are
    /// started.
    pub without: &'a [Without],
    /// What chance depends on.
    pub seed: u64,
    /// Tells people how far it is; a line, without its end.
    pub say: &'a (dyn Fn(&str) + Sync),
}

impl Play<'_> {
    /// Whether it is played without this protection.
    pub fn is_without(&self, protection: Without) -> bool {
        self.without.contains(&protection)
    }
}

/// What became of a drill.
#[derive(Clone, Debug, PartialEq)]
pub enum Played {
    /// It was played.
    Observed(Box<Observed>),
    /// It cannot be played here, for this reason.
    Skipped(String),
}

/// What was seen in a drill.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// What was counted and measured.
    pub figures: Figures,
    /// What there is to know of how it was played: a sentence each.
    pub notes: Vec<String>,
    /// What processes had and have; what of it is beyond its bounds breaks the promise.
    pub growth: Vec<Growth>,
    /// What else was promised and not kept: a sentence each.
    pub broken: Vec<String>,
    /// The first answers that were wrong or missing, for people.
    pub first_wrong: Vec<String>,
}
