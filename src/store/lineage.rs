//! How far the source has come, and within what. Pure.
//!
//! Invariant: a position never promises more than the table holds. Where an update was lost, the position of its
//! kinds is unknown until they are listed anew; nothing proves the table until then.

use crate::feed::position::Position;
use crate::source::Resume;
use crate::zone::object::{Kind, Kinds};

/// How far the source has come with what the store holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Lineage {
    /// What a snapshot would have to say.
    known: Resume,
    /// Kinds of which an update was lost.
    broken: Kinds,
}

impl Lineage {
    /// Goes on from a snapshot.
    pub(super) fn resumed(known: Resume) -> Self {
        Self { known, broken: Kinds::NONE }
    }

    /// What a snapshot has to say.
    pub(super) const fn known(&self) -> &Resume {
        &self.known
    }

    /// Whether the table holds everything that the source has said.
    pub(super) const fn is_whole(&self) -> bool {
        self.broken.is_empty()
    }

    /// The kinds of which an update was lost, and that have not been listed since.
    pub(super) const fn broken(&self) -> Kinds {
        self.broken
    }

    /// Those of `kinds` of which no update was lost.
    pub(super) const fn whole(&self, kinds: Kinds) -> Kinds {
        kinds.minus(self.broken)
    }

    /// The source has come to this version. Within an epoch positions only grow.
    pub(super) fn reached(&mut self, kind: Kind, version: u64) {
        if !self.broken.has(kind) {
            let known = &mut self.known.position.versions[kind.index()];
            *known = version.max(*known);
        }
        self.told(kind, version);
    }

    /// The source has told everything up to this version, as far as it knows.
    pub(super) fn told(&mut self, kind: Kind, version: u64) {
        self.settled(kind);
        if !self.broken.has(kind) {
            let known = &mut self.known.told.versions[kind.index()];
            *known = version.max(*known);
        }
    }

    /// Something of this kind has come that the source has not yet said the version of.
    pub(super) fn changed(&mut self, kind: Kind) {
        self.known.ahead = self.known.ahead.with(kind);
    }

    /// The source has said the version of everything of this kind.
    pub(super) fn settled(&mut self, kind: Kind) {
        self.known.ahead = self.known.ahead.without(kind);
    }

    /// Positions count within this from now on.
    pub(super) fn begin(&mut self, cluster_uid: String, epoch: u64) {
        let position = Position { epoch, ..Position::UNKNOWN };
        self.known = Resume { cluster_uid, position, told: position, ..Resume::default() };
    }

    /// No more than this is known to have been gone over.
    pub(super) fn went_over(&mut self, proved: &Position) {
        for (known, proved) in self.known.position.versions.iter_mut().zip(proved.versions) {
            *known = proved.min(*known);
        }
    }

    /// The kinds were listed to the end.
    pub(super) fn listed(&mut self, kinds: Kinds) {
        self.broken = self.broken.minus(kinds);
        self.known.ahead = self.known.ahead.union(kinds);
    }

    /// What the source said of these kinds is lost.
    pub(super) fn broke(&mut self, kinds: Kinds) {
        self.broken = self.broken.union(kinds);
        for kind in kinds.iter() {
            self.known.position.versions[kind.index()] = 0;
            self.known.told.versions[kind.index()] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(versions: [u64; 4]) -> Lineage {
        let position = Position { epoch: 3, versions };
        Lineage::resumed(Resume { cluster_uid: "u".to_owned(), position, ..Resume::default() })
    }

    #[test]
    fn positions_grow_within_an_epoch() {
        let mut lineage = at([5, 6, 0, 0]);
        lineage.reached(Kind::Namespace, 7);
        lineage.reached(Kind::Service, 4);
        lineage.reached(Kind::Pod, 1);
        assert_eq!(lineage.known().position.versions, [7, 6, 0, 1]);
        lineage.begin("u".to_owned(), 4);
        assert_eq!(lineage.known().position, Position { epoch: 4, versions: [0; 4] });
        lineage.reached(Kind::Service, 4);
        assert_eq!(lineage.known().position.versions, [0, 4, 0, 0], "lower than before, in another epoch");
    }

    #[test]
    fn what_was_lost_is_unknown_until_it_is_listed() {
        let mut lineage = at([5, 6, 7, 8]);
        lineage.broke(Kinds::NONE.with(Kind::Service));
        lineage.reached(Kind::Service, 9);
        lineage.reached(Kind::Namespace, 9);
        assert_eq!((lineage.known().position.versions, lineage.is_whole()), ([9, 0, 7, 8], false));
        lineage.listed(Kinds::NONE.with(Kind::Pod));
        assert!(!lineage.is_whole());
        lineage.listed(Kinds::CORE);
        lineage.reached(Kind::Service, 9);
        assert_eq!((lineage.known().position.versions, lineage.is_whole()), ([9, 9, 7, 8], true));
    }

    #[test]
    fn what_is_not_yet_told_is_ahead() {
        let mut lineage = Lineage::default();
        lineage.told(Kind::Service, 5);
        lineage.changed(Kind::Service);
        lineage.changed(Kind::Pod);
        assert_eq!(lineage.known().ahead, Kinds::NONE.with(Kind::Service).with(Kind::Pod));
        lineage.told(Kind::Service, 6);
        lineage.reached(Kind::Pod, 6);
        assert_eq!(lineage.known().ahead, Kinds::NONE);
        lineage.listed(Kinds::CORE);
        assert_eq!(lineage.known().ahead, Kinds::CORE);
        lineage.begin("c".to_owned(), 1);
        assert_eq!(lineage.known().ahead, Kinds::NONE);
    }
}
