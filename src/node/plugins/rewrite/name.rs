//! `name`: another name is asked for, and the names of the reply are changed back.
//!
//! ```text
//! name [exact|prefix|suffix|substring|regex] FROM TO [answer auto | answer name|value REGEX TO]...
//! ```
//!
//! `exact` always changes names back, its own and those below it, in owner names and in data; the others do with
//! `answer auto`. `answer name` is for owner names, `answer value` for names in data, each with an expression of
//! its own. The word `answer` may be left out after the first.

use std::borrow::Cow;

use super::NAME;
use super::draft::Draft;
use super::pattern::Pattern;
use super::response::{Rewriter, Undo};
use super::rule::Effect;
use crate::corefile::{Error, Token};
use crate::node::plugins::log::names::NameText;
use crate::node::plugins::regexp;
use crate::node::presentation;
use crate::zone::name::Labels;

/// How the rule is written.
const USAGE: &str =
    "name [exact|prefix|suffix|substring|regex] FROM TO [answer auto] [answer name|value REGEX TO]...";

/// A `name` rule.
pub(super) struct NameRule {
    /// Names that it is for.
    from: Pattern,
    /// What they become.
    to: String,
    /// Whether the name that was asked for is put back in place of the one that it became.
    remap: bool,
    /// What is done to replies beside.
    answers: Vec<Answer>,
}

/// A change of names in replies.
pub(super) struct Answer {
    /// Which names.
    place: Place,
    /// How.
    rewriter: Rewriter,
}

/// Where names are in records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In front of a record.
    Owner,
    /// In its data.
    Value,
}

impl NameRule {
    /// Reads what follows `name`.
    pub(super) fn read(field: &Token, words: &[Token]) -> Result<Self, Error> {
        let (from, to, rest) = match words {
            [from, to] => (Pattern::exact(from), to, &[][..]),
            [kind, from, to, rest @ ..] => (Pattern::read(kind, from)?, to, rest),
            _ => return Err(field.error(format!("plugin/rewrite: write '{USAGE}'"))),
        };
        let to = from.replacement(to)?;
        let (auto, mut answers) = read_answers(rest)?;
        let mut remap = auto;
        match &from {
            Pattern::Exact(_) => remap = true,
            // All names with the suffix are changed back, not only the one that was asked for.
            Pattern::Suffix(suffix) if auto => {
                remap = false;
                let back = [Place::Owner, Place::Value].map(|place| {
                    let rewriter = Rewriter::Suffix { from: to.clone(), to: suffix.clone() };
                    Answer { place, rewriter }
                });
                answers.splice(0..0, back);
            }
            _ => {}
        }
        Ok(Self { from, to, remap, answers })
    }

    /// Changes the name, if the rule is for it.
    pub(super) fn apply<'r>(&'r self, draft: &mut Draft<'_>, undo: &mut Vec<Undo<'r>>) -> Effect {
        let Some(name) = self.from.replace(&draft.name, &self.to) else { return Effect::None };
        if self.remap {
            // Letter case and spelling as they are in replies.
            let to = presentation::name(&name)
                .and_then(|name| Labels::from_labels(name.iter()).ok())
                .map_or_else(|| name.clone(), |labels| NameText(&labels).to_string());
            undo.extend([Place::Owner, Place::Value].map(|place| {
                let rewriter = Rewriter::Remap { from: to.clone(), to: draft.name.clone() };
                Undo::Names { place, rewriter: Cow::Owned(rewriter) }
            }));
        }
        undo.extend(
            self.answers
                .iter()
                .map(|answer| Undo::Names { place: answer.place, rewriter: Cow::Borrowed(&answer.rewriter) }),
        );
        draft.rename(name);
        Effect::Done
    }
}

/// Reads what follows FROM and TO: whether there is `answer auto`, and the other answer rules.
fn read_answers(words: &[Token]) -> Result<(bool, Vec<Answer>), Error> {
    let mut auto = None;
    let mut answers: Vec<(&Token, Answer)> = Vec::new();
    let mut rest = words;
    while let [first, after @ ..] = rest {
        let (word, after) = match (first.text.as_str(), after) {
            ("answer", [word, after @ ..]) => (word, after),
            ("answer", []) => return Err(first.error(format!("plugin/rewrite: write '{USAGE}'"))),
            _ if std::ptr::eq(rest, words) => {
                return Err(first
                    .error(format!("plugin/{NAME}: '{}' after FROM and TO: write '{USAGE}'", first.text)));
            }
            _ => (first, after),
        };
        let place = match word.text.as_str() {
            "auto" => {
                auto = Some(word);
                rest = after;
                continue;
            }
            "name" => Place::Owner,
            "value" => Place::Value,
            other => {
                let why = "write 'answer auto', 'answer name REGEX TO' or 'answer value REGEX TO'";
                return Err(word.error(format!("plugin/rewrite: invalid answer rule '{other}': {why}")));
            }
        };
        let [from, to, after @ ..] = after else {
            return Err(word.error(format!("plugin/rewrite: write 'answer {} REGEX TO'", word.text)));
        };
        let from = Pattern::Regex(regexp::compile(NAME, from)?);
        let to = from.replacement(to)?;
        answers.push((word, Answer { place, rewriter: Rewriter::Pattern { from, to } }));
        rest = after;
    }
    if let (Some(auto), Some((_, _))) = (auto, answers.iter().find(|(_, a)| a.place == Place::Owner)) {
        return Err(auto.error(
            "plugin/rewrite: 'answer auto' and 'answer name' exclude each other: remove one of them",
        ));
    }
    Ok((auto.is_some(), answers.into_iter().map(|(_, answer)| answer).collect()))
}
