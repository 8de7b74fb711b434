//! Whether this process has the addresses of the node, and whether it may have them.

use std::time::Duration;

use tokio::time::Instant;

use crate::net::beat::Why;
use crate::net::section::Standing;
use crate::ops::ownership::Claim;

/// How this process was when it was last looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    /// Nobody has looked yet.
    Unknown,
    /// All was well, or would have been with the addresses: who takes them has to renew at once.
    Well,
    /// This was wrong.
    Sick(Why),
}

/// How long a process that waits for the addresses may leave them lying: it looks every [`LOOK`](super::handover::LOOK), and
/// elements live for longer.
pub(super) const TAKEN_WITHIN: Duration = Duration::from_millis(500);

/// What it has of them.
pub(super) struct Tenure {
    /// Whether they are ours, as all processes of the node agree.
    claim: Claim,
    /// Whether they ever were: who has had them asks nobody for them.
    had: bool,
    /// Whether it may.
    health: Health,
    /// Since when they are seen to be nobody's; `None` where somebody has them.
    free_since: Option<Instant>,
}

impl Tenure {
    /// One that never had them.
    pub(super) const fn new(claim: Claim) -> Self {
        Self { claim, had: false, health: Health::Unknown, free_since: None }
    }

    /// Whether they are ours.
    pub(super) fn owns(&self) -> bool {
        self.claim.owns()
    }

    /// Whether another process waits for them.
    pub(super) fn is_asked(&self) -> bool {
        self.claim.is_asked()
    }

    /// Whether another process has them.
    pub(super) fn is_taken(&self) -> bool {
        self.claim.is_taken()
    }

    /// Whether there is no other process.
    pub(super) async fn is_alone(&self) -> bool {
        self.claim.finds_itself_alone().await
    }

    /// What was wrong just now; `None`: nothing.
    pub(super) fn saw(&mut self, sick: Option<Why>) {
        self.health = sick.map_or(Health::Well, Health::Sick);
    }

    /// Whether it may take them at any moment.
    pub(super) fn stands_by(&self) -> bool {
        !self.owns() && (self.had || self.claim.asks())
    }

    /// Takes them, if this process answers or is alone, and they are to be had; whether they are ours now. One that never
    /// had them has others see that it waits.
    pub(super) async fn takes(&mut self) -> bool {
        let well = self.health == Health::Well;
        // Who is alone takes nothing from anybody, and is the only one who can put away what does not expire.
        if !well && !self.is_alone().await {
            // Who has them would otherwise make room for nobody, and could not come back.
            self.claim.give_up();
            return false;
        }
        if well && !self.had {
            self.claim.ask();
        }
        let takes =
            self.claim.try_own() || well && self.had && self.are_left_lying() && self.claim.take_back();
        self.had |= takes;
        takes
    }

    /// Whether nobody has had them for long, not even who waits for them: that one hangs.
    fn are_left_lying(&mut self) -> bool {
        if self.is_taken() {
            self.free_since = None;
            return false;
        }
        self.free_since.get_or_insert_with(Instant::now).elapsed() >= TAKEN_WITHIN
    }

    /// Takes them back that were just given up, if nobody has taken them.
    pub(super) fn take_back(&mut self) -> bool {
        self.claim.take_back()
    }

    /// They are nobody's from now on, and we do not wait for them.
    pub(super) fn give_up(&mut self) {
        self.claim.give_up();
    }

    /// Where it stands without them; `None` where that cannot be told yet.
    pub(super) fn standing(&self) -> Option<Standing> {
        if self.claim.asks() {
            return Some(Standing::Asking);
        }
        if self.had || self.is_taken() || self.is_asked() {
            return Some(Standing::Standby);
        }
        match self.health {
            Health::Sick(why) => Some(Standing::Waiting(why)),
            // Somebody has them, or is about to, and cannot be seen at this moment.
            Health::Well | Health::Unknown => None,
        }
    }

    /// What is ours of what processes share.
    pub(super) fn into_claim(self) -> Claim {
        self.claim
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn tenure(folder: &Path) -> Tenure {
        Tenure::new(Claim::join(folder).unwrap().0)
    }

    #[tokio::test]
    async fn who_comes_waits_for_its_own_health_and_says_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        // The locks of one process tell its own files apart.
        let (mut first, mut second) = (tenure(folder.path()), tenure(folder.path()));
        assert_eq!(second.standing(), None, "nobody has looked yet");
        for why in [Why::Readiness, Why::Rules] {
            second.saw(Some(why));
            assert!(!second.takes().await, "somebody else is there");
            assert_eq!(second.standing(), Some(Standing::Waiting(why)));
        }
        first.saw(None);
        assert!(first.takes().await && first.owns());
        assert_eq!(second.standing(), Some(Standing::Standby));
        second.saw(None);
        assert!(!second.takes().await && second.stands_by());
        assert_eq!(second.standing(), Some(Standing::Asking));
        assert!(first.is_asked());
        second.saw(Some(Why::Readiness));
        assert!(!second.takes().await && !first.is_asked(), "it makes nobody give them up for nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_and_hangs_loses_them_to_who_had_them() {
        let folder = tempfile::tempdir().unwrap();
        let (mut had, mut hangs) = (tenure(folder.path()), tenure(folder.path()));
        had.saw(None);
        assert!(had.takes().await);
        hangs.saw(None);
        assert!(!hangs.takes().await && had.is_asked());
        had.give_up();
        let began = Instant::now();
        while !had.takes().await {
            assert!(began.elapsed() <= TAKEN_WITHIN, "nobody has them");
            tokio::time::sleep(TAKEN_WITHIN / 25).await;
        }
        assert!(began.elapsed() >= TAKEN_WITHIN, "who asks goes first");
        assert!(had.owns() && had.is_asked(), "it is asked still");
    }

    #[tokio::test]
    async fn who_is_alone_takes_them_however_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut alone = tenure(folder.path());
        alone.saw(Some(Why::Readiness));
        assert!(alone.takes().await && alone.owns());
        alone.give_up();
        assert_eq!((alone.stands_by(), alone.standing()), (true, Some(Standing::Standby)));
        assert!(alone.take_back());
    }
}
