//! How a table is written.

use std::net::IpAddr;

use nlink::netlink::nftables::{SetElement, Transaction};

use crate::net::Ip;
use crate::net::layout::{ChainName, LIFE, Layout, SetName, Terms, elements};

/// Elements in one message: it holds 64 KiB, and one with the longest key takes less than 64 bytes.
const ELEMENTS: usize = 500;

/// A table that is not there, with these addresses live and these connections remembered.
pub(super) fn with_table(
    mut batch: Transaction,
    layout: &Layout,
    ip: Ip,
    live: &[IpAddr],
    flows: &[SetElement],
) -> Transaction {
    batch = batch.add_table(layout.table(), Terms::of(ip).family);
    let live: Vec<_> = elements(live, ip).into_iter().map(|element| element.with_timeout(LIFE)).collect();
    for name in SetName::ALL {
        let set = layout.set(ip, name);
        batch = batch.add_set(set.clone());
        let always = layout.elements(ip, name).unwrap_or_default();
        let inside: &[SetElement] = match name {
            SetName::Ours | SetName::Local => &always,
            SetName::Live | SetName::Held => &live,
            SetName::Flows => flows,
        };
        for some in inside.chunks(ELEMENTS) {
            batch = batch.add_set_elements(&set, some);
        }
    }
    for name in ChainName::ALL {
        batch = batch.add_chain(layout.chain(ip, name));
        // The chains that they lead to are there already.
        batch = with_rules(batch, layout, ip, name);
    }
    batch
}

/// What is always in a set, where these keys are in it.
pub(super) fn with_elements(
    batch: Transaction,
    layout: &Layout,
    ip: Ip,
    name: SetName,
    there: Vec<Vec<u8>>,
) -> Transaction {
    let (set, mut missing) = (layout.set(ip, name), layout.elements(ip, name).unwrap_or_default());
    let is_wanted = |key: &Vec<u8>| missing.iter().any(|element| element.key() == key.as_slice());
    let strange: Vec<_> = there.iter().filter(|key| !is_wanted(key)).cloned().map(SetElement::new).collect();
    missing.retain(|element| !there.iter().any(|key| element.key() == key.as_slice()));
    // A message without elements would be refused.
    let batch = if strange.is_empty() { batch } else { batch.del_set_elements(&set, &strange) };
    if missing.is_empty() { batch } else { batch.add_set_elements(&set, &missing) }
}

/// The rules of a chain that is empty.
pub(super) fn with_rules(batch: Transaction, layout: &Layout, ip: Ip, chain: ChainName) -> Transaction {
    layout.rules(ip, chain).into_iter().fold(batch, Transaction::add_rule)
}
