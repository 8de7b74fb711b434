//! Where something stands in a configuration, and what is wrong with it there.

use std::fmt;
use std::io;
use std::sync::Arc;

/// A place in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The file as it was named on the command line, or the absolute path of an imported one.
    pub file: Arc<str>,
    /// The line, counted from 1; 0 stands for the file as a whole.
    pub line: u32,
}

impl Position {
    /// The file as a whole.
    pub fn of_file(file: &str) -> Self {
        Self { file: file.into(), line: 0 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// What a caller may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The Corefile itself is not there.
    Missing,
    /// The Corefile itself is there and cannot be read.
    Unreadable,
    /// What it says, or what it imports, is wrong.
    Invalid,
}

/// Something is wrong with the configuration; nothing of it may be used.
///
/// Prints as CoreDNS does, `FILE:LINE - Error during parsing: MESSAGE`, so that whatever watches CoreDNS's
/// output still finds the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{position} - Error during parsing: {message}")]
pub struct Error {
    /// What sort of failure it is.
    kind: ErrorKind,
    /// Where.
    position: Position,
    /// What is wrong, and what would be right.
    message: String,
}

impl Error {
    /// The text at `position` is wrong. The message says what is wrong and what would be right, without a
    /// final full stop.
    pub fn new(position: &Position, message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Invalid, position: position.clone(), message: message.into() }
    }

    /// The Corefile itself could not be read.
    pub(super) fn unreadable(file: &str, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::Missing,
            _ => ErrorKind::Unreadable,
        };
        Self { kind, position: Position::of_file(file), message: format!("reading the Corefile: {error}") }
    }

    /// The same, said in a plugin's name unless it is already.
    #[must_use]
    pub fn of_plugin(self, name: &str) -> Self {
        if self.message.starts_with("plugin/") {
            return self;
        }
        Self { message: format!("plugin/{name}: {}", self.message), ..self }
    }

    /// What sort of failure it is.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Where it is.
    pub const fn position(&self) -> &Position {
        &self.position
    }

    /// What is wrong, and what would be right; without the place.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// The longest difference, in single-letter edits, that still counts as a slip of the finger.
const MAX_SLIP: usize = 2;

/// `; did you mean 'X'?` for the word of `known` that `word` was probably meant to be, or nothing.
pub(super) fn did_you_mean(word: &str, known: &[&str]) -> String {
    known
        .iter()
        .map(|candidate| (edits(word, candidate), candidate))
        // A word shorter than twice the difference has nothing in common with the candidate.
        .filter(|(distance, candidate)| *distance <= MAX_SLIP && candidate.len() > 2 * distance)
        .min_by_key(|(distance, _)| *distance)
        .map_or_else(String::new, |(_, candidate)| format!("; did you mean '{candidate}'?"))
}

/// The Levenshtein distance in bytes, or any number above [`MAX_SLIP`].
fn edits(a: &str, b: &str) -> usize {
    if a.len().abs_diff(b.len()) > MAX_SLIP {
        return MAX_SLIP + 1; // spares the table for words of attackers' or merely absurd length
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_coredns_does() {
        let at = Position { file: "Corefile".into(), line: 7 };
        let e = Error::new(&at, "Unknown directive 'x'");
        assert_eq!(e.to_string(), "Corefile:7 - Error during parsing: Unknown directive 'x'");
        assert_eq!(
            (e.position().line, e.message(), e.kind()),
            (7, "Unknown directive 'x'", ErrorKind::Invalid)
        );
        assert_eq!(Position::of_file("Corefile").to_string(), "Corefile");
    }

    #[test]
    fn suggestions() {
        struct Case {
            word: &'static str,
            hint: &'static str,
        }
        let known = ["forward", "cache", "log", "loop", "ready"];
        for c in [
            Case { word: "foward", hint: "; did you mean 'forward'?" },
            Case { word: "catche", hint: "; did you mean 'cache'?" },
            Case { word: "proxy", hint: "" },
            Case { word: "lgo", hint: "" },
            Case { word: "", hint: "" },
        ] {
            assert_eq!(did_you_mean(c.word, &known), c.hint, "{}", c.word);
        }
    }
}
