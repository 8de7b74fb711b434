//! Cost of one change of one EndpointSlice: time, and instructions as callgrind counts them.
//!
//! Instructions are the figure to compare sizes by: other work on the machine does not change them, where the
//! time also has the caches in it. (About a percent comes from the hash seed, which each process draws.) The
//! bench runs itself again under `valgrind --tool=callgrind`.
//!
//! ```text
//! cargo bench --bench apply [-- --quick]
//! ```

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

mod support;

use std::process::Command;
use std::sync::Arc;

use outlast::zone::Table;
use outlast::zone::change::Change;
use outlast::zone::object::{Addresses, EndpointSlice, Endpoints, Object};

use support::cluster::{measured, table};
use support::{Figures, Options, grouped, nanoseconds};

/// Slices that change, spread over the cluster; each loses its last endpoint and gets it back.
const SLICES: usize = 500;

/// Makes this program apply the changes once and print nothing: what runs under callgrind.
const COUNT: &str = "--count";

/// What the writer does for a change: a new generation, the change, and the old one goes when its last reader
/// does. Callgrind counts what happens within this function.
#[inline(never)]
fn one_change(published: &mut Arc<Table>, change: Change) {
    let mut table = Table::clone(published);
    table.apply([change], 2);
    *published = Arc::new(table);
}

/// The changes, of which the second half undoes the first, and the table to apply them to.
fn prepare(size: usize) -> (Vec<Change>, Arc<Table>) {
    let objects = measured(size).objects;
    let slices: Vec<&EndpointSlice> = objects
        .iter()
        .filter_map(|o| match o {
            Object::EndpointSlice(slice) if !slice.endpoints.is_empty() => Some(slice),
            _ => None,
        })
        .collect();
    let every = (slices.len() / SLICES).max(1);
    let chosen: Vec<EndpointSlice> =
        slices.iter().step_by(every).take(SLICES).map(|s| EndpointSlice::clone(s)).collect();
    let lose = chosen.iter().map(|s| Change::Upsert(Object::EndpointSlice(without_last(s))));
    let gain = chosen.iter().map(|s| Change::Upsert(Object::EndpointSlice(s.clone())));
    (lose.chain(gain).collect(), Arc::new(table(objects)))
}

/// The slice without its last endpoint.
fn without_last(slice: &EndpointSlice) -> EndpointSlice {
    let left: Vec<_> = slice.endpoints.iter().take(slice.endpoints.len() - 1).collect();
    let addresses = match slice.endpoints.addresses() {
        Addresses::V4(all) => Addresses::V4(all[..left.len()].into()),
        Addresses::V6(all) => Addresses::V6(all[..left.len()].into()),
    };
    let hostnames: Vec<_> = left.iter().map(|e| e.hostname).collect();
    let targets: Vec<_> = left.iter().map(|e| e.target).collect();
    let spellings: Vec<_> = left.iter().map(|e| e.spelling).collect();
    let endpoints = Endpoints::new(addresses, &hostnames, &targets, &spellings).expect("lists are even");
    EndpointSlice { endpoints, ..slice.clone() }
}

/// Instructions of a change, or why they could not be counted.
fn instructions(size: usize) -> Result<f64, String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let counts = folder.path().join("counts");
    let this = std::env::current_exe().map_err(|e| e.to_string())?;
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*one_change*"])
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(this)
        .args([COUNT, &size.to_string()])
        .output()
        .map_err(|e| format!("not counted: valgrind: {e}"))?;
    if !run.status.success() {
        return Err(format!("not counted: valgrind: {}", String::from_utf8_lossy(&run.stderr)));
    }
    let text = std::fs::read_to_string(&counts).map_err(|e| e.to_string())?;
    let total = text.lines().find_map(|l| l.strip_prefix("totals: ")?.trim().parse::<f64>().ok());
    let changes = String::from_utf8_lossy(&run.stdout).trim().parse::<f64>().ok();
    total.zip(changes).map(|(total, changes)| total / changes).ok_or_else(|| "no totals".to_owned())
}

/// Applies the changes once, and prints how many they were.
fn count(size: usize) {
    let (changes, mut published) = prepare(size);
    let number = changes.len();
    changes.into_iter().for_each(|change| one_change(&mut published, change));
    println!("{number}");
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|a| a == COUNT) {
        return count(arguments[at + 1].parse().expect("a number of endpoints"));
    }
    let options = Options::from_args();
    let mut figures = Figures::new(["endpoints", "time", "ratio", "instructions", "ratio"]);
    let (mut first_time, mut first_count) = (None, None);
    for &size in options.sizes() {
        let (changes, mut published) = prepare(size);
        let mut copies = Vec::new();
        let time = nanoseconds(changes.len(), || {
            // Copies of the changes are made outside of the measured function but within the time: they are
            // subtracted below.
            copies.clone_from(&changes);
            copies.drain(..).for_each(|change| one_change(&mut published, change));
        }) - nanoseconds(changes.len(), || copies.clone_from(&changes));
        let time_ratio = time / *first_time.get_or_insert(time);
        let [count, count_ratio] = match instructions(size) {
            Ok(count) => {
                [grouped(count.round() as u64), format!("{:.2}", count / *first_count.get_or_insert(count))]
            }
            Err(why) => [why, "-".to_owned()],
        };
        let micros = format!("{:.1} µs", time / 1e3);
        figures.row([grouped(size as u64), micros, format!("{time_ratio:.2}"), count, count_ratio]);
    }
    figures.print("One change of one slice, with a new generation for each");
    println!("\nrequired: at 1,000,000 endpoints at most 3 times the instructions at 1,000");
}
