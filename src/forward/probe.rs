//! Probes: an upstream that failed is asked `. NS` until it replies, whatever it says.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::error::{Cause, ExchangeError, Path, Step};
use super::query::{Exchanged, Query, Transport};
use super::scope::{BadZone, wire_name};
use super::udp;
use super::upstream::{Dialect, Upstream};

/// Between two probes, unless configured: what CoreDNS waits.
pub const DEFAULT_PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// How long a probe waits for a reply: what CoreDNS waits.
const TIMEOUT: Duration = Duration::from_secs(1);

/// How much the pauses vary, so that nodes that lost an upstream together do not probe it together.
const SPREAD: f64 = 0.25;

/// Type NS and class IN, which is asked for.
const NS_IN: [u8; 4] = [0, 2, 0, 1];

/// `health_check` of the Corefile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Between two probes; above zero.
    pub interval: Duration,
    /// RD: whether the upstream is to resolve the name.
    pub recursion_desired: bool,
    /// The name that is asked for.
    pub domain: String,
}

impl Default for Probe {
    fn default() -> Self {
        Self { interval: DEFAULT_PROBE_INTERVAL, recursion_desired: true, domain: ".".to_owned() }
    }
}

impl Probe {
    /// The message, with id 0.
    pub(super) fn message(&self) -> Result<Vec<u8>, BadZone> {
        let flags = u8::from(self.recursion_desired);
        let header = [0, 0, flags, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        Ok([&header[..], &wire_name(&self.domain)?, &NS_IN].concat())
    }
}

/// Probes an upstream until it replies or is not needed any more.
pub(super) async fn run(upstream: Weak<Upstream>, dialect: Arc<Dialect>) {
    // Forwarders are not set up with a name that is none.
    let Ok(message) = dialect.probe.message() else { return };
    let Some(query) = Query::read(&message) else { return };
    let work = async {
        loop {
            let Some(upstream) = upstream.upgrade() else { return };
            let error = match once(&upstream, &query).await {
                Ok(_) => {
                    upstream.end_probing();
                    upstream.replied();
                    return;
                }
                Err(error) => error,
            };
            tracing::debug!(%error, "a probe got no reply");
            if !error.cause().is_ours() {
                upstream.probe_failed(&error);
            }
            drop(upstream);
            sleep(dialect.jitter.spread(dialect.probe.interval, SPREAD)).await;
        }
    };
    dialect.stop.run_until_cancelled(work).await;
}

/// One probe, over what queries would use: UDP where nothing else is configured.
async fn once(upstream: &Upstream, query: &Query<'_>) -> Result<Exchanged, ExchangeError> {
    let dialect = upstream.dialect();
    let transport = match upstream.pool().transport() {
        Transport::Tcp if !dialect.force_tcp => Transport::Udp,
        transport => transport,
    };
    if transport == Transport::Udp {
        return udp::exchange(query, upstream.addr(), dialect.source, Instant::now() + TIMEOUT).await;
    }
    // On a connection of its own: an old one that is dead would tell nothing of the server. It is used from then on.
    timeout(TIMEOUT, upstream.pool().anew(query)).await.unwrap_or_else(|_| {
        let path = Path { local: None, peer: upstream.addr() };
        Err(ExchangeError { step: Step::Read, transport, path, cause: Cause::Timeout })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_is_a_query_for_name_servers() {
        let root = Probe::default().message().unwrap();
        assert_eq!(root, [0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1]);
        let probe = Probe { recursion_desired: false, domain: "Example.".to_owned(), ..Probe::default() };
        let message = probe.message().unwrap();
        assert_eq!(message[2], 0, "RD");
        assert_eq!(Query::read(&message).unwrap().name(), b"\x07example\x00");
        assert!(Probe { domain: "a..b".to_owned(), ..Probe::default() }.message().is_err());
    }
}
