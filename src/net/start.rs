//! How interception begins, and its thread.
//!
//! Addresses come before sockets can be bound to them, and everything else after: [`prepare`] blocks until they are
//! there, [`Prepared::run`] begins the beats, [`Net::finish`] cleans up once the sockets are closed.
//!
//! Invariants:
//! * All sockets to the kernel are made by the thread itself, in the network that it is in.
//! * Whatever fails before the beats begin is undone: nothing is left of it on the node.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;

use super::THREAD;
use super::accept::Accept;
use super::beside::Beside;
use super::config::{Config, KubeProxy, Mode, Wrong};
use super::detect::{GatherError, Signs};
use super::iptables::rows::{FILTER, RAW};
use super::iptables::{Iptables, Ports, Which};
use super::keep::{Carrier, Keeper};
use super::layout::Layout;
use super::leftovers;
use super::link::{Journal, Kind, LinkError, Links};
use super::lookout::Lookout;
use super::mark::Marks;
use super::metrics::{Measures, SetupError};
use super::nft::{Nft, NftError};
use super::promises::{Form, promises};
use super::rules::{Rules, RulesError};
use super::run::{End, Heart, Hooks, Means, Shown};
use super::section::Report;
use super::watch::Watch;
use crate::ops::drain::Drain;
use crate::ops::metrics::Metrics;
use crate::ops::ownership::{Claim, Ownership, OwnershipError};

/// How long rules may take to go where that is some messages to the kernel.
const BY_MESSAGES: Duration = Duration::from_secs(2);

/// The same where programs delete them, which wait for each other: what stays leads queries to nobody for ever.
const BY_PROGRAMS: Duration = Duration::from_secs(20);

