//! Has interface, addresses and tables be as they have to be, whatever others do to them.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::iptables::IptablesError;
use super::layout::Layout;
use super::link::{Device, Journal, Kind, LinkError, Links};
use super::metrics::{Measures, SetupError};
use super::nft::NftError;
use super::pace::{Pace, Say, Turn};
use super::piece::Piece;
use super::rules::{Rules, RulesError};
use super::watch::Hint;

/// Who puts addresses on the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// We do.
    Ours {
        /// The name that the interface should have.
        name: String,
        /// Its kind.
        kind: Kind,
        /// The interface that carries them.
        device: Device,
    },
    /// Somebody else does: they have to be there.
    Others,
}

/// How things are after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// As they have to be.
    Whole,
    /// Something is missing, and could not be put back or has its turn later.
    Broken,
}

/// What keeps them.
pub struct Keeper {
    /// Links and addresses.
    links: Links,
    /// Who carries the addresses.
    carrier: Carrier,
    /// What leads packets here.
    rules: Rules,
    /// What has to be in our tables, and all that rules of iptables need of it.
    layout: Layout,
    /// Whether they are ours to keep.
    adopted: bool,
    /// How often the same thing is put back.
    pace: Pace<Piece>,
    /// What is counted.
    measures: Arc<Measures>,
}

impl Keeper {
    /// One that has what `links` has set up, and these rules.
    pub fn new(
        links: Links,
        carrier: Carrier,
        rules: impl Into<Rules>,
        layout: Layout,
        measures: Arc<Measures>,
    ) -> Self {
        let rules = rules.into();
        Self { links, carrier, rules, layout, adopted: false, pace: Pace::new(), measures }
    }

    /// What leads packets here.
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What has to be in the tables.
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The name of the interface that carries the addresses, if that is ours to say.
    pub fn interface(&self) -> Option<&str> {
        match &self.carrier {
            Carrier::Ours { device, .. } => Some(&device.name),
            Carrier::Others => None,
        }
    }

    /// Whether tables are ours to keep.
    pub const fn has_adopted(&self) -> bool {
        self.adopted
    }

    /// From now on rules are ours to keep: tables that are there are taken over, with what packets have put into their
    /// sets, and what is missing is made. No repair, whatever there was to do.
    ///
    /// # Errors
    /// What the kernel or a program refuses.
    pub async fn adopt(&mut self) -> Result<(), RulesError> {
        let mut adopted = self.rules.adopt(&self.layout).await;
        if let Err(RulesError::Tables(NftError::Unsupported(_))) = adopted
            && self.layout.forgets()
        {
            tracing::warn!(
                "this kernel is older than 5.4: a client whose port comes again may lose a connection"
            );
            self.layout.forget_nothing();
            adopted = self.rules.adopt(&self.layout).await;
        }
        self.count(adopted)?;
        self.adopted = true;
        Ok(())
    }

    /// From now on tables are somebody else's to keep.
    pub const fn leave(&mut self) {
        self.adopted = false;
        self.rules.leave();
    }

    /// Deletes what node-cache has left in tables that iptables made of nftables: it would lead packets here for ever. False
    /// where that could not be seen.
    pub async fn clear(&self) -> bool {
        match self.rules.clear(self.layout.addresses()).await {
            Ok(0) => true,
            Ok(rules) => {
                self.measures.leftovers(rules);
                tracing::warn!(
                    rules,
                    "node-cache had left rules that lead queries here for ever; they are deleted"
                );
                true
            }
            Err(error) => {
                tracing::warn!(%error, "looking for rules of node-cache failed; trying again");
                false
            }
        }
    }

    /// Looks where the hint says, and puts back what is missing, as far as it has its turn; where a table has to be made
    /// anew, these addresses are live in it.
    pub async fn keep(&mut self, now: Instant, at: Hint, live: &[IpAddr]) -> Kept {
        let mut kept = Kept::Whole;
        if matches!(at, Hint::Links | Hint::Everything) && self.keep_links(now).await == Kept::Broken {
            kept = Kept::Broken;
        }
        if matches!(at, Hint::Rules | Hint::Everything)
            && self.keep_rules(now, at, live).await == Kept::Broken
        {
            kept = Kept::Broken;
        }
        kept
    }

    /// Tables for what has changed in the layout: a set of addresses, or where queries go without us. What is done is
    /// no repair. Before tables are ours to keep it is only remembered.
    pub async fn change(&mut self, change: impl FnOnce(&mut Layout), live: &[IpAddr]) -> Kept {
        change(&mut self.layout);
        self.measures.fallback(&self.layout.fallback);
        if !self.adopted {
            return Kept::Whole;
        }
        let done = match self.rules.look(&self.layout, live, false).await {
            Ok(pieces) if pieces.is_empty() => Ok(()),
            Ok(pieces) => self.rules.mend(&self.layout, &pieces, live).await,
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => Kept::Whole,
            Err(error) => {
                tracing::warn!(%error, "changing the rules of interception failed; trying again");
                Kept::Broken
            }
        }
    }

    /// Leads queries here, where elements that live are not enough; whether they are led here.
    pub async fn lead(&mut self, now: Instant) -> bool {
        if !self.rules.are_made_to_lead() {
            return true;
        }
        let pieces: Vec<_> = self.layout.addresses().iter().copied().map(Piece::Iptables).collect();
        if pieces.iter().any(|piece| self.pace.turn(now, piece) != Turn::Now) {
            return false;
        }
        let led = self.rules.lead(self.layout.addresses()).await;
        let Err(error) = self.count(led) else { return true };
        self.say(now, &pieces, Err(error.to_string()), false);
        false
    }

