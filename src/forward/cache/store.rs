//! The store: three shelves (positive replies, denials, failures) within one bound of bytes.
//!
//! Invariants:
//! * Bytes never exceed the bound, not even for a moment; entries of a class never exceed theirs.
//! * What is counted is what is there: one writer at a time does both.
//! * A lookup takes no lock that a writer holds for longer than it takes to put one entry into a map.
//! * An answer takes the place of all that was known of its question before, but for records that are preferred to a
//!   denial on purpose.
//!
//! Known weakness: the bytes of an entry are computed, not measured; what the allocator adds for rounding is not
//! among them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::time::Instant;

use super::entry::{Class, Entry, Usage};
use super::failure::{Failure, Reason};
use super::key::Key;
use super::moment::Moment;
use super::packet::Packet;
use super::persisted::Persisted;
use super::policy::{Policy, Refresh};
use super::refresh::{self, Cause};
use super::shelf::{Rank, Ring, Shelf};
use crate::ops::jitter::Jitter;

/// Entries of a class where nothing else is said: CoreDNS's figure.
pub const CAPACITY: usize = 10_000;

/// The most entries that a class may have. Each has a place in a ring and a slot in a map, which grow by doubling:
/// a bound beyond what bytes allow would mean nothing.
pub const MAX_CAPACITY: usize = 1 << 24;

/// Bytes where nothing else is said: twice what 20,000 entries of a usual size need, and little beside the memory of
/// a node.
pub const MAX_BYTES: usize = 32 << 20;

/// The fewest bytes: room for any one reply.
pub const LEAST_BYTES: usize = 128 << 10;

/// Bounds of what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of everything, in bytes.
    pub bytes: usize,
    /// Of positive replies, in entries.
    pub success: usize,
    /// Of denials and, counted apart, of failures, in entries.
    pub denial: usize,
    /// How long after its end an entry is of use.
    pub keep: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: MAX_BYTES, success: CAPACITY, denial: CAPACITY, keep: super::policy::STALE_MAX }
    }
}

/// A reply that can be kept.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What it says.
    pub class: Class,
    /// The reply; every record in it has the TTL below.
    pub reply: Packet,
    /// For how many seconds it is good.
    pub ttl: u32,
}

/// A failure that can be remembered.
#[derive(Clone, Debug)]
pub struct Failed {
    /// SERVFAIL or NOTIMP.
    pub rcode: u8,
    /// RA of the upstream's reply.
    pub recursion_available: bool,
    /// Whether an upstream said so.
    pub by_upstream: bool,
    /// Why, if anybody knows.
    pub reason: Option<Reason>,
}

/// What is known of a question.
#[derive(Debug, Default)]
pub struct Found {
    /// Its records.
    pub positive: Option<Arc<Entry>>,
    /// That it has none.
    pub denial: Option<Arc<Entry>>,
    /// That it could not be answered; not looked up where there is a good answer.
    pub failure: Option<Arc<Failure>>,
}

/// What had to go for something that came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Positive replies.
    pub success: u64,
    /// Denials and failures.
    pub denial: u64,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Positive replies.
    pub success: usize,
    /// Denials and failures.
    pub denial: usize,
    /// All of them, in bytes.
    pub bytes: usize,
}

/// What is kept; see the module's head.
pub struct Store {
    /// Positive replies.
    positive: Shelf<Entry>,
    /// Denials.
    denials: Shelf<Entry>,
    /// Failures.
    failures: Shelf<Failure>,
    /// What belongs to the one writer. Held for a constant time, and never while waiting.
    books: Mutex<Books>,
    /// `Books::bytes`, for whoever only wants to know.
    bytes: AtomicUsize,
    /// How often something has been kept that was not before.
    changes: AtomicU64,
    /// When the clock began.
    origin: Instant,
    /// Spreads refreshes.
    jitter: Jitter,
}

