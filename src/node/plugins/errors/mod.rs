//! `errors [stdout] { stacktrace; consolidate ... }`: logs why queries failed.
//!
//! ```text
//! [ERROR] plugin/errors: 2 example.org. A: read udp 10.0.0.1:53->8.8.8.8:53: i/o timeout
//! ```
//!
//! The number is the rcode that the client gets. Replies are never altered.
//!
//! Lines that match a `consolidate` pattern are counted instead, and told in one line when the period ends that
//! the first of them began (`consolidate.rs`). With `stacktrace`, a panic is told with its place and its calls
//! (`panics.rs`); that it happened is counted and logged without it, too.

mod consolidate;
mod panics;

use std::sync::Arc;

use async_trait::async_trait;

use super::log::names::{NameText, TypeText};
use super::once;
use crate::corefile::{Directive, Error, Statement};
use crate::node::chain::{Failure, Next, Outcome, Plugin};
use crate::node::lane::Role;
use crate::node::query::Query;
use crate::node::setup::Context;
use consolidate::{Counted, Pattern, log_at};

/// The plugin's name.
pub const NAME: &str = "errors";

/// Options that are accepted.
pub const OPTIONS: [&str; 2] = ["stacktrace", "consolidate"];

/// What lines are logged under.
const TARGET: &str = "plugin/errors";

/// Reads the options; nothing is started before an error is counted.
pub fn setup(directives: &[&Directive], _: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let directive = once(directives)?;
    if let Some(word) = directive.optional_arg("errors [stdout]")?
        && word.text != "stdout"
    {
        let why = "errors go to standard output: write 'errors' or 'errors stdout'";
        return Err(word.error(format!("plugin/errors: invalid log file '{}': {why}", word.text)));
    }
    let mut errors = Errors { patterns: Vec::new(), stacktrace: false };
    for line in directive.lines() {
        match line.name().text.as_str() {
            "stacktrace" => {
                line.no_args()?;
                errors.stacktrace = true;
            }
            "consolidate" => errors.patterns.push(Pattern::parse(line)?),
            _ => return Err(line.unknown_property(NAME, &OPTIONS)),
        }
    }
    if errors.stacktrace {
        panics::install();
    }
    Ok(vec![Arc::new(errors)])
}

/// Logs what the plugins behind it could not answer.
struct Errors {
    /// What is counted instead of logged; the first pattern that matches counts.
    patterns: Vec<Arc<Pattern>>,
    /// Whether panics are told with their calls.
    stacktrace: bool,
}

impl Errors {
    fn log(&self, query: &Query, rcode: u16, error: &str) {
        let level = match self.patterns.iter().find(|pattern| pattern.matches(error)) {
            None => tracing::Level::ERROR,
            Some(pattern) => match pattern.count() {
                Counted::ToldLater => return,
                Counted::ToldNow(level) => level,
            },
        };
        let (name, kind) = (NameText(query.labels()), TypeText(query.kind()));
        log_at(level, format_args!("{rcode} {name} {kind}: {error}"));
    }
}

#[async_trait]
impl Plugin for Errors {
    fn name(&self) -> &'static str {
        NAME
    }

    /// What the lane answers did not fail.
    fn role(self: Arc<Self>, _identity: &str) -> Role {
        Role::None
    }

    async fn serve(&self, query: &Query, next: Next<'_>) -> Outcome {
        let outcome = if self.stacktrace {
            panics::watch(next.run(query), |report| report.log(query)).await
        } else {
            next.run(query).await
        };
        if let Outcome::Failed(Failure { rcode, error: Some(error), .. }) = &outcome {
            self.log(query, (*rcode).into(), error);
        }
        outcome
    }
}

impl Drop for Errors {
    /// What was counted is told before the process ends.
    fn drop(&mut self) {
        for pattern in &self.patterns {
            pattern.flush();
        }
    }
}

#[cfg(test)]
mod tests;
