//! What one `forward` of a Corefile says, and what makes it unusable.

use std::net::SocketAddr;
use std::time::Duration;

use super::admission::DEFAULT_IN_FLIGHT;
use super::policy::{MAX_UPSTREAMS, Policy};
use super::scope::BadZone;

/// How long an upstream may take to reply, unless configured: what CoreDNS gives it.
pub const DEFAULT_READ_TIMEOUT: Duration = Duration::from_secs(2);

/// One `forward` of a Corefile.
#[derive(Clone, Debug)]
pub struct ForwardConfig {
    /// FROM: the zone whose names are forwarded.
    pub from: String,
    /// TO: the upstreams in the order of the file; duplicates count once.
    pub to: Vec<SocketAddr>,
    /// Zones that are not forwarded.
    pub except: Vec<String>,
    /// Always TCP.
    pub force_tcp: bool,
    /// UDP for every client, and TCP when the reply is truncated.
    pub prefer_udp: bool,
    /// The order in which upstreams are tried.
    pub policy: Policy,
    /// How long one upstream may take to reply; once more for connecting over TCP. Above zero.
    pub read_timeout: Duration,
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
    pub fn new(from: impl Into<String>, to: Vec<SocketAddr>) -> Self {
        Self {
            from: from.into(),
            to,
            except: Vec::new(),
            force_tcp: false,
            prefer_udp: false,
            policy: Policy::default(),
            read_timeout: DEFAULT_READ_TIMEOUT,
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
    /// FROM or a zone of `except` is not a domain name.
    #[error(transparent)]
    Zone(#[from] BadZone),
    /// With no time to reply every query would fail.
    #[error("read_timeout must be longer than 0")]
    NoReadTimeout,
}
