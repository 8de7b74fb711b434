//! What a hub says, as updates of the store.
//!
//! Invariants:
//! * Within an epoch no kind goes back: before changes of a kind that is behind what the store was told, the store is
//!   told so, and lets them wait; a list of a kind that is behind is passed over.
//! * A change in several batches is one: nothing of it is applied before its end.
//! * A whole state that is not what the hub says it is does not take the place of what there was.

use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::left::Left;
use crate::feed::digests::Digests;
use crate::feed::entry::Entry;
use crate::feed::frame::{Batch, WholeBegin, WholeEnd};
use crate::feed::position::Position;
use crate::feed::view::View;
use crate::ops::switches::{self, Protection};
use crate::source::{Comparison, Event, Listed, Standing, Trigger, Update};
use crate::zone::change::Change;
use crate::zone::digest::Digest;
use crate::zone::object::{Kind, Kinds, Object};

/// Entries of one change that may wait for its end: more objects than any cluster has.
const MAX_WAITING: usize = 4_000_000;

/// The store, as far as this source has to know it.
pub(super) struct Apply<'a> {
    /// To it.
    updates: &'a Sender<Update>,
    /// What is followed.
    view: View,
    /// Those of its kinds that the store holds all of: changes of others change nothing that anybody could vouch for.
    held: Kinds,
    /// uid of its cluster; empty where none is known.
    uid: String,
    /// What it has been told.
    told: Position,
    /// What this source has told it last, by [`Kind::index`]; 0 for nothing. It may be below `told`.
    said: [u64; Kind::ALL.len()],
    /// Whether its state was confirmed since the process started.
    verified: bool,
    /// A whole state that is coming.
    whole: Option<Whole>,
    /// Changes that wait for the last batch of theirs.
    waiting: Vec<Event>,
}

/// A whole state that is coming.
struct Whole {
    /// The kinds that are taken from it.
    kinds: Kinds,
    /// The cluster and epoch that it begins, if they are others.
    begins: Option<(String, u64)>,
    /// Of what has come of it, by [`Kind::index`].
    digests: [Digest; Kind::ALL.len()],
}

/// What has become of a whole state at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was taken; how it compares, where that can be said.
    Taken(Option<Comparison>),
    /// These kinds of it were not what the hub says they are: what there was stays.
    Broken(Kinds),
}

impl<'a> Apply<'a> {
    /// Asks the store where it is.
    pub(super) async fn begin(updates: &'a Sender<Update>, view: View) -> Result<(Self, Standing), Left> {
        let kinds = view.kinds();
        let (answer, standing) = oneshot::channel();
        updates.send(Update::Where { answer }).await.map_err(|_| Left::Gone)?;
        let standing = standing.await.map_err(|_| Left::Gone)?;
        let mut told = standing.resume.told;
        for kind in Kind::ALL {
            if !kinds.intersection(standing.complete).has(kind) {
                // What is not held, or not all of it, has to be sent whole.
                told.versions[kind.index()] = 0;
            }
        }
        let apply = Self {
            updates,
            view,
            held: kinds.intersection(standing.complete),
            uid: standing.resume.cluster_uid.clone(),
            told,
            said: Default::default(),
            verified: standing.verified,
            whole: None,
            waiting: Vec::new(),
        };
        Ok((apply, standing))
    }

    /// What the store has been told of the kinds that are followed; 0 for those that have to be sent whole.
    pub(super) const fn told(&self) -> &Position {
        &self.told
    }

    /// uid of the store's cluster.
    pub(super) fn uid(&self) -> &str {
        &self.uid
    }

    /// Whether a whole state is coming.
    pub(super) const fn has_whole(&self) -> bool {
        self.whole.is_some()
    }

    /// Refuses another cluster than the one that was confirmed; `accepted` is one that an operator has accepted.
    pub(super) fn check_cluster(&self, uid: &str, accepted: Option<&str>) -> Result<(), Left> {
        let unknown = uid.is_empty() || self.uid.is_empty() || uid == self.uid;
        // Invariant: a disk may have belonged to another cluster, and gives way at once; what was confirmed does not.
        if unknown || !self.verified || accepted == Some(uid) {
            return Ok(());
        }
        Err(Left::Foreign { uid: uid.to_owned(), ours: self.uid.clone() })
    }

