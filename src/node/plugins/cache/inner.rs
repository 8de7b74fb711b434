//! What both parts of a cache and its flights go by, and what becomes of what upstreams say.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Record, RecordType};

use super::Shared;
use super::convert;
use super::counters::{Counters, ServerCounters};
use crate::forward::cache::entry::Entry;
use crate::forward::cache::judge::{Judged, judge};
use crate::forward::cache::policy::{Policy, Stale};
use crate::forward::cache::refresh::{self, Cause};
use crate::forward::cache::store::{Answer, Failed};
use crate::forward::cache::{Found, Key, Moment};
use crate::node::chain::{Outcome, Rest};
use crate::node::opt::CLIENT_SUBNET;
use crate::node::plugins::kubernetes;
use crate::node::query::Query;
use crate::node::reply::{EdeCode, Reply};
use crate::ops::clock::WallClock;
use crate::zone::name::Labels;

/// What flights need as well.
pub(super) struct Inner {
    /// The zones whose names are cached.
    pub(super) zones: Vec<Labels>,
    /// What is done with a query.
    pub(super) policy: Policy,
    /// The pause after which hits are counted anew.
    pub(super) pause: Duration,
    /// Names whose records are not kept.
    pub(super) no_success: Vec<Labels>,
    /// Names whose denials and failures are not kept.
    pub(super) no_denial: Vec<Labels>,
    /// What is kept, and what is under way.
    pub(super) shared: Arc<Shared>,
    /// What is counted.
    pub(super) counters: Counters,
    /// For the dates of signatures.
    pub(super) clock: Arc<WallClock>,
}

impl Inner {
    /// Whether a query's answer is one for everybody.
    pub(super) fn can_cache(&self, query: &Query) -> bool {
        query.is_query()
            && !matches!(query.kind(), RecordType::AXFR | RecordType::IXFR)
            && self.has_zone_of(query.labels())
            // RFC 7871 §7.3.1 would have it kept by subnet; nobody in a cluster sends one.
            && !query.opt().is_some_and(|opt| opt.has(query.bytes(), CLIENT_SUBNET))
    }

    /// Whether names like this are cached.
    pub(super) fn has_zone_of(&self, name: &Labels) -> bool {
        self.zones.iter().any(|zone| name.is_within(zone))
    }

    /// What is known of the question of this key, which is for `name`.
    pub(super) fn find(&self, key: &Key, name: &Labels, now: Moment) -> Found {
        let mut found = self.shared.store.find(key, now);
        // What is disabled now may have been kept by the configuration before.
        if self.is_disabled(false, name) {
            found.positive = None;
        }
        if self.is_disabled(true, name) {
            (found.denial, found.failure) = (None, None);
        }
        found
    }

    /// Somebody has asked for what was found.
    pub(super) fn hit(&self, found: &Found, now: Moment) {
        for entry in [&found.positive, &found.denial].into_iter().flatten() {
            entry.hit(now, self.pause);
        }
    }

    /// Whether somebody who asks `now` finds that an entry which is good is to be asked for again. What comes of it is
    /// counted by [`Self::hit`].
    pub(super) fn is_due(&self, entry: &Entry, now: Moment) -> bool {
        refresh::is_due(entry.due, &entry.usage, entry.usage.hits_with(now, self.pause), now)
    }

    /// The TTL that an entry which is good is given with, in seconds.
    pub(super) fn ttl(&self, entry: &Entry, now: Moment) -> u32 {
        if self.policy.keep_ttl { entry.ttl } else { entry.remaining(now) }
    }

    pub(super) fn is_disabled(&self, denial: bool, name: &Labels) -> bool {
        let zones = if denial { &self.no_denial } else { &self.no_success };
        zones.iter().any(|zone| name.is_within(zone))
    }

