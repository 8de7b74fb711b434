//! A reply that is kept, and what is remembered of its use.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::moment::Moment;
use super::packet::Packet;
use super::policy::MAX_FAILURE;
use super::refresh::Due;

/// Hits are counted up to here even where a refresh needs fewer: another configuration may need more.
const COUNTED: u32 = 1024;

/// What a reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Records, a delegation, or nothing at all: what CoreDNS counts as success.
    Positive,
    /// The name exists and has no record of the type (RFC 2308 §2.2).
    NoData,
    /// The name does not exist (RFC 2308 §2.1).
    NxDomain,
}

impl Class {
    /// Whether there is no record of the type.
    pub const fn is_denial(self) -> bool {
        matches!(self, Self::NoData | Self::NxDomain)
    }
}

/// A reply that is kept. What is in it never changes; what is remembered of its use does.
#[derive(Debug)]
pub struct Entry {
    /// The reply; every record in it has the same TTL.
    pub reply: Packet,
    /// What it says.
    pub class: Class,
    /// When it came.
    pub stored: Moment,
    /// For how many seconds it is good.
    pub ttl: u32,
    /// When it is asked for again; `None` for not before its end.
    pub due: Option<Due>,
    /// Its use.
    pub usage: Usage,
}

impl Entry {
    /// When it is no longer good.
    pub fn expiry(&self) -> Moment {
        self.stored.after(Duration::from_secs(self.ttl.into()))
    }

    /// Whether it is good.
    pub fn is_fresh(&self, now: Moment) -> bool {
        now < self.expiry()
    }

    /// Whether it is not good any more, but has not been so for `keep` yet.
    pub fn is_stale(&self, now: Moment, keep: Duration) -> bool {
        !self.is_fresh(now) && now.since(self.expiry()) < keep
    }

    /// Counts a hit, as long as it may decide about a refresh; after a pause longer than `pause` counting begins anew.
    pub fn hit(&self, now: Moment, pause: Duration) {
        let enough = self.due.map_or(0, |due| due.hits).max(COUNTED);
        self.usage.hit(now, pause, enough);
    }

    /// The seconds that it is good for; whole ones have passed, as CoreDNS counts.
    pub fn remaining(&self, now: Moment) -> u32 {
        let age = u32::try_from(now.since(self.stored).as_secs()).unwrap_or(u32::MAX);
        self.ttl.saturating_sub(age)
    }
}

/// What is remembered of an entry's use. Without locks: two queries at the same time may count as one.
#[derive(Debug)]
pub struct Usage {
    /// Hits, without too long a pause between two of them; not all where there are enough.
    hits: AtomicU32,
    /// The last hit, or when it was stored: what is out of use is evicted first.
    last: AtomicU64,
    /// When a refresh was last tried.
    tried: AtomicU64,
    /// No refresh is tried before this.
    retry_at: AtomicU64,
    /// Whether a client has waited in vain for upstreams that had begun to answer again.
    misled: AtomicBool,
}

impl Usage {
    /// Of what nobody has asked for.
    pub const fn new(stored: Moment) -> Self {
        Self {
            hits: AtomicU32::new(0),
            last: AtomicU64::new(stored.millis()),
            tried: AtomicU64::new(Moment::LONG_AGO.millis()),
            retry_at: AtomicU64::new(Moment::LONG_AGO.millis()),
            misled: AtomicBool::new(false),
        }
    }

    /// The same for what takes the place of an entry with so many hits.
    #[must_use]
    pub const fn with_hits(self, hits: u32) -> Self {
        Self { hits: AtomicU32::new(hits), ..self }
    }

    /// Counts a hit, if there are not `enough` yet; after a pause longer than `pause` counting begins anew.
    ///
    /// What is as it was is not written: an entry that all threads answer from stays in the caches of their cores.
    pub(super) fn hit(&self, now: Moment, pause: Duration, enough: u32) {
        let (hits, before, counted) = (self.hits_with(now, pause).min(enough), self.last(), self.hits());
        // Threads read the clock at different moments: the later one stands.
        if now > before {
            self.last.store(now.millis(), Ordering::Relaxed);
        }
        if hits != counted {
            self.hits.store(hits, Ordering::Relaxed);
        }
    }

    /// How many hits there are once one counts `now`.
    pub fn hits_with(&self, now: Moment, pause: Duration) -> u32 {
        let paused = now.since(self.last()) > pause;
        // A number that sticks at its end is as good as one beyond it.
        if paused { 1 } else { self.hits().saturating_add(1) }
    }

    /// Hits so far: enough of them, or all.
    pub fn hits(&self) -> u32 {
        self.hits.load(Ordering::Relaxed)
    }

