//! Cluster DNS that outlasts the control plane.

pub mod forward;
pub mod ops;
pub mod source;
pub mod zone;
