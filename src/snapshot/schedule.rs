//! When to write a snapshot: a pure policy. It reads no clock and draws no number; its owner hands both in, so
//! that every rule can be tested as a table.

use std::time::{Duration, Instant};

/// Default of `snapshot_interval`: what a power cut may cost, against what a disk of flash cells wears.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);

/// The shortest `snapshot_interval`, and the shortest time between two writes whatever happens: a source that
/// comes and goes must not keep the disk busy.
pub const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// The longest `snapshot_interval`: beyond an hour a crash costs more than any disk gains.
pub const MAX_INTERVAL: Duration = Duration::from_secs(3600);

/// How long a first complete state, or the loss of the source, waits for what comes with it. The write is to be
/// done within a second.
pub const SOON: Duration = Duration::from_millis(500);

/// The delay before the first retry of a failed write; it doubles up to [`MAX_RETRY`].
pub const MIN_RETRY: Duration = Duration::from_secs(1);

/// The longest delay before a retry: soon enough once somebody has made room, rare enough for a log.
pub const MAX_RETRY: Duration = Duration::from_secs(300);

/// How long a proof of an unchanged state goes unwritten, or `snapshot_interval` where that is longer. After a
/// crash data looks as old as its newest snapshot says, which overstates its age by this much at most. Ten minutes are short
/// against an outage that anybody has to hear of, and 144 writes a day wear no disk out. See
/// [`Schedule::with_max_stale`].
pub const REFRESH: Duration = Duration::from_secs(600);

/// How much a delay is jittered to either side, so that nodes that share a disk spread out.
const JITTER: f64 = 0.2;

/// Why a snapshot is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The state is complete for the first time.
    First,
    /// The state changed, and the interval is over.
    Changed,
    /// The source was lost after the state had changed.
    SourceLost,
    /// The last write failed.
    Retry,
    /// The state is what it was, but was proved long after its snapshot says.
    Refresh,
}

impl Why {
    /// A word for logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Changed => "changed",
            Self::SourceLost => "source_lost",
            Self::Retry => "retry",
            Self::Refresh => "refresh",
        }
    }
}

/// When to write: told what happens, it says when the next write is due.
///
/// Its owner calls [`Schedule::started`] when a write begins, and [`Schedule::written`] or
/// [`Schedule::failed`] when it ends. Between the two nothing is due: writes never overlap.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Between two writes of changes, before jitter.
    interval: Duration,
    /// Between two writes of the same state, before jitter.
    refresh_every: Duration,
    /// Whether there is a state worth writing.
    complete: bool,
    /// Whether the state differs from the last one whose write began.
    dirty: bool,
    /// Whether the state was proved after the last write began.
    proved: bool,
    /// Whether a write is under way.
    writing: bool,
    /// Failures since the last success.
    failures: u32,
    /// What an event asked for, ahead of the interval.
    asked: Option<(Instant, Why)>,
    /// No write before this, but for a clean stop.
    not_before: Option<Instant>,
    /// The end of the interval; `None` where it is over.
    next: Option<Instant>,
    /// From when on a proof alone is worth a write.
    refresh: Option<Instant>,
}

impl Schedule {
    /// A schedule for `interval`, held to [`MIN_INTERVAL`] and [`MAX_INTERVAL`].
    pub fn new(interval: Duration) -> Self {
        Self {
            refresh_every: REFRESH,
            interval: interval.clamp(MIN_INTERVAL, MAX_INTERVAL),
            complete: false,
            dirty: false,
            proved: false,
            writing: false,
            failures: 0,
            asked: None,
            not_before: None,
            next: None,
            refresh: None,
        }
    }

    /// Data that is refused when it is older than `max_stale` has its proofs written twice in that time, so that
    /// after a crash nothing is refused that was proved a moment before.
    #[must_use]
    pub fn with_max_stale(mut self, max_stale: Option<Duration>) -> Self {
        if let Some(max) = max_stale {
            self.refresh_every = (max / 2).clamp(MIN_INTERVAL, REFRESH);
        }
        self
    }

    /// From the next write on, these hold. What is due is due as it was.
    pub fn reconfigure(&mut self, interval: Duration, max_stale: Option<Duration>) {
        let Self { interval, refresh_every, .. } = Self::new(interval).with_max_stale(max_stale);
        (self.interval, self.refresh_every) = (interval, refresh_every);
    }

    // === What happens ===

    /// A state was loaded from the disk that was proved `age` ago: complete, and nothing to write. `unit` is a
    /// random number in [0, 1).
    pub fn restored(&mut self, now: Instant, age: Duration, unit: f64) {
        self.complete = true;
        // The age counts: a process that never lives for long has to write a proof at some time, too.
        self.refresh = Some(now + self.until_refresh(unit).saturating_sub(age));
    }

