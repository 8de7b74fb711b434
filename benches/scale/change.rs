//! One change of one EndpointSlice, with a new generation for it.

use crate::Column;
use crate::support::callgrind::{self, NotCounted, counted};
use crate::support::change::{one_change, prepare};
use crate::support::{grouped, nanoseconds};

/// Makes this program apply the changes once and print nothing but their number: what runs under callgrind.
pub(crate) const COUNT: &str = "--count";

/// Time and instructions. The time has the caches in it; other work on the machine does not change instructions.
pub(crate) fn measure(endpoints: usize, column: &mut Column) {
    let (changes, mut published) = prepare(endpoints);
    let mut copies = Vec::new();
    let time = nanoseconds(changes.len(), || {
        // Copies of the changes are made outside of the measured function but within the time: they are
        // subtracted below.
        copies.clone_from(&changes);
        copies.drain(..).for_each(|change| one_change(&mut published, change));
    }) - nanoseconds(changes.len(), || copies.clone_from(&changes));
    drop((changes, published));
    column.add("apply a change", format!("{:.1} µs", time / 1e3));
    let counted = instructions(endpoints).map_or_else(|why| why.to_string(), |n| grouped(n.round() as u64));
    column.add("instructions of that", counted);
}

/// Instructions of a change.
fn instructions(endpoints: usize) -> Result<f64, NotCounted> {
    let run = callgrind::run([COUNT, &endpoints.to_string()])?;
    let changes = run.printed.trim().parse::<f64>().ok();
    let total = run.calls.first().zip(changes).map(|(total, changes)| *total as f64 / changes);
    total.ok_or_else(|| NotCounted::Failed("nothing was counted".to_owned()))
}

/// Applies the changes once, and prints how many they were.
pub(crate) fn count(endpoints: usize) {
    let (mut changes, mut published) = prepare(endpoints);
    println!("{}", changes.len());
    counted(&mut || changes.drain(..).for_each(|change| one_change(&mut published, change)));
}
