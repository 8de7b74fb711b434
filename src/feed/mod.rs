//! HOW objects travel: one schema on the wire (hub to node) and on disk (snapshots).
//!
//! May depend on [`crate::zone`] only. `feed.proto` is the schema, [`wire`] the code generated from it (checked
//! in; `tests/feed_codegen.rs` makes it anew and compares), [`convert`] the way between its messages and the
//! zone's objects, [`position`] how far a follower has come, [`frame`] and [`greeting`] what hubs say and are asked.
//!
//! Invariants:
//! * Converting an object to its message and back gives the same object.
//! * Bytes come from disks and networks: whatever they hold, decoding gives an object that keeps the zone's
//!   rules, or a [`convert::ConvertError`]; it never panics.
//! * Fields are never renumbered or reused, and a new field has a meaning when it is absent.

pub mod codec;
pub mod convert;
pub mod digests;
pub mod entry;
pub mod frame;
pub mod greeting;
pub mod position;
pub mod view;

/// The messages of `feed.proto`, generated.
#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, unused_qualifications, unused_results, clippy::all, clippy::pedantic, reason = "generated code")]
#[path = "generated.rs"]
pub mod wire;

#[cfg(test)]
pub(crate) mod arbitrary;
