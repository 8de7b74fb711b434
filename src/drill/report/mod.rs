//! What is said of drills that were played: for people, for scripts, and for a page.
//!
//! * here: figures, the verdict, the report of one drill and the exit status of all.
//! * [`growth`]: what became of what processes have, for drills that compare it.
//! * `verdict`: whether figures are within their bounds.
//! * `table`: tables of text and Markdown.

pub mod growth;
mod table;
mod verdict;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use self::growth::Growth;
use super::{Drill, How, Observed, Without};

/// Wrong and missing answers that a report quotes.
const QUOTED: usize = 5;

/// What was counted and measured in a drill.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Questions that were asked.
    pub queries: u64,
    /// Those without a proper answer in time: none, an error, or a denial of what there is.
    pub failed: u64,
    /// Answers that were never right, or had been right too long ago.
    pub wrong: u64,
    /// Answers that said that they were old.
    pub stale: u64,
    /// 99 of 100 answers came within so many microseconds.
    pub p99_us: u64,
    /// The longest time that one node gave no answer to those who asked, in milliseconds.
    pub gap_ms: u64,
    /// Milliseconds from the beginning of the fault until every node had said that its answers were old; `None` if one
    /// never did.
    pub detect_ms: Option<u64>,
    /// Milliseconds from the end of the fault to the last answer that said that it was old, 0 if there was none; `None`
    /// if answers still said so at the end.
    pub recover_ms: Option<u64>,
    /// Lists of everything that the API server was asked for meanwhile.
    pub lists: u64,
    /// Watches that were begun there.
    pub watches: u64,
    /// Other requests there.
    pub small: u64,
    /// Milliseconds in which requests were counted: from the beginning of the fault to the end of the recovery.
    pub counted_ms: u64,
    /// Milliseconds that the drill took, in real time.
    pub took_ms: u64,
}

impl Figures {
    /// Requests of any kind that the API server saw.
    pub const fn asked(&self) -> u64 {
        self.lists + self.watches + self.small
    }
}

/// Whether a promise was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was.
    Kept,
    /// It was not, for these reasons, at least one.
    Broken(Vec<String>),
    /// Nobody knows, for this reason.
    Skipped(String),
}

impl Verdict {
    /// In a word.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Broken(_) => "broken",
            Self::Skipped(_) => "skipped",
        }
    }

    /// Why; nothing for a promise that was kept.
    fn reasons(&self) -> &[String] {
        match self {
            Self::Kept => &[],
            Self::Broken(reasons) => reasons,
            Self::Skipped(reason) => std::slice::from_ref(reason),
        }
    }
}

/// What is said of a drill that was played.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Its name.
    pub drill: &'static str,
    /// How it was played.
    pub how: How,
    /// What was promised.
    pub promise: &'static str,
    /// What was asked.
    pub load: &'static str,
    /// Whether it was the short form.
    pub short: bool,
    /// What chance depended on.
    pub seed: u64,
    /// Protections that were off.
    pub without: Vec<Without>,
    /// What was seen; `None` where nothing was.
    pub figures: Option<Figures>,
    /// What there is to know of how it was played: a sentence each.
    pub notes: Vec<String>,
    /// What processes had and have, where that is compared.
    pub growth: Vec<Growth>,
    /// Whether the promise was kept.
    pub verdict: Verdict,
    /// The first answers that were wrong or missing, for people.
    pub first_wrong: Vec<String>,
    /// Where logs are, if they were kept.
    pub folder: Option<PathBuf>,
}

impl Report {
    /// Of a drill of which nothing is known yet.
    fn new(drill: &Drill, short: bool, seed: u64, without: &[Without]) -> Self {
        Self {
            drill: drill.name,
            how: drill.how,
            promise: drill.promise,
            load: drill.load,
            short,
            seed,
            without: without.to_vec(),
            figures: None,
            notes: Vec::new(),
            growth: Vec::new(),
            verdict: Verdict::Kept,
            first_wrong: Vec::new(),
            folder: None,
        }
    }

