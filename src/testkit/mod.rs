//! What tests and benches share: a node in the test's own process, a scriptable upstream, a DNS client, a disk
//! that loses power, clusters of any size, and a hub. Hubs and nodes in memory, for paused time, are those of drills.
//!
//! Built with the feature `testkit` only, never in a shipped binary. Listens on loopback, on ports that the
//! kernel picks, so that tests run side by side; everything ends when it is dropped. What cannot be set up
//! panics with its reason: a test that is written wrong has to fail.

pub mod certs;
pub mod client;
pub mod cluster;
pub mod disk;
pub mod fleet;
pub mod followers;
pub mod fuzz;
pub mod hub;
pub mod node;
pub mod scripted_hub;
pub mod upstream;

pub use crate::drill::memory::{self, lanes};
