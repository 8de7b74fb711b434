//! Cluster DNS that outlasts the control plane.

pub mod feed;
pub mod ops;
pub mod snapshot;
pub mod source;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod zone;
