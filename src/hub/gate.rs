//! Has [`super::admission`] decide when it is whose turn, and tells them.
//!
//! Who was called and makes no progress counts no longer: a follower that is stopped keeps what it has, and nobody waits
//! for it. The gate looks at the clock, because a stream whose follower does not read is not even asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::admission::{Admission, Limits, Ticket, Turn};
use super::metrics::GateMetrics;

/// How long one may make no progress and still count: a follower that reads at all has taken the next part by then.
const STALLED: Duration = Duration::from_secs(10);

/// The way to a whole state.
pub(super) struct Gate {
    /// Who waits.
    inner: Mutex<Inner>,
    /// There is something to decide.
    changed: Notify,
    /// What is measured.
    metrics: GateMetrics,
}

/// Who waits.
struct Inner {
    /// In which order.
    admission: Admission,
    /// Where each is told.
    waiters: HashMap<Ticket, oneshot::Sender<()>>,
    /// Those that count as being sent, and when each came further last.
    running: HashMap<Ticket, Instant>,
}

/// A place in the queue; dropped, it is given up.
pub(super) struct Place {
    /// Which gate.
    gate: Arc<Gate>,
    /// Which place.
    ticket: Ticket,
    /// Told when it is its turn.
    turn: oneshot::Receiver<()>,
    /// Whether it was.
    called: bool,
    /// Whether what it led to was taken.
    taken: bool,
}

/// The right to be sent a whole state; dropped, it goes to the next.
pub(super) struct Permit {
    /// Of which gate.
    gate: Arc<Gate>,
    /// What it counts as.
    ticket: Ticket,
}

impl Gate {
    pub(super) fn new(limits: Limits, metrics: GateMetrics) -> Arc<Self> {
        let admission = Admission::new(limits, Instant::now());
        let inner = Inner { admission, waiters: HashMap::new(), running: HashMap::new() };
        Arc::new(Self { inner: Mutex::new(inner), changed: Notify::new(), metrics })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls those whose turn it is, until `stop`.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let next = self.call(Instant::now());
            let until = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.changed.notified() => {}
                () = until => {}
            }
        }
    }

    /// Calls those whose turn it is, and says when it will be the next one's.
    fn call(&self, now: Instant) -> Option<Instant> {
        let mut inner = self.lock();
        let stalled = inner.pass_over(now);
        let next = loop {
            match inner.admission.turn(now) {
                Turn::Of(ticket) => {
                    inner.running.insert(ticket, now);
                    let told = inner.waiters.remove(&ticket).is_some_and(|waiter| waiter.send(()).is_ok());
                    if !told {
                        // It gave up in this moment.
                        inner.ended(ticket);
                    }
                }
                Turn::At(at) => break Some(at),
                Turn::Wait if inner.admission.waiting() == 0 => break None,
                Turn::Wait => break inner.running.values().min().map(|last| *last + STALLED),
            }
        };
        self.metrics.stalled.increment(stalled);
        self.metrics.waiting.set(inner.admission.waiting() as f64);
        self.metrics.running.set(inner.admission.running() as f64);
        next
    }

    /// The last place in the queue.
    pub(super) fn enter(self: &Arc<Self>) -> Place {
        let (waiter, turn) = oneshot::channel();
        let mut inner = self.lock();
        let ticket = inner.admission.enter();
        inner.waiters.insert(ticket, waiter);
        drop(inner);
        self.changed.notify_one();
        Place { gate: self.clone(), ticket, turn, called: false, taken: false }
    }
}

impl Inner {
    /// One that counted does no longer.
    fn ended(&mut self, ticket: Ticket) {
        if self.running.remove(&ticket).is_some() {
            self.admission.ended();
        }
    }

    /// Those that make no progress count no longer; how many there were.
    fn pass_over(&mut self, now: Instant) -> u64 {
        let before = self.running.len();
        self.running.retain(|_, last| now.saturating_duration_since(*last) < STALLED);
        let stalled = before - self.running.len();
        (0..stalled).for_each(|_| self.admission.ended());
        stalled as u64
    }
}

