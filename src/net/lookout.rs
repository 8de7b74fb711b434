//! Looks at what others have on the node, beside the beat: their rules may be so many that a list takes longer than an
//! element lives.
//!
//! At each full look, while the addresses are ours:
//! * who sends packets for Services elsewhere may be another one than at the start, which begins before kube-proxy does;
//! * a node-cache that was killed meanwhile has left rules that lead queries here for ever.
//!
//! Invariant: nothing of ours is changed here. What is seen is said, and who beats does what is to be done about it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::beside::Cue;
use super::detect::{GatherError, Signs};
use super::iptables::Ports;
use super::leftovers::{self, Cleared};
use super::link::Links;
use super::metrics::Measures;
use super::nft::Nft;
use super::pace::{Pace, Say};

/// The least time between two looks, however often they are asked for.
const LEAST: Duration = Duration::from_secs(1);

/// How often is said what is found again and again: a node-cache that lives beside us puts its rules back every minute.
const SAID: Duration = Duration::from_secs(3600);

/// The addresses that can be answered at on a node that looks like this.
pub type Usable = Box<dyn Fn(&Signs) -> Vec<IpAddr> + Send + Sync>;

/// Something that is said of what others have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Matter {
    /// Rules of node-cache were deleted.
    Deleted,
    /// Rules that may be node-cache's.
    Unclear,
    /// Rules could not be seen.
    Unseen,
    /// Interfaces, tables or chains could not be seen.
    Blind,
}

/// Who looks.
pub struct Lookout {
    /// Interfaces and addresses.
    links: Links,
    /// Tables, where queries are led here by our own.
    nft: Option<Nft>,
    /// The addresses that rules may have been left of.
    addresses: Vec<IpAddr>,
    /// The ports in such rules.
    ports: Ports,
    /// Judges what is seen, where that may change something.
    usable: Option<Usable>,
    /// What is counted.
    measures: Arc<Measures>,
    /// How often the same thing is said.
    pace: Pace<Matter>,
}

impl Lookout {
    /// Connects to the network of the calling thread. Without tables of our own, what node-cache has left is in nobody's
    /// way: its rules are ours by their text.
    ///
    /// # Errors
    /// A socket that cannot be had.
    pub async fn connect(
        tables: bool,
        addresses: &[IpAddr],
        ports: Ports,
        measures: Arc<Measures>,
    ) -> Result<Self, GatherError> {
        let links = Links::connect()?;
        let nft = if tables { Some(Nft::connect().await?) } else { None };
        let pace = Pace::with_window(SAID);
        Ok(Self { links, nft, addresses: addresses.to_vec(), ports, usable: None, measures, pace })
    }

    /// Has it say which addresses can be answered at.
    #[must_use]
    pub fn judging(mut self, usable: Usable) -> Self {
        self.usable = Some(usable);
        self
    }

    /// Looks whenever that is asked for, until nobody asks any more.
    pub(super) async fn run(mut self, mut cues: watch::Receiver<Cue>, said: watch::Sender<Vec<IpAddr>>) {
        loop {
            if cues.borrow_and_update().owns {
                self.look_around(&said).await;
                self.clear().await;
                sleep(LEAST).await;
            }
            if cues.changed().await.is_err() {
                return;
            }
        }
    }

    /// Says which addresses can be answered at, by what is on the node now.
    async fn look_around(&mut self, said: &watch::Sender<Vec<IpAddr>>) {
        let Some(usable) = &self.usable else { return };
        match Signs::gather(self.nft.as_ref(), &self.links).await {
            Ok(signs) => {
                let mut usable = usable(&signs);
                usable.sort_unstable();
                said.send_if_modified(|before| {
                    let changed = *before != usable;
                    *before = usable;
                    changed
                });
            }
            Err(error) => {
                if self.says(Matter::Blind).is_some() {
                    tracing::warn!(%error, "looking at who sends packets for Services elsewhere failed; trying again");
                }
            }
        }
    }

    /// Deletes what node-cache has left in tables that iptables made of nftables: it would lead packets here for ever.
    async fn clear(&mut self) {
        let Some(nft) = &self.nft else { return };
        match leftovers::delete(nft, &self.addresses).await {
            Ok(Cleared { deleted, unclear }) => {
                self.deleted(deleted);
                self.unclear(unclear);
            }
            Err(error) => {
                if self.says(Matter::Unseen).is_some() {
                    tracing::warn!(%error, "looking for rules of node-cache failed; trying again");
                }
            }
        }
    }

    /// So many rules of node-cache were deleted.
    fn deleted(&mut self, rules: usize) {
        if rules == 0 {
            return;
        }
        self.measures.leftovers(rules);
        if let Some(times) = self.says(Matter::Deleted) {
            tracing::warn!(
                rules,
                times,
                "node-cache had left rules that lead queries here for ever; they are deleted"
            );
        }
    }

    /// So many may be node-cache's.
    fn unclear(&mut self, rules: usize) {
        if rules > 0 && self.says(Matter::Unclear).is_some() {
            let commands = leftovers::commands(&self.addresses, self.ports, "", leftovers::Comment::None);
            tracing::warn!(
                rules,
                commands,
                "rules without a comment keep queries to our addresses from being tracked: if they are node-cache's from \
                 before 2023, they lead queries here for ever, and these commands delete them"
            );
        }
    }

    /// Whether something is to be said now, and of how many times.
    fn says(&mut self, matter: Matter) -> Option<u32> {
        match self.pace.mended(Instant::now(), matter) {
            Say::First => Some(1),
            Say::Again(times) => Some(times),
            Say::Nothing => None,
        }
    }
}
