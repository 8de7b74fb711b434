//! The Corefile: text -> words -> server blocks, with CoreDNS's grammar and CoreDNS's error format.
//!
//! Knows no plugin: a directive is a name, its arguments and perhaps a block of lines ([`Directive`]). What
//! these mean is for the plugins' setup code, which reads them with [`Statement`] and methods of [`Token`].
//! Depends on nothing else in this crate; its only I/O is reading the Corefile and what it imports.
//!
//! ```text
//! files ──▶ token (words) ──▶ import (one stream) ──▶ parser ──▶ ServerBlock { keys, directives }
//!             env (variables) ─────┘                    └── key, name, reverse (zones)
//! ```
//!
//! Invariants:
//! * Every word, and so every error, knows its file and line.
//! * The order of the result depends on the text and on file names only; matches of a pattern are sorted.
//! * Variables are expanded once, after splitting: a value is never split, and never makes a brace.
//! * Sizes are bounded: bytes of a file, imports, words.
//! * Nothing is half applied: one error, and there is no configuration.

mod args;
mod block;
mod duplicates;
mod duration;
mod env;
mod error;
mod files;
mod import;
mod key;
mod name;
mod parser;
mod reverse;
mod token;

use std::path::{Path, PathBuf};

pub use args::{Statement, zones};
pub use block::{Directive, Line, ServerBlock};
pub use duplicates::{Listener, check_duplicates};
pub use error::{Error, ErrorKind, Position};
pub use files::STDIN;
pub use key::{Scheme, ServerKey};
pub use reverse::reverse_zones;
pub use token::Token;

/// What the text of a Corefile leaves open.
#[derive(Clone, Copy)]
pub struct LoadOptions<'a> {
    /// The port of a `dns` key that names none: `-dns.port`, 53 by default.
    pub default_port: u16,
    /// Looks up an environment variable; the process's own by default.
    pub env: &'a (dyn Fn(&str) -> Option<String> + Sync),
    /// The names that directives may have; `None` (the default) allows any.
    pub directives: Option<&'a [&'a str]>,
}

impl Default for LoadOptions<'_> {
    fn default() -> Self {
        Self { default_port: Scheme::Dns.default_port(), env: &env::process, directives: None }
    }
}

/// A configuration that is well formed; whether its plugins agree with it is not yet known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corefile {
    /// The server blocks, in the order of the text.
    pub blocks: Vec<ServerBlock>,
    /// What is odd and not wrong.
    pub warnings: Vec<Warning>,
    /// The files that were read, the Corefile first unless it came from standard input; each once.
    pub files: Vec<PathBuf>,
}

/// Something odd that CoreDNS accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where it is.
    pub position: Position,
    /// What is odd, for people.
    pub text: String,
}

/// Reads a duration as Go writes it: `300ms`, `1m30s`, `0`. The error says what would be right.
pub fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    duration::parse(text)
}

/// Reads the Corefile at `path`, or standard input for `stdin`, and what it imports.
///
/// Errors: [`ErrorKind::Missing`] and [`ErrorKind::Unreadable`] for the file itself, [`ErrorKind::Invalid`]
/// for what is in it.
pub fn load(path: &Path, options: &LoadOptions<'_>) -> Result<Corefile, Error> {
    let name = path.to_string_lossy();
    let text = files::read_main(path).map_err(|e| Error::unreadable(&name, &e))?;
    let mut corefile = parse(&text, &name, options)?;
    if name != STDIN {
        corefile.files.insert(0, path.to_owned());
    }
    Ok(corefile)
}

/// Parses `text`, which the file named `file` is said to hold: errors name it, and imports are relative to
/// its folder.
pub fn parse(text: &str, file: &str, options: &LoadOptions<'_>) -> Result<Corefile, Error> {
    let mut stream = import::Stream::new(text, file, options)?;
    let blocks = parser::blocks(&mut stream, options)?;
    Ok(Corefile { blocks, warnings: stream.warnings, files: stream.files })
}
