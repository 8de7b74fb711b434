//! Whether this process owns what processes of a node share: addresses, rules, the folder of snapshots.
//!
//! Two may run side by side for a while, the old one and its successor. One of them owns these things at any time, and
//! the other one leaves them alone. [`Ownership`] is what parts of a process hear of it, `claim` is how processes agree.

mod claim;

pub use claim::{Claim, LONGEST_END, OwnershipError};

use std::sync::Arc;

use tokio::sync::watch;

use self::claim::Presence;

/// Whether it is ours; clones share it.
#[derive(Clone, Debug)]
pub struct Ownership {
    /// Says so; `None` where nothing is shared.
    owned: Option<watch::Receiver<bool>>,
    /// Who else is there; `None` where nobody can be.
    presence: Option<Arc<Presence>>,
}

impl Ownership {
    /// Of a process that shares nothing.
    pub const fn always() -> Self {
        Self { owned: None, presence: None }
    }

    /// As `owned` says, and no longer once nobody can say so; nobody else is there.
    pub const fn of(owned: watch::Receiver<bool>) -> Self {
        Self { owned: Some(owned), presence: None }
    }

    /// As a claim says.
    const fn claimed(owned: watch::Receiver<bool>, presence: Arc<Presence>) -> Self {
        Self { owned: Some(owned), presence: Some(presence) }
    }

    /// Whether it is ours now.
    pub fn is_ours(&self) -> bool {
        self.owned.as_ref().is_none_or(|owned| *owned.borrow() && owned.has_changed().is_ok())
    }

    /// Whether no other process of the node is there to share anything with. Blocks for some milliseconds where others ask
    /// the same.
    pub fn is_alone(&self) -> bool {
        self.presence.as_ref().is_none_or(|presence| presence.is_alone(false))
    }

    /// Waits until [`Self::is_ours`] may be different.
    pub async fn changed(&mut self) {
        let changed = match &mut self.owned {
            Some(owned) => owned.changed().await.is_ok(),
            None => false,
        };
        if !changed {
            // Nobody will say anything more.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn it_is_ours_as_long_as_somebody_says_so() {
        let (say, owned) = watch::channel(false);
        let mut ownership = Ownership::of(owned);
        assert!(!ownership.is_ours());
        say.send(true).unwrap();
        assert!(ownership.is_ours());
        assert!(ownership.changed().now_or_never().is_some());
        assert!(ownership.changed().now_or_never().is_none(), "nothing new");
        let copy = ownership.clone();
        drop(say);
        assert!(!ownership.is_ours() && !copy.is_ours(), "nobody can say so any more");
        assert!(ownership.changed().now_or_never().is_none());
    }

    #[test]
    fn a_process_that_shares_nothing_owns_it_for_good() {
        let mut ownership = Ownership::always();
        assert!(ownership.is_ours() && ownership.is_alone());
        assert!(ownership.changed().now_or_never().is_none());
    }
}
