//! Words to server blocks.
//!
//! Knows nothing of plugins but, if it is told, their names. Where CoreDNS takes a slip for something else (a
//! brace glued to a word becomes part of a zone's name, a block without a key is dropped) this is an error.

use super::LoadOptions;
use super::block::{Directive, Line, ServerBlock};
use super::error::{Error, Position, did_you_mean};
use super::import::{Stream, snippet_name};
use super::key::ServerKey;
use super::token::Token;

/// Reads all server blocks of a stream.
pub(super) fn blocks(stream: &mut Stream<'_>, options: &LoadOptions<'_>) -> Result<Vec<ServerBlock>, Error> {
    let mut parser = Parser { stream, options, keys: 0 };
    let mut blocks = Vec::new();
    while parser.stream.peek().is_some() {
        blocks.extend(parser.block()?);
    }
    Ok(blocks)
}

/// The state of [`blocks`].
struct Parser<'s, 'o> {
    /// What is not yet read.
    stream: &'s mut Stream<'o>,
    /// The default port and the known directives.
    options: &'s LoadOptions<'s>,
    /// Keys so far.
    keys: usize,
}

/// The most keys in one configuration, prefixes counted by their reverse zones: more than one for every
/// /24 of 10.0.0.0/8, and few enough to fit in memory many times over.
const MAX_KEYS: usize = 100_000;

/// What a brace is for, in the error for one in the wrong place.
const STRAY_CLOSE: &str = "Unexpected '}' because no matching opening brace";

impl Parser<'_, '_> {
    /// Reads a server block or a snippet; `None` for a snippet, and where only imports of nothing are left.
    fn block(&mut self) -> Result<Option<ServerBlock>, Error> {
        let (start, words) = self.keys()?;
        let Some(start) = start else { return Ok(None) };
        let open = self.open_brace();
        if let [name] = words.as_slice()
            && snippet_name(&name.text).is_some()
        {
            self.snippet(name, open)?;
            return Ok(None);
        }
        let keys = self.server_keys(&words, &start)?;
        let directives = self.directives(open.as_ref())?;
        Ok(Some(ServerBlock { keys, directives, position: start }))
    }

    // === Keys ===

    /// Reads words up to the end of the line or a brace; a comma at the end of a line lets them go on. Also
    /// gives where they begin: `None` if nothing is there.
    fn keys(&mut self) -> Result<(Option<Position>, Vec<Token>), Error> {
        let mut start = None;
        let mut words = Vec::new();
        let mut comma = false;
        while let Some(next) = self.stream.peek() {
            let at_line_start = next.starts_line;
            if start.is_some() && at_line_start && !comma {
                break;
            }
            if at_line_start && self.stream.at_import() {
                self.stream.take_import()?;
                continue;
            }
            if next.token.opens() {
                if comma {
                    let why = "Expected another address but had '{' - check for extra comma";
                    return Err(next.token.error(why));
                }
                start.get_or_insert_with(|| next.token.position.clone());
                break;
            }
            if next.token.closes() {
                return Err(next
                    .token
                    .error(format!("{STRAY_CLOSE}: a server block begins with its zones and '{{'")));
            }
            let Some(mut word) = self.stream.take() else { break };
            start.get_or_insert_with(|| word.position.clone());
            comma = word.text.ends_with(',');
            if comma {
                word.text.pop();
            }
            // Nothing is left of a comma on its own and of a variable that is not set.
            if !word.text.is_empty() {
                words.push(word);
            }
        }
        if comma {
            return Err(self.stream.unexpected_end("another zone must follow the comma"));
        }
        Ok((start, words))
    }

    fn server_keys(&mut self, words: &[Token], start: &Position) -> Result<Vec<ServerKey>, Error> {
        if words.is_empty() {
            let why = "server block without a zone: write a zone such as '.:53' before '{' (a variable that is not \
                       set leaves nothing)";
            return Err(Error::new(start, why));
        }
        let mut keys = Vec::new();
        for word in words {
            check_glued_brace(word)?;
            if word.text.starts_with('(') {
                let why =
                    format!("'{}' is no zone: a snippet's name stands alone before its '{{'", word.text);
                return Err(word.error(why));
            }
            keys.extend(ServerKey::parse(word, self.options.default_port, &mut self.stream.warnings)?);
            if self.keys + keys.len() > MAX_KEYS {
                return Err(word
                    .error(format!("more than {MAX_KEYS} zones, prefixes counted by their reverse zones")));
            }
        }
        self.keys += keys.len();
        Ok(keys)
    }

    /// Takes the brace that opens a block, if it comes next, on this line or a later one; gives its place.
    fn open_brace(&mut self) -> Option<Position> {
        if !self.stream.peek()?.token.opens() {
            return None;
        }
        self.stream.take_raw().map(|brace| brace.token.position)
    }

    // === Snippets ===

    /// Reads a snippet's body as it is written: imports and variables are replaced where it is used.
    fn snippet(&mut self, name: &Token, open: Option<Position>) -> Result<(), Error> {
        let Some(open) = open else {
            let why =
                format!("snippet {} without a body: write '{} {{', lines, and '}}'", name.text, name.text);
            return Err(name.error(why));
        };
        if name.text == "()" {
            return Err(
                name.error("snippet without a name: write it between the parentheses, as in '(common) {'")
            );
        }
        let mut body = Vec::new();
        let mut depth = 0usize;
        loop {
            let Some(lexeme) = self.stream.take_raw() else { return Err(self.never_closed(&open)) };
            if lexeme.token.opens() {
                depth += 1;
            } else if lexeme.token.closes() {
                match depth.checked_sub(1) {
                    Some(outer) => depth = outer,
                    None => return self.stream.define(name, body),
                }
            }
            body.push(lexeme);
        }
    }

