//! One upstream of a `forward`: how it is asked, what is known of it, and what is counted.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::ExchangeError;
use super::health::{Grade, Health, RECHECK};
use super::metrics::UpstreamMetrics;
use super::probe::{self, Probe};
use super::query::{Exchanged, Query, Transport};
use super::rtt::Rtt;
use super::stream::{Dialer, Limits, Pool, TlsClient};
use super::udp;
use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;

/// The least time after which a reply is late: below it, a busy processor alone makes the difference.
const LEAST_PATIENCE: Duration = Duration::from_millis(20);

/// The most, and what holds while nothing is known of an upstream: a client hardly notices it once.
const MOST_PATIENCE: Duration = Duration::from_millis(400);

/// How much the times of rechecks vary, so that nodes do not ask together.
const SPREAD: f64 = 0.25;

/// One server that queries are forwarded to.
pub(super) struct Upstream {
    /// Where it listens.
    addr: SocketAddr,
    /// How it is spoken with.
    dialect: Arc<Dialect>,
    /// Connections to it, over TCP or TLS.
    pool: Pool,
    /// What is known of it; held for one look only.
    known: Mutex<Known>,
    /// When it last sent a reply after it had been failing, for those who must not wait for a look at `known`.
    recovered: ArcSwapOption<Instant>,
    /// What is counted of it.
    metrics: UpstreamMetrics,
}

/// What is known of an upstream.
struct Known {
    /// Whether it answers.
    health: Health,
    /// How fast.
    rtt: Rtt,
}

/// How one `forward` speaks with its upstreams.
pub(super) struct Dialect {
    /// Always TCP; wins over `prefer_udp`.
    pub(super) force_tcp: bool,
    /// UDP first for every client, TCP when the reply was truncated.
    pub(super) prefer_udp: bool,
    /// The time for each of connecting and exchanging.
    pub(super) timeout: Duration,
    /// Our address, where it is not the system's choice.
    pub(super) source: Option<IpAddr>,
    /// How connections are kept.
    pub(super) limits: Limits,
    /// `max_fails`
    pub(super) max_fails: u32,
    /// How upstreams that failed are probed.
    pub(super) probe: Probe,
    /// Spreads rechecks and probes.
    pub(super) jitter: Jitter,
    /// Cancelled when the `forward` is gone.
    pub(super) stop: CancellationToken,
}

impl Dialect {
    /// The transport of the first try for a client that asked over `client`.
    const fn transport(&self, client: Transport) -> Transport {
        match (self.force_tcp, self.prefer_udp, client) {
            (true, ..) | (false, false, Transport::Tcp | Transport::Tls) => Transport::Tcp,
            (false, true, _) | (false, false, Transport::Udp) => Transport::Udp,
        }
    }

    fn recheck(&self) -> Duration {
        self.jitter.spread(RECHECK, SPREAD)
    }
}

impl Upstream {
    /// An upstream at `addr`; within `tls` if there is one.
    pub(super) fn new(
        addr: SocketAddr,
        tls: Option<TlsClient>,
        dialect: Arc<Dialect>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let Dialect { timeout, source, limits, max_fails, .. } = *dialect;
        let dialer = Dialer { peer: addr, source, tls: tls.map(Arc::new), timeout };
        Self {
            addr,
            pool: Pool::new(dialer, limits),
            known: Mutex::new(Known { health: Health::new(max_fails), rtt: Rtt::default() }),
            recovered: ArcSwapOption::empty(),
            metrics: UpstreamMetrics::new(metrics, addr),
            dialect,
        }
    }

    /// Where it listens.
    pub(super) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How it is spoken with.
    pub(super) const fn dialect(&self) -> &Arc<Dialect> {
        &self.dialect
    }

    /// What is counted of it.
    pub(super) const fn metrics(&self) -> &UpstreamMetrics {
        &self.metrics
    }

