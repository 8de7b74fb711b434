//! Outages of hours, and faults that take minutes to be found.

use std::time::Duration;

use super::paused;
use super::world::{Shape, World};
use crate::drill::ask::judge::Rules;
use crate::drill::{Play, Played, Without};

/// An hour and a day, and what stands for them in the short form.
const HOUR: (Duration, Duration) = (Duration::from_secs(20 * 60), Duration::from_secs(3600));
const DAY: (Duration, Duration) = (Duration::from_secs(2 * 3600), Duration::from_secs(24 * 3600));

/// How much older than it is data may be said to be: as far apart as it is proved.
const AGE_SLACK: Duration = Duration::from_secs(15);

/// How long hubs are away when nodes have to start from their disks.
const ALONE: Duration = Duration::from_secs(60);

/// How often watches are looked after, and then some: after that nothing is missing any more.
const CHECKED: Duration = Duration::from_secs(150);

/// Events that watches leave out.
const SKIPPED: usize = 5;

/// Within which time an audit finds what no watch tells.
const AUDITED: Duration = Duration::from_secs(45 * 60);

/// How long the disk is full.
const FULL: Duration = Duration::from_secs(600);

/// A question a second, and as many changes.
fn each_second() -> Shape {
    let every = Duration::from_secs(1);
    Shape { ask_every: every, change_every: every, rules: Rules::default() }
}

/// The API server is away for an hour; half way everybody is killed and started again.
pub(in crate::drill) fn offline_hour(play: &Play<'_>) -> anyhow::Result<Played> {
    offline(play, if play.short { HOUR.0 } else { HOUR.1 }, each_second())
}

/// The same for a day.
pub(in crate::drill) fn offline_day(play: &Play<'_>) -> anyhow::Result<Played> {
    let every = Duration::from_secs(5);
    let shape = Shape { ask_every: every, change_every: every, rules: Rules::default() };
    offline(play, if play.short { DAY.0 } else { DAY.1 }, shape)
}

/// The API server is away for so long.
fn offline(play: &Play<'_>, outage: Duration, shape: Shape) -> anyhow::Result<Played> {
    paused()?.block_on(async {
        let mut world = World::start(play, shape).await?;
        world.begin();
        world.cut();
        world.pass(outage / 2).await;
        tells_its_age(&mut world, outage / 2);
        world.kill_hubs().await;
        world.kill_nodes().await;
        world.start_nodes()?;
        world.pass(ALONE).await;
        world.start_hubs()?;
        world.pass(outage / 2 - ALONE).await;
        tells_its_age(&mut world, outage);
        world.heal();
        world.end();
        world.until_fresh().await;
        Ok(world.observed())
    })
}

/// Nodes say how old their data is, which nobody has proved for so long.
fn tells_its_age(world: &mut World<'_>, real: Duration) {
    let ages = world.ages();
    let is_real = |age: &Duration| (real..=real + AGE_SLACK).contains(age);
    world.check(ages.iter().all(is_real), || {
        format!("after {real:?} nodes say that their data is {ages:?} old")
    });
}

/// Watches leave events out, and go on.
pub(in crate::drill) fn gap(play: &Play<'_>) -> anyhow::Result<Played> {
    // So rarely that nothing is written again before it has to be right.
    let shape = Shape { change_every: Duration::from_secs(5), ..each_second() };
    paused()?.block_on(async {
        let mut world = World::start(play, shape).await?;
        world.begin();
        world.standin.faults().skip_events(SKIPPED);
        world.pass(CHECKED).await;
        world.end();
        world.until_fresh().await;
        Ok(world.observed())
    })
}

/// Events happen that no watch ever tells of.
pub(in crate::drill) fn audit(play: &Play<'_>) -> anyhow::Result<Played> {
    paused()?.block_on(async {
        let mut world = World::start(play, each_second()).await?;
        world.begin();
        let fresh = std::mem::replace(&mut world.rules().fresh, AUDITED);
        // Nothing else is written: it would be seen, and what it replaces with it.
        world.changes(false);
        for _ in 0..SKIPPED {
            let next = world.standin.etcd().revision() + 1;
            world.standin.faults().hide(next);
            world.change();
        }
        world.pass(AUDITED).await;
        world.rules().fresh = fresh;
        world.pass(CHECKED).await;
        world.end();
        world.until_fresh().await;
        Ok(world.observed())
    })
}

/// Disks of nodes are full; then everybody is killed, and the newest snapshot turns out to be damaged.
pub(in crate::drill) fn disk_full(play: &Play<'_>) -> anyhow::Result<Played> {
    paused()?.block_on(async {
        let mut world = World::start(play, each_second()).await?;
        // So that there is more than one snapshot.
        world.pass(FULL).await;
        world.begin();
        // What is on a full disk was proved long before.
        world.rules().proved = None;
        world.disk.fill(true);
        world.pass(FULL).await;
        let failures = world.metric("outlast_snapshot_failures_total");
        world.check(failures.iter().all(|n| *n > 0.0), || {
            format!("nodes have counted {failures:?} snapshots that were not written")
        });
        world.cut();
        world.kill_hubs().await;
        world.kill_nodes().await;
        world.damage_snapshots(play.is_without(Without::Generations))?;
        world.start_nodes()?;
        world.pass(ALONE).await;
        world.disk.fill(false);
        world.start_hubs()?;
        world.heal();
        world.end();
        world.until_fresh().await;
        Ok(world.observed())
    })
}
