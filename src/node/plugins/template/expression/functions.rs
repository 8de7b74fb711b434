//! The functions of expressions: those of CoreDNS about the query, and some of expr-lang's about values.

use std::net::IpAddr;
use std::rc::Rc;

use ipnet::IpNet;

use super::eval::{Run, text_of};
use super::{Failure, Value};
use crate::node::plugins::log::names::{ClassText, NameText, TypeText};

macro_rules! functions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $count:expr;)*) => {
        /// A function.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Function {
            $($(#[$doc])* $variant,)*
        }

        /// The functions by name, with how many arguments they take.
        const FUNCTIONS: &[(&str, Function, usize)] = &[$(($name, Function::$variant, $count),)*];
    };
}

functions! {
    /// UDP payload size that the client takes.
    BufSize = "bufsize", 0;
    /// Class that is asked for.
    Class = "class", 0;
    /// The client's address.
    ClientIp = "client_ip", 0;
    /// DO
    Do = "do", 0;
    /// A group of the expression that matched, by number or name.
    Group = "group", 1;
    /// The message's id.
    Id = "id", 0;
    /// Whether an address is within a prefix.
    InCidr = "incidr", 2;
    /// What is known under a label of the `metadata` plugin.
    Metadata = "metadata", 1;
    /// Name that is asked for: absolute, in lower case.
    Name = "name", 0;
    /// The message's opcode.
    Opcode = "opcode", 0;
    /// The client's port.
    Port = "port", 0;
    /// `udp` or `tcp`.
    Proto = "proto", 0;
    /// Address that was asked.
    ServerIp = "server_ip", 0;
    /// Port that was asked.
    ServerPort = "server_port", 0;
    /// Length of the query in bytes.
    Size = "size", 0;
    /// Type that is asked for.
    Type = "type", 0;
    /// How many characters or elements there are.
    Len = "len", 1;
    /// In lower case.
    Lower = "lower", 1;
    /// In upper case.
    Upper = "upper", 1;
    /// Without white space at both ends.
    Trim = "trim", 1;
    /// Without a beginning.
    TrimPrefix = "trimPrefix", 2;
    /// Without an end.
    TrimSuffix = "trimSuffix", 2;
    /// Whether a text has this beginning.
    HasPrefix = "hasPrefix", 2;
    /// Whether a text has this end.
    HasSuffix = "hasSuffix", 2;
    /// With all of one text become another.
    Replace = "replace", 3;
    /// The parts between separators.
    Split = "split", 2;
    /// Texts with a separator between them.
    Join = "join", 2;
    /// A number from its digits.
    Int = "int", 1;
    /// A text.
    Text = "string", 1;
    /// The first element.
    First = "first", 1;
    /// The last element.
    Last = "last", 1;
}

/// Functions whose second argument is asked for each element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Each {
    /// Whether it holds for one at least.
    Any,
    /// Whether it holds for all.
    All,
    /// Whether it holds for none.
    None,
    /// Whether it holds for exactly one.
    One,
    /// How many it holds for.
    Count,
    /// Those that it holds for.
    Filter,
    /// What it is for each.
    Map,
}

/// The names of [`Each`].
const EACH: [(&str, Each); 7] = [
    ("any", Each::Any),
    ("all", Each::All),
    ("none", Each::None),
    ("one", Each::One),
    ("count", Each::Count),
    ("filter", Each::Filter),
    ("map", Each::Map),
];

impl Each {
    /// The function of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        EACH.iter().find(|(known, _)| *known == name).map(|(_, each)| *each)
    }
}

