//! The node: the DNS server. Sockets, plugins, and the store of the cluster's data.
//!
//! ```text
//! QUERY   socket > listen > lane > socket
//!                      └ gate > router > plugins (chain) > reply > socket
//!                                             ├ kubernetes: store > zone
//!                                             └ forward: crate::forward
//! UPDATE  source > store/writer > Arc<Generation> (what the plugins read)
//!                               └ store/keeper > snapshot > disk
//! BOOT    disk > store/keeper > Generation > listen, and only then the source
//! ```
//!
//! May depend on `zone`, `feed`, `snapshot`, `source`, `store`, `trust`, `forward`, `corefile` and `ops`.
//!
//! Invariants:
//! * The snapshot is loaded before a socket is bound, and the source is started after.
//! * Nothing on the query path waits for the source, the writer or the disk.

pub mod cache_keeper;
pub mod carried;
pub mod chain;
pub mod cluster_dns;
pub mod control;
pub mod facts;
pub mod gate;
pub mod hub_memory;
pub mod lane;
pub mod listen;
pub mod opt;
pub mod pins;
pub mod plugins;
pub mod presentation;
pub mod query;
pub mod reload;
pub mod reply;
pub mod router;
pub mod running;
mod selfcheck;
pub mod setup;
pub mod task;

#[cfg(test)]
pub(crate) mod test_support;
