//! The API server stand-in: as recorded from a real server, by Kubernetes' rules, and with every fault.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test crate")]

#[path = "standin/client.rs"]
mod client;
#[path = "standin/cluster.rs"]
mod cluster;
#[path = "standin/conformance.rs"]
mod conformance;
#[path = "standin/faults.rs"]
mod faults;
#[path = "standin/lists.rs"]
mod lists;
#[path = "standin/network.rs"]
mod network;
#[path = "standin/recording.rs"]
mod recording;
#[path = "standin/store.rs"]
mod store;
#[path = "standin/watches.rs"]
mod watches;
