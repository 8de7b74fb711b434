//! What leads packets here: tables of our own, rules of iptables, or nothing.
//!
//! * Tables have elements that expire. What has to be in them does not change with the beat.
//! * Rules of iptables stay as they are, so that they themselves are made when queries may be led here, and deleted when
//!   they may not.
//!
//! Invariant: rules of iptables that lead packets here are deleted until that has succeeded.

use std::net::IpAddr;

use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::Ip;
use super::config::Mode;
use super::iptables::{Iptables, IptablesError, Ports, Which};
use super::layout::Layout;
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

impl RulesError {
    /// Whether nothing is wrong but that what was tried is not wanted any more.
    pub(super) const fn is_interruption(&self) -> bool {
        matches!(self, Self::Iptables(IptablesError::Interrupted(_)))
    }
}

/// The rules of this node.
pub enum Rules {
    /// Tables of our own.
    Nftables(Nft),
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
        Self::Nftables(nft)
    }
}

impl Rules {
    /// Those that are wanted for these addresses, with these ports in rules of iptables; `nft` where the kernel has it.
    ///
    /// # Errors
    /// Neither nftables nor iptables, or not the one that has to be.
    pub fn choose(
        mode: Mode,
        ports: Ports,
        nft: Option<Nft>,
        addresses: &[IpAddr],
    ) -> Result<Self, RulesError> {
        let by_iptables = || Iptables::new(addresses, ports, Which::All);
        let led = |rules| Self::Iptables { rules, made: true };
        match (mode, nft) {
            (Mode::Off, _) => Ok(Self::Off),
            (Mode::Iptables, _) => Ok(led(by_iptables()?)),
            (Mode::Auto | Mode::Nftables, Some(nft)) => Ok(Self::Nftables(nft)),
            (Mode::Nftables, None) => Err(NftError::Absent.into()),
            (Mode::Auto, None) => match by_iptables() {
                Ok(rules) => Ok(led(rules)),
                Err(IptablesError::Missing(program)) => Err(RulesError::Neither(program)),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// No program looks for anything or makes anything once `stop` is cancelled.
    pub fn until(&mut self, stop: CancellationToken) {
        match self {
            Self::Iptables { rules, .. } => rules.until(stop),
            Self::Nftables(_) | Self::Off => {}
        }
    }

    /// What they are.
    pub const fn mode(&self) -> Mode {
        match self {
            Self::Nftables(_) => Mode::Nftables,
            Self::Iptables { .. } => Mode::Iptables,
            Self::Off => Mode::Off,
        }
    }

    /// Those of iptables, if they are.
    pub const fn of_iptables(&self) -> Option<&Iptables> {
        match self {
            Self::Iptables { rules, .. } => Some(rules),
            Self::Nftables(_) | Self::Off => None,
        }
    }

    /// Makes tables that are missing; those that are there are taken over, with what packets have put into their sets.
    /// Rules of iptables are as somebody has left them until [`Self::lead`] or [`Self::withdraw`].
    ///
    /// # Errors
    /// What the kernel or a program refuses.
    pub async fn adopt(&mut self, layout: &Layout) -> Result<(), RulesError> {
        match self {
            Self::Nftables(nft) => match nft.look(layout).await? {
                Found::Whole => tracing::debug!("tables of interception are there"),
                Found::Nothing => nft.install(layout, &[]).await?,
                Found::Differs(pieces) => {
                    tracing::info!(pieces = pieces.len(), "tables of interception are taken over");
                    // Who is live there stays so, if a table has to be made anew.
                    let live = nft.live(layout).await?;
                    nft.mend(layout, &pieces, &live).await?;
                }
            },
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
        Ok(match self {
            Self::Nftables(nft) => match look(nft, layout, live).await? {
                Found::Whole => Vec::new(),
                Found::Differs(pieces) => pieces,
                Found::Nothing => {
                    Ip::ALL.into_iter().filter(|ip| layout.has(*ip)).map(Piece::Table).collect()
                }
            },
            Self::Iptables { rules, .. } if all => {
                rules.missing(live).await?.into_iter().map(Piece::Iptables).collect()
            }
            Self::Iptables { .. } | Self::Off => Vec::new(),
        })
    }

    /// Which addresses are live now; `None` where that is not for an element to say.
    ///
    /// # Errors
    /// A list that cannot be had.
    pub async fn live(&self, layout: &Layout) -> Result<Option<Vec<IpAddr>>, RulesError> {
        match self {
            Self::Nftables(nft) => Ok(Some(nft.live(layout).await?)),
            Self::Iptables { .. } | Self::Off => Ok(None),
        }
    }

    /// Puts these pieces back.
    ///
    /// # Errors
    /// What the kernel or a program refuses.
    pub async fn mend(&self, layout: &Layout, pieces: &[Piece], live: &[IpAddr]) -> Result<(), RulesError> {
        let of_iptables =
            |piece: &Piece| if let Piece::Iptables(address) = piece { Some(*address) } else { None };
        match self {
            Self::Nftables(nft) => Ok(nft.mend(layout, pieces, live).await?),
            Self::Iptables { rules, .. } => {
                let addresses: Vec<_> = pieces.iter().filter_map(of_iptables).collect();
                Ok(rules.make(&addresses).await?)
            }
            Self::Off => Ok(()),
        }
    }

    /// Whether queries for addresses of Services come here only by rules that have to be made first, so that nobody can
    /// tell before whether they are answered.
    pub const fn are_made_to_lead(&self) -> bool {
        matches!(self, Self::Iptables { .. })
    }

    /// Whether rules that lead queries here for as long as they are there may be there.
    pub const fn may_lead(&self) -> bool {
        matches!(self, Self::Iptables { made: true, .. })
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
            Self::Nftables(nft) => nft.withdraw(layout, layout.addresses()).await?,
            Self::Iptables { rules, made } if *made => {
                rules.delete(layout.addresses()).await?;
                *made = false;
            }
            Self::Iptables { .. } | Self::Off => {}
        }
        Ok(())
    }

    /// Leads queries for these addresses elsewhere, which are about to be somebody else's.
    ///
    /// # Errors
    /// What the kernel or a program refuses.
    pub async fn let_go(&self, layout: &Layout, addresses: &[IpAddr]) -> Result<(), RulesError> {
        match self {
            Self::Nftables(nft) => Ok(nft.withdraw(layout, addresses).await?),
            Self::Iptables { rules, .. } => Ok(rules.delete(addresses).await?),
            Self::Off => Ok(()),
        }
    }

    /// From now on they are somebody else's: nobody knows what is there when they are ours again.
    pub const fn leave(&mut self) {
        if let Self::Iptables { made, .. } = self {
            *made = true;
        }
    }

    /// Takes everything away that is ours.
    ///
    /// # Errors
    /// What the kernel or a program refuses.
    pub async fn remove(&mut self, layout: &Layout) -> Result<(), RulesError> {
        match self {
            Self::Nftables(nft) => Ok(nft.remove().await?),
            Self::Iptables { .. } | Self::Off => self.withdraw(layout).await,
        }
    }
}

/// Looks at tables, and for no long time while something lives by beats.
async fn look(nft: &Nft, layout: &Layout, live: &[IpAddr]) -> Result<Found, NftError> {
    if live.is_empty() { nft.look(layout).await } else { nft.look_in_time(layout).await }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_nftables_has_what_was_asked_for_or_nothing() {
        // No address needs no program, so that it is there wherever this runs.
        let ports = Ports { dns: 53, health: 8080 };
        let choose = |mode| Rules::choose(mode, ports, None, &[]).map(|rules| rules.mode());
        assert!(matches!(choose(Mode::Auto), Ok(Mode::Iptables)));
        assert!(matches!(choose(Mode::Iptables), Ok(Mode::Iptables)));
        assert!(matches!(choose(Mode::Off), Ok(Mode::Off)));
        let error = choose(Mode::Nftables).expect_err("there is none");
        assert_eq!(error.to_string(), "the kernel has no nftables");
    }
}
