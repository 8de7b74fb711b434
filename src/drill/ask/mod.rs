//! Questions to nodes, and whether what they answer was ever true.
//!
//! ```text
//! load ── asks nodes ──> Reply ──> judge ── what was true when: lives ── from the stand-in's history
//!                                    └──> tally: counts, times
//! ```
//!
//! * [`message`]: DNS messages, read and written.
//! * `rules`: which records a service has, by name and type.
//! * [`lives`]: what each service was from when on.
//! * [`judge`]: one reply against that.
//! * [`tally`]: what is counted and measured of many.
//! * [`questions`]: what is asked of a cluster.
//! * [`load`]: threads that ask.
//!
//! Invariant: nothing here is code of what answers. Only the stand-in's history is shared, which says what was written
//! when; names, records, ages and the message itself are read by code of its own. `tests/drill/oracle.rs` holds it to
//! what a real CoreDNS has answered.

pub mod judge;
pub mod lives;
pub mod load;
pub mod message;
pub mod questions;
mod rules;
pub mod tally;
