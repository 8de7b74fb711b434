//! What is known of an upstream without asking it. Pure: every judgement takes `now`.
//!
//! Three grades, each with its own use:
//! * *late*: it lost a race, failed, or has been silent for longer than is usual. New queries go to others first.
//! * *failing*: it has sent no reply for [`SILENCE`] although asked, or refuses. Nobody should wait for it.
//! * *down*: more than `max_fails` probes failed, as CoreDNS has it. It is left out while another is not down.
//!
//! Invariant: any reply, to a query or to a probe, ends all three at once.

use std::time::Duration;

use tokio::time::Instant;

/// How long an upstream that is asked may say nothing before it counts as failing: the time after which clients are
/// answered from stale data (RFC 8767 §5 suggests 1.8 s).
pub const SILENCE: Duration = Duration::from_millis(1800);

/// Exchanges in a row that ended in an error (refused, unreachable, closed) before an upstream counts as failing:
/// as many as one query makes where there is one upstream.
const ERRORS: u32 = 2;

/// How often an upstream that failed is asked again by a query where `max_fails 0` forbids probes.
pub(super) const RECHECK: Duration = Duration::from_secs(5);

/// What is known of one upstream.
#[derive(Debug)]
pub(super) struct Health {
    /// `max_fails`; 0: it is never probed and never down.
    max_fails: u32,
    /// Probes that failed, in a row.
    failed_probes: u32,
    /// Whether a probe is under way.
    probing: bool,
    /// When it was asked first after its last reply.
    unanswered_since: Option<Instant>,
    /// When it sent its last reply.
    replied: Option<Instant>,
    /// When it last sent one after it had been failing.
    recovered: Option<Instant>,
    /// Exchanges in a row that ended in an error.
    errors: u32,
    /// It failed or lost a race since its last reply.
    late: bool,
    /// When a query goes to it although it is late.
    recheck: Option<Instant>,
}

/// Where an upstream stands among others for a new query; the first is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grade {
    /// It is asked first whatever the policy says: to see whether it is back.
    Recheck,
    /// Nothing speaks against it.
    Good,
    /// Others first.
    Late,
    /// Only if all are.
    Down,
}

impl Health {
    pub(super) const fn new(max_fails: u32) -> Self {
        Self {
            max_fails,
            failed_probes: 0,
            probing: false,
            unanswered_since: None,
            replied: None,
            recovered: None,
            errors: 0,
            late: false,
            recheck: None,
        }
    }

    /// It is asked.
    pub(super) fn asked(&mut self, now: Instant) {
        self.unanswered_since.get_or_insert(now);
    }

    /// It sent a reply, whatever it says. `true` if it was down.
    pub(super) fn replied(&mut self, now: Instant) -> bool {
        let was_down = self.is_down();
        let recovered = if self.is_failing(now) { Some(now) } else { self.recovered };
        *self = Self { probing: self.probing, replied: Some(now), recovered, ..Self::new(self.max_fails) };
        was_down
    }

    /// An exchange ended without a reply; `hard` if by an error and not by silence. `recheck` is the time until a
    /// query tries again, where there are no probes.
    pub(super) fn failed(&mut self, hard: bool, now: Instant, recheck: Duration) {
        if hard {
            self.errors = self.errors.saturating_add(1);
        }
        self.set_late(now, recheck);
    }

    /// An exchange that began at `asked` was given up. `true` if that speaks against the upstream: it took longer
    /// than `patience`, and has said nothing to anybody since.
    pub(super) fn given_up(
        &mut self,
        asked: Instant,
        now: Instant,
        patience: Duration,
        recheck: Duration,
    ) -> bool {
        if !self.is_silent_since(asked) {
            return false;
        }
        let late = now.saturating_duration_since(asked) >= patience;
        if late {
            self.set_late(now, recheck);
        }
        // Nothing will ever answer this question. Where a probe does not settle it either, it proves nothing.
        let probed = late && self.max_fails > 0;
        if !probed && now.saturating_duration_since(asked) < SILENCE && self.unanswered_since == Some(asked) {
            self.unanswered_since = None;
        }
        late
    }

    fn set_late(&mut self, now: Instant, recheck: Duration) {
        self.late = true;
        if self.max_fails == 0 {
            self.recheck.get_or_insert(now + recheck);
        }
    }

    /// Begins probing: `false` if it is forbidden or under way.
    pub(super) fn begin_probing(&mut self) -> bool {
        let begin = self.max_fails > 0 && !self.probing;
        self.probing |= begin;
        begin
    }

