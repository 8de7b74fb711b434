//! Tables of reports.

use super::growth::{self, Growth};
use super::{Figures, Report};

/// Columns: their heads, and whether they are of numbers.
const COLUMNS: [(&str, bool); 15] = [
    ("drill", false),
    ("how", false),
    ("queries", true),
    ("failed", true),
    ("wrong", true),
    ("stale", true),
    ("p99", true),
    ("gap", true),
    ("detect", true),
    ("recover", true),
    ("lists", true),
    ("watches", true),
    ("other", true),
    ("took", true),
    ("verdict", false),
];

/// In place of a figure that there is not.
const NONE: &str = "-";

/// What stands in the row of a report.
fn row(report: &Report) -> [String; COLUMNS.len()] {
    let figure = |of: fn(&Figures) -> String| report.figures.as_ref().map_or_else(|| NONE.to_owned(), of);
    let time = |time: Option<u64>| time.map_or_else(|| NONE.to_owned(), seconds);
    [
        report.drill.to_owned(),
        report.how.as_str().to_owned(),
        figure(|f| f.queries.to_string()),
        figure(|f| f.failed.to_string()),
        figure(|f| f.wrong.to_string()),
        figure(|f| f.stale.to_string()),
        figure(|f| millis(f.p99_us)),
        figure(|f| format!("{} ms", f.gap_ms)),
        time(report.figures.as_ref().and_then(|f| f.detect_ms)),
        time(report.figures.as_ref().and_then(|f| f.recover_ms)),
        figure(|f| f.lists.to_string()),
        figure(|f| f.watches.to_string()),
        figure(|f| f.small.to_string()),
        figure(|f| seconds(f.took_ms)),
        report.verdict.as_str().to_owned(),
    ]
}

/// For a terminal: columns that stand below each other.
pub(super) fn text(all: &[Report]) -> String {
    aligned(&COLUMNS, all.iter().map(row))
}

/// For a terminal: what processes had at first and have at last.
pub(super) fn growth_text(growth: &[Growth]) -> String {
    aligned(&growth::COLUMNS, growth.iter().map(Growth::row))
}

/// Rows below their heads, columns below each other.
fn aligned<const N: usize>(columns: &[(&str, bool); N], rows: impl Iterator<Item = [String; N]>) -> String {
    let heads = columns.map(|(head, _)| head.to_owned());
    let rows: Vec<_> = [heads].into_iter().chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: Vec<_> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).zip(columns).map(|((cell, width), (_, is_number))| {
            if *is_number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// For a page, in Markdown.
pub(super) fn markdown(all: &[Report]) -> String {
    piped(&COLUMNS, all.iter().map(row))
}

/// For a page: what processes had at first and have at last.
pub(super) fn growth_markdown(growth: &[Growth]) -> String {
    piped(&growth::COLUMNS, growth.iter().map(Growth::row))
}

/// Rows below their heads in Markdown.
fn piped<const N: usize>(columns: &[(&str, bool); N], rows: impl Iterator<Item = [String; N]>) -> String {
    let line = |cells: &[&str]| format!("| {} |\n", cells.join(" | "));
    let mut text = line(&columns.map(|(head, _)| head));
    text.push_str(&line(&columns.map(|(_, is_number)| if is_number { "--:" } else { "---" })));
    for row in rows {
        text.push_str(&line(&row.each_ref().map(String::as_str)));
    }
    text
}

/// Milliseconds in seconds, cut off to a tenth.
pub(super) fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

/// Microseconds in milliseconds, cut off to a tenth.
fn millis(us: u64) -> String {
    format!("{}.{} ms", us / 1000, us % 1000 / 100)
}
