//! An API server, two hubs and three nodes, asked all the time: what most drills are played with.
//!
//! The API server runs in this process, so that its history is at hand and its faults are calls; the others are
//! processes.

use std::net::IpAddr;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::footprint::Footprint;
use super::hub::Hub;
use super::node::{Node, Setting};
use super::{Process, setup};
use crate::drill::ask::judge::{FRESH, Rules};
use crate::drill::ask::lives::Lives;
use crate::drill::ask::load::{Load, Manner, Plan};
use crate::drill::ask::message::Question;
use crate::drill::ask::questions;
use crate::drill::ask::tally::Tally;
use crate::drill::churn::{self, Churn};
use crate::drill::cluster::{Cluster, Impossible};
use crate::drill::report::Figures;
use crate::drill::standin::faults::Network;
use crate::drill::standin::{Config, Standin, seed};
use crate::drill::{Observed, Play, Without, storm};
use crate::ops::niceness;

/// Time between two questions to a node: the usual, and in the short form.
const EVERY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(20));

/// Time between two changes of the cluster.
const CHANGE_EVERY: Duration = Duration::from_millis(50);

/// How long all is watched before anything happens.
const BEFORE: Duration = Duration::from_secs(3);

/// No answer has said for so long that it is old: then all have recovered.
const RECOVERED: Duration = Duration::from_secs(3);

/// How long that is waited for.
const MAX_RECOVERY: Duration = Duration::from_secs(100);

/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(50);

/// The largest memory of a process at the end, in parts of a hundred of that at the beginning.
const MEMORY_PERCENT: u64 = 150;

/// How often processes are looked at for what they have, and how long between: what comes and goes is not in each look.
const LOOKS: usize = 8;
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// What is started.
#[derive(Clone, Debug)]
pub struct Shape {
    /// How many services the cluster has; ten endpoints each.
    pub services: usize,
    /// How nodes are asked.
    pub manner: Manner,
    /// Lines of the nodes' `kubernetes` blocks besides.
    pub lines: String,
    /// Lines of their server blocks besides.
    pub plugins: String,
    /// Whether names of outside are asked, too.
    pub outside: bool,
    /// What is right.
    pub rules: Rules,
    /// For how many days certificates last.
    pub days: u32,
    /// An address that a node puts on the machine, to be asked at: then it is the only one. It takes a network of its own.
    pub own: Option<IpAddr>,
    /// Changes that the API server remembers; `None` for as many as it usually does.
    pub remembered: Option<usize>,
    /// Bytes of changes that hubs keep; `None` for as many as they usually do.
    pub history_bytes: Option<usize>,
}

impl Shape {
    /// What most drills have.
    pub fn usual() -> Self {
        Self {
            services: 200,
            manner: Manner::Strict { tcp_every: 0 },
            lines: String::new(),
            plugins: String::new(),
            outside: false,
            rules: Rules::default(),
            days: 365,
            own: None,
            remembered: None,
            history_bytes: None,
        }
    }

    /// The cluster that is served.
    ///
    /// # Errors
    /// There can be none of that size.
    pub fn cluster(&self, seed: u64) -> Result<Cluster, Impossible> {
        Cluster::sized(self.services, self.services * 10).seed(seed).possible()
    }
}

/// How many nodes there are.
const NODES: usize = 3;

/// Everything that is started. What is dropped first asks, then come those who are asked.
pub struct Fleet {
    /// Who asks.
    load: Load,
    /// Who changes the cluster.
    churn: Churn,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The hubs.
    pub hubs: Vec<Hub>,
    /// The API server.
    pub standin: Standin,
    /// Its runtime.
    runtime: Runtime,
    /// When the fault began and ended.
    fault: (Option<Instant>, Option<Instant>),
    /// Memory of the processes at the beginning, by name.
    memory: Vec<(String, u64)>,
    /// What was promised besides and not kept.
    pub broken: Vec<String>,
    /// Whether memory is compared: not where processes are started anew.
    pub compares_memory: bool,
    /// Whether the promise is to be broken: then nothing more is waited for once it is.
    is_to_fail: bool,
}

