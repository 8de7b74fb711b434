//! The client's side of TLS (RFC 7858): whom to believe, what to show, and which name the upstream must prove.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Files for connections within TLS; the default shows no certificate and believes what the system believes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Our certificate with what leads to its issuer, and its key, in PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The only authorities that are believed, in PEM; `None`: the system's.
    pub ca: Option<PathBuf>,
}

/// Why [`TlsFiles`] cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or has not what it should have.
    #[error("reading {} of TLS from {}: {why}", what, path.display())]
    File {
        /// `certificates` or `the key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The certificate and the key do not go together.
    #[error("the certificate and the key of TLS: {0}")]
    Identity(String),
    /// There is no authority that could vouch for an upstream.
    #[error("the system has no certificates of authorities; name a file with 'tls CA'")]
    NoRoots,
    /// The name that an upstream should prove is none.
    #[error("{0:?} is not a server name")]
    Name(String),
}

/// What connections of one `forward` share: sessions are resumed over all of them (RFC 8446 §2.2).
pub(crate) fn connector(files: &TlsFiles) -> Result<TlsConnector, TlsError> {
    let mut roots = RootCertStore::empty();
    match &files.ca {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|e| file("certificates", path, e))?;
            }
        }
        // Some of what a system has may be unreadable; the rest is believed.
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError::Identity(e.to_string()))?
        .with_root_certificates(roots);
    let config = match &files.identity {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let own = PrivateKeyDer::from_pem_file(key).map_err(|e| file("the key", key, e))?;
            config
                .with_client_auth_cert(certificates(certificate)?, own)
                .map_err(|e| TlsError::Identity(e.to_string()))?
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |why| file("certificates", path, why);
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(failed)?.collect();
    let found = found.map_err(failed)?;
    if found.is_empty() {
        return Err(file("certificates", path, "there is none"));
    }
    Ok(found)
}

fn file(what: &'static str, path: &Path, why: impl ToString) -> TlsError {
    TlsError::File { what, path: path.to_owned(), why: why.to_string() }
}

/// The client's side for one upstream.
#[derive(Clone)]
pub(crate) struct TlsClient {
    /// Shared by all upstreams of a `forward`.
    pub(super) connector: TlsConnector,
    /// What its certificate has to be for.
    pub(super) name: ServerName<'static>,
}

impl TlsClient {
    /// `name` is what was configured; without it the certificate has to be for the address.
    pub(crate) fn new(connector: TlsConnector, name: Option<&str>, ip: IpAddr) -> Result<Self, TlsError> {
        let name = match name {
            None => ServerName::from(ip),
            Some(name) => {
                // A final dot is no part of a name in a certificate (RFC 6066 §3).
                let bare = name.strip_suffix('.').unwrap_or(name);
                ServerName::try_from(bare.to_owned()).map_err(|_| TlsError::Name(name.to_owned()))?
            }
        };
        Ok(Self { connector, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "nothing\n").unwrap();
        let missing = folder.path().join("missing.pem");
        for (name, files, want) in [
            (
                "no such file",
                TlsFiles { ca: Some(missing.clone()), identity: None },
                format!("reading certificates of TLS from {}: ", missing.display()),
            ),
            (
                "no certificate in it",
                TlsFiles { ca: Some(empty.clone()), identity: None },
                format!("reading certificates of TLS from {}: there is none", empty.display()),
            ),
        ] {
            let error = connector(&files).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.starts_with(&want), "{name}: {error}");
        }
    }

    #[test]
    fn an_upstream_proves_its_name_or_its_address() {
        let key = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, key.cert.pem()).unwrap();
        let connector = connector(&TlsFiles { ca: Some(ca), identity: None }).unwrap();
        let ip = "192.0.2.1".parse().unwrap();
        let name = |name| TlsClient::new(connector.clone(), name, ip).map(|c| c.name.to_str().into_owned());
        assert_eq!(name(None).unwrap(), "192.0.2.1");
        assert_eq!(name(Some("dns.example.")).unwrap(), "dns.example");
        assert_eq!(name(Some("a b")).unwrap_err(), TlsError::Name("a b".to_owned()));
    }
}
