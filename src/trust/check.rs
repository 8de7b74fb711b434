//! Would a certificate be believed? For people, before it is put anywhere.

use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, CertificateError, RootCertStore};

use super::name::Role;
use super::verify::Chains;

/// Whether a key is the one of a chain's first certificate.
///
/// # Errors
/// Why not.
pub fn key_fits(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<(), rustls::Error> {
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map(drop)
}

/// Whether the others would believe a chain, its holder's certificate first, to be this role's at `now` (Unix seconds),
/// were there no grace.
///
/// # Errors
/// Why not.
pub fn check(
    authorities: RootCertStore,
    chain: &[CertificateDer<'_>],
    role: Role,
    now: i64,
) -> Result<(), rustls::Error> {
    let chains = Chains::new(authorities, Duration::ZERO, &Arc::new(ring::default_provider()))
        .map_err(rustls::Error::General)?;
    let Some((end, rest)) = chain.split_first() else { return Err(rustls::Error::NoCertificatesPresented) };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap_or_default()));
    if role == Role::Hub {
        chains.server(end, rest, now)?;
    }
    // Hubs follow each other.
    let found = chains.client(end, rest, now)?.role;
    if found == role { Ok(()) } else { Err(CertificateError::NotValidForName.into()) }
}
