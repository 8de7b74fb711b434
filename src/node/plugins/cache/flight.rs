//! One upstream query for all who ask the same at the same time.
//!
//! Invariants:
//! * A flight is a task of its own: neither a client that goes away nor one that stops waiting ends it.
//! * At most [`MAX_FLIGHTS`] are under way.
//! * Whatever becomes of it, a flight ends: its place is freed by a guard, and who waits for one that broke is told.
//! * Nothing that a flight does waits for a flight that others began: flights never wait for each other in a ring.
//! * No lock is held while waiting.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::forward::cache::Key;

/// Flights at one time: as many as queries that may wait, over all listeners.
pub(super) const MAX_FLIGHTS: usize = crate::node::listen::MAX_WAITING;

/// The flights of one cache; `T` is what they bring back.
pub(super) struct Flights<T> {
    /// By question.
    under_way: DashMap<Box<[u8]>, watch::Receiver<Option<Arc<T>>>>,
    /// How many there are.
    count: AtomicUsize,
    /// How many there may be.
    max: usize,
}

/// How one got on a flight.
pub(super) enum Boarding<T> {
    /// It was begun for this query.
    First(Waiting<T>),
    /// It was under way.
    Joined(Waiting<T>),
    /// There are as many as there may be.
    Full,
}

/// Somebody who waits for a flight.
pub(super) struct Waiting<T>(watch::Receiver<Option<Arc<T>>>);

impl<T: Send + Sync + 'static> Waiting<T> {
    /// What the flight brings back; `None` if it broke.
    pub(super) async fn outcome(mut self) -> Option<Arc<T>> {
        // An error says that the sender is gone; what it sent before that stays.
        let landed = self.0.wait_for(Option::is_some).await;
        landed.ok().and_then(|outcome| outcome.clone())
    }
}

/// How a flight begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takeoff {
    /// Somebody waits: what can be had without waiting is had at once, without a task.
    Attended,
    /// Nobody waits: the caller must not be held up.
    Unattended,
}

impl<T: Send + Sync + 'static> Flights<T> {
    pub(super) fn new(max: usize) -> Self {
        Self { under_way: DashMap::new(), count: AtomicUsize::new(0), max }
    }

    /// How many are under way.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Joins the flight for `key`, or begins one. To be called within the runtime. `broke` is called if it panics.
    pub(super) fn board<F>(
        self: &Arc<Self>,
        key: &Key,
        takeoff: Takeoff,
        fly: impl FnOnce() -> F,
        broke: impl FnOnce() + Send + 'static,
    ) -> Boarding<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (landed, waiting) = watch::channel(None);
        match self.under_way.entry(key.as_bytes().into()) {
            Entry::Occupied(flight) => return Boarding::Joined(Waiting(flight.get().clone())),
            Entry::Vacant(_) if self.count() >= self.max => return Boarding::Full,
            Entry::Vacant(place) => {
                place.insert(waiting.clone());
                self.count.fetch_add(1, Ordering::Relaxed);
            }
        }
        let place = Place { flights: self.clone(), key: key.clone() };
        let mut flight: BoxFuture<'static, _> = AssertUnwindSafe(fly()).catch_unwind().boxed();
        let land = move |outcome: std::thread::Result<T>| {
            // From here on the store answers, and a new question makes a new flight.
            drop(place);
            match outcome {
                // Nobody may be waiting any more.
                Ok(outcome) => drop(landed.send(Some(Arc::new(outcome)))),
                Err(_) => broke(),
            }
        };
        if takeoff == Takeoff::Attended
            && let Poll::Ready(outcome) = flight.poll_unpin(&mut Context::from_waker(Waker::noop()))
        {
            land(outcome);
        } else {
            tokio::spawn(async move { land(flight.await) });
        }
        Boarding::First(Waiting(waiting))
    }
}

/// The place of a flight, freed when it is dropped.
struct Place<T> {
    flights: Arc<Flights<T>>,
    key: Key,
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        self.flights.under_way.remove(self.key.as_bytes());
        self.flights.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;
    use crate::forward::cache::key::Question;

    fn key(kind: u16) -> Key {
        let asked = Question { name: b"\0", kind, class: 1, dnssec_ok: false, checking_disabled: false };
        Key::new(&asked).unwrap()
    }

    /// Boards a flight that takes a second and brings back `value`.
    fn board(flights: &Arc<Flights<u32>>, kind: u16, value: u32) -> Boarding<u32> {
        let fly = move || async move {
            sleep(Duration::from_secs(1)).await;
            value
        };
        flights.board(&key(kind), Takeoff::Attended, fly, || {})
    }

    async fn outcome(boarding: Boarding<u32>) -> (&'static str, Option<u32>) {
        match boarding {
            Boarding::First(waiting) => ("first", waiting.outcome().await.map(|value| *value)),
            Boarding::Joined(waiting) => ("joined", waiting.outcome().await.map(|value| *value)),
            Boarding::Full => ("full", None),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_question_shares_a_flight_and_others_have_theirs() {
        let flights = Arc::new(Flights::new(2));
        let (a, b, other, full) =
            (board(&flights, 1, 10), board(&flights, 1, 11), board(&flights, 2, 20), board(&flights, 3, 30));
        assert_eq!(flights.count(), 2);
        assert_eq!(outcome(a).await, ("first", Some(10)));
        assert_eq!(outcome(b).await, ("joined", Some(10)));
        assert_eq!(outcome(other).await, ("first", Some(20)));
        assert_eq!(outcome(full).await, ("full", None));
        assert_eq!(flights.count(), 0);
        assert_eq!(outcome(board(&flights, 1, 12)).await, ("first", Some(12)), "a new flight");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flight_goes_on_without_passengers() {
        let flights = Arc::new(Flights::new(2));
        drop(board(&flights, 1, 10));
        assert_eq!(flights.count(), 1);
        let joined = board(&flights, 1, 11);
        assert_eq!(outcome(joined).await, ("joined", Some(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_there_at_once_needs_no_task() {
        let flights = Arc::new(Flights::new(2));
        let now = |takeoff| flights.board(&key(1), takeoff, || async { 7 }, || {});
        assert!(matches!(now(Takeoff::Attended), Boarding::First(_)));
        assert_eq!(flights.count(), 0);
        let unattended = now(Takeoff::Unattended);
        assert_eq!(flights.count(), 1, "the caller is not held up");
        assert_eq!(outcome(unattended).await, ("first", Some(7)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flight_that_breaks_is_told_and_frees_its_place() {
        let flights: Arc<Flights<u32>> = Arc::new(Flights::new(2));
        let broken = Arc::new(AtomicUsize::new(0));
        for takeoff in [Takeoff::Attended, Takeoff::Unattended] {
            let count = broken.clone();
            let broke = move || {
                count.fetch_add(1, Ordering::Relaxed);
            };
            let boarding = flights.board(&key(1), takeoff, || async { panic!("as scripted") }, broke);
            assert_eq!(outcome(boarding).await, ("first", None));
        }
        assert_eq!((broken.load(Ordering::Relaxed), flights.count()), (2, 0));
    }
}
