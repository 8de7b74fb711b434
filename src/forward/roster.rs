//! The upstreams of a `forward`: those with an address from the beginning, those with a name once it is looked up, those
//! of a file that lists none once it does.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
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
                Place::File(_) => {}
            }
        }
        let known = ArcSwap::from_pointee(known);
        Ok(Self { targets, known, maker, resolver: config.resolver.clone() })
    }

    /// When one of them last sent a reply after it had been failing; `None` if that never was. Waits for nothing.
    pub(super) fn recovered(&self) -> Option<Instant> {
        self.known.load().iter().filter_map(|upstream| upstream.recovered()).max()
    }

    /// Those that are known.
    pub(super) fn known(&self) -> Arc<Vec<Arc<Upstream>>> {
        self.known.load_full()
    }

    /// How many are written.
    pub(super) const fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there are names to be looked up, or files that list nobody yet.
    pub(super) fn has_names(&self) -> bool {
        self.targets.iter().any(|target| !matches!(target.place, Place::Address(_)))
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
                if !found.is_empty() {
                    continue;
                }
                *found = match &target.place {
                    Place::Address(_) => continue,
                    Place::Host { name, port } => self.look_up_host(target, name, *port, listeners).await,
                    Place::File(path) => self.read_file(target, path, listeners),
                };
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

    /// The upstreams of a host; none if it has no address yet.
    async fn look_up_host(
        &self,
        target: &Target,
        name: &str,
        port: u16,
        listeners: &[SocketAddr],
    ) -> Vec<Arc<Upstream>> {
        let asked = match names::servers(&self.resolver, listeners) {
            Ok(servers) => names::look_up(name, &servers).await,
            Err(error) => Err(error),
        };
        let at = |ip| SocketAddr::new(ip, port);
        match asked.and_then(|ips: Vec<IpAddr>| self.at(target, ips.into_iter().map(at))) {
            Ok(found) => {
                tracing::info!(target: "plugin/forward", name, addresses = found.len(),
                    "an upstream's name was looked up");
                found
            }
            Err(error) => {
                tracing::warn!(target: "plugin/forward", name, %error, "an upstream's name has no address yet");
                Vec::new()
            }
        }
    }

    /// The upstreams that a file lists by now; none if it still lists nobody but ourselves.
    fn read_file(&self, target: &Target, path: &Path, listeners: &[SocketAddr]) -> Vec<Arc<Upstream>> {
        let listed = names::listed(path, listeners);
        match listed.and_then(|addresses| self.at(target, addresses.into_iter())) {
            Ok(found) => {
                tracing::info!(target: "plugin/forward", path = %path.display(), servers = found.len(),
                    "a file lists name servers now");
                found
            }
            // That it lists none was said at the start.
            Err(error) => {
                tracing::debug!(target: "plugin/forward", path = %path.display(), %error, "no name servers yet");
                Vec::new()
            }
        }
    }

    /// The upstreams at these addresses, as far as they can be reached.
    fn at(
        &self,
        target: &Target,
        addresses: impl Iterator<Item = SocketAddr>,
    ) -> Result<Vec<Arc<Upstream>>, NoAddress> {
        let (mut made, mut wrong) = (Vec::new(), String::new());
        for address in addresses {
            match self.maker.make(target, address) {
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
            Place::Address(_) | Place::File(_) => None,
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::forward::Forwarder;

    #[tokio::test(start_paused = true)]
    async fn a_file_is_read_until_it_lists_somebody_else() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |text: &str| std::fs::write(file.path(), text).unwrap();
        let target = Target { place: Place::File(file.path().to_owned()), security: Security::Plain };
        let config = ForwardConfig::new(".", vec![target]);
        let forwarder = Arc::new(Forwarder::new(config, &Arc::default()).unwrap());
        assert!(forwarder.has_names() && forwarder.is_failing());
        let looking = forwarder.clone();
        let ours = [SocketAddr::from(([127, 0, 0, 1], 53))];
        let look_up = tokio::spawn(async move { looking.look_up(&ours).await });
        for (text, want) in [
            ("", vec![]),
            ("search example.org\n", vec![]),
            ("nameserver 127.0.0.1\n", vec![]),
            ("nameserver 127.0.0.1\nnameserver 192.0.2.1\n", vec!["192.0.2.1:53".parse().unwrap()]),
            ("nameserver 192.0.2.2\n", vec!["192.0.2.1:53".parse().unwrap()]),
        ] {
            write(text);
            // Longer than the longest pause between two looks.
            sleep(Duration::from_secs(61)).await;
            assert_eq!(forwarder.upstreams(), want, "{text:?}");
        }
        assert!(look_up.is_finished() && !forwarder.is_failing());
    }
}
