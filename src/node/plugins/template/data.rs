//! What a template sees of a query.

use std::collections::BTreeMap;
use std::rc::Rc;

use hickory_proto::rr::{DNSClass, RecordType};
use regex::Regex;

use super::go::{Shape, Value};
use crate::node::plugins::log::names::{ClassText, NameText, TypeText};
use crate::node::query::Query;

/// A question, as Go's DNS library names its parts.
const QUESTION: Shape =
    Shape::Fields(&[("Name", Shape::Plain), ("Qtype", Shape::Plain), ("Qclass", Shape::Plain)]);

/// The names of the data.
pub(super) const SHAPE: Shape = Shape::Fields(&[
    ("Zone", Shape::Plain),
    ("Name", Shape::Plain),
    ("Regex", Shape::Plain),
    ("Match", Shape::Plain),
    ("Group", Shape::Map),
    ("Class", Shape::Plain),
    ("Type", Shape::Plain),
    (
        "Message",
        Shape::Fields(&[
            ("Id", Shape::Plain),
            ("Response", Shape::Plain),
            ("Opcode", Shape::Plain),
            ("Authoritative", Shape::Plain),
            ("Truncated", Shape::Plain),
            ("RecursionDesired", Shape::Plain),
            ("RecursionAvailable", Shape::Plain),
            ("AuthenticatedData", Shape::Plain),
            ("CheckingDisabled", Shape::Plain),
            ("Rcode", Shape::Plain),
            ("Question", Shape::Plain),
        ]),
    ),
    ("Question", QUESTION),
    ("Remote", Shape::Plain),
    ("Meta", Shape::Lookup),
    ("Var", Shape::Map),
]);

/// A query that a template is for.
pub(super) struct Matched<'a> {
    /// The zone of the template that the name is within.
    pub(super) zone: &'a str,
    /// The name that is asked for: absolute, in lower case.
    pub(super) name: String,
    /// The class that is asked for, or the template's if that is any; empty if it has no name.
    pub(super) class: String,
    /// The type that is asked for, or the template's if that is any; empty if it has no name.
    pub(super) kind: String,
    /// The expression that matched.
    pub(super) regex: &'a Regex,
    /// The values of `var`.
    pub(super) variables: BTreeMap<String, Value>,
}

impl<'a> Matched<'a> {
    /// What is known of `query`, by a template for `class` and `kind`.
    pub(super) fn new(
        query: &Query,
        zone: &'a str,
        name: String,
        regex: &'a Regex,
        (class, kind): (DNSClass, RecordType),
    ) -> Self {
        let class = if query.class() == DNSClass::ANY { class } else { query.class() };
        let kind = if query.kind() == RecordType::ANY { kind } else { query.kind() };
        let class = match class {
            DNSClass::Unknown(_) | DNSClass::OPT(_) => String::new(),
            known => ClassText(known).to_string(),
        };
        let kind = match kind {
            RecordType::Unknown(_) => String::new(),
            known => TypeText(known).to_string(),
        };
        Self { zone, name, class, kind, regex, variables: BTreeMap::new() }
    }

    /// The data for the templates.
    pub(super) fn values(&self, query: &Query) -> Value {
        let (matches, group) = self.groups();
        let question = question(query);
        let source = query.source().ip().to_canonical();
        let fields = [
            ("Zone", Value::text(self.zone)),
            ("Name", Value::text(&self.name)),
            ("Regex", Value::text(self.regex.as_str())),
            ("Match", Value::List(matches.into())),
            ("Group", Value::Map(Rc::new(group))),
            ("Class", Value::text(&self.class)),
            ("Type", Value::text(&self.kind)),
            ("Message", message(query, question.clone())),
            ("Question", question),
            ("Remote", Value::text(source.to_string())),
            ("Meta", lookup(query)),
            ("Var", Value::Map(Rc::new(self.variables.clone()))),
        ];
        Value::Struct(Rc::new(fields))
    }

    /// The matches by number, and by number and name.
    pub(super) fn groups(&self) -> (Vec<Value>, BTreeMap<String, Value>) {
        let (mut list, mut map) = (Vec::new(), BTreeMap::new());
        let Some(captures) = self.regex.captures(&self.name) else { return (list, map) };
        for (i, (group, name)) in captures.iter().zip(self.regex.capture_names()).enumerate() {
            let value = Value::text(group.map_or("", |m| m.as_str()));
            map.insert(i.to_string(), value.clone());
            if let Some(name) = name {
                map.insert(name.to_owned(), value.clone());
            }
            list.push(value);
        }
        (list, map)
    }
}

/// The question as it was asked.
fn question(query: &Query) -> Value {
    let fields = [
        ("Name", Value::text(cased(query))),
        ("Qtype", Value::Uint(u64::from(u16::from(query.kind())))),
        ("Qclass", Value::Uint(u64::from(u16::from(query.class())))),
    ];
    Value::Struct(Rc::new(fields))
}

/// The name that is asked for in the client's letter case.
fn cased(query: &Query) -> String {
    let lower = NameText(query.labels()).to_string();
    let bytes: Vec<u8> = query.name().iter().flat_map(|label| [label, b"."].concat()).collect();
    // Only where escapes do not change the length can the letters be laid side by side.
    if bytes.len() != lower.len() {
        return lower;
    }
    bytes.into_iter().map(char::from).collect()
}

/// The header, and the question.
fn message(query: &Query, question: Value) -> Value {
    let metadata = query.metadata();
    let fields = [
        ("Id", Value::Uint(u64::from(metadata.id))),
        ("Response", Value::Bool(false)),
        ("Opcode", Value::Int(i64::from(u8::from(metadata.op_code)))),
        ("Authoritative", Value::Bool(metadata.authoritative)),
        ("Truncated", Value::Bool(metadata.truncation)),
        ("RecursionDesired", Value::Bool(metadata.recursion_desired)),
        ("RecursionAvailable", Value::Bool(metadata.recursion_available)),
        ("AuthenticatedData", Value::Bool(metadata.authentic_data)),
        ("CheckingDisabled", Value::Bool(metadata.checking_disabled)),
        ("Rcode", Value::Int(i64::from(u16::from(metadata.response_code)))),
        ("Question", Value::List(Rc::new([question]))),
    ];
    Value::Struct(Rc::new(fields))
}

/// `.Meta`: what plugins said of the query under a label; empty if nobody did.
fn lookup(query: &Query) -> Value {
    let query = query.clone();
    let get = move |label: &str| query.facts().and_then(|facts| facts.get(label)).unwrap_or_default();
    Value::Lookup(Rc::new(get))
}
