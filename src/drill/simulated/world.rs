//! An API server, two hubs and two nodes in simulated time; nodes are asked all the time, by both ways of answering.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::time::Instant;

use crate::drill::ask::judge::{Judge, Reply, Rules};
use crate::drill::ask::message::{Message, Question};
use crate::drill::ask::questions;
use crate::drill::ask::tally::Tally;
use crate::drill::churn;
use crate::drill::cluster::Cluster;
use crate::drill::files;
use crate::drill::memory::Network;
use crate::drill::memory::disk::FillingDisk;
use crate::drill::memory::hub::{self, MemoryHub};
use crate::drill::memory::node::{self, Follows, MemoryNode};
use crate::drill::memory::wires::{Flow, Wires};
use crate::drill::report::Figures;
use crate::drill::standin::changes::Changes;
use crate::drill::standin::{Config, Standin, seed};
use crate::drill::{Observed, Play, Played, Without};
use crate::ops::clock::WallClock;
use crate::ops::jitter::Jitter;
use crate::snapshot::disk::{Disk as _, RealDisk};
use crate::source::hub::access::DEFAULT_PORT;
use crate::store::guard_config::GuardConfig;
use crate::store::state::DataState;

/// How many hubs and nodes there are.
const HUBS: usize = 2;
const NODES: usize = 2;

/// Services of the cluster, with ten endpoints each.
const SERVICES: usize = 50;

/// Bytes of changes that a hub keeps for each view.
const HISTORY_BYTES: usize = 1 << 20;

/// Unix time at the beginning in milliseconds: 2026-01-01T00:00:00Z.
const BEGIN_MS: u64 = 1_767_225_600_000;

/// How long all is watched before anything happens, and for how long nodes may take at most to be live before that.
const BEGINNING: Duration = Duration::from_secs(60);
const LIVE_WITHIN: Duration = Duration::from_secs(180);

/// No answer has said for so long that it is old: then all have recovered.
const RECOVERED: Duration = Duration::from_secs(10);

/// How long that is waited for.
const MAX_RECOVERY: Duration = Duration::from_secs(300);

/// Who asks, and where.
const CLIENT: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 0, 1), 5353);
const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 53);

/// What is played.
pub(super) struct Shape {
    /// Time between two questions to a node.
    pub(super) ask_every: Duration,
    /// Time between two changes of the cluster.
    pub(super) change_every: Duration,
    /// What is right.
    pub(super) rules: Rules,
}

/// A hub, whether it runs or not.
struct HubPlace {
    /// The hub.
    hub: Option<MemoryHub>,
    /// Its way to the API server.
    api: Wires,
    /// How often it was started.
    life: u32,
}

/// A node, whether it runs or not.
struct NodePlace {
    /// The node.
    node: Option<MemoryNode>,
    /// Its way to each hub.
    wires: HashMap<SocketAddr, Wires>,
    /// How often it was started anew.
    life: u32,
}

/// Everything.
pub(super) struct World<'a> {
    /// What is played.
    play: &'a Play<'a>,
    /// How.
    shape: Shape,
    /// The API server.
    pub(super) standin: Standin,
    /// Where hubs are reached.
    network: Network,
    /// The hubs.
    hubs: [HubPlace; HUBS],
    /// The nodes.
    nodes: [NodePlace; NODES],
    /// Where snapshots of nodes are.
    pub(super) disk: FillingDisk,
    /// Tells what is right.
    judge: Judge,
    /// What was counted.
    tally: Tally,
    /// What is asked in turn.
    questions: Vec<Question>,
    /// Questions so far.
    asked: usize,
    /// What changes in turn; how often it has; whether it goes on.
    changes: (Changes, u32, bool),
    /// When the next question and the next change are due.
    next: [Instant; 2],
    /// When the fault began and ended.
    fault: (Option<Instant>, Option<Instant>),
    /// For whatever starts next.
    jitter: Jitter,
    /// When all began.
    origin: Instant,
    /// What was promised besides and not kept.
    pub(super) broken: Vec<String>,
}

