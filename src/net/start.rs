//! How interception begins, step by step on a thread of its own.
//!
//! ```text
//! look             what is on this node, and to whom addresses are left; changes nothing
//! Surveyed         knows where to listen: the configuration of the rest of the process can be made
//!   .prepare       puts the addresses on the node, before sockets are bound to them
//! Prepared
//!   .run           begins the beats
//! Net
//!   .finish        cleans up, once the sockets are closed
//! ```
//!
//! `thread` is what happens there, `set_up` what that does to the node.
//!
//! Invariants:
//! * All sockets to the kernel are made by the thread itself, in the network that it is in.
//! * A claim to what processes of a node share comes before everything that changes the node.
//! * Whatever fails before the beats begin is undone: nothing is left of it on the node. A stage that is dropped is, too.

mod set_up;
mod thread;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;

use self::thread::{Order, Outcome, Told, live};
use super::THREAD;
use super::config::{Config, KubeProxy, Mode, Wrong};
use super::detect::GatherError;
use super::link::LinkError;
use super::metrics::Measures;
use super::nft::NftError;
use super::rules::RulesError;
use super::run::{End, Hooks};
use super::section::Report;
use super::usable::{Left, Seen, Usable, usable};
use crate::ops::drain::Drain;
use crate::ops::metrics::Metrics;
use crate::ops::ownership::{Claim, Ownership, OwnershipError};

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

/// What a look at the node came to.
pub enum Look {
    /// Queries to some addresses at least are to be led here.
    Here(Surveyed),
    /// Nothing is to be put on the node or to lead queries anywhere, and none of the addresses is there: others lead queries
    /// to this process, Cilium with a LocalRedirectPolicy say, and there is no interception to begin.
    ByOthers,
}

/// A node that was looked at, and a thread that waits to go on.
pub struct Surveyed {
    /// Tells it to; dropped without that, it ends.
    order: oneshot::Sender<Order>,
    /// The thread: after what ends it, so that it is dropped later.
    thread: Thread,
    /// What becomes of the addresses.
    usable: Usable,
    /// Those that are known to be a Service's.
    services: Vec<IpAddr>,
    /// Those that queries can be led to: all that are wanted, or none where nothing leads them.
    led: Vec<IpAddr>,
}

/// Addresses that are there, and a thread that waits for the rest of the process.
pub struct Prepared {
    /// What begins the beats; dropped without that, everything is undone.
    begin: oneshot::Sender<(Hooks, End)>,
    /// The thread: after what ends it, so that it is dropped later.
    thread: Thread,
    /// The addresses that can be answered at.
    addresses: Vec<IpAddr>,
    /// Those that are known to be a Service's.
    services: Vec<IpAddr>,
    /// What was set up.
    told: Told,
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

/// Looks at the node, and changes nothing. Blocks for a few messages to the kernel.
///
/// # Errors
/// What cannot be meant or seen, and a node where all addresses have to be left to somebody else.
pub fn look(config: Config) -> Result<Look, StartError> {
    config.check()?;
    // Nobody leads queries to addresses alone, so that none of them can be withdrawn.
    let led = if config.rules == Mode::Off { Vec::new() } else { config.addresses.clone() };
    let services = config.services.clone();
    let (found, seen) = sync_channel(1);
    let (order, ordered) = oneshot::channel();
    let body = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(live(config, found, ordered)),
            Err(error) => {
                drop(found.send(Err(StartError::Thread(error))));
                None
            }
        }
    };
    let thread = std::thread::Builder::new().name(THREAD.to_owned()).spawn(body);
    let thread = Thread(Some(thread.map_err(StartError::Thread)?));
    match seen.recv().unwrap_or(Err(StartError::Panicked))? {
        Outcome::Here(usable) => Ok(Look::Here(Surveyed { order, thread, usable, services, led })),
        Outcome::ByOthers => Ok(Look::ByOthers),
    }
}

/// What becomes of the addresses as far as it can be told without looking at a node.
///
/// # Errors
/// What cannot be meant, and addresses that all have to be left to somebody else.
pub fn unseen(config: &Config) -> Result<Usable, StartError> {
    config.check()?;
    let kube_proxy = config.kube_proxy.unwrap_or(KubeProxy::None);
    let usable = usable(&config.addresses, &config.services, &Seen { kube_proxy, on_ipvs: Vec::new() });
    if usable.addresses.is_empty() && !config.leaves_all_to_others() {
        return Err(StartError::NothingLeft(kube_proxy));
    }
    Ok(usable)
}

impl Surveyed {
    /// The addresses that can be answered at: all, or without those that somebody else has before us.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.usable.addresses
    }

    /// The others.
    pub fn left(&self) -> &[Left] {
        &self.usable.left
    }

    /// Puts the addresses on the node. Listeners will keep connections that are idle for `idle`. Blocks until they are there.
    ///
    /// # Errors
    /// What is somebody else's, or needs what this process or kernel does not have. Nothing is left of it.
    pub fn prepare(self, idle: Duration, metrics: &Arc<Metrics>) -> Result<Prepared, StartError> {
        let Self { order, thread, usable, services, led } = self;
        let measures = Arc::new(Measures::new(metrics, &led));
        let (done, set_up) = sync_channel(1);
        let (begin, begun) = oneshot::channel();
        let ordered = order.send(Order { idle, measures, done, begun });
        ordered.map_err(|_| StartError::Panicked)?;
        let told = set_up.recv().unwrap_or(Err(StartError::Panicked))?;
        Ok(Prepared { begin, thread, addresses: usable.addresses, services, told })
    }
}

impl Prepared {
    /// The addresses that can be answered at: all, or without those that somebody else has before us.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The addresses that were known to be a Service's before any data was there.
    pub fn services(&self) -> &[IpAddr] {
        &self.services
    }

    /// Whether addresses, rules and everything else that processes of the node share are ours.
    pub fn ownership(&self) -> Ownership {
        self.told.ownership.clone()
    }

    /// Begins the beats, which end with `drain`: it waits until queries are led elsewhere before anything is closed.
    ///
    /// # Errors
    /// A thread that is gone.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn run(self, hooks: Hooks, drain: &Drain) -> Result<Net, StartError> {
        let Self { begin, thread, told: Told { limit, report, .. }, .. } = self;
        let end = End {
            ending: drain.draining().clone(),
            withdrawing: drain.withdrawing().clone(),
            ..End::default()
        };
        begin.send((hooks, end.clone())).map_err(|_| StartError::Panicked)?;
        let thread = thread.into_inner().ok_or(StartError::Panicked)?;
        let waited = end.clone();
        drain.spawn_hook(async move {
            waited.withdrawing.cancelled().await;
            waited.withdrawn.cancelled().await;
        });
        Ok(Net { limit, thread, end, report })
    }
}

/// The thread of a stage, which ends soon where nobody tells it to go on.
struct Thread(Option<JoinHandle<Option<Claim>>>);

impl Thread {
    /// It, to be waited for by who takes it.
    fn into_inner(mut self) -> Option<JoinHandle<Option<Claim>>> {
        self.0.take()
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // It undoes what it did, which takes a moment.
        if let Some(thread) = self.0.take()
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
