//! Pieces of a template to nodes. Functions, variables and names of the data are checked here, so that a slip is
//! found when the configuration is read.

use std::rc::Rc;
use std::sync::Arc;

use super::functions::Function;
use super::lex::{Piece, Token, Word, lex};
use super::{Shape, SyntaxError, format};

/// How deep actions and parentheses may be nested: nobody reads more, and the parser and the run need stack for it.
const MAX_DEPTH: usize = 32;

/// A part of a template.
#[derive(Debug)]
pub(super) enum Node {
    /// Text as it is.
    Text(String),
    /// A value to print; nothing if it sets a variable.
    Output(Pipe),
    /// `if`
    If(Branches),
    /// `with`
    With(Branches),
    /// `range`
    Range(Branches),
    /// `break`
    Break,
    /// `continue`
    Continue,
}

/// A condition, and what follows from it.
#[derive(Debug)]
pub(super) struct Branches {
    /// The condition.
    pub(super) pipe: Pipe,
    /// Where it holds.
    pub(super) body: Vec<Node>,
    /// Where it does not.
    pub(super) otherwise: Vec<Node>,
}

/// Commands, each of which hands its value to the next.
#[derive(Debug)]
pub(super) struct Pipe {
    /// Variables that get the value; two with `range`.
    pub(super) variables: Vec<String>,
    /// Whether they are new.
    pub(super) declares: bool,
    /// At least one.
    pub(super) commands: Vec<Command>,
}

/// A value, or a call with its arguments.
#[derive(Debug)]
pub(super) struct Command {
    /// What is called or taken.
    pub(super) first: Operand,
    /// The arguments.
    pub(super) args: Vec<Operand>,
}

/// A value of the text.
#[derive(Debug)]
pub(super) enum Operand {
    /// `.`
    Dot,
    /// `nil`
    Nil,
    /// `true`, `false`
    Bool(bool),
    /// A number.
    Int(i64),
    /// A string.
    Str(Arc<str>),
    /// Names below the dot.
    Field(Vec<String>),
    /// A variable, and names below it.
    Variable(String, Vec<String>),
    /// A function.
    Function(Function),
    /// A pipeline in parentheses, and names below its value.
    Pipe(Box<Pipe>, Vec<String>),
}

/// What an action is in a body.
enum Action {
    /// A part of it.
    Node(Node),
    /// `else`, with what follows it.
    Else(Vec<Word>, usize),
    /// `end`
    End,
}

/// Reads a template.
pub(super) fn parse(source: &str, shape: Shape) -> Result<Vec<Node>, SyntaxError> {
    let pieces = lex(source)?;
    let mut parser = Parser {
        pieces: pieces.into_iter(),
        variables: vec![String::new()],
        shape,
        dot_is_data: true,
        loops: 0,
        depth: 0,
        len: source.chars().count(),
    };
    let (nodes, stop) = parser.body()?;
    match stop {
        None => Ok(nodes),
        Some((_, column)) => Err(error(column, "there is no 'if', 'with' or 'range' that this belongs to")),
    }
}

fn error(column: usize, message: impl Into<String>) -> SyntaxError {
    SyntaxError { column, message: message.into() }
}

/// What ended a body, and where: the words after `else`, or none for `end`.
type Stop = Option<(Option<Vec<Word>>, usize)>;

/// The state of [`parse`].
struct Parser {
    /// What is not yet read.
    pieces: std::vec::IntoIter<Piece>,
    /// Variables that are known here; the first is the data as a whole.
    variables: Vec<String>,
    /// The names of the data.
    shape: Shape,
    /// Whether the dot is the data here: within `with` and `range` it is not.
    dot_is_data: bool,
    /// How many `range` this is within.
    loops: usize,
    /// How deep this is nested.
    depth: usize,
    /// Characters of the text.
    len: usize,
}

