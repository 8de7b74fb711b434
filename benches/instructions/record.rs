//! Figures that are kept, and what becomes of a difference.

use std::path::Path;
use std::process::ExitCode;

use crate::support::{Figures, grouped};

/// Percent by which a figure may differ. The hash seed of a process makes for up to one, another processor or C
/// library (whose copying of memory is counted, too) for a few.
const TOLERANCE: u64 = 10;

/// What the file says of itself.
const HEAD: &str = "\
# Instructions of an operation, as callgrind counts them; the check fails where one is more than 10 % above.
# Made by: .ci/instructions --write benches/instructions.txt
";

/// Instructions of operations.
#[derive(Default)]
pub(crate) struct Record {
    /// What is done, and how many instructions it takes.
    rows: Vec<(String, u64)>,
}

/// What became of an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It takes what it took.
    Same,
    /// It takes less.
    Better,
    /// It takes more.
    Worse,
    /// It was not counted before.
    New,
    /// It is not counted any more.
    Gone,
}

impl Verdict {
    fn of(before: Option<u64>, now: Option<u64>) -> Self {
        match (before, now) {
            (Some(before), Some(now)) if now * 100 > before * (100 + TOLERANCE) => Self::Worse,
            (Some(before), Some(now)) if now * 100 < before * (100 - TOLERANCE) => Self::Better,
            (Some(_), Some(_)) => Self::Same,
            (None, _) => Self::New,
            (Some(_), None) => Self::Gone,
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Same => "",
            Self::Better => "less: write it down",
            Self::Worse => "MORE",
            Self::New => "NEW: write it down",
            Self::Gone => "GONE: write it down",
        }
    }
}

impl Record {
    /// One more operation.
    pub(crate) fn add(&mut self, name: &str, instructions: u64) {
        self.rows.push((name.to_owned(), instructions));
    }

    fn get(&self, name: &str) -> Option<u64> {
        self.rows.iter().find(|(n, _)| n == name).map(|(_, instructions)| *instructions)
    }

    /// Reads a file; says which one cannot be read, and which line.
    pub(crate) fn read(file: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(file).map_err(|e| format!("reading {}: {e}", file.display()))?;
        let mut record = Self::default();
        for (at, line) in text.lines().enumerate().filter(|(_, l)| !l.starts_with('#') && !l.is_empty()) {
            let row =
                line.rsplit_once(' ').and_then(|(name, count)| Some((name.trim_end(), count.parse().ok()?)));
            let (name, count) =
                row.ok_or_else(|| format!("{}:{}: no name and number", file.display(), at + 1))?;
            record.add(name, count);
        }
        Ok(record)
    }

    /// Writes a file.
    pub(crate) fn write(&self, file: &Path) -> Result<(), String> {
        let width = self.rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let rows = self.rows.iter().map(|(name, count)| format!("{name:<width$} {count:>9}\n"));
        let text: String = std::iter::once(HEAD.to_owned()).chain(rows).collect();
        std::fs::write(file, text).map_err(|e| format!("writing {}: {e}", file.display()))
    }

    /// Prints the figures.
    pub(crate) fn print(&self) {
        let mut figures = Figures::new(["operation", "instructions"]);
        self.rows.iter().for_each(|(name, count)| figures.row([name.clone(), grouped(*count)]));
        figures.print("Instructions of an operation");
    }

    /// Compares what was found with what is kept in `file`, and prints the difference. Fails where something takes
    /// more, or where the two do not have the same rows.
    pub(crate) fn check(&self, found: &Self, file: &Path) -> ExitCode {
        let mut figures = Figures::new(["operation", "kept", "now", "change", ""]);
        let gone = self.rows.iter().map(|(name, _)| name).filter(|name| found.get(name).is_none());
        let mut verdicts = Vec::new();
        for name in found.rows.iter().map(|(name, _)| name).chain(gone) {
            let (before, now) = (self.get(name), found.get(name));
            let verdict = Verdict::of(before, now);
            verdicts.push(verdict);
            let number = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), grouped);
            let change = before.zip(now).map(|(b, n)| (n as f64 / b as f64 - 1.0) * 100.0);
            let change = change.map_or_else(String::new, |percent| format!("{percent:+.1} %"));
            figures.row([name.clone(), number(before), number(now), change, verdict.text().to_owned()]);
        }
        figures.print(&format!("Instructions of an operation, against {}", file.display()));
        if verdicts.iter().all(|v| *v == Verdict::Same) {
            return ExitCode::SUCCESS;
        }
        println!(
            "\nwhere a change of more than {TOLERANCE} % is meant:\n\
             cargo bench --profile instructions --bench instructions -- --write {}",
            file.display()
        );
        let fails = verdicts.iter().any(|v| matches!(v, Verdict::Worse | Verdict::New | Verdict::Gone));
        if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}
