//! Forwarding: a client's query goes to an upstream as it came, and the upstream's reply comes back as it is.
//!
//! ```text
//! Forwarder ─ scope      which names
//!           ─ admission  how many at a time
//!           ─ policy     which upstream next
//!           └ upstream ─ exchange ─ wire     one query, one reply
//! ```
//!
//! May depend on [`crate::ops`]; knows nothing of zones of our own, of caches or of client sockets.
//!
//! Invariants:
//! * Every forward ends within [`START_WINDOW`] and one attempt, whatever upstreams do.
//! * Forwards in flight are bounded, with and without `max_concurrent`.
//! * No lock is held across an await (there is none); a dropped future frees its socket and its place.
//! * What an upstream says is passed on, never judged: which replies are worth keeping is the cache's matter.

mod admission;
pub mod cache;
mod config;
mod error;
mod exchange;
mod metrics;
mod policy;
pub mod resolv;
mod scope;
mod upstream;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

pub use self::admission::{DEFAULT_IN_FLIGHT, MAX_IN_FLIGHT};
pub use self::config::{ConfigError, DEFAULT_READ_TIMEOUT, ForwardConfig};
pub use self::error::{Cause, ExchangeError};
pub use self::exchange::{Exchanged, Query, Transport, exchange};
pub use self::policy::{MAX_UPSTREAMS, Order, Policy};
pub use self::scope::BadZone;

use self::admission::{Admission, Full};
use self::metrics::ForwardMetrics;
use self::scope::Scope;
use self::upstream::{Dialect, Upstream};
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
    /// The upstream's reply, with the id of the query.
    Reply(Bytes),
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
    },
}

/// One `forward` of a Corefile at work.
pub struct Forwarder {
    /// FROM and `except`.
    scope: Scope,
    /// In the order of the file; 1 to [`MAX_UPSTREAMS`].
    upstreams: Box<[Upstream]>,
    /// How they are spoken with.
    dialect: Dialect,
    /// In which order they are tried.
    policy: Policy,
    /// Counts queries, for [`Policy::RoundRobin`].
    turn: AtomicUsize,
    /// Attempts for one query, at least one.
    max_attempts: usize,
    /// How many queries may be in flight.
    admission: Admission,
    /// What is counted.
    metrics: ForwardMetrics,
}

impl Forwarder {
    /// Sets up a `forward`; nothing is sent before a query comes.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] says what of the configuration cannot be used.
    pub fn new(config: ForwardConfig, metrics: &Arc<Metrics>) -> Result<Self, ConfigError> {
        let ForwardConfig {
            from,
            to,
            except,
            force_tcp,
            prefer_udp,
            policy,
            read_timeout,
            max_concurrent,
            max_connect_attempts,
            max_in_flight,
        } = config;
        if read_timeout.is_zero() {
            return Err(ConfigError::NoReadTimeout);
        }
        let addrs = distinct(to);
        match addrs.len() {
            0 => return Err(ConfigError::NoUpstream),
            1..=MAX_UPSTREAMS => {}
            count => return Err(ConfigError::TooManyUpstreams(count)),
        }
        let max_attempts = match max_connect_attempts {
            None => 2 * addrs.len(),
            Some(0) => MAX_ATTEMPTS,
            Some(attempts) => MAX_ATTEMPTS.min(attempts as usize),
        };
        Ok(Self {
            scope: Scope::new(&from, &except)?,
            upstreams: addrs.into_iter().map(|addr| Upstream::new(addr, metrics.clone())).collect(),
            dialect: Dialect { force_tcp, prefer_udp, timeout: read_timeout },
            policy,
            turn: AtomicUsize::new(0),
            max_attempts,
            admission: Admission::new(max_concurrent, max_in_flight),
            metrics: ForwardMetrics::new(metrics),
        })
    }

    /// Whether queries for `name` (uncompressed wire format, any letter case) are for this `forward`.
    pub fn matches(&self, name: &[u8]) -> bool {
        self.scope.matches(name)
    }

    /// The upstreams, in the order of the file.
    pub fn upstreams(&self) -> impl Iterator<Item = SocketAddr> {
        self.upstreams.iter().map(Upstream::addr)
    }

    /// Asks the upstreams, one after the other, until one replies. `query` is the client's message, which came
    /// over `client`.
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
        let window_end = Instant::now() + START_WINDOW;
        let mut error = None;
        for upstream in self.order().cycle().take(self.max_attempts) {
            if Instant::now() >= window_end {
                break;
            }
            match self.upstreams[upstream].ask(&query, client, self.dialect).await {
                Ok(Exchanged::Reply { message, .. }) => return Outcome::Reply(message),
                Ok(Exchanged::OtherQuestion { .. }) => return Outcome::FormErr,
                Err(failed) => {
                    tracing::debug!(error = %failed, "upstream gave no reply");
                    error = Some(failed);
                }
            }
        }
        let error = error.expect("there is an upstream, and the first attempt always starts");
        Outcome::Failed { error: error.to_string() }
    }

    fn order(&self) -> Order {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.policy.order(self.upstreams.len(), turn, &mut rand::rng())
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

fn distinct(addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut distinct = Vec::with_capacity(addrs.len());
    for addr in addrs {
        if !distinct.contains(&addr) {
            distinct.push(addr);
        }
    }
    distinct
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
                config: ForwardConfig::new(".", vec![]),
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
        assert_eq!(forwarder.upstreams().collect::<Vec<_>>(), addrs(15));
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
