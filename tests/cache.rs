//! The forward cache as clients see it: scripts in `tests/cache/scenarios`, played in paused time.
//!
//! A script drives a node without sockets: its plugins come from a Corefile, and behind them stands an upstream that
//! does as it is told. `cache/script.rs` says what a line means.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that panics is a test that fails")]

#[path = "cache/expect.rs"]
mod expect;
#[path = "states/objects.rs"]
#[allow(dead_code, reason = "shared with the states of the data, which need more of it")]
mod objects;
#[path = "cache/script.rs"]
mod script;
#[path = "common/unwired.rs"]
mod unwired;
#[path = "cache/upstream.rs"]
mod upstream;
#[path = "cache/world.rs"]
mod world;

/// Where the scripts are.
const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cache/scenarios");

#[test]
fn scenarios() {
    let mut files: Vec<_> = std::fs::read_dir(SCENARIOS)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    assert!(files.len() > 30, "the scripts are there");
    let mut failures = Vec::new();
    for path in files {
        // A clock, a node and an upstream of its own for each.
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().unwrap();
        if let Err(failure) = runtime.block_on(script::play(&path)) {
            failures.push(failure);
        }
    }
    assert!(failures.is_empty(), "{} scripts fail:\n{}", failures.len(), failures.join("\n"));
}
