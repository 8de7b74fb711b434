//! Both ways that an answer takes over UDP say the same: the inline lane's replies are the general handler's, byte for
//! byte, and what is counted of them is the same.
//!
//! * `parity`: every question of the recordings in `tests/data/parity`, spelled in many ways.
//! * `generated`: packets that are made at random, whole and broken ones, in worlds that change under them; `roles` is the
//!   one among their settings with every plugin that has a part in the lane.
//! * `sockets`: the same over the network.
//!
//! Scripts with time steps are played by both ways in `tests/states.rs` and `tests/cache.rs`.
//!
//! `OUTLAST_TEST_PACKETS` says how many packets are generated; a million of them:
//!
//! ```sh
//! OUTLAST_TEST_PACKETS=1000000 cargo test --test lanes generated -- --nocapture
//! ```

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that panics is a test that fails")]
#![allow(clippy::print_stdout, reason = "the score belongs into the output of the test")]

#[path = "common/begun.rs"]
mod begun;
#[path = "lanes/compare.rs"]
mod compare;
#[path = "zone_cases/fixture.rs"]
#[allow(dead_code, reason = "shared with the cases of the zone, which print it")]
mod fixture;
#[path = "lanes/generated.rs"]
mod generated;
#[path = "zone_cases/irregular.rs"]
mod irregular;
#[path = "lanes/logged.rs"]
mod logged;
#[path = "lanes/outside.rs"]
mod outside;
#[path = "lanes/packets.rs"]
mod packets;
#[path = "lanes/pair.rs"]
mod pair;
#[path = "lanes/parity.rs"]
mod parity;
#[path = "zone_cases/questions.rs"]
mod questions;
#[path = "lanes/roles.rs"]
mod roles;
#[path = "common/routed.rs"]
mod routed;
#[path = "lanes/score.rs"]
mod score;
#[path = "lanes/sockets.rs"]
mod sockets;
#[path = "lanes/spelling.rs"]
mod spelling;
#[path = "common/unwired.rs"]
mod unwired;
#[path = "cache/upstream.rs"]
#[allow(dead_code, reason = "shared with the scripts of the cache, which need more of it")]
mod upstream;
