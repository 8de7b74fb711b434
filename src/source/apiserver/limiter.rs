//! How often we may ask: `apiserver_qps` and `apiserver_burst`.
//!
//! Pure: takes `now`, reads no clock and sleeps nowhere. It is a token bucket, kept as the time at which it
//! would be full again, so that nothing is rounded and nothing has to tick.

use std::time::Duration;

use tokio::time::Instant;

use super::access::{DEFAULT_BURST, DEFAULT_QPS, Limits};

/// A token bucket.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    /// How long one token takes to come back.
    interval: Duration,
    /// How far the bucket may be from full for a token to be left in it.
    tolerance: Duration,
    /// When it is full again, if nothing more is taken; in the past while it is full.
    full_at: Option<Instant>,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn new(limits: &Limits) -> Self {
        let qps = limits.qps.map_or(DEFAULT_QPS, u32::from);
        let burst = limits.burst.map_or(DEFAULT_BURST, u32::from);
        let interval = Duration::from_secs(1) / qps;
        Self { interval, tolerance: interval.saturating_mul(burst.saturating_sub(1)), full_at: None }
    }

    /// Takes a token; if there is none, after what time to try again. Nothing is reserved by asking.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let full_at = self.full_at.map_or(now, |at| at.max(now));
        let missing = full_at - now;
        if missing > self.tolerance {
            return Err(missing - self.tolerance);
        }
        self.full_at = Some(full_at + self.interval);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::num::NonZeroU32;

    fn bucket(qps: u32, burst: u32) -> Bucket {
        Bucket::new(&Limits { qps: NonZeroU32::new(qps), burst: NonZeroU32::new(burst), max_inflight: None })
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let (mut bucket, start) = (bucket(4, 3), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        for _ in 0..3 {
            assert_eq!(bucket.take(at(0)), Ok(()));
        }
        assert_eq!(bucket.take(at(0)), Err(Duration::from_millis(250)));
        assert_eq!(bucket.take(at(200)), Err(Duration::from_millis(50)), "asking costs nothing");
        assert_eq!(bucket.take(at(250)), Ok(()));
        assert_eq!(bucket.take(at(250)), Err(Duration::from_millis(250)));
        // After a pause the whole burst is there again, and no more.
        for _ in 0..3 {
            assert_eq!(bucket.take(at(60_000)), Ok(()));
        }
        assert!(bucket.take(at(60_000)).is_err());
    }

    #[test]
    fn without_options_it_is_client_gos() {
        let (mut bucket, now) = (Bucket::new(&Limits::default()), Instant::now());
        assert_eq!((0..100).take_while(|_| bucket.take(now).is_ok()).count(), DEFAULT_BURST as usize);
        assert_eq!(bucket.take(now), Err(Duration::from_secs(1) / DEFAULT_QPS));
    }

    proptest! {
        #[test]
        fn no_window_has_more_than_burst_and_rate(
            qps in 1u32..1000, burst in 1u32..50, steps in prop::collection::vec(0u64..300, 1..200),
        ) {
            let (mut bucket, start) = (bucket(qps, burst), Instant::now());
            let (mut now, mut taken) = (start, 0u32);
            for step in steps {
                now += Duration::from_millis(step);
                taken += u32::from(bucket.take(now).is_ok());
                let rate = (now - start).as_secs_f64() * f64::from(qps);
                prop_assert!(f64::from(taken) <= f64::from(burst) + rate + 0.01);
            }
        }

        #[test]
        fn after_the_wait_there_is_a_token(qps: u32, burst: u32, taken in 0u32..100) {
            let (mut bucket, now) = (bucket(qps, burst), Instant::now());
            for _ in 0..taken {
                if let Err(wait) = bucket.take(now) {
                    prop_assert_eq!(bucket.take(now + wait), Ok(()));
                    return Ok(());
                }
            }
        }
    }
}
