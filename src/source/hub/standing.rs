//! What outlives a session: what is asked for, and what was found out about hubs and their data.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use tokio::sync::mpsc::Sender;

use super::known::MAX_HUBS;
use super::left::Left;
use super::metrics::HubMetrics;
use super::verify::Verify;
use crate::feed::view::View;
use crate::ops::jitter::Jitter;
use crate::source::{self, Update};
use crate::zone::object::Kinds;

/// What outlives a session.
pub(super) struct Standing {
    /// Name of this follower.
    pub(super) name: String,
    /// What is asked for.
    pub(super) view: View,
    /// Whether labels are needed.
    pub(super) labels: bool,
    /// What is known of the digests.
    pub(super) verify: Verify,
    /// The hubs that were alarmed about, and have not vouched for anything since.
    pub(super) wrong: BTreeSet<SocketAddr>,
    /// The kinds that had a hub's digest, and have not changed since.
    pub(super) confirmed: Kinds,
    /// uid of a cluster that was refused.
    pub(super) refused: Option<String>,
    /// uid of a cluster that an operator has accepted.
    pub(super) accepted: Option<String>,
    /// What the store was told last of who is followed.
    pub(super) link: source::Link,
    /// What is counted.
    pub(super) metrics: HubMetrics,
    /// For pings and moves.
    pub(super) jitter: Jitter,
}

impl Standing {
    /// An operator accepts the cluster that was refused, if one was.
    pub(super) fn accept(&mut self) -> bool {
        let Some(uid) = self.refused.take() else { return false };
        tracing::warn!(cluster_uid = %uid, "another cluster is accepted");
        self.accepted = Some(uid);
        true
    }

    /// A hub was alarmed about.
    pub(super) fn is_wrong(&mut self, hub: SocketAddr) {
        if self.wrong.len() >= MAX_HUBS {
            // Of hubs that there were once.
            self.wrong.clear();
        }
        self.wrong.insert(hub);
    }

    /// Tells the store who is followed and what is known of them, if that changes.
    pub(super) async fn tell(
        &mut self,
        updates: &Sender<Update>,
        change: impl FnOnce(&mut source::Link),
    ) -> Result<(), Left> {
        let before = self.link.clone();
        change(&mut self.link);
        if self.link == before {
            return Ok(());
        }
        updates.send(Update::Link(self.link.clone())).await.map_err(|_| Left::Gone)
    }
}
