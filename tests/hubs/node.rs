//! A node without sockets that follows hubs.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use outlast::ops::jitter::Jitter;
use outlast::ops::metrics::Metrics;
use outlast::source::command;
use outlast::source::{SourceConfig, UPDATE_QUEUE, Wanted};
use outlast::store::Store;
use outlast::store::state::{DataState, Limits};
use outlast::testkit::memory::Network;
use outlast::testkit::memory::wires::Wires;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::unwired::{environment, planned, writer};

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

/// A node that runs.
pub(super) struct Node {
    /// What it answers from.
    pub(super) store: Arc<Store>,
    /// What it wants of its source.
    wanted: Wanted,
    /// What is measured.
    metrics: Arc<Metrics>,
    /// Ends it.
    stop: CancellationToken,
    /// Its source.
    source: JoinHandle<()>,
    /// Its writer.
    writer: JoinHandle<()>,
}

impl Node {
    /// Starts the `number`th node with its snapshots in `dir`, over these wires to hubs.
    pub(super) fn start(
        number: usize,
        dir: &Path,
        origin: Instant,
        network: &Network,
        wires: HashMap<SocketAddr, Wires>,
        jitter: Jitter,
    ) -> Self {
        let (path, lines) = (dir.display(), NODES[number].lines);
        let seeds: Vec<_> = wires.keys().map(ToString::to_string).collect();
        let corefile = format!(
            ".:0 {{\nkubernetes cluster.local in-addr.arpa {{\nhub {}\nhub_plain\nsnapshot {path}/node-{number}\n\
             {lines}\n}}\n}}\n",
            seeds.join(" ")
        );
        let environment = environment(origin);
        let mut plan = planned(&corefile, &environment);
        let (config, store) = plan.process.stores.pop().expect("a kubernetes block has a store");
        let (source, wanted) = (config.source.clone(), config.wanted);
        let SourceConfig::Hub(mut access) = source else { panic!("it follows hubs") };
        access.name = format!("node-{number}");
        access.seeds.sort_unstable();
        let mut writer = writer(config, store.clone(), &environment);
        writer.guards(None);
        writer.boot();
        let (commands, commanded) = command::channel();
        writer.asks(commands);
        let source = network.source(&access, wanted, jitter, &environment.metrics, wires);
        let (updates, queue) = mpsc::channel(UPDATE_QUEUE);
        let stop = CancellationToken::new();
        let source = tokio::spawn(source.run(updates, commanded, stop.clone()));
        let writer = tokio::spawn(writer.run(queue, stop.clone()));
        Self { store, wanted, metrics: environment.metrics, stop, source, writer }
    }

    /// The state of its data.
    pub(super) fn state(&self) -> DataState {
        DataState::judge(self.store.facts(&self.store.current()), self.wanted.kinds(), Limits::default())
    }

    /// Whether it has data of every kind.
    pub(super) fn is_complete(&self) -> bool {
        self.wanted.kinds().minus(self.store.current().table.complete()).is_empty()
    }

    /// What was counted so far.
    pub(super) fn counts(&self) -> Counts {
        let text = self.metrics.render();
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

    /// SIGTERM.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.writer.await.unwrap();
        let _ = self.source.await;
    }

    /// SIGKILL.
    pub(super) async fn crash(self) {
        self.writer.abort();
        self.source.abort();
        let _ = (self.writer.await, self.source.await);
        // Time passes once a write to the disk that is under way has ended: it is not to meet those of the next node.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
