//! What a query costs: the node beside its peers.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use crate::arguments::Arguments;
use crate::ask;
use crate::dnsperf::Load;
use crate::latency::Latencies;
use crate::questions::{Questions, Workload};
use crate::samples::{median, spread};
use crate::servers::{Kind, Place, Server, Setup};
use crate::support::cpu::Cpu;
use crate::support::memory::{Memory, megabytes};
use crate::support::{Figures, grouped};

/// Load before a measurement: every name has been asked for several times, and every cache has it.
const WARM_UP: Duration = Duration::from_secs(2);

/// The part of a measurement's time that its latencies take.
const LATENCIES: u32 = 2;

/// One measurement.
struct Sample {
    /// Answered queries a second.
    rate: f64,
    /// Queries without an answer, of dnsperf's and of the client's for latencies.
    lost: u64,
    /// Microseconds of processor time a query, in the program.
    user: f64,
    /// The same, in the kernel.
    system: f64,
    /// Latencies in microseconds: p50, p99, p99.9.
    latencies: [f64; 3],
    /// Resident memory in bytes.
    memory: u64,
}

impl Sample {
    /// Microseconds of processor time a query.
    fn cpu(&self) -> f64 {
        self.user + self.system
    }
}

/// All measurements, a sample for each round.
type Samples = HashMap<(Workload, Kind), Vec<Sample>>;

/// Measures all servers, round by round, and prints what came out.
pub(crate) fn measure(
    arguments: &Arguments,
    dnsperf: &Path,
    questions: &Questions,
    setup: &Setup,
) -> Result<(), String> {
    let mut samples = Samples::new();
    for round in 1..=arguments.rounds {
        for kind in Kind::ALL.into_iter().filter(|kind| setup.has(*kind)) {
            println!("round {round} of {}: {}", arguments.rounds, kind.name());
            for place in Place::ALL {
                let is_here = |workload: &Workload| kind.answers(*workload) && Place::of(*workload) == place;
                let mut workloads = Workload::ALL.into_iter().filter(is_here).peekable();
                if workloads.peek().is_none() {
                    continue;
                }
                let server = setup.start(kind, place, questions)?;
                for workload in workloads {
                    let sample = one(arguments, dnsperf, questions, setup, &server, workload);
                    let sample = sample.map_err(|e| format!("{}, {}: {e}", kind.name(), workload.name()))?;
                    samples.entry((workload, kind)).or_default().push(sample);
                }
            }
        }
    }
    print(arguments, &samples);
    if !setup.has(Kind::Unbound) {
        println!("\nunbound is not installed: apt-get install unbound");
    }
    Ok(())
}

/// One measurement of a server.
fn one(
    arguments: &Arguments,
    dnsperf: &Path,
    questions: &Questions,
    setup: &Setup,
    server: &Server,
    workload: Workload,
) -> Result<Sample, String> {
    let (about, missing) = (questions.about(workload), questions.missing(workload));
    ask::compare(server.address, about)?;
    let file = setup.queries(questions, workload)?;
    Load::put(dnsperf, server.address, &file, WARM_UP)?;
    let before = Cpu::of(server.id());
    let load = Load::put(dnsperf, server.address, &file, arguments.seconds)?;
    let spent = Cpu::of(server.id()) - before;
    load.check(missing)?;
    let time = arguments.seconds / LATENCIES;
    let latencies = Latencies::measure(server.address, about, arguments.rate, |elapsed| elapsed < time)?;
    let each = |time: Duration| time.as_secs_f64() * 1e6 / load.completed.max(1) as f64;
    Ok(Sample {
        rate: load.rate,
        lost: load.lost + latencies.lost,
        user: each(spent.user),
        system: each(spent.system),
        latencies: latencies.percentiles(),
        memory: Memory::of(server.id()).now,
    })
}

fn print(arguments: &Arguments, samples: &Samples) {
    let mut figures = Figures::new([
        "question",
        "server",
        "queries/s",
        "lost",
        "user µs",
        "system µs",
        "CPU µs/query",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "RSS",
    ]);
    let pairs = Workload::ALL.into_iter().flat_map(|workload| Kind::ALL.map(|kind| (workload, kind)));
    for (pair, of) in pairs.filter_map(|pair| Some((pair, samples.get(&pair)?))) {
        let (workload, kind) = pair;
        let middle = |field: fn(&Sample) -> f64| median(of.iter().map(field));
        figures.row([
            workload.name().to_owned(),
            kind.name().to_owned(),
            grouped(middle(|s| s.rate) as u64),
            grouped(of.iter().map(|s| s.lost).sum()),
            format!("{:.2}", middle(|s| s.user)),
            format!("{:.2}", middle(|s| s.system)),
            spread(of.iter().map(Sample::cpu), 2),
            format!("{:.0}", middle(|s| s.latencies[0])),
            format!("{:.0}", middle(|s| s.latencies[1])),
            format!("{:.0}", middle(|s| s.latencies[2])),
            megabytes(middle(|s| s.memory as f64) as u64),
        ]);
    }
    figures.print(&format!(
        "{} services, {} endpoints; medians (rounds: {}, {} s each), of the CPU time least and most, too; lost is the sum. \
         Latencies at {} queries a second",
        grouped(arguments.services as u64),
        grouped(arguments.endpoints as u64),
        arguments.rounds,
        arguments.seconds.as_secs(),
        grouped(arguments.rate.into()),
    ));
    print_required(samples);
}

/// The node against its peers, and what is required of it.
fn print_required(samples: &Samples) {
    let mut figures = Figures::new(["of the node", "measured", "required"]);
    for workload in Workload::ALL {
        for peer in [Kind::Limit, Kind::Hickory, Kind::Unbound] {
            let (Some(ours), Some(theirs)) =
                (samples.get(&(workload, Kind::Node)), samples.get(&(workload, peer)))
            else {
                continue;
            };
            let required = match (workload, peer) {
                (Workload::ClusterIp, Kind::Limit) => "at most 1.25",
                (Workload::Outside, Kind::Unbound) => "at most 0.6",
                _ => "",
            };
            // Of each round: what slows the machine down for a while slows both down.
            let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| ours.cpu() / theirs.cpu());
            let what = format!("CPU per query against {}, {}", peer.name(), workload.name());
            figures.row([what, spread(ratios, 2), required.to_owned()]);
        }
    }
    if let Some(ours) = samples.get(&(Workload::ClusterIp, Kind::Node)) {
        let user = spread(ours.iter().map(|s| s.user), 2);
        figures.row(["user CPU per query, ClusterIP A, µs", &*user, "at most 1.2"]);
    }
    let of_the_node = samples.iter().filter(|((_, kind), _)| *kind == Kind::Node);
    let memory = of_the_node.flat_map(|(_, of)| of).map(|s| s.memory).max().unwrap_or(0);
    figures.row(["RSS, the largest of all", &*megabytes(memory), "at most 40 MB"]);
    figures.print("Ratios are medians of those of each round, with least and most");
}
