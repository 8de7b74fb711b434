//! Scripts that were found to be interesting.

use super::play::play;
use super::step::Script;
use super::step::Step::{self, *};
use super::step::Wire::*;

/// A script, and why it is here.
struct Known {
    name: &'static str,
    /// Whether the API server keeps few events.
    short_history: bool,
    /// Whether hubs judge lists.
    guard: bool,
    /// How many whole states a node may get, beside that of its start.
    wholes: u32,
    steps: &'static [&'static [Step]],
}

/// No node has a way to any hub.
const APART: [Step; 12] = [
    Hub(0, 0, Refused),
    Hub(1, 0, Refused),
    Hub(2, 0, Refused),
    Hub(0, 1, Refused),
    Hub(1, 1, Refused),
    Hub(2, 1, Refused),
    Hub(0, 0, Cut),
    Hub(1, 0, Cut),
    Hub(2, 0, Cut),
    Hub(0, 1, Cut),
    Hub(1, 1, Cut),
    Hub(2, 1, Cut),
];

/// No node has a way to the first hub.
const MOVED: [Step; 6] = [
    Hub(0, 0, Refused),
    Hub(1, 0, Refused),
    Hub(2, 0, Refused),
    Hub(0, 0, Cut),
    Hub(1, 0, Cut),
    Hub(2, 0, Cut),
];

