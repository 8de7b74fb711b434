//! Cluster DNS that outlasts the control plane.

pub mod cli;
pub mod corefile;
pub mod feed;
pub mod forward;
pub mod node;
pub mod ops;
pub mod snapshot;
pub mod source;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod zone;
