//! Interception, in network namespaces of its own: tables and addresses as the kernel has them, and what becomes of
//! packets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]
#![allow(clippy::print_stdout, reason = "figures are part of what these tests are for")]

#[path = "net/accept.rs"]
mod accept;
#[path = "net/answers.rs"]
mod answers;
#[path = "net/beats.rs"]
mod beats;
#[path = "net/changes.rs"]
mod changes;
#[path = "net/clients.rs"]
mod clients;
#[path = "net/comers.rs"]
mod comers;
#[path = "net/crowd.rs"]
mod crowd;
#[path = "net/detect.rs"]
mod detect;
#[path = "net/events.rs"]
mod events;
#[path = "net/faults.rs"]
mod faults;
#[path = "net/flush.rs"]
mod flush;
#[path = "net/hangs.rs"]
mod hangs;
#[path = "options/http.rs"]
mod http;
#[path = "net/lan.rs"]
mod lan;
#[path = "net/legacy.rs"]
mod legacy;
#[path = "net/life.rs"]
mod life;
#[path = "net/links.rs"]
mod links;
#[path = "net/living.rs"]
mod living;
#[path = "net/load.rs"]
mod load;
#[path = "common/machine.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod machine;
#[path = "net/old_node.rs"]
mod old_node;
#[path = "net/old_rules.rs"]
mod old_rules;
#[path = "net/probes.rs"]
mod probes;
#[path = "common/process.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod process;
#[path = "net/program.rs"]
mod program;
#[path = "common/programs.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod programs;
#[path = "net/start.rs"]
mod start;
#[path = "net/strace.rs"]
mod strace;
#[path = "net/tables.rs"]
mod tables;
#[path = "net/taken.rs"]
mod taken;
#[path = "net/upgrades.rs"]
mod upgrades;
#[path = "net/world.rs"]
mod world;
#[path = "net/wrong.rs"]
mod wrong;
