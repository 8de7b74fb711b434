//! What one `forward` of a Corefile says, and what makes it unusable.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::admission::DEFAULT_IN_FLIGHT;
use super::policy::{MAX_UPSTREAMS, Policy};
use super::probe::Probe;
use super::scope::BadZone;
use super::stream::{TlsError, TlsFiles};
use super::target::Target;

/// How long an upstream may take to reply, unless configured: what CoreDNS gives it.
pub const DEFAULT_READ_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an idle connection is kept, unless configured: what CoreDNS does.
pub const DEFAULT_EXPIRE: Duration = Duration::from_secs(10);

/// How many probes in a row may fail, unless configured, before the next one makes an upstream down: what CoreDNS
/// does.
pub const DEFAULT_MAX_FAILS: u32 = 2;

/// One `forward` of a Corefile.
#[derive(Clone, Debug)]
pub struct ForwardConfig {
    /// FROM: the zone whose names are forwarded.
    pub from: String,
    /// TO: the upstreams in the order of the file; duplicates count once.
    pub to: Vec<Target>,
    /// Zones that are not forwarded.
    pub except: Vec<String>,
    /// Always TCP.
    pub force_tcp: bool,
    /// UDP for every client, and TCP when the reply is truncated.
    pub prefer_udp: bool,
    /// How long an idle connection is kept.
    pub expire: Duration,
    /// Connections that are older get no new queries; `None`: they may become as old as they like.
    pub max_age: Option<Duration>,
    /// Idle connections that are kept for each upstream; `None`: all.
    pub max_idle_conns: Option<usize>,
    /// The order in which upstreams are tried.
    pub policy: Policy,
    /// How long one upstream may take to reply; once more for connecting over TCP. Above zero.
    pub read_timeout: Duration,
    /// An upstream is down when more probes than this failed in a row; 0: it never is, and nobody probes.
    pub max_fails: u32,
    /// How upstreams that failed are probed.
    pub probe: Probe,
    /// SERVFAIL at once when all upstreams are down, instead of trying one of them.
    pub failfast: bool,
    /// Response codes for which the next upstream is tried; the last one's reply counts.
    pub failover: Vec<u16>,
    /// Certificates for upstreams within TLS.
    pub tls: TlsFiles,
    /// What certificates of upstreams within TLS have to be for, where the upstream itself names nothing; `None`:
    /// for its address.
    pub tls_servername: Option<String>,
    /// The address that queries leave from; `None`: the system's choice.
    pub source_address: Option<IpAddr>,
    /// Who is asked for the addresses of upstreams that are named; empty: those of `/etc/resolv.conf`.
    pub resolver: Vec<SocketAddr>,
    /// More queries than this at a time are refused; `None` and 0: no such limit.
    pub max_concurrent: Option<u32>,
    /// Attempts for one query; `None`: twice the number of upstreams, 0: as many as the time allows.
    pub max_connect_attempts: Option<u32>,
    /// The bound on forwards in flight that holds without `max_concurrent` too, 1 to
    /// [`MAX_IN_FLIGHT`](super::MAX_IN_FLIGHT).
    pub max_in_flight: usize,
}

impl ForwardConfig {
    /// `forward FROM TO...` without options.
    pub fn new<T: Into<Target>>(from: impl Into<String>, to: Vec<T>) -> Self {
        Self {
            from: from.into(),
            to: to.into_iter().map(Into::into).collect(),
            except: Vec::new(),
            force_tcp: false,
            prefer_udp: false,
            expire: DEFAULT_EXPIRE,
            max_age: None,
            max_idle_conns: None,
            policy: Policy::default(),
            read_timeout: DEFAULT_READ_TIMEOUT,
            max_fails: DEFAULT_MAX_FAILS,
            probe: Probe::default(),
            failfast: false,
            failover: Vec::new(),
            tls: TlsFiles::default(),
            tls_servername: None,
            source_address: None,
            resolver: Vec::new(),
            max_concurrent: None,
            max_connect_attempts: None,
            max_in_flight: DEFAULT_IN_FLIGHT,
        }
    }
}

/// Why a [`ForwardConfig`] cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Nothing to forward to.
    #[error("forward needs at least one upstream")]
    NoUpstream,
    /// Too much to forward to.
    #[error("forward takes at most {MAX_UPSTREAMS} upstreams, not {0}")]
    TooManyUpstreams(usize),
    /// FROM, a zone of `except` or the domain of `health_check` is not a domain name.
    #[error(transparent)]
    Zone(#[from] BadZone),
    /// With no time to reply every query would fail.
    #[error("read_timeout must be longer than 0")]
    NoReadTimeout,
    /// Probes without a pause would be a flood.
    #[error("health_check must be longer than 0; 'max_fails 0' switches probes off")]
    NoProbeInterval,
    /// From an address of one family nothing reaches one of the other.
    #[error("from source_address {from} nobody can reach {to}: it is of the other family")]
    OtherFamily {
        /// `source_address`
        from: IpAddr,
        /// The upstream.
        to: SocketAddr,
    },
    /// Files or names of TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}