    /// Probing has ended.
    pub(super) fn end_probing(&mut self) {
        self.probing = false;
    }

    /// A probe got no reply. `true` if the upstream is down from now on.
    pub(super) fn probe_failed(&mut self) -> bool {
        let was_down = self.is_down();
        self.late = true;
        self.failed_probes = self.failed_probes.saturating_add(1);
        self.is_down() && !was_down
    }

    /// Whether it has said nothing to anybody since `asked`.
    pub(super) fn is_silent_since(&self, asked: Instant) -> bool {
        self.replied.is_none_or(|replied| replied < asked)
    }

    /// Whether more than `max_fails` probes have failed in a row.
    pub(super) const fn is_down(&self) -> bool {
        self.max_fails > 0 && self.failed_probes > self.max_fails
    }

    /// Whether nobody should wait for it.
    pub(super) fn is_failing(&self, now: Instant) -> bool {
        let silent = self.unanswered_since.is_some_and(|t| now.saturating_duration_since(t) > SILENCE);
        silent || self.errors >= ERRORS || self.is_down()
    }

    /// When it last sent a reply after it had been failing.
    pub(super) const fn recovered(&self) -> Option<Instant> {
        self.recovered
    }

    /// Where it stands for a new query; it is late after `patience`.
    pub(super) fn grade(&self, now: Instant, patience: Duration) -> Grade {
        let silent = || self.unanswered_since.is_some_and(|t| now.saturating_duration_since(t) > patience);
        match () {
            () if self.is_down() => Grade::Down,
            () if self.late || silent() => Grade::Late,
            () => Grade::Good,
        }
    }

