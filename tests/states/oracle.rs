//! What was true when: the history of an API server, against which a node's data is held.
//!
//! Two questions: whether the node has exactly what the server has now, and whether each object is as it was at
//! some moment that is not older than the age that the node says its data has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use outlast::drill::standin::etcd::{Etcd, Stored, What, Write};
use outlast::source::Wanted;
use outlast::source::kubectl::{Decoder, Format};
use outlast::zone::Table;
use outlast::zone::held::HeldSet;
use outlast::zone::object::{Kind, Kinds, Object, ObjectRef};
use tokio::time::Instant;

/// An object's kind, and its namespace and name as the server's store spells them.
type Place = (Kind, String);

/// What an object was from an instant on; nothing while it did not exist.
type Life = Vec<(Instant, Option<Object>)>;

/// The history of a server, as far as a node wants to know.
pub(super) struct Oracle {
    /// What the node needs objects for.
    wanted: Wanted,
    /// Writes that have been read.
    read: usize,
    /// Every object that ever existed.
    lives: BTreeMap<Place, Life>,
}

impl Oracle {
    /// Knows nothing yet.
    pub(super) fn new(wanted: Wanted) -> Self {
        Self { wanted, read: 0, lives: BTreeMap::new() }
    }

    /// What the node needs objects for.
    pub(super) const fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// Reads what was written since the last time.
    pub(super) fn read(&mut self, etcd: &Etcd) {
        let history = etcd.history();
        for Write { at, what, .. } in &history[self.read..] {
            match what {
                What::Put(kind, stored) => {
                    self.note(*at, *kind, stored.key(), decode(self.wanted, *kind, stored));
                }
                What::Deleted(kind, key) => self.note(*at, *kind, key, None),
                What::Other => {}
                What::Replaced(backup) => {
                    let gone: Vec<_> = self.lives.keys().cloned().collect();
                    gone.iter().for_each(|(kind, key)| self.note(*at, *kind, key, None));
                    for kind in self.wanted.kinds().iter() {
                        for stored in backup.objects(kind) {
                            self.note(*at, kind, stored.key(), decode(self.wanted, kind, stored));
                        }
                    }
                }
            }
        }
        self.read = history.len();
    }

    fn note(&mut self, at: Instant, kind: Kind, key: &str, object: Option<Object>) {
        if self.wanted.kinds().has(kind) {
            let life = self.lives.entry((kind, key.to_owned())).or_default();
            // Of what was written at one instant the last counts: nobody saw the rest.
            life.retain(|(then, _)| *then != at);
            life.push((at, object));
        }
    }

    /// Asserts that each object of `kinds` in `table` is what it was at some moment of the last `age`. What is `held` is
    /// said to be held, and not to be current.
    pub(super) fn check(&self, table: &Table, held: &HeldSet, kinds: Kinds, age: Duration) {
        let since = Instant::now().checked_sub(age);
        let has = places(table);
        let all: BTreeSet<&Place> = self.lives.keys().chain(has.keys()).collect();
        let is_held = |(kind, name): &Place| {
            let (namespace, name) = name.split_once('/').unwrap_or(("", name));
            held.get(*kind, namespace.as_bytes(), name.as_bytes()).is_some()
        };
        for place in all.into_iter().filter(|place| kinds.has(place.0) && !is_held(place)) {
            let (has, life) = (has.get(place), self.lives.get(place).map(Vec::as_slice).unwrap_or_default());
            // What it was when the window begins, and all that came after.
            let first = life.partition_point(|(at, _)| since.is_some_and(|since| *at < since));
            let before = first.checked_sub(1).and_then(|i| life[i].1.as_ref());
            let after = life[first..].iter().map(|(_, object)| object.as_ref());
            let mut were = std::iter::once(before).chain(after).map(|object| object.map(ObjectRef::from));
            assert!(
                were.any(|was| was.as_ref() == has),
                "{place:?} is {has:?}, which it was at no moment of the last {age:?}: {life:?}"
            );
        }
    }
}

/// The objects of a table by their places.
fn places(table: &Table) -> BTreeMap<Place, ObjectRef<'_>> {
    let place = |object: ObjectRef<'_>| match object.parts() {
        ("", name) => (object.kind(), name.to_owned()),
        (namespace, name) => (object.kind(), format!("{namespace}/{name}")),
    };
    table.objects().map(|object| (place(object), object)).collect()
}

/// The slim facts of an object that is stored; `None` if it has none.
fn decode(wanted: Wanted, kind: Kind, stored: &Arc<Stored>) -> Option<Object> {
    if !wanted.kinds().has(kind) {
        return None;
    }
    // As kubectl prints it: the text in the store does not say what it is.
    let text = format!("{{\"kind\":\"{kind}\",{}", &stored.text()[1..]);
    let mut decoder = Decoder::new(wanted);
    decoder.decode(Format::Json, text.as_bytes()).unwrap();
    decoder.finish().objects.pop()
}

/// Asserts that `table` holds the objects of `etcd` and nothing else.
pub(super) fn exactly(etcd: &Etcd, table: &Table, wanted: Wanted) {
    let kinds = wanted.kinds();
    let objects = kinds.iter().flat_map(|kind| {
        let all = etcd.all(kind);
        all.into_iter().filter_map(move |stored| decode(wanted, kind, &stored)).collect::<Vec<_>>()
    });
    let want = Table::build(objects.collect::<Vec<_>>(), Kinds::ALL, 1);
    let (want_all, has) = (places(&want), places(table));
    for (place, want) in &want_all {
        match has.get(place) {
            None => panic!("{place:?} is missing"),
            Some(has) => assert_eq!(has, want, "{place:?} is another"),
        }
    }
    for (kind, name) in has.keys().filter(|place| !want_all.contains_key(*place)) {
        // Of a kind that is not wanted any more a snapshot may have objects; nobody asks for them.
        assert!(!kinds.has(*kind), "{kind} {name} does not exist");
    }
    for kind in kinds.iter() {
        assert!(table.complete().has(kind), "{kind}: not known whether that is all");
        assert_eq!(table.digest(kind), want.digest(kind), "{kind}: same objects, another digest");
    }
}
