//! From a parsed Corefile to a plan: what to listen on, who answers there, and what else to start.
//!
//! A plan is complete and checked before anything is opened, so that a wrong Corefile leaves nothing half
//! done; `outlast check` stops here.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::carried::Carried;
use super::chain::Plugin;
use super::listen::Timeouts;
use super::listen::bind::wildcard;
use super::listen::tls::Identity;
use super::plugins::bind::{self, BindAddress, interfaces};
use super::plugins::cache;
use super::plugins::kubernetes::added::{Added, added};
use super::plugins::kubernetes::options::guard::GuardOverrides;
use super::plugins::kubernetes::options::hub::HubOverrides;
use super::plugins::refused::REFUSED;
use super::plugins::{self, PLUGINS};
use super::router::{Block, Route};
use super::running::selections::Selection;
use super::task::Start;
use crate::corefile::{
    self, Corefile, Error, Listener, Position, Scheme, ServerBlock, ServerKey, Statement, Token, Warning,
};
use crate::ops::admin::{Face, ListenAddress};
use crate::ops::clock::WallClock;
use crate::ops::metrics::Metrics;
use crate::ops::ownership::Ownership;
use crate::ops::readiness::Monitor;
use crate::source::choice::SourceChoice;
use crate::source::{SourceConfig, Wanted};
use crate::store::Store;
use crate::store::guard_config::GuardConfig;
use crate::store::state::Limits;
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
    /// Whether folders that processes of a node share are this one's to write to.
    pub ownership: Ownership,
}

/// What flags and environment variables say: options of `kubernetes` blocks, and what no Corefile has a word for.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `source`
    pub source: Option<SourceChoice>,
    /// `hub` and what belongs to it.
    pub hub: HubOverrides,
    /// `guard` and `guard_hold`
    pub guard: GuardOverrides,
    /// `snapshot`
    pub snapshot: Option<PathBuf>,
    /// `snapshot_interval`
    pub snapshot_interval: Option<Duration>,
    /// `stale_after`
    pub stale_after: Option<Duration>,
    /// `max_stale`
    pub max_stale: Option<Duration>,
    /// `persist` of `cache`
    pub persist: Option<cache::Persist>,
    /// `fallback`; empty leaves it to the Corefile.
    pub fallback: Vec<SocketAddr>,
    /// How often to look for changes, whether or not the Corefile has `reload`; one that looks more often counts.
    pub look_every: Option<ReloadEvery>,
    /// A further address of `/metrics`.
    pub extra_metrics: Option<ListenAddress>,
    /// The domain whose block gets `kubernetes` where no block has one; `None` leaves all as they are.
    pub cluster_domain: Option<Box<Labels>>,
    /// The addresses that queries are led to this process by, in place of the cluster's DNS; empty where none are. Blocks
    /// without `bind` listen there and not at every address, so that port 53 of the node's others is left alone; and
    /// every store is waited for.
    pub bind: Vec<IpAddr>,
    /// Addresses that this process cannot listen at on this node: `bind` goes on without them.
    pub left: Vec<LeftOut>,
}

/// An address that a Corefile may name and nothing is listened at on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Which.
    pub address: IpAddr,
    /// Why, in words that follow its name.
    pub why: String,
}

/// A store and everything that feeds and keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// What is held back.
    pub guard: GuardConfig,
    /// Whether `/ready` waits for it.
    pub watched: bool,
}

impl StoreConfig {
    /// Whether both are one store, however much each asks of it: the same source, folder and zone.
    pub fn is_same_store(&self, other: &Self) -> bool {
        self.source.is_same_place(&other.source) && self.is_same_data(other)
    }

    /// Whether both follow hubs, wherever these are, for one folder and zone: a position is the cluster's, so that
    /// what one has told another one goes on from.
    fn is_moved(&self, other: &Self) -> bool {
        let hubs = [self, other].iter().all(|config| matches!(config.source, SourceConfig::Hub(_)));
        hubs && self.is_same_data(other)
    }

    /// Whether both are of one folder and zone.
    fn is_same_data(&self, other: &Self) -> bool {
        self.snapshot == other.snapshot && self.zone == other.zone
    }
}

