//! `template CLASS TYPE [ZONE...] { ... }`: answers that are written in the Corefile.
//!
//! ```text
//! match REGEX...                      which names; the first that matches counts. Without it all do
//! answer|authority|additional RR...   records of the reply: templates in Go's language (`go/`)
//! rcode CODE                          NOERROR without it
//! ederror CODE [TEXT]                 an Extended DNS Error (RFC 8914)
//! var NAME EXPRESSION                 a value that the lines below it and the templates (`.Var.NAME`) may use
//! expr EXPRESSION                     what else has to hold (`expression/`); an expression that fails does not
//! fallthrough [ZONE...]               names that do not match go on
//! upstream ...                        has no effect
//! ```
//!
//! Templates are tried in the order of the file. One of another zone, class or type is passed over; a name of its
//! zone that its expressions do not match is SERVFAIL unless it has `fallthrough`. Names are compared in lower
//! case, absolute, with a final dot.
//!
//! Replies are authoritative. An alias that answers a question for addresses is followed by this server, as if the
//! client had asked; whatever comes of that, the alias is given.
//!
//! Where this differs from CoreDNS 1.14.7: a wrong name in a template is found when the configuration is read; a
//! template that makes nothing but white space makes no record; a second line is an error, not left out.

mod data;
mod expression;
mod go;
mod options;
pub(in crate::node) mod record;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use regex::Regex;

use super::log::names::NameText;
use crate::node::chain::{Failure, Next, Outcome, Plugin};
use crate::node::query::Query;
use crate::node::reply::{Ede, Reply};
use crate::ops::catalogue;
use crate::ops::metrics::Metrics;
use crate::zone::name::Labels;
use data::Matched;
use expression::{Expression, Subject};
pub use options::{NAME, OPTIONS, setup};

/// Answers by templates.
struct Templates {
    /// In the order of the file.
    templates: Vec<Template>,
    /// Where matches and failures are counted.
    metrics: Arc<Metrics>,
}

/// One directive.
struct Template {
    /// The class that it answers; ANY for all.
    class: DNSClass,
    /// The type that it answers; ANY for all.
    kind: RecordType,
    /// The zones that it answers, as text and as labels.
    zones: Vec<(String, Labels)>,
    /// What names match; at least one.
    matches: Vec<Regex>,
    /// Values and conditions, in the order of the file.
    terms: Vec<Term>,
    /// Templates of the answer section.
    answer: Vec<go::Template>,
    /// Templates of the authority section.
    authority: Vec<go::Template>,
    /// Templates of the additional section.
    additional: Vec<go::Template>,
    /// The rcode of replies.
    rcode: ResponseCode,
    /// The Extended DNS Error of replies.
    ede: Option<Ede>,
    /// Zones in which names that do not match go on.
    fallthrough: Vec<Labels>,
}

/// A `var` or an `expr`.
enum Term {
    /// A value, by its name.
    Variable(String, Expression),
    /// A condition.
    Condition(Expression),
}

/// Whether a template is for a query.
enum Verdict<'a> {
    /// It is not: another zone, class or type, or no match where that goes on.
    Next,
    /// It is, but no expression matches, or a condition does not hold.
    Refused,
    /// It is.
    Matched(Matched<'a>),
}

impl Template {
    fn judge(&self, query: &Query) -> Verdict<'_> {
        let zones = self.zones.iter().filter(|(_, zone)| query.labels().is_within(zone));
        let Some((zone, _)) = zones.max_by_key(|(_, zone)| zone.len()) else { return Verdict::Next };
        let any_class = self.class == DNSClass::ANY || query.class() == DNSClass::ANY;
        let any_kind = self.kind == RecordType::ANY || query.kind() == RecordType::ANY;
        if !(any_class || query.class() == self.class) || !(any_kind || query.kind() == self.kind) {
            return Verdict::Next;
        }
        let name = NameText(query.labels()).to_string();
        let found = self.matches.iter().find(|regex| regex.is_match(&name));
        let matched = found.and_then(|regex| {
            let matched = Matched::new(query, zone, name.clone(), regex, (self.class, self.kind));
            Some(Matched { variables: self.variables(&matched, query)?, ..matched })
        });
        match matched {
            Some(matched) => Verdict::Matched(matched),
            None if self.fallthrough.iter().any(|zone| query.labels().is_within(zone)) => Verdict::Next,
            None => Verdict::Refused,
        }
    }
}

