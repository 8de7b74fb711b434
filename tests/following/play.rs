//! Plays a script, and looks at the node all the time.

use std::time::Duration;

use outlast::drill::standin::etcd::Backup;
use outlast::drill::standin::requests::{ListKind, Verb};
use outlast::drill::standin::{Config, Standin, StreamingLists};
use outlast::ops::jitter::Jitter;
use outlast::store::state::DataState;
use outlast::testkit::node::Log;
use outlast::zone::object::Kind;
use tokio::time::Instant;

use super::node::Node;
use super::past::{Served, Truth, object};
use super::step::{How, OBJECTS, Script, Server, Step, rule};

/// What every cluster has.
const LASTING: [(Kind, &str, &str); 2] =
    [(Kind::Service, "default", "kubernetes"), (Kind::EndpointSlice, "default", "kubernetes")];

/// Often enough to let every task that can go on go on.
const TURNS: usize = 64;

/// How far apart looks at the node are while time passes: at first, and after [`MANY_LOOKS`] of them.
const BETWEEN_LOOKS: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(5)];
const MANY_LOOKS: usize = 20;

/// After faults end, a node has this long: connections time out after 30 s, waits are 30 s at most.
const RECOVERY: Duration = Duration::from_secs(120);

/// Then requests are counted for this long.
const COUNTED: Duration = Duration::from_secs(60);

/// Small lists of a kind in [`COUNTED`], and verifying watches with the one that may be due: one each 8 s at least.
const REQUESTS: u64 = 9;

/// A restore goes back at least so many revisions: more than a script writes, so that no revision is used twice.
const FAR: u64 = 10_000;

/// What a script plays in.
struct World {
    /// The server.
    standin: Standin,
    /// The node.
    node: Option<Node>,
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
    /// Streaming lists that were asked for, and when the last one was.
    streams: (u64, Instant),
    /// Whether an answer drips, which does not end with the fault.
    drips: bool,
    /// For the next node.
    jitter: Jitter,
    /// The node's disk.
    dir: tempfile::TempDir,
    /// When the script began.
    origin: Instant,
}

/// Plays `script` in a runtime of its own, and says what is wrong.
pub(super) fn play(script: &Script) -> Result<(), String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let log = std::env::var_os("FOLLOWING_LOG").map(|_| Log::start());
    let result = runtime.block_on(async {
        let mut world = World::new(script);
        world.all(&script.steps).await
    });
    result.map_err(|why| log.map_or(why.clone(), |log| format!("{why}\n{}", log.text())))
}

impl World {
    fn new(script: &Script) -> Self {
        let mut config = Config { seed: script.seed, ..Config::default() };
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
            streams: (0, Instant::now()),
            drips: false,
            jitter: Jitter::from_seed(script.seed),
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
            Step::Stop => {
                if let Some(node) = self.node.take() {
                    node.stop().await;
                }
            }
            Step::Crash => {
                if let Some(node) = self.node.take() {
                    node.crash().await;
                    self.served.forget();
                    self.had_data = false;
                }
            }
            Step::Start => self.start(),
        }
        Ok(())
    }

    fn put(&mut self, what: (Kind, &str, &str)) {
        self.written += 1;
        self.standin.etcd().put(what.0, &object(what, self.written)).unwrap();
    }

    fn start(&mut self) {
        if self.node.is_none() {
            let jitter = self.jitter.fork();
            self.node = Some(Node::start(self.dir.path(), self.origin, &self.standin, jitter));
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
        self.node.take().expect("it was started").stop().await;
        self.start();
        Ok(())
    }

    /// Lets time pass, and looks at the node meanwhile.
    async fn pass(&mut self, time: Duration) -> Result<(), String> {
        let end = Instant::now() + time;
        for look in 0.. {
            let now = Instant::now();
            if now >= end {
                break;
            }
            let between = BETWEEN_LOOKS[usize::from(look >= MANY_LOOKS)];
            tokio::time::sleep_until(end.min(now + between)).await;
            self.settle().await?;
        }
        Ok(())
    }

    /// Lets every task go on that can, and looks at the node whenever there is something new.
    async fn settle(&mut self) -> Result<(), String> {
        for _ in 0..TURNS {
            self.look()?;
            tokio::task::yield_now().await;
        }
        self.look()
    }

    fn look(&mut self) -> Result<(), String> {
        let streams = self.standin.requests().count(|r| r.list == Some(ListKind::Streaming));
        if streams != self.streams.0 {
            self.streams = (streams, Instant::now());
        }
        let Some(node) = &self.node else { return Ok(()) };
        let (generation, age) = (node.store.current().clone(), node.store.age());
        let (number, state) = (generation.number, node.state());
        if std::mem::replace(&mut self.looked_at, (number, age)) == (number, age) {
            return Ok(());
        }
        if matches!(state, DataState::Empty { .. }) {
            return if self.had_data { Err("it has lost its data".to_owned()) } else { Ok(()) };
        }
        // A state that is not complete is not written to the disk.
        self.had_data |= node.is_complete();
        self.truth.read(self.standin.etcd());
        self.served.check(&self.truth, &generation.table, age)
    }

    /// Without faults and writes, everything is known, with few requests.
    async fn quiet(&mut self) -> Result<(), String> {
        self.well();
        self.start();
        self.pass(RECOVERY).await?;
        let node = self.node.as_ref().expect("it was started");
        let state = node.state();
        if state != DataState::Live {
            return Err(format!("it is {state:?}"));
        }
        self.truth.read(self.standin.etcd());
        self.served.check_equal(&self.truth, &node.store.current().table)?;

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
        Ok(())
    }
}