/// When to look for a changed Corefile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReloadEvery {
    /// Between two looks.
    pub interval: Duration,
    /// By how much the interval may be longer or shorter, half of it each way.
    pub jitter: Duration,
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
    /// Those of the configuration that runs: one that is wanted again goes on.
    pub running: Vec<(StoreConfig, Arc<Store>)>,
    /// What each `kubernetes` block selects.
    pub selections: Vec<Selection>,
    /// How often to look for a changed Corefile; `None` for never.
    pub reload: Option<ReloadEvery>,
    /// The caches, one for each block that has one.
    pub caches: Vec<cache::Kept>,
    /// Work beside the queries, begun once the sockets are bound.
    pub tasks: Vec<Start>,
    /// What is right, and probably not what is meant; logged already.
    pub warnings: Vec<Warning>,
}

impl Plan {
    /// For how long a listener keeps a connection that is idle, at most.
    pub fn longest_idle(&self) -> Duration {
        self.servers.iter().map(|server| server.timeouts.idle).max().unwrap_or_default()
    }
}

impl Process {
    /// The store of this configuration. Blocks that name the same source, folder and zone share one, which then
    /// has what any of them needs: an API server that is reached in the same way is one source, and is asked as
    /// much as the most generous block allows.
    ///
    /// # Errors
    /// Another store keeps its snapshots in this folder: each would put the other's aside.
    pub fn store(&mut self, config: StoreConfig) -> Result<Arc<Store>, String> {
        if let Some((shared, store)) = self.stores.iter_mut().find(|(c, _)| c.is_same_store(&config)) {
            shared.wanted.labels |= config.wanted.labels;
            shared.wanted.pods |= config.wanted.pods;
            shared.interval = shared.interval.min(config.interval);
            shared.limits.stale_after = shared.limits.stale_after.min(config.limits.stale_after);
            let limits = [shared.limits.max_stale, config.limits.max_stale];
            shared.limits.max_stale = limits.into_iter().flatten().min();
            shared.watched |= config.watched;
            shared.guard = shared.guard.union(config.guard);
            match (&mut shared.source, config.source) {
                (SourceConfig::ApiServer(shared), SourceConfig::ApiServer(access)) => {
                    shared.limits = shared.limits.larger(&access.limits);
                }
                // All endpoints have those of headless services among them.
                (SourceConfig::Hub(shared), SourceConfig::Hub(access)) => {
                    shared.headless_only &= access.headless_only;
                }
                _ => {}
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
        let store = self.running_store(&config).unwrap_or_else(Store::new);
        self.stores.push((config, store.clone()));
        Ok(store)
    }

    /// What flags say of the process as a whole.
    fn override_with(&mut self, overrides: &Overrides) {
        if let Some(address) = &overrides.extra_metrics {
            self.faces.push((Face::Metrics, address.clone()));
        }
        let every = [self.reload, overrides.look_every];
        self.reload = every.into_iter().flatten().min_by_key(|every| every.interval);
    }

    /// The store that runs and goes on as this one, whatever else is asked of it.
    fn running_store(&self, config: &StoreConfig) -> Option<Arc<Store>> {
        let is_free = |store: &Arc<Store>| self.stores.iter().all(|(_, taken)| !Arc::ptr_eq(taken, store));
        let free = self.running.iter().filter(|(_, store)| is_free(store));
        let same = free.clone().find(|(running, _)| running.is_same_store(config));
        let (_, store) = same.or_else(|| {
            let mut moved = free.filter(|(running, _)| running.is_moved(config));
            // Of several that are in memory only nobody knows which one it is.
            moved.next().filter(|_| moved.next().is_none())
        })?;
        Some(store.clone())
    }
}

/// What a plugin's setup sees and fills in.
pub struct Context<'a> {
    /// Shared by all blocks.
    pub environment: &'a Environment,
    /// The block's zones.
    pub zones: Vec<Labels>,
    /// The block's keys.
    pub keys: &'a [ServerKey],
    /// What relative paths of files begin at (`root`).
    pub root: PathBuf,
    /// What `bind` named.
    pub bound: Vec<BindAddress>,
    /// What `timeouts`, `multisocket` and `tls` say of the block's listeners.
    pub listening: Listening,
    /// Whether the block has `ready`.
    pub watches_readiness: bool,
    /// Whether the block has `prometheus`.
    pub counts_queries: bool,
    /// Where `autopath @kubernetes` stands, until `kubernetes` has taken note of it.
    pub follows_clients: Option<Position>,
    /// Whether nobody wrote the `kubernetes` that there is: it stands before what was forwarded without it.
    pub adds_kubernetes: bool,
    /// What is asked of the process.
    pub process: &'a mut Process,
}

/// What a block says of its listeners; of blocks that share one, what a later one says counts.
#[derive(Clone, Default)]
pub struct Listening {
    /// How long a new connection may take for its first query, and any message from its first byte to its last.
    pub read: Option<Duration>,
    /// How long one reply may take to be written.
    pub write: Option<Duration>,
    /// How long a connection may be idle.
    pub idle: Option<Duration>,
    /// After how many queries a connection is closed; `Some(None)` for no limit.
    pub queries: Option<Option<NonZeroU32>>,
    /// UDP sockets of each address; of several blocks the most.
    pub sockets: Option<NonZeroUsize>,
    /// Certificates for `tls://` keys.
    pub tls: Option<Arc<Identity>>,
}

impl Listening {
    /// Takes over what a further block of the same listener says.
    ///
    /// # Errors
    /// The listener has another certificate already: it has one, whoever connects.
    fn add(&mut self, later: &Self) -> Result<(), &'static str> {
        self.read = later.read.or(self.read);
        self.write = later.write.or(self.write);
        self.idle = later.idle.or(self.idle);
        self.queries = later.queries.or(self.queries);
        self.sockets = self.sockets.max(later.sockets);
        match (&self.tls, &later.tls) {
            (Some(one), Some(other)) if one.files() != other.files() => {
                return Err(
                    "another block of this listener has other certificates: a listener has one identity",
                );
            }
            (None, Some(tls)) => self.tls = Some(tls.clone()),
            _ => {}
        }
        Ok(())
    }

