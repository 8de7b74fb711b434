//! Changes of single EndpointSlices, spread over the cluster.

use std::sync::Arc;

use outlast::drill::day::rows::{rows, with_rows};
use outlast::zone::Table;
use outlast::zone::change::Change;
use outlast::zone::object::{EndpointSlice, Object};

use super::cluster::{measured, table};

/// Slices that change; each loses its last endpoint and gets it back.
const SLICES: usize = 500;

/// What the writer does for a change: a new generation, the change, and the old one goes when its last reader
/// does.
pub(crate) fn one_change(published: &mut Arc<Table>, change: Change) {
    let mut table = Table::clone(published);
    table.apply([change], 2);
    *published = Arc::new(table);
}

/// The changes, of which the second half undoes the first, and the table to apply them to.
pub(crate) fn prepare(size: usize) -> (Vec<Change>, Arc<Table>) {
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
    let mut rows = rows(slice);
    rows.pop();
    with_rows(slice, &rows)
}
