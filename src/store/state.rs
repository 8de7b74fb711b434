//! States of the data: how much of what is served is known to be true. Pure: facts in, a state out.

use std::time::Duration;

use crate::zone::object::Kinds;

/// What a state is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Kinds whose list has been complete at least once, from a source or a snapshot.
    pub complete: Kinds,
    /// Whether a source has confirmed the data since this process started.
    pub verified: bool,
    /// How long ago the data was last proved to be current; without any proof, how long ago the store was made.
    pub age: Duration,
    /// Whether it ever was, in this process or before the snapshot that it comes from.
    pub proved: bool,
}

/// How long data may go unproved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Data that was proved more recently than this is live.
    pub stale_after: Duration,
    /// Data older than this is not served any more; without it, data is served for as long as it takes.
    pub max_stale: Option<Duration>,
}

/// Default of `stale_after`: long enough that a pause of the source or of the machine raises no alarm, short
/// enough to be said within the first minute of an outage.
pub const DEFAULT_STALE_AFTER: Duration = Duration::from_secs(30);

impl Default for Limits {
    fn default() -> Self {
        Self { stale_after: DEFAULT_STALE_AFTER, max_stale: None }
    }
}

/// The state of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataState {
    /// The source proved itself fresh not long ago.
    Live,
    /// Freshness is lost, or was never regained after a start; the data is served, and says its age.
    Stale {
        /// Since the data was last proved.
        age: Duration,
    },
    /// Older than `max_stale` allows.
    Expired {
        /// Since the data was last proved.
        age: Duration,
    },
    /// Some configured kind has never been seen whole.
    Empty {
        /// Those kinds.
        missing: Kinds,
    },
}

impl DataState {
    /// Judges `facts` for a configuration that needs `needed`.
    pub fn judge(facts: Facts, needed: Kinds, limits: Limits) -> Self {
        let missing = needed.minus(facts.complete);
        let age = facts.age;
        if !missing.intersection(Kinds::CORE).is_empty() {
            Self::Empty { missing }
        } else if facts.verified && age <= limits.stale_after {
            Self::Live
        } else if limits.max_stale.is_some_and(|max| age > max) {
            Self::Expired { age }
        } else {
            Self::Stale { age }
        }
    }

    /// As metrics and logs name it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Stale { .. } => "stale",
            Self::Expired { .. } => "expired",
            Self::Empty { .. } => "empty",
        }
    }

    /// Every name, for metrics.
    pub const NAMES: [&'static str; 4] = ["live", "stale", "expired", "empty"];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::object::Kind;

    #[test]
    fn states() {
        struct Case {
            name: &'static str,
            complete: Kinds,
            verified: bool,
            age: u64,
            max_stale: Option<u64>,
            want: DataState,
        }
        let age = Duration::from_secs;
        let base = Case {
            name: "",
            complete: Kinds::CORE,
            verified: true,
            age: 0,
            max_stale: None,
            want: DataState::Live,
        };
        let no_slices = Kinds::CORE.without(Kind::EndpointSlice);
        for case in [
            Case { name: "live: just proved", ..base },
            Case { name: "live: at the limit", age: 30, ..base },
            Case { name: "stale: past it", age: 31, want: DataState::Stale { age: age(31) }, ..base },
            Case {
                name: "stale: a snapshot that nothing has confirmed, however young",
                verified: false,
                want: DataState::Stale { age: age(0) },
                ..base
            },
            Case {
                name: "stale: without max_stale for ever",
                age: 1_000_000,
                want: DataState::Stale { age: age(1_000_000) },
                ..base
            },
            Case {
                name: "expired",
                age: 61,
                max_stale: Some(60),
                want: DataState::Expired { age: age(61) },
                ..base
            },
            Case {
                name: "empty: one kind never seen",
                complete: no_slices,
                want: DataState::Empty { missing: Kinds::NONE.with(Kind::EndpointSlice) },
                ..base
            },
        ] {
            let facts =
                Facts { complete: case.complete, verified: case.verified, age: age(case.age), proved: true };
            let limits = Limits { max_stale: case.max_stale.map(age), ..Limits::default() };
            assert_eq!(DataState::judge(facts, Kinds::CORE, limits), case.want, "{}", case.name);
        }
    }

    #[test]
    fn pods_that_a_snapshot_lacks_do_not_empty_the_rest() {
        let facts = Facts { complete: Kinds::CORE, verified: true, age: Duration::ZERO, proved: true };
        assert_eq!(DataState::judge(facts, Kinds::ALL, Limits::default()), DataState::Live);
    }
}
