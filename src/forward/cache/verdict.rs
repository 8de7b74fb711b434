//! What is done with a query, from what is kept: a pure function of entries, time, policy, and what is known of the
//! upstreams.

use std::sync::Arc;
use std::time::Duration;

use super::entry::Entry;
use super::failure::Failure;
use super::moment::Moment;
use super::policy::{CLIENT_TIMER, Policy, Stale};
use super::refresh;
use super::store::Found;

/// What is done with a query.
#[derive(Debug)]
pub enum Verdict<'a> {
    /// It is answered from this.
    Fresh(&'a Arc<Entry>),
    /// The same, and it is asked for again behind the client's back.
    FreshAndRefresh(&'a Arc<Entry>),
    /// It is answered from what has expired.
    Stale {
        /// This.
        entry: &'a Arc<Entry>,
        /// Whether it is asked for again behind the client's back.
        refresh: bool,
        /// Why it may be.
        why: WhyStale,
    },
    /// Upstreams are asked, and what has expired is given if they fail or take too long.
    Fetch {
        /// This.
        stale: &'a Arc<Entry>,
        /// How long they may take; `None` for as long as they will.
        patience: Option<Duration>,
    },
    /// It is answered by what failed a moment ago.
    Failure(&'a Arc<Failure>),
    /// Upstreams are asked, whatever comes.
    Miss,
}

/// Why an expired entry is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyStale {
    /// Upstreams are known not to answer, or have not answered this question lately.
    Failing,
    /// They were asked, and failed.
    Failed,
    /// They were asked, and have not answered in time.
    Slow,
    /// There was no place to wait for them.
    Overloaded,
    /// The policy gives expired entries first.
    Immediate,
    /// The policy prefers records to a denial.
    Preferred,
}

impl WhyStale {
    /// Every reason.
    pub const ALL: [Self; 6] =
        [Self::Failing, Self::Failed, Self::Slow, Self::Overloaded, Self::Immediate, Self::Preferred];

    /// As metrics have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Failed => "failed",
            Self::Slow => "slow",
            Self::Overloaded => "overloaded",
            Self::Immediate => "immediate",
            Self::Preferred => "preferred",
        }
    }
}

/// What is known of the upstreams without asking them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// None of them answers.
    Failing,
    /// Nothing speaks against asking.
    Answering {
        /// When one last answered again after none had.
        recovered: Option<Moment>,
    },
}

impl Reach {
    /// Upstreams that have never failed.
    pub const ANSWERING: Self = Self::Answering { recovered: None };

    /// What failed before this moment says nothing any more.
    const fn recovered(self) -> Option<Moment> {
        match self {
            Self::Failing => None,
            Self::Answering { recovered } => recovered,
        }
    }
}

/// Decides about a query that comes `now` and finds this. `reach` says what is known of the upstreams; it is asked
/// only where it matters. Hits are counted before ([`Entry::hit`]).
pub fn verdict<'a>(
    found: &'a Found,
    now: Moment,
    policy: &Policy,
    reach: impl FnOnce() -> Reach,
) -> Verdict<'a> {
    let fresh = |entry: &&Arc<Entry>| entry.is_fresh(now);
    let keep = policy.stale.keep();
    let stale_positive = found.positive.as_ref().filter(|entry| entry.is_stale(now, keep));
    if policy.prefer_positive {
        // A denial that has come since does not count for as long as records can be given.
        if let Some(entry) = found.positive.as_ref().filter(fresh) {
            return good(entry, now);
        }
        if let Some(entry) = stale_positive
            && found.denial.as_ref().is_some_and(|denial| fresh(&denial))
        {
            // What upstreams say is known, for as long as the denial is good.
            return Verdict::Stale { entry, refresh: false, why: WhyStale::Preferred };
        }
    }
    // Denials first, as in CoreDNS; only one of the two is ever fresh here.
    if let Some(entry) = found.denial.as_ref().filter(fresh).or(found.positive.as_ref().filter(fresh)) {
        return good(entry, now);
    }
    let reach = reach();
    // What nobody answered during an outage is not held against the names that were asked for.
    let counts =
        |failure: &&Arc<Failure>| failure.is_remembered(now) && !failure.is_outdated(reach.recovered());
    let failure = found.failure.as_ref().filter(counts);
    let stale_denial = found.denial.as_ref().filter(|entry| entry.is_stale(now, keep));
    let Some(entry) = stale_positive.or(stale_denial) else {
        return failure.map_or(Verdict::Miss, Verdict::Failure);
    };
    let outdated = entry.usage.try_is_outdated(reach.recovered());
    let may_retry = outdated || now >= entry.usage.retry_at();
    // An upstream may answer probes and no question: clients wait for it once, not after each probe.
    let tried = entry.usage.was_tried(now) && (!outdated || entry.usage.is_misled());
    match policy.stale {
        // Nothing is stale then.
        Stale::Off => Verdict::Miss,
        Stale::Immediate { .. } => Verdict::Stale { entry, refresh: may_retry, why: WhyStale::Immediate },
        Stale::Verify { .. } if !may_retry => {
            Verdict::Stale { entry, refresh: false, why: WhyStale::Failing }
        }
        Stale::Verify { patience, .. } => Verdict::Fetch { stale: entry, patience },
        Stale::OnFailure { .. } if tried || failure.is_some() || reach == Reach::Failing => {
            Verdict::Stale { entry, refresh: may_retry, why: WhyStale::Failing }
        }
        Stale::OnFailure { .. } => Verdict::Fetch { stale: entry, patience: Some(CLIENT_TIMER) },
    }
}

