//! What a wrong digest leads to: one whole state, and if that is no help, or not for long, an alarm. Pure: takes `now`.
//!
//! Invariants:
//! * A hub that goes on telling what is wrong is asked for a whole state ever more rarely, however often one mends what is held.
//! * While there is a hub that nobody has been alarmed about and that can be reached, it is that one's turn soon: it may have
//!   been down before.
//! * A kind that differed is mended by its own digest, and by no other kind's.

use std::time::Duration;

use tokio::time::Instant;

use crate::ops::jitter::Jitter;
use crate::source::Comparison;
use crate::zone::object::Kinds;

/// The first wait after an alarm, until a whole state is asked for again.
const FIRST_WAIT: Duration = Duration::from_secs(60);

/// The longest.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// By what part of it a wait varies: what is wrong at one follower may be wrong at all of them.
const WAIT_SPREAD: f64 = 0.2;

/// Within what time a hub is left that has been alarmed about: all its followers hear the same of it.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);

/// Between two tries to leave such a hub: a good deal sooner than data counts as stale.
const BETWEEN: Duration = Duration::from_secs(5);

/// What is known of the state's digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verify {
    /// Nothing is wrong.
    Trusted {
        /// When it last ceased to be, if it ever was.
        mended: Option<Mended>,
    },
    /// They differed, and a whole state was asked for.
    Asked {
        /// What it is to mend.
        kinds: Kinds,
        /// The wait after the alarm before, if there was one.
        waited: Option<Duration>,
        /// Whether nobody was wrong: what is held came between two states of the hub.
        expected: bool,
        /// When it was to be asked for, if another hub is asked for it sooner.
        due: Option<Instant>,
    },
    /// They differed after that, too.
    Alarmed {
        /// What differs.
        kinds: Kinds,
        /// When a whole state is asked for again.
        next: Instant,
        /// How long that was from the alarm, before it was varied.
        waited: Duration,
    },
}

/// What was wrong is not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mended {
    /// Since when.
    since: Instant,
    /// The wait after the alarm before, if there was one.
    waited: Option<Duration>,
}

impl Mended {
    /// Whether it was no help, if something is wrong again now.
    fn is_relapse(&self, now: Instant) -> bool {
        now < self.since + self.waited.unwrap_or(FIRST_WAIT)
    }
}

impl Default for Verify {
    fn default() -> Self {
        Self::Trusted { mended: None }
    }
}

/// When a hub is to be left that is wrong, where another one can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaves {
    /// If there is one that nobody has been alarmed about.
    pub(super) soon: Instant,
    /// If there is none.
    pub(super) late: Instant,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Fine,
    /// Nothing can be said now.
    Unsettled,
    /// It is fine again.
    Healed,
    /// Ask for a whole state.
    AskWhole(Kinds),
    /// A whole state was no help: tell people.
    Alarm(Kinds),
    /// It is known to be wrong, and was said.
    Wrong,
}

impl Verify {
    /// Takes the outcome of a comparison of digests `of` these kinds; `expected` where nobody was wrong if they differ.
    pub(super) fn compared(
        &mut self,
        comparison: Comparison,
        of: Kinds,
        expected: bool,
        now: Instant,
        jitter: &Jitter,
    ) -> Verdict {
        match (comparison, *self) {
            (Comparison::Unsettled, _) => Verdict::Unsettled,
            (Comparison::Same, Self::Trusted { .. }) => Verdict::Fine,
            // Invariant: nothing is mended by what others are.
            (Comparison::Same, Self::Asked { kinds, .. } | Self::Alarmed { kinds, .. })
                if !kinds.minus(of).is_empty() =>
            {
                self.narrow(kinds.minus(of));
                Verdict::Unsettled
            }
            (Comparison::Same, Self::Asked { waited, expected, .. }) => {
                self.mend(waited, expected, now);
                Verdict::Healed
            }
            (Comparison::Same, Self::Alarmed { waited, .. }) => {
                *self = Self::Trusted { mended: Some(Mended { since: now, waited: Some(waited) }) };
                Verdict::Healed
            }
            (Comparison::Differs { kinds }, Self::Trusted { mended }) => match mended {
                Some(mended) if !expected && mended.is_relapse(now) => {
                    self.alarm(kinds, mended.waited, now, jitter);
                    Verdict::Alarm(kinds)
                }
                _ => {
                    *self = Self::Asked { kinds, waited: None, expected, due: None };
                    Verdict::AskWhole(kinds)
                }
            },
            (Comparison::Differs { kinds: more }, Self::Asked { kinds, waited, .. }) => {
                let kinds = kinds.minus(of).union(more);
                self.alarm(kinds, waited, now, jitter);
                Verdict::Alarm(kinds)
            }
            (Comparison::Differs { kinds: more }, Self::Alarmed { kinds, next, waited }) => {
                let kinds = kinds.minus(of).union(more);
                if next <= now {
                    *self = Self::Asked { kinds, waited: Some(waited), expected: false, due: None };
                    return Verdict::AskWhole(kinds);
                }
                *self = Self::Alarmed { kinds, next, waited };
                Verdict::Wrong
            }
        }
    }

