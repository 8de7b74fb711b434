//! One upstream query for all who ask the same at the same time.
//!
//! Invariants:
//! * A flight is a task of its own: neither a client that goes away nor one that stops waiting ends it. But of those
//!   that nobody waits for there are at most [`MAX_EMPTY`]: one more, and the one that was left first ends.
//! * At most [`MAX_FLIGHTS`] are under way.
//! * Whatever becomes of it, a flight ends: its place is freed by a guard, and who waits for one that broke is told.
//! * Nothing that a flight does waits for a flight that others began: flights never wait for each other in a ring.
//! * No lock is held while waiting. Where two are held, the one of a part of the map was first.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::forward::cache::Key;
use crate::node::listen::MAX_WAITING;

/// Flights that nobody waits for: refreshes, and those whose clients have got something else or had to go. Under a
/// flood of names that hang they would go on for seconds each; so they have a moment in which to bring something back
/// for whoever asks next.
pub(super) const MAX_EMPTY: usize = MAX_WAITING / 4;

/// Flights at one time: one for each query that waits or is being sent away, the empty ones, and room for as many that
/// have to end and have not had their turn yet.
pub(super) const MAX_FLIGHTS: usize = 2 * MAX_WAITING;

/// The question that a flight is for, as the bytes of its [`Key`].
type Asked = Arc<[u8]>;

/// What a flight brings back, once it does.
type Landing<T> = watch::Receiver<Option<Arc<T>>>;

/// The flights of one cache; `T` is what they bring back.
pub(super) struct Flights<T> {
    /// By question.
    under_way: DashMap<Asked, Flight<T>>,
    /// Those that nobody waits for; the lowest number has been there for the longest time.
    empty: Mutex<BTreeMap<u64, Asked>>,
    /// The next number, of a flight or of one that becomes empty.
    next: AtomicU64,
    /// How many there are, those that have to end included until they have.
    count: AtomicUsize,
    /// How many there may be.
    max: usize,
    /// How many empty ones there may be.
    max_empty: usize,
}

/// A flight that is under way.
struct Flight<T> {
    /// Which of those for its question it is.
    number: u64,
    /// Gives what it brings back.
    landing: Landing<T>,
    /// How many wait for it.
    passengers: usize,
    /// Its number among the empty ones, while it is one.
    empty: Option<u64>,
    /// Ends it, once it is a task.
    task: Option<AbortHandle>,
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
pub(super) struct Waiting<T> {
    /// Gives what it brings back.
    landing: Landing<T>,
    /// That it is one of those who wait.
    _seat: Seat<T>,
}

impl<T: Send + Sync + 'static> Waiting<T> {
    /// What the flight brings back; `None` if it broke.
    pub(super) async fn outcome(mut self) -> Option<Arc<T>> {
        // An error says that the sender is gone; what it sent before that stays.
        let landed = self.landing.wait_for(Option::is_some).await;
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
    pub(super) fn new(max: usize, max_empty: usize) -> Self {
        Self {
            under_way: DashMap::new(),
            empty: Mutex::new(BTreeMap::new()),
            next: AtomicU64::new(0),
            count: AtomicUsize::new(0),
            max,
            max_empty,
        }
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
        let (landed, landing) = watch::channel(None);
        let asked: Asked = key.as_bytes().into();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        match self.under_way.entry(asked.clone()) {
            Entry::Occupied(mut entry) => return Boarding::Joined(self.join(entry.get_mut(), asked)),
            Entry::Vacant(_) if self.count() >= self.max => return Boarding::Full,
            Entry::Vacant(entry) => {
                let landing = landing.clone();
                entry.insert(Flight { number, landing, passengers: 1, empty: None, task: None });
                self.count.fetch_add(1, Ordering::Relaxed);
            }
        }
        let place = Place { flights: self.clone(), asked: asked.clone(), number };
        let seat = Seat { flights: self.clone(), asked: asked.clone(), number };
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
            let task = tokio::spawn(async move { land(flight.await) }).abort_handle();
            // It may have landed by now. It cannot have been ended: there is one who waits until this returns.
            if let Some(mut flight) = self.under_way.get_mut(&asked).filter(|flight| flight.number == number)
            {
                flight.task = Some(task);
            }
        }
        Boarding::First(Waiting { landing, _seat: seat })
    }

    /// Takes a seat in a flight that is under way.
    fn join(self: &Arc<Self>, flight: &mut Flight<T>, asked: Asked) -> Waiting<T> {
        flight.passengers += 1;
        if let Some(number) = flight.empty.take() {
            self.empty().remove(&number);
        }
        let seat = Seat { flights: self.clone(), asked, number: flight.number };
        Waiting { landing: flight.landing.clone(), _seat: seat }
    }
}

