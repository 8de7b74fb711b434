//! A flood: what the clients of a node see of cluster names while the node's upstream hangs and somebody asks for tens
//! of thousands of outside names a second.
//!
//! Each case has a node of its own, whose upstream takes queries and says nothing. Latencies of cluster names are
//! measured without the flood and in it, in the same way and at the same rate; names of the flood are all different.
//! Nobody reads the replies to the flood: what became of it is what the node's own metrics say.
//!
//! `cargo bench --bench flood` (10,000 services / 100,900 endpoints, 50,000 queries a second for 10 s, 2,000 cluster
//! names a second, about two minutes); `-- --quick` for a tenth of all that. `--rate R`, `--seconds S`, `--clients N`
//! (whose flood it is, in the case with many), `--services N`, `--endpoints M`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a benchmark")]

#[path = "flood/arguments.rs"]
mod arguments;
#[path = "flood/flooder.rs"]
mod flooder;
#[path = "serve/latency.rs"]
mod latency;
#[path = "flood/node.rs"]
mod node;
#[path = "serve/questions.rs"]
#[allow(dead_code, reason = "what else is asked of a node is another bench's")]
mod questions;
#[path = "support/mod.rs"]
mod support;

use std::path::Path;
use std::process::exit;
use std::time::Duration;

use arguments::Arguments;
use flooder::Flooder;
use latency::Latencies;
use node::{Fate, Node};
use outlast::testkit::cluster::write_json;
use questions::{Question, Questions, Workload};
use support::cpu::Cpu;
use support::memory::{Memory, megabytes};
use support::{Figures, grouped};

/// Cluster names a second: what the pods of a busy node ask for.
const CLUSTER_RATE: u32 = 2_000;

/// Asked before anything is measured: the first queries meet cold code.
const WARM_UP: Duration = Duration::from_secs(1);

/// After a flood, until its memory is looked at.
const REST: Duration = Duration::from_secs(5);

/// A kind of flood.
struct Case {
    /// For people.
    name: String,
    /// How many clients send it.
    clients: u8,
    /// Further lines of the `forward` block.
    forward: &'static str,
}

/// What was measured in a case.
struct Measured {
    /// Without the flood.
    quiet: Latencies,
    /// In it.
    flooded: Latencies,
    /// Queries of the flood that were sent.
    sent: u64,
    /// How long that took.
    time: Duration,
    /// What became of them.
    fate: Fate,
    /// Processor time of the node meanwhile.
    cpu: Cpu,
    /// Its memory before the flood,
    before: Memory,
    /// with the peak of the flood,
    during: Memory,
    /// and some seconds after all is over.
    after: Memory,
}

fn main() {
    let measured = Arguments::read().and_then(|arguments| run(&arguments));
    if let Err(wrong) = measured {
        println!("{wrong}");
        exit(2);
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|e| format!("a folder: {e}"))?;
    let cluster = dir.path().join("cluster.json");
    let file = std::fs::File::create(&cluster).map_err(|e| format!("{}: {e}", cluster.display()))?;
    write_json(&arguments.cluster().objects(), std::io::BufWriter::new(file)).map_err(|e| e.to_string())?;
    let questions = Questions::of(arguments.cluster());
    let case = |name: &str, clients, forward| Case { name: name.to_owned(), clients, forward };
    let cases = [
        case("one client", 1, ""),
        case(&format!("{} clients", arguments.clients), arguments.clients, ""),
        case(
            &format!("{}, max_concurrent 1000", arguments.clients),
            arguments.clients,
            "max_concurrent 1000",
        ),
    ];
    let mut all = Vec::new();
    for case in cases {
        println!("{}", case.name);
        let measured = one(arguments, dir.path(), &cluster, questions.about(Workload::ClusterIp), &case)?;
        all.push((case, measured));
    }
    print(arguments, &all);
    Ok(())
}

/// One case.
fn one(
    arguments: &Arguments,
    dir: &Path,
    cluster: &Path,
    questions: &[Question],
    case: &Case,
) -> Result<Measured, String> {
    let node = Node::start(dir, cluster, case.forward)?;
    let ask = |time| Latencies::measure(node.dns, questions, CLUSTER_RATE, move |elapsed| elapsed < time);
    ask(WARM_UP)?;
    let quiet = ask(arguments.seconds)?;
    let before = Memory::of(node.id());
    Memory::reset_peak(node.id()).map_err(|e| format!("beginning a new peak of memory: {e}"))?;
    let spent = Cpu::of(node.id());
    let flooder =
        Flooder::start(node.dns, case.clients, arguments.rate).map_err(|e| format!("flooding: {e}"))?;
    let flooded = ask(arguments.seconds)?;
    let (sent, time) = flooder.stop();
    let cpu = Cpu::of(node.id()) - spent;
    let during = Memory::of(node.id());
    node.wait_until_quiet()?;
    let fate = node.fate()?;
    std::thread::sleep(REST);
    let after = Memory::of(node.id());
    Ok(Measured { quiet, flooded, sent, time, fate, cpu, before, during, after })
}

fn print(arguments: &Arguments, all: &[(Case, Measured)]) {
    let mut clients = Figures::new(["flood of", "", "answered", "lost", "p50 µs", "p99 µs", "p99.9 µs"]);
    for (case, measured) in all {
        let (quiet, flooded) = (measured.quiet.percentiles(), measured.flooded.percentiles());
        for (when, latencies) in [("without", &measured.quiet), ("in the flood", &measured.flooded)] {
            let times = latencies.percentiles().map(|time| format!("{time:.0}"));
            let counts = [grouped(latencies.answered()), grouped(latencies.lost)];
            clients.row([case.name.clone(), when.to_owned()].into_iter().chain(counts).chain(times));
        }
        let ratios = [0, 1, 2].map(|at| format!("{:.2}", flooded[at] / quiet[at]));
        clients.row([case.name.as_str(), "ratio", "", ""].map(str::to_owned).into_iter().chain(ratios));
    }
    clients.print(&format!(
        "Cluster names, {} a second, while {} outside names a second hang for {} s ({} services, {} endpoints)",
        grouped(CLUSTER_RATE.into()),
        grouped(arguments.rate.into()),
        arguments.seconds.as_secs(),
        grouped(arguments.services as u64),
        grouped(arguments.endpoints as u64),
    ));

    let mut head = vec!["flood of", "sent", "sent/s", "read by the node"];
    head.extend(Fate::REASONS);
    let mut fates = Figures::new(head);
    for (case, measured) in all {
        let rate = measured.sent as f64 / measured.time.as_secs_f64();
        let counts = [measured.sent, rate as u64, measured.fate.read()];
        let cells = counts.into_iter().chain(measured.fate.by_reason()).map(grouped);
        fates.row([case.name.clone()].into_iter().chain(cells));
    }
    fates.print("What became of the flood");

    let mut costs = Figures::new(["flood of", "RSS before", "peak", "5 s later", "user s", "system s"]);
    for (case, measured) in all {
        let memory = [measured.before.now, measured.during.peak, measured.after.now].map(megabytes);
        let cpu = [measured.cpu.user, measured.cpu.system].map(|time| format!("{:.2}", time.as_secs_f64()));
        costs.row([case.name.clone()].into_iter().chain(memory).chain(cpu));
    }
    costs.print("What it cost the node");
}
