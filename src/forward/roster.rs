//! The upstreams of a `forward`: those with an address from the beginning, those with a name once it is looked up.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsConnector;

use super::config::{ConfigError, ForwardConfig};
use super::names::{self, NoAddress};
use super::policy::MAX_UPSTREAMS;
use super::stream::{TlsClient, TlsError, connector};
use super::target::{Place, Security, Target};
use super::upstream::{Dialect, Upstream};
use crate::ops::backoff::{Backoff, Policy};
use crate::ops::metrics::Metrics;

/// All upstreams of a `forward`.
pub(super) struct Roster {
    /// As they are written; 1 to [`MAX_UPSTREAMS`].
    targets: Vec<Target>,
    /// Those that are known.
    known: ArcSwap<Vec<Arc<Upstream>>>,
    /// Makes them.
    maker: Maker,
    /// Who is asked for names.
    resolver: Vec<SocketAddr>,
}

/// Makes upstreams.
struct Maker {
    /// How they are spoken with.
    dialect: Arc<Dialect>,
    /// For those within TLS.
    connector: Option<TlsConnector>,
    /// `tls_servername`
    name: Option<String>,
    /// What is counted.
    metrics: Arc<Metrics>,
}

impl Roster {
    /// The upstreams of `config`.
    pub(super) fn new(
        config: &ForwardConfig,
        dialect: Arc<Dialect>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, ConfigError> {
        let mut targets: Vec<Target> = Vec::new();
        for target in &config.to {
            if !targets.contains(target) {
                targets.push(target.clone());
            }
        }
        match targets.len() {
            0 => return Err(ConfigError::NoUpstream),
            1..=MAX_UPSTREAMS => {}
            count => return Err(ConfigError::TooManyUpstreams(count)),
        }
        let is_tls = |target: &Target| matches!(target.security, Security::Tls { .. });
        let maker = Maker {
            dialect,
            connector: targets.iter().any(is_tls).then(|| connector(&config.tls)).transpose()?,
            name: config.tls_servername.clone(),
            metrics: metrics.clone(),
        };
        let mut known = Vec::new();
        for target in &targets {
            match target.place {
                Place::Address(address) => known.push(Arc::new(maker.make(target, address)?)),
                // That the name can be one is known before it has an address.
                Place::Host { .. } => _ = maker.tls(target, SocketAddr::from(([0, 0, 0, 0], 0)))?,
            }
        }
        let known = ArcSwap::from_pointee(known);
        Ok(Self { targets, known, maker, resolver: config.resolver.clone() })
    }

    /// Those that are known.
    pub(super) fn known(&self) -> Arc<Vec<Arc<Upstream>>> {
        self.known.load_full()
    }

    /// How many are written.
    pub(super) const fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there are names to be looked up.
    pub(super) fn has_names(&self) -> bool {
        self.targets.iter().any(|target| matches!(target.place, Place::Host { .. }))
    }

    /// Looks the names up, each until it has an address; those that have one are used meanwhile.
    pub(super) async fn look_up(&self, listeners: &[SocketAddr]) {
        let jitter = &self.maker.dialect.jitter;
        let mut backoff = Backoff::new(Policy::RECONNECT);
        let mut found: Vec<Vec<Arc<Upstream>>> = Vec::new();
        let mut fixed = self.known().iter().cloned().collect::<Vec<_>>().into_iter();
        for target in &self.targets {
            let is_fixed = matches!(target.place, Place::Address(_));
            found.push(if is_fixed { fixed.next().into_iter().collect() } else { Vec::new() });
        }
        loop {
            let mut missing = false;
            for (target, found) in self.targets.iter().zip(&mut found) {
                let Place::Host { name, port } = &target.place else { continue };
                if !found.is_empty() {
                    continue;
                }
                let asked = match names::servers(&self.resolver, listeners) {
                    Ok(servers) => names::look_up(name, &servers).await,
                    Err(error) => Err(error),
                };
                *found = asked.and_then(|ips| self.at(target, *port, ips)).unwrap_or_else(|error| {
                    tracing::warn!(target: "plugin/forward", name, %error,
                        "an upstream's name has no address yet");
                    Vec::new()
                });
                if !found.is_empty() {
                    tracing::info!(target: "plugin/forward", name, addresses = found.len(),
                        "an upstream's name was looked up");
                }
                missing |= found.is_empty();
            }
            let mut known: Vec<Arc<Upstream>> = Vec::new();
            for upstream in found.iter().flatten().take(MAX_UPSTREAMS) {
                if !known.iter().any(|k| k.addr() == upstream.addr()) {
                    known.push(upstream.clone());
                }
            }
            self.known.store(Arc::new(known));
            if !missing {
                return;
            }
            sleep(backoff.failed(Instant::now(), jitter)).await;
        }
    }

    /// The upstreams of a host at `ips`, as far as they can be reached.
    fn at(&self, target: &Target, port: u16, ips: Vec<IpAddr>) -> Result<Vec<Arc<Upstream>>, NoAddress> {
        let make = |ip| self.maker.make(target, SocketAddr::new(ip, port));
        let (mut made, mut wrong) = (Vec::new(), String::new());
        for ip in ips {
            match make(ip) {
                Ok(upstream) => made.push(Arc::new(upstream)),
                Err(error) => wrong = error.to_string(),
            }
        }
        if made.is_empty() { Err(NoAddress::Failed(wrong)) } else { Ok(made) }
    }
}

impl Maker {
    fn tls(&self, target: &Target, address: SocketAddr) -> Result<Option<TlsClient>, TlsError> {
        let (Security::Tls { name }, Some(connector)) = (&target.security, &self.connector) else {
            return Ok(None);
        };
        let host = match &target.place {
            Place::Host { name, .. } => Some(name),
            Place::Address(_) => None,
        };
        let name = name.as_ref().or(self.name.as_ref()).or(host).map(String::as_str);
        TlsClient::new(connector.clone(), name, address.ip()).map(Some)
    }

    fn make(&self, target: &Target, address: SocketAddr) -> Result<Upstream, ConfigError> {
        if let Some(from) = self.dialect.source
            && from.is_ipv4() != address.is_ipv4()
        {
            return Err(ConfigError::OtherFamily { from, to: address });
        }
        let tls = self.tls(target, address)?;
        Ok(Upstream::new(address, tls, self.dialect.clone(), self.metrics.clone()))
    }
}
