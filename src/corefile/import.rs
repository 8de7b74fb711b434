//! One stream of words out of many texts: imports are replaced by what they name while they are read.
//!
//! Invariants:
//! * An import stands alone on its line, so the word after it opens a line, whatever the import brought in.
//! * Reading ends: nothing is imported within itself, and the number of imports and of words is limited.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{Error, Position};
use super::files::{self, Target};
use super::token::{Lexeme, Token, lex};
use super::{LoadOptions, Warning, env};

/// The most imports of snippets in one configuration, the figure of CoreDNS: snippets that import others can
/// multiply.
pub(super) const MAX_SNIPPET_IMPORTS: usize = 10_000;

/// The most imports of files and patterns in one configuration, the figure of CoreDNS.
pub(super) const MAX_FILE_IMPORTS: usize = 100_000;

/// The most words in one configuration, imports included: about 100 MB of memory, and ten times the largest
/// host list that a ConfigMap can hold.
pub(super) const MAX_TOKENS: usize = 1_000_000;

/// Where words come from: what may not be imported within itself.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// A file, or a text with a file's name.
    File(PathBuf),
    /// A snippet, by its name.
    Snippet(String),
}

/// Words of one origin that are being read.
struct Frame {
    /// Where they come from.
    origin: Origin,
    /// All words.
    lexemes: Arc<[Lexeme]>,
    /// How many of them were taken.
    taken: usize,
    /// Where in this text a quote begins that is never closed.
    unclosed_quote: Option<Position>,
}

/// The words of a configuration, one after the other.
pub(super) struct Stream<'o> {
    /// How to expand environment variables.
    options: &'o LoadOptions<'o>,
    /// What is being read: each text was imported by the one before it.
    frames: Vec<Frame>,
    /// The snippets defined so far.
    snippets: HashMap<String, Arc<[Lexeme]>>,
    /// Imports of snippets so far.
    snippet_imports: usize,
    /// Imports of files and patterns so far.
    file_imports: usize,
    /// Words so far.
    tokens: usize,
    /// Where the last word was taken: the place of an unexpected end.
    last: Position,
    /// The first quote that ran to the end of its file: the likely cause of an unexpected end.
    unclosed_quote: Option<Position>,
    /// Every file that was read, in order, each once.
    pub(super) files: Vec<PathBuf>,
    /// What is odd and not wrong.
    pub(super) warnings: Vec<Warning>,
}

impl<'o> Stream<'o> {
    /// The words of `text`, which `file` is said to hold.
    pub(super) fn new(text: &str, file: &str, options: &'o LoadOptions<'o>) -> Result<Self, Error> {
        let mut stream = Self {
            options,
            frames: Vec::new(),
            snippets: HashMap::new(),
            snippet_imports: 0,
            file_imports: 0,
            tokens: 0,
            last: Position::of_file(file),
            unclosed_quote: None,
            files: Vec::new(),
            warnings: Vec::new(),
        };
        // An import names the main file by its absolute path, so that is what it is compared by.
        let path = std::path::absolute(file).unwrap_or_else(|_| file.into());
        let at = stream.last.clone();
        stream.push_text(text, file, path, &at)?;
        Ok(stream)
    }

    /// The next word, without taking it.
    pub(super) fn peek(&self) -> Option<&Lexeme> {
        self.frames.iter().rev().find_map(|frame| frame.lexemes.get(frame.taken))
    }

    /// Takes the next word as it is written.
    pub(super) fn take_raw(&mut self) -> Option<Lexeme> {
        loop {
            let frame = self.frames.last_mut()?;
            if let Some(lexeme) = frame.lexemes.get(frame.taken) {
                frame.taken += 1;
                self.last = lexeme.token.position.clone();
                return Some(lexeme.clone());
            }
            if let Some(frame) = self.frames.pop() {
                self.unclosed_quote = self.unclosed_quote.take().or(frame.unclosed_quote);
            }
        }
    }

    /// Takes the next word with its environment variables expanded.
    pub(super) fn take(&mut self) -> Option<Token> {
        let Token { text, quoted, position } = self.take_raw()?.token;
        Some(Token { text: env::expand(text, self.options.env), quoted, position })
    }

    /// Whether the next word is `import`; only to be asked where a line begins.
    pub(super) fn at_import(&self) -> bool {
        self.peek().is_some_and(|lexeme| lexeme.token.text == "import")
    }

    /// Takes the line `import PATTERN`; the next word is the first one of what it names.
    pub(super) fn take_import(&mut self) -> Result<(), Error> {
        const USAGE: &str = "write 'import SNIPPET' or 'import FILE-OR-PATTERN' on a line of its own";
        let Some(import) = self.take_raw() else { return Ok(()) };
        let at = import.token.position;
        if self.peek().is_none_or(|next| next.starts_line) {
            return Err(Error::new(&at, format!("import without an argument: {USAGE}")));
        }
        let Some(pattern) = self.take() else { return Ok(()) };
        if pattern.text.is_empty() {
            return Err(pattern.error(format!("Import requires a non-empty filepath: {USAGE}")));
        }
        if self.peek().is_some_and(|next| !next.starts_line) {
            let why = format!("Import takes only one argument (glob pattern or file): {USAGE}");
            return Err(pattern.error(why));
        }
        match self.snippets.get(&pattern.text).cloned() {
            Some(lexemes) => self.import_snippet(&pattern, lexemes),
            None => self.import_files(&pattern),
        }
    }

