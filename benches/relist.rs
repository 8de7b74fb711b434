//! The memory of a node while it lists the whole cluster again.
//!
//! Real processes: `outlast drill standin` with objects in full size (or any API server), and `outlast node` that
//! follows it through a proxy which counts bytes. After the node has settled its resident memory is idle; then
//! a relist is forced and the kernel's own high-water mark (`VmHWM`, reset by `clear_refs`) is the peak.
//!
//! How a relist is forced: the stand-in forgets its history and cuts its connections (SIGUSR1). No other API
//! server does that on demand: there the node is started again on its own snapshot without the position, so
//! that it has the whole table and has to list nevertheless; the peak then includes the start.
//!
//! In the same run, as a peer: what a process needs that holds the same lists decoded.
//!
//! `cargo bench --bench relist` (10,000 services / 100,900 endpoints); `-- --quick` for a tenth;
//! `-- --services N --endpoints M`; `-- --relists N`; `-- --kubeconfig FILE [--context C]` for any API server.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a benchmark")]

#[path = "relist/arguments.rs"]
mod arguments;
#[path = "relist/node.rs"]
mod node;
#[path = "relist/peer.rs"]
mod peer;
#[path = "relist/proxy.rs"]
mod proxy;
#[path = "relist/standin.rs"]
mod standin;
#[path = "support/mod.rs"]
mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use arguments::{Arguments, Server};
use node::{Node, Progress};
use proxy::Proxy;
use standin::{Standin, StreamingLists};
use support::memory::{Memory, megabytes};
use support::{Figures, grouped, millis};

/// Between two looks at memory and progress.
const LOOK: Duration = Duration::from_millis(20);

/// Samples of the idle memory, of which the median counts.
const IDLE_SAMPLES: usize = 15;

/// Between them.
const IDLE_PAUSE: Duration = Duration::from_millis(200);

fn main() {
    let arguments = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(wrong) => {
            println!("{wrong}");
            std::process::exit(2);
        }
    };
    if let Some(hold) = arguments.hold {
        return peer::hold(hold, &arguments.server);
    }
    let dir = tempfile::tempdir().unwrap();
    let mut figures = Figures::new([
        "lists",
        "idle RSS",
        "peak RSS",
        "highest sample",
        "peak / idle",
        "duration",
        "received",
    ]);
    let mut held = Figures::new(["held by the peer", "RSS", "peak RSS"]);
    match &arguments.server {
        Server::Kubeconfig { .. } => {
            run("as the server has them", &arguments, &arguments.server, None, dir.path(), &mut figures);
            peer::measure(&arguments.server, &mut held);
        }
        Server::Standin => {
            for (name, lists) in [("streamed", StreamingLists::On), ("in pages", StreamingLists::Off)] {
                let dir = dir.path().join(name.replace(' ', "-"));
                std::fs::create_dir(&dir).unwrap();
                let standin = Standin::start(&dir, arguments.services, arguments.endpoints, lists);
                let server = Server::Kubeconfig { file: standin.kubeconfig.clone(), context: None };
                run(name, &arguments, &server, Some(&standin), &dir, &mut figures);
                if lists == StreamingLists::Off {
                    peer::measure(&server, &mut held);
                }
            }
        }
    }
    let what = match arguments.server {
        Server::Standin => format!(
            "{} services, {} endpoints",
            grouped(arguments.services as u64),
            grouped(arguments.endpoints as u64)
        ),
        Server::Kubeconfig { .. } => "the cluster of the kubeconfig".to_owned(),
    };
    figures.print(&format!("A relist of {what}; the median of {} relists", arguments.relists));
    held.print("The same lists, decoded and held, in a process of its own");
}

/// What one relist took.
struct Relist {
    peak: u64,
    highest: u64,
    took: Duration,
    received: u64,
}

