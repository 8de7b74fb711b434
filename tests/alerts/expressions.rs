//! What an expression of PromQL asks for, as far as tests need to know: series, and labels that they have to have.

/// Labels that Prometheus and its operator give to what they scrape.
pub(super) const OF_TARGETS: [&str; 4] = ["instance", "job", "namespace", "pod"];

/// Families that processes have; `up` is Prometheus' own.
const PREFIXES: [&str; 4] = ["outlast_", "coredns_", "process_", "go_"];

/// Series that are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selector {
    pub(super) name: String,
    pub(super) matchers: Vec<Matcher>,
}

/// What is asked of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Matcher {
    pub(super) label: String,
    pub(super) operator: String,
    pub(super) value: String,
}

impl Matcher {
    /// The values that it asks for, where it names them word by word. Numbers are not among them: codes of HTTP are known
    /// to all, and an API server does not fail at will.
    pub(super) fn words(&self) -> Vec<&str> {
        let is_word = |value: &&str| value.chars().all(|c| c.is_ascii_alphabetic() || c == '_');
        match self.operator.as_str() {
            "=" => vec![self.value.as_str()],
            "=~" => self.value.split('|').filter(is_word).collect(),
            _ => Vec::new(),
        }
    }
}

const fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// The series that an expression asks for; `up` is not among them.
pub(super) fn selectors(expression: &str) -> Vec<Selector> {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        if first == '"' || first == '\'' {
            let end = rest[1..].find(first).expect("a string ends") + 2;
            rest = &rest[end..];
        } else if is_of_name(first) {
            let end = rest.find(|c| !is_of_name(c)).unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            rest = after;
            if PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
                let mut selector = Selector { name: name.to_owned(), matchers: Vec::new() };
                if let Some(inner) = rest.strip_prefix('{') {
                    (selector.matchers, rest) = matchers(inner);
                }
                found.push(selector);
            }
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    found
}

/// Matchers up to the closing brace, and what is behind it.
fn matchers(mut rest: &str) -> (Vec<Matcher>, &str) {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(after) = rest.strip_prefix('}') {
            return (found, after);
        }
        let (label, after) = rest.split_at(rest.find(|c| !is_of_name(c)).expect("an operator"));
        let (operator, after) = after.split_at(after.find('"').expect("a value"));
        let (value, after) = after[1..].split_once('"').expect("the end of a value");
        let [label, operator, value] = [label, operator, value].map(|part| part.trim().to_owned());
        found.push(Matcher { label, operator, value });
        rest = after;
    }
}

/// Labels that an expression groups by: `by (a, b)`.
pub(super) fn grouped_by(expression: &str) -> Vec<&str> {
    let after = expression.split("by (").skip(1);
    let lists = after.filter_map(|rest| rest.split_once(')')).map(|(list, _)| list);
    lists.flat_map(|list| list.split(',')).map(str::trim).filter(|label| !label.is_empty()).collect()
}

/// Labels that the text of a legend names: `{{a}}`.
pub(super) fn named_in(legend: &str) -> Vec<&str> {
    let after = legend.split("{{").skip(1);
    after.filter_map(|rest| rest.split_once("}}")).map(|(label, _)| label.trim()).collect()
}

#[test]
fn expressions_are_taken_apart() {
    let matcher = |label: &str, operator: &str, value: &str| Matcher {
        label: label.to_owned(),
        operator: operator.to_owned(),
        value: value.to_owned(),
    };
    let expression = r#"histogram_quantile(0.9, sum by (le, verb) (rate(outlast_a_bucket{verb=~"x|y.+", job!="outlast_b"}[5m])))
        > up{job="outlast_c"} unless on (job) coredns_d"#;
    assert_eq!(
        selectors(expression),
        [
            Selector {
                name: "outlast_a_bucket".to_owned(),
                matchers: vec![matcher("verb", "=~", "x|y.+"), matcher("job", "!=", "outlast_b")],
            },
            Selector { name: "coredns_d".to_owned(), matchers: Vec::new() },
        ]
    );
    assert_eq!(matcher("verb", "=~", "x|y.+|429").words(), ["x"]);
    assert_eq!(grouped_by(expression), ["le", "verb"]);
    assert_eq!(named_in("{{job}} of {{ instance }}"), ["job", "instance"]);
}
