//! `rewrite [continue|stop] FIELD ...`: the question that the plugins behind it see, and the reply that the client
//! sees.
//!
//! ```text
//! name  [exact|prefix|suffix|substring|regex] FROM TO [answer auto | answer name|value REGEX TO]...
//! class FROM TO
//! type  FROM TO
//! ttl   [exact|...] NAME SECONDS | MIN-MAX | -MAX | MIN-
//! rcode [exact|...] NAME FROM TO
//! cname [exact|...] FROM TO
//! edns0 local|nsid|subnet set|append|replace|unset ... [revert]
//! ```
//!
//! Rules are tried in the order of the file, each on what the ones before it made of the query. The first that
//! applies is the last, unless it says `continue`. One directive is one rule; it may stand in braces, over several
//! lines.
//!
//! Replies are changed back by the rules that applied, the last one first. They see the server's own errors, too:
//! a name that no upstream answers can be made NXDOMAIN. The question of the reply is the client's in any case, and
//! owner names that a rule maps to the asked name have the client's letter case.
//!
//! Where this differs from CoreDNS 1.14.7:
//! * Names of replies are compared without regard to letter case (RFC 4343).
//! * A reply never carries an EDNS0 option that a rule made, as if each rule said `revert`.
//! * `cname` answers with the rcode of what the new target leads to (RFC 6604 §3), and not with an alias alone.
//! * `class` with a FROM that is not IN has an effect: such questions come in.

mod draft;
mod edns;
mod name;
mod pattern;
mod response;
mod rule;

use std::sync::Arc;

use async_trait::async_trait;
use hickory_proto::rr::DNSClass;

use crate::corefile::{Directive, Error};
use crate::node::chain::{Next, Outcome, Plugin};
use crate::node::query::Query;
use crate::node::setup::Context;
use draft::Draft;
use response::{Undo, undo_all};
use rule::{Effect, Field, Mode, Rule};

/// The plugin's name.
pub const NAME: &str = "rewrite";

/// Words that a line of its block begins with: the fields, and `answer` after a `name`.
pub const OPTIONS: [&str; 8] = ["name", "answer", "class", "type", "ttl", "rcode", "cname", "edns0"];

/// One rule for each directive, in the order of the file.
pub fn setup(directives: &[&Directive], _: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let rules = directives.iter().map(|d| Rule::read(d)).collect::<Result<_, _>>()?;
    Ok(vec![Arc::new(Rewrite { rules })])
}

/// Changes queries, and changes replies back.
struct Rewrite {
    /// In the order of the file.
    rules: Vec<Rule>,
}

/// What the rules made of a query.
enum Rewritten<'r> {
    /// This query, or the client's if it is none; what is to be done to its reply.
    Query(Option<Box<Query>>, Vec<Undo<'r>>),
    /// A name that is none.
    Invalid(String),
}

impl Rewrite {
    fn rewrite(&self, query: &Query) -> Rewritten<'_> {
        let mut draft = Draft::new(query);
        let mut undo = Vec::new();
        for rule in &self.rules {
            if rule.apply(&mut draft, &mut undo) == Effect::None {
                continue;
            }
            if let Err(name) = draft.check() {
                return Rewritten::Invalid(name);
            }
            if rule.mode == Mode::Stop {
                break;
            }
        }
        match draft.finish() {
            Ok(changed) => Rewritten::Query(changed.map(Box::new), undo),
            Err(name) => Rewritten::Invalid(name),
        }
    }
}

#[async_trait]
impl Plugin for Rewrite {
    fn name(&self) -> &'static str {
        NAME
    }

    fn takes_other_classes(&self) -> bool {
        self.rules.iter().any(|r| matches!(r.field, Field::Class { from, .. } if from != DNSClass::IN))
    }

    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome {
        match self.rewrite(query) {
            Rewritten::Invalid(name) => {
                Outcome::error(format!("plugin/rewrite: invalid name after rewrite: {name}"))
            }
            Rewritten::Query(changed, undo) => {
                let sent = changed.as_deref().unwrap_or(query);
                let outcome = next.run(sent).await;
                if undo.is_empty() { outcome } else { undo_all(&undo, query, sent, outcome).await }
            }
        }
    }
}

#[cfg(test)]
mod tests;
