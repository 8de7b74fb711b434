//! Every random spread of a point in time, in one place, so that tests can seed it.
//!
//! Two kinds. [`Jitter`] draws from a generator: snapshot times, heartbeats, reconnects, refreshes. The jitter
//! of answers' TTLs is a pure function ([`answer_ttl`]), because the same question within the same minute has to
//! get the same TTL from every thread of a node, and all records of an RRset have to share it
//! (RFC 2181, section 5.2).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::switches::{self, Protection};

/// A source of jitter; one for a process, shared.
#[derive(Debug)]
pub struct Jitter {
    /// Drawn from for every value; held only for the draw.
    rng: Mutex<SmallRng>,
}

impl Jitter {
    /// The same seed gives the same sequence: for tests and simulations.
    pub fn from_seed(seed: u64) -> Self {
        Self { rng: Mutex::new(SmallRng::seed_from_u64(seed)) }
    }

    /// Seeded by the operating system: no two processes share a sequence.
    pub fn for_process() -> Self {
        Self { rng: Mutex::new(SmallRng::from_rng(&mut rand::rng())) }
    }

    /// Another source whose sequence depends only on this one's: for a task that wants its own.
    pub fn fork(&self) -> Self {
        Self::from_seed(self.rng.lock().unwrap_or_else(PoisonError::into_inner).random())
    }

    /// `duration` ± `fraction` of it, uniformly. A fraction outside 0..=1 is taken as the nearer bound.
    pub fn spread(&self, duration: Duration, fraction: f64) -> Duration {
        let fraction = if fraction.is_nan() { 0.0 } else { fraction.clamp(0.0, 1.0) };
        // Rounding could only overflow next to Duration::MAX.
        let swing = Duration::try_from_secs_f64(duration.as_secs_f64() * fraction).unwrap_or(duration);
        self.between(duration.saturating_sub(swing), duration.saturating_add(swing))
    }

    /// Anything from 0 to `cap`, uniformly ("full jitter").
    pub fn full(&self, cap: Duration) -> Duration {
        self.between(Duration::ZERO, cap)
    }

    /// A fraction in [0, 1), uniformly.
    pub fn unit(&self) -> f64 {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).random()
    }

    /// Anything from `lo` to `hi`, both included, uniformly; `lo` if `hi` is below it.
    pub fn between(&self, lo: Duration, hi: Duration) -> Duration {
        if switches::is_off(Protection::Jitter) { middle(lo, hi) } else { self.drawn(lo, hi) }
    }

    /// See [`between`](Self::between).
    fn drawn(&self, lo: Duration, hi: Duration) -> Duration {
        let Some(width) = hi.checked_sub(lo) else { return lo };
        // 584 years are enough of a spread.
        let width = u64::try_from(width.as_nanos()).unwrap_or(u64::MAX);
        let drawn = self.rng.lock().unwrap_or_else(PoisonError::into_inner).random_range(0..=width);
        lo.saturating_add(Duration::from_nanos(drawn))
    }
}

/// What everybody has who spreads nothing in time; `lo` if `hi` is below it.
fn middle(lo: Duration, hi: Duration) -> Duration {
    lo.saturating_add(hi.saturating_sub(lo) / 2)
}

// === TTLs of answers ===

/// The largest share of a TTL that jitter takes away.
pub const ANSWER_TTL_SWING: f64 = 0.2;

/// The `node` of [`answer_ttl`] for a node's name.
pub fn node_hash(name: &str) -> u64 {
    xxh3_64(name.as_bytes())
}

