//! What clients saw in each part of a case.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use super::load::{Name, Outcome, Sample};

/// Answers that took longer than this have waited for an upstream, however slow the machine.
const WAITED: Duration = Duration::from_millis(500);

/// Failures that are shown.
const SHOWN: usize = 5;

/// A part of a case, and the time that it lasted.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) from: Duration,
    pub(super) to: Duration,
}

/// Everything that was asked, by part.
pub(super) struct Report<'a> {
    samples: &'a [Sample],
    parts: &'a [Part],
}

impl<'a> Report<'a> {
    /// Takes samples apart.
    pub(super) fn new(samples: &'a [Sample], parts: &'a [Part]) -> Self {
        Self { samples, parts }
    }

    /// The same, and prints what was seen.
    pub(super) fn print(case: &str, samples: &'a [Sample], parts: &'a [Part]) -> Self {
        let report = Self::new(samples, parts);
        let mut text = format!("\n{case}\n");
        for part in parts {
            let warm: Vec<_> = report.of(part.name, true).collect();
            let cold: Vec<_> = report.of(part.name, false).collect();
            let failed = |samples: &[&Sample]| samples.iter().filter(|s| !good(s)).count();
            let stale =
                warm.iter().filter(|s| matches!(s.outcome, Outcome::Good { stale: true, .. })).count();
            let mut times: Vec<_> = warm.iter().map(|s| s.took).collect();
            times.sort_unstable();
            let at = |share: f64| {
                let index = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
                times.get(index).map_or(f64::NAN, |t| t.as_secs_f64() * 1000.0)
            };
            writeln!(
                text,
                "  {:<26} {:>6} warm: p50 {:>8.2} ms, p99 {:>8.2} ms, max {:>8.2} ms, {} stale, {} failed; \
                 {} cold, {} failed",
                part.name,
                warm.len(),
                at(0.5),
                at(0.99),
                at(1.0),
                stale,
                failed(&warm),
                cold.len(),
                failed(&cold),
            )
            .unwrap();
        }
        // The harness keeps what tests print with macros to itself as long as they pass.
        std::io::stderr().write_all(text.as_bytes()).unwrap();
        report
    }

    /// The queries of one part, for names in use or for others.
    pub(super) fn of(&self, part: &str, warm: bool) -> impl Iterator<Item = &'a Sample> {
        let Part { from, to, .. } = self.parts.iter().find(|p| p.name == part).unwrap();
        let in_part = move |s: &&Sample| (*from..*to).contains(&s.sent) && (s.name != Name::Cold) == warm;
        self.samples.iter().filter(in_part)
    }

    /// Every query for a name in use had the right answer.
    pub(super) fn no_warm_name_failed(&self) {
        let failed: Vec<_> = self.samples.iter().filter(|s| s.name != Name::Cold && !good(s)).collect();
        assert!(failed.is_empty(), "{} failed: {:?}", failed.len(), &failed[..failed.len().min(SHOWN)]);
    }

    /// Every query for a new name in this part had the right answer.
    pub(super) fn no_cold_name_failed(&self, part: &str) {
        let failed: Vec<_> = self.of(part, false).filter(|s| !good(s)).collect();
        assert!(
            failed.is_empty(),
            "{part}: {} failed: {:?}",
            failed.len(),
            &failed[..failed.len().min(SHOWN)]
        );
    }

    /// In this part the load was there, and fewer than one in a hundred names in use waited for an upstream.
    pub(super) fn nearly_nobody_waited(&self, part: &str) {
        let (all, waited) = self
            .of(part, true)
            .fold((0, 0), |(all, waited), s| (all + 1, waited + usize::from(s.took > WAITED)));
        assert!(all > 0, "{part}: nothing was asked");
        assert!(waited * 100 < all, "{part}: {waited} of {all} answers took more than {WAITED:?}");
    }

    /// Some answers of this part said that they are stale.
    pub(super) fn some_are_stale(&self, part: &str) {
        let stale = |s: &Sample| matches!(s.outcome, Outcome::Good { stale: true, .. });
        assert!(self.of(part, true).any(stale), "{part}: no answer is stale");
    }
}

fn good(sample: &Sample) -> bool {
    matches!(sample.outcome, Outcome::Good { .. })
}
