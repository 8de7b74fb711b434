//! Reading the directives.

use std::sync::Arc;

use hickory_proto::op::ResponseCode;

use super::expression::{Expression, is_name};
use super::{Template, Templates, Term, data, go, record};
use crate::corefile::{self, Directive, Error, Line, Statement, Token, Warning};
use crate::node::chain::Plugin;
use crate::node::plugins::regexp;
use crate::node::presentation;
use crate::node::reply::{Ede, EdeCode};
use crate::node::setup::Context;
use crate::zone::name::Labels;

/// The plugin's name.
pub const NAME: &str = "template";

/// Options that are accepted.
pub const OPTIONS: [&str; 10] = [
    "match",
    "var",
    "expr",
    "answer",
    "additional",
    "authority",
    "rcode",
    "ederror",
    "fallthrough",
    "upstream",
];

/// Most `var` and `expr` lines of a directive: each is computed for every query that matches.
const MAX_TERMS: usize = 32;

/// How a directive is written.
const USAGE: &str = "template CLASS TYPE [ZONE...] { ... }";

/// The longest text of an Extended DNS Error in bytes: more would leave little room in a reply of 512.
const MAX_EDE_TEXT: usize = 255;

/// All directives, in the order of the file.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let templates =
        directives.iter().map(|d| read(d, &cx.zones, &mut cx.process.warnings)).collect::<Result<_, _>>()?;
    Ok(vec![Arc::new(Templates { templates, metrics: cx.environment.metrics.clone() })])
}

/// Reads a directive in a block for `zones_of_block`.
pub(super) fn read(
    directive: &Directive,
    zones_of_block: &[Labels],
    warnings: &mut Vec<Warning>,
) -> Result<Template, Error> {
    let [class, kind, zones @ ..] = directive.expect_args(2..=usize::MAX, USAGE)? else {
        return Err(directive.error(format!("plugin/template: write '{USAGE}'")));
    };
    let zones = match zones {
        [] => zones_of_block.iter().map(|zone| (zone.to_string(), zone.clone())).collect(),
        words => {
            let texts = corefile::zones(words)?;
            let labelled = texts.into_iter().map(|text| labels(directive, &text).map(|zone| (text, zone)));
            labelled.collect::<Result<_, _>>()?
        }
    };
    let mut template = Template {
        class: presentation::class(&class.text).ok_or_else(|| {
            class.error(format!(
                "plugin/template: invalid query class {}: write IN, CH, HS or ANY",
                class.text
            ))
        })?,
        kind: presentation::kind(&kind.text).ok_or_else(|| {
            kind.error(format!(
                "plugin/template: invalid RR type {}: write a type in upper case, such as A, or ANY",
                kind.text
            ))
        })?,
        zones,
        matches: Vec::new(),
        terms: Vec::new(),
        answer: Vec::new(),
        authority: Vec::new(),
        additional: Vec::new(),
        rcode: ResponseCode::NoError,
        ede: None,
        fallthrough: Vec::new(),
    };
    for line in directive.lines() {
        option(line, &mut template, warnings)?;
    }
    if template.matches.is_empty() {
        let all = regex::Regex::new("").map_err(|e| directive.error(format!("plugin/template: {e}")))?;
        template.matches.push(all);
    }
    if template.answer.is_empty() && template.authority.is_empty() && template.rcode == ResponseCode::NoError
    {
        return Err(directive.error(
            "plugin/template: no answer section for template found: write 'answer RR', 'authority RR' or 'rcode \
             CODE'",
        ));
    }
    Ok(template)
}

