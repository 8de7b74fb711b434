//! What may be concluded about the age of what is known. Pure: takes versions and instants, reads no clock.
//!
//! A consistent list with `limit=1` says how far the cluster's store had come when it was sent. Once everything up to
//! that version has been verified, the state is known to be current as of that moment, and not a moment later:
//! events and bookmarks by themselves prove nothing, since they may come late or not at all.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Small lists whose version is waited for: at one every ten seconds, ten minutes of them. Beyond that the oldest
/// and the newest are what matters.
const MAX_PENDING: usize = 64;

/// A version that is not reached for this long is not on its way any more: the kind is listed anew.
pub(super) const SUSPICIOUS_AFTER: Duration = Duration::from_secs(30);

/// The same for a server that was never seen to move a bookmark: one list, in time for the data not to become stale,
/// decides whether it has nothing to say or does not say it.
const DOUBTFUL_AFTER: Duration = Duration::from_secs(10);

/// The longest time between two lists for suspicion's sake. A server that never reaches the version of its own lists
/// would otherwise be asked for everything all the time.
const MAX_SUSPICION: Duration = Duration::from_secs(1800);

/// After this long without suspicion, the next one is the first again.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

/// What a small list shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All that it knows of is known.
    Current,
    /// It knows of a version that has not been verified yet.
    Ahead,
    /// The cluster's store is behind what was known before the list was sent: it was restored from an older state,
    /// unless a whole list says otherwise.
    Older,
}

/// How current what is known of one kind is.
#[derive(Debug)]
pub(super) struct Freshness {
    /// Everything up to this version is known and was gone over.
    verified: u64,
    /// Small lists that were ahead: when they were sent, and their versions; both grow.
    pending: VecDeque<(Instant, u64)>,
    /// The first small list that proved something only because nothing was said against it, and its version.
    believed: Option<(Instant, u64)>,
    /// Everything was known as of this instant.
    proved: Option<Instant>,
    /// How the server keeps its promises.
    suspicion: Suspicion,
}

/// When to list for suspicion's sake.
#[derive(Debug)]
struct Suspicion {
    /// Between two such lists.
    interval: Duration,
    /// The last such list.
    last: Option<Instant>,
    /// Whether this server's bookmarks tell how far it has come: then a bookmark that stays behind is a server that
    /// stays behind.
    bookmarks_move: bool,
}

impl Freshness {
    /// The state of this version is known; nothing is proved.
    pub(super) const fn new(verified: u64) -> Self {
        let suspicion = Suspicion { interval: SUSPICIOUS_AFTER, last: None, bookmarks_move: false };
        Self { verified, pending: VecDeque::new(), believed: None, proved: None, suspicion }
    }

    /// A whole list of this version was taken; if it was consistent, everything is proved as of when it was sent.
    pub(super) fn listed(&mut self, version: u64, consistent_as_of: Option<Instant>) {
        self.verified = version;
        self.pending.clear();
        self.believed = None;
        self.proved = consistent_as_of.max(self.proved.filter(|_| consistent_as_of.is_none()));
    }

    /// A small list that was sent at `sent`, when `known_then` was the highest version that was known, says `version`.
    pub(super) fn small_list(&mut self, sent: Instant, known_then: u64, version: u64) -> Verdict {
        if version < known_then {
            return Verdict::Older;
        }
        if version <= self.verified {
            self.prove(sent);
            return Verdict::Current;
        }
        if self.pending.len() == MAX_PENDING {
            self.pending.pop_back();
        }
        self.pending.push_back((sent, version));
        Verdict::Ahead
    }

    /// Everything up to `version` has been gone over.
    pub(super) fn verified(&mut self, version: u64) {
        self.verified = self.verified.max(version);
        self.believed = self.believed.filter(|(_, believed)| *believed > self.verified);
        while let Some((sent, _)) = self.pending.front().copied().filter(|(_, v)| *v <= self.verified) {
            self.pending.pop_front();
            self.prove(sent);
        }
    }

    /// Following goes on after an interruption: what was announced before could not be told meanwhile, and is announced
    /// again by the next small list.
    pub(super) fn resumed(&mut self) {
        self.pending.clear();
    }