    /// Of a drill that was played, in this time.
    pub(super) fn observed(
        drill: &Drill,
        play: &super::Play<'_>,
        observed: Observed,
        took: Duration,
    ) -> Self {
        let Observed { mut figures, notes, growth, mut broken, mut first_wrong } = observed;
        broken.extend(growth.iter().flat_map(Growth::broken));
        figures.took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        first_wrong.truncate(QUOTED);
        let verdict = verdict::of(&drill.bounds, &figures, broken);
        let new = Self::new(drill, play.short, play.seed, play.without);
        Self { figures: Some(figures), notes, growth, verdict, first_wrong, ..new }
    }

    /// Of a drill of which there are no figures.
    pub(super) fn unseen(drill: &Drill, play: &super::Play<'_>, verdict: Verdict) -> Self {
        Self { verdict, ..Self::new(drill, play.short, play.seed, play.without) }
    }

    /// Whether the promise was broken.
    pub const fn is_broken(&self) -> bool {
        matches!(self.verdict, Verdict::Broken(_))
    }

    /// Exit status of all drills: 1 if a promise was broken, else 0.
    pub fn exit(all: &[Self]) -> u8 {
        u8::from(all.iter().any(Self::is_broken))
    }

    /// In one line, as it is said when it has ended.
    pub fn line(&self) -> String {
        let reasons = self.verdict.reasons().join("; ");
        let took = self.figures.as_ref().map(|figures| format!(" in {}", table::seconds(figures.took_ms)));
        let colon = if reasons.is_empty() { "" } else { ": " };
        format!("{}: {}{}{colon}{reasons}", self.drill, self.verdict.as_str(), took.unwrap_or_default())
    }

    /// For people: a table, what processes have where that was compared, then what there is to say of promises that were
    /// not kept, then how many were.
    pub fn text(all: &[Self]) -> String {
        let mut text = table::text(all);
        for report in all.iter().filter(|report| !report.growth.is_empty()) {
            text.push_str(&format!("\n{}\n", report.told()));
            text.push_str(&table::growth_text(&report.growth));
        }
        for report in all.iter().filter(|report| report.verdict != Verdict::Kept) {
            text.push_str(&format!("\n{} ({})\n", report.drill, report.verdict.as_str()));
            if report.is_broken() {
                text.push_str(&format!("  promise: {}\n", report.promise));
            }
            for reason in report.verdict.reasons() {
                text.push_str(&format!("  {reason}\n"));
            }
            for answer in &report.first_wrong {
                text.push_str(&format!("    {answer}\n"));
            }
            if let Some(folder) = &report.folder {
                text.push_str(&format!("  logs: {}\n", folder.display()));
            }
        }
        let [kept, broken, skipped] = Self::counts(all);
        text.push_str(&format!("\n{kept} kept, {broken} broken, {skipped} skipped\n"));
        text
    }

    /// For a page: tables in Markdown.
    pub fn markdown(all: &[Self]) -> String {
        let mut text = table::markdown(all);
        for report in all.iter().filter(|report| !report.growth.is_empty()) {
            text.push_str(&format!("\n{}:\n\n", report.told()));
            text.push_str(&table::growth_markdown(&report.growth));
        }
        text
    }

    /// How it was played, in a line.
    fn told(&self) -> String {
        format!("{}: {}", self.drill, self.notes.join("; "))
    }

    /// For scripts.
    pub fn json(all: &[Self]) -> Value {
        let [kept, broken, skipped] = Self::counts(all);
        let drills: Vec<_> = all.iter().map(Self::value).collect();
        json!({ "kept": kept, "broken": broken, "skipped": skipped, "drills": drills })
    }

    /// One drill for scripts.
    fn value(&self) -> Value {
        let without: Vec<_> = self.without.iter().map(|without| without.as_str()).collect();
        json!({
            "drill": self.drill,
            "how": self.how.as_str(),
            "promise": self.promise,
            "load": self.load,
            "short": self.short,
            "seed": self.seed,
            "without": without,
            "verdict": self.verdict.as_str(),
            "reasons": self.verdict.reasons(),
            "figures": self.figures,
            "notes": self.notes,
            "growth": self.growth,
            "first_wrong": self.first_wrong,
            "folder": self.folder,
        })
    }

    /// How many promises were kept, broken, and not tried.
    fn counts(all: &[Self]) -> [usize; 3] {
        let count = |word: &str| all.iter().filter(|report| report.verdict.as_str() == word).count();
        ["kept", "broken", "skipped"].map(count)
    }
}

#[cfg(test)]
mod tests;
