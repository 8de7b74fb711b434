//! The wall clock, with a floor.
//!
//! A node may boot with a dead clock (1970, or the firmware's build date). The newest snapshot says when it was
//! written, so it is at least that late: ages never come out negative and certificates are not judged by a date
//! before they were issued.
//!
//! Invariants: what [`WallClock::now_unix_ms`] returns is never below the floor, and goes on from the floor at
//! the pace of the monotonic clock while the system's clock is behind it.
//!
//! Known weakness: a snapshot written while the clock was ahead lifts the floor as far ahead. Ages are then too
//! small until the real time catches up; nothing is served or dropped because of it.
//!
//! For timeouts and intervals use [`tokio::time::Instant`], which tests can pause; this clock is for dates that
//! leave the process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::switches::{self, Protection};

/// The wall clock of a process; see the module's head.
pub struct WallClock {
    /// When this clock was made, on the monotonic clock.
    started: Instant,
    /// The floor, moved back to `started`, in Unix milliseconds.
    floor_at_start: AtomicU64,
    /// Unix milliseconds according to the system.
    system: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl WallClock {
    /// The system's clock, never below `floor` (Unix milliseconds; 0 for no floor).
    pub fn new(floor: u64) -> Self {
        Self::with_system(floor, system_unix_ms)
    }

    /// The same over another reading of the system's clock (Unix milliseconds), for tests and drills.
    pub fn with_system(floor: u64, system: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { started: Instant::now(), floor_at_start: AtomicU64::new(floor), system: Box::new(system) }
    }

    /// Lifts the floor to `floor` (Unix milliseconds); a floor never sinks.
    pub fn raise_floor(&self, floor: u64) {
        if switches::is_off(Protection::Floor) {
            return;
        }
        self.floor_at_start.fetch_max(floor.saturating_sub(self.elapsed_ms()), Ordering::AcqRel);
    }

    /// The time in Unix milliseconds.
    pub fn now_unix_ms(&self) -> u64 {
        // Never below the floor, and the floor itself moves on: a minute counted here is a minute lived.
        let floor = self.floor_at_start.load(Ordering::Acquire).saturating_add(self.elapsed_ms());
        (self.system)().max(floor)
    }

    /// How long ago `then` (Unix milliseconds) was, in milliseconds; 0 if it lies ahead.
    pub fn age_ms(&self, then: u64) -> u64 {
        self.now_unix_ms().saturating_sub(then)
    }

    /// Milliseconds since this clock was made.
    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// What the system says, or would say in a drill of wrong clocks; 0 for dates before 1970.
fn system_unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
        .saturating_add_signed(switches::clock_offset_ms())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    /// 2026-01-01T00:00:00Z.
    const NEW_YEAR: u64 = 1_767_225_600_000;

    #[tokio::test(start_paused = true)]
    async fn the_later_of_system_and_floor_counts() {
        struct Case {
            name: &'static str,
            floor: u64,
            system: u64,
            want: u64,
        }
        let cases = [
            Case { name: "no floor", floor: 0, system: NEW_YEAR, want: NEW_YEAR },
            Case {
                name: "clock ahead of the floor",
                floor: NEW_YEAR,
                system: NEW_YEAR + 5,
                want: NEW_YEAR + 5,
            },
            Case { name: "clock behind the floor", floor: NEW_YEAR, system: NEW_YEAR - 5, want: NEW_YEAR },
            Case { name: "dead clock", floor: NEW_YEAR, system: 0, want: NEW_YEAR },
        ];
        for Case { name, floor, system, want } in cases {
            assert_eq!(WallClock::with_system(floor, move || system).now_unix_ms(), want, "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_clock_still_moves_on_from_the_floor() {
        let clock = WallClock::with_system(NEW_YEAR, || 0);
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(clock.now_unix_ms(), NEW_YEAR + 90_000);
        assert_eq!(clock.age_ms(NEW_YEAR + 30_000), 60_000);
        assert_eq!(clock.age_ms(NEW_YEAR + 91_000), 0, "nothing has a negative age");
    }

    #[tokio::test(start_paused = true)]
    async fn a_floor_only_rises() {
        let clock = WallClock::with_system(0, || 7);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(clock.now_unix_ms(), 10_000, "without a floor, time since the start is the floor");
        clock.raise_floor(NEW_YEAR);
        assert_eq!(clock.now_unix_ms(), NEW_YEAR);
        clock.raise_floor(NEW_YEAR - 1_000_000);
        assert_eq!(clock.now_unix_ms(), NEW_YEAR);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_set_back_while_running_does_not_take_time_below_the_floor() {
        let system = Arc::new(AtomicU64::new(NEW_YEAR + 1_000));
        let read = Arc::clone(&system);
        let clock = WallClock::with_system(NEW_YEAR, move || read.load(Ordering::Relaxed));
        assert_eq!(clock.now_unix_ms(), NEW_YEAR + 1_000);
        system.store(1, Ordering::Relaxed);
        assert_eq!(clock.now_unix_ms(), NEW_YEAR);
    }

    #[test]
    fn the_real_clock_is_past_the_date_of_this_test() {
        assert!(WallClock::new(0).now_unix_ms() > 1_700_000_000_000);
    }
}
