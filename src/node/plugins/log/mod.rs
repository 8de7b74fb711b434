//! `log [NAMES...] [FORMAT] { class CLASS... }`: a line for each query.
//!
//! The first rule whose names the query is within decides, whatever its classes: a query that it does not log is
//! not logged at all. Lines go to the target `plugin/log` at level info, with CoreDNS's words.
//!
//! Where no plugin made a reply (`errors` says why) the line has `-` for its rcode and flags and 0 for its
//! size, as in CoreDNS, and its class is `error`.

mod format;
pub(super) mod names;

use std::sync::Arc;

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;
use tokio::time::Instant;

use crate::corefile::{self, Directive, Error, Statement, Token};
use crate::node::chain::{Next, Outcome, Plugin};
use crate::node::lane::Role;
use crate::node::query::Query;
use crate::node::reply::{Reply, ReplyClass};
use crate::node::setup::Context;
use crate::zone::name::Labels;
use format::{COMMON, Format, Line};

/// The plugin's name.
pub const NAME: &str = "log";

/// Options that are accepted.
pub const OPTIONS: [&str; 1] = ["class"];

/// What lines are logged under: the text form prints them without a prefix.
const TARGET: &str = "plugin/log";

/// How the directive is written.
const USAGE: &str = "log [NAMES...] [FORMAT]";

/// Collects the rules of all `log` lines of a block, in their order.
pub fn setup(directives: &[&Directive], _: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let mut rules = Vec::new();
    for directive in directives {
        rules.extend(self::rules(directive)?);
    }
    Ok(vec![Arc::new(Log { rules })])
}

/// The rules of one directive: one for each name.
fn rules(directive: &Directive) -> Result<Vec<Rule>, Error> {
    let classes = classes(directive)?;
    let (names, format) = match directive.args() {
        [names @ .., last] if !names.is_empty() && last.text.contains('{') => (names, last.text.as_str()),
        [only] if only.text.contains('{') => {
            // CoreDNS takes it for a name, which nothing is within.
            tracing::warn!(target: TARGET, "plugin/log: '{}' is taken for a name, so nothing is logged by this \
                line: write 'log . FORMAT', at {}", only.text, only.position);
            return Ok(Vec::new());
        }
        names => (names, COMMON),
    };
    let format = Arc::new(Format::parse(format));
    let rule = |scope| Rule { scope, format: format.clone(), classes };
    if names.is_empty() {
        return Ok(vec![rule(Labels::root())]);
    }
    let scope = |zone: &String| Labels::parse(zone).map_err(|e| directive.error(format!("{zone}: {e}")));
    corefile::zones(names)?.iter().map(|zone| scope(zone).map(rule)).collect()
}

/// The classes that a directive's block names; all if there are none.
fn classes(directive: &Directive) -> Result<Classes, Error> {
    let mut named: Vec<Classes> = Vec::new();
    for line in directive.lines() {
        match line.name().text.as_str() {
            "class" => {
                let words = line.expect_args(1..=usize::MAX, "class all|success|denial|error...")?;
                named.extend(words.iter().map(class).collect::<Result<Vec<_>, _>>()?);
            }
            _ => return Err(line.unknown_property(NAME, &OPTIONS)),
        }
    }
    let union = named.into_iter().reduce(|a, b| Classes {
        success: a.success | b.success,
        denial: a.denial | b.denial,
        error: a.error | b.error,
    });
    Ok(union.unwrap_or(Classes::ALL))
}

fn class(word: &Token) -> Result<Classes, Error> {
    word.choice(&[
        ("all", Classes::ALL),
        ("success", Classes { success: true, ..Classes::NONE }),
        ("denial", Classes { denial: true, ..Classes::NONE }),
        ("error", Classes { error: true, ..Classes::NONE }),
    ])
    .map_err(|e| word.error(format!("plugin/log: class {} (usage: {USAGE})", e.message())))
}

/// A set of classes of replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Classes {
    /// Records, or a delegation.
    success: bool,
    /// NXDOMAIN or NODATA.
    denial: bool,
    /// Everything else.
    error: bool,
}

impl Classes {
    /// No class.
    const NONE: Self = Self { success: false, denial: false, error: false };
    /// Every class.
    const ALL: Self = Self { success: true, denial: true, error: true };

    const fn has(self, class: ReplyClass) -> bool {
        match class {
            ReplyClass::Success => self.success,
            ReplyClass::Denial => self.denial,
            ReplyClass::Error => self.error,
        }
    }
}

/// What is logged of the queries within a name.
struct Rule {
    /// The name.
    scope: Labels,
    /// How a line looks.
    format: Arc<Format>,
    /// The classes of replies that get one.
    classes: Classes,
}

/// Logs queries by the first rule that they fall under.
struct Log {
    /// The rules, in the order of the Corefile.
    rules: Vec<Rule>,
}

#[async_trait]
impl Plugin for Log {
    fn name(&self) -> &'static str {
        NAME
    }

    /// The lane answers nothing that is an error.
    fn role(self: Arc<Self>, _identity: &str) -> Role {
        let logs_answers = self.rules.iter().any(|rule| rule.classes.success || rule.classes.denial);
        if logs_answers { Role::General } else { Role::None }
    }

    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome {
        let Some(rule) = self.rules.iter().find(|rule| query.labels().is_within(&rule.scope)) else {
            return next.run(query).await;
        };
        let start = Instant::now();
        let outcome = next.run(query).await;
        let (class, reply) = match &outcome {
            Outcome::Reply(reply) => (reply.class(), Some(&**reply)),
            Outcome::Failed(_) | Outcome::Silence => (ReplyClass::Error, None),
        };
        if let Some(facts) = query.facts() {
            facts.set("log/class", class_name(class));
            facts.set("log/type", reply.map_or(SERVER_ERROR, type_name));
        }
        if rule.classes.has(class) {
            let line = Line { format: &rule.format, query, reply, elapsed: start.elapsed() };
            tracing::info!(target: TARGET, "{line}");
        }
        outcome
    }
}

/// The type of what no plugin answered.
const SERVER_ERROR: &str = "SERVERERROR";

/// A class as it is spelled in the Corefile.
const fn class_name(class: ReplyClass) -> &'static str {
    match class {
        ReplyClass::Success => "success",
        ReplyClass::Denial => "denial",
        ReplyClass::Error => "error",
    }
}

/// What kind of reply it is, in CoreDNS's words.
fn type_name(reply: &Reply) -> &'static str {
    match (reply.class(), reply.rcode) {
        (ReplyClass::Success, _) if reply.answers.is_empty() => "DELEGATION",
        (ReplyClass::Success, _) => "NOERROR",
        (ReplyClass::Denial, ResponseCode::NXDomain) => "NXDOMAIN",
        (ReplyClass::Denial, _) => "NODATA",
        (ReplyClass::Error, ResponseCode::NoError) => "NOERROR",
        (ReplyClass::Error, ResponseCode::ServFail | ResponseCode::NotImp) => SERVER_ERROR,
        (ReplyClass::Error, _) => "OTHERERROR",
    }
}

#[cfg(test)]
mod tests;
