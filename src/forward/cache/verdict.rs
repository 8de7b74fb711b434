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
    /// The policy gives expired entries first.
    Immediate,
    /// The policy prefers records to a denial.
    Preferred,
}

impl WhyStale {
    /// Every reason.
    pub const ALL: [Self; 5] = [Self::Failing, Self::Failed, Self::Slow, Self::Immediate, Self::Preferred];

    /// As metrics have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Failed => "failed",
            Self::Slow => "slow",
            Self::Immediate => "immediate",
            Self::Preferred => "preferred",
        }
    }
}

/// Decides about a query that comes `now` and finds this. `failing` says whether the upstreams are known not to
/// answer; it is asked only where it matters. Hits are counted before ([`super::entry::Usage::hit`]).
pub fn verdict<'a>(
    found: &'a Found,
    now: Moment,
    policy: &Policy,
    failing: impl FnOnce() -> bool,
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
            return Verdict::Stale {
                entry,
                refresh: now >= entry.usage.retry_at(),
                why: WhyStale::Preferred,
            };
        }
    }
    // Denials first, as in CoreDNS; only one of the two is ever fresh here.
    if let Some(entry) = found.denial.as_ref().filter(fresh).or(found.positive.as_ref().filter(fresh)) {
        return good(entry, now);
    }
    let failure = found.failure.as_ref().filter(|failure| failure.is_remembered(now));
    let stale_denial = found.denial.as_ref().filter(|entry| entry.is_stale(now, keep));
    let Some(entry) = stale_positive.or(stale_denial) else {
        return failure.map_or(Verdict::Miss, Verdict::Failure);
    };
    let may_retry = now >= entry.usage.retry_at();
    match policy.stale {
        // Nothing is stale then.
        Stale::Off => Verdict::Miss,
        Stale::Immediate { .. } => Verdict::Stale { entry, refresh: may_retry, why: WhyStale::Immediate },
        Stale::Verify { .. } if !may_retry => {
            Verdict::Stale { entry, refresh: false, why: WhyStale::Failing }
        }
        Stale::Verify { patience, .. } => Verdict::Fetch { stale: entry, patience },
        Stale::OnFailure { .. } if !may_retry || failure.is_some() || failing() => {
            Verdict::Stale { entry, refresh: may_retry, why: WhyStale::Failing }
        }
        Stale::OnFailure { .. } => Verdict::Fetch { stale: entry, patience: Some(CLIENT_TIMER) },
    }
}

fn good(entry: &Arc<Entry>, now: Moment) -> Verdict<'_> {
    if refresh::is_due(entry.due, &entry.usage, now) {
        Verdict::FreshAndRefresh(entry)
    } else {
        Verdict::Fresh(entry)
    }
}