/// The TTL in seconds to answer with, for records of TTL `ttl`: `ttl × (1 − u)`, u in [0, 0.2] from a hash of
/// the node, the owner name (lower case, wire format or text, but always the same of the two) and the minute
/// (Unix minutes).
///
/// Never above `ttl`, never below the whole second at or above 80 % of it; 0 stays 0.
pub fn answer_ttl(ttl: u32, node: u64, name: &[u8], minute: u64) -> u32 {
    // The odd factor keeps neighbouring minutes of one node from being other nodes' minutes.
    let seed = node ^ minute.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let hash = xxh3_64_with_seed(name, seed);
    // The upper 32 bits are as good as all, and exact in an f64.
    let u = (hash >> 32) as f64 / f64::from(u32::MAX) * ANSWER_TTL_SWING;
    let rounded = (f64::from(ttl) * (1.0 - u)).round() as u32;
    // Small TTLs could round past the swing: 8 × 0.8 is 6.4, which rounds to 6, less than 80 % of 8.
    let floor = (u64::from(ttl) * 4).div_ceil(5) as u32;
    rounded.max(floor).min(ttl)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn the_same_seed_gives_the_same_sequence() {
        let draw = |jitter: &Jitter| (0..5).map(|_| jitter.full(Duration::from_secs(9))).collect::<Vec<_>>();
        assert_eq!(draw(&Jitter::from_seed(7)), draw(&Jitter::from_seed(7)));
        assert_ne!(draw(&Jitter::from_seed(7)), draw(&Jitter::from_seed(8)));
        assert_ne!(draw(&Jitter::for_process()), draw(&Jitter::for_process()));
        assert_eq!(draw(&Jitter::from_seed(7).fork()), draw(&Jitter::from_seed(7).fork()));
        assert_ne!(draw(&Jitter::from_seed(7).fork()), draw(&Jitter::from_seed(7)));
    }

    #[test]
    fn without_jitter_everybody_is_in_the_middle() {
        let s = Duration::from_secs;
        assert_eq!(middle(s(2), s(6)), s(4));
        assert_eq!(middle(Duration::ZERO, s(30)), s(15));
        assert_eq!(middle(s(6), s(2)), s(6), "no range");
        assert_eq!(middle(s(1), Duration::MAX), s(1) + (Duration::MAX - s(1)) / 2, "no overflow");
    }

    #[test]
    fn draws_fill_their_range() {
        let jitter = Jitter::from_seed(1);
        let (lo, hi) = (Duration::from_secs(2), Duration::from_secs(4));
        let mut tenths = [0; 10];
        for _ in 0..1_000 {
            let at = (jitter.between(lo, hi) - lo).as_secs_f64() / 2.0;
            tenths[((at * 10.0) as usize).min(9)] += 1;
        }
        assert!(tenths.iter().all(|n| (60..=140).contains(n)), "{tenths:?}");
    }

    #[test]
    fn a_range_upside_down_gives_its_lower_end() {
        let jitter = Jitter::from_seed(1);
        assert_eq!(jitter.between(Duration::from_secs(4), Duration::from_secs(2)), Duration::from_secs(4));
        assert_eq!(jitter.full(Duration::ZERO), Duration::ZERO);
        assert!(jitter.spread(Duration::MAX, 1.0) >= Duration::ZERO, "does not overflow");
    }

    #[test]
    fn nodes_and_names_and_minutes_fall_apart() {
        struct Case {
            name: &'static str,
            ttl: fn(u64) -> u32,
        }
        let cases = [
            Case {
                name: "nodes",
                ttl: |i| answer_ttl(300, node_hash(&format!("node-{i}")), b"example.org.", 9),
            },
            Case { name: "names", ttl: |i| answer_ttl(300, 1, format!("h{i}.example.org.").as_bytes(), 9) },
            Case { name: "minutes", ttl: |i| answer_ttl(300, 1, b"example.org.", i) },
        ];
        for Case { name, ttl } in cases {
            let mut seen = HashMap::<u32, usize>::new();
            for i in 0..6_100 {
                *seen.entry(ttl(i)).or_default() += 1;
            }
            // 61 values, 100 of each on average (half of that at both ends).
            assert_eq!(seen.len(), 61, "{name}");
            assert!(seen.values().all(|n| *n < 160), "{name}: {seen:?}");
        }
    }

    #[test]
    fn small_ttls_keep_within_a_fifth() {
        let seen = |ttl| {
            let mut seen: Vec<_> = (0..200).map(|minute| answer_ttl(ttl, 5, b"a.", minute)).collect();
            seen.sort_unstable();
            seen.dedup();
            seen
        };
        assert_eq!(seen(0), [0]);
        assert_eq!(seen(1), [1]);
        assert_eq!(seen(4), [4]);
        assert_eq!(seen(5), [4, 5]);
        assert_eq!(seen(6), [5, 6]);
        assert_eq!(seen(8), [7, 8]);
        assert_eq!(seen(30), [24, 25, 26, 27, 28, 29, 30]);
    }

    proptest! {
        #[test]
        fn an_answers_ttl_is_bounded_and_reproducible(
            ttl: u32, node: u64, name in proptest::collection::vec(any::<u8>(), 0..64), minute: u64,
        ) {
            let jittered = answer_ttl(ttl, node, &name, minute);
            prop_assert!(jittered <= ttl);
            prop_assert!(u64::from(jittered) * 5 >= u64::from(ttl) * 4);
            prop_assert_eq!(jittered, answer_ttl(ttl, node, &name, minute));
        }

        #[test]
        fn spreads_stay_within_their_fraction(seed: u64, ms in 0u64..100_000_000, fraction in -1.0f64..2.0) {
            let duration = Duration::from_millis(ms);
            let swing = duration.mul_f64(fraction.clamp(0.0, 1.0));
            let spread = Jitter::from_seed(seed).spread(duration, fraction);
            prop_assert!(spread >= duration - swing && spread <= duration + swing);
        }

        #[test]
        fn draws_stay_between_their_bounds(seed: u64, lo: u32, width: u32) {
            let (lo, hi) = (Duration::from_micros(lo.into()), Duration::from_micros(u64::from(lo) + u64::from(width)));
            let drawn = Jitter::from_seed(seed).between(lo, hi);
            prop_assert!(drawn >= lo && drawn <= hi);
        }
    }
}