impl<T> Flights<T> {
    fn empty(&self) -> MutexGuard<'_, BTreeMap<u64, Asked>> {
        // Nothing in it panics half way.
        self.empty.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the flights that were left first, until no more are empty than may be. No part of the map may be locked.
    fn end_the_longest_empty(&self) {
        loop {
            let asked = {
                let mut empty = self.empty();
                if empty.len() <= self.max_empty {
                    return;
                }
                empty.pop_first()
            };
            let Some((number, asked)) = asked else { return };
            // Somebody may have boarded in the meantime.
            let is_that = |_: &Asked, flight: &Flight<T>| flight.empty == Some(number);
            if let Some((_, Flight { task: Some(task), .. })) = self.under_way.remove_if(&asked, is_that) {
                task.abort();
            }
        }
    }
}

/// The place of a flight, freed when it is dropped.
struct Place<T> {
    /// Where it is.
    flights: Arc<Flights<T>>,
    /// The question.
    asked: Asked,
    /// Which flight for that question it is.
    number: u64,
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        let is_this = |_: &Asked, flight: &Flight<T>| flight.number == self.number;
        // One that had to end is not there any more.
        if let Some((_, Flight { empty: Some(number), .. })) =
            self.flights.under_way.remove_if(&self.asked, is_this)
        {
            self.flights.empty().remove(&number);
        }
        self.flights.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A passenger's seat, given up when it is dropped.
struct Seat<T> {
    /// Where the flight is.
    flights: Arc<Flights<T>>,
    /// The question.
    asked: Asked,
    /// Which flight for that question it is.
    number: u64,
}

impl<T> Drop for Seat<T> {
    fn drop(&mut self) {
        let flights = &self.flights;
        let flight = flights.under_way.get_mut(&self.asked).filter(|flight| flight.number == self.number);
        // Most have landed.
        let Some(mut flight) = flight else { return };
        flight.passengers -= 1;
        if flight.passengers == 0 {
            let number = flights.next.fetch_add(1, Ordering::Relaxed);
            flight.empty = Some(number);
            flights.empty().insert(number, self.asked.clone());
            drop(flight);
            flights.end_the_longest_empty();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::yield_now;
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
        let flights = Arc::new(Flights::new(2, 2));
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
        let flights = Arc::new(Flights::new(2, 2));
        drop(board(&flights, 1, 10));
        assert_eq!(flights.count(), 1);
        let joined = board(&flights, 1, 11);
        assert_eq!(outcome(joined).await, ("joined", Some(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn of_too_many_that_nobody_waits_for_the_one_that_was_left_first_ends() {
        let flights = Arc::new(Flights::new(9, 2));
        let [a, b, c, d] = [1, 2, 3, 4].map(|kind| board(&flights, kind, 10 * u32::from(kind)));
        drop(b);
        drop(a);
        let joined = board(&flights, 2, 21);
        drop(c);
        assert_eq!(flights.count(), 4, "two are empty: 1 and 3");
        drop(joined);
        yield_now().await;
        assert_eq!(flights.count(), 3, "1 was left before 3, and 2 last");
        assert_eq!(outcome(board(&flights, 2, 22)).await, ("joined", Some(20)));
        assert_eq!(outcome(d).await, ("first", Some(40)));
        assert_eq!(outcome(board(&flights, 1, 11)).await, ("first", Some(11)), "a new flight");
        assert_eq!(flights.count(), 0);
        assert!(flights.empty().is_empty() && flights.under_way.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_flight_that_was_ended_brings_nothing_back() {
        let flights = Arc::new(Flights::new(9, 0));
        let landed = Arc::new(AtomicUsize::new(0));
        let count = landed.clone();
        let fly = move || async move {
            sleep(Duration::from_secs(1)).await;
            count.fetch_add(1, Ordering::Relaxed);
            10
        };
        drop(flights.board(&key(1), Takeoff::Attended, fly, || {}));
        yield_now().await;
        assert_eq!(flights.count(), 0);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(landed.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn flights_that_land_empty_leave_nothing_behind() {
        let flights = Arc::new(Flights::new(2, 2));
        for kind in 1..=2 {
            drop(board(&flights, kind, 10));
        }
        assert_eq!(flights.empty().len(), 2);
        sleep(Duration::from_secs(2)).await;
        assert_eq!((flights.count(), flights.empty().len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_there_at_once_needs_no_task() {
        let flights = Arc::new(Flights::new(2, 2));
        let now = |takeoff| flights.board(&key(1), takeoff, || async { 7 }, || {});
        assert!(matches!(now(Takeoff::Attended), Boarding::First(_)));
        assert_eq!(flights.count(), 0);
        let unattended = now(Takeoff::Unattended);
        assert_eq!(flights.count(), 1, "the caller is not held up");
        assert_eq!(outcome(unattended).await, ("first", Some(7)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flight_that_breaks_is_told_and_frees_its_place() {
        let flights: Arc<Flights<u32>> = Arc::new(Flights::new(2, 2));
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
