//! Snapshots: saving one with the syncs, and a load from opening the file to a table to serve.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use outlast::ops::metrics::Metrics;
use outlast::snapshot::load::{Expect, Outcome, Sink};
use outlast::zone::Table;
use outlast::zone::object::Object;

use crate::Column;
use crate::support::memory::{Memory, megabytes};
use crate::support::snapshot::{ZONE, folder, header, keeper};
use crate::support::{median, millis, time};

/// Makes this program load a folder and print what it cost.
pub(crate) const LOAD: &str = "--load";

/// Takes objects and drops them: decoding alone.
struct Nowhere;

impl Sink for Nowhere {
    fn take(&mut self, _: Object) {}
}

/// Saves the table in the folder.
pub(crate) fn save(table: &Table, dir: &Path, column: &mut Column) {
    let mut folder = folder(dir);
    let header = header(table);
    let mut bytes = 0;
    let took = median(|| {
        let saved = folder.save(&header, table.objects()).expect("saved");
        bytes = saved.bytes;
        saved.elapsed
    });
    column.add("save a snapshot", millis(took));
    column.add("its file", megabytes(bytes));
}

/// Loads it, in processes of their own.
pub(crate) fn load(dir: &Path, endpoints: usize, column: &mut Column) {
    let expect = Expect { zone: ZONE, ..Expect::default() };
    let decode = median(|| match folder(dir).load(&expect, |_| Nowhere).outcome {
        Outcome::Loaded(restored) => restored.elapsed,
        Outcome::None => panic!("what was saved can be loaded"),
    });
    let mut loads = Vec::new();
    let took = median(|| {
        let (took, memory) = load_apart(dir, endpoints);
        loads.push((took, memory));
        took
    });
    column.add("load it", millis(took));
    column.add("of which reading and decoding", millis(decode));
    let memory = loads.into_iter().find(|(t, _)| *t == took).map(|(_, memory)| memory);
    let (now, peak) = memory.expect("the median is one of them");
    column.add("RSS after the load", megabytes(now));
    column.add("peak of the load", megabytes(peak));
}

/// Has a process of its own load the folder: how long it took, and its memory after it and at most.
fn load_apart(dir: &Path, endpoints: usize) -> (Duration, (u64, u64)) {
    let this = std::env::current_exe().expect("a program has a path");
    let run = Command::new(this).arg(LOAD).arg(dir).output().expect("it runs");
    let text = String::from_utf8_lossy(&run.stdout);
    let numbers: Vec<u64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let [took, now, peak, loaded] = numbers[..] else { panic!("it prints four numbers: {text}") };
    assert_eq!(loaded, endpoints as u64, "all of it was loaded");
    (Duration::from_nanos(took), (now, peak))
}

/// Loads the newest snapshot as a node does at its start, and prints what it cost.
pub(crate) fn load_here(dir: &Path) {
    let mut keeper = keeper(dir, &Metrics::new());
    let (booted, took) = time(|| keeper.load());
    let Memory { now, peak, .. } = Memory::read();
    let endpoints = booted.map_or(0, |b| b.generation.table.endpoint_count());
    println!("{} {now} {peak} {endpoints}", took.as_nanos());
}
