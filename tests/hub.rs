//! A hub over an API server stand-in, and followers that come, go, lag and return.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test crate")]

#[path = "hub/drain.rs"]
mod drain;
#[path = "hub/follow.rs"]
mod follow;
#[path = "hub/history.rs"]
mod history;
#[path = "hub/limits.rs"]
mod limits;
#[path = "hub/siblings.rs"]
mod siblings;
#[path = "hub/slow.rs"]
mod slow;
#[path = "hub/view.rs"]
mod view;
#[path = "hub/world.rs"]
mod world;
