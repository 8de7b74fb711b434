//! Starting a plan and running it to its end.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, Sender};
use tokio_util::sync::CancellationToken;

use super::listen::Shared;
use super::listen::bind::{self, Sockets};
use super::listen::tcp::TcpListener;
use super::listen::udp::UdpListener;
use super::router::Router;
use super::setup::{Environment, Plan, ServerPlan, StoreConfig};
use super::store::Store;
use super::store::keeper::{Keeper, KeeperConfig};
use super::store::writer::Writer;
use super::task::Scope;
use crate::ops::admin::{Admin, Face};
use crate::ops::catalogue;
use crate::ops::dns_metrics::{PluginUse, ServerMetrics, set_plugins_enabled};
use crate::ops::drain::Drain;
use crate::ops::jitter::Jitter;
use crate::ops::readiness::Readiness;
use crate::snapshot::disk::RealDisk;
use crate::source::apiserver::ApiServerSource;
use crate::source::file::FileSource;
use crate::source::{Resume, SourceConfig, UPDATE_QUEUE, Update};

/// A node whose sockets are bound and answer.
pub struct Running {
    /// Where DNS is answered, in the order of the plan.
    pub dns: Vec<SocketAddr>,
    /// Where `/health`, `/ready` and `/metrics` are served.
    pub faces: Vec<(Face, SocketAddr)>,
    /// Stops the sources, and has the last snapshots written.
    sources: CancellationToken,
    /// Ends once the last snapshots are written.
    writers: tokio_util::task::TaskTracker,
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
    let Plan { servers, process, enabled } = plan;
    let readiness = Readiness::new(process.monitor);
    let jitter = Jitter::for_process();

    // Invariant: answers come from the disk before there is any network.
    let mut writers = Vec::new();
    for (config, store) in process.stores {
        let mut writer = writer(&config, store, environment, &jitter);
        if config.watched {
            writer = writer.with_readiness(readiness.register(super::plugins::kubernetes::NAME));
        }
        let resume = writer.boot();
        writers.push((config, writer, resume));
    }

    let shared = Shared::new(metrics);
    let mut bound = Vec::new();
    for server in servers {
        bound.push(open(server, environment)?);
    }
    let admin = {
        let _control = control.enter();
        Admin::bind(&process.faces, readiness, metrics.clone())?
    };
    let faces = [Face::Health, Face::Ready, Face::Metrics]
        .into_iter()
        .flat_map(|face| admin.addresses(face).map(move |address| (face, address)).collect::<Vec<_>>())
        .collect();

    let (mut dns, mut listeners) = (Vec::new(), Vec::new());
    for (router, sockets) in bound {
        for Sockets { address, udp, tcp } in sockets {
            dns.push(address);
            listeners.push((router.identity().to_owned(), address));
            for socket in udp {
                let udp = UdpListener::new(socket, address, router.clone(), shared.clone())?;
                drain.spawn(udp.run(drain.closing().clone()));
            }
            let tcp = TcpListener::new(tcp, address, router.clone(), shared.clone())?;
            drain.spawn(tcp.run(drain.closing().clone()));
        }
    }
    let closing = drain.closing().clone();
    drain.spawn(async move {
        closing.cancelled().await;
        shared.idle().await;
    });
    let scope = Scope { stop: drain.draining().child_token(), listeners };
    for start in process.tasks {
        start(&scope);
    }

    let enabled: Vec<_> =
        enabled.iter().map(|(server, zone, name)| PluginUse { server, zone, view: "", name }).collect();
    set_plugins_enabled(metrics, &enabled);
    if process.runtime_metrics {
        metrics.watch_runtime(&Handle::current());
    }

    let sources = drain.draining().child_token();
    let tracker = tokio_util::task::TaskTracker::new();
    let serving = drain.clone();
    control.spawn(drain.track(admin.serve(serving)));
    control.spawn(metrics.clone().run_upkeep(drain.closing().clone()));
    for (config, writer, resume) in writers {
        let (updates, queue) = mpsc::channel(UPDATE_QUEUE);
        start_source(&config, resume, updates, &sources, environment, control)?;
        control.spawn(tracker.track_future(writer.run(queue, sources.clone())));
    }
    tracker.close();
    Ok(Running { dns, faces, sources, writers: tracker })
}

impl Running {
    /// Stops the sources and waits until the last snapshots are written.
    pub async fn stop(self) {
        self.sources.cancel();
        self.writers.wait().await;
    }
}