/// Why interception cannot begin.
#[derive(Debug, Error)]
pub enum StartError {
    /// It cannot be meant.
    #[error(transparent)]
    Wrong(#[from] Wrong),
    /// Processes of the node cannot agree on who owns the addresses.
    #[error(transparent)]
    Owner(#[from] OwnershipError),
    /// Interfaces or addresses.
    #[error(transparent)]
    Links(#[from] LinkError),
    /// Tables.
    #[error(transparent)]
    Tables(#[from] NftError),
    /// Rules.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// Only addresses of Services, which somebody else has before us.
    #[error("all addresses are a Service's, and {} sends their packets on before any rule of ours", .0.as_str())]
    NothingLeft(KubeProxy),
    /// Beats cannot be sent.
    #[error("packets may not be marked: {0} (CAP_NET_ADMIN is needed)")]
    Marks(#[source] io::Error),
    /// Events cannot be had.
    #[error("subscribing to events of the kernel: {0}")]
    Events(#[source] nlink::Error),
    /// No thread.
    #[error("starting the thread of interception: {0}")]
    Thread(#[source] io::Error),
    /// It ended.
    #[error("the thread of interception has panicked")]
    Panicked,
}

impl From<GatherError> for StartError {
    fn from(error: GatherError) -> Self {
        match error {
            GatherError::Links(error) => Self::Links(error),
            GatherError::Tables(error) => Self::Tables(error),
        }
    }
}

/// Addresses that are there, and a thread that waits for the rest of the process.
pub struct Prepared {
    /// What begins the beats; dropped without that, everything is undone.
    begin: Option<oneshot::Sender<(Hooks, End)>>,
    /// The thread.
    thread: Option<JoinHandle<Option<Claim>>>,
    /// The addresses that can be answered at.
    addresses: Vec<IpAddr>,
    /// Those that are known to be a Service's.
    services: Vec<IpAddr>,
    /// Whether they are ours.
    ownership: Ownership,
    /// How long rules may take to go.
    limit: Duration,
    /// What operators see.
    report: Arc<Report>,
}

/// Interception at work.
pub struct Net {
    /// How long rules may take to go.
    limit: Duration,
    /// The thread.
    thread: JoinHandle<Option<Claim>>,
    /// How it ends.
    end: End,
    /// What operators see.
    report: Arc<Report>,
}

/// Puts the addresses on the node. Blocks until they are there.
///
/// # Errors
/// What cannot be meant, is somebody else's, or needs what this process or kernel does not have. Nothing is left of it.
pub fn prepare(config: Config, metrics: &Arc<Metrics>) -> Result<Prepared, StartError> {
    config.check()?;
    // Nobody leads queries to addresses alone, so that none of them can be withdrawn.
    let led = if config.rules == Mode::Off { &[][..] } else { &config.addresses };
    let measures = Arc::new(Measures::new(metrics, led));
    let services = config.services.clone();
    let (ready, set_up) = std::sync::mpsc::sync_channel(1);
    let (begin, begun) = oneshot::channel();
    let body = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(live(config, measures, ready, begun)),
            Err(error) => {
                drop(ready.send(Err(StartError::Thread(error))));
                None
            }
        }
    };
    let thread =
        std::thread::Builder::new().name(THREAD.to_owned()).spawn(body).map_err(StartError::Thread)?;
    let set_up: Ready = set_up.recv().unwrap_or(Err(StartError::Panicked));
    let Told { addresses, ownership, limit, report } = set_up?;
    Ok(Prepared { begin: Some(begin), thread: Some(thread), addresses, services, ownership, limit, report })
}

impl Prepared {
    /// The addresses that can be answered at: all, or without those of Services where somebody has these before us.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The addresses that were known to be a Service's before any data was there.
    pub fn services(&self) -> &[IpAddr] {
        &self.services
    }

    /// Whether addresses, rules and everything else that processes of the node share are ours.
    pub fn ownership(&self) -> Ownership {
        self.ownership.clone()
    }

    /// Begins the beats, which end with `drain`: it waits until queries are led elsewhere before anything is closed.
    ///
    /// # Errors
    /// A thread that is gone.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn run(mut self, hooks: Hooks, drain: &Drain) -> Result<Net, StartError> {
        let end = End {
            ending: drain.draining().clone(),
            withdrawing: drain.withdrawing().clone(),
            ..End::default()
        };
        let begun = self.begin.take().is_some_and(|begin| begin.send((hooks, end.clone())).is_ok());
        let thread = self.thread.take().filter(|_| begun).ok_or(StartError::Panicked)?;
        let waited = end.clone();
        drain.spawn_hook(async move {
            waited.withdrawing.cancelled().await;
            waited.withdrawn.cancelled().await;
        });
        Ok(Net { thread, end, report: self.report.clone(), limit: self.limit })
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // It undoes what it did, which takes a moment.
        self.begin = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of interception has panicked");
        }
    }
}

impl Net {
    /// What operators see.
    pub fn report(&self) -> Arc<Report> {
        self.report.clone()
    }

    /// How long the withdrawal may take, and after it the removal of everything.
    pub const fn limit(&self) -> Duration {
        self.limit
    }

    /// Once all sockets are closed: waits until nothing is left on the node that should not be, for at most so long. What
    /// is still ours of what processes share is so until the claim is dropped: once nothing of it is written any more.
    pub async fn finish(self, limit: Duration) -> Option<Claim> {
        let Self { thread, end, .. } = self;
        // Who ends without a drain has not withdrawn yet.
        end.withdrawing.cancel();
        end.closed.cancel();
        let joined = tokio::task::spawn_blocking(move || thread.join());
        match tokio::time::timeout(limit, joined).await {
            Ok(Ok(Ok(claim))) => claim,
            Ok(_) => {
                tracing::error!("the thread of interception has panicked");
                None
            }
            Err(_) => {
                tracing::warn!(?limit, "addresses and rules were not removed in time");
                None
            }
        }
    }
}

/// What a start came to.
type Ready = Result<Told, StartError>;

/// What a start tells.
struct Told {
    /// The addresses that can be answered at.
    addresses: Vec<IpAddr>,
    /// Whether they are ours.
    ownership: Ownership,
    /// How long rules may take to go.
    limit: Duration,
    /// What operators see.
    report: Arc<Report>,
}

/// What was set up.
struct SetUp {
    /// What keeps it.
    keeper: Keeper,
    /// How beats are sent, where elements expire.
    marks: Option<Marks>,
    /// What others do to it.
    events: Watch,
    /// The rules that let packets through firewalls, if they are wanted.
    accept: Option<Iptables>,
    /// Who looks at what others have.
    lookout: Lookout,
}

/// The life of the thread; what is still ours at its end of what processes share.
async fn live(
    config: Config,
    measures: Arc<Measures>,
    ready: std::sync::mpsc::SyncSender<Ready>,
    begun: oneshot::Receiver<(Hooks, End)>,
) -> Option<Claim> {
    let refuse = |error: StartError| {
        drop(ready.send(Err(error)));
        None
    };
    // First of all: what others take away when they end, they do not take away from then on.
    let (mut claim, ownership) = match Claim::join(&config.owner) {
        Ok(joined) => joined,
        Err(error) => return refuse(error.into()),
    };
    let links = match Links::connect() {
        Ok(links) => links,
        Err(error) => return refuse(error.into()),
    };
    let mut journal = Journal::default();
    let SetUp { keeper, marks, events, accept, lookout } =
        match set_up(&config, &measures, &mut journal).await {
            Ok(set_up) => set_up,
            Err(error) => {
                match error {
                    StartError::Links(_) => measures.setup_error(SetupError::InterfaceAdd),
                    StartError::Rules(RulesError::Iptables(_)) => measures.setup_error(SetupError::Iptables),
                    _ => {}
                }
                undo(&links, journal, &claim).await;
                return refuse(error);
            }
        };
    let mode = keeper.rules().mode();
    let report = Arc::new(Report::new(keeper.layout(), keeper.interface()).led_by(mode));
    let addresses = keeper.layout().addresses().to_vec();
    let limit = if mode == Mode::Iptables || accept.is_some() { BY_PROGRAMS } else { BY_MESSAGES };
    let told = Told { addresses: addresses.clone(), ownership, limit, report: report.clone() };
    let told = ready.send(Ok(told));
    let begun = begun.await;
    let (Ok(()), Ok((hooks, end))) = (told, begun) else {
        undo(&links, journal, &claim).await;
        return None;
    };
    let mut beside = Beside::nothing().with_lookout(lookout);
    if let Some(rules) = &accept {
        let accept = Accept::new(rules.clone(), &addresses, config.look, measures.clone());
        beside = beside.with_accept(accept.until(end.withdrawing.clone()));
    }
    let (means, shown) = (Means { keeper, marks, claim, beside }, Shown { measures, report });
    let heart = Heart::new(means, hooks, end, shown, config.look);
    let mut keeper;
    (keeper, claim) = heart.run(events).await;
    // Invariant: nothing is taken away from another process, be it one that comes just now.
    if config.teardown && claim.try_own() && claim.shut() {
        keeper.remove().await;
        if let Some(rules) = accept
            && let Err(error) = rules.delete(&addresses).await
        {
            tracing::warn!(%error, "rules that let queries through firewalls stay");
        }
        claim.open();
    }
    Some(claim)
}

/// Undoes what a start did, unless others rely on it by now.
async fn undo(links: &Links, journal: Journal, claim: &Claim) {
    if !claim.shut() {
        return;
    }
    if let Err(error) = links.undo(journal).await {
        tracing::warn!(%error, "what the start did to the node stays");
    }
    claim.open();
}

/// A node as it was found.
struct Survey {
    /// Nftables, where the kernel has it.
    nft: Option<Nft>,
    /// What was seen.
    signs: Signs,
    /// Who sends packets for Services elsewhere.
    kube_proxy: KubeProxy,
    /// The addresses that can be answered at.
    addresses: Vec<IpAddr>,
}

/// Looks at the node, and changes nothing.
async fn survey(config: &Config, links: &Links) -> Result<Survey, StartError> {
    let nft = match Nft::connect().await {
        Ok(nft) => Some(nft),
        Err(NftError::Absent) => None,
        // Who leads nothing here needs no permission for it.
        Err(_) if config.rules == Mode::Off => None,
        Err(error) => return Err(error.into()),
    };
    let signs = Signs::gather(nft.as_ref(), links).await?;
    let kube_proxy = config.kube_proxy.unwrap_or_else(|| signs.kube_proxy());
    let addresses: Vec<_> =
        if kube_proxy.leaves_services() { config.addresses.clone() } else { config.local().collect() };
    if addresses.is_empty() {
        return Err(StartError::NothingLeft(kube_proxy));
    }
    Ok(Survey { nft, signs, kube_proxy, addresses })
}

/// The addresses that can be answered at on this node: all, or without those of Services where somebody has these before
/// us. Changes nothing. Blocks for a few messages to the kernel.
///
/// # Errors
/// What cannot be meant, and what cannot be seen.
pub fn usable(config: &Config) -> Result<Vec<IpAddr>, StartError> {
    config.check()?;
    let look = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(StartError::Thread)?;
        runtime.block_on(async { Ok(survey(config, &Links::connect()?).await?.addresses) })
    };
    // A thread of its own: the caller may be within a runtime.
    std::thread::scope(|scope| scope.spawn(look).join().unwrap_or(Err(StartError::Panicked)))
}

/// Looks at the node, and puts the addresses on it.
async fn set_up(
    config: &Config,
    measures: &Arc<Measures>,
    journal: &mut Journal,
) -> Result<SetUp, StartError> {
    let links = Links::connect()?;
    let Survey { nft, signs, kube_proxy, addresses } = survey(config, &links).await?;
    let ports = Ports { dns: config.port, health: config.health_port };
    let rules = Rules::choose(config.rules, ports, nft, &addresses)?;
    let mode = rules.mode();
    let expire = mode == Mode::Nftables;
    let accept = (config.accept && expire).then(|| Iptables::new(&addresses, ports, Which::Accepting));
    let accept = accept.transpose().map_err(RulesError::from)?;
    let carrier = match &config.interface {
        Some(name) => {
            let (name, kind) = (name.clone(), Kind::Dummy);
            let device = links.set_up(&name, kind, &addresses, journal).await?;
            Carrier::Ours { name, kind, device }
        }
        None => {
            links.find(&addresses).await?;
            Carrier::Others
        }
    };
    let layout = Layout::new(&addresses, &config.services, config.port, config.flows);
    let v6 = addresses.iter().any(IpAddr::is_ipv6);
    let marks = expire.then(|| Marks::new(config.port, v6)).transpose().map_err(StartError::Marks)?;
    let keeper = Keeper::new(links, carrier, rules, layout, measures.clone());
    let interface = keeper.interface().unwrap_or_default().to_owned();
    let events = match expire {
        true => Watch::subscribe(&interface, &addresses).await,
        false => Watch::subscribe_to_links(&interface, &addresses).await,
    };
    let events = events.map_err(StartError::Events)?;
    let lookout = Lookout::connect(expire, &addresses, ports, measures.clone()).await?;
    measures.info(mode.as_str(), kube_proxy.as_str(), &interface);
    let left = addresses.len() < config.addresses.len();
    let services = addresses.iter().any(|address| config.services.contains(address));
    say(Form { rules: mode, kube_proxy, services, left }, &interface);
    warn(config, &signs, mode, &addresses, ports);
    Ok(SetUp { keeper, marks, events, accept, lookout })
}

/// Says what was found, what is promised, and what is not.
fn say(form: Form, interface: &str) {
    let all = promises(form);
    let kept: Vec<_> =
        all.iter().filter(|promise| promise.not.is_none()).map(|promise| promise.name).collect();
    let (rules, kube_proxy, promises) = (form.rules.as_str(), form.kube_proxy.as_str(), kept.join(","));
    tracing::info!(rules, kube_proxy, interface, promises, "interception is set up");
    for (name, why) in all.iter().filter_map(|promise| Some((promise.name, promise.not?))) {
        tracing::warn!(promise = name, "not promised here: {why}");
    }
}

/// Warns of what others have that may be in the way.
fn warn(config: &Config, signs: &Signs, mode: Mode, addresses: &[IpAddr], ports: Ports) {
    if mode == Mode::Off {
        return;
    }
    let accepts = mode == Mode::Iptables || config.accept;
    for chain in signs.dropping() {
        let (family, table, chain) = (chain.family, &chain.table, &chain.name);
        let advice = match table.as_str() {
            FILTER if accepts => continue,
            FILTER => "it has to let DNS through, which --accept iptables sees to",
            _ => "it has to let DNS through",
        };
        tracing::warn!(family, table, chain, "this chain drops what it does not know: {advice}");
    }
    if mode == Mode::Nftables && signs.legacy.iter().any(|table| table == RAW) {
        let commands = leftovers::commands(addresses, ports, "-legacy", leftovers::Comment::Its);
        tracing::warn!(
            commands,
            "the old iptables has rules that cannot be seen: if node-cache was killed on this node, its rules lead queries \
             here for ever, and these commands delete them"
        );
    }
}