    /// The server's bookmarks tell how far it is: it is of a release that does, or one came that is ahead of all events.
    pub(super) const fn bookmarks_tell(&mut self) {
        self.suspicion.bookmarks_move = true;
    }

    /// A verifying watch that was opened at `opened` has said all it had to say. From a server that does not tell
    /// how far it has come that has to do, between the whole lists that find it right.
    pub(super) fn said_all(&mut self, opened: Instant) {
        if self.suspicion.bookmarks_move || self.suspicion.last.is_none() {
            return;
        }
        while let Some((sent, version)) = self.pending.front().copied().filter(|(sent, _)| *sent <= opened) {
            self.pending.pop_front();
            self.believed.get_or_insert((sent, version));
            self.prove(sent);
        }
    }

    /// Everything was known as of this instant; `None` before the first proof.
    pub(super) const fn proved(&self) -> Option<Instant> {
        self.proved
    }

    /// Everything up to this version is known and was gone over.
    pub(super) const fn version(&self) -> u64 {
        self.verified
    }

    /// The version that the newest small list knows of and that is not verified yet; 0 if all are.
    pub(super) fn announced(&self) -> u64 {
        self.pending.back().map_or(0, |(_, version)| *version)
    }

    /// Whether it is time to list the kind anew because a version is not reached. Takes note that it is done.
    pub(super) fn is_suspicious(&mut self, now: Instant) -> bool {
        let Suspicion { interval, last, bookmarks_move } = &mut self.suspicion;
        let patience = if *bookmarks_move || last.is_some() { SUSPICIOUS_AFTER } else { DOUBTFUL_AFTER };
        let overdue = |(sent, _): &(Instant, u64)| now.saturating_duration_since(*sent) > patience;
        if !self.believed.iter().chain(self.pending.front()).any(overdue) {
            return false;
        }
        let since = last.map_or(Duration::MAX, |last| now.saturating_duration_since(last));
        if since >= FORGIVEN_AFTER.max(*interval * 2) {
            *interval = SUSPICIOUS_AFTER;
        } else if since < *interval {
            return false;
        } else {
            *interval = (*interval * 2).min(MAX_SUSPICION);
        }
        *last = Some(now);
        true
    }

