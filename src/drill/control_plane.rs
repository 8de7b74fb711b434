//! Drills of the control plane: whatever becomes of the API server, every name goes on being answered, rightly.

use std::time::Duration;

use tokio::time::Instant;

use super::ask::judge::Keeps;
use super::ask::questions::NAMESPACE;
use super::processes::fleet::{Fleet, Shape};
use super::standin::access::{Rights, USER};
use super::standin::etcd::Stored;
use super::standin::faults::{Fault, Refusal, Rule};
use super::standin::requests::ListKind;
use super::{Play, Played, Without};
use crate::zone::object::Kind;

/// How long an outage lasts: a second longer than it may take until every node says that its answers are old.
const OUTAGE: Duration = Duration::from_secs(46);

/// How long an API server that has too much to do answers in each of its ways.
const OVERLOAD: Duration = Duration::from_secs(20);

/// How late its answers are in the last one.
const LATE: Duration = Duration::from_secs(30);

/// Seconds after which it says that it may be asked again.
const RETRY_AFTER: u32 = 2;

/// How long an API server is away that comes and goes, and how long it is there.
const FLAP: Duration = Duration::from_secs(2);

/// How often it does, and in the short form.
const FLAPS: (usize, usize) = (20, 8);

/// How often history is lost.
const LOSSES: usize = 3;

/// Between two losses: time enough for everybody to have listed everything.
const BETWEEN: Duration = Duration::from_secs(10);

/// How many revisions pass between a backup and its restore: more than are written before and after, so that none is used
/// twice.
const FAR: u64 = 100_000;

/// How long the cluster changes between a backup and its restore.
const SINCE_BACKUP: Duration = Duration::from_secs(20);

/// How long what is missing is held before anybody does anything.
const HELD: Duration = Duration::from_secs(40);

/// How long it takes after an order at one hub until nobody holds anything any more.
const LET_GO: Duration = Duration::from_secs(30);

/// How long rights are away, and then tokens: longer than until answers say that they are old.
const NO_RIGHTS: Duration = Duration::from_secs(40);

/// What was seen of a fleet.
pub(super) fn observed(fleet: Fleet) -> anyhow::Result<Played> {
    Ok(Played::Observed(Box::new(fleet.observe()?)))
}

/// Nobody reaches the API server, and meanwhile the cluster changes.
pub(super) fn offline(play: &Play<'_>) -> anyhow::Result<Played> {
    let mut fleet = Fleet::start(play, Shape::usual())?;
    fleet.begin();
    fleet.cut();
    fleet.pass(OUTAGE);
    fleet.heal();
    fleet.end();
    fleet.until_fresh();
    observed(fleet)
}

/// It has too much to do: it refuses, gives up, and answers late.
pub(super) fn overloaded(play: &Play<'_>) -> anyhow::Result<Played> {
    let mut fleet = Fleet::start(play, Shape::usual())?;
    fleet.begin();
    for fault in [
        Fault::Answer(Refusal::TooManyRequests(RETRY_AFTER)),
        Fault::Answer(Refusal::Timeout),
        Fault::Late(LATE),
    ] {
        let faults = fleet.standin.faults();
        let rule = faults.add(Rule::new(fault));
        faults.cut_connections();
        fleet.pass(OVERLOAD);
        faults.remove(rule);
    }
    // Answers that are still on their way, late as they are, do not come any more.
    fleet.standin.faults().cut_connections();
    fleet.end();
    fleet.until_fresh();
    observed(fleet)
}

/// It comes and goes.
pub(super) fn flapping(play: &Play<'_>) -> anyhow::Result<Played> {
    let mut fleet = Fleet::start(play, Shape::usual())?;
    fleet.begin();
    for _ in 0..if play.short { FLAPS.1 } else { FLAPS.0 } {
        fleet.cut();
        fleet.pass(FLAP);
        fleet.heal();
        fleet.pass(FLAP);
    }
    fleet.end();
    fleet.until_fresh();
    observed(fleet)
}

