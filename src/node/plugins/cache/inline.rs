//! Hits of the inline lane: what is kept and good is copied into the reply.
//!
//! Whatever else there is to do with a query (a refresh that is due, something that has expired, a failure that is
//! remembered, a miss) is the general handler's, which counts it, too.

use std::sync::Arc;

use super::counters::ServerCounters;
use super::inner::Inner;
use super::{NAME, Part};
use crate::forward::cache::entry::{Class, Entry};
use crate::forward::cache::key::Question as KeyOf;
use crate::forward::cache::verdict::Reach;
use crate::forward::cache::{Key, Moment, Verdict, verdict};
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
        let Some(key) = key(question) else { return Reached::General };
        let found = self.inner.find(&key, question.labels(), now);
        // The upstreams matter only where nothing is good.
        let Verdict::Fresh(entry) = verdict(&found, now, &self.inner.policy, || Reach::Failing) else {
            return Reached::General;
        };
        // Nothing at all is an error to those who log.
        if entry.class == Class::Positive && entry.reply.answer_count() == 0 {
            return Reached::General;
        }
        // From that moment on this hit may be the one that asks for it again.
        if entry.due.is_some_and(|due| now >= due.at) {
            return Reached::General;
        }
        // In this client's letter case other names may be written by a pointer than those that are.
        if !entry.reply.takes_any_case() {
            return Reached::General;
        }
        match self.write(question, entry, now, worker, reply) {
            Ok(written) => {
                self.inner.hit(&found, now);
                self.counters.requests.increment_in(&mut worker.shard, 1);
                self.counters.hits_of(entry.class.is_denial()).increment_in(&mut worker.shard, 1);
                Reached::Reply(written)
            }
            Err(NotHere) => Reached::General,
        }
    }
}

impl Hits {
    fn write(
        &self,
        question: &Question<'_>,
        entry: &Entry,
        now: Moment,
        worker: &mut Worker,
        reply: &mut Writer<'_>,
    ) -> Result<Written, NotHere> {
        let (kept, ttl) = (&entry.reply, self.inner.ttl(entry, now));
        reply.begin_with(question, kept.message(), kept.ttls(), ttl, kept.uncompressed_len())?;
        let said = kept.message().get(3).copied().unwrap_or_default();
        let flags = Flags {
            // As in CoreDNS: some stub resolvers disregard answers that are not authoritative.
            authoritative: true,
            recursion_available: said & RECURSION_AVAILABLE != 0,
            authentic_data: said & AUTHENTIC_DATA != 0 && question.wants_authentic_data(),
            rcode: kept.rcode(),
        };
        let len = reply.finish(question, flags, None, &mut worker.dice)?;
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
