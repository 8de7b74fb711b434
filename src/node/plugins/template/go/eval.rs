//! Running a template with a query's data.
//!
//! Go's rules for what counts as true, for missing names and for printing hold. Variables of a branch end with it.

use std::rc::Rc;

use super::functions::Function;
use super::parse::{Branches, Command, Node, Operand, Pipe};
use super::value::Value;

/// Most steps of one run, a step being a node, a command or a value: two of 100 values within each other fit.
const MAX_STEPS: usize = 50_000;

/// Most bytes that one run makes, printed or not: a record's data has at most 65,535, four characters each when
/// escaped.
const MAX_BYTES: usize = 512 * 1024;

/// Why a run ended without a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(in super::super) struct Failure(pub(super) String);

impl Failure {
    /// A run ended because of `why`.
    pub(in super::super) const fn new(why: String) -> Self {
        Self(why)
    }
}

/// Runs `nodes`.
pub(super) fn render(nodes: &[Node], data: &Value) -> Result<String, Failure> {
    let mut run =
        Run { out: String::new(), variables: vec![("", data.clone())], steps: MAX_STEPS, bytes: MAX_BYTES };
    run.nodes(nodes, data)?;
    Ok(run.out)
}

/// What comes after a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// The next one.
    Next,
    /// The end of the `range` around it.
    Break,
    /// The next turn of the `range` around it.
    Continue,
}

/// A run.
pub(super) struct Run<'t> {
    /// What was printed.
    out: String,
    /// Variables; later ones hide earlier ones of the same name.
    variables: Vec<(&'t str, Value)>,
    /// Steps that are left.
    steps: usize,
    /// Bytes that are left.
    bytes: usize,
}

impl<'t> Run<'t> {
    /// Invariant: what takes time pays here.
    fn step(&mut self) -> Result<(), Failure> {
        self.steps =
            self.steps.checked_sub(1).ok_or_else(|| Failure(format!("more than {MAX_STEPS} steps")))?;
        Ok(())
    }

