//! Starting the source of a store.

use std::sync::Arc;

use anyhow::Context;
use tokio::runtime::Handle;
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

use super::apiserver::ApiServerSource;
use super::command::{self, Commands};
use super::file::FileSource;
use super::hub::{HubSource, Means};
use super::{Resume, SourceConfig, Update, Wanted};
use crate::ops::clock::WallClock;
use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;

/// What a source begins with.
pub struct Beginning {
    /// What the configuration needs of the objects.
    pub wanted: Wanted,
    /// From where it may go on.
    pub resume: Resume,
    /// To the store.
    pub updates: Sender<Update>,
    /// Ends it.
    pub stop: CancellationToken,
}

/// Starts the source of a store, on `control` or on a thread of its own, and returns the way to ask something of it.
///
/// # Errors
/// The system gives no thread.
pub fn start(
    source: &SourceConfig,
    beginning: Beginning,
    metrics: &Arc<Metrics>,
    control: &Handle,
) -> anyhow::Result<Commands> {
    let means = Means { memory: None, clock: Arc::new(WallClock::new(0)) };
    start_with(source, beginning, means, metrics, control)
}

/// The same with what a source of hubs needs beside its configuration.
///
/// # Errors
/// The system gives no thread.
pub fn start_with(
    source: &SourceConfig,
    beginning: Beginning,
    means: Means,
    metrics: &Arc<Metrics>,
    control: &Handle,
) -> anyhow::Result<Commands> {
    let Beginning { wanted, resume, updates, stop } = beginning;
    let metrics = metrics.clone();
    let (commands, commanded) = command::channel();
    match source {
        SourceConfig::File(path) => {
            let source = FileSource::new(path, wanted, metrics).obeying(commanded);
            control.spawn(source.run(updates, stop));
        }
        SourceConfig::ApiServer(access) => {
            let source = ApiServerSource::new(access.clone(), wanted, resume, metrics).obeying(commanded);
            let run = stop.clone();
            run_apart(stop, move || source.run(updates, run))?;
        }
        SourceConfig::Hub(access) => {
            let (access, run) = (access.clone(), stop.clone());
            // Within its runtime, which certificates are read on.
            let source = move || async move {
                let jitter = Jitter::for_process();
                HubSource::new(&access, wanted, means, jitter, &metrics).run(updates, commanded, run).await;
            };
            run_apart(stop, source)?;
        }
    }
    Ok(commands)
}

/// Runs a source on a thread of its own until `stop`: what it decodes holds up neither answers nor `/health`.
///
/// Nobody waits for the thread: a source holds nothing half done, and what it has started (a look-up of a name, a
/// read of a file) may hang for as long as it likes.
fn run_apart<F: Future<Output = ()>>(
    stop: CancellationToken,
    source: impl FnOnce() -> F + Send + 'static,
) -> anyhow::Result<()> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().context("starting a runtime for the source")?;
    // In tests the log belongs to a thread.
    let log = tracing::dispatcher::get_default(Clone::clone);
    let run = move || {
        tracing::dispatcher::with_default(&log, || runtime.block_on(stop.run_until_cancelled(source())));
        runtime.shutdown_background();
    };
    std::thread::Builder::new()
        .name("source".to_owned())
        .spawn(run)
        .context("starting a thread for the source")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_source_apart_ends_with_its_stop_whatever_it_waits_for() {
        let stop = CancellationToken::new();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (alive, mut ended) = mpsc::channel::<()>(1);
        let (_held, hangs) = std::sync::mpsc::channel::<()>();
        run_apart(stop.clone(), move || async move {
            let _alive = alive;
            let name = std::thread::current().name().map(str::to_owned);
            begun.send(name).expect("the test waits for it");
            // As a look-up of a name may.
            let _ = tokio::task::spawn_blocking(move || hangs.recv()).await;
        })
        .expect("the system has a thread left");
        assert_eq!(has_begun.await.expect("it runs").as_deref(), Some("source"));
        assert!(ended.try_recv().is_err(), "it still runs");
        stop.cancel();
        assert_eq!(ended.recv().await, None, "it was dropped");
    }
}