    /// The kinds that `position` is behind in.
    pub(super) fn behind(&self, position: &Position) -> Kinds {
        if position.epoch != self.told.epoch {
            return if position.epoch < self.told.epoch { self.kinds() } else { Kinds::NONE };
        }
        // A hub that does not know how far it has come may be anywhere, and so behind.
        let behind = |kind: &Kind| position.version(*kind) < self.told.version(*kind);
        let behind: Kinds = self.kinds().iter().filter(behind).collect();
        // Which slices are in the view depends on what the hub knows of services.
        let slices = self.view.headless_only && behind.has(Kind::Service);
        if slices { behind.with(Kind::EndpointSlice) } else { behind }
    }

    /// The kinds that compare with those of a hub at this position.
    pub(super) fn comparable(&self, position: &Position) -> Kinds {
        let known = |kind: &Kind| position.version(*kind) > 0;
        self.kinds().iter().filter(known).collect::<Kinds>().minus(self.behind(position))
    }

    /// The kinds that are held, and of which a hub at this position has nothing yet in its epoch: what is held of them may be of
    /// another one.
    pub(super) fn unknown_to(&self, position: &Position) -> Kinds {
        self.held.iter().filter(|kind| position.version(*kind) == 0).collect()
    }

    /// The kinds that are not taken from the whole state that is coming, because it is behind in them: the hub goes on
    /// from a state of theirs that the store may never have had.
    pub(super) fn passed_over(&self) -> Kinds {
        self.whole.as_ref().map_or(Kinds::NONE, |whole| self.kinds().minus(whole.kinds))
    }

    // === Whole states ===

    /// A whole state begins.
    pub(super) async fn whole_begin(&mut self, begin: &WholeBegin) -> Result<(), Left> {
        self.whole_failed().await?;
        self.waiting = Vec::new();
        let kinds = begin.complete.intersection(self.kinds());
        let other_cluster = begin.cluster_uid != self.uid;
        let begins = other_cluster || begin.position.epoch != self.told.epoch;
        let (kinds, begins) = if begins {
            if !other_cluster && begin.position.epoch < self.told.epoch {
                return Err(Left::Behind);
            }
            (kinds, Some((begin.cluster_uid.clone(), begin.position.epoch)))
        } else {
            // Invariant: a list of the past is no list.
            (kinds.minus(self.behind(&begin.position)), None)
        };
        self.whole = Some(Whole { kinds, begins, digests: Default::default() });
        Ok(())
    }

    /// A part of it.
    pub(super) async fn whole_part(&mut self, entries: Vec<Entry>) -> Result<(), Left> {
        let Some(whole) = &mut self.whole else { return Err(Left::garbage("a part of no whole state")) };
        let kinds = whole.kinds;
        let entries: Vec<_> = entries.into_iter().filter(|entry| kinds.has(entry.change.kind())).collect();
        for entry in &entries {
            if let Change::Upsert(object) = &entry.change {
                whole.digests[object.kind().index()].add(object.into());
            }
        }
        let entries: Vec<_> = entries.into_iter().filter_map(listed).collect();
        self.send(Update::ListPart { kinds, entries }).await
    }

