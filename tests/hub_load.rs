//! Thousands of followers at hubs over an API server stand-in, which counts what it is asked.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test crate")]

#[path = "hub_load/joining.rs"]
mod joining;
#[path = "common/process.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod process;
#[path = "hub_load/replaced.rs"]
mod replaced;
#[path = "hub_load/stopped.rs"]
mod stopped;
#[path = "hub_load/world.rs"]
mod world;