/// All of them.
const KNOWN: &[Known] = &[
    Known {
        name: "a node begins with a whole state of a hub that is behind, and nothing has proved it yet",
        short_history: false,
        guard: false,
        wholes: 9,
        steps: &[&[
            Api(0, Slow),
            Freeze,
            Delete(3),
            Put(5),
            Start(2),
            Stop(0),
            StartHub(1),
            Delete(5),
            Put(0),
            Lag(1718),
            Api(1, Cut),
            Pass(1425),
            Delete(8),
            Put(7),
            Delete(2),
            Delete(2),
            Start(0),
            Put(0),
            CrashHub(1),
            Put(8),
            Save,
            Hub(0, 0, Slow),
            Put(4),
            Stop(2),
            Hub(2, 1, Stalled),
        ]],
    },
    Known {
        name: "nodes go to a hub that is behind, where what they have is changed and changed back in one go",
        short_history: false,
        guard: false,
        wholes: 1,
        steps: &[
            &[Pass(15_000), Api(1, Stalled), Put(2), Put(5), Put(5), Pass(1_000)],
            &MOVED,
            &[Pass(3_000), Put(2), Api(1, Open), Pass(2_000)],
        ],
    },
    Known {
        name: "nodes go to a hub that is behind, and is told one by one what they have had",
        short_history: false,
        guard: false,
        wholes: 0,
        steps: &[
            &[Pass(15_000), Api(1, Stalled)],
            &[Put(5), Pass(300), Put(5), Pass(300), Put(5), Pass(1_000)],
            &MOVED,
            &[Pass(2_000), Api(1, Slow), Pass(8_000)],
        ],
    },
    Known {
        name: "much happens while connections are cut",
        short_history: false,
        // Of a hub that nobody has asked for this view before: its log begins too late.
        guard: false,
        wholes: 1,
        steps: &[
            &[Pass(15_000), Put(5), Pass(1_000)],
            &APART,
            &[Put(5), Pass(300), Put(2), Put(8), Pass(300), Delete(5), Pass(300), Well],
        ],
    },
    Known {
        name: "a restore is noticed by nodes at each hub",
        short_history: false,
        guard: false,
        wholes: 9,
        steps: &[&[Save, Put(5), Restore, Put(5), Pass(500), Put(6), Pass(30_000), Delete(5)]],
    },
    Known {
        name: "a hub comes back and lists, while a node knows of what was made and deleted meanwhile",
        short_history: true,
        guard: false,
        wholes: 1,
        steps: &[&[StopHub(0), Put(3), Put(2), Pass(300), Hub(0, 1, Cut), Put(2), Put(5), Delete(3)]],
    },
    Known {
        name: "a restore undoes what nodes know of, and their hubs go on from what was before it",
        short_history: false,
        guard: false,
        wholes: 9,
        steps: &[
            &[Pass(500), Save, Put(2), CrashHub(0), StopHub(1), Pass(1_156), RestoreBumped, Put(1)],
            &[Pass(4_446), Pass(4_473)],
        ],
    },
    Known {
        name: "services become headless and have cluster addresses again",
        short_history: false,
        guard: false,
        wholes: 0,
        steps: &[
            &[Pass(15_000), Put(5), Put(6), Put(2), Pass(500), Put(2), Put(4), Pass(500), Put(2), Pass(500)],
            &[Put(7), Put(2), Put(4), Pass(500), Put(2), Pass(15_000)],
        ],
    },
    Known {
        name: "a small loss is believed that was none, and found out by a comparison with everything",
        short_history: true,
        guard: true,
        wholes: 9,
        steps: &[
            &[Pass(9_889), Pass(2_473), Delete(3), Hub(2, 0, Stalled), Lag(22_135), Empty(5), Delete(7)],
            &[Silence, Api(1, Refused), Pass(91_150), StartHub(0), Put(4), Put(3), Put(8), Stop(2), Stop(1)],
            &[Empty(6), StartHub(1), Put(5), Empty(2), Api(1, Stalled), Pass(10_253), Hub(0, 1, Slow)],
            &[Silence, Api(0, Cut), Put(6), Pass(277), Put(6), Pass(18_616), Compact, Pass(13_492), Forget],
            &[CrashHub(1), Pass(1_438), Pass(15_716), Put(8)],
        ],
    },
    Known {
        name: "the only endpoint of a service goes while a hub is away: small losses are believed",
        short_history: false,
        guard: true,
        wholes: 9,
        steps: &[&[Pass(500), Delete(5), CrashHub(0), Compact]],
    },
    Known {
        name: "nodes come to a hub that is behind, and catches up by a list that is empty",
        short_history: false,
        guard: true,
        wholes: 9,
        steps: &[
            &[Empty(3), Put(3), Pass(49_819), Hub(2, 1, Slow), Pass(7_638), Empty(4), Pass(90_473)],
            &[Hub(2, 0, Open), Hub(1, 0, Cut), Put(5), Delete(7), Pass(1_101), Put(2), Empty(2), Put(8)],
            &[Pass(634), Pass(570), StopHub(1), Put(7), Api(0, Open), Forget, Delete(8), Pass(2_053)],
            &[Pass(12_836), Empty(6)],
        ],
    },
    Known {
        name: "a check is cut after it has told more than the watch has, and nodes go on at another hub",
        short_history: false,
        guard: false,
        wholes: 1,
        steps: &[
            &[Freeze, Silence, Put(5), Pass(18_378), Put(2), Put(9), Api(1, Stalled), Thaw, Api(0, Stalled)],
            &[Lag(2_636), Pass(84_136)],
        ],
    },
    Known {
        name: "a slice came and went between two states of the hub that is gone on at",
        short_history: false,
        guard: false,
        wholes: 2,
        steps: &[
            &[Pass(105), StopHub(1), Put(9), Put(0), Compact, Pass(10_234), StopHub(1), Delete(7), Delete(1)],
            &[Pass(230), Put(6), Put(9), Start(1), Api(0, Cut), Freeze, Pass(101), Put(4), Delete(6)],
            &[StartHub(1), Well, CrashHub(0), Start(1), Hub(1, 0, Stalled), Start(0), Put(7), Start(0)],
        ],
    },
    Known {
        name: "one came and went while the only hub was away",
        short_history: false,
        guard: false,
        wholes: 2,
        steps: &[&[StopHub(1), Put(0), Compact, Put(6), Pass(100), Delete(6), CrashHub(0), Put(5), Put(8)]],
    },
];

/// How often each is played, with other jitter.
const SEEDS: u64 = 3;

/// Plays all of them.
pub(super) fn play_all() {
    KNOWN.iter().for_each(Known::play);
}

impl Known {
    fn play(&self) {
        let Self { name, short_history, guard, wholes, steps } = *self;
        for seed in 0..SEEDS {
            let script = Script { seed, short_history, short_log: false, guard, steps: steps.concat() };
            let counts = play(&script).unwrap_or_else(|why| panic!("{name} (seed {seed}): {why}")).counts;
            let most = f64::from(wholes + 1);
            assert!(counts.iter().all(|node| node.wholes <= most), "{name} (seed {seed}): {counts:?}");
        }
    }
}
