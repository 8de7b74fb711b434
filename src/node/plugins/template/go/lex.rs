//! A template's text to pieces: text and actions, and an action's words.

use super::SyntaxError;

/// A piece of a template.
#[derive(Debug)]
pub(super) enum Piece {
    /// Text as it is, trimmed where an action beside it asks for that.
    Text(String),
    /// What is between braces.
    Action(Vec<Word>),
}

/// A word of an action.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Word {
    /// What it is.
    pub(super) token: Token,
    /// Whether there is white space before it.
    pub(super) spaced: bool,
    /// The character of the template that it begins at, counted from 1.
    pub(super) column: usize,
}

/// What a word is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A keyword or a function.
    Ident(String),
    /// `.name`
    Field(String),
    /// `$name`, without the dollar; empty for the data as a whole.
    Variable(String),
    /// `.`
    Dot,
    /// A string in double quotes or backquotes.
    Str(String),
    /// A whole number, or a character.
    Int(i64),
    /// `|`
    Pipe,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    /// `,`
    Comma,
    /// The end of the action.
    End,
}

/// Takes a template apart.
pub(super) fn lex(source: &str) -> Result<Vec<Piece>, SyntaxError> {
    let chars: Vec<char> = source.chars().collect();
    let mut lexer = Lexer { chars: &chars, at: 0 };
    let mut pieces = Vec::new();
    let mut trim = false;
    loop {
        let start = lexer.at;
        while lexer.at < chars.len() && !lexer.looks_at("{{") {
            lexer.at += 1;
        }
        let mut text = &chars[start..lexer.at];
        if trim {
            let skip = text.iter().position(|c| !is_space(*c)).unwrap_or(text.len());
            text = &text[skip..];
        }
        let more = lexer.at < chars.len();
        if more && lexer.trims_left() {
            let keep = text.iter().rposition(|c| !is_space(*c)).map_or(0, |last| last + 1);
            text = &text[..keep];
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text.iter().collect()));
        }
        if !more {
            return Ok(pieces);
        }
        let (words, trims_right) = lexer.action()?;
        if let Some(words) = words {
            pieces.push(Piece::Action(words));
        }
        trim = trims_right;
    }
}

/// White space as the language has it.
const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// A place in a template.
struct Lexer<'a> {
    /// All characters.
    chars: &'a [char],
    /// The next one.
    at: usize,
}

