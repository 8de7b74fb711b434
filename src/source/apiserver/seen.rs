//! Which events are news: two streams say the same things, in their own time.
//!
//! The main watch brings events as they happen; a verifying watch goes over the same ground again to find what the
//! main one left out. An object's resourceVersion only grows, so that an event is news if it is younger than what is
//! known of its object; in whatever order the two streams arrive, no object ever goes back.
//!
//! Pure. Memory: one entry for each object that changed since the last verified version, bounded by [`MAX_RECENT`].

use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_128;

use crate::zone::object::Key;

/// Objects whose versions are remembered. A cluster in which so many different objects change between two verifying
/// watches (seconds apart, minutes while they fail) has none that large.
const MAX_RECENT: usize = 200_000;

/// What is known of the versions of one kind's objects.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Everything up to this version is known.
    floor: u64,
    /// Objects that changed after the floor, by a fingerprint of their key: to what version, and whether it is that
    /// of their deletion.
    recent: HashMap<u128, (u64, bool)>,
}

impl Seen {
    /// The state of this version is known, and nothing younger.
    pub(super) fn at(version: u64) -> Self {
        Self { floor: version, recent: HashMap::new() }
    }

    /// Everything up to this version is known.
    pub(super) const fn floor(&self) -> u64 {
        self.floor
    }

    /// Whether an event of this object and version is news; if so, it is known from now on.
    pub(super) fn is_news(&mut self, key: &Key, version: u64, deletes: bool) -> bool {
        // A version that is not a number cannot be compared: to apply it twice does less harm than never.
        if version == 0 {
            return true;
        }
        let known = self.recent.entry(fingerprint(key)).or_insert((self.floor, true));
        // Old servers sent deletions with the version that the object had before.
        let news = version > known.0 || (deletes && !known.1 && version == known.0);
        if news {
            *known = (version, deletes);
        }
        news
    }

    /// Everything up to `version` has been gone over.
    pub(super) fn raise_floor(&mut self, version: u64) {
        if version > self.floor {
            self.floor = version;
            self.recent.retain(|_, (known, _)| *known > version);
        }
    }

    /// Whether more is remembered than should be: time to give up on verifying what lies behind.
    pub(super) fn is_full(&self) -> bool {
        self.recent.len() > MAX_RECENT
    }
}

/// 128 bits, so that two objects share one in no cluster.
fn fingerprint(key: &Key) -> u128 {
    let mut bytes = Vec::with_capacity(key.namespace.len() + key.name.len() + 1);
    bytes.extend_from_slice(key.namespace.as_bytes());
    bytes.push(b'/');
    bytes.extend_from_slice(key.name.as_bytes());
    xxh3_128(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::object::Kind;

    fn key(name: &str) -> Key {
        Key { kind: Kind::Service, namespace: "shop".into(), name: name.into() }
    }

    #[test]
    fn what_is_news() {
        struct Case {
            name: &'static str,
            /// Object, version, whether it is a deletion, whether it is news.
            events: &'static [(&'static str, u64, bool, bool)],
        }
        const UPSERT: bool = false;
        const DELETE: bool = true;
        for case in [
            Case { name: "at the floor is known", events: &[("a", 10, UPSERT, false)] },
            Case { name: "a deletion at the floor is known", events: &[("a", 10, DELETE, false)] },
            Case {
                name: "beyond the floor is news, once",
                events: &[("a", 11, UPSERT, true), ("a", 11, UPSERT, false)],
            },
            Case {
                name: "objects have their own versions",
                events: &[("a", 15, UPSERT, true), ("b", 12, UPSERT, true), ("a", 12, UPSERT, false)],
            },
            Case {
                name: "a replayed life does not resurrect what is gone",
                events: &[
                    ("a", 11, UPSERT, true),
                    ("a", 13, DELETE, true),
                    ("a", 11, UPSERT, false),
                    ("a", 12, UPSERT, false),
                    ("a", 14, UPSERT, true),
                ],
            },
            Case {
                name: "a deletion is news once",
                events: &[("a", 11, DELETE, true), ("a", 11, DELETE, false)],
            },
            Case {
                name: "a deletion that carries the object's last version",
                events: &[("a", 11, UPSERT, true), ("a", 11, DELETE, true), ("a", 11, UPSERT, false)],
            },
            Case {
                name: "what cannot be compared is news",
                events: &[("a", 0, UPSERT, true), ("a", 0, UPSERT, true)],
            },
        ] {
            let mut seen = Seen::at(10);
            for (at, (name, version, deletes, news)) in case.events.iter().enumerate() {
                assert_eq!(seen.is_news(&key(name), *version, *deletes), *news, "{}: event {at}", case.name);
            }
        }
    }

    #[test]
    fn what_was_gone_over_need_not_be_remembered() {
        let mut seen = Seen::at(10);
        for version in 11..=20 {
            assert!(seen.is_news(&key(&version.to_string()), version, false));
        }
        seen.raise_floor(15);
        assert_eq!((seen.floor(), seen.recent.len()), (15, 5));
        assert!(!seen.is_news(&key("12"), 12, false), "it lies below the floor");
        assert!(!seen.is_news(&key("18"), 18, false));
        seen.raise_floor(3);
        assert_eq!(seen.floor(), 15, "a floor only rises");
    }
}
