//! What a guard holds back: removals that nobody may have meant ([`super::guard`] judges).
//!
//! A state under a hold is two states in one: what the origin says, which digests and positions are of, and what is
//! served. They differ in the objects that are *held*: for each of those the table has what it had before.
//!
//! Invariant: only a loss is ever held. What is new or moved is served at once.

use super::change::Change;
use super::object::Object;

/// What is said of one object while something may be held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What the origin says.
    pub change: Change,
    /// What is served in its place, while a guard holds the change back.
    pub held: Option<Held>,
}

/// What is served of one object in place of what the origin says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The object that is served.
    pub served: Object,
    /// The id of the [`Hold`] that this is part of.
    pub hold: u32,
}

/// One verdict, and how much it holds back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Tells it from others of the same origin.
    pub id: u32,
    /// For people: what was about to happen, e.g. `a list of services lacks 6,000 of 10,000`.
    pub why: Box<str>,
    /// How many objects are held.
    pub objects: usize,
    /// For how long it has been held, in milliseconds.
    pub held_ms: u64,
    /// For how long it will go on unless it is accepted or turns out to be an error, in milliseconds.
    pub remaining_ms: u64,
}