impl Lexer<'_> {
    fn error(&self, at: usize, message: impl Into<String>) -> SyntaxError {
        SyntaxError { column: at + 1, message: message.into() }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn looks_at(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(i, c)| self.peek(i) == Some(c))
    }

    /// Whether the action that begins here trims the text before it.
    fn trims_left(&self) -> bool {
        self.peek(2) == Some('-') && self.peek(3).is_some_and(is_space)
    }

    /// Takes an action: its words, none for a comment, and whether it trims the text behind it.
    fn action(&mut self) -> Result<(Option<Vec<Word>>, bool), SyntaxError> {
        let start = self.at;
        self.at += if self.trims_left() { 3 } else { 2 };
        if let Some(trims) = self.comment(start)? {
            return Ok((None, trims));
        }
        let mut words = Vec::new();
        loop {
            let mut spaced = false;
            while self.peek(0).is_some_and(is_space) {
                self.at += 1;
                spaced = true;
            }
            if let Some(trims) = self.closes(spaced) {
                words.push(Word { token: Token::End, spaced: true, column: self.at + 1 });
                self.at += if trims { 3 } else { 2 };
                return Ok((Some(words), trims));
            }
            let column = self.at + 1;
            let token = self.token(start)?;
            words.push(Word { token, spaced, column });
        }
    }

    /// Whether an action ends here, and if so, whether it trims the text behind it.
    fn closes(&self, spaced: bool) -> Option<bool> {
        if self.looks_at("}}") {
            return Some(false);
        }
        (spaced && self.looks_at("-}}")).then_some(true)
    }

    /// Takes a comment, if one is here; whether it trims the text behind it.
    fn comment(&mut self, start: usize) -> Result<Option<bool>, SyntaxError> {
        let spaces = self.chars[self.at..].iter().take_while(|c| is_space(**c)).count();
        // Without a trim mark, a comment begins right behind the braces.
        if self.at == start + 3 {
            self.at += spaces;
        }
        if !self.looks_at("/*") {
            return Ok(None);
        }
        while !self.looks_at("*/") {
            if self.at >= self.chars.len() {
                return Err(self.error(start, "the comment is never closed: write */}}"));
            }
            self.at += 1;
        }
        self.at += 2;
        let before = self.at;
        while self.peek(0).is_some_and(is_space) {
            self.at += 1;
        }
        match self.closes(self.at > before) {
            Some(false) if self.at == before => {
                self.at += 2;
                Ok(Some(false))
            }
            Some(true) => {
                self.at += 3;
                Ok(Some(true))
            }
            _ => Err(self.error(before, "a comment ends before closing braces: write */}} or */ -}}")),
        }
    }

    /// Takes one word of the action that began at `start`.
    fn token(&mut self, start: usize) -> Result<Token, SyntaxError> {
        let at = self.at;
        let Some(c) = self.peek(0) else {
            return Err(self.error(start, "the action is never closed: write }}"));
        };
        let single = match c {
            '|' => Some(Token::Pipe),
            '(' => Some(Token::Open),
            ')' => Some(Token::Close),
            '=' => Some(Token::Assign),
            ',' => Some(Token::Comma),
            _ => None,
        };
        if let Some(token) = single {
            self.at += 1;
            return Ok(token);
        }
        match c {
            ':' if self.peek(1) == Some('=') => {
                self.at += 2;
                Ok(Token::Declare)
            }
            '"' => self.quoted(),
            '`' => self.raw(),
            '\'' => self.character(),
            '$' => {
                self.at += 1;
                Ok(Token::Variable(self.name()))
            }
            '.' if self.peek(1).is_some_and(|c| c.is_ascii_digit()) => Err(self.fraction(at)),
            '.' => {
                self.at += 1;
                let name = self.name();
                Ok(if name.is_empty() { Token::Dot } else { Token::Field(name) })
            }
            '+' | '-' | '0'..='9' => self.number(),
            _ if is_alphanumeric(c) => Ok(Token::Ident(self.name())),
            _ => Err(self.error(at, format!("unexpected character {c:?}"))),
        }
    }

    /// Takes letters, digits and underscores.
    fn name(&mut self) -> String {
        let rest = self.chars[self.at..].iter();
        let name: String = rest.take_while(|c| is_alphanumeric(**c)).collect();
        self.at += name.chars().count();
        name
    }

    fn fraction(&self, at: usize) -> SyntaxError {
        self.error(at, "numbers with fractions are not supported: write a whole number")
    }

    /// Takes a whole number: decimal, or after `0x`, `0o`, `0b`, with `_` between digits.
    fn number(&mut self) -> Result<Token, SyntaxError> {
        let at = self.at;
        let negative = self.peek(0) == Some('-');
        if matches!(self.peek(0), Some('+' | '-')) {
            self.at += 1;
        }
        let digits = self.name().replace('_', "");
        if self.peek(0) == Some('.') && self.peek(1).is_some_and(|c| c.is_ascii_digit()) {
            return Err(self.fraction(at));
        }
        let magnitude = super::functions::parse_magnitude(&digits, 0);
        let signed = magnitude.and_then(|n| i128::from(n).checked_mul(if negative { -1 } else { 1 }));
        signed
            .and_then(|n| i64::try_from(n).ok())
            .map(Token::Int)
            .ok_or_else(|| self.error(at, "this is no whole number of 64 bits"))
    }

    /// Takes a string in double quotes.
    fn quoted(&mut self) -> Result<Token, SyntaxError> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.peek(0) {
                Some('"') => {
                    self.at += 1;
                    return Ok(Token::Str(text));
                }
                None | Some('\n') => return Err(self.error(start, "the string is never closed")),
                Some('\\') => text.push(self.escape('"')?),
                Some(c) => {
                    text.push(c);
                    self.at += 1;
                }
            }
        }
    }

    /// Takes a string in backquotes.
    fn raw(&mut self) -> Result<Token, SyntaxError> {
        let start = self.at;
        let rest = &self.chars[start + 1..];
        let Some(len) = rest.iter().position(|c| *c == '`') else {
            return Err(self.error(start, "the string is never closed"));
        };
        self.at += len + 2;
        Ok(Token::Str(rest[..len].iter().collect()))
    }

    /// Takes a character in single quotes, which is a number.
    fn character(&mut self) -> Result<Token, SyntaxError> {
        let start = self.at;
        self.at += 1;
        let c = match self.peek(0) {
            Some('\\') => self.escape('\'')?,
            Some(c) if c != '\'' && c != '\n' => {
                self.at += 1;
                c
            }
            _ => return Err(self.error(start, "there is no character in the quotes")),
        };
        if self.peek(0) != Some('\'') {
            return Err(
                self.error(start, "single quotes hold one character: write a string in double quotes")
            );
        }
        self.at += 1;
        Ok(Token::Int(i64::from(u32::from(c))))
    }

    /// Takes an escape as Go has them.
    fn escape(&mut self, quote: char) -> Result<char, SyntaxError> {
        let at = self.at;
        let c = self.peek(1);
        self.at += 2;
        let digits = match c {
            Some('a') => return Ok('\u{7}'),
            Some('b') => return Ok('\u{8}'),
            Some('f') => return Ok('\u{c}'),
            Some('n') => return Ok('\n'),
            Some('r') => return Ok('\r'),
            Some('t') => return Ok('\t'),
            Some('v') => return Ok('\u{b}'),
            Some('\\') => return Ok('\\'),
            Some(c) if c == quote => return Ok(c),
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            _ => 0,
        };
        let spelled: String = self.chars.iter().skip(self.at).take(digits).collect();
        self.at += digits;
        let code = u32::from_str_radix(&spelled, 16).ok();
        let plain = spelled.chars().all(|c| c.is_ascii_hexdigit());
        // A byte beyond ASCII would not be a character by itself.
        let code = code.filter(|code| plain && (digits != 2 || *code < 0x80));
        code.and_then(char::from_u32).ok_or_else(|| self.error(at, "unknown escape in a string"))
    }
}
