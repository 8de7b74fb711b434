//! A soak: a day of a large cluster's changes in minutes, and what becomes of everybody's memory, descriptors, tasks and
//! snapshots.
//!
//! Every change of the [`day`](super::day) happens, only sooner after the one before; where the machine is too slow for that, it
//! is told how many did. What is compared is the cluster at rest: after a first stretch of changes, which fills what is
//! bounded, and after all of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::ask::judge::{FRESH, Rules};
use super::ask::load::Manner;
use super::day::{CHANGES, Day};
use super::processes::fleet::{Fleet, Shape};
use super::processes::footprint::Footprint;
use super::report::growth::Growth;
use super::standin::bulk::Printer;
use super::standin::etcd::Etcd;
use super::{Observed, Play, Played};
use crate::ops::niceness;
use crate::zone::change::Change;

/// How many minutes the day lasts if nothing else is said.
pub(super) const MINUTES: u64 = 10;

/// One question in so many is asked over TCP: connections come and go.
const TCP_EVERY: u32 = 10;

/// After so much time the connections to the API server end. This is not quicker than it may be on a day: who follows it waits
/// longer after each of several that come soon one after the other, while its history covers seconds of such a day.
const BETWEEN_CUTS: Duration = Duration::from_secs(60);

/// For how long the API server remembers a change: a little longer than a real one's cache does, which is 75 s.
const KEPT: Duration = Duration::from_secs(120);

/// For how long what was true is remembered: longer than it may be answered, so that a soak of any length takes no more.
const REMEMBERS: Duration = FRESH.saturating_add(Duration::from_secs(30));

/// Nothing changes for so long before anything is measured: what is free is given back by then, and written what is due.
const REST: Duration = Duration::from_secs(5);

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(100);

/// Between two lines that say so; nodes are asked about other services from then on, for those before may have gone.
const STEP: Duration = Duration::from_secs(5);

/// How many of a hundred changes have to have happened: what a machine is too slow for shows nothing.
const MADE_PERCENT: u64 = 95;

/// How many tenths of its time a day may take, before the rest of it is left out; and one that is played in the short form, by
/// programs that may not be optimised.
const TENTHS: (u32, u32) = (11, 40);

/// How large it is.
struct Size {
    /// Services of the cluster.
    services: usize,
    /// Changes of the first stretch.
    first: u64,
    /// Changes after that.
    changes: u64,
    /// Within which time.
    within: Duration,
    /// How many tenths of that it may take at most.
    tenths: u32,
    /// After so much time connections to the API server end.
    between_cuts: Duration,
    /// See [`Shape::history_bytes`].
    history_bytes: Option<usize>,
}

impl Size {
    fn of(play: &Play<'_>) -> Self {
        if play.short {
            return Self {
                services: 200,
                first: 1_000,
                changes: 4_000,
                within: Duration::from_secs(16),
                tenths: TENTHS.1,
                between_cuts: Duration::from_secs(9),
                history_bytes: Some(64 << 10),
            };
        }
        let within =
            Duration::from_secs(60) * u32::try_from(play.minutes.unwrap_or(MINUTES)).unwrap_or(u32::MAX);
        Self {
            services: 10_000,
            first: CHANGES / 2,
            changes: CHANGES,
            within,
            tenths: TENTHS.0,
            between_cuts: BETWEEN_CUTS,
            history_bytes: None,
        }
    }

    /// Changes that the API server remembers.
    fn remembered(&self) -> usize {
        let kept = self.changes as f64 * KEPT.as_secs_f64() / self.within.as_secs_f64();
        kept as usize
    }

    /// How long so many changes take, and how long they may take at most.
    fn times(&self, changes: u64) -> (Duration, Duration) {
        let time = self.within.mul_f64(changes as f64 / self.changes as f64);
        (time, time * self.tenths / 10)
    }
}

