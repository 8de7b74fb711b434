//! Words of an expression to a tree. Functions, their arguments and variables are checked here.

use regex::{Regex, RegexBuilder};

use super::SyntaxError;
use super::functions::{Each, Function};
use super::lex::{KEYWORDS, Token, Word, lex};

/// How deep expressions may be nested.
const MAX_DEPTH: usize = 32;

/// The most memory in bytes that an expression of `matches` may become.
const MAX_REGEX: usize = 1 << 20;

/// A part of an expression.
#[derive(Debug)]
pub(super) enum Node {
    /// `nil`
    Nil,
    /// `true`, `false`
    Bool(bool),
    /// A number.
    Int(i64),
    /// A string.
    Str(String),
    /// `[a, b]`
    List(Vec<Self>),
    /// The value of a `var`.
    Variable(String),
    /// `#`
    Element,
    /// `not`, `!`
    Not(Box<Self>),
    /// `-`
    Minus(Box<Self>),
    /// Two values and what stands between them.
    Binary(Operator, Box<Self>, Box<Self>),
    /// `matches`
    Matches(Box<Self>, Regex),
    /// `a ? b : c`
    Choice(Box<[Self; 3]>),
    /// `a[b]`
    Index(Box<Self>, Box<Self>),
    /// A call.
    Call(Function, Vec<Self>),
    /// A call whose second argument is asked for each element of the first.
    Each(Each, Box<Self>, Box<Self>),
}

/// What stands between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    /// `or`
    Or,
    /// `and`
    And,
    /// `==`
    Equal,
    /// `!=`
    Unequal,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
    /// `in`
    In,
    /// `contains`
    Contains,
    /// `startsWith`
    StartsWith,
    /// `endsWith`
    EndsWith,
    /// `matches`, whose right side is a text that is known.
    Matches,
    /// `+`
    Plus,
    /// `-`
    Minus,
    /// `*`
    Times,
    /// `%`
    Modulo,
}

/// How tight `not` binds, as in expr-lang: tighter than comparisons.
const NOT: u8 = 50;

/// How tight a sign binds.
const SIGN: u8 = 90;

/// How tight comparisons bind.
const COMPARISON: u8 = 20;

impl Operator {
    fn of(token: &Token) -> Option<(Self, u8)> {
        let word = match token {
            Token::Name(name) => name.as_str(),
            Token::Sign(sign) => sign,
            _ => return None,
        };
        Some(match word {
            "or" | "||" => (Self::Or, 10),
            "and" | "&&" => (Self::And, 15),
            "==" => (Self::Equal, COMPARISON),
            "!=" => (Self::Unequal, COMPARISON),
            "<" => (Self::Less, COMPARISON),
            "<=" => (Self::AtMost, COMPARISON),
            ">" => (Self::Greater, COMPARISON),
            ">=" => (Self::AtLeast, COMPARISON),
            "in" => (Self::In, COMPARISON),
            "contains" => (Self::Contains, COMPARISON),
            "startsWith" => (Self::StartsWith, COMPARISON),
            "endsWith" => (Self::EndsWith, COMPARISON),
            "matches" => (Self::Matches, COMPARISON),
            "+" => (Self::Plus, 30),
            "-" => (Self::Minus, 30),
            "*" => (Self::Times, 60),
            "%" => (Self::Modulo, 60),
            _ => return None,
        })
    }
}

/// Reads an expression.
pub(super) fn parse(source: &str, variables: &[&str]) -> Result<Node, SyntaxError> {
    let words = lex(source)?;
    let end = source.chars().count() + 1;
    let mut parser = Parser { words: &words, at: 0, end, variables, depth: 0, elements: 0 };
    let node = parser.expression(0)?;
    match parser.peek() {
        None => Ok(node),
        Some(_) => Err(parser.error("there is more than one expression")),
    }
}

