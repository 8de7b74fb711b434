//! A hold, with its times on this process's clock: how long it has been and will be is worked out when it is told to
//! somebody, and not when the state that it is part of was published.

use std::time::Duration;

use tokio::time::Instant;

use crate::zone::hold::Hold;

/// One hold: that of a guard of our own, or one that a hub has told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenHold {
    /// Tells it from others, also from those of other origins.
    pub id: u32,
    /// For people.
    pub why: Box<str>,
    /// How many objects are held.
    pub objects: usize,
    /// Since when.
    pub since: Instant,
    /// When what is held is believed to be gone.
    pub until: Instant,
    /// Whether a list after the first has lacked it as well.
    pub(super) confirmed: bool,
    /// Whether it goes on although its time is over, because nobody has confirmed the loss.
    pub(super) postponed: bool,
}

impl OpenHold {
    /// As a hub has told it at this time.
    pub(super) fn told(hold: Hold, now: Instant) -> Self {
        let Hold { id, why, objects, held_ms, remaining_ms } = hold;
        let since = now.checked_sub(Duration::from_millis(held_ms)).unwrap_or(now);
        // A time that no clock reaches is one that nobody waits for.
        let until = now.checked_add(Duration::from_millis(remaining_ms)).unwrap_or(now);
        Self { id, why, objects, since, until, confirmed: false, postponed: false }
    }

    /// As it is told at this time.
    pub fn tell(&self, now: Instant) -> Hold {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Hold {
            id: self.id,
            why: self.why.clone(),
            objects: self.objects,
            held_ms: millis(now.saturating_duration_since(self.since)),
            remaining_ms: millis(self.until.saturating_duration_since(now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn how_long_it_has_been_is_as_of_when_it_is_told() {
        tokio::time::advance(Duration::from_secs(100)).await;
        let hold = |held_ms, remaining_ms| Hold { id: 3, why: "x".into(), objects: 1, held_ms, remaining_ms };
        let open = OpenHold::told(hold(1_000, 60_000), Instant::now());
        tokio::time::advance(Duration::from_secs(40)).await;
        assert_eq!(open.tell(Instant::now()), hold(41_000, 20_000));
        tokio::time::advance(Duration::from_secs(40)).await;
        assert_eq!(open.tell(Instant::now()), hold(81_000, 0));
        OpenHold::told(hold(u64::MAX, u64::MAX), Instant::now());
    }
}
