//! When an entry is asked for again ahead of its end, and again when that failed: the jitter that keeps thousands of
//! nodes, which started in the same second and are asked the same names, from asking their upstream in the same second.
//!
//! Pure: no clock, no timers. A refresh is due from a point in time on, and begins with the first query after it;
//! an entry that nobody asks for is not refreshed.
//!
//! * An entry that a refresh brought is due at a random point in the last 10 to 25 % of its time.
//! * An entry that a miss brought is due at a random point of nearly all its time: misses are what a fleet has in
//!   common (a rollout, an outage that ends). Drawn from a narrow range, refreshes of a TTL of five minutes would need
//!   two hours to spread over it. The width of the range is the mean time between two refreshes, so that the first
//!   ones are already spread as evenly as they can be. The price is one early refresh for each name in use.

use std::time::Duration;

use super::entry::Usage;
use super::moment::Moment;
use super::policy::Refresh;
use crate::ops::jitter::Jitter;

/// Which share of its time an entry has left when its refresh is due: at least …
pub const LEFT_MIN: f64 = 0.10;

/// … and at most this.
pub const LEFT_MAX: f64 = 0.25;

/// The largest share that is left when the refresh of an entry is due that a miss brought: a whole mean period
/// (1 − 0.175) above [`LEFT_MIN`].
pub const LEFT_MAX_AFTER_MISS: f64 = LEFT_MIN + 1.0 - (LEFT_MIN + LEFT_MAX) / 2.0;

/// Shorter entries are not refreshed ahead of their end, in seconds: nothing is won for a client that asks every few
/// seconds, and upstreams would be asked more often than the TTL says.
pub const MIN_TTL: u32 = 5;

/// Between two attempts to refresh an entry that failed, give or take [`RETRY_SWING`]: RFC 8767 §5 asks for at least
/// 30 seconds.
pub const RETRY: Duration = Duration::from_secs(30);

/// See [`RETRY`].
pub const RETRY_SWING: f64 = 0.25;

/// The first queries for entries that came from a disk are spread over this time.
pub const REVALIDATION: Duration = Duration::from_secs(60);

/// How much earlier than CoreDNS's a `prefetch` may begin, as a factor of the share that is left: never later.
const PREFETCH_SWING: f64 = 0.5;

/// The largest share that may be left when a `prefetch` begins: an entry is not fetched twice at once.
const PREFETCH_LEFT_MAX: f64 = 0.95;

/// What brought an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A query that found nothing.
    Miss,
    /// A refresh.
    Refresh,
    /// A disk: it may be out of date in ways that its TTL does not tell.
    Disk,
}

/// From when on, and on what condition, an entry is asked for again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Due {
    /// From here on …
    pub at: Moment,
    /// … if it was asked for so many times, the query that finds it due included.
    pub hits: u32,
}

/// When an entry of this TTL (seconds) is due that was stored at `stored`; `None` if never.
pub fn due(rule: Refresh, ttl: u32, stored: Moment, cause: Cause, jitter: &Jitter) -> Option<Due> {
    if cause == Cause::Disk {
        // Whatever the rule: that nobody refreshes it by itself is no reason to trust a disk for hours.
        return Some(Due { at: stored.after(jitter.full(REVALIDATION)), hits: 1 });
    }
    let (left, hits) = match rule {
        Refresh::InUse if ttl < MIN_TTL => return None,
        // Asked for since it was stored, and now again.
        Refresh::InUse => {
            let most = if cause == Cause::Miss { LEFT_MAX_AFTER_MISS } else { LEFT_MAX };
            (LEFT_MIN + (most - LEFT_MIN) * jitter.unit(), 2)
        }
        Refresh::Popular { amount: 0, .. } => return None,
        Refresh::Popular { amount, percent, .. } => {
            let share = f64::from(percent) / 100.0;
            let threshold = (f64::from(ttl) * share).ceil() / f64::from(ttl.max(1));
            let earlier = threshold * (1.0 + PREFETCH_SWING * jitter.unit());
            (earlier.min(PREFETCH_LEFT_MAX).max(threshold.min(1.0)), amount)
        }
    };
    Some(Due { at: stored.after(Duration::from_secs_f64(f64::from(ttl) * (1.0 - left))), hits })
}

/// How long to wait after an attempt before the next one.
pub fn retry_after(jitter: &Jitter) -> Duration {
    jitter.spread(RETRY, RETRY_SWING)
}

