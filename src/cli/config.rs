//! The arguments that say what a node serves: the same for `outlast node`, which does it, and `outlast check`,
//! which says whether it could.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::nodecache::load::Template;
use super::nodecache::{LOOK_EVERY, TemplateArgs};
use crate::corefile::{self, Corefile, LoadOptions};
use crate::node::hub_memory;
use crate::node::plugins::cache::Persist;
use crate::node::plugins::kubernetes::options::guard::GuardOverrides;
use crate::node::plugins::kubernetes::options::hub::HubOverrides;
use crate::node::reload::Load;
use crate::node::setup::{Environment, Overrides, directive_names};
use crate::ops::admin::ListenAddress;
use crate::ops::clock::WallClock;
use crate::ops::metrics::Metrics;
use crate::ops::ownership::Ownership;
use crate::snapshot::disk::RealDisk;
use crate::snapshot::folder::newest;
use crate::source::apiserver::access::is_in_cluster;
use crate::source::choice::SourceChoice;
use crate::source::hub::access;
use crate::store::guard_config::hold_within;
use crate::trust::config::check_grace;
use crate::zone::name::Labels;

/// The Corefile if none is named, as in CoreDNS.
const COREFILE: &str = "Corefile";

/// The Corefile, and what is ahead of it.
#[derive(clap::Args)]
pub(super) struct ConfigArgs {
    /// The Corefile, or `stdin` [default: Corefile]
    #[arg(long, value_name = "FILE")]
    conf: Option<PathBuf>,
    /// A template to be filled in.
    #[command(flatten)]
    template: TemplateArgs,
    /// Port of server blocks that name none
    #[arg(long, default_value_t = 53, value_name = "PORT")]
    pub(super) dns_port: u16,
    /// Where the cluster's objects come from: auto, hub, apiserver or file:PATH [default: auto, hubs if any are named,
    /// else the API server]
    #[arg(long, env = "OUTLAST_SOURCE", value_name = "SOURCE")]
    source: Option<SourceChoice>,
    /// Hubs to follow instead of the API server
    #[command(flatten)]
    hub: HubArgs,
    /// Hold back what would empty the zone, on or off [default: on]
    #[arg(long, env = "OUTLAST_GUARD", value_name = "ON|OFF", value_parser = on_or_off)]
    guard: Option<bool>,
    /// For how long it is held back at most, 1m to 168h [default: 1h]
    #[arg(long, env = "OUTLAST_GUARD_HOLD", value_name = "DURATION", value_parser = guard_hold)]
    guard_hold: Option<Duration>,
    /// Folder of the snapshots that answers survive in
    #[arg(long, env = "OUTLAST_SNAPSHOT", value_name = "DIR")]
    snapshot: Option<PathBuf>,
    /// Time between two snapshots of changed data, 1s to 1h [default: 60s]
    #[arg(long, env = "OUTLAST_SNAPSHOT_INTERVAL", value_name = "DURATION", value_parser = snapshot_interval)]
    snapshot_interval: Option<Duration>,
    /// Data not proved for this long is stale [default: 30s]
    #[arg(long, env = "OUTLAST_STALE_AFTER", value_name = "DURATION", value_parser = duration)]
    stale_after: Option<Duration>,
    /// Data older than this is not served any more [default: no limit]
    #[arg(long, env = "OUTLAST_MAX_STALE", value_name = "DURATION", value_parser = duration)]
    max_stale: Option<Duration>,
    /// Servers that are asked for names missing from stale data: IP or IP:PORT, with commas between
    #[arg(long, env = "OUTLAST_FALLBACK", value_name = "ADDRESS", value_delimiter = ',', value_parser = address)]
    fallback: Vec<SocketAddr>,
    /// Folder in which `cache` outlives the process, or off [default: beside the snapshots, if there are any]
    #[arg(long, env = "OUTLAST_PERSIST", value_name = "DIR", value_parser = persist)]
    persist: Option<Persist>,
    /// Name of this node, for the jitter of TTLs [default: the host's name]
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    node_name: Option<String>,
    /// A further address of /metrics, whatever the Corefile says: :PORT, IP:PORT or localhost:PORT
    #[arg(long, env = "OUTLAST_EXTRA_METRICS_ADDRESS", value_name = "ADDRESS")]
    extra_metrics_address: Option<ListenAddress>,
    /// Domain that the source's objects are answered in, if its block only forwards and no block has kubernetes
    #[arg(long, env = "OUTLAST_CLUSTER_DOMAIN", default_value = "cluster.local", value_name = "NAME", value_parser = domain)]
    cluster_domain: Labels,
}

