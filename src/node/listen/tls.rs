//! The certificates of a listener that speaks DNS over TLS (RFC 7858).
//!
//! The files are read when the configuration is, and looked at again now and then: a certificate that was renewed is
//! used for the connections that come after, and one that is broken changes nothing.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    self, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};
use tokio_rustls::{Accept, TlsAcceptor};
use xxhash_rust::xxh3::xxh3_128;

/// The largest file of certificates that is read: chains have a few kilobytes, bundles of authorities some hundred.
const MAX_FILE: u64 = 4 << 20;

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

/// Why files make no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("reading {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} holds no {what}: {why}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The files do not belong together.
    #[error("{} and its key: {source}", path.display())]
    Mismatch {
        /// The certificate.
        path: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
}

/// What a look at the files found.
#[derive(Debug)]
pub enum Refreshed {
    /// They are what they were when they were last looked at.
    Same,
    /// Connections that come from now on get the new certificate.
    Changed,
    /// They are broken, or gone; what was there before stays. Said once for each change.
    Broken(IdentityError),
}

/// A certificate, its key, and what is asked of clients.
pub struct Identity {
    /// Where they come from.
    files: Files,
    /// What new connections get.
    config: ArcSwap<ServerConfig>,
    /// Hash of the files as they were last seen, broken ones included. Held for one look.
    seen: Mutex<u128>,
}

impl Identity {
    /// Reads the files.
    ///
    /// # Errors
    /// A file that cannot be read or does not hold what it should, or files that do not belong together.
    pub fn read(files: Files) -> Result<Arc<Self>, IdentityError> {
        let texts = Texts::read(&files)?;
        let config = ArcSwap::from_pointee(texts.config(&files)?);
        Ok(Arc::new(Self { files, config, seen: Mutex::new(texts.hash()) }))
    }

    /// Where it comes from.
    pub const fn files(&self) -> &Files {
        &self.files
    }

    /// Reads the files again. Blocks while it does.
    pub fn refresh(&self) -> Refreshed {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let texts = match Texts::read(&self.files) {
            Ok(texts) => texts,
            // Files that are gone are as good as empty ones: said once.
            Err(_) if *seen == 0 => return Refreshed::Same,
            Err(error) => {
                *seen = 0;
                return Refreshed::Broken(error);
            }
        };
        let hash = texts.hash();
        if *seen == hash {
            return Refreshed::Same;
        }
        *seen = hash;
        match texts.config(&self.files) {
            Ok(config) => {
                self.config.store(Arc::new(config));
                Refreshed::Changed
            }
            Err(error) => Refreshed::Broken(error),
        }
    }

    /// The handshake with a client.
    pub(super) fn accept(&self, stream: TcpStream) -> Accept<TcpStream> {
        TlsAcceptor::from(self.config.load_full()).accept(stream)
    }
}

/// The contents of the files.
struct Texts {
    /// Of the certificate.
    certificate: Vec<u8>,
    /// Of its key.
    key: Vec<u8>,
    /// Of the authorities; empty without them.
    authorities: Vec<u8>,
}

impl Texts {
    fn read(files: &Files) -> Result<Self, IdentityError> {
        let read = |path: &Path| -> Result<Vec<u8>, IdentityError> {
            let mut bytes = Vec::new();
            let read = File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
            match read {
                Ok(_) => Ok(bytes),
                Err(source) => Err(IdentityError::Unreadable { path: path.to_owned(), source }),
            }
        };
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: read(&files.key)?,
            authorities: files.authorities.as_deref().map(read).transpose()?.unwrap_or_default(),
        })
    }

    fn hash(&self) -> u128 {
        let hashes = [&self.certificate, &self.key, &self.authorities].map(|text| xxh3_128(text));
        xxh3_128(&hashes.map(u128::to_be_bytes).concat())
    }

    fn config(&self, files: &Files) -> Result<ServerConfig, IdentityError> {
        let chain = certificates(&files.certificate, &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| IdentityError::Wrong {
            path: files.key.clone(),
            what: "private key in PEM",
            why: error.to_string(),
        })?;
        let mismatch = |source| IdentityError::Mismatch { path: files.certificate.clone(), source };
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(mismatch)?;
        let builder = match self.verifier(files)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        builder.with_single_cert(chain, key).map_err(mismatch)
    }

    /// Who judges clients' certificates, if they are asked for any.
    fn verifier(&self, files: &Files) -> Result<Option<Arc<dyn ClientCertVerifier>>, IdentityError> {
        let anybody = |mandatory| -> Option<Arc<dyn ClientCertVerifier>> {
            Some(Arc::new(Anybody { mandatory, provider: ring::default_provider() }))
        };
        match files.client_auth {
            ClientAuth::None => return Ok(None),
            ClientAuth::Request => return Ok(anybody(false)),
            ClientAuth::Require => return Ok(anybody(true)),
            ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify => {}
        }
        let path = files.authorities.clone().unwrap_or_default();
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&path, &self.authorities)? {
            roots.add(certificate).map_err(|error| IdentityError::Wrong {
                path: path.clone(),
                what: "authority's certificate",
                why: error.to_string(),
            })?;
        }
        let provider = Arc::new(ring::default_provider());
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        if files.client_auth == ClientAuth::VerifyIfGiven {
            builder = builder.allow_unauthenticated();
        }
        let verifier = builder.build().map_err(|error| IdentityError::Wrong {
            path,
            what: "authority's certificate",
            why: error.to_string(),
        })?;
        Ok(Some(verifier))
    }
}

/// The certificates of a file, of which there is at least one.
fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let wrong = |why: String| IdentityError::Wrong { path: path.to_owned(), what: "certificate in PEM", why };
    let all: Vec<_> =
        CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().map_err(|e| wrong(e.to_string()))?;
    if all.is_empty() { Err(wrong("there is none in it".to_owned())) } else { Ok(all) }
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
