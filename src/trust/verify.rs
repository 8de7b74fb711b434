//! Is this certificate one to believe? Chain, name, purpose, dates.
//!
//! The work is webpki's. Ours is the grace: of a chain whose only fault is that a certificate in it has ended, and not
//! longer ago than the grace, everything is verified once more as of the end of that certificate. Whatever else is
//! wrong shows then, be it hidden behind the dates now.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use tokio_rustls::rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::time_provider::TimeProvider;
use tokio_rustls::rustls::{
    self, CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
};

use super::facts::Facts;
use super::name::Role;
use super::peer::Standing;
use crate::ops::clock::WallClock;

/// How many certificates of one chain may have ended: as many as a chain may have.
const MAX_ENDED: usize = 8;

/// Judges chains; made of one reading of the files.
#[derive(Debug)]
pub(super) struct Chains {
    /// Verifies hubs' chains.
    servers: Arc<WebPkiServerVerifier>,
    /// Verifies the chains of those who follow.
    clients: Arc<dyn ClientCertVerifier>,
    /// Of handshakes' signatures.
    algorithms: WebPkiSupportedAlgorithms,
    /// For how long after its end a certificate is believed.
    grace: Duration,
}

/// What a handshake found of the other side.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    /// What its certificate makes of it.
    pub(super) role: Role,
    /// Whether its dates hold.
    pub(super) standing: Standing,
    /// What its certificate says.
    pub(super) facts: Facts,
}

impl Chains {
    /// Chains that end at these authorities.
    pub(super) fn new(
        roots: RootCertStore,
        grace: Duration,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let roots = Arc::new(roots);
        let servers = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone());
        let clients = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
        Ok(Self {
            servers: servers.build().map_err(|error| error.to_string())?,
            clients: clients.build().map_err(|error| error.to_string())?,
            algorithms: provider.signature_verification_algorithms,
            grace,
        })
    }

    /// Whether a chain is a hub's that serves.
    pub(super) fn server(
        &self,
        end: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Judged {
        let facts = facts(end)?;
        let name = Role::Hub.server_name();
        let standing = self.with_grace(now, |at| {
            self.servers.verify_server_cert(end, chain, &name, &[], at)?;
            // Stricter than webpki: who does not say that it is for servers is for none.
            if facts.for_servers { Ok(()) } else { Err(CertificateError::InvalidPurpose.into()) }
        })?;
        Ok(Verdict { role: Role::Hub, standing, facts })
    }

    /// Whether a chain is a node's or a hub's that follows.
    pub(super) fn client(
        &self,
        end: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Judged {
        let facts = facts(end)?;
        let parsed = ParsedCertificate::try_from(end)?;
        let mut role = Role::Node;
        let standing = self.with_grace(now, |at| {
            self.clients.verify_client_cert(end, chain, at)?;
            if !facts.for_clients {
                return Err(CertificateError::InvalidPurpose.into());
            }
            role = match verify_server_name(&parsed, &Role::Hub.server_name()) {
                Ok(()) => Role::Hub,
                Err(_) => verify_server_name(&parsed, &Role::Node.server_name()).map(|()| Role::Node)?,
            };
            Ok(())
        })?;
        Ok(Verdict { role, standing, facts })
    }

    /// Verifies everything now, and if that fails because something has ended within the grace, everything once
    /// more as of the end of that.
    fn with_grace(
        &self,
        now: UnixTime,
        mut verify: impl FnMut(UnixTime) -> Result<(), rustls::Error>,
    ) -> Result<Standing, rustls::Error> {
        let mut at = now;
        let mut ended: Option<rustls::Error> = None;
        for _ in 0..=MAX_ENDED {
            match verify(at) {
                Ok(()) if ended.is_none() => return Ok(Standing::Valid),
                Ok(()) => return Ok(Standing::Grace { since: since(at, now) }),
                // Each round goes further back, so that the last one, which succeeds, is as of the first end.
                Err(error) => match end_of(&error) {
                    Some(end) if end < at && since(end, now) <= self.grace => {
                        at = end;
                        ended.get_or_insert(error);
                    }
                    // What was not valid yet at the end of something else: never valid together.
                    None if is_too_early(&error) => return Err(ended.unwrap_or(error)),
                    _ => return Err(error),
                },
            }
        }
        Err(ended.unwrap_or_else(|| CertificateError::Expired.into()))
    }
}

/// What comes of a look at a chain.
pub(super) type Judged = Result<Verdict, rustls::Error>;

fn facts(certificate: &CertificateDer<'_>) -> Result<Facts, rustls::Error> {
    Facts::read(certificate).map_err(|_| CertificateError::BadEncoding.into())
}

/// How long before `now` something was.
fn since(then: UnixTime, now: UnixTime) -> Duration {
    Duration::from_secs(now.as_secs().saturating_sub(then.as_secs()))
}

/// The end of the certificate that has ended, if that is the fault.
fn end_of(error: &rustls::Error) -> Option<UnixTime> {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
            Some(*not_after)
        }
        _ => None,
    }
}

/// Whether the fault is that a certificate has not begun.
fn is_too_early(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }
        )
    )
}

/// The judge of one handshake, who remembers what was found.
#[derive(Debug)]
pub(super) struct Judge {
    /// Judges.
    chains: Arc<Chains>,
    /// What was found, once.
    verdict: OnceLock<Verdict>,
}

impl Judge {
    /// For a handshake that begins.
    pub(super) fn new(chains: Arc<Chains>) -> Arc<Self> {
        Arc::new(Self { chains, verdict: OnceLock::new() })
    }

    /// What was found of the other side, once the handshake is through.
    pub(super) fn verdict(&self) -> Option<&Verdict> {
        self.verdict.get()
    }

    fn keep(&self, judged: Judged) -> Result<(), rustls::Error> {
        let verdict = judged?;
        // There is one certificate message in a handshake, and no renegotiation in TLS 1.3.
        let _ = self.verdict.set(verdict);
        Ok(())
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.keep(self.chains.server(end_entity, intermediates, now))
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.chains.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.chains.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Judge {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.clients.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.keep(self.chains.client(end_entity, intermediates, now))
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.chains.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.chains.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.algorithms.supported_schemes()
    }
}

/// The process's clock for rustls: with its floor, so that a dead clock makes nothing too early.
pub(super) struct Clock(pub(super) Arc<WallClock>);

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(self.0.now_unix_ms())))
    }
}
