//! What leads packets here: tables of our own, rules of iptables, or nothing.
//!
//! * Tables have elements that expire. What has to be in them does not change with the beat.
//! * Rules of iptables stay as they are, so that they themselves are made when queries may be led here, and deleted when
//!   they may not.
//!
//! Invariant: rules of iptables that lead packets here are deleted until that has succeeded.

use std::net::IpAddr;

use thiserror::Error;

use super::Ip;
use super::config::{HEALTH_PORT, Mode};
use super::iptables::{Iptables, IptablesError, Ports, Which};
use super::layout::Layout;
use super::leftovers;
use super::nft::{Found, Nft, NftError};
use super::piece::Piece;

/// What is wrong with rules.
#[derive(Debug, Error)]
pub enum RulesError {
    /// With our tables.
    #[error(transparent)]
    Tables(#[from] NftError),
    /// With those of iptables.
    #[error(transparent)]
    Iptables(#[from] IptablesError),
    /// There is neither.
    #[error(
        "the kernel has no nftables, and there is no program {0}: nothing can lead queries here (--rules off only puts the \
         addresses on the node)"
    )]
    Neither(&'static str),
}

/// The rules of this node.
pub enum Rules {
    /// Tables of our own.
    Nftables {
        /// The tables.
        nft: Nft,
        /// Rules that let their packets through firewalls of iptables, if they are wanted.
        accept: Option<Iptables>,
        /// The ports in rules of iptables, also in those that node-cache has left.
        ports: Ports,
    },
    /// Rules of iptables.
    Iptables {
        /// The rules.
        rules: Iptables,
        /// Whether some may be there: somebody before us may have left them.
        made: bool,
    },
    /// None: addresses only.
    Off,
}

impl From<Nft> for Rules {
    fn from(nft: Nft) -> Self {
        Self::Nftables { nft, accept: None, ports: Ports { dns: 53, health: HEALTH_PORT } }
    }
}

/// What is wanted of them.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Which.
    pub mode: Mode,
    /// Whether packets are to be let through firewalls of iptables.
    pub accept: bool,
    /// The ports in rules of iptables.
    pub ports: Ports,
}

