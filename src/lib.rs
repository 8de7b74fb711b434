//! Cluster DNS that outlasts the control plane.

pub mod corefile;
pub mod ops;
pub mod source;
pub mod zone;