/// What the writer of a store writes beside the shelves.
struct Books {
    /// Keys of positive replies.
    positive: Ring,
    /// Keys of denials.
    denials: Ring,
    /// Keys of failures.
    failures: Ring,
    /// What all entries count as.
    bytes: usize,
    /// The bounds.
    limits: Limits,
    /// Draws what goes.
    rng: SmallRng,
}

/// One of the shelves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Positive,
    Denials,
    Failures,
}

impl Store {
    /// An empty store; its clock begins now.
    pub fn new(limits: Limits, jitter: Jitter) -> Self {
        // A seed of the same source, so that a seeded store is reproducible as a whole.
        let seed = jitter.unit().to_bits();
        Self {
            positive: Shelf::new(),
            denials: Shelf::new(),
            failures: Shelf::new(),
            books: Mutex::new(Books {
                positive: Ring::default(),
                denials: Ring::default(),
                failures: Ring::default(),
                bytes: 0,
                limits,
                rng: SmallRng::seed_from_u64(seed),
            }),
            bytes: AtomicUsize::new(0),
            changes: AtomicU64::new(0),
            origin: Instant::now(),
            jitter,
        }
    }

    /// The time.
    pub fn now(&self) -> Moment {
        Moment::START.after(self.origin.elapsed())
    }

    /// A moment of the runtime's clock; what was before the store is its beginning.
    pub fn moment(&self, at: Instant) -> Moment {
        Moment::START.after(at.saturating_duration_since(self.origin))
    }

    /// What spreads refreshes.
    pub const fn jitter(&self) -> &Jitter {
        &self.jitter
    }

    /// What is known of a question.
    pub fn find(&self, key: &Key, now: Moment) -> Found {
        let key = key.as_bytes();
        let (denial, positive) = (self.denials.get(key), self.positive.get(key));
        let good = [&denial, &positive].into_iter().flatten().any(|entry| entry.is_fresh(now));
        let failure = if good { None } else { self.failures.get(key) };
        Found { positive, denial, failure }
    }

    /// Keeps an answer in the place of what was known of its question. One that is larger than the whole bound is
    /// not kept.
    pub fn keep(&self, key: &Key, answer: Answer, policy: &Policy, cause: Cause, now: Moment) -> Evicted {
        let Answer { class, reply, ttl } = answer;
        let key = key.as_bytes();
        let due = refresh::due(policy.refresh, ttl, now, cause, &self.jitter);
        let mut usage = Usage::new(now);
        let shelf = if class.is_denial() { &self.denials } else { &self.positive };
        if matches!(policy.refresh, Refresh::Popular { .. })
            && let Some(before) = shelf.get(key)
        {
            // A popular name stays popular, as in CoreDNS.
            usage = usage.with_hits(before.usage.hits());
        }
        let entry = Entry { reply, class, stored: now, ttl, due, usage };
        let mut books = self.books();
        let mut evicted = Evicted::default();
        if class.is_denial() {
            if !policy.prefer_positive {
                self.remove(&mut books, Place::Positive, key);
            }
        } else {
            self.remove(&mut books, Place::Denials, key);
        }
        self.remove(&mut books, Place::Failures, key);
        let place = if class.is_denial() { Place::Denials } else { Place::Positive };
        let weight = Shelf::<Entry>::weight(key, &entry);
        if self.make_room(&mut books, place, key, weight, now, &mut evicted) {
            let ring = if class.is_denial() { &mut books.denials } else { &mut books.positive };
            shelf.put(ring, key, entry);
        } else {
            // What is known now must not be contradicted by what was known before.
            self.remove(&mut books, place, key);
        }
        self.settle(&mut books, place, now);
        self.changes.fetch_add(1, Ordering::Relaxed);
        evicted
    }

