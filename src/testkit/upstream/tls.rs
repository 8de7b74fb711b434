//! Certificates of fake upstreams: an authority of its own for each, made when the test runs.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// Who a server is, who vouches for it, and whose certificates it wants to see.
pub struct Identity {
    /// The server's certificate.
    certificate: CertificateDer<'static>,
    /// Its key.
    key: KeyPair,
    /// Signs certificates of clients, too.
    issuer: Issuer<'static, KeyPair>,
    /// The authority's certificate.
    ca: rcgen::Certificate,
    /// Whether clients have to show a certificate of the same authority.
    wants_clients: bool,
    /// Where files are written; removed at the end.
    folder: tempfile::TempDir,
}

impl Identity {
    /// A server with these names, which may be addresses.
    ///
    /// # Panics
    /// When a name is none.
    pub fn new(names: &[&str]) -> Self {
        let ca_key = KeyPair::generate().expect("a key");
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = authority.self_signed(&ca_key).expect("a certificate");
        let issuer = Issuer::new(authority, ca_key);
        let key = KeyPair::generate().expect("a key");
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let server = CertificateParams::new(names).expect("names");
        let certificate = server.signed_by(&key, &issuer).expect("a certificate").der().clone();
        let folder = tempfile::tempdir().expect("a folder");
        Self { certificate, key, issuer, ca, wants_clients: false, folder }
    }

    /// The same, and clients have to show a certificate of the same authority.
    #[must_use]
    pub fn wanting_clients(self) -> Self {
        Self { wants_clients: true, ..self }
    }

    /// A file with the authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.write("ca.pem", &self.ca.pem())
    }

    /// Files with a certificate of a client and its key.
    pub fn client(&self) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["client".to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (self.write("client.pem", &certificate.pem()), self.write("client.key", &key.serialize_pem()))
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("versions");
        let config = if self.wants_clients {
            let mut roots = RootCertStore::empty();
            roots.add(self.ca.der().clone()).expect("an authority");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            config.with_client_cert_verifier(verifier.build().expect("a verifier"))
        } else {
            config.with_no_client_auth()
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let config = config.with_single_cert(vec![self.certificate.clone()], key);
        TlsAcceptor::from(Arc::new(config.expect("a certificate and its key")))
    }
}
