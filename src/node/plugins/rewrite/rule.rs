//! Rules: reading one, and applying it to a query.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, RecordType};

use super::draft::Draft;
use super::edns::EdnsRule;
use super::name::NameRule;
use super::pattern::{Pattern, absolute};
use super::response::Undo;
use super::{NAME, OPTIONS};
use crate::corefile::{Directive, Error, Statement, Token};
use crate::node::presentation;

/// The longest TTL, RFC 2181 §8.
const MAX_TTL: u32 = i32::MAX as u32;

/// The largest rcode that may be written as a number: the last that has a mnemonic (IANA, DNS RCODEs).
const MAX_RCODE: u16 = 23;

/// How a directive is written.
const USAGE: &str = "rewrite [continue|stop] FIELD ...";

/// One directive.
pub(super) struct Rule {
    /// What comes after it has applied.
    pub(super) mode: Mode,
    /// What it changes.
    pub(super) field: Field,
}

/// What comes after a rule that has applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The next rule.
    Continue,
    /// The next plugin.
    Stop,
}

/// Whether a rule was for a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It was not.
    None,
    /// It was, and has been applied.
    Done,
}

/// What a rule changes.
pub(super) enum Field {
    /// The name that is asked for.
    Name(NameRule),
    /// Its class.
    Class {
        /// The client's.
        from: DNSClass,
        /// What it becomes.
        to: DNSClass,
    },
    /// The type that is asked for.
    Type {
        /// The client's.
        from: RecordType,
        /// What it becomes.
        to: RecordType,
    },
    /// The TTLs of the reply.
    Ttl {
        /// Names that it is for.
        name: Pattern,
        /// The shortest and the longest in seconds.
        bounds: (u32, u32),
    },
    /// The rcode of the reply.
    Rcode {
        /// Names that it is for.
        name: Pattern,
        /// The reply's.
        from: ResponseCode,
        /// What it becomes.
        to: ResponseCode,
    },
    /// Where an alias of the reply leads.
    Cname(CnameRule),
    /// An EDNS0 option.
    Edns(EdnsRule),
}

/// A `cname` rule.
#[derive(Debug)]
pub(super) struct CnameRule {
    /// Targets that it is for.
    pub(super) from: Pattern,
    /// What they become.
    pub(super) to: String,
}

impl Rule {
    /// Reads a directive. In braces a rule may stand on several lines, whose ends mean nothing.
    pub(super) fn read(directive: &Directive) -> Result<Self, Error> {
        let mut words = directive.args().to_vec();
        match words.len() {
            // As CoreDNS counts: what has a rule on its line has none in braces.
            0 | 1 => {
                for line in directive.lines() {
                    words.push(line.name().clone());
                    words.extend(line.args().iter().cloned());
                }
            }
            _ => directive.no_body()?,
        }
        let (mode, rest) = match words.split_first() {
            Some((first, rest)) => match first.text.to_ascii_lowercase().as_str() {
                "continue" => (Mode::Continue, rest),
                "stop" => (Mode::Stop, rest),
                _ => (Mode::Stop, &words[..]),
            },
            None => return Err(directive.error(format!("plugin/rewrite: write '{USAGE}'"))),
        };
        let [field, args @ ..] = rest else {
            return Err(directive.error(format!("plugin/rewrite: no field to rewrite: write '{USAGE}'")));
        };
        Ok(Self { mode, field: Field::read(field, args)? })
    }

    /// Applies it to a query, if it is for it; adds what is to be done to the reply.
    pub(super) fn apply<'r>(&'r self, draft: &mut Draft<'_>, undo: &mut Vec<Undo<'r>>) -> Effect {
        match &self.field {
            Field::Name(rule) => return rule.apply(draft, undo),
            Field::Edns(rule) => return rule.apply(draft),
            Field::Class { from, to } if draft.class == *from => draft.class = *to,
            Field::Type { from, to } if draft.kind == *from => draft.kind = *to,
            Field::Ttl { name, bounds } if name.matches(&draft.name) => undo.push(Undo::Ttl(*bounds)),
            Field::Rcode { name, from, to } if name.matches(&draft.name) => {
                undo.push(Undo::Rcode { from: *from, to: *to });
            }
            // Which aliases there are is known of the reply only: it applies to every query, as in CoreDNS.
            Field::Cname(rule) => undo.push(Undo::Cname(rule)),
            Field::Class { .. } | Field::Type { .. } | Field::Ttl { .. } | Field::Rcode { .. } => {
                return Effect::None;
            }
        }
        Effect::Done
    }
}