/// Measures a node at one server, and adds a row.
fn run(
    name: &str,
    arguments: &Arguments,
    server: &Server,
    standin: Option<&Standin>,
    dir: &Path,
    figures: &mut Figures,
) {
    let proxy = Proxy::start(server);
    let kubeconfig = proxy.kubeconfig(dir);
    let mut node = match Node::start(&kubeconfig, dir) {
        Ok(node) => node,
        Err(why) => {
            println!("no node at lists {name}: {why}");
            return;
        }
    };
    let synced = standin.is_some().then_some(arguments.endpoints as u64);
    if let Err(why) = node.wait_until_synced(synced) {
        println!("no node at lists {name}: {why}");
        return;
    }
    let idle = idle(&node, arguments.settle);
    let mut relists = Vec::new();
    for _ in 0..arguments.relists {
        let relist = match standin {
            Some(standin) => forced(&node, standin, &proxy),
            None => restarted(&mut node, &kubeconfig, dir, &proxy),
        };
        match relist {
            Ok(relist) => relists.push(relist),
            Err(why) => {
                println!("no relist at lists {name}: {why}");
                return;
            }
        }
        std::thread::sleep(arguments.settle);
    }
    let median = |of: fn(&Relist) -> u64| {
        let mut all: Vec<u64> = relists.iter().map(of).collect();
        all.sort_unstable();
        all[all.len() / 2]
    };
    let peak = median(|r| r.peak);
    figures.row([
        name.to_owned(),
        megabytes(idle),
        megabytes(peak),
        megabytes(median(|r| r.highest)),
        format!("{:.2}", peak as f64 / idle.max(1) as f64),
        millis(Duration::from_micros(median(|r| r.took.as_micros() as u64))),
        megabytes(median(|r| r.received)),
    ]);
}

/// The median of the resident memory once the node has settled.
fn idle(node: &Node, settle: Duration) -> u64 {
    std::thread::sleep(settle);
    let mut samples: Vec<u64> = (0..IDLE_SAMPLES)
        .map(|_| {
            std::thread::sleep(IDLE_PAUSE);
            Memory::of(node.id()).now
        })
        .collect();
    samples.sort_unstable();
    samples[IDLE_SAMPLES / 2]
}

/// Has the stand-in forget what it had, and watches until the node has it all again.
fn forced(node: &Node, standin: &Standin, proxy: &Proxy) -> Result<Relist, String> {
    let before = node.progress()?;
    if let Err(why) = Memory::reset_peak(node.id()) {
        println!("clear_refs: {why}; the peak is that of the whole life of the process");
    }
    let received = proxy.received();
    standin.forget();
    watch(node, proxy, received, |now: &Progress| now.is_live() && now.is_past(&before))
}

/// Starts the node again with its table and without its position, and watches until it has listed.
fn restarted(node: &mut Node, kubeconfig: &Path, dir: &Path, proxy: &Proxy) -> Result<Relist, String> {
    node.stop()?;
    node::remove_position(dir)?;
    let received = proxy.received();
    *node = Node::start(kubeconfig, dir)?;
    watch(node, proxy, received, |now: &Progress| now.is_live() && now.is_known())
}

/// Samples until `done`. The clock starts with the first byte: how long a node waits before it connects again
/// is not what is measured.
fn watch(
    node: &Node,
    proxy: &Proxy,
    received: u64,
    done: impl Fn(&Progress) -> bool,
) -> Result<Relist, String> {
    let deadline = Instant::now() + node::PATIENCE;
    let (mut begin, mut highest) = (None, 0);
    loop {
        if Instant::now() > deadline {
            return Err(format!("the node was not done within {:?}", node::PATIENCE));
        }
        if proxy.received() > received {
            begin.get_or_insert_with(Instant::now);
        }
        highest = highest.max(Memory::of(node.id()).now);
        if let (Some(begin), Ok(now)) = (begin, node.progress())
            && done(&now)
        {
            let (peak, received) = (Memory::of(node.id()).peak, proxy.received() - received);
            return Ok(Relist { peak, highest, took: begin.elapsed(), received });
        }
        std::thread::sleep(LOOK);
    }
}
