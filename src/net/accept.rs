//! Rules of iptables that let packets to and from our addresses through firewalls, kept beside the beat.
//!
//! A packet that is not tracked belongs to no connection that a firewall could know, and one that drops what it does not
//! know would drop all queries that are led here. The programs that make such rules wait for each other, for seconds at
//! worst (the xtables lock): no element may expire meanwhile.
//!
//! ```text
//! newcomer   looks for the rules, makes none             ── knows: may take the addresses
//! owner      makes what is missing, looks again at times ── were there once: queries may be led here
//! ```
//!
//! Invariants:
//! * Rules are made only while the addresses are ours.
//! * Queries are led here only once the rules were there: until then nothing is lost.
//! * Rules that are lost later withdraw nothing: they are put back, counted and said.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::beside::Cue;
use super::iptables::{Iptables, IptablesError};
use super::metrics::Measures;
use super::piece::Piece;
use super::repairs::Repairs;

/// How soon is tried again what did not succeed, and the least time between two looks that nobody else's turn asks for.
const AGAIN: Duration = Duration::from_secs(1);

/// What is known of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepted {
    /// Nothing: they were not looked for yet.
    Unknown,
    /// Some are missing, and are not ours to make.
    Missing,
    /// They were there at least once.
    There,
}

/// The rules, and who keeps them.
pub struct Accept {
    /// The rules.
    rules: Iptables,
    /// Of these addresses.
    addresses: Vec<IpAddr>,
    /// How often they are looked for.
    look: Duration,
    /// What was done about them.
    repairs: Repairs,
}

/// What a look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looked {
    /// All are there now.
    Whole,
    /// Some are not: they have their turn later, or it failed.
    Broken,
}

impl Accept {
    /// Of these addresses, looked for every `look`.
    pub fn new(rules: Iptables, addresses: &[IpAddr], look: Duration, measures: Arc<Measures>) -> Self {
        Self { rules, addresses: addresses.to_vec(), look, repairs: Repairs::new(measures) }
    }

    /// Nothing is looked for or made once `stop` is cancelled: what is left is to be deleted.
    #[must_use]
    pub fn until(mut self, stop: CancellationToken) -> Self {
        self.rules.until(stop);
        self
    }

    /// Keeps them, and says what is known of them, until nobody gives cues any more.
    pub(super) async fn run(mut self, mut cues: watch::Receiver<Cue>, said: watch::Sender<Accepted>) {
        loop {
            let (owns, began) = (cues.borrow_and_update().owns, Instant::now());
            let mut others = cues.clone();
            let looked = tokio::select! {
                looked = self.look(owns, &said) => Some(looked),
                // Whatever is being made is not ours to make any more.
                _ = others.wait_for(|cue| !cue.owns), if owns => None,
            };
            let pause = match looked {
                Some(Looked::Whole) => self.look,
                Some(Looked::Broken) => AGAIN,
                None => Duration::ZERO,
            };
            // What others change again and again is looked at without hurry; whoever becomes the owner is not kept waiting.
            let mut cued = cues.clone();
            let in_turn = async {
                sleep_until(began + AGAIN).await;
                cued.changed().await
            };
            let goes_on = tokio::select! {
                changed = in_turn => changed.is_ok(),
                changed = others.wait_for(|cue| cue.owns != owns) => changed.is_ok(),
                () = sleep_until(began + pause.max(AGAIN)) => true,
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Looks for the rules, and makes those that are missing where they are ours to make.
    async fn look(&mut self, owns: bool, said: &watch::Sender<Accepted>) -> Looked {
        let now = Instant::now();
        let missing = match self.rules.missing(&self.addresses).await {
            Ok(missing) => missing,
            Err(IptablesError::Interrupted(_)) => return Looked::Broken,
            Err(error) => {
                self.unseen(now, &error);
                return Looked::Broken;
            }
        };
        let were_there = *said.borrow() == Accepted::There;
        if missing.is_empty() {
            said.send_replace(Accepted::There);
            return Looked::Whole;
        }
        if !owns {
            if !were_there {
                said.send_replace(Accepted::Missing);
            }
            return Looked::Whole;
        }
        let (due, later) = self.repairs.due(now, missing.into_iter().map(Piece::Iptables).collect());
        let made = match self.make(&due).await {
            Err(IptablesError::Interrupted(_)) => return Looked::Broken,
            made => made.map_err(|error| error.to_string()),
        };
        // The first time is no repair.
        if were_there || made.is_err() {
            self.repairs.done(Instant::now(), &due, &made);
        }
        if made.is_err() || later {
            return Looked::Broken;
        }
        said.send_replace(Accepted::There);
        Looked::Whole
    }

    /// Makes the rules of these pieces.
    async fn make(&self, pieces: &[Piece]) -> Result<(), IptablesError> {
        let of = |piece: &Piece| if let Piece::Iptables(address) = piece { Some(*address) } else { None };
        let addresses: Vec<_> = pieces.iter().filter_map(of).collect();
        self.rules.make(&addresses).await.inspect_err(|error| self.repairs.complained(error))
    }

    /// They could not be looked for.
    fn unseen(&mut self, now: Instant, error: &IptablesError) {
        self.repairs.complained(error);
        let Some(address) = self.addresses.first() else { return };
        if self.repairs.tried(now, Piece::Iptables(*address)) {
            tracing::warn!(
                %error,
                "looking for the rules that let queries through firewalls failed; trying again"
            );
        }
    }
}
