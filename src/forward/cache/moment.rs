//! Moments on the cache's own clock.

use std::time::Duration;

/// Where the clock of a new store stands: some 35 years, so that what is older than the process has a moment too.
const START: u64 = 1 << 40;

/// A moment, in milliseconds. Differences mean something, the number does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// The beginning of the clock: when the store was made.
    pub const START: Self = Self(START);

    /// Never, as a moment in the past.
    pub const LONG_AGO: Self = Self(0);

    /// So long after this one.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(millis(time)))
    }

    /// So long before this one.
    #[must_use]
    pub fn before(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(millis(time)))
    }

    /// How long after `earlier` this is; nothing if it is not.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// As a number that an atomic can hold.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// What [`Self::millis`] gave.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_both_ways_and_has_ends() {
        let (start, hour) = (Moment::START, Duration::from_secs(3600));
        assert_eq!(start.after(hour).since(start), hour);
        assert_eq!(start.since(start.before(hour)), hour);
        assert_eq!(start.since(start.after(hour)), Duration::ZERO);
        assert_eq!(start.before(Duration::MAX), Moment::LONG_AGO);
        assert!(start.after(Duration::MAX) > start);
        assert_eq!(Moment::from_millis(start.millis()), start);
    }
}
