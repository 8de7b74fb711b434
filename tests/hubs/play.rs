//! Plays a script, and looks at the nodes all the time.

use std::time::Duration;

use outlast::drill::standin::etcd::Backup;
use outlast::drill::standin::faults::{Fault, Refusal, Rule};
use outlast::store::state::DataState;
use outlast::testkit::node::Log;
use tokio::time::Instant;

use super::node::{Counts, NODES};
use super::past::Truth;
use super::step::{OBJECTS, Script, Step};
use super::world::{Place, World, addresses, set};

/// Longer than any script: an age that nobody knows.
const UNKNOWN: Duration = Duration::from_secs(86_400);

/// Often enough to let every task that can go on go on.
const TURNS: usize = 64;

/// How far apart looks are while time passes: at first, and after [`MANY_LOOKS`] of them.
const BETWEEN_LOOKS: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(5)];
const MANY_LOOKS: usize = 20;

/// After faults end, everything has this long: two minutes for hubs, as for nodes of an API server, and as long again
/// for those that follow them.
const RECOVERY: Duration = Duration::from_secs(300);

/// Then what is said is counted for this long.
const COUNTED: Duration = Duration::from_secs(60);

/// A restore goes back at least so many revisions: more than a script writes, so that no revision is used twice.
const FAR: u64 = 10_000;

/// Whole states that a node may get for one step: one for each hub, and one that was cut.
const WHOLES_A_STEP: usize = 4;

/// What is played.
struct Play {
    /// What it plays in.
    world: World,
    /// What was true.
    truth: Truth,
    /// The highest revision so far.
    highest: u64,
    /// What a restore brings back.
    backup: Option<Backup>,
    /// Whether a hub has forgotten its epoch: then what it says may be of another one.
    forgot: bool,
}

/// Plays `script` in a runtime of its own. Returns what each node has counted, or says what is wrong.
pub(super) fn play(script: &Script) -> Result<Vec<Counts>, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let log = std::env::var_os("FOLLOWING_LOG").map(|_| Log::start());
    let result = runtime.block_on(async {
        let world = World::new(script);
        let mut play = Play { world, truth: Truth::default(), highest: 0, backup: None, forgot: false };
        play.all(&script.steps).await
    });
    result.map_err(|why| log.map_or(why.clone(), |log| format!("{why}\n{}", log.text())))
}

impl Play {
    async fn all(&mut self, steps: &[Step]) -> Result<Vec<Counts>, String> {
        self.world.start_all();
        for (number, step) in steps.iter().enumerate() {
            let at = self.world.origin.elapsed();
            let wrong = |why| format!("step {number} ({step:?}) at {at:?}: {why}");
            self.step(*step).await.map_err(wrong)?;
            self.settle().await.map_err(wrong)?;
        }
        self.quiet(steps.len()).await.map_err(|why| format!("after quiet: {why}"))
    }

