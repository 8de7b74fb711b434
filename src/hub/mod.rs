//! The shared cache: watches the cluster once, and tells all nodes.
//!
//! ```text
//! source > store::writer > Store ── published ──▶ index ── a batch a view ──▶ line { history, whole states }
//!                                                                                ▲ cursors
//!                                                          followers ◀── serve ──┘
//! ```
//!
//! May depend on `zone`, `feed`, `snapshot`, `source`, `store`, `trust` and `ops`; never on `node`.
//!
//! Invariants:
//! * What one follower costs is bounded: a cursor, its connection's buffers, and no queue. One that stops reading
//!   holds nobody up and grows nothing.
//! * What many followers get is made once: batches and whole states are encoded, compressed and kept as shared bytes.
//! * A follower that is in sync never waits for one that is not (`admission`).
//! * Nothing is sent that the source has not told: a hub without data says that it has none.
//!
//! Reading order: `history` (where followers go on), `line` (one view's log and whole states), `index` (what
//! makes them), `whole`, `admission`, `serve` (connections and streams), `siblings` (other hubs), `following`
//! (where the data comes from), `audit` and `probe` (the view from the hub), `control` (operators), `running` (how
//! it is put together).

pub mod admission;
pub mod audit;
pub mod config;
pub mod control;
mod following;
mod gate;
pub mod history;
pub mod index;
pub mod line;
mod metrics;
pub mod orders;
mod probe;
mod roster;
pub mod running;
mod sections;
mod serve;
mod siblings;
pub mod state;
pub mod whole;
