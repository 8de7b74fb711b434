//! Why a hub was left.

use std::fmt;
use std::time::Duration;

use super::transport::NotDialled;

/// Why a hub was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Nobody takes updates any more.
    Gone,
    /// It could not be reached.
    Unreachable(String),
    /// It is not to be believed, or does not believe us.
    Untrusted(String),
    /// The stream ended, or the connection broke.
    Closed(String),
    /// It does not answer.
    Silent(&'static str),
    /// What it says makes no sense.
    Garbage(String),
    /// It wants to be left alone for a while.
    RetryAfter {
        /// For how long.
        after: Duration,
        /// For people.
        why: String,
    },
    /// It does not want to be followed by us.
    Refused(String),
    /// It is of another cluster.
    Foreign {
        /// uid of its cluster.
        uid: String,
        /// uid of ours.
        ours: String,
    },
    /// It is behind what was served already.
    Behind,
    /// Its data is stale, and there are other hubs.
    Stale {
        /// For people: what it says.
        why: String,
    },
    /// What it tells does not lead to what it says it has, not even after a whole state, and there are other hubs.
    Wrong,
    /// Its whole state does not come to an end, and there are other hubs.
    Slow,
    /// It stops, and has asked us to go.
    Moved,
    /// It is well, and another one is our first choice.
    Home,
}

impl Left {
    /// What a hub says makes no sense.
    pub(super) fn garbage(what: &str) -> Self {
        Self::Garbage(what.to_owned())
    }

    /// For metrics.
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Gone => "stopped",
            Self::Unreachable(_) => "unreachable",
            Self::Untrusted(_) => "untrusted",
            Self::Closed(_) => "closed",
            Self::Silent(_) => "silent",
            Self::Garbage(_) => "garbage",
            Self::RetryAfter { .. } => "retry_after",
            Self::Refused(_) => "refused",
            Self::Foreign { .. } => "foreign",
            Self::Behind => "behind",
            Self::Stale { .. } => "stale",
            Self::Wrong => "wrong",
            Self::Slow => "slow",
            Self::Moved => "moved",
            Self::Home => "home",
        }
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("nobody takes updates any more"),
            Self::Unreachable(why) | Self::Untrusted(why) => f.write_str(why),
            Self::Closed(why) => write!(f, "the stream ended: {why}"),
            Self::Silent(what) => write!(f, "it is silent: no {what}"),
            Self::Garbage(what) => write!(f, "it says what makes no sense: {what}"),
            Self::RetryAfter { after, why } => write!(f, "it wants to be left alone for {after:?}: {why}"),
            Self::Refused(why) => write!(f, "it refuses us: {why}"),
            Self::Foreign { uid, ours } => write!(
                f,
                "it is of another cluster ({uid}, not {ours}): 'outlast ctl accept' follows that one, a restart too"
            ),
            Self::Behind => f.write_str("it is behind what was served already"),
            Self::Stale { why } => write!(f, "its data is stale: {why}"),
            Self::Wrong => f.write_str("what it tells does not lead to the digests that it has"),
            Self::Slow => f.write_str("its whole state does not come to an end"),
            Self::Moved => f.write_str("it stops"),
            Self::Home => f.write_str("another one is our first choice"),
        }
    }
}

impl From<NotDialled> for Left {
    fn from(error: NotDialled) -> Self {
        match error {
            NotDialled::Unreachable(why) => Self::Unreachable(why),
            NotDialled::Untrusted(why) => Self::Untrusted(why),
        }
    }
}
