//! `outlast node`: serve DNS.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::corefile::{self, Corefile, LoadOptions};
use crate::node::running::{self, Running};
use crate::node::setup::{Environment, Overrides, Plan, directive_names, plan};
use crate::ops::admin::Face;
use crate::ops::clock::WallClock;
use crate::ops::drain::{Drain, Ended, Limits, listen_for_signals};
use crate::ops::metrics::{BuildInfo, Metrics};
use crate::ops::telemetry::{self, InitError, LogFormat, Telemetry};
use crate::snapshot::atomic;
use crate::snapshot::disk::{DiskError, RealDisk};
use crate::source::SourceConfig;

/// Most threads that answer queries: a node's DNS must leave the node to its pods.
const MAX_THREADS: usize = 4;

/// How long the last snapshot may take at the end.
const LAST_SNAPSHOT: Duration = Duration::from_secs(10);

/// How long the last log lines may take.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Arguments of `outlast node`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  outlast node --conf Corefile
  outlast node --conf Corefile --source file:cluster.yaml --snapshot /var/lib/outlast
  kubectl get ns,svc,endpointslices,pods -A -o json > cluster.json

A flag is ahead of its environment variable, and both are ahead of the Corefile.")]
pub(super) struct Args {
    /// The Corefile, or `stdin`
    #[arg(long, default_value = "Corefile", value_name = "FILE")]
    conf: PathBuf,
    /// Port of server blocks that name none
    #[arg(long, default_value_t = 53, value_name = "PORT")]
    dns_port: u16,
    /// Where the cluster's objects come from: file:PATH
    #[arg(long, env = "OUTLAST_SOURCE", value_name = "SOURCE")]
    source: Option<SourceConfig>,
    /// Folder of the snapshots that answers survive in
    #[arg(long, env = "OUTLAST_SNAPSHOT", value_name = "DIR")]
    snapshot: Option<PathBuf>,
    /// Time between two snapshots of changed data, 1s to 1h [default: 60s]
    #[arg(long, env = "OUTLAST_SNAPSHOT_INTERVAL", value_name = "DURATION", value_parser = snapshot_interval)]
    snapshot_interval: Option<Duration>,
    /// Data not proved for this long is stale [default: 30s]
    #[arg(long, env = "OUTLAST_STALE_AFTER", value_name = "DURATION", value_parser = duration)]
    stale_after: Option<Duration>,
    /// Data older than this is not served any more [default: no limit]
    #[arg(long, env = "OUTLAST_MAX_STALE", value_name = "DURATION", value_parser = duration)]
    max_stale: Option<Duration>,
    /// Name of this node, for the jitter of TTLs [default: the host's name]
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    node_name: Option<String>,
    /// Form of the log: text or json
    #[arg(long, env = "OUTLAST_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    log_format: LogFormat,
    /// Write the process id there once DNS is answered
    #[arg(long, value_name = "FILE")]
    pidfile: Option<PathBuf>,
    /// Do not print what is listened on
    #[arg(long)]
    quiet: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    corefile::parse_duration(text)
}

fn snapshot_interval(text: &str) -> Result<Duration, String> {
    use crate::snapshot::schedule::{MAX_INTERVAL, MIN_INTERVAL};
    let interval = duration(text)?;
    let allowed = MIN_INTERVAL..=MAX_INTERVAL;
    if allowed.contains(&interval) { Ok(interval) } else { Err("write a duration from 1s to 1h".to_owned()) }
}

/// What plugins are set up with.
pub(super) fn environment(
    metrics: Arc<Metrics>,
    overrides: Overrides,
    node_name: Option<String>,
) -> Environment {
    let host = || nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    Environment {
        metrics,
        clock: Arc::new(WallClock::new(0)),
        node_name: node_name.or_else(host).unwrap_or_default(),
        overrides,
        own_addresses: None,
    }
}

/// Reads a Corefile; directives have to be plugins that are known by name.
pub(super) fn load(path: &Path, default_port: u16) -> Result<Corefile, corefile::Error> {
    let names = directive_names();
    corefile::load(path, &LoadOptions { default_port, directives: Some(&names), ..LoadOptions::default() })
}

