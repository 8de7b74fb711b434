//! What a drill can take away, to see that it would fail without it.

use std::fmt;
use std::str::FromStr;

use crate::ops::switches::{Protection, Switches};

/// A protection that a drill may be played without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Without {
    /// One that processes are told to go without.
    Switched(Protection),
    /// Snapshots: nodes and hubs have no folder.
    Snapshot,
    /// The forward cache's file: it is in memory alone.
    Persist,
    /// Old answers of the forward cache.
    ServeStale,
    /// The guard against lists that would empty the zone.
    Guard,
    /// That data may be of any age.
    Limit,
    /// Hubs: nodes follow the API server.
    Hubs,
    /// The second hub.
    SecondHub,
    /// Trust in certificates that have ended.
    Grace,
    /// Older generations of a snapshot.
    Generations,
    /// That a new process begins to answer before the old one ends.
    Handover,
}

/// There is no such protection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no protection called {0:?}")]
pub struct NoProtection(pub String);

impl Without {
    /// Those that processes are not told of: they are in how a drill starts them.
    const ARRANGED: [Self; 10] = [
        Self::Snapshot,
        Self::Persist,
        Self::ServeStale,
        Self::Guard,
        Self::Limit,
        Self::Hubs,
        Self::SecondHub,
        Self::Grace,
        Self::Generations,
        Self::Handover,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Switched(protection) => protection.as_str(),
            Self::Snapshot => "snapshot",
            Self::Persist => "persist",
            Self::ServeStale => "serve-stale",
            Self::Guard => "guard",
            Self::Limit => "limit",
            Self::Hubs => "hubs",
            Self::SecondHub => "second-hub",
            Self::Grace => "grace",
            Self::Generations => "generations",
            Self::Handover => "handover",
        }
    }

    /// What processes have to be told where these are off.
    pub fn switches(without: &[Self]) -> Switches {
        let switched = |without: &Self| match without {
            Self::Switched(protection) => Some(*protection),
            _ => None,
        };
        Switches::without(without.iter().filter_map(switched).collect())
    }
}

impl fmt::Display for Without {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Without {
    type Err = NoProtection;

    fn from_str(text: &str) -> Result<Self, NoProtection> {
        let arranged = Self::ARRANGED.into_iter().find(|without| without.as_str() == text);
        let switched = || text.parse().ok().map(Self::Switched);
        arranged.or_else(switched).ok_or_else(|| NoProtection(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_called_by_a_name_of_its_own() {
        let switched = Protection::ALL.map(Without::Switched);
        for without in Without::ARRANGED.into_iter().chain(switched) {
            assert_eq!(without.to_string().parse(), Ok(without));
        }
        assert_eq!("seatbelt".parse::<Without>(), Err(NoProtection("seatbelt".to_owned())));
    }

    #[test]
    fn processes_are_told_of_what_is_theirs() {
        let [audit, check] = [Protection::Audit, Protection::Check];
        let all =
            [Without::Switched(audit), Without::Guard, Without::Switched(check), Without::Switched(audit)];
        assert_eq!(Without::switches(&all), Switches { off: vec![check, audit], ..Switches::default() });
        assert_eq!(Without::switches(&[Without::Hubs]), Switches::default());
    }
}