    /// Defines a snippet for the imports that follow.
    pub(super) fn define(&mut self, name: &Token, mut body: Vec<Lexeme>) -> Result<(), Error> {
        let snippet = snippet_name(&name.text).unwrap_or(&name.text).to_owned();
        if self.snippets.contains_key(&snippet) {
            return Err(name.error(format!(
                "redeclaration of previously declared snippet {snippet}: give it another name"
            )));
        }
        if let Some(first) = body.first_mut() {
            first.starts_line = true; // wherever it stands here, where it is imported it opens a line
        }
        let itself = body.windows(2).find(|w| {
            w[0].starts_line
                && w[0].token.text == "import"
                && env::expand(w[1].token.text.clone(), self.options.env) == snippet
        });
        if let Some([import, _]) = itself {
            return Err(import.token.error(format!("snippet {snippet} imports itself")));
        }
        self.snippets.insert(snippet, body.into());
        Ok(())
    }

    /// The error for a text that ends too early: `wanted` says what is missing.
    pub(super) fn unexpected_end(&self, wanted: &str) -> Error {
        let open = self.unclosed_quote.as_ref();
        let open = open.or_else(|| self.frames.iter().find_map(|f| f.unclosed_quote.as_ref()));
        let hint =
            open.map_or_else(String::new, |at| format!("; the quote that begins at {at} is never closed"));
        Error::new(&self.last, format!("Unexpected EOF: {wanted}{hint}"))
    }

    fn import_snippet(&mut self, name: &Token, lexemes: Arc<[Lexeme]>) -> Result<(), Error> {
        self.snippet_imports += 1;
        if self.snippet_imports > MAX_SNIPPET_IMPORTS {
            return Err(name.error(format!("more than {MAX_SNIPPET_IMPORTS} imports of snippets in all")));
        }
        self.push(Origin::Snippet(name.text.clone()), lexemes, None, &name.position)
    }

    fn import_files(&mut self, pattern: &Token) -> Result<(), Error> {
        self.file_imports += 1;
        if self.file_imports > MAX_FILE_IMPORTS {
            return Err(pattern.error(format!("more than {MAX_FILE_IMPORTS} imports of files in all")));
        }
        match files::resolve(&pattern.text, &pattern.position.file).map_err(|why| pattern.error(why))? {
            Target::File(path) => self.import_texts(pattern, vec![path]),
            Target::Matches(paths) if paths.is_empty() => {
                let text = format!("No files matching import glob pattern: {}", pattern.text);
                self.warnings.push(Warning { position: pattern.position.clone(), text });
                Ok(())
            }
            Target::Matches(paths) => self.import_texts(pattern, paths),
        }
    }

    /// Makes the files at `paths` what is read next, in that order.
    fn import_texts(&mut self, pattern: &Token, paths: Vec<PathBuf>) -> Result<(), Error> {
        let mut texts = Vec::with_capacity(paths.len());
        for path in paths {
            let text = files::read_file(&path)
                .map_err(|e| pattern.error(cannot_import(&pattern.text, &path, &e)))?;
            if !self.files.contains(&path) {
                self.files.push(path.clone());
            }
            texts.push((path, text));
        }
        // What is pushed last is read first.
        texts.into_iter().rev().try_for_each(|(path, text)| {
            let name = path.to_string_lossy().into_owned();
            self.push_text(&text, &name, path, &pattern.position)
        })
    }

    /// Makes `text` what is read next; `at` is where it was asked for.
    fn push_text(&mut self, text: &str, file: &str, path: PathBuf, at: &Position) -> Result<(), Error> {
        let lexed = lex(text, &Arc::from(file));
        self.push(Origin::File(path), lexed.lexemes.into(), lexed.unclosed_quote, at)
    }

    fn push(
        &mut self,
        origin: Origin,
        lexemes: Arc<[Lexeme]>,
        unclosed_quote: Option<Position>,
        at: &Position,
    ) -> Result<(), Error> {
        // Nothing is imported within itself: it would never end. A frame of which nothing was taken is not
        // being read, it waits behind another match of its pattern.
        if self.frames.iter().any(|frame| frame.taken > 0 && frame.origin == origin) {
            let what = match origin {
                Origin::File(path) => format!("file {}", path.display()),
                Origin::Snippet(name) => format!("snippet {name}"),
            };
            return Err(Error::new(at, format!("{what} imports itself, by itself or through others")));
        }
        self.tokens += lexemes.len();
        if self.tokens > MAX_TOKENS {
            let why = format!("more than {MAX_TOKENS} words, imports included");
            return Err(Error::new(at, why));
        }
        self.frames.push(Frame { origin, lexemes, taken: 0, unclosed_quote });
        Ok(())
    }
}

/// The name of the snippet that a key in parentheses defines.
pub(super) fn snippet_name(key: &str) -> Option<&str> {
    key.strip_prefix('(')?.strip_suffix(')')
}

/// What is wrong with a file that cannot be imported.
fn cannot_import(pattern: &str, path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => format!(
            "File to import not found: {pattern} (no file {path}, and no snippet of that name is defined above)"
        ),
        io::ErrorKind::IsADirectory => {
            format!(
                "Could not import {path}: is a directory; a pattern such as *.conf leaves directories out"
            )
        }
        _ => format!("Could not import {path}: {error}"),
    }
}
