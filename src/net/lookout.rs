//! Looks for what node-cache has left on the node, beside the beat: rules of others may be so many that a list takes longer
//! than an element lives.
//!
//! At each full look, while the addresses are ours: a node-cache that was killed meanwhile has left rules that lead queries
//! here for ever.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::beside::Cue;
use super::iptables::Ports;
use super::iptables::rows::{FILTER, RAW};
use super::leftovers::{self, Cleared};
use super::metrics::Measures;
use super::nft::{Nft, NftError};
use super::pace::{Pace, Say};

/// The least time between two looks, however often they are asked for.
pub(super) const LEAST: Duration = Duration::from_secs(1);

/// How often is said what is found again and again: a node-cache that lives beside us puts its rules back every minute.
const SAID: Duration = Duration::from_secs(3600);

/// Something that is said of what others have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Matter {
    /// Rules of node-cache were deleted.
    Deleted,
    /// Rules that may be node-cache's.
    Unclear,
    /// Rules could not be seen.
    Unseen,
}

/// Who looks.
pub struct Lookout {
    /// Tables.
    nft: Nft,
    /// The addresses that rules may have been left of.
    addresses: Vec<IpAddr>,
    /// The ports in such rules.
    ports: Ports,
    /// The tables of iptables in which such rules are nobody's but node-cache's.
    tables: &'static [&'static str],
    /// What is counted.
    measures: Arc<Measures>,
    /// How often the same thing is said.
    pace: Pace<Matter>,
}

impl Lookout {
    /// Connects to the network of the calling thread, for addresses that queries are led to by tables of our own. Otherwise
    /// what node-cache has left is in nobody's way: its rules are ours by their text.
    ///
    /// # Errors
    /// A socket that cannot be had.
    pub async fn connect(
        addresses: &[IpAddr],
        ports: Ports,
        measures: Arc<Measures>,
    ) -> Result<Self, NftError> {
        let (nft, pace) = (Nft::connect().await?, Pace::with_window(SAID));
        let tables = &[RAW, FILTER];
        Ok(Self { nft, addresses: addresses.to_vec(), ports, tables, measures, pace })
    }

    /// Leaves those that let packets through firewalls: they lead nothing here, and this process keeps such rules of its
    /// own, whose text is node-cache's.
    #[must_use]
    pub const fn beside_accepting_rules(mut self) -> Self {
        self.tables = &[RAW];
        self
    }

    /// Looks whenever that is asked for, until nobody asks any more.
    pub(super) async fn run(mut self, mut cues: watch::Receiver<Cue>) {
        loop {
            if cues.borrow_and_update().owns {
                self.clear().await;
                sleep(LEAST).await;
            }
            if cues.changed().await.is_err() {
                return;
            }
        }
    }

    /// Deletes what node-cache has left in tables that iptables made of nftables: it would lead packets here for ever.
    async fn clear(&mut self) {
        match leftovers::delete(&self.nft, &self.addresses, self.tables).await {
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
