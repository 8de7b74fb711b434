//! What processes that serve have in common: the runtime beside the answers, and how long the end may take.

use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::ops::descriptors::{self, Descriptors};
use crate::ops::niceness;
use crate::ops::switches;

/// How long the last snapshot may take at the end.
pub(super) const LAST_SNAPSHOT: Duration = Duration::from_secs(10);

/// How long the last log lines may take.
pub(super) const LAST_LINES: Duration = Duration::from_secs(1);

/// Lets this process have as many sockets as its own limits count on; says so where the system does not.
pub(super) fn raise_descriptors() {
    match descriptors::raise_limit() {
        Ok(Descriptors::Enough) => {}
        Ok(Descriptors::Few(limit)) => {
            tracing::warn!(limit, "few open files are allowed (ulimit -Hn): a flood may use them up");
        }
        Err(error) => tracing::warn!(%error, "raising the limit of open files"),
    }
}

/// Between two looks whether the drill that has started this process goes on.
const LOOK_AFTER_DRILL: Duration = Duration::from_secs(1);

/// Ends this process once the drill that has started it has ended, however that came; nothing without a drill.
pub(super) fn end_with_drill() {
    if switches::drill().is_none() {
        return;
    }
    let look = || {
        while switches::drill().is_some() {
            std::thread::sleep(LOOK_AFTER_DRILL);
        }
        tracing::warn!("the drill that has started this process has ended");
        std::process::exit(1);
    };
    if let Err(error) = std::thread::Builder::new().name("outlast-drilled".to_owned()).spawn(look) {
        tracing::warn!(%error, "nobody will notice when the drill ends");
    }
}

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

/// What a runtime's threads are to those that answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Their equals: without it there is nothing to answer with.
    Equal,
    /// It gives way to them, which have all that they need in memory.
    GivesWay,
}

impl Control {
    /// Starts it.
    pub(super) fn start(standing: Standing) -> std::io::Result<Self> {
        let runtime: Runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let run = move || {
            // Threads for what blocks are started by this one, and are as it is.
            if standing == Standing::GivesWay {
                niceness::give_way();
            }
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
