//! Drills: outages on purpose, without a cluster.
//!
//! Part of the crate proper, so that a drill on a production machine and the tests run the same code.

pub mod cluster;
pub mod files;
pub mod memory;
pub mod standin;