    /// Asks the plugins behind for `query`, and keeps what they say. There may be thousands of these: no part of one
    /// is held twice, as it would be by a future within others.
    pub(super) fn fetch(
        self: Arc<Self>,
        query: Query,
        key: Key,
        rest: Rest,
        cause: Cause,
    ) -> BoxFuture<'static, Outcome> {
        let fetch = async move {
            let mut outcome = rest.next().run(&query).await;
            // Nobody waits for a refresh, and what is truncated is not kept: an answer that only clients over UDP
            // find due would never be new again.
            if cause == Cause::Refresh
                && matches!(&outcome, Outcome::Reply(reply) if reply.truncated)
                && query.is_udp()
                && let Some(query) = query.over_tcp().map(Box::new)
            {
                outcome = rest.next().run(&query).await;
            }
            self.take_in(&query, &key, outcome, cause)
        };
        fetch.boxed()
    }

    /// Keeps what can be kept of an outcome; what goes on to the client.
    fn take_in(&self, query: &Query, key: &Key, outcome: Outcome, cause: Cause) -> Outcome {
        let counters = self.counters.of(query.router().identity());
        let store = &self.shared.store;
        match outcome {
            // Cluster names are answered from the table, whatever plugin asks for them.
            Outcome::Reply(reply) if reply.plugin == kubernetes::NAME => Outcome::Reply(reply),
            Outcome::Reply(mut reply) => {
                convert::respell(&mut reply, query.name());
                let unix_s = self.clock.now_unix_ms() / 1000;
                match judge(&convert::said(query, &reply), &self.policy, unix_s) {
                    Judged::Keep { class, ttl } if !self.is_disabled(class.is_denial(), query.labels()) => {
                        let mut kept = Reply { ede: None, ..(*reply).clone() };
                        convert::set_ttl(&mut kept, ttl);
                        if let Some(packet) = convert::pack(query, &kept) {
                            let answer = Answer { class, reply: packet, ttl };
                            let evicted = store.keep(key, answer, &self.policy, cause, store.now());
                            counters.stored(evicted, store.size());
                            convert::set_ttl(&mut reply, ttl);
                        } else {
                            self.forget(query, key, &reply);
                        }
                    }
                    Judged::Failure => self.remember(query, key, convert::failed(&reply), &counters),
                    Judged::Keep { .. } | Judged::Pass => self.forget(query, key, &reply),
                }
                Outcome::Reply(reply)
            }
            Outcome::Failed(failure) => {
                match &failure.ede {
                    // Whoever could not be reached will not be in the next moment (RFC 9520 §2). What this server
                    // itself turned away may be taken the next time, and has another code, or none.
                    Some(ede) if says_unreachable(ede.code) => {
                        self.remember(query, key, convert::unanswered(ede), &counters);
                    }
                    // An upstream has replied to another question: CoreDNS's cache drops that.
                    None if failure.rcode == ResponseCode::FormErr => counters.drops.increment(1),
                    _ => {}
                }
                Outcome::Failed(failure)
            }
            Outcome::Silence => Outcome::Silence,
        }
    }

    /// Forgets what an answer that is not kept contradicts: it would be given as stale while upstreams answer.
    fn forget(&self, query: &Query, key: &Key, reply: &Reply) {
        // The end of a truncated one may say the same as what is known.
        if reply.truncated || !matches!(reply.rcode, ResponseCode::NoError | ResponseCode::NXDomain) {
            return;
        }
        self.shared.store.forget(key, self.policy.prefer_positive && denies(reply, query));
    }

    fn remember(&self, query: &Query, key: &Key, failed: Failed, counters: &ServerCounters) {
        if self.is_disabled(true, query.labels()) {
            return;
        }
        let store = &self.shared.store;
        let evicted = store.remember(key, failed, self.policy.failure, store.now());
        counters.stored(evicted, store.size());
    }

    /// When an attempt to refresh something expired may be repeated.
    pub(super) fn recheck(&self) -> Duration {
        match self.policy.stale {
            Stale::Immediate { recheck, .. } | Stale::Verify { recheck, .. } => recheck,
            Stale::Off | Stale::OnFailure { .. } => refresh::retry_after(self.shared.store.jitter()),
        }
    }

    /// An entry could not be refreshed.
    pub(super) fn not_refreshed(&self, entry: &Entry) {
        let now = self.shared.store.now();
        entry.usage.retry_from(now, now.after(self.recheck()));
    }
}

/// Whether an error says that servers could not be reached.
const fn says_unreachable(code: EdeCode) -> bool {
    matches!(code, EdeCode::NoReachableAuthority | EdeCode::NetworkError | EdeCode::Code(22 | 23))
}

/// Whether an answer says that there is no record.
pub(super) fn denies(reply: &Reply, query: &Query) -> bool {
    let is_wanted = |record: &Record| query.kind() == RecordType::ANY || record.record_type() == query.kind();
    reply.rcode == ResponseCode::NXDomain || !reply.answers.iter().any(is_wanted)
}

/// Whether upstreams have answered: anything else is a failure (RFC 8767 §4).
pub(super) fn is_answer(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Reply(reply) => matches!(reply.rcode, ResponseCode::NoError | ResponseCode::NXDomain),
        Outcome::Failed(_) => false,
        Outcome::Silence => true,
    }
}
