//! The expressions of `var` and `expr`: a part of expr-lang, which CoreDNS uses.
//!
//! ```text
//! replace(group('ip'), '-', '.')
//! any(['10.0.0.0/8', '192.168.0.0/16'], incidr(ip, #))
//! type() in ['A', 'AAAA'] and not (name() startsWith 'www.') ? 1 : 2
//! ```
//!
//! Values are texts, whole numbers, truth values and lists. Operators are those below, from loose to tight:
//!
//! ```text
//! ?:   or ||   and &&   == != < <= > >= in contains startsWith endsWith matches (and `not` before these)
//! + -   not !   * %   -   [index]
//! ```
//!
//! Functions are in `functions.rs`; within the second argument of `any all none one filter map count`, `#` is an
//! element of the first. Pipes, ranges, maps, `let` and numbers with fractions are refused.
//!
//! Invariant: an expression that was read cannot run without end, nor use memory without end, as for the templates.

mod eval;
mod functions;
mod lex;
mod parse;

use std::collections::BTreeMap;

pub(super) use super::go::{Failure, SyntaxError, Value};
use crate::node::query::Query;
use parse::Node;

/// The longest text in bytes.
const MAX_LEN: usize = 4096;

/// An expression that was read.
#[derive(Debug)]
pub(super) struct Expression {
    /// Its text.
    source: String,
    /// What it consists of.
    root: Node,
}

/// What an expression is about.
pub(super) struct Subject<'a> {
    /// The query.
    pub(super) query: &'a Query,
    /// The groups of the `match` that matched, by number and name.
    pub(super) groups: &'a BTreeMap<String, Value>,
    /// The values of `var` so far.
    pub(super) variables: &'a BTreeMap<String, Value>,
}

impl Expression {
    /// Reads an expression that may use these variables.
    pub(super) fn parse(source: &str, variables: &[&str]) -> Result<Self, SyntaxError> {
        if source.len() > MAX_LEN {
            let message = format!("the expression has {} bytes: at most {MAX_LEN} are allowed", source.len());
            return Err(SyntaxError { column: 1, message });
        }
        Ok(Self { source: source.to_owned(), root: parse::parse(source, variables)? })
    }

    /// Its text.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Its value.
    pub(super) fn evaluate(&self, subject: &Subject<'_>) -> Result<Value, Failure> {
        eval::evaluate(&self.root, subject)
    }
}

/// Whether `text` can be the name of a variable.
pub(super) fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !lex::KEYWORDS.contains(&text)
}

#[cfg(test)]
mod tests;
