//! Starting a plan, exchanging it for another while it runs, and running it to its end.
//!
//! * `sites`: the sockets, and who answers at each.
//! * `caches`: the caches on the disk.
//! * `stores`: the cluster's data, its writers and sources.
//! * `selections`: what selectors leave of it.
//!
//! Invariants of a reload:
//! * A configuration is taken over whole or not at all: whatever can fail is done before anything changes.
//! * No query is lost: each is answered by the plugins that were there when it came, on sockets that stay open.

mod caches;
pub mod selections;
mod sites;
mod stores;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::caches::Caches;
use self::sites::Sites;
use self::stores::Stores;
use super::carried::Carried;
use super::cluster_dns::{self, ClusterDns, Sought};
use super::control::NodeControl;
use super::control::shown::Shown;
use super::control::top::TopReport;
use super::listen::Live;
use super::pins::Pins;
use super::pins::keep::{PinKeeper, Place};
use super::selfcheck;
use super::setup::{Environment, Plan, Process, ReloadEvery};
use super::task::{Scope, Start};
use crate::ops::admin::{Admin, Face};
use crate::ops::clock::WallClock;
use crate::ops::dns_metrics::{PluginUse, set_plugins_enabled};
use crate::ops::drain::Drain;
use crate::ops::metrics::Metrics;
use crate::ops::pulse::Pulses;
use crate::ops::readiness::Readiness;
use crate::snapshot::disk::RealDisk;

/// A node whose sockets are bound and answer.
pub struct Running {
    /// Where DNS is answered, in the order of the plan.
    pub dns: Vec<SocketAddr>,
    /// Where `/health`, `/ready` and `/metrics` are served.
    pub faces: Vec<(Face, SocketAddr)>,
    /// How often to look for a changed Corefile; `None` for never.
    pub reload: Option<ReloadEvery>,
    /// Whether detailed logs are asked for.
    pub debug: bool,
    /// How long to go on answering after SIGTERM, as the configuration has it.
    lameduck: Lameduck,
    /// The sockets.
    sites: Sites,
    /// The cluster's data.
    stores: Stores,
    /// What keeps caches on the disk.
    caches: Caches,
    /// What operators have pinned.
    pins: Arc<PinKeeper>,
    /// The administration.
    admin: Admin,
    /// What `/ready` waits for.
    readiness: Readiness,
    /// Ends what the configuration does beside the queries.
    tasks: CancellationToken,
    /// What is measured.
    metrics: Arc<Metrics>,
    /// What outlives a configuration.
    carried: Arc<Carried>,
    /// Says when to stop.
    drain: Drain,
    /// The node's name.
    name: String,
    /// What operators see of it.
    shown: Arc<ArcSwap<Shown>>,
    /// Where queries are answered.
    data: Handle,
    /// Unix time.
    clock: Arc<WallClock>,
}

/// Why a configuration was not taken over. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Something that it cannot do without is not there yet; the next try may find it.
    #[error("{0}")]
    NotYet(String),
    /// It asks for what cannot be done.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

/// How long to go on answering after SIGTERM; clones share it, and a reload may change it.
#[derive(Clone, Debug, Default)]
pub struct Lameduck(Arc<Mutex<Duration>>);

impl Lameduck {
    /// What it is now.
    pub fn get(&self) -> Duration {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, lameduck: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = lameduck;
    }
}