/// Where hubs are.
fn addresses() -> [SocketAddr; HUBS] {
    [1, 2].map(|host| (Ipv4Addr::new(10, 9, 0, host), DEFAULT_PORT).into())
}

impl<'a> World<'a> {
    /// Starts everything in the current runtime, and asks until all nodes are live.
    ///
    /// # Errors
    /// Something cannot be started.
    pub(super) async fn start(play: &'a Play<'a>, shape: Shape) -> anyhow::Result<Self> {
        let config = Config { fresh_namespaces: false, seed: play.seed, ..Config::default() };
        let standin = Standin::in_memory(config).context("starting the API server")?;
        let etcd = standin.etcd();
        seed::cluster(etcd, Cluster::sized(SERVICES, SERVICES * 10).seed(play.seed).possible()?, |_| ())?;
        churn::prepare(etcd)?;
        etcd.clear_history();
        let judge = Judge::begin(etcd, shape.rules.clone());
        let (questions, changes) = (questions::of(judge.lives(), play.seed), Changes::of(etcd, play.seed));
        let now = Instant::now();
        let wires = || addresses().map(|hub| (hub, Wires::default())).into_iter().collect();
        let mut world = Self {
            play,
            shape,
            standin,
            network: Network::default(),
            hubs: [(); HUBS].map(|()| HubPlace { hub: None, api: Wires::default(), life: 0 }),
            nodes: [(); NODES].map(|()| NodePlace { node: None, wires: wires(), life: 0 }),
            disk: FillingDisk::default(),
            judge,
            tally: Tally::new(NODES, now),
            questions,
            asked: 0,
            changes: (changes, 0, true),
            next: [now; 2],
            fault: (None, None),
            jitter: Jitter::from_seed(play.seed),
            origin: now,
            broken: Vec::new(),
        };
        world.start_hubs()?;
        world.start_nodes()?;
        let is_live = |place: &NodePlace| place.node.as_ref().is_some_and(|n| n.state() == DataState::Live);
        while !world.nodes.iter().all(is_live) {
            ensure!(now.elapsed() < LIVE_WITHIN, "not every node is live after {LIVE_WITHIN:?}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        world.tally = Tally::new(NODES, Instant::now());
        world.next = [Instant::now(); 2];
        world.pass(BEGINNING).await;
        Ok(world)
    }

    /// Unix time.
    fn clock(&self) -> Arc<WallClock> {
        let origin = self.origin;
        let now = move || BEGIN_MS + u64::try_from(origin.elapsed().as_millis()).unwrap_or_default();
        Arc::new(WallClock::with_system(0, now))
    }

    /// Starts the hubs that do not run.
    ///
    /// # Errors
    /// One cannot be started.
    pub(super) fn start_hubs(&mut self) -> anyhow::Result<()> {
        for n in 0..HUBS {
            if self.hubs[n].hub.is_some() {
                continue;
            }
            // Without snapshots each begins with nothing.
            let life = if self.play.is_without(Without::Snapshot) { self.hubs[n].life } else { 0 };
            let dir = self.play.folder.join(format!("hub-{n}-{life}"));
            RealDisk.make_dir(&dir).context("making a hub's folder")?;
            let setting = hub::Setting {
                address: addresses()[n],
                hubs: &addresses(),
                dir: &dir,
                disk: Arc::new(RealDisk),
                history_bytes: HISTORY_BYTES,
                guard: GuardConfig::default(),
                clock: self.clock(),
                jitter: self.jitter.fork(),
            };
            let place = &mut self.hubs[n];
            place.hub = Some(MemoryHub::start(setting, &self.standin, &place.api, &self.network)?);
            place.life += 1;
        }
        Ok(())
    }

    /// Starts the nodes that do not run.
    ///
    /// # Errors
    /// One cannot be started.
    pub(super) fn start_nodes(&mut self) -> anyhow::Result<()> {
        for n in 0..NODES {
            if self.nodes[n].node.is_some() {
                continue;
            }
            let corefile = self.corefile(n);
            let setting = node::Setting {
                corefile: &corefile,
                disk: Arc::new(self.disk.clone()),
                clock: self.clock(),
                jitter: self.jitter.fork(),
            };
            let place = &mut self.nodes[n];
            let follows = Follows::Hubs {
                name: format!("node-{n}"),
                network: &self.network,
                wires: place.wires.clone(),
            };
            place.node = Some(MemoryNode::start(setting, follows)?);
        }
        Ok(())
    }

    /// The Corefile of a node.
    fn corefile(&self, n: usize) -> String {
        let hubs = addresses().map(|hub| hub.to_string()).join(" ");
        let mut lines = format!("hub {hubs}\nhub_plain\n");
        if !self.play.is_without(Without::Snapshot) {
            lines.push_str(&format!("snapshot {}\n", self.snapshots(n).display()));
        }
        if self.play.is_without(Without::Limit) {
            // Data may not be of any age: just beyond what is stale.
            lines.push_str("max_stale 31s\n");
        }
        format!(".:0 {{\nkubernetes cluster.local in-addr.arpa {{\n{lines}}}\n}}\n")
    }

    /// Where snapshots of a node are.
    fn snapshots(&self, n: usize) -> PathBuf {
        self.play.folder.join(format!("node-{n}"))
    }

    /// SIGKILL of all hubs.
    pub(super) async fn kill_hubs(&mut self) {
        for place in &mut self.hubs {
            if let Some(hub) = place.hub.take() {
                hub.crash().await;
            }
        }
    }

    /// SIGKILL of all nodes.
    pub(super) async fn kill_nodes(&mut self) {
        for place in &mut self.nodes {
            if let Some(node) = place.node.take() {
                node.crash().await;
                place.life += 1;
            }
        }
    }

    /// The newest snapshot of each node, which does not run, is damaged; `older` go with it.
    ///
    /// # Errors
    /// There is none, or it cannot be changed.
    pub(super) fn damage_snapshots(&self, older: bool) -> anyhow::Result<()> {
        for n in 0..NODES {
            let dir = self.snapshots(n);
            let mut names: Vec<_> = RealDisk.list(&dir).context("looking for snapshots")?;
            names.retain(|entry| entry.name.ends_with(".snap"));
            names.sort_unstable_by(|one, other| one.name.cmp(&other.name));
            let newest = names.pop().context("there is no snapshot")?;
            files::replace(&dir.join(&newest.name), "damaged").context("damaging a snapshot")?;
            for entry in names.iter().filter(|_| older) {
                RealDisk.remove(&dir.join(&entry.name)).context("removing a snapshot")?;
            }
        }
        Ok(())
    }

    // --- the fault ---

    /// The fault begins: from now on requests are counted.
    pub(super) fn begin(&mut self) {
        self.standin.requests().reset();
        let now = Instant::now();
        // All nodes are live.
        self.judge.rules().proved = Some(now);
        self.fault.0 = Some(now);
    }

    /// The fault has ended.
    pub(super) fn end(&mut self) {
        self.fault.1 = Some(Instant::now());
    }

    /// Nobody reaches the API server, and connections end.
    pub(super) fn cut(&self) {
        for place in &self.hubs {
            place.api.set(Flow::Refused);
            place.api.cut();
        }
    }

    /// It is reached again.
    pub(super) fn heal(&self) {
        self.hubs.iter().for_each(|place| place.api.set(Flow::Open));
    }

    /// What is right, from now on.
    pub(super) fn rules(&mut self) -> &mut Rules {
        self.judge.rules()
    }

    /// Whether the cluster goes on changing.
    pub(super) fn changes(&mut self, goes_on: bool) {
        self.changes.2 = goes_on;
    }

    /// Changes something.
    pub(super) fn change(&mut self) {
        let (changes, number, _) = &mut self.changes;
        churn::change(self.standin.etcd(), changes, *number);
        *number = number.wrapping_add(1);
    }

    /// Notes what was promised besides, if it does not hold.
    pub(super) fn check(&mut self, holds: bool, broken: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(broken());
        }
    }

    /// The sum of a metric of each node that runs.
    pub(super) fn metric(&self, name: &str) -> Vec<f64> {
        let sum = |text: String| {
            let is = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
            let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
            text.lines().filter(is).filter_map(value).sum()
        };
        self.nodes.iter().filter_map(|place| place.node.as_ref()).map(|node| sum(node.scrape())).collect()
    }

    /// How old each node says that its data is.
    pub(super) fn ages(&self) -> Vec<Duration> {
        self.nodes.iter().filter_map(|place| place.node.as_ref()).map(|node| node.store.age()).collect()
    }

    // --- time ---

    /// Lets time pass; nodes that run are asked, and the cluster changes.
    pub(super) async fn pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while let next = self.next[0].min(self.next[1])
            && next < end
        {
            tokio::time::sleep_until(next).await;
            if self.next[1] <= next {
                self.next[1] = next + self.shape.change_every;
                if self.changes.2 {
                    self.change();
                }
            }
            if self.next[0] <= next {
                self.next[0] = next + self.shape.ask_every;
                self.ask_all().await;
            }
        }
        tokio::time::sleep_until(end).await;
    }

