//! Changes of single EndpointSlices, spread over the cluster.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use outlast::zone::Table;
use outlast::zone::change::Change;
use outlast::zone::object::{Addresses, Endpoint, EndpointSlice, Endpoints, Object};

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

/// One endpoint of a slice.
#[derive(Clone)]
pub(crate) struct Row {
    /// Its address.
    pub(crate) address: IpAddr,
    /// Its name in a StatefulSet, or empty.
    pub(crate) hostname: String,
    /// Its pod.
    pub(crate) target: String,
}

/// The endpoints of a slice.
pub(crate) fn rows(slice: &EndpointSlice) -> Vec<Row> {
    let row = |e: Endpoint<'_>| Row {
        address: e.address,
        hostname: e.hostname.to_owned(),
        target: e.target.to_owned(),
    };
    slice.endpoints.iter().map(row).collect()
}

/// The slice with these endpoints, which are of its family.
pub(crate) fn with_rows(slice: &EndpointSlice, rows: &[Row]) -> EndpointSlice {
    let addresses = match slice.endpoints.addresses() {
        Addresses::V4(_) => Addresses::V4(rows.iter().filter_map(|r| v4(r.address)).collect()),
        Addresses::V6(_) => Addresses::V6(rows.iter().filter_map(|r| v6(r.address)).collect()),
    };
    let column = |of: fn(&Row) -> &str| rows.iter().map(of).collect::<Vec<_>>();
    let endpoints = Endpoints::new(addresses, &column(|r| &r.hostname), &column(|r| &r.target), &[]);
    EndpointSlice { endpoints: endpoints.expect("all rows are of one family"), ..slice.clone() }
}

/// The slice without its last endpoint.
fn without_last(slice: &EndpointSlice) -> EndpointSlice {
    let mut rows = rows(slice);
    rows.pop();
    with_rows(slice, &rows)
}

const fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

const fn v6(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    }
}
