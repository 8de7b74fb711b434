//! Changes that wait until their kind has come to where the table has been before. Pure.
//!
//! A source may begin behind the table: an API server's watch goes on from what was gone over, which is behind what was
//! told; a hub may lag behind the one that was followed before. What it tells until it has caught up was served once
//! and has been replaced since.
//!
//! Invariant: within an epoch no kind is served at a version below one that it was served at. Its changes wait until
//! the source has told as much again, and are then applied in one generation. Other kinds are not held up.
//!
//! What waited may lead somewhere else than to where the source is: changes from one state of a hub to the next say
//! nothing of what came and went in between, and the table may be from there. Such a kind waits on, until what waits leads
//! to where the source is, or until it is listed.
//!
//! Limits: of each object the last change is kept, so that no more waits than there are objects.

use std::collections::HashMap;

use crate::source::{Event, Resume};
use crate::zone::object::{Key, Kind, Kinds};

/// What waits, by kind.
#[derive(Debug, Default)]
pub(super) struct Staged([Option<Behind>; Kind::ALL.len()]);

/// Where a kind is, with a version that was told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// There: nothing has waited.
    Settled,
    /// Behind still.
    Waits,
    /// There again: this has waited.
    CaughtUp(Vec<Event>),
}

/// A kind that is being told what the table has had before.
#[derive(Debug)]
struct Behind {
    /// The version that has to be told before anything counts.
    until: u64,
    /// Whether as much was told, and what waited led somewhere else.
    differs: bool,
    /// The last change of each object.
    events: HashMap<Key, Event>,
}

