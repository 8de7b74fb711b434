//! Plays a script, and looks at the node all the time.

use std::path::Path;
use std::time::Duration;

use outlast::drill::memory::node::MemoryNode;
use outlast::drill::standin::etcd::Backup;
use outlast::drill::standin::faults::Network;
use outlast::drill::standin::requests::{ListKind, Verb};
use outlast::drill::standin::{Config, Standin, StreamingLists};
use outlast::ops::jitter::Jitter;
use outlast::store::state::DataState;
use outlast::zone::object::Kind;
use tokio::time::Instant;

use super::asked::{SERVICES, ask};
use super::disks::{PartyDisk, Trouble};
use super::node::{self, SNAPSHOTS};
use super::past::{Served, Truth, object};
use super::seeds::{Traces, in_paused_time};
use super::step::{How, OBJECTS, Script, Server, Step, rule};

/// What every cluster has.
const LASTING: [(Kind, &str, &str); 2] =
    [(Kind::Service, "default", "kubernetes"), (Kind::EndpointSlice, "default", "kubernetes")];

/// Often enough to let every task that can go on go on; and how often where nothing new is seen.
const TURNS: usize = 64;
const IDLE_TURNS: usize = 8;

/// How far apart looks at the node are while time passes: at first, and after [`MANY_LOOKS`] of them.
const BETWEEN_LOOKS: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(5)];
const MANY_LOOKS: usize = 20;

/// After faults end, a node has this long: connections time out after 30 s, waits are 30 s at most.
const RECOVERY: Duration = Duration::from_secs(120);

/// Then requests are counted for this long.
const COUNTED: Duration = Duration::from_secs(60);

/// What is well needs so long at most until nothing happens any more.
const SETTLING: Duration = Duration::from_secs(30);

/// One script in so many has patience: it waits for as long as anything may take, whether or not all is well before.
const PATIENCE: u64 = 16;

/// Small lists of a kind in [`COUNTED`], and verifying watches with the one that may be due: one each 8 s at least.
const REQUESTS: u64 = 9;

/// A restore goes back at least so many revisions: more than a script writes, so that no revision is used twice.
const FAR: u64 = 10_000;

/// What a script plays in.
struct World {
    /// The server.
    standin: Standin,
    /// The node.
    node: Option<MemoryNode>,
    /// What was true.
    truth: Truth,
    /// What the node has served of it.
    served: Served,
    /// Objects that were written.
    written: u32,
    /// The highest revision so far.
    highest: u64,
    /// What a restore brings back.
    backup: Option<Backup>,
    /// Whether the node that runs has had everything, or has found it on its disk.
    had_data: bool,
    /// Generation and age that were looked at last.
    looked_at: (u64, Duration),
    /// Whether it waits for as long as anything may take.
    is_patient: bool,
    /// Questions that were asked.
    asked: usize,
    /// What was seen of it.
    traces: Traces,
    /// Streaming lists that were asked for, and when the last one was.
    streams: (u64, Instant),
    /// Whether an answer drips, which does not end with the fault.
    drips: bool,
    /// For the next node.
    jitter: Jitter,
    /// Where the node's snapshots are.
    disk: PartyDisk,
    /// Where its kubeconfig is.
    dir: tempfile::TempDir,
    /// When the script began.
    origin: Instant,
}

/// Plays `script` in a runtime of its own, and says what was seen, or what is wrong.
pub(super) fn play(script: &Script) -> Result<Traces, String> {
    in_paused_time(script.seed, async {
        let mut world = World::new(script);
        world.all(&script.steps).await?;
        Ok(world.traces)
    })
}

