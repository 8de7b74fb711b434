//! `source apiserver`: the cluster as its API server tells it. The only folder besides the stand-in that knows
//! `kube::`.
//!
//! Reading order: `access` (where the API server is and who we are to it), `client` (one request), `split` (bytes
//! to items), `list` and `watch` (what a request means), `freshness` and `seen` (what may be concluded), `report`
//! (whose data it is, and the way to the store), `follower` (all of it together, for one kind).
//!
//! Invariants:
//! * Data is called current as of a moment only if everything that the cluster's store held at that moment is known.
//! * No object goes back to an older version within an epoch, and no kind to an older state.
//! * No fault takes anything away: what is known stays until something newer is known.
//! * The raw objects of a list are never held, one by one excepted.
//! * Selectors of the configuration are not sent to the server: they are applied to answers, so that what is known does
//!   not depend on them.

pub mod access;
mod client;
mod fault;
mod follower;
mod freshness;
pub mod inspect;
mod limiter;
mod list;
mod metrics;
mod page;
pub mod probe;
mod report;
mod resource;
pub mod secrets;
mod seen;
mod split;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;
mod transport;
mod version;
mod watch;

#[cfg(feature = "testkit")]
pub use split::pieces;
pub use transport::{Dial, Transport};

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::access::Access;
use self::client::Client;
use self::follower::{Common, Follower, Orders};
use self::report::Report;
use super::command::{self, Command, Commanded};
use super::{Resume, Update, Wanted};
use crate::ops::backoff::{Backoff, Policy};
use crate::ops::catalogue;
use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;
use crate::zone::object::Kind;

/// A kind proves itself at least this often while all is well: a check comes within 12 s, and what it goes over is
/// there a second later. Data that has to be proved sooner is stale now and then.
pub const PROVED_WITHIN: Duration = Duration::from_secs(15);

/// Follows an API server.
pub struct ApiServerSource {
    /// Where it is.
    access: Access,
    /// What the objects are needed for.
    wanted: Wanted,
    /// From where to go on.
    resume: Resume,
    /// How connections are made.
    transport: Transport,
    /// Spreads everything that many nodes would do at once.
    jitter: Jitter,
    /// Counts and durations.
    metrics: Arc<Metrics>,
    /// What is asked of it.
    commanded: Option<Commanded>,
}

impl ApiServerSource {
    /// A source; nothing is opened before [`run`](Self::run).
    pub fn new(access: Access, wanted: Wanted, resume: Resume, metrics: Arc<Metrics>) -> Self {
        let (transport, jitter) = (Transport::Tcp, Jitter::for_process());
        Self { access, wanted, resume, transport, jitter, metrics, commanded: None }
    }

    /// Does what is asked of it here.
    #[must_use]
    pub fn obeying(mut self, commanded: Commanded) -> Self {
        self.commanded = Some(commanded);
        self
    }

    /// Connects by other means than the network.
    #[must_use]
    pub fn over(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// Draws its jitter from here.
    #[must_use]
    pub fn with_jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// Follows until `stop`, or until nobody receives any more.
    pub async fn run(self, updates: Sender<Update>, stop: CancellationToken) {
        let Self { access, wanted, resume, transport, jitter, metrics, commanded } = self;
        let kinds = wanted.kinds();
        let client = Client::new(access, transport, metrics.clone());
        let report = Arc::new(Report::new(kinds, &resume, updates));
        let orders = Orders::default();
        let common = Arc::new(Common { wanted, client, report, orders, metrics });
        let mut followers = JoinSet::new();
        for kind in kinds.iter() {
            followers.spawn(keep_following(kind, common.clone(), resume.clone(), jitter.fork()));
        }
        // Nothing that runs here holds a half-done state: it may stop at any await, which dropping the set makes it.
        let follow = async {
            tokio::select! {
                () = async { while followers.join_next().await.is_some() {} } => {}
                () = obey(commanded, &common) => {}
            }
        };
        stop.run_until_cancelled(follow).await;
    }
}

/// Does what is asked, until nobody listens any more.
async fn obey(mut commanded: Option<Commanded>, common: &Common) {
    loop {
        let told = match command::next(&mut commanded).await {
            Command::Relist { kinds, why } => {
                common.orders.relist(kinds, why);
                Ok(())
            }
            Command::BeginEpoch(epoch) => common.report.begin_epoch(epoch).await,
            Command::AcceptCluster => {
                common.report.accept_cluster().await;
                Ok(())
            }
        };
        if told.is_err() {
            return;
        }
    }
}

/// Follows a kind; a follower that breaks is followed by one that begins anew.
async fn keep_following(kind: Kind, common: Arc<Common>, mut resume: Resume, jitter: Jitter) {
    let panics = common.metrics.counter(catalogue::PANICS, &[]);
    let mut backoff = Backoff::new(Policy::RECONNECT);
    loop {
        let follower = Follower::new(kind, &common, &resume, jitter.fork());
        if AssertUnwindSafe(follower.run()).catch_unwind().await.is_ok() {
            return;
        }
        panics.increment(1);
        tracing::error!(%kind, "following broke, which is a bug: beginning anew with a list");
        // Where it has come to is not known any more.
        (resume.position.versions[kind.index()], resume.told.versions[kind.index()]) = (0, 0);
        tokio::time::sleep(backoff.failed(Instant::now(), &jitter)).await;
    }
}
