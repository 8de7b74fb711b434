//! In the place of node-cache (NodeLocal DNSCache): its template and its ConfigMap, its flags, and what is answered.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "nodecache/config_map.rs"]
mod config_map;
#[path = "nodecache/flags.rs"]
mod flags;
#[path = "options/http.rs"]
mod http;
#[path = "common/machine.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod machine;
#[path = "common/process.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod process;
#[path = "common/programs.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod programs;
#[path = "nodecache/table.rs"]
mod table;
