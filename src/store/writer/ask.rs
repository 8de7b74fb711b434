//! What is asked of the source, and what an audit finds.

use std::time::Duration;

use tokio::time::Instant;

use super::{Command, Kinds, Why, Writer};
use crate::zone::Table;
use crate::zone::change::Change;

/// A kind of which an update was lost is asked for again after this, until it is listed, and no more often: what breaks the writer may be in the
/// list, too.
pub(super) const ASKS_APART: Duration = Duration::from_secs(60);

/// So many of the differences that an audit finds are named in the log.
const NAMED: usize = 5;

impl Writer {
    /// What is due without a cause.
    pub(super) fn tick(&mut self) {
        self.tick_holds();
        self.tick_frozen();
        let now = Instant::now();
        // What is being listed is not asked for.
        let owed = self.lineage.broken().minus(self.lists.kinds());
        if !owed.is_empty() && now >= self.ask_from && self.ask(owed, Why::Lost) {
            self.ask_from = now + ASKS_APART;
        }
    }

    /// Asks the source for lists. Whether it was asked: the way to it is short, and may be full.
    pub(super) fn ask(&self, kinds: Kinds, why: Why) -> bool {
        self.commands.as_ref().is_some_and(|to| to.try_send(Command::Relist { kinds, why }).is_ok())
    }

    /// Counts what a list for an audit has repaired.
    ///
    /// The source has told everything up to the version of the list before its end ([`crate::source::Update::Audited`]),
    /// so that what happened meanwhile is no difference. What a guard holds back is none either: it is known.
    pub(super) fn audit(&mut self, kinds: Kinds, listed: &Table) {
        let audited = self.audited.intersection(kinds);
        self.audited = self.audited.minus(kinds);
        if audited.is_empty() || !self.staged.kinds().intersection(kinds).is_empty() {
            return;
        }
        let differences = self.data.table.diff(listed);
        let mut counts = [0_u64; crate::zone::object::Kind::ALL.len()];
        differences.iter().for_each(|change| counts[change.kind().index()] += 1);
        for kind in audited.iter() {
            self.report.audited(kind, counts[kind.index()]);
        }
        if differences.is_empty() {
            tracing::info!(?kinds, "audit: everything is as the API server has it");
            return;
        }
        let named: Vec<_> = differences.iter().take(NAMED).map(name).collect();
        tracing::warn!(differences = differences.len(), ?named, "audit: differences were found and repaired");
    }
}

/// A difference for people.
fn name(change: &Change) -> String {
    match change {
        Change::Upsert(_) => change.key().to_string(),
        Change::Delete(key) => format!("{key} (gone)"),
    }
}