    /// The limits of connections.
    fn timeouts(&self) -> Timeouts {
        let default = Timeouts::default();
        Timeouts {
            first: self.read.unwrap_or(default.first),
            message: self.read.unwrap_or(default.message),
            write: self.write.unwrap_or(default.write),
            idle: self.idle.unwrap_or(default.idle),
            queries: self.queries.unwrap_or(default.queries),
        }
    }
}

impl Context<'_> {
    /// Identities of the block's listeners of plain DNS, in the order of its keys: `dns://:53`.
    pub fn plain_listeners(&self) -> Vec<String> {
        let plain = self.keys.iter().filter(|key| key.scheme == Scheme::Dns);
        plain
            .flat_map(|key| listeners(&self.bound, key.scheme, key.port))
            .map(|(identity, _, _)| identity)
            .collect()
    }

    /// Whether there is a folder of snapshots: the node has something to answer before it has any network.
    pub fn has_snapshots(&self) -> bool {
        let stores = self.process.stores.iter().any(|(config, _)| config.snapshot.is_some());
        stores || self.environment.overrides.snapshot.is_some()
    }

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
    /// What is spoken there: [`Scheme::Dns`] or [`Scheme::Tls`].
    pub scheme: Scheme,
    /// What to bind.
    pub addresses: Vec<SocketAddr>,
    /// The zones and their blocks.
    pub routes: Vec<Route>,
    /// The limits of its connections.
    pub timeouts: Timeouts,
    /// UDP sockets of each address; `None` for as many as is usual.
    pub sockets: Option<NonZeroUsize>,
    /// Its certificates, where TLS is spoken.
    pub tls: Option<Arc<Identity>>,
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
    /// What it says of its listeners.
    listening: Listening,
    /// Whether it counts its queries.
    counted: bool,
}

/// A listener while blocks are gathered.
struct Gathered {
    /// What is spoken there.
    scheme: Scheme,
    /// What to bind.
    addresses: Vec<SocketAddr>,
    /// The zones and their blocks.
    routes: Vec<Route>,
    /// Zones of blocks that count their queries.
    counted: Vec<String>,
    /// Lines for the start.
    banner: Vec<String>,
    /// What the blocks say of it.
    listening: Listening,
    /// Where it is first named.
    position: Position,
}

impl Gathered {
    fn into_plan(self, identity: String) -> Result<ServerPlan, Error> {
        let Self { scheme, addresses, routes, counted, banner, listening, position } = self;
        let timeouts = listening.timeouts();
        let tls = if scheme == Scheme::Tls { listening.tls } else { None };
        if scheme == Scheme::Tls && tls.is_none() {
            return Err(Error::new(
                &position,
                format!("{identity} has no certificate: write 'tls CERT KEY' in its server block"),
            ));
        }
        let sockets = listening.sockets;
        Ok(ServerPlan { identity, scheme, addresses, routes, timeouts, sockets, tls, counted, banner })
    }
}

