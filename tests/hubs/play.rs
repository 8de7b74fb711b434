//! Plays a script, and looks at the nodes all the time.

use std::time::Duration;

use outlast::drill::memory::hub::MemoryHub;
use outlast::drill::memory::wires::Flow;
use outlast::drill::standin::etcd::Backup;
use outlast::drill::standin::faults::{Fault, Refusal, Rule};
use outlast::store::guard_config::DEFAULT_GUARD_HOLD;
use outlast::store::state::DataState;
use tokio::time::Instant;

use super::asked::{SERVICES, ask};
use super::node::{self, Counts, NODES};
use super::past::{Truth, of_table};
use super::seeds::{Traces, in_paused_time};
use super::step::{OBJECTS, Script, Step};
use super::world::{HUBS, MUCH, Place, World, addresses, set};

/// Longer than any script: an age that nobody knows.
const UNKNOWN: Duration = Duration::from_secs(86_400);

/// Often enough to let every task that can go on go on; and how often where nothing new is seen.
const TURNS: usize = 64;
const IDLE_TURNS: usize = 8;

/// How far apart looks are while time passes: at first, and after [`MANY_LOOKS`] of them.
const BETWEEN_LOOKS: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(5)];
const MANY_LOOKS: usize = 20;

/// After faults end, everything has this long: two minutes for hubs, as for nodes of an API server, and as long again
/// for those that follow them. Hubs that hold something back look again after minutes.
const RECOVERY: [Duration; 2] = [Duration::from_secs(300), Duration::from_secs(900)];

/// Then what is said is counted for this long, by patience.
const COUNTED: [Duration; 2] = [Duration::from_secs(20), Duration::from_secs(60)];

/// What is well needs so long at most until nothing happens any more.
const SETTLING: Duration = Duration::from_secs(30);

/// One script in so many has patience: it waits for as long as anything may take, whether or not all is well before.
const PATIENCE: u64 = 16;

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
    /// Whether lists may have lacked what there is: then small losses are believed, and only large ones are not.
    emptied: bool,
    /// For how long all may take to be well.
    recovery: Duration,
    /// Whether it waits for as long as anything may take.
    is_patient: bool,
    /// Questions that were asked.
    asked: usize,
    /// What was seen of nodes.
    traces: Traces,
}

/// What there is to say of a script that was played.
pub(super) struct Played {
    /// What each node has counted.
    pub(super) counts: Vec<Counts>,
    /// What was seen of nodes.
    pub(super) traces: Traces,
}