    /// The last hit, or when it was stored.
    pub fn last(&self) -> Moment {
        Moment::from_millis(self.last.load(Ordering::Relaxed))
    }

    /// No refresh is tried before this moment.
    pub fn retry_at(&self) -> Moment {
        Moment::from_millis(self.retry_at.load(Ordering::Relaxed))
    }

    /// Whether a refresh was tried not long ago, in vain: one that succeeds puts another entry in the place of this
    /// one. What is tried again within five minutes is not waited for (RFC 9520 §3.2 has failures forgotten then).
    pub fn was_tried(&self, now: Moment) -> bool {
        let again = self.retry_at();
        again > Moment::LONG_AGO && now.since(again) < MAX_FAILURE
    }

    /// A refresh was tried `now`: none is before `at`.
    pub fn retry_from(&self, now: Moment, at: Moment) {
        self.tried.store(now.millis(), Ordering::Relaxed);
        self.retry_at.store(at.millis(), Ordering::Relaxed);
    }

    /// A client waited after a try in vain, because upstreams had begun to answer again, and that was in vain, too.
    pub fn set_misled(&self) {
        self.misled.store(true, Ordering::Relaxed);
    }

    /// Whether that upstreams answer again is no reason to wait for them: they do not answer this.
    pub fn is_misled(&self) -> bool {
        self.misled.load(Ordering::Relaxed)
    }

    /// The last try says nothing any more if upstreams have begun to answer again after it.
    pub fn try_is_outdated(&self, recovered: Option<Moment>) -> bool {
        recovered.is_some_and(|recovered| recovered > Moment::from_millis(self.tried.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{entry, second};
    use super::*;

    #[test]
    fn an_entry_is_fresh_then_stale_then_gone() {
        let entry = entry(Class::Positive, 30);
        let hour = Duration::from_secs(3600);
        let at = |ms| Moment::START.after(Duration::from_millis(ms));
        for (ms, fresh, stale, left) in [
            (0, true, false, 30),
            (999, true, false, 30),
            (1_000, true, false, 29),
            (29_999, true, false, 1),
            (30_000, false, true, 0),
            (3_629_999, false, true, 0),
            (3_630_000, false, false, 0),
        ] {
            assert_eq!(entry.is_fresh(at(ms)), fresh, "{ms}");
            assert_eq!(entry.is_stale(at(ms), hour), stale, "{ms}");
            assert_eq!(entry.remaining(at(ms)), left, "{ms}");
        }
        assert!(!entry.is_stale(at(30_000), Duration::ZERO), "nothing is kept");
    }

    #[test]
    fn hits_are_counted_without_long_pauses() {
        let usage = Usage::new(second(0));
        let minute = Duration::from_secs(60);
        for (at, hits) in [(1, 1), (61, 2), (121, 3), (182, 1), (183, 2)] {
            usage.hit(second(at), minute, u32::MAX);
            assert_eq!((usage.hits(), usage.last()), (hits, second(at)), "{at}");
        }
        assert_eq!(Usage::new(second(0)).with_hits(7).hits(), 7);
    }

    #[test]
    fn hits_are_counted_as_far_as_they_matter_and_last_is_never_earlier() {
        let minute = Duration::from_secs(60);
        for (needed, enough) in [(None, COUNTED), (Some(2), COUNTED), (Some(COUNTED + 9), COUNTED + 9)] {
            let due = needed.map(|hits| Due { at: second(3600), hits });
            let entry = Entry { due, ..entry(Class::Positive, 3600) };
            (1..=enough).for_each(|_| entry.hit(second(1), minute));
            assert_eq!(entry.usage.hits(), enough, "each counts: {needed:?}");
            entry.hit(second(2), minute);
            assert_eq!((entry.usage.hits(), entry.usage.last()), (enough, second(2)), "{needed:?}");
            // Of a thread whose clock is a little behind.
            entry.hit(second(1), minute);
            assert_eq!((entry.usage.hits(), entry.usage.last()), (enough, second(2)), "{needed:?}");
            entry.hit(second(63), minute);
            assert_eq!((entry.usage.hits(), entry.usage.last()), (1, second(63)), "{needed:?}");
        }
    }

    #[test]
    fn an_attempt_is_remembered_for_a_while() {
        let usage = Usage::new(second(0));
        assert!(!usage.was_tried(second(0)));
        usage.retry_from(second(0), second(30));
        for (at, tried) in [(0, true), (30, true), (329, true), (330, false)] {
            assert_eq!(usage.was_tried(second(at)), tried, "{at}");
        }
    }
}