/// Checks a Corefile and plans what it asks for.
///
/// # Errors
/// The first thing that is wrong, with its file and line.
pub fn plan(corefile: &Corefile, environment: &Environment) -> Result<Plan, Error> {
    let Added { blocks, any: adds_kubernetes, warnings } = added(&corefile.blocks, &environment.overrides);
    for Warning { position, text } in &warnings {
        tracing::warn!("{position} - {text}");
    }
    let running = environment.carried.stores();
    let mut process = Process { running, warnings, ..Process::default() };
    let built = blocks
        .iter()
        .map(|block| set_up(block, environment, adds_kubernetes, &mut process))
        .collect::<Result<Vec<_>, _>>()?;
    check_duplicates(&built)?;
    process.override_with(&environment.overrides);
    let mut servers: BTreeMap<String, Gathered> = BTreeMap::new();
    let mut enabled = Vec::new();
    for Built { source, block, bound, listening, counted } in &built {
        for key in &source.keys {
            let zone = Labels::parse(&key.zone).map_err(|e| Error::new(&key.position, e.to_string()))?;
            for (identity, addresses, suffix) in listeners(bound, key.scheme, key.port) {
                let server = servers.entry(identity.clone()).or_insert_with(|| Gathered {
                    scheme: key.scheme,
                    addresses,
                    routes: Vec::new(),
                    counted: Vec::new(),
                    banner: Vec::new(),
                    listening: Listening::default(),
                    position: key.position.clone(),
                });
                let added = server.listening.add(listening);
                added.map_err(|why| Error::new(&source.position, format!("{identity}: {why}")))?;
                server.routes.push(Route { zone: zone.clone(), block: block.clone() });
                let scheme = if key.scheme == Scheme::Dns { "" } else { "tls://" };
                server.banner.push(format!("{scheme}{}:{}{suffix}", key.zone, key.port));
                if *counted {
                    server.counted.push(key.zone.clone());
                }
                for plugin in &*block.plugins {
                    enabled.push((identity.clone(), key.zone.clone(), plugin.name()));
                }
            }
        }
    }
    check_transports(&servers)?;
    if servers.is_empty() {
        // A file that is being written, or was emptied by mistake, must not end a node that answers.
        let file = corefile.files.first().map_or_else(|| "Corefile".into(), |file| file.to_string_lossy());
        return Err(Error::new(
            &Position::of_file(&file),
            "there is no server block, so that nothing would be answered: write one, such as '. { ... }'",
        ));
    }
    let servers = servers.into_iter().map(|(identity, server)| server.into_plan(identity));
    Ok(Plan { servers: servers.collect::<Result<_, _>>()?, process, enabled })
}

