//! Watches: a cursor along the events of a kind, one chunk for each event.
//!
//! Phases: initial events (the objects that are there, as ADDED), for a streaming list the bookmark that ends
//! them, then events, with bookmarks now and then, until the time is up.
//!
//! Limits: a reader for whom more than [`Config::watch_queue`](super::super::Config) events wait loses its watch;
//! that does not hold before it has caught up once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::super::StreamingLists;
use super::super::etcd::{Event, Next, Range, Stored};
use super::super::requests::WatchGuard;
use super::super::resource::{self, Target};
use super::Server;
use super::body::{Body, Chunk};
use super::bookmarks::Bookmarks;
use super::params::{Params, Selected, Version};
use super::status::Status;
use crate::zone::object::Kind;

/// The least time of a watch that says none; the most is twice that (`--min-request-timeout`).
const MIN_TIMEOUT: Duration = Duration::from_secs(1_800);

/// One watch.
struct Watch {
    /// For the store and the jitter.
    server: Arc<Server>,
    /// Counts it as open.
    guard: WatchGuard,
    /// What is watched.
    kind: Kind,
    /// Which objects.
    selected: Selected,
    /// Wakes it.
    changed: watch::Receiver<()>,
    /// Which of the store's lives it belongs to.
    generation: u64,
    /// Objects that were there at its start and are still to be told.
    initial: std::vec::IntoIter<Arc<Stored>>,
    /// The version from which on the end of a streaming list is told; `None` once it was.
    initial_end: Option<u64>,
    /// All events up to here were looked at.
    cursor: u64,
    /// Bookmarks of lower versions say nothing to whoever asked from here on.
    floor: u64,
    /// Whether it has once had nothing left to tell.
    caught_up: bool,
    /// If bookmarks were asked for.
    bookmarks: Option<Bookmarks>,
    /// When its time is up.
    end: Instant,
}

/// Opens a watch; `empty` leaves the initial events out.
///
/// # Errors
/// 422 for parameters that do not go together. Everything else is told by ERROR events.
pub(super) fn watch(
    server: &Arc<Server>,
    target: &Target,
    params: &Params,
    empty: bool,
) -> Result<Body, Status> {
    params.validate(server.config.streaming_lists)?;
    let kind = target.kind;
    let changed = server.etcd.subscribe();
    let generation = server.etcd.generation();
    let streaming = params.is_streaming(server.config.streaming_lists);
    if streaming && params.bookmarks && server.config.streaming_lists == StreamingLists::OldEtcd {
        return Ok(ended(&Status::no_watch_progress()));
    }
    let cached = server.etcd.cached(kind);
    // Where it begins, whether with the objects that are there, and the version that ends a streaming list.
    let (from, whole, initial_end) = match params.version {
        Version::Unset if streaming => (cached.0, true, server.etcd.consistent(kind)),
        Version::Unset => {
            let now = server.etcd.consistent(kind);
            (now, true, now)
        }
        Version::Any => (cached.0, true, cached.1),
        Version::At(version) if streaming => (cached.0, true, version),
        Version::At(version) => (version, false, version),
    };
    let floor = server.etcd.floor(kind);
    if from < floor {
        return Ok(ended(&Status::watch_expired(from, floor)));
    }
    let initial = if whole && !empty {
        let range = Range { prefix: &params.selected.prefix, start: "", limit: 0 };
        server.etcd.page(kind, from, range, |object| params.selected.wants(object)).objects
    } else {
        Vec::new()
    };
    let now = Instant::now();
    let timeout = match params.timeout_seconds {
        0 => MIN_TIMEOUT + server.jitter.full(MIN_TIMEOUT),
        seconds => Duration::from_secs(seconds.min(MAX_TIMEOUT_SECONDS)),
    };
    let end = now + timeout;
    let watch = Watch {
        server: server.clone(),
        guard: server.requests.opened(kind),
        kind,
        selected: params.selected.clone(),
        changed,
        generation,
        initial: initial.into_iter(),
        initial_end: (streaming && params.bookmarks).then_some(initial_end),
        cursor: from,
        floor: if whole { 0 } else { from },
        caught_up: false,
        bookmarks: params.bookmarks.then(|| Bookmarks::new(now, end, &server.jitter)),
        end,
    };
    let chunks = stream::unfold(watch, |mut watch| async move { Some((watch.next().await?, watch)) });
    Ok(Body::streamed(chunks.boxed()))
}

/// A year: more than anybody waits, and a time that can be added to any other.
const MAX_TIMEOUT_SECONDS: u64 = 365 * 86_400;

