//! From a parsed Corefile to a plan: what to listen on, who answers there, and what else to start.
//!
//! A plan is complete and checked before anything is opened, so that a wrong Corefile leaves nothing half
//! done; `outlast check` stops here.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::carried::Carried;
use super::chain::Plugin;
use super::listen::bind::wildcard;
use super::plugins::bind::{BindAddress, interfaces};
use super::plugins::cache;
use super::plugins::refused::REFUSED;
use super::plugins::{self, PLUGINS};
use super::router::{Block, Route};
use super::store::Store;
use super::store::state::Limits;
use super::task::Start;
use crate::corefile::{
    self, Corefile, Error, Listener, Position, Scheme, ServerBlock, Statement, Token, Warning,
};
use crate::ops::admin::{Face, ListenAddress};
use crate::ops::clock::WallClock;
use crate::ops::metrics::Metrics;
use crate::ops::readiness::Monitor;
use crate::source::choice::SourceChoice;
use crate::source::{SourceConfig, Wanted};
use crate::zone::name::Labels;

/// What plugins are set up with.
pub struct Environment {
    /// The process's metrics.
    pub metrics: Arc<Metrics>,
    /// Unix time.
    pub clock: Arc<WallClock>,
    /// Name of this node: decides the jitter of its TTLs.
    pub node_name: String,
    /// What flags and environment variables say, ahead of the Corefile.
    pub overrides: Overrides,
    /// The name server's own addresses, if they are known better than the interfaces tell.
    pub own_addresses: Option<Vec<IpAddr>>,
    /// Whether this is a pod, whose environment says where the API server is.
    pub in_cluster: bool,
    /// What outlives a configuration.
    pub carried: Arc<Carried>,
}

/// Options of `kubernetes` blocks that flags and environment variables override.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `source`
    pub source: Option<SourceChoice>,
    /// `snapshot`
    pub snapshot: Option<PathBuf>,
    /// `snapshot_interval`
    pub snapshot_interval: Option<Duration>,
    /// `stale_after`
    pub stale_after: Option<Duration>,
    /// `max_stale`
    pub max_stale: Option<Duration>,
    /// `fallback`; empty leaves it to the Corefile.
    pub fallback: Vec<SocketAddr>,
}

/// A store and everything that feeds and keeps it.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Where the data comes from.
    pub source: SourceConfig,
    /// The folder of snapshots; without it data is in memory only.
    pub snapshot: Option<PathBuf>,
    /// Between two snapshots.
    pub interval: Duration,
    /// The zone that the data is for.
    pub zone: String,
    /// What is needed of the objects.
    pub wanted: Wanted,
    /// For the state that is logged and exported.
    pub limits: Limits,
    /// Whether `/ready` waits for it.
    pub watched: bool,
}

/// What server blocks ask of the process as a whole.
#[derive(Default)]
pub struct Process {
    /// Addresses of `/health`, `/ready` and `/metrics`.
    pub faces: Vec<(Face, ListenAddress)>,
    /// How long to go on answering after SIGTERM.
    pub lameduck: Duration,
    /// How readiness goes on after it was reached once.
    pub monitor: Monitor,
    /// Detailed logs.
    pub debug: bool,
    /// Metrics of the async runtimes.
    pub runtime_metrics: bool,
    /// The stores, one for each source, folder and zone.
    pub stores: Vec<(StoreConfig, Arc<Store>)>,
    /// The caches, one for each block that has one.
    pub caches: Vec<cache::Kept>,
    /// Work beside the queries, begun once the sockets are bound.
    pub tasks: Vec<Start>,
    /// What is right, and probably not what is meant; logged already.
    pub warnings: Vec<Warning>,
}

