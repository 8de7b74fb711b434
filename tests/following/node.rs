//! A node without sockets that follows the stand-in.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use outlast::drill::standin::Standin;
use outlast::ops::jitter::Jitter;
use outlast::source::apiserver::{ApiServerSource, Transport};
use outlast::source::command;
use outlast::source::{SourceConfig, UPDATE_QUEUE, Wanted};
use outlast::store::Store;
use outlast::store::state::{DataState, Limits};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::unwired::{environment, planned, writer};

/// A node that runs.
pub(super) struct Node {
    /// What it answers from.
    pub(super) store: Arc<Store>,
    /// What it wants of its source.
    wanted: Wanted,
    /// Ends it.
    stop: CancellationToken,
    /// Its source.
    source: JoinHandle<()>,
    /// Its writer.
    writer: JoinHandle<()>,
}

impl Node {
    /// Starts a node with its kubeconfig and its snapshots in `dir`, in a test that began at `origin`.
    pub(super) fn start(dir: &Path, origin: Instant, standin: &Standin, jitter: Jitter) -> Self {
        let path = dir.display();
        let corefile = format!(
            ".:0 {{\nkubernetes cluster.local in-addr.arpa {{\nkubeconfig {path}/kubeconfig\n\
             snapshot {path}/snapshots\npods verified\nguard off\n}}\n}}\n"
        );
        let environment = environment(origin);
        let mut plan = planned(&corefile, &environment);
        let (config, store) = plan.process.stores.pop().expect("a kubernetes block has a store");
        let (source, wanted) = (config.source.clone(), config.wanted);
        let mut writer = writer(config, store.clone(), &environment);
        let resume = writer.boot();
        let SourceConfig::ApiServer(access) = source else { panic!("it follows an API server") };
        let (commands, commanded) = command::channel();
        writer.asks(commands);
        let source = ApiServerSource::new(access, wanted, resume, environment.metrics)
            .obeying(commanded)
            .over(Transport::Memory(standin.dial()))
            .with_jitter(jitter);
        let (updates, queue) = mpsc::channel(UPDATE_QUEUE);
        let stop = CancellationToken::new();
        let source = tokio::spawn(source.run(updates, stop.clone()));
        let writer = tokio::spawn(writer.run(queue, stop.clone()));
        Self { store, wanted, stop, source, writer }
    }

    /// The state of its data.
    pub(super) fn state(&self) -> DataState {
        DataState::judge(self.store.facts(&self.store.current()), self.wanted.kinds(), Limits::default())
    }

    /// Whether it has data of every kind.
    pub(super) fn is_complete(&self) -> bool {
        self.wanted.kinds().minus(self.store.current().table.complete()).is_empty()
    }

    /// SIGTERM.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.writer.await.unwrap();
        let _ = self.source.await;
    }

    /// SIGKILL.
    pub(super) async fn crash(self) {
        self.writer.abort();
        self.source.abort();
        let _ = (self.writer.await, self.source.await);
        // Time passes once a write to the disk that is under way has ended: it is not to meet those of the next node.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
