//! How addresses are led here, and what becomes of it when they cannot be.
//!
//! Invariant: what is not said to live does not live in the kernel for longer than this process needs to notice it.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::Heart;
use super::renewals::Said;
use crate::net::beat::{Act, Signs, Why};
use crate::net::layout::LIFE;
use crate::net::mark::Say;
use crate::net::section::Standing;
use crate::net::watch::Hint;

impl Heart {
    /// Has all addresses live for a second more; whether they do. What turns out to be missing is put back at once.
    pub(super) async fn renew(&mut self, now: Instant, looked: bool) -> bool {
        let (was_live, resumes) = (self.beat.is_live(), self.beat.is_out());
        if !was_live && !self.keeper.lead(now).await {
            if !resumes {
                self.shown.report.set(Standing::Waiting(Why::Rules));
            }
            return false;
        }
        let (sent, said) = self.say_that_they_live(now).await;
        if said != Said::Wholly {
            self.missed(now, said).await;
            return false;
        }
        if (looked || !was_live)
            && let Some(address) = self.dead(sent).await
        {
            self.keeper.taken(now, address);
            self.refused(now, Why::Taken(address)).await;
            return false;
        }
        self.beat.renewed(now);
        self.tenure.leads();
        self.shown.live(self.renewals.places(), true);
        self.shown.report.set(Standing::Live);
        self.hooks.part.set(true);
        if !was_live {
            tracing::info!(resumed = resumes, "queries are led here");
        }
        self.tell_who_else_answers(now);
        true
    }

    /// Says of every address that it is answered at, once more where a rule for it had to be put back; when, and of how
    /// many it was taken.
    async fn say_that_they_live(&mut self, now: Instant) -> (Instant, Said) {
        let (sent, said) = (Instant::now(), self.renewals.say(Say::Beat));
        if said == Said::Wholly {
            return (sent, said);
        }
        self.keep(now, Hint::Everything).await;
        let (sent, again) = (Instant::now(), self.renewals.say(Say::Beat));
        // Some of them may live since the first time.
        let some = said == Said::Partly && again == Said::NotAtAll;
        (sent, if some { Said::Partly } else { again })
    }

    /// The first address that does not live although its datagram was taken, since just now: by a rule that is not ours.
    async fn dead(&self, sent: Instant) -> Option<IpAddr> {
        let dead = self.keeper.dead().await;
        // Later than that it may have lived meanwhile.
        dead.filter(|_| sent.elapsed() < LIFE / 2)
    }

    /// Of some addresses, or of all, it was not taken.
    async fn missed(&mut self, now: Instant, said: Said) {
        self.chores.suspect();
        if said == Said::Partly && !self.beat.is_live() {
            return self.refused(now, Why::Rules).await;
        }
        // A sick beat, however well everything looked.
        match self.beat.judge(now, &Signs { rules: false, ..Signs::HEALTHY }) {
            Act::Skip(why) => self.skip(why),
            Act::Withdrawn { why, pause } => self.withdraw(why, pause).await,
            Act::Rest { .. } | Act::Renew | Act::Resumed => {}
        }
    }

    /// A beat that renews nothing.
    pub(super) fn skip(&mut self, why: Why) {
        self.shown.measures.skipped(&why);
        tracing::debug!(%why, "beat skipped");
        if !self.beat.is_live() {
            self.shown.report.set(Standing::Waiting(why));
        } else if self.keeper.rules().are_made_to_lead() {
            // It may be that such a rule is gone, so that the probe went elsewhere and nobody answered it there: the rule is
            // looked at before the next beat, which is in time.
            self.chores.suspect();
        }
    }

    /// Queries are not led here any more.
    pub(super) async fn withdraw(&mut self, why: Why, pause: Duration) {
        self.shown.measures.withdrawn(Some(&why));
        tracing::warn!(%why, ?pause, "queries are led to the cluster's DNS until all is well again");
        self.stay_out(why, pause).await;
    }

    /// The kernel did not take a beat: nothing is tried again before all has been well for a while, since each time some
    /// addresses may live for a moment.
    async fn refused(&mut self, now: Instant, why: Why) {
        let was_live = self.beat.is_live();
        let pause = self.beat.refused(now);
        if was_live {
            return self.withdraw(why, pause).await;
        }
        self.shown.measures.skipped(&why);
        // The pause grows to a minute: so often is this said at most.
        tracing::warn!(%why, ?pause, "not every address can be renewed, and none is until all has been well for so long");
        self.stay_out(why, pause).await;
    }

    /// Elements expire in a moment; where this is possible it need not be waited for.
    async fn stay_out(&mut self, why: Why, pause: Duration) {
        if let Err(error) = self.keeper.withdraw().await {
            tracing::debug!(%error, "withdrawing at once");
        }
        self.shown.report.set(Standing::Out { why, pause });
        self.tenure.fails(why, pause);
    }
}
