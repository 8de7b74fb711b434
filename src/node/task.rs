//! Work that a configuration has done beside the queries: probes, files that are read again.

use std::net::SocketAddr;

use tokio_util::sync::CancellationToken;

/// Begins such work. Called once, within the runtime that answers, after the sockets are bound; a configuration
/// that is only checked begins nothing.
pub type Start = Box<dyn FnOnce(&Scope) + Send>;

/// What such work runs within.
pub struct Scope {
    /// Cancelled when the configuration ends: the process stops, or a reload has replaced it.
    pub stop: CancellationToken,
    /// Where DNS is answered, by the identity of the listener (`dns://:53`).
    pub listeners: Vec<(String, SocketAddr)>,
}
