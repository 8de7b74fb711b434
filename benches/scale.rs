//! What everything costs as the cluster grows: lookups, changes, snapshots, memory and the start of a node, at 1,000 to
//! 1,000,000 endpoints.
//!
//! ```text
//! cargo bench --bench scale [-- --quick]
//! ```
//!
//! Loads and starts are measured in processes of their own: what a process has freed before would make its memory
//! figures meaningless. Instructions are counted where there is valgrind.

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]
#![allow(clippy::panic, reason = "a bench that cannot measure has to fail")]

#[path = "scale/ask.rs"]
mod ask;
#[path = "scale/change.rs"]
mod change;
#[path = "scale/disk.rs"]
mod disk;
#[path = "scale/start.rs"]
mod start;
mod support;

use std::path::Path;

use support::alloc::Counting;
use support::cluster::{measured, table};
use support::{Figures, Options, grouped};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What was measured at one size.
#[derive(Default)]
struct Column {
    /// What, and how much it is; in the same order at every size.
    cells: Vec<(String, String)>,
}

impl Column {
    fn add(&mut self, what: impl Into<String>, value: impl Into<String>) {
        self.cells.push((what.into(), value.into()));
    }
}

/// Everything at one size.
fn measure(endpoints: usize, options: Options) -> Column {
    let mut column = Column::default();
    let cluster = measured(endpoints);
    let table = table(cluster.objects);
    assert_eq!(table.endpoint_count(), endpoints, "the cluster has the size that is printed");
    ask::measure(&table, &cluster.questions, options, &mut column);
    let dir = tempfile::tempdir().expect("a temporary folder");
    disk::save(&table, dir.path(), &mut column);
    // What is measured from here on has the machine to itself.
    drop(table);
    change::measure(endpoints, &mut column);
    disk::load(dir.path(), endpoints, &mut column);
    let name = cluster.questions.first().and_then(|q| q.names.first()).expect("there is a ClusterIP");
    start::measure(dir.path(), name, options, &mut column);
    column
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |option: &str| arguments.iter().position(|a| a == option).map(|at| &arguments[at + 1]);
    if let Some(size) = after(change::COUNT) {
        return change::count(size.parse().expect("a number of endpoints"));
    }
    if let Some(dir) = after(disk::LOAD) {
        return disk::load_here(Path::new(dir));
    }
    let options = Options::from_args();
    let sizes = options.sizes();
    let columns: Vec<_> = sizes.iter().map(|size| measure(*size, options)).collect();
    let head = sizes.iter().map(|size| format!("{} endpoints", grouped(*size as u64)));
    let mut figures = Figures::new(std::iter::once(String::new()).chain(head));
    for (at, (what, _)) in columns[0].cells.iter().enumerate() {
        let cells = columns.iter().map(|column| column.cells[at].1.clone());
        figures.row(std::iter::once(what.clone()).chain(cells));
    }
    figures.print("What it costs as the cluster grows");
}