/// A place in the words.
struct Parser<'a> {
    /// All words.
    words: &'a [Word],
    /// The next one.
    at: usize,
    /// The column behind the last.
    end: usize,
    /// Variables that are known.
    variables: &'a [&'a str],
    /// How deep this is nested.
    depth: usize,
    /// How many lists there are of which `#` may be an element.
    elements: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.words.get(self.at).map(|word| &word.token)
    }

    fn error(&self, message: impl Into<String>) -> SyntaxError {
        let column = self.words.get(self.at).map_or(self.end, |word| word.column);
        SyntaxError { column, message: message.into() }
    }

    /// Takes a sign, if it is the next word.
    fn takes(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(next)) if *next == sign);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), SyntaxError> {
        if self.takes(sign) { Ok(()) } else { Err(self.error(format!("'{sign}' is missing"))) }
    }

    /// Reads a value with all operators that bind at least as tight as `tight`; zero takes a choice, too.
    fn expression(&mut self, tight: u8) -> Result<Node, SyntaxError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(format!("this is nested more than {MAX_DEPTH} deep")));
        }
        let mut left = self.unary()?;
        loop {
            let start = self.at;
            let negated = matches!(self.peek(), Some(Token::Name(name)) if name == "not");
            self.at += usize::from(negated);
            let operator = self.peek().and_then(Operator::of).filter(|(_, binds)| *binds >= tight);
            // `not` stands before operators that are words: `a not in b`.
            let word = matches!(self.peek(), Some(Token::Name(_)));
            let Some((operator, binds)) = operator.filter(|(_, b)| !negated || (word && *b == COMPARISON))
            else {
                self.at = start;
                break;
            };
            self.at += 1;
            let node = if operator == Operator::Matches {
                self.pattern(left)?
            } else {
                let right = self.expression(binds + 1)?;
                Node::Binary(operator, Box::new(left), Box::new(right))
            };
            left = if negated { Node::Not(Box::new(node)) } else { node };
        }
        if tight == 0 && self.takes("?") {
            let yes = self.expression(0)?;
            self.expect(":")?;
            let no = self.expression(0)?;
            left = Node::Choice(Box::new([left, yes, no]));
        }
        self.depth -= 1;
        Ok(left)
    }

    /// Reads the right side of `matches`.
    fn pattern(&mut self, left: Node) -> Result<Node, SyntaxError> {
        let Some(Token::Str(pattern)) = self.peek() else {
            return Err(self.error("'matches' takes a regular expression in quotes"));
        };
        let regex = RegexBuilder::new(pattern).size_limit(MAX_REGEX).build();
        let regex = regex.map_err(|_| self.error("this is not a regular expression"))?;
        self.at += 1;
        Ok(Node::Matches(Box::new(left), regex))
    }

    fn unary(&mut self) -> Result<Node, SyntaxError> {
        match self.peek() {
            Some(Token::Sign("!")) => {
                self.at += 1;
                Ok(Node::Not(Box::new(self.expression(NOT)?)))
            }
            Some(Token::Name(name)) if name == "not" => {
                self.at += 1;
                Ok(Node::Not(Box::new(self.expression(NOT)?)))
            }
            Some(Token::Sign("-")) => {
                self.at += 1;
                Ok(Node::Minus(Box::new(self.expression(SIGN)?)))
            }
            _ => {
                let mut node = self.primary()?;
                while self.takes("[") {
                    let index = self.expression(0)?;
                    self.expect("]")?;
                    node = Node::Index(Box::new(node), Box::new(index));
                }
                Ok(node)
            }
        }
    }

    fn primary(&mut self) -> Result<Node, SyntaxError> {
        let Some(token) = self.peek() else { return Err(self.error("a value is missing")) };
        let node = match token {
            Token::Int(number) => Node::Int(*number),
            Token::Str(text) => Node::Str(text.clone()),
            Token::Sign("(") => {
                self.at += 1;
                let node = self.expression(0)?;
                self.expect(")")?;
                return Ok(node);
            }
            Token::Sign("[") => {
                self.at += 1;
                return self.list("]").map(Node::List);
            }
            Token::Sign("#") if self.elements > 0 => Node::Element,
            Token::Sign("#") => return Err(self.error("# has no list around it: write any(LIST, ...)")),
            Token::Sign(sign) => return Err(self.error(format!("unexpected '{sign}'"))),
            Token::Name(name) => match name.as_str() {
                "true" => Node::Bool(true),
                "false" => Node::Bool(false),
                "nil" => Node::Nil,
                _ if matches!(self.words.get(self.at + 1), Some(Word { token: Token::Sign("("), .. })) => {
                    return self.call(name);
                }
                _ if self.variables.contains(&name.as_str()) => Node::Variable(name.clone()),
                _ if KEYWORDS.contains(&name.as_str()) => {
                    return Err(self.error(format!("unexpected '{name}'")));
                }
                _ => {
                    let known = self.variables.join(", ");
                    return Err(self.error(format!("there is no variable '{name}'; known are: {known}")));
                }
            },
        };
        self.at += 1;
        Ok(node)
    }

    /// Reads values with commas up to `end`.
    fn list(&mut self, end: &str) -> Result<Vec<Node>, SyntaxError> {
        let mut values = Vec::new();
        while !self.takes(end) {
            if !values.is_empty() {
                self.expect(",")?;
            }
            values.push(self.expression(0)?);
        }
        Ok(values)
    }

    fn call(&mut self, name: &str) -> Result<Node, SyntaxError> {
        if let Some(each) = Each::named(name) {
            self.at += 2;
            let list = self.expression(0)?;
            self.expect(",")?;
            self.elements += 1;
            let predicate = self.expression(0)?;
            self.elements -= 1;
            self.expect(")")?;
            return Ok(Node::Each(each, Box::new(list), Box::new(predicate)));
        }
        let function = Function::named(name).map_err(|message| self.error(message))?;
        let start = self.at;
        self.at += 2;
        let args = self.list(")")?;
        function.check_count(args.len()).map_err(|message| {
            self.at = start;
            self.error(message)
        })?;
        Ok(Node::Call(function, args))
    }
}
