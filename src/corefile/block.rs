//! What a Corefile consists of once it is parsed: server blocks, their directives, and the lines of these.

use std::fmt;

use super::error::Position;
use super::key::ServerKey;
use super::token::Token;

/// A server block: what it answers for, and the plugins that do it.
///
/// Two blocks are equal if the same words stand on the same lines of the same files, which is what decides
/// whether a reload has something to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerBlock {
    /// At least one; a prefix stands here as all its reverse zones.
    pub keys: Vec<ServerKey>,
    /// In the order of the file, which matters among the instances of one plugin only.
    pub directives: Vec<Directive>,
    /// Where its first key is.
    pub position: Position,
}

impl ServerBlock {
    /// The zones of its keys, in order, each once.
    pub fn zones(&self) -> Vec<String> {
        let mut zones: Vec<String> = Vec::new();
        for key in &self.keys {
            if !zones.contains(&key.zone) {
                zones.push(key.zone.clone());
            }
        }
        zones
    }

    /// The instances of the plugin `name`, in order.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Directive> {
        self.directives.iter().filter(move |d| d.name.text == name)
    }
}

/// A plugin's line in a server block, and its block if it has one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Directive {
    /// The plugin's name.
    pub name: Token,
    /// What follows on the same line, without the brace.
    pub args: Vec<Token>,
    /// The lines between its braces; `None` if it has no braces.
    pub body: Option<Vec<Line>>,
}

impl Directive {
    /// The lines between its braces; none if it has no braces.
    pub fn lines(&self) -> &[Line] {
        self.body.as_deref().unwrap_or_default()
    }

    /// Where it is.
    pub const fn position(&self) -> &Position {
        &self.name.position
    }
}

/// A line in a directive's block: an option with its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Line {
    /// The first word.
    pub name: Token,
    /// The others.
    pub args: Vec<Token>,
}

// === Printing ===

/// As it would be written in a Corefile, with what was imported in place and every zone and port spelled out.
impl fmt::Display for ServerBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for key in &self.keys {
            write!(f, "{key} ")?;
        }
        f.write_str("{\n")?;
        for directive in &self.directives {
            writeln!(f, "    {directive}")?;
        }
        f.write_str("}\n")
    }
}

/// As it would be written in a server block, without indentation before its first line.
impl fmt::Display for Directive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_words(f, &self.name, &self.args)?;
        let Some(body) = &self.body else { return Ok(()) };
        f.write_str(" {\n")?;
        for line in body {
            writeln!(f, "        {line}")?;
        }
        f.write_str("    }")
    }
}

/// As it would be written, on one line unless a quoted word spans several.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_words(f, &self.name, &self.args)
    }
}

fn write_words(f: &mut fmt::Formatter<'_>, name: &Token, args: &[Token]) -> fmt::Result {
    write!(f, "{name}")?;
    args.iter().try_for_each(|arg| write!(f, " {arg}"))
}