    /// Whether a query is to see if it is back, because there are no probes; once in `recheck`.
    pub(super) fn take_recheck(&mut self, now: Instant, recheck: impl FnOnce() -> Duration) -> bool {
        let due = self.recheck.is_some_and(|at| now >= at);
        if due {
            self.recheck = Some(now + recheck());
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(100);

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// What happens to an upstream.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        Asked,
        Replied,
        Failed { hard: bool },
        GivenUp { after: u64 },
        ProbeFailed,
    }

    /// Plays events (at milliseconds) and judges at the end.
    fn play(max_fails: u32, events: &[(u64, Event)], at: u64) -> (bool, Grade) {
        let start = Instant::now();
        let mut health = Health::new(max_fails);
        for &(at, event) in events {
            let now = start + ms(at);
            match event {
                Event::Asked => health.asked(now),
                Event::Replied => _ = health.replied(now),
                Event::Failed { hard } => health.failed(hard, now, RECHECK),
                Event::GivenUp { after } => _ = health.given_up(now - ms(after), now, PATIENCE, RECHECK),
                Event::ProbeFailed => _ = health.probe_failed(),
            }
        }
        (health.is_failing(start + ms(at)), health.grade(start + ms(at), PATIENCE))
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_errors_speak_against_an_upstream_and_a_reply_for_it() {
        use Event::*;
        struct Case {
            name: &'static str,
            max_fails: u32,
            events: &'static [(u64, Event)],
            at: u64,
            failing: bool,
            grade: Grade,
        }
        impl Default for Case {
            fn default() -> Self {
                Self { name: "", max_fails: 2, events: &[], at: 0, failing: false, grade: Grade::Good }
            }
        }
        let cases = [
            Case { name: "never asked", at: 99_999, ..Case::default() },
            Case { name: "asked just now", events: &[(0, Asked)], at: 99, ..Case::default() },
            Case { name: "late", events: &[(0, Asked)], at: 101, grade: Grade::Late, ..Case::default() },
            Case {
                name: "not failing yet",
                events: &[(0, Asked)],
                at: 1800,
                grade: Grade::Late,
                ..Case::default()
            },
            Case {
                name: "silent for 1.8 s",
                events: &[(0, Asked)],
                at: 1801,
                failing: true,
                grade: Grade::Late,
                ..Case::default()
            },
            Case {
                name: "the first unanswered query counts",
                events: &[(0, Asked), (1700, Asked)],
                at: 1801,
                failing: true,
                grade: Grade::Late,
                ..Case::default()
            },
            Case {
                name: "after the last reply",
                events: &[(0, Asked), (1700, Replied), (1710, Asked)],
                at: 1801,
                ..Case::default()
            },
            Case {
                name: "a reply long ago, and then silence",
                events: &[(0, Asked), (5, Replied), (60_000, Asked)],
                at: 61_801,
                failing: true,
                grade: Grade::Late,
                ..Case::default()
            },
            Case {
                name: "a reply heals at once",
                events: &[(0, Asked), (2000, Failed { hard: false }), (2000, ProbeFailed), (3000, Replied)],
                at: 3000,
                ..Case::default()
            },
            Case {
                name: "one error",
                events: &[(0, Asked), (1, Failed { hard: true })],
                at: 1,
                grade: Grade::Late,
                ..Case::default()
            },
            Case {
                name: "two errors",
                events: &[(0, Asked), (1, Failed { hard: true }), (1, Asked), (2, Failed { hard: true })],
                at: 2,
                failing: true,
                grade: Grade::Late,
                ..Case::default()
            },
            Case {
                name: "a reply between",
                events: &[
                    (0, Asked),
                    (1, Failed { hard: true }),
                    (2, Replied),
                    (3, Asked),
                    (4, Failed { hard: true }),
                ],
                at: 5,
                grade: Grade::Late,
                ..Case::default()
            },
            Case {
                name: "the second failed probe does not make it down",
                events: &[(0, ProbeFailed), (1, ProbeFailed)],
                at: 2,
                grade: Grade::Late,
                ..Case::default()
            },
            Case {
                name: "the third does",
                events: &[(0, ProbeFailed), (1, ProbeFailed), (2, ProbeFailed)],
                at: 2,
                failing: true,
                grade: Grade::Down,
                ..Case::default()
            },
            Case {
                name: "never down with max_fails 0",
                max_fails: 0,
                events: &[(0, ProbeFailed), (1, ProbeFailed), (2, ProbeFailed)],
                at: 2,
                grade: Grade::Late,
                ..Case::default()
            },
            Case {
                name: "given up before it was late",
                events: &[(0, Asked), (50, GivenUp { after: 50 })],
                at: 9000,
                ..Case::default()
            },
            Case {
                name: "given up when it was late: the probe will tell",
                events: &[(0, Asked), (200, GivenUp { after: 200 })],
                at: 201,
                grade: Grade::Late,
                ..Case::default()
            },
            Case {
                name: "and does not",
                events: &[(0, Asked), (200, GivenUp { after: 200 })],
                at: 1801,
                failing: true,
                grade: Grade::Late,
                ..Case::default()
            },
            Case {
                name: "given up when it was late, without probes",
                max_fails: 0,
                events: &[(0, Asked), (200, GivenUp { after: 200 })],
                at: 9000,
                grade: Grade::Late,
                ..Case::default()
            },
            Case {
                name: "given up while it answers others",
                events: &[(0, Asked), (150, Replied), (200, GivenUp { after: 200 })],
                at: 9000,
                ..Case::default()
            },
        ];
        for Case { name, max_fails, events, at, failing, grade } in cases {
            assert_eq!(play(max_fails, events, at), (failing, grade), "{name}");
        }
    }

    #[test]
    fn there_is_one_probe_at_a_time_and_none_with_max_fails_0() {
        let mut health = Health::new(1);
        assert!(health.begin_probing() && !health.begin_probing());
        assert!(!health.replied(Instant::now()) && !health.begin_probing(), "a reply does not end the probe");
        health.end_probing();
        assert!(health.begin_probing());
        assert!(!Health::new(0).begin_probing());
    }

    #[test]
    fn transitions_are_told_once() {
        let mut health = Health::new(1);
        let told: Vec<bool> = (0..4).map(|_| health.probe_failed()).collect();
        assert_eq!(told, [false, true, false, false]);
        assert!(health.replied(Instant::now()) && !health.replied(Instant::now()));
    }

    #[test]
    fn without_probes_a_query_looks_now_and_then() {
        let start = Instant::now();
        let mut health = Health::new(0);
        assert!(!health.take_recheck(start + RECHECK, || RECHECK), "nothing is wrong");
        health.failed(false, start, RECHECK);
        health.failed(false, start + ms(100), RECHECK);
        let looks: Vec<bool> = [0, 4999, 5000, 5001, 9999, 10_000]
            .map(|at| health.take_recheck(start + ms(at), || RECHECK))
            .into();
        assert_eq!(looks, [false, false, true, false, false, true]);
        health.replied(start + ms(10_001));
        assert!(!health.take_recheck(start + ms(99_999), || RECHECK), "it is back");
        let mut probed = Health::new(1);
        probed.failed(false, start, RECHECK);
        assert!(!probed.take_recheck(start + ms(99_999), || RECHECK), "probes look");
    }
}