impl World {
    fn new(script: &Script) -> Self {
        // What goes wrong is above TLS or below it, and never within.
        let mut config = Config { seed: script.seed, tls: false, ..Config::default() };
        match script.server {
            Server::Usual => {}
            Server::NoStreams => config.streaming_lists = StreamingLists::Off,
            Server::OldEtcd => config.streaming_lists = StreamingLists::OldEtcd,
            Server::ShortHistory => config.history = 3,
        }
        let standin = Standin::in_memory(config).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("kubeconfig"), standin.kubeconfig()).unwrap();
        let mut world = Self {
            standin,
            node: None,
            truth: Truth::default(),
            served: Served::of(false),
            written: 0,
            highest: 0,
            backup: None,
            had_data: false,
            looked_at: Default::default(),
            is_patient: script.seed.is_multiple_of(PATIENCE),
            asked: 0,
            traces: Traces::default(),
            streams: (0, Instant::now()),
            drips: false,
            jitter: Jitter::from_seed(script.seed),
            disk: PartyDisk::new(Path::new(SNAPSHOTS)),
            dir,
            origin: Instant::now(),
        };
        LASTING
            .into_iter()
            .chain([OBJECTS[0], OBJECTS[2], OBJECTS[5], OBJECTS[8]])
            .for_each(|o| world.put(o));
        world
    }

    async fn all(&mut self, steps: &[Step]) -> Result<(), String> {
        self.start();
        for (number, step) in steps.iter().enumerate() {
            let at = self.origin.elapsed();
            let wrong = |why| format!("step {number} ({step:?}) at {at:?}: {why}");
            self.step(*step).await.map_err(wrong)?;
            self.settle().await.map_err(wrong)?;
        }
        self.quiet().await.map_err(|why| format!("after quiet: {why}"))
    }

    async fn step(&mut self, step: Step) -> Result<(), String> {
        self.highest = self.highest.max(self.standin.etcd().revision());
        let (etcd, faults) = (self.standin.etcd().clone(), self.standin.faults());
        match step {
            Step::Put(which) => self.put(OBJECTS[which]),
            Step::Delete(which) => {
                let (kind, namespace, name) = OBJECTS[which];
                etcd.delete(kind, namespace, name);
            }
            Step::Touch => drop(etcd.touch()),
            Step::Pass(ms) => self.pass(Duration::from_millis(ms.into())).await?,
            Step::Wrong { which, of, how, times } => {
                self.drips |= matches!(how, How::Drip(_));
                faults.add(rule(which, of, how, times));
            }
            Step::Network(trouble) => faults.set_network(trouble.network()),
            Step::Cut => faults.cut_connections(),
            Step::Silence => faults.silence_watches(),
            Step::Skip(events) => self.skip(events).await?,
            Step::Lag(ms) => faults.lag(Duration::from_millis(ms.into())),
            Step::Freeze => faults.freeze(),
            Step::Thaw => faults.thaw(),
            Step::Well => self.well(),
            Step::Compact => etcd.compact(),
            Step::Forget => etcd.forget_history(),
            Step::Save => self.backup = Some(etcd.save()),
            Step::RestoreBumped => {
                if let Some(backup) = &self.backup {
                    // Beyond everything that a node may remember, as whoever bumps revisions has to.
                    etcd.restore_bumped(backup, self.highest + FAR - etcd.revision());
                }
            }
            Step::Restore => {
                if let Some(backup) = self.backup.clone() {
                    self.prepare_restore().await?;
                    self.standin.etcd().restore(&backup);
                }
            }
            Step::Stop => self.stop().await,
            Step::Crash => self.crash().await,
            Step::Start => self.start(),
            Step::Wipe => {
                if self.node.is_none() {
                    self.disk.wipe();
                }
            }
            Step::Disk(trouble) => self.disk.meets(trouble),
            Step::PowerCut(seed) => {
                self.crash().await;
                self.disk.cut(seed);
            }
        }
        Ok(())
    }

    fn put(&mut self, what: (Kind, &str, &str)) {
        self.written += 1;
        self.standin.etcd().put(what.0, &object(what, self.written)).unwrap();
    }

    fn start(&mut self) {
        if self.node.is_some() {
            return;
        }
        let (behind, has_data) = self.disk.starts();
        if behind {
            self.served.forget();
            self.had_data = has_data;
        }
        let (disk, jitter) = (self.disk.disk(), self.jitter.fork());
        self.node = Some(node::start(self.dir.path(), disk, self.origin, &self.standin, jitter));
    }

    /// SIGTERM, if it runs.
    async fn stop(&mut self) {
        if let Some(node) = self.node.take() {
            self.disk.stops();
            node.stop().await.unwrap();
        }
    }

    /// SIGKILL, if it runs.
    async fn crash(&mut self) {
        if let Some(node) = self.node.take() {
            node.crash().await;
            self.disk.crashed();
        }
    }

    /// Has watches leave out events, but neither two watches of one kind at once, nor a list: what they say is true, as
    /// far as anybody can know.
    async fn skip(&mut self, events: usize) -> Result<(), String> {
        for _ in 0..40 {
            let is_one = |kind| self.standin.requests().open_watches(kind) < 2;
            if self.is_listed() && Kind::ALL.into_iter().all(is_one) {
                self.standin.faults().skip_events(events);
                self.served.has_gaps = true;
                return Ok(());
            }
            self.pass(Duration::from_millis(250)).await?;
        }
        Ok(())
    }

    /// Whether every list that was begun has ended: a younger proof needs that.
    fn is_listed(&self) -> bool {
        self.node.as_ref().is_some_and(|node| node.store.age() < self.streams.1.elapsed())
    }

    /// All faults end.
    fn well(&mut self) {
        self.standin.faults().clear();
        self.disk.meets(Trouble::Well);
        if std::mem::take(&mut self.drips) {
            self.standin.faults().cut_connections();
        }
    }

    /// Brings node and disk to a revision that the backup is far below.
    async fn prepare_restore(&mut self) -> Result<(), String> {
        self.well();
        self.start();
        // The restore before, if there was one, is to be found out.
        self.pass(RECOVERY).await?;
        self.highest = self.standin.etcd().advance_to(self.highest + FAR);
        self.pass(RECOVERY).await?;
        // Of every kind, so that every position is on the disk.
        [OBJECTS[0], OBJECTS[2], OBJECTS[5], OBJECTS[8]].into_iter().for_each(|o| self.put(o));
        self.pass(RECOVERY).await?;
        self.stop().await;
        self.start();
        Ok(())
    }

    /// Lets time pass, and looks at the node meanwhile.
    async fn pass(&mut self, time: Duration) -> Result<(), String> {
        self.pass_until(Instant::now() + time, |_| false).await
    }

    /// Lets time pass until `end`, or until `is_over` at a look some seconds after the one before.
    async fn pass_until(&mut self, end: Instant, is_over: impl Fn(&mut Self) -> bool) -> Result<(), String> {
        for look in 0.. {
            let now = Instant::now();
            if now >= end {
                break;
            }
            let between = BETWEEN_LOOKS[usize::from(look >= MANY_LOOKS)];
            tokio::time::sleep_until(end.min(now + between)).await;
            self.settle().await?;
            if look >= MANY_LOOKS && is_over(self) {
                break;
            }
        }
        Ok(())
    }

    /// Lets time pass until all is as it should be: for [`RECOVERY`] at most, and no less where there is patience.
    async fn recover(&mut self) -> Result<(), String> {
        let is_patient = self.is_patient;
        let end = Instant::now() + RECOVERY;
        while Instant::now() < end {
            self.pass_until(end, |world| !is_patient && world.is_well().is_ok()).await?;
            // What is well may have yet to find out what is not.
            self.pass(SETTLING.min(end - Instant::now())).await?;
            if self.is_well().is_ok() {
                break;
            }
        }
        Ok(())
    }

    /// Whether the node serves what is true, and says so.
    fn is_well(&mut self) -> Result<(), String> {
        let node = self.node.as_ref().expect("it was started");
        let state = node.state();
        if state != DataState::Live {
            return Err(format!("it is {state:?}"));
        }
        self.truth.read(self.standin.etcd());
        self.served.check_equal(&self.truth, &node.store.current().table)
    }

    /// Lets every task go on that can, and looks at the node whenever there is something new.
    async fn settle(&mut self) -> Result<(), String> {
        let mut idle = 0;
        for _ in 0..TURNS {
            idle = if self.look().await? { 0 } else { idle + 1 };
            if idle > IDLE_TURNS {
                break;
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Whether there is something new.
    async fn look(&mut self) -> Result<bool, String> {
        let streams = self.standin.requests().count(|r| r.list == Some(ListKind::Streaming));
        if streams != self.streams.0 {
            self.streams = (streams, Instant::now());
        }
        let Some(node) = &mut self.node else { return Ok(false) };
        let (generation, age) = (node.store.current().clone(), node.store.age());
        let (number, state) = (generation.number, node.state());
        if std::mem::replace(&mut self.looked_at, (number, age)) == (number, age) {
            return Ok(false);
        }
        self.traces.note((self.origin.elapsed(), number, age, generation.table.serial()));
        if matches!(state, DataState::Empty { .. }) {
            return if self.had_data { Err("it has lost its data".to_owned()) } else { Ok(true) };
        }
        // A state that is not complete is not written to the disk.
        self.had_data |= node.is_complete();
        self.truth.read(self.standin.etcd());
        self.served.check(&self.truth, &generation.table, age)?;
        if node.is_complete() {
            let service = SERVICES[self.asked % SERVICES.len()];
            self.asked += 1;
            let want = self.truth.answers(service, age, false);
            self.traces.note(ask(&mut node.lanes, service, &want).await?);
        }
        Ok(true)
    }

    /// Without faults and writes, everything is known, with few requests.
    async fn quiet(&mut self) -> Result<(), String> {
        self.well();
        self.start();
        self.recover().await?;
        self.is_well()?;
        self.standin.requests().reset();
        self.pass(COUNTED).await?;
        let requests = self.standin.requests();
        for kind in Kind::ALL {
            let small = requests.count(|r| r.kind == Some(kind) && r.list == Some(ListKind::Small));
            let watches = requests.watches(kind);
            let whole = requests.count(|r| {
                r.kind == Some(kind)
                    && match r.verb {
                        Verb::List => r.list != Some(ListKind::Small),
                        Verb::Watch => r.list == Some(ListKind::Streaming),
                        Verb::Get | Verb::Other => true,
                    }
            });
            // A watch that ends after its time asks who the server is before it begins again: a small list, too.
            let identities = if kind == Kind::Namespace { Kind::ALL.len() as u64 } else { 0 };
            if small > REQUESTS + identities || watches > REQUESTS || whole > 0 {
                return Err(format!("{kind}: {small} small lists, {watches} watches, {whole} whole lists"));
            }
        }
        self.alone().await.map_err(|why| format!("alone: {why}"))
    }

    /// After a clean stop the disk has what was served, also if the power is cut then, and a node serves it with nobody
    /// else there.
    async fn alone(&mut self) -> Result<(), String> {
        self.stop().await;
        self.disk.cut_at_rest(0);
        self.standin.faults().set_network(Network::Refuse);
        self.standin.faults().cut_connections();
        self.start();
        self.settle().await?;
        let node = self.node.as_ref().expect("it was started");
        self.served.check_equal(&self.truth, &node.store.current().table)
    }
}