/// Starts the source of a store; it ends with `stop`.
fn start_source(
    config: &StoreConfig,
    resume: Resume,
    updates: Sender<Update>,
    stop: &CancellationToken,
    environment: &Environment,
    control: &Handle,
) -> anyhow::Result<()> {
    let (metrics, wanted, stop) = (environment.metrics.clone(), config.wanted, stop.clone());
    match &config.source {
        SourceConfig::File(path) => {
            control.spawn(FileSource::new(path, wanted, metrics).run(updates, stop));
            Ok(())
        }
        SourceConfig::ApiServer(access) => {
            let source = ApiServerSource::new(access.clone(), wanted, resume, metrics);
            let run = stop.clone();
            run_apart(stop, move || source.run(updates, run))
        }
    }
}

/// Runs a source on a thread of its own until `stop`: what it decodes holds up neither answers nor `/health`.
///
/// Nobody waits for the thread: a source holds nothing half done, and what it has started (a look-up of a name, a
/// read of a file) may hang for as long as it likes.
fn run_apart<F: Future<Output = ()>>(
    stop: CancellationToken,
    source: impl FnOnce() -> F + Send + 'static,
) -> anyhow::Result<()> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().context("starting a runtime for the source")?;
    // In tests the log belongs to a thread.
    let log = tracing::dispatcher::get_default(Clone::clone);
    let run = move || {
        tracing::dispatcher::with_default(&log, || runtime.block_on(stop.run_until_cancelled(source())));
        runtime.shutdown_background();
    };
    std::thread::Builder::new()
        .name("source".to_owned())
        .spawn(run)
        .context("starting a thread for the source")?;
    Ok(())
}

/// The writer of a store, with its keeper if there is a folder.
fn writer(config: &StoreConfig, store: Arc<Store>, environment: &Environment, jitter: &Jitter) -> Writer {
    let metrics = &environment.metrics;
    let keeper = config.snapshot.as_ref().map(|dir| {
        let keeper = KeeperConfig {
            dir: dir.clone(),
            zone: config.zone.clone(),
            source: config.source.to_string(),
            labels: config.wanted.labels,
            interval: config.interval,
            max_stale: config.limits.max_stale,
        };
        Keeper::open(keeper, Arc::new(RealDisk), environment.clock.clone(), jitter.fork(), metrics)
    });
    if keeper.is_none() {
        tracing::warn!(source = %config.source,
            "no snapshot folder is configured: memory only, a restart without the source will have no data \
             (set 'snapshot DIR', --snapshot or OUTLAST_SNAPSHOT)");
    }
    Writer::new(store, keeper, config.wanted, config.limits, environment.clock.clone(), metrics)
}

/// Binds the addresses of a listener.
fn open(server: ServerPlan, environment: &Environment) -> anyhow::Result<(Arc<Router>, Vec<Sockets>)> {
    let metrics = &environment.metrics;
    let ServerPlan { identity, addresses, routes, counted, banner: _ } = server;
    let server_metrics = Arc::new(ServerMetrics::new(metrics, &identity, &counted));
    let panics = metrics.counter(catalogue::PANICS, &[]);
    let mut sockets = Vec::new();
    for address in &addresses {
        match bind::open(*address) {
            Ok(opened) => sockets.push(opened),
            // A host without IPv6 is no reason not to serve IPv4.
            Err(error) if address.ip().is_unspecified() && address.is_ipv6() && !sockets.is_empty() => {
                tracing::warn!(%error, "listening on IPv4 only");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok((Router::new(identity, routes, server_metrics, panics), sockets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_source_apart_ends_with_its_stop_whatever_it_waits_for() {
        let stop = CancellationToken::new();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (alive, mut ended) = mpsc::channel::<()>(1);
        let (_held, hangs) = std::sync::mpsc::channel::<()>();
        run_apart(stop.clone(), move || async move {
            let _alive = alive;
            let name = std::thread::current().name().map(str::to_owned);
            begun.send(name).expect("the test waits for it");
            // As a look-up of a name may.
            let _ = tokio::task::spawn_blocking(move || hangs.recv()).await;
        })
        .expect("the system has a thread left");
        assert_eq!(has_begun.await.expect("it runs").as_deref(), Some("source"));
        assert!(ended.try_recv().is_err(), "it still runs");
        stop.cancel();
        assert_eq!(ended.recv().await, None, "it was dropped");
    }
}
