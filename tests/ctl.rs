//! `outlast ctl` against processes: real ones, and one that says what a test has it say.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "common/process.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod process;

#[path = "ctl/hub.rs"]
mod hub;
#[path = "ctl/node.rs"]
mod node;
#[path = "ctl/orders.rs"]
mod orders;
#[path = "ctl/pins.rs"]
mod pins;
#[path = "ctl/screens.rs"]
mod screens;
#[path = "ctl/top.rs"]
mod top;
#[path = "ctl/world.rs"]
mod world;
