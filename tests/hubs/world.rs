//! An API server, two hubs and three nodes, and the wires between them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outlast::drill::standin::{Config, Standin};
use outlast::ops::clock::WallClock;
use outlast::ops::jitter::Jitter;
use outlast::snapshot::disk::RealDisk;
use outlast::store::guard_config::{DEFAULT_GUARD_HOLD, GuardConfig};
use outlast::testkit::memory::Network;
use outlast::testkit::memory::hub::{MemoryHub, Setting};
use outlast::testkit::memory::wires::{Flow, Wires};
use outlast::zone::object::Kind;
use serde_json::json;
use tokio::time::Instant;

use super::node::{Counts, NODES, Node};
use super::past::{Served, object};
use super::step::{OBJECTS, Script, Wire};
use super::unwired::unix_ms;

/// Where hubs are.
pub(super) const HUBS: [&str; 2] = ["10.9.0.1:9953", "10.9.0.2:9953"];

/// What every cluster has.
const LASTING: [(Kind, &str, &str); 2] =
    [(Kind::Service, "default", "kubernetes"), (Kind::EndpointSlice, "default", "kubernetes")];

/// Bytes of history of a hub that keeps little: a batch or two.
const SHORT_LOG: usize = 400;

/// A node, whether it runs or not.
#[derive(Default)]
pub(super) struct Place {
    /// The node that runs.
    pub(super) node: Option<Node>,
    /// What it has served.
    pub(super) served: Served,
    /// Whether the node that runs has had everything, or has found it on its disk.
    pub(super) had_data: bool,
    /// Generation and age that were looked at last.
    pub(super) looked_at: (u64, Duration),
    /// What nodes that ran here before have counted.
    pub(super) before: Counts,
    /// Its way to each hub.
    pub(super) wires: HashMap<SocketAddr, Wires>,
}

/// What a script plays in.
pub(super) struct World {
    /// The API server.
    pub(super) standin: Standin,
    /// Where hubs are reached.
    network: Network,
    /// The hubs that run.
    pub(super) hubs: [Option<MemoryHub>; HUBS.len()],
    /// Their ways to the API server.
    pub(super) api: [Wires; HUBS.len()],
    /// The nodes.
    pub(super) places: [Place; NODES.len()],
    /// Objects that were written.
    written: u32,
    /// Whether hubs keep few batches.
    short_log: bool,
    /// For whatever starts next.
    jitter: Jitter,
    /// All disks.
    pub(super) dir: tempfile::TempDir,
    /// When the script began.
    pub(super) origin: Instant,
}

/// The addresses of [`HUBS`].
pub(super) fn addresses() -> [SocketAddr; HUBS.len()] {
    HUBS.map(|hub| hub.parse().unwrap())
}

impl World {
    /// Nothing runs yet but the API server.
    pub(super) fn new(script: &Script) -> Self {
        let mut config = Config { seed: script.seed, ..Config::default() };
        if script.short_history {
            config.history = 3;
        }
        let places = NODES.map(|asks| Place {
            served: Served::of(asks.headless_only),
            wires: addresses().into_iter().map(|hub| (hub, Wires::default())).collect(),
            ..Place::default()
        });
        let mut world = Self {
            standin: Standin::in_memory(config).unwrap(),
            network: Network::default(),
            hubs: Default::default(),
            api: Default::default(),
            places,
            written: 0,
            short_log: script.short_log,
            jitter: Jitter::from_seed(script.seed),
            dir: tempfile::tempdir().unwrap(),
            origin: Instant::now(),
        };
        let first = [OBJECTS[0], OBJECTS[2], OBJECTS[5], OBJECTS[8]];
        LASTING.into_iter().chain(first).for_each(|o| world.put(o));
        world
    }

    /// Makes or changes an object; some services are headless.
    pub(super) fn put(&mut self, what: (Kind, &str, &str)) {
        self.written += 1;
        let mut object = object(what, self.written);
        if what.0 == Kind::Service && self.written.is_multiple_of(2) {
            object["spec"] = json!({ "type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"] });
        }
        self.standin.etcd().put(what.0, &object).unwrap();
    }

    /// Where a hub's disk is.
    fn disk(&self, hub: usize) -> std::path::PathBuf {
        self.dir.path().join(format!("hub-{hub}"))
    }

    /// A hub's disk is lost.
    pub(super) fn wipe(&self, hub: usize) {
        if self.hubs[hub].is_none() {
            // There may have been none yet.
            let _ = std::fs::remove_dir_all(self.disk(hub));
        }
    }

    /// Starts a hub, unless it runs.
    pub(super) fn start_hub(&mut self, hub: usize) {
        if self.hubs[hub].is_some() {
            return;
        }
        let (dir, origin) = (self.disk(hub), self.origin);
        std::fs::create_dir_all(&dir).unwrap();
        let setting = Setting {
            address: addresses()[hub],
            hubs: &addresses(),
            dir: &dir,
            disk: Arc::new(RealDisk),
            history_bytes: if self.short_log { SHORT_LOG } else { 1 << 20 },
            guard: GuardConfig { on: false, hold: DEFAULT_GUARD_HOLD },
            clock: Arc::new(WallClock::with_system(0, move || unix_ms(origin))),
            jitter: self.jitter.fork(),
        };
        let started = MemoryHub::start(setting, &self.standin, &self.api[hub], &self.network);
        self.hubs[hub] = Some(started.unwrap());
    }

    /// Starts a node, unless it runs.
    pub(super) fn start(&mut self, number: usize) {
        let (place, jitter) = (&mut self.places[number], self.jitter.fork());
        if place.node.is_none() {
            let wires = place.wires.clone();
            let node = Node::start(number, self.dir.path(), self.origin, &self.network, wires, jitter);
            place.node = Some(node);
        }
    }

    /// Starts everything that does not run.
    pub(super) fn start_all(&mut self) {
        (0..HUBS.len()).for_each(|hub| self.start_hub(hub));
        (0..NODES.len()).for_each(|node| self.start(node));
    }

    /// All faults end.
    pub(super) fn well(&self) {
        self.standin.faults().clear();
        let wires = self.api.iter().chain(self.places.iter().flat_map(|place| place.wires.values()));
        wires.for_each(|wires| wires.set(Flow::Open));
    }

    /// Hubs tell each other of restores.
    pub(super) fn meet(&self) {
        let epochs = |hub: &MemoryHub| hub.store().current().reached.told.epoch;
        let latest = self.hubs.iter().flatten().map(epochs).max().unwrap_or_default();
        for hub in self.hubs.iter().flatten().filter(|hub| epochs(hub) < latest) {
            hub.begin_epoch(latest);
        }
    }
}

/// Connections do so from now on.
pub(super) fn set(wires: &Wires, wire: Wire) {
    match wire {
        Wire::Open => wires.set(Flow::Open),
        Wire::Stalled => wires.set(Flow::Stalled),
        Wire::Slow => wires.set(Flow::Slow),
        Wire::Refused => wires.set(Flow::Refused),
        Wire::Cut => wires.cut(),
    }
}