/// Starts a plan: loads snapshots, binds sockets, and only then starts the sources.
///
/// `data` runs listeners and forwards, `control` everything that must not hold them up. Has to be called
/// within `data`.
///
/// # Errors
/// An address that cannot be bound, or a thread that the system does not give.
pub fn start(
    plan: Plan,
    environment: &Environment,
    drain: &Drain,
    control: &Handle,
) -> anyhow::Result<Running> {
    let metrics = &environment.metrics;
    let Plan { servers, mut process, enabled } = plan;
    let readiness = Readiness::new(process.monitor);
    let mut stores = Stores::new(environment, readiness.clone(), drain, control);
    let mut caches = Caches::new(environment, drain, control);
    let admin = Admin::new(readiness.clone(), metrics.clone(), drain, control);
    let mut admin = admin.sharing(environment.ownership.clone());

    // Invariant: answers come from the disk before there is any network.
    let kept = caches.boot(caches.wanted(&process.caches, &process.stores));
    let wanted = std::mem::take(&mut process.stores);
    let first = wanted.iter().find_map(|(config, _)| config.snapshot.clone());
    let booted = wanted.into_iter().map(|(config, store)| stores.boot(config, store)).collect();
    // After these: a snapshot knows how late it is at least.
    let place = Place {
        dir: first.or_else(|| environment.overrides.snapshot.clone()),
        disk: Arc::new(RealDisk),
        clock: environment.clock.clone(),
        ownership: environment.ownership.clone(),
    };
    let pins = PinKeeper::boot(Pins::new(metrics), place, metrics);
    let mut sites = Sites::new(metrics, pins.pins().clone(), drain);
    let faces = admin.prepare(&process.faces)?;
    // Last: the kernel gives packets to a new socket of a shared address at once, and closing it would lose them.
    let prepared = sites.prepare(servers)?;
    sites.apply(prepared);
    admin.apply(faces);
    stores.begin_all(booted)?;
    caches.begin(kept);
    control.spawn(pins.clone().run(drain.closing().clone()));
    control.spawn(metrics.clone().run_upkeep(drain.closing().clone()));

    let mut running = Running {
        dns: Vec::new(),
        faces: Vec::new(),
        reload: None,
        debug: false,
        lameduck: Lameduck::default(),
        sites,
        stores,
        caches,
        pins,
        admin,
        readiness,
        tasks: CancellationToken::new(),
        metrics: metrics.clone(),
        carried: environment.carried.clone(),
        drain: drain.clone(),
        name: environment.node_name.clone(),
        shown: Arc::default(),
        data: Handle::current(),
        clock: environment.clock.clone(),
    };
    running.taken_over(process, &enabled);
    running.check_answers();
    Ok(running)
}

impl Running {
    /// Takes over another configuration: what both have goes on untouched, what is new is begun, what is left out
    /// ends, and no query is lost. Has to be called within the runtime that answers.
    ///
    /// # Errors
    /// What the configuration cannot have; everything is as it was then.
    pub async fn reload(&mut self, plan: Plan) -> Result<(), ReloadError> {
        let Plan { servers, mut process, enabled } = plan;
        // What may take its time comes first: until the end everything is as it was.
        let kept = self.caches.wanted(&process.caches, &process.stores);
        let keepers = self.caches.prepare(&kept).await?;
        let stores = self.stores.prepare(std::mem::take(&mut process.stores)).await?;
        if let Some(why) = selections::refusal(&self.shown.load().selections, &process.selections) {
            return Err(ReloadError::Failed(anyhow::Error::msg(why)));
        }
        let faces = self.admin.prepare(&process.faces).map_err(anyhow::Error::from)?;
        // Last: the kernel gives packets to a new socket of a shared address at once, and closing it would lose them.
        let sites = self.sites.prepare(servers)?;
        // Nothing fails from here on.
        self.sites.apply(sites);
        self.admin.apply(faces);
        self.stores.apply(stores).await;
        self.caches.apply(&kept, keepers);
        self.readiness.set_monitor(process.monitor);
        let before = (self.dns.clone(), self.faces.clone());
        self.taken_over(process, &enabled);
        self.report(&before.0, &before.1);
        Ok(())
    }

    /// Says where DNS is answered and the faces are, but for what was there before; and what no longer is.
    pub fn report(&self, dns: &[SocketAddr], faces: &[(Face, SocketAddr)]) {
        for address in self.dns.iter().filter(|address| !dns.contains(address)) {
            tracing::info!(%address, "answering dns");
        }
        for address in dns.iter().filter(|address| !self.dns.contains(address)) {
            tracing::info!(%address, "no longer answering dns");
        }
        for (face, address) in self.faces.iter().filter(|face| !faces.contains(face)) {
            tracing::info!(%address, "serving {}", face.path());
        }
        for (face, address) in faces.iter().filter(|face| !self.faces.contains(face)) {
            tracing::info!(%address, "no longer serving {}", face.path());
        }
    }

