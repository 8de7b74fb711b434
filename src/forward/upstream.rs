//! One upstream of a `forward`: its address and what is counted of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::error::ExchangeError;
use super::exchange::{Exchanged, Query, Transport, exchange};
use super::metrics::UpstreamMetrics;
use crate::ops::metrics::Metrics;

/// One server that queries are forwarded to.
pub(super) struct Upstream {
    /// Where it listens, over UDP and TCP.
    addr: SocketAddr,
    /// What is counted of it.
    metrics: UpstreamMetrics,
}

/// How one `forward` speaks with its upstreams.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    /// Always TCP; wins over `prefer_udp`.
    pub(super) force_tcp: bool,
    /// UDP first for every client, TCP when the reply was truncated.
    pub(super) prefer_udp: bool,
    /// The time for each of connecting and exchanging.
    pub(super) timeout: Duration,
}

impl Dialect {
    /// The transport of the first try for a client that asked over `client`.
    const fn transport(&self, client: Transport) -> Transport {
        match (self.force_tcp, self.prefer_udp) {
            (true, _) => Transport::Tcp,
            (false, true) => Transport::Udp,
            (false, false) => client,
        }
    }
}

impl Upstream {
    pub(super) fn new(addr: SocketAddr, metrics: Arc<Metrics>) -> Self {
        Self { addr, metrics: UpstreamMetrics::new(metrics, addr) }
    }

    /// Where it listens.
    pub(super) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Asks it once; with `prefer_udp` a truncated reply over UDP is asked for again over TCP.
    pub(super) async fn ask(
        &self,
        query: &Query<'_>,
        client: Transport,
        dialect: Dialect,
    ) -> Result<Exchanged, ExchangeError> {
        let transport = dialect.transport(client);
        let first = self.exchange(query, transport, dialect.timeout).await?;
        if dialect.prefer_udp && transport == Transport::Udp && first.is_truncated() {
            return self.exchange(query, Transport::Tcp, dialect.timeout).await;
        }
        Ok(first)
    }

    async fn exchange(
        &self,
        query: &Query<'_>,
        transport: Transport,
        timeout: Duration,
    ) -> Result<Exchanged, ExchangeError> {
        let started = Instant::now();
        let result = exchange(query, self.addr, transport, timeout).await;
        match &result {
            Ok(exchanged) => self.metrics.replied(exchanged.rcode(), started.elapsed()),
            Err(error) => self.metrics.failed(error.cause()),
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transport_is_the_clients_unless_configured() {
        use Transport::{Tcp, Udp};
        let cases = [
            (false, false, Udp, Udp),
            (false, false, Tcp, Tcp),
            (true, false, Udp, Tcp),
            (false, true, Tcp, Udp),
            (true, true, Udp, Tcp),
        ];
        for (force_tcp, prefer_udp, client, want) in cases {
            let dialect = Dialect { force_tcp, prefer_udp, timeout: Duration::ZERO };
            assert_eq!(dialect.transport(client), want, "{dialect:?} {client}");
        }
    }
}
