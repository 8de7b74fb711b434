//! Slices as rows, one endpoint each, which is easier to change than columns.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::zone::object::{Addresses, Endpoint, EndpointSlice, Endpoints};

/// One endpoint of a slice.
#[derive(Clone)]
pub struct Row {
    /// Its address.
    pub address: IpAddr,
    /// Its name in a StatefulSet, or empty.
    pub hostname: String,
    /// Its pod.
    pub target: String,
}

/// The endpoints of a slice.
pub fn rows(slice: &EndpointSlice) -> Vec<Row> {
    let row = |e: Endpoint<'_>| Row {
        address: e.address,
        hostname: e.hostname.to_owned(),
        target: e.target.to_owned(),
    };
    slice.endpoints.iter().map(row).collect()
}

/// The slice with these endpoints; those that are not of its family are left out.
pub fn with_rows(slice: &EndpointSlice, rows: &[Row]) -> EndpointSlice {
    let is_v4 = matches!(slice.endpoints.addresses(), Addresses::V4(_));
    let rows: Vec<_> = rows.iter().filter(|row| row.address.is_ipv4() == is_v4).collect();
    let addresses = if is_v4 {
        Addresses::V4(rows.iter().filter_map(|row| v4(row.address)).collect())
    } else {
        Addresses::V6(rows.iter().filter_map(|row| v6(row.address)).collect())
    };
    let column = |of: fn(&Row) -> &str| rows.iter().map(|row| of(row)).collect::<Vec<_>>();
    let endpoints = Endpoints::new(addresses, &column(|r| &r.hostname), &column(|r| &r.target), &[]);
    EndpointSlice { endpoints: endpoints.expect("all rows are of one family"), ..slice.clone() }
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
