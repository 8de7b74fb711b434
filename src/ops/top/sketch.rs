//! What is seen most often, in bounded memory: Space-Saving (Metwally, Agrawal, El Abbadi: "Efficient computation of
//! frequent and top-k elements in data streams", ICDT 2005).
//!
//! Pure. So many keys are counted; one more takes the place of the one that was seen least, and begins with its count:
//! by so much it may be too high. What is in truth seen more often than by one of [`KEYS`] is never missing, and no count
//! is too high by more than that.

use xxhash_rust::xxh3::xxh3_64;

/// Keys that are counted.
pub const KEYS: usize = 128;

/// Counts what is seen most often.
#[derive(Clone, Debug, Default)]
pub struct Sketch {
    /// Hashes of the keys: a key is found by them.
    hashes: Vec<u64>,
    /// The keys, each in memory that is used again.
    keys: Vec<Vec<u8>>,
    /// How often each was seen, or more.
    counts: Vec<u64>,
    /// By how much each count may be too high.
    errors: Vec<u64>,
    /// How much was seen in all.
    total: u64,
}

/// What was seen often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Often {
    /// What.
    pub key: Vec<u8>,
    /// How often, or fewer times by `error` at most.
    pub count: u64,
    /// By how much the count may be too high.
    pub error: u64,
}

impl Sketch {
    /// Sees a key.
    pub fn see(&mut self, key: &[u8]) {
        self.total += 1;
        let hash = xxh3_64(key);
        let known = (0..self.hashes.len()).find(|at| self.hashes[*at] == hash && self.keys[*at] == key);
        match known {
            Some(at) => self.counts[at] += 1,
            None if self.keys.len() < KEYS => {
                self.hashes.push(hash);
                self.keys.push(key.to_vec());
                self.counts.push(1);
                self.errors.push(0);
            }
            None => {
                let Some(at) = (0..KEYS).min_by_key(|at| self.counts[*at]) else { return };
                self.hashes[at] = hash;
                self.keys[at].clear();
                self.keys[at].extend_from_slice(key);
                self.errors[at] = self.counts[at];
                self.counts[at] += 1;
            }
        }
    }

    /// How much was seen in all.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Forgets everything but its memory.
    pub fn clear(&mut self) {
        self.hashes.clear();
        self.keys.clear();
        self.counts.clear();
        self.errors.clear();
        self.total = 0;
    }

    /// What was not counted any more was seen so often at most.
    fn floor(&self) -> u64 {
        if self.keys.len() < KEYS { 0 } else { self.counts.iter().copied().min().unwrap_or_default() }
    }

    /// How often a key was seen, and by how much that may be too high.
    fn count(&self, key: &[u8]) -> (u64, u64) {
        let hash = xxh3_64(key);
        let known = (0..self.hashes.len()).find(|at| self.hashes[*at] == hash && self.keys[*at] == key);
        // What is missing may have been there.
        known.map_or((self.floor(), self.floor()), |at| (self.counts[at], self.errors[at]))
    }
}

/// What several sketches have seen together: the `most` most frequent, the most frequent first, and how much it was in
/// all. Of equal ones the order is that of their bytes.
pub fn merged(sketches: &[Sketch], most: usize) -> (Vec<Often>, u64) {
    let mut keys: Vec<&[u8]> =
        sketches.iter().flat_map(|sketch| sketch.keys.iter().map(Vec::as_slice)).collect();
    keys.sort_unstable();
    keys.dedup();
    let often = |key: &[u8]| {
        let counts = sketches.iter().map(|sketch| sketch.count(key));
        let (count, error) = counts.fold((0, 0), |(count, error), (c, e)| (count + c, error + e));
        Often { key: key.to_vec(), count, error }
    };
    let mut all: Vec<_> = keys.into_iter().map(often).collect();
    // Stable: the keys are in order.
    all.sort_by_key(|often| std::cmp::Reverse(often.count));
    all.truncate(most);
    (all, sketches.iter().map(Sketch::total).sum())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn often(key: &str, count: u64, error: u64) -> Often {
        Often { key: key.as_bytes().to_vec(), count, error }
    }

    #[test]
    fn few_keys_are_counted_exactly() {
        let mut sketch = Sketch::default();
        for key in ["a", "b", "a", "c", "a", "b"] {
            sketch.see(key.as_bytes());
        }
        let want = vec![often("a", 3, 0), often("b", 2, 0), often("c", 1, 0)];
        assert_eq!(merged(&[sketch.clone()], 10), (want.clone(), 6));
        assert_eq!(merged(&[sketch.clone()], 2).0, want[..2]);
        let mut other = Sketch::default();
        other.see(b"b");
        other.see(b"b");
        let want = vec![often("b", 4, 0), often("a", 3, 0), often("c", 1, 0)];
        assert_eq!(merged(&[sketch.clone(), other], 10), (want, 8));
        sketch.clear();
        assert_eq!(merged(&[sketch], 10), (Vec::new(), 0));
    }

    /// The promises of the algorithm, against exact counts: skewed streams of many keys, over one and several sketches.
    #[test]
    fn counts_are_within_their_errors_and_nothing_frequent_is_missing() {
        for (seed, parts) in [(1, 1), (2, 1), (3, 4), (4, 7)] {
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut sketches = vec![Sketch::default(); parts];
            let mut exact: HashMap<Vec<u8>, u64> = HashMap::new();
            for _ in 0..50_000 {
                // The more names there are, the more seldom each is asked for.
                let n = rng.random_range(0.000_1..1.0_f64).powi(-2) as u64;
                let key = format!("name-{n}").into_bytes();
                sketches[rng.random_range(0..parts)].see(&key);
                *exact.entry(key).or_default() += 1;
            }
            assert!(exact.len() > 4 * KEYS, "there are many");
            let (seen, total) = merged(&sketches, usize::MAX);
            assert_eq!(total, 50_000);
            for Often { key, count, error } in &seen {
                let truth = exact.get(key).copied().unwrap_or_default();
                assert!((count - error..=*count).contains(&truth), "{truth}: {count} - {error}");
                assert!(*error <= total / KEYS as u64 + parts as u64, "seed {seed}: {error}");
            }
            let is_seen = |key: &Vec<u8>| seen.iter().any(|often| often.key == *key);
            let frequent = exact.iter().filter(|(_, count)| **count > total / KEYS as u64);
            assert!(frequent.clone().count() >= 10);
            for (key, count) in frequent {
                assert!(is_seen(key), "{count} times, and missing");
            }
        }
    }

    #[test]
    fn its_memory_is_bounded() {
        let mut sketch = Sketch::default();
        for n in 0..10_000_u32 {
            sketch.see(&n.to_be_bytes());
        }
        assert_eq!((sketch.keys.len(), sketch.total()), (KEYS, 10_000));
        assert!(sketch.keys.iter().all(|key| key.capacity() <= 8));
    }
}
