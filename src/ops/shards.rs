//! Counting without sharing: each busy thread adds to cells of its own, and who reads adds up all of them.
//!
//! An atomic addition to a cell that several cores write costs more than the answer to a query does, because
//! its cache line wanders between them. Here a thread claims a [`Shard`] once; in every [`Shards`] it is then the
//! only writer of one set of cells, and an addition is a plain load and store.
//!
//! Invariants:
//!
//! * An exclusive set has one writer: a [`Shard`] is no copy of another one, [`Shards::writer`] borrows it mutably,
//!   and a [`Writer`] reaches no cells but those of its own set.
//! * Sets of different threads never share a cache line.
//! * Nothing that was counted is lost: a set outlives the shard that it was counted by, and the next owner of the
//!   place goes on where the last one stopped.
//! * A sum never shrinks between two readings of which the second knows of the first.
//!
//! Memory: 1 kB for each [`Shards`], and the cells of those threads that have counted something in it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use super::metrics::lock;

/// How many shards of a pool may be exclusive at a time: what one word has bits for. Only threads that answer queries
/// inline need one, of which there are no more than cores.
pub const MAX_EXCLUSIVE: usize = u64::BITS as usize;

/// The place of the set that everybody without a place of their own adds to.
const SHARED: usize = MAX_EXCLUSIVE;

/// Gives out the places in all [`Shards`] that were made with it.
#[derive(Debug, Default)]
pub struct Pool {
    /// A bit for each place that somebody has.
    taken: Mutex<u64>,
}

impl Pool {
    /// A shard that is exclusive, unless [`MAX_EXCLUSIVE`] others are already.
    pub fn claim(self: &Arc<Self>) -> Shard {
        let mut taken = lock(&self.taken);
        // Without a zero this is 64: SHARED.
        let place = taken.trailing_ones() as usize;
        if place < SHARED {
            *taken |= 1 << place;
        }
        Shard { pool: Arc::clone(self), place }
    }
}

/// The right of one thread to be the only writer of one set of cells in each [`Shards`] of a pool.
///
/// Given back when dropped. Beyond [`MAX_EXCLUSIVE`] a shard is not exclusive: its additions are atomic, on cells
/// that others add to as well, which is slower and just as exact.
#[derive(Debug)]
pub struct Shard {
    /// Where it came from.
    pool: Arc<Pool>,
    /// Which sets: below [`MAX_EXCLUSIVE`], or [`SHARED`].
    place: usize,
}

impl Shard {
    /// Whether no other thread writes to the same cells.
    pub const fn is_exclusive(&self) -> bool {
        self.place != SHARED
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        if self.is_exclusive() {
            // The lock also hands over what was counted: who claims the place next sees every addition.
            *lock(&self.pool.taken) &= !(1 << self.place);
        }
    }
}

/// A count. Only a [`Writer`] adds to it.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// The count now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Starts on a cache line of its own. 128 bytes, because processors fetch lines of 64 bytes in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Apart<T>(pub T);

/// Sets of cells: one for each exclusive shard, and one for everybody else, each made when first counted in.
#[derive(Debug)]
pub struct Shards<T> {
    /// Whose shards have sets of their own here.
    pool: Arc<Pool>,
    /// By place, [`SHARED`] last.
    sets: [OnceLock<Box<Apart<T>>>; SHARED + 1],
}

impl<T: Default> Shards<T> {
    /// No cells yet, for the shards of this pool.
    pub fn new(pool: &Arc<Pool>) -> Self {
        Self { pool: Arc::clone(pool), sets: [const { OnceLock::new() }; SHARED + 1] }
    }

    /// Writes to the shard's own cells. Allocates the first time, and takes no lock after it.
    pub fn writer<'a>(&'a self, shard: &'a mut Shard) -> Writer<'a, T> {
        // Another pool may have given the same place to another thread.
        let place = if Arc::ptr_eq(&self.pool, &shard.pool) { shard.place } else { SHARED };
        self.writer_at(place)
    }

    /// Writes to the cells that are everybody's.
    pub fn shared(&self) -> Writer<'_, T> {
        self.writer_at(SHARED)
    }

    /// A sum over all sets of what `read` finds in each.
    pub fn sum(&self, read: impl Fn(&T) -> u64) -> u64 {
        let sets = self.sets.iter().filter_map(OnceLock::get);
        sets.fold(0, |sum, set| sum.wrapping_add(read(&set.0)))
    }

    /// Whether anybody has counted anything here.
    pub fn is_used(&self) -> bool {
        self.sets.iter().any(|set| set.get().is_some())
    }

    fn writer_at(&self, place: usize) -> Writer<'_, T> {
        Writer { cells: &self.sets[place].get_or_init(Box::default).0, is_exclusive: place != SHARED }
    }
}

/// Adds to the cells of one set.
#[derive(Debug)]
pub struct Writer<'a, T> {
    /// The set.
    cells: &'a T,
    /// Whether nobody else adds to it.
    is_exclusive: bool,
}

