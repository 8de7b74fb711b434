//! `outlast drill standin`: an API server for a node to follow, without a cluster.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, MissedTickBehavior};

use crate::corefile;
use crate::drill::cluster::Cluster;
use crate::drill::files;
use crate::drill::standin::changes::Changes;
use crate::drill::standin::faults::Network;
use crate::drill::standin::seed::{self, Seeded};
use crate::drill::standin::{Config, Standin, StreamingLists};
use crate::ops::drain::{Signal, listen_for_signals};
use crate::snapshot::disk::{Disk, RealDisk};
use crate::zone::object::Kind;

/// Loading that takes longer than this says how far it is, and again after as long.
const PATIENCE: Duration = Duration::from_secs(2);

/// Largest file of objects: ten times what kubectl prints of 10,000 services with 100,900 endpoints.
const MAX_OBJECTS_BYTES: u64 = 2 << 30;

/// The cluster that is served if nothing is said: large enough to look like one.
const USUAL: (usize, usize) = (100, 1_000);

/// Shortest time between two changes: a thousand a second are more than any cluster has.
const FASTEST: Duration = Duration::from_millis(1);

/// How long its socket may take to listen once everything is loaded: longer, and somebody else has its port.
const OPENS_WITHIN: Duration = Duration::from_secs(5);

/// Arguments of `outlast drill standin`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  outlast drill standin --kubeconfig kubeconfig
  outlast drill standin --services 10000 --endpoints 100900 --change-every 100ms --kubeconfig kubeconfig
  kubectl get ns,svc,endpointslices,pods -A -o json > cluster.json
  outlast drill standin --objects cluster.json --listen 127.0.0.1:6443 --kubeconfig kubeconfig

On SIGUSR1 it forgets its history and cuts all connections, as an API server does that is restarted: whoever \
follows it has to list everything again. SIGINT and SIGTERM end it. Hold it (SIGSTOP, SIGCONT) for a server that \
hangs. Started again with the same flags it is the same cluster.")]
pub(in crate::cli) struct Args {
    /// Where to write the kubeconfig of a user who may read everything
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// Address to listen on, 127.0.0.1 and a port; port 0 is any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", value_parser = loopback)]
    listen: SocketAddr,
    /// Serve these objects, as kubectl get -o json printed them
    #[arg(long, value_name = "FILE", conflicts_with_all = ["services", "endpoints", "seed"])]
    objects: Option<PathBuf>,
    /// Serve a made-up cluster of so many services (100 by default)
    #[arg(long, value_name = "N")]
    services: Option<usize>,
    /// How many endpoints they have together (ten a service by default)
    #[arg(long, value_name = "M")]
    endpoints: Option<usize>,
    /// Another made-up cluster of that size
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Change an endpoint that often, e.g. 100ms
    #[arg(long, value_name = "DURATION", value_parser = pace)]
    change_every: Option<Duration>,
    /// Whether lists are streamed to who asks for it: on, off, or old-etcd (an error in the stream)
    #[arg(long, value_name = "HOW", default_value = "on", value_parser = streaming_lists)]
    streaming_lists: StreamingLists,
}

/// What is to be served.
enum Content {
    /// These objects.
    Objects(String),
    /// A made-up cluster.
    MadeUp(Cluster),
}

