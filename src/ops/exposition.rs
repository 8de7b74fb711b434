//! Prometheus' text format, version 0.0.4, for what is read at the time of a scrape.
//!
//! Counters, gauges and histograms that live in the registry are rendered by the exporter; this writes beside it
//! what the registry cannot hold: counters with fractions, and families that are replaced as a whole.

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
}

impl FamilyType {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
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
        self.0.push_str(name);
        for (i, (key, label)) in labels.iter().enumerate() {
            self.0.push(if i == 0 { '{' } else { ',' });
            self.0.push_str(key);
            self.0.push_str("=\"");
            escape(self.0, label.as_ref(), true);
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        // Writing to a String does not fail.
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
        assert_eq!(
            text,
            "# HELP a_total Line\\nand \\\\ and \"quote\".\n\
             # TYPE a_total counter\n\
             a_total{zone=\".\",view=\"\"} 0.25\n\
             a_total{zone=\"a\\\\b\\\"c\\nd\",view=\"\"} 7\n\
             # HELP b B.\n\
             # TYPE b gauge\n\
             b 1\n"
        );
    }
}