    /// How often something has been kept: whoever writes the cache down compares it with what it was.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Remembers a failure, for `first` or, if it is a repetition, for longer.
    pub fn remember(&self, key: &Key, failed: Failed, first: Duration, now: Moment) -> Evicted {
        let mut evicted = Evicted::default();
        if first.is_zero() {
            return evicted;
        }
        let key = key.as_bytes();
        let Failed { rcode, recursion_available, by_upstream, reason } = failed;
        let mut books = self.books();
        let wait = Failure::next_wait(self.failures.get(key).as_deref(), first, now);
        let until = now.after(wait);
        let failure = Failure { rcode, recursion_available, by_upstream, reason, wait, until };
        let weight = Shelf::<Failure>::weight(key, &failure);
        if self.make_room(&mut books, Place::Failures, key, weight, now, &mut evicted) {
            self.failures.put(&mut books.failures, key, failure);
        }
        self.settle(&mut books, Place::Failures, now);
        evicted
    }

    /// Applies other bounds, at once. Takes as long as what is too much needs to go: not for the query path.
    pub fn set_limits(&self, limits: Limits) -> Evicted {
        let (now, mut evicted) = (self.now(), Evicted::default());
        let mut books = self.books();
        books.limits = limits;
        for place in [Place::Positive, Place::Denials, Place::Failures] {
            while books.ring(place).len() > books.cap(place) {
                self.evict(&mut books, Some(place), now, &mut evicted);
            }
        }
        while books.bytes > limits.bytes {
            self.evict(&mut books, None, now, &mut evicted);
        }
        self.bytes.store(books.bytes, Ordering::Relaxed);
        evicted
    }

    /// Forgets every failure: whoever is asked from now on has not failed yet.
    pub fn forget_failures(&self) {
        let now = self.now();
        let mut books = self.books();
        for key in books.failures.keys() {
            self.remove(&mut books, Place::Failures, &key);
        }
        self.settle(&mut books, Place::Failures, now);
    }

    /// The bounds.
    pub fn limits(&self) -> Limits {
        self.books().limits
    }

    /// How much is kept.
    pub fn size(&self) -> Size {
        let books = self.books();
        let denial = books.denials.len() + books.failures.len();
        Size { success: books.positive.len(), denial, bytes: books.bytes }
    }

    /// What all that is kept counts as, in bytes, without waiting for a writer.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    // === Leaving the process and coming back ===