/// Where hubs are, and whom to believe.
#[derive(clap::Args)]
pub(super) struct HubArgs {
    /// Hubs to follow instead of the API server: IP or IP:PORT, with commas between, never names
    #[arg(long, env = "OUTLAST_HUB", value_name = "ADDRESS", value_delimiter = ',', value_parser = hub_address)]
    hub: Vec<HubAddress>,
    /// Certificates of the authority that hubs are believed by, PEM
    #[arg(long, env = "OUTLAST_HUB_TLS_CA", value_name = "FILE")]
    hub_tls_ca: Option<PathBuf>,
    /// This node's own certificate, PEM
    #[arg(long, env = "OUTLAST_HUB_TLS_CERT", value_name = "FILE")]
    hub_tls_cert: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, env = "OUTLAST_HUB_TLS_KEY", value_name = "FILE")]
    hub_tls_key: Option<PathBuf>,
    /// Reach hubs beyond loopback without TLS, and believe anybody on the network
    #[arg(long, env = "OUTLAST_HUB_PLAIN")]
    hub_plain: bool,
    /// For how long an expired certificate is still believed, at most 2160h [default: 168h]
    #[arg(long, env = "OUTLAST_CERT_GRACE", value_name = "DURATION", value_parser = cert_grace)]
    cert_grace: Option<Duration>,
    /// Endpoints that hubs are asked for: all, or those of headless services [default: all]
    #[arg(long, env = "OUTLAST_ENDPOINTS", value_name = "all|headless", value_parser = headless_only)]
    endpoints: Option<bool>,
}

/// Where a hub is, as a flag says it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum HubAddress {
    /// There.
    At(SocketAddr),
    /// At a Service's address that Kubernetes has not filled in, for this reason.
    Unfilled(String),
}

impl HubArgs {
    /// Why nobody knows where a hub is, if that is so.
    fn unfilled(&self) -> Option<&str> {
        self.hub.iter().find_map(|hub| match hub {
            HubAddress::At(_) => None,
            HubAddress::Unfilled(why) => Some(why.as_str()),
        })
    }

    fn overrides(&self) -> HubOverrides {
        HubOverrides {
            seeds: self.hub.iter().filter_map(HubAddress::at).collect(),
            unknown: self.unfilled().is_some(),
            ca: self.hub_tls_ca.clone(),
            cert: self.hub_tls_cert.clone(),
            key: self.hub_tls_key.clone(),
            plain: self.hub_plain,
            grace: self.cert_grace,
            headless_only: self.endpoints,
        }
    }
}

impl HubAddress {
    /// Where it is, if anybody knows.
    const fn at(&self) -> Option<SocketAddr> {
        match self {
            Self::At(address) => Some(*address),
            Self::Unfilled(_) => None,
        }
    }
}

/// Where the text of the configuration comes from.
pub(super) enum Text {
    /// A Corefile.
    Corefile {
        /// Its path, or `stdin`.
        path: PathBuf,
        /// Port of server blocks that name none.
        port: u16,
    },
    /// A template that is filled in.
    Template(Arc<Template>),
}

impl Text {
    /// What a node begins with.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub(super) fn start(&self) -> Result<Corefile, corefile::Error> {
        match self {
            Self::Corefile { path, port } => load(path, *port),
            Self::Template(template) => template.start(),
        }
    }

    /// The configuration as it is; nothing is written.
    ///
    /// # Errors
    /// What is wrong with it, and with what it is made of.
    pub(super) fn check(&self) -> Result<Corefile, corefile::Error> {
        match self {
            Self::Corefile { path, port } => load(path, *port),
            Self::Template(template) => template.check(),
        }
    }

    /// Reads it again; `None` if it came from standard input.
    pub(super) fn reload(&self) -> Option<Load> {
        match self {
            Self::Corefile { path, .. } if path == Path::new(corefile::STDIN) => None,
            Self::Corefile { path, port } => {
                let (path, port) = (path.clone(), *port);
                Some(Arc::new(move || load(&path, port)))
            }
            Self::Template(template) => Some(template.reload()),
        }
    }

    /// The file that people write.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Corefile { path, .. } => path,
            Self::Template(template) => template.base(),
        }
    }
}

impl ConfigArgs {
    /// The Service that is the cluster's own DNS, if one is named.
    pub(super) fn upstream_service(&self) -> Option<&str> {
        self.template.upstream_service()
    }

    /// Where the configuration comes from. Reads nothing yet. Pods ask the `local` addresses.
    ///
    /// # Errors
    /// Flags that do not go together.
    pub(super) fn text(&self, local: &[IpAddr], metrics: &Metrics) -> Result<Text, String> {
        let conf = self.conf.as_deref();
        if let Some(template) = self.template.template(conf, self.dns_port, local, metrics)? {
            return Ok(Text::Template(Arc::new(template)));
        }
        let path = self.conf.clone().unwrap_or_else(|| COREFILE.into());
        Ok(Text::Corefile { path, port: self.dns_port })
    }

