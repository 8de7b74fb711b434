//! A configuration is exchanged under load: nothing is lost, what is broken changes nothing, and what both have goes
//! on: sockets, connections, the cluster's data and its watches.
//!
//! When files are looked at is tested beside the plugin, with paused time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "reload/broken.rs"]
mod broken;
#[path = "reload/client.rs"]
mod client;
#[path = "reload/files.rs"]
mod files;
#[path = "reload/fixture.rs"]
mod fixture;
#[path = "reload/hubs.rs"]
mod hubs;
#[path = "reload/listeners.rs"]
mod listeners;
#[path = "reload/load.rs"]
mod load;
#[path = "reload/loops.rs"]
mod loops;
#[path = "common/process.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod process;
#[path = "reload/selectors.rs"]
mod selectors;
#[path = "reload/stores.rs"]
mod stores;
