//! What operators ask of a store: over a channel to its writer, and from its folder.
//!
//! Invariants:
//! * The disk is read and written here, never by the writer: one that hangs holds up the order and nothing else.
//! * Nobody waits for ever: a writer that does not answer within `ANSWER_WITHIN` has failed.
//! * What is ordered works without the source.

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;

use super::state::Limits;
use super::status::StoreStatus;
use super::status::outcome::{GenerationStatus, Outcome};
use super::{Generation, Store};
use crate::ops::clock::WallClock;
use crate::snapshot::disk::Disk;
use crate::snapshot::folder::Folder;
use crate::snapshot::frozen::{self, Mark};
use crate::snapshot::header::Header;
use crate::snapshot::load::Restored;
use crate::snapshot::reject::Reason;
use crate::zone::Table;
use crate::zone::object::Kinds;
use crate::zone::table::Builder;

/// How many orders may wait for a writer: operators are few.
pub const ORDER_QUEUE: usize = 8;

/// A writer is never busy for longer than a large list takes.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The status says what readers see if the writer has not said the rest by then.
const STATUS_WITHIN: Duration = Duration::from_secs(2);

/// For how long something is frozen if nobody says otherwise.
pub const DEFAULT_FREEZE: Duration = Duration::from_secs(3600);

/// The longest time that something may be frozen for: a week is longer than an incident, and what is forgotten ends.
pub const MAX_FREEZE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Orders for one store. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    /// To the writer.
    orders: mpsc::Sender<Order>,
    /// What readers see.
    store: Arc<Store>,
    /// What the configuration needs, and how old data may be.
    needed: (Kinds, Limits),
    /// Where snapshots are kept, if anywhere.
    place: Option<Place>,
    /// Unix time.
    clock: Arc<WallClock>,
    /// Held by the one who changes what is kept of something frozen.
    keeping: Arc<Mutex<()>>,
}

/// Where snapshots are kept.
#[derive(Clone)]
pub(super) struct Place {
    /// The disk.
    pub(super) disk: Arc<dyn Disk>,
    /// The folder.
    pub(super) dir: PathBuf,
    /// The zone that they are of.
    pub(super) zone: String,
}

/// What was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// For people.
    pub outcome: Outcome,
    /// Hashes of the keys of the objects whose loss is meant ([`super::accepted::hash`]): for sibling hubs.
    pub keys: Vec<u64>,
}

/// What is asked of a writer.
pub(super) enum Order {
    /// What it knows.
    Status(oneshot::Sender<StoreStatus>),
    /// Believe what is held, follow what is refused.
    Accept(oneshot::Sender<Accepted>),
    /// The same for these keys.
    AcceptKeys(Vec<u64>),
    /// What is served stays for so long.
    Freeze(Duration, oneshot::Sender<Option<Frozen>>),
    /// This is served for so long.
    Rollback(Box<Past>, Duration, oneshot::Sender<Option<Frozen>>),
    /// What is received is served.
    Thaw(oneshot::Sender<bool>),
}

/// A snapshot to roll back to.
pub(super) struct Past {
    /// Its number.
    pub(super) generation: u64,
    /// What is to be served.
    pub(super) table: Table,
    /// What it says of itself.
    pub(super) header: Header,
}

/// What is frozen now, and how it is to be kept.
pub(super) struct Frozen {
    /// What is served.
    pub(super) generation: Arc<Generation>,
    /// Until when.
    pub(super) mark: Mark,
    /// For its snapshot; `None` where none are kept.
    pub(super) header: Option<Header>,
}

impl Control {
    /// The way to a writer, and its end of it.
    pub(super) fn new(
        store: Arc<Store>,
        needed: (Kinds, Limits),
        place: Option<Place>,
        clock: Arc<WallClock>,
    ) -> (Self, mpsc::Receiver<Order>) {
        let (orders, queue) = mpsc::channel(ORDER_QUEUE);
        (Self { orders, store, needed, place, clock, keeping: Arc::default() }, queue)
    }

