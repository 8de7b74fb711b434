//! The guard from end to end: what an API server or an operator may get wrong, over hubs and without one, and what
//! clients of nodes are answered meanwhile.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that panics is a test that fails")]

#[path = "guard/believed.rs"]
mod believed;
#[path = "guard/held.rs"]
mod held;
#[path = "guard/world.rs"]
mod world;
