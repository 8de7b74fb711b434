//! What is configured of the guard, at nodes and hubs.

use std::time::Duration;

use super::guard::Guard;
use crate::ops::jitter::Jitter;
use crate::zone::guard::Policy;

/// For how long the guard holds removals back without `guard_hold`: an hour is time for somebody to look.
pub const DEFAULT_GUARD_HOLD: Duration = Duration::from_secs(3600);

/// The shortest `guard_hold`: several more lists are fetched in it.
pub const MIN_GUARD_HOLD: Duration = Duration::from_secs(60);

/// The longest: after a week what is held is the state that everybody is used to.
pub const MAX_GUARD_HOLD: Duration = Duration::from_secs(7 * 24 * 3600);

/// Whether lists of the origin are judged before what they lack is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardConfig {
    /// Whether they are. Of no effect where a hub has judged.
    pub on: bool,
    /// For how long removals are held back at most.
    pub hold: Duration,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self { on: true, hold: DEFAULT_GUARD_HOLD }
    }
}

impl GuardConfig {
    /// What holds for blocks that share a store: a block that wants no guard does not take it from the other.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self { on: self.on || other.on, hold: self.hold.max(other.hold) }
    }
    /// The guard that this makes, if it is on.
    pub fn guard(self, jitter: Jitter) -> Option<Guard> {
        let Self { on, hold } = self;
        on.then(|| Guard { policy: Policy::default(), hold, jitter })
    }
}

/// Refuses what is no time to hold.
///
/// # Errors
/// It is outside [`MIN_GUARD_HOLD`] to [`MAX_GUARD_HOLD`].
pub fn hold_within(hold: Duration) -> Result<Duration, String> {
    if (MIN_GUARD_HOLD..=MAX_GUARD_HOLD).contains(&hold) {
        return Ok(hold);
    }
    Err("'guard_hold' is from 1m to 168h: less is no time to look into it, more than a week nobody remembers; \
         'guard off' has nothing held"
        .to_owned())
}
