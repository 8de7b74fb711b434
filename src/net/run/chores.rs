//! What is due besides beats: looking at everything, and saying what does not go on its own.
//!
//! Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::net::keep::Kept;
use crate::net::watch::Hint;

/// What is due.
#[derive(Debug)]
pub(super) struct Chores {
    /// How often everything is looked at.
    look: Duration,
    /// When it was; `None` before the first time.
    looked: Option<Instant>,
    /// When others were last asked to look; `None` before the first time.
    asked: Option<Instant>,
    /// Whether something is known to be missing, or nothing is known.
    suspect: bool,
    /// Whether it was said that tables cannot be made.
    said: bool,
}

impl Chores {
    /// Nothing was done yet.
    pub(super) const fn new(look: Duration) -> Self {
        Self { look, looked: None, asked: None, suspect: true, said: false }
    }

    /// Something may be missing: everything is looked at before anything is renewed.
    pub(super) const fn suspect(&mut self) {
        self.suspect = true;
    }

    /// Whether something may be missing.
    pub(super) const fn is_suspect(&self) -> bool {
        self.suspect
    }

    /// Whether everything is to be looked at.
    pub(super) fn is_look_due(&self, now: Instant) -> bool {
        self.suspect || self.looked.is_none_or(|at| now.duration_since(at) >= self.look)
    }

    /// Whether others are to be asked to look at what is theirs to look at, which is done then. Something of ours that stays
    /// broken is looked at again at every beat, and they are not.
    pub(super) fn asks_others(&mut self, now: Instant) -> bool {
        let due = self.asked.is_none_or(|at| now.duration_since(at) >= self.look);
        if due {
            self.asked = Some(now);
        }
        due
    }

    /// It was looked there, with this result.
    pub(super) fn looked(&mut self, now: Instant, at: Hint, kept: Kept) {
        let broken = kept == Kept::Broken;
        match at {
            Hint::Everything => (self.looked, self.suspect) = (Some(now), broken),
            // The rest is as it was.
            Hint::Rules | Hint::Links => self.suspect |= broken,
        }
    }

    /// Tables cannot be made, which is tried again and again; whether that is to be said.
    pub(super) const fn says_failure(&mut self) -> bool {
        !std::mem::replace(&mut self.said, true)
    }

    /// Tables were made.
    pub(super) const fn made(&mut self) {
        self.said = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_looked_at_from_time_to_time_and_when_something_may_be_missing() {
        let (mut chores, start) = (Chores::new(Duration::from_secs(60)), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(chores.is_look_due(at(0)) && chores.is_suspect(), "nothing is known");
        chores.looked(at(0), Hint::Everything, Kept::Whole);
        assert!(!chores.is_look_due(at(59)) && chores.is_look_due(at(60)));
        chores.suspect();
        assert!(chores.is_look_due(at(1)));
        chores.looked(at(1), Hint::Rules, Kept::Whole);
        assert!(chores.is_suspect(), "only a part was looked at");
        chores.looked(at(2), Hint::Everything, Kept::Whole);
        assert!(!chores.is_look_due(at(61)), "a minute after the last time");
        chores.looked(at(3), Hint::Links, Kept::Broken);
        assert!(chores.is_suspect() && chores.is_look_due(at(3)));
        chores.looked(at(3), Hint::Everything, Kept::Broken);
        assert!(chores.is_suspect(), "it could not be mended");
    }

    #[test]
    fn others_are_asked_in_their_time_whatever_is_broken_here() {
        let (mut chores, start) = (Chores::new(Duration::from_secs(60)), Instant::now());
        let mut asked = Vec::new();
        for second in 0..150 {
            let now = start + Duration::from_secs(second);
            assert!(chores.is_look_due(now));
            chores.looked(now, Hint::Everything, Kept::Broken);
            if chores.asks_others(now) {
                asked.push(second);
            }
        }
        assert_eq!(asked, [0, 60, 120]);
    }

    #[test]
    fn what_fails_again_and_again_is_said_once() {
        let mut chores = Chores::new(Duration::from_secs(60));
        assert!(chores.says_failure() && !chores.says_failure());
        chores.made();
        assert!(chores.says_failure());
    }
}
