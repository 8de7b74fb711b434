//! States of the data, and what a client sees of them: scripts in `tests/states/scenarios`, played in paused time.
//!
//! A script drives a node through the queue that its source would fill, and asks through the node's own gate,
//! plugins and encoder, without sockets. `states/script.rs` says what a line means.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that panics is a test that fails")]

#[path = "states/expect.rs"]
mod expect;
#[path = "states/objects.rs"]
mod objects;
#[path = "states/script.rs"]
mod script;
#[path = "states/world.rs"]
mod world;

/// Where the scripts are.
const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/states/scenarios");

/// A test for each script, so that they run side by side and fail by their names.
macro_rules! scenarios {
    ($($name:ident)*) => {
        /// The scripts that are run.
        const RUN: &[&str] = &[$(stringify!($name)),*];

        $(
            #[tokio::test(start_paused = true)]
            async fn $name() {
                script::play(stringify!($name)).await;
            }
        )*
    };
}

scenarios! {
    aliases
    empty
    empty_reverse
    expired
    expired_reverse
    fallback
    fallback_silent
    flapping
    live
    partial
    pods
    refresh
    restart
    snapshots
    source_ends
    stale
    stale_fallthrough
}

#[test]
fn every_script_is_run() {
    let mut files: Vec<_> = std::fs::read_dir(SCENARIOS)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    files.sort();
    assert_eq!(files, RUN);
}
