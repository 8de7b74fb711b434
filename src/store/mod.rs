//! The store: the table that is served, and how fresh it is.
//!
//! One [`Writer`](writer::Writer) task makes generations; everybody else reads. A reader takes one pointer
//! and is done; it never waits for the writer, whatever the writer does.
//!
//! Invariants:
//! * A published [`Generation`] never changes.
//! * Nothing on the query path touches more than this module's atomics.
//! * Data is never dropped because it is old; what age does to answers is decided at the answer.
//! * Only a proof of the source makes data younger: not a change, not a list.
//!
//! Reading order: `state` (what age does), `writer` (what an update does), and what it is made of: `lists` (lists
//! that are under way), `lineage` (how far the source has come), `staged` (what waits for what has been before),
//! `latency` and `report` (what is measured and said); `guard`,
//! `open_hold` and `accepted` (what is held back); `audit` (what an audit has found); then `keeper` (the disk), `control` and `status` (what operators order and see).

pub mod accepted;
mod audit;
pub mod control;
pub mod guard;
pub mod guard_config;
pub mod keeper;
mod latency;
mod lineage;
mod lists;
pub mod open_hold;
pub mod orders;
mod report;
mod staged;
pub mod state;
pub mod status;
pub mod triggers;
pub mod writer;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;
use tokio::time::Instant;

use self::open_hold::OpenHold;
use self::state::Facts;
use crate::source::Resume;
use crate::zone::Table;
use crate::zone::digest::Digest;
use crate::zone::held::HeldSet;
use crate::zone::object::Kind;

/// One published state of the data.
#[derive(Clone, Default)]
pub struct Generation {
    /// What is served.
    pub table: Table,
    /// Counts up from 1 with every change; 0 before there is any data.
    pub number: u64,
    /// Whether a source has confirmed it since this process started.
    pub verified: bool,
    /// How far its source had come with it.
    pub reached: Arc<Resume>,
    /// Objects that are served although the origin says otherwise.
    pub held: Arc<HeldSet>,
    /// Why they are.
    pub holds: Arc<[OpenHold]>,
    /// Set while an operator has it stay what it is.
    pub frozen: Option<Arc<Frozen>>,
}

impl Generation {
    /// The digest of a kind as it was received, whatever is held of it.
    pub fn received_digest(&self, kind: Kind) -> Digest {
        self.held.received_digest(&self.table, kind)
    }

    /// The hold that answers of a service are under. Allocates nothing.
    pub fn hold_of(&self, namespace: &[u8], service: &[u8]) -> Option<&OpenHold> {
        let id = self.held.is_held(namespace, service)?;
        self.holds.iter().find(|hold| hold.id == id)
    }

    /// The hold that the answer for a pod of this address is under: its own, or that of its namespace.
    pub fn hold_of_pod(&self, namespace: &[u8], address: IpAddr) -> Option<&OpenHold> {
        if self.held.is_empty() {
            return None;
        }
        let own = self.table.pod(namespace, address);
        let own = own.and_then(|pod| self.held.get(Kind::Pod, namespace, pod.name.as_bytes()));
        let id = own.or_else(|| self.held.get(Kind::Namespace, b"", namespace))?.hold();
        self.holds.iter().find(|hold| hold.id == id)
    }
}

/// What is served stays what it is, because an operator said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// Since when.
    pub since: Instant,
    /// When it ends by itself.
    pub until: Instant,
    /// The same in Unix milliseconds, for people.
    pub until_ms: u64,
    /// The number of the snapshot that is served in place of what was; `None` if what was served is.
    pub rolled_back_to: Option<u64>,
    /// When what is served was last proved to be current: milliseconds since the store's origin.
    proved: i64,
}

/// What the query path reads.
pub struct Store {
    /// The newest generation.
    current: ArcSwap<Generation>,
    /// What `proved` counts from.
    origin: Instant,
    /// When the data was last proved to be current: milliseconds since `origin`, negative for a snapshot that
    /// is older than this process; [`NEVER`] before the first proof.
    proved: AtomicI64,
    /// Says that there is another generation, or that it has come further.
    published: watch::Sender<()>,
}

/// No proof yet. Any proof is younger.
const NEVER: i64 = i64::MIN;

/// Whether a proof counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// It is the youngest that is known.
    Taken,
    /// A younger one is known: age never goes backwards.
    Older,
}

