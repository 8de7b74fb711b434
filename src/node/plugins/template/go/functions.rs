//! The functions of templates.

use std::cmp::Ordering;
use std::ops::RangeInclusive;

use super::eval::{Failure, Run};
use super::format::sprintf;
use super::value::Value;

/// Most arguments of one call.
const MANY: usize = 64;

macro_rules! functions {
    ($($variant:ident = $name:literal, $count:expr;)*) => {
        /// A function; those without a comment are Go's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Function {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        /// The functions by name, with how many arguments they take.
        const FUNCTIONS: &[(&str, Function, RangeInclusive<usize>)] = &[
            $(($name, Function::$variant, $count),)*
        ];
    };
}

functions! {
    And = "and", 1..=MANY;
    Or = "or", 1..=MANY;
    Not = "not", 1..=1;
    Eq = "eq", 2..=MANY;
    Ne = "ne", 2..=2;
    Lt = "lt", 2..=2;
    Le = "le", 2..=2;
    Gt = "gt", 2..=2;
    Ge = "ge", 2..=2;
    Len = "len", 1..=1;
    Index = "index", 1..=MANY;
    Slice = "slice", 1..=3;
    Print = "print", 0..=MANY;
    Printf = "printf", 1..=MANY;
    Println = "println", 0..=MANY;
    ParseInt = "parseInt", 3..=3;
}

impl Function {
    /// The function of this name; the error says which there are.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        let found = FUNCTIONS.iter().find(|(known, ..)| *known == name);
        found.map(|(_, function, _)| *function).ok_or_else(|| {
            let known: Vec<_> = FUNCTIONS.iter().map(|(name, ..)| *name).collect();
            match name {
                "html" | "js" | "urlquery" | "call" => {
                    format!("the function '{name}' is not supported; known are: {}", known.join(" "))
                }
                _ => format!("there is no function '{name}'; known are: {}", known.join(" ")),
            }
        })
    }

    /// Whether it takes so many arguments.
    pub(super) fn check_count(self, given: usize) -> Result<(), String> {
        let Some((name, _, count)) = FUNCTIONS.iter().find(|(_, function, _)| *function == self) else {
            return Ok(());
        };
        if count.contains(&given) {
            return Ok(());
        }
        let (min, max) = (count.start(), count.end());
        Err(match (min == max, *max == MANY) {
            (true, _) => format!("'{name}' takes {min} arguments, not {given}"),
            (_, true) if given < *min => format!("'{name}' takes at least {min} arguments, not {given}"),
            _ => format!("'{name}' takes {min} to {max} arguments, not {given}"),
        })
    }

    /// Calls it.
    pub(super) fn call(self, args: &[Value], run: &mut Run<'_>) -> Result<Value, Failure> {
        match (self, args) {
            // These two are decided where their arguments are, one by one.
            (Self::And | Self::Or, _) => Ok(args.last().cloned().unwrap_or(Value::Nothing)),
            (Self::Not, [value]) => Ok(Value::Bool(!value.is_true())),
            (Self::Eq, [first, others @ ..]) if !others.is_empty() => {
                let mut any = false;
                for other in others {
                    any |= equal(first, other)?;
                }
                Ok(Value::Bool(any))
            }
            (Self::Ne, [a, b]) => Ok(Value::Bool(!equal(a, b)?)),
            (Self::Lt, [a, b]) => Ok(Value::Bool(compare(a, b)?.is_lt())),
            (Self::Le, [a, b]) => Ok(Value::Bool(compare(a, b)?.is_le())),
            (Self::Gt, [a, b]) => Ok(Value::Bool(compare(a, b)?.is_gt())),
            (Self::Ge, [a, b]) => Ok(Value::Bool(compare(a, b)?.is_ge())),
            (Self::Len, [value]) => len(value),
            (Self::Index, [value, keys @ ..]) => keys.iter().try_fold(value.clone(), |v, key| index(&v, key)),
            (Self::Slice, [value, bounds @ ..]) => slice(value, bounds, run),
            (Self::Print, args) => {
                run.spend(args.iter().map(|v| v.print_len() + 1).sum())?;
                run.made(print(args))
            }
            (Self::Println, args) => {
                run.spend(args.iter().map(|v| v.print_len() + 1).sum())?;
                let words: Vec<_> = args.iter().map(Value::to_string).collect();
                run.made(format!("{}\n", words.join(" ")))
            }
            (Self::Printf, [Value::Str(text), values @ ..]) => {
                run.spend(values.iter().map(Value::print_len).sum())?;
                let made = sprintf(text, values).map_err(Failure)?;
                run.made(made)
            }
            (Self::ParseInt, [Value::Str(digits), base, bits]) => parse_int(digits, base, bits),
            _ => Err(Failure(format!("{self:?}: wrong arguments"))),
        }
    }
}

fn equal(a: &Value, b: &Value) -> Result<bool, Failure> {
    match (a, b) {
        (Value::Nothing, Value::Nothing) => Ok(true),
        (Value::Nothing, _) | (_, Value::Nothing) => Ok(false),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        _ => compare(a, b).map(Ordering::is_eq),
    }
}

