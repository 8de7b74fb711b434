//! Corefiles as distributions ship them and people extend them: each starts unchanged where a pod or a node would
//! start it, with a cluster behind it and the rest of the world, and is asked something through each of its
//! plugins.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]
#![allow(clippy::print_stdout, reason = "a test that fails says what it had asked before")]

#[path = "corefiles/checks.rs"]
mod checks;
#[path = "corefiles/fixtures.rs"]
mod fixtures;
#[path = "corefiles/loops.rs"]
mod loops;
#[path = "common/machine.rs"]
mod machine;
#[path = "corefiles/probe.rs"]
mod probe;
#[path = "common/process.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod process;
#[path = "common/programs.rs"]
mod programs;
#[path = "common/servers.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod servers;
#[path = "corefiles/surroundings.rs"]
mod surroundings;
#[path = "corefiles/world.rs"]
mod world;