impl Process {
    /// The store of this configuration. Blocks that name the same source, folder and zone share one, which then
    /// has what any of them needs: an API server that is reached in the same way is one source, and is asked as
    /// much as the most generous block allows.
    ///
    /// # Errors
    /// Another store keeps its snapshots in this folder: each would put the other's aside.
    pub fn store(&mut self, config: StoreConfig) -> Result<Arc<Store>, String> {
        let same = |(c, _): &&mut (StoreConfig, _)| {
            c.source.is_same_place(&config.source) && c.snapshot == config.snapshot && c.zone == config.zone
        };
        if let Some((shared, store)) = self.stores.iter_mut().find(same) {
            shared.wanted.labels |= config.wanted.labels;
            shared.wanted.pods |= config.wanted.pods;
            shared.interval = shared.interval.min(config.interval);
            shared.limits.stale_after = shared.limits.stale_after.min(config.limits.stale_after);
            let limits = [shared.limits.max_stale, config.limits.max_stale];
            shared.limits.max_stale = limits.into_iter().flatten().min();
            shared.watched |= config.watched;
            if let (SourceConfig::ApiServer(shared), SourceConfig::ApiServer(access)) =
                (&mut shared.source, config.source)
            {
                shared.limits = shared.limits.larger(&access.limits);
            }
            return Ok(store.clone());
        }
        if let Some(folder) = &config.snapshot
            && let Some((other, _)) = self.stores.iter().find(|(c, _)| c.snapshot.as_ref() == Some(folder))
        {
            return Err(format!(
                "{} is already the snapshot folder of zone {} from {}: give each its own with 'snapshot DIR'",
                folder.display(),
                other.zone,
                other.source
            ));
        }
        let store = Store::new();
        self.stores.push((config, store.clone()));
        Ok(store)
    }
}

/// What a plugin's setup sees and fills in.
pub struct Context<'a> {
    /// Shared by all blocks.
    pub environment: &'a Environment,
    /// The block's zones.
    pub zones: Vec<Labels>,
    /// The block's keys as a Corefile would have them, ports included.
    pub keys: Vec<String>,
    /// What relative paths of files begin at (`root`).
    pub root: PathBuf,
    /// What `bind` named.
    pub bound: Vec<BindAddress>,
    /// Whether the block has `ready`.
    pub watches_readiness: bool,
    /// Whether the block has `prometheus`.
    pub counts_queries: bool,
    /// What is asked of the process.
    pub process: &'a mut Process,
}

impl Context<'_> {
    /// The file that a word names: relative paths begin at `root`.
    pub fn path(&self, word: &Token) -> PathBuf {
        self.root.join(&word.text)
    }

    /// Adds the address of a face: the one given, or its default.
    pub fn add_face(&mut self, face: Face, word: Option<&Token>) -> Result<(), Error> {
        let text = word.map_or(face.default_address(), |w| w.text.as_str());
        let address = text.parse::<ListenAddress>();
        match (address, word) {
            (Ok(address), _) => {
                self.process.faces.push((face, address));
                Ok(())
            }
            (Err(error), Some(word)) => Err(word.error(format!("plugin/{}: {error}", face.plugin()))),
            (Err(error), None) => {
                Err(Error::new(&Position::of_file("default address"), format!("{}: {error}", face.plugin())))
            }
        }
    }

    /// The name server's own addresses: those that are bound, or those of all interfaces but loopback.
    pub fn local_addresses(&self) -> Result<Vec<IpAddr>, Error> {
        if let Some(own) = &self.environment.own_addresses {
            return Ok(own.clone());
        }
        if !self.bound.is_empty() {
            return Ok(self.bound.iter().map(|b| b.ip).collect());
        }
        let mut all: Vec<_> = interfaces()?.into_iter().map(|i| i.address.ip).collect();
        all.retain(|ip| !ip.is_loopback());
        all.dedup();
        Ok(all)
    }
}

/// What to open and start.
pub struct Plan {
    /// Where to listen and who answers there.
    pub servers: Vec<ServerPlan>,
    /// What is asked of the process.
    pub process: Process,
    /// `coredns_plugin_enabled`: listener, zone and plugin.
    pub enabled: Vec<(String, String, &'static str)>,
}

/// One listener.
pub struct ServerPlan {
    /// E.g. `dns://:53`: the label `server` of its metrics.
    pub identity: String,
    /// What to bind.
    pub addresses: Vec<SocketAddr>,
    /// The zones and their blocks.
    pub routes: Vec<Route>,
    /// Zones of blocks that count their queries.
    pub counted: Vec<String>,
    /// Lines for the start, as CoreDNS prints them, e.g. `cluster.local.:53`.
    pub banner: Vec<String>,
}

/// The names that directives may have: known plugins, and those that are refused by name.
pub fn directive_names() -> Vec<&'static str> {
    plugins::names().chain(REFUSED.iter().map(|(name, _)| *name)).collect()
}

