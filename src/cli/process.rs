//! What processes that serve have in common: the runtime beside the answers, and how long the end may take.

use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// How long the last snapshot may take at the end.
pub(super) const LAST_SNAPSHOT: Duration = Duration::from_secs(10);

/// How long the last log lines may take.
pub(super) const LAST_LINES: Duration = Duration::from_secs(1);

/// The runtime for sources, stores, snapshots and administration: one thread of its own, so that nothing of
/// it ever holds up an answer.
pub(super) struct Control {
    /// To spawn on it.
    handle: tokio::runtime::Handle,
    /// Ends it.
    stop: CancellationToken,
    /// Its thread.
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Control {
    /// Starts it.
    pub(super) fn start() -> std::io::Result<Self> {
        let runtime: Runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let run = move || {
            runtime.block_on(stopped.cancelled());
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("outlast-control".to_owned()).spawn(run)?;
        Ok(Self { handle, stop, thread: Some(thread) })
    }

    /// To spawn on it.
    pub(super) const fn handle(&self) -> &tokio::runtime::Handle {
        &self.handle
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
