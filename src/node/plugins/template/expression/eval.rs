//! The value of an expression.

use std::rc::Rc;

use super::functions::Each;
use super::parse::{Node, Operator};
use super::{Failure, Subject, Value};

/// Most parts that are looked at in one run: a list of 100 within another fits.
const MAX_STEPS: usize = 50_000;

/// Most bytes of texts and lists that one run makes.
const MAX_BYTES: usize = 64 * 1024;

/// A run.
pub(super) struct Run<'a> {
    /// What the expression is about.
    pub(super) subject: &'a Subject<'a>,
    /// What `#` is, the innermost last.
    elements: Vec<Value>,
    /// Steps that are left.
    steps: usize,
    /// Bytes that are left.
    bytes: usize,
}

/// Runs an expression.
pub(super) fn evaluate(node: &Node, subject: &Subject<'_>) -> Result<Value, Failure> {
    Run { subject, elements: Vec::new(), steps: MAX_STEPS, bytes: MAX_BYTES }.value(node)
}

/// A text, and nothing else.
pub(super) fn text_of(value: &Value) -> Result<String, Failure> {
    match value {
        Value::Str(text) => Ok(text.to_string()),
        other => Err(Failure::new(format!("{} is no text", other.kind()))),
    }
}

fn truth_of(value: &Value) -> Result<bool, Failure> {
    match value {
        Value::Bool(value) => Ok(*value),
        other => Err(Failure::new(format!("{} is no truth value", other.kind()))),
    }
}

/// Whether two values are the same; values of two kinds never are.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Nothing, Value::Nothing) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Str(a), Value::Str(b)) => a == b,
        (Value::List(a), Value::List(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same(a, b))
        }
        _ => a.number().is_some() && a.number() == b.number(),
    }
}

