//! The life of the thread: it looks, sets up, beats and cleans up, each when it is told to, and ends where nobody does.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tokio::sync::oneshot;

use super::StartError;
use super::set_up::{SetUp, set_up, survey};
use crate::net::accept::Accept;
use crate::net::beside::Beside;
use crate::net::config::Config;
use crate::net::link::{Journal, LinkError, Links};
use crate::net::metrics::{Measures, SetupError};
use crate::net::rules::RulesError;
use crate::net::run::{End, Heart, Hooks, Means, Shown};
use crate::net::section::Report;
use crate::net::usable::Usable;
use crate::ops::ownership::{Claim, Ownership};

/// What a look at the node came to.
pub(super) enum Outcome {
    /// These addresses are to be led here.
    Here(Usable),
    /// None of them is on the node, and none is to be: others lead queries to this process.
    ByOthers,
}

/// That it shall go on, and what with.
pub(super) struct Order {
    /// For how long a listener keeps an idle connection.
    pub(super) idle: Duration,
    /// What is counted.
    pub(super) measures: Arc<Measures>,
    /// Says what setting up came to.
    pub(super) done: SyncSender<Result<Told, StartError>>,
    /// What begins the beats.
    pub(super) begun: oneshot::Receiver<(Hooks, End)>,
}

/// What was set up, for who asks from elsewhere.
pub(super) struct Told {
    /// Whether what processes of the node share is ours.
    pub(super) ownership: Ownership,
    /// How long rules may take to go.
    pub(super) limit: Duration,
    /// What operators see.
    pub(super) report: Arc<Report>,
}

/// The whole of it; what is still ours at its end of what processes share.
pub(super) async fn live(
    config: Config,
    found: SyncSender<Result<Outcome, StartError>>,
    order: oneshot::Receiver<Order>,
) -> Option<Claim> {
    let survey = match survey(&config).await {
        Ok(Some(survey)) => survey,
        Ok(None) => {
            drop(found.send(Ok(Outcome::ByOthers)));
            return None;
        }
        Err(error) => {
            drop(found.send(Err(error)));
            return None;
        }
    };
    // Who has gone meanwhile gives no order either.
    drop(found.send(Ok(Outcome::Here(survey.usable().clone()))));
    let Order { idle, measures, done, begun } = order.await.ok()?;
    let config = config.with_idle(idle);
    // Invariant: first of everything that changes anything. What others take away when they end, they do not take away
    // from then on.
    let (claim, ownership) = match Claim::join(&config.owner) {
        Ok(joined) => joined,
        Err(error) => {
            drop(done.send(Err(error.into())));
            return None;
        }
    };
    let mut journal = Journal::default();
    let set_up = match set_up(&config, survey, &measures, &mut journal).await {
        Ok(set_up) => set_up,
        Err(error) => {
            match error {
                StartError::Links(_) => measures.setup_error(SetupError::InterfaceAdd),
                StartError::Rules(RulesError::Iptables(_)) => measures.setup_error(SetupError::Iptables),
                _ => {}
            }
            undo(journal, &claim).await;
            drop(done.send(Err(error)));
            return None;
        }
    };
    let report = set_up.report();
    drop(done.send(Ok(Told { ownership, limit: set_up.limit(), report: report.clone() })));
    let Ok((hooks, end)) = begun.await else {
        undo(journal, &claim).await;
        return None;
    };
    let SetUp { keeper, marks, events, poll, accept, lookout, around } = set_up;
    // All that there are now: it may have others at the end.
    let addresses = keeper.layout().addresses().to_vec();
    let mut beside = Beside::nothing().with_around(around, hooks.services.clone());
    if let Some(lookout) = lookout {
        beside = beside.with_lookout(lookout);
    }
    if let Some(poll) = poll {
        beside = beside.with_poll(poll);
    }
    if let Some(rules) = &accept {
        let accept = Accept::new(rules.clone(), &addresses, config.look, measures.clone());
        beside = beside.with_accept(accept.until(end.withdrawing.clone()));
    }
    let (means, shown) = (Means { keeper, marks, claim, beside }, Shown { measures, report });
    let heart = Heart::new(means, hooks, end, shown, config.look);
    let (mut keeper, mut claim) = heart.run(events).await;
    // Invariant: nothing is taken away from another process, be it one that comes just now.
    if config.teardown && claim.try_own() && claim.shut() {
        keeper.remove().await;
        if let Some(rules) = accept
            && let Err(error) = rules.delete(&addresses).await
        {
            tracing::warn!(%error, "rules that let queries through firewalls stay");
        }
        claim.open();
    }
    Some(claim)
}

/// Undoes what a start did, unless others rely on it by now.
async fn undo(journal: Journal, claim: &Claim) {
    if !claim.shut() {
        return;
    }
    if let Err(error) = take_away(journal).await {
        tracing::warn!(%error, "what the start did to the node stays");
    }
    claim.open();
}

/// Takes away what was made, if anything was.
async fn take_away(journal: Journal) -> Result<(), LinkError> {
    if journal.is_empty() { Ok(()) } else { Links::connect()?.undo(journal).await }
}
