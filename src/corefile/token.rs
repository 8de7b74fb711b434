//! Text to words.
//!
//! Invariant: a word never spans lines unless it is quoted, and whether a word opens a line is decided here,
//! once; nobody downstream compares line numbers.

use std::fmt;
use std::sync::Arc;

use super::error::{Error, Position};

/// One word of a Corefile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// The word without its quotes, environment variables expanded.
    pub text: String,
    /// Whether it was written in quotes; a quoted brace is an ordinary word.
    pub quoted: bool,
    /// Where it begins.
    pub position: Position,
}

impl Token {
    /// Something is wrong with this word; see [`Error::new`] for the message.
    pub fn error(&self, message: impl Into<String>) -> Error {
        Error::new(&self.position, message)
    }

    /// Whether it is the brace that opens a block.
    pub(super) fn opens(&self) -> bool {
        !self.quoted && self.text == "{"
    }

    /// Whether it is the brace that closes a block.
    pub(super) fn closes(&self) -> bool {
        !self.quoted && self.text == "}"
    }
}

/// As it would be written in a Corefile, in quotes where it needs them.
///
/// Reading it back gives the same text for every word that was read from a file. Only an environment variable
/// can make a word that has no spelling: one with an odd number of backslashes before a quote or its end.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text.as_str();
        let plain = !self.quoted
            && !text.is_empty()
            && !matches!(text, "{" | "}")
            && !text.starts_with('"')
            && !text.contains(|c: char| c.is_whitespace() || c == '#');
        if plain {
            return f.write_str(text);
        }
        write!(f, "\"{}\"", text.replace('"', "\\\""))
    }
}

/// A word, and whether it is the first of its line.
#[derive(Clone, Debug)]
pub(super) struct Lexeme {
    /// The word.
    pub(super) token: Token,
    /// Whether no other word stands before it on its line.
    pub(super) starts_line: bool,
}

/// What a text consists of.
#[derive(Debug)]
pub(super) struct Lexed {
    /// Its words in order.
    pub(super) lexemes: Vec<Lexeme>,
    /// Where a quote begins that is never closed: its word ran to the end of the file.
    pub(super) unclosed_quote: Option<Position>,
}

/// Splits `text` into words; never fails.
pub(super) fn lex(text: &str, file: &Arc<str>) -> Lexed {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Lexer { rest: text, line: 1, last_end: 0, file, lexemes: Vec::new() }.run()
}

/// The state of [`lex`].
struct Lexer<'a> {
    /// What is not yet read.
    rest: &'a str,
    /// The line that `rest` begins on.
    line: u32,
    /// The line on which the last word ended; 0 before the first.
    last_end: u32,
    /// For positions.
    file: &'a Arc<str>,
    /// What was found.
    lexemes: Vec<Lexeme>,
}