fn set_up<'a>(
    block: &'a ServerBlock,
    environment: &Environment,
    adds_kubernetes: bool,
    process: &mut Process,
) -> Result<Built<'a>, Error> {
    for key in &block.keys {
        if !matches!(key.scheme, Scheme::Dns | Scheme::Tls) {
            return Err(Error::new(
                &key.position,
                format!(
                    "'{}': {} listeners are not supported; plain DNS and tls:// (DNS over TLS) are",
                    key.text, key.scheme
                ),
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
    let binds = block.all(bind::NAME).next().is_some();
    let default = if binds { &[][..] } else { &environment.overrides.bind };
    let mut cx = Context {
        environment,
        zones: block.zones().iter().map(parse).collect::<Result<_, _>>()?,
        keys: &block.keys,
        root: PathBuf::new(),
        bound: default.iter().map(|ip| BindAddress { ip: *ip, scope: 0 }).collect(),
        listening: Listening::default(),
        // Who answers in place of the cluster's DNS has to have something to answer first, `ready` or not.
        watches_readiness: !environment.overrides.bind.is_empty(),
        counts_queries: false,
        follows_clients: None,
        adds_kubernetes,
        process,
    };
    let mut plugins: Vec<Arc<dyn Plugin>> = Vec::new();
    for entry in PLUGINS {
        let directives: Vec<_> = block.all(entry.name).collect();
        if !directives.is_empty() {
            let parts = (entry.setup)(&directives, &mut cx).map_err(|error| error.of_plugin(entry.name))?;
            plugins.extend(parts);
        }
    }
    if let Some(position) = cx.follows_clients.take() {
        let text =
            "'autopath @kubernetes' has no effect: there is no 'kubernetes' in the server block".to_owned();
        tracing::warn!(target: "plugin/autopath", "{text}, at {position}");
        cx.process.warnings.push(Warning { position, text });
    }
    let Context { bound, listening, counts_queries: counted, .. } = cx;
    Ok(Built { source: block, block: Arc::new(Block { plugins: plugins.into() }), bound, listening, counted })
}

/// One address and port speaks plain DNS or TLS: both would get the other's connections, by chance.
fn check_transports(servers: &BTreeMap<String, Gathered>) -> Result<(), Error> {
    let mut taken: BTreeMap<SocketAddr, &str> = BTreeMap::new();
    for (identity, server) in servers {
        for address in server.addresses.iter().filter(|address| address.port() != 0) {
            if let Some(other) = taken.insert(*address, identity) {
                return Err(Error::new(
                    &server.position,
                    format!(
                        "cannot serve {identity} - {other} has its address: give one of them another port"
                    ),
                ));
            }
        }
    }
    Ok(())
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
fn listeners(bound: &[BindAddress], scheme: Scheme, port: u16) -> Vec<(String, Vec<SocketAddr>, String)> {
    if bound.is_empty() {
        return vec![(format!("{scheme}://:{port}"), wildcard(port), String::new())];
    }
    let listener = |address: &BindAddress| {
        let socket = match address.ip {
            IpAddr::V4(_) => SocketAddr::new(address.ip, port),
            IpAddr::V6(ip) => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, address.scope)),
        };
        let identity = format!("{scheme}://{}", SocketAddr::new(address.ip, port));
        (identity, vec![socket], format!(" on {}", address.ip))
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
    fn blocks_without_bind_listen_where_flags_say_it() {
        let bind = ["169.254.20.10", "fd00:20::10"].map(|ip| ip.parse().unwrap()).to_vec();
        let builder = Builder::default().overrides(Overrides { bind, ..Overrides::default() });
        let plan = builder
            .check(".:53 {\n debug\n}\na:53 {\n bind 127.0.0.1\n}\n")
            .unwrap_or_else(|e| panic!("{e}"));
        let listeners: Vec<_> = plan.servers.iter().map(|server| server.identity.as_str()).collect();
        assert_eq!(listeners, ["dns://127.0.0.1:53", "dns://169.254.20.10:53", "dns://[fd00:20::10]:53"]);
        assert_eq!(plan.servers[1].banner, [".:53 on 169.254.20.10"]);
    }

    #[test]
    fn addresses_that_somebody_else_has_are_left_out_of_bind() {
        let why = "kube-proxy has it on kube-ipvs0".to_owned();
        let overrides = Overrides {
            bind: vec![IpAddr::from([169, 254, 20, 10])],
            left: vec![LeftOut { address: IpAddr::from([10, 96, 0, 10]), why }],
            ..Overrides::default()
        };
        let check = |text: &str| Builder::default().overrides(overrides.clone()).check(text);
        let plan = check(
            "a:53 {\n bind 169.254.20.10 10.96.0.10\n}\nb:53 {\n bind 169.254.20.10\n bind 10.96.0.10\n}\n\
             .:53 {\n debug\n}\n",
        );
        let plan = plan.unwrap_or_else(|e| panic!("{e}"));
        let listeners: Vec<_> = plan.servers.iter().map(|server| server.identity.as_str()).collect();
        assert_eq!(listeners, ["dns://169.254.20.10:53"]);
        assert_eq!(plan.servers[0].routes.len(), 3);
        let said: Vec<_> = plan.process.warnings.iter().map(|w| (w.position.line, w.text.as_str())).collect();
        let text = "nothing is listened at 10.96.0.10: kube-proxy has it on kube-ipvs0";
        assert_eq!(said, [(2, text), (6, text)]);
        for (text, line) in [
            ("a:53 {\n bind 169.254.20.10\n}\nb:53 {\n bind 10.96.0.10\n}\n", 5),
            ("b:53 {\n bind 10.96.0.10 10.96.0.10 {\n except 169.254.20.10\n }\n}\n", 2),
        ] {
            let error = format!("{:#}", check(text).map(drop).unwrap_err());
            let at = format!("Corefile:{line} - ");
            assert!(
                error.contains(&at) && error.contains("nothing is left to listen on: 10.96.0.10"),
                "{error}"
            );
            assert!(error.contains("kube-proxy has it on kube-ipvs0"), "{error}");
        }
    }

    #[test]
    fn who_answers_in_place_of_the_cluster_s_dns_waits_for_its_data() {
        for (bind, want) in [(Vec::new(), false), (vec![IpAddr::from([169, 254, 20, 10])], true)] {
            let builder = Builder::default().overrides(Overrides { bind, ..Overrides::default() });
            let text = ".:53 {\n kubernetes cluster.local {\n source file b.yaml\n }\n}\n";
            let plan = builder.check(text).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(plan.process.stores[0].0.watched, want);
        }
    }

    #[test]
    fn the_longest_idle_time_of_all_listeners_counts() {
        let text = ".:53 {\n debug\n}\na:54 {\n timeouts {\n idle 45s\n }\n}\n";
        assert_eq!(check(text).longest_idle(), Duration::from_secs(45));
        assert_eq!(check(".:53 {\n debug\n}\n").longest_idle(), Timeouts::default().idle);
    }

    /// Whoever is responsible for a line is named, wherever the line was found to be wrong.
    #[test]
    fn what_is_wrong_is_said_in_the_plugin_s_name_once() {
        for (line, want) in [
            ("bufsize 100", "plugin/bufsize: '100' is not a whole number from 512 to 4096"),
            ("reload 10", "plugin/reload: missing unit in duration '10'"),
            ("loop x", "plugin/loop: Wrong argument count"),
            ("hosts {\n ttl 0\n }", "plugin/hosts: '0' is not a whole number"),
            ("loadbalance x", "plugin/loadbalance: unknown policy 'x'"),
            ("rewrite x", "plugin/rewrite: "),
            ("dns64", "plugin/dns64 is not supported: "),
        ] {
            let text = format!(". {{\n {line}\n}}\n");
            let error = Builder::default().check(&text).map(drop).unwrap_err();
            let error = format!("{error:#}");
            assert!(error.contains(&format!(" - Error during parsing: {want}")), "{line}: {error}");
            assert_eq!(error.matches("plugin/").count(), 1, "{line}: {error}");
        }
    }

    #[test]
    fn what_would_answer_nothing_is_refused() {
        for text in ["", "# . {\n", "(a) {\n errors\n}\n"] {
            let error = Builder::default().check(text).map(drop).unwrap_err();
            let error = format!("{error:#}");
            assert!(
                error.starts_with("Corefile - ") && error.contains("no server block"),
                "{text:?}: {error}"
            );
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
                SourceConfig::File(_) | SourceConfig::Hub(_) => panic!("{}: {source}", case.name),
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
    fn flags_have_it_look_oftener_and_show_metrics_elsewhere_too() {
        let every = |interval, jitter| ReloadEvery {
            interval: Duration::from_secs(interval),
            jitter: Duration::from_secs(jitter),
        };
        for (line, look_every, want) in [
            ("debug", None, None),
            ("debug", Some(every(10, 5)), Some(every(10, 5))),
            ("reload 30s", Some(every(10, 5)), Some(every(10, 5))),
            ("reload 2s 0", Some(every(10, 5)), Some(every(2, 0))),
        ] {
            let overrides = Overrides { look_every, ..Overrides::default() };
            let plan = Builder::default().overrides(overrides).check(&format!(".:53 {{\n {line}\n}}\n"));
            assert_eq!(plan.unwrap().process.reload, want, "{line}");
        }
        let address = |text: &str| text.parse::<ListenAddress>().unwrap();
        let overrides = Overrides { extra_metrics: Some(address(":9353")), ..Overrides::default() };
        let plan = Builder::default().overrides(overrides).check(".:53 {\n prometheus :9253\n}\n").unwrap();
        let want = [":9253", ":9353"].map(|text| (Face::Metrics, address(text)));
        assert_eq!(plan.process.faces, want);
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
                ownership: Ownership::always(),
            };
            let cx = Context {
                environment: &environment,
                zones: vec![Labels::root()],
                keys: &[],
                root: PathBuf::new(),
                bound: bound.map(|ip| BindAddress { ip, scope: 0 }).into_iter().collect(),
                listening: Listening::default(),
                watches_readiness: false,
                counts_queries: false,
                follows_clients: None,
                adds_kubernetes: false,
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