    fn prove(&mut self, as_of: Instant) {
        self.proved = self.proved.max(Some(as_of));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds after the beginning.
    fn at(seconds: u64) -> Instant {
        // One origin for all calls of a test.
        thread_local!(static ORIGIN: Instant = Instant::now());
        ORIGIN.with(|origin| *origin + Duration::from_secs(seconds))
    }

    /// What happens; the number in front is the second at which it does.
    enum Step {
        /// A small list sent then says this version.
        Small(u64, u64, Verdict),
        /// Everything up to this is gone over.
        Verified(u64),
        /// A bookmark moves.
        Moved,
        /// A verifying watch opened then is done.
        SaidAll(u64),
        /// Everything is proved as of then.
        Proved(Option<u64>),
        /// Whether it is suspicious then.
        Suspicious(u64, bool),
    }
    use Step::{Moved, Proved, SaidAll, Small, Suspicious, Verified};
    use Verdict::{Ahead, Current, Older};

    #[test]
    fn what_is_proved_and_when() {
        struct Case {
            name: &'static str,
            steps: &'static [Step],
        }
        for case in [
            Case { name: "nothing at first", steps: &[Proved(None)] },
            Case { name: "a list of what is known", steps: &[Small(3, 100, Current), Proved(Some(3))] },
            Case {
                name: "a list ahead proves once its version is verified, as of when it was sent",
                steps: &[
                    Small(10, 107, Ahead),
                    Proved(None),
                    Verified(106),
                    Proved(None),
                    Verified(107),
                    Proved(Some(10)),
                ],
            },
            Case {
                name: "of several lists the last that is reached counts",
                steps: &[Small(10, 107, Ahead), Small(20, 109, Ahead), Verified(108), Proved(Some(10))],
            },
            Case { name: "events alone prove nothing", steps: &[Verified(500), Proved(None)] },
            Case { name: "behind what was verified", steps: &[Small(10, 99, Older), Proved(None)] },
            Case {
                name: "a version that is not reached for half a minute is suspicious",
                steps: &[
                    Moved,
                    Small(10, 107, Ahead),
                    Suspicious(40, false),
                    Suspicious(41, true),
                    Suspicious(42, false),
                ],
            },
            Case {
                name: "suspicion is paced, and forgets",
                steps: &[
                    Small(10, 107, Ahead),
                    Suspicious(41, true),
                    Suspicious(70, false),
                    Suspicious(71, true),
                    Suspicious(130, false),
                    Suspicious(131, true),
                    Suspicious(250, false),
                    Suspicious(251, true),
                    Suspicious(900, true),
                    Suspicious(931, true),
                ],
            },
            Case {
                name: "a server that never says how far it has come is listed once and believed then",
                steps: &[
                    Small(10, 107, Ahead),
                    SaidAll(11),
                    Proved(None),
                    Suspicious(20, false),
                    Suspicious(21, true),
                    SaidAll(9),
                    Proved(None),
                    SaidAll(11),
                    Proved(Some(10)),
                    Suspicious(50, false),
                    Suspicious(51, true),
                    Small(60, 109, Ahead),
                    SaidAll(61),
                    Proved(Some(60)),
                    Suspicious(110, false),
                    Suspicious(111, true),
                ],
            },
            Case {
                name: "what was believed and is then verified needs no list",
                steps: &[
                    Small(10, 107, Ahead),
                    Suspicious(21, true),
                    SaidAll(11),
                    Verified(107),
                    Suspicious(600, false),
                ],
            },
            Case {
                name: "one that does say so is not",
                steps: &[Moved, Small(10, 107, Ahead), SaidAll(11), Proved(None)],
            },
        ] {
            let mut freshness = Freshness::new(100);
            for (number, step) in case.steps.iter().enumerate() {
                let what = format!("{}: step {number}", case.name);
                match step {
                    Small(sent, version, want) => {
                        let then = freshness.version();
                        assert_eq!(freshness.small_list(at(*sent), then, *version), *want, "{what}");
                    }
                    Verified(version) => freshness.verified(*version),
                    Moved => freshness.bookmarks_tell(),
                    SaidAll(opened) => freshness.said_all(at(*opened)),
                    Proved(want) => assert_eq!(freshness.proved(), want.map(at), "{what}"),
                    Suspicious(now, want) => assert_eq!(freshness.is_suspicious(at(*now)), *want, "{what}"),
                }
            }
        }
    }

    #[test]
    fn a_list_is_compared_with_what_was_verified_when_it_was_sent() {
        let mut freshness = Freshness::new(100);
        freshness.verified(105);
        // Sent at 100, answered by the server at 103, received after 105 was verified.
        assert_eq!(freshness.small_list(at(1), 100, 103), Current);
        assert_eq!(freshness.small_list(at(2), 105, 103), Older);
    }

    #[test]
    fn a_whole_list_begins_anew() {
        let mut freshness = Freshness::new(100);
        freshness.small_list(at(1), 100, 100);
        freshness.small_list(at(2), 100, 120);
        freshness.listed(110, None);
        assert_eq!(
            (freshness.version(), freshness.proved()),
            (110, Some(at(1))),
            "a cache's list proves nothing new"
        );
        freshness.verified(120);
        assert_eq!(freshness.proved(), Some(at(1)), "what was waited for is forgotten");
        freshness.listed(90, Some(at(5)));
        assert_eq!((freshness.version(), freshness.proved()), (90, Some(at(5))));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut freshness = Freshness::new(1);
        for i in 0..1000 {
            freshness.small_list(at(i), 1, 10 + i);
        }
        assert_eq!(freshness.pending.len(), MAX_PENDING);
        freshness.verified(10);
        assert_eq!(freshness.proved(), Some(at(0)), "the oldest is kept");
        freshness.verified(5000);
        assert_eq!(freshness.proved(), Some(at(999)), "and the newest");
    }
}
