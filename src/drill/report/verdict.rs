//! Whether figures are within their bounds. Pure.

use std::time::Duration;

use super::super::{Asked, Bounds};
use super::{Figures, Verdict};

/// Milliseconds of a minute.
const MINUTE_MS: u64 = 60_000;

/// Requests beyond the promised ones a minute that everybody may make at once: hubs that begin anew look at everything.
const AT_ONCE: u64 = 30;

/// The verdict on these figures; `broken` is what else was promised and not kept.
pub(super) fn of(bounds: &Bounds, figures: &Figures, broken: Vec<String>) -> Verdict {
    let mut reasons = answers(bounds, figures);
    reasons.extend(times(bounds, figures));
    reasons.extend(requests(bounds.asked, figures));
    reasons.extend(broken);
    if reasons.is_empty() { Verdict::Kept } else { Verdict::Broken(reasons) }
}

/// On what was answered.
fn answers(bounds: &Bounds, figures: &Figures) -> Vec<String> {
    if figures.queries == 0 {
        return vec!["nothing was asked".to_owned()];
    }
    let counts = [("failed", figures.failed, bounds.failed), ("wrong", figures.wrong, bounds.wrong)];
    let counts = counts.into_iter().filter(|(_, is, most)| is > most);
    counts.map(|(what, is, most)| format!("{what} {is} of {}, promised {most}", figures.queries)).collect()
}

/// On when it was answered, and when answers said that they were old.
fn times(bounds: &Bounds, figures: &Figures) -> Vec<String> {
    let mut reasons = Vec::new();
    if time(figures.gap_ms) > bounds.gap {
        reasons.push(format!("{:?} without an answer, promised {:?}", time(figures.gap_ms), bounds.gap));
    }
    match (&bounds.detect, figures.detect_ms) {
        (None, _) => {}
        (Some(_), None) => reasons.push("not every node said that its answers were old".to_owned()),
        (Some(promised), Some(is)) => {
            let is = time(is);
            if !promised.contains(&is) {
                let promised = format!("{:?} to {:?}", promised.start(), promised.end());
                reasons.push(format!("answers said that they were old after {is:?}, promised {promised}"));
            }
        }
    }
    match (bounds.recover, figures.recover_ms.map(time)) {
        (None, _) => {}
        (Some(_), None) => reasons.push("answers said to the end that they were old".to_owned()),
        (Some(most), Some(is)) if is > most => {
            reasons.push(format!(
                "answers said for {is:?} after the fault that they were old, promised {most:?}"
            ));
        }
        (Some(_), Some(_)) => {}
    }
    let p99 = Duration::from_micros(figures.p99_us);
    if let Some(most) = bounds.p99.filter(|most| p99 > *most) {
        reasons.push(format!("99 of 100 answers came within {p99:?}, promised {most:?}"));
    }
    reasons
}

/// On what the API server was asked.
fn requests(promised: Asked, figures: &Figures) -> Vec<String> {
    match promised {
        Asked::Freely => Vec::new(),
        Asked::InAll { lists, watches, small } => [
            ("lists", figures.lists, lists),
            ("watches", figures.watches, watches),
            ("other requests", figures.small, small),
        ]
        .into_iter()
        .filter(|(_, is, most)| is > most)
        .map(|(what, is, most)| format!("{is} {what} at the API server, promised {most}"))
        .collect(),
        Asked::EachMinute(each) => {
            let most = each.saturating_mul(figures.counted_ms) / MINUTE_MS + AT_ONCE;
            let is = figures.asked();
            let counted = time(figures.counted_ms);
            let reason = || {
                format!(
                    "{is} requests at the API server in {counted:?}, promised {each} a minute and {AT_ONCE} at once"
                )
            };
            (is > most).then(reason).into_iter().collect()
        }
    }
}

