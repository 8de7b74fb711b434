//! Pings and heartbeats: what a hub's silence means, and from when its word is. Pure: takes `now`.
//!
//! A heartbeat is as old as its ping, however long it lay in a buffer while this process was stopped.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::ops::jitter::Jitter;

/// Between two pings.
const PING_EVERY: Duration = Duration::from_secs(10);

/// By what part of it that varies.
const PING_SPREAD: f64 = 0.2;

/// A hub of which nothing at all is heard for so long after a ping hangs: far longer than any round trip, and short
/// enough that the next hub is found before data is stale.
const SILENCE: Duration = Duration::from_secs(5);

/// A hub that says this and that and answers no ping for so long vouches for nothing: by then data is stale.
const MUTE: Duration = Duration::from_secs(30);

/// After an answer that proved nothing although it might have, the first wait until the next ping; each is twice the one before.
const UNPROVED_FIRST: Duration = Duration::from_secs(1);

/// Pings that may wait for an answer: a whole state may be ahead of it in the stream.
const MAX_OPEN: usize = 16;

/// Who wakes so much later than it wanted to has been stopped itself.
const STOPPED: Duration = Duration::from_secs(1);

/// The pings of one session.
#[derive(Debug)]
pub(super) struct Pulse {
    /// Those without an answer, the oldest first: nonce, and when it was sent.
    open: VecDeque<(u64, Instant)>,
    /// The next nonce.
    nonce: u64,
    /// When the next ping is due.
    next: Instant,
    /// How long the next ping waits at most after another answer that proves nothing.
    unproved: Duration,
    /// When the hub counts as silent, while an answer is awaited.
    silent_at: Option<Instant>,
    /// When the hub counts as mute, while an answer is awaited.
    mute_at: Option<Instant>,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing yet.
    Nothing,
    /// A ping with this nonce.
    Ping(u64),
    /// The hub is silent.
    Silent,
}

