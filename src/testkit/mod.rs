//! What tests and benches share: a scriptable upstream and a DNS client.
//!
//! Built with the feature `testkit` only. Listens on loopback, on ports that the kernel picks, so that tests
//! run side by side; everything ends when it is dropped. What cannot be set up panics with its reason: a test
//! that is written wrong has to fail.

pub mod client;
pub mod upstream;
