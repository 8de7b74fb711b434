//! What outlives a configuration: the process has it from its start to its end, and a reload hands it from the
//! plugins of the old configuration to those of the new one.

/// Everything that is handed on; empty at the process's start.
#[derive(Default)]
pub struct Carried {}
