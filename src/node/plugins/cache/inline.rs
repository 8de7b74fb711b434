//! Hits of the inline lane: what is kept is copied into the reply, where that is all there is to do.
//!
//! Whatever else there is to do with a query (a refresh, waiting for upstreams, a failure that is remembered, a miss) is
//! the general handler's, which counts it, too. Where that has no room, what is kept is given all the same, expired or
//! not, as to a query that must not wait; it is asked for again when there is room.

use std::fmt;
use std::sync::Arc;

use super::convert::{Expired, stale_code};
use super::counters::ServerCounters;
use super::inner::Inner;
use super::{NAME, Part};
use crate::forward::cache::entry::{Class, Entry};
use crate::forward::cache::key::Question as KeyOf;
use crate::forward::cache::verdict::{Reach, WhyStale};
use crate::forward::cache::{Found, Key, Moment, Verdict, verdict};
use crate::node::lane::question::Question;
use crate::node::lane::worker::Worker;
use crate::node::lane::writer::{Flags, NotHere, Writer};
use crate::node::lane::{Asked, Reached, Step, Written};

/// IN, RFC 1035 §3.2.4: the lane has no other class.
const CLASS_IN: u16 = 1;

/// RA in the fourth byte of a header, RFC 1035 §4.1.1.
const RECURSION_AVAILABLE: u8 = 0x80;

/// AD, the same, RFC 4035 §3.2.3.
const AUTHENTIC_DATA: u8 = 0x20;

/// One of the two parts of a cache, for one listener.
pub(super) struct Hits {
    /// Which.
    pub(super) part: Part,
    /// The cache.
    pub(super) inner: Arc<Inner>,
    /// The counters of the listener.
    pub(super) counters: Arc<ServerCounters>,
}

/// What is given.
struct Given<'f> {
    /// The entry.
    entry: &'f Entry,
    /// Why, if it has expired.
    why: Option<WhyStale>,
}

impl Step for Hits {
    fn answer(&self, asked: &Asked<'_>, worker: &mut Worker, reply: &mut Writer<'_>) -> Reached {
        let question = asked.question;
        let is_mine = match self.part {
            Part::Front => !asked.in_memory,
            Part::Rear => asked.is_behind,
        };
        if !is_mine || !self.inner.has_zone_of(question.labels()) {
            return Reached::Next;
        }
        let now = self.inner.shared.store.moment(worker.now());
        let Some(key) = key(question) else { return Reached::General { at_hand: false } };
        let found = self.inner.find(&key, question.labels(), now);
        let Given { entry, why } = match self.given(&found, asked, now) {
            Ok(given) => given,
            Err(reached) => return reached,
        };
        // Nothing at all is an error to those who log.
        if entry.class == Class::Positive && entry.reply.answer_count() == 0 {
            return Reached::General { at_hand: true };
        }
        // In this client's letter case other names may be written by a pointer than those that are.
        if !entry.reply.takes_any_case() {
            return Reached::General { at_hand: true };
        }
        match self.write(question, entry, why.is_some(), now, worker, reply) {
            Ok(written) => {
                self.inner.hit(&found, now);
                self.counters.requests.increment_in(&mut worker.shard, 1);
                self.counters.hits_of(entry.class.is_denial()).increment_in(&mut worker.shard, 1);
                for tally in why.into_iter().flat_map(|why| self.counters.stale_tallies(why)) {
                    tally.increment_in(&mut worker.shard, 1);
                }
                Reached::Reply(written)
            }
            Err(NotHere) => Reached::General { at_hand: true },
        }
    }
}

impl Hits {
    /// What is given where that is all there is to do.
    ///
    /// # Errors
    /// That it is the general handler's.
    fn given<'f>(&self, found: &'f Found, asked: &Asked<'_>, now: Moment) -> Result<Given<'f>, Reached> {
        // Whether they fail now decides only about what is due, or is waited for. That takes more than reading: the
        // one query in a while that may see whether they are back has to be the general handler's.
        let reach = || {
            let recovered = asked.recovered().map(|at| self.inner.shared.store.moment(at));
            Reach::Answering { recovered }
        };
        match verdict(found, now, &self.inner.policy, reach) {
            Verdict::Fresh(entry) | Verdict::FreshAndRefresh(entry)
                if asked.is_crowded || !self.inner.is_due(entry, now) =>
            {
                Ok(Given { entry, why: None })
            }
            Verdict::Stale { entry, refresh, why } if asked.is_crowded || !refresh => {
                Ok(Given { entry, why: Some(why) })
            }
            Verdict::Fetch { stale, .. } if asked.is_crowded => {
                Ok(Given { entry: stale, why: Some(WhyStale::Overloaded) })
            }
            Verdict::Fresh(_) | Verdict::FreshAndRefresh(_) | Verdict::Stale { .. } => {
                Err(Reached::General { at_hand: true })
            }
            Verdict::Fetch { .. } | Verdict::Failure(_) | Verdict::Miss => {
                Err(Reached::General { at_hand: false })
            }
        }
    }

