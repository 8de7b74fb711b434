//! What is due besides beats: looking at everything, and saying what does not go on its own.
//!
//! Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::net::Ip;
use crate::net::keep::Kept;
use crate::net::watch::Hint;

/// How long nobody else has to answer before that is said: data that has just been read is looked at once a second.
const SETTLED: Duration = Duration::from_secs(3);

/// How long events are gathered before it is looked where they point to: one batch is many.
const GATHERED: Duration = Duration::from_millis(5);

/// The least time between two looks that events ask for.
const PACE: Duration = Duration::from_millis(50);

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
    /// Where events point to, and when it is looked there; `None` where none has come since the last look.
    heard: Option<(Hint, Instant)>,
    /// When it was last looked where events pointed to; `None` before the first time.
    followed: Option<Instant>,
    /// Whether it was said that tables cannot be made.
    said: bool,
    /// Families of which it was said that nobody else answers.
    alone: Vec<Ip>,
    /// Others than those, and since when.
    unsaid: Option<(Vec<Ip>, Instant)>,
}

impl Chores {
    /// Nothing was done yet.
    pub(super) const fn new(look: Duration) -> Self {
        Self {
            look,
            looked: None,
            asked: None,
            suspect: true,
            heard: None,
            followed: None,
            said: false,
            alone: Vec::new(),
            unsaid: None,
        }
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
            Hint::Rules | Hint::Links | Hint::Iptables => self.suspect |= broken,
        }
    }

    /// Something happened there.
    pub(super) fn heard(&mut self, now: Instant, at: Hint) {
        self.heard = Some(match self.heard {
            Some((before, due)) => (before.and(at), due),
            None => {
                let rested = self.followed.map_or(now, |followed| followed + PACE);
                (at, rested.max(now + GATHERED))
            }
        });
    }

    /// When it is to be looked where events point to; `None` where none points anywhere.
    pub(super) fn follows_at(&self) -> Option<Instant> {
        self.heard.map(|(_, due)| due)
    }

    /// It is looked there now, if anywhere.
    pub(super) fn follow(&mut self, now: Instant) -> Option<Hint> {
        let (at, _) = self.heard.take()?;
        self.followed = Some(now);
        Some(at)
    }

    /// Tables cannot be made, which is tried again and again; whether that is to be said.
    pub(super) const fn says_failure(&mut self) -> bool {
        !std::mem::replace(&mut self.said, true)
    }

    /// Queries over these families go to nobody without us; whether that is to be said: it has been so for [`SETTLED`],
    /// and was not before.
    pub(super) fn says_alone(&mut self, now: Instant, alone: &[Ip]) -> bool {
        if self.alone == alone {
            self.unsaid = None;
            return false;
        }
        match &self.unsaid {
            Some((unsaid, since)) if unsaid == alone => {
                if now.duration_since(*since) < SETTLED {
                    return false;
                }
                self.alone = alone.to_vec();
                true
            }
            _ => {
                self.unsaid = Some((alone.to_vec(), now));
                false
            }
        }
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
    fn having_nobody_to_fall_back_to_is_said_when_it_begins_and_when_it_ends() {
        let (mut chores, start) = (Chores::new(Duration::from_secs(60)), Instant::now());
        let none = &[][..];
        let seen = [
            ("all is well", 0, none, false),
            ("it may be a moment", 1, &[Ip::V4], false),
            ("so it was", 3, none, false),
            ("it begins", 10, &[Ip::V4], false),
            ("it goes on", 12, &[Ip::V4], false),
            ("and on", 13, &[Ip::V4], true),
            ("as was said", 20, &[Ip::V4], false),
            ("more of it", 21, &Ip::ALL, false),
            ("which stays", 24, &Ip::ALL, true),
            ("it ends", 30, none, false),
            ("for good", 33, none, true),
            ("as was said", 40, none, false),
        ];
        for (name, second, alone, want) in seen {
            assert_eq!(chores.says_alone(start + Duration::from_secs(second), alone), want, "{name}");
        }
    }

    #[test]
    fn however_many_events_there_are_one_look_follows_and_the_next_one_not_at_once() {
        let (mut chores, start) = (Chores::new(Duration::from_secs(60)), Instant::now());
        let mut looks = Vec::new();
        // Two batches of many events each, a second one that the look itself has caused, and silence.
        for millisecond in 0..200 {
            let now = start + Duration::from_millis(millisecond);
            if chores.follows_at().is_some_and(|due| due <= now) {
                looks.push((millisecond, chores.follow(now)));
            }
            match millisecond {
                0..4 => (0..35).for_each(|_| chores.heard(now, Hint::Rules)),
                6..12 => (0..100).for_each(|_| chores.heard(now, Hint::Rules)),
                30 => chores.heard(now, Hint::Links),
                _ => {}
            }
        }
        assert_eq!(looks, [(5, Some(Hint::Rules)), (55, Some(Hint::Everything))]);
        assert_eq!((chores.follows_at(), chores.follow(start)), (None, None));
    }

    #[test]
    fn what_fails_again_and_again_is_said_once() {
        let mut chores = Chores::new(Duration::from_secs(60));
        assert!(chores.says_failure() && !chores.says_failure());
        chores.made();
        assert!(chores.says_failure());
    }
}
