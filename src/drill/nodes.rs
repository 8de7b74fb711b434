//! Drills of nodes: they are killed, started again, and replaced.

use std::time::Duration;

use anyhow::Context as _;

use super::ask::load::Manner;
use super::ask::tally::Measured;
use super::control_plane::observed;
use super::files;
use super::processes::fleet::{Fleet, Shape};
use super::processes::setup;
use super::processes::upstream::Upstream;
use super::{Play, Played, Without};
use crate::snapshot::disk::{Disk as _, RealDisk};

/// Times that a node is killed while all is well, and while there is nobody that it could follow.
const KILLS: usize = 5;

/// Between two of them: long enough for it to have been asked often.
const BETWEEN: Duration = Duration::from_secs(1);

/// Times that all nodes are replaced.
const UPGRADES: usize = 10;

/// Replacements where nodes are not long enough there for clients to notice anything but a gap.
const SHORT_UPGRADES: usize = 3;

/// Services of a cluster that a node finds on its disk, and in the short form.
const SERVICES: (usize, usize) = (10_000, 1_000);

/// How long an upstream is silent: several times as long as its answers last.
const SILENCE: Duration = Duration::from_secs(20);

/// The endings of snapshots, and of those that were put aside.
const SNAPSHOT: &str = ".snap";

/// A node is killed again and again.
pub(super) fn restart(play: &Play<'_>) -> anyhow::Result<Played> {
    let shape = Shape { manner: Manner::Stub, ..Shape::usual() };
    let mut fleet = Fleet::start(play, shape)?;
    fleet.compares_memory = false;
    fleet.begin();
    for _ in 0..KILLS {
        fleet.restart(0)?;
        fleet.pass(BETWEEN);
    }
    fleet.lose_everybody()?;
    for _ in 0..KILLS {
        fleet.restart(0)?;
        fleet.pass(BETWEEN);
    }
    fleet.bring_back()?;
    fleet.until_fresh();
    observed(fleet)
}

/// All nodes are replaced again and again during an outage, one after the other.
pub(super) fn upgrade(play: &Play<'_>) -> anyhow::Result<Played> {
    // Where two processes answer, each has its own order of things.
    let mut shape = Shape { manner: Manner::Strict { tcp_every: 10 }, ..Shape::usual() };
    shape.rules.never_back = false;
    let mut fleet = Fleet::start(play, shape)?;
    fleet.compares_memory = false;
    fleet.begin();
    fleet.cut();
    for _ in 0..if play.short { SHORT_UPGRADES } else { UPGRADES } {
        for node in 0..fleet.nodes.len() {
            if play.is_without(Without::Handover) {
                fleet.restart(node)?;
            } else {
                fleet.nodes[node].upgrade()?;
                fleet.load().new_life(node);
            }
        }
    }
    fleet.heal();
    fleet.end();
    fleet.until_fresh();
    observed(fleet)
}

/// Everything is killed, and only the nodes come back; then all the others.
pub(super) fn restart_all(play: &Play<'_>) -> anyhow::Result<Played> {
    let services = if play.short { SERVICES.1 } else { SERVICES.0 };
    let mut fleet = Fleet::start(play, Shape { services, manner: Manner::Stub, ..Shape::usual() })?;
    fleet.compares_memory = false;
    fleet.begin();
    fleet.lose_everybody()?;
    fleet.restart_all()?;
    fleet.pass(BETWEEN);
    fleet.bring_back()?;
    fleet.until_fresh();
    observed(fleet)
}

/// The newest snapshot of a node is damaged while there is nobody that it could follow.
pub(super) fn corrupt(play: &Play<'_>) -> anyhow::Result<Played> {
    let mut fleet = Fleet::start(play, Shape { manner: Manner::Stub, ..Shape::usual() })?;
    fleet.compares_memory = false;
    fleet.begin();
    fleet.lose_everybody()?;
    let folder = setup::snapshots(play.folder, fleet.nodes[0].name());
    let damage = || {
        let entries = RealDisk.list(&folder).context("listing snapshots")?;
        let mut names: Vec<_> =
            entries.into_iter().map(|entry| entry.name).filter(|name| name.ends_with(SNAPSHOT)).collect();
        names.sort_unstable();
        let newest = names.pop().context("a snapshot")?;
        files::damage(&folder.join(newest))?;
        if play.is_without(Without::Generations) {
            for name in names {
                RealDisk.remove(&folder.join(name))?;
            }
        }
        anyhow::Ok(())
    };
    fleet.restart_after(0, damage)?;
    fleet.pass(BETWEEN);
    let rejected = fleet.nodes[0].metric("outlast_snapshot_rejected_total");
    fleet.check(rejected == Some(1.0), || format!("{rejected:?} snapshots were put aside, one is damaged"));
    fleet.bring_back()?;
    fleet.until_fresh();
    observed(fleet)
}

/// The upstream of names outside says nothing.
pub(super) fn upstream(play: &Play<'_>) -> anyhow::Result<Played> {
    let upstream = Upstream::start().context("starting an upstream")?;
    let stale = if play.is_without(Without::ServeStale) { "serve_stale off\n" } else { "" };
    let plugins = format!("cache {{\n{stale}}}\nforward . {}", upstream.address());
    let shape = Shape { manner: Manner::Stub, outside: true, plugins, ..Shape::usual() };
    let mut fleet = Fleet::start(play, shape)?;
    fleet.pass(BETWEEN * 5);
    fleet.begin();
    fleet.load().measure(Measured::Outside);
    upstream.set_silent(true);
    fleet.pass(SILENCE);
    upstream.set_silent(false);
    fleet.load().measured();
    fleet.end();
    fleet.pass(BETWEEN * 5);
    observed(fleet)
}