    /// What follows from a configuration once it answers.
    fn taken_over(&mut self, process: Process, enabled: &[(String, String, &'static str)]) {
        let Process {
            faces: _,
            lameduck,
            monitor: _,
            debug,
            runtime_metrics,
            stores: _,
            caches: _,
            running: _,
            selections,
            reload,
            tasks,
            warnings: _,
        } = process;
        self.lameduck.set(lameduck);
        (self.reload, self.debug) = (reload, debug);
        let listeners = self.sites.addresses();
        self.dns = listeners.iter().map(|(_, address)| *address).collect();
        let faces = [Face::Health, Face::Ready, Face::Metrics].into_iter();
        self.faces =
            faces.flat_map(|f| self.admin.addresses(f).map(move |a| (f, a)).collect::<Vec<_>>()).collect();
        let (stores, live) = (self.stores.shown(), self.sites.listeners());
        self.shown.store(Arc::new(Shown { stores, selections, listeners: live, sites: listeners.clone() }));
        self.begin(tasks, listeners);
        let enabled: Vec<_> =
            enabled.iter().map(|(server, zone, name)| PluginUse { server, zone, view: "", name }).collect();
        set_plugins_enabled(&self.metrics, &enabled);
        let runtimes = if runtime_metrics { vec![Handle::current()] } else { Vec::new() };
        self.metrics.watch_runtimes(&runtimes);
        self.carried.set_stores(self.stores.running());
        self.carried.commit();
    }

    /// Is ready only once it answers as the data says that it was started with.
    fn check_answers(&self) {
        if selfcheck::is_needed(&self.shown.load()) {
            let part = self.readiness.register(selfcheck::PART);
            self.data.spawn(selfcheck::run(self.shown.clone(), part, self.drain.draining().clone()));
        }
    }

    /// Ends what the configuration before did beside the queries, and begins this one's.
    fn begin(&mut self, tasks: Vec<Start>, listeners: Vec<(String, SocketAddr)>) {
        let stop = self.drain.draining().child_token();
        std::mem::replace(&mut self.tasks, stop.clone()).cancel();
        let scope = Scope { stop, listeners };
        tasks.into_iter().for_each(|start| start(&scope));
    }

    /// Looks on `control` for the cluster's own DNS in all data that there is, whatever is reloaded, until nobody listens.
    pub fn follow_cluster_dns(&self, sought: Sought, control: &Handle) -> watch::Receiver<Arc<ClusterDns>> {
        let (say, found) = watch::channel(Arc::default());
        control.spawn(cluster_dns::follow(self.shown.clone(), sought, say));
        found
    }

    /// Whether everything is ready.
    pub const fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Signs of life of all listeners, also of those that a reload begins.
    pub fn pulses(&self) -> &Pulses {
        self.sites.pulses()
    }

    /// Who answers at each address, each once, in the order of the plan.
    pub fn listeners(&self) -> Vec<Arc<Live>> {
        self.sites.listeners()
    }

    /// How long to go on answering after SIGTERM, as the configuration has it when it comes.
    pub fn lameduck(&self) -> Lameduck {
        self.lameduck.clone()
    }

    /// What carries out an operator's commands, whatever is reloaded meanwhile.
    pub fn control(&self) -> NodeControl {
        let (shown, readiness) = (self.shown.clone(), self.readiness.clone());
        let (pulses, data) = (self.pulses().clone(), self.data.clone());
        let control = NodeControl::new(self.name.clone(), shown, readiness, pulses, data, self.clock.clone());
        let top = TopReport::new(self.sites.top().clone(), self.metrics.clone());
        control.pinning(self.pins.clone()).watching(top)
    }

    /// Stops the sources and waits until the last snapshots are written.
    pub async fn stop(self) {
        futures_util::future::join(self.stores.stop(), self.caches.stop()).await;
    }
}