    async fn step(&mut self, step: Step) -> Result<(), String> {
        let world = &mut self.world;
        self.highest = self.highest.max(world.standin.etcd().revision());
        let etcd = world.standin.etcd().clone();
        match step {
            Step::Put(which) => world.put(OBJECTS[which]),
            Step::Delete(which) => {
                let (kind, namespace, name) = OBJECTS[which];
                etcd.delete(kind, namespace, name);
            }
            Step::Touch => drop(etcd.touch()),
            Step::Pass(ms) => self.pass(Duration::from_millis(ms.into())).await?,
            Step::Api(hub, wire) => set(&world.api[hub], wire),
            Step::Hub(node, hub, wire) => set(&world.places[node].wires[&addresses()[hub]], wire),
            Step::Gone(times) => {
                let gone = Rule::new(Fault::Answer(Refusal::Gone)).times(times);
                world.standin.faults().add(gone);
            }
            Step::Silence => world.standin.faults().silence_watches(),
            Step::Lag(ms) => world.standin.faults().lag(Duration::from_millis(ms.into())),
            Step::Freeze => world.standin.faults().freeze(),
            Step::Thaw => world.standin.faults().thaw(),
            Step::Well => world.well(),
            Step::Compact => etcd.compact(),
            Step::Forget => etcd.forget_history(),
            Step::Save => self.backup = Some(etcd.save()),
            Step::RestoreBumped => {
                if let Some(backup) = &self.backup {
                    // Beyond everything that anybody may remember, as whoever bumps revisions has to.
                    etcd.restore_bumped(backup, self.highest + FAR - etcd.revision());
                }
            }
            Step::Restore => {
                if let Some(backup) = self.backup.clone() {
                    self.prepare_restore().await?;
                    etcd.restore(&backup);
                }
            }
            Step::StopHub(hub) => {
                if let Some(hub) = world.hubs[hub].take() {
                    hub.stop().await;
                }
            }
            Step::CrashHub(hub) => {
                if let Some(hub) = world.hubs[hub].take() {
                    hub.crash().await;
                    // As at a node: a write to the disk that is under way ends.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            Step::Wipe => {
                self.forgot |= world.hubs[0].is_none();
                world.wipe(0);
            }
            Step::StartHub(hub) => world.start_hub(hub),
            Step::Stop(node) => world.places[node].stop().await,
            Step::Crash(node) => world.places[node].crash().await,
            Step::Start(node) => world.start(node),
        }
        Ok(())
    }

    /// Brings everything, on its disk as well, to a revision that the backup is far below.
    async fn prepare_restore(&mut self) -> Result<(), String> {
        self.world.well();
        self.world.start_all();
        // The restore before, if there was one, is to be found out.
        self.pass(RECOVERY).await?;
        self.highest = self.world.standin.etcd().advance_to(self.highest + FAR);
        self.pass(RECOVERY).await?;
        // Of every kind, so that every position is on the disk.
        [OBJECTS[0], OBJECTS[2], OBJECTS[5], OBJECTS[8]].into_iter().for_each(|o| self.world.put(o));
        self.pass(RECOVERY).await?;
        for hub in &mut self.world.hubs {
            hub.take().expect("it was started").stop().await;
        }
        for place in &mut self.world.places {
            place.stop().await;
        }
        self.world.start_all();
        Ok(())
    }

    /// Lets time pass, and looks at the nodes meanwhile.
    async fn pass(&mut self, time: Duration) -> Result<(), String> {
        let end = Instant::now() + time;
        for look in 0.. {
            let now = Instant::now();
            if now >= end {
                break;
            }
            let between = BETWEEN_LOOKS[usize::from(look >= MANY_LOOKS)];
            tokio::time::sleep_until(end.min(now + between)).await;
            self.world.meet();
            self.settle().await?;
        }
        Ok(())
    }

    /// Lets every task go on that can, and looks at the nodes whenever there is something new.
    async fn settle(&mut self) -> Result<(), String> {
        for _ in 0..TURNS {
            self.look()?;
            tokio::task::yield_now().await;
        }
        self.look()
    }

    fn look(&mut self) -> Result<(), String> {
        for number in 0..NODES.len() {
            self.look_at(number).map_err(|why| format!("node {number}: {why}"))?;
        }
        Ok(())
    }

    fn look_at(&mut self, number: usize) -> Result<(), String> {
        let place = &mut self.world.places[number];
        let Some(node) = &place.node else { return Ok(()) };
        let generation = node.store.current().clone();
        let facts = node.store.facts(&generation);
        // Of what nobody has proved yet nobody says how old it is: it may be of any moment.
        let age = if facts.proved { facts.age } else { UNKNOWN };
        let seen = (generation.number, age);
        if std::mem::replace(&mut place.looked_at, seen) == seen {
            return Ok(());
        }
        if matches!(node.state(), DataState::Empty { .. }) {
            return if place.had_data { Err("it has lost its data".to_owned()) } else { Ok(()) };
        }
        // A state that is not complete is not written to the disk.
        place.had_data |= node.is_complete();
        self.truth.read(self.world.standin.etcd());
        place.served.check(&self.truth, &generation.table, age)
    }

    /// Without faults and writes, everything is known everywhere, and little is said.
    async fn quiet(&mut self, steps: usize) -> Result<Vec<Counts>, String> {
        self.world.well();
        self.world.start_all();
        self.pass(RECOVERY).await?;
        self.truth.read(self.world.standin.etcd());
        let counts = self.each(|truth, place, forgot| {
            let node = place.node.as_ref().expect("it was started");
            let state = node.state();
            if state != DataState::Live {
                return Err(format!("it is {state:?}"));
            }
            place.served.check_equal(truth, &node.store.current().table)?;
            let counts = place.counts();
            if counts.mismatches > 0.0 && !forgot {
                return Err(format!("digests differed: {counts:?}"));
            }
            if counts.wholes > ((steps + 2) * WHOLES_A_STEP) as f64 {
                return Err(format!("whole states without end: {counts:?}"));
            }
            Ok(counts)
        })?;
        self.world.standin.requests().reset();
        self.pass(COUNTED).await?;
        let after = self.each(|_, place, _| Ok(place.counts()))?;
        if counts != after {
            return Err(format!("nothing happened, and it was {counts:?} and is {after:?}"));
        }
        Ok(after)
    }

    fn each(
        &self,
        what: impl Fn(&Truth, &Place, bool) -> Result<Counts, String>,
    ) -> Result<Vec<Counts>, String> {
        let places = self.world.places.iter().enumerate();
        let said = places.map(|(number, place)| {
            what(&self.truth, place, self.forgot).map_err(|why| format!("node {number}: {why}"))
        });
        said.collect()
    }
}

impl Place {
    /// SIGTERM, if it runs.
    async fn stop(&mut self) {
        self.before = self.counts();
        if let Some(node) = self.node.take() {
            node.stop().await;
        }
    }

    /// SIGKILL, if it runs.
    async fn crash(&mut self) {
        self.before = self.counts();
        if let Some(node) = self.node.take() {
            node.crash().await;
            self.served.forget();
            self.had_data = false;
        }
    }

    /// What nodes here have counted so far.
    fn counts(&self) -> Counts {
        let now = self.node.as_ref().map(super::node::Node::counts).unwrap_or_default();
        Counts {
            wholes: self.before.wholes + now.wholes,
            left: self.before.left + now.left,
            mismatches: self.before.mismatches + now.mismatches,
        }
    }
}
