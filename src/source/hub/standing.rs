//! What outlives a session: what is asked for, and what was found out about hubs and their data.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::time::Instant;

use super::known::MAX_HUBS;
use super::left::Left;
use super::metrics::HubMetrics;
use super::verify::Verify;
use crate::feed::view::View;
use crate::ops::jitter::Jitter;
use crate::source::{self, Update};
use crate::zone::object::Kinds;

/// For how long a hub that was alarmed about is one to which nobody goes who has a choice: the longest wait between two whole
/// states of it.
const WRONG_FOR: Duration = Duration::from_secs(3600);

/// The hubs that were alarmed about.
#[derive(Debug, Default)]
pub(super) struct WrongHubs(BTreeMap<SocketAddr, Alarmed>);

/// When one of them was last.
#[derive(Debug)]
struct Alarmed {
    /// Its name then, another one each time that it starts.
    name: String,
    at: Instant,
}

impl WrongHubs {
    /// This one is, which had this name.
    pub(super) fn insert(&mut self, hub: SocketAddr, name: String, now: Instant) {
        if self.0.len() >= MAX_HUBS {
            // Of hubs that there were once.
            self.0.clear();
        }
        self.0.insert(hub, Alarmed { name, at: now });
    }

    /// It has vouched for something since, or is another process at the same address.
    pub(super) fn remove(&mut self, hub: SocketAddr) {
        self.0.remove(&hub);
    }

    /// Whether this one is.
    pub(super) fn has(&self, hub: SocketAddr, now: Instant) -> bool {
        self.0.get(&hub).is_some_and(|alarmed| now < alarmed.at + WRONG_FOR)
    }

    /// Whether this one was, and has been started anew since.
    pub(super) fn is_another(&self, hub: SocketAddr, name: &str) -> bool {
        self.0.get(&hub).is_some_and(|alarmed| alarmed.name != name)
    }
}

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
    pub(super) wrong: WrongHubs,
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
