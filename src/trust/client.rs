//! The side of those who follow: dials a hub, and believes only one.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{self, ClientConfig};

use super::config::TlsFiles;
use super::error::TrustError;
use super::identity::Identities;
use super::name::Role;
use super::peer::{Peer, Side};
use super::verify::{Clock, Judge};
use crate::ops::clock::WallClock;
use crate::ops::metrics::Metrics;

/// What is spoken within TLS: HTTP/2 (RFC 9113, section 3.2).
pub(super) const ALPN: &[u8] = b"h2";

/// Dials hubs.
#[derive(Clone)]
pub struct Connector {
    /// Ours, and whom we believe.
    identities: Arc<Identities>,
}

impl Connector {
    /// With the identity of these files, which need not be there yet. To be called within a runtime.
    pub fn new(files: TlsFiles, clock: Arc<WallClock>, metrics: &Metrics) -> Self {
        Self::with(Identities::new(files, clock, metrics))
    }

    /// With an identity that is shared.
    pub const fn with(identities: Arc<Identities>) -> Self {
        Self { identities }
    }

    /// The handshake with the hub that was dialled at `peer`, whatever that address is: its certificate has the name
    /// of all hubs and is from our authorities.
    ///
    /// That the hub does not believe *us* shows at the first read only: that is how TLS 1.3 goes.
    ///
    /// # Errors
    /// There is no certificate of our own, the other side is not to be believed, is silent for
    /// [`HANDSHAKE_TIMEOUT`](super::identity::HANDSHAKE_TIMEOUT), or speaks no HTTP/2. All are counted here; logging is the caller's.
    pub async fn connect<S>(&self, stream: S, peer: SocketAddr) -> Result<(TlsStream<S>, Peer), TrustError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.identities.observed(Side::Client, peer, Box::pin(self.handshake(stream, peer))).await
    }

    async fn handshake<S>(&self, stream: S, peer: SocketAddr) -> Result<(TlsStream<S>, Peer), TrustError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let failed = |source| TrustError::Handshake { peer, source: Arc::new(source) };
        let identity = self.identities.current().await?;
        let judge = Judge::new(identity.chains.clone());
        let config = self.config(judge.clone(), SingleCertAndKey::from(identity.own.clone()));
        let config = config.map_err(|error| failed(std::io::Error::other(error)))?;
        let dialling = TlsConnector::from(Arc::new(config)).connect(Role::Hub.server_name(), stream);
        let tls = dialling.await.map_err(failed)?;
        if tls.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(TrustError::NoHttp2 { peer });
        }
        let verdict = judge.verdict().expect("a server shows a certificate, and it was judged");
        let peer = Peer::new(peer, verdict);
        Ok((tls, peer))
    }

    /// Made anew for each connection, because its judge is: a handful of pointers.
    fn config(&self, judge: Arc<Judge>, own: SingleCertAndKey) -> Result<ClientConfig, rustls::Error> {
        let clock = Arc::new(Clock(self.identities.clock().clone()));
        let mut config = ClientConfig::builder_with_details(self.identities.provider().clone(), clock)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(judge)
            .with_client_cert_resolver(Arc::new(own));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session would be one whose certificate nobody looks at.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}
