//! What becomes of a node whose hubs fail: answers go on, state and age are honest, and nothing is done without end.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that panics is a test that fails")]

#[path = "hub_faults/certificates.rs"]
mod certificates;
#[path = "hub_faults/digests.rs"]
mod digests;
#[path = "hub_faults/garbage.rs"]
mod garbage;
#[path = "hub_faults/outage.rs"]
mod outage;
#[path = "hub_faults/recorded.rs"]
mod recorded;
#[path = "hub_faults/silence.rs"]
mod silence;
#[path = "hub_faults/versions.rs"]
mod versions;
#[path = "hub_faults/world.rs"]
mod world;