    /// Its end: now it counts.
    pub(super) async fn whole_end(&mut self, end: WholeEnd) -> Result<Ended, Left> {
        let passed_over = self.passed_over();
        let Some(Whole { kinds, begins, digests }) = self.whole.take() else {
            return Err(Left::garbage("an end of no whole state"));
        };
        let differs = |kind: &Kind| end.digests.get(*kind).is_some_and(|d| d != digests[kind.index()]);
        let broken: Kinds = kinds.iter().filter(differs).collect();
        // Invariant: what there was stays. Where there is nothing, something that may not be all is better.
        if !broken.intersection(self.held).is_empty() {
            self.send(Update::ListFailed { kinds }).await?;
            return Ok(Ended::Broken(broken));
        }
        if let Some((uid, epoch)) = begins {
            self.lineage(uid, epoch).await?;
        }
        self.send(Update::ListEnd { kinds }).await?;
        self.held = self.held.union(kinds);
        // A hub that is behind may have yet to see what is held: what waits for it holds on to that.
        self.tell_behind(&end.position, passed_over).await?;
        self.tell(&end.position, kinds, &end.digests).await?;
        self.send(Update::Holds(end.holds)).await?;
        self.compare(&end.digests, kinds).await.map(Ended::Taken)
    }

    /// What has come of a whole state counts for nothing.
    pub(super) async fn whole_failed(&mut self) -> Result<(), Left> {
        match self.whole.take() {
            Some(Whole { kinds, .. }) => self.send(Update::ListFailed { kinds }).await,
            None => Ok(()),
        }
    }

    // === Changes ===

    /// Changes; those of a change that goes on in the next batch wait for it. Whether a position was reached.
    pub(super) async fn batch(&mut self, batch: Batch, accepted: Option<&str>) -> Result<bool, Left> {
        self.check_cluster(&batch.cluster_uid, accepted)?;
        if self.has_whole() {
            return Err(Left::garbage("changes within a whole state"));
        }
        let kinds = self.kinds();
        let entries = batch.entries.into_iter().filter(|entry| kinds.has(entry.change.kind()));
        self.waiting.extend(entries.map(event));
        if self.waiting.len() > MAX_WAITING {
            return Err(Left::garbage("a change without an end"));
        }
        let Some(position) = batch.position else { return Ok(false) };
        let uid = if batch.cluster_uid.is_empty() { self.uid.clone() } else { batch.cluster_uid };
        self.begin_lineage(uid, position.epoch).await?;
        // Ahead of the changes that it is about, so that they wait.
        self.tell_behind(&position, self.kinds()).await?;
        let events = std::mem::take(&mut self.waiting);
        if !events.is_empty() {
            self.send(Update::Changes(events)).await?;
        }
        self.tell(&position, self.held, &batch.digests).await?;
        if let Some(holds) = batch.holds {
            self.send(Update::Holds(holds)).await?;
        }
        Ok(true)
    }

    /// The hub is at this position, with these digests, without any change.
    pub(super) async fn at(&mut self, position: &Position, digests: &Digests) -> Result<(), Left> {
        self.begin_lineage(self.uid.clone(), position.epoch).await?;
        self.tell(position, self.held, digests).await
    }

    /// The hub goes on from a state that is not newer than ours. Ours may be from between that and its next one: what comes
    /// counts once it leads to what the hub has.
    pub(super) async fn resume(&mut self) -> Result<(), Left> {
        for kind in self.held.iter() {
            let Some(version) = self.told.version(kind).checked_sub(1) else { continue };
            self.send(Update::Told { kind, version, digest: None }).await?;
        }
        Ok(())
    }

    /// Whether the store holds all of what the hub at this position has.
    pub(super) fn holds_all(&self, position: &Position) -> bool {
        self.kinds().minus(self.held).iter().all(|kind| position.version(kind) == 0)
    }

    /// Asks whether the state has these digests of these kinds; `None` where there is nothing to compare, because the hub
    /// has another version of the encoding, or [is elsewhere](Self::comparable).
    pub(super) async fn compare(&self, digests: &Digests, kinds: Kinds) -> Result<Option<Comparison>, Left> {
        let digests = of_these(kinds, digests);
        if digests.iter().all(Option::is_none) {
            return Ok(None);
        }
        let (answer, comparison) = oneshot::channel();
        self.send(Update::Compare { digests, answer }).await?;
        comparison.await.map(Some).map_err(|_| Left::Gone)
    }

    /// The state has been confirmed.
    pub(super) async fn prove(&mut self, as_of: Instant) -> Result<(), Left> {
        self.verified = true;
        self.send(Update::Fresh { as_of }).await
    }