    /// Every configured kind has completed its first list. Only the first call counts.
    pub fn completed(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.complete, true) {
            self.dirty = true;
            self.ask(now, Why::First);
        }
    }

    /// The state changed.
    pub fn changed(&mut self, now: Instant) {
        self.dirty = true;
        // After a quiet time the first change need not wait, but for the rest of its burst.
        if self.complete && !self.writing && self.next.is_none_or(|next| next <= now) {
            self.next = None;
            self.ask(now, Why::Changed);
        }
    }

    /// The source proved that the state is what it was.
    pub fn proved(&mut self) {
        self.proved = true;
    }

    /// The source cannot prove its state any more: what it sent so far may have to last.
    pub fn source_lost(&mut self, now: Instant) {
        if self.complete && self.dirty {
            self.ask(now, Why::SourceLost);
        }
    }

    /// A write begins; what changes from now on is for the next one.
    pub fn started(&mut self) {
        (self.writing, self.dirty, self.proved, self.asked) = (true, false, false, None);
    }

    /// The write succeeded. `unit` is a random number in [0, 1).
    pub fn written(&mut self, now: Instant, unit: f64) {
        (self.writing, self.failures) = (false, 0);
        self.next = Some(now + jittered(self.interval, unit));
        self.refresh = Some(now + self.until_refresh(unit));
        self.not_before = Some(now + MIN_INTERVAL);
    }

    /// The next write of changes waits at least until then: the one before was costly.
    pub fn stretch(&mut self, until: Instant) {
        self.next = self.next.map(|next| next.max(until));
    }

    /// The write failed; it is tried again after a delay that doubles. `unit` is a random number in [0, 1).
    pub fn failed(&mut self, now: Instant, unit: f64) {
        (self.writing, self.dirty) = (false, true);
        let delay = MIN_RETRY.saturating_mul(1 << self.failures.min(16)).min(MAX_RETRY);
        self.failures = self.failures.saturating_add(1);
        // A full disk is not helped by events that ask for more.
        self.not_before = Some(now + jittered(delay, unit));
    }

    // === What is to be done ===

    /// When the next write is due and why; `None` while there is nothing to write or a write is under way. Any
    /// event may change it.
    pub fn due(&self) -> Option<(Instant, Why)> {
        if self.writing || !self.complete {
            return None;
        }
        let held = |at: Instant| self.not_before.map_or(at, |not_before| at.max(not_before));
        if !self.dirty {
            let refresh = self.refresh.filter(|_| self.proved)?;
            return Some((held(refresh), Why::Refresh));
        }
        if self.failures > 0 {
            return self.not_before.map(|at| (at, Why::Retry));
        }
        let regular = self.next.map(|at| (at, Why::Changed));
        let due = [self.asked, regular].into_iter().flatten().min_by_key(|(at, _)| *at);
        due.map(|(at, why)| (held(at), why))
    }

    /// Whether to write on a clean stop, backoff or not: whenever there is a state, because also an unchanged
    /// one was proved current more recently than its snapshot says. Not while a write is under way and nothing
    /// changed since it began.
    pub const fn on_stop(&self) -> bool {
        self.complete && (self.dirty || !self.writing)
    }

    /// From a write to the next one of the same state.
    fn until_refresh(&self, unit: f64) -> Duration {
        jittered(self.refresh_every.max(self.interval), unit)
    }

    /// Asks for a write soon, unless one was asked for already.
    fn ask(&mut self, now: Instant, why: Why) {
        let at = now + SOON;
        if self.asked.is_none_or(|(asked, _)| at < asked) {
            self.asked = Some((at, why));
        }
    }
}

