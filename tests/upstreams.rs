//! Real name servers as upstreams, killed, held and restarted under load: what the clients of a node see of it.
//!
//! Each case prints the times of its answers. Of these only what no slow machine can change is asserted: that no
//! query for a name in use fails, and that after the first two seconds of an outage nearly nobody waits for the
//! upstream that is gone.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "upstreams/cases.rs"]
mod cases;
#[path = "upstreams/load.rs"]
mod load;
#[path = "upstreams/node.rs"]
mod node;
#[path = "common/process.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod process;
#[path = "common/programs.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod programs;
#[path = "upstreams/report.rs"]
mod report;
#[path = "common/servers.rs"]
mod servers;
