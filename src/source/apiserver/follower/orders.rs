//! What is asked of followers from outside.

use tokio::sync::watch;

use crate::source::command::Why;
use crate::zone::object::{Kind, Kinds};

/// What is asked of the followers of all kinds.
#[derive(Debug, Default)]
pub(in crate::source::apiserver) struct Orders([watch::Sender<Option<Why>>; Kind::ALL.len()]);

/// What is asked of one follower.
#[derive(Debug)]
pub(super) struct Asked(watch::Receiver<Option<Why>>);

impl Orders {
    /// Asks for whole lists. Of several that are asked for before one begins, one is made.
    pub(in crate::source::apiserver) fn relist(&self, kinds: Kinds, why: Why) {
        for kind in kinds.iter() {
            self.0[kind.index()].send_replace(Some(why));
        }
    }

    /// What is asked of the follower of `kind` from now on.
    pub(super) fn to(&self, kind: Kind) -> Asked {
        Asked(self.0[kind.index()].subscribe())
    }
}

impl Asked {
    /// Why a list is asked for, once it is. Cancel-safe.
    pub(super) async fn relist(&mut self) -> Why {
        while self.0.changed().await.is_ok() {
            if let Some(why) = *self.0.borrow_and_update() {
                return why;
            }
        }
        // Whoever could ask has gone.
        std::future::pending().await
    }

    /// A list begins: whoever asked for one gets it.
    pub(super) fn answered(&mut self) {
        self.0.mark_unchanged();
    }
}