/// Plays `script` in a runtime of its own, or says what is wrong.
pub(super) fn play(script: &Script) -> Result<Played, String> {
    in_paused_time(script.seed, async {
        let world = World::new(script);
        let mut play = Play {
            world,
            truth: Truth::default(),
            highest: 0,
            backup: None,
            forgot: false,
            emptied: false,
            recovery: RECOVERY[usize::from(script.guard)],
            is_patient: script.seed.is_multiple_of(PATIENCE),
            asked: 0,
            traces: Traces::default(),
        };
        let counts = play.all(&script.steps).await?;
        Ok(Played { counts, traces: play.traces })
    })
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
            Step::CrashHub(hub) => world.crash_hub(hub).await,
            Step::Wipe => {
                self.forgot |= world.hubs[0].is_none();
                world.wipe(0);
            }
            Step::StartHub(hub) => world.start_hub(hub),
            Step::Stop(node) => world.places[node].stop().await,
            Step::Crash(node) => world.places[node].crash().await,
            Step::Start(node) => world.start(node),
            Step::Empty(times) => self.emptied |= world.empty(times),
            Step::Disk(party, trouble) => world.disk(party).meets(trouble),
            Step::PowerCut(party, seed) => {
                match party.checked_sub(HUBS.len()) {
                    None => world.crash_hub(party).await,
                    Some(node) => world.places[node].crash().await,
                }
                world.disk(party).cut(seed);
            }
        }
        Ok(())
    }

    /// Brings everything, on its disk as well, to a revision that the backup is far below.
    async fn prepare_restore(&mut self) -> Result<(), String> {
        self.world.well();
        self.world.start_all();
        // The restore before, if there was one, is to be found out.
        self.pass(self.recovery).await?;
        self.highest = self.world.standin.etcd().advance_to(self.highest + FAR);
        self.pass(self.recovery).await?;
        // Of every kind, so that every position is on the disk.
        [OBJECTS[0], OBJECTS[2], OBJECTS[5], OBJECTS[8]].into_iter().for_each(|o| self.world.put(o));
        self.pass(self.recovery).await?;
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
            self.world.meet();
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
        let end = Instant::now() + self.recovery;
        while Instant::now() < end {
            self.pass_until(end, |play| !is_patient && play.is_well().is_ok()).await?;
            // What is well may have yet to find out what is not.
            self.pass(SETTLING.min(end - Instant::now())).await?;
            if self.is_well().is_ok() {
                return Ok(());
            }
        }
        if self.emptied && self.is_well().is_err() {
            // Where lists were empty, what was deleted meanwhile is held with the rest, and not believed to be gone when
            // that turns up again.
            let hold = Instant::now() + DEFAULT_GUARD_HOLD;
            self.pass_until(hold, |play| play.is_well().is_ok()).await?;
            self.pass(SETTLING).await?;
        }
        Ok(())
    }

    /// Lets every task go on that can, and looks at the nodes whenever there is something new.
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

    /// Whether there is something new at any node.
    async fn look(&mut self) -> Result<bool, String> {
        let mut is_new = false;
        for number in 0..NODES.len() {
            is_new |= self.look_at(number).await.map_err(|why| format!("node {number}: {why}"))?;
        }
        Ok(is_new)
    }

    async fn look_at(&mut self, number: usize) -> Result<bool, String> {
        let place = &mut self.world.places[number];
        let Some(node) = &mut place.node else { return Ok(false) };
        let generation = node.store.current().clone();
        let facts = node.store.facts(&generation);
        // Of what nobody has proved yet nobody says how old it is: it may be of any moment.
        let age = if facts.proved { facts.age } else { UNKNOWN };
        let seen = (generation.number, age);
        if std::mem::replace(&mut place.looked_at, seen) == seen {
            return Ok(false);
        }
        self.traces.note((self.world.origin.elapsed(), number, seen, generation.table.serial()));
        if matches!(node.state(), DataState::Empty { .. }) {
            return if place.had_data { Err("it has lost its data".to_owned()) } else { Ok(true) };
        }
        // A state that is not complete is not written to the disk.
        place.had_data |= node.is_complete();
        self.truth.read(self.world.standin.etcd());
        if !self.emptied {
            place.served.check(&self.truth, &generation.table, age)?;
        }
        if node.is_complete() {
            self.asked += 1;
            let much = MUCH.get(self.asked % (2 * MUCH.len())).filter(|_| self.world.guard);
            let service = match much {
                Some(name) => format!("default/{name}"),
                // Of what is always there there is too much to be lost.
                None if self.emptied => SERVICES[0].to_owned(),
                None => SERVICES[self.asked % SERVICES.len()].to_owned(),
            };
            let want = self.truth.answers(&service, age, NODES[number].headless_only);
            let served = |why| format!("{why}\nserved: {:?}", of_table(&generation.table));
            self.traces.note(ask(&mut node.lanes, &service, &want).await.map_err(served)?);
        }
        Ok(true)
    }

    /// Whether every node serves what is true, and says so.
    fn is_well(&mut self) -> Result<(), String> {
        self.truth.read(self.world.standin.etcd());
        let checked = self.each(|truth, place, _| {
            let node = place.node.as_ref().expect("it was started");
            let state = node.state();
            if state != DataState::Live {
                return Err(format!("it is {state:?}"));
            }
            place.served.check_equal(truth, &node.store.current().table)
        });
        checked.map(drop)
    }

    /// Without faults and writes, everything is known everywhere, and little is said.
    async fn quiet(&mut self, steps: usize) -> Result<Vec<Counts>, String> {
        self.world.well();
        self.world.start_all();
        if self.emptied {
            // Small losses are believed until everything is compared.
            self.pass(SETTLING).await?;
            self.world.hubs.iter().flatten().for_each(MemoryHub::audit);
        }
        self.recover().await?;
        self.is_well()?;
        let counts = self.each(|_, place, forgot| {
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
        self.pass(COUNTED[usize::from(self.is_patient)]).await?;
        let after = self.each(|_, place, _| Ok(place.counts()))?;
        if counts != after {
            return Err(format!("nothing happened, and it was {counts:?} and is {after:?}"));
        }
        self.alone().await.map_err(|why| format!("alone: {why}"))?;
        Ok(after)
    }

    /// After a clean stop the disk has what was served, also if the power is cut then, and a node serves it with nobody
    /// else there.
    async fn alone(&mut self) -> Result<(), String> {
        for (number, place) in self.world.places.iter_mut().enumerate() {
            place.stop().await;
            place.disk.cut_at_rest(number as u64);
            for hub in addresses() {
                place.wires[&hub].set(Flow::Refused);
                place.wires[&hub].cut();
            }
        }
        (0..NODES.len()).for_each(|node| self.world.start(node));
        self.settle().await?;
        self.each(|truth, place, _| {
            let node = place.node.as_ref().expect("it was started");
            place.served.check_equal(truth, &node.store.current().table)
        })?;
        Ok(())
    }

    fn each<T>(&self, what: impl Fn(&Truth, &Place, bool) -> Result<T, String>) -> Result<Vec<T>, String> {
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
            self.disk.stops();
            node.stop().await.unwrap();
        }
    }

    /// SIGKILL, if it runs.
    async fn crash(&mut self) {
        self.before = self.counts();
        if let Some(node) = self.node.take() {
            node.crash().await;
            self.disk.crashed();
        }
    }

    /// What nodes here have counted so far.
    fn counts(&self) -> Counts {
        let now = self.node.as_ref().map(node::counts).unwrap_or_default();
        Counts {
            wholes: self.before.wholes + now.wholes,
            left: self.before.left + now.left,
            mismatches: self.before.mismatches + now.mismatches,
        }
    }
}