impl Parser {
    /// Reads nodes up to `else`, `end` or the end of the text.
    fn body(&mut self) -> Result<(Vec<Node>, Stop), SyntaxError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            match piece {
                Piece::Text(text) => nodes.push(Node::Text(text)),
                Piece::Action(words) => {
                    let column = words.first().map_or(1, |w| w.column);
                    match self.action(words)? {
                        Action::Node(node) => nodes.push(node),
                        Action::Else(rest, column) => return Ok((nodes, Some((Some(rest), column)))),
                        Action::End => return Ok((nodes, Some((None, column)))),
                    }
                }
            }
        }
        Ok((nodes, None))
    }

    fn action(&mut self, words: Vec<Word>) -> Result<Action, SyntaxError> {
        let (keyword, column) = match words.first() {
            Some(Word { token: Token::Ident(name), column, .. }) => (name.clone(), *column),
            _ => (String::new(), 0),
        };
        let rest = || words[1..].to_vec();
        let alone = |what: Action| match words.get(1) {
            Some(Word { token: Token::End, .. }) => Ok(what),
            _ => Err(error(column, format!("'{keyword}' stands alone: write {{{{ {keyword} }}}}"))),
        };
        match keyword.as_str() {
            "if" | "with" | "range" => self.control(&keyword, rest(), column).map(Action::Node),
            "end" => alone(Action::End),
            "else" => Ok(Action::Else(rest(), column)),
            "break" | "continue" if self.loops == 0 => {
                Err(error(column, format!("'{keyword}' has no 'range' around it")))
            }
            "break" => alone(Action::Node(Node::Break)),
            "continue" => alone(Action::Node(Node::Continue)),
            "define" | "template" | "block" => {
                Err(error(column, format!("'{keyword}' is not supported: write the text in place")))
            }
            _ => {
                let mut words = Words::new(&words);
                let pipe = self.pipe(&mut words, false)?;
                words.end()?;
                Ok(Action::Node(Node::Output(pipe)))
            }
        }
    }

    /// Reads `if`, `with` or `range` to its end.
    fn control(&mut self, keyword: &str, words: Vec<Word>, column: usize) -> Result<Node, SyntaxError> {
        self.deeper(column)?;
        let known = self.variables.len();
        let outer = self.dot_is_data;
        let mut words = Words::new(&words);
        let pipe = self.pipe(&mut words, keyword == "range")?;
        words.end()?;
        let with_targets = self.variables.len();
        self.dot_is_data &= keyword == "if";
        self.loops += usize::from(keyword == "range");
        let (body, stop) = self.body()?;
        self.loops -= usize::from(keyword == "range");
        self.dot_is_data = outer;
        self.variables.truncate(with_targets);
        let otherwise = match stop {
            None => return Err(error(self.len + 1, format!("'{keyword}' has no {{{{ end }}}}"))),
            Some((None, _)) => Vec::new(),
            Some((Some(rest), at)) => self.otherwise(keyword, &rest, at)?,
        };
        self.variables.truncate(known);
        self.depth -= 1;
        let branches = Branches { pipe, body, otherwise };
        Ok(match keyword {
            "if" => Node::If(branches),
            "with" => Node::With(branches),
            _ => Node::Range(branches),
        })
    }

    /// Reads what follows `else`, to the end of the whole.
    fn otherwise(&mut self, keyword: &str, rest: &[Word], column: usize) -> Result<Vec<Node>, SyntaxError> {
        match rest {
            [Word { token: Token::End, .. }] => {
                self.deeper(column)?;
                let (nodes, stop) = self.body()?;
                self.depth -= 1;
                match stop {
                    Some((None, _)) => Ok(nodes),
                    Some((Some(_), at)) => Err(error(at, "there is an 'else' already")),
                    None => Err(error(self.len + 1, format!("'{keyword}' has no {{{{ end }}}}"))),
                }
            }
            // The end of the inner one is the end of both.
            [Word { token: Token::Ident(inner), .. }, rest @ ..] if inner == keyword && inner != "range" => {
                Ok(vec![self.control(inner, rest.to_vec(), column)?])
            }
            _ => Err(error(column, "write {{ else }}, {{ else if PIPE }} or {{ else with PIPE }}")),
        }
    }

    fn deeper(&mut self, column: usize) -> Result<(), SyntaxError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(error(column, format!("this is nested more than {MAX_DEPTH} deep")));
        }
        Ok(())
    }

    /// Reads a pipeline, with the variables that get its value.
    fn pipe(&mut self, words: &mut Words<'_>, range: bool) -> Result<Pipe, SyntaxError> {
        let (variables, declares) = words.targets(range)?;
        if !declares && let Some(unknown) = variables.iter().find(|v| !self.variables.contains(v)) {
            return Err(error(words.column(), format!("the variable ${unknown} is not declared: write :=")));
        }
        let mut commands = Vec::new();
        loop {
            let command = self.command(words, !commands.is_empty())?;
            commands.push(command);
            match words.peek() {
                Some(Word { token: Token::Pipe, .. }) => words.skip(),
                _ => break,
            }
        }
        if declares {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipe { variables, declares, commands })
    }

    /// Reads one command; `piped` if it gets a value from the one before.
    fn command(&mut self, words: &mut Words<'_>, piped: bool) -> Result<Command, SyntaxError> {
        let column = words.column();
        let first = self.operand(words, true)?;
        let mut args = Vec::new();
        while let Some(word) = words.peek() {
            if matches!(word.token, Token::Pipe | Token::Close | Token::End) {
                break;
            }
            if !word.spaced {
                return Err(error(word.column, "there is no space between two values"));
            }
            args.push(self.operand(words, false)?);
        }
        let given = args.len() + usize::from(piped);
        match &first {
            Operand::Function(function) => {
                function.check_count(given).map_err(|message| error(column, message))?;
                if let (Function::Printf, Some(Operand::Str(text))) = (function, args.first()) {
                    format::check(text).map_err(|message| error(column, message))?;
                }
            }
            Operand::Field(_) | Operand::Variable(..) => {
                let lookup = self.shape_of(&first).is_some_and(|shape| matches!(shape, Shape::Lookup));
                if lookup != (given == 1) && (lookup || self.shape_of(&first).is_some()) {
                    let why = if lookup { "takes one text" } else { "takes no argument" };
                    return Err(error(column, format!("this {why}")));
                }
            }
            _ if given > 0 => return Err(error(column, "this is no function, and takes no argument")),
            _ => {}
        }
        Ok(Command { first, args })
    }

    /// Reads one value with the names below it.
    fn operand(&mut self, words: &mut Words<'_>, first: bool) -> Result<Operand, SyntaxError> {
        let Some(word) = words.next() else { return Err(error(self.len + 1, "a value is missing")) };
        let Word { token, column, .. } = word;
        let operand = match token {
            Token::Dot => Operand::Dot,
            Token::Int(number) => Operand::Int(*number),
            Token::Str(text) => Operand::Str(text.as_str().into()),
            Token::Field(name) => {
                let mut names = vec![name.clone()];
                names.extend(words.fields());
                Operand::Field(names)
            }
            Token::Variable(name) if self.variables.contains(name) => {
                Operand::Variable(name.clone(), words.fields())
            }
            Token::Variable(name) => {
                return Err(error(
                    *column,
                    format!("the variable ${name} is not declared: write $x := VALUE"),
                ));
            }
            Token::Open => {
                self.deeper(*column)?;
                let pipe = self.pipe(words, false)?;
                self.depth -= 1;
                match words.next() {
                    Some(Word { token: Token::Close, .. }) => {}
                    _ => return Err(error(*column, "the parenthesis is never closed")),
                }
                Operand::Pipe(Box::new(pipe), words.fields())
            }
            Token::Ident(name) => match name.as_str() {
                "true" => Operand::Bool(true),
                "false" => Operand::Bool(false),
                "nil" if first => return Err(error(*column, "nil is no command")),
                "nil" => Operand::Nil,
                _ => {
                    let function = Function::named(name).map_err(|message| error(*column, message))?;
                    if !first {
                        return Err(error(
                            *column,
                            format!("'{name}' is called in parentheses: write ({name} ...)"),
                        ));
                    }
                    Operand::Function(function)
                }
            },
            Token::End | Token::Pipe => return Err(error(*column, "a value is missing")),
            other => return Err(error(*column, format!("unexpected {other:?}"))),
        };
        if let Operand::Field(_) | Operand::Variable(..) = &operand {
            self.check_names(&operand, *column)?;
        }
        Ok(operand)
    }

    /// The shape of what a name stands for, where that is known before a query is.
    fn shape_of(&self, operand: &Operand) -> Option<Shape> {
        self.walk(operand).and_then(Result::ok)
    }

    fn check_names(&self, operand: &Operand, column: usize) -> Result<(), SyntaxError> {
        match self.walk(operand) {
            Some(Err(message)) => Err(error(column, message)),
            _ => Ok(()),
        }
    }

    /// Follows names from the data on; `None` if they begin elsewhere.
    fn walk(&self, operand: &Operand) -> Option<Result<Shape, String>> {
        let names = match operand {
            Operand::Field(names) if self.dot_is_data => names,
            Operand::Variable(name, names) if name.is_empty() => names,
            _ => return None,
        };
        let mut shape = self.shape;
        for name in names {
            shape = match shape {
                Shape::Map => Shape::Plain,
                Shape::Plain | Shape::Lookup => return Some(Err(format!("there is no field .{name} here"))),
                Shape::Fields(fields) => match fields.iter().find(|(known, _)| known == name) {
                    Some((_, shape)) => *shape,
                    None => {
                        let known: Vec<_> = fields.iter().map(|(name, _)| format!(".{name}")).collect();
                        let known = known.join(" ");
                        return Some(Err(format!("there is no field .{name}; known are: {known}")));
                    }
                },
            };
        }
        Some(Ok(shape))
    }
}