fn option(line: &Line, template: &mut Template, warnings: &mut Vec<Warning>) -> Result<(), Error> {
    match line.name().text.as_str() {
        "match" => {
            for word in line.expect_args(1..=usize::MAX, "match REGEX...")? {
                template.matches.push(regexp::compile(NAME, word)?);
            }
        }
        "var" | "expr" => read_term(line, &mut template.terms)?,
        "answer" => read_records(line, &mut template.answer)?,
        "authority" => read_records(line, &mut template.authority)?,
        "additional" => read_records(line, &mut template.additional)?,
        "rcode" => {
            let word = line.one_arg("rcode CODE")?;
            template.rcode = presentation::response_code(&word.text).ok_or_else(|| {
                let hint = "write its name in upper case, such as NXDOMAIN";
                word.error(format!("plugin/template: unknown rcode {}: {hint}", word.text))
            })?;
        }
        "ederror" => {
            let words = line.expect_args(1..=2, "ederror CODE [TEXT]")?;
            let code = words[0].integer(0..=u16::MAX)?;
            let text = words.get(1).map_or_else(String::new, |word| word.text.clone());
            if text.len() > MAX_EDE_TEXT {
                let len = text.len();
                return Err(line.error(format!(
                    "plugin/template: the text has {len} bytes: at most {MAX_EDE_TEXT} are allowed"
                )));
            }
            template.ede = Some(Ede { code: EdeCode::Code(code), text });
        }
        "fallthrough" => {
            template.fallthrough = match line.args() {
                [] => vec![Labels::root()],
                words => {
                    let zones = corefile::zones(words)?;
                    zones.iter().map(|zone| labels(line, zone)).collect::<Result<_, _>>()?
                }
            };
        }
        "upstream" => {
            let (position, why) =
                (line.name().position.clone(), "aliases are followed by this server itself");
            tracing::warn!(target: "plugin/template", "'upstream' at {position} has no effect: {why}");
            warnings.push(Warning { position, text: format!("'upstream' has no effect: {why}") });
        }
        _ => return Err(line.unknown_property(NAME, &OPTIONS)),
    }
    Ok(())
}

fn labels(statement: &impl Statement, zone: &str) -> Result<Labels, Error> {
    Labels::parse(zone).map_err(|e| statement.error(format!("plugin/template: {zone}: {e}")))
}

/// Reads a `var` or an `expr`: the words of an expression may be written apart.
fn read_term(line: &Line, terms: &mut Vec<Term>) -> Result<(), Error> {
    if terms.len() >= MAX_TERMS {
        return Err(line.error(format!("plugin/template: more than {MAX_TERMS} lines with 'var' or 'expr'")));
    }
    let is_variable = line.name().text == "var";
    let (name, words) = match line.args() {
        [name, words @ ..] if is_variable && !words.is_empty() => (Some(name), words),
        words if !is_variable && !words.is_empty() => (None, words),
        _ if is_variable => return Err(line.error("plugin/template: write 'var NAME EXPRESSION'")),
        _ => return Err(line.error("plugin/template: write 'expr EXPRESSION'")),
    };
    let known = terms.iter().filter_map(|term| match term {
        Term::Variable(name, _) => Some(name.as_str()),
        Term::Condition(_) => None,
    });
    let text = words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
    let expression = Expression::parse(&text, &known.collect::<Vec<_>>()).map_err(|e| {
        let (column, message) = (e.column, e.message);
        line.error(format!("plugin/template: could not compile expression, column {column}: {message}"))
    })?;
    terms.push(match name {
        Some(name) if is_name(&name.text) => Term::Variable(name.text.clone(), expression),
        Some(name) => {
            let why = "write letters, digits and underscores";
            return Err(
                name.error(format!("plugin/template: '{}' is no name of a variable: {why}", name.text))
            );
        }
        None => Term::Condition(expression),
    });
    Ok(())
}

/// Reads the templates of a section. One that is the same for all queries has to be a record.
fn read_records(line: &Line, section: &mut Vec<go::Template>) -> Result<(), Error> {
    let usage = format!("{} RR...", line.name().text);
    for word in line.expect_args(1..=usize::MAX, &usage)? {
        let template = go::Template::parse(&word.text, data::SHAPE).map_err(|e| {
            let (column, message) = (e.column, e.message);
            word.error(format!("plugin/template: could not compile template, column {column}: {message}"))
        })?;
        if let Some(text) = template.fixed() {
            check_fixed(word, &text)?;
        }
        section.push(template);
    }
    Ok(())
}

fn check_fixed(word: &Token, text: &str) -> Result<(), Error> {
    let wrong = |why: &str| word.error(format!("plugin/template: '{}' is no record: {why}", word.text));
    match record::parse(text) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(wrong("it is empty: write 'OWNER TTL CLASS TYPE DATA'")),
        Err(why) => Err(wrong(&why)),
    }
}
