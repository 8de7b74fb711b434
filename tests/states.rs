//! States of the data, and what a client sees of them: scripts in `tests/states/scenarios`, played in paused time.
//!
//! A script drives a node through the queue that its source would fill, and asks through the node's own gate,
//! plugins and encoder, without sockets. `states/script.rs` says what a line means. Each is played twice: by the
//! general handler alone, and with the inline lane ahead of it, as over UDP.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that panics is a test that fails")]

#[path = "states/apiserver.rs"]
mod apiserver;
#[path = "states/expect.rs"]
mod expect;
#[path = "states/objects.rs"]
mod objects;
#[path = "states/oracle.rs"]
mod oracle;
#[path = "common/routed.rs"]
mod routed;
#[path = "states/script.rs"]
mod script;
#[path = "common/unwired.rs"]
mod unwired;
#[path = "states/vigil.rs"]
mod vigil;
#[path = "common/ways.rs"]
mod ways;
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
            #[test]
            fn $name() {
                script::play(stringify!($name));
            }
        )*
    };
}

scenarios! {
    aliases
    apiserver
    apiserver_401
    apiserver_403
    apiserver_410
    apiserver_422
    apiserver_429
    apiserver_500
    apiserver_503
    apiserver_504
    apiserver_another_cluster
    apiserver_close
    apiserver_commands
    apiserver_cut
    apiserver_cut_page
    apiserver_dead_watches
    apiserver_down_for_a_day
    apiserver_down_from_the_start
    apiserver_down_without_snapshot
    apiserver_drip
    apiserver_emptied
    apiserver_empty
    apiserver_empty_pages
    apiserver_flapping
    apiserver_frozen
    apiserver_garbage
    apiserver_hang
    apiserver_lag
    apiserver_lag_pages
    apiserver_old_etcd
    apiserver_pods
    apiserver_refuse
    apiserver_restarts
    apiserver_restore
    apiserver_restore_bumped
    apiserver_resume
    apiserver_skips
    apiserver_snapshot_of_another
    apiserver_without_progress
    empty
    empty_reverse
    expired
    expired_reverse
    fallback
    fallback_silent
    flapping
    guard
    guard_pods
    lineage
    list_fails
    list_parts
    lists_side_by_side
    live
    never_back
    partial
    pods
    programming
    proofs
    refresh
    restart
    resume
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
