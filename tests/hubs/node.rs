//! A node without sockets that follows hubs.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use outlast::drill::memory::Network;
use outlast::drill::memory::node::{Follows, MemoryNode, Setting};
use outlast::drill::memory::wires::Wires;
use outlast::ops::jitter::Jitter;
use outlast::snapshot::disk::Disk;
use tokio::time::Instant;

use super::unwired::clock;

/// What a node asks of hubs.
#[derive(Clone, Copy)]
pub(super) struct Asks {
    /// Lines of its `kubernetes` block.
    pub(super) lines: &'static str,
    /// Whether it has only slices of headless services.
    pub(super) headless_only: bool,
}

/// One node of each kind.
pub(super) const NODES: [Asks; 3] = [
    Asks { lines: "pods verified", headless_only: false },
    Asks { lines: "", headless_only: false },
    Asks { lines: "endpoints headless", headless_only: true },
];

/// Where snapshots of a node are, on a disk of its own.
pub(super) const SNAPSHOTS: &str = "/snapshots";

/// What is counted of hubs at a node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counts {
    /// Whole states.
    pub(super) wholes: f64,
    /// Hubs that were left.
    pub(super) left: f64,
    /// Digests that differed.
    pub(super) mismatches: f64,
}

/// Starts the `number`th node with its snapshots on `disk`, over these wires to hubs.
pub(super) fn start(
    number: usize,
    disk: Arc<dyn Disk>,
    origin: Instant,
    network: &Network,
    wires: HashMap<SocketAddr, Wires>,
    jitter: Jitter,
) -> MemoryNode {
    let lines = NODES[number].lines;
    let mut hubs: Vec<_> = wires.keys().map(ToString::to_string).collect();
    hubs.sort_unstable();
    let corefile = format!(
        ".:0 {{\nkubernetes cluster.local in-addr.arpa {{\nhub {}\nhub_plain\nsnapshot {SNAPSHOTS}\n{lines}\n}}\n}}\n",
        hubs.join(" ")
    );
    let setting = Setting { corefile: &corefile, disk, clock: clock(origin), jitter };
    let follows = Follows::Hubs { name: format!("node-{number}"), network, wires };
    MemoryNode::start(setting, follows).unwrap()
}

/// What a node has counted so far.
pub(super) fn counts(node: &MemoryNode) -> Counts {
    let text = node.scrape();
    let sum = |name: &str| {
        let is = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
        text.lines().filter(is).filter_map(value).sum()
    };
    Counts {
        wholes: sum("outlast_hub_received_whole_states_total"),
        // Who goes back to its first hub loses nothing.
        left: sum("outlast_hub_left_total") - sum("outlast_hub_left_total{reason=\"home\"}"),
        mismatches: sum("outlast_hub_digest_mismatches_total"),
    }
}
