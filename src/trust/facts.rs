//! What a certificate says of itself. Nothing here is verified.

use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::name::Role;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Whose it is: `CN=node-7`.
    pub subject: String,
    /// The name in that which is for people: `node-7`.
    pub common_name: Option<String>,
    /// Who issued it.
    pub issuer: String,
    /// Its number at the issuer, in hexadecimal.
    pub serial: String,
    /// DNS names.
    pub dns_names: Vec<String>,
    /// From when it counts, in Unix seconds.
    pub not_before: i64,
    /// Until when it counts, in Unix seconds, both ends included (RFC 5280, section 4.1.2.5).
    pub not_after: i64,
    /// Whether it issues certificates.
    pub is_authority: bool,
    /// Whether it says that it is for servers; one that says nothing of purposes is for none here.
    pub for_servers: bool,
    /// Whether it says that it is for clients.
    pub for_clients: bool,
}

/// What is not a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no X.509 certificate: {0}")]
pub struct NoCertificate(String);

impl Facts {
    /// Reads a certificate.
    ///
    /// # Errors
    /// What is not a certificate.
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Self, NoCertificate> {
        let (_, parsed) =
            X509Certificate::from_der(certificate).map_err(|error| NoCertificate(error.to_string()))?;
        let purposes =
            parsed.extended_key_usage().ok().flatten().map(|e| (e.value.server_auth, e.value.client_auth));
        let (for_servers, for_clients) = purposes.unwrap_or_default();
        let names = parsed.subject_alternative_name().ok().flatten();
        let dns_names =
            names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            });
        let common_name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        Ok(Self {
            common_name: common_name.map(str::to_owned),
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            serial: parsed.raw_serial_as_string(),
            dns_names: dns_names.collect(),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            is_authority: parsed.is_ca(),
            for_servers,
            for_clients,
        })
    }

    /// What its names make of whoever has it, if anything.
    pub fn role(&self) -> Option<Role> {
        Role::ALL
            .into_iter()
            .find(|role| self.dns_names.iter().any(|name| name.eq_ignore_ascii_case(role.dns_name())))
    }

    /// The share of its life that is left at `now` (Unix seconds): 1 before it begins, 0 after its end.
    pub fn life_left(&self, now: i64) -> f64 {
        let life = self.not_after.saturating_sub(self.not_before);
        if life <= 0 {
            return 0.0;
        }
        (self.not_after.saturating_sub(now) as f64 / life as f64).clamp(0.0, 1.0)
    }
}