    /// Takes note that the hub says no digests that ours could be held to, because its encoding is another one; `whole` where
    /// its whole state of `kinds` was just taken. That is trusted then, as all that such a hub says has to be.
    pub(super) fn uncomparable(&mut self, whole: bool, kinds: Kinds, now: Instant) -> Verdict {
        match *self {
            Self::Asked { waited, expected, .. } if whole => {
                self.mend(waited, expected, now);
                Verdict::Healed
            }
            Self::Alarmed { next, waited, .. } if next <= now => {
                *self = Self::Asked { kinds, waited: Some(waited), expected: false, due: None };
                Verdict::AskWhole(kinds)
            }
            Self::Trusted { .. } | Self::Asked { .. } | Self::Alarmed { .. } => Verdict::Unsettled,
        }
    }

    /// Only these kinds are wrong still.
    const fn narrow(&mut self, to: Kinds) {
        if let Self::Asked { kinds, .. } | Self::Alarmed { kinds, .. } = self {
            *kinds = to;
        }
    }

    /// A whole state has helped.
    fn mend(&mut self, waited: Option<Duration>, expected: bool, now: Instant) {
        let mended = (!expected || waited.is_some()).then_some(Mended { since: now, waited });
        *self = Self::Trusted { mended };
    }

    /// No whole state has helped.
    fn alarm(&mut self, kinds: Kinds, waited: Option<Duration>, now: Instant, jitter: &Jitter) {
        let waited = waited.map_or(FIRST_WAIT, |waited| waited.saturating_mul(2).min(MAX_WAIT));
        *self = Self::Alarmed { kinds, next: now + jitter.spread(waited, WAIT_SPREAD), waited };
    }

    /// Another hub is asked, or the same one anew: what is known to be wrong is not to be gone on from. One that nobody has been
    /// alarmed about is asked at once, and any after the first alarm; later ones have their time, whoever ends streams or refuses us.
    pub(super) fn begin(&mut self, is_known_wrong: bool, now: Instant) {
        match *self {
            Self::Alarmed { kinds, waited, next }
                if !is_known_wrong || waited == FIRST_WAIT || next <= now =>
            {
                let due = (next > now).then_some(next);
                *self = Self::Asked { kinds, waited: Some(waited), expected: false, due };
            }
            Self::Asked { kinds, waited: Some(waited), due: Some(next), .. }
                if is_known_wrong && waited != FIRST_WAIT && next > now =>
            {
                *self = Self::Alarmed { kinds, next, waited };
            }
            Self::Alarmed { .. } | Self::Trusted { .. } | Self::Asked { .. } => {}
        }
    }

    /// When a hub that was just alarmed about is left: soon, and not before the next whole state is due where leaving one has
    /// not helped either.
    pub(super) fn leaves(self, now: Instant, jitter: &Jitter) -> Option<Leaves> {
        let Self::Alarmed { waited, next, .. } = self else { return None };
        let soon = now + jitter.full(LEAVE_WITHIN);
        Some(Leaves { soon, late: if waited == FIRST_WAIT { soon } else { next } })
    }

