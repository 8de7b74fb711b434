//! Whether this process has the addresses of the node, and whether it may have them.

use std::time::Duration;

use tokio::time::Instant;

use crate::net::beat::{Policy, Why};
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

/// How long a process that has them may lead nobody here while another one is there that could.
const UNLED: Duration = Duration::from_secs(2);

/// For how long all has to be well after that.
const REST: Duration = Policy::DEFAULT.first_pause;

/// Whether who has them makes anything of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Queries are led here, or what is in the way is in everybody's.
    Good,
    /// None are led here yet.
    NotYet(Instant),
    /// They are led elsewhere, until all has been well for so long.
    Out(Duration),
}

/// What it has of them.
pub(super) struct Tenure {
    /// Whether they are ours, as all processes of the node agree.
    claim: Claim,
    /// Whether they ever were: who has had them asks nobody for them.
    had: bool,
    /// Whether it may.
    health: Health,
    /// Since when all is well; `None` where it is not.
    well_since: Option<Instant>,
    /// For how long it has to be: longer for who could not lead queries here.
    rest: Duration,
    /// What it makes of them.
    used: Use,
    /// Since when they are seen to be nobody's; `None` where somebody has them.
    free_since: Option<Instant>,
}

impl Tenure {
    /// One that never had them.
    pub(super) const fn new(claim: Claim) -> Self {
        Self {
            claim,
            had: false,
            health: Health::Unknown,
            well_since: None,
            rest: Duration::ZERO,
            used: Use::Good,
            free_since: None,
        }
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
        self.well_since = match sick {
            None => self.well_since.or_else(|| Some(Instant::now())),
            Some(_) => None,
        };
    }

    /// Whether all is well, and has been for as long as it takes.
    fn is_well(&self) -> bool {
        self.health == Health::Well && self.well_since.is_some_and(|since| since.elapsed() >= self.rest)
    }

    /// Queries are led here.
    pub(super) const fn leads(&mut self) {
        self.used = Use::Good;
    }

    /// They are not any more, for that reason, until all has been well for so long.
    pub(super) const fn fails(&mut self, why: Why, pause: Duration) {
        self.used = match why {
            // For every other process as well.
            Why::Taken(_) => Use::Good,
            _ => Use::Out(pause),
        };
    }

    /// Whether another process should have them, because this one makes nothing of them.
    pub(super) fn is_idle(&self) -> bool {
        match self.used {
            Use::Good => false,
            Use::NotYet(since) => since.elapsed() >= UNLED,
            Use::Out(_) => true,
        }
    }

    /// Leaves them to whoever is well; takes them itself only once all has been well for long, or where it is alone.
    pub(super) fn make_way(&mut self) {
        self.rest = match self.used {
            Use::Out(pause) => pause,
            Use::Good | Use::NotYet(_) => REST,
        };
        self.well_since = None;
        if self.health == Health::Well {
            // Signs that looked well were no use.
            self.health = Health::Unknown;
        }
        self.claim.give_up();
    }

    /// Whether it may take them at any moment.
    pub(super) fn stands_by(&self) -> bool {
        !self.owns() && (self.had || self.claim.asks())
    }

    /// Takes them, if this process answers or is alone, and they are to be had; whether they are ours now. One that never
    /// had them has others see that it waits.
    pub(super) async fn takes(&mut self) -> bool {
        let well = self.is_well();
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
        if takes {
            self.had = true;
            (self.used, self.rest) = (Use::NotYet(Instant::now()), Duration::ZERO);
        }
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
        let takes = self.claim.take_back();
        if takes {
            self.used = Use::NotYet(Instant::now());
        }
        takes
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
        if self.is_taken() || self.is_asked() {
            return Some(Standing::Standby);
        }
        match self.health {
            Health::Sick(why) => Some(Standing::Waiting(why)),
            Health::Well if self.had => Some(Standing::Standby),
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

    #[tokio::test(start_paused = true)]
    async fn who_makes_nothing_of_them_leaves_them_to_who_is_well() {
        let folder = tempfile::tempdir().unwrap();
        let (mut old, mut new) = (tenure(folder.path()), tenure(folder.path()));
        old.saw(None);
        assert!(old.takes().await);
        old.leads();
        new.saw(None);
        assert!(!new.takes().await && old.is_asked());
        old.give_up();
        assert!(new.takes().await, "an upgrade");
        assert!(!new.is_idle(), "it has just begun");
        tokio::time::advance(UNLED).await;
        assert!(new.is_idle(), "what it has to make it cannot");
        new.make_way();
        old.saw(None);
        assert!(old.takes().await && !new.takes().await);
        old.leads();
        assert!(!old.is_idle());

        // Whatever it is that is wrong now: the pause of who withdraws is kept without them, too.
        let pause = Duration::from_secs(20);
        old.fails(Why::Rules, pause);
        assert!(old.is_idle());
        old.make_way();
        new.saw(Some(Why::Readiness));
        old.saw(None);
        tokio::time::advance(pause - Duration::from_millis(1)).await;
        assert!(!new.takes().await && !old.takes().await, "neither is well, or has been for long");
        old.saw(Some(Why::Readiness));
        old.saw(None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!old.takes().await, "the pause begins anew");
        tokio::time::advance(pause).await;
        assert!(old.takes().await && !old.is_idle());
        old.fails(Why::Taken("10.96.0.10".parse().unwrap()), pause);
        assert!(!old.is_idle(), "nobody could do better");
    }

    #[tokio::test]
    async fn who_is_alone_takes_them_however_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut alone = tenure(folder.path());
        alone.saw(Some(Why::Readiness));
        assert!(alone.takes().await && alone.owns());
        alone.give_up();
        assert_eq!((alone.stands_by(), alone.standing()), (true, Some(Standing::Waiting(Why::Readiness))));
        assert!(alone.take_back());
    }
}
