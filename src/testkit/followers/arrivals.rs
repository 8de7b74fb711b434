//! When each change of an EndpointSlice had come to all followers.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Versions from a first one on, and when followers came to each of them.
pub struct Arrivals {
    /// How many followers there are.
    followers: usize,
    /// What is watched; nothing before that is said.
    watched: OnceLock<Watched>,
}

/// What is watched.
struct Watched {
    /// The version before the first that is watched.
    after: u64,
    /// When that was said: what times count from.
    origin: Instant,
    /// For each version.
    versions: Vec<Arrival>,
}

/// How far one version has come.
#[derive(Default)]
struct Arrival {
    /// How many followers have it.
    count: AtomicU32,
    /// When the last of them got it: nanoseconds since `origin`.
    last: AtomicU64,
}

impl Arrivals {
    pub(super) const fn new(followers: usize) -> Self {
        Self { followers, watched: OnceLock::new() }
    }

    /// From now on the `count` versions after this one are watched; said once.
    pub fn watch(&self, after: u64, count: usize) {
        let versions = (0..count).map(|_| Arrival::default()).collect();
        let _ = self.watched.set(Watched { after, origin: Instant::now(), versions });
    }

    /// A follower that was at `before` has everything up to `version`.
    pub(super) fn came(&self, before: u64, version: u64) {
        let Some(watched) = self.watched.get() else { return };
        let at = u64::try_from(watched.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let index =
            |version: u64| usize::try_from(version.saturating_sub(watched.after)).unwrap_or(usize::MAX);
        let (from, to) =
            (index(before).min(watched.versions.len()), index(version).min(watched.versions.len()));
        for arrival in watched.versions.get(from..to).unwrap_or_default() {
            arrival.last.fetch_max(at, Ordering::Relaxed);
            arrival.count.fetch_add(1, Ordering::Release);
        }
    }

    /// How long after `since` the last follower got this version; `None` as long as one has not.
    pub fn last(&self, version: u64, since: Instant) -> Option<Duration> {
        let watched = self.watched.get()?;
        let index = usize::try_from(version.checked_sub(watched.after)?.checked_sub(1)?).ok()?;
        let arrival = watched.versions.get(index)?;
        let all = arrival.count.load(Ordering::Acquire) as usize >= self.followers;
        let at = watched.origin + Duration::from_nanos(arrival.last.load(Ordering::Relaxed));
        all.then(|| at.saturating_duration_since(since))
    }
}
