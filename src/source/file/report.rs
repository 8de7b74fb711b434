//! What an operator gets to see of the source: metrics and log lines.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::read::ReadError;
use crate::ops::metrics::Metrics;
use crate::source::kubectl::Found;

/// Reads by result: `ok`, `broken` (syntax, type, no objects), `failed` (the system refused), `gone`, `torn`.
pub const READS_TOTAL: &str = "outlast_source_reads_total";

/// Units left out because no API server would accept them, by the object's kind and the reason.
pub const DROPPED_TOTAL: &str = "outlast_source_dropped_total";

/// Objects of kinds that DNS does not need, by kind.
pub const SKIPPED_TOTAL: &str = "outlast_source_skipped_total";

/// Counts and logs for one path.
pub(super) struct Report {
    /// The file or folder.
    path: PathBuf,
    /// Where it counts.
    metrics: Arc<Metrics>,
}

impl Report {
    pub(super) fn new(path: &Path, metrics: Arc<Metrics>) -> Self {
        metrics.describe_counter(READS_TOTAL, "Reads of a source's objects by result.");
        metrics.describe_counter(DROPPED_TOTAL, "Parts of objects left out as invalid, by kind and reason.");
        metrics.describe_counter(SKIPPED_TOTAL, "Objects passed over because DNS does not need their kind.");
        Self { path: path.into(), metrics }
    }

    /// A new state was read.
    pub(super) fn read(&self, found: &Found) {
        self.count("ok");
        let path = self.path.display();
        tracing::info!(%path, objects = found.objects.len(), "source file read");
        for (kind, reason, dropped) in found.drops.iter() {
            let (kind, reason, count) = (kind.as_str(), reason.as_str(), dropped.count);
            self.metrics.counter(DROPPED_TOTAL, &[("kind", kind), ("reason", reason)]).increment(count);
            let examples = dropped.examples.join("; ");
            tracing::warn!(%path, kind, reason, count, examples, "left out of the source file as invalid");
        }
        for (kind, count) in found.skipped.iter() {
            self.metrics.counter(SKIPPED_TOTAL, &[("kind", kind)]).increment(count);
            tracing::debug!(%path, kind, count, "kind in the source file not needed");
        }
    }

    /// A look or a read failed; `news` unless it did so before in the same words.
    pub(super) fn failed(&self, error: &ReadError, news: bool) {
        self.count(match error {
            ReadError::Gone { .. } => "gone",
            ReadError::Io { .. } | ReadError::Unusable { .. } => "failed",
            ReadError::Malformed { .. } | ReadError::Empty { .. } | ReadError::Incomplete { .. } => "broken",
            ReadError::Torn { .. } => "torn",
        });
        if news {
            tracing::error!(%error, "source file not usable, keeping what there is");
        }
    }

    fn count(&self, result: &'static str) {
        self.metrics.counter(READS_TOTAL, &[("result", result)]).increment(1);
    }
}
