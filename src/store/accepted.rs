//! Losses that operators have accepted. Pure: takes the time.
//!
//! What was accepted is not held again while it is remembered: a hub accepts for all its siblings, whose lists may come
//! later, and a kind may be listed once more before it is as it was accepted. What comes again is another object: its
//! loss is judged as any other.
//!
//! Limits: an hour, and [`MAX_ACCEPTED`] objects.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use crate::zone::object::Key;

/// For so long a loss is known to be meant: lists that are under way, and siblings, have come to it by then.
pub const ACCEPTED_FOR: Duration = Duration::from_secs(3600);

/// So many objects of accepted losses are remembered, 8 bytes each: all that a large cluster has. Of more, the newest
/// are.
pub const MAX_ACCEPTED: usize = 1_000_000;

/// What one hub tells another of a key: the same in every process and every release.
pub fn hash(key: &Key) -> u64 {
    let mut bytes = Vec::with_capacity(key.namespace.len() + key.name.len() + 2);
    bytes.push(key.kind.index() as u8);
    bytes.extend_from_slice(key.namespace.as_bytes());
    bytes.push(b'/');
    bytes.extend_from_slice(key.name.as_bytes());
    xxh3_64(&bytes)
}

/// What was accepted lately.
#[derive(Clone, Debug, Default)]
pub(super) struct Accepted {
    /// When, and what; the oldest first.
    losses: Vec<(Instant, Arc<HashSet<u64>>)>,
}

impl Accepted {
    /// These are gone because somebody means it.
    pub(super) fn add(&mut self, now: Instant, keys: impl IntoIterator<Item = u64>) {
        self.forget_old(now);
        self.losses.push((now, Arc::new(keys.into_iter().take(MAX_ACCEPTED).collect())));
        while self.losses.iter().map(|(_, keys)| keys.len()).sum::<usize>() > MAX_ACCEPTED {
            self.losses.remove(0);
        }
    }

    /// Whether nothing is remembered.
    pub(super) const fn is_empty(&self) -> bool {
        self.losses.is_empty()
    }

    /// These have come again: the next loss of them is not known to be meant.
    pub(super) fn forget(&mut self, keys: impl IntoIterator<Item = u64>) {
        for key in keys {
            for (_, keys) in self.losses.iter_mut().filter(|(_, keys)| keys.contains(&key)) {
                Arc::make_mut(keys).remove(&key);
            }
        }
        self.losses.retain(|(_, keys)| !keys.is_empty());
    }

    /// What is too old is not known any more.
    pub(super) fn forget_old(&mut self, now: Instant) {
        self.losses.retain(|(at, _)| now.saturating_duration_since(*at) < ACCEPTED_FOR);
    }

    /// Whether the loss of this object was accepted.
    pub(super) fn has(&self, key: &Key) -> bool {
        !self.losses.is_empty() && {
            let hash = hash(key);
            self.losses.iter().any(|(_, keys)| keys.contains(&hash))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::object::Kind;

    fn key(name: &str) -> Key {
        Key { kind: Kind::Service, namespace: "shop".into(), name: name.into() }
    }

    #[test]
    fn a_loss_is_accepted_for_an_hour() {
        let begin = Instant::now();
        let mut accepted = Accepted::default();
        accepted.add(begin, [hash(&key("a"))]);
        accepted.forget_old(begin + ACCEPTED_FOR - Duration::from_secs(1));
        assert!(accepted.has(&key("a")) && !accepted.has(&key("b")));
        accepted.forget_old(begin + ACCEPTED_FOR);
        assert!(!accepted.has(&key("a")));
    }

    #[test]
    fn what_has_come_again_is_not_accepted() {
        let mut accepted = Accepted::default();
        accepted.add(Instant::now(), [hash(&key("a")), hash(&key("b"))]);
        accepted.forget([hash(&key("a")), hash(&key("c"))]);
        assert!(!accepted.has(&key("a")) && accepted.has(&key("b")));
        accepted.forget([hash(&key("b"))]);
        assert!(accepted.is_empty());
    }

    #[test]
    fn the_newest_are_remembered() {
        let mut accepted = Accepted::default();
        accepted.add(Instant::now(), [hash(&key("a"))]);
        accepted.add(Instant::now(), 0..MAX_ACCEPTED as u64);
        assert!(!accepted.has(&key("a")));
        accepted.add(Instant::now(), [hash(&key("b"))]);
        assert!(accepted.has(&key("b")));
    }

    /// Hubs of different releases compare these.
    #[test]
    fn hashes_are_pinned() {
        assert_eq!(hash(&key("web")), xxh3_64(b"\x01shop/web"));
    }
}
