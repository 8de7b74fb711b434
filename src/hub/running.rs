//! How a hub is put together, started and stopped.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::config::HubConfig;
use super::control::HubControl;
use super::gate::Gate;
use super::index::Index;
use super::line::Lines;
use super::metrics::{GateMetrics, IndexMetrics, ServeMetrics};
use super::roster::Roster;
use super::serve::{Listener, Serving, ServingConfig, bind};
use crate::ops::admin::{Admin, Face};
use crate::ops::clock::WallClock;
use crate::ops::drain::Drain;
use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;
use crate::ops::readiness::{Monitor, Readiness};
use crate::snapshot::disk::RealDisk;
use crate::source::command::Commands;
use crate::source::start::{self, Beginning};
use crate::source::{SourceConfig, UPDATE_QUEUE};
use crate::store::Store;
use crate::store::keeper::{Keeper, KeeperConfig};
use crate::store::orders::Ordered;
use crate::store::triggers::Triggers;
use crate::store::writer::Writer;
use crate::trust::config::TrustConfig;
use crate::trust::server::Acceptor;

/// The zone that a hub's snapshots are of: it knows of none, and answers no names.
const ZONE: &str = "cluster.local.";

/// What `/ready` calls the data.
const DATA: &str = "data";

/// A hub whose sockets are bound and that follows its source.
pub struct Running {
    /// Where followers are served.
    pub addresses: Vec<SocketAddr>,
    /// Where `/health`, `/ready` and `/metrics` are served.
    pub faces: Vec<(Face, SocketAddr)>,
    /// What it holds.
    pub store: Arc<Store>,
    /// To its source.
    pub commands: Commands,
    /// What carries out an operator's commands.
    pub control: Arc<HubControl>,
    /// The writer.
    writer: JoinHandle<()>,
    /// What followers' streams share.
    #[cfg(feature = "testkit")]
    serving: Arc<Serving>,
    /// The administration, for as long as it runs.
    _admin: Admin,
}

/// Starts a hub: loads its snapshot, binds sockets, and only then starts the source.
///
/// `control` runs everything but the streams. Has to be called within the runtime that runs those.
///
/// # Errors
/// An address that cannot be bound, or a thread that the system does not give.
pub fn start(
    config: HubConfig,
    metrics: &Arc<Metrics>,
    clock: &Arc<WallClock>,
    drain: &Drain,
    control: &Handle,
) -> anyhow::Result<Running> {
    let begin = |source: &_, beginning| start::start(source, beginning, metrics, control);
    start_with(config, metrics, clock, drain, control, &Jitter::for_process(), begin)
}