    /// Invariant: what takes memory pays here.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), Failure> {
        self.bytes =
            self.bytes.checked_sub(bytes).ok_or_else(|| Failure(format!("more than {MAX_BYTES} bytes")))?;
        Ok(())
    }

    fn nodes(&mut self, nodes: &'t [Node], dot: &Value) -> Result<Flow, Failure> {
        let known = self.variables.len();
        let mut flow = Flow::Next;
        for node in nodes {
            self.step()?;
            flow = match node {
                Node::Text(text) => {
                    self.spend(text.len())?;
                    self.out.push_str(text);
                    Flow::Next
                }
                Node::Output(pipe) => {
                    self.output(pipe, dot)?;
                    Flow::Next
                }
                Node::If(branches) => self.branch(branches, dot, false)?,
                Node::With(branches) => self.branch(branches, dot, true)?,
                Node::Range(branches) => self.range(branches, dot)?,
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::Next {
                break;
            }
        }
        self.variables.truncate(known);
        Ok(flow)
    }

    fn output(&mut self, pipe: &'t Pipe, dot: &Value) -> Result<(), Failure> {
        let value = self.pipe(pipe, dot)?;
        if !pipe.variables.is_empty() {
            return self.set(pipe, &[value]);
        }
        if let Value::Struct(_) | Value::Lookup(_) = value {
            return Err(Failure(format!("{} cannot be printed", value.kind())));
        }
        self.spend(value.print_len())?;
        match value {
            // As Go prints it where a template does, but not where a function does.
            Value::Nothing => self.out.push_str("<no value>"),
            value => self.out.push_str(&value.to_string()),
        }
        Ok(())
    }

    /// `if` and `with`.
    fn branch(&mut self, branches: &'t Branches, dot: &Value, moves_dot: bool) -> Result<Flow, Failure> {
        let known = self.variables.len();
        let value = self.pipe(&branches.pipe, dot)?;
        self.set(&branches.pipe, std::slice::from_ref(&value))?;
        let flow = match (value.is_true(), moves_dot) {
            (true, true) => self.nodes(&branches.body, &value)?,
            (true, false) => self.nodes(&branches.body, dot)?,
            (false, _) => self.nodes(&branches.otherwise, dot)?,
        };
        self.variables.truncate(known);
        Ok(flow)
    }

    fn range(&mut self, branches: &'t Branches, dot: &Value) -> Result<Flow, Failure> {
        let known = self.variables.len();
        let value = self.pipe(&branches.pipe, dot)?;
        let mut turns: Box<dyn Iterator<Item = (Value, Value)>> = match &value {
            Value::Nothing => Box::new(std::iter::empty()),
            Value::List(list) => {
                Box::new(list.iter().enumerate().map(|(i, v)| (Value::Int(i as i64), v.clone())))
            }
            Value::Map(map) => Box::new(map.iter().map(|(key, v)| (Value::text(key), v.clone()))),
            Value::Int(count) => Box::new((0..*count).map(|i| (Value::Int(i), Value::Int(i)))),
            other => {
                return Err(Failure(format!(
                    "'range' takes a list, a map or a number, not {}",
                    other.kind()
                )));
            }
        };
        let mut any = false;
        for (key, element) in turns.by_ref() {
            any = true;
            self.step()?;
            let values: &[Value] = match branches.pipe.variables.len() {
                2 => &[key, element.clone()],
                _ => std::slice::from_ref(&element),
            };
            self.set(&branches.pipe, values)?;
            let flow = self.nodes(&branches.body, &element)?;
            self.variables.truncate(known);
            if flow == Flow::Break {
                break;
            }
        }
        let flow = if any { Flow::Next } else { self.nodes(&branches.otherwise, dot)? };
        self.variables.truncate(known);
        Ok(flow)
    }

    /// Sets the variables of a pipeline, if it has any.
    fn set(&mut self, pipe: &'t Pipe, values: &[Value]) -> Result<(), Failure> {
        for (name, value) in pipe.variables.iter().zip(values) {
            if pipe.declares {
                self.variables.push((name, value.clone()));
            } else {
                *self.variable(name)? = value.clone();
            }
        }
        Ok(())
    }

    fn variable(&mut self, name: &str) -> Result<&mut Value, Failure> {
        let found = self.variables.iter_mut().rev().find(|(known, _)| *known == name);
        found.map(|(_, value)| value).ok_or_else(|| Failure(format!("the variable ${name} is not declared")))
    }

    fn pipe(&mut self, pipe: &'t Pipe, dot: &Value) -> Result<Value, Failure> {
        let mut value = None;
        for command in &pipe.commands {
            self.step()?;
            value = Some(self.command(command, dot, value)?);
        }
        value.ok_or_else(|| Failure("an empty pipeline".to_owned()))
    }

    /// One command; what was piped into it is its last argument.
    fn command(&mut self, command: &'t Command, dot: &Value, piped: Option<Value>) -> Result<Value, Failure> {
        if let Operand::Function(function) = &command.first {
            if let Function::And | Function::Or = function {
                return self.short_circuit(*function == Function::Or, command, dot, piped);
            }
            let mut args = Vec::with_capacity(command.args.len() + 1);
            for arg in &command.args {
                args.push(self.operand(arg, dot)?);
            }
            args.extend(piped);
            return function.call(&args, self);
        }
        let first = self.operand(&command.first, dot)?;
        let mut args = Vec::new();
        for arg in &command.args {
            args.push(self.operand(arg, dot)?);
        }
        args.extend(piped);
        match (first, args.as_slice()) {
            (Value::Lookup(lookup), [Value::Str(label)]) => {
                let found = lookup(label);
                self.spend(found.len())?;
                Ok(Value::text(found))
            }
            (Value::Lookup(_), _) => Err(Failure("a look-up takes one text".to_owned())),
            (value, []) => Ok(value),
            (value, _) => Err(Failure(format!("{} takes no argument", value.kind()))),
        }
    }

    /// `and` and `or`: the first value that decides, or the last.
    fn short_circuit(
        &mut self,
        decisive: bool,
        command: &'t Command,
        dot: &Value,
        piped: Option<Value>,
    ) -> Result<Value, Failure> {
        let mut last = Value::Nothing;
        for arg in &command.args {
            last = self.operand(arg, dot)?;
            if last.is_true() == decisive {
                return Ok(last);
            }
        }
        Ok(piped.unwrap_or(last))
    }

    fn operand(&mut self, operand: &'t Operand, dot: &Value) -> Result<Value, Failure> {
        self.step()?;
        let (mut value, names) = match operand {
            Operand::Dot => (dot.clone(), &[][..]),
            Operand::Nil => (Value::Nothing, &[][..]),
            Operand::Bool(value) => (Value::Bool(*value), &[][..]),
            Operand::Int(number) => (Value::Int(*number), &[][..]),
            Operand::Str(text) => (Value::Str(Operand::shared(text)), &[][..]),
            Operand::Field(names) => (dot.clone(), names.as_slice()),
            Operand::Variable(name, names) => (self.variable(name)?.clone(), names.as_slice()),
            Operand::Pipe(pipe, names) => (self.pipe(pipe, dot)?, names.as_slice()),
            Operand::Function(function) => return function.call(&[], self),
        };
        for name in names {
            value = match &value {
                Value::Struct(fields) => match fields.iter().find(|(known, _)| known == name) {
                    Some((_, value)) => value.clone(),
                    None => return Err(Failure(format!("there is no field .{name}"))),
                },
                Value::Map(map) => map.get(name).cloned().unwrap_or(Value::Nothing),
                other => return Err(Failure(format!("{} has no field .{name}", other.kind()))),
            };
        }
        Ok(value)
    }

    /// A text that a function made.
    pub(super) fn made(&mut self, text: String) -> Result<Value, Failure> {
        self.spend(text.len())?;
        Ok(Value::Str(Rc::from(text)))
    }
}