/// Whether the query that is the last of so many hits finds the entry due.
pub fn is_due(due: Option<Due>, usage: &Usage, hits: u32, now: Moment) -> bool {
    due.is_some_and(|due| now >= due.at && hits >= due.hits) && now >= usage.retry_at()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shares of its time that an entry of TTL `ttl` has lived when it is due, over many draws.
    fn shares(rule: Refresh, ttl: u32, cause: Cause) -> (f64, f64) {
        let jitter = Jitter::from_seed(1);
        let drawn = (0..10_000).map(|_| {
            let due = due(rule, ttl, Moment::START, cause, &jitter).unwrap();
            due.at.since(Moment::START).as_secs_f64() / f64::from(ttl)
        });
        drawn.fold((f64::MAX, 0.0), |(low, high), share| (low.min(share), high.max(share)))
    }

    #[test]
    fn points_fill_their_range_and_keep_to_it() {
        let prefetch = |percent| Refresh::Popular { amount: 2, pause: Duration::from_secs(60), percent };
        for (name, rule, ttl, cause, low, high) in [
            ("after a refresh", Refresh::InUse, 300, Cause::Refresh, 0.75, 0.90),
            ("after a miss", Refresh::InUse, 300, Cause::Miss, 0.075, 0.90),
            ("prefetch 10 %", prefetch(10), 300, Cause::Miss, 0.85, 0.90),
            ("prefetch 10 %, rounded up", prefetch(10), 5, Cause::Miss, 0.70, 0.80),
            ("prefetch 50 %", prefetch(50), 20, Cause::Refresh, 0.25, 0.50),
            ("prefetch 90 %", prefetch(90), 300, Cause::Refresh, 0.05, 0.10),
        ] {
            let (least, most) = shares(rule, ttl, cause);
            assert!(least >= low - 1e-3 && most <= high + 1e-3, "{name}: {least} to {most}");
            assert!(least < low + 0.01 && most > high - 0.01, "{name}: {least} to {most}");
        }
    }

    #[test]
    fn what_is_not_worth_it_is_not_refreshed() {
        let none = Refresh::Popular { amount: 0, pause: Duration::from_secs(60), percent: 10 };
        let jitter = Jitter::from_seed(1);
        for (name, rule, ttl) in [("short", Refresh::InUse, MIN_TTL - 1), ("prefetch 0", none, 300)] {
            assert_eq!(due(rule, ttl, Moment::START, Cause::Miss, &jitter), None, "{name}");
            let revalidated = due(rule, ttl, Moment::START, Cause::Disk, &jitter).unwrap();
            assert!(revalidated.at <= Moment::START.after(REVALIDATION), "{name}");
        }
    }

    #[test]
    fn a_refresh_needs_its_time_its_hits_and_no_recent_attempt() {
        let second = |s| Moment::START.after(Duration::from_secs(s));
        let due = Some(Due { at: second(10), hits: 2 });
        let usage = Usage::new(Moment::START);
        let hit = |s| {
            let hits = usage.hits_with(second(s), Duration::MAX);
            usage.hit(second(s), Duration::MAX, u32::MAX);
            assert_eq!(usage.hits(), hits, "as foreseen");
            is_due(due, &usage, hits, second(s))
        };
        assert!(!hit(11), "the first hit");
        assert!(hit(12));
        usage.retry_from(second(10), second(40));
        assert!(!hit(39), "tried lately");
        assert!(hit(40));
        let usage = Usage::new(Moment::START);
        usage.hit(second(1), Duration::MAX, u32::MAX);
        usage.hit(second(2), Duration::MAX, u32::MAX);
        assert!(!is_due(due, &usage, 2, second(9)), "too early");
        assert!(is_due(due, &usage, 2, second(10)));
        assert!(!is_due(None, &usage, 2, second(10)));
    }

    #[test]
    fn retries_are_spread() {
        let jitter = Jitter::from_seed(1);
        let (low, high) = (RETRY.mul_f64(0.75), RETRY.mul_f64(1.25));
        let waits: Vec<_> = (0..100).map(|_| retry_after(&jitter)).collect();
        assert!(waits.iter().all(|wait| (low..=high).contains(wait)));
        assert!(waits.iter().any(|w| *w < RETRY) && waits.iter().any(|w| *w > RETRY));
    }
}