/// A watch that consists of an ERROR event.
pub(super) fn ended(status: &Status) -> Body {
    let line = format!("{{\"type\":\"ERROR\",\"object\":{}}}\n", status.json());
    Body::streamed(stream::iter([Ok(Chunk::from([Bytes::from(line)]))]).boxed())
}

impl Watch {
    /// The next chunk; `None` at the end.
    async fn next(&mut self) -> Option<io::Result<Chunk>> {
        loop {
            self.changed.mark_unchanged();
            if self.guard.watch.silent.load(Ordering::Relaxed) {
                // Silently dead: not even its end is told.
                std::future::pending::<()>().await;
            }
            if Instant::now() >= self.end {
                return None;
            }
            if let Some(object) = self.initial.next() {
                return Some(Ok(event("ADDED", self.kind, object.bytes())));
            }
            let limit = if self.caught_up { self.server.config.watch_queue.max(1) } else { 0 };
            let (reached, until) = match self.server.etcd.next(self.kind, self.generation, self.cursor, limit)
            {
                Next::Replaced => return Some(Err(io::ErrorKind::ConnectionReset.into())),
                Next::Lost => return None,
                Next::Event(event) => {
                    self.cursor = event.revision;
                    let hidden = self.server.faults.is_hidden(event.revision);
                    match self.told(&event).filter(|_| !hidden) {
                        Some(chunk) if !self.guard.watch.skips() => return Some(Ok(chunk)),
                        _ => continue,
                    }
                }
                Next::Idle { reached, seen, until } => {
                    self.cursor = seen;
                    self.caught_up = true;
                    (reached, until)
                }
            };
            if let Some(chunk) = self.bookmark(reached) {
                return Some(Ok(chunk));
            }
            // The bookmark that ends a streaming list waits for a version, not for a time.
            let due = self.bookmarks.as_ref().filter(|_| self.initial_end.is_none()).map(|b| b.at);
            let times = [Some(self.end), until, due];
            let wake = times.into_iter().flatten().min().unwrap_or(self.end);
            tokio::select! {
                () = sleep_until(wake) => {}
                changed = self.changed.changed() => if changed.is_err() { return None },
            }
        }
    }

    /// The bookmark that is due, if one is.
    fn bookmark(&mut self, reached: u64) -> Option<Chunk> {
        if let Some(end) = self.initial_end {
            // Until the initial events are complete no bookmark may say more than they do.
            if reached < end {
                return None;
            }
            self.initial_end = None;
            return Some(bookmark(self.kind, reached, true));
        }
        let (now, bookmarks) = (Instant::now(), self.bookmarks.as_mut()?);
        if bookmarks.at > now {
            return None;
        }
        bookmarks.sent(now, &self.server.jitter);
        (reached > 0 && reached >= self.floor).then(|| bookmark(self.kind, reached, false))
    }

    /// What an event is to whoever watches only some of the objects.
    fn told(&self, change: &Event) -> Option<Chunk> {
        let was = change.before.as_ref().filter(|object| self.selected.wants(object));
        let is = (!change.deleted && self.selected.wants(&change.object)).then_some(&change.object);
        match (was, is) {
            (None, None) => None,
            (None, Some(object)) => Some(event("ADDED", self.kind, object.bytes())),
            (Some(_), Some(object)) => Some(event("MODIFIED", self.kind, object.bytes())),
            (Some(_), None) if change.deleted => Some(event("DELETED", self.kind, change.object.bytes())),
            // It is there and no longer wanted: its last state that was, at the version of the change.
            (Some(object), None) => {
                Some(event("DELETED", self.kind, object.at_version(change.revision).bytes()))
            }
        }
    }
}

/// One event as one chunk.
fn event(what: &str, kind: Kind, text: &Bytes) -> Chunk {
    let opening = format!("{{\"type\":\"{what}\",\"object\":{}", resource::of(kind).opening);
    [opening.into(), text.slice(1..), Bytes::from_static(b"}\n")].into()
}

/// A bookmark; `initial_end` for the one that ends a streaming list.
fn bookmark(kind: Kind, version: u64, initial_end: bool) -> Chunk {
    let resource = resource::of(kind);
    let note = if initial_end { ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}" } else { "" };
    let text = format!(
        "{{\"type\":\"BOOKMARK\",\"object\":{}\"metadata\":{{\"resourceVersion\":\"{version}\"{note}}}{}}}\n",
        resource.opening, resource.empty_fields
    );
    [Bytes::from(text)].into()
}