/// A day passes.
pub(super) fn soak(play: &Play<'_>) -> anyhow::Result<Played> {
    let size = Size::of(play);
    let shape = Shape {
        services: size.services,
        manner: Manner::Strict { tcp_every: TCP_EVERY },
        rules: Rules { remembers: Some(REMEMBERS), ..Rules::default() },
        remembered: Some(size.remembered()),
        history_bytes: size.history_bytes,
        ..Shape::usual()
    };
    let mut day = Day::of(shape.cluster(play.seed)?, play.seed);
    let mut fleet = Fleet::start(play, shape)?;
    // That is done here, and by less.
    fleet.compares_memory = false;
    pass(&fleet, &mut day, &size, size.first, play);
    let (first, own_first) = at_rest(&mut fleet)?;
    fleet.begin();
    let began = Instant::now();
    let made = pass(&fleet, &mut day, &size, size.changes, play);
    let least = size.changes * MADE_PERCENT / 100;
    fleet.check(made >= least, || format!("{made} of {} changes happened, promised {least}", size.changes));
    let took = began.elapsed();
    fleet.end();
    let (last, own_last) = at_rest(&mut fleet)?;
    fleet.until_fresh();
    fleet.check_live();
    let notes = vec![
        format!(
            "{made} of a day's {CHANGES} changes in {:.0} s, after the first {}",
            took.as_secs_f64(),
            size.first
        ),
        format!(
            "the API server and clients have {} MiB, at first {}",
            own_last.rss >> 20,
            own_first.rss >> 20
        ),
    ];
    let both = first.into_iter().zip(last);
    let growth = both.map(|((process, first), (_, last))| Growth { process, first, last }).collect();
    Ok(Played::Observed(Box::new(Observed { notes, growth, ..fleet.observe()? })))
}

/// What processes have by name, and this one, once nothing has changed for a while.
fn at_rest(fleet: &mut Fleet) -> anyhow::Result<(Vec<(String, Footprint)>, Footprint)> {
    fleet.rest(true);
    fleet.pass(REST);
    let footprints = (fleet.footprints()?, Footprint::of(std::process::id())?);
    fleet.rest(false);
    Ok(footprints)
}

/// Lets the next changes of the day happen; how many there were.
fn pass(fleet: &Fleet, day: &mut Day, size: &Size, changes: u64, play: &Play<'_>) -> u64 {
    let (made, etcd) = (AtomicU64::new(0), fleet.standin.etcd());
    std::thread::scope(|scope| {
        let happening = scope.spawn(|| happen(day, etcd, changes, size.times(changes), &made));
        let (mut cut, mut said) = (Instant::now(), Instant::now());
        while !happening.is_finished() {
            std::thread::sleep(LOOK);
            let so_far = made.load(Ordering::Relaxed);
            if cut.elapsed() >= size.between_cuts {
                cut = Instant::now();
                fleet.standin.faults().cut_connections();
            }
            if said.elapsed() >= STEP {
                said = Instant::now();
                fleet.load().choose_anew(play.seed.wrapping_add(so_far));
                (play.say)(&format!("{so_far} of {changes} changes"));
            }
        }
    });
    made.into_inner()
}

/// Makes changes at an even pace, and counts them; those that are too late for their time are left out.
fn happen(day: &mut Day, etcd: &Etcd, changes: u64, (within, most): (Duration, Duration), made: &AtomicU64) {
    // Who asks and who answers comes first.
    niceness::give_way();
    let (began, mut count) = (Instant::now(), 0);
    while count < changes && began.elapsed() < most {
        for change in day.go_on() {
            write(etcd, change);
            count += 1;
        }
        made.store(count, Ordering::Relaxed);
        let due = within.mul_f64(count as f64 / changes as f64);
        std::thread::sleep(due.saturating_sub(began.elapsed()));
    }
}

/// Has the API server say so, in full size.
fn write(etcd: &Etcd, change: Change) {
    match change {
        Change::Upsert(object) => {
            let mut printer = Printer::of_changes();
            etcd.put_raw(object.kind(), printer.print((&object).into()))
                .expect("an object of our own making");
        }
        Change::Delete(key) => drop(etcd.delete(key.kind, &key.namespace, &key.name)),
    }
}
