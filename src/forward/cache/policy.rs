//! What a `cache` of a Corefile asks for.

use std::time::Duration;

/// The most that positive replies live where nothing else is said, in seconds: CoreDNS's figure.
pub const MAX_TTL: u32 = 3600;

/// The most that negative replies live where nothing else is said, in seconds: CoreDNS's figure.
pub const MAX_DENIAL_TTL: u32 = 1800;

/// The least that replies live where nothing else is said, in seconds: CoreDNS's figure.
pub const MIN_TTL: u32 = 5;

/// How long a reply without any record lives, in seconds, before the bounds are applied: CoreDNS's figure.
pub const NO_RECORD_TTL: u32 = 5;

/// How long a failure is remembered where nothing else is said; CoreDNS's figure, and within the range of 1 s to
/// 5 min that RFC 9520 §3.2 gives.
pub const FAILURE: Duration = Duration::from_secs(5);

/// The longest that a failure is remembered, RFC 9520 §3.2.
pub const MAX_FAILURE: Duration = Duration::from_secs(300);

/// The longest that a failure is remembered because it repeats, unless `servfail` asks for more: the time after which
/// expired entries are asked for again. RFC 9520 §3.2 allows more, but clients of a name whose trouble is over should
/// hear of it about as soon as CoreDNS tells them.
pub const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// How long expired entries can be used where nothing else is said. RFC 8767 §4 suggests one to three days; an
/// outage over a weekend should not find an empty cache on Monday.
pub const STALE_MAX: Duration = Duration::from_secs(3 * 24 * 3600);

/// TTL of replies from expired entries, in seconds: RFC 8767 §4.
pub const STALE_TTL: u32 = 30;

/// How long a client waits for an upstream before it gets an expired entry: RFC 8767 §5, below the two seconds after
/// which the first stub resolvers ask again.
pub const CLIENT_TIMER: Duration = Duration::from_millis(1800);

/// What is kept, for how long, and what is done about its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Of positive replies.
    pub success: Bounds,
    /// Of negative replies.
    pub denial: Bounds,
    /// How long a failure is remembered at first, at most [`MAX_FAILURE`]; zero for not at all.
    pub failure: Duration,
    /// Whether replies from the cache carry the TTL that the entry had when it was new.
    pub keep_ttl: bool,
    /// What expired entries are used for.
    pub stale: Stale,
    /// Whether an expired positive entry is given rather than a denial that has come since.
    pub prefer_positive: bool,
    /// Which entries are asked for again before they expire.
    pub refresh: Refresh,
}

/// Bounds of TTLs, in seconds. The upper one wins where they contradict each other, as in CoreDNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// No reply lives longer.
    pub max: u32,
    /// No reply lives shorter.
    pub min: u32,
}

impl Bounds {
    /// A TTL within the bounds.
    pub fn apply(self, ttl: u32) -> u32 {
        ttl.max(self.min).min(self.max)
    }
}

/// What expired entries are used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    /// Nothing.
    Off,
    /// For when upstreams fail, or are slower than [`CLIENT_TIMER`] (RFC 8767).
    OnFailure {
        /// For so long after their end.
        keep: Duration,
    },
    /// They are given at once, and asked for again behind the client's back.
    Immediate {
        /// For so long after their end.
        keep: Duration,
        /// TTL of such replies, in seconds.
        ttl: u32,
        /// Between two attempts to refresh one that failed.
        recheck: Duration,
    },
    /// They are given when upstreams fail, or have not answered in time.
    Verify {
        /// For so long after their end.
        keep: Duration,
        /// How long upstreams may take; `None` for as long as they will.
        patience: Option<Duration>,
        /// TTL of such replies, in seconds.
        ttl: u32,
        /// After a failure they are given without asking for so long.
        recheck: Duration,
    },
}

impl Stale {
    /// How long after its end an entry can be of use.
    pub const fn keep(self) -> Duration {
        match self {
            Self::Off => Duration::ZERO,
            Self::OnFailure { keep } | Self::Immediate { keep, .. } | Self::Verify { keep, .. } => keep,
        }
    }

    /// TTL of replies from expired entries, in seconds.
    pub const fn ttl(self) -> u32 {
        match self {
            Self::Off | Self::OnFailure { .. } => STALE_TTL,
            Self::Immediate { ttl, .. } | Self::Verify { ttl, .. } => ttl,
        }
    }
}

/// Which entries are asked for again before they expire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Refresh {
    /// Those that have been asked for since they were stored.
    InUse,
    /// Those that are asked for often: CoreDNS's `prefetch`.
    Popular {
        /// So many hits …
        amount: u32,
        /// … without a pause of this length between two of them. Zero hits: none is.
        pause: Duration,
        /// When less than this share of its time is left, in hundredths, 10 to 90.
        percent: u8,
    },
}

impl Default for Policy {
    /// `cache` without anything else.
    fn default() -> Self {
        Self {
            success: Bounds { max: MAX_TTL, min: MIN_TTL },
            denial: Bounds { max: MAX_DENIAL_TTL, min: MIN_TTL },
            failure: FAILURE,
            keep_ttl: false,
            stale: Stale::OnFailure { keep: STALE_MAX },
            prefer_positive: false,
            refresh: Refresh::InUse,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_bound_wins() {
        for (min, max, ttl, want) in
            [(5, 3600, 60, 60), (5, 3600, 2, 5), (5, 30, 900, 30), (5, 3, 100, 3), (5, 3, 0, 3)]
        {
            assert_eq!(Bounds { max, min }.apply(ttl), want, "{min}..{max} {ttl}");
        }
    }
}
