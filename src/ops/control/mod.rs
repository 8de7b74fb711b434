//! The control socket: how an operator asks a process what it knows, and gives it orders, when nothing else of the
//! cluster works. `outlast ctl` is its client.
//!
//! A unix socket of mode 0600. A connection carries one request, a line of JSON, and one reply, another line:
//!
//! ```text
//! {"v":1,"command":"freeze","for_s":3600}
//! {"v":1,"ok":[{"zone":"cluster.local.","outcome":"frozen","remaining_s":3600}]}
//! {"v":1,"error":{"kind":"failed","message":"…"}}
//! ```
//!
//! What a command means, a [`Handler`] knows; nothing here does. Reading order: `command`, `wire`, `place` (the socket's
//! file), `serve`, `client`; [`section`] is what parts of a process say of themselves.
//!
//! Invariants:
//! * Who asks is root or the user that the process runs as, by the kernel's word.
//! * Nobody can use it up: connections, the length of a line and the time for a request are bounded.
//! * It needs no network, no name and no other process, and nothing of the query path waits for it.
//! * The socket of a process that answers is never taken away, and a process removes none but its own.

mod client;
mod command;
mod place;
pub mod section;
mod serve;
mod wire;

pub use client::{AskError, ask, is_answered};
pub use command::Command;
pub use serve::serve;
pub use wire::{Refusal, RefusalKind, VERSION, value};

use async_trait::async_trait;

/// Where a node listens unless it is told otherwise.
pub const NODE_SOCKET: &str = "/run/outlast/node.sock";

/// Where a hub listens unless it is told otherwise.
pub const HUB_SOCKET: &str = "/run/outlast/hub.sock";

/// Carries out commands.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// What a command leads to, in the form that its caller knows.
    ///
    /// # Errors
    /// What cannot be done, said to who asked. An outcome that is to be expected is none.
    async fn handle(&self, command: Command) -> Result<serde_json::Value, Refusal>;
}

#[cfg(test)]
mod tests;