    /// The same of one that was alarmed about before, and is followed because no other one could be.
    pub(super) fn leaves_again(self, now: Instant, jitter: &Jitter) -> Option<Leaves> {
        let Self::Alarmed { next, .. } = self else { return None };
        let again = now + jitter.spread(BETWEEN, WAIT_SPREAD);
        // Not past the moment when it would be asked for a whole state: those that were alarmed about have their turn then.
        let soon = if next > now { again.min(next) } else { again };
        Some(Leaves { soon, late: next.max(soon) })
    }

    /// The kinds that are known to be wrong while nothing mends them.
    pub(super) const fn alarmed(self) -> Kinds {
        match self {
            Self::Alarmed { kinds, .. } => kinds,
            Self::Trusted { .. } | Self::Asked { .. } => Kinds::NONE,
        }
    }

    /// Whether the state may be proved.
    pub(super) fn is_trusted(self) -> bool {
        matches!(self, Self::Trusted { .. })
    }

    /// What a whole state is wanted for, whatever the position says.
    pub(super) const fn wants_whole(self) -> Option<Kinds> {
        match self {
            Self::Asked { kinds, .. } => Some(kinds),
            Self::Trusted { .. } | Self::Alarmed { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::object::Kind;

    #[test]
    fn one_whole_state_and_then_an_alarm() {
        const KINDS: Kinds = Kinds::CORE;
        const SAME: Comparison = Comparison::Same;
        const DIFFERS: Comparison = Comparison::Differs { kinds: KINDS };
        const UNSETTLED: Comparison = Comparison::Unsettled;
        struct Case {
            name: &'static str,
            /// Seconds, a comparison and what comes of it.
            steps: &'static [(u64, Comparison, Verdict)],
        }
        let cases = [
            Case {
                name: "all is well",
                steps: &[
                    (0, SAME, Verdict::Fine),
                    (1, UNSETTLED, Verdict::Unsettled),
                    (2, SAME, Verdict::Fine),
                ],
            },
            Case {
                name: "a whole state helps",
                steps: &[
                    (0, DIFFERS, Verdict::AskWhole(KINDS)),
                    (1, SAME, Verdict::Healed),
                    (2, SAME, Verdict::Fine),
                    (62, DIFFERS, Verdict::AskWhole(KINDS)),
                ],
            },
            Case {
                name: "a whole state helps, and never for long",
                steps: &[
                    (0, DIFFERS, Verdict::AskWhole(KINDS)),
                    (1, SAME, Verdict::Healed),
                    (2, DIFFERS, Verdict::Alarm(KINDS)),
                    (3, DIFFERS, Verdict::Wrong),
                    (75, DIFFERS, Verdict::AskWhole(KINDS)),
                    (76, SAME, Verdict::Healed),
                    (135, DIFFERS, Verdict::Alarm(KINDS)),
                    (230, DIFFERS, Verdict::Wrong),
                    (280, DIFFERS, Verdict::AskWhole(KINDS)),
                    (281, SAME, Verdict::Healed),
                    (402, DIFFERS, Verdict::AskWhole(KINDS)),
                ],
            },
            Case {
                name: "no whole state helps",
                steps: &[
                    (0, DIFFERS, Verdict::AskWhole(KINDS)),
                    (1, DIFFERS, Verdict::Alarm(KINDS)),
                    (2, DIFFERS, Verdict::Wrong),
                    (48, DIFFERS, Verdict::Wrong),
                    (73, DIFFERS, Verdict::AskWhole(KINDS)),
                    (74, DIFFERS, Verdict::Alarm(KINDS)),
                    (169, DIFFERS, Verdict::Wrong),
                    (218, DIFFERS, Verdict::AskWhole(KINDS)),
                    (219, DIFFERS, Verdict::Alarm(KINDS)),
                ],
            },
            Case {
                name: "it heals by itself",
                steps: &[
                    (0, DIFFERS, Verdict::AskWhole(KINDS)),
                    (1, DIFFERS, Verdict::Alarm(KINDS)),
                    (2, UNSETTLED, Verdict::Unsettled),
                    (3, SAME, Verdict::Healed),
                ],
            },
        ];
        for Case { name, steps } in cases {
            let (mut verify, start, jitter) = (Verify::default(), Instant::now(), Jitter::from_seed(1));
            for (at, comparison, want) in steps {
                let got =
                    verify.compared(*comparison, KINDS, false, start + Duration::from_secs(*at), &jitter);
                assert_eq!(got, *want, "{name} at {at}");
                let trusted = matches!(want, Verdict::Fine | Verdict::Healed);
                assert!(verify.is_trusted() == trusted || *want == Verdict::Unsettled, "{name} at {at}");
                assert_eq!(
                    verify.wants_whole().is_some(),
                    matches!(want, Verdict::AskWhole(_)),
                    "{name} at {at}"
                );
            }
        }
    }

    #[test]
    fn a_hub_without_digests_is_trusted_with_its_whole_state() {
        let (mut verify, now, jitter) = (Verify::default(), Instant::now(), Jitter::from_seed(1));
        let differs = Comparison::Differs { kinds: Kinds::CORE };
        assert_eq!(verify.uncomparable(true, Kinds::CORE, now), Verdict::Unsettled, "nothing was asked");
        assert!(matches!(verify.compared(differs, Kinds::CORE, false, now, &jitter), Verdict::AskWhole(_)));
        assert_eq!(verify.uncomparable(false, Kinds::CORE, now), Verdict::Unsettled, "it is on its way");
        assert!(!verify.is_trusted());
        assert_eq!(verify.uncomparable(true, Kinds::CORE, now), Verdict::Healed);
        assert!(verify.is_trusted());
        // It was wrong again within that time, and no other hub says anything of it.
        assert!(matches!(verify.compared(differs, Kinds::CORE, false, now, &jitter), Verdict::Alarm(_)));
        assert_eq!(verify.uncomparable(false, Kinds::CORE, now), Verdict::Unsettled);
        let Verify::Alarmed { next, .. } = verify else { panic!("{verify:?}") };
        assert_eq!(verify.uncomparable(false, Kinds::CORE, next), Verdict::AskWhole(Kinds::CORE));
        assert_eq!(verify.uncomparable(true, Kinds::CORE, next), Verdict::Healed);
    }

    #[test]
    fn what_is_right_of_other_kinds_mends_nothing() {
        let (now, jitter) = (Instant::now(), Jitter::from_seed(1));
        let (one, other) = (Kinds::NONE.with(Kind::Service), Kinds::NONE.with(Kind::EndpointSlice));
        let differs = Comparison::Differs { kinds: one.union(other) };
        for is_alarmed in [false, true] {
            let mut verify = Verify::default();
            assert!(matches!(
                verify.compared(differs, Kinds::CORE, false, now, &jitter),
                Verdict::AskWhole(_)
            ));
            if is_alarmed {
                assert!(matches!(
                    verify.compared(differs, Kinds::CORE, false, now, &jitter),
                    Verdict::Alarm(_)
                ));
            }
            let mut same = |of| verify.compared(Comparison::Same, of, false, now, &jitter);
            assert_eq!(same(Kinds::NONE.with(Kind::Namespace)), Verdict::Unsettled);
            assert_eq!(same(one), Verdict::Unsettled, "the other one may be wrong still");
            assert_eq!(same(Kinds::CORE.minus(other)), Verdict::Unsettled);
            assert_eq!(same(other), Verdict::Healed);
            assert!(verify.is_trusted());
        }
    }

    #[test]
    fn what_nobody_was_wrong_about_is_asked_for_as_often_as_it_happens() {
        let (mut verify, now, jitter) = (Verify::default(), Instant::now(), Jitter::from_seed(1));
        for _ in 0..5 {
            let differs = Comparison::Differs { kinds: Kinds::CORE };
            assert!(matches!(
                verify.compared(differs, Kinds::CORE, true, now, &jitter),
                Verdict::AskWhole(_)
            ));
            assert_eq!(verify.compared(Comparison::Same, Kinds::CORE, false, now, &jitter), Verdict::Healed);
        }
    }

    #[test]
    fn a_hub_that_is_wrong_is_left_soon_and_later_ones_as_patiently_as_they_are_asked() {
        let (mut verify, mut now, jitter) = (Verify::default(), Instant::now(), Jitter::from_seed(1));
        let differs = Comparison::Differs { kinds: Kinds::CORE };
        let mut stays = Vec::new();
        assert!(matches!(verify.compared(differs, Kinds::CORE, false, now, &jitter), Verdict::AskWhole(_)));
        for _ in 0..4 {
            // At the next hub a whole state mends it, and what comes then is wrong again.
            assert_eq!(verify.leaves(now, &jitter), None);
            let _ = verify.compared(Comparison::Same, Kinds::CORE, false, now, &jitter);
            assert!(matches!(verify.compared(differs, Kinds::CORE, false, now, &jitter), Verdict::Alarm(_)));
            let Leaves { soon, late } = verify.leaves(now, &jitter).expect("it is left");
            assert!(soon <= now + LEAVE_WITHIN, "one that nobody was alarmed about has its turn");
            stays.push((late - now).as_secs());
            now = late;
            verify.begin(true, now);
            assert_eq!(verify.wants_whole(), Some(Kinds::CORE));
        }
        let most = [10, 144, 288, 576];
        assert!(stays.iter().zip(most).all(|(stay, most)| *stay <= most), "{stays:?}");
        assert!(stays[1..].iter().zip([96, 192, 384]).all(|(stay, least)| *stay >= least), "{stays:?}");
    }

    #[test]
    fn who_was_wrong_is_not_asked_again_soon_and_who_was_not_is_asked_at_once_for_what_differed() {
        let (mut verify, now, jitter) = (Verify::default(), Instant::now(), Jitter::from_seed(1));
        let (one, other) = (Kinds::NONE.with(Kind::Service), Kinds::NONE.with(Kind::EndpointSlice));
        let differs = Comparison::Differs { kinds: one };
        assert!(matches!(verify.compared(differs, Kinds::CORE, false, now, &jitter), Verdict::AskWhole(_)));
        for _ in 0..2 {
            assert!(matches!(verify.compared(differs, Kinds::CORE, false, now, &jitter), Verdict::Alarm(_)));
            verify.begin(true, now);
        }
        assert_eq!(verify.wants_whole(), None, "it was alarmed about twice");
        let more = Comparison::Differs { kinds: other };
        assert_eq!(verify.compared(more, other, false, now, &jitter), Verdict::Wrong);
        let Leaves { soon, .. } = verify.leaves_again(now, &jitter).expect("it is left again");
        assert!((4..=6).contains(&(soon - now).as_secs()), "{:?}", soon - now);
        verify.begin(false, now);
        assert_eq!(verify.wants_whole(), Some(one.union(other)));
        verify.begin(true, now);
        assert_eq!(verify.wants_whole(), None, "the other one has refused us");
    }

    #[test]
    fn a_hub_that_ends_its_streams_is_not_asked_sooner() {
        let (mut verify, now, jitter) = (Verify::default(), Instant::now(), Jitter::from_seed(1));
        let differs = Comparison::Differs { kinds: Kinds::CORE };
        assert!(matches!(verify.compared(differs, Kinds::CORE, false, now, &jitter), Verdict::AskWhole(_)));
        let asked = (0..100).filter(|_| {
            verify.begin(true, now);
            let asks = verify.wants_whole().is_some();
            let _ = verify.compared(differs, Kinds::CORE, false, now, &jitter);
            asks
        });
        assert_eq!(asked.count(), 2, "the one that was to mend it, and one after the first alarm");
        let Verify::Alarmed { next, .. } = verify else { panic!("{verify:?}") };
        verify.begin(true, next);
        assert!(verify.wants_whole().is_some());
    }

    #[test]
    fn waits_grow_to_an_hour_and_vary() {
        let (mut verify, mut now, jitter) = (Verify::default(), Instant::now(), Jitter::from_seed(1));
        let differs = Comparison::Differs { kinds: Kinds::CORE };
        let mut waits = Vec::new();
        for _ in 0..9 {
            assert!(matches!(
                verify.compared(differs, Kinds::CORE, false, now, &jitter),
                Verdict::AskWhole(_)
            ));
            assert!(matches!(verify.compared(differs, Kinds::CORE, false, now, &jitter), Verdict::Alarm(_)));
            let Verify::Alarmed { next, waited, .. } = verify else { panic!("{verify:?}") };
            waits.push(waited.as_secs());
            let varied = (next - now).as_secs_f64() / waited.as_secs_f64();
            assert!((0.8..=1.2).contains(&varied) && (varied - 1.0).abs() > 1e-6, "{varied}");
            now = next;
        }
        assert_eq!(waits, [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]);
    }
}
