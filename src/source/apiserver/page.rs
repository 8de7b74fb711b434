//! One answer to a list: its items one by one, and what its metadata says.

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::client::{Answer, Client, deadline};
use super::fault::Fault;
use super::metrics::Verb;
use super::resource::{Query, plural};
use super::split::{Broken, Document, Part};
use crate::zone::object::Kind;

/// A page that is being read.
pub(super) struct Page {
    /// The rest of its text.
    answer: Answer,
    /// Takes it apart.
    document: Document,
    /// Of what it has to be a list.
    kind: Kind,
    /// Whether it said so.
    kind_seen: bool,
    /// Whether `items` were null, which is how an empty list may be written.
    null_items: bool,
    /// What it says of the list.
    metadata: ListMeta,
}

/// `metadata` of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    /// A number in decimal.
    resource_version: Option<Box<str>>,
    /// What to ask the next page with; empty or absent on the last one.
    #[serde(rename = "continue")]
    next: Option<String>,
}

impl Page {
    /// Asks for a page.
    pub(super) async fn open(client: &Client, verb: Verb, kind: Kind, query: Query) -> Result<Self, Fault> {
        Self::of(client, verb, kind, &query.of(kind)).await
    }

    /// Asks for the list at a path with its query.
    pub(super) async fn of(client: &Client, verb: Verb, kind: Kind, target: &str) -> Result<Self, Fault> {
        let answer = client.get(verb, plural(kind), target).await?;
        let (document, metadata) = (Document::default(), ListMeta::default());
        Ok(Self { answer, document, kind, kind_seen: false, null_items: false, metadata })
    }

    /// The next item, in JSON; `None` after the last one. Not cancel-safe.
    pub(super) async fn item(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            match self.document.next().map_err(broken)? {
                Some(Part::Item(item)) => return Ok(Some(item)),
                Some(Part::Field { name, value }) => self.field(&name, &value)?,
                None => {
                    let at = self.answer.began() + deadline::PAGE;
                    match self.answer.piece(at, "reading a page of a list").await? {
                        Some(piece) => self.document.push(piece),
                        None => return self.complete().map(|()| None),
                    }
                }
            }
        }
    }

    /// The version of the list, once it is known.
    pub(super) fn version(&self) -> Option<u64> {
        // 0 stands for "any" in requests; no list has it.
        self.metadata.resource_version.as_deref().and_then(|v| v.parse().ok()).filter(|v| *v > 0)
    }

    /// The token of the next page, if there is one.
    pub(super) fn next_token(self) -> Option<String> {
        self.metadata.next.filter(|token| !token.is_empty())
    }

    /// Takes a field of the list.
    fn field(&mut self, name: &str, value: &[u8]) -> Result<(), Fault> {
        let wrong = |e: serde_json::Error| Fault::Malformed { why: format!("a list's {name:.64}: {e}") };
        match name {
            "kind" => {
                let kind: String = serde_json::from_slice(value).map_err(wrong)?;
                if kind.strip_suffix("List") != Some(self.kind.as_str()) {
                    let why = format!("{kind:.64} where a {}List was asked for", self.kind);
                    return Err(Fault::Malformed { why });
                }
                self.kind_seen = true;
            }
            "metadata" => self.metadata = serde_json::from_slice(value).map_err(wrong)?,
            "items" => {
                serde_json::from_slice::<()>(value).map_err(wrong)?;
                self.null_items = true;
            }
            _ => drop(serde_json::from_slice::<IgnoredAny>(value).map_err(wrong)?),
        }
        Ok(())
    }

    /// Makes sure that it was a list, and all of it.
    fn complete(&self) -> Result<(), Fault> {
        self.document.finish().map_err(|e| Fault::Unreachable { why: format!("the answer was cut: {e}") })?;
        if self.kind_seen && (self.null_items || self.document.listed()) {
            Ok(())
        } else {
            Err(Fault::Malformed { why: "an answer that is no list".to_owned() })
        }
    }
}

fn broken(error: Broken) -> Fault {
    Fault::Malformed { why: error.to_string() }
}
