//! Scripts that were found to be interesting.

use super::play::play;
use super::step::Script;
use super::step::Step::{self, *};
use super::step::Wire::*;

/// A script, and why it is here.
struct Known {
    name: &'static str,
    short_history: bool,
    short_log: bool,
    /// How many whole states a node may get, beside that of its start.
    wholes: u32,
    steps: &'static [Step],
}

/// All of them.
const KNOWN: &[Known] = &[Known {
    name: "nodes go from a hub to one that is behind it",
    short_history: false,
    short_log: false,
    steps: &[
        Pass(15_000),
        Api(1, Stalled),
        Put(2),
        Put(5),
        Put(5),
        Pass(1_000),
        Hub(0, 0, Refused),
        Hub(1, 0, Refused),
        Hub(2, 0, Refused),
        Hub(0, 0, Cut),
        Hub(1, 0, Cut),
        Hub(2, 0, Cut),
        Pass(3_000),
        Put(2),
        Api(1, Open),
        Pass(2_000),
    ],
}];

/// How often each is played, with other jitter.
const SEEDS: u64 = 3;

/// Plays all of them.
pub(super) fn play_all() {
    KNOWN.iter().for_each(Known::play);
}

impl Known {
    fn play(&self) {
        let Self { name, short_history, short_log, steps } = *self;
        for seed in 0..SEEDS {
            let script = Script { seed, short_history, short_log, steps: steps.to_vec() };
            play(&script).unwrap_or_else(|why| panic!("{name} (seed {seed}): {why}"));
        }
    }
}