impl Place {
    /// Waits until it is its turn.
    pub(super) async fn called(&mut self) {
        if !self.called {
            match (&mut self.turn).await {
                Ok(()) => self.called = true,
                // Whoever calls has ended, and the process is about to.
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// How many are ahead of it.
    pub(super) fn ahead(&self) -> usize {
        self.gate.lock().admission.ahead(self.ticket)
    }

    /// The right that it led to, if it was called.
    pub(super) fn take(&mut self) -> Option<Permit> {
        if !self.called {
            self.called = self.turn.try_recv().is_ok();
        }
        if !self.called || self.taken {
            return None;
        }
        self.taken = true;
        Some(Permit { gate: self.gate.clone(), ticket: self.ticket })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.gate.lock();
        inner.admission.leave(self.ticket);
        inner.waiters.remove(&self.ticket);
        if !self.taken {
            // Called, it may be, and nobody took what it led to.
            inner.ended(self.ticket);
        }
        drop(inner);
        self.gate.changed.notify_one();
    }
}

impl Permit {
    /// A part of the whole state is on its way.
    pub(super) fn progress(&self) {
        if let Some(last) = self.gate.lock().running.get_mut(&self.ticket) {
            *last = Instant::now();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.lock().ended(self.ticket);
        self.gate.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::metrics::Metrics;

    fn gate(at_once: usize, rate: u32) -> Arc<Gate> {
        let gate = Gate::new(Limits { at_once, rate }, GateMetrics::new(&Metrics::new()));
        tokio::spawn(gate.clone().run(CancellationToken::new()));
        gate
    }

    #[tokio::test(start_paused = true)]
    async fn a_right_goes_on_to_the_next_whatever_becomes_of_it() {
        let gate = gate(1, 1000);
        let mut first = gate.enter();
        let (mut second, third, mut fourth) = (gate.enter(), gate.enter(), gate.enter());
        first.called().await;
        let permit = first.take().expect("called");
        drop(first);
        assert_eq!((second.ahead(), fourth.ahead()), (0, 2));
        drop(third);
        drop(permit);
        second.called().await;
        // Called, and gone without taking it.
        drop(second);
        fourth.called().await;
        assert!(fourth.take().is_some() && fourth.take().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_holds() {
        let gate = gate(1000, 10);
        let begun = Instant::now();
        for _ in 0..30 {
            let mut place = gate.enter();
            place.called().await;
            drop(place.take());
        }
        let took = begun.elapsed();
        assert!(took >= Duration::from_secs(2) && took < Duration::from_millis(2500), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_makes_no_progress_holds_nobody_up() {
        let gate = gate(2, 1000);
        let (mut slow, mut stopped, mut absent) = (gate.enter(), gate.enter(), gate.enter());
        let (mut next, mut last) = (gate.enter(), gate.enter());
        slow.called().await;
        stopped.called().await;
        let (slow, stopped) = (slow.take().expect("called"), stopped.take().expect("called"));
        let begun = Instant::now();
        for _ in 0..3 {
            tokio::time::advance(STALLED / 2).await;
            slow.progress();
            tokio::task::yield_now().await;
        }
        // The one that is stopped has been passed over for one that is called and does not come, which is, too.
        next.called().await;
        assert!(begun.elapsed() < 3 * STALLED, "{:?}", begun.elapsed());
        let next = next.take().expect("called");
        // Who goes on after all goes on, and gives back nothing that it does not have.
        stopped.progress();
        drop(stopped);
        assert!(absent.take().is_some());
        let counted = {
            let inner = gate.lock();
            (inner.admission.running(), inner.running.len())
        };
        assert_eq!(counted.0, counted.1);
        drop(slow);
        drop(next);
        last.called().await;
    }
}
