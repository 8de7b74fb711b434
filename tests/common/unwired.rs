//! What a node without sockets is made of: its configuration, its writer, and a wall clock that goes with paused time.

use std::sync::Arc;

use outlast::corefile::{self, LoadOptions};
use outlast::node::setup::{Environment, Overrides, Plan, StoreConfig, directive_names, plan};
use outlast::ops::clock::WallClock;
use outlast::ops::jitter::Jitter;
use outlast::ops::metrics::Metrics;
use outlast::ops::ownership::Ownership;
use outlast::snapshot::disk::RealDisk;
use outlast::store::Store;
use outlast::store::guard::Guard;
use outlast::store::keeper::{Keeper, KeeperConfig};
use outlast::store::writer::Writer;
use outlast::zone::guard::Policy;
use tokio::time::Instant;

/// Unix time at the beginning of a test, in milliseconds: 2026-01-01T00:00:00Z.
pub(crate) const BEGIN: u64 = 1_767_225_600_000;

/// Unix time in milliseconds in a test that began at `origin`.
pub(crate) fn unix_ms(origin: Instant) -> u64 {
    BEGIN + u64::try_from(origin.elapsed().as_millis()).unwrap()
}

/// What plugins are set up with, in a test that began at `origin`.
pub(crate) fn environment(origin: Instant) -> Environment {
    Environment {
        metrics: Arc::new(Metrics::new()),
        clock: Arc::new(WallClock::with_system(0, move || unix_ms(origin))),
        node_name: "node-1".to_owned(),
        overrides: Overrides::default(),
        own_addresses: Some(vec!["10.96.0.10".parse().unwrap()]),
        in_cluster: false,
        carried: Arc::default(),
        ownership: Ownership::always(),
    }
}

/// What a Corefile asks for.
pub(crate) fn planned(corefile: &str, environment: &Environment) -> Plan {
    let names = directive_names();
    let options = LoadOptions { directives: Some(&names), ..LoadOptions::default() };
    let parsed = corefile::parse(corefile, "Corefile", &options).unwrap_or_else(|e| panic!("{e}"));
    plan(&parsed, environment).unwrap_or_else(|e| panic!("{e}"))
}

/// The writer of a store, with its snapshots.
pub(crate) fn writer(config: StoreConfig, store: Arc<Store>, environment: &Environment) -> Writer {
    let metrics = &environment.metrics;
    let hold = config.guard.hold;
    let guard =
        config.guard.on.then(|| Guard { policy: Policy::default(), hold, jitter: Jitter::from_seed(1) });
    let keeper = config.snapshot.map(|dir| {
        let keeper = KeeperConfig {
            max_stale: None,
            dir,
            zone: config.zone,
            source: config.source.to_string(),
            labels: config.wanted.labels,
            headless_only: config.source.is_headless_only(),
            interval: config.interval,
        };
        let clock = environment.clock.clone();
        Keeper::open(keeper, Arc::new(RealDisk), clock, Jitter::from_seed(1), metrics)
    });
    let clock = environment.clock.clone();
    let mut writer = Writer::new(store, keeper, config.wanted, config.limits, clock, metrics);
    writer.guards(guard);
    writer
}
