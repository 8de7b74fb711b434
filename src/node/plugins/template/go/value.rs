//! Values that a template works with.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// A value; a clone is cheap.
#[derive(Clone)]
pub(in super::super) enum Value {
    /// Nothing: `nil`, or a name that a map does not have.
    Nothing,
    /// A truth value.
    Bool(bool),
    /// A whole number with a sign.
    Int(i64),
    /// A whole number without one: what `parseInt` and bytes of strings are.
    Uint(u64),
    /// A text.
    Str(Rc<str>),
    /// Values by number.
    List(Rc<[Self]>),
    /// Values by any name.
    Map(Rc<BTreeMap<String, Self>>),
    /// Values by known names.
    Struct(Rc<[(&'static str, Self)]>),
    /// Values that are asked for with one text.
    Lookup(Rc<dyn Fn(&str) -> String>),
}

impl Value {
    /// A text.
    pub(in super::super) fn text(text: impl AsRef<str>) -> Self {
        Self::Str(text.as_ref().into())
    }

    /// Whether it counts as true: anything but nothing, zero and what is empty.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Bool(value) => *value,
            Self::Int(number) => *number != 0,
            Self::Uint(number) => *number != 0,
            Self::Str(text) => !text.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Struct(_) | Self::Lookup(_) => true,
        }
    }

    /// What it is, for errors.
    pub(in super::super) const fn kind(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Bool(_) => "a truth value",
            Self::Int(_) | Self::Uint(_) => "a number",
            Self::Str(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Struct(_) => "a set of fields",
            Self::Lookup(_) => "a look-up",
        }
    }

    /// A whole number of either sort.
    pub(in super::super) fn number(&self) -> Option<i128> {
        match self {
            Self::Int(number) => Some(i128::from(*number)),
            Self::Uint(number) => Some(i128::from(*number)),
            _ => None,
        }
    }

    /// How many bytes it is printed as at least: what a program pays before it prints.
    pub(in super::super) fn print_len(&self) -> usize {
        match self {
            Self::Str(text) => text.len(),
            Self::List(list) => list.iter().map(|v| 1 + v.print_len()).sum(),
            Self::Map(map) => map.iter().map(|(k, v)| k.len() + 2 + v.print_len()).sum(),
            _ => 1,
        }
    }
}

/// As Go prints it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("<nil>"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Uint(number) => write!(f, "{number}"),
            Self::Str(text) => f.write_str(text),
            Self::List(list) => {
                f.write_str("[")?;
                for (i, value) in list.iter().enumerate() {
                    write!(f, "{}{value}", if i > 0 { " " } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Map(map) => {
                f.write_str("map[")?;
                for (i, (key, value)) in map.iter().enumerate() {
                    write!(f, "{}{key}:{value}", if i > 0 { " " } else { "" })?;
                }
                f.write_str("]")
            }
            // Never printed: `eval` refuses it.
            Self::Struct(_) | Self::Lookup(_) => f.write_str(self.kind()),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Str(text) => write!(f, "{text:?}"),
            other => write!(f, "{other}"),
        }
    }
}