    /// Everything that is known of the store. What only its configuration knows (zone, source) is empty.
    pub async fn status(&self) -> StoreStatus {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.orders.send(Order::Status(answer)).await.ok()?;
            answered.await.ok()
        };
        match timeout(STATUS_WITHIN, asked).await {
            Ok(Some(status)) => status,
            Ok(None) | Err(_) => {
                let (kinds, limits) = self.needed;
                StoreStatus { partial: true, ..StoreStatus::read(&self.store, kinds, limits) }
            }
        }
    }

    /// Believes what is held back, and has a cluster followed that was refused.
    pub async fn accept(&self) -> Accepted {
        match self.ask(Order::Accept).await {
            Ok(accepted) => accepted,
            Err(outcome) => Accepted { outcome, keys: Vec::new() },
        }
    }

    /// Believes the loss of these objects, which somebody has accepted at another hub. Whether the writer is told: it
    /// is told again if not.
    pub async fn accept_keys(&self, keys: Vec<u64>) -> bool {
        let told = self.orders.send(Order::AcceptKeys(keys));
        matches!(timeout(ANSWER_WITHIN, told).await, Ok(Ok(())))
    }

    /// What is served stays what it is, for [`DEFAULT_FREEZE`] or as long as is said.
    pub async fn freeze(&self, for_: Option<Duration>) -> Outcome {
        let for_ = for_.unwrap_or(DEFAULT_FREEZE).min(MAX_FREEZE);
        let _keeping = self.keeping.lock().await;
        match self.ask(|answer| Order::Freeze(for_, answer)).await {
            Ok(Some(frozen)) => {
                let outcome = Outcome::Frozen { remaining_s: for_.as_secs() };
                self.keep(frozen, outcome).await
            }
            Ok(None) => Outcome::NoData,
            Err(outcome) => outcome,
        }
    }

    /// What is received is served again.
    pub async fn thaw(&self) -> Outcome {
        let _keeping = self.keeping.lock().await;
        let was_frozen = match self.ask(Order::Thaw).await {
            Ok(was_frozen) => was_frozen,
            Err(outcome) => return outcome,
        };
        let forgotten =
            self.on_disk(|place| frozen::forget(&*place.disk, &place.dir).map_err(|e| e.to_string()));
        match (forgotten.await, was_frozen) {
            (Some(Err(why)), _) => {
                let why = format!("thawed, but a restart would freeze it again: {why}");
                tracing::error!(%why, "thawed in memory only");
                Outcome::Failed { why }
            }
            (_, true) => Outcome::Thawed,
            (_, false) => Outcome::NotFrozen,
        }
    }

    /// The snapshots on the disk, the newest first.
    ///
    /// # Errors
    /// For people: why the folder cannot be read.
    pub async fn generations(&self) -> Result<Vec<GenerationStatus>, String> {
        let served = self.store.current().frozen.as_ref().and_then(|frozen| frozen.rolled_back_to);
        let clock = self.clock.clone();
        let read = self.on_disk(move |place| {
            let folder = Folder::look_at(place.disk.clone(), &place.dir);
            let all = folder.generations().map_err(|e| e.to_string())?;
            let status = |number, bytes| {
                let base = GenerationStatus {
                    zone: place.zone.clone(),
                    generation: number,
                    bytes,
                    served: served == Some(number),
                    ..GenerationStatus::default()
                };
                match folder.load_generation(number, &place.zone, |_| Nothing) {
                    Ok(Restored { header, .. }) => GenerationStatus {
                        age_s: clock.age_ms(header.written_at_ms) / 1000,
                        proved_s: clock.age_ms(header.proved_at_ms) / 1000,
                        objects: header.objects(),
                        ..base
                    },
                    Err(reason) => GenerationStatus { unusable: Some(reason.to_string()), ..base },
                }
            };
            Ok(all.into_iter().map(|g| status(g.number, g.bytes)).collect())
        });
        read.await.unwrap_or_else(|| Ok(Vec::new()))
    }

    /// Serves the snapshot of this number, frozen for [`DEFAULT_FREEZE`] or as long as is said.
    pub async fn rollback(&self, generation: u64, for_: Option<Duration>) -> Outcome {
        let for_ = for_.unwrap_or(DEFAULT_FREEZE).min(MAX_FREEZE);
        let _keeping = self.keeping.lock().await;
        let read = self.on_disk(move |place| {
            let folder = Folder::look_at(place.disk.clone(), &place.dir);
            let restored = folder.load_generation(generation, &place.zone, |_| Builder::default());
            let Restored { header, sink, .. } = match restored {
                Ok(restored) => restored,
                Err(Reason::Unreadable(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Ok(None);
                }
                Err(reason) => return Err(format!("snapshot {generation} cannot be served: {reason}")),
            };
            let table = sink.finish(header.complete, header.serial);
            Ok(Some(Past { generation, table, header }))
        });
        let past = match read.await {
            None | Some(Ok(None)) => return Outcome::NoSuchGeneration { generation },
            Some(Err(why)) => return Outcome::Failed { why },
            Some(Ok(Some(past))) => Box::new(past),
        };
        match self.ask(|answer| Order::Rollback(past, for_, answer)).await {
            Ok(Some(frozen)) => {
                let outcome = Outcome::RolledBack { generation, remaining_s: for_.as_secs() };
                self.keep(frozen, outcome).await
            }
            Ok(None) => {
                let why =
                    format!("snapshot {generation} lacks what is served: labels, or a whole kind of objects");
                Outcome::Failed { why }
            }
            Err(outcome) => outcome,
        }
    }

    // === How it is done ===

    /// Keeps what is frozen, so that a restart does not thaw it.
    async fn keep(&self, frozen: Frozen, outcome: Outcome) -> Outcome {
        let Frozen { generation, mark, header } = frozen;
        let Some(header) = header else { return outcome };
        let kept = self.on_disk(move |place| {
            let objects = generation.table.objects();
            frozen::keep(&*place.disk, &place.dir, mark, &header, objects).map_err(|e| e.to_string())
        });
        match kept.await {
            Some(Err(why)) => {
                let why = format!("{outcome}; but a restart would forget it: {why}");
                tracing::error!(%why, "frozen in memory only");
                Outcome::Failed { why }
            }
            Some(Ok(())) | None => outcome,
        }
    }

    /// Asks the writer.
    async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Result<T, Outcome> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.orders.send(order(answer)).await.map_err(|_| "the store has stopped")?;
            answered.await.map_err(|_| "the store has stopped")
        };
        let failed = |why: &str| Outcome::Failed { why: why.to_owned() };
        match timeout(ANSWER_WITHIN, asked).await {
            Ok(answered) => answered.map_err(failed),
            Err(_) => {
                Err(failed("the store's writer has not answered in time; it may still do as it was told"))
            }
        }
    }

    /// Does something with the folder, on a thread that may block; `None` where there is no folder.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Place) -> Result<T, String> + Send + 'static,
    ) -> Option<Result<T, String>> {
        let place = self.place.clone()?;
        let done = tokio::task::spawn_blocking(move || work(&place)).await;
        Some(done.unwrap_or_else(|error| Err(format!("using the snapshot folder: {error}"))))
    }
}

/// Takes objects for nothing: a snapshot is read to find out whether it can be.
struct Nothing;

impl crate::snapshot::load::Sink for Nothing {
    fn take(&mut self, _: crate::zone::object::Object) {}
}