impl Lexer<'_> {
    fn run(mut self) -> Lexed {
        let mut unclosed_quote = None;
        while let Some(c) = self.rest.chars().next() {
            match c {
                '\n' => {
                    self.line = self.line.saturating_add(1);
                    self.skip(c);
                }
                '#' => self.skip_comment(),
                _ if c.is_whitespace() => self.skip(c),
                '"' => {
                    let line = self.line;
                    if !self.quoted() {
                        unclosed_quote = Some(Position { file: Arc::clone(self.file), line });
                    }
                }
                _ => self.word(),
            }
        }
        Lexed { lexemes: self.lexemes, unclosed_quote }
    }

    fn skip(&mut self, c: char) {
        self.rest = &self.rest[c.len_utf8()..];
    }

    fn skip_comment(&mut self) {
        self.rest = self.rest.find('\n').map_or("", |end| &self.rest[end..]);
    }

    /// Takes a word that is not quoted; `#` ends it, a quote inside it does not, a CR inside it is dropped.
    fn word(&mut self) {
        let ends = |c: char| c == '#' || (c.is_whitespace() && c != '\r');
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.push(word.replace('\r', ""), false, self.line);
    }

    /// Takes a quoted word with its quotes; false if there is no second quote.
    fn quoted(&mut self) -> bool {
        let line = self.line;
        let mut text = String::new();
        let mut escaped = false;
        let mut chars = self.rest.char_indices().skip(1);
        let closed = loop {
            let Some((at, c)) = chars.next() else {
                self.rest = "";
                break false; // a backslash that nothing follows is dropped, as CoreDNS does
            };
            match c {
                '"' if !escaped => {
                    self.rest = &self.rest[at + 1..];
                    break true;
                }
                '\\' if !escaped => {
                    escaped = true;
                    continue;
                }
                '\n' => self.line = self.line.saturating_add(1),
                _ => {}
            }
            // Only the quote can be escaped: regular expressions keep their backslashes as they are.
            if escaped && c != '"' {
                text.push('\\');
            }
            text.push(c);
            escaped = false;
        };
        if closed || !text.is_empty() {
            self.push(text, true, line);
        }
        closed
    }

    fn push(&mut self, text: String, quoted: bool, line: u32) {
        let position = Position { file: Arc::clone(self.file), line };
        let starts_line = self.last_end < line;
        self.last_end = self.line;
        self.lexemes.push(Lexeme { token: Token { text, quoted, position }, starts_line });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Vec<Lexeme> {
        lex(text, &"t".into()).lexemes
    }

    #[test]
    fn splitting() {
        struct Case {
            name: &'static str,
            text: &'static str,
            /// Text, line, whether it opens a line.
            want: &'static [(&'static str, u32, bool)],
        }
        for c in [
            Case { name: "nothing", text: " \n\t", want: &[] },
            Case { name: "byte order mark", text: "\u{feff}a", want: &[("a", 1, true)] },
            Case {
                name: "lines",
                text: "a b\n\nc",
                want: &[("a", 1, true), ("b", 1, false), ("c", 3, true)],
            },
            Case { name: "CR", text: "a\r\nb\rc\r\n", want: &[("a", 1, true), ("bc", 2, true)] },
            Case { name: "comment", text: "a #b c\n#d\ne", want: &[("a", 1, true), ("e", 3, true)] },
            Case { name: "comment in a word", text: "a#b\nc", want: &[("a", 1, true), ("c", 2, true)] },
            Case {
                name: "quotes",
                text: r#""a b" "" c"#,
                want: &[("a b", 1, true), ("", 1, false), ("c", 1, false)],
            },
            Case { name: "hash in quotes", text: r##""a#b""##, want: &[("a#b", 1, true)] },
            Case { name: "escaped quote", text: r#""a\"b\.c""#, want: &[("a\"b\\.c", 1, true)] },
            Case {
                name: "two backslashes",
                text: r#""a\\" b"#,
                want: &[("a\\\\", 1, true), ("b", 1, false)],
            },
            Case { name: "quote in a word", text: "a\"b c\"", want: &[("a\"b", 1, true), ("c\"", 1, false)] },
            Case { name: "word after a quote", text: "\"a\"b", want: &[("a", 1, true), ("b", 1, false)] },
            Case {
                name: "quoted lines",
                text: "\"a\nb\" c\nd",
                want: &[("a\nb", 1, true), ("c", 2, false), ("d", 3, true)],
            },
            Case { name: "never closed", text: "a \"b\nc", want: &[("a", 1, true), ("b\nc", 1, false)] },
            Case { name: "never closed, empty", text: "a \"", want: &[("a", 1, true)] },
            Case { name: "never closed, backslash", text: "\"a b\\", want: &[("a b", 1, true)] },
            Case {
                name: "braces",
                text: "a{ } {b",
                want: &[("a{", 1, true), ("}", 1, false), ("{b", 1, false)],
            },
        ] {
            let got = words(c.text);
            let got: Vec<_> =
                got.iter().map(|l| (l.token.text.as_str(), l.token.position.line, l.starts_line)).collect();
            assert_eq!(got, c.want, "{}", c.name);
        }
    }

    #[test]
    fn an_open_quote_is_reported() {
        assert_eq!(lex("a\n\"b", &"t".into()).unclosed_quote.unwrap().line, 2);
        assert_eq!(lex("\"a\" b\"", &"t".into()).unclosed_quote, None);
    }

    /// The words as a text, line by line.
    fn print(lexemes: &[Lexeme]) -> String {
        let mut out = String::new();
        for l in lexemes {
            out.push(if l.starts_line { '\n' } else { ' ' });
            // A brace that is not quoted prints as one here: Display would turn it into a word.
            match l.token.opens() || l.token.closes() {
                true => out.push_str(&l.token.text),
                false => out.push_str(&l.token.to_string()),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn printing_and_reading_gives_the_same_words(text in r#"([a-z"\\#{}\r\n ]|\PC){0,60}"#) {
            let first = words(&text);
            let second = words(&print(&first));
            let plain = |l: &[Lexeme]| -> Vec<(String, bool, bool)> {
                l.iter().map(|l| (l.token.text.clone(), l.token.opens() || l.token.closes(), l.starts_line)).collect()
            };
            prop_assert_eq!(plain(&first), plain(&second));
        }
    }
}