impl Field {
    fn read(field: &Token, args: &[Token]) -> Result<Self, Error> {
        let usage = |usage: &str| field.error(format!("plugin/rewrite: write '{usage}'"));
        Ok(match field.text.to_ascii_lowercase().as_str() {
            "name" => Self::Name(NameRule::read(field, args)?),
            "class" => {
                let [from, to] = args else { return Err(usage("class FROM TO")) };
                Self::Class { from: class(from)?, to: class(to)? }
            }
            "type" => {
                let [from, to] = args else { return Err(usage("type FROM TO")) };
                Self::Type { from: kind(from)?, to: kind(to)? }
            }
            "ttl" => {
                let (name, bounds) = match args {
                    [name, bounds] => (Pattern::exact(name), bounds),
                    [kind, name, bounds] => (Pattern::read(kind, name)?, bounds),
                    _ => return Err(usage("ttl [exact|prefix|suffix|substring|regex] NAME SECONDS|MIN-MAX")),
                };
                Self::Ttl { name, bounds: ttl_bounds(bounds)? }
            }
            "rcode" => {
                let (name, from, to) = match args {
                    [name, from, to] => (Pattern::exact(name), from, to),
                    [kind, name, from, to] => (Pattern::read(kind, name)?, from, to),
                    _ => return Err(usage("rcode [exact|prefix|suffix|substring|regex] NAME FROM TO")),
                };
                Self::Rcode { name, from: rcode(from)?, to: rcode(to)? }
            }
            "cname" => Self::Cname(CnameRule::read(field, args)?),
            "edns0" => Self::Edns(EdnsRule::read(field, args)?),
            "answer" => {
                return Err(field.error(
                    "plugin/rewrite: 'answer' belongs to a 'name' rule: write 'name regex FROM TO answer name \
                     REGEX TO'",
                ));
            }
            other => {
                return Err(field.error(format!(
                    "plugin/{NAME}: invalid rule type '{other}'; known are: {}",
                    OPTIONS.join(", ")
                )));
            }
        })
    }
}

impl CnameRule {
    fn read(field: &Token, args: &[Token]) -> Result<Self, Error> {
        let (from, to) = match args {
            [from, to] => (Pattern::exact(from), to),
            [kind, from, to] => {
                // CoreDNS takes these as they are written, unlike those of the other fields.
                let verbatim = from.text.to_ascii_lowercase();
                let from = match Pattern::read(kind, from)? {
                    Pattern::Prefix(_) => Pattern::Prefix(verbatim),
                    Pattern::Substring(_) => Pattern::Substring(verbatim),
                    other => other,
                };
                (from, to)
            }
            _ => {
                return Err(field
                    .error("plugin/rewrite: write 'cname [exact|prefix|suffix|substring|regex] FROM TO'"));
            }
        };
        from.replacement(to)?;
        let to = to.text.to_ascii_lowercase();
        Ok(Self { from, to })
    }

    /// Where an alias to `target` leads instead, or `None` if the rule is not for it.
    pub(super) fn target(&self, target: &str) -> Option<String> {
        self.from.replace(target, &self.to).map(|to| absolute(&to))
    }
}

fn kind(word: &Token) -> Result<RecordType, Error> {
    presentation::kind(&word.text.to_ascii_uppercase()).ok_or_else(|| {
        word.error(format!("plugin/rewrite: '{}' is no record type, such as A, TXT or ANY", word.text))
    })
}

fn class(word: &Token) -> Result<DNSClass, Error> {
    presentation::class(&word.text.to_ascii_uppercase())
        .ok_or_else(|| word.error(format!("plugin/rewrite: '{}' is no class: write IN, CH or HS", word.text)))
}

/// An rcode by its name or its number.
fn rcode(word: &Token) -> Result<ResponseCode, Error> {
    let number = word.text.parse::<u16>().ok().filter(|number| *number <= MAX_RCODE);
    number.map(Into::into).or_else(|| presentation::response_code(&word.text.to_ascii_uppercase())).ok_or_else(
        || {
            word.error(format!(
                "plugin/rewrite: '{}' is no rcode: write a name, such as NXDOMAIN, or a number up to {MAX_RCODE}",
                word.text
            ))
        },
    )
}

/// `SECONDS`, `MIN-MAX`, `-MAX` or `MIN-`.
fn ttl_bounds(word: &Token) -> Result<(u32, u32), Error> {
    let seconds =
        |text: &str| text.parse().ok().filter(|ttl: &u32| *ttl <= MAX_TTL && !text.starts_with('+'));
    let bounds = match word.text.split_once('-') {
        None => seconds(&word.text).map(|ttl| (ttl, ttl)),
        Some(("", "")) => None,
        Some(("", max)) => seconds(max).map(|max| (0, max)),
        Some((min, "")) => seconds(min).map(|min| (min, MAX_TTL)),
        Some((min, max)) => seconds(min).zip(seconds(max)).filter(|(min, max)| min <= max),
    };
    bounds.ok_or_else(|| {
        word.error(format!(
            "plugin/rewrite: invalid TTL '{}': write SECONDS, MIN-MAX, -MAX or MIN-, each from 0 to {MAX_TTL}",
            word.text
        ))
    })
}
