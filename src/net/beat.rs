//! When to say that queries are answered here, and when not to.
//!
//! ```text
//!          healthy              sick until the next beat would be too late
//! Waiting ────────> Live ─────────────────────────────────────────────────> Out
//!                    ^                  healthy for the whole pause            │
//!                    └────────────────────────────────────────────────────────┘
//! ```
//!
//! One sick beat is skipped and nothing else: a machine that is busy for a moment does not flap. An element lives for
//! a second, so that the third in a row is the one that withdraws. After that it takes seconds of unbroken health
//! until queries come back, twice as long each time, until all has been well for long.
//!
//! Pure: it is told the time and what was seen, and says what to do.
//!
//! Invariant: nothing is renewed on a beat that saw anything wrong.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;

use crate::ops::pulse::{Part, Silent};

/// The times of interception.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Between two beats.
    pub period: Duration,
    /// How long an element lives after a beat: for so long queries come here that nobody answers, at the worst.
    pub life: Duration,
    /// How long a part may give no sign of life.
    pub silent: Duration,
    /// How late a healthy beat may be after the one before without a withdrawal: the elements have expired by then, but
    /// a thread that had to wait for a processor is no reason to stay away.
    pub forgiven: Duration,
    /// For how long all has to be well after the first withdrawal.
    pub first_pause: Duration,
    /// The longest such time: it doubles with each withdrawal.
    pub longest_pause: Duration,
    /// After so long without a withdrawal the next one is a first one again.
    pub calm: Duration,
    /// No step of a thread that beats takes so long unless it is stuck for good, and the process is better begun anew.
    pub stuck: Duration,
}

impl Policy {
    /// What every node uses.
    pub const DEFAULT: Self = Self {
        period: Duration::from_millis(300),
        life: super::layout::LIFE,
        // A thread that waits for datagrams beats every 50 ms.
        silent: Duration::from_millis(150),
        forgiven: Duration::from_secs(2),
        first_pause: Duration::from_secs(5),
        longest_pause: Duration::from_secs(60),
        calm: Duration::from_secs(600),
        // The kernel answers a question within two seconds or not at all, and a beat goes on without an answer.
        stuck: Duration::from_secs(10),
    };

    /// Of nodes whose rules do not expire: however late a beat is, queries are led here meanwhile, and a healthy one has
    /// nothing to put right. Programs that change such rules have a beat wait for seconds.
    pub const WITHOUT_EXPIRY: Self =
        Self { forgiven: Duration::MAX, stuck: Duration::from_secs(60), ..Self::DEFAULT };
}

/// What was seen just before a beat.
#[derive(Clone, Copy, Debug)]
pub struct Signs {
    /// Whether the process may answer at all: it has data, has passed its own check, and owns the addresses.
    pub ready: bool,
    /// Who gives no sign of life.
    pub silent: Option<Silent>,
    /// Which probe was not answered.
    pub unanswered: Option<(SocketAddr, Part)>,
    /// Whether links, addresses and rules are as they should be.
    pub rules: bool,
}

impl Signs {
    /// Everything as it should be.
    pub const HEALTHY: Self = Self { ready: true, silent: None, unanswered: None, rules: true };

    /// What is wrong, if anything; the nearest cause first.
    pub fn sick(&self) -> Option<Why> {
        if !self.ready {
            return Some(Why::Readiness);
        }
        if let Some(silent) = self.silent {
            return Some(Why::Listener(silent));
        }
        if let Some((address, part)) = self.unanswered {
            return Some(Why::Probe(address, part));
        }
        (!self.rules).then_some(Why::Rules)
    }
}

/// Why a beat is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The process may not answer.
    Readiness,
    /// A part is stuck or gone.
    Listener(Silent),
    /// A probe was not answered.
    Probe(SocketAddr, Part),
    /// Links, addresses or rules are not as they should be, and could not be mended.
    Rules,
    /// What renews this address is taken by somebody else's rule, and renews nothing.
    Taken(IpAddr),
    /// The thread that beats was itself stopped or kept waiting for so long.
    Late(Duration),
}

impl Why {
    /// All values of the label `reason` that a beat has.
    pub const REASONS: [&'static str; 6] =
        ["listener", "udp_probe", "tcp_probe", "rules", "readiness", "late"];

    /// The value of the label `reason`.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Readiness => "readiness",
            Self::Listener(_) => "listener",
            Self::Probe(_, Part::Udp) => "udp_probe",
            Self::Probe(_, Part::Tcp) => "tcp_probe",
            Self::Rules | Self::Taken(_) => "rules",
            Self::Late(_) => "late",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Readiness => f.write_str("not ready to answer"),
            Self::Listener(silent) => silent.fmt(f),
            Self::Probe(address, part) => {
                write!(f, "a {} probe of {address} was not answered", part.as_str())
            }
            Self::Rules => f.write_str("links, addresses or rules are not as they should be"),
            Self::Taken(address) => {
                write!(f, "a chain of somebody else drops the datagrams that renew {address}")
            }
            Self::Late(by) => write!(f, "no beat for {} ms", by.as_millis()),
        }
    }
}

