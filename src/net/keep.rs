//! Has interface, addresses and tables be as they have to be, whatever others do to them.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::layout::{ChainName, Layout, TABLE};
use super::link::{Device, Journal, Kind, LinkError, Links};
use super::metrics::{Measures, SetupError};
use super::nft::NftError;
use super::piece::Piece;
use super::repairs::{Failure, Repairs};
use super::rules::{Rules, RulesError};
use super::watch::Hint;
use crate::ops::switches::{self, Protection};

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

impl Kept {
    /// Of two things.
    const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Whole, Self::Whole) => Self::Whole,
            (Self::Broken, _) | (_, Self::Broken) => Self::Broken,
        }
    }
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
    /// Addresses that were left to others, and are still on our interface.
    leaving: Vec<IpAddr>,
    /// How often the same thing is put back, and what is said of it.
    repairs: Repairs,
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
        let repairs = Repairs::new(measures.clone());
        Self { links, carrier, rules, layout, adopted: false, leaving: Vec::new(), repairs, measures }
    }

    /// No program looks for anything or makes anything once `stop` is cancelled: what is led here is then to be led elsewhere
    /// soon.
    pub fn until(&mut self, stop: CancellationToken) {
        self.rules.until(stop);
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
        self.repairs.counted(adopted)?;
        self.adopted = true;
        Ok(())
    }

    /// From now on tables are somebody else's to keep.
    pub const fn leave(&mut self) {
        self.adopted = false;
        self.rules.leave();
    }

    /// Looks where the hint says, and puts back what is missing, as far as it has its turn; where a table has to be made
    /// anew, these addresses are live in it.
    pub async fn keep(&mut self, now: Instant, at: Hint, live: &[IpAddr]) -> Kept {
        if switches::is_off(Protection::Repair) {
            return Kept::Whole;
        }
        let (links, rules) = match at {
            Hint::Links => (true, false),
            Hint::Rules => (false, true),
            // By programs, which are not run for each event.
            Hint::Iptables => (false, false),
            Hint::Everything => (true, true),
        };
        let links = if links { self.keep_links(now).await } else { Kept::Whole };
        links.and(if rules { self.keep_rules(now, at, live).await } else { Kept::Whole })
    }

    /// Changes something in the layout, and the tables if that says so. What is done is no repair. Before tables are ours
    /// to keep it is only remembered.
    pub async fn change(&mut self, change: impl FnOnce(&mut Layout) -> bool, live: &[IpAddr]) -> Kept {
        if !change(&mut self.layout) {
            return Kept::Whole;
        }
        self.measures.fallback(&self.layout.fallback);
        self.write(live).await
    }

    /// These addresses are ours from now on, and no others. Queries for one that is left out are led elsewhere before it
    /// leaves our tables and our interface; one that comes back is there before anything leads queries to it. What is
    /// done is no repair. `live` are those that are answered at now.
    ///
    /// Where queries cannot be led elsewhere everything is as before: it is to be tried again.
    pub async fn set_addresses(&mut self, addresses: &[IpAddr], live: &[IpAddr]) -> Kept {
        let left = |address: &&IpAddr| !addresses.contains(*address);
        let gone: Vec<_> = self.layout.addresses().iter().filter(left).copied().collect();
        if self.adopted && !gone.is_empty() {
            let let_go = self.rules.let_go(&self.layout, &gone).await;
            if let Err(error) = self.repairs.counted(let_go) {
                if self.repairs.says(Instant::now(), Failure::LetGo) {
                    tracing::warn!(%error, ?gone, "addresses cannot be left to others; trying again");
                }
                return Kept::Broken;
            }
        }
        if !self.layout.set_addresses(addresses) {
            return Kept::Whole;
        }
        let put = self.put_on().await;
        let live: Vec<_> = live.iter().copied().filter(|address| addresses.contains(address)).collect();
        let written = self.write(&live).await;
        self.leaving.extend(gone);
        self.take_off().await;
        put.and(written)
    }

    /// Takes off what was left to others, as far as it did not succeed before. Nothing is broken by what stays.
    async fn take_off(&mut self) {
        let Self { leaving, layout, .. } = self;
        leaving.retain(|address| !layout.addresses().contains(address));
        let Carrier::Ours { device, .. } = &self.carrier else { return };
        if self.leaving.is_empty() {
            return;
        }
        match self.links.take_off(device, &self.leaving).await {
            Ok(()) => self.leaving.clear(),
            Err(error) => {
                if self.repairs.says(Instant::now(), Failure::TakeOff) {
                    let stay = &self.leaving;
                    tracing::warn!(%error, ?stay, "addresses that are left to others stay on our interface; trying again");
                }
            }
        }
    }

    /// Puts all addresses on our interface, which is made anew where it is missing; looks for them where others carry them.
    async fn carry(&mut self) -> Result<(), LinkError> {
        let addresses = self.layout.addresses();
        let Carrier::Ours { name, kind, device } = &mut self.carrier else {
            return self.links.find(addresses).await;
        };
        // What is put back stays when this process ends: it was there before.
        let journal = &mut Journal::default();
        // Remembered whatever becomes of the addresses: they have to be taken off it in the end.
        *device = self.links.device(name, *kind, journal).await?;
        self.links.put_on(device, addresses, journal).await
    }

    /// Puts all addresses on our interface, if there is one.
    async fn put_on(&mut self) -> Kept {
        if self.carrier == Carrier::Others {
            return Kept::Whole;
        }
        match self.carry().await {
            Ok(()) => Kept::Whole,
            Err(error) => {
                self.measures.setup_error(SetupError::InterfaceAdd);
                if self.repairs.says(Instant::now(), Failure::PutOn) {
                    tracing::warn!(%error, "putting addresses on the interface failed; trying again");
                }
                Kept::Broken
            }
        }
    }

    /// Makes the tables as the layout says, with these addresses live.
    async fn write(&mut self, live: &[IpAddr]) -> Kept {
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
                if self.repairs.says(Instant::now(), Failure::Change) {
                    tracing::warn!(%error, "changing the rules of interception failed; trying again");
                }
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
        if pieces.iter().any(|piece| !self.repairs.has_turn(now, piece)) {
            return false;
        }
        let led = self.rules.lead(self.layout.addresses()).await;
        let Err(error) = self.repairs.counted(led) else { return true };
        if !error.is_interruption() {
            self.repairs.done(now, &pieces, &Err(error.to_string()));
        }
        false
    }

    /// The first of our addresses that does not live in our tables; `None` where all do, where nothing has to, and where
    /// it cannot be seen.
    pub async fn dead(&self) -> Option<IpAddr> {
        match self.rules.live(&self.layout).await {
            Ok(Some(live)) => self.layout.addresses().iter().find(|address| !live.contains(address)).copied(),
            Ok(None) => None,
            Err(error) => {
                tracing::debug!(%error, "looking at what lives");
                None
            }
        }
    }

    /// Counts and says that datagrams which renew an address do not come to our tables, so that it does not live.
    pub fn taken(&mut self, now: Instant, address: IpAddr) {
        let why = format!(
            "another chain drops its datagrams before table {TABLE} sees them: look for one at the hook output with a priority \
             below {} (nft list chains)",
            ChainName::Out.base().map_or(0, |base| base.priority().to_i32())
        );
        self.repairs.done(now, &[Piece::Renewal(address)], &Err(why));
    }

    /// Leads queries elsewhere.
    ///
    /// # Errors
    /// What the kernel or a program refuses.
    pub async fn withdraw(&mut self) -> Result<(), RulesError> {
        let withdrawn = self.rules.withdraw(&self.layout).await;
        self.repairs.counted(withdrawn)
    }

    /// Deletes rules that nobody is to be led by: what does not expire is deleted until that has succeeded.
    pub async fn settle(&mut self, now: Instant) {
        let Some(piece) = self.layout.addresses().first().copied().map(Piece::Iptables) else { return };
        if !self.rules.are_made_to_lead() || !self.repairs.has_turn(now, &piece) {
            return;
        }
        if let Err(error) = self.withdraw().await
            && self.repairs.tried(now, piece)
        {
            tracing::warn!(%error, "rules that lead queries here stay; trying again");
        }
    }

    /// Takes everything away that processes of this node have made: for the last one of them.
    pub async fn remove(&mut self) {
        if let Err(error) = self.rules.remove(&self.layout).await {
            tracing::warn!(%error, "rules of interception stay");
        }
        let all = [self.layout.addresses(), &self.leaving].concat();
        if let Carrier::Ours { device, .. } = &self.carrier
            && let Err(error) = self.links.remove(device, &all).await
        {
            tracing::warn!(%error, "addresses stay on the node");
        }
    }

    async fn keep_links(&mut self, now: Instant) -> Kept {
        self.take_off().await;
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
                if self.repairs.says(now, Failure::Links) {
                    tracing::warn!(%error, "looking at the interface of interception failed");
                }
                return Kept::Broken;
            }
        };
        let (due, later) = self.repairs.due(now, missing);
        if due.is_empty() {
            return if later { Kept::Broken } else { Kept::Whole };
        }
        let done = self.carry().await;
        if done.is_err() {
            self.measures.setup_error(SetupError::InterfaceAdd);
        }
        self.mended(now, &due, done.map_err(|e| e.to_string()), later)
    }

    async fn keep_rules(&mut self, now: Instant, at: Hint, live: &[IpAddr]) -> Kept {
        if !self.adopted {
            return Kept::Whole;
        }
        let looked = self.rules.look(&self.layout, live, at == Hint::Everything).await;
        let missing = match self.repairs.counted(looked) {
            Ok(missing) => missing,
            Err(error) if error.is_interruption() => return Kept::Broken,
            Err(error) => {
                if self.repairs.says(now, Failure::Rules) {
                    tracing::warn!(%error, "looking at the rules of interception failed");
                }
                return Kept::Broken;
            }
        };
        let (due, later) = self.repairs.due(now, missing);
        if due.is_empty() {
            return if later { Kept::Broken } else { Kept::Whole };
        }
        let done = self.rules.mend(&self.layout, &due, live).await;
        let done = self.repairs.counted(done);
        if done.as_ref().is_err_and(RulesError::is_interruption) {
            return Kept::Broken;
        }
        self.mended(now, &due, done.map_err(|e| e.to_string()), later)
    }

    /// Counts and says what was done about these pieces, where others have their turn later or have not.
    fn mended(&mut self, now: Instant, pieces: &[Piece], done: Result<(), String>, later: bool) -> Kept {
        self.repairs.done(now, pieces, &done);
        if done.is_err() || later { Kept::Broken } else { Kept::Whole }
    }
}
