//! The hosts file, as [`follow`](crate::node::plugins::follow) reads it, and its metrics.

use std::fmt;
use std::path::Path;
use std::time::SystemTime;

use metrics::Gauge;
use tracing::Level;

use super::TARGET;
use super::table::{Hosts, Scope};
use crate::node::plugins::follow::Reader;
use crate::ops::catalogue;
use crate::ops::metrics::Metrics;

/// Reads the file, and says how much there is.
pub(super) struct HostsFile {
    /// What is taken of it.
    scope: Scope,
    /// Entries of the block.
    inline: usize,
    /// `coredns_hosts_entries` of this file.
    entries: Gauge,
    /// `coredns_hosts_reload_timestamp_seconds`
    changed: Gauge,
}

impl HostsFile {
    pub(super) fn new(scope: Scope, inline: &Hosts, file: &Path, metrics: &Metrics) -> Self {
        let file = file.to_string_lossy();
        Self {
            scope,
            inline: inline.entries(),
            entries: metrics.gauge(catalogue::HOSTS_ENTRIES, &[("hostsfile", &file)]),
            changed: metrics.gauge(catalogue::HOSTS_RELOAD_TIMESTAMP, &[]),
        }
    }
}

impl Reader for HostsFile {
    type Content = Hosts;

    const WHAT: &'static str = "hosts file";

    /// The largest lists of blocked names have about half of it.
    const MAX_BYTES: u64 = 16 << 20;

    const BEFORE: &'static str = "the names before it";

    /// The block may have all that is needed.
    const OPTIONAL: bool = true;

    fn parse(&self, text: &str) -> Result<Hosts, String> {
        self.scope.read(text).map_err(|error| error.to_string())
    }

    fn taken(&self, content: &Hosts, changed: Option<SystemTime>) {
        self.entries.set((self.inline + content.entries()) as f64);
        if let Some(since) = changed.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok()) {
            self.changed.set(since.as_secs_f64());
        }
    }

    fn log(level: Level, text: fmt::Arguments<'_>) {
        match level {
            Level::ERROR => tracing::error!(target: TARGET, "{text}"),
            Level::WARN => tracing::warn!(target: TARGET, "{text}"),
            _ => tracing::info!(target: TARGET, "{text}"),
        }
    }
}
