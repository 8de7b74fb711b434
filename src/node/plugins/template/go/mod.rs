//! Go's template language (text/template), as far as answers need it.
//!
//! ```text
//! {{ .Name }}  {{- trimmed -}}  {{/* comment */}}  {{ $x := index .Match 1 }}{{ $x }}
//! {{ if PIPE }}..{{ else if PIPE }}..{{ else }}..{{ end }}      {{ with PIPE }}..{{ else }}..{{ end }}
//! {{ range $i, $e := PIPE }}..{{ break }}..{{ continue }}..{{ else }}..{{ end }}
//! {{ .Group.a | printf "%03d" | print "x" }}  {{ (index .Match 1) }}
//! ```
//!
//! Functions are `and or not eq ne lt le gt ge len index slice print printf println` and CoreDNS's `parseInt`.
//! `define`, `template`, `block`, the escapes for HTML and JavaScript, and numbers with fractions are refused.
//!
//! ```text
//! text > lex (actions and their words) > parse (nodes; names are checked) > eval (with a query's data) > text
//! ```
//!
//! Invariants:
//! * A text that parses cannot run without end, nor use memory without end: [`eval`] counts steps and bytes, and
//!   the nesting of a text is bounded.
//! * Nothing is recursive beyond that nesting.

mod eval;
mod format;
mod functions;
mod lex;
mod parse;
mod value;

pub(super) use eval::Failure;
pub(super) use value::Value;

use parse::Node;

/// The longest text in bytes.
const MAX_LEN: usize = 8192;

/// What the names of the data are, so that a wrong one is found before a query is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// A value without names below it.
    Plain,
    /// A value with any name below it.
    Map,
    /// Asked with one argument.
    Lookup,
    /// These names.
    Fields(&'static [(&'static str, Self)]),
}

/// A template that was read.
#[derive(Debug)]
pub(super) struct Template {
    /// Its text.
    source: String,
    /// What it consists of.
    nodes: Vec<Node>,
}

/// Something is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    /// Where: the character, counted from 1.
    pub(super) column: usize,
    /// What is wrong, and what would be right.
    pub(super) message: String,
}

impl Template {
    /// Reads a template whose data has the fields of `shape`.
    pub(super) fn parse(source: &str, shape: Shape) -> Result<Self, SyntaxError> {
        if source.len() > MAX_LEN {
            let message = format!("the template has {} bytes: at most {MAX_LEN} are allowed", source.len());
            return Err(SyntaxError { column: 1, message });
        }
        let nodes = parse::parse(source, shape)?;
        Ok(Self { source: source.to_owned(), nodes })
    }

    /// Its text.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// The text if it is the same for all data.
    pub(super) fn fixed(&self) -> Option<String> {
        let text = |node: &Node| match node {
            Node::Text(text) => Some(text.clone()),
            _ => None,
        };
        self.nodes.iter().map(text).collect()
    }

    /// What it makes of `data`.
    pub(super) fn render(&self, data: &Value) -> Result<String, Failure> {
        eval::render(&self.nodes, data)
    }
}

#[cfg(test)]
mod tests;
