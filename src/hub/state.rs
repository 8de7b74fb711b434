//! One state of the data, as it is told to followers: what the store has published, and what is held of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::history::Mark;
use crate::feed::digests::Digests;
use crate::feed::frame;
use crate::feed::view::View;
use crate::source::Resume;
use crate::store::open_hold::OpenHold;
use crate::store::state::{DataState, Facts, Limits};
use crate::store::{Generation, Store};
use crate::zone::held::HeldSet;
use crate::zone::hold::Hold;
use crate::zone::object::Kinds;
use crate::zone::{self, Table};

/// How a hub's data is, as followers and siblings are told.
pub(super) fn said(generation: &Generation, facts: Facts, needed: Kinds, limits: Limits) -> frame::State {
    match DataState::judge(facts, needed, limits) {
        DataState::Empty { .. } => frame::State::Empty,
        // What stays whatever comes proves nothing.
        _ if generation.frozen.is_some() => frame::State::Frozen,
        DataState::Live => frame::State::Live,
        DataState::Stale { .. } | DataState::Expired { .. } => frame::State::Stale,
    }
}

/// What a store held at some time. A value, as a table is.
#[derive(Clone, Default)]
pub struct State {
    /// What is served.
    pub table: Table,
    /// What is held of it.
    pub held: Arc<HeldSet>,
    /// The holds of it.
    pub holds: Arc<[OpenHold]>,
    /// How far the source had come with it.
    pub reached: Arc<Resume>,
    /// When it was looked at, and how long ago it had been proved then.
    pub(super) seen: Option<(Instant, Duration)>,
}

impl State {
    /// What the store holds now.
    pub fn of(store: &Store) -> Self {
        // The proof first: what is proved later may be of a later state.
        let seen = Some((Instant::now(), store.age()));
        Self { seen, ..Self::of_generation(&store.current()) }
    }

    fn of_generation(generation: &Generation) -> Self {
        Self {
            table: generation.table.clone(),
            held: generation.held.clone(),
            holds: generation.holds.clone(),
            reached: generation.reached.clone(),
            seen: None,
        }
    }

    /// The part of it that a view has.
    #[must_use]
    pub fn seen(&self, (table, held): zone::held::State<'_>) -> Self {
        Self { table: table.clone(), held: Arc::new(held.clone()), ..self.clone() }
    }

    /// How long ago it was proved.
    pub fn age(&self) -> Duration {
        self.seen.map_or(Duration::MAX, |(at, age)| age.saturating_add(at.elapsed()))
    }

    /// The kinds of the view that are complete.
    pub const fn complete(&self, view: View) -> Kinds {
        view.kinds().intersection(self.table.complete())
    }

    /// What is remembered of it in a history.
    pub fn mark(&self, view: View) -> Mark {
        let digests = Digests::of(view.kinds(), |kind| self.held.received_digest(&self.table, kind));
        Mark {
            cluster_uid: self.reached.cluster_uid.as_str().into(),
            position: self.reached.told,
            until: self.reached.told,
            digests,
            held: self.held.digest(),
            settled: self.is_settled(view),
        }
    }

    /// Whether it is the state of its position exactly.
    pub fn is_settled(&self, view: View) -> bool {
        self.reached.ahead.intersection(view.kinds()).is_empty()
    }

    /// The holds of it, as they are told now.
    pub fn told_holds(&self) -> Vec<Hold> {
        let now = Instant::now();
        self.holds.iter().map(|hold| hold.tell(now)).collect()
    }

    /// Whether the same is held for the same reasons; how long it has been and will be does not count.
    pub fn has_holds_of(&self, other: &Self) -> bool {
        let about = |hold: &OpenHold| (hold.id, hold.why.clone(), hold.objects);
        self.holds.iter().map(about).eq(other.holds.iter().map(about))
    }
}