impl<T> Writer<'_, T> {
    /// Adds `n` to a cell of the set; beyond 2^64 - 1 it begins at 0 again, as counters of Prometheus may.
    pub fn add(&mut self, cell: impl FnOnce(&T) -> &Cell, n: u64) {
        let Cell(count) = cell(self.cells);
        if self.is_exclusive {
            // The only writer: nothing comes between the two.
            count.store(count.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
        } else {
            count.fetch_add(n, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::thread;

    type One = Shards<Cell>;

    /// How much each thread counts: enough for threads to run at the same time.
    const ADDITIONS: u64 = 500_000;

    fn sum(cells: &One) -> u64 {
        cells.sum(Cell::get)
    }

    /// A pool, and cells of it.
    fn cells() -> (Arc<Pool>, One) {
        let pool = Arc::<Pool>::default();
        let cells = One::new(&pool);
        (pool, cells)
    }

    #[test]
    fn each_shard_has_cells_on_a_line_of_its_own() {
        let (pool, cells) = cells();
        let (mut a, mut b) = (pool.claim(), pool.claim());
        assert!(!cells.is_used());
        let of = |writer: Writer<'_, Cell>| std::ptr::from_ref(writer.cells).addr();
        let mut at = [of(cells.writer(&mut a)), of(cells.writer(&mut b)), of(cells.shared())];
        at.sort_unstable();
        assert!(at.iter().all(|at| at % 128 == 0) && at[0] < at[1] && at[1] < at[2], "{at:x?}");
        assert!(cells.is_used());
    }

    #[test]
    fn shards_beyond_the_bound_are_shared_and_as_exact() {
        let (pool, cells) = cells();
        let mut shards: Vec<_> = (0..MAX_EXCLUSIVE + 2).map(|_| pool.claim()).collect();
        let exclusive: Vec<_> = shards.iter().map(Shard::is_exclusive).collect();
        assert_eq!(exclusive, [vec![true; MAX_EXCLUSIVE], vec![false; 2]].concat());

        // Two that are shared, and two that are not.
        let start = Barrier::new(4);
        thread::scope(|scope| {
            for shard in &mut shards[MAX_EXCLUSIVE - 2..] {
                scope.spawn(|| {
                    start.wait();
                    (0..ADDITIONS).for_each(|_| cells.writer(shard).add(|cell| cell, 1));
                });
            }
        });
        assert_eq!(sum(&cells), 4 * ADDITIONS);

        shards.pop();
        assert!(!pool.claim().is_exclusive(), "no place was given back");
        shards.swap_remove(7);
        assert!(pool.claim().is_exclusive(), "one was");
    }

    #[test]
    fn who_claims_a_place_goes_on_where_the_last_owner_stopped() {
        let (pool, cells) = cells();
        // All get the same place, one after the other and each on its own thread.
        for so_far in 1..=100 {
            let count = || {
                let mut shard = pool.claim();
                (0..1_000).for_each(|_| cells.writer(&mut shard).add(|cell| cell, 1));
                shard.place
            };
            assert_eq!(thread::scope(|scope| scope.spawn(count).join().unwrap()), 0);
            assert_eq!(sum(&cells), so_far * 1_000);
        }
    }

    #[test]
    fn places_that_change_hands_all_the_time_lose_nothing() {
        let (pool, cells) = cells();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| cells.writer(&mut pool.claim()).add(|cell| cell, 1)));
            }
        });
        assert_eq!(sum(&cells), 40_000);
    }

    #[test]
    fn a_shard_of_another_pool_is_nobodys_double() {
        let (pool, cells) = cells();
        let (mut own, mut foreign) = (pool.claim(), Arc::<Pool>::default().claim());
        assert_eq!(own.place, foreign.place);
        assert!(cells.writer(&mut own).is_exclusive && !cells.writer(&mut foreign).is_exclusive);
        cells.writer(&mut own).add(|cell| cell, 2);
        cells.writer(&mut foreign).add(|cell| cell, 3);
        assert_eq!(sum(&cells), 5);
    }

    #[test]
    fn a_sum_that_is_read_meanwhile_never_shrinks() {
        let (pool, cells) = cells();
        thread::scope(|scope| {
            let counting: Vec<_> = (0..3)
                .map(|i| {
                    let mut shard = pool.claim();
                    let cells = &cells;
                    scope.spawn(move || {
                        for _ in 0..ADDITIONS {
                            match i {
                                0 => cells.shared().add(|cell| cell, 1),
                                _ => cells.writer(&mut shard).add(|cell| cell, 1),
                            }
                        }
                    })
                })
                .collect();
            let mut last = 0;
            while counting.iter().any(|thread| !thread.is_finished()) {
                let now = sum(&cells);
                assert!(now >= last, "{now} after {last}");
                last = now;
            }
        });
        assert_eq!(sum(&cells), 3 * ADDITIONS);
    }

    #[test]
    fn a_count_goes_on_at_zero_after_the_last_one() {
        let (pool, cells) = cells();
        let mut shard = pool.claim();
        cells.writer(&mut shard).add(|cell| cell, u64::MAX);
        cells.writer(&mut shard).add(|cell| cell, 3);
        assert_eq!(sum(&cells), 2);
    }
}
