//! `outlast node`: serve DNS.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;

use super::config::ConfigArgs;
use super::control::ControlAt;
use super::net::NetArgs;
use super::page::{NODE_ADDRESS, StatusAt};
use super::process::{Control, LAST_LINES, LAST_SNAPSHOT, Standing, end_with_drill, raise_descriptors};
use crate::net::start::{Net, Prepared, Surveyed};
use crate::node::listen::bind::BindError;
use crate::node::reload::Reloader;
use crate::node::running;
use crate::node::setup::{Environment, Plan, plan};
use crate::ops::control::NODE_SOCKET;
use crate::ops::control::section::Tells;
use crate::ops::drain::{Drain, Ended, Limits, WITHDRAW_LIMIT, listen_for_signals};
use crate::ops::jitter::Jitter;
use crate::ops::metrics::{BuildInfo, Metrics};
use crate::ops::notify::Notify;
use crate::ops::pulse::STUCK;
use crate::ops::switches;
use crate::ops::telemetry::{self, InitError, LogFormat, Telemetry};
use crate::snapshot::atomic;
use crate::snapshot::disk::{DiskError, RealDisk};

/// Most threads that answer queries: a node's DNS must leave the node to its pods.
const MAX_THREADS: usize = 4;

/// Arguments of `outlast node`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  outlast node --conf Corefile
  outlast node --conf Corefile --snapshot /var/lib/outlast --source apiserver
  outlast node --conf Corefile --snapshot /var/lib/outlast --source file:cluster.json
  kubectl get ns,svc,endpointslices,pods -A -o json > cluster.json

A flag is ahead of its environment variable, and both are ahead of the Corefile.")]
pub(super) struct Args {
    /// What to serve.
    #[command(flatten)]
    config: ConfigArgs,
    /// Which queries to answer instead of the cluster's DNS.
    #[command(flatten)]
    net: NetArgs,
    /// Form of the log: text or json
    #[arg(long, env = "OUTLAST_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    log_format: LogFormat,
    /// Write the process id there once DNS is answered
    #[arg(long, value_name = "FILE")]
    pidfile: Option<PathBuf>,
    /// Unix socket for outlast ctl: an absolute path, or off
    #[arg(long, env = "OUTLAST_CONTROL", default_value = NODE_SOCKET, value_name = "PATH")]
    control: ControlAt,
    /// Where the status page is served, on loopback only, or off
    #[arg(long, env = "OUTLAST_STATUS_ADDRESS", default_value = NODE_ADDRESS, value_name = "ADDRESS")]
    status_address: StatusAt,
    /// Do not print what is listened on
    #[arg(long)]
    quiet: bool,
}

/// Serves until a signal ends it.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let telemetry = match telemetry::init(args.log_format) {
        Err(error @ InitError::Filter { .. }) => return Ok(super::wrong(&error)),
        other => other?,
    };
    // Standard error has the last word.
    let wrong = |error: &dyn std::fmt::Display| {
        telemetry.flush(LAST_LINES);
        Ok(super::wrong(error))
    };
    let notify = match Notify::from_environment() {
        Ok(notify) => notify,
        Err(error) => return wrong(&error),
    };
    let metrics = Arc::new(Metrics::new());
    metrics.set_build_info(BuildInfo::CURRENT);
    switches::begin(&metrics);
    end_with_drill();
    // Before the configuration is read, which names these addresses.
    let (addresses, surveyed) = match args.net.look(args.config.dns_port, args.config.upstream_service()) {
        Ok(looked) => looked,
        Err(error) => return wrong(&error),
    };
    let text = match args.config.text(&addresses.local, &metrics) {
        Ok(text) => text,
        Err(error) => return wrong(&error),
    };
    match args.config.hubs_unknown() {
        Ok(Some(warning)) => tracing::warn!("{warning}"),
        Ok(None) => {}
        Err(error) => return wrong(&error),
    }
    let mut environment = args.config.environment(metrics);
    addresses.tell(&mut environment.overrides);
    let planned = text.start().and_then(|corefile| {
        for warning in &corefile.warnings {
            tracing::warn!("{} - {}", warning.position, warning.text);
        }
        let plan = plan(&corefile, &environment)?;
        Ok((corefile, plan))
    });
    let (corefile, plan) = match planned {
        Ok(planned) => planned,
        Err(error) => return wrong(&error),
    };
    telemetry.debug_switch().set(plan.process.debug);
    // Standard output is the log's, and a log of JSON has nothing else in it.
    let silent = args.quiet || args.log_format == LogFormat::Json;
    let banner = if silent { Vec::new() } else { banner(&plan) };
    let told = Told { telemetry: &telemetry, banner, notify };
    // Before sockets are bound to its addresses.
    let prepare = |surveyed: Surveyed| surveyed.prepare(plan.longest_idle(), &environment.metrics);
    let prepared = match surveyed.map(prepare).transpose() {
        Ok(prepared) => prepared,
        Err(error) => return wrong(&error),
    };
    if let Some(prepared) = &prepared {
        environment.ownership = prepared.ownership();
    }
    let (environment, intercepts) = (Arc::new(environment), prepared.is_some());
    let load = text.reload();
    let debug = telemetry.debug_switch().clone();
    let reloader = Reloader::new(load, &corefile, environment.clone(), Some(debug), Jitter::for_process());
    drop(corefile);
    let result = serve(plan, &environment, reloader, prepared, told, &args);
    telemetry.flush(LAST_LINES);
    match result {
        // Addresses that only this process has put there are somebody else's already: it is told the wrong ones, or
        // runs as another user than the one that it is to follow.
        Err(error) if intercepts && error.downcast_ref().is_some_and(BindError::is_in_use) => {
            Ok(super::wrong(&format_args!("{error:#}")))
        }
        result => result,
    }
}

