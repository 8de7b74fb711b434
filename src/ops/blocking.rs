//! Work that blocks, away from the threads of a runtime; in simulations on them, so that a play goes the same way each
//! time.
//!
//! How long a thread takes is a matter of chance, and with it what happens first. A simulation has the work done by a
//! task of its own thread, after as many turns of others as its seed says: what may happen before it or after it still
//! does, and does so again when the seed is played again.

use std::cell::RefCell;
use std::marker::PhantomData;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;

/// Turns of other tasks before the work of a simulation is done, at most: as many as a change takes to go from a source
/// to whoever follows it, about.
const MOST_TURNS: u32 = 12;

thread_local! {
    /// Says how many turns the next work of a simulation waits; none where there is no simulation.
    static TURNS: RefCell<Option<SmallRng>> = const { RefCell::new(None) };
}

/// Has `work` done where it may block. In a simulation it may not, and is done by this thread.
///
/// # Panics
/// Outside a runtime.
pub fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let turns = TURNS.with_borrow_mut(|turns| turns.as_mut().map(|rng| rng.random_range(0..=MOST_TURNS)));
    let Some(turns) = turns else { return tokio::task::spawn_blocking(work) };
    tokio::spawn(async move {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        work()
    })
}

/// While it lives, this thread simulates: it does itself what it spawns.
#[derive(Debug)]
pub struct Simulating(PhantomData<*const ()>);

impl Simulating {
    /// When what is spawned is done depends on the seed.
    pub fn begin(seed: u64) -> Self {
        TURNS.set(Some(SmallRng::seed_from_u64(seed)));
        Self(PhantomData)
    }
}

impl Drop for Simulating {
    fn drop(&mut self) {
        TURNS.set(None);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::thread::{self, ThreadId};

    use super::*;

    async fn done_by() -> ThreadId {
        spawn(|| thread::current().id()).await.expect("it does not panic")
    }

    #[tokio::test]
    async fn only_who_simulates_does_it_on_its_own_thread() {
        let us = thread::current().id();
        assert_ne!(done_by().await, us);
        let simulating = Simulating::begin(1);
        assert_eq!(done_by().await, us);
        drop(simulating);
        assert_ne!(done_by().await, us);
    }

    /// In which order ten pieces of work are done.
    async fn order(seed: u64) -> Vec<u32> {
        let _simulating = Simulating::begin(seed);
        let done = Arc::new(Mutex::new(Vec::new()));
        let piece = |number| {
            let done = done.clone();
            spawn(move || done.lock().unwrap().push(number))
        };
        for piece in (0..10).map(piece).collect::<Vec<_>>() {
            piece.await.unwrap();
        }
        done.lock().unwrap().clone()
    }

    #[tokio::test]
    async fn a_seed_is_an_order() {
        assert_eq!(order(1).await, order(1).await);
        assert_ne!(order(1).await, order(2).await);
    }
}
