//! The hub's side: takes connections of those who can show that they are a node or a hub.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::server::NoServerSessionStorage;
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;

use super::client::ALPN;
use super::config::TlsFiles;
use super::error::TrustError;
use super::identity::Identities;
use super::peer::{Peer, Side};
use super::verify::{Clock, Judge};
use crate::ops::clock::WallClock;
use crate::ops::metrics::Metrics;

/// Takes connections.
#[derive(Clone)]
pub struct Acceptor {
    /// Ours, and whom we believe.
    identities: Arc<Identities>,
}

impl Acceptor {
    /// With the identity of these files, which need not be there yet. To be called within a runtime.
    pub fn new(files: TlsFiles, clock: Arc<WallClock>, metrics: &Metrics) -> Self {
        Self::with(Identities::new(files, clock, metrics))
    }

    /// With an identity that is shared.
    pub const fn with(identities: Arc<Identities>) -> Self {
        Self { identities }
    }

    /// The handshake with whoever dialled from `peer`: a node or a hub, by a certificate of our authorities.
    ///
    /// # Errors
    /// There is no certificate of our own, the other side is not to be believed, is silent for
    /// [`HANDSHAKE_TIMEOUT`](super::identity::HANDSHAKE_TIMEOUT), or speaks no HTTP/2. All are counted here; logging is the caller's.
    pub async fn accept<S>(&self, stream: S, peer: SocketAddr) -> Result<(TlsStream<S>, Peer), TrustError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.identities.observed(Side::Server, peer, Box::pin(self.handshake(stream, peer))).await
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
        let tls = TlsAcceptor::from(Arc::new(config)).accept(stream).await.map_err(failed)?;
        if tls.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(TrustError::NoHttp2 { peer });
        }
        let verdict = judge.verdict().expect("a certificate is mandatory, and was judged");
        let peer = Peer::new(peer, verdict);
        Ok((tls, peer))
    }

    /// Made anew for each connection, because its judge is: a handful of pointers.
    fn config(&self, judge: Arc<Judge>, own: SingleCertAndKey) -> Result<ServerConfig, rustls::Error> {
        let clock = Arc::new(Clock(self.identities.clock().clone()));
        let mut config = ServerConfig::builder_with_details(self.identities.provider().clone(), clock)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(judge)
            .with_cert_resolver(Arc::new(own));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session would be one whose certificate nobody looks at.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}