    /// Leads queries elsewhere.
    ///
    /// # Errors
    /// What the kernel or a program refuses.
    pub async fn withdraw(&mut self) -> Result<(), RulesError> {
        let withdrawn = self.rules.withdraw(&self.layout).await;
        self.count(withdrawn)
    }

    /// Deletes rules that nobody is to be led by: what does not expire is deleted until that has succeeded.
    pub async fn settle(&mut self, now: Instant) {
        let Some(piece) = self.layout.addresses().first().copied().map(Piece::Iptables) else { return };
        if !self.rules.are_made_to_lead() || self.pace.turn(now, &piece) != Turn::Now {
            return;
        }
        if let Err(error) = self.withdraw().await
            && self.pace.mended(now, piece) != Say::Nothing
        {
            tracing::warn!(%error, "rules that lead queries here stay; trying again");
        }
    }

    /// Takes everything away that processes of this node have made: for the last one of them.
    pub async fn remove(&mut self) {
        if let Err(error) = self.rules.remove(&self.layout).await {
            tracing::warn!(%error, "rules of interception stay");
        }
        if let Carrier::Ours { device, .. } = &self.carrier
            && let Err(error) = self.links.remove(device, self.layout.addresses()).await
        {
            tracing::warn!(%error, "addresses stay on the node");
        }
    }

    async fn keep_links(&mut self, now: Instant) -> Kept {
        let addresses = self.layout.addresses();
        let missing = match &self.carrier {
            Carrier::Ours { device, .. } => self.links.look(&device.name, addresses).await,
            Carrier::Others => match self.links.find(addresses).await {
                Err(LinkError::Missing(address)) => Ok(vec![Piece::Address(address)]),
                found => found.map(|()| Vec::new()),
            },
        };
        let missing = match missing {
            Ok(missing) => missing,
            Err(error) => {
                self.measures.setup_error(SetupError::InterfaceCheck);
                tracing::warn!(%error, "looking at the interface of interception failed");
                return Kept::Broken;
            }
        };
        let (due, later) = self.due(now, missing);
        if due.is_empty() {
            return if later { Kept::Broken } else { Kept::Whole };
        }
        let done = match &mut self.carrier {
            Carrier::Ours { name, kind, device } => {
                // What is put back stays when this process ends: it was there before.
                let journal = &mut Journal::default();
                let done = self.links.set_up(name, *kind, self.layout.addresses(), journal).await;
                done.map(|now| *device = now)
            }
            Carrier::Others => self.links.find(self.layout.addresses()).await,
        };
        if done.is_err() {
            self.measures.setup_error(SetupError::InterfaceAdd);
        }
        self.say(now, &due, done.map_err(|e| e.to_string()), later)
    }

    async fn keep_rules(&mut self, now: Instant, at: Hint, live: &[IpAddr]) -> Kept {
        if !self.adopted {
            return Kept::Whole;
        }
        let looked = self.rules.look(&self.layout, live, at == Hint::Everything).await;
        let missing = match self.count(looked) {
            Ok(missing) => missing,
            Err(error) => {
                tracing::warn!(%error, "looking at the rules of interception failed");
                return Kept::Broken;
            }
        };
        let (due, later) = self.due(now, missing);
        if due.is_empty() {
            return if later { Kept::Broken } else { Kept::Whole };
        }
        let done = self.rules.mend(&self.layout, &due, live).await;
        let done = self.count(done);
        self.say(now, &due, done.map_err(|e| e.to_string()), later)
    }

    /// Counts what a program complained of, as node-cache counts it.
    fn count<T>(&self, done: Result<T, RulesError>) -> Result<T, RulesError> {
        match &done {
            Err(RulesError::Iptables(IptablesError::Locked(_))) => {
                self.measures.setup_error(SetupError::IptablesLock);
            }
            Err(RulesError::Iptables(_)) => self.measures.setup_error(SetupError::Iptables),
            Ok(_) | Err(RulesError::Tables(_) | RulesError::Neither(_)) => {}
        }
        done
    }

    /// Those that have their turn, and whether there are others.
    fn due(&self, now: Instant, missing: Vec<Piece>) -> (Vec<Piece>, bool) {
        let all = missing.len();
        let due: Vec<_> =
            missing.into_iter().filter(|piece| self.pace.turn(now, piece) == Turn::Now).collect();
        let later = due.len() < all;
        (due, later)
    }

    /// Counts and says what was done about these pieces.
    fn say(&mut self, now: Instant, pieces: &[Piece], done: Result<(), String>, later: bool) -> Kept {
        for piece in pieces {
            match &done {
                Ok(()) => self.measures.mended(piece),
                Err(_) => self.measures.failed(piece),
            }
            let times = match self.pace.mended(now, *piece) {
                Say::Nothing => continue,
                Say::First => 1,
                Say::Again(times) => times,
            };
            match &done {
                Ok(()) => tracing::warn!(what = %piece, times, "somebody took it away, put back"),
                Err(error) => tracing::error!(what = %piece, times, error, "missing, and cannot be put back"),
            }
        }
        if done.is_err() || later { Kept::Broken } else { Kept::Whole }
    }
}
