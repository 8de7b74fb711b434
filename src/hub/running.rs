//! How a hub is put together, started and stopped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::audit::{Audit, Last};
use super::config::HubConfig;
use super::control::HubControl;
use super::following::{Following, LookAgain};
use super::gate::Gate;
use super::index::Index;
use super::line::Lines;
use super::metrics::{GateMetrics, IndexMetrics, ServeMetrics};
use super::orders::ToSource;
use super::probe::{Seen, keep_looking};
use super::roster::Roster;
use super::serve::{Listener, Parts, Serving, ServingConfig, bind};
use super::siblings::{Family, Rounds};
use crate::ops::admin::{Admin, Face};
use crate::ops::clock::WallClock;
use crate::ops::control::section::Tells;
use crate::ops::drain::Drain;
use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;
use crate::ops::readiness::{Monitor, Readiness};
use crate::snapshot::disk::{Disk, RealDisk};
use crate::source::SourceConfig;
use crate::source::apiserver::probe::Probe;
use crate::source::command::Commands;
use crate::source::hub::meet::Meetings;
use crate::source::start::{self, Beginning};
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
    pub commands: ToSource,
    /// What carries out an operator's commands.
    pub control: Arc<HubControl>,
    /// The writer.
    writer: JoinHandle<()>,
    /// What followers' streams share.
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
    let (own, spawned) = (metrics.clone(), control.clone());
    let starter: Starter = Arc::new(move |source, beginning| start::start(source, beginning, &own, &spawned));
    start_with(
        config,
        metrics,
        clock,
        drain,
        control,
        Seams { jitter: Jitter::for_process(), starter, disk: Arc::new(RealDisk), alone: false },
    )
}

/// Starts the source of a hub.
pub(crate) type Starter = Arc<dyn Fn(&SourceConfig, Beginning) -> anyhow::Result<Commands> + Send + Sync>;

/// Where drills and tests put something else.
pub(crate) struct Seams {
    /// Where all jitter comes from.
    pub(crate) jitter: Jitter,
    /// Starts the source.
    pub(crate) starter: Starter,
    /// Where snapshots are.
    pub(crate) disk: Arc<dyn Disk>,
    /// Whether nothing is asked of the network beside the source: no sibling, and no probe of the API server.
    pub(crate) alone: bool,
}

/// The same with something else in some places.
pub(crate) fn start_with(
    config: HubConfig,
    metrics: &Arc<Metrics>,
    clock: &Arc<WallClock>,
    drain: &Drain,
    control: &Handle,
    seams: Seams,
) -> anyhow::Result<Running> {
    config.warn();
    let jitter = seams.jitter.fork();
    let readiness = Readiness::new(Monitor::UntilReady);
    let store = Store::new();
    let triggers = Arc::<Triggers>::default();
    let source = SourceConfig::ApiServer(config.access.clone());
    let keeper = keeper(&config, &source, seams.disk.clone(), clock, metrics, jitter.fork());
    let writer = Writer::new(store.clone(), keeper, config.wanted, config.limits, clock.clone(), metrics);
    let mut writer = writer.with_readiness(readiness.register(DATA)).with_triggers(triggers.clone());
    let resume = writer.boot();
    let lines = Arc::new(Lines::new(config.wanted.pods, config.history_bytes));
    // Before the source: what was loaded is where histories begin.
    let index = Index::new(store.clone(), triggers, lines.clone(), Arc::new(IndexMetrics::new(metrics)));

    let listeners = config.listen.iter().map(|address| bind(*address)).collect::<anyhow::Result<Vec<_>>>()?;
    let addresses: Vec<_> = listeners.iter().map(|listener| listener.local).collect();
    let mut admin = Admin::new(readiness.clone(), metrics.clone(), drain, control);
    let prepared = admin.prepare(&config.faces)?;
    admin.apply(prepared);

    let (name, commands, orders) = (name(), ToSource::default(), writer.control());
    let judged = (config.wanted.kinds(), config.limits);
    let family = Family::new(name.clone(), store.clone(), orders.clone(), commands.clone(), judged, metrics);
    let (roster, hubs) = (roster(&config, &addresses), watch::channel([].into()));
    let base = Base { config, addresses, name, store, commands, family, control: control.clone(), seams };
    // Certificates are read on the runtime that is entered.
    let meetings = Meetings::new(&base.config.trust, clock.clone(), metrics);
    // Invariant: who has not yet moved is told what happens until the end.
    let stop = drain.closing();
    let following = base.following(writer, meetings.clone(), clock, metrics);
    let writer = control.spawn(following.run(resume, stop.clone()));
    control.spawn(index.run(stop.clone()));
    control.spawn(roster.run(base.store.clone(), hubs.0, stop.clone()));
    base.meet(meetings, hubs.1.clone(), stop);
    let views = base.look(metrics, drain.draining());
    control.spawn(metrics.clone().run_upkeep(stop.clone()));

    let gate = Gate::new(base.config.transfers, GateMetrics::new(metrics));
    control.spawn(gate.clone().run(stop.clone()));
    let parts = Parts {
        store: base.store.clone(),
        lines,
        gate,
        hubs: hubs.1,
        family: base.family.clone(),
        drain: drain.clone(),
    };
    let serving = Serving::new(base.serving(), parts, ServeMetrics::new(metrics));
    let followers: Arc<dyn Tells> = serving.followers();
    let tells = [followers].into_iter().chain(views).collect();
    serve(listeners, &serving, &base.config.trust, clock, metrics, drain);
    let Base { config, addresses, name, store, commands, family, .. } = base;
    let operated = HubControl {
        name,
        began: Instant::now(),
        addresses: addresses.clone(),
        store: Ordered { zone: ZONE.to_owned(), source, snapshot: config.snapshot, control: orders },
        readiness,
        trust: config.trust,
        clock: clock.clone(),
        family,
        tells,
    };
    let faces = [Face::Health, Face::Ready, Face::Metrics].into_iter();
    let faces = faces.flat_map(|f| admin.addresses(f).map(move |a| (f, a)).collect::<Vec<_>>()).collect();
    Ok(Running {
        addresses,
        faces,
        store,
        commands,
        control: Arc::new(operated),
        writer,
        serving,
        _admin: admin,
    })
}