/// A server block that was set up.
struct Built<'a> {
    /// The block as it was written.
    source: &'a ServerBlock,
    /// Its plugins.
    block: Arc<Block>,
    /// What `bind` named.
    bound: Vec<BindAddress>,
    /// Whether it counts its queries.
    counted: bool,
}

/// Checks a Corefile and plans what it asks for.
///
/// # Errors
/// The first thing that is wrong, with its file and line.
pub fn plan(corefile: &Corefile, environment: &Environment) -> Result<Plan, Error> {
    let mut process = Process::default();
    let built = corefile
        .blocks
        .iter()
        .map(|block| set_up(block, environment, &mut process))
        .collect::<Result<Vec<_>, _>>()?;
    check_duplicates(&built)?;
    let mut servers: BTreeMap<String, ServerPlan> = BTreeMap::new();
    let mut enabled = Vec::new();
    for Built { source, block, bound, counted } in &built {
        for key in &source.keys {
            let zone = Labels::parse(&key.zone).map_err(|e| Error::new(&key.position, e.to_string()))?;
            for (identity, addresses, suffix) in listeners(bound, key.port) {
                let server = servers.entry(identity.clone()).or_insert_with(|| ServerPlan {
                    identity: identity.clone(),
                    addresses,
                    routes: Vec::new(),
                    counted: Vec::new(),
                    banner: Vec::new(),
                });
                server.routes.push(Route { zone: zone.clone(), block: block.clone() });
                server.banner.push(format!("{}:{}{suffix}", key.zone, key.port));
                if *counted {
                    server.counted.push(key.zone.clone());
                }
                for plugin in &*block.plugins {
                    enabled.push((identity.clone(), key.zone.clone(), plugin.name()));
                }
            }
        }
    }
    Ok(Plan { servers: servers.into_values().collect(), process, enabled })
}

fn set_up<'a>(
    block: &'a ServerBlock,
    environment: &Environment,
    process: &mut Process,
) -> Result<Built<'a>, Error> {
    for key in &block.keys {
        if key.scheme != Scheme::Dns {
            return Err(Error::new(
                &key.position,
                format!("'{}': {} listeners are not supported yet; only plain DNS is", key.text, key.scheme),
            ));
        }
    }
    for directive in &block.directives {
        let name = directive.name.text.as_str();
        if let Some((_, advice)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
            return Err(directive.error(format!("plugin/{name} is not supported: {advice}")));
        }
    }
    let parse = |zone: &String| Labels::parse(zone).map_err(|e| Error::new(&block.position, e.to_string()));
    let mut cx = Context {
        environment,
        zones: block.zones().iter().map(parse).collect::<Result<_, _>>()?,
        keys: block.keys.iter().map(ToString::to_string).collect(),
        root: PathBuf::new(),
        bound: Vec::new(),
        watches_readiness: false,
        counts_queries: false,
        process,
    };
    let mut plugins: Vec<Arc<dyn Plugin>> = Vec::new();
    for (name, setup) in PLUGINS {
        let directives: Vec<_> = block.all(name).collect();
        if !directives.is_empty() {
            plugins.extend(setup(&directives, &mut cx)?);
        }
    }
    let Context { bound, counts_queries: counted, .. } = cx;
    Ok(Built { source: block, block: Arc::new(Block { plugins: plugins.into() }), bound, counted })
}