impl Fleet {
    /// Starts everything; returns once all nodes are live, and were asked for some seconds.
    ///
    /// # Errors
    /// Something cannot be started.
    pub fn start(play: &Play<'_>, shape: Shape) -> anyhow::Result<Self> {
        let cluster = shape.cluster(play.seed)?;
        let Shape {
            services: _,
            manner,
            lines,
            plugins,
            outside,
            rules,
            days,
            own,
            remembered,
            history_bytes,
        } = shape;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("outlast-standin")
            // Elsewhere it has a machine of its own: nodes do not wait for what it does for others.
            .on_thread_start(niceness::give_way)
            .enable_all()
            .build()
            .context("starting the runtime of the API server")?;
        let usual = Config::default();
        let history = remembered.unwrap_or(usual.history);
        let config = Config { fresh_namespaces: false, history, ..usual };
        let standin = runtime.block_on(Standin::start(config)).context("starting the API server")?;
        let etcd = standin.etcd();
        seed::cluster(etcd, cluster, |_| ())?;
        churn::prepare(etcd)?;
        etcd.clear_history();
        setup::certificates(play.program, play.folder, days)?;
        let switches = Without::switches(play.without);
        let mut hubs = if play.is_without(Without::Hubs) {
            Vec::new()
        } else {
            setup::hubs(play, &standin, &switches, history_bytes)?
        };
        for hub in &mut hubs {
            hub.start()?;
        }
        let lines = setup::following(play, &standin, &hubs)? + &lines;
        let mut nodes = Vec::new();
        for n in 0..own.map_or(NODES, |_| 1) {
            let mut node = Node::new(Setting {
                program: play.program,
                folder: play.folder,
                name: format!("node-{n}"),
                lines: &lines,
                plugins: &plugins,
                own,
                snapshot: !play.is_without(Without::Snapshot),
                switches: switches.clone(),
            })?;
            node.start()?;
            nodes.push(node);
        }
        for node in &nodes {
            node.until_live(!play.is_without(Without::Snapshot))?;
        }
        let mut asked = questions::of(&Lives::begin(etcd), play.seed);
        if outside {
            asked = mixed(asked, questions::outside());
        }
        let plan = Plan {
            nodes: nodes.iter().map(|node| node.dns).collect(),
            questions: asked,
            every: if play.short { EVERY.1 } else { EVERY.0 },
            manner,
            rules,
        };
        let load = Load::start(plan, etcd).context("starting to ask")?;
        let churn = Churn::start(etcd, CHANGE_EVERY, play.seed).context("starting to change things")?;
        let mut fleet = Self {
            load,
            churn,
            nodes,
            hubs,
            standin,
            runtime,
            fault: (None, None),
            memory: Vec::new(),
            broken: Vec::new(),
            compares_memory: true,
            is_to_fail: !play.without.is_empty(),
        };
        std::thread::sleep(BEFORE);
        fleet.memory = fleet.memories();
        Ok(fleet)
    }

    // --- the fault ---

    /// The fault begins: from now on requests are counted.
    pub fn begin(&mut self) {
        self.standin.requests().reset();
        let now = Instant::now();
        // All nodes are live.
        self.load.rules(|rules| rules.proved = Some(now));
        self.fault.0 = Some(now);
    }

    /// The fault has ended.
    pub fn end(&mut self) {
        self.fault.1 = Some(Instant::now());
    }

    /// Nobody reaches the API server, and connections end.
    pub fn cut(&self) {
        self.standin.faults().set_network(Network::Refuse);
        self.standin.faults().cut_connections();
    }

    /// It is reached again.
    pub fn heal(&self) {
        self.standin.faults().set_network(Network::Open);
    }

    /// Nobody is there any more whom nodes could follow, and nobody whom hubs could.
    ///
    /// # Errors
    /// A hub does not end.
    pub fn lose_everybody(&mut self) -> anyhow::Result<()> {
        self.cut();
        self.hubs.iter_mut().try_for_each(|hub| hub.end(rustix::process::Signal::KILL))
    }

    /// They are there again: the fault has ended.
    ///
    /// # Errors
    /// A hub does not start.
    pub fn bring_back(&mut self) -> anyhow::Result<()> {
        self.heal();
        self.hubs.iter_mut().try_for_each(Hub::start)?;
        self.end();
        Ok(())
    }

    /// Who asks, to tell it of new lives and other rules.
    pub const fn load(&self) -> &Load {
        &self.load
    }

    /// Kills a node and starts it again.
    ///
    /// # Errors
    /// It does not end, or does not answer again.
    pub fn restart(&mut self, node: usize) -> anyhow::Result<()> {
        self.restart_after(node, || Ok(()))
    }

    /// Kills a node, and starts it again once something was done.
    ///
    /// # Errors
    /// It does not end, that cannot be done, or it does not answer again.
    pub fn restart_after(
        &mut self,
        node: usize,
        done: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let one = self.nodes.get_mut(node).context("a node of that number")?;
        one.end(rustix::process::Signal::KILL)?;
        done()?;
        self.load.new_life(node);
        one.start()
    }

