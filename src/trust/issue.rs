//! Certificates for those who have no issuer of their own.
//!
//! ECDSA P-256 throughout: small, fast, and what every implementation of TLS has.

use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use x509_parser::time::ASN1Time;

use super::check::key_fits;
use super::facts::Facts;
use super::name::Role;
use super::pem::{self, PemError};

/// For how long a certificate lasts: a year, so that nobody has to hurry, and nobody forgets how it goes.
pub const DEFAULT_LIFE: Duration = Duration::from_secs(365 * 86_400);

/// For how long an authority lasts: ten years. Exchanging it is work at every node.
pub const AUTHORITY_LIFE: Duration = Duration::from_secs(3650 * 86_400);

/// By how much certificates begin before they are made: clocks of other machines are behind by minutes.
pub const BEGIN_BEFORE: Duration = Duration::from_secs(3600);

/// Bytes of a serial number: 20 are the most (RFC 5280, section 4.1.2.2), with the first bit unset.
const SERIAL_BYTES: usize = 16;

/// A certificate and its key.
#[derive(Clone)]
pub struct Pair {
    /// The certificate, PEM.
    pub certificate: String,
    /// Its key, PEM (PKCS #8).
    pub key: String,
}

/// What is asked of the authority.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    /// For whom.
    pub role: Role,
    /// The subject's common name; for people only.
    pub name: &'a str,
    /// From when the certificate counts, in Unix seconds.
    pub not_before: i64,
    /// Until when.
    pub not_after: i64,
}

impl<'a> Order<'a> {
    /// A certificate that is made at `now` (Unix seconds) and lasts for `life`.
    pub fn new(role: Role, name: &'a str, now: i64, life: Duration) -> Self {
        let (not_before, not_after) = dates(now, life);
        Self { role, name, not_before, not_after }
    }
}

/// Why no certificate is made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The authority's files are not right.
    #[error(transparent)]
    Files(#[from] PemError),
    /// The authority's certificate is none of an authority.
    #[error("{0} is not an authority's certificate: it may not issue others")]
    NoAuthority(String),
    /// The certificate would outlive its issuer.
    #[error("the authority ends before the certificate would: ask for fewer days, or make a new authority")]
    OutlivesAuthority,
    /// A date that no certificate can have.
    #[error("the dates of a certificate are before the year 10000")]
    Date,
    /// It could not be made.
    #[error("making a certificate: {0}")]
    Making(#[from] rcgen::Error),
}

/// A new authority that begins at `now` (Unix seconds) and lasts for `life`.
///
/// # Errors
/// A date that no certificate can have, or no randomness.
pub fn authority(name: &str, now: i64, life: Duration) -> Result<Pair, IssueError> {
    let key = KeyPair::generate()?;
    let (not_before, not_after) = dates(now, life);
    let mut params = params(name, not_before, not_after)?;
    // Nothing between it and hubs and nodes: whoever steals a node's key cannot issue for others.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// An authority that issues.
pub struct Authority {
    /// Signs.
    issuer: Issuer<'static, KeyPair>,
    /// Until when it counts, in Unix seconds.
    not_after: i64,
}

impl Authority {
    /// Of the contents of its files, whose paths errors name. Its own certificate is the first one.
    ///
    /// # Errors
    /// Files that hold something else, or do not belong together.
    pub fn read(certificate: (&Path, &[u8]), key: (&Path, &[u8])) -> Result<Self, IssueError> {
        let (cert_path, cert_text) = certificate;
        let (key_path, key_text) = key;
        let wrong = |path: &Path, what, why: String| PemError::Wrong { path: path.to_owned(), what, why };
        let der = pem::certificates(cert_path, cert_text)?.swap_remove(0);
        let facts = Facts::read(&der).map_err(|error| wrong(cert_path, "certificate", error.to_string()))?;
        if !facts.is_authority {
            return Err(IssueError::NoAuthority(cert_path.display().to_string()));
        }
        let der_key = pem::private_key(key_path, key_text)?;
        let pair =
            KeyPair::try_from(&der_key).map_err(|error| wrong(key_path, "private key", error.to_string()))?;
        key_fits(vec![der.clone()], der_key)
            .map_err(|source| PemError::Mismatch { path: cert_path.to_owned(), source })?;
        Ok(Self { issuer: Issuer::from_ca_cert_der(&der, pair)?, not_after: facts.not_after })
    }

    /// Until when it counts, in Unix seconds.
    pub const fn not_after(&self) -> i64 {
        self.not_after
    }

    /// A certificate and a new key.
    ///
    /// # Errors
    /// A date that no certificate can have or that is after the authority's end, or no randomness.
    pub fn issue(&self, order: &Order<'_>) -> Result<Pair, IssueError> {
        let &Order { role, name, not_before, not_after } = order;
        if not_after > self.not_after {
            return Err(IssueError::OutlivesAuthority);
        }
        let key = KeyPair::generate()?;
        let mut params = params(name, not_before, not_after)?;
        params.subject_alt_names = vec![rcgen::SanType::DnsName(role.dns_name().try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match role {
            // Hubs follow each other.
            Role::Hub => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            Role::Node => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

/// From and until when, in Unix seconds.
fn dates(now: i64, life: Duration) -> (i64, i64) {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    (now.saturating_sub(seconds(BEGIN_BEFORE)), now.saturating_add(seconds(life)))
}

/// What all certificates have.
fn params(name: &str, not_before: i64, not_after: i64) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "outlast");
    params.distinguished_name.push(DnType::CommonName, name);
    let date = |seconds| ASN1Time::from_timestamp(seconds).map_err(|_| IssueError::Date);
    (params.not_before, params.not_after) = (date(not_before)?.to_datetime(), date(not_after)?.to_datetime());
    let mut serial: [u8; SERIAL_BYTES] = rand::random();
    serial[0] = (serial[0] & 0x7f) | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}
