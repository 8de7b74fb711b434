//! The status page, as a browser shows it.
//!
//! Pictures of it are left in `outlast-page` of the folder for temporary files, and where they are is printed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]
#![allow(clippy::print_stdout, reason = "where pictures are belongs into the output of the test")]

#[path = "page/browser.rs"]
mod browser;
#[path = "page/http.rs"]
mod http;
#[path = "common/process.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod process;
#[path = "common/programs.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod programs;
#[path = "page/shown.rs"]
mod shown;
#[path = "ctl/world.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod world;
