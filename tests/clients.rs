//! Real clients: command line tools, the resolvers of two C libraries, c-ares and systemd-resolved, each on a
//! machine of its own whose name server is a node on port 53.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "clients/delv.rs"]
mod delv;
#[path = "clients/dig.rs"]
mod dig;
#[path = "clients/kdig.rs"]
mod kdig;
#[path = "clients/libraries.rs"]
mod libraries;
#[path = "common/machine.rs"]
mod machine;
#[path = "common/process.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod process;
#[path = "common/programs.rs"]
mod programs;
#[path = "clients/resolved.rs"]
mod resolved;
#[path = "common/servers.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod servers;
#[path = "clients/world.rs"]
mod world;