/// `delay` × [0.8, 1.2).
fn jittered(delay: Duration, unit: f64) -> Duration {
    delay.mul_f64(1.0 - JITTER + 2.0 * JITTER * unit.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the middle: no jitter.
    const MIDDLE: f64 = 0.5;

    /// What happens at a time in milliseconds.
    #[derive(Clone, Copy)]
    enum Step {
        Restored,
        RestoredAged(u64),
        Proved,
        Completed(u64),
        Changed(u64),
        Lost(u64),
        Started,
        Written(u64),
        WrittenJittered(u64, f64),
        Failed(u64),
        FailedJittered(u64, f64),
    }
    use Step::*;

    fn play(interval: Duration, steps: &[Step]) -> (Schedule, Option<(u64, Why)>) {
        let zero = Instant::now();
        let at = |ms| zero + Duration::from_millis(ms);
        let mut schedule = Schedule::new(interval);
        for step in steps {
            match *step {
                Restored => schedule.restored(zero, Duration::ZERO, MIDDLE),
                RestoredAged(ms) => schedule.restored(zero, Duration::from_millis(ms), MIDDLE),
                Proved => schedule.proved(),
                Completed(ms) => schedule.completed(at(ms)),
                Changed(ms) => schedule.changed(at(ms)),
                Lost(ms) => schedule.source_lost(at(ms)),
                Started => schedule.started(),
                Written(ms) => schedule.written(at(ms), MIDDLE),
                WrittenJittered(ms, unit) => schedule.written(at(ms), unit),
                Failed(ms) => schedule.failed(at(ms), MIDDLE),
                FailedJittered(ms, unit) => schedule.failed(at(ms), unit),
            }
        }
        let due = schedule.due().map(|(at, why)| ((at - zero).as_millis() as u64, why));
        (schedule, due)
    }

    #[test]
    fn max_stale_brings_refreshes_closer() {
        let every = |max_stale: Option<u64>| {
            let schedule = Schedule::new(MIN_INTERVAL).with_max_stale(max_stale.map(Duration::from_secs));
            schedule.until_refresh(0.5).as_secs()
        };
        assert_eq!([every(None), every(Some(3600)), every(Some(60)), every(Some(1))], [600, 600, 30, 1]);
    }

    #[test]
    fn a_write_is_due_when_it_should_be() {
        struct Case {
            name: &'static str,
            steps: &'static [Step],
            due: Option<(u64, Why)>,
        }
        let cases = [
            Case { name: "nothing happened", steps: &[], due: None },
            Case { name: "incomplete: changes wait", steps: &[Changed(0), Lost(5)], due: None },
            Case {
                name: "first complete state: within a second",
                steps: &[Changed(0), Completed(1000)],
                due: Some((1500, Why::First)),
            },
            Case {
                name: "changes behind the first complete state do not put it off",
                steps: &[Completed(1000), Changed(1100), Changed(1400)],
                due: Some((1500, Why::First)),
            },
            Case {
                name: "complete once only",
                steps: &[Completed(0), Started, Written(9), Completed(99)],
                due: None,
            },
            Case { name: "restored: nothing to write", steps: &[Restored, Completed(9)], due: None },
            Case {
                name: "restored, then changed: soon, there was no write to keep a distance from",
                steps: &[Restored, Changed(100)],
                due: Some((600, Why::Changed)),
            },
            Case {
                name: "changed within the interval: at its end",
                steps: &[Completed(0), Started, Written(1000), Changed(2000)],
                due: Some((61_000, Why::Changed)),
            },
            Case {
                name: "changed long after it: soon, with the burst",
                steps: &[Completed(0), Started, Written(1000), Changed(100_000), Changed(100_400)],
                due: Some((100_500, Why::Changed)),
            },
            Case {
                name: "changed while writing: for the next one",
                steps: &[Completed(0), Started, Changed(700), Written(1000)],
                due: Some((61_000, Why::Changed)),
            },
            Case {
                name: "writing: nothing is due",
                steps: &[Completed(0), Started, Changed(700), Lost(800)],
                due: None,
            },
            Case {
                name: "source lost with changes: within a second",
                steps: &[Completed(0), Started, Written(1000), Changed(20_000), Lost(30_000)],
                due: Some((30_500, Why::SourceLost)),
            },
            Case {
                name: "source lost without changes",
                steps: &[Completed(0), Started, Written(1000), Lost(30_000)],
                due: None,
            },
            Case {
                name: "source lost just after a write: a second after that",
                steps: &[Completed(0), Started, Written(1000), Changed(1100), Lost(1200)],
                due: Some((2000, Why::SourceLost)),
            },
            Case {
                name: "source lost while writing: soon after",
                steps: &[Completed(0), Started, Changed(700), Lost(800), Written(1000)],
                due: Some((2000, Why::SourceLost)),
            },
            Case {
                name: "jitter: earliest",
                steps: &[Completed(0), Started, WrittenJittered(0, 0.0), Changed(1)],
                due: Some((48_000, Why::Changed)),
            },
            Case {
                name: "jitter: latest",
                steps: &[Completed(0), Started, WrittenJittered(0, 1.0), Changed(1)],
                due: Some((72_000, Why::Changed)),
            },
            Case {
                name: "failed: again after a second",
                steps: &[Completed(0), Started, Failed(1000)],
                due: Some((2000, Why::Retry)),
            },
            Case {
                name: "failed three times: after four",
                steps: &[Completed(0), Started, Failed(1000), Started, Failed(2000), Started, Failed(4000)],
                due: Some((8000, Why::Retry)),
            },
            Case {
                name: "failed: jittered as well",
                steps: &[Completed(0), Started, FailedJittered(1000, 0.0)],
                due: Some((1800, Why::Retry)),
            },
            Case {
                name: "failed: events do not hurry it",
                steps: &[Completed(0), Started, Failed(0), Started, Failed(1000), Changed(1001), Lost(1002)],
                due: Some((3000, Why::Retry)),
            },
            Case {
                name: "success after failure: the usual interval, and the count starts again",
                steps: &[
                    Completed(0),
                    Started,
                    Failed(0),
                    Started,
                    Written(1000),
                    Changed(2000),
                    Started,
                    Failed(61_000),
                ],
                due: Some((62_000, Why::Retry)),
            },
            Case {
                name: "unchanged and proved: ten minutes after the write",
                steps: &[Completed(0), Started, Written(1000), Proved, Proved],
                due: Some((601_000, Why::Refresh)),
            },
            Case {
                name: "unchanged and not proved: the snapshot says it all",
                steps: &[Completed(0), Started, Written(1000)],
                due: None,
            },
            Case {
                name: "proved while writing: for the next one",
                steps: &[Completed(0), Started, Proved, Written(1000)],
                due: Some((601_000, Why::Refresh)),
            },
            Case {
                name: "refreshed: not again without another proof",
                steps: &[Completed(0), Started, Written(1000), Proved, Started, Written(601_000)],
                due: None,
            },
            Case {
                name: "refreshed and proved: ten minutes later",
                steps: &[Completed(0), Started, Written(1000), Proved, Started, Written(601_000), Proved],
                due: Some((1_201_000, Why::Refresh)),
            },
            Case {
                name: "refresh: jittered, earliest",
                steps: &[Completed(0), Started, WrittenJittered(0, 0.0), Proved],
                due: Some((480_000, Why::Refresh)),
            },
            Case {
                name: "a change does not wait for the refresh",
                steps: &[Completed(0), Started, Written(1000), Proved, Changed(2000)],
                due: Some((61_000, Why::Changed)),
            },
            Case {
                name: "a failed refresh is tried again as any write",
                steps: &[Completed(0), Started, Written(1000), Proved, Started, Failed(601_000)],
                due: Some((602_000, Why::Retry)),
            },
            Case { name: "incomplete: a proof is no reason", steps: &[Changed(0), Proved], due: None },
            Case { name: "restored: its age is known", steps: &[RestoredAged(60_000)], due: None },
            Case {
                name: "restored and proved: ten minutes after its own proof",
                steps: &[RestoredAged(60_000), Proved],
                due: Some((540_000, Why::Refresh)),
            },
            Case {
                name: "restored old and proved: at once",
                steps: &[RestoredAged(3_600_000), Proved],
                due: Some((0, Why::Refresh)),
            },
        ];
        for Case { name, steps, due } in cases {
            assert_eq!(play(DEFAULT_INTERVAL, steps).1, due, "{name}");
        }
    }

    #[test]
    fn retries_become_rare_but_do_not_end() {
        let steps: Vec<_> = [Completed(0)].into_iter().chain([Started, Failed(0)].repeat(50)).collect();
        assert_eq!(play(DEFAULT_INTERVAL, &steps).1, Some((300_000, Why::Retry)));
    }

    #[test]
    fn an_interval_is_held_to_its_limits() {
        let steps = [Completed(0), Started, Written(0), Changed(1)];
        assert_eq!(play(Duration::ZERO, &steps).1, Some((1000, Why::Changed)));
        assert_eq!(play(Duration::MAX, &steps).1, Some((3_600_000, Why::Changed)));
    }

    #[test]
    fn a_refresh_is_no_more_frequent_than_the_interval() {
        let steps = [Completed(0), Started, Written(0), Proved];
        assert_eq!(play(MAX_INTERVAL, &steps).1, Some((3_600_000, Why::Refresh)));
        assert_eq!(play(MIN_INTERVAL, &steps).1, Some((600_000, Why::Refresh)));
    }

    #[test]
    fn a_clean_stop_writes_what_there_is() {
        let cases: [(&str, &[Step], bool); 6] = [
            ("nothing complete", &[Changed(0)], false),
            ("unchanged: its age is news", &[Completed(0), Started, Written(0)], true),
            ("changed", &[Completed(0), Started, Written(0), Changed(1)], true),
            ("failing: one more attempt", &[Completed(0), Started, Failed(0)], true),
            ("the write under way has it all", &[Completed(0), Started], false),
            ("changed since the write began", &[Completed(0), Started, Changed(1)], true),
        ];
        for (name, steps, expected) in cases {
            assert_eq!(play(DEFAULT_INTERVAL, steps).0.on_stop(), expected, "{name}");
        }
    }
}
