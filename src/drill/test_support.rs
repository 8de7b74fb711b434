//! A drill that keeps its promise, for the tests of what plays and tells of drills.

use std::time::Duration;

use super::report::Figures;
use super::{Asked, Bounds, Drill, How, Observed, Play, Played, Without};

/// A drill of the control plane that is played by this.
pub(crate) fn drill(name: &'static str, play: fn(&Play<'_>) -> anyhow::Result<Played>) -> Drill {
    let s = Duration::from_secs;
    Drill {
        name,
        about: "the API server is away",
        promise: "answers go on",
        load: "3 nodes, 100 questions a second each",
        how: How::Processes,
        minutes: None,
        alone: false,
        control_plane: true,
        without: &[Without::Limit],
        bounds: Bounds {
            failed: 0,
            wrong: 0,
            gap: s(1),
            detect: Some(s(15)..=s(45)),
            recover: Some(s(45)),
            asked: Asked::EachMinute(60),
            p99: Some(Duration::from_millis(20)),
        },
        play,
    }
}

/// Figures that are within the bounds of [`drill`].
pub(crate) fn figures() -> Figures {
    Figures {
        queries: 27_000,
        failed: 0,
        wrong: 0,
        stale: 11_000,
        p99_us: 900,
        gap_ms: 21,
        detect_ms: Some(30_250),
        recover_ms: Some(12_000),
        lists: 6,
        watches: 12,
        small: 20,
        counted_ms: 57_000,
        took_ms: 83_000,
    }
}

/// What is seen of [`drill`] where all goes well.
pub(crate) fn kept(_: &Play<'_>) -> anyhow::Result<Played> {
    Ok(Played::Observed(Box::new(Observed { figures: figures(), ..Observed::default() })))
}