/// No zone may be claimed twice on one listener.
fn check_duplicates(built: &[Built<'_>]) -> Result<(), Error> {
    let texts: Vec<Vec<String>> =
        built.iter().map(|b| b.bound.iter().map(|a| a.ip.to_string()).collect()).collect();
    let claims = built.iter().zip(&texts).flat_map(|(built, texts)| {
        let addresses: Vec<Option<&str>> =
            if texts.is_empty() { vec![None] } else { texts.iter().map(|t| Some(t.as_str())).collect() };
        built.source.keys.iter().flat_map(move |key| {
            addresses.clone().into_iter().map(|address| Listener {
                scheme: key.scheme,
                zone: &key.zone,
                port: key.port,
                address,
                filtered: false,
                position: &key.position,
            })
        })
    });
    corefile::check_duplicates(claims)
}

/// Identity, addresses and banner suffix of each listener of a key.
fn listeners(bound: &[BindAddress], port: u16) -> Vec<(String, Vec<SocketAddr>, String)> {
    if bound.is_empty() {
        return vec![(format!("dns://:{port}"), wildcard(port), String::new())];
    }
    let listener = |address: &BindAddress| {
        let socket = match address.ip {
            IpAddr::V4(_) => SocketAddr::new(address.ip, port),
            IpAddr::V6(ip) => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, address.scope)),
        };
        (format!("dns://{}", SocketAddr::new(address.ip, port)), vec![socket], format!(" on {}", address.ip))
    };
    bound.iter().map(listener).collect()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::testkit::node::Builder;

    fn check(text: &str) -> Plan {
        Builder::default().own_addresses(&["10.96.0.10"]).check(text).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn listeners_have_coredns_identities_and_banners() {
        struct Case {
            name: &'static str,
            text: &'static str,
            want: &'static [(&'static str, &'static [&'static str])],
        }
        for case in [
            Case { name: "every address", text: ".:53 {\n debug\n}\n", want: &[("dns://:53", &[".:53"])] },
            Case {
                name: "blocks that share a listener",
                text: ".:53 {\n debug\n}\nexample.org {\n debug\n}\n",
                want: &[("dns://:53", &[".:53", "example.org.:53"])],
            },
            Case {
                name: "one listener for each address and port",
                text: ".:53 a:54 {\n bind 127.0.0.1 ::1\n}\n",
                want: &[
                    ("dns://127.0.0.1:53", &[".:53 on 127.0.0.1"]),
                    ("dns://127.0.0.1:54", &["a.:54 on 127.0.0.1"]),
                    ("dns://[::1]:53", &[".:53 on ::1"]),
                    ("dns://[::1]:54", &["a.:54 on ::1"]),
                ],
            },
            Case {
                name: "a prefix is as many zones as it takes",
                text: "10.0.0.0/7:53 {\n debug\n}\n",
                want: &[("dns://:53", &["10.in-addr.arpa.:53", "11.in-addr.arpa.:53"])],
            },
        ] {
            let plan = check(case.text);
            let got: Vec<_> = plan.servers.iter().map(|s| (s.identity.as_str(), s.banner.clone())).collect();
            let want =
                case.want.iter().map(|(i, b)| (*i, b.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>()));
            assert_eq!(got, want.collect::<Vec<_>>(), "{}", case.name);
        }
    }

    #[test]
    fn the_order_of_the_chain_is_not_the_order_of_the_text() {
        let plan = check(
            ".:53 {\n forward . 192.0.2.1\n kubernetes cluster.local {\n source file x\n }\n prometheus :0\n}\n",
        );
        let names: Vec<_> = plan.enabled.iter().map(|(_, _, name)| *name).collect();
        assert_eq!(names, ["prometheus", "kubernetes", "forward"]);
        assert_eq!(plan.servers[0].counted, ["."]);
    }

    #[test]
    fn blocks_of_one_source_and_folder_share_a_store_that_has_what_any_needs() {
        let block = |key: &str, lines: &str| {
            format!("{key} {{\n kubernetes cluster.local {{\n source file x\n {lines}\n }}\n}}\n")
        };
        let plan = check(&format!(
            "{}{}{}",
            block(
                "cluster.local:53",
                "pods verified\n stale_after 20s\n max_stale 2h\n snapshot_interval 5m"
            ),
            block("cluster.local:54", "labels a=b\n stale_after 40s\n max_stale 1h"),
            block("cluster.local:55", "snapshot /var/lib/outlast"),
        ));
        let [(shared, one), (other, two)] = plan.process.stores.as_slice() else {
            panic!("{} stores", plan.process.stores.len())
        };
        assert!(!Arc::ptr_eq(one, two));
        assert_eq!(shared.wanted, Wanted { labels: true, pods: true });
        assert_eq!(shared.interval, Duration::from_secs(60));
        let limits =
            Limits { stale_after: Duration::from_secs(20), max_stale: Some(Duration::from_secs(3600)) };
        assert_eq!(shared.limits, limits);
        assert_eq!((other.snapshot.is_some(), other.limits), (true, Limits::default()));
    }

    /// Whether two blocks share a store, and how much it asks of the API server.
    #[test]
    fn an_api_server_that_is_reached_in_one_way_is_one_source() {
        struct Case {
            name: &'static str,
            blocks: [&'static str; 2],
            want: &'static [(Option<u32>, Option<u32>, Option<u32>)],
        }
        for case in [
            Case {
                name: "the same kubeconfig, the larger limits",
                blocks: [
                    "kubeconfig k\n apiserver_qps 20\n apiserver_max_inflight 1",
                    "kubeconfig k\n apiserver_qps 10\n apiserver_burst 30\n apiserver_max_inflight 2",
                ],
                want: &[(Some(20), Some(30), Some(2))],
            },
            Case {
                name: "without a limit there is more than with one",
                blocks: ["kubeconfig k\n apiserver_qps 1\n apiserver_max_inflight 1", "kubeconfig k"],
                want: &[(None, None, None)],
            },
            Case {
                name: "another context is another cluster",
                blocks: ["kubeconfig k", "kubeconfig k two"],
                want: &[(None, None, None), (None, None, None)],
            },
            Case {
                name: "other certificates are somebody else",
                blocks: ["endpoint https://h\n tls a b c", "endpoint https://h"],
                want: &[(None, None, None), (None, None, None)],
            },
        ] {
            let [one, other] = case.blocks;
            let text = format!(
                "cluster.local:53 {{\n kubernetes {{\n {one}\n }}\n}}\n\
                 cluster.local:54 {{\n kubernetes {{\n {other}\n }}\n}}\n"
            );
            let limits = |source: &SourceConfig| match source {
                SourceConfig::File(_) => panic!("{}: {source}", case.name),
                SourceConfig::ApiServer(access) => {
                    let limits = &access.limits;
                    let [qps, burst, inflight] =
                        [limits.qps, limits.burst, limits.max_inflight].map(|n| n.map(NonZeroU32::get));
                    (qps, burst, inflight)
                }
            };
            let got: Vec<_> = check(&text).process.stores.iter().map(|(c, _)| limits(&c.source)).collect();
            assert_eq!(got, case.want, "{}", case.name);
        }
    }

    #[test]
    fn a_store_is_watched_if_any_of_its_blocks_is() {
        let block = |port: u16, plugin: &str| {
            format!("cluster.local:{port} {{\n {plugin}\n kubernetes {{\n source file x\n }}\n}}\n")
        };
        for (plugins, want) in
            [(["debug", "debug"], false), (["debug", "ready :0"], true), (["ready :0", "debug"], true)]
        {
            let plan = check(&format!("{}{}", block(53, plugins[0]), block(54, plugins[1])));
            assert_eq!(plan.process.stores[0].0.watched, want, "{plugins:?}");
        }
    }

    #[test]
    fn own_addresses_are_given_bound_or_those_of_the_interfaces() {
        let local = |own: Option<IpAddr>, bound: Option<IpAddr>| {
            let environment = Environment {
                metrics: Arc::new(Metrics::new()),
                clock: Arc::new(WallClock::new(0)),
                node_name: String::new(),
                overrides: Overrides::default(),
                own_addresses: own.map(|ip| vec![ip]),
                in_cluster: false,
                carried: Arc::default(),
            };
            let cx = Context {
                environment: &environment,
                zones: vec![Labels::root()],
                keys: Vec::new(),
                root: PathBuf::new(),
                bound: bound.map(|ip| BindAddress { ip, scope: 0 }).into_iter().collect(),
                watches_readiness: false,
                counts_queries: false,
                process: &mut Process::default(),
            };
            cx.local_addresses().unwrap()
        };
        let (own, bound) = (IpAddr::from([10, 96, 0, 10]), IpAddr::from([127, 0, 0, 3]));
        assert_eq!(local(Some(own), Some(bound)), [own]);
        assert_eq!(local(None, Some(bound)), [bound]);
        assert!(local(None, None).iter().all(|ip| !ip.is_loopback()));
    }

    #[test]
    fn names_of_directives_are_there_once() {
        let mut names = directive_names();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
