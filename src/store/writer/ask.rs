//! What is asked of the source, and what an audit finds.

use std::time::Duration;

use tokio::time::Instant;

use super::{Command, Kinds, Why, Writer};
use crate::store::audit::Findings;

/// A kind of which an update was lost is asked for again after this, until it is listed, and no more often: what breaks the writer may be in the
/// list, too.
pub(super) const ASKS_APART: Duration = Duration::from_secs(60);

impl Writer {
    /// What is due without a cause.
    pub(super) async fn tick(&mut self) {
        self.tick_holds().await;
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
    pub(super) fn audit(&self, audited: Kinds, found: &Findings) {
        for kind in audited.iter() {
            self.report.audited(kind, found.counts[kind.index()]);
        }
        let (differences, named) = (found.total(), &found.named);
        if differences == 0 {
            tracing::info!(kinds = ?audited, "audit: everything is as the API server has it");
            return;
        }
        tracing::warn!(differences, ?named, "audit: differences were found and repaired");
    }
}
