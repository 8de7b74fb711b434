//! Series, as a scrape gives them.

use std::collections::{BTreeMap, BTreeSet};

use super::expressions::{OF_TARGETS, Selector};

/// Everything that was ever scraped: labels of each series, by name.
#[derive(Default)]
pub(super) struct Scraped(BTreeMap<String, BTreeSet<BTreeMap<String, String>>>);

impl Scraped {
    /// Adds a scrape in Prometheus' text format.
    pub(super) fn add(&mut self, text: &str) {
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, labels) = series(line);
            self.0.entry(name.to_owned()).or_default().insert(labels);
        }
    }

    /// What there is not of what a selector asks for.
    pub(super) fn lacks(&self, selector: &Selector) -> Vec<String> {
        let name = &selector.name;
        let Some(found) = self.0.get(name) else { return vec![name.clone()] };
        let mut missing = Vec::new();
        for matcher in selector.matchers.iter().filter(|m| !OF_TARGETS.contains(&m.label.as_str())) {
            let label = &matcher.label;
            let values: BTreeSet<_> = found.iter().filter_map(|labels| labels.get(label)).collect();
            if values.is_empty() {
                missing.push(format!("{name} has no label {label}"));
            }
            let absent = matcher.words().into_iter().filter(|word| !values.iter().any(|value| value == word));
            missing.extend(absent.map(|word| format!("{name} has no {label}={word}")));
        }
        missing
    }

    /// Whether one of these has the label.
    pub(super) fn has_label(&self, selectors: &[Selector], label: &str) -> bool {
        let mut found = selectors.iter().filter_map(|selector| self.0.get(&selector.name)).flatten();
        found.any(|labels| labels.contains_key(label))
    }
}

/// Name and labels of a line.
fn series(line: &str) -> (&str, BTreeMap<String, String>) {
    let end = line.find(['{', ' ']).expect("a value follows");
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    while let Some(inner) = rest.strip_prefix(['{', ',']).filter(|inner| !inner.starts_with('}')) {
        let (label, value) = inner.split_once("=\"").expect("a label has a value");
        let mut is_escaped = false;
        let ends = |c| {
            let ends = c == '"' && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            ends
        };
        let end = value.find(ends).expect("a value ends");
        labels.insert(label.to_owned(), value[..end].to_owned());
        rest = &value[end + 1..];
    }
    (name, labels)
}

#[test]
fn lines_are_taken_apart() {
    let labels =
        |labels: &[(&str, &str)]| labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    assert_eq!(series("a 1"), ("a", BTreeMap::new()));
    assert_eq!(series("a{} 1"), ("a", BTreeMap::new()));
    assert_eq!(series(r#"a{b="c, d}",e=""} 1"#), ("a", labels(&[("b", "c, d}"), ("e", "")])));
    assert_eq!(series(r#"a{b="\"\\",c="d"} 1"#), ("a", labels(&[("b", r#"\"\\"#), ("c", "d")])));
}