/// Serves until a signal ends it.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let telemetry = match telemetry::init(args.log_format) {
        Err(error @ InitError::Filter { .. }) => return Ok(super::wrong(&error)),
        other => other?,
    };
    let overrides = Overrides {
        source: args.source,
        snapshot: args.snapshot,
        snapshot_interval: args.snapshot_interval,
        stale_after: args.stale_after,
        max_stale: args.max_stale,
    };
    let metrics = Arc::new(Metrics::new());
    metrics.set_build_info(BuildInfo::CURRENT);
    let environment = environment(metrics, overrides, args.node_name);
    let planned = load(&args.conf, args.dns_port).and_then(|corefile| {
        for warning in &corefile.warnings {
            tracing::warn!("{} - {}", warning.position, warning.text);
        }
        plan(&corefile, &environment)
    });
    let plan = match planned {
        Ok(plan) => plan,
        Err(error) => {
            telemetry.flush(LAST_LINES);
            return Ok(super::wrong(&error));
        }
    };
    telemetry.debug_switch().set(plan.process.debug);
    // Standard output is the log's, and a log of JSON has nothing else in it.
    let silent = args.quiet || args.log_format == LogFormat::Json;
    let banner = if silent { Vec::new() } else { banner(&plan) };
    let result = serve(plan, &environment, &telemetry, &banner, args.pidfile.as_deref());
    telemetry.flush(LAST_LINES);
    result
}

/// What CoreDNS prints at start.
fn banner(plan: &Plan) -> Vec<String> {
    let BuildInfo { version, revision, toolchain } = BuildInfo::CURRENT;
    let listeners = plan.servers.iter().flat_map(|s| s.banner.iter().cloned());
    let platform = format!("{}/{}, {toolchain}, {revision}", std::env::consts::OS, std::env::consts::ARCH);
    listeners.chain([format!("outlast-{version}"), platform]).collect()
}

fn serve(
    plan: Plan,
    environment: &Environment,
    telemetry: &Telemetry,
    banner: &[String],
    pidfile: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let data = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("outlast-data")
        .enable_all()
        .build()
        .context("starting the runtime that answers")?;
    let control = Control::start().context("starting the runtime for everything else")?;
    let limits = Limits::with_lameduck(plan.process.lameduck);
    let ended = data.block_on(async {
        // Before anything answers, so that no signal is missed.
        let signals = listen_for_signals().context("listening for signals")?;
        let drain = Drain::new();
        let running = running::start(plan, environment, &drain, control.handle())?;
        for line in banner {
            println!("{line}");
        }
        report(&running);
        let _pidfile = pidfile.map(Pidfile::write).transpose()?;
        let ended = drain.run(signals, limits).await;
        if tokio::time::timeout(LAST_SNAPSHOT, running.stop()).await.is_err() {
            tracing::warn!(limit = ?LAST_SNAPSHOT, "last snapshot not written in time");
        }
        anyhow::Ok(ended)
    });
    // Tasks that still wait for an upstream or a client are not waited for.
    data.shutdown_background();
    drop(control);
    let dropped = telemetry.dropped_lines();
    if dropped > 0 {
        tracing::warn!(dropped, "log lines were dropped");
    }
    let ended = ended?;
    if let Ended::Drained = ended {
        tracing::info!("stopped");
    }
    Ok(ExitCode::from(ended.exit_code()))
}

fn report(running: &Running) {
    for address in &running.dns {
        tracing::info!(%address, "answering dns");
    }
    for (face, address) in &running.faces {
        let what = match face {
            Face::Health => "health",
            Face::Ready => "ready",
            Face::Metrics => "metrics",
        };
        tracing::info!(%address, "serving /{what}");
    }
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

/// The runtime for sources, stores, snapshots and administration: one thread of its own, so that nothing of
/// it ever holds up an answer.
struct Control {
    /// To spawn on it.
    handle: tokio::runtime::Handle,
    /// Ends it.
    stop: CancellationToken,
    /// Its thread.
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Control {
    fn start() -> std::io::Result<Self> {
        let runtime: Runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let run = move || {
            runtime.block_on(stopped.cancelled());
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("outlast-control".to_owned()).spawn(run)?;
        Ok(Self { handle, stop, thread: Some(thread) })
    }

    const fn handle(&self) -> &tokio::runtime::Handle {
        &self.handle
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