impl Pulse {
    /// The first ping is due at once.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            open: VecDeque::new(),
            nonce: 1,
            next: now,
            unproved: UNPROVED_FIRST,
            silent_at: None,
            mute_at: None,
        }
    }

    /// When something is due.
    pub(super) fn at(&self) -> Instant {
        [self.silent_at, self.mute_at].into_iter().flatten().fold(self.next, Instant::min)
    }

    /// What is due now.
    pub(super) fn due(&mut self, now: Instant, jitter: &Jitter) -> Due {
        for (at, again) in [(&mut self.silent_at, SILENCE), (&mut self.mute_at, MUTE)] {
            let Some(due) = at.filter(|at| *at <= now) else { continue };
            if now.saturating_duration_since(due) < STOPPED {
                return Due::Silent;
            }
            // We were not there to hear it.
            *at = Some(now + again);
        }
        if self.next > now {
            return Due::Nothing;
        }
        self.next = now + jitter.spread(PING_EVERY, PING_SPREAD);
        if self.open.len() >= MAX_OPEN {
            return Due::Nothing;
        }
        let nonce = self.nonce;
        self.nonce += 1;
        self.open.push_back((nonce, now));
        self.silent_at.get_or_insert(now + SILENCE);
        self.mute_at.get_or_insert(now + MUTE);
        Due::Ping(nonce)
    }

    /// There is something that only a heartbeat proves: a ping is due at once, unless an answer is awaited.
    pub(super) fn soon(&mut self, now: Instant) {
        if self.open.is_empty() {
            self.next = now;
        }
        self.unproved = UNPROVED_FIRST;
    }

    /// An answer has proved nothing although nothing is known to be wrong: what was in the way may be gone in a moment, and data is
    /// stale soon after the next regular ping.
    pub(super) fn unproved(&mut self, now: Instant, jitter: &Jitter) {
        self.next = self.next.min(now + jitter.spread(self.unproved, PING_SPREAD));
        self.unproved = (self.unproved * 2).min(PING_EVERY);
    }

    /// An answer has proved something.
    pub(super) const fn proved(&mut self) {
        self.unproved = UNPROVED_FIRST;
    }

    /// A whole state is on its way, and heartbeats may stand behind parts of it.
    pub(super) fn busy(&mut self, now: Instant) {
        self.mute_at = self.mute_at.map(|_| now + MUTE);
    }

    /// Something was heard: the hub is there.
    pub(super) fn heard(&mut self, now: Instant) {
        if self.silent_at.is_some() {
            self.silent_at = Some(now + SILENCE);
        }
    }

    /// A heartbeat came: when its ping was sent, if it is the answer to one.
    pub(super) fn answered(&mut self, nonce: u64) -> Option<Instant> {
        let at = self.open.iter().position(|(open, _)| *open == nonce)?;
        let sent = self.open.drain(..=at).next_back().map(|(_, sent)| sent);
        if self.open.is_empty() {
            (self.silent_at, self.mute_at) = (None, None);
        }
        // Those that are left are younger.
        self.mute_at = self.mute_at.and_then(|_| Some(self.open.front()?.1 + MUTE));
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_ping_every_ten_seconds_and_silence_after_five() {
        let (jitter, start) = (Jitter::from_seed(1), Instant::now());
        let mut pulse = Pulse::new(start);
        assert_eq!(pulse.due(start, &jitter), Due::Ping(1));
        assert_eq!(pulse.due(start + SECOND, &jitter), Due::Nothing);
        assert_eq!(pulse.answered(1), Some(start));
        let next = pulse.at();
        assert!((8 * SECOND..=12 * SECOND).contains(&(next - start)));
        assert_eq!(pulse.due(next, &jitter), Due::Ping(2));
        assert_eq!(pulse.due(next + 4 * SECOND, &jitter), Due::Nothing);
        assert_eq!(pulse.due(next + SILENCE, &jitter), Due::Silent);
    }

    #[test]
    fn a_hub_that_sends_is_not_silent_and_a_late_answer_is_as_old_as_its_ping() {
        let (jitter, start) = (Jitter::from_seed(1), Instant::now());
        let mut pulse = Pulse::new(start);
        assert_eq!(pulse.due(start, &jitter), Due::Ping(1));
        pulse.heard(start + 4 * SECOND);
        assert_eq!(pulse.due(start + 6 * SECOND, &jitter), Due::Nothing);
        pulse.heard(start + 8 * SECOND);
        let second = start + 12 * SECOND;
        assert_eq!(pulse.due(second, &jitter), Due::Ping(2));
        assert_eq!(pulse.answered(1), Some(start));
        assert_eq!(pulse.answered(1), None, "once");
        assert_eq!(pulse.due(second + SECOND, &jitter), Due::Silent, "five seconds after it was last heard");
        assert_eq!(pulse.answered(2), Some(second));
        assert_eq!(pulse.answered(77), None, "not asked");
    }

    #[test]
    fn a_hub_that_talks_and_answers_no_ping_is_silent_unless_a_whole_state_is_on_its_way() {
        let (jitter, start) = (Jitter::from_seed(1), Instant::now());
        for busy in [false, true] {
            let mut pulse = Pulse::new(start);
            let silent = (0..120).find(|second| {
                let now = start + *second * SECOND;
                pulse.heard(now);
                if busy {
                    pulse.busy(now);
                }
                pulse.due(now, &jitter) == Due::Silent
            });
            assert_eq!(silent, (!busy).then_some(30));
        }
    }

    #[test]
    fn an_answer_that_proves_nothing_is_asked_for_again_soon_and_ever_more_rarely() {
        let (jitter, start) = (Jitter::from_seed(1), Instant::now());
        for proves_between in [false, true] {
            let (mut pulse, mut now, mut waits) = (Pulse::new(start), start, Vec::new());
            for nonce in 1..=6 {
                assert_eq!(pulse.due(now, &jitter), Due::Ping(nonce));
                assert_eq!(pulse.answered(nonce), Some(now));
                if proves_between && nonce == 3 {
                    pulse.proved();
                } else {
                    pulse.unproved(now, &jitter);
                }
                waits.push((pulse.at() - now).as_millis());
                now = pulse.at();
            }
            let seconds = if proves_between { [1, 2, 10, 1, 2, 4] } else { [1, 2, 4, 8, 10, 10] };
            for (wait, second) in waits.iter().zip(seconds) {
                assert!((second * 800..=second * 1200).contains(wait), "{waits:?}");
            }
        }
    }

    #[test]
    fn who_was_stopped_blames_nobody() {
        let (jitter, start) = (Jitter::from_seed(1), Instant::now());
        let mut pulse = Pulse::new(start);
        assert_eq!(pulse.due(start, &jitter), Due::Ping(1));
        let woken = start + 60 * SECOND;
        assert_eq!(pulse.due(woken, &jitter), Due::Ping(2));
        assert_eq!(pulse.answered(1), Some(start), "the word is a minute old");
        assert_eq!(
            pulse.due(woken + SILENCE, &jitter),
            Due::Silent,
            "but for the next one there is no excuse"
        );
    }

    #[test]
    fn pings_are_bounded() {
        let jitter = Jitter::from_seed(1);
        let mut now = Instant::now();
        let mut pulse = Pulse::new(now);
        for _ in 0..100 {
            pulse.heard(now);
            let _ = pulse.due(now, &jitter);
            now += 4 * SECOND;
        }
        assert_eq!(pulse.open.len(), MAX_OPEN);
    }
}