    /// Asks each node the next question.
    async fn ask_all(&mut self) {
        let Some(question) = self.questions.get(self.asked % self.questions.len().max(1)).cloned() else {
            return;
        };
        // Every other round of the same questions takes the other way.
        let inline = (self.asked + self.asked / self.questions.len().max(1)).is_multiple_of(2);
        self.asked += 1;
        for n in 0..NODES {
            let place = &mut self.nodes[n];
            let Some(node) = &mut place.node else { continue };
            let (life, sent) = (place.life, Instant::now());
            let bytes = question.bytes(self.asked as u16);
            let at_once = if inline { node.lanes.inline(&bytes, SocketAddr::from(CLIENT)) } else { None };
            let reply = match at_once {
                Some(reply) => Some(reply),
                None => node.lanes.general(&bytes, CLIENT.into(), SERVER.into()).await,
            };
            let outcome = reply
                .ok_or_else(|| "no reply".to_owned())
                .and_then(|reply| Message::parse(&reply).map_err(|error| error.to_string()));
            let reply =
                Reply { node: n, life, sent, came: Instant::now(), question: question.clone(), outcome };
            self.judge.read(self.standin.etcd());
            let judgement = self.judge.judge(&reply);
            self.tally.add(&reply, &judgement);
        }
    }