    /// Whether there is anybody to follow, or something to answer from meanwhile: where the hubs' Service is gone, a node
    /// follows the hubs that it was told of last, and answers from its snapshot, with a warning that is returned. Without
    /// both nothing would ever be answered, and whoever starts it again finds the Service once it is there.
    ///
    /// # Errors
    /// A hub's address is not known, and there is neither.
    pub(super) fn hubs_unknown(&self) -> Result<Option<String>, String> {
        let Some(why) = self.hub.unfilled() else { return Ok(None) };
        let not_known = format!("the address of a hub (--hub, OUTLAST_HUB) is not known: {why}");
        let folder = self.snapshot.as_deref();
        let told = folder.map_or_else(Vec::new, hub_memory::told_last);
        if !told.is_empty() {
            let hubs = told.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ");
            return Ok(Some(format!("{not_known}; those of the last time are followed: {hubs}")));
        }
        match folder.map(|folder| newest(&RealDisk, folder)) {
            Some(Ok(Some(_))) => Ok(Some(format!(
                "{not_known}; what the snapshot holds is served, and nothing newer until this is started again with the address"
            ))),
            _ => Err(format!(
                "{not_known}; there is no snapshot to answer from, and no list of hubs of the last time"
            )),
        }
    }

    /// What plugins are set up with.
    pub(super) fn environment(&self, metrics: Arc<Metrics>) -> Environment {
        let overrides = Overrides {
            source: self.source.clone(),
            hub: self.hub.overrides(),
            guard: GuardOverrides { on: self.guard, hold: self.guard_hold },
            snapshot: self.snapshot.clone(),
            snapshot_interval: self.snapshot_interval,
            stale_after: self.stale_after,
            max_stale: self.max_stale,
            persist: self.persist.clone(),
            fallback: self.fallback.clone(),
            look_every: self.template.any().then_some(LOOK_EVERY),
            extra_metrics: self.extra_metrics_address.clone(),
            cluster_domain: Some(Box::new(self.cluster_domain.clone())),
            bind: Vec::new(),
            left: Vec::new(),
        };
        environment(metrics, overrides, self.node_name.clone())
    }
}

/// What is wrong with the address of a Service that Kubernetes was to fill in, and did not: it leaves `$(NAME)` as it is
/// where a pod's environment has no such variable. `None` for all other texts.
pub(super) fn unfilled(text: &str) -> Option<String> {
    let name = text.strip_prefix("$(")?.split(')').next().unwrap_or_default();
    let why = match name.strip_suffix("_SERVICE_HOST") {
        Some(service) => {
            let service = service.to_lowercase().replace('_', "-");
            format!(
                "there is no Service {service} in this namespace, or there was none when the pod was made"
            )
        }
        None => format!("the environment has no {name}"),
    };
    Some(format!("nobody has filled it in: {why}"))
}

fn hub_address(text: &str) -> Result<HubAddress, String> {
    match unfilled(text) {
        Some(why) => Ok(HubAddress::Unfilled(why)),
        None => access::address(text).map(HubAddress::At).map_err(|e| e.to_string()),
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let with_port = text.parse().or_else(|_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, 53)));
    with_port.map_err(|_| "write IP, IP:PORT or [IPV6]:PORT".to_owned())
}

fn domain(text: &str) -> Result<Labels, String> {
    let name = Labels::parse(text).map_err(|e| e.to_string())?;
    if name.is_empty() { Err("write a domain such as cluster.local".to_owned()) } else { Ok(name) }
}

fn persist(text: &str) -> Result<Persist, String> {
    if text.is_empty() { Err("write a folder, or off".to_owned()) } else { Ok(Persist::from(text)) }
}

pub(super) fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("write on or off".to_owned()),
    }
}

fn headless_only(text: &str) -> Result<bool, String> {
    match text {
        "all" => Ok(false),
        "headless" => Ok(true),
        _ => Err("write all or headless".to_owned()),
    }
}

fn guard_hold(text: &str) -> Result<Duration, String> {
    hold_within(duration(text)?)
}

fn cert_grace(text: &str) -> Result<Duration, String> {
    check_grace(duration(text)?).map_err(|e| e.to_string())
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    corefile::parse_duration(text)
}

fn snapshot_interval(text: &str) -> Result<Duration, String> {
    use crate::snapshot::schedule::{MAX_INTERVAL, MIN_INTERVAL};
    let interval = duration(text)?;
    let allowed = MIN_INTERVAL..=MAX_INTERVAL;
    if allowed.contains(&interval) { Ok(interval) } else { Err("write a duration from 1s to 1h".to_owned()) }
}

