//! How long to wait before trying again: exponential, with full jitter.
//!
//! Pure: takes `now` and its jitter, reads no clock and sleeps nowhere. With full jitter the waits of all nodes
//! that lost the same hub spread over the whole ceiling instead of arriving together.

use std::time::Duration;

use tokio::time::Instant;

use super::jitter::Jitter;
use super::switches::{self, Protection};

/// The ceiling of every wait where a drill wants none: who tries again at once would use up a core.
const EAGER: Duration = Duration::from_millis(50);

/// The numbers of a [`Backoff`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The ceiling of the first wait.
    pub first: Duration,
    /// The ceiling never grows beyond this.
    pub cap: Duration,
    /// After being healthy for this long, a failure counts as the first again.
    pub reset_after: Duration,
}

impl Policy {
    /// Connections to hubs and to the API server: 0.5 s doubling to 30 s, forgotten after a minute of health.
    ///
    /// Half a second is below what anyone notices of a restarted peer; with 15,000 nodes, 30 s of full jitter
    /// leave 500 attempts a second, which one hub's admission turns away cheaply.
    pub const RECONNECT: Self = Self {
        first: Duration::from_millis(500),
        cap: Duration::from_secs(30),
        reset_after: Duration::from_secs(60),
    };
}

/// The state of one peer's retries.
#[derive(Clone, Debug)]
pub struct Backoff {
    /// The numbers.
    policy: Policy,
    /// The ceiling of the next wait.
    ceiling: Duration,
    /// Since when the peer is healthy, if it is.
    healthy_since: Option<Instant>,
}

impl Backoff {
    /// Nothing has failed yet.
    pub fn new(policy: Policy) -> Self {
        Self { ceiling: policy.first.min(policy.cap), policy, healthy_since: None }
    }

    /// The peer works since `now`. Said again while it goes on working, this changes nothing.
    pub fn healthy(&mut self, now: Instant) {
        self.healthy_since.get_or_insert(now);
    }

    /// The peer failed at `now`: how long to wait, anything from 0 to the ceiling, which doubles for the next.
    #[must_use = "the wait has to be waited"]
    pub fn failed(&mut self, now: Instant, jitter: &Jitter) -> Duration {
        self.failed_with_floor(now, jitter, Duration::ZERO)
    }

    /// The same where the peer named a least wait (`RetryAfter`, a full hub): the jitter comes on top of it, so
    /// that those who were turned away together do not come back together.
    #[must_use = "the wait has to be waited"]
    pub fn failed_with_floor(&mut self, now: Instant, jitter: &Jitter, floor: Duration) -> Duration {
        // Only lasting health resets: a peer that accepts and fails at once must not be hammered.
        if self
            .healthy_since
            .take()
            .is_some_and(|since| now.saturating_duration_since(since) >= self.policy.reset_after)
        {
            self.ceiling = self.policy.first.min(self.policy.cap);
        }
        let wait = self.wait(jitter, floor, switches::is_off(Protection::Backoff));
        self.ceiling = self.ceiling.saturating_mul(2).min(self.policy.cap);
        wait
    }

    /// Anything from 0 to the ceiling beyond what the peer wished; who is eager heeds neither.
    fn wait(&self, jitter: &Jitter, floor: Duration, eager: bool) -> Duration {
        if eager { jitter.full(EAGER) } else { floor.saturating_add(jitter.full(self.ceiling)) }
    }

    /// The ceiling of the next wait, for logs and the status.
    pub const fn ceiling(&self) -> Duration {
        self.ceiling
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What happens to the peer, and the ceiling (ms) of the next wait after it.
    enum Step {
        Healthy,
        After(u64),
        Failed { next_ceiling: u64 },
    }
    use Step::{After, Failed, Healthy};

    #[test]
    fn who_is_eager_heeds_neither_the_ceiling_nor_the_peer() {
        let jitter = Jitter::from_seed(1);
        let policy = Policy { first: Duration::from_secs(30), ..Policy::RECONNECT };
        let (backoff, floor) = (Backoff::new(policy), Duration::from_secs(5));
        assert!((0..100).all(|_| backoff.wait(&jitter, floor, true) <= EAGER));
        assert!((0..100).all(|_| backoff.wait(&jitter, floor, false) >= floor));
    }

    #[test]
    fn ceilings_follow_the_peers_history() {
        struct Case {
            name: &'static str,
            steps: Vec<Step>,
        }
        let failed = |next_ceiling| Failed { next_ceiling };
        let cases = [
            Case {
                name: "doubles to the cap",
                steps: [1000, 2000, 4000, 8000, 16000, 30000, 30000].map(failed).into(),
            },
            Case {
                name: "a minute of health resets",
                steps: vec![failed(1000), failed(2000), Healthy, After(60), failed(1000)],
            },
            Case {
                name: "less than a minute does not",
                steps: vec![failed(1000), failed(2000), Healthy, After(59), failed(4000)],
            },
            Case {
                name: "health is counted from its beginning",
                steps: vec![failed(1000), Healthy, After(40), Healthy, After(20), failed(1000)],
            },
            Case {
                name: "health ends with a failure",
                steps: vec![Healthy, After(70), failed(1000), After(70), failed(2000)],
            },
            Case { name: "time alone resets nothing", steps: vec![failed(1000), After(600), failed(2000)] },
        ];
        for Case { name, steps } in cases {
            let jitter = Jitter::from_seed(1);
            let (mut backoff, mut now) = (Backoff::new(Policy::RECONNECT), Instant::now());
            for step in steps {
                match step {
                    Healthy => backoff.healthy(now),
                    After(seconds) => now += Duration::from_secs(seconds),
                    Failed { next_ceiling } => {
                        let wait = backoff.failed(now, &jitter);
                        assert!(wait <= Policy::RECONNECT.cap, "{name}");
                        assert_eq!(backoff.ceiling(), Duration::from_millis(next_ceiling), "{name}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_named_wait_is_kept_and_spread() {
        let jitter = Jitter::from_seed(1);
        let floor = Duration::from_secs(10);
        let waits: Vec<_> = (0..50)
            .map(|_| Backoff::new(Policy::RECONNECT).failed_with_floor(Instant::now(), &jitter, floor))
            .collect();
        assert!(waits.iter().all(|w| *w >= floor && *w <= floor + Policy::RECONNECT.first));
        assert!(waits.windows(2).any(|w| w[0] != w[1]));
    }

    proptest! {
        #[test]
        fn a_wait_never_exceeds_the_ceiling_before_it(seed: u64, failures in 1usize..20) {
            let (jitter, now) = (Jitter::from_seed(seed), Instant::now());
            let mut backoff = Backoff::new(Policy::RECONNECT);
            for _ in 0..failures {
                let ceiling = backoff.ceiling();
                prop_assert!(backoff.failed(now, &jitter) <= ceiling);
            }
        }
    }
}
