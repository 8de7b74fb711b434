//! What is done beside the beat, on tasks of its own: programs and lists of others' rules may take longer than an
//! element lives.
//!
//! ```text
//! beat ── whose the addresses are, and that there was a full look ──> tasks
//! beat <── may queries be led here yet? which addresses can be? ───── tasks
//! ```
//!
//! Both ways only the last word counts, so that nobody waits for anybody and nothing piles up.
//!
//! Invariant: what tasks find out later never withdraws anything by itself.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use super::accept::{Accept, Accepted};
use super::around::Around;
use super::iptables::poll::Poll;
use super::lookout::Lookout;

/// What tasks are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cue {
    /// Whether the addresses are ours.
    pub(super) owns: bool,
    /// How often everything was looked at, or something of ours was found changed.
    pub(super) looks: u64,
}

/// What tasks have come to.
#[derive(Debug)]
pub(super) enum Change {
    /// The addresses that can be answered at may be others.
    Usable,
    /// Rules of iptables have changed.
    Iptables,
    /// One of them does nothing any more.
    Died(JoinError),
}

/// The tasks, for the one who beats.
#[derive(Default)]
pub struct Beside {
    /// What they are told.
    cues: watch::Sender<Cue>,
    /// Whether packets pass firewalls; `None` where nobody sees to that.
    accepted: Option<watch::Receiver<Accepted>>,
    /// The addresses that can be answered at on this node, as was last seen; `None` where that never changes.
    usable: Option<watch::Receiver<Option<Vec<IpAddr>>>>,
    /// That rules of iptables have changed; `None` where the kernel tells, or there are none.
    polled: Option<watch::Receiver<()>>,
    /// They end with this.
    tasks: JoinSet<()>,
}

impl Beside {
    /// Nothing is done.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Packets are let through firewalls of iptables.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn with_accept(mut self, accept: Accept) -> Self {
        let (said, accepted) = watch::channel(Accepted::Unknown);
        self.tasks.spawn(accept.run(self.cues.subscribe(), said));
        self.accepted = Some(accepted);
        self
    }

    /// Somebody looks for what node-cache has left.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn with_lookout(mut self, lookout: Lookout) -> Self {
        self.tasks.spawn(lookout.run(self.cues.subscribe()));
        self
    }

    /// Somebody looks who has the addresses before us, of which those in `services` are a Service's.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn with_around(mut self, around: Around, services: watch::Receiver<Arc<[IpAddr]>>) -> Self {
        let (said, usable) = watch::channel(None);
        self.tasks.spawn(around.run(self.cues.subscribe(), services, said));
        self.usable = Some(usable);
        self
    }

    /// Old tables of iptables are polled.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn with_poll(mut self, poll: Poll) -> Self {
        let (said, polled) = watch::channel(());
        self.tasks.spawn(poll.run(self.cues.subscribe(), said));
        self.polled = Some(polled);
        self
    }

    /// Says whose the addresses are.
    pub(super) fn owns(&self, owns: bool) {
        self.cues.send_if_modified(|cue| std::mem::replace(&mut cue.owns, owns) != owns);
    }

    /// Says that it is time to look again.
    pub(super) fn look(&self) {
        self.cues.send_modify(|cue| cue.looks += 1);
    }

    /// Whether queries may be led here: their packets were let through firewalls at least once.
    pub(super) fn may_lead(&self) -> bool {
        self.accepted.as_ref().is_none_or(|accepted| *accepted.borrow() == Accepted::There)
    }

    /// Whether this process would lead queries here as soon as the addresses were its own: what it does not know yet must not
    /// keep them waiting then.
    pub(super) fn may_come(&self) -> bool {
        self.accepted.as_ref().is_none_or(|accepted| *accepted.borrow() != Accepted::Unknown)
    }

    /// The addresses that can be answered at on this node, sorted; `None` where nothing else was seen since the start.
    pub(super) fn usable(&self) -> Option<Vec<IpAddr>> {
        self.usable.as_ref().and_then(|usable| usable.borrow().clone())
    }

    /// Waits until tasks have come to something else, or one has died. May be dropped at any time.
    pub(super) async fn changed(&mut self) -> Change {
        let Self { usable, polled, tasks, .. } = self;
        tokio::select! {
            biased;
            Some(Err(error)) = tasks.join_next() => Change::Died(error),
            () = differs(usable) => Change::Usable,
            () = differs(polled) => Change::Iptables,
        }
    }

    /// Ends all of it, and the programs that run for it.
    pub(super) async fn end(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Waits for another value; for ever where nobody will ever say one.
async fn differs<T>(said: &mut Option<watch::Receiver<T>>) {
    let changed = match said {
        Some(said) => said.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_noticed_also_where_others_go_on() {
        let mut beside = Beside::nothing();
        let (said, usable) = watch::channel(None);
        beside.usable = Some(usable);
        beside.tasks.spawn(std::future::pending());
        said.send_replace(Some(Vec::new()));
        assert!(matches!(beside.changed().await, Change::Usable));
        beside.tasks.spawn(async { panic!("as a mistake of ours would") });
        // It had the sender.
        drop(said);
        let Change::Died(error) = beside.changed().await else { panic!("nobody noticed") };
        assert!(error.is_panic());
        beside.end().await;
    }
}
