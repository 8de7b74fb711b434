//! An API server, two hubs and three nodes, and the wires between them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use outlast::drill::memory::Network;
use outlast::drill::memory::hub::{MemoryHub, Setting};
use outlast::drill::memory::node::MemoryNode;
use outlast::drill::memory::wires::{Flow, Wires};
use outlast::drill::standin::faults::{Fault, Rule};
use outlast::drill::standin::requests::ListKind;
use outlast::drill::standin::{Config, Standin};
use outlast::ops::jitter::Jitter;
use outlast::store::guard_config::{DEFAULT_GUARD_HOLD, GuardConfig};
use outlast::zone::object::Kind;
use serde_json::json;
use tokio::time::Instant;

use super::disks::{PartyDisk, Trouble};
use super::node::{self, Counts, NODES, SNAPSHOTS};
use super::past::{Served, object};
use super::step::{OBJECTS, Script, Wire};
use super::unwired::clock;

/// Where hubs are.
pub(super) const HUBS: [&str; 2] = ["10.9.0.1:9953", "10.9.0.2:9953"];

/// Whoever has a disk.
pub(super) const PARTIES: usize = HUBS.len() + NODES.len();

/// What every cluster has.
const LASTING: [(Kind, &str, &str); 2] =
    [(Kind::Service, "default", "kubernetes"), (Kind::EndpointSlice, "default", "kubernetes")];

/// What else there is where lists are judged; the endpoint is that of the first of [`MUCH`].
const LASTING_WHERE_JUDGED: [(Kind, &str, &str); 2] =
    [(Kind::EndpointSlice, "default", "s0-1"), (Kind::Pod, "default", "lasting")];

/// Services that are there for good where lists are judged: more than may be lost without a question.
pub(super) const MUCH: [&str; 16] =
    ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "s12", "s13", "s14", "s15"];

/// Bytes of history of a hub that keeps little: a batch or two.
const SHORT_LOG: usize = 400;

/// A node, whether it runs or not.
pub(super) struct Place {
    /// The node that runs.
    pub(super) node: Option<MemoryNode>,
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
    /// Where its snapshots are.
    pub(super) disk: PartyDisk,
}