impl Store {
    /// A store without data.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            current: ArcSwap::from_pointee(Generation::default()),
            origin: Instant::now(),
            proved: AtomicI64::new(NEVER),
            published: watch::Sender::new(()),
        })
    }

    /// The newest generation; a pointer, taken without a lock.
    pub fn current(&self) -> Guard<Arc<Generation>> {
        self.current.load()
    }

    /// How long ago the data that is served was last proved to be current; without any proof, how long ago the store
    /// was made.
    pub fn age(&self) -> Duration {
        self.age_of(&self.current(), Instant::now())
    }

    /// How long before `now` a generation was last proved to be current.
    fn age_of(&self, generation: &Generation, now: Instant) -> Duration {
        self.since(self.proved_of(generation), now)
    }

    /// When a generation was last proved to be current; [`NEVER`] before the first proof.
    fn proved_of(&self, generation: &Generation) -> i64 {
        // Invariant: what is received behind what is frozen proves nothing of it.
        generation.frozen.as_ref().map_or_else(|| self.proved.load(Ordering::Acquire), |f| f.proved)
    }

    /// How long ago what was received was last proved, whatever is served.
    fn received_age(&self) -> Duration {
        self.since(self.proved.load(Ordering::Acquire), Instant::now())
    }

    fn since(&self, proved: i64, now: Instant) -> Duration {
        let now = millis(now.saturating_duration_since(self.origin));
        let age = match proved {
            NEVER => now,
            proved => now.saturating_sub(proved),
        };
        Duration::from_millis(u64::try_from(age).unwrap_or(0))
    }

    /// When something was last proved to be current whose proof is so old.
    fn proved_before(&self, age: Duration) -> i64 {
        millis(self.origin.elapsed()).saturating_sub(millis(age))
    }

    /// What a generation's state is judged by.
    pub fn facts(&self, generation: &Generation) -> Facts {
        self.facts_at(generation, Instant::now())
    }

    /// The same, where it is known what time it is.
    pub fn facts_at(&self, generation: &Generation, now: Instant) -> Facts {
        Facts {
            complete: generation.table.complete(),
            verified: generation.verified,
            age: self.age_of(generation, now),
            proved: self.proved_of(generation) != NEVER,
        }
    }

    /// Holds a table that is what it is, e.g. to answer from a snapshot offline.
    pub fn hold(&self, table: Table) {
        self.publish(Generation { table, number: 1, verified: true, ..Generation::default() });
        self.prove(Instant::now());
    }

    /// Only the writer publishes.
    fn publish(&self, generation: Generation) {
        self.current.store(Arc::new(generation));
        self.published.send_replace(());
    }

    /// Says that there is another generation, or that it has come further; several in a row may be said once.
    pub fn published(&self) -> watch::Receiver<()> {
        self.published.subscribe()
    }

    /// The data was current at this time.
    fn prove(&self, as_of: Instant) -> Proof {
        let at = match as_of.checked_duration_since(self.origin) {
            Some(since) => millis(since),
            None => -millis(self.origin.duration_since(as_of)),
        };
        self.prove_at(at)
    }

    /// The data was current this long ago; longer than a monotonic clock may reach.
    fn prove_ago(&self, ago: Duration) -> Proof {
        self.prove_at(millis(self.origin.elapsed()).saturating_sub(millis(ago)))
    }

    fn prove_at(&self, at: i64) -> Proof {
        // Invariant: an older proof than the one known is no news, whoever brings it.
        if self.proved.fetch_max(at, Ordering::AcqRel) > at { Proof::Older } else { Proof::Taken }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_age_counts_from_the_last_proof() {
        let seconds = Duration::from_secs;
        let store = Store::new();
        assert_eq!(store.age(), seconds(0), "without data there is nothing to be old");
        store.prove_ago(seconds(3600));
        assert_eq!(store.age(), seconds(3600), "a snapshot is older than the process");
        tokio::time::advance(seconds(5)).await;
        assert_eq!(store.age(), seconds(3605));
        store.prove(Instant::now());
        assert_eq!(store.age(), seconds(0));
        tokio::time::advance(seconds(7)).await;
        assert_eq!(store.age(), seconds(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_proof_may_be_of_the_past_but_age_never_goes_backwards() {
        let seconds = Duration::from_secs;
        tokio::time::advance(seconds(100)).await;
        let store = Store::new();
        tokio::time::advance(seconds(10)).await;
        assert_eq!(store.age(), seconds(10), "since the process began");
        let ago = |age| Instant::now() - seconds(age);
        assert_eq!((store.prove(ago(40)), store.age()), (Proof::Taken, seconds(40)), "before the process");
        assert_eq!((store.prove(ago(20)), store.age()), (Proof::Taken, seconds(20)));
        assert_eq!((store.prove(ago(21)), store.age()), (Proof::Older, seconds(20)));
        assert_eq!((store.prove(ago(20)), store.age()), (Proof::Taken, seconds(20)), "the same one again");
        assert_eq!((store.prove_ago(seconds(50)), store.age()), (Proof::Older, seconds(20)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_date_of_1970_is_an_age_too() {
        let store = Store::new();
        store.prove_ago(Duration::MAX);
        assert!(store.age() > Duration::from_secs(u64::from(u32::MAX)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_keeps_the_generation_that_it_took() {
        let store = Store::new();
        store.hold(Table::default());
        let held = store.current().clone();
        store.publish(Generation { table: Table::default(), number: 2, ..Generation::default() });
        assert_eq!((held.number, held.verified), (1, true));
        assert_eq!((store.current().number, store.current().verified), (2, false));
        assert!(!store.facts(&store.current()).verified);
        assert!(store.facts(&held).verified, "facts are of the generation that is asked about");
    }
}