impl Run<'_> {
    /// Invariant: what takes memory pays here.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), Failure> {
        let left = self.bytes.checked_sub(bytes);
        self.bytes = left.ok_or_else(|| Failure::new(format!("more than {MAX_BYTES} bytes")))?;
        Ok(())
    }

    /// A text that a function made.
    pub(super) fn made(&mut self, text: String) -> Result<Value, Failure> {
        self.spend(text.len())?;
        Ok(Value::Str(Rc::from(text)))
    }

    fn value(&mut self, node: &Node) -> Result<Value, Failure> {
        // Invariant: what takes time pays here.
        let left = self.steps.checked_sub(1);
        self.steps = left.ok_or_else(|| Failure::new(format!("more than {MAX_STEPS} steps")))?;
        Ok(match node {
            Node::Nil => Value::Nothing,
            Node::Bool(value) => Value::Bool(*value),
            Node::Int(number) => Value::Int(*number),
            Node::Str(text) => Value::text(text),
            Node::List(nodes) => {
                self.spend(nodes.len())?;
                Value::List(nodes.iter().map(|node| self.value(node)).collect::<Result<_, _>>()?)
            }
            Node::Variable(name) => match self.subject.variables.get(name) {
                Some(value) => value.clone(),
                None => return Err(Failure::new(format!("there is no variable '{name}'"))),
            },
            Node::Element => self.elements.last().cloned().unwrap_or(Value::Nothing),
            Node::Not(node) => Value::Bool(!truth_of(&self.value(node)?)?),
            Node::Minus(node) => {
                let Value::Int(number) = self.value(node)? else {
                    return Err(Failure::new("only a number has a sign".to_owned()));
                };
                Value::Int(number.checked_neg().ok_or_else(overflow)?)
            }
            Node::Binary(operator, a, b) => self.binary(*operator, a, b)?,
            Node::Matches(node, regex) => Value::Bool(regex.is_match(&text_of(&self.value(node)?)?)),
            Node::Choice(nodes) => {
                let [condition, yes, no] = &**nodes;
                let holds = truth_of(&self.value(condition)?)?;
                self.value(if holds { yes } else { no })?
            }
            Node::Index(list, index) => match (self.value(list)?, self.value(index)?) {
                (Value::List(list), Value::Int(index)) => {
                    // From the end, as in expr-lang.
                    let from = if index < 0 { list.len() as i64 } else { 0 };
                    let at = index.checked_add(from).and_then(|at| usize::try_from(at).ok());
                    let found = at.and_then(|at| list.get(at)).cloned();
                    found.ok_or_else(|| {
                        Failure::new(format!("index out of range: {index} of {}", list.len()))
                    })?
                }
                (list, index) => {
                    return Err(Failure::new(format!("{} has no {} as index", list.kind(), index.kind())));
                }
            },
            Node::Call(function, nodes) => {
                let args = nodes.iter().map(|node| self.value(node)).collect::<Result<Vec<_>, _>>()?;
                function.call(&args, self)?
            }
            Node::Each(each, list, predicate) => self.each(*each, list, predicate)?,
        })
    }

    fn binary(&mut self, operator: Operator, a: &Node, b: &Node) -> Result<Value, Failure> {
        let a = self.value(a)?;
        match operator {
            Operator::Or if truth_of(&a)? => return Ok(a),
            Operator::And if !truth_of(&a)? => return Ok(a),
            _ => {}
        }
        let b = self.value(b)?;
        let order = || match (&a, &b) {
            (Value::Str(a), Value::Str(b)) => Ok(a.cmp(b)),
            _ => match (a.number(), b.number()) {
                (Some(a), Some(b)) => Ok(a.cmp(&b)),
                _ => Err(Failure::new(format!("{} and {} have no order", a.kind(), b.kind()))),
            },
        };
        let numbers = || match (&a, &b) {
            (Value::Int(a), Value::Int(b)) => Ok((*a, *b)),
            _ => Err(Failure::new(format!("{} and {} are not both numbers", a.kind(), b.kind()))),
        };
        Ok(match operator {
            Operator::Or | Operator::And => Value::Bool(truth_of(&b)?),
            Operator::Equal => Value::Bool(same(&a, &b)),
            Operator::Unequal => Value::Bool(!same(&a, &b)),
            Operator::Less => Value::Bool(order()?.is_lt()),
            Operator::AtMost => Value::Bool(order()?.is_le()),
            Operator::Greater => Value::Bool(order()?.is_gt()),
            Operator::AtLeast => Value::Bool(order()?.is_ge()),
            Operator::In => match &b {
                Value::List(list) => Value::Bool(list.iter().any(|element| same(element, &a))),
                other => return Err(Failure::new(format!("{} is no list", other.kind()))),
            },
            Operator::Contains => Value::Bool(text_of(&a)?.contains(&text_of(&b)?)),
            Operator::StartsWith => Value::Bool(text_of(&a)?.starts_with(&text_of(&b)?)),
            Operator::EndsWith => Value::Bool(text_of(&a)?.ends_with(&text_of(&b)?)),
            Operator::Plus => match (&a, &b) {
                (Value::Str(a), Value::Str(b)) => {
                    self.spend(a.len() + b.len())?;
                    Value::text(format!("{a}{b}"))
                }
                _ => {
                    let (a, b) = numbers()?;
                    Value::Int(a.checked_add(b).ok_or_else(overflow)?)
                }
            },
            Operator::Minus => {
                let (a, b) = numbers()?;
                Value::Int(a.checked_sub(b).ok_or_else(overflow)?)
            }
            Operator::Times => {
                let (a, b) = numbers()?;
                Value::Int(a.checked_mul(b).ok_or_else(overflow)?)
            }
            Operator::Modulo => {
                let (a, b) = numbers()?;
                Value::Int(a.checked_rem(b).ok_or_else(overflow)?)
            }
            // Its right side is no value; the parser makes another node of it.
            Operator::Matches => Value::Bool(false),
        })
    }

    fn each(&mut self, each: Each, list: &Node, predicate: &Node) -> Result<Value, Failure> {
        let list = match self.value(list)? {
            Value::List(list) => list,
            other => return Err(Failure::new(format!("{} is no list", other.kind()))),
        };
        let mut count = 0;
        let mut kept = Vec::new();
        for element in list.iter() {
            self.elements.push(element.clone());
            let value = self.value(predicate);
            self.elements.pop();
            let value = value?;
            if each == Each::Map {
                self.spend(1)?;
                kept.push(value);
            } else if truth_of(&value)? {
                count += 1;
                if each == Each::Filter {
                    self.spend(1)?;
                    kept.push(element.clone());
                }
            }
        }
        Ok(match each {
            Each::Any => Value::Bool(count > 0),
            Each::All => Value::Bool(count == list.len()),
            Each::None => Value::Bool(count == 0),
            Each::One => Value::Bool(count == 1),
            Each::Count => Value::Int(i64::try_from(count).unwrap_or(i64::MAX)),
            Each::Filter | Each::Map => Value::List(kept.into()),
        })
    }
}

fn overflow() -> Failure {
    Failure::new("a number does not fit 64 bits, or is divided by zero".to_owned())
}