    /// Connections to it.
    pub(super) const fn pool(&self) -> &Pool {
        &self.pool
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // === What is known ===

    /// Where it stands for a new query.
    pub(super) fn grade(&self, now: Instant) -> Grade {
        let mut known = self.known();
        if known.health.take_recheck(now, || self.dialect.recheck()) {
            return Grade::Recheck;
        }
        let patience = known.patience();
        known.health.grade(now, patience)
    }

    /// Whether it is down.
    pub(super) fn is_down(&self) -> bool {
        self.known().health.is_down()
    }

    /// Whether nobody should wait for it.
    pub(super) fn is_failing(&self, now: Instant) -> bool {
        self.known().health.is_failing(now)
    }

    /// When it last sent a reply after it had been failing.
    pub(super) fn recovered(&self) -> Option<Instant> {
        self.recovered.load().as_deref().copied()
    }

    /// Whether a query may see if it is back; where there are no probes, now and then.
    pub(super) fn take_recheck(&self, now: Instant) -> bool {
        self.known().health.take_recheck(now, || self.dialect.recheck())
    }

    /// After this time a reply is late.
    pub(super) fn patience(&self) -> Duration {
        self.known().patience()
    }

    /// Whether it has said nothing to anybody since `asked`.
    pub(super) fn is_silent_since(&self, asked: Instant) -> bool {
        self.known().health.is_silent_since(asked)
    }

    /// It sent a reply, to a query or to a probe.
    pub(super) fn replied(&self) {
        let mut known = self.known();
        let was_down = known.health.replied(Instant::now());
        let recovered = known.health.recovered();
        if recovered != self.recovered() {
            self.recovered.store(recovered.map(Arc::new));
        }
        drop(known);
        if was_down {
            tracing::info!(target: "plugin/forward", upstream = %self.addr, "upstream answers again");
        }
    }

    /// A probe got no reply.
    pub(super) fn probe_failed(&self, error: &ExchangeError) {
        self.metrics.probe_failed();
        if self.known().health.probe_failed() {
            tracing::warn!(target: "plugin/forward", upstream = %self.addr, %error, "upstream is down");
        }
    }

    /// Probing has ended.
    pub(super) fn end_probing(&self) {
        self.known().health.end_probing();
    }

    /// Begins probing, unless it is forbidden or under way.
    fn look_after(self: &Arc<Self>) {
        // Dropped outside of a runtime, as at a process's end, nobody needs a probe.
        if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && self.known().health.begin_probing()
        {
            runtime.spawn(probe::run(Arc::downgrade(self), self.dialect.clone()));
        }
    }

    // === Asking ===

    /// Asks it once; with `prefer_udp` a truncated reply over UDP is asked for again over TCP.
    pub(super) async fn ask(
        self: &Arc<Self>,
        query: &Query<'_>,
        client: Transport,
    ) -> Result<Exchanged, ExchangeError> {
        let transport = match self.pool.transport() {
            Transport::Tls => Transport::Tls,
            _ => self.dialect.transport(client),
        };
        let first = self.exchange(query, transport).await?;
        if self.dialect.prefer_udp && transport == Transport::Udp && first.is_truncated() {
            return self.exchange(query, Transport::Tcp).await;
        }
        Ok(first)
    }

    async fn exchange(
        self: &Arc<Self>,
        query: &Query<'_>,
        transport: Transport,
    ) -> Result<Exchanged, ExchangeError> {
        let mut asking = Asking { upstream: self, since: Instant::now(), settled: false };
        self.known().health.asked(asking.since);
        let result = match transport {
            Transport::Udp => {
                // Every query has a socket of its own: no port is ever used twice.
                self.metrics.connection(transport, false);
                let deadline = asking.since + self.dialect.timeout;
                udp::exchange(query, self.addr, self.dialect.source, deadline).await
            }
            Transport::Tcp | Transport::Tls => {
                self.pool.exchange(query, |reused| self.metrics.connection(transport, reused)).await
            }
        };
        asking.settle(&result);
        result
    }
}

impl Known {
    fn patience(&self) -> Duration {
        self.rtt.late_after(LEAST_PATIENCE, MOST_PATIENCE)
    }
}

/// An exchange that is under way; what becomes of it is noted, also when it is dropped.
struct Asking<'a> {
    /// Who is asked.
    upstream: &'a Arc<Upstream>,
    /// Since when.
    since: Instant,
    /// Whether its end was noted.
    settled: bool,
}

impl Asking<'_> {
    fn settle(&mut self, result: &Result<Exchanged, ExchangeError>) {
        self.settled = true;
        let (upstream, now) = (self.upstream, Instant::now());
        let took = now.saturating_duration_since(self.since);
        match result {
            Ok(exchanged) => {
                upstream.metrics.replied(exchanged.rcode(), took);
                upstream.known().rtt.sample(took);
                upstream.replied();
            }
            Err(error) => {
                upstream.metrics.failed(error.cause());
                if error.cause().is_ours() {
                    return;
                }
                let recheck = upstream.dialect.recheck();
                upstream.known().health.failed(error.cause().is_hard(), now, recheck);
                upstream.look_after();
            }
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let (now, recheck) = (Instant::now(), self.upstream.dialect.recheck());
        let speaks_against = {
            let mut known = self.upstream.known();
            let patience = known.patience();
            let late = known.health.given_up(self.since, now, patience, recheck);
            if now.saturating_duration_since(self.since) > patience {
                // At least this long a reply takes: whoever always loses a race must not seem fast.
                known.rtt.sample(now.saturating_duration_since(self.since));
            }
            late
        };
        if speaks_against {
            self.upstream.look_after();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialect(force_tcp: bool, prefer_udp: bool) -> Dialect {
        Dialect {
            force_tcp,
            prefer_udp,
            timeout: Duration::ZERO,
            source: None,
            limits: Limits { expire: Duration::ZERO, max_age: None, max_idle: None },
            max_fails: 2,
            probe: Probe::default(),
            jitter: Jitter::from_seed(1),
            stop: CancellationToken::new(),
        }
    }

    #[test]
    fn the_transport_is_the_clients_unless_configured() {
        use Transport::{Tcp, Tls, Udp};
        let cases = [
            (false, false, Udp, Udp),
            (false, false, Tcp, Tcp),
            (false, false, Tls, Tcp),
            (true, false, Udp, Tcp),
            (false, true, Tcp, Udp),
            (false, true, Tls, Udp),
            (true, true, Udp, Tcp),
        ];
        for (force_tcp, prefer_udp, client, want) in cases {
            let got = dialect(force_tcp, prefer_udp).transport(client);
            assert_eq!(got, want, "force_tcp {force_tcp}, prefer_udp {prefer_udp}, {client:?}");
        }
    }
}