    /// Kills all nodes, and then starts all of them at once.
    ///
    /// # Errors
    /// One does not end, or does not answer again.
    pub fn restart_all(&mut self) -> anyhow::Result<()> {
        for node in &mut self.nodes {
            node.end(rustix::process::Signal::KILL)?;
        }
        (0..self.nodes.len()).for_each(|node| self.load.new_life(node));
        std::thread::scope(|scope| {
            let starts: Vec<_> = self.nodes.iter_mut().map(|node| scope.spawn(|| node.start())).collect();
            let started = |start: ScopedJoinHandle<'_, anyhow::Result<()>>| match start.join() {
                Ok(started) => started,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            starts.into_iter().try_for_each(started)
        })
    }

    /// Lets so much time pass; less where the promise is to be broken, and was.
    pub fn pass(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.is_broken() {
            std::thread::sleep(LOOK.min(end.saturating_duration_since(Instant::now())));
        }
    }

    /// Whether the promise is to be broken, and answers have been missing or wrong.
    pub fn is_broken(&self) -> bool {
        self.is_to_fail && self.load.look(|tally| tally.failed() + tally.wrong() > 0)
    }

    /// Everybody is killed and started again with a clock that is so many seconds ahead, or behind.
    ///
    /// # Errors
    /// Somebody does not end, or does not serve again.
    pub fn start_again_at(&mut self, clock_offset_s: i64) -> anyhow::Result<()> {
        let offset = clock_offset_s * 1000;
        // A process cannot know that it was not away for so long.
        self.load.rules(|rules| rules.has_right_clocks = false);
        for hub in &mut self.hubs {
            hub.end(rustix::process::Signal::KILL)?;
            hub.switches.clock_offset_ms = offset;
            hub.start()?;
        }
        for node in 0..self.nodes.len() {
            self.nodes[node].switches.clock_offset_ms = offset;
            self.restart(node)?;
        }
        Ok(())
    }

    /// Waits until no node says any more that its answers are old, for a time that is longer than any promise.
    pub fn until_fresh(&self) {
        let deadline = Instant::now() + MAX_RECOVERY;
        // Some seconds have to pass in any case: nobody may have been asked since.
        self.pass(RECOVERED);
        let is_fresh = || self.load.look(|tally| tally.is_fresh(RECOVERED));
        while !is_fresh() && !self.is_broken() && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
    }

