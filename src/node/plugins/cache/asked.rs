//! A query that is being answered: from what is kept, from upstreams, or from one when the other fails.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::timeout;

use super::convert::{self, wants_authentic_data};
use super::counters::ServerCounters;
use super::flight::{Boarding, Takeoff, Waiting};
use super::inner::{Inner, denies, is_answer};
use crate::forward::cache::entry::Entry;
use crate::forward::cache::policy::Stale;
use crate::forward::cache::refresh::{self, Cause};
use crate::forward::cache::verdict::{Reach, WhyStale};
use crate::forward::cache::{Found, Key, Moment, Verdict, verdict};
use crate::node::chain::{Failure, Next, Outcome, Upstreams};
use crate::node::query::Query;
use crate::node::reply::Reply;

/// A query that is being answered.
pub(super) struct Asked<'a> {
    /// The cache.
    pub(super) inner: &'a Arc<Inner>,
    /// The query.
    pub(super) query: &'a Query,
    /// The key of its question.
    pub(super) key: Key,
    /// Who asks upstreams.
    pub(super) next: Next<'a>,
    /// The counters of its listener.
    pub(super) counters: Arc<ServerCounters>,
}

impl Asked<'_> {
    /// Answers it.
    pub(super) async fn answer(&self) -> Outcome {
        let store = &self.inner.shared.store;
        let now = store.now();
        let found = self.find(now);
        let reach = || match self.next.upstreams(self.query) {
            Some(Upstreams::Failing) => Reach::Failing,
            Some(Upstreams::Answering { recovered: Some(at) }) => {
                Reach::Answering { recovered: Some(store.moment(at)) }
            }
            Some(Upstreams::Answering { recovered: None }) | None => Reach::ANSWERING,
        };
        match verdict(&found, now, &self.inner.policy, reach) {
            Verdict::Fresh(entry) => self.fresh(entry),
            Verdict::FreshAndRefresh(entry) => {
                self.refresh(entry);
                self.fresh(entry)
            }
            Verdict::Stale { entry, refresh, why } => {
                if refresh {
                    self.refresh(entry);
                }
                self.stale(entry, why)
            }
            Verdict::Fetch { stale, .. } if !self.query.may_wait() => {
                self.refresh(stale);
                self.stale(stale, WhyStale::Overloaded)
            }
            Verdict::Fetch { stale, patience } => self.fetch_or(stale, patience).await,
            Verdict::Failure(failure) => {
                self.counters.hit(true);
                convert::remembered(failure).into()
            }
            Verdict::Miss => {
                self.counters.misses.increment(1);
                if let Some(refused) = Outcome::if_turned_away(self.query) {
                    return refused;
                }
                match self.board() {
                    Boarding::First(waiting) => self.landed(waiting, true).await,
                    Boarding::Joined(waiting) if self.may_join() => self.landed(waiting, false).await,
                    Boarding::Joined(_) | Boarding::Full => self.next.run(self.query).await,
                }
            }
        }
    }

    /// What is known of the question, and a hit for it.
    fn find(&self, now: Moment) -> Found {
        let found = self.inner.find(&self.key, self.query.labels(), now);
        self.inner.hit(&found, now);
        found
    }

    // === From what is kept ===

    fn fresh(&self, entry: &Entry) -> Outcome {
        self.counters.hit(entry.class.is_denial());
        let ttl = self.inner.ttl(entry, self.inner.shared.store.now());
        outcome(convert::unpack(self.query, entry, ttl))
    }

    fn stale(&self, entry: &Entry, why: WhyStale) -> Outcome {
        self.counters.hit(entry.class.is_denial());
        self.counters.stale(why);
        let over = self.inner.shared.store.now().since(entry.expiry());
        outcome(convert::unpack_stale(self.query, entry, self.inner.policy.stale.ttl(), over))
    }

    // === From upstreams ===

    /// Asks upstreams, or joins who does. A query without RD is for what is known here, and gets no flight.
    fn board(&self) -> Boarding<Outcome> {
        if !self.query.metadata().recursion_desired {
            return Boarding::Full;
        }
        self.depart(Takeoff::Attended, Cause::Miss, || {})
    }

    /// Asks upstreams, and keeps what they say.
    fn fetch(&self, cause: Cause) -> BoxFuture<'static, Outcome> {
        // Others may be answered from this who want to know whether data is authentic.
        let query = self.query.changed(|message| message.metadata.authentic_data = true);
        let query = query.unwrap_or_else(|| self.query.clone());
        self.inner.clone().fetch(query, self.key.clone(), self.next.detach(), cause)
    }

    /// Whether it may wait for somebody else's flight: one that another question led to may be what that flight
    /// itself waits for, in a ring of aliases, and both would wait for ever.
    fn may_join(&self) -> bool {
        !self.query.is_follow_up()
    }

    fn depart(
        &self,
        takeoff: Takeoff,
        cause: Cause,
        failed: impl FnOnce() + Send + 'static,
    ) -> Boarding<Outcome> {
        let fly = || {
            let fetching = self.fetch(cause);
            let counted = self.counters.flight();
            async move {
                let _counted = counted;
                let outcome = fetching.await;
                if !is_answer(&outcome) {
                    failed();
                }
                outcome
            }
        };
        let router = self.query.router().clone();
        let name: Box<_> = self.query.labels().clone().into();
        let broke = move || {
            router.panicked();
            tracing::error!(%name, "a query's handling panicked");
        };
        let boarding = self.inner.shared.flights.board(&self.key, takeoff, fly, broke);
        match boarding {
            Boarding::First(_) => {}
            Boarding::Joined(_) => self.counters.shared.increment(1),
            Boarding::Full => self.counters.overloads.increment(1),
        }
        boarding
    }

    /// Asks for an entry again behind the client's back, if nobody does already.
    fn refresh(&self, entry: &Arc<Entry>) {
        // A reply to a query without RD would not be kept.
        if !self.query.metadata().recursion_desired {
            return;
        }
        let now = self.inner.shared.store.now();
        let again = if entry.is_fresh(now) {
            let wait = now.after(refresh::retry_after(self.inner.shared.store.jitter()));
            // With the modes of CoreDNS the end of an entry has an attempt of its own.
            if matches!(self.inner.policy.stale, Stale::Off | Stale::OnFailure { .. }) {
                wait
            } else {
                wait.min(entry.expiry())
            }
        } else {
            now.after(self.inner.recheck())
        };
        // At the start already: one that takes long is not repeated either.
        entry.usage.retry_from(now, again);
        let (inner, of) = (self.inner.clone(), entry.clone());
        let failed = move || {
            if !of.is_fresh(inner.shared.store.now()) {
                inner.not_refreshed(&of);
            }
        };
        if let Boarding::First(_) = self.depart(Takeoff::Unattended, Cause::Refresh, failed) {
            self.counters.refreshes.increment(1);
        }
    }

    /// Asks upstreams; if they fail or take too long, an expired entry is given.
    async fn fetch_or(&self, stale: &Arc<Entry>, patience: Option<Duration>) -> Outcome {
        // Somebody waits although it was tried: because upstreams seem to answer again.
        let again = stale.usage.was_tried(self.inner.shared.store.now());
        let asking = async {
            match self.board() {
                Boarding::First(waiting) => Some(self.landed(waiting, true).await),
                Boarding::Joined(waiting) if self.may_join() => Some(self.landed(waiting, false).await),
                Boarding::Joined(_) => Some(self.next.run(self.query).await),
                Boarding::Full if self.query.metadata().recursion_desired => None,
                Boarding::Full => Some(self.next.run(self.query).await),
            }
        };
        let asking = pin!(asking);
        let asked = match patience {
            Some(patience) => timeout(patience, asking).await,
            None => Ok(asking.await),
        };
        let why = match asked {
            Ok(Some(outcome)) if is_answer(&outcome) => {
                let denied = matches!(&outcome, Outcome::Reply(reply) if denies(reply, self.query));
                if !(self.inner.policy.prefer_positive && !stale.class.is_denial() && denied) {
                    self.counters.misses.increment(1);
                    return outcome;
                }
                WhyStale::Preferred
            }
            Ok(Some(_)) => WhyStale::Failed,
            Ok(None) => WhyStale::Overloaded,
            Err(_) => WhyStale::Slow,
        };
        if why != WhyStale::Preferred {
            self.inner.not_refreshed(stale);
            if again {
                stale.usage.set_misled();
            }
        }
        self.stale(stale, why)
    }

    /// What a flight brings back, for this client.
    async fn landed(&self, waiting: Waiting<Outcome>, first: bool) -> Outcome {
        let Some(landed) = waiting.outcome().await else {
            return Outcome::error("plugin/cache: the query's handling panicked");
        };
        let mut reply = match &*landed {
            // What was too long for the other client may not be for this one.
            Outcome::Reply(reply) if reply.truncated && !first => match self.fetch(Cause::Miss).await {
                Outcome::Reply(reply) => reply,
                other => return other,
            },
            Outcome::Reply(reply) => reply.clone(),
            Outcome::Failed(Failure { rcode, error, ede }) => {
                return Outcome::Failed(Failure { rcode: *rcode, error: error.clone(), ede: ede.clone() });
            }
            Outcome::Silence => return Outcome::Silence,
        };
        convert::respell(&mut reply, self.query.name());
        reply.authentic_data &= wants_authentic_data(self.query);
        Outcome::Reply(reply)
    }
}

/// What was kept as a reply; it was written here, and can be read.
fn outcome(reply: Option<Reply>) -> Outcome {
    reply.map_or_else(|| Outcome::error("plugin/cache: an entry cannot be read"), Outcome::from)
}
