//! What the benches share: arguments, medians, tables of figures, and the cluster that is measured.
//!
//! Nothing here asserts a time. A bench prints figures; a person, or a drill on a machine of known speed,
//! judges them.

#![allow(dead_code, reason = "every bench compiles this module and uses a part of it")]
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its figures, or says why it cannot"
)]

pub(crate) mod alloc;
pub(crate) mod answer;
pub(crate) mod callgrind;
pub(crate) mod change;
pub(crate) mod cluster;
pub(crate) mod cpu;
pub(crate) mod memory;
pub(crate) mod process;
pub(crate) mod scrape;
pub(crate) mod snapshot;

use std::time::{Duration, Instant};

/// The receive buffer of every UDP socket in bytes, the client's too, as the node has it: nobody loses what comes while
/// it waits for a processor. The kernel caps it at net.core.rmem_max.
pub(crate) const BUFFER: usize = 1 << 20;

/// Runs of which the median counts.
const RUNS: usize = 7;

/// What the command line asks for.
#[derive(Clone, Copy)]
pub(crate) struct Options {
    /// Small sizes only: whether the bench works, not what it measures.
    pub(crate) quick: bool,
}

impl Options {
    /// Reads the arguments; cargo itself adds `--bench`.
    pub(crate) fn from_args() -> Self {
        Self { quick: std::env::args().any(|a| a == "--quick") }
    }

    /// Numbers of endpoints to measure at.
    pub(crate) const fn sizes(self) -> &'static [usize] {
        if self.quick { &[1_000, 10_000] } else { &[1_000, 10_000, 100_900, 1_000_000] }
    }

    /// How many operations a run consists of.
    pub(crate) const fn operations(self, usual: usize) -> usize {
        if self.quick { usual / 100 } else { usual }
    }
}

/// Nanoseconds an operation: the median of several runs of `count` operations each, after one to warm up.
pub(crate) fn nanoseconds(count: usize, mut run: impl FnMut()) -> f64 {
    run();
    median(|| time(&mut run).1).as_nanos() as f64 / count as f64
}

/// The median of several measurements.
pub(crate) fn median<T: Ord + Copy>(mut measure: impl FnMut() -> T) -> T {
    let mut all: Vec<T> = (0..RUNS).map(|_| measure()).collect();
    all.sort_unstable();
    all[RUNS / 2]
}

/// What `run` returned and how long it took.
pub(crate) fn time<R>(run: impl FnOnce() -> R) -> (R, Duration) {
    let start = Instant::now();
    let result = run();
    (result, start.elapsed())
}

/// Milliseconds with one digit behind the point.
pub(crate) fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

/// A number in groups of three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A table of figures, printed as Markdown.
pub(crate) struct Figures {
    /// The head, then the rows.
    rows: Vec<Vec<String>>,
}

impl Figures {
    /// A table with these columns.
    pub(crate) fn new<S: Into<String>>(head: impl IntoIterator<Item = S>) -> Self {
        Self { rows: vec![head.into_iter().map(Into::into).collect()] }
    }

    /// One more row.
    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Prints it below `title`.
    pub(crate) fn print(&self, title: &str) {
        println!("\n{title}\n");
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            |column| self.rows.iter().filter_map(|r: &Vec<String>| r.get(column)).map(String::len).max();
        let widths: Vec<usize> = (0..columns).filter_map(width).collect();
        for (at, row) in self.rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
                0 => format!(" {cell:<width$} |"),
                _ => format!(" {cell:>width$} |"),
            });
            println!("|{}", cells.collect::<String>());
            if at == 0 {
                let rules = widths.iter().enumerate().map(|(column, width)| match column {
                    0 => format!("-{}-|", "-".repeat(*width)),
                    _ => format!("-{}:|", "-".repeat(*width)),
                });
                println!("|{}", rules.collect::<String>());
            }
        }
    }
}
