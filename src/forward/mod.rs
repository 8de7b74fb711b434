//! Forwarding: a client's query goes to an upstream as it came, and the upstream's reply comes back as it is.
//!
//! ```text
//! Forwarder ─ scope       which names
//!           ─ admission   how many at a time
//!           ─ roster      which upstreams (target: as written; names: looked up)
//!           ─ attempts    which one next, and when a second one beside it (policy, budget)
//!           └ upstream    asking one, and what is known of it
//!             ├ health    whether it answers (pure)      rtt      how fast (pure)
//!             ├ probe     until it does again
//!             ├ udp       a socket for each query
//!             └ stream    connections that are shared, over TCP and TLS
//!                         query ─ wire     what leaves, and what a reply is
//! ```
//!
//! May depend on [`crate::ops`]; knows nothing of zones of our own, of caches or of client sockets.
//!
//! Invariants:
//! * Every forward ends within [`START_WINDOW`] and one attempt, whatever upstreams do.
//! * Forwards in flight are bounded, with and without `max_concurrent`; so are connections and queries on each.
//! * No lock is held across an await; a dropped future frees its socket and its place.
//! * What an upstream says is passed on, never judged: which replies are worth keeping is the cache's matter.
//! * Nothing is sent before a query comes, but for the names of upstreams.

mod admission;
mod attempts;
mod budget;
pub mod cache;
mod config;
mod error;
mod health;
mod metrics;
mod names;
mod policy;
mod probe;
mod query;
pub mod resolv;
mod roster;
mod rtt;
mod scope;
mod stream;
pub mod target;
mod udp;
mod upstream;
mod wire;

use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::admission::{DEFAULT_IN_FLIGHT, MAX_IN_FLIGHT};
pub use self::config::{ConfigError, DEFAULT_EXPIRE, DEFAULT_MAX_FAILS, DEFAULT_READ_TIMEOUT, ForwardConfig};
pub use self::error::{Cause, ExchangeError};
pub use self::health::SILENCE;
pub use self::policy::{MAX_UPSTREAMS, Order, Policy};
pub use self::probe::{DEFAULT_PROBE_INTERVAL, Probe};
pub use self::query::{Exchanged, Query, Transport};
pub use self::scope::BadZone;
pub use self::stream::{TlsError, TlsFiles};
pub use self::target::Target;

use self::admission::{Admission, Full};
use self::budget::Budget;
use self::metrics::ForwardMetrics;
use self::roster::Roster;
use self::scope::Scope;
use self::stream::Limits;
use self::upstream::Dialect;
use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;

/// How long new attempts are started for one query: CoreDNS's figure, and the time after which stub resolvers
/// ask again (resolv.conf(5), `timeout`).
pub const START_WINDOW: Duration = Duration::from_secs(5);

/// Attempts for one query where the Corefile sets no limit: an upstream that refuses at once would otherwise
/// be asked as fast as the processor allows until the window closes.
const MAX_ATTEMPTS: usize = 256;

/// What became of a forwarded query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An upstream's reply.
    Reply(Replied),
    /// The client gets FORMERR: its query has no single readable question, or the upstream's reply is to
    /// another one.
    FormErr,
    /// The client gets REFUSED: `max_concurrent` queries are in flight.
    Refused {
        /// For the log.
        why: String,
    },
    /// As many queries are in flight as ever may be; the client gets SERVFAIL or REFUSED at once.
    Overloaded {
        /// For the log.
        why: String,
    },
    /// The client gets SERVFAIL: no upstream replied.
    Failed {
        /// What happened at the last attempt, for the log.
        error: String,
        /// The same for the client, without our own address: `192.0.2.1:53 over udp: i/o timeout`. `None` where
        /// nobody was asked, because all upstreams are down or none is known yet.
        network: Option<String>,
    },
}

/// A reply that is passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replied {
    /// The message, with the id of the query.
    pub message: Bytes,
    /// The upstream that sent it.
    pub from: SocketAddr,
}