impl Rules {
    /// Those that are wanted for these addresses; `nft` where the kernel has it.
    ///
    /// # Errors
    /// Neither nftables nor iptables, or not the one that has to be.
    pub fn choose(wanted: Wanted, nft: Option<Nft>, addresses: &[IpAddr]) -> Result<Self, RulesError> {
        let by_iptables = |which| Iptables::new(addresses, wanted.ports, which);
        let led = |rules| Self::Iptables { rules, made: true };
        match (wanted.mode, nft) {
            (Mode::Off, _) => Ok(Self::Off),
            (Mode::Iptables, _) => Ok(led(by_iptables(Which::All)?)),
            (Mode::Auto | Mode::Nftables, Some(nft)) => {
                let accept = wanted.accept.then(|| by_iptables(Which::Accepting)).transpose()?;
                Ok(Self::Nftables { nft, accept, ports: wanted.ports })
            }
            (Mode::Nftables, None) => Err(NftError::Absent.into()),
            (Mode::Auto, None) => match by_iptables(Which::All) {
                Ok(rules) => Ok(led(rules)),
                Err(IptablesError::Missing(program)) => Err(RulesError::Neither(program)),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// What they are.
    pub const fn mode(&self) -> Mode {
        match self {
            Self::Nftables { .. } => Mode::Nftables,
            Self::Iptables { .. } => Mode::Iptables,
            Self::Off => Mode::Off,
        }
    }

    /// Makes tables that are missing; those that are there are taken over, with what packets have put into their sets.
    /// Rules of iptables are as somebody has left them until [`Self::lead`] or [`Self::withdraw`].
    ///
    /// # Errors
    /// What the kernel or a program refuses.
    pub async fn adopt(&mut self, layout: &Layout) -> Result<(), RulesError> {
        match self {
            Self::Nftables { nft, accept, .. } => {
                match nft.look(layout).await? {
                    Found::Whole => tracing::debug!("tables of interception are there"),
                    Found::Nothing => nft.install(layout, &[]).await?,
                    Found::Differs(pieces) => {
                        tracing::info!(pieces = pieces.len(), "tables of interception are taken over");
                        // Who is live there stays so, if a table has to be made anew.
                        let live = nft.live(layout).await?;
                        nft.mend(layout, &pieces, &live).await?;
                    }
                }
                if let Some(accept) = accept {
                    accept.make(layout.addresses()).await?;
                }
            }
            Self::Iptables { made, .. } => *made = true,
            Self::Off => {}
        }
        Ok(())
    }

    /// What is missing while these addresses are live. Programs are only asked where `all` is looked at.
    ///
    /// # Errors
    /// A list that cannot be had.
    pub async fn look(&self, layout: &Layout, live: &[IpAddr], all: bool) -> Result<Vec<Piece>, RulesError> {
        let (mut missing, by_iptables) = match self {
            Self::Nftables { nft, accept, .. } => {
                let missing = match nft.look(layout).await? {
                    Found::Whole => Vec::new(),
                    Found::Differs(pieces) => pieces,
                    Found::Nothing => {
                        Ip::ALL.into_iter().filter(|ip| layout.has(*ip)).map(Piece::Table).collect()
                    }
                };
                (missing, accept.as_ref().map(|accept| (accept, layout.addresses())))
            }
            Self::Iptables { rules, .. } => (Vec::new(), Some((rules, live))),
            Self::Off => (Vec::new(), None),
        };
        if let Some((rules, addresses)) = by_iptables.filter(|_| all) {
            missing.extend(rules.missing(addresses).await?.into_iter().map(Piece::Iptables));
        }
        Ok(missing)
    }

    /// Puts these pieces back.
    ///
    /// # Errors
    /// What the kernel or a program refuses.
    pub async fn mend(&self, layout: &Layout, pieces: &[Piece], live: &[IpAddr]) -> Result<(), RulesError> {
        let of_iptables =
            |piece: &Piece| if let Piece::Iptables(address) = piece { Some(*address) } else { None };
        let addresses: Vec<_> = pieces.iter().filter_map(of_iptables).collect();
        let by_iptables = match self {
            Self::Nftables { nft, accept, .. } => {
                nft.mend(layout, pieces, live).await?;
                accept.as_ref()
            }
            Self::Iptables { rules, .. } => Some(rules),
            Self::Off => None,
        };
        match by_iptables {
            Some(rules) if !addresses.is_empty() => Ok(rules.make(&addresses).await?),
            _ => Ok(()),
        }
    }

    /// Whether queries for addresses of Services come here only by rules that have to be made first, so that nobody can
    /// tell before whether they are answered.
    pub const fn are_made_to_lead(&self) -> bool {
        matches!(self, Self::Iptables { .. })
    }

    /// Leads queries for these addresses here, as far as a rule has to be made for it.
    ///
    /// # Errors
    /// What a program complains of.
    pub async fn lead(&mut self, addresses: &[IpAddr]) -> Result<(), RulesError> {
        let Self::Iptables { rules, made } = self else { return Ok(()) };
        *made = true;
        Ok(rules.make(addresses).await?)
    }

    /// Leads them elsewhere. Rules that are gone already are not looked for again.
    ///
    /// # Errors
    /// What the kernel or a program refuses.
    pub async fn withdraw(&mut self, layout: &Layout) -> Result<(), RulesError> {
        match self {
            Self::Nftables { nft, .. } => nft.withdraw(layout, layout.addresses()).await?,
            Self::Iptables { rules, made } if *made => {
                rules.delete(layout.addresses()).await?;
                *made = false;
            }
            Self::Iptables { .. } | Self::Off => {}
        }
        Ok(())
    }

    /// From now on they are somebody else's: nobody knows what is there when they are ours again.
    pub const fn leave(&mut self) {
        if let Self::Iptables { made, .. } = self {
            *made = true;
        }
    }

    /// Deletes what node-cache has left of these addresses, where that would be in the way; how many rules it was.
    ///
    /// # Errors
    /// A list that cannot be had, or what the kernel refuses.
    pub async fn clear(&self, addresses: &[IpAddr]) -> Result<usize, RulesError> {
        match self {
            Self::Nftables { nft, ports, .. } => Ok(leftovers::delete(nft, addresses, *ports).await?),
            // Its rules are ours by their text.
            Self::Iptables { .. } | Self::Off => Ok(0),
        }
    }

    /// Takes everything away that is ours.
    ///
    /// # Errors
    /// What the kernel or a program refuses.
    pub async fn remove(&mut self, layout: &Layout) -> Result<(), RulesError> {
        match self {
            Self::Nftables { nft, accept, .. } => {
                let removed = nft.remove().await;
                if let Some(accept) = accept {
                    accept.delete(layout.addresses()).await?;
                }
                Ok(removed?)
            }
            Self::Iptables { .. } | Self::Off => self.withdraw(layout).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(mode: Mode) -> Wanted {
        Wanted { mode, accept: false, ports: Ports { dns: 53, health: 8080 } }
    }

    #[test]
    fn a_kernel_without_nftables_has_what_was_asked_for_or_nothing() {
        // No address needs no program, so that it is there wherever this runs.
        let choose = |mode| Rules::choose(wanted(mode), None, &[]).map(|rules| rules.mode());
        assert!(matches!(choose(Mode::Auto), Ok(Mode::Iptables)));
        assert!(matches!(choose(Mode::Iptables), Ok(Mode::Iptables)));
        assert!(matches!(choose(Mode::Off), Ok(Mode::Off)));
        let error = choose(Mode::Nftables).expect_err("there is none");
        assert_eq!(error.to_string(), "the kernel has no nftables");
    }
}
