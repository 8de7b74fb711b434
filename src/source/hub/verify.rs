//! What a wrong digest leads to: one whole state, and if that is no help, or not for long, an alarm. Pure: takes `now`.
//!
//! Invariant: a hub that goes on telling what is wrong is asked for a whole state ever more rarely, however often one
//! mends what is held.

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

/// Within what time a hub is left that has been alarmed about for the first time: all its followers hear the same of it.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);

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
        /// The wait after the alarm before, if there was one.
        waited: Option<Duration>,
        /// Whether nobody was wrong: what is held came between two states of the hub.
        expected: bool,
    },
    /// They differed after that, too.
    Alarmed {
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
    /// Takes the outcome of a comparison; `expected` where nobody was wrong if they differ.
    pub(super) fn compared(
        &mut self,
        comparison: Comparison,
        expected: bool,
        now: Instant,
        jitter: &Jitter,
    ) -> Verdict {
        match (comparison, *self) {
            (Comparison::Unsettled, _) => Verdict::Unsettled,
            (Comparison::Same, Self::Trusted { .. }) => Verdict::Fine,
            (Comparison::Same, Self::Asked { waited, expected }) => {
                self.mend(waited, expected, now);
                Verdict::Healed
            }
            (Comparison::Same, Self::Alarmed { waited, .. }) => {
                *self = Self::Trusted { mended: Some(Mended { since: now, waited: Some(waited) }) };
                Verdict::Healed
            }
            (Comparison::Differs { kinds }, Self::Trusted { mended }) => match mended {
                Some(mended) if !expected && mended.is_relapse(now) => {
                    self.alarm(mended.waited, now, jitter);
                    Verdict::Alarm(kinds)
                }
                _ => {
                    *self = Self::Asked { waited: None, expected };
                    Verdict::AskWhole(kinds)
                }
            },
            (Comparison::Differs { kinds }, Self::Asked { waited, .. }) => {
                self.alarm(waited, now, jitter);
                Verdict::Alarm(kinds)
            }
            (Comparison::Differs { kinds }, Self::Alarmed { next, waited }) if next <= now => {
                *self = Self::Asked { waited: Some(waited), expected: false };
                Verdict::AskWhole(kinds)
            }
            (Comparison::Differs { .. }, Self::Alarmed { .. }) => Verdict::Wrong,
        }
    }

    /// Takes note that the hub says no digests that ours could be held to, because its encoding is another one; `whole` where
    /// its whole state of `kinds` was just taken. That is trusted then, as all that such a hub says has to be.
    pub(super) fn uncomparable(&mut self, whole: bool, kinds: Kinds, now: Instant) -> Verdict {
        match *self {
            Self::Asked { waited, expected } if whole => {
                self.mend(waited, expected, now);
                Verdict::Healed
            }
            Self::Alarmed { next, waited } if next <= now => {
                *self = Self::Asked { waited: Some(waited), expected: false };
                Verdict::AskWhole(kinds)
            }
            Self::Trusted { .. } | Self::Asked { .. } | Self::Alarmed { .. } => Verdict::Unsettled,
        }
    }

    /// A whole state has helped.
    fn mend(&mut self, waited: Option<Duration>, expected: bool, now: Instant) {
        let mended = (!expected || waited.is_some()).then_some(Mended { since: now, waited });
        *self = Self::Trusted { mended };
    }

    /// No whole state has helped.
    fn alarm(&mut self, waited: Option<Duration>, now: Instant, jitter: &Jitter) {
        let waited = waited.map_or(FIRST_WAIT, |waited| waited.saturating_mul(2).min(MAX_WAIT));
        *self = Self::Alarmed { next: now + jitter.spread(waited, WAIT_SPREAD), waited };
    }

    /// Another hub is asked, or the same one anew: what is known to be wrong is not to be gone on from. After the first alarm
    /// that is so at once, later ones have their time, whoever ends streams.
    pub(super) fn begin(&mut self, now: Instant) {
        match *self {
            Self::Alarmed { waited, next } if waited == FIRST_WAIT || next <= now => {
                *self = Self::Asked { waited: Some(waited), expected: false };
            }
            Self::Alarmed { .. } | Self::Trusted { .. } | Self::Asked { .. } => {}
        }
    }

    /// When a hub that is alarmed about is left for another one: soon, and where that did not help either, not before the
    /// next whole state is due.
    pub(super) fn leaves_at(self, now: Instant, jitter: &Jitter) -> Option<Instant> {
        match self {
            Self::Alarmed { waited, .. } if waited == FIRST_WAIT => Some(now + jitter.full(LEAVE_WITHIN)),
            Self::Alarmed { next, .. } => Some(next),
            Self::Trusted { .. } | Self::Asked { .. } => None,
        }
    }

    /// Whether the state may be proved.
    pub(super) fn is_trusted(self) -> bool {
        matches!(self, Self::Trusted { .. })
    }

    /// Whether a whole state is wanted, whatever the position says.
    pub(super) const fn wants_whole(self) -> bool {
        matches!(self, Self::Asked { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
                let got = verify.compared(*comparison, false, start + Duration::from_secs(*at), &jitter);
                assert_eq!(got, *want, "{name} at {at}");
                let trusted = matches!(want, Verdict::Fine | Verdict::Healed);
                assert!(verify.is_trusted() == trusted || *want == Verdict::Unsettled, "{name} at {at}");
                assert_eq!(verify.wants_whole(), matches!(want, Verdict::AskWhole(_)), "{name} at {at}");
            }
        }
    }

    #[test]
    fn a_hub_without_digests_is_trusted_with_its_whole_state() {
        let (mut verify, now, jitter) = (Verify::default(), Instant::now(), Jitter::from_seed(1));
        let differs = Comparison::Differs { kinds: Kinds::CORE };
        assert_eq!(verify.uncomparable(true, Kinds::CORE, now), Verdict::Unsettled, "nothing was asked");
        assert!(matches!(verify.compared(differs, false, now, &jitter), Verdict::AskWhole(_)));
        assert_eq!(verify.uncomparable(false, Kinds::CORE, now), Verdict::Unsettled, "it is on its way");
        assert!(!verify.is_trusted());
        assert_eq!(verify.uncomparable(true, Kinds::CORE, now), Verdict::Healed);
        assert!(verify.is_trusted());
        // It was wrong again within that time, and no other hub says anything of it.
        assert!(matches!(verify.compared(differs, false, now, &jitter), Verdict::Alarm(_)));
        assert_eq!(verify.uncomparable(false, Kinds::CORE, now), Verdict::Unsettled);
        let Verify::Alarmed { next, .. } = verify else { panic!("{verify:?}") };
        assert_eq!(verify.uncomparable(false, Kinds::CORE, next), Verdict::AskWhole(Kinds::CORE));
        assert_eq!(verify.uncomparable(true, Kinds::CORE, next), Verdict::Healed);
    }

    #[test]
    fn what_nobody_was_wrong_about_is_asked_for_as_often_as_it_happens() {
        let (mut verify, now, jitter) = (Verify::default(), Instant::now(), Jitter::from_seed(1));
        for _ in 0..5 {
            let differs = Comparison::Differs { kinds: Kinds::CORE };
            assert!(matches!(verify.compared(differs, true, now, &jitter), Verdict::AskWhole(_)));
            assert_eq!(verify.compared(Comparison::Same, false, now, &jitter), Verdict::Healed);
        }
    }

    #[test]
    fn a_hub_that_is_wrong_is_left_soon_and_later_ones_as_patiently_as_they_are_asked() {
        let (mut verify, mut now, jitter) = (Verify::default(), Instant::now(), Jitter::from_seed(1));
        let differs = Comparison::Differs { kinds: Kinds::CORE };
        let mut stays = Vec::new();
        assert!(matches!(verify.compared(differs, false, now, &jitter), Verdict::AskWhole(_)));
        for _ in 0..4 {
            // At the next hub a whole state mends it, and what comes then is wrong again.
            assert_eq!(verify.leaves_at(now, &jitter), None);
            let _ = verify.compared(Comparison::Same, false, now, &jitter);
            assert!(matches!(verify.compared(differs, false, now, &jitter), Verdict::Alarm(_)));
            let left = verify.leaves_at(now, &jitter).expect("it is left");
            stays.push((left - now).as_secs());
            now = left;
            verify.begin(now);
            assert!(verify.wants_whole());
        }
        let most = [10, 144, 288, 576];
        assert!(stays.iter().zip(most).all(|(stay, most)| *stay <= most), "{stays:?}");
        assert!(stays[1..].iter().zip([96, 192, 384]).all(|(stay, least)| *stay >= least), "{stays:?}");
    }

    #[test]
    fn a_hub_that_ends_its_streams_is_not_asked_sooner() {
        let (mut verify, now, jitter) = (Verify::default(), Instant::now(), Jitter::from_seed(1));
        let differs = Comparison::Differs { kinds: Kinds::CORE };
        assert!(matches!(verify.compared(differs, false, now, &jitter), Verdict::AskWhole(_)));
        let asked = (0..100).filter(|_| {
            verify.begin(now);
            let asks = verify.wants_whole();
            let _ = verify.compared(differs, false, now, &jitter);
            asks
        });
        assert_eq!(asked.count(), 2, "the one that was to mend it, and one after the first alarm");
        let Verify::Alarmed { next, .. } = verify else { panic!("{verify:?}") };
        verify.begin(next);
        assert!(verify.wants_whole());
    }

    #[test]
    fn waits_grow_to_an_hour_and_vary() {
        let (mut verify, mut now, jitter) = (Verify::default(), Instant::now(), Jitter::from_seed(1));
        let differs = Comparison::Differs { kinds: Kinds::CORE };
        let mut waits = Vec::new();
        for _ in 0..9 {
            assert!(matches!(verify.compared(differs, false, now, &jitter), Verdict::AskWhole(_)));
            assert!(matches!(verify.compared(differs, false, now, &jitter), Verdict::Alarm(_)));
            let Verify::Alarmed { next, waited } = verify else { panic!("{verify:?}") };
            waits.push(waited.as_secs());
            let varied = (next - now).as_secs_f64() / waited.as_secs_f64();
            assert!((0.8..=1.2).contains(&varied) && (varied - 1.0).abs() > 1e-6, "{varied}");
            now = next;
        }
        assert_eq!(waits, [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]);
    }
}
