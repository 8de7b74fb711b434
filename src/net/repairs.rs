//! What is put back: whether it has its turn, how it is counted, and what is said of it.

use std::sync::Arc;

use tokio::time::Instant;

use super::iptables::IptablesError;
use super::metrics::{Measures, SetupError};
use super::pace::{Pace, Say, Turn};
use super::piece::Piece;
use super::rules::RulesError;

/// What may fail at every beat besides repairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Failure {
    /// Looking at the interface.
    Links,
    /// Looking at rules.
    Rules,
    /// Changing rules.
    Change,
    /// Putting addresses on the interface.
    PutOn,
    /// Leaving addresses to others.
    LetGo,
    /// Taking those from the interface.
    TakeOff,
}

/// The repairs of one who keeps something.
pub(super) struct Repairs {
    /// How often the same thing is put back.
    pace: Pace<Piece>,
    /// How often the same failure is said.
    failures: Pace<Failure>,
    /// What is counted.
    measures: Arc<Measures>,
}

impl Repairs {
    /// Nothing was put back yet.
    pub(super) const fn new(measures: Arc<Measures>) -> Self {
        Self { pace: Pace::new(), failures: Pace::new(), measures }
    }

    /// Whether something may be done about a piece now.
    pub(super) fn has_turn(&self, now: Instant, piece: &Piece) -> bool {
        self.pace.turn(now, piece) == Turn::Now
    }

    /// Those that have their turn, and whether there are others.
    pub(super) fn due(&self, now: Instant, missing: Vec<Piece>) -> (Vec<Piece>, bool) {
        let all = missing.len();
        let due: Vec<_> = missing.into_iter().filter(|piece| self.has_turn(now, piece)).collect();
        let later = due.len() < all;
        (due, later)
    }

    /// Something was tried about a piece, which is no repair; whether a line is due.
    pub(super) fn tried(&mut self, now: Instant, piece: Piece) -> bool {
        self.pace.mended(now, piece) != Say::Nothing
    }

    /// Something failed that is tried again at every beat; whether a line is due.
    pub(super) fn says(&mut self, now: Instant, failure: Failure) -> bool {
        self.failures.mended(now, failure) != Say::Nothing
    }

    /// Counts and says what was done about these pieces.
    pub(super) fn done(&mut self, now: Instant, pieces: &[Piece], done: &Result<(), String>) {
        for piece in pieces {
            match done {
                Ok(()) => self.measures.mended(piece),
                Err(_) => self.measures.failed(piece),
            }
            let times = match self.pace.mended(now, *piece) {
                Say::Nothing => continue,
                Say::First => 1,
                Say::Again(times) => times,
            };
            match done {
                Ok(()) => tracing::warn!(what = %piece, times, "somebody took it away, put back"),
                Err(error) => tracing::error!(what = %piece, times, error, "missing, and cannot be put back"),
            }
        }
    }

    /// Counts what a program complained of, as node-cache counts it.
    pub(super) fn complained(&self, error: &IptablesError) {
        self.measures.setup_error(match error {
            IptablesError::Interrupted(_) => return,
            IptablesError::Locked(_) => SetupError::IptablesLock,
            _ => SetupError::Iptables,
        });
    }

    /// The same of whatever came of rules.
    pub(super) fn counted<T>(&self, done: Result<T, RulesError>) -> Result<T, RulesError> {
        if let Err(RulesError::Iptables(error)) = &done {
            self.complained(error);
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ops::metrics::Metrics;

    #[test]
    fn what_has_its_turn_is_counted_by_what_came_of_it() {
        let metrics = Arc::new(Metrics::new());
        let mut repairs = Repairs::new(Arc::new(Measures::new(&metrics, &[])));
        let (now, address) = (Instant::now(), Piece::Address("10.96.0.10".parse().unwrap()));
        assert_eq!(repairs.due(now, vec![Piece::Link, address]), (vec![Piece::Link, address], false));
        repairs.done(now, &[Piece::Link], &Ok(()));
        assert_eq!(repairs.due(now, vec![Piece::Link, address]), (vec![address], true));
        repairs.done(now, &[address], &Err("no".to_owned()));
        assert_eq!(repairs.due(now, vec![address]), (Vec::new(), true));
        assert!(
            repairs.tried(now + Duration::from_millis(200), Piece::Renewal("10.96.0.10".parse().unwrap()))
        );
        let text = metrics.render();
        for line in [
            r#"outlast_net_repairs_total{what="link"} 1"#,
            r#"outlast_net_errors_total{what="address"} 1"#,
            r#"outlast_net_repairs_total{what="address"} 0"#,
            r#"outlast_net_errors_total{what="renewal"} 0"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn what_fails_at_every_beat_is_said_once_a_minute() {
        let mut repairs = Repairs::new(Arc::new(Measures::new(&Arc::new(Metrics::new()), &[])));
        let start = Instant::now();
        let beats = (0..360).map(|beat| start + Duration::from_millis(beat * 333));
        let lines = beats.filter(|now| repairs.says(*now, Failure::Rules)).count();
        assert_eq!(lines, 2);
        assert!(repairs.says(start + Duration::from_secs(119), Failure::Links), "another matter");
    }

    #[test]
    fn complaints_of_programs_are_counted_as_node_cache_does() {
        let metrics = Arc::new(Metrics::new());
        let repairs = Repairs::new(Arc::new(Measures::new(&metrics, &[])));
        let of = |error| repairs.counted(Err::<(), _>(RulesError::Iptables(error)));
        assert!(of(IptablesError::Locked(String::new())).is_err());
        assert!(of(IptablesError::Failed(String::new(), String::new())).is_err());
        assert!(of(IptablesError::Interrupted(String::new())).is_err(), "and none is counted");
        assert!(repairs.counted(Ok(())).is_ok());
        for errortype in ["iptables", "iptables_lock"] {
            let line = format!(r#"coredns_nodecache_setup_errors_total{{errortype="{errortype}"}} 1"#);
            assert!(metrics.render().lines().any(|l| l == line), "{line}");
        }
    }
}
