//! Prometheus' text format, version 0.0.4, for what is read at the time of a scrape.
//!
//! Counters, gauges and histograms that live in the registry are rendered by the exporter; this writes beside it
//! what the registry cannot hold: counters with fractions, families that are replaced as a whole, and families
//! that are counted in cells of each thread.

use std::fmt::{Display, Write};

use super::metrics::LabelPair;

/// The `Content-Type` of a scrape.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What `# TYPE` says of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyType {
    /// Only ever grows.
    Counter,
    /// Goes both ways.
    Gauge,
    /// Counts into buckets.
    Histogram,
}

impl FamilyType {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What a histogram has seen.
#[derive(Clone, Copy, Debug)]
pub struct Distribution<'a> {
    /// Upper bounds of its buckets, ascending, each within its bucket.
    pub bounds: &'a [f64],
    /// How many were in each bucket and in none below it.
    pub counts: &'a [u64],
    /// How many were above all bounds.
    pub beyond: u64,
    /// The sum of all.
    pub sum: f64,
}

/// Writes families at the end of a text.
pub struct Exposition<'a>(&'a mut String);

impl<'a> Exposition<'a> {
    /// Goes on at the end of `text`.
    pub const fn append_to(text: &'a mut String) -> Self {
        Self(text)
    }

    /// Opens a family: its `# HELP` and `# TYPE`.
    pub fn family(&mut self, name: &str, kind: FamilyType, help: &str) {
        self.0.push_str("# HELP ");
        self.0.push_str(name);
        self.0.push(' ');
        escape(self.0, help, false);
        self.0.push_str("\n# TYPE ");
        self.0.push_str(name);
        self.0.push(' ');
        self.0.push_str(kind.as_str());
        self.0.push('\n');
    }

    /// A series of the family that was opened last.
    pub fn sample<L: AsRef<str>>(&mut self, name: &str, labels: &[(&'static str, L)], value: impl Display) {
        self.line([name, ""], labels, None, value);
    }

    /// A histogram of the family that was opened last.
    pub fn histogram<L: AsRef<str>>(
        &mut self,
        name: &str,
        labels: &[(&'static str, L)],
        seen: &Distribution<'_>,
    ) {
        let mut count = 0;
        for (bound, own) in seen.bounds.iter().zip(seen.counts) {
            count += own;
            self.line([name, "_bucket"], labels, Some(bound), count);
        }
        count += seen.beyond;
        self.line([name, "_bucket"], labels, Some(&"+Inf"), count);
        self.line([name, "_sum"], labels, None, seen.sum);
        self.line([name, "_count"], labels, None, count);
    }

    /// A line of a series, whose name is put together from both parts; `le` is one more label.
    fn line<L: AsRef<str>>(
        &mut self,
        name: [&str; 2],
        labels: &[(&'static str, L)],
        le: Option<&dyn Display>,
        value: impl Display,
    ) {
        self.0.extend(name);
        let mut before = '{';
        for (key, label) in labels {
            self.0.push(before);
            self.0.push_str(key);
            self.0.push_str("=\"");
            escape(self.0, label.as_ref(), true);
            self.0.push('"');
            before = ',';
        }
        // Writing to a String does not fail.
        if let Some(le) = le {
            let _ = write!(self.0, "{before}le=\"{le}\"");
            before = ',';
        }
        if before == ',' {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    /// A family of one series without labels.
    pub fn single(&mut self, name: &str, kind: FamilyType, help: &str, value: impl Display) {
        const NO_LABELS: &[LabelPair<'_>] = &[];
        self.family(name, kind, help);
        self.sample(name, NO_LABELS, value);
    }
}

/// Escapes line feeds and backslashes, and quotes in label values.
fn escape(out: &mut String, text: &str, is_label: bool) {
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\\' => out.push_str("\\\\"),
            '"' if is_label => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_as_prometheus_reads_them() {
        let mut text = String::new();
        let mut out = Exposition::append_to(&mut text);
        out.family("a_total", FamilyType::Counter, "Line\nand \\ and \"quote\".");
        out.sample("a_total", &[("zone", "."), ("view", "")], 0.25);
        out.sample("a_total", &[("zone", "a\\b\"c\nd"), ("view", "")], 7);
        out.single("b", FamilyType::Gauge, "B.", 1);
        let seen = Distribution { bounds: &[0.0, 0.25], counts: &[1, 2], beyond: 4, sum: 9.5 };
        out.family("c", FamilyType::Histogram, "C.");
        out.histogram("c", &[("zone", "\"")], &seen);
        out.histogram(
            "c",
            &[("zone", ""); 0],
            &Distribution { counts: &[0, 0], beyond: 0, sum: 0.0, ..seen },
        );
        assert_eq!(
            text,
            "# HELP a_total Line\\nand \\\\ and \"quote\".\n\
             # TYPE a_total counter\n\
             a_total{zone=\".\",view=\"\"} 0.25\n\
             a_total{zone=\"a\\\\b\\\"c\\nd\",view=\"\"} 7\n\
             # HELP b B.\n\
             # TYPE b gauge\n\
             b 1\n\
             # HELP c C.\n\
             # TYPE c histogram\n\
             c_bucket{zone=\"\\\"\",le=\"0\"} 1\n\
             c_bucket{zone=\"\\\"\",le=\"0.25\"} 3\n\
             c_bucket{zone=\"\\\"\",le=\"+Inf\"} 7\n\
             c_sum{zone=\"\\\"\"} 9.5\n\
             c_count{zone=\"\\\"\"} 7\n\
             c_bucket{le=\"0\"} 0\n\
             c_bucket{le=\"0.25\"} 0\n\
             c_bucket{le=\"+Inf\"} 0\n\
             c_sum 0\n\
             c_count 0\n"
        );
    }
}
