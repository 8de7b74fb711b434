//! What is going on, on one screen.

use super::words::{COLUMNS, number, plain, time, wrap};
use crate::node::control::top::{Busy, Share, TopStatus};

/// Where values begin.
const INDENT: usize = 11;

/// Lines of the smallest terminal that anybody has, but for one: the prompt comes back below.
const LINES: usize = 23;

/// Lines around names and clients: two titles, each behind an empty line, and what is said at the end.
const AROUND: usize = 6;

/// Clients that are shown; names fill what is left.
const CLIENTS: usize = 5;

/// Stores that are shown.
const STORES: usize = 2;

/// The screen.
pub(super) fn screen(status: &TopStatus) -> (String, bool) {
    let TopStatus { name, data, over_ms, questions, names, clients, .. } = status;
    if *over_ms == 0 {
        return ("it is counted from now on: ask again in some seconds".to_owned(), false);
    }
    let mut lines = Vec::new();
    let rate = format!("{} questions a second", a_second(*questions, *over_ms));
    let room = COLUMNS.saturating_sub(rate.len() + 2);
    let who: String = plain(&format!("outlast node {name}")).chars().take(room).collect();
    lines.push(format!("{who:<room$}  {rate}"));
    for (n, data) in data.iter().take(STORES).enumerate() {
        let head = if n == 0 { "data" } else { "" };
        let text =
            format!("{} {}, proved {} ago", data.zone, data.state.as_str().to_uppercase(), time(data.age_s));
        lines.extend(wrap(&format!("{head:<INDENT$}"), INDENT, &text));
    }
    lines.extend(wrap(&format!("{:<INDENT$}", "answers"), INDENT, &answers(status)));
    let room = LINES.saturating_sub(lines.len() + AROUND + clients.len().min(CLIENTS));
    table("NAMES", names, room.max(1), status, &mut lines);
    table("CLIENTS", clients, CLIENTS, status, &mut lines);
    lines.push(String::new());
    let over = time(((over_ms + 500) / 1_000).max(1));
    lines.push(format!("Of the last {over}; ± is by how much a share may be too high."));
    (lines.into_iter().map(|line| line + "\n").collect(), true)
}

/// Who answers, and how.
pub(in crate::cli) fn answers(status: &TopStatus) -> String {
    let TopStatus { answered_over_ms, by_source, by_rcode, stale, .. } = status;
    let all: u64 = by_source.iter().map(|share| share.answers).sum();
    if all == 0 {
        return "none were counted: blocks with prometheus count theirs".to_owned();
    }
    let part = |share: &Share| {
        let what = if share.what.is_empty() { "itself" } else { &share.what };
        format!("{what} {}", percent(share.answers, all))
    };
    let parts = |shares: &[Share]| shares.iter().map(part).collect::<Vec<_>>().join(", ");
    let rate = a_second(all, *answered_over_ms);
    let old = percent(*stale, all);
    format!("{rate} a second: {}; {}; {old} from data that is old", parts(by_source), parts(by_rcode))
}

/// What is busiest.
fn table(title: &str, busy: &[Busy], most: usize, status: &TopStatus, lines: &mut Vec<String>) {
    lines.push(String::new());
    lines.push(format!("{:>10}  {:>6}         {title}", "A SECOND", "SHARE"));
    for Busy { what, questions, too_many } in busy.iter().take(most) {
        let error = match percent(*too_many, status.questions) {
            none if *too_many == 0 || none == "0 %" => String::new(),
            error => format!("±{error}"),
        };
        let (rate, share) = (a_second(*questions, status.over_ms), percent(*questions, status.questions));
        let line = format!("{rate:>10}  {share:>6} {error:<7} {}", plain(what));
        lines.push(line.chars().take(COLUMNS).collect());
    }
}

/// So many in so many milliseconds, a second.
pub(in crate::cli) fn a_second(count: u64, over_ms: u64) -> String {
    let tenths = count.saturating_mul(10_000) / over_ms.max(1);
    match tenths {
        0..100 => format!("{}.{}", tenths / 10, tenths % 10),
        _ => number(tenths / 10),
    }
}

/// A part of the whole.
pub(in crate::cli) fn percent(part: u64, whole: u64) -> String {
    match part.saturating_mul(100).checked_div(whole) {
        Some(0) if part > 0 => "<1 %".to_owned(),
        share => format!("{} %", share.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_shares() {
        for (count, over, want) in [
            (0, 5_000, "0.0"),
            (1, 5_000, "0.2"),
            (49, 5_000, "9.8"),
            (50, 5_000, "10"),
            (1_000_000, 5_000, "200,000"),
        ] {
            assert_eq!(a_second(count, over), want);
        }
        for (part, whole, want) in
            [(0, 0, "0 %"), (0, 9, "0 %"), (1, 1_000, "<1 %"), (1, 3, "33 %"), (3, 3, "100 %")]
        {
            assert_eq!(percent(part, whole), want);
        }
    }

    #[test]
    fn nothing_is_known_before_somebody_has_looked() {
        let (text, fine) = screen(&TopStatus::default());
        assert!(!fine && text.contains("from now on"), "{text}");
    }
}
