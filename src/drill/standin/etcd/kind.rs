//! The objects of one kind: their versions, and the events that led there.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use super::object::Stored;

/// One change of one object.
#[derive(Debug)]
pub(in super::super) struct Event {
    /// Its revision.
    pub(in super::super) revision: u64,
    /// What was there before it.
    pub(in super::super) before: Option<Arc<Stored>>,
    /// The object after it; of a deletion the last state, with the deletion's version.
    pub(in super::super) object: Arc<Stored>,
    /// Whether it is a deletion.
    pub(in super::super) deleted: bool,
}

/// What an object was from some revision on; nothing if it was deleted then.
type Version = (u64, Option<Arc<Stored>>);

/// All objects of one kind.
#[derive(Clone, Default)]
pub(super) struct KindState {
    /// By key; versions from old to new, never none.
    objects: BTreeMap<Arc<str>, Vec<Version>>,
    /// How many of them exist.
    live: usize,
    /// Events, the oldest first.
    log: VecDeque<Arc<Event>>,
    /// The newest event that `log` has lost.
    lost: u64,
    /// New watches and exact lists from before are refused.
    floor: u64,
}

/// Where a list begins and ends.
pub(in super::super) struct Range<'a> {
    /// Only keys that begin with this; empty for all.
    pub(in super::super) prefix: &'a str,
    /// The first key, or what comes after it.
    pub(in super::super) start: &'a str,
    /// At most so many; 0 for all.
    pub(in super::super) limit: usize,
}

/// A part of a list.
pub(in super::super) struct Page {
    /// The objects, in the order of their keys.
    pub(in super::super) objects: Vec<Arc<Stored>>,
    /// How many more there are; more than 0 only if the limit ended the page.
    pub(in super::super) remaining: usize,
}

impl KindState {
    /// How many objects there are now.
    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// See [`Etcd::floor`](super::Etcd::floor).
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// The object as of `revision`.
    pub(super) fn get(&self, key: &str, revision: u64) -> Option<&Arc<Stored>> {
        at(self.objects.get(key)?, revision)
    }

    /// All objects as of `revision`.
    pub(super) fn live(&self, revision: u64) -> impl Iterator<Item = &Arc<Stored>> {
        self.objects.values().filter_map(move |versions| at(versions, revision))
    }

    /// A part of the list as of `revision`.
    pub(super) fn page(&self, revision: u64, range: Range<'_>, selected: impl Fn(&Stored) -> bool) -> Page {
        let start = if range.start.is_empty() { range.prefix } else { range.start };
        let mut page = Page { objects: Vec::new(), remaining: 0 };
        let from = (Bound::Included(start), Bound::Unbounded);
        for (key, versions) in self.objects.range::<str, _>(from) {
            if !key.starts_with(range.prefix) {
                break;
            }
            let Some(object) = at(versions, revision).filter(|object| selected(object)) else { continue };
            if range.limit == 0 || page.objects.len() < range.limit {
                page.objects.push(object.clone());
            } else {
                page.remaining += 1;
            }
        }
        page
    }

    pub(super) fn put(&mut self, object: Arc<Stored>, revision: u64, keep: usize) {
        let versions = self.objects.entry(object.key().clone()).or_insert_with(|| Vec::with_capacity(1));
        let before = versions.last().and_then(|(_, object)| object.clone());
        versions.push((revision, Some(object.clone())));
        self.live += usize::from(before.is_none());
        self.record(Event { revision, before, object, deleted: false }, keep);
    }

    /// Returns the key of what was deleted, if it was there.
    pub(super) fn delete(&mut self, key: &str, revision: u64, keep: usize) -> Option<Arc<str>> {
        let versions = self.objects.get_mut(key)?;
        let before = versions.last().and_then(|(_, object)| object.clone())?;
        versions.push((revision, None));
        self.live -= 1;
        let object = Arc::new(before.at_version(revision));
        self.record(Event { revision, before: Some(before.clone()), object, deleted: true }, keep);
        Some(before.key().clone())
    }

    fn record(&mut self, event: Event, keep: usize) {
        self.log.push_back(Arc::new(event));
        while self.log.len() > keep.max(1)
            && let Some(oldest) = self.log.pop_front()
        {
            self.lost = oldest.revision;
            // As the watch cache counts it: one before the oldest event that is left.
            self.floor = self.floor.max(self.log.front().map_or(oldest.revision, |e| e.revision - 1));
            self.prune(oldest.object.key());
        }
    }

