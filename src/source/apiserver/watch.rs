//! Watches, plain and with initial events (streaming lists).
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#streaming-lists>

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::client::{Answer, Client, LeftOut, deadline};
use super::fault::Fault;
use super::list::AtLeast;
use super::metrics::Verb;
use super::resource::{Query, plural};
use super::split::Lines;
use crate::source::Wanted;
use crate::source::kubectl::single::{self, Decoded};
use crate::zone::object::Kind;

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// After this resourceVersion.
    Version(u64),
    /// With the whole state first (`sendInitialEvents`).
    Whole(AtLeast),
}

/// What a watch says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// ADDED or MODIFIED.
    Upsert(Decoded),
    /// DELETED; the object carries the version of the deletion.
    Delete(Decoded),
    /// BOOKMARK: everything up to this version has been said.
    Bookmark {
        /// The version.
        version: u64,
        /// Whether it ends the initial events (`k8s.io/initial-events-end`).
        ends_initial: bool,
    },
}

/// A watch that is open.
pub(super) struct Watch {
    /// Counted and logged with each bookmark, about once a minute.
    left_out: LeftOut,
    /// Of what it is.
    kind: Kind,
    /// What the objects are needed for.
    wanted: Wanted,
    /// The rest of its text.
    answer: Answer,
    /// Takes it apart.
    lines: Lines,
    /// After what time the server ends it.
    timeout: Duration,
    /// Whether initial events are still coming.
    initial: bool,
    /// Since when the next event is waited for; not while somebody works on the last one.
    waiting: Option<Instant>,
}

impl Watch {
    /// Opens a watch with bookmarks that the server ends after `timeout`; returns once the server has accepted it.
    pub(super) async fn open(
        client: &Client,
        kind: Kind,
        wanted: Wanted,
        from: From,
        timeout: Duration,
    ) -> Result<Self, Fault> {
        let query = Query::default().with("watch", true).with("allowWatchBookmarks", true);
        let query = query.with("timeoutSeconds", timeout.as_secs().max(1));
        let query = match from {
            From::Version(version) => query.with("resourceVersion", version),
            // Without a version: as the cluster's store has it now.
            From::Whole(at_least) => {
                let query = query.with("sendInitialEvents", true);
                match at_least {
                    AtLeast::Now => query.with("resourceVersionMatch", "NotOlderThan"),
                    AtLeast::Version(_) => query.at_least(at_least),
                }
            }
        };
        let answer = client.get(Verb::Watch, plural(kind), &query.of(kind)).await?;
        let initial = matches!(from, From::Whole(_));
        let (left_out, lines) = (LeftOut::new(client.clone()), Lines::default());
        Ok(Self { left_out, kind, wanted, answer, lines, timeout, initial, waiting: None })
    }

    /// The next event; `None` when the server has ended the watch. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<Step>, Fault> {
        loop {
            if let Some(line) = self.lines.next().map_err(|e| Fault::Malformed { why: e.to_string() })? {
                self.waiting = None;
                return self.step(&line).map(Some);
            }
            // Kept over a cancellation, so that asking again and again does not put off the end of patience.
            let since = *self.waiting.get_or_insert_with(Instant::now);
            let (at, what) = self.patience(since);
            match self.answer.piece(at, what).await? {
                Some(piece) => self.lines.push(piece),
                None => {
                    let cut = |e| Fault::Unreachable { why: format!("the watch was cut: {e}") };
                    return self.lines.finish().map_err(cut).map(|()| None);
                }
            }
        }
    }

    /// Until when the next event has to come that has been waited for since `since`.
    fn patience(&self, since: Instant) -> (Instant, &'static str) {
        if self.initial {
            let at = (since + deadline::INITIAL_SILENCE).min(self.answer.began() + deadline::INITIAL);
            (at, "waiting for the initial events")
        } else {
            (
                since + deadline::SILENCE.min(self.timeout + deadline::SLACK),
                "waiting for an event or a bookmark",
            )
        }
    }

    /// What an event says.
    fn step(&mut self, line: &Bytes) -> Result<Step, Fault> {
        let event: Event<'_> = serde_json::from_slice(line)
            .map_err(|e| Fault::Malformed { why: format!("an event of a watch: {e}") })?;
        let object = event.object.get().as_bytes();
        match &*event.kind {
            "ADDED" | "MODIFIED" => self.decode(object).map(Step::Upsert),
            "DELETED" => self.decode(object).map(Step::Delete),
            "BOOKMARK" => {
                self.left_out.report();
                let step = bookmark(object)?;
                self.initial &= !matches!(step, Step::Bookmark { ends_initial: true, .. });
                Ok(step)
            }
            "ERROR" => Err(Fault::of_event(object)),
            other => Err(Fault::Malformed { why: format!("an event of type {other:.64}") }),
        }
    }

    fn decode(&mut self, object: &[u8]) -> Result<Decoded, Fault> {
        single::decode(self.kind, object, self.wanted, &mut self.left_out.drops)
            .map_err(|why| Fault::Malformed { why })
    }
}

/// An event as it is sent.
#[derive(Deserialize)]
struct Event<'a> {
    /// What happened.
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    /// To what.
    #[serde(borrow)]
    object: &'a RawValue,
}

/// The object of a BOOKMARK.
#[derive(Deserialize)]
struct Bookmark {
    /// All that it has.
    metadata: BookmarkMeta,
}

/// `metadata` of a bookmark.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BookmarkMeta {
    /// A number in decimal.
    resource_version: Box<str>,
    /// The one that is of use.
    annotations: Option<BookmarkAnnotations>,
}

/// `metadata.annotations` of a bookmark.
#[derive(Deserialize)]
struct BookmarkAnnotations {
    /// `"true"` at the end of the initial events.
    #[serde(rename = "k8s.io/initial-events-end")]
    initial_events_end: Option<Box<str>>,
}

fn bookmark(object: &[u8]) -> Result<Step, Fault> {
    let wrong = |what: String| Fault::Malformed { why: format!("a bookmark: {what}") };
    let Bookmark { metadata } = serde_json::from_slice(object).map_err(|e| wrong(e.to_string()))?;
    let BookmarkMeta { resource_version, annotations } = metadata;
    let version =
        resource_version.parse().map_err(|_| wrong("its resourceVersion is no number".to_owned()))?;
    let ends_initial = annotations.and_then(|a| a.initial_events_end).as_deref() == Some("true");
    Ok(Step::Bookmark { version, ends_initial })
}
