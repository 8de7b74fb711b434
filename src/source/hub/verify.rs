//! What a wrong digest leads to: one whole state, and if that is no help an alarm. Pure: takes `now`.

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

/// What is known of the state's digests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Verify {
    /// Nothing is wrong.
    #[default]
    Trusted,
    /// They differed, and a whole state was asked for.
    Asked {
        /// The wait after the alarm before, if there was one.
        waited: Option<Duration>,
    },
    /// They differed after that, too.
    Alarmed {
        /// When a whole state is asked for again.
        next: Instant,
        /// How long that was from the alarm, before it was varied.
        waited: Duration,
    },
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
    /// Takes the outcome of a comparison.
    pub(super) fn compared(&mut self, comparison: Comparison, now: Instant, jitter: &Jitter) -> Verdict {
        match (comparison, *self) {
            (Comparison::Unsettled, _) => Verdict::Unsettled,
            (Comparison::Same, Self::Trusted) => Verdict::Fine,
            (Comparison::Same, Self::Asked { .. } | Self::Alarmed { .. }) => {
                *self = Self::Trusted;
                Verdict::Healed
            }
            (Comparison::Differs { kinds }, Self::Trusted) => {
                *self = Self::Asked { waited: None };
                Verdict::AskWhole(kinds)
            }
            (Comparison::Differs { kinds }, Self::Asked { waited }) => {
                // Invariant: never a loop.
                let waited = waited.map_or(FIRST_WAIT, |waited| waited.saturating_mul(2).min(MAX_WAIT));
                *self = Self::Alarmed { next: now + jitter.spread(waited, WAIT_SPREAD), waited };
                Verdict::Alarm(kinds)
            }
            (Comparison::Differs { kinds }, Self::Alarmed { next, waited }) if next <= now => {
                *self = Self::Asked { waited: Some(waited) };
                Verdict::AskWhole(kinds)
            }
            (Comparison::Differs { .. }, Self::Alarmed { .. }) => Verdict::Wrong,
        }
    }

    /// Whether the state may be proved.
    pub(super) fn is_trusted(self) -> bool {
        self == Self::Trusted
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
                    (3, DIFFERS, Verdict::AskWhole(KINDS)),
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
                let got = verify.compared(*comparison, start + Duration::from_secs(*at), &jitter);
                assert_eq!(got, *want, "{name} at {at}");
                let trusted = matches!(want, Verdict::Fine | Verdict::Healed);
                assert!(verify.is_trusted() == trusted || *want == Verdict::Unsettled, "{name} at {at}");
                assert_eq!(verify.wants_whole(), matches!(want, Verdict::AskWhole(_)), "{name} at {at}");
            }
        }
    }

    #[test]
    fn waits_grow_to_an_hour_and_vary() {
        let (mut verify, mut now, jitter) = (Verify::default(), Instant::now(), Jitter::from_seed(1));
        let differs = Comparison::Differs { kinds: Kinds::CORE };
        let mut waits = Vec::new();
        for _ in 0..9 {
            assert!(matches!(verify.compared(differs, now, &jitter), Verdict::AskWhole(_)));
            assert!(matches!(verify.compared(differs, now, &jitter), Verdict::Alarm(_)));
            let Verify::Alarmed { next, waited } = verify else { panic!("{verify:?}") };
            waits.push(waited.as_secs());
            let varied = (next - now).as_secs_f64() / waited.as_secs_f64();
            assert!((0.8..=1.2).contains(&varied) && (varied - 1.0).abs() > 1e-6, "{varied}");
            now = next;
        }
        assert_eq!(waits, [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]);
    }
}
