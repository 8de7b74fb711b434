//! `outlast drill`: drills that are played, and the command.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "common/process.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod process;

#[path = "drill/live.rs"]
mod live;
#[path = "drill/oracle.rs"]
mod oracle;
#[path = "drill/program.rs"]
mod program;
#[path = "drill/readme.rs"]
mod readme;
#[path = "drill/short.rs"]
mod short;
#[path = "drill/usage.rs"]
mod usage;
#[path = "drill/without.rs"]
mod without;
