//! Handing the addresses over to another process of the node, and taking them over from one.
//!
//! ```text
//! newcomer   all is well ── asks ── has them ── beats; alone: has them
//! owner      beats ── sees that somebody asks, at the end of a beat that renewed ── gives them up, and answers on
//! standby    all is well, they are nobody's ── has them ── beats; also where who asked leaves them lying
//! sick       leads nobody here ── gives them up ── waits until another one ends, or all was well for its pause
//! who ends   renews once more ── gives them up ── waits for the other one to have them, or withdraws
//! ```
//!
//! Invariants:
//! * Who gives them up has just renewed, if anything is led here: elements live until the other one has begun.
//! * Nobody takes them from anybody who would not renew at once.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Heart;
use super::tenure::TAKEN_WITHIN;
use crate::net::mark::Say;
use crate::net::metrics::HandedTo;

/// How often a process that does not own the addresses looks whether it may: elements that another one leaves behind
/// live for a second, and are to be renewed long before.
pub(super) const LOOK: Duration = Duration::from_millis(20);

impl Heart {
    /// Takes the addresses if it may have them; whether they are ours now.
    pub(super) async fn takes(&mut self) -> bool {
        let takes = self.tenure.takes().await;
        if takes {
            // What is there may have changed hands many times.
            self.chores.suspect();
            self.shown.measures.handed(HandedTo::Us);
            tracing::info!("this process has the addresses of the node");
        }
        takes
    }

    /// Leaves the addresses to another process, and stands by.
    pub(super) fn hand_over(&mut self, to: HandedTo) {
        self.tenure.give_up();
        self.shown.measures.handed(to);
        tracing::info!(to = to.as_str(), "another process has the addresses of the node");
        self.stand_by();
    }

    /// Leaves the addresses to another process of the node, if there is one, where this one leads nobody here: one that is
    /// well takes them at once. Where none does, this one tries again after its pause.
    pub(super) async fn make_way(&mut self) {
        // Rules that do not expire are deleted by who owns them alone.
        if !self.tenure.is_idle() || self.keeper.rules().may_lead() || self.tenure.is_alone().await {
            return;
        }
        self.tenure.make_way();
        self.shown.measures.handed(HandedTo::Standby);
        tracing::warn!(
            "nobody is led here: the addresses are left to another process of the node that is well"
        );
        self.stand_by();
    }

    /// What is not ours is left alone.
    pub(super) fn stand_by(&mut self) {
        self.beat.given_up();
        self.keeper.leave();
        self.beside.owns(false);
        self.shown.measures.owns(false);
        self.shown.live(self.renewals.places(), false);
        if let Some(standing) = self.tenure.standing() {
            self.shown.report.set(standing);
        }
    }

    /// Leaves the addresses to another process of the node, if there is one that takes them; else they are ours still.
    pub(super) async fn is_taken_over(&mut self) -> bool {
        if self.tenure.is_alone().await {
            return false;
        }
        let to = if self.tenure.is_asked() { HandedTo::Successor } else { HandedTo::Standby };
        if self.beat.is_live() {
            // They last until the other one has begun.
            self.renewals.say(Say::Beat);
        }
        self.tenure.give_up();
        let until = Instant::now() + TAKEN_WITHIN;
        while !self.tenure.is_taken() {
            // One that is there need not answer yet: it takes nothing then.
            if Instant::now() >= until && self.tenure.take_back() {
                return false;
            }
            sleep(LOOK / 4).await;
        }
        self.hand_over(to);
        true
    }
}