    // === Directives ===

    /// Reads directives up to the brace that closes the block, or up to the end if no brace opened it.
    fn directives(&mut self, open: Option<&Position>) -> Result<Vec<Directive>, Error> {
        let mut directives = Vec::new();
        loop {
            let Some(next) = self.stream.peek() else {
                return match open {
                    Some(open) => Err(self.never_closed(open)),
                    None => Ok(directives),
                };
            };
            if next.token.closes() {
                if open.is_none() {
                    return Err(next
                        .token
                        .error(format!("{STRAY_CLOSE}: the block was opened without '{{'")));
                }
                self.stream.take_raw();
                return Ok(directives);
            }
            if next.token.opens() {
                let why = "Unexpected '{': it must stand on the line of its directive, after the arguments";
                return Err(next.token.error(why));
            }
            if self.stream.at_import() {
                self.stream.take_import()?;
            } else if let Some(name) = self.stream.take() {
                directives.push(self.directive(name)?);
            }
        }
    }

    fn directive(&mut self, name: Token) -> Result<Directive, Error> {
        self.check_name(&name)?;
        let mut args = Vec::new();
        while let Some(next) = self.stream.peek().filter(|next| !next.starts_line) {
            if next.token.opens() {
                let open = next.token.position.clone();
                self.stream.take_raw();
                let body = self.body(&open)?;
                self.check_line_ends()?;
                return Ok(Directive { name, args, body: Some(body) });
            }
            if next.token.closes() {
                let why = format!("{STRAY_CLOSE}: write the '}}' of a server block on a line of its own");
                return Err(next.token.error(why));
            }
            args.extend(self.stream.take());
        }
        Ok(Directive { name, args, body: None })
    }

    /// Reads the lines of a directive's block and the brace that closes it.
    fn body(&mut self, open: &Position) -> Result<Vec<Line>, Error> {
        let mut lines = Vec::new();
        loop {
            let Some(next) = self.stream.peek() else { return Err(self.never_closed(open)) };
            if next.token.closes() {
                self.stream.take_raw();
                return Ok(lines);
            }
            if self.stream.at_import() {
                self.stream.take_import()?;
                continue;
            }
            if next.token.opens() {
                return Err(nested(&next.token));
            }
            let Some(name) = self.stream.take() else { continue };
            lines.push(self.line(name)?);
        }
    }

    /// Reads the rest of a line in a directive's block; its `}` may follow on the same line.
    fn line(&mut self, name: Token) -> Result<Line, Error> {
        let mut args = Vec::new();
        while let Some(next) = self.stream.peek().filter(|next| !next.starts_line && !next.token.closes()) {
            if next.token.opens() {
                return Err(nested(&next.token));
            }
            args.extend(self.stream.take());
        }
        Ok(Line { name, args })
    }

    // === Checks ===

    fn check_name(&self, name: &Token) -> Result<(), Error> {
        let text = name.text.as_str();
        let unknown = |hint: &str| name.error(format!("Unknown directive '{text}'{hint}"));
        if let Some(word) = text.strip_suffix('{').filter(|word| !word.is_empty()) {
            return Err(unknown(&format!(": write a space before the brace, '{word} {{'")));
        }
        if text.is_empty() {
            return Err(unknown(": it is empty, as a variable is that is not set"));
        }
        if snippet_name(text).is_some() {
            return Err(unknown(": snippets are defined outside of server blocks, before their use"));
        }
        match self.options.directives {
            Some(known) if !known.contains(&text) => Err(unknown(&did_you_mean(text, known))),
            _ => Ok(()),
        }
    }

    /// Nothing may follow the brace that closes a directive's block.
    fn check_line_ends(&self) -> Result<(), Error> {
        match self.stream.peek().filter(|next| !next.starts_line) {
            Some(next) if next.token.closes() => {
                let why = format!("{STRAY_CLOSE}: write the '}}' of a server block on a line of its own");
                Err(next.token.error(why))
            }
            Some(next) => {
                let why = format!(
                    "Unexpected '{}' after '}}': begin a new line for the next directive",
                    next.token.text
                );
                Err(next.token.error(why))
            }
            None => Ok(()),
        }
    }

    fn never_closed(&self, open: &Position) -> Error {
        self.stream.unexpected_end(&format!("expecting '}}' for the '{{' at {open}"))
    }
}

/// A key like `.:53{` or `{}` is a brace without the space that makes it one.
fn check_glued_brace(word: &Token) -> Result<(), Error> {
    let Some(zone) = word.text.strip_suffix(['{', '}']) else { return Ok(()) };
    let why = match zone {
        "" | "{" => {
            format!("Unexpected '{}': write '{{' after the zones and '}}' on a line of its own", word.text)
        }
        zone => format!("Unexpected brace in '{}': write a space before it, '{zone} {{'", word.text),
    };
    Err(word.error(why))
}

fn nested(brace: &Token) -> Error {
    brace.error("Unexpected '{': a directive's block holds plain lines, no further blocks")
}
