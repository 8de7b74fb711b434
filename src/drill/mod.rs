//! Drills: what it takes to try a control-plane outage without a cluster.
//!
//! May use `zone`, `ops` and the types of `source::apiserver` by which connections are made; knows nothing of
//! `node`. Part of the crate proper, so that a drill on a production machine and the tests run the same code.

pub mod cluster;
pub mod standin;
