//! Snapshots of the clusters that are measured, written and loaded as a node does.

use std::path::Path;
use std::sync::Arc;

use outlast::ops::clock::WallClock;
use outlast::ops::jitter::Jitter;
use outlast::ops::metrics::Metrics;
use outlast::snapshot::disk::RealDisk;
use outlast::snapshot::folder::Folder;
use outlast::snapshot::header::{About, Header};
use outlast::snapshot::schedule::DEFAULT_INTERVAL;
use outlast::store::keeper::{Keeper, KeeperConfig};
use outlast::zone::Table;

/// The zone of the snapshots.
pub(crate) const ZONE: &str = "cluster.local.";

/// Where their objects are said to come from.
const SOURCE: &str = "file:bench";

/// What loads the newest snapshot of a folder at a node's start.
pub(crate) fn keeper(dir: &Path, metrics: &Metrics) -> Keeper {
    let config = KeeperConfig {
        max_stale: None,
        dir: dir.to_owned(),
        zone: ZONE.into(),
        source: SOURCE.into(),
        labels: false,
        headless_only: false,
        interval: DEFAULT_INTERVAL,
    };
    let clock = Arc::new(WallClock::new(0));
    Keeper::open(config, Arc::new(RealDisk), clock, Jitter::from_seed(1), metrics)
}

/// The folder at `dir`.
pub(crate) fn folder(dir: &Path) -> Folder {
    Folder::open(Arc::new(RealDisk), dir)
}

/// The header of a table's snapshot.
pub(crate) fn header(table: &Table) -> Header {
    let about = About {
        zone: ZONE.into(),
        source: SOURCE.into(),
        written_at_ms: 1,
        proved_at_ms: 1,
        ..About::default()
    };
    Header::of(table, about)
}
