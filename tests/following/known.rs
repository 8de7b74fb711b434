//! Scripts that were found to be interesting.

use super::play::play;
use super::step::Step::{self, *};
use super::step::{How, Script, Server, Which};

/// A script, and why it is here.
struct Known {
    name: &'static str,
    server: Server,
    steps: &'static [Step],
}

/// All of them.
const KNOWN: &[Known] = &[
    Known {
        name: "events of every kind, after one of each was left out: they prove nothing",
        server: Server::Usual,
        steps: &[
            Pass(15_000),
            Skip(1),
            Put(2),
            Put(0),
            Put(5),
            Put(8),
            Pass(500),
            Put(3),
            Put(1),
            Put(6),
            Put(9),
            Pass(200),
        ],
    },
    Known {
        name: "a restore that is met by a list, because the watch had expired",
        server: Server::ShortHistory,
        steps: &[
            Save,
            Put(0),
            Put(0),
            Restore,
            Wrong { which: Which::All, of: None, how: How::Gone, times: None },
            Put(0),
            Pass(1),
        ],
    },
    Known {
        name: "a cache that stands still since the node began",
        server: Server::Usual,
        steps: &[Freeze, Pass(1), Put(1), Pass(15_000)],
    },
    Known {
        name: "a cache that lags since the node began",
        server: Server::Usual,
        steps: &[Pass(1), Cut, Lag(5_500), Put(1), Pass(5_400)],
    },
    Known {
        name: "an event is left out while the cache stands still",
        server: Server::Usual,
        steps: &[Freeze, Put(8), Put(0), Skip(2)],
    },
];

/// The position that a snapshot has is that of the watch, and not the one up to which everything was gone over: what a
/// watch has left out is not looked for any more after a restart.
const GAP: Known = Known {
    name: "an event is left out, and the node restarts before that is found",
    server: Server::Usual,
    steps: &[Pass(15_000), Skip(1), Put(2), Put(3), Pass(100), Stop, Start, Pass(30_000)],
};

/// How often each is played, with other jitter.
const SEEDS: u64 = 3;

/// Plays all of them.
pub(super) fn play_all() {
    KNOWN.iter().for_each(Known::play);
}

/// Plays [`GAP`].
pub(super) fn play_gap() {
    GAP.play();
}

impl Known {
    fn play(&self) {
        for seed in 0..SEEDS {
            let script = Script { seed, server: self.server, steps: self.steps.to_vec() };
            play(&script).unwrap_or_else(|why| panic!("{} (seed {seed}): {why}", self.name));
        }
    }
}