/// The same with a source that `begin` starts, and all jitter from one place.
pub(crate) fn start_with(
    config: HubConfig,
    metrics: &Arc<Metrics>,
    clock: &Arc<WallClock>,
    drain: &Drain,
    control: &Handle,
    jitter: &Jitter,
    begin: impl FnOnce(&SourceConfig, Beginning) -> anyhow::Result<Commands>,
) -> anyhow::Result<Running> {
    let readiness = Readiness::new(Monitor::UntilReady);
    let store = Store::new();
    let triggers = Arc::<Triggers>::default();
    let source = SourceConfig::ApiServer(config.access.clone());
    let keeper = keeper(&config, &source, clock, metrics, jitter.fork());
    let writer = Writer::new(store.clone(), keeper, config.wanted, config.limits, clock.clone(), metrics);
    let mut writer = writer.with_readiness(readiness.register(DATA)).with_triggers(triggers.clone());
    writer.guards(config.guard.guard(jitter.fork()));
    let resume = writer.boot();

    let listeners = config.listen.iter().map(|address| bind(*address)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut admin = Admin::new(readiness.clone(), metrics.clone(), drain, control);
    let prepared = admin.prepare(&config.faces)?;
    admin.apply(prepared);

    let stop = drain.draining().child_token();
    let (updates, queue) = mpsc::channel(UPDATE_QUEUE);
    let beginning = Beginning { wanted: config.wanted, resume, updates, stop: stop.clone() };
    let commands = begin(&source, beginning)?;
    writer.asks(commands.clone());
    let orders = writer.control();
    let writer = control.spawn(writer.run(queue, stop.clone()));

    let lines = Arc::new(Lines::new(config.wanted.pods, config.history_bytes));
    let index = Index::new(store.clone(), triggers, lines.clone(), Arc::new(IndexMetrics::new(metrics)));
    control.spawn(index.run(stop.clone()));
    let gate = Gate::new(config.transfers, GateMetrics::new(metrics));
    control.spawn(gate.clone().run(drain.closing().clone()));
    control.spawn(metrics.clone().run_upkeep(drain.closing().clone()));

    let addresses: Vec<_> = listeners.iter().map(|listener| listener.local).collect();
    let (hubs, known) = watch::channel([].into());
    control.spawn(roster(&config, &addresses).run(store.clone(), hubs, stop));
    let name = name();
    let operated = HubControl {
        name: name.clone(),
        began: std::time::Instant::now(),
        addresses: addresses.clone(),
        store: Ordered { zone: ZONE.to_owned(), source, snapshot: config.snapshot.clone(), control: orders },
        readiness,
        trust: config.trust.clone(),
        clock: clock.clone(),
        tells: Vec::new(),
    };
    let serving = ServingConfig {
        name,
        wanted: config.wanted,
        limits: config.limits,
        max_subscribers: config.max_subscribers,
        move_within: config.move_within,
        jitter: jitter.fork(),
    };
    let serving = Serving::new(
        serving,
        store.clone(),
        lines,
        gate,
        known,
        commands.clone(),
        drain.clone(),
        ServeMetrics::new(metrics),
    );
    serve(listeners, &serving, &config.trust, clock, metrics, drain);
    let faces = [Face::Health, Face::Ready, Face::Metrics].into_iter();
    let faces = faces.flat_map(|f| admin.addresses(f).map(move |a| (f, a)).collect::<Vec<_>>()).collect();
    Ok(Running {
        addresses,
        faces,
        store,
        commands,
        control: Arc::new(operated),
        writer,
        #[cfg(feature = "testkit")]
        serving,
        _admin: admin,
    })
}

fn serve(
    listeners: Vec<Listener>,
    serving: &Arc<Serving>,
    trust: &TrustConfig,
    clock: &Arc<WallClock>,
    metrics: &Metrics,
    drain: &Drain,
) {
    let trust = match trust {
        TrustConfig::Plain => None,
        TrustConfig::Tls(files) => Some(Acceptor::new(files.clone(), clock.clone(), metrics)),
    };
    for listener in listeners {
        drain.spawn(listener.run(serving.clone(), trust.clone()));
    }
}

/// The hubs that are configured, ourselves first: by what we are told to be, or by an address of our own that others
/// can reach.
fn roster(config: &HubConfig, addresses: &[SocketAddr]) -> Roster {
    let own = if config.advertise.is_empty() { addresses } else { &config.advertise };
    let fixed = own.iter().chain(&config.siblings).copied().filter(|a| !a.ip().is_unspecified()).collect();
    // Every hub of a service is started alike.
    let port = addresses.first().map_or(crate::source::hub::access::DEFAULT_PORT, SocketAddr::port);
    Roster { fixed, service: config.service.clone(), port }
}

/// The name of this hub: the host's, and a number that is another one each time it starts.
fn name() -> String {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    format!("{}-{:08x}", host.unwrap_or_else(|| "hub".to_owned()), rand::random::<u32>())
}

fn keeper(
    config: &HubConfig,
    source: &SourceConfig,
    clock: &Arc<WallClock>,
    metrics: &Metrics,
    jitter: Jitter,
) -> Option<Keeper> {
    let Some(dir) = &config.snapshot else {
        tracing::warn!(
            "no snapshot folder is configured: memory only, a restart without the API server will have no data \
             (set --snapshot or OUTLAST_HUB_SNAPSHOT)"
        );
        return None;
    };
    let keeper = KeeperConfig {
        dir: dir.clone(),
        zone: ZONE.to_owned(),
        source: source.to_string(),
        labels: config.wanted.labels,
        interval: config.interval,
        max_stale: config.limits.max_stale,
    };
    Some(Keeper::open(keeper, Arc::new(RealDisk), clock.clone(), jitter, metrics))
}

impl Running {
    /// Says where followers are served and the faces are.
    pub fn report(&self) {
        for address in &self.addresses {
            tracing::info!(%address, "serving followers");
        }
        for (face, address) in &self.faces {
            tracing::info!(%address, "serving {}", face.path());
        }
    }

    /// Waits until the last snapshot is written, once the drain has begun.
    pub async fn stop(self) {
        // One that panicked has nothing to write.
        let _ = self.writer.await;
    }

    /// The way in for connections that are made in memory.
    #[cfg(feature = "testkit")]
    pub(crate) fn door(&self) -> impl Fn(tokio::io::DuplexStream) + Send + Sync + use<> {
        let serving = self.serving.clone();
        move |io| super::serve::take(io, &serving)
    }

    /// Ends as SIGKILL does: nothing more is written.
    #[cfg(feature = "testkit")]
    pub(crate) async fn crash(self, drain: &Drain) {
        self.writer.abort();
        let _ = self.writer.await;
        drain.forced().cancel();
    }
}