    /// Drops the versions that nobody can ask for any more.
    fn prune(&mut self, key: &str) {
        let Some(versions) = self.objects.get_mut(key) else { return };
        let newer = versions.partition_point(|(revision, _)| *revision <= self.floor);
        versions.drain(..newer.saturating_sub(1));
        if matches!(versions.as_slice(), [(revision, None)] if *revision <= self.floor) {
            self.objects.remove(key);
        }
    }

    /// New watches and exact lists from before `revision` are refused from now on.
    pub(super) fn raise_floor(&mut self, revision: u64) {
        self.floor = self.floor.max(revision);
    }

    /// The newest event up to `visible`; 0 if there is none that is known.
    pub(super) fn last_event(&self, visible: u64) -> u64 {
        let upto = self.log.partition_point(|event| event.revision <= visible);
        upto.checked_sub(1)
            .and_then(|i| self.log.get(i))
            .map_or(self.lost.min(visible), |event| event.revision)
    }

    /// Events after `cursor` up to `visible`: how many, and the first. `None` if some of them are lost.
    pub(super) fn after(&self, cursor: u64, visible: u64) -> Option<(usize, Option<Arc<Event>>)> {
        if cursor < self.lost {
            return None;
        }
        let from = self.log.partition_point(|event| event.revision <= cursor);
        let upto = self.log.partition_point(|event| event.revision <= visible);
        let waiting = upto.saturating_sub(from);
        Some((waiting, self.log.get(from).filter(|_| waiting > 0).cloned()))
    }

    /// Everything as it is now, as the beginning of a new history.
    pub(super) fn replaced_by(objects: impl Iterator<Item = (u64, Arc<Stored>)>, floor: u64) -> Self {
        let objects: BTreeMap<_, _> =
            objects.map(|(revision, o)| (o.key().clone(), vec![(revision, Some(o))])).collect();
        Self { live: objects.len(), objects, log: VecDeque::new(), lost: floor, floor }
    }
}

/// The newest of `versions` up to `revision`.
fn at(versions: &[Version], revision: u64) -> Option<&Arc<Stored>> {
    let upto = versions.partition_point(|(r, _)| *r <= revision);
    upto.checked_sub(1).and_then(|i| versions.get(i)).and_then(|(_, object)| object.as_ref())
}

#[cfg(test)]
mod tests {
    use super::super::object::Draft;
    use super::*;
    use crate::zone::object::Kind;

    fn object(name: &str, version: u64) -> Arc<Stored> {
        let text = format!(r#"{{"metadata":{{"namespace":"a","name":"{name}"}}}}"#);
        Arc::new(Draft::parse(Kind::Service, &text).unwrap().render(version, None))
    }

    #[test]
    fn versions_before_the_floor_are_dropped_and_the_dead_with_them() {
        let mut state = KindState::default();
        state.put(object("stays", 2), 2, 3);
        state.put(object("goes", 3), 3, 3);
        state.delete("a/goes", 4, 3);
        assert_eq!((state.objects.len(), state.len(), state.floor()), (2, 1, 0));
        for version in 5..20 {
            state.put(object("busy", version), version, 3);
        }
        assert_eq!((state.objects.len(), state.len(), state.floor()), (2, 2, 16));
        assert_eq!(state.objects["a/busy"].len(), 4, "three events, and what was there before them");
        assert_eq!(state.get("a/busy", 16).map(|o| o.version()), Some(16));
        assert_eq!(state.get("a/stays", 16).map(|o| o.version()), Some(2));
    }

    #[test]
    fn an_object_can_be_looked_at_as_of_every_version_that_is_kept() {
        let mut state = KindState::default();
        state.put(object("x", 2), 2, 10);
        state.delete("a/x", 3, 10);
        state.put(object("x", 5), 5, 10);
        let versions: Vec<_> = (1..=6).map(|at| state.get("a/x", at).map(|o| o.version())).collect();
        assert_eq!(versions, [None, Some(2), None, None, Some(5), Some(5)]);
        let deleted = state.after(2, 9).unwrap().1.unwrap();
        assert_eq!((deleted.revision, deleted.deleted, deleted.object.version()), (3, true, 3));
    }
}
