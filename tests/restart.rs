//! Restarts of the real program: what is answered after SIGKILL, after SIGTERM, from disks that fail, and while
//! the API server is away.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that panics is a test that fails")]

#[path = "restart/api_server.rs"]
mod api_server;
#[path = "restart/disks.rs"]
mod disks;
#[path = "restart/hubs.rs"]
mod hubs;
#[path = "restart/kills.rs"]
mod kills;
#[path = "restart/last_queries.rs"]
mod last_queries;
#[path = "restart/load.rs"]
mod load;
#[path = "restart/node.rs"]
mod node;
#[path = "restart/pins.rs"]
mod pins;
#[path = "restart/place.rs"]
mod place;
#[path = "common/process.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod process;
#[path = "restart/selfcheck.rs"]
mod selfcheck;
#[path = "restart/standin.rs"]
mod standin;
#[path = "restart/stops.rs"]
mod stops;