    fn write(
        &self,
        question: &Question<'_>,
        entry: &Entry,
        is_stale: bool,
        now: Moment,
        worker: &mut Worker,
        reply: &mut Writer<'_>,
    ) -> Result<Written, NotHere> {
        let kept = &entry.reply;
        let ttl = if is_stale { self.inner.policy.stale.ttl() } else { self.inner.ttl(entry, now) };
        reply.begin_with(question, kept.message(), kept.ttls(), ttl, kept.uncompressed_len())?;
        let said = kept.message().get(3).copied().unwrap_or_default();
        let flags = Flags {
            // As in CoreDNS: some stub resolvers disregard answers that are not authoritative.
            authoritative: true,
            recursion_available: said & RECURSION_AVAILABLE != 0,
            authentic_data: said & AUTHENTIC_DATA != 0 && question.wants_authentic_data(),
            rcode: kept.rcode(),
        };
        let expired = Expired(now.since(entry.expiry()));
        let error = is_stale.then_some((stale_code(entry.class), &expired as &dyn fmt::Display));
        let len = reply.finish(question, flags, error, &mut worker.dice)?;
        Ok(Written { len, rcode: kept.rcode(), plugin: NAME })
    }
}

/// The key of a question.
fn key(question: &Question<'_>) -> Option<Key> {
    Key::new(&KeyOf {
        name: question.wire_name(),
        kind: question.kind(),
        class: CLASS_IN,
        dnssec_ok: question.dnssec_ok(),
        checking_disabled: question.checking_disabled() != 0,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use async_trait::async_trait;
    use hickory_proto::op::ResponseCode;
    use hickory_proto::rr::rdata::A;
    use hickory_proto::rr::{RData, Record};
    use tokio::time::{Instant, advance};

    use super::*;
    use crate::node::chain::{Next, Outcome, Plugin, Upstreams};
    use crate::node::query::Query;
    use crate::node::reply::Reply;
    use crate::node::test_support::{plugins, router};
    use crate::ops::metrics::Metrics;
    use crate::testkit::client::{self, Answer};
    use crate::testkit::lanes::{Crowd, Lanes};

    /// TTL of what the upstream says, in seconds.
    const TTL: u64 = 100;

    /// An upstream that answers until it is said to fail.
    #[derive(Default)]
    struct Outside(Mutex<State>);

    #[derive(Default)]
    struct State {
        fails: bool,
        recovered: Option<Instant>,
    }

    #[async_trait]
    impl Plugin for Outside {
        fn name(&self) -> &'static str {
            "outside"
        }

        fn upstreams(&self, query: &Query) -> Option<Upstreams> {
            Some(Upstreams::Answering { recovered: self.recovered(query.wire_name()) })
        }

        fn recovered(&self, _: &[u8]) -> Option<Instant> {
            self.0.lock().unwrap().recovered
        }

        async fn serve(&self, query: &Query, _: Next<'_>) -> Outcome {
            if self.0.lock().unwrap().fails {
                return Reply::new(ResponseCode::ServFail, "outside").into();
            }
            let address =
                Record::from_rdata(query.name().clone(), TTL as u32, RData::A(A::new(192, 0, 2, 1)));
            Reply { answers: vec![address], ..Reply::new(ResponseCode::NoError, "outside") }.into()
        }
    }

    /// A cache, and who asks it.
    struct World {
        outside: Arc<Outside>,
        lanes: Lanes,
    }

    /// A reply: its rcode, and the code of its error.
    type Said = (ResponseCode, Option<u16>);

    const FRESH: Said = (ResponseCode::NoError, None);
    const STALE: Said = (ResponseCode::NoError, Some(3));
    const REFUSED: Said = (ResponseCode::ServFail, Some(0));

    fn query() -> Vec<u8> {
        client::Query::a("www.example.").edns(1232).bytes()
    }

    fn said(reply: Vec<u8>) -> Said {
        let answer = Answer::parse(reply).unwrap();
        (answer.rcode(), answer.ede().first().map(|(code, _)| *code))
    }

    impl World {
        fn new(cache: &str) -> Self {
            let outside = Arc::new(Outside::default());
            let mut chain = plugins(cache).unwrap();
            chain.push(outside.clone());
            Self { outside, lanes: Lanes::of_router(router(chain), &Metrics::new()) }
        }

        /// The lane's reply, if it has one.
        fn inline(&mut self) -> Option<Said> {
            self.lanes.inline(&query(), source()).map(said)
        }

        /// The reply where the general handler has no room.
        fn crowded(&mut self) -> Said {
            match self.lanes.crowded(&query(), source()) {
                Crowd::Answered(reply) | Crowd::Refused(reply) => said(reply),
                Crowd::Silence | Crowd::NotHere => panic!("it is a plain question of nobody in particular"),
            }
        }

        /// The general handler's reply.
        async fn general(&self) -> Said {
            let reply = self.lanes.general(&query(), source(), "127.0.0.1:53".parse().unwrap()).await;
            // What it has begun ends.
            for _ in 0..9 {
                tokio::task::yield_now().await;
            }
            said(reply.expect("each query gets a reply"))
        }

        fn fail(&self) {
            self.outside.0.lock().unwrap().fails = true;
        }
    }

    fn source() -> std::net::SocketAddr {
        "10.0.0.1:5353".parse().unwrap()
    }

    async fn pass(seconds: u64) {
        advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_is_the_lane_s_until_a_hit_asks_for_it_and_again_after_that() {
        let mut world = World::new("cache");
        assert_eq!(world.inline(), None, "a miss");
        assert_eq!(world.general().await, FRESH);
        // Every entry is due by then.
        pass(TTL - 1).await;
        assert_eq!(world.inline(), Some(FRESH), "nobody has asked for it since it came");
        assert_eq!(world.inline(), None, "it is in use");
        world.fail();
        assert_eq!(world.general().await, FRESH);
        assert_eq!(world.inline(), Some(FRESH), "a refresh was tried");
    }

    #[tokio::test(start_paused = true)]
    async fn an_expired_entry_is_the_lane_s_between_two_attempts_to_refresh_it() {
        let mut world = World::new("cache");
        world.general().await;
        world.fail();
        pass(TTL + 1).await;
        assert_eq!(world.inline(), None, "upstreams may answer");
        assert_eq!(world.general().await, STALE);
        for _ in 0..3 {
            assert_eq!(world.inline(), Some(STALE));
        }
        // Within 30 s, give or take a quarter.
        pass(22).await;
        assert_eq!(world.inline(), Some(STALE));
        pass(16).await;
        assert_eq!(world.inline(), None, "it is time for the next attempt");
        assert_eq!(world.general().await, STALE);
        assert_eq!(world.inline(), Some(STALE));
        world.outside.0.lock().unwrap().recovered = Some(Instant::now() + Duration::from_millis(1));
        pass(1).await;
        assert_eq!(world.inline(), None, "upstreams answer again");
    }

    #[tokio::test(start_paused = true)]
    async fn where_the_general_handler_has_no_room_whatever_is_kept_is_given() {
        let mut world = World::new("cache");
        assert_eq!(world.crowded(), REFUSED, "nothing is known");
        world.general().await;
        world.general().await;
        pass(TTL - 1).await;
        assert_eq!((world.inline(), world.crowded()), (None, FRESH), "it is due");
        world.fail();
        pass(2).await;
        assert_eq!((world.inline(), world.crowded()), (None, STALE), "upstreams would be waited for");
        world.general().await;
        pass(40).await;
        assert_eq!((world.inline(), world.crowded()), (None, STALE), "an attempt would be made");
        let mut world = World::new("cache {\n serve_stale off\n}");
        world.general().await;
        pass(TTL + 1).await;
        assert_eq!(world.crowded(), REFUSED, "nothing is kept beyond its time");
    }
}
