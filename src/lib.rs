//! Cluster DNS that outlasts the control plane.

pub mod ops;
pub mod source;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod zone;
