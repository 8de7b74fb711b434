//! When a watch gets bookmarks: about once a minute, and two seconds before its end.
//!
//! A real server looks about once a second which watches are due, in steps of whole seconds of its own clock, so
//! that a watch can be due a little early and then once more. That is what is reproduced here, without a look
//! every second.

use std::time::Duration;

use tokio::time::Instant;

use crate::ops::jitter::Jitter;

/// About once so often, on a quiet watch (`cacher.go`, `bookmarkFrequency`).
const EVERY: Duration = Duration::from_secs(60);

/// So long before the end.
const BEFORE_END: Duration = Duration::from_secs(2);

/// The server looks once in this time …
const LOOK: Duration = Duration::from_secs(1);

/// … and up to this much of it later.
const LOOK_JITTER: f64 = 0.25;

/// The bookmarks of one watch.
pub(super) struct Bookmarks {
    /// When the next is due.
    due: Instant,
    /// When the server looks the next time after that, and sends it.
    pub(super) at: Instant,
    /// When the watch ends.
    end: Instant,
}

impl Bookmarks {
    /// Those of a watch from `now` to `end`.
    pub(super) fn new(now: Instant, end: Instant, jitter: &Jitter) -> Self {
        let mut bookmarks = Self { due: now, at: now, end };
        bookmarks.schedule(now, jitter);
        bookmarks
    }

    /// One was sent at `now`.
    pub(super) fn sent(&mut self, now: Instant, jitter: &Jitter) {
        let last = self.due;
        self.schedule(now, jitter);
        if self.due == last {
            // It came early: the server finds the watch due at its next look, too.
            self.at = now + LOOK + jitter.full(LOOK.mul_f64(LOOK_JITTER));
        }
    }

    fn schedule(&mut self, now: Instant, jitter: &Jitter) {
        let before_end = self.end.checked_sub(BEFORE_END).filter(|at| *at > now);
        self.due = before_end.map_or(now + EVERY, |at| at.min(now + EVERY));
        // Due from the beginning of its second on; the server looks some time after that.
        let early = jitter.full(LOOK);
        let look = jitter.full(LOOK.mul_f64(1.0 + LOOK_JITTER));
        self.at = (self.due.checked_sub(early).unwrap_or(now) + look).max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bookmarks_come_every_minute_and_before_the_end() {
        for seed in 0..50 {
            let (start, jitter) = (Instant::now(), Jitter::from_seed(seed));
            for (seconds, fewest, most) in [(3, 1, 2), (70, 2, 4), (300, 5, 7)] {
                let end = start + Duration::from_secs(seconds);
                let mut bookmarks = Bookmarks::new(start, end, &jitter);
                let mut sent = Vec::new();
                while bookmarks.at < end {
                    let now = bookmarks.at;
                    sent.push(now.duration_since(start).as_secs_f64());
                    bookmarks.sent(now, &jitter);
                }
                assert!((fewest..=most).contains(&sent.len()), "{seconds} s, seed {seed}: {sent:?}");
                #[expect(clippy::cast_precision_loss, reason = "seconds")]
                let last = seconds as f64 - sent.last().unwrap();
                assert!((0.0..=3.0).contains(&last), "{seconds} s, seed {seed}: {sent:?}");
            }
        }
    }
}