impl Function {
    /// The function of this name; the error says which there are.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        let found = FUNCTIONS.iter().find(|(known, ..)| *known == name);
        found.map(|(_, function, _)| *function).ok_or_else(|| {
            let known: Vec<_> = FUNCTIONS.iter().map(|f| f.0).chain(EACH.iter().map(|e| e.0)).collect();
            format!("the function '{name}' is not supported; known are: {}", known.join(" "))
        })
    }

    /// Whether it takes so many arguments.
    pub(super) fn check_count(self, given: usize) -> Result<(), String> {
        match FUNCTIONS.iter().find(|(_, function, _)| *function == self) {
            Some((name, _, count)) if *count != given => {
                Err(format!("'{name}' takes {count} arguments, not {given}"))
            }
            _ => Ok(()),
        }
    }

    /// Calls it.
    pub(super) fn call(self, args: &[Value], run: &mut Run<'_>) -> Result<Value, Failure> {
        let query = run.subject.query;
        let whole = |number: usize| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
        Ok(match (self, args) {
            (Self::BufSize, []) => whole(usize::from(query.max_payload())),
            (Self::Class, []) => Value::text(ClassText(query.class()).to_string()),
            (Self::ClientIp, []) => Value::text(query.source().ip().to_canonical().to_string()),
            (Self::Do, []) => Value::Bool(query.dnssec_ok()),
            (Self::Group, [key]) => {
                run.subject.groups.get(&key.to_string()).cloned().unwrap_or_else(|| Value::text(""))
            }
            (Self::Id, []) => whole(usize::from(query.metadata().id)),
            (Self::InCidr, [ip, net]) => {
                let (ip, net) = (text_of(ip)?, text_of(net)?);
                let wrong = |what: &str, text: &str| Failure::new(format!("incidr: '{text}' is no {what}"));
                let address: IpAddr = ip.parse().map_err(|_| wrong("address", &ip))?;
                let net: IpNet = net.parse().map_err(|_| wrong("prefix", &net))?;
                Value::Bool(net.contains(&address))
            }
            (Self::Metadata, [label]) => {
                let known = query.facts().and_then(|facts| facts.get(&label.to_string()));
                return run.made(known.unwrap_or_default());
            }
            (Self::Name, []) => Value::text(NameText(query.labels()).to_string()),
            (Self::Opcode, []) => whole(usize::from(u8::from(query.metadata().op_code))),
            (Self::Port, []) => Value::text(query.source().port().to_string()),
            (Self::Proto, []) => Value::text(query.transport()),
            (Self::ServerIp, []) => Value::text(query.local().ip().to_canonical().to_string()),
            (Self::ServerPort, []) => Value::text(query.local().port().to_string()),
            (Self::Size, []) => whole(query.bytes().len()),
            (Self::Type, []) => Value::text(TypeText(query.kind()).to_string()),
            (Self::Len, [Value::Str(text)]) => whole(text.chars().count()),
            (Self::Len, [Value::List(list)]) => whole(list.len()),
            (Self::Lower, [Value::Str(text)]) => return run.made(text.to_ascii_lowercase()),
            (Self::Upper, [Value::Str(text)]) => return run.made(text.to_ascii_uppercase()),
            (Self::Trim, [Value::Str(text)]) => return run.made(text.trim().to_owned()),
            (Self::TrimPrefix, [Value::Str(text), Value::Str(part)]) => {
                return run.made(text.strip_prefix(&**part).unwrap_or(text).to_owned());
            }
            (Self::TrimSuffix, [Value::Str(text), Value::Str(part)]) => {
                return run.made(text.strip_suffix(&**part).unwrap_or(text).to_owned());
            }
            (Self::HasPrefix, [Value::Str(text), Value::Str(part)]) => Value::Bool(text.starts_with(&**part)),
            (Self::HasSuffix, [Value::Str(text), Value::Str(part)]) => Value::Bool(text.ends_with(&**part)),
            (Self::Replace, [Value::Str(text), Value::Str(from), Value::Str(to)]) => {
                // Paid before it is made: many short texts can become long ones.
                run.spend(text.len() + text.matches(&**from).count().saturating_mul(to.len()))?;
                Value::text(text.replace(&**from, to))
            }
            (Self::Split, [Value::Str(text), Value::Str(separator)]) => {
                run.spend(text.len() + text.matches(&**separator).count())?;
                Value::List(text.split(&**separator).map(Value::text).collect())
            }
            (Self::Join, [Value::List(list), Value::Str(separator)]) => {
                let texts = list.iter().map(text_of).collect::<Result<Vec<_>, _>>()?;
                let length: usize = texts.iter().map(|t| t.len() + separator.len()).sum();
                run.spend(length)?;
                Value::text(texts.join(separator))
            }
            (Self::Int, [Value::Int(number)]) => Value::Int(*number),
            (Self::Int, [Value::Str(text)]) => {
                let number = text.parse().ok();
                Value::Int(number.ok_or_else(|| Failure::new(format!("int: '{text}' is no whole number")))?)
            }
            (Self::Text, [value]) => {
                run.spend(value.print_len())?;
                Value::Str(Rc::from(value.to_string()))
            }
            (Self::First, [Value::List(list)]) => list.first().cloned().unwrap_or(Value::Nothing),
            (Self::Last, [Value::List(list)]) => list.last().cloned().unwrap_or(Value::Nothing),
            _ => return Err(Failure::new(format!("{self:?}: wrong arguments"))),
        })
    }
}
