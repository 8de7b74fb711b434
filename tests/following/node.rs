//! A node without sockets that follows the stand-in.

use std::path::Path;
use std::sync::Arc;

use outlast::drill::memory::node::{Follows, MemoryNode, Setting};
use outlast::drill::standin::Standin;
use outlast::ops::jitter::Jitter;
use outlast::snapshot::disk::Disk;
use tokio::time::Instant;

use super::unwired::clock;

/// Where its snapshots are, on a disk of their own.
pub(super) const SNAPSHOTS: &str = "/snapshots";

/// Starts a node with its kubeconfig in `dir` and its snapshots on `disk`, in a test that began at `origin`.
pub(super) fn start(
    dir: &Path,
    disk: Arc<dyn Disk>,
    origin: Instant,
    standin: &Standin,
    jitter: Jitter,
) -> MemoryNode {
    let corefile = format!(
        ".:0 {{\nkubernetes cluster.local in-addr.arpa {{\nkubeconfig {}/kubeconfig\nsnapshot {SNAPSHOTS}\n\
         pods verified\nguard off\n}}\n}}\n",
        dir.display()
    );
    let setting = Setting { corefile: &corefile, disk, clock: clock(origin), jitter };
    MemoryNode::start(setting, Follows::ApiServer(standin.dial())).unwrap()
}