/// So many milliseconds.
const fn time(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::test_support::{drill, figures, kept};

    #[test]
    fn what_breaks_a_promise() {
        let usual = figures;
        let bounds = || drill("offline", kept).bounds;
        let in_all = || Bounds { asked: Asked::InAll { lists: 6, watches: 12, small: 19 }, ..bounds() };
        let nothing = || Bounds { detect: None, recover: None, p99: None, asked: Asked::Freely, ..bounds() };
        let silent = Figures { detect_ms: None, recover_ms: None, small: 900, p99_us: 90_000, ..usual() };
        for (name, bounds, figures, want) in [
            ("all is well", bounds(), usual(), vec![]),
            ("nothing asked", bounds(), Figures { queries: 0, ..usual() }, vec!["nothing was asked"]),
            ("one failed", bounds(), Figures { failed: 1, ..usual() }, vec!["failed 1 of 27000, promised 0"]),
            (
                "both",
                bounds(),
                Figures { failed: 2, wrong: 3, ..usual() },
                vec!["failed 2 of 27000, promised 0", "wrong 3 of 27000, promised 0"],
            ),
            (
                "as many as promised",
                Bounds { failed: 2, ..bounds() },
                Figures { failed: 2, ..usual() },
                vec![],
            ),
            ("a gap at its bound", bounds(), Figures { gap_ms: 1000, ..usual() }, vec![]),
            (
                "a gap beyond it",
                bounds(),
                Figures { gap_ms: 1001, ..usual() },
                vec!["1.001s without an answer, promised 1s"],
            ),
            (
                "never noticed",
                bounds(),
                Figures { detect_ms: None, ..usual() },
                vec!["not every node said that its answers were old"],
            ),
            (
                "noticed too soon",
                bounds(),
                Figures { detect_ms: Some(14_999), ..usual() },
                vec!["answers said that they were old after 14.999s, promised 15s to 45s"],
            ),
            (
                "noticed too late",
                bounds(),
                Figures { detect_ms: Some(45_001), ..usual() },
                vec!["answers said that they were old after 45.001s, promised 15s to 45s"],
            ),
            (
                "never well again",
                bounds(),
                Figures { recover_ms: None, ..usual() },
                vec!["answers said to the end that they were old"],
            ),
            (
                "well again too late",
                bounds(),
                Figures { recover_ms: Some(46_100), ..usual() },
                vec!["answers said for 46.1s after the fault that they were old, promised 45s"],
            ),
            (
                "slow",
                bounds(),
                Figures { p99_us: 20_001, ..usual() },
                vec!["99 of 100 answers came within 20.001ms, promised 20ms"],
            ),
            ("sixty a minute and thirty", bounds(), Figures { small: 69, ..usual() }, vec![]),
            (
                "more than that",
                bounds(),
                Figures { small: 70, ..usual() },
                vec!["88 requests at the API server in 57s, promised 60 a minute and 30 at once"],
            ),
            (
                "more in a second minute",
                bounds(),
                Figures { small: 130, counted_ms: 120_000, ..usual() },
                vec![],
            ),
            (
                "one small request too many",
                in_all(),
                usual(),
                vec!["20 other requests at the API server, promised 19"],
            ),
            (
                "lists and watches",
                in_all(),
                Figures { lists: 7, watches: 13, small: 0, ..usual() },
                vec!["7 lists at the API server, promised 6", "13 watches at the API server, promised 12"],
            ),
            ("nothing of that is promised", nothing(), silent, vec![]),
        ] {
            let reasons = want.into_iter().map(str::to_owned).collect::<Vec<_>>();
            let want = if reasons.is_empty() { Verdict::Kept } else { Verdict::Broken(reasons) };
            assert_eq!(of(&bounds, &figures, Vec::new()), want, "{name}");
        }
    }

    #[test]
    fn what_a_drill_has_seen_itself_counts() {
        let seen = vec!["a node has ended".to_owned()];
        let verdict = of(&drill("offline", kept).bounds, &figures(), seen.clone());
        assert_eq!(verdict, Verdict::Broken(seen));
    }
}
