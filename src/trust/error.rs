//! Why there is no connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::pem::PemError;

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TrustError {
    /// The own files are missing or broken, and were never right.
    #[error("no certificate of our own: {0}")]
    NoIdentity(Arc<PemError>),
    /// The own files take long to read.
    #[error("no certificate of our own: its files could not be read within {} s", .0.as_secs())]
    SlowFiles(Duration),
    /// The other side broke off, or one of both does not believe the other.
    #[error("TLS with {peer}: {source}")]
    Handshake {
        /// The other side.
        peer: SocketAddr,
        /// Why: what is wrong with which certificate, if that is it.
        source: Arc<io::Error>,
    },
    /// The other side was silent.
    #[error("TLS with {peer}: nothing within {} s", .after.as_secs())]
    TimedOut {
        /// The other side.
        peer: SocketAddr,
        /// For how long.
        after: Duration,
    },
    /// The other side speaks something else than HTTP/2.
    #[error("TLS with {peer}: it does not speak HTTP/2")]
    NoHttp2 {
        /// The other side.
        peer: SocketAddr,
    },
}

impl TrustError {
    /// In a word, for metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NoIdentity(_) | Self::SlowFiles(_) => "no_identity",
            Self::Handshake { .. } => "handshake",
            Self::TimedOut { .. } => "timeout",
            Self::NoHttp2 { .. } => "protocol",
        }
    }

    /// Every word.
    pub const WORDS: [&'static str; 4] = ["no_identity", "handshake", "timeout", "protocol"];
}
