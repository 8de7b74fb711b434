//! What a node without sockets is made of: its configuration, its writer, and a wall clock that goes with paused time.

use std::sync::Arc;

use outlast::node::setup::{Environment, Plan, StoreConfig};
use outlast::ops::clock::WallClock;
use outlast::ops::jitter::Jitter;
use outlast::snapshot::disk::RealDisk;
use outlast::store::Store;
use outlast::store::writer::Writer;
use outlast::testkit::memory::node;
use tokio::time::Instant;

/// Unix time at the beginning of a test, in milliseconds: 2026-01-01T00:00:00Z.
pub(crate) const BEGIN: u64 = 1_767_225_600_000;

/// Unix time in milliseconds in a test that began at `origin`.
pub(crate) fn unix_ms(origin: Instant) -> u64 {
    BEGIN + u64::try_from(origin.elapsed().as_millis()).unwrap()
}

/// The wall clock of a test that began at `origin`.
pub(crate) fn clock(origin: Instant) -> Arc<WallClock> {
    Arc::new(WallClock::with_system(0, move || unix_ms(origin)))
}

/// What plugins are set up with, in a test that began at `origin`.
pub(crate) fn environment(origin: Instant) -> Environment {
    node::environment(clock(origin))
}

/// What a Corefile asks for.
pub(crate) fn planned(corefile: &str, environment: &Environment) -> Plan {
    node::planned(corefile, environment).unwrap_or_else(|e| panic!("{e}"))
}

/// The writer of a store, with its snapshots.
pub(crate) fn writer(config: StoreConfig, store: Arc<Store>, environment: &Environment) -> Writer {
    let guard = config.guard.guard(Jitter::from_seed(1));
    let disk = Arc::new(RealDisk);
    let mut writer = node::writer(config, store, environment, disk, Jitter::from_seed(1));
    writer.guards(guard);
    writer
}