    /// Lets time pass until no node says any more that its answers are old, but no longer than any promise.
    pub(super) async fn until_fresh(&mut self) {
        let deadline = Instant::now() + MAX_RECOVERY;
        self.pass(RECOVERED).await;
        while !self.tally.is_fresh(RECOVERED) && Instant::now() < deadline {
            self.pass(Duration::from_secs(1)).await;
        }
    }

    // --- what was seen ---

    /// What was seen.
    pub(super) fn observed(mut self) -> Played {
        let end = Instant::now();
        let (began, healed) = (self.fault.0.unwrap_or(end), self.fault.1.unwrap_or(end));
        let [lists, watches, small] = self.requests();
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (unknown, panics) = (self.tally.unknown(), self.metric("coredns_panics_total"));
        self.check(unknown == 0, || format!("{unknown} answers were not judged"));
        self.check(panics.iter().all(|n| *n == 0.0), || format!("nodes have caught {panics:?} panics"));
        let figures = Figures {
            queries: self.tally.queries(),
            failed: self.tally.failed(),
            wrong: self.tally.wrong(),
            stale: self.tally.stale(),
            // Nothing takes time here but waiting.
            p99_us: 0,
            gap_ms: 0,
            detect_ms: self.tally.detected(began).map(ms),
            recover_ms: self.tally.recovered(healed, end).map(ms),
            lists,
            watches,
            small,
            counted_ms: ms(end - began),
            took_ms: 0,
        };
        let first_wrong = self.tally.quoted().to_vec();
        Played::Observed(Box::new(Observed {
            figures,
            broken: self.broken,
            first_wrong,
            ..Observed::default()
        }))
    }

    /// Lists, watches and other requests that the API server has seen since the beginning of the fault.
    fn requests(&self) -> [u64; 3] {
        self.standin.requests().by_weight(|_| true)
    }
}
