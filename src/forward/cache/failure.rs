//! Failures that are remembered, so that a question that cannot be answered is not passed on by every client that
//! asks it (RFC 9520).

use std::time::Duration;

use super::moment::Moment;
use super::policy::{MAX_BACKOFF, MAX_FAILURE};

/// What a client that has sent an OPT record is told of a failure (RFC 8914).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The code.
    pub code: u16,
    /// For people.
    pub text: Box<str>,
}

/// A question that could not be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// SERVFAIL or NOTIMP.
    pub rcode: u8,
    /// RA of the upstream's reply.
    pub recursion_available: bool,
    /// Whether an upstream said so; otherwise none did say anything.
    pub by_upstream: bool,
    /// Why, if anybody knows.
    pub reason: Option<Reason>,
    /// How long it is remembered.
    pub wait: Duration,
    /// The end of that.
    pub until: Moment,
}

impl Failure {
    /// How long the next failure of the same question is remembered: twice as long as this one if it comes soon
    /// after its end, or `first`. RFC 9520 §3.2 asks for an exponential back-off; it ends at [`MAX_BACKOFF`].
    pub fn next_wait(before: Option<&Self>, first: Duration, now: Moment) -> Duration {
        let soon = before.filter(|before| before.repeats(now));
        soon.map_or(first, |before| before.wait.saturating_mul(2).min(MAX_BACKOFF))
            .max(first)
            .min(MAX_FAILURE)
    }

    /// Whether it is still answered from memory.
    pub fn is_remembered(&self, now: Moment) -> bool {
        now < self.until
    }

    /// Whether it says nothing any more: nobody answered then, and somebody does since.
    pub fn is_outdated(&self, recovered: Option<Moment>) -> bool {
        !self.by_upstream && recovered.is_some_and(|recovered| recovered > self.until.before(self.wait))
    }

    /// Whether a failure now counts as a repetition.
    pub fn repeats(&self, now: Moment) -> bool {
        now.since(self.until) < MAX_FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::second;
    use super::*;

    fn failed(wait: u64, until: u64) -> Failure {
        Failure {
            rcode: 2,
            recursion_available: true,
            by_upstream: false,
            reason: None,
            wait: Duration::from_secs(wait),
            until: second(until),
        }
    }

    #[test]
    fn repetitions_are_remembered_twice_as_long() {
        for (name, before, first, now, want) in [
            ("the first", None, 5, 100, 5),
            ("again at once", Some(failed(5, 100)), 5, 100, 10),
            ("again after a while", Some(failed(10, 100)), 5, 399, 20),
            ("after five minutes it is the first again", Some(failed(20, 100)), 5, 400, 5),
            ("at most half a minute", Some(failed(20, 100)), 5, 100, 30),
            ("unless more is asked for", Some(failed(60, 100)), 60, 100, 60),
            ("at most five minutes at first", None, 400, 100, 300),
            ("never less than configured", Some(failed(5, 100)), 60, 100, 60),
        ] {
            let wait = Failure::next_wait(before.as_ref(), Duration::from_secs(first), second(now));
            assert_eq!(wait, Duration::from_secs(want), "{name}");
        }
    }

    #[test]
    fn it_is_remembered_until_its_end() {
        let failure = failed(5, 100);
        assert!(failure.is_remembered(second(99)) && !failure.is_remembered(second(100)));
    }
}