/// The words of one action.
struct Words<'a> {
    /// What is not yet read.
    rest: &'a [Word],
}

impl<'a> Words<'a> {
    const fn new(words: &'a [Word]) -> Self {
        Self { rest: words }
    }

    fn peek(&self) -> Option<&'a Word> {
        self.rest.first()
    }

    fn next(&mut self) -> Option<&'a Word> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    fn skip(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or_default();
    }

    fn column(&self) -> usize {
        self.peek().map_or(1, |w| w.column)
    }

    fn end(&self) -> Result<(), SyntaxError> {
        match self.peek() {
            None | Some(Word { token: Token::End, .. }) => Ok(()),
            Some(word) => Err(error(word.column, format!("unexpected {:?}", word.token))),
        }
    }

    /// Takes the names that follow without a space.
    fn fields(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(Word { token: Token::Field(name), spaced: false, .. }) = self.peek() {
            names.push(name.clone());
            self.skip();
        }
        names
    }

    /// Takes `$x :=`, `$x =` and, for `range`, `$i, $x :=`: the variables, and whether they are new.
    fn targets(&mut self, range: bool) -> Result<(Vec<String>, bool), SyntaxError> {
        let tokens: Vec<_> = self.rest.iter().take(4).map(|w| &w.token).collect();
        let (names, taken, declares) = match tokens.as_slice() {
            [Token::Variable(x), Token::Declare, ..] => (vec![x.clone()], 2, true),
            [Token::Variable(x), Token::Assign, ..] => (vec![x.clone()], 2, false),
            [Token::Variable(i), Token::Comma, Token::Variable(x), op @ (Token::Declare | Token::Assign)] => {
                if !range {
                    return Err(error(self.column(), "only 'range' sets two variables"));
                }
                (vec![i.clone(), x.clone()], 4, **op == Token::Declare)
            }
            _ => return Ok((Vec::new(), false)),
        };
        if names.iter().any(String::is_empty) {
            return Err(error(self.column(), "$ is the data as a whole, and cannot be set"));
        }
        self.rest = &self.rest[taken..];
        Ok((names, declares))
    }
}

impl Operand {
    /// The text of a string, as a value has it.
    pub(super) fn shared(text: &Arc<str>) -> Rc<str> {
        Rc::from(&**text)
    }
}
