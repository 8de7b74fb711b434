//! Counters of the registry that threads of the inline lane add to as well.
//!
//! A [`Tally`] is used as a `metrics::Counter` is, and can be added to through a [`Shard`] too, which costs a load
//! and a store. What was counted is added to the registry's own counter whenever the registry is rendered, so that
//! it may be shared with handles of the ordinary kind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use metrics::Counter;

use super::metrics::{LabelPair, OwnedLabels, lock, owned};
use super::shards::{Cell, Pool, Shard, Shards};

/// A counter of one series; all of the same name and labels are the same.
#[derive(Clone, Debug)]
pub struct Tally {
    /// What was counted, ever.
    cells: Arc<Shards<Cell>>,
}

impl Tally {
    /// Counts `n` on any thread.
    pub fn increment(&self, n: u64) {
        self.cells.shared().add(|cell| cell, n);
    }

    /// Counts `n` on the thread that has this shard. Allocates the first time.
    pub fn increment_in(&self, shard: &mut Shard, n: u64) {
        self.cells.writer(shard).add(|cell| cell, n);
    }
}

/// All tallies of a registry. They stay as long as its series do, which is for ever.
#[derive(Default)]
pub(super) struct Tallies {
    /// By name and labels.
    known: Mutex<BTreeMap<(&'static str, OwnedLabels), Known>>,
}

/// A tally and what shows it.
struct Known {
    /// What was counted.
    cells: Arc<Shards<Cell>>,
    /// The series in the registry.
    counter: Counter,
    /// How much of it the counter has.
    published: u64,
}

impl Tallies {
    /// The tally of this name and these labels; `register` makes its series.
    pub(super) fn of(
        &self,
        pool: &Arc<Pool>,
        name: &'static str,
        labels: &[LabelPair<'_>],
        register: impl FnOnce() -> Counter,
    ) -> Tally {
        let mut known = lock(&self.known);
        let Known { cells, .. } = known.entry((name, owned(labels))).or_insert_with(|| Known {
            cells: Arc::new(Shards::new(pool)),
            counter: register(),
            published: 0,
        });
        Tally { cells: Arc::clone(cells) }
    }

    /// Adds to the series what was counted since the last time.
    pub(super) fn publish(&self) {
        for Known { cells, counter, published } in lock(&self.known).values_mut() {
            let sum = cells.sum(Cell::get);
            counter.increment(sum.wrapping_sub(*published));
            *published = sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::metrics::Metrics;
    use std::thread;

    const NAME: &str = "outlast_things_total";

    /// The values of the series, in the order of their labels.
    fn scraped(metrics: &Metrics) -> Vec<(String, u64)> {
        let text = metrics.render();
        let mut series: Vec<_> = text
            .lines()
            .filter_map(|line| {
                let (labels, value) = line.strip_prefix(NAME)?.split_once(' ')?;
                Some((labels.to_owned(), value.parse().unwrap()))
            })
            .collect();
        series.sort_unstable();
        series
    }

    /// One series without labels.
    fn alone(value: u64) -> Vec<(String, u64)> {
        vec![(String::new(), value)]
    }

    #[test]
    fn it_is_shown_from_the_start_with_help_and_type() {
        let metrics = Metrics::new();
        metrics.describe_counter(NAME, "Things.");
        let tally = metrics.tally(NAME, &[("kind", "a\\b")]);
        let shows = |value: u64| {
            let want =
                format!("# HELP {NAME} Things.\n# TYPE {NAME} counter\n{NAME}{{kind=\"a\\\\b\"}} {value}\n");
            let text = metrics.render();
            assert!(text.contains(&want), "{want} in\n{text}");
        };
        shows(0);
        tally.increment(3);
        tally.increment_in(&mut metrics.shard(), 4);
        shows(7);
    }

    #[test]
    fn threads_of_both_kinds_count_together_while_it_is_scraped() {
        const EACH: u64 = 50_000;
        let metrics = Metrics::new();
        let tally = metrics.tally(NAME, &[]);
        thread::scope(|scope| {
            let mut counting = vec![];
            for _ in 0..2 {
                counting.push(scope.spawn(|| (0..EACH).for_each(|_| tally.increment(1))));
                let mut shard = metrics.shard();
                let tally = &tally;
                counting.push(scope.spawn(move || (0..EACH).for_each(|_| tally.increment_in(&mut shard, 1))));
            }
            let mut last = alone(0);
            while counting.iter().any(|thread| !thread.is_finished()) {
                let now = scraped(&metrics);
                assert!(now >= last, "{now:?} after {last:?}");
                last = now;
            }
        });
        assert_eq!(scraped(&metrics), alone(4 * EACH));
    }

    #[test]
    fn one_that_is_made_again_goes_on_and_nothing_counts_twice() {
        let metrics = Metrics::new();
        let mut shard = metrics.shard();
        for so_far in 1..=5 {
            // As at a reload: the old one counts on for a moment.
            let [old, new] = [(); 2].map(|()| metrics.tally(NAME, &[]));
            old.increment_in(&mut shard, 1);
            new.increment_in(&mut shard, 10);
            drop((old, new));
            assert_eq!(scraped(&metrics), alone(so_far * 11));
            assert_eq!(scraped(&metrics), alone(so_far * 11), "nor by a second scrape");
        }
    }

    #[test]
    fn series_stay_apart_and_a_handle_of_the_registry_adds_to_the_same_one() {
        let metrics = Metrics::new();
        let mut shard = metrics.shard();
        let of = |kind| metrics.tally(NAME, &[("kind", kind)]);
        of("a").increment_in(&mut shard, 1);
        of("b").increment_in(&mut shard, 2);
        metrics.counter(NAME, &[("kind", "b")]).increment(40);
        let want = [("{kind=\"a\"}", 1), ("{kind=\"b\"}", 42)];
        assert_eq!(scraped(&metrics), want.map(|(labels, value)| (labels.to_owned(), value)));
        of("b").increment(1);
        assert_eq!(scraped(&metrics)[1].1, 43);
    }

    #[test]
    fn shards_of_one_registry_count_in_another_one_too() {
        let (here, there) = (Metrics::new(), Metrics::new());
        let tally = here.tally(NAME, &[]);
        let mut shards = [here.shard(), there.shard()];
        thread::scope(|scope| {
            for shard in &mut shards {
                scope.spawn(|| (0..50_000).for_each(|_| tally.increment_in(shard, 1)));
            }
        });
        assert_eq!(scraped(&here), alone(100_000));
    }
}
