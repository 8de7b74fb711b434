//! One query at several upstreams: which one first, the next one at once where one fails, and a second one beside
//! the first where that is late.
//!
//! Invariants:
//! * At most two upstreams work on a query at a time, and there is at most one second try beside a first
//!   one (a *hedge*).
//! * A hedge needs either a budget, or an upstream that has said nothing to anybody since it was asked: slow names
//!   must not double the load of the others, and a dead upstream must not cost its whole timeout.
//! * Attempts are counted, hedges included, and none starts after [`START_WINDOW`].

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rand::Rng;
use tokio::time::{Instant, sleep_until};

use super::error::ExchangeError;
use super::policy::Order;
use super::query::{Exchanged, Query, Transport};
use super::upstream::Upstream;
use super::{Forwarder, Outcome, Replied, START_WINDOW};

/// NOERROR and NXDOMAIN: what a name server has to say. With other codes it says that it cannot.
const ANSWERS: [u16; 2] = [0, 3];

/// What CoreDNS logs when there is nobody to ask.
const NO_HEALTHY: &str = "no healthy proxies";

/// What is logged while the addresses of upstreams are not known.
const NONE_KNOWN: &str = "no upstream is known yet: their names are being looked up";

impl Forwarder {
    /// Asks until there is a reply to pass on.
    pub(super) async fn ask_upstreams(&self, query: &Query<'_>, client: Transport) -> Outcome {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).earn();
        let known = self.roster.known();
        let mut tries = Tries::new(self, &known);
        let mut running = FuturesUnordered::new();
        let mut last = Last::default();
        // In a box: the set has room for one more than there are.
        let ask = async |index: usize| (index, known[index].ask(query, client).await);
        // When the only upstream that works on it is late.
        let mut late = None;
        let mut hedged = known.len() < 2;
        if let Some(index) = tries.next() {
            running.push(Box::pin(ask(index)));
            late = Some((index, Instant::now()));
        }
        while !running.is_empty() {
            let hedge = late.filter(|_| !hedged);
            let at = hedge.map_or_else(Instant::now, |(index, asked)| asked + known[index].patience());
            tokio::select! {
                // A reply that came while this process was held up is not late.
                biased;
                Some((index, result)) = running.next() => {
                    tries.ended(index);
                    let upstream = &known[index];
                    let goes_on = match result {
                        Ok(exchanged) => {
                            let failover = self.failover.contains(&exchanged.rcode());
                            let answers = ANSWERS.contains(&exchanged.rcode());
                            last.reply = Some(outcome(exchanged, upstream));
                            if !failover && (answers || running.is_empty()) {
                                break;
                            }
                            failover
                        }
                        Err(error) => {
                            tracing::debug!(%error, "upstream gave no reply");
                            last.error = Some(error);
                            true
                        }
                    };
                    // A reply that was kept counts for more than what a second round may bring.
                    let next = if last.reply.is_some() { tries.next_new() } else { tries.next() };
                    if goes_on && let Some(index) = next {
                        running.push(Box::pin(ask(index)));
                        late = Some((index, Instant::now()));
                    }
                }
                () = sleep_until(at), if hedge.is_some() => {
                    hedged = true;
                    let (index, asked) = hedge.unwrap_or((0, at));
                    let allowed = known[index].is_silent_since(asked) || self.spend(Instant::now());
                    if allowed && let Some(index) = tries.next_new() {
                        known[index].metrics().hedged();
                        running.push(Box::pin(ask(index)));
                    }
                }
            }
        }
        last.into_outcome(if known.is_empty() { NONE_KNOWN } else { NO_HEALTHY })
    }

    fn spend(&self, now: Instant) -> bool {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).spend(now)
    }
}

fn outcome(exchanged: Exchanged, upstream: &Upstream) -> Outcome {
    match exchanged {
        Exchanged::Reply { message, .. } => Outcome::Reply(Replied { message, from: upstream.addr() }),
        Exchanged::OtherQuestion { .. } => Outcome::FormErr,
    }
}

/// What there is if nothing better comes.
#[derive(Default)]
struct Last {
    /// The last reply.
    reply: Option<Outcome>,
    /// Why there was none.
    error: Option<ExchangeError>,
}

impl Last {
    /// `nobody` is the error where nobody was asked.
    fn into_outcome(self, nobody: &str) -> Outcome {
        self.reply.unwrap_or_else(|| match self.error {
            Some(error) => Outcome::Failed { network: Some(error.for_client()), error: error.to_string() },
            None => Outcome::Failed { network: None, error: nobody.to_owned() },
        })
    }
}

/// The upstreams of one query, in their order, and the limits of its attempts.
struct Tries<'a> {
    /// Whose limits count.
    forwarder: &'a Forwarder,
    /// Those that are known.
    known: &'a [Arc<Upstream>],
    /// The policy's order; those that nobody should wait for come last.
    order: Order,
    /// Whose turn it is.
    turn: usize,
    /// Attempts that were begun.
    begun: usize,
    /// When no more are begun.
    window_end: Instant,
    /// Those that were tried, a bit for each.
    tried: u16,
    /// Those that are at work, a bit for each.
    running: u16,
    /// Whether it was counted that all are down.
    counted: bool,
}

impl<'a> Tries<'a> {
    fn new(forwarder: &'a Forwarder, known: &'a [Arc<Upstream>]) -> Self {
        let now = Instant::now();
        let turn = forwarder.turn.fetch_add(1, Ordering::Relaxed);
        let mut order = forwarder.policy.order(known.len(), turn, &mut rand::rng());
        if known.len() > 1 {
            order.sort_by_key(|index| known[index].grade(now));
        }
        let window_end = now + START_WINDOW;
        Self { forwarder, known, order, turn: 0, begun: 0, window_end, tried: 0, running: 0, counted: false }
    }

    /// The next one that was not tried, however often others may be tried again.
    fn next_new(&mut self) -> Option<usize> {
        self.find(|tries, index| tries.tried & 1 << index == 0)
    }

    /// The next one: where another is at work still, one that was not tried; else anyone's turn comes again.
    fn next(&mut self) -> Option<usize> {
        if self.is_running() {
            return self.next_new();
        }
        self.find(|_, _| true).or_else(|| self.any_of_the_dead())
    }

    fn find(&mut self, fits: impl Fn(&Self, usize) -> bool) -> Option<usize> {
        for _ in 0..self.known.len() {
            let index = self.order.get(self.turn)?;
            self.turn += 1;
            if fits(self, index) && !self.known[index].is_down() {
                return self.begin(index);
            }
        }
        None
    }

    /// All are down: perhaps it is the probes that fail. As CoreDNS does, one of them is tried, anyone.
    fn any_of_the_dead(&mut self) -> Option<usize> {
        if self.known.is_empty() || !self.known.iter().all(|upstream| upstream.is_down()) {
            return None;
        }
        if !self.counted {
            self.forwarder.metrics.all_down.increment(1);
            self.counted = true;
        }
        if self.forwarder.failfast {
            return None;
        }
        self.begin(rand::rng().random_range(0..self.known.len()))
    }

    fn begin(&mut self, index: usize) -> Option<usize> {
        if self.begun >= self.forwarder.max_attempts || Instant::now() >= self.window_end {
            return None;
        }
        self.begun += 1;
        self.tried |= 1 << index;
        self.running |= 1 << index;
        Some(index)
    }

    const fn ended(&mut self, index: usize) {
        self.running &= !(1 << index);
    }

    const fn is_running(&self) -> bool {
        self.running != 0
    }
}