/// What CoreDNS prints at start.
fn banner(plan: &Plan) -> Vec<String> {
    let listeners = plan.servers.iter().flat_map(|s| s.banner.iter().cloned());
    listeners.chain([format!("outlast-{}", BuildInfo::CURRENT.version), super::platform()]).collect()
}

/// What others are told by.
struct Told<'a> {
    /// The log.
    telemetry: &'a Telemetry,
    /// The first lines on standard output.
    banner: Vec<String>,
    /// Whoever supervises the process.
    notify: Notify,
}

fn serve(
    plan: Plan,
    environment: &Environment,
    reloader: Reloader,
    prepared: Option<Prepared>,
    told: Told<'_>,
    args: &Args,
) -> anyhow::Result<ExitCode> {
    raise_descriptors();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let data = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("outlast-data")
        .enable_all()
        .build()
        .context("starting the runtime that answers")?;
    let control = Control::start(Standing::GivesWay).context("starting the runtime for everything else")?;
    environment.metrics.tell_tasks_of(&[("data", data.handle()), ("control", control.handle())]);
    let ended = data.block_on(async {
        // Before anything answers, so that no signal is missed.
        let signals = listen_for_signals().context("listening for signals")?;
        let drain = Drain::new();
        let mut running = running::start(plan, environment, &drain, control.handle())?;
        for line in &told.banner {
            super::say(line);
        }
        running.report(&[], &[]);
        let _pidfile = args.pidfile.as_deref().map(Pidfile::write).transpose()?;
        let begin = |prepared| args.net.begin(prepared, &running, &drain, control.handle());
        let net = prepared.map(begin).transpose()?;
        let tells = net.iter().map(|net| net.report() as Arc<dyn Tells>);
        let handler = Arc::new(running.control().telling(tells));
        args.status_address.serve(handler.clone(), &drain, control.handle());
        let stop = drain.closing().clone();
        let socket = args.control.serve(handler, &environment.metrics, stop, control.handle());
        let lameduck = running.lameduck();
        let rules = net.as_ref().map_or(WITHDRAW_LIMIT, Net::limit);
        let limits = || Limits { withdraw: rules, ..Limits::with_lameduck(lameduck.get()) };
        let pulses = running.pulses().clone();
        let status = format!("answering at {} addresses", running.dns.len());
        let alive = move || pulses.silent(STUCK).is_none();
        tokio::spawn(told.notify.follow(status, alive, drain.draining().clone()));
        // The second ends when the first begins to.
        let (ended, ()) = tokio::join!(drain.run(signals, limits), reloader.run(&mut running, &drain));
        let claim = match net {
            Some(net) => net.finish(rules).await,
            None => None,
        };
        if tokio::time::timeout(LAST_SNAPSHOT, running.stop()).await.is_err() {
            tracing::warn!(limit = ?LAST_SNAPSHOT, "last snapshot not written in time");
        }
        // Nothing that processes of the node share is written any more.
        drop(claim);
        // What it could not do in time, the next process puts right.
        let _ = tokio::time::timeout(LAST_LINES, socket).await;
        anyhow::Ok(ended)
    });
    // Tasks that still wait for an upstream or a client are not waited for.
    data.shutdown_background();
    drop(control);
    let dropped = told.telemetry.dropped_lines();
    if dropped > 0 {
        tracing::warn!(dropped, "log lines were dropped");
    }
    let ended = ended?;
    if let Ended::Drained = ended {
        tracing::info!("stopped");
    }
    Ok(ExitCode::from(ended.exit_code()))
}

/// A pidfile that was written; one that was not may be another process's, and is left alone.
struct Pidfile<'a>(&'a Path);

impl<'a> Pidfile<'a> {
    fn write(path: &'a Path) -> anyhow::Result<Self> {
        let written = atomic::replace(&RealDisk, path, |to| {
            writeln!(to, "{}", std::process::id()).map_err(DiskError::at("writing", path))
        });
        written.with_context(|| format!("writing pidfile {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Pidfile<'_> {
    fn drop(&mut self) {
        // It names a process that is gone in a moment.
        let _ = std::fs::remove_file(self.0);
    }
}