impl Template {
    /// The values of `var`; `None` if a condition does not hold, or one of them fails.
    fn variables(&self, matched: &Matched<'_>, query: &Query) -> Option<BTreeMap<String, go::Value>> {
        let mut variables = BTreeMap::new();
        if self.terms.is_empty() {
            return Some(variables);
        }
        let (_, groups) = matched.groups();
        for term in &self.terms {
            let (Term::Variable(_, expression) | Term::Condition(expression)) = term;
            let subject = Subject { query, groups: &groups, variables: &variables };
            let value = expression.evaluate(&subject).inspect_err(|error| {
                tracing::debug!(target: "plugin/template", "'{}': {error}", expression.source());
            });
            match (term, value.ok()?) {
                (Term::Variable(name, _), value) => {
                    variables.insert(name.clone(), value);
                }
                (Term::Condition(_), go::Value::Bool(true)) => {}
                (Term::Condition(_), _) => return None,
            }
        }
        Some(variables)
    }
}

/// What the templates say.
enum Decision {
    /// Nothing.
    Next,
    /// The server's own error.
    Failed(Failure),
    /// A reply, without what its aliases lead to.
    Reply(Box<Reply>),
}

impl Templates {
    fn decide(&self, query: &Query) -> Decision {
        let failed = |error: Option<String>, ede: Option<Ede>| {
            Decision::Failed(Failure { rcode: ResponseCode::ServFail, error, ede })
        };
        for template in &self.templates {
            let matched = match template.judge(query) {
                Verdict::Next => continue,
                Verdict::Refused => return failed(None, None),
                Verdict::Matched(matched) => matched,
            };
            self.count_match(&matched, query);
            if template.rcode == ResponseCode::ServFail {
                return failed(None, template.ede.clone());
            }
            return match self.reply(template, &matched, query) {
                Ok(reply) => Decision::Reply(Box::new(reply)),
                Err(error) => failed(Some(error), None),
            };
        }
        Decision::Next
    }

    /// The reply of a template, without what its aliases lead to; the error is for the log.
    fn reply(&self, template: &Template, matched: &Matched<'_>, query: &Query) -> Result<Reply, String> {
        let values = matched.values(query);
        let section = |name: &str, templates: &[go::Template]| -> Result<Vec<Record>, String> {
            let mut records = Vec::new();
            for template in templates {
                let failed = |metric, why: String| {
                    self.count_failure(metric, matched, query, name, template.source());
                    format!("plugin/template: {name} '{}': {why}", template.source())
                };
                let text = template
                    .render(&values)
                    .map_err(|e| failed(catalogue::TEMPLATE_FAILURES, e.to_string()))?;
                let record =
                    record::parse(&text).map_err(|why| failed(catalogue::TEMPLATE_RR_FAILURES, why))?;
                records.extend(record);
            }
            Ok(records)
        };
        Ok(Reply {
            authoritative: true,
            answers: section("answer", &template.answer)?,
            additional: section("additional", &template.additional)?,
            authority: section("authority", &template.authority)?,
            ede: template.ede.clone(),
            ..Reply::new(template.rcode, NAME)
        })
    }

    fn count_match(&self, matched: &Matched<'_>, query: &Query) {
        let labels = [
            ("server", query.router().identity()),
            ("zone", matched.zone),
            ("view", ""),
            ("class", &matched.class),
            ("type", &matched.kind),
        ];
        self.metrics.counter(catalogue::TEMPLATE_MATCHES, &labels).increment(1);
    }

    fn count_failure(
        &self,
        metric: &'static str,
        matched: &Matched<'_>,
        query: &Query,
        section: &str,
        template: &str,
    ) {
        let labels = [
            ("server", query.router().identity()),
            ("zone", matched.zone),
            ("view", ""),
            ("class", &matched.class),
            ("type", &matched.kind),
            ("section", section),
            ("template", template),
        ];
        self.metrics.counter(metric, &labels).increment(1);
    }
}

/// Adds what the aliases of a reply lead to, each behind its alias.
async fn follow_aliases(reply: &mut Reply, query: &Query) {
    if !matches!(query.kind(), RecordType::A | RecordType::AAAA) {
        return;
    }
    let mut answers = Vec::with_capacity(reply.answers.len());
    for record in std::mem::take(&mut reply.answers) {
        let question = match &record.data {
            RData::CNAME(target) => query.follow_up(&target.0, query.kind()),
            _ => None,
        };
        answers.push(record);
        let Some(question) = question else { continue };
        if let Outcome::Reply(theirs) = query.router().resolve(&question).await {
            answers.extend(theirs.answers);
            reply.truncated |= theirs.truncated;
        }
    }
    reply.answers = answers;
}

#[async_trait]
impl Plugin for Templates {
    fn name(&self) -> &'static str {
        NAME
    }

    fn takes_other_classes(&self) -> bool {
        self.templates.iter().any(|template| template.class != DNSClass::IN)
    }

    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome {
        match self.decide(query) {
            Decision::Next => next.run(query).await,
            Decision::Failed(failure) => Outcome::Failed(failure),
            Decision::Reply(mut reply) => {
                follow_aliases(&mut reply, query).await;
                Outcome::Reply(reply)
            }
        }
    }
}

#[cfg(test)]
mod tests;