impl Staged {
    /// A source begins that goes on from what was gone over, with a table that has more.
    pub(super) fn resumed(known: &Resume) -> Self {
        let behind = |kind: Kind| {
            let (from, until) = (known.position.version(kind), known.told.version(kind));
            // A kind without a position is listed.
            (from > 0 && from < until).then(|| Behind { until, differs: false, events: HashMap::new() })
        };
        Self(Kind::ALL.map(behind))
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// The kinds whose changes wait.
    pub(super) fn kinds(&self) -> Kinds {
        Kind::ALL.into_iter().filter(|kind| self.0[kind.index()].is_some()).collect()
    }

    /// Keeps those changes that have to wait, and returns the others in their order.
    pub(super) fn hold_back(&mut self, events: Vec<Event>) -> Vec<Event> {
        if self.is_empty() {
            return events;
        }
        let mut apply = Vec::new();
        for event in events {
            match &mut self.0[event.change.kind().index()] {
                Some(behind) => drop(behind.events.insert(event.change.key(), event)),
                None => apply.push(event),
            }
        }
        apply
    }

    /// The source is at `version` of `kind`, and the table has been at `known`: below that, its changes wait from now on.
    pub(super) fn told(&mut self, kind: Kind, version: u64, known: u64) -> Told {
        let behind = &mut self.0[kind.index()];
        if behind.is_none() && version < known {
            *behind = Some(Behind { until: known, differs: false, events: HashMap::new() });
        }
        Self::go_on(behind, version)
    }

    /// Everything up to `version` of `kind` was gone over. What leads somewhere else waits for more than that.
    pub(super) fn reached(&mut self, kind: Kind, version: u64) -> Told {
        if self.differs(kind) {
            return Told::Waits;
        }
        Self::go_on(&mut self.0[kind.index()], version)
    }

    fn go_on(behind: &mut Option<Behind>, version: u64) -> Told {
        if behind.is_none() {
            return Told::Settled;
        }
        let caught_up = behind.take_if(|behind| version >= behind.until);
        caught_up.map_or(Told::Waits, |behind| Told::CaughtUp(behind.events.into_values().collect()))
    }

    /// What of this kind has waited until `version` leads somewhere else: it waits on.
    pub(super) fn wait_on(&mut self, kind: Kind, version: u64, waited: Vec<Event>) {
        let events = waited.into_iter().map(|event| (event.change.key(), event)).collect();
        self.0[kind.index()] = Some(Behind { until: version, differs: true, events });
    }

    /// Whether what waits of this kind leads somewhere else than to where the source is.
    pub(super) fn differs(&self, kind: Kind) -> bool {
        self.0[kind.index()].as_ref().is_some_and(|behind| behind.differs)
    }

    /// What these kinds are is said anew: nothing of them waits any more.
    pub(super) fn forget(&mut self, kinds: Kinds) {
        for kind in kinds.iter() {
            self.0[kind.index()] = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::position::Position;
    use crate::zone::change::Change;
    use crate::zone::object::{Namespace, Object};

    fn resume(position: [u64; 4], told: [u64; 4]) -> Resume {
        let at = |versions| Position { epoch: 1, versions };
        Resume { cluster_uid: "u".to_owned(), position: at(position), told: at(told), ..Resume::default() }
    }

    fn namespace(name: &str) -> Event {
        Change::Upsert(Object::Namespace(Namespace { name: name.into(), labels: [].into() })).into()
    }

    fn gone(kind: Kind, name: &str) -> Event {
        Change::Delete(Key { kind, namespace: "".into(), name: name.into() }).into()
    }

    #[test]
    fn kinds_that_are_behind_wait_and_others_do_not() {
        let mut staged = Staged::resumed(&resume([5, 7, 0, 0], [9, 7, 4, 0]));
        assert_eq!(staged.kinds(), Kinds::NONE.with(Kind::Namespace), "what has no position is listed");
        let events = vec![namespace("a"), gone(Kind::Service, "s"), gone(Kind::Namespace, "a")];
        assert_eq!(staged.hold_back(events), [gone(Kind::Service, "s")]);
        assert_eq!(staged.told(Kind::Namespace, 8, 9), Told::Waits);
        let last = Told::CaughtUp(vec![gone(Kind::Namespace, "a")]);
        assert_eq!(staged.told(Kind::Namespace, 9, 9), last, "the last one counts");
        assert_eq!(staged.kinds(), Kinds::NONE);
        assert_eq!(staged.hold_back(vec![namespace("b")]), [namespace("b")]);
    }

    #[test]
    fn a_source_that_says_that_it_is_behind_is_waited_for() {
        let mut staged = Staged::default();
        assert_eq!(staged.told(Kind::Namespace, 12, 10), Told::Settled);
        assert_eq!(staged.kinds(), Kinds::NONE);
        assert_eq!(staged.told(Kind::Namespace, 8, 12), Told::Waits);
        assert!(staged.hold_back(vec![namespace("a")]).is_empty());
        assert_eq!(staged.reached(Kind::Namespace, 11), Told::Waits);
        let waited = Told::CaughtUp(vec![namespace("a")]);
        assert_eq!(staged.reached(Kind::Namespace, 13), waited, "gone over, and so told");
    }

    #[test]
    fn a_list_is_all_there_is_to_know() {
        let mut staged = Staged::resumed(&resume([5, 5, 5, 5], [9, 9, 9, 9]));
        staged.hold_back(vec![namespace("a")]);
        staged.forget(Kinds::NONE.with(Kind::Namespace));
        assert_eq!(staged.told(Kind::Namespace, 9, 9), Told::Settled);
        assert_eq!(staged.kinds(), Kinds::ALL.without(Kind::Namespace));
    }

    #[test]
    fn what_leads_somewhere_else_waits_on() {
        let mut staged = Staged::default();
        assert_eq!(staged.told(Kind::Namespace, 8, 12), Told::Waits);
        assert!(staged.hold_back(vec![namespace("a")]).is_empty());
        let Told::CaughtUp(waited) = staged.told(Kind::Namespace, 13, 12) else { panic!("{staged:?}") };
        staged.wait_on(Kind::Namespace, 13, waited);
        assert!(staged.differs(Kind::Namespace) && !staged.differs(Kind::Service));
        assert_eq!(staged.reached(Kind::Namespace, 13), Told::Waits, "no version says that it leads there");
        assert_eq!(staged.told(Kind::Namespace, 13, 12), Told::CaughtUp(vec![namespace("a")]));
        staged.wait_on(Kind::Namespace, 13, vec![namespace("a")]);
        staged.forget(Kinds::NONE.with(Kind::Namespace));
        assert_eq!(staged.hold_back(vec![namespace("b")]), [namespace("b")]);
    }
}
