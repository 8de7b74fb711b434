//! What a thread of the lane keeps from one query to the next.

use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::time::Instant;

use crate::ops::clock::WallClock;
use crate::ops::shards::Shard;
use crate::zone::answer::Scratch;

/// One thread's own.
pub struct Worker {
    /// Where it counts.
    pub shard: Shard,
    /// Room for keeping records distinct.
    pub scratch: Scratch,
    /// For the order of addresses.
    pub dice: SmallRng,
    /// When the queries in hand came, once somebody has asked.
    now: Option<Instant>,
    /// The same by the wall clock, in minutes of Unix time.
    minute: Option<u64>,
}

impl Worker {
    /// A worker that counts there.
    pub fn new(shard: Shard) -> Self {
        let dice = SmallRng::from_rng(&mut rand::rng());
        Self { shard, scratch: Scratch::default(), dice, now: None, minute: None }
    }

    /// Other queries are in hand: it is later.
    pub const fn next_batch(&mut self) {
        (self.now, self.minute) = (None, None);
    }

    /// When the queries in hand came, or a bit later: what follows from the time is the same for all of them.
    pub fn now(&mut self) -> Instant {
        *self.now.get_or_insert_with(Instant::now)
    }

    /// The same in minutes of Unix time.
    pub fn minute(&mut self, clock: &WallClock) -> u64 {
        *self.minute.get_or_insert_with(|| clock.now_unix_ms() / 60_000)
    }
}
