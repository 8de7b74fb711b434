//! What a query of the node takes while its data changes.
//!
//! Three measurements a round, of one node: at rest; with changes that arrive at a steady rate; and with those
//! changes and, one second after its start, an API server that has forgotten its history, so that the node lists
//! everything again. The third goes on until the node has done so, and a second longer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::arguments::Arguments;
use crate::latency::Latencies;
use crate::questions::{Question, Questions, Workload};
use crate::samples::{median, spread};
use crate::servers::standin::{Made, Standin};
use crate::servers::{Kind, Place, Server, Setup};
use crate::support::cpu::Cpu;
use crate::support::memory::{Memory, megabytes};
use crate::support::scrape::Scrape;
use crate::support::{Figures, grouped};

/// How long a node is left alone after its start: what it does only once is done.
const SETTLE: Duration = Duration::from_secs(3);

/// Changes before they are measured, and load before a list and after it.
const AROUND: Duration = Duration::from_secs(1);

/// How long a node may take to list everything, or to have every change.
const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks at the node's metrics.
const LOOK: Duration = Duration::from_millis(200);

/// Kinds of objects that a node lists.
const KINDS: f64 = 3.0;

/// What happens meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    /// Nothing.
    Rest,
    /// Changes.
    Changes,
    /// Changes, and a whole list.
    List,
}

/// One measurement.
struct Sample {
    /// Latencies in microseconds: p50, p99, p99.9.
    latencies: [f64; 3],
    /// Queries without a reply.
    lost: u64,
    /// Changes a second.
    changes: f64,
    /// The node's processors: 1 is one of them all the time.
    cpu: f64,
    /// The node's resident memory in bytes, at most.
    memory: u64,
}

/// Measures, and prints what came out.
pub(crate) fn measure(
    arguments: &Arguments,
    questions: &Questions,
    setup: &Setup,
    mut standin: Standin,
) -> Result<(), String> {
    let node = setup.start(Kind::Node, Place::Loopback, questions)?;
    std::thread::sleep(SETTLE);
    let about = questions.about(Workload::ClusterIp);
    let mut samples = [Meanwhile::Rest, Meanwhile::Changes, Meanwhile::List].map(|what| (what, Vec::new()));
    for round in 1..=arguments.rounds {
        println!("round {round} of {}: the node while its data changes", arguments.rounds);
        for (meanwhile, samples) in &mut samples {
            samples.push(one(arguments, about, &node, &mut standin, *meanwhile)?);
        }
    }
    print(arguments, &samples);
    Ok(())
}

/// One measurement.
fn one(
    arguments: &Arguments,
    questions: &[Question],
    node: &Server,
    standin: &mut Standin,
    meanwhile: Meanwhile,
) -> Result<Sample, String> {
    let metrics = node.metrics.ok_or("a node has metrics")?;
    if meanwhile != Meanwhile::Rest {
        standin.churn(arguments.changes);
        std::thread::sleep(AROUND);
    }
    // Where the kernel does not allow it, the peak is that of the node's whole life.
    let _ = Memory::reset_peak(node.id());
    let (before, begun) = (Cpu::of(node.id()), Instant::now());
    let rate = arguments.rate;
    let latencies = if meanwhile == Meanwhile::List {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let listing = scope.spawn(|| {
                let listed = list(standin, metrics);
                done.store(true, Ordering::Relaxed);
                listed
            });
            let goes_on = |elapsed| elapsed < arguments.seconds || !done.load(Ordering::Relaxed);
            let latencies = Latencies::measure(node.address, questions, rate, goes_on);
            listing.join().map_err(|_| "the thread that looks at the node has panicked")??;
            latencies
        })?
    } else {
        let goes_on = |elapsed| elapsed < arguments.seconds;
        Latencies::measure(node.address, questions, rate, goes_on)?
    };
    let cpu = (Cpu::of(node.id()) - before).total().as_secs_f64() / begun.elapsed().as_secs_f64();
    let memory = Memory::of(node.id()).peak;
    let changes = match meanwhile {
        Meanwhile::Rest => 0.0,
        Meanwhile::Changes | Meanwhile::List => {
            let made = standin.rest()?;
            until_everything_has_come(metrics, &made)?;
            made.rate
        }
    };
    Ok(Sample { latencies: latencies.percentiles(), lost: latencies.lost, changes, cpu, memory })
}

/// Has the node list everything again, and waits until it has.
fn list(standin: &mut Standin, metrics: SocketAddr) -> Result<(), String> {
    std::thread::sleep(AROUND);
    let lists = |scrape: &Scrape| scrape.sum("outlast_apiserver_lists_total");
    let before = lists(&Scrape::of(metrics).map_err(|e| format!("reading metrics: {e}"))?);
    standin.forget();
    until("the node has listed every kind", metrics, |scrape| lists(scrape) >= before + KINDS)?;
    std::thread::sleep(AROUND);
    Ok(())
}

/// Waits until the node has the last change: then it has had all of them.
fn until_everything_has_come(metrics: SocketAddr, made: &Made) -> Result<(), String> {
    const VERSION: &str = "outlast_data_resource_version{kind=\"EndpointSlice\"}";
    until("the node has every change", metrics, |scrape| scrape.value(VERSION) >= made.version as f64)
}

/// Waits until the node's metrics are so.
fn until(what: &str, metrics: SocketAddr, is_so: impl Fn(&Scrape) -> bool) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if is_so(&Scrape::of(metrics).map_err(|e| format!("reading metrics: {e}"))?) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("never: {what}"));
        }
        std::thread::sleep(LOOK);
    }
}

fn print(arguments: &Arguments, samples: &[(Meanwhile, Vec<Sample>)]) {
    let mut figures = Figures::new([
        "meanwhile",
        "changes/s",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "lost",
        "p99 / at rest",
        "processors",
        "peak RSS",
    ]);
    let [(_, rest), ..] = samples else { return };
    for (meanwhile, of) in samples {
        let middle = |field: fn(&Sample) -> f64| median(of.iter().map(field));
        let ratios = of.iter().zip(rest).map(|(of, rest)| of.latencies[1] / rest.latencies[1]);
        figures.row([
            match meanwhile {
                Meanwhile::Rest => "nothing",
                Meanwhile::Changes => "changes",
                Meanwhile::List => "changes and a whole list",
            }
            .to_owned(),
            grouped(middle(|s| s.changes) as u64),
            format!("{:.0}", middle(|s| s.latencies[0])),
            spread(of.iter().map(|s| s.latencies[1]), 0),
            format!("{:.0}", middle(|s| s.latencies[2])),
            grouped(of.iter().map(|s| s.lost).sum()),
            match meanwhile {
                Meanwhile::Rest => String::new(),
                Meanwhile::Changes | Meanwhile::List => spread(ratios, 2),
            },
            format!("{:.2}", middle(|s| s.cpu)),
            megabytes(of.iter().map(|s| s.memory).max().unwrap_or(0)),
        ]);
    }
    figures.print(&format!(
        "ClusterIP A at {} queries a second while the node's data changes; medians (rounds: {}, {} s each; required: p99 at \
         most 2 times that at rest)",
        grouped(arguments.rate.into()),
        arguments.rounds,
        arguments.seconds.as_secs(),
    ));
}