/// What plugins are set up with.
pub(super) fn environment(
    metrics: Arc<Metrics>,
    overrides: Overrides,
    node_name: Option<String>,
) -> Environment {
    let host = || nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    Environment {
        metrics,
        clock: Arc::new(WallClock::new(0)),
        node_name: node_name.or_else(host).unwrap_or_default(),
        overrides,
        own_addresses: None,
        in_cluster: is_in_cluster(|name| std::env::var(name).ok()),
        carried: Arc::default(),
        ownership: Ownership::always(),
    }
}

/// Reads a Corefile; directives have to be plugins that are known by name.
pub(super) fn load(path: &Path, default_port: u16) -> Result<Corefile, corefile::Error> {
    let names = directive_names();
    corefile::load(path, &LoadOptions { default_port, directives: Some(&names), ..LoadOptions::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What both subcommands flatten.
    #[derive(clap::Parser)]
    struct Flags {
        /// The arguments.
        #[command(flatten)]
        config: ConfigArgs,
    }

    #[test]
    fn what_kubernetes_has_not_filled_in_is_named() {
        for (text, want) in [
            ("$(OUTLAST_HUB_SERVICE_HOST)", Some("there is no Service outlast-hub in this namespace")),
            ("$(KUBE_DNS_SERVICE_HOST):53", Some("there is no Service kube-dns in this namespace")),
            ("$(NODE_IP)", Some("the environment has no NODE_IP")),
            ("10.96.0.10", None),
            ("$", None),
        ] {
            let why = unfilled(text);
            assert_eq!(why.is_some(), want.is_some(), "{text}");
            assert!(why.is_none_or(|why| why.contains(want.unwrap_or_default())), "{text}");
        }
        let hub = hub_address("$(OUTLAST_HUB_SERVICE_HOST)");
        let is_named = |why: &str| why.contains("there is no Service outlast-hub");
        assert!(matches!(&hub, Ok(HubAddress::Unfilled(why)) if is_named(why)), "{hub:?}");
        assert!(hub_address("hub.example").is_err());
    }

    #[test]
    fn every_flag_reaches_the_plugins() {
        let words = [
            "outlast",
            "--source=file:b.yaml",
            "--hub=10.0.0.1,[::1]:7",
            "--hub-tls-ca=/ca",
            "--hub-tls-cert=/cert",
            "--hub-tls-key=/key",
            "--hub-plain",
            "--cert-grace=1h",
            "--endpoints=headless",
            "--guard=off",
            "--guard-hold=2h",
            "--snapshot=/b",
            "--snapshot-interval=5m",
            "--stale-after=20s",
            "--max-stale=2h",
            "--persist=/c",
            "--node-name=n1",
            "--extra-metrics-address=:9353",
            "--base-corefile=/t",
            "--cluster-domain=k8s.example",
        ];
        let flags = <Flags as clap::Parser>::try_parse_from(words).unwrap_or_else(|e| panic!("{e}"));
        let environment = flags.config.environment(Arc::new(Metrics::new()));
        let Overrides {
            source,
            hub,
            guard,
            snapshot,
            snapshot_interval,
            stale_after,
            max_stale,
            persist,
            fallback: _,
            look_every,
            extra_metrics,
            cluster_domain,
            bind: _,
            left: _,
        } = environment.overrides;
        let file = |name: &str| Some(PathBuf::from(name));
        assert_eq!(
            hub,
            HubOverrides {
                unknown: false,
                seeds: vec![
                    "10.0.0.1:9953".parse().expect("an address"),
                    "[::1]:7".parse().expect("an address")
                ],
                ca: file("/ca"),
                cert: file("/cert"),
                key: file("/key"),
                plain: true,
                grace: Some(Duration::from_secs(3600)),
                headless_only: Some(true),
            }
        );
        assert_eq!(guard, GuardOverrides { on: Some(false), hold: Some(Duration::from_secs(7200)) });
        assert_eq!(source, Some(SourceChoice::File("b.yaml".into())));
        assert_eq!(snapshot, Some("/b".into()));
        assert_eq!(persist, Some(Persist::Folder("/c".into())));
        let seconds = |s| Some(Duration::from_secs(s));
        assert_eq!((snapshot_interval, stale_after, max_stale), (seconds(300), seconds(20), seconds(7200)));
        assert_eq!(environment.node_name, "n1");
        assert_eq!(cluster_domain.as_deref(), Labels::parse("k8s.example").as_ref().ok());
        assert_eq!((look_every, extra_metrics), (Some(LOOK_EVERY), ":9353".parse().ok()));
    }
}
