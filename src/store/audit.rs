//! What an audit has found.

use crate::zone::change::Change;
use crate::zone::object::Kind;

/// So many of the differences that an audit finds are named in the log.
const NAMED: usize = 5;

/// Where the state and a list for an audit differ.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// How many objects differ, by kind.
    pub(super) counts: [u64; Kind::ALL.len()],
    /// Some of them, for people.
    pub(super) named: Vec<String>,
}

impl Findings {
    /// What these changes, which make the state what the list is, say of it.
    pub(super) fn of(changes: &[Change]) -> Self {
        let mut counts = [0; Kind::ALL.len()];
        changes.iter().for_each(|change| counts[change.kind().index()] += 1);
        Self { counts, named: changes.iter().take(NAMED).map(name).collect() }
    }

    /// How many objects differ.
    pub(super) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// A difference for people.
fn name(change: &Change) -> String {
    match change {
        Change::Upsert(_) => change.key().to_string(),
        Change::Delete(key) => format!("{key} (gone)"),
    }
}
