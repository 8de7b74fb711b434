//! The forward cache as clients see it: scripts in `tests/cache/scenarios`, played in paused time.
//!
//! A script drives a node without sockets: its plugins come from a Corefile, and behind them stands an upstream that
//! does as it is told. `cache/script.rs` says what a line means. Each is played twice: by the general handler alone, and
//! with the inline lane ahead of it, as over UDP.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that panics is a test that fails")]

#[path = "common/begun.rs"]
mod begun;
#[path = "cache/expect.rs"]
mod expect;
#[path = "states/objects.rs"]
#[allow(dead_code, reason = "shared with the states of the data, which need more of it")]
mod objects;
#[path = "common/routed.rs"]
mod routed;
#[path = "cache/script.rs"]
mod script;
#[path = "common/unwired.rs"]
mod unwired;
#[path = "cache/upstream.rs"]
mod upstream;
#[path = "common/ways.rs"]
mod ways;
#[path = "cache/world.rs"]
mod world;

use std::path::Path;

use self::ways::{Way, compare};

/// Where the scripts are.
const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cache/scenarios");

/// Replies that the lane gives at least in all scripts together. Most of what they ask for is missing, or due,
/// and is not the lane's.
const INLINE: usize = 120;

#[test]
fn scenarios() {
    let mut files: Vec<_> = std::fs::read_dir(SCENARIOS)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    assert!(files.len() > 30, "the scripts are there");
    let (mut failures, mut inline) = (Vec::new(), 0);
    for path in files {
        match play(&path) {
            Ok(count) => inline += count,
            Err(failure) => failures.push(failure),
        }
    }
    assert!(failures.is_empty(), "{} scripts fail:\n{}", failures.len(), failures.join("\n"));
    assert!(inline >= INLINE, "the lane has given {inline} replies");
}

/// Plays a script by both ways; how many replies the lane gave.
fn play(path: &Path) -> Result<usize, String> {
    // A clock, a node and an upstream of its own for each.
    let play_by = |way| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(script::play(path, way))
    };
    let [general, lane] = Way::BOTH.map(play_by);
    compare(&general?, &lane?).map_err(|differs| format!("{}: {differs}", path.display()))
}