fn compare(a: &Value, b: &Value) -> Result<Ordering, Failure> {
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => Ok(a.cmp(b)),
        _ => match (a.number(), b.number()) {
            (Some(a), Some(b)) => Ok(a.cmp(&b)),
            _ => Err(Failure(format!("{} and {} cannot be compared", a.kind(), b.kind()))),
        },
    }
}

fn len(value: &Value) -> Result<Value, Failure> {
    let len = match value {
        Value::Str(text) => text.len(),
        Value::List(list) => list.len(),
        Value::Map(map) => map.len(),
        other => return Err(Failure(format!("{} has no length", other.kind()))),
    };
    Ok(Value::Int(len as i64))
}

/// A number as a place among `len`; `end` allows the one behind the last.
fn place(value: &Value, len: usize, end: bool) -> Result<usize, Failure> {
    let Some(number) = value.number() else {
        return Err(Failure(format!("{} is no index", value.kind())));
    };
    let at = usize::try_from(number).ok().filter(|at| *at < len + usize::from(end));
    at.ok_or_else(|| Failure(format!("index out of range: {number} of {len}")))
}

fn index(value: &Value, key: &Value) -> Result<Value, Failure> {
    match (value, key) {
        (Value::List(list), _) => Ok(list[place(key, list.len(), false)?].clone()),
        (Value::Str(text), _) => Ok(Value::Uint(u64::from(text.as_bytes()[place(key, text.len(), false)?]))),
        // A name that is not there is an empty text: all maps are of texts.
        (Value::Map(map), Value::Str(key)) => Ok(map.get(&**key).cloned().unwrap_or_else(|| Value::text(""))),
        (other, _) => Err(Failure(format!("{} cannot be indexed by {}", other.kind(), key.kind()))),
    }
}

fn slice(value: &Value, bounds: &[Value], run: &mut Run<'_>) -> Result<Value, Failure> {
    let len = match value {
        Value::Str(text) => text.len(),
        Value::List(list) => list.len(),
        other => return Err(Failure(format!("{} cannot be sliced", other.kind()))),
    };
    let start = bounds.first().map_or(Ok(0), |v| place(v, len, true))?;
    let end = bounds.get(1).map_or(Ok(len), |v| place(v, len, true))?;
    if start > end {
        return Err(Failure(format!("a slice ends at {end} before it begins at {start}")));
    }
    match value {
        Value::Str(text) => {
            let part = text.get(start..end);
            let part = part.ok_or_else(|| Failure("a slice begins or ends within a character".to_owned()))?;
            run.made(part.to_owned())
        }
        Value::List(list) => {
            run.spend(end - start)?;
            Ok(Value::List(list[start..end].into()))
        }
        _ => Ok(Value::Nothing),
    }
}

/// With spaces between neighbours of which none is a text.
fn print(args: &[Value]) -> String {
    let mut out = String::new();
    let mut after_text = true;
    for (i, value) in args.iter().enumerate() {
        let is_text = matches!(value, Value::Str(_));
        if i > 0 && !is_text && !after_text {
            out.push(' ');
        }
        out.push_str(&value.to_string());
        after_text = is_text;
    }
    out
}

/// `parseInt TEXT BASE BITS`, Go's strconv.ParseUint: a number without a sign.
fn parse_int(digits: &str, base: &Value, bits: &Value) -> Result<Value, Failure> {
    let base =
        base.number().and_then(|base| u32::try_from(base).ok()).filter(|b| *b == 0 || (2..=36).contains(b));
    let bits = bits.number().and_then(|bits| u32::try_from(bits).ok()).filter(|bits| *bits <= 64);
    let (Some(base), Some(bits)) = (base, bits) else {
        return Err(Failure("parseInt: a base is 0 or from 2 to 36, and a size at most 64 bits".to_owned()));
    };
    let bits = if bits == 0 { 64 } else { bits };
    let digits_of_base_0 = if base == 0 { digits.replace('_', "") } else { digits.to_owned() };
    let number = parse_magnitude(&digits_of_base_0, base).filter(|n| bits == 64 || n >> bits == 0);
    number
        .map(Value::Uint)
        .ok_or_else(|| Failure(format!("parseInt: {digits:?} is no number of base {base} and {bits} bits")))
}

/// A number without a sign; base 0 lets `0x`, `0o`, `0b` or a leading `0` say which base it is.
pub(super) fn parse_magnitude(digits: &str, base: u32) -> Option<u64> {
    let (digits, base) = match (base, digits.as_bytes()) {
        (0, [b'0', b'x' | b'X', ..]) => (&digits[2..], 16),
        (0, [b'0', b'o' | b'O', ..]) => (&digits[2..], 8),
        (0, [b'0', b'b' | b'B', ..]) => (&digits[2..], 2),
        (0, [b'0', _, ..]) => (&digits[1..], 8),
        (0, _) => (digits, 10),
        (base, _) => (digits, base),
    };
    // Rust takes a sign, too.
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_alphanumeric());
    if plain { u64::from_str_radix(digits, base).ok() } else { None }
}
