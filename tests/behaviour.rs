//! What clients see of whole nodes: plugins of one chain together, server blocks side by side, and a node's
//! life from a start without any data to its end. Real sockets, and a small cluster that all of it is about.
//!
//! Where CoreDNS would behave otherwise, the test says why this server does not. Bytes on the wire are in
//! `packets`, time in `cache` and `states`, upstreams that misbehave in `forward_cases`, crashes in
//! `restart`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "behaviour/blocks.rs"]
mod blocks;
#[path = "behaviour/cache.rs"]
mod cache;
#[path = "behaviour/data.rs"]
mod data;
#[path = "zone_cases/fixture.rs"]
mod fixture;
#[path = "behaviour/gate.rs"]
mod gate;
#[path = "options/http.rs"]
mod http;
#[path = "behaviour/life.rs"]
mod life;
#[path = "behaviour/plugins.rs"]
mod plugins;
#[path = "common/process.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod process;
#[path = "behaviour/refused.rs"]
mod refused;
#[path = "behaviour/rewrites.rs"]
mod rewrites;
#[path = "behaviour/world.rs"]
mod world;
