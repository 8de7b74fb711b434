//! Restarts of the real program: what is answered after SIGKILL, after SIGTERM, and from disks that fail.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that panics is a test that fails")]

#[path = "restart/disks.rs"]
mod disks;
#[path = "restart/kills.rs"]
mod kills;
#[path = "restart/load.rs"]
mod load;
#[path = "restart/place.rs"]
mod place;
#[path = "restart/process.rs"]
mod process;
#[path = "restart/stops.rs"]
mod stops;
