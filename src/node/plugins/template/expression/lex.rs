//! An expression's text to words.

use super::SyntaxError;

/// Words that are no names.
pub(super) const KEYWORDS: [&str; 15] = [
    "and",
    "or",
    "not",
    "in",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "true",
    "false",
    "nil",
    "let",
    "if",
    "else",
    "null",
];

/// Signs of two characters, before those of one.
const SIGNS: [&str; 24] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "?", ":", "+", "-", "*", "%", "(", ")", "[", "]", ",",
    "#", "/", ".", "|",
];

/// A word of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Word {
    /// What it is.
    pub(super) token: Token,
    /// The character that it begins at, counted from 1.
    pub(super) column: usize,
}

/// What a word is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A keyword, a function or a variable.
    Name(String),
    /// A string.
    Str(String),
    /// A whole number.
    Int(i64),
    /// An operator or a bracket.
    Sign(&'static str),
}

/// Takes an expression apart.
pub(super) fn lex(source: &str) -> Result<Vec<Word>, SyntaxError> {
    let chars: Vec<char> = source.chars().collect();
    let error = |at: usize, message: &str| SyntaxError { column: at + 1, message: message.to_owned() };
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let start = at;
        let token = match c {
            c if c.is_whitespace() => {
                at += 1;
                continue;
            }
            '\'' | '"' | '`' => {
                let mut text = String::new();
                at += 1;
                loop {
                    match chars.get(at) {
                        None => return Err(error(start, "the string is never closed")),
                        Some(end) if *end == c => break,
                        Some('\\') if c != '`' => {
                            at += 1;
                            text.push(match chars.get(at) {
                                Some('n') => '\n',
                                Some('t') => '\t',
                                Some('r') => '\r',
                                Some(other) if "'\"\\`".contains(*other) => *other,
                                _ => return Err(error(at - 1, "unknown escape in a string")),
                            });
                        }
                        Some(other) => text.push(*other),
                    }
                    at += 1;
                }
                at += 1;
                Token::Str(text)
            }
            '0'..='9' => {
                while chars.get(at).is_some_and(char::is_ascii_alphanumeric) {
                    at += 1;
                }
                let digits: String = chars[start..at].iter().collect();
                let fraction = chars.get(at) == Some(&'.');
                match digits.parse() {
                    Ok(number) if !fraction => Token::Int(number),
                    _ => return Err(error(start, "this is no whole number of 64 bits")),
                }
            }
            c if c.is_ascii_alphabetic() || c == '_' => {
                while chars.get(at).is_some_and(|c| c.is_ascii_alphanumeric() || *c == '_') {
                    at += 1;
                }
                Token::Name(chars[start..at].iter().collect())
            }
            _ => {
                let here =
                    |sign: &&&str| sign.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
                let Some(sign) = SIGNS.iter().find(here) else {
                    return Err(error(start, &format!("unexpected character {c:?}")));
                };
                at += sign.len();
                Token::Sign(sign)
            }
        };
        words.push(Word { token, column: start + 1 });
    }
    Ok(words)
}
