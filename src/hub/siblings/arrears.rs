//! How far we are behind one sibling, and for how long. Pure: takes `now`.
//!
//! A sibling's position is a promise: the cluster had come so far when it was said. Who has not come to it half a
//! minute later does not follow the cluster any more, whatever its own source says.

use std::time::Duration;

use tokio::time::Instant;

use crate::feed::position::Position;
use crate::zone::object::{Kind, Kinds};

/// How long we may take to come to where a sibling was. Two hubs that are well are seconds apart: each goes over
/// everything at least every 15 s.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What one sibling has come to and we have not.
#[derive(Clone, Debug, Default)]
pub(super) struct Arrears([Debt; Kind::ALL.len()]);

/// The same for a kind.
#[derive(Clone, Copy, Debug, Default)]
struct Debt {
    /// What we have to come to.
    owed: Option<Said>,
    /// What was said last.
    latest: Option<Said>,
    /// Whether we are too late with it, or were with what was owed before.
    late: bool,
}

/// What a sibling has come to, and since when we know.
#[derive(Clone, Copy, Debug)]
struct Said {
    /// A resourceVersion.
    version: u64,
    /// When it was said.
    at: Instant,
}

/// We are behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Late {
    /// In this kind.
    pub(super) kind: Kind,
    /// The sibling was there.
    pub(super) theirs: u64,
    /// So long ago.
    pub(super) since: Duration,
}

impl Arrears {
    /// A sibling of our cluster says where it is.
    pub(super) fn said(&mut self, theirs: &Position, own: &Position, now: Instant) {
        if theirs.epoch != own.epoch {
            // Positions of two epochs do not compare.
            *self = Self::default();
            return;
        }
        for (debt, kind) in self.0.iter_mut().zip(Kind::ALL) {
            let said = Said { version: theirs.version(kind), at: now };
            debt.latest = Some(said);
            if debt.owed.is_none() && said.version > own.version(kind) {
                debt.owed = Some(said);
            }
        }
    }

    /// In what of `kinds` we are behind for too long, if in any.
    pub(super) fn late(&mut self, kinds: Kinds, own: &Position, now: Instant) -> Option<Late> {
        let mut found = None;
        for (debt, kind) in self.0.iter_mut().zip(Kind::ALL) {
            // A kind without a position is not followed yet, which is said in another way.
            if !kinds.has(kind) || own.version(kind) == 0 {
                *debt = Debt::default();
                continue;
            }
            debt.settle(own.version(kind), now);
            if let (true, Some(owed)) = (debt.late, debt.owed) {
                let since = now.saturating_duration_since(owed.at);
                found.get_or_insert(Late { kind, theirs: owed.version, since });
            }
        }
        found
    }
}

impl Debt {
    fn settle(&mut self, own: u64, now: Instant) {
        let Some(owed) = self.owed else {
            self.late = false;
            return;
        };
        let overdue = now.saturating_duration_since(owed.at) > PATIENCE;
        if own < owed.version {
            self.late |= overdue;
            return;
        }
        // Who is always late has more to come to already, and is not well for a moment in between.
        self.owed = self.latest.filter(|latest| latest.version > own);
        self.late = self.late && overdue && self.owed.is_some();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(version: u64) -> Position {
        Position { epoch: 1, versions: [version; 4] }
    }

    /// Whether we are late, each second, with a sibling that greets every 5 s and is at `100 + second`, when we are
    /// where it was `lag` seconds ago.
    fn seconds_late(lag: u64, seconds: u64) -> Vec<u64> {
        let (begin, mut arrears) = (Instant::now(), Arrears::default());
        let mut late = Vec::new();
        for second in 0..seconds {
            let now = begin + Duration::from_secs(second);
            let own = at((100 + second).saturating_sub(lag).max(50));
            if second.is_multiple_of(5) {
                arrears.said(&at(100 + second), &own, now);
            }
            if arrears.late(Kinds::CORE, &own, now).is_some() {
                late.push(second);
            }
        }
        late
    }

    #[test]
    fn who_is_a_moment_behind_is_well() {
        for lag in [0, 1, 10, 25] {
            assert!(seconds_late(lag, 200).is_empty(), "{lag}");
        }
    }

    #[test]
    fn who_is_behind_for_half_a_minute_is_late_and_stays_so() {
        for lag in [40, 60, 1000] {
            let late = seconds_late(lag, 200);
            assert_eq!(late.first(), Some(&31), "{lag}");
            assert_eq!(late.len(), 200 - 31, "{lag}: without a break");
        }
    }

    #[test]
    fn who_has_caught_up_is_well_again() {
        let (begin, mut arrears) = (Instant::now(), Arrears::default());
        let after = |seconds| begin + Duration::from_secs(seconds);
        arrears.said(&at(10), &at(5), begin);
        arrears.said(&at(12), &at(5), after(20));
        let late = arrears.late(Kinds::CORE, &at(5), after(31)).expect("late");
        assert_eq!((late.kind, late.theirs, late.since), (Kind::ALL[0], 10, Duration::from_secs(31)));
        assert!(arrears.late(Kinds::CORE, &at(10), after(32)).is_some(), "late, and more is owed");
        assert!(arrears.late(Kinds::CORE, &at(12), after(33)).is_none());
    }

    #[test]
    fn what_does_not_compare_is_not_compared() {
        let (begin, mut arrears) = (Instant::now(), Arrears::default());
        let later = begin + Duration::from_secs(40);
        arrears.said(&at(10), &Position { epoch: 2, ..at(5) }, begin);
        assert!(arrears.late(Kinds::CORE, &at(5), later).is_none(), "another epoch");
        arrears.said(&at(10), &at(0), begin);
        assert!(arrears.late(Kinds::CORE, &at(0), later).is_none(), "nothing is known yet");
        arrears.said(&Position { epoch: 1, versions: [5, 5, 5, 10] }, &at(5), begin);
        assert!(arrears.late(Kinds::CORE, &at(5), later).is_none(), "a kind that we do not follow");
    }
}