/// One `forward` of a Corefile at work.
pub struct Forwarder {
    /// FROM and `except`.
    scope: Scope,
    /// Whom to ask.
    roster: Roster,
    /// In which order they are tried.
    policy: Policy,
    /// Counts queries, for [`Policy::RoundRobin`].
    turn: AtomicUsize,
    /// Attempts for one query, at least one.
    max_attempts: usize,
    /// Response codes for which the next upstream is tried.
    failover: Vec<u16>,
    /// Nobody is tried while all are down.
    failfast: bool,
    /// Second tries that may be made; held for one look only.
    budget: Mutex<Budget>,
    /// How many queries may be in flight.
    admission: Admission,
    /// What is counted.
    metrics: ForwardMetrics,
    /// Ends the probes with the `forward`.
    _stop: DropGuard,
}

impl Forwarder {
    /// Sets up a `forward`; nothing is sent before a query comes.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] says what of the configuration cannot be used.
    pub fn new(config: ForwardConfig, metrics: &Arc<Metrics>) -> Result<Self, ConfigError> {
        let stop = CancellationToken::new();
        let dialect = dialect(&config, &stop)?;
        let roster = Roster::new(&config, Arc::new(dialect), metrics)?;
        let ForwardConfig {
            from,
            except,
            policy,
            failfast,
            failover,
            max_concurrent,
            max_connect_attempts,
            max_in_flight,
            ..
        } = config;
        let max_attempts = match max_connect_attempts {
            None => 2 * roster.len(),
            Some(0) => MAX_ATTEMPTS,
            Some(attempts) => MAX_ATTEMPTS.min(attempts as usize),
        };
        Ok(Self {
            scope: Scope::new(&from, &except)?,
            roster,
            policy,
            turn: AtomicUsize::new(0),
            max_attempts,
            failover,
            failfast,
            budget: Mutex::new(Budget::new(Instant::now())),
            admission: Admission::new(max_concurrent, max_in_flight),
            metrics: ForwardMetrics::new(metrics),
            _stop: stop.drop_guard(),
        })
    }

    /// Whether queries for `name` (uncompressed wire format, any letter case) are for this `forward`.
    pub fn matches(&self, name: &[u8]) -> bool {
        self.scope.matches(name)
    }

    /// The upstreams whose addresses are known, in the order of the file.
    pub fn upstreams(&self) -> Vec<SocketAddr> {
        self.roster.known().iter().map(|upstream| upstream.addr()).collect()
    }

    /// Whether upstreams are named, so that [`Self::look_up`] has to be run.
    pub fn has_names(&self) -> bool {
        self.roster.has_names()
    }

    /// Looks up the upstreams that are named, until each has an address. Our own `listeners` are not asked.
    pub async fn look_up(&self, listeners: &[SocketAddr]) {
        self.roster.look_up(listeners).await;
    }

    /// Whether a query has no hope: each upstream has been silent for [`SILENCE`] although asked, refuses, or is
    /// down; or none is known yet.
    ///
    /// Any reply, to a query or to a probe, ends that at once. With `max_fails 0` there are no probes: one caller in
    /// five seconds is told that there is hope, so that its query finds out.
    pub fn is_failing(&self) -> bool {
        let (now, known) = (Instant::now(), self.roster.known());
        known.iter().all(|upstream| upstream.is_failing(now))
            && !known.iter().any(|upstream| upstream.take_recheck(now))
    }

    /// When an upstream last sent a reply after it had been failing; `None` if that never was. What failed before that
    /// says nothing of what would happen now.
    pub fn recovered(&self) -> Option<Instant> {
        self.roster.recovered()
    }

    /// Asks upstreams until one replies. `query` is the client's message, which came over `client`.
    ///
    /// Returns after at most [`START_WINDOW`] and the time of one attempt. Dropping the future gives up the
    /// query; nothing of it stays behind.
    pub async fn forward(&self, query: &[u8], client: Transport) -> Outcome {
        let Some(query) = Query::read(query) else { return Outcome::FormErr };
        // Held until the outcome is known, or the future dropped.
        let _place = match self.admission.enter() {
            Ok(place) => place,
            Err(full) => return self.turn_away(full),
        };
        self.ask_upstreams(&query, client).await
    }