/// What most parts of a hub need.
struct Base {
    /// What is configured.
    config: HubConfig,
    /// Where followers are served.
    addresses: Vec<SocketAddr>,
    /// Its name, another one each time it starts.
    name: String,
    /// What it holds.
    store: Arc<Store>,
    /// To its source.
    commands: ToSource,
    /// Other hubs.
    family: Arc<Family>,
    /// Where all but the streams runs.
    control: Handle,
    /// Where drills and tests put something else.
    seams: Seams,
}

impl Base {
    /// The addresses that are our own, whoever names us by them.
    fn own(&self) -> Vec<SocketAddr> {
        self.config.advertise.iter().chain(&self.addresses).copied().collect()
    }

    /// What keeps the data up to date.
    fn following(
        &self,
        writer: Writer,
        meetings: Meetings,
        clock: &Arc<WallClock>,
        metrics: &Arc<Metrics>,
    ) -> Following {
        let (config, own) = (&self.config, self.own());
        Following {
            writer,
            store: self.store.clone(),
            source: SourceConfig::ApiServer(config.access.clone()),
            commands: self.commands.clone(),
            wanted: config.wanted,
            limits: config.limits,
            interval: config.interval,
            guard: config.guard,
            siblings: config
                .siblings
                .iter()
                .copied()
                .filter(|hub| !own.contains(hub) && !self.seams.alone)
                .collect(),
            starter: self.seams.starter.clone(),
            family: self.family.clone(),
            trust: config.trust.clone(),
            meetings,
            name: self.name.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            jitter: self.seams.jitter.fork(),
            control: self.control.clone(),
            look_again: LookAgain::default(),
        }
    }

    /// Goes round among the other hubs until `stop`.
    fn meet(&self, meetings: Meetings, hubs: watch::Receiver<Arc<[SocketAddr]>>, stop: &CancellationToken) {
        let (family, jitter) = (self.family.clone(), self.seams.jitter.fork());
        self.control.spawn(family.clone().run(stop.clone()));
        if self.seams.alone {
            return;
        }
        let rounds = Rounds { family, meetings, own: self.own(), hubs, jitter };
        self.control.spawn(rounds.run(stop.clone()));
    }

    /// Looks after the API server until `stop`. What people are told of that and of other hubs.
    fn look(&self, metrics: &Arc<Metrics>, stop: &CancellationToken) -> [Arc<dyn Tells>; 3] {
        let (probed, last) = (Arc::<Seen>::default(), Arc::new(Last::none(self.config.audit_interval)));
        let probe = Probe::new(self.config.access.clone(), metrics.clone());
        let jitter = self.seams.jitter.fork();
        if !self.seams.alone {
            self.control.spawn(keep_looking(probe, probed.clone(), metrics.clone(), jitter, stop.clone()));
        }
        let audit = Audit {
            interval: self.config.audit_interval,
            kinds: self.config.wanted.kinds(),
            limits: self.config.limits,
            store: self.store.clone(),
            source: self.commands.clone(),
            family: self.family.clone(),
            last: last.clone(),
            jitter: self.seams.jitter.fork(),
        };
        self.control.spawn(audit.run(metrics.clone(), stop.clone()));
        [self.family.clone(), probed, last]
    }

    /// What it says of itself.
    fn serving(&self) -> ServingConfig {
        ServingConfig {
            name: self.name.clone(),
            wanted: self.config.wanted,
            limits: self.config.limits,
            max_subscribers: self.config.max_subscribers,
            move_within: self.config.move_within,
            jitter: self.seams.jitter.fork(),
        }
    }
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
    disk: Arc<dyn Disk>,
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
        headless_only: false,
        interval: config.interval,
        max_stale: config.limits.max_stale,
    };
    Some(Keeper::open(keeper, disk, clock.clone(), jitter, metrics))
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
    pub(crate) fn door(&self) -> impl Fn(tokio::io::DuplexStream) + Send + Sync + use<> {
        let serving = self.serving.clone();
        move |io| super::serve::take(io, &serving)
    }

    /// Ends as SIGKILL does: nothing more is written.
    pub(crate) async fn crash(self, drain: &Drain) {
        self.writer.abort();
        let _ = self.writer.await;
        drain.forced().cancel();
    }
}
