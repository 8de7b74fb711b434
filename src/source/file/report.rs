//! What an operator gets to see of the source: metrics and log lines.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::read::ReadError;
use crate::ops::metrics::Metrics;
use crate::source::kubectl::Found;
use crate::source::report;

/// Reads by result: `ok`, `broken` (syntax, type, no objects), `failed` (the system refused), `gone`, `torn`.
pub const READS_TOTAL: &str = "outlast_source_reads_total";

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
        metrics.describe_counter(SKIPPED_TOTAL, "Objects passed over because DNS does not need their kind.");
        report::describe(&metrics);
        Self { path: path.into(), metrics }
    }

    /// A new state was read.
    pub(super) fn read(&self, found: &Found) {
        self.count("ok");
        let path = self.path.display();
        tracing::info!(%path, objects = found.objects.len(), "source file read");
        report::dropped(&self.metrics, &found.drops, |kind, reason, count, examples| {
            tracing::warn!(%path, kind, reason, count, examples, "left out of the source file as invalid");
        });
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