    /// The kinds that are followed.
    pub(super) const fn kinds(&self) -> Kinds {
        self.view.kinds()
    }

    /// Another epoch or cluster begins, if it is another one.
    async fn begin_lineage(&mut self, uid: String, epoch: u64) -> Result<(), Left> {
        if uid == self.uid && epoch == self.told.epoch {
            return Ok(());
        }
        if uid == self.uid && epoch < self.told.epoch {
            return Err(Left::Behind);
        }
        self.lineage(uid, epoch).await
    }

    async fn lineage(&mut self, uid: String, epoch: u64) -> Result<(), Left> {
        self.uid.clone_from(&uid);
        self.told = Position { epoch, ..Position::UNKNOWN };
        self.said = Default::default();
        self.send(Update::Lineage { cluster_uid: uid, epoch }).await
    }

    /// Those of `kinds` that `position` is behind in go on from there: what is told of them waits.
    async fn tell_behind(&self, position: &Position, kinds: Kinds) -> Result<(), Left> {
        for kind in self.behind(position).intersection(kinds).iter() {
            // Below what was told also where slices are so because of services: which of them are meant is not known.
            let Some(before) = self.told.version(kind).checked_sub(1) else { continue };
            let version = position.version(kind).min(before);
            self.send(Update::Told { kind, version, digest: None }).await?;
        }
        Ok(())
    }

    /// Everything of `kinds` up to `position` was told, where the hub has these digests.
    async fn tell(&mut self, position: &Position, kinds: Kinds, digests: &Digests) -> Result<(), Left> {
        let (comparable, digests) = (self.comparable(position), of_these(self.kinds(), digests));
        for kind in kinds.iter() {
            let (version, told) = (position.version(kind), self.told.version(kind));
            // Not by `told`: a hub that was behind and has just caught up has come there anew, and what waits for that
            // has to hear it.
            if version == 0 || version == self.said[kind.index()] {
                continue;
            }
            self.send(Update::Told { kind, version, digest: digests[kind.index()] }).await?;
            if version >= told && !comparable.has(kind) {
                // Slices that wait for services, unless the digest was right; with these they are told anew.
                continue;
            }
            self.said[kind.index()] = version;
            self.told.versions[kind.index()] = told.max(version);
            self.send(Update::Reached { kind, version }).await?;
        }
        Ok(())
    }

    /// Tells the store.
    async fn send(&self, update: Update) -> Result<(), Left> {
        self.updates.send(update).await.map_err(|_| Left::Gone)
    }
}

/// Those of `kinds`, by [`Kind::index`].
fn of_these(kinds: Kinds, digests: &Digests) -> [Option<Digest>; Kind::ALL.len()] {
    let are_off = switches::is_off(Protection::Digests);
    Kind::ALL.map(|kind| digests.get(kind).filter(|_| kinds.has(kind) && !are_off))
}

/// One object of a whole state; `None` for one that is not there and not served either.
fn listed(entry: Entry) -> Option<Listed> {
    let Entry { change, held, triggered_at_ms } = entry;
    match (change, held) {
        (change, Some(held)) => Some(Listed::Held { change, held }),
        (Change::Upsert(object), None) => {
            let trigger = trigger(&object, triggered_at_ms);
            Some(Listed::Object { object, trigger })
        }
        (Change::Delete(_), None) => None,
    }
}

fn event(entry: Entry) -> Event {
    let Entry { change, held, triggered_at_ms } = entry;
    let trigger = match &change {
        Change::Upsert(object) => trigger(object, triggered_at_ms),
        Change::Delete(_) => None,
    };
    Event { change, trigger, held }
}

/// What set a change off, where that is said.
fn trigger(object: &Object, at_ms: u64) -> Option<Trigger> {
    match object {
        Object::EndpointSlice(slice) if at_ms > 0 => Some(Trigger { service: slice.service.clone(), at_ms }),
        _ => None,
    }
}
