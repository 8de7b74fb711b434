//! What is configured of trust.

use std::path::PathBuf;
use std::time::Duration;

/// How two ends of a connection know each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TrustConfig {
    /// Not at all: plain text, on loopback or by an explicit flag.
    Plain,
    /// By certificates of one authority.
    Tls(TlsFiles),
}

/// The files, which are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TlsFiles {
    /// Certificates of the authority, PEM.
    pub ca: PathBuf,
    /// The own certificate with its chain, PEM.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// For how long after its expiry a certificate is still believed, on either side.
    pub grace: Duration,
}
