//! A node without sockets: a configuration, its store with its source, and both ways that an answer takes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use super::Network;
use super::lanes::Lanes;
use super::wires::Wires;
use crate::corefile::{self, LoadOptions};
use crate::node::router::Router;
use crate::node::setup::{Environment, Overrides, Plan, ServerPlan, StoreConfig, directive_names, plan};
use crate::ops::catalogue;
use crate::ops::clock::WallClock;
use crate::ops::dns_metrics::ServerMetrics;
use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;
use crate::ops::ownership::Ownership;
use crate::snapshot::disk::Disk;
use crate::source::apiserver::{ApiServerSource, Dial, Transport};
use crate::source::{SourceConfig, UPDATE_QUEUE, Wanted, command};
use crate::store::Store;
use crate::store::keeper::{Keeper, KeeperConfig};
use crate::store::state::{DataState, Limits};
use crate::store::writer::Writer;

/// What a node is started with.
pub struct Setting<'a> {
    /// Its Corefile, with one `kubernetes` block.
    pub corefile: &'a str,
    /// Where snapshots are.
    pub disk: Arc<dyn Disk>,
    /// Its time.
    pub clock: Arc<WallClock>,
    /// All its jitter, but for that of what is no cluster's.
    pub jitter: Jitter,
}

/// How a node reaches whom its Corefile names.
pub enum Follows<'a> {
    /// Hubs.
    Hubs {
        /// What it calls itself.
        name: String,
        /// Where they are.
        network: &'a Network,
        /// The way to each.
        wires: HashMap<SocketAddr, Wires>,
    },
    /// An API server.
    ApiServer(Dial),
}

/// A node that runs.
pub struct MemoryNode {
    /// What it answers from.
    pub store: Arc<Store>,
    /// Both ways of answering.
    pub lanes: Lanes,
    /// What it wants of its source.
    wanted: Wanted,
    /// What is measured.
    metrics: Arc<Metrics>,
    /// Ends it.
    stop: CancellationToken,
    /// Its source.
    source: JoinHandle<()>,
    /// Its writer.
    writer: JoinHandle<()>,
}

impl MemoryNode {
    /// Starts a node in the current runtime.
    ///
    /// # Errors
    /// Its Corefile is not good for one, or names another source.
    pub fn start(setting: Setting<'_>, follows: Follows<'_>) -> anyhow::Result<Self> {
        let Setting { corefile, disk, clock, jitter } = setting;
        let environment = environment(clock);
        let metrics = environment.metrics.clone();
        let Plan { mut servers, mut process, .. } = planned(corefile, &environment)?;
        let server = servers.pop().context("there is no server block")?;
        let lanes = Lanes::of_router(router(server, &metrics), &metrics);
        let (config, store) = process.stores.pop().context("there is no kubernetes block")?;
        let (source, wanted) = (config.source.clone(), config.wanted);
        // A hub has judged what it tells.
        let is_origin = matches!(source, SourceConfig::ApiServer(_));
        let guard = if is_origin { config.guard.guard(jitter.fork()) } else { None };
        let mut writer = writer(config, store.clone(), &environment, disk, jitter.fork());
        writer.guards(guard);
        let resume = writer.boot();
        let (commands, commanded) = command::channel();
        writer.asks(commands);
        let (updates, queue) = mpsc::channel(UPDATE_QUEUE);
        let stop = CancellationToken::new();
        let source = match (source, follows) {
            (SourceConfig::Hub(mut access), Follows::Hubs { name, network, wires }) => {
                access.name = name;
                let source = network.source(&access, wanted, jitter, &metrics, wires);
                tokio::spawn(source.run(updates, commanded, stop.clone()))
            }
            (SourceConfig::ApiServer(access), Follows::ApiServer(dial)) => {
                let source = ApiServerSource::new(access, wanted, resume, metrics.clone());
                let source = source.obeying(commanded).over(Transport::Memory(dial)).with_jitter(jitter);
                tokio::spawn(source.run(updates, stop.clone()))
            }
            (source, _) => bail!("it is not dialled as a node of {source} is"),
        };
        let writer = tokio::spawn(writer.run(queue, stop.clone()));
        Ok(Self { store, lanes, wanted, metrics, stop, source, writer })
    }

    /// The state of its data.
    pub fn state(&self) -> DataState {
        DataState::judge(self.store.facts(&self.store.current()), self.wanted.kinds(), Limits::default())
    }

    /// Whether it has data of every kind.
    pub fn is_complete(&self) -> bool {
        self.wanted.kinds().minus(self.store.current().table.complete()).is_empty()
    }

    /// Its metrics as text.
    pub fn scrape(&self) -> String {
        self.metrics.render()
    }

    /// SIGTERM.
    ///
    /// # Errors
    /// Its writer has panicked before.
    pub async fn stop(self) -> Result<(), JoinError> {
        self.stop.cancel();
        let stopped = self.writer.await;
        let _ = self.source.await;
        stopped
    }

    /// SIGKILL.
    pub async fn crash(self) {
        self.writer.abort();
        self.source.abort();
        let _ = (self.writer.await, self.source.await);
        // Time passes once a write to the disk that is under way has ended: it is not to meet those of the next node.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

// === What it is made of ===

/// What plugins are set up with.
pub fn environment(clock: Arc<WallClock>) -> Environment {
    Environment {
        metrics: Arc::new(Metrics::new()),
        clock,
        node_name: "node-1".to_owned(),
        overrides: Overrides::default(),
        own_addresses: Some(vec![std::net::Ipv4Addr::new(10, 96, 0, 10).into()]),
        in_cluster: false,
        carried: Arc::default(),
        ownership: Ownership::always(),
    }
}

/// What a Corefile asks for.
///
/// # Errors
/// It is not understood.
pub fn planned(corefile: &str, environment: &Environment) -> anyhow::Result<Plan> {
    let names = directive_names();
    let options = LoadOptions { directives: Some(&names), ..LoadOptions::default() };
    let parsed = corefile::parse(corefile, "Corefile", &options).map_err(|error| anyhow!("{error}"))?;
    plan(&parsed, environment).map_err(|error| anyhow!("{error}"))
}

/// The writer of a store, with its snapshots on `disk`, which judges no list yet.
pub fn writer(
    config: StoreConfig,
    store: Arc<Store>,
    environment: &Environment,
    disk: Arc<dyn Disk>,
    jitter: Jitter,
) -> Writer {
    let (metrics, clock) = (&environment.metrics, &environment.clock);
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
        Keeper::open(keeper, disk, clock.clone(), jitter, metrics)
    });
    Writer::new(store, keeper, config.wanted, config.limits, clock.clone(), metrics)
}

/// The router of a listener.
fn router(server: ServerPlan, metrics: &Metrics) -> Arc<Router> {
    let counted = Arc::new(ServerMetrics::new(metrics, &server.identity, &server.counted));
    Router::new(server.identity, server.routes, counted, metrics.counter(catalogue::PANICS, &[]))
}
