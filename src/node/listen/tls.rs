//! The certificates of a listener that speaks DNS over TLS (RFC 7858).
//!
//! The files are read when the configuration is, and looked at again now and then: a certificate that was renewed is
//! used for the connections that come after, and one that is broken changes nothing.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{self, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use tokio_rustls::{Accept, TlsAcceptor};

use crate::trust::files::{Look, Watched};
use crate::trust::pem::{self, PemError};

/// What is asked of clients, as `client_auth` of the `tls` plugin names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// `nocert`: nothing.
    #[default]
    None,
    /// `request`: a certificate, which may be missing, and anybody's.
    Request,
    /// `require`: a certificate, which may be anybody's.
    Require,
    /// `verify_if_given`: a certificate, which may be missing, and else has to be from the authorities.
    VerifyIfGiven,
    /// `require_and_verify`: a certificate from the authorities.
    RequireAndVerify,
}

impl ClientAuth {
    /// Whether certificates have to be from the authorities.
    pub const fn verifies(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }
}

/// The files of an identity, and what is asked of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The chain of certificates, PEM, the server's own first.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Authorities of clients' certificates, PEM.
    pub authorities: Option<PathBuf>,
    /// What is asked of clients.
    pub client_auth: ClientAuth,
}

/// What a look at the files found.
#[derive(Debug)]
pub enum Refreshed {
    /// They are what they were when they were last looked at.
    Same,
    /// Connections that come from now on get the new certificate.
    Changed,
    /// They are broken, or gone; what was there before stays. Said once for each change.
    Broken(PemError),
}

/// A certificate, its key, and what is asked of clients.
pub struct Identity {
    /// Where they come from.
    files: Files,
    /// What new connections get.
    config: ArcSwap<ServerConfig>,
    /// How the files were found last.
    watched: Watched,
}

impl Identity {
    /// Reads the files.
    ///
    /// # Errors
    /// A file that cannot be read or does not hold what it should, or files that do not belong together.
    pub fn read(files: Files) -> Result<Arc<Self>, PemError> {
        let paths = [Some(&files.certificate), Some(&files.key), files.authorities.as_ref()];
        let watched = Watched::new(paths.into_iter().flatten().cloned().collect());
        let config = ArcSwap::from_pointee(watched.first(|texts| files.config(texts))?);
        Ok(Arc::new(Self { files, config, watched }))
    }

    /// Where it comes from.
    pub const fn files(&self) -> &Files {
        &self.files
    }

    /// Reads the files again. Blocks while it does.
    pub fn refresh(&self) -> Refreshed {
        match self.watched.look(|texts| self.files.config(texts)) {
            Look::Same => Refreshed::Same,
            Look::Changed(config) => {
                self.config.store(Arc::new(config));
                Refreshed::Changed
            }
            Look::Broken(error) => Refreshed::Broken(error),
        }
    }

    /// The handshake with a client.
    pub(super) fn accept(&self, stream: TcpStream) -> Accept<TcpStream> {
        TlsAcceptor::from(self.config.load_full()).accept(stream)
    }
}

impl Files {
    /// What connections get, from the contents of the certificate, its key and the authorities, if there are any.
    fn config(&self, texts: &[Vec<u8>]) -> Result<ServerConfig, PemError> {
        let text = |at: usize| texts.get(at).map_or(&[][..], Vec::as_slice);
        let chain = pem::certificates(&self.certificate, text(0))?;
        let key = pem::private_key(&self.key, text(1))?;
        let mismatch = |source| PemError::Mismatch { path: self.certificate.clone(), source };
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(mismatch)?;
        let builder = match self.verifier(text(2))? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        builder.with_single_cert(chain, key).map_err(mismatch)
    }

    /// Who judges clients' certificates, if they are asked for any.
    fn verifier(&self, authorities: &[u8]) -> Result<Option<Arc<dyn ClientCertVerifier>>, PemError> {
        let anybody = |mandatory| -> Option<Arc<dyn ClientCertVerifier>> {
            Some(Arc::new(Anybody { mandatory, provider: ring::default_provider() }))
        };
        match self.client_auth {
            ClientAuth::None => return Ok(None),
            ClientAuth::Request => return Ok(anybody(false)),
            ClientAuth::Require => return Ok(anybody(true)),
            ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify => {}
        }
        let path = self.authorities.clone().unwrap_or_default();
        let roots = pem::authorities(&path, authorities)?;
        let provider = Arc::new(ring::default_provider());
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        if self.client_auth == ClientAuth::VerifyIfGiven {
            builder = builder.allow_unauthenticated();
        }
        let verifier = builder.build().map_err(|error| PemError::Wrong {
            path,
            what: "authority's certificate",
            why: error.to_string(),
        })?;
        Ok(Some(verifier))
    }
}

/// Takes any certificate that a client can prove to be its own.
#[derive(Debug)]
struct Anybody {
    /// Whether there has to be one.
    mandatory: bool,
    /// Checks that it is the client's own.
    provider: CryptoProvider,
}

impl ClientCertVerifier for Anybody {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