/// What a script plays in.
pub(super) struct World {
    /// The API server.
    pub(super) standin: Standin,
    /// Where hubs are reached.
    network: Network,
    /// The hubs that run.
    pub(super) hubs: [Option<MemoryHub>; HUBS.len()],
    /// Where their snapshots are.
    disks: [PartyDisk; HUBS.len()],
    /// Their ways to the API server.
    pub(super) api: [Wires; HUBS.len()],
    /// The nodes.
    pub(super) places: [Place; NODES.len()],
    /// Objects that were written.
    written: u32,
    /// Whether hubs keep few batches.
    short_log: bool,
    /// Whether hubs judge lists.
    pub(super) guard: bool,
    /// For whatever starts next.
    jitter: Jitter,
    /// Where kubeconfigs are.
    dir: tempfile::TempDir,
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
        // What goes wrong is above TLS or below it, and never within.
        let mut config = Config { seed: script.seed, tls: false, ..Config::default() };
        if script.short_history {
            config.history = 3;
        }
        let places = NODES.map(|asks| Place {
            node: None,
            served: Served::of(asks.headless_only),
            had_data: false,
            looked_at: Default::default(),
            before: Counts::default(),
            wires: addresses().into_iter().map(|hub| (hub, Wires::default())).collect(),
            disk: PartyDisk::new(Path::new(SNAPSHOTS)),
        });
        let dir = tempfile::tempdir().unwrap();
        let mut world = Self {
            standin: Standin::in_memory(config).unwrap(),
            network: Network::default(),
            hubs: Default::default(),
            disks: HUBS.map(|_| PartyDisk::new(&dir.path().join("snapshots"))),
            api: Default::default(),
            places,
            written: 0,
            short_log: script.short_log,
            guard: script.guard,
            jitter: Jitter::from_seed(script.seed),
            dir,
            origin: Instant::now(),
        };
        let first = [OBJECTS[0], OBJECTS[2], OBJECTS[5], OBJECTS[8]];
        LASTING.into_iter().chain(first).for_each(|o| world.put(o));
        if world.guard {
            // Services alone: where they are lost, nothing else is looked at.
            MUCH.into_iter().for_each(|name| world.put_service(name));
            // One of each kind that is judged: nobody believes a list without any, true or not.
            LASTING_WHERE_JUDGED.into_iter().for_each(|what| world.put_of(what, MUCH[0]));
        }
        world
    }

    /// Makes a service with a cluster address.
    fn put_service(&mut self, name: &str) {
        self.written += 1;
        let what = (Kind::Service, "default", name);
        self.standin.etcd().put(what.0, &object(what, self.written)).unwrap();
    }

    /// Makes an object of a service, whichever that would be otherwise.
    fn put_of(&mut self, what: (Kind, &str, &str), service: &str) {
        self.written += 1;
        let mut object = object(what, self.written);
        object["metadata"]["labels"] = json!({ "kubernetes.io/service-name": service });
        self.standin.etcd().put(what.0, &object).unwrap();
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

    /// A hub's disk is lost, if it does not run.
    pub(super) fn wipe(&mut self, hub: usize) {
        if self.hubs[hub].is_none() {
            self.disks[hub].wipe();
        }
    }

    /// The disk of a party: hubs come first, then nodes.
    pub(super) fn disk(&mut self, party: usize) -> &mut PartyDisk {
        match party.checked_sub(HUBS.len()) {
            None => &mut self.disks[party],
            Some(node) => &mut self.places[node].disk,
        }
    }

    /// Starts a hub, unless it runs.
    pub(super) fn start_hub(&mut self, hub: usize) {
        if self.hubs[hub].is_some() {
            return;
        }
        let setting = Setting {
            address: addresses()[hub],
            hubs: &addresses(),
            dir: self.dir.path(),
            disk: self.disks[hub].disk(),
            history_bytes: if self.short_log { SHORT_LOG } else { 1 << 20 },
            guard: GuardConfig { on: self.guard, hold: DEFAULT_GUARD_HOLD },
            clock: clock(self.origin),
            jitter: self.jitter.fork(),
        };
        let started = MemoryHub::start(setting, &self.standin, &self.api[hub], &self.network);
        self.hubs[hub] = Some(started.unwrap());
    }

    /// Lists of everything are empty so many times, if every hub has data on its disk. Whether they are.
    pub(super) fn empty(&self, times: u32) -> bool {
        if !self.disks.iter().all(PartyDisk::has_snapshot) {
            return false;
        }
        for list in [ListKind::Consistent, ListKind::Cached, ListKind::Streaming] {
            self.standin.faults().add(Rule::new(Fault::Empty).on_lists(list).times(times));
        }
        true
    }

    /// SIGKILL of a hub, if it runs.
    pub(super) async fn crash_hub(&mut self, hub: usize) {
        if let Some(hub) = self.hubs[hub].take() {
            hub.crash().await;
            // As at a node: a write to the disk that is under way ends.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Starts a node, unless it runs.
    pub(super) fn start(&mut self, number: usize) {
        let (place, jitter) = (&mut self.places[number], self.jitter.fork());
        if place.node.is_some() {
            return;
        }
        let (behind, has_data) = place.disk.starts();
        if behind {
            place.served.forget();
            place.had_data = has_data;
        }
        let (disk, wires) = (place.disk.disk(), place.wires.clone());
        place.node = Some(node::start(number, disk, self.origin, &self.network, wires, jitter));
    }

    /// Starts everything that does not run.
    pub(super) fn start_all(&mut self) {
        (0..HUBS.len()).for_each(|hub| self.start_hub(hub));
        (0..NODES.len()).for_each(|node| self.start(node));
    }

    /// All faults end.
    pub(super) fn well(&mut self) {
        self.standin.faults().clear();
        (0..PARTIES).for_each(|party| self.disk(party).meets(Trouble::Well));
        self.api.iter().for_each(|wires| wires.set(Flow::Open));
        for place in &self.places {
            // In the same order each time.
            addresses().into_iter().for_each(|hub| place.wires[&hub].set(Flow::Open));
        }
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
