//! What is counted of the queries of one zone, by one thread.

use std::array;
use std::sync::OnceLock;
use std::time::Duration;

use super::labels::{Family, PluginLabel, Proto, RCODE_COUNT, TYPE_COUNT};
use crate::ops::catalogue::{BUCKETS_BYTES, BUCKETS_TIME};
use crate::ops::shards::{Apart, Cell};

/// The cells of one (server, zone).
#[derive(Default)]
pub(super) struct Cells {
    /// By protocol, family and type.
    pub(super) requests: [[[Cell; TYPE_COUNT]; Family::ALL.len()]; Proto::ALL.len()],
    /// In nanoseconds, of all queries.
    pub(super) duration: Histogram<{ BUCKETS_TIME.len() }>,
    /// In bytes, by protocol.
    pub(super) request_size: [Sizes; Proto::ALL.len()],
    /// Of all queries.
    pub(super) do_requests: Cell,
    /// In bytes, by protocol.
    pub(super) response_size: [Sizes; Proto::ALL.len()],
    /// By rcode and plugin; most rcodes never occur, so each one's row is made on first use.
    pub(super) responses: [OnceLock<Box<PluginRow>>; RCODE_COUNT],
}

/// The counts of one rcode, by plugin. On cache lines of its own, as everything of one thread.
pub(super) type PluginRow = Apart<[Cell; PluginLabel::COUNT]>;

/// A histogram of bytes.
pub(super) type Sizes = Histogram<{ BUCKETS_BYTES.len() }>;

/// A histogram whose values are whole numbers of a small unit.
pub(super) struct Histogram<const N: usize> {
    /// How many were in each bucket of its [`Scale`] and in none below it.
    pub(super) buckets: [Cell; N],
    /// How many were above all bounds.
    pub(super) beyond: Cell,
    /// The sum of all.
    pub(super) sum: Cell,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self { buckets: array::from_fn(|_| Cell::default()), beyond: Cell::default(), sum: Cell::default() }
    }
}

impl<const N: usize> Histogram<N> {
    /// The cell that a value counts in.
    pub(super) fn bucket(&self, scale: &Scale<N>, value: u64) -> &Cell {
        // What is answered from memory is found in the first bucket.
        let mut bounds = scale.whole.iter().zip(&self.buckets);
        bounds.find(|(bound, _)| value <= **bound).map_or(&self.beyond, |(_, bucket)| bucket)
    }
}

/// The bounds of a histogram's buckets.
pub(super) struct Scale<const N: usize> {
    /// As the scrape shows them.
    pub(super) shown: [f64; N],
    /// How many of the units that are counted make one that is shown.
    pub(super) per_shown: f64,
    /// In the units that are counted.
    whole: [u64; N],
}

/// Seconds are shown, nanoseconds counted.
pub(super) static TIME: Scale<{ BUCKETS_TIME.len() }> =
    Scale::new(BUCKETS_TIME, Duration::from_secs(1).as_nanos() as f64);
/// Bytes are shown and counted.
pub(super) static BYTES: Scale<{ BUCKETS_BYTES.len() }> = Scale::new(BUCKETS_BYTES, 1.0);

impl<const N: usize> Scale<N> {
    const fn new(shown: [f64; N], per_shown: f64) -> Self {
        let mut whole = [0; N];
        let mut i = 0;
        while i < N {
            // To the nearest: a bound such as 0.00025 has no exact binary form.
            whole[i] = (shown[i] * per_shown + 0.5) as u64;
            i += 1;
        }
        Self { shown, per_shown, whole }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::shards::Shards;

    #[test]
    fn the_cells_of_a_zone_and_thread_are_as_small_as_said() {
        assert!(size_of::<Apart<Cells>>() <= 1_792, "{}", size_of::<Apart<Cells>>());
        assert_eq!(size_of::<PluginRow>(), 256);
        assert!(size_of::<Shards<Cells>>() <= 1_100, "{}", size_of::<Shards<Cells>>());
    }
}