    fn turn_away(&self, full: Full) -> Outcome {
        match full {
            Full::MaxConcurrent(max) => {
                self.metrics.rejects.increment(1);
                Outcome::Refused { why: format!("concurrent queries exceeded maximum {max}") }
            }
            Full::Bound(bound) => {
                self.metrics.overloads.increment(1);
                Outcome::Overloaded { why: format!("{bound} forwarded queries are in flight") }
            }
        }
    }
}

fn dialect(config: &ForwardConfig, stop: &CancellationToken) -> Result<Dialect, ConfigError> {
    if config.read_timeout.is_zero() {
        return Err(ConfigError::NoReadTimeout);
    }
    if config.probe.interval.is_zero() {
        return Err(ConfigError::NoProbeInterval);
    }
    // Checked here, so that a probe need not.
    config.probe.message()?;
    Ok(Dialect {
        force_tcp: config.force_tcp,
        prefer_udp: config.prefer_udp,
        timeout: config.read_timeout,
        source: config.source_address,
        limits: Limits { expire: config.expire, max_age: config.max_age, max_idle: config.max_idle_conns },
        max_fails: config.max_fails,
        probe: config.probe.clone(),
        jitter: Jitter::for_process(),
        stop: stop.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addrs(count: u16) -> Vec<SocketAddr> {
        (0..count).map(|i| SocketAddr::from(([127, 0, 0, 1], 1000 + i))).collect()
    }

    fn new(config: ForwardConfig) -> Result<Forwarder, ConfigError> {
        Forwarder::new(config, &Arc::new(Metrics::new()))
    }

    #[test]
    fn configurations_that_cannot_work_are_refused() {
        let ok = || ForwardConfig::new(".", addrs(1));
        struct Case {
            name: &'static str,
            config: ForwardConfig,
            want: &'static str,
        }
        let cases = [
            Case {
                name: "no upstream",
                config: ForwardConfig::new(".", addrs(0)),
                want: "forward needs at least one upstream",
            },
            Case {
                name: "16 upstreams",
                config: ForwardConfig::new(".", addrs(16)),
                want: "forward takes at most 15 upstreams, not 16",
            },
            Case {
                name: "no time",
                config: ForwardConfig { read_timeout: Duration::ZERO, ..ok() },
                want: "read_timeout must be longer than 0",
            },
            Case {
                name: "no pause between probes",
                config: ForwardConfig {
                    probe: Probe { interval: Duration::ZERO, ..Probe::default() },
                    ..ok()
                },
                want: "health_check must be longer than 0",
            },
            Case {
                name: "the domain of health_check is no name",
                config: ForwardConfig { probe: Probe { domain: "a..".into(), ..Probe::default() }, ..ok() },
                want: "\"a..\" is not a domain name",
            },
            Case {
                name: "an address of the other family",
                config: ForwardConfig { source_address: Some("::1".parse().unwrap()), ..ok() },
                want: "from source_address ::1 nobody can reach 127.0.0.1:1000",
            },
            Case {
                name: "FROM is no name",
                config: ForwardConfig { from: "a..".into(), ..ok() },
                want: "\"a..\" is not a domain name",
            },
            Case {
                name: "except is no name",
                config: ForwardConfig { except: vec!["..".into()], ..ok() },
                want: "\"..\" is not a domain name",
            },
        ];
        for case in cases {
            let error = new(case.config).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.starts_with(case.want), "{}: {error}", case.name);
        }
    }

    #[test]
    fn duplicates_count_once_and_15_upstreams_are_allowed() {
        let twice = [addrs(15), addrs(15)].concat();
        let forwarder = new(ForwardConfig::new(".", twice)).unwrap();
        assert_eq!(forwarder.upstreams(), addrs(15));
    }

    #[test]
    fn attempts_are_bounded() {
        for (configured, want) in [(None, 6), (Some(1), 1), (Some(0), 256), (Some(9999), 256)] {
            let config =
                ForwardConfig { max_connect_attempts: configured, ..ForwardConfig::new(".", addrs(3)) };
            assert_eq!(new(config).unwrap().max_attempts, want, "{configured:?}");
        }
    }
}