/// What to do at a beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Renew, and say so by [`Beat::renewed`].
    Renew,
    /// Do not, this time.
    Skip(Why),
    /// Do not, and do not come back before all has been well for so long: elements expire before the next beat, or have.
    Withdrawn {
        /// What was wrong.
        why: Why,
        /// For how long all has to be well.
        pause: Duration,
    },
    /// Do not: it takes so much more health.
    Rest {
        /// How much, from now on.
        left: Duration,
        /// What is wrong even now.
        why: Option<Why>,
    },
    /// Renew, after a pause, and say so by [`Beat::renewed`].
    Resumed,
}

/// Where interception stands.
#[derive(Clone, Copy, Debug)]
enum State {
    /// It never began.
    Waiting,
    /// Elements live.
    Live {
        /// When they were last renewed.
        renewed: Instant,
        /// Since when they live.
        since: Instant,
    },
    /// They do not.
    Out {
        /// Since when all is well.
        healthy: Option<Instant>,
    },
}

/// The beat of one process.
#[derive(Debug)]
pub struct Beat {
    /// The times.
    policy: Policy,
    /// Where it stands.
    state: State,
    /// The last pause; zero before the first withdrawal.
    pause: Duration,
}

impl Beat {
    /// One that never beat.
    pub const fn new(policy: Policy) -> Self {
        Self { policy, state: State::Waiting, pause: Duration::ZERO }
    }

    /// The times.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether elements live, as far as this process knows.
    pub const fn is_live(&self) -> bool {
        matches!(self.state, State::Live { .. })
    }

    /// Whether it was withdrawn, and has not come back.
    pub const fn is_out(&self) -> bool {
        matches!(self.state, State::Out { .. })
    }

    /// How long ago the elements expired, if they do and have since they were last renewed.
    pub fn lapsed(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Live { renewed, .. } if self.policy.forgiven < Duration::MAX => {
                now.duration_since(renewed).checked_sub(self.policy.life)
            }
            State::Live { .. } | State::Waiting | State::Out { .. } => None,
        }
    }

    /// What to do at a beat at `now` that saw this.
    pub fn judge(&mut self, now: Instant, signs: &Signs) -> Act {
        let sick = signs.sick();
        match (self.state, sick) {
            (State::Waiting, None) => Act::Renew,
            (State::Waiting, Some(why)) => Act::Skip(why),
            (State::Live { renewed, since }, sick) => {
                let age = now.duration_since(renewed);
                match sick {
                    None if age <= self.policy.forgiven => Act::Renew,
                    None => self.withdraw(now, since, Why::Late(age)),
                    Some(why) if age + self.policy.period > self.policy.life => {
                        self.withdraw(now, since, why)
                    }
                    Some(why) => Act::Skip(why),
                }
            }
            (State::Out { .. }, Some(why)) => {
                self.state = State::Out { healthy: None };
                Act::Rest { left: self.pause, why: Some(why) }
            }
            (State::Out { healthy }, None) => {
                let since = healthy.unwrap_or(now);
                self.state = State::Out { healthy: Some(since) };
                match self.pause.checked_sub(now.duration_since(since)) {
                    None | Some(Duration::ZERO) => Act::Resumed,
                    left => Act::Rest { left: left.unwrap_or_default(), why: None },
                }
            }
        }
    }

    /// The elements were renewed at `now`.
    pub fn renewed(&mut self, now: Instant) {
        let since = if let State::Live { since, .. } = self.state { since } else { now };
        self.state = State::Live { renewed: now, since };
    }

    /// The elements could not be renewed at `now`, whatever the signs were: for how long all has to be well from now on.
    pub fn refused(&mut self, now: Instant) -> Duration {
        let since = if let State::Live { since, .. } = self.state { since } else { now };
        self.pause_from(now, since)
    }

    /// The addresses are given up on purpose: who owns them again begins anew.
    pub const fn given_up(&mut self) {
        self.state = State::Waiting;
    }

    fn withdraw(&mut self, now: Instant, since: Instant, why: Why) -> Act {
        Act::Withdrawn { why, pause: self.pause_from(now, since) }
    }

    /// Nothing lives that has lived since then; for how long all has to be well.
    fn pause_from(&mut self, now: Instant, since: Instant) -> Duration {
        let Policy { first_pause, longest_pause, calm, .. } = self.policy;
        let was_calm = now.duration_since(since) >= calm;
        self.pause = if was_calm || self.pause.is_zero() {
            first_pause
        } else {
            self.pause.saturating_mul(2).min(longest_pause)
        };
        self.state = State::Out { healthy: None };
        self.pause
    }
}

#[cfg(test)]
mod tests;
