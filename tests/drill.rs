//! `outlast drill`: drills that are played, and the command.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "common/process.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod process;

#[path = "drill/usage.rs"]
mod usage;