    /// All answers that are of any use, one after the other; what comes or goes meanwhile is in or not. Writers wait
    /// only while keys are copied.
    pub fn export(&self, now: Moment) -> impl Iterator<Item = Persisted> + Send + '_ {
        let (positive, denials, keep) = {
            let books = self.books();
            (books.positive.keys(), books.denials.keys(), books.limits.keep)
        };
        let positive = positive.into_iter().map(|key| (self.positive.get(&key), key));
        let denials = denials.into_iter().map(|key| (self.denials.get(&key), key));
        positive.chain(denials).filter_map(move |(entry, key)| {
            let entry = entry.filter(|entry| entry.is_fresh(now) || entry.is_stale(now, keep))?;
            Persisted::new(&key, &entry, now)
        })
    }

    /// Takes an answer back that [`Self::export`] gave, perhaps of another process. What is known already is newer,
    /// and stays. Returns whether it was taken: what does not fit together, or is of no use any more, is not.
    pub fn import(&self, item: Persisted, now: Moment) -> bool {
        let Some((key, entry)) = item.into_entry(now, &self.jitter) else { return false };
        let mut books = self.books();
        let keep = books.limits.keep;
        let known = self.positive.get(key.as_bytes()).is_some() || self.denials.get(key.as_bytes()).is_some();
        if known || !(entry.is_fresh(now) || entry.is_stale(now, keep)) {
            return false;
        }
        let denial = entry.class.is_denial();
        let place = if denial { Place::Denials } else { Place::Positive };
        let weight = Shelf::<Entry>::weight(key.as_bytes(), &entry);
        // A file must not push out what it has just brought: when it is full, it is full.
        let fits = books.ring(place).len() < books.cap(place) && books.bytes + weight <= books.limits.bytes;
        if fits {
            let (shelf, ring) = if denial {
                (&self.denials, &mut books.denials)
            } else {
                (&self.positive, &mut books.positive)
            };
            shelf.put(ring, key.as_bytes(), entry);
            books.bytes += weight;
            self.bytes.store(books.bytes, Ordering::Relaxed);
        }
        fits
    }

    // === The writer ===

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for an entry that takes the place of the one of the same key, and counts it. `false` if there is
    /// none to be made; nothing is counted then.
    fn make_room(
        &self,
        books: &mut Books,
        place: Place,
        key: &[u8],
        weight: usize,
        now: Moment,
        evicted: &mut Evicted,
    ) -> bool {
        if weight > books.limits.bytes || books.cap(place) == 0 {
            return false;
        }
        while self.weight_of(place, key) == 0 && books.ring(place).len() >= books.cap(place) {
            self.evict(books, Some(place), now, evicted);
        }
        // What goes may be the one whose place is taken: it is looked up each time.
        while books.bytes - self.weight_of(place, key) + weight > books.limits.bytes {
            self.evict(books, None, now, evicted);
        }
        books.bytes = books.bytes - self.weight_of(place, key) + weight;
        true
    }

    /// Drops the entry that can best be done without: of one shelf, or of all.
    fn evict(&self, books: &mut Books, place: Option<Place>, now: Moment, evicted: &mut Evicted) {
        let keep = books.limits.keep;
        let mut worst: Option<(Rank, Place, Arc<[u8]>)> = None;
        for candidate in [Place::Positive, Place::Denials, Place::Failures] {
            if place.is_some_and(|place| place != candidate) {
                continue;
            }
            let Books { positive, denials, failures, rng, .. } = &mut *books;
            let drawn = match candidate {
                Place::Positive => self.positive.worst(positive, now, keep, rng),
                Place::Denials => self.denials.worst(denials, now, keep, rng),
                Place::Failures => self.failures.worst(failures, now, keep, rng),
            };
            if let Some((rank, key)) = drawn
                && worst.as_ref().is_none_or(|(other, ..)| rank > *other)
            {
                worst = Some((rank, candidate, key));
            }
        }
        let Some((_, place, key)) = worst else { return };
        self.remove(books, place, &key);
        match place {
            Place::Positive => evicted.success += 1,
            Place::Denials | Place::Failures => evicted.denial += 1,
        }
    }

    /// Takes an entry out, and off the count.
    fn remove(&self, books: &mut Books, place: Place, key: &[u8]) {
        let weight = match place {
            Place::Positive => self.positive.remove(&mut books.positive, key),
            Place::Denials => self.denials.remove(&mut books.denials, key),
            Place::Failures => self.failures.remove(&mut books.failures, key),
        };
        books.bytes -= weight.unwrap_or_default();
    }

    fn weight_of(&self, place: Place, key: &[u8]) -> usize {
        match place {
            Place::Positive => self.positive.weight_of(key),
            Place::Denials => self.denials.weight_of(key),
            Place::Failures => self.failures.weight_of(key),
        }
    }

    /// The end of a write: a bit of sweeping, and the count for everybody.
    fn settle(&self, books: &mut Books, place: Place, now: Moment) {
        let keep = books.limits.keep;
        books.bytes -= match place {
            Place::Positive => self.positive.sweep(&mut books.positive, now, keep),
            Place::Denials => self.denials.sweep(&mut books.denials, now, keep),
            Place::Failures => self.failures.sweep(&mut books.failures, now, keep),
        };
        self.bytes.store(books.bytes, Ordering::Relaxed);
    }
}

impl Books {
    const fn ring(&self, place: Place) -> &Ring {
        match place {
            Place::Positive => &self.positive,
            Place::Denials => &self.denials,
            Place::Failures => &self.failures,
        }
    }

    const fn cap(&self, place: Place) -> usize {
        match place {
            Place::Positive => self.limits.success,
            Place::Denials | Place::Failures => self.limits.denial,
        }
    }
}

impl Found {
    /// Whether nothing is known.
    pub const fn is_empty(&self) -> bool {
        self.positive.is_none() && self.denial.is_none() && self.failure.is_none()
    }
}

#[cfg(test)]
mod tests;
