//! The store: the table that is served, and how fresh it is.
//!
//! One [`Writer`](writer::Writer) task makes generations; everybody else reads. A reader takes one pointer
//! and is done; it never waits for the writer, whatever the writer does.
//!
//! Invariants:
//! * A published [`Generation`] never changes.
//! * Nothing on the query path touches more than this module's atomics.
//! * Data is never dropped because it is old; what age does to answers is decided at the answer.

pub mod keeper;
pub mod state;
pub mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::time::Instant;

use self::state::Facts;
use crate::zone::Table;

/// One published state of the data.
#[derive(Clone, Default)]
pub struct Generation {
    /// What is served.
    pub table: Table,
    /// Counts up from 1 with every change; 0 before there is any data.
    pub number: u64,
    /// Whether a source has confirmed it since this process started.
    pub verified: bool,
}

/// What the query path reads.
pub struct Store {
    /// The newest generation.
    current: ArcSwap<Generation>,
    /// What `proved` counts from.
    origin: Instant,
    /// When the data was last proved to be current: milliseconds since `origin`, negative for a snapshot that
    /// is older than this process.
    proved: AtomicI64,
}

impl Store {
    /// A store without data.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            current: ArcSwap::from_pointee(Generation::default()),
            origin: Instant::now(),
            proved: AtomicI64::new(0),
        })
    }

    /// The newest generation; a pointer, taken without a lock.
    pub fn current(&self) -> Guard<Arc<Generation>> {
        self.current.load()
    }

    /// How long ago the data was last proved to be current.
    pub fn age(&self) -> Duration {
        let now = millis(self.origin.elapsed());
        let age = now.saturating_sub(self.proved.load(Ordering::Acquire));
        Duration::from_millis(u64::try_from(age).unwrap_or(0))
    }

    /// What a generation's state is judged by.
    pub fn facts(&self, generation: &Generation) -> Facts {
        Facts { complete: generation.table.complete(), verified: generation.verified, age: self.age() }
    }

    /// Holds a table that is what it is, e.g. to answer from a snapshot offline.
    pub fn hold(&self, table: Table) {
        self.publish(Generation { table, number: 1, verified: true });
        self.prove(Duration::ZERO);
    }

    /// Only the writer publishes.
    fn publish(&self, generation: Generation) {
        self.current.store(Arc::new(generation));
    }

    /// The data was proved to be current this long ago.
    fn prove(&self, ago: Duration) {
        let at = millis(self.origin.elapsed()).saturating_sub(millis(ago));
        self.proved.store(at, Ordering::Release);
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
        store.prove(seconds(3600));
        assert_eq!(store.age(), seconds(3600), "a snapshot is older than the process");
        tokio::time::advance(seconds(5)).await;
        assert_eq!(store.age(), seconds(3605));
        store.prove(Duration::ZERO);
        assert_eq!(store.age(), seconds(0));
        tokio::time::advance(seconds(7)).await;
        assert_eq!(store.age(), seconds(7));
        store.prove(Duration::MAX);
        assert!(store.age() > seconds(u64::from(u32::MAX)), "a date of 1970 is an age, too");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_keeps_the_generation_that_it_took() {
        let store = Store::new();
        store.hold(Table::default());
        let held = store.current().clone();
        store.publish(Generation { table: Table::default(), number: 2, verified: false });
        assert_eq!((held.number, held.verified), (1, true));
        assert_eq!((store.current().number, store.current().verified), (2, false));
        assert!(!store.facts(&store.current()).verified);
        assert!(store.facts(&held).verified, "facts are of the generation that is asked about");
    }
}
