//! Drills of hubs: one goes, one is wrong, all go.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;

use super::ask::load::Manner;
use super::control_plane::observed;
use super::processes::fleet::{Fleet, Shape};
use super::processes::hub::Hub;
use super::processes::{PATIENCE, until};
use super::{Play, Played, Without};

/// How long hubs are away: a second longer than it may take until every node says that its answers are old.
const AWAY: Duration = Duration::from_secs(46);

/// How long it leaves out changes before there are none any more.
const LEAVES_OUT: Duration = Duration::from_secs(20);

/// How long a hub is wrong: until what it has left out would be answered for longer than anything may be old.
const WRONG: Duration = Duration::from_secs(60);

/// Seconds of a day.
const DAY: i64 = 86_400;

/// How often what a node holds has differed from what its hub says it has.
const MISMATCHES: &str = "outlast_hub_digest_mismatches_total";

/// How many days ago certificates have ended: within the week that they are believed after that.
const ENDED_DAYS: i64 = 3;

/// One of two hubs is killed for good.
pub(super) fn hub_lost(play: &Play<'_>) -> anyhow::Result<Played> {
    let mut fleet = Fleet::start(play, Shape::usual())?;
    fleet.begin();
    // Which one nodes follow is the hash of names and ports.
    let is_followed = |hub: &Hub| fleet.nodes.iter().any(|node| node.follows(hub.address));
    let followed = fleet.hubs.iter().position(is_followed).context("a hub that a node follows")?;
    fleet.hubs[followed].end(Signal::KILL)?;
    fleet.end();
    fleet.pass(AWAY);
    fleet.until_fresh();
    fleet.check_no_stale();
    observed(fleet)
}

/// One leaves out changes, and all nodes come to it because the other one is started later.
pub(super) fn hub_wrong(play: &Play<'_>) -> anyhow::Result<Played> {
    let mut fleet = Fleet::start(play, Shape::usual())?;
    fleet.compares_memory = false;
    fleet.begin();
    fleet.hubs.iter_mut().try_for_each(|hub| hub.end(Signal::KILL))?;
    if let Some(wrong) = fleet.hubs.first_mut() {
        wrong.switches.loses_entries = true;
        wrong.start()?;
        let address = wrong.address;
        // One that has found it out has left it again.
        let mut came = BTreeSet::new();
        until("all nodes have come to the hub that is wrong", PATIENCE, || {
            came.extend(
                fleet.nodes.iter().filter(|node| node.follows(address)).map(|node| node.name().to_owned()),
            );
            Ok(came.len() == fleet.nodes.len())
        })?;
    }
    fleet.hubs.iter_mut().skip(1).try_for_each(Hub::start)?;
    fleet.end();
    fleet.pass(LEAVES_OUT);
    // What was left out last is not made up for by what comes next.
    fleet.rest(true);
    fleet.pass(WRONG);
    fleet.rest(false);
    fleet.until_fresh();
    fleet.check_live();
    fleet.check_no_stale();
    let noticed: f64 = fleet.nodes.iter().filter_map(|node| node.metric(MISMATCHES)).sum();
    fleet.check(noticed > 0.0, || "no node has noticed that changes are left out".to_owned());
    observed(fleet)
}

/// Both are killed, and a node meanwhile; one hub comes back.
pub(super) fn hubs_lost(play: &Play<'_>) -> anyhow::Result<Played> {
    let shape = Shape { manner: Manner::Stub, ..Shape::usual() };
    let mut fleet = Fleet::start(play, shape)?;
    fleet.compares_memory = false;
    fleet.begin();
    for hub in &mut fleet.hubs {
        hub.end(Signal::KILL)?;
    }
    fleet.pass(AWAY / 2);
    fleet.restart(0)?;
    fleet.pass(AWAY / 2);
    if let Some(hub) = fleet.hubs.first_mut().filter(|_| !play.is_without(Without::Snapshot)) {
        hub.start()?;
    }
    fleet.end();
    fleet.until_fresh();
    observed(fleet)
}

/// All are started again with clocks that are a day behind, and then a day ahead.
pub(super) fn clock(play: &Play<'_>) -> anyhow::Result<Played> {
    let mut fleet = Fleet::start(play, Shape { manner: Manner::Stub, ..Shape::usual() })?;
    fleet.compares_memory = false;
    fleet.begin();
    for days in [-1, 1] {
        fleet.start_again_at(days * DAY)?;
        fleet.end();
        fleet.pass(AWAY);
        fleet.until_fresh();
        fleet.check_live();
        fleet.check_ages();
    }
    observed(fleet)
}

/// All are started again when their certificates have ended days ago.
pub(super) fn certificates(play: &Play<'_>) -> anyhow::Result<Played> {
    let shape = Shape { manner: Manner::Stub, days: 1, ..Shape::usual() };
    let mut fleet = Fleet::start(play, shape)?;
    fleet.compares_memory = false;
    fleet.begin();
    fleet.start_again_at((1 + ENDED_DAYS) * DAY)?;
    fleet.end();
    fleet.pass(AWAY);
    fleet.until_fresh();
    fleet.check_live();
    observed(fleet)
}
