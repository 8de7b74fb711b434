//! A hub without sockets over an API server stand-in.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::Network;
use super::wires::Wires;
use crate::drill::files;
use crate::drill::standin::Standin;
use crate::hub::config::{HubConfig, MAX_SUBSCRIBERS};
use crate::hub::running::{self, Running, Seams, Starter};
use crate::ops::clock::WallClock;
use crate::ops::drain::{Drain, Limits, SIGNAL_QUEUE};
use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;
use crate::snapshot::disk::Disk;
use crate::source::apiserver::access::{self, Access, Place};
use crate::source::apiserver::{ApiServerSource, Transport};
use crate::source::command::{self, Command, Why};
use crate::source::start::Beginning;
use crate::source::{SourceConfig, Wanted};
use crate::store::Store;
use crate::store::guard_config::GuardConfig;
use crate::trust::config::TrustConfig;
use crate::zone::object::Kinds;

/// What a hub is started with.
pub struct Setting<'a> {
    /// Where followers reach it.
    pub address: SocketAddr,
    /// Every hub.
    pub hubs: &'a [SocketAddr],
    /// The folder of its kubeconfig and, on `disk`, of its snapshots.
    pub dir: &'a Path,
    /// Where snapshots are.
    pub disk: Arc<dyn Disk>,
    /// Bytes of changes that it keeps for each view.
    pub history_bytes: usize,
    /// Whether it judges lists.
    pub guard: GuardConfig,
    /// Its time.
    pub clock: Arc<WallClock>,
    /// All its jitter.
    pub jitter: Jitter,
}

/// A hub that runs.
pub struct MemoryHub {
    /// Where followers reach it.
    address: SocketAddr,
    /// Where they dial.
    network: Network,
    /// What was started.
    running: Running,
    /// Ends it.
    drain: Drain,
    /// What is measured.
    metrics: Arc<Metrics>,
}

/// How long followers have to move when it stops.
const MOVE_WITHIN: Duration = Duration::from_secs(2);

impl MemoryHub {
    /// Starts a hub in the current runtime, over `wires` to the API server.
    ///
    /// # Errors
    /// Its kubeconfig cannot be written.
    pub fn start(
        setting: Setting<'_>,
        server: &Standin,
        wires: &Wires,
        network: &Network,
    ) -> anyhow::Result<Self> {
        let Setting { address, hubs, dir, disk, history_bytes, guard, clock, jitter } = setting;
        let file = dir.join("kubeconfig");
        files::replace(&file, &server.kubeconfig()).context("writing the hub's kubeconfig")?;
        let config = HubConfig {
            listen: Vec::new(),
            advertise: vec![address],
            access: Access {
                place: Place::Kubeconfig { file, context: None },
                limits: access::Limits::default(),
            },
            wanted: Wanted { labels: false, pods: true },
            limits: crate::store::state::Limits::default(),
            guard,
            snapshot: Some(dir.join("snapshots")),
            interval: Duration::from_secs(60),
            trust: TrustConfig::Plain,
            siblings: hubs.iter().copied().filter(|hub| *hub != address).collect(),
            service: None,
            history_bytes,
            max_subscribers: MAX_SUBSCRIBERS.0,
            transfers: crate::hub::admission::Limits::default(),
            move_within: MOVE_WITHIN,
            faces: Vec::new(),
            audit_interval: crate::hub::audit::AUDIT_INTERVAL.0,
        };
        let (metrics, drain) = (Arc::new(Metrics::new()), Drain::new());
        let dial = wires.dial(server.dial());
        let (measured, spread) = (metrics.clone(), jitter.fork());
        let starter: Starter = Arc::new(move |source, Beginning { wanted, resume, updates, stop }| {
            let SourceConfig::ApiServer(access) = source else { bail!("a hub follows an API server alone") };
            let (commands, commanded) = command::channel();
            let source = ApiServerSource::new(access.clone(), wanted, resume, measured.clone());
            let over = Transport::Memory(dial.clone());
            let source = source.obeying(commanded).over(over).with_jitter(spread.fork());
            tokio::spawn(source.run(updates, stop));
            Ok(commands)
        });
        let (control, seams) = (Handle::current(), Seams { jitter, starter, disk, alone: true });
        let running = running::start_with(config, &metrics, &clock, &drain, &control, seams)?;
        network.set(address, Some(Arc::new(running.door())));
        Ok(Self { address, network: network.clone(), running, drain, metrics })
    }

    /// What it holds.
    pub fn store(&self) -> &Store {
        &self.running.store
    }

    /// Its metrics as text.
    pub fn scrape(&self) -> String {
        self.metrics.render()
    }

    /// A sibling has noticed so many restores.
    pub fn begin_epoch(&self, epoch: u64) {
        // A full queue has been told already.
        let _ = self.running.commands.ask(Command::BeginEpoch(epoch));
    }

    /// It compares itself with everything that the API server has, as it does from time to time.
    pub fn audit(&self) {
        // A full queue has been told already.
        let _ = self.running.commands.ask(Command::Relist { kinds: Kinds::ALL, why: Why::Audit });
    }

    /// SIGTERM.
    pub async fn stop(self) {
        let (_signals, none) = mpsc::channel(SIGNAL_QUEUE);
        self.network.set(self.address, None);
        self.drain.begin();
        let _ = self.drain.run(none, || Limits::with_lameduck(MOVE_WITHIN)).await;
        self.running.stop().await;
    }

    /// SIGKILL.
    pub async fn crash(self) {
        self.network.set(self.address, None);
        self.running.crash(&self.drain).await;
    }
}
