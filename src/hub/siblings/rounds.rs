//! Going round: every sibling is met every few seconds.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{Family, Heard};
use crate::ops::jitter::Jitter;
use crate::source::hub::meet::{Acquaintance, Meetings};

/// Between two meetings with one sibling.
const MEET_EVERY: Duration = Duration::from_secs(5);

/// By what part of it that varies.
const SWING: f64 = 0.2;

/// An address that has led to ourselves may lead to somebody else, where it is a service's.
const OURSELVES_EVERY: Duration = Duration::from_secs(60);

/// So many siblings are met: a cluster has two or three, and replaces them one by one.
const MAX_MET: usize = 16;

/// Meets siblings.
pub(in crate::hub) struct Rounds {
    /// What is known of them.
    pub(in crate::hub) family: Arc<Family>,
    /// Makes connections.
    pub(in crate::hub) meetings: Meetings,
    /// Our own addresses.
    pub(in crate::hub) own: Vec<SocketAddr>,
    /// Every hub that is known, ourselves among them.
    pub(in crate::hub) hubs: watch::Receiver<Arc<[SocketAddr]>>,
    /// Spreads meetings.
    pub(in crate::hub) jitter: Jitter,
}

impl Rounds {
    /// Goes on until `stop`.
    pub(in crate::hub) async fn run(mut self, stop: CancellationToken) {
        let mut met: HashMap<SocketAddr, AbortOnDropHandle<()>> = HashMap::new();
        loop {
            let all = self.hubs.borrow_and_update().clone();
            let siblings: Vec<_> =
                all.iter().copied().filter(|hub| !self.own.contains(hub)).take(MAX_MET).collect();
            met.retain(|hub, _| siblings.contains(hub));
            self.family.keep(&siblings);
            for hub in siblings {
                met.entry(hub).or_insert_with(|| {
                    let (family, jitter) = (self.family.clone(), self.jitter.fork());
                    let to = self.meetings.with(hub);
                    AbortOnDropHandle::new(tokio::spawn(keep_meeting(hub, to, family, jitter)))
                });
            }
            match stop.run_until_cancelled(self.hubs.changed()).await {
                Some(Ok(())) => {}
                Some(Err(_)) | None => return,
            }
        }
    }
}

/// Meets one sibling again and again.
async fn keep_meeting(hub: SocketAddr, mut to: Acquaintance, family: Arc<Family>, jitter: Jitter) {
    let mut known = Vec::new();
    // Hubs that start together do not all speak at once.
    tokio::time::sleep(jitter.full(MEET_EVERY / 5)).await;
    loop {
        let every = match to.meet(family.greeting(&known)).await {
            Ok(greeting) => {
                known.clone_from(&greeting.known);
                match family.hear(Some(hub), greeting).await {
                    Heard::Sibling => MEET_EVERY,
                    Heard::Ourselves => OURSELVES_EVERY,
                }
            }
            Err(why) => {
                // Another one may answer next.
                known = Vec::new();
                family.missed(hub, why);
                MEET_EVERY
            }
        };
        tokio::time::sleep(jitter.spread(every, SWING)).await;
    }
}