/// Serves until a signal ends it.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let content = match &args.objects {
        Some(path) => Content::Objects(read(path)?),
        None => {
            let services = args.services.unwrap_or(USUAL.0);
            let endpoints = args.endpoints.unwrap_or(services.saturating_mul(USUAL.1 / USUAL.0));
            match Cluster::sized(services, endpoints).seed(args.seed).possible() {
                Ok(cluster) => Content::MadeUp(cluster),
                Err(error) => return Ok(super::super::wrong(&error)),
            }
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("outlast-standin")
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(serve(args, content))?;
    // Connections are not waited for.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

async fn serve(args: Args, content: Content) -> anyhow::Result<()> {
    let Args { kubeconfig, listen, objects, change_every, streaming_lists, seed, .. } = args;
    // Before anything is written, so that no signal is missed.
    let mut signals = listen_for_signals().context("listening for signals")?;
    let config =
        Config { port: listen.port(), fresh_namespaces: false, streaming_lists, ..Config::default() };
    let standin = Standin::start(config).await.with_context(|| format!("listening on {listen}"))?;
    // Nobody is to see a part of the cluster.
    standin.faults().change_network(Network::Refuse).await;
    let seeded = load(&standin, content, objects.as_deref())?;
    // Whoever reads that it serves connects at once.
    let opens = standin.faults().change_network(Network::Open);
    tokio::time::timeout(OPENS_WITHIN, opens).await.with_context(|| {
        format!("listening at {} again: another process has taken the port", standin.url())
    })?;
    write(&kubeconfig, &standin.kubeconfig())?;
    let etcd = standin.etcd();
    let skipped = match seeded.skipped {
        0 => String::new(),
        other => format!(" ({other} objects of other kinds are left out)"),
    };
    println!(
        "serving {} services, {} endpoint slices, {} namespaces and {} pods at {}, kubeconfig {}{skipped}",
        etcd.len(Kind::Service),
        etcd.len(Kind::EndpointSlice),
        etcd.len(Kind::Namespace),
        etcd.len(Kind::Pod),
        standin.url(),
        kubeconfig.display(),
    );
    let mut changes = change_every.map(|every| (Changes::of(etcd, seed), ticks(every)));
    loop {
        let change = async {
            match &mut changes {
                Some((changes, ticks)) => {
                    ticks.tick().await;
                    changes.step();
                    // Nobody asks a process of its own what was when, and old objects cost memory.
                    etcd.clear_history();
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            signal = signals.recv() => match signal {
                Some(Signal::Reload) => forget(&standin),
                Some(Signal::Ignored) => {}
                Some(Signal::Terminate | Signal::Interrupt | Signal::Quit) | None => return Ok(()),
            },
            () = change => {}
        }
    }
}

/// Fills the store, and says how far it is if that takes long.
fn load(standin: &Standin, content: Content, file: Option<&Path>) -> anyhow::Result<Seeded> {
    let mut said = Instant::now();
    let progress = move |objects: usize| {
        if said.elapsed() >= PATIENCE {
            said = Instant::now();
            eprintln!("loading: {objects} objects so far");
        }
    };
    Ok(match content {
        Content::Objects(text) => {
            let place = || format!("loading {}", file.unwrap_or(Path::new("")).display());
            seed::objects(standin.etcd(), &text, progress).with_context(place)?
        }
        Content::MadeUp(cluster) => seed::cluster(standin.etcd(), cluster, progress)?,
    })
}

/// Has whoever follows list everything again.
fn forget(standin: &Standin) {
    standin.restart();
    // Nobody asks what was when, and a state is more than a change.
    standin.etcd().clear_history();
    eprintln!("history forgotten, connections cut");
}

/// Every so often from now on; a change that comes late does not make the next ones come sooner.
fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

fn read(path: &Path) -> anyhow::Result<String> {
    let bytes =
        RealDisk.read(path, MAX_OBJECTS_BYTES).with_context(|| format!("reading {}", path.display()))?;
    String::from_utf8(bytes).with_context(|| format!("reading {}", path.display()))
}

fn write(path: &Path, kubeconfig: &str) -> anyhow::Result<()> {
    files::replace(path, kubeconfig).with_context(|| format!("writing kubeconfig {}", path.display()))
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let right = "write 127.0.0.1:PORT, it serves this machine only";
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) => Ok(address),
        Ok(address) => Err(format!("{} is not 127.0.0.1: {right}", address.ip())),
        Err(_) => Err(format!("not an address: {right}")),
    }
}

fn pace(text: &str) -> Result<Duration, String> {
    let every = corefile::parse_duration(text)?;
    if every < FASTEST {
        return Err(format!("'{text}' is too short: at least {FASTEST:?}"));
    }
    Ok(every)
}

fn streaming_lists(text: &str) -> Result<StreamingLists, String> {
    match text {
        "on" => Ok(StreamingLists::On),
        "off" => Ok(StreamingLists::Off),
        "old-etcd" => Ok(StreamingLists::OldEtcd),
        _ => Err("write on, off or old-etcd".to_owned()),
    }
}
