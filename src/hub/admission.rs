//! Who gets a whole state next. Pure: what time it is comes from outside.
//!
//! Invariants:
//! * No more than so many are sent at once, and no more than so many a second are begun: a hub that all of its
//!   followers come back to at once goes on telling those that are in sync.
//! * First come, first served.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Default, least and largest of how many whole states are sent at once: enough to fill any network card, few enough
/// that each has its share of it.
pub const AT_ONCE: (usize, usize, usize) = (64, 1, 10_000);

/// Default, least and largest of how many a second are begun: a thousand followers take 20 seconds, and no more than
/// a fraction of a processor.
pub const RATE: (u32, u32, u32) = (50, 1, 10_000);

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// Limits of whole states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// At once.
    pub at_once: usize,
    /// Begun a second, and at once after a pause.
    pub rate: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { at_once: AT_ONCE.0, rate: RATE.0 }
    }
}

/// The queue.
#[derive(Debug)]
pub struct Admission {
    /// What is allowed.
    limits: Limits,
    /// How many are being sent.
    running: usize,
    /// How many may be begun now, as far as the rate goes.
    tokens: f64,
    /// When `tokens` was right.
    counted: Instant,
    /// Those that wait, in their order.
    queue: VecDeque<Ticket>,
    /// The next to be given out.
    next: u64,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is this one's turn; it counts as being sent from now on.
    Of(Ticket),
    /// It will be somebody's at this time.
    At(Instant),
    /// Nobody waits, or somebody has to end first.
    Wait,
}

impl Admission {
    /// Nobody waits yet.
    pub fn new(limits: Limits, now: Instant) -> Self {
        let tokens = limits.rate.into();
        Self { limits, running: 0, tokens, counted: now, queue: VecDeque::new(), next: 0 }
    }

    /// The last place in the queue.
    pub fn enter(&mut self) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.queue.push_back(ticket);
        ticket
    }

    /// This one waits no longer.
    pub fn leave(&mut self, ticket: Ticket) {
        if let Ok(at) = self.queue.binary_search(&ticket) {
            self.queue.remove(at);
        }
    }

    /// One that it was the turn of has ended.
    pub fn ended(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// How many are ahead of this one.
    pub fn ahead(&self, ticket: Ticket) -> usize {
        self.queue.binary_search(&ticket).unwrap_or(0)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// How many are being sent.
    pub const fn running(&self) -> usize {
        self.running
    }

    /// Whose turn it is.
    pub fn turn(&mut self, now: Instant) -> Turn {
        if self.queue.is_empty() || self.running >= self.limits.at_once {
            return Turn::Wait;
        }
        let rate = f64::from(self.limits.rate);
        let passed = now.saturating_duration_since(self.counted).as_secs_f64();
        self.tokens = (self.tokens + passed * rate).min(rate);
        self.counted = now;
        if self.tokens < 1.0 {
            // A millisecond more than it takes, so that rounding does not make it two waits.
            let wait = Duration::from_secs_f64((1.0 - self.tokens) / rate) + Duration::from_millis(1);
            return Turn::At(now + wait);
        }
        let Some(ticket) = self.queue.pop_front() else { return Turn::Wait };
        self.tokens -= 1.0;
        self.running += 1;
        Turn::Of(ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those whose turn it is now.
    fn turns(admission: &mut Admission, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| match admission.turn(now) {
            Turn::Of(Ticket(n)) => Some(n),
            Turn::At(_) | Turn::Wait => None,
        })
        .collect()
    }

    #[test]
    fn first_come_first_served_within_number_and_rate() {
        let start = Instant::now();
        let mut admission = Admission::new(Limits { at_once: 3, rate: 4 }, start);
        let tickets: Vec<_> = (0..10).map(|_| admission.enter()).collect();
        assert_eq!(turns(&mut admission, start), [0, 1, 2], "so many at once");
        assert_eq!(admission.turn(start), Turn::Wait);
        assert_eq!((admission.ahead(tickets[3]), admission.ahead(tickets[9])), (0, 6));
        admission.leave(tickets[4]);
        assert_eq!((admission.ahead(tickets[9]), admission.waiting()), (5, 6));
        (0..3).for_each(|_| admission.ended());
        assert_eq!(turns(&mut admission, start), [3], "the rate has one left");
        let Turn::At(next) = admission.turn(start) else { unreachable!("more wait") };
        assert!(next - start >= Duration::from_millis(250) && next - start < Duration::from_millis(260));
        assert_eq!(turns(&mut admission, next), [5], "who left is passed over");
        assert_eq!(turns(&mut admission, start + Duration::from_secs(60)), [6], "and again the number");
    }

    #[test]
    fn a_pause_saves_up_no_more_than_a_second() {
        let start = Instant::now();
        let mut admission = Admission::new(Limits { at_once: 100, rate: 5 }, start);
        let later = start + Duration::from_secs(3600);
        (0..10).for_each(|_| {
            admission.enter();
        });
        assert_eq!(turns(&mut admission, later).len(), 5);
    }
}
