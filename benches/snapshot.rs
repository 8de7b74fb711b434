//! A start from the disk: what saving and loading a snapshot cost in time and memory.
//!
//! Loading is measured in processes of their own, as a start is: what a process has freed before would make
//! its memory figures meaningless.
//!
//! ```text
//! cargo bench --bench snapshot [-- --quick]
//! ```

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]
#![allow(clippy::panic, reason = "a bench that cannot measure has to fail")]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use outlast::ops::clock::WallClock;
use outlast::ops::jitter::Jitter;
use outlast::ops::metrics::Metrics;
use outlast::snapshot::disk::RealDisk;
use outlast::snapshot::folder::Folder;
use outlast::snapshot::header::{About, Header};
use outlast::snapshot::load::{Expect, Outcome, Sink};
use outlast::snapshot::schedule::DEFAULT_INTERVAL;
use outlast::store::keeper::{Keeper, KeeperConfig};
use outlast::testkit::cluster::Cluster;
use outlast::zone::Table;
use outlast::zone::object::{Kinds, Object};

use support::cluster::table;
use support::memory::{Memory, megabytes};
use support::{Figures, Options, grouped, median, millis, time};

/// The zone of the snapshots.
const ZONE: &str = "cluster.local.";

/// Makes this program load a folder and print what it cost.
const LOAD: &str = "--load";

/// Takes objects and drops them: decoding alone.
struct Nowhere;

impl Sink for Nowhere {
    fn take(&mut self, _: Object) {}
}

/// What a start from the disk cost.
#[derive(Clone, Copy)]
struct Start {
    /// Until there is a table to serve.
    took: Duration,
    /// Memory before.
    before: Memory,
    /// Memory after.
    after: Memory,
}

/// Loads the newest snapshot as a node does at its start, and prints what it cost.
fn load(dir: &Path) {
    let config = KeeperConfig {
        max_stale: None,
        dir: dir.to_owned(),
        zone: ZONE.into(),
        source: "file:bench".into(),
        labels: false,
        headless_only: false,
        interval: DEFAULT_INTERVAL,
    };
    let (clock, metrics) = (Arc::new(WallClock::new(0)), Metrics::new());
    let mut keeper = Keeper::open(config, Arc::new(RealDisk), clock, Jitter::from_seed(1), &metrics);
    let before = Memory::read();
    let (booted, took) = time(|| keeper.load());
    let after = Memory::read();
    let endpoints = booted.map_or(0, |b| b.generation.table.endpoint_count());
    println!("{} {} {} {} {}", took.as_nanos(), before.now, after.now, after.peak, endpoints);
}

/// Has a process of its own load the folder.
fn start(dir: &Path, endpoints: usize) -> Start {
    let this = std::env::current_exe().expect("a program has a path");
    let run = Command::new(this).arg(LOAD).arg(dir).output().expect("it runs");
    let text = String::from_utf8_lossy(&run.stdout);
    let numbers: Vec<u64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let [took, before, now, peak, loaded] = numbers[..] else { panic!("it prints five numbers: {text}") };
    assert_eq!(loaded, endpoints as u64, "all of it was loaded");
    let before = Memory { now: before, peak: before };
    Start { took: Duration::from_nanos(took), before, after: Memory { now, peak } }
}

fn header(table: &Table) -> Header {
    let about = About {
        zone: ZONE.into(),
        source: "file:bench".into(),
        written_at_ms: 1,
        proved_at_ms: 1,
        ..About::default()
    };
    Header::of(table, about)
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|a| a == LOAD) {
        return load(Path::new(&arguments[at + 1]));
    }
    let options = Options::from_args();
    let sizes = if options.quick { &[(100, 1_000)][..] } else { &[(10_000, 100_900), (100_000, 1_000_000)] };
    let mut times = Figures::new(["services / endpoints", "save", "file", "read + decode", "build", "start"]);
    let mut memory = Figures::new(["services / endpoints", "before", "after", "peak", "the table's"]);
    for &(services, endpoints) in sizes {
        let cluster = Cluster::sized(services, endpoints);
        let build = median(|| {
            let objects = cluster.objects();
            // Giving the table back is not part of building it.
            let (table, took) = time(|| table(objects));
            drop(table);
            took
        });
        let table = Table::build(cluster.objects(), Kinds::CORE, 1);
        let temp = tempfile::tempdir().expect("a temporary folder");
        let mut folder = Folder::open(Arc::new(RealDisk), temp.path());
        let header = header(&table);
        let mut bytes = 0;
        let save = median(|| {
            let saved = folder.save(&header, table.objects()).expect("saved");
            bytes = saved.bytes;
            saved.elapsed
        });
        let expect = Expect { zone: ZONE, ..Expect::default() };
        let decode = median(|| match folder.load(&expect, |_| Nowhere).outcome {
            Outcome::Loaded(restored) => restored.elapsed,
            Outcome::None => panic!("what was saved can be loaded"),
        });
        drop(table);
        let mut starts = Vec::new();
        let took = median(|| {
            let start = start(temp.path(), endpoints);
            starts.push(start);
            start.took
        });
        let Some(Start { before, after, .. }) = starts.into_iter().find(|s| s.took == took) else { continue };
        let size = format!("{} / {}", grouped(services as u64), grouped(endpoints as u64));
        let file = megabytes(bytes);
        times.row([size.clone(), millis(save), file, millis(decode), millis(build), millis(took)]);
        let own = after.now.saturating_sub(before.now);
        memory.row([
            size,
            megabytes(before.now),
            megabytes(after.now),
            megabytes(after.peak),
            megabytes(own),
        ]);
    }
    times.print("Time (start: from opening the file to a table to serve, in a process of its own)");
    memory.print("Resident memory of that process");
}