    /// Notes what was promised besides, if it does not hold.
    pub fn check(&mut self, holds: bool, broken: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(broken());
        }
    }

    /// Notes nodes that have not said of a single answer that it is held back.
    pub fn check_held(&mut self) {
        let (said, nodes) = (self.load.look(Tally::holders), self.nodes.len());
        self.check(said == nodes, || format!("{said} of {nodes} nodes have said that answers are held back"));
    }

    /// Notes nodes whose data is not live.
    pub fn check_live(&mut self) {
        let is_live = |node: &Node| node.metric("outlast_data_state{state=\"live\"}") == Some(1.0);
        let others: Vec<_> = self.nodes.iter().filter(|node| !is_live(node)).map(Node::name).collect();
        let broken = (!others.is_empty()).then(|| format!("{} have no live data", others.join(", ")));
        self.broken.extend(broken);
    }

    /// Notes nodes that call their data older, or newer, than data is where all is well.
    pub fn check_ages(&mut self) {
        let is_right = |age: Option<f64>| age.is_some_and(|age| (0.0..FRESH.as_secs_f64()).contains(&age));
        let ages = self.nodes.iter().map(|node| (node.name(), node.metric("outlast_data_age_seconds")));
        let wrong: Vec<_> = ages.filter(|(_, age)| !is_right(*age)).collect();
        let broken = (!wrong.is_empty()).then(|| format!("ages of data are {wrong:?} seconds"));
        self.broken.extend(broken);
    }

    /// Notes answers that said that they were old.
    pub fn check_no_stale(&mut self) {
        let stale = self.load.look(Tally::stale);
        self.check(stale == 0, || format!("{stale} answers said that they were old"));
    }

    /// Waits until no node holds anything back any more, for so long; notes those that still do then.
    pub fn until_let_go(&mut self, within: Duration) {
        let deadline = Instant::now() + within;
        let holds = |node: &Node| node.metric("outlast_guard_holds") != Some(0.0);
        while self.nodes.iter().any(holds) && !self.is_broken() && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
        let holding: Vec<_> = self.nodes.iter().filter(|node| holds(node)).map(Node::name).collect();
        let broken = (!holding.is_empty()).then(|| format!("{} still hold something", holding.join(", ")));
        self.broken.extend(broken);
    }

    /// Has the cluster stay as it is until it is told otherwise, or change on.
    pub fn rest(&self, rests: bool) {
        self.churn.rest(rests);
    }

    // --- what was seen ---

    /// What each process has, by name: the least of some looks.
    ///
    /// # Errors
    /// One cannot be looked at.
    pub fn footprints(&mut self) -> anyhow::Result<Vec<(String, Footprint)>> {
        let mut least = self.look_at_footprints()?;
        for _ in 1..LOOKS {
            std::thread::sleep(BETWEEN_LOOKS);
            for ((_, least), (_, now)) in least.iter_mut().zip(self.look_at_footprints()?) {
                *least = least.least(now);
            }
        }
        Ok(least)
    }

    /// What each process has now, by name, always in the same order.
    fn look_at_footprints(&mut self) -> anyhow::Result<Vec<(String, Footprint)>> {
        let nodes = self.nodes.iter_mut().filter_map(|node| node.footprint().transpose());
        let hubs = self.hubs.iter_mut().filter_map(|hub| hub.footprint().transpose());
        nodes.chain(hubs).collect()
    }

    /// Ends everything, and says what was seen.
    ///
    /// # Errors
    /// A process cannot be looked at.
    pub fn observe(mut self) -> anyhow::Result<Observed> {
        let counted = Instant::now();
        let [lists, watches, small] = self.requests();
        self.churn.stop();
        let end = self.load.stop();
        self.look_at_processes()?;
        let began = self.fault.0.unwrap_or(counted);
        let healed = self.fault.1.unwrap_or(counted);
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let lost = self.load.lost();
        let (figures, unknown, first_wrong) = self.load.look(|tally: &Tally| {
            let figures = Figures {
                queries: tally.queries(),
                failed: tally.failed(),
                wrong: tally.wrong(),
                stale: tally.stale(),
                p99_us: u64::try_from(tally.p99().as_micros()).unwrap_or(u64::MAX),
                gap_ms: ms(tally.gap(end)),
                detect_ms: tally.detected(began).map(ms),
                recover_ms: tally.recovered(healed, end).map(ms),
                lists,
                watches,
                small,
                counted_ms: ms(counted.saturating_duration_since(began)),
                took_ms: 0,
            };
            (figures, tally.unknown(), tally.quoted().to_vec())
        });
        self.check(unknown + lost == 0, || format!("{unknown} answers were not judged, {lost} were lost"));
        let Self { broken, nodes, hubs, standin, runtime, .. } = self;
        drop((nodes, hubs, standin));
        // Its connections are not waited for.
        runtime.shutdown_background();
        Ok(Observed { figures, broken, first_wrong, ..Observed::default() })
    }

    /// Lists, watches and other requests that the API server has seen since the beginning of the fault, of hubs and nodes.
    fn requests(&self) -> [u64; 3] {
        self.standin.requests().by_weight(|asked| asked.user != storm::USER)
    }

    /// Whether all run that should, have caught no panic, and take no more memory than before.
    fn look_at_processes(&mut self) -> anyhow::Result<()> {
        let panics =
            self.nodes.iter().map(|node| (node.name().to_owned(), node.metric("coredns_panics_total")));
        for (name, panics) in panics.collect::<Vec<_>>() {
            self.check(panics == Some(0.0), || format!("{name} has caught {panics:?} panics"));
        }
        let mut ended = Vec::new();
        for process in self.processes() {
            if let Some(status) = process.ended()? {
                ended.push(format!("{} ended with {status}", process.name()));
            }
        }
        self.broken.extend(ended);
        if self.compares_memory {
            let now = self.memories();
            for (name, before) in std::mem::take(&mut self.memory) {
                let Some((_, now)) = now.iter().find(|(other, _)| *other == name) else { continue };
                let most = before * MEMORY_PERCENT / 100;
                self.check(*now <= most, || format!("{name} has {now} bytes of memory, at first {before}"));
            }
        }
        Ok(())
    }

    /// Memory of every process, by name.
    fn memories(&mut self) -> Vec<(String, u64)> {
        let memory = |process: &mut Process| Some((process.name().to_owned(), process.memory()?));
        self.processes().filter_map(memory).collect()
    }

    /// Every process that should run.
    fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        let nodes = self.nodes.iter_mut().filter_map(Node::process);
        nodes.chain(self.hubs.iter_mut().filter_map(Hub::process))
    }
}

/// Questions by turns.
fn mixed(one: Vec<Question>, other: Vec<Question>) -> Vec<Question> {
    let count = one.len().max(other.len());
    let turn = |n: usize| {
        let of = |questions: &[Question]| questions.get(n % questions.len().max(1)).cloned();
        [of(&one), of(&other)].into_iter().flatten()
    };
    (0..count).flat_map(turn).collect()
}
