//! What a whole state is to mend, and when it is asked for once more because it was behind what is served. Pure: takes `now`.
//!
//! Hubs share whole states, and take a moment to come as far as another one was; where nothing happens, they come that far with
//! the next bookmark of their API server. Of the past nothing is taken, and a moment is no reason to leave a hub.

use std::time::Duration;

use tokio::time::Instant;

use crate::zone::object::Kinds;

/// The least times between whole states in a row that were behind. After the last of them the hub is left.
const OVERTAKEN: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// What is to be mended at one hub.
#[derive(Debug, Default)]
pub(super) struct Mending {
    /// Kinds that are wrong, and have to be in the next whole state.
    kinds: Kinds,
    /// How many whole states in a row were behind in some of these.
    overtaken: usize,
    /// Until when, after such a one.
    wait: Option<Wait>,
}

/// For the hub to come as far as what is served.
#[derive(Clone, Copy, Debug)]
struct Wait {
    /// The next whole state is not asked for before.
    not_before: Instant,
    /// Whether the hub has come that far.
    is_there: bool,
}

/// What a whole state was good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// All that was to be in it was taken.
    Taken,
    /// Some of that was behind what is served.
    Overtaken,
    /// Again, and often enough.
    Behind,
}

impl Mending {
    /// The next whole state is to mend these kinds.
    pub(super) const fn begin(&mut self, kinds: Kinds) {
        self.kinds = kinds;
    }

    /// It is asked for; it is to mend `all` if nothing was said of some.
    pub(super) fn asked(&mut self, all: Kinds) {
        self.wait = None;
        if self.kinds.is_empty() {
            self.kinds = all;
        }
    }

    /// It was passed over in these kinds.
    pub(super) fn came(&mut self, passed_over: Kinds, now: Instant) -> Came {
        self.kinds = self.kinds.intersection(passed_over);
        if self.kinds.is_empty() {
            self.overtaken = 0;
            return Came::Taken;
        }
        let Some(wait) = OVERTAKEN.get(self.overtaken) else { return Came::Behind };
        self.overtaken += 1;
        self.wait = Some(Wait { not_before: now + *wait, is_there: false });
        Came::Overtaken
    }

    /// The hub says how far it is: behind what is served in these kinds.
    pub(super) fn hears(&mut self, behind: Kinds) {
        if let Some(wait) = &mut self.wait {
            wait.is_there = self.kinds.intersection(behind).is_empty();
        }
    }

    /// Whether the hub is waited for. Until then digests say nothing new.
    pub(super) const fn is_waiting(&self) -> bool {
        self.wait.is_some()
    }

    /// When it is to be asked for once more, if the hub has come that far.
    pub(super) fn again_at(&self) -> Option<Instant> {
        self.wait.filter(|wait| wait.is_there).map(|wait| wait.not_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::object::Kind;

    #[test]
    fn what_was_behind_is_asked_for_again_once_the_hub_is_there_and_then_the_hub_is_left() {
        let (mut mending, now) = (Mending::default(), Instant::now());
        let (one, other) = (Kinds::NONE.with(Kind::Service), Kinds::NONE.with(Kind::Namespace));
        for round in 0..2 {
            mending.begin(one);
            mending.asked(Kinds::CORE);
            assert_eq!(mending.came(other, now), Came::Taken, "of others nothing was wanted, round {round}");
            mending.asked(Kinds::CORE);
            for seconds in [1, 2, 4] {
                assert_eq!(mending.came(one, now), Came::Overtaken);
                mending.hears(one.union(other));
                assert!(mending.is_waiting());
                assert_eq!(mending.again_at(), None, "it would be behind again");
                mending.hears(other);
                assert_eq!(mending.again_at(), Some(now + Duration::from_secs(seconds)));
                mending.asked(Kinds::CORE);
                assert!(!mending.is_waiting());
            }
            if round == 0 {
                assert_eq!(mending.came(Kinds::NONE, now), Came::Taken, "and then there are three again");
            }
        }
        assert_eq!(mending.came(one, now), Came::Behind);
    }
}