/// It forgets its history: whoever follows it has to list everything again.
pub(super) fn history_lost(play: &Play<'_>) -> anyhow::Result<Played> {
    let mut fleet = Fleet::start(play, Shape::usual())?;
    fleet.begin();
    for _ in 0..LOSSES {
        fleet.standin.restart();
        fleet.pass(BETWEEN);
    }
    fleet.end();
    fleet.until_fresh();
    fleet.check_no_stale();
    observed(fleet)
}

/// It is restored from a backup, its version too.
pub(super) fn restored(play: &Play<'_>) -> anyhow::Result<Played> {
    let mut fleet = Fleet::start(play, Shape::usual())?;
    let backup = fleet.standin.etcd().save();
    fleet.pass(SINCE_BACKUP);
    let etcd = fleet.standin.etcd();
    etcd.advance_to(etcd.revision() + FAR);
    fleet.pass(SINCE_BACKUP);
    fleet.begin();
    fleet.standin.etcd().restore(&backup);
    fleet.end();
    fleet.pass(OUTAGE);
    fleet.until_fresh();
    let epochs: Vec<_> = fleet.nodes.iter().map(|node| node.metric("outlast_data_epoch")).collect();
    let once = epochs.iter().all(|epoch| *epoch == Some(1.0));
    fleet.check(once, || format!("nodes know of {epochs:?} restores, there was one"));
    observed(fleet)
}

/// It is restored from a backup that has a fifth of the services, as of a later version.
pub(super) fn bumped(play: &Play<'_>) -> anyhow::Result<Played> {
    let mut fleet = Fleet::start(play, Shape::usual())?;
    let backup = fleet.standin.etcd().save().without(is_missing);
    fleet.begin();
    fleet.load().rules(|rules| rules.keeps = Keeps::Vanished(None));
    fleet.standin.etcd().restore_bumped(&backup, FAR);
    fleet.pass(HELD);
    fleet.check_held();
    fleet.end();
    let now = Instant::now();
    if let Some(hub) = fleet.hubs.first().filter(|_| !play.is_without(Without::Guard)) {
        hub.order(&["accept"])?;
    }
    fleet.load().rules(|rules| rules.keeps = Keeps::Vanished(Some(now)));
    fleet.until_let_go(LET_GO);
    fleet.until_fresh();
    observed(fleet)
}

/// Whether an object is not in an old backup: four of five services, and their slices. What a drill writes is in it.
fn is_missing(kind: Kind, object: &Stored) -> bool {
    let service = match kind {
        Kind::Namespace | Kind::Pod => return false,
        Kind::Service => object.name().to_owned(),
        Kind::EndpointSlice => {
            let value = object.value();
            value["metadata"]["labels"]["kubernetes.io/service-name"].as_str().unwrap_or_default().to_owned()
        }
    };
    let sum: u32 = service.bytes().map(u32::from).sum();
    object.namespace() != NAMESPACE && !sum.is_multiple_of(5)
}

/// Its lists are empty.
pub(super) fn empty(play: &Play<'_>) -> anyhow::Result<Played> {
    let mut fleet = Fleet::start(play, Shape::usual())?;
    fleet.begin();
    for list in [ListKind::Streaming, ListKind::Consistent, ListKind::Cached, ListKind::Exact] {
        fleet.standin.faults().add(Rule::new(Fault::Empty).on_lists(list));
    }
    fleet.standin.restart();
    fleet.pass(HELD);
    fleet.check_held();
    fleet.standin.faults().clear();
    fleet.standin.restart();
    fleet.end();
    fleet.until_let_go(LET_GO);
    fleet.until_fresh();
    observed(fleet)
}

/// It lets nobody read any more, and then knows nobody any more.
pub(super) fn rights_lost(play: &Play<'_>) -> anyhow::Result<Played> {
    let mut fleet = Fleet::start(play, Shape::usual())?;
    let token = fleet.standin.access().token(USER).unwrap_or_default();
    fleet.begin();
    let access = fleet.standin.access();
    access.set_user(USER, Rights::NONE);
    fleet.standin.faults().cut_connections();
    fleet.pass(NO_RIGHTS);
    access.set_user(USER, Rights::READ_ALL);
    access.revoke(USER);
    fleet.standin.faults().cut_connections();
    fleet.pass(NO_RIGHTS);
    access.set_token(USER, &token);
    fleet.end();
    fleet.until_fresh();
    observed(fleet)
}
