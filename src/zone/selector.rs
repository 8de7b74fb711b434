//! Label selectors in kubectl's syntax, for `labels` and `namespace_labels`.
//!
//! <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>

use super::object::Labels;

/// A parsed selector: every requirement must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// What it was parsed from.
    text: Box<str>,
    /// The requirements.
    requirements: Vec<Requirement>,
}

/// One requirement on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    /// `key in (a, b)`, `key = a`: the label is there with one of these values.
    In(Box<str>, Vec<Box<str>>),
    /// `key notin (a, b)`, `key != a`: the label is missing or has another value.
    NotIn(Box<str>, Vec<Box<str>>),
    /// `key`
    Exists(Box<str>),
    /// `!key`
    Missing(Box<str>),
}

/// A selector does not follow the syntax.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("label selector {text:?}: {problem}; write e.g. `app=web,tier in (a, b),!canary`")]
pub struct SelectorError {
    /// The whole selector.
    text: Box<str>,
    /// What is wrong with it.
    problem: String,
}

impl Selector {
    /// Parses e.g. `tier=web`, `env in (prod, test),!canary`.
    ///
    /// # Errors
    /// When the text is empty or a requirement is not one of `key`, `!key`, `key=value`, `key==value`,
    /// `key!=value`, `key in (…)`, `key notin (…)`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let fail = |problem: String| SelectorError { text: text.into(), problem };
        let requirements =
            split(text).into_iter().map(|part| requirement(part.trim())).collect::<Result<Vec<_>, _>>();
        Ok(Self { text: text.trim().into(), requirements: requirements.map_err(fail)? })
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = |key: &str| labels.iter().find(|(k, _)| &**k == key).map(|(_, v)| v);
        self.requirements.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => value(key).is_some_and(|v| values.contains(v)),
            Requirement::NotIn(key, values) => value(key).is_none_or(|v| !values.contains(v)),
            Requirement::Exists(key) => value(key).is_some(),
            Requirement::Missing(key) => value(key).is_none(),
        })
    }
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Splits at commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0u32;
    let is_end = |c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    };
    text.split(is_end).collect()
}

fn requirement(text: &str) -> Result<Requirement, String> {
    if let Some(name) = text.strip_prefix('!') {
        return Ok(Requirement::Missing(key(name)?));
    }
    if let Some((left, right)) = text.split_once("!=") {
        return Ok(Requirement::NotIn(key(left)?, vec![value(right)?]));
    }
    if let Some((left, right)) = text.split_once('=') {
        let right = right.strip_prefix('=').unwrap_or(right);
        return Ok(Requirement::In(key(left)?, vec![value(right)?]));
    }
    if let Some((left, list)) = text.split_once('(') {
        let list = list.strip_suffix(')').ok_or(format!("`(` without `)` in {text:?}"))?;
        let values = list.split(',').map(value).collect::<Result<Vec<_>, _>>()?;
        return match left.split_whitespace().collect::<Vec<_>>().as_slice() {
            [name, "in"] => Ok(Requirement::In(key(name)?, values)),
            [name, "notin"] => Ok(Requirement::NotIn(key(name)?, values)),
            _ => Err(format!("{left:?} before a list is not `KEY in` or `KEY notin`")),
        };
    }
    Ok(Requirement::Exists(key(text)?))
}

/// `[prefix/]name` of a label.
fn key(text: &str) -> Result<Box<str>, String> {
    let text = text.trim();
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if text.is_empty() || text.len() > 317 || !text.chars().all(legal) {
        return Err(format!("{text:?} is not a label key"));
    }
    Ok(text.into())
}

/// The value of a label: empty or up to 63 letters, digits, `-`, `_`, `.`.
fn value(text: &str) -> Result<Box<str>, String> {
    let text = text.trim();
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.len() > 63 || !text.chars().all(legal) {
        return Err(format!("{text:?} is not a label value"));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| (Box::from(*k), Box::from(*v))).collect()
    }

    #[test]
    fn requirements() {
        let web = labels(&[("env", "prod"), ("tier", "web")]);
        for (text, want) in [
            ("tier=web", true),
            ("tier==web", true),
            ("tier = db", false),
            ("tier!=db", true),
            ("team!=green", true),
            ("team=green", false),
            ("tier in (web, db)", true),
            ("tier in (db)", false),
            ("tier notin (db),env=prod", true),
            ("tier,env in (prod,test),!canary", true),
            ("canary", false),
            ("!tier", false),
        ] {
            assert_eq!(Selector::parse(text).unwrap().matches(&web), want, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_selector() {
        for text in ["", "a,,b", "a in", "a in (b", "a of (b)", "a b", "a=b c", "=x", "a in (b c)"] {
            let error = Selector::parse(text).unwrap_err().to_string();
            assert!(error.contains("write e.g."), "{text}: {error}");
        }
    }
}