fn good(entry: &Arc<Entry>, now: Moment) -> Verdict<'_> {
    if refresh::is_due(entry.due, &entry.usage, entry.usage.hits(), now) {
        Verdict::FreshAndRefresh(entry)
    } else {
        Verdict::Fresh(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::{Class, Usage};
    use super::super::policy::{Bounds, STALE_MAX};
    use super::super::refresh::Due;
    use super::super::test_support::{entry, second};
    use super::*;

    /// In whole seconds after the beginning.
    #[derive(Clone, Copy, Default)]
    struct Case {
        name: &'static str,
        /// TTL of the records, which came at the beginning.
        positive: Option<u32>,
        /// TTL of the denial, the same.
        denial: Option<u32>,
        /// When the memory of a failure ends.
        failure: Option<u64>,
        /// Whether that failure was an upstream's word.
        by_upstream: bool,
        now: u64,
        policy: Option<Stale>,
        prefer_positive: bool,
        failing: bool,
        /// When upstreams began to answer again; 0: they never failed.
        recovered: u64,
        /// When the next attempt may be made; 0: there was none.
        retry_at: u64,
        /// Whether the recovery before has led to nothing.
        misled: bool,
        /// When a refresh is due.
        due: Option<u64>,
        want: &'static str,
    }

    fn decide(case: &Case) -> String {
        let make = |class, ttl| {
            let mut entry = entry(class, ttl);
            entry.due = case.due.map(|at| Due { at: second(at), hits: 1 });
            entry.usage = Usage::new(second(0)).with_hits(1);
            if case.retry_at > 0 {
                // Tried up to ten seconds before.
                entry.usage.retry_from(second(case.retry_at.saturating_sub(10)), second(case.retry_at));
            }
            if case.misled {
                entry.usage.set_misled();
            }
            Arc::new(entry)
        };
        let failure = case.failure.map(|until| {
            let (until, wait) = (second(until), Duration::from_secs(5));
            let (by_upstream, recursion_available) = (case.by_upstream, true);
            Arc::new(Failure { rcode: 2, recursion_available, by_upstream, reason: None, wait, until })
        });
        let found = Found {
            positive: case.positive.map(|ttl| make(Class::Positive, ttl)),
            denial: case.denial.map(|ttl| make(Class::NxDomain, ttl)),
            failure,
        };
        let policy = Policy {
            stale: case.policy.unwrap_or(Stale::OnFailure { keep: STALE_MAX }),
            prefer_positive: case.prefer_positive,
            denial: Bounds { max: 1800, min: 5 },
            ..Policy::default()
        };
        let reach = match case.recovered {
            _ if case.failing => Reach::Failing,
            0 => Reach::ANSWERING,
            at => Reach::Answering { recovered: Some(second(at)) },
        };
        let of = |entry: &Arc<Entry>| if entry.class == Class::Positive { "records" } else { "denial" };
        match verdict(&found, second(case.now), &policy, || reach) {
            Verdict::Fresh(entry) => format!("fresh {}", of(entry)),
            Verdict::FreshAndRefresh(entry) => format!("fresh {}, refresh", of(entry)),
            Verdict::Stale { entry, refresh, why } => {
                format!("stale {} {}{}", of(entry), why.as_str(), if refresh { ", refresh" } else { "" })
            }
            Verdict::Fetch { stale, patience: Some(patience) } => {
                format!("fetch {patience:?} or {}", of(stale))
            }
            Verdict::Fetch { stale, patience: None } => format!("fetch or {}", of(stale)),
            Verdict::Failure(_) => "failure".to_owned(),
            Verdict::Miss => "miss".to_owned(),
        }
    }

    #[test]
    fn what_is_done_with_a_query() {
        const HOUR: Duration = Duration::from_secs(3600);
        const RECHECK: Duration = Duration::from_secs(9);
        let none = Case::default();
        let records = Case { positive: Some(30), ..none };
        let expired = Case { now: 30, ..records };
        let immediate =
            Case { policy: Some(Stale::Immediate { keep: HOUR, ttl: 0, recheck: RECHECK }), ..expired };
        let verify = |patience| Case {
            policy: Some(Stale::Verify { keep: HOUR, patience, ttl: 0, recheck: RECHECK }),
            ..expired
        };
        let off = Case { policy: Some(Stale::Off), ..expired };
        let both = Case { denial: Some(60), prefer_positive: true, ..records };
        for case in [
            Case { name: "nothing", want: "miss", ..none },
            Case { name: "records", want: "fresh records", ..records },
            Case { name: "their last moment", now: 29, want: "fresh records", ..records },
            Case { name: "a denial", denial: Some(30), want: "fresh denial", ..none },
            Case { name: "a denial comes first", denial: Some(30), want: "fresh denial", ..records },
            Case { name: "not due yet", due: Some(20), now: 19, want: "fresh records", ..records },
            Case { name: "due", due: Some(20), now: 20, want: "fresh records, refresh", ..records },
            Case {
                name: "due, and tried",
                due: Some(20),
                now: 25,
                retry_at: 50,
                want: "fresh records",
                ..records
            },
            Case { name: "records beat a failure", failure: Some(99), want: "fresh records", ..records },
            // Expired.
            Case { name: "expired", want: "fetch 1.8s or records", ..expired },
            Case {
                name: "a denial expired",
                denial: Some(30),
                now: 30,
                want: "fetch 1.8s or denial",
                ..none
            },
            Case { name: "tried lately", retry_at: 40, want: "stale records failing", ..expired },
            Case {
                name: "tried a while ago",
                now: 339,
                retry_at: 40,
                want: "stale records failing, refresh",
                ..expired
            },
            Case { name: "tried long ago", now: 340, retry_at: 40, want: "fetch 1.8s or records", ..expired },
            Case { name: "failing", failing: true, want: "stale records failing, refresh", ..expired },
            Case {
                name: "failing, tried",
                failing: true,
                retry_at: 40,
                want: "stale records failing",
                ..expired
            },
            Case { name: "failed", failure: Some(31), want: "stale records failing, refresh", ..expired },
            Case { name: "three days later", now: 259_229, want: "fetch 1.8s or records", ..records },
            Case { name: "more than three days later", now: 259_230, want: "miss", ..records },
            Case {
                name: "too old, and failed",
                now: 259_230,
                failure: Some(300_000),
                want: "failure",
                ..records
            },
            Case {
                name: "tried before the recovery",
                retry_at: 50,
                now: 45,
                recovered: 41,
                want: "fetch 1.8s or records",
                ..expired
            },
            Case {
                name: "tried before the recovery, and the one before was none",
                retry_at: 50,
                misled: true,
                now: 45,
                recovered: 41,
                want: "stale records failing, refresh",
                ..expired
            },
            Case {
                name: "tried after the recovery, which was none",
                retry_at: 50,
                misled: true,
                now: 45,
                recovered: 39,
                want: "stale records failing",
                ..expired
            },
            Case {
                name: "tried after the recovery",
                retry_at: 50,
                now: 45,
                recovered: 39,
                want: "stale records failing",
                ..expired
            },
            Case {
                name: "failed before the recovery",
                failure: Some(35),
                now: 32,
                recovered: 31,
                want: "fetch 1.8s or records",
                ..expired
            },
            Case {
                name: "failed after the recovery",
                failure: Some(35),
                now: 32,
                recovered: 29,
                want: "stale records failing, refresh",
                ..expired
            },
            // Failures.
            Case {
                name: "before the recovery",
                failure: Some(9),
                now: 8,
                recovered: 5,
                want: "miss",
                ..none
            },
            Case {
                name: "before the recovery, by an upstream",
                by_upstream: true,
                failure: Some(9),
                now: 8,
                recovered: 5,
                want: "failure",
                ..none
            },
            Case { name: "a failure", failure: Some(5), now: 4, want: "failure", ..none },
            Case { name: "forgotten", failure: Some(5), now: 5, want: "miss", ..none },
            // serve_stale
            Case { name: "off", want: "miss", ..off },
            Case { name: "off and failing", failing: true, want: "miss", ..off },
            Case { name: "off and failed", failure: Some(99), want: "failure", ..off },
            Case { name: "immediate", want: "stale records immediate, refresh", ..immediate },
            Case { name: "immediate, tried", retry_at: 31, want: "stale records immediate", ..immediate },
            Case { name: "immediate, old", now: 3629, want: "stale records immediate, refresh", ..immediate },
            Case { name: "immediate, too old", now: 3630, want: "miss", ..immediate },
            Case { name: "verify", want: "fetch or records", ..verify(None) },
            Case {
                name: "verify in time",
                want: "fetch 2s or records",
                ..verify(Some(Duration::from_secs(2)))
            },
            Case {
                name: "verify keeps asking",
                failing: true,
                failure: Some(99),
                want: "fetch or records",
                ..verify(None)
            },
            Case { name: "verify, tried", retry_at: 31, want: "stale records failing", ..verify(None) },
            // serve_stale_policy
            Case { name: "records are preferred", want: "fresh records", ..both },
            Case { name: "expired ones, too", now: 30, want: "stale records preferred", ..both },
            Case {
                name: "if stale is allowed",
                policy: Some(Stale::Off),
                now: 30,
                want: "fresh denial",
                ..both
            },
            Case { name: "both expired", now: 60, want: "fetch 1.8s or records", ..both },
            Case { name: "a denial alone", positive: None, want: "fresh denial", ..both },
        ] {
            assert_eq!(decide(&case), case.want, "{}", case.name);
        }
    }
}
