//! Lists, whole and in pages, and single objects.
//!
//! Semantics of resourceVersion: <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::super::etcd::{Range, Stored, Wait};
use super::super::resource::{self, Target};
use super::Server;
use super::body::Body;
use super::continue_token::ContinueToken;
use super::params::{Match, Params, Version};
use super::status::Status;
use crate::zone::object::Kind;

/// How long a list waits for a version that the server has not reached, as in a real server.
const BEHIND_PATIENCE: Duration = Duration::from_secs(3);

/// How often it looks again meanwhile.
const BEHIND_LOOK: Duration = Duration::from_millis(50);

/// An answer's body, and its length where that is known from the start.
pub(super) type Written = (Body, Option<usize>);

/// Which part of which state a list is.
struct View {
    /// The state.
    revision: u64,
    /// The version that the list says it has.
    version: u64,
    /// The first key, or what comes after it; empty for the beginning.
    start: String,
    /// At most so many; 0 for all.
    limit: usize,
    /// What the next page's token says.
    token_version: Option<u64>,
}

/// One object.
///
/// # Errors
/// 404 if there is none, and those of versions.
pub(super) async fn get(server: &Server, target: &Target, params: &Params) -> Result<Written, Status> {
    let revision = match params.version {
        Version::Unset => server.etcd.consistent(target.kind),
        Version::Any => server.etcd.cached(target.kind).0,
        Version::At(version) => reach(server, target.kind, version).await?,
    };
    let key = resource::key(target.kind, &target.namespace, &target.name);
    let found = server.etcd.find(target.kind, &key, revision);
    let object = found.ok_or_else(|| Status::no_such_object(target))?;
    let opening = Bytes::from_static(resource::of(target.kind).opening.as_bytes());
    // One write, as the encoder of a single object makes it.
    let text = [&opening, &object.bytes()[1..], b"\n"].concat();
    Ok(Body::written(std::iter::once(text.into())))
}

/// A list, or a page of one; `empty` leaves all items out.
///
/// # Errors
/// 400, 410, 422, 504.
pub(super) async fn list(
    server: &Server,
    target: &Target,
    params: &Params,
    empty: bool,
) -> Result<Written, Status> {
    params.validate(server.config.streaming_lists)?;
    let kind = target.kind;
    let view = view(server, target, params).await?;
    let selected = &params.selected;
    let range = Range { prefix: &selected.prefix, start: &view.start, limit: view.limit };
    let mut page = server.etcd.page(kind, view.revision, range, |object| !empty && selected.wants(object));
    let mut metadata = format!("\"metadata\":{{\"resourceVersion\":\"{}\"", view.version);
    if page.remaining > 0
        && let Some(last) = page.objects.last()
    {
        let last = last.key().strip_prefix(selected.prefix.as_str()).unwrap_or_default();
        let token = ContinueToken::after(view.token_version, last).encode();
        metadata.push_str(&format!(",\"continue\":\"{token}\""));
        // With selectors, a real server does not count what remains.
        if selected.is_everything() {
            metadata.push_str(&format!(",\"remainingItemCount\":{}", page.remaining));
        }
    }
    metadata.push_str("},\"items\":[");
    page.objects.shrink_to_fit();
    Ok(Body::written(writes(kind, metadata, page.objects)))
}

/// What the encoder of lists writes, one after the other.
fn writes(kind: Kind, metadata: String, objects: Vec<Arc<Stored>>) -> impl Iterator<Item = Bytes> + Send {
    let opening = Bytes::from_static(resource::of(kind).list_opening.as_bytes());
    let count = objects.len();
    let items = objects.into_iter().enumerate().flat_map(move |(i, object)| {
        let comma = if i + 1 < count { Bytes::from_static(b",") } else { Bytes::new() };
        [object.bytes().clone(), comma]
    });
    [opening, metadata.into()].into_iter().chain(items).chain([Bytes::from_static(b"]}\n")])
}

/// What a list shows.
async fn view(server: &Server, target: &Target, params: &Params) -> Result<View, Status> {
    let kind = target.kind;
    if !params.continue_token.is_empty() {
        return next_page(server, kind, params);
    }
    let limit = params.limit;
    let view = |revision, version| View {
        revision,
        version,
        start: String::new(),
        limit,
        token_version: Some(version),
    };
    match (params.version, params.version_match) {
        (Version::Unset, _) => {
            let now = server.etcd.consistent(kind);
            Ok(view(now, now))
        }
        (Version::Any, _) => {
            let (revision, version) = server.etcd.cached(kind);
            // What the cache has is given whole.
            Ok(View { limit: 0, ..view(revision, version) })
        }
        (Version::At(version), Match::Exact) => {
            exact(server, kind, version).await.map(|()| view(version, version))
        }
        // Without a match, a limit means this very version, as it did before there were matches.
        (Version::At(version), Match::Unset) if limit > 0 => {
            exact(server, kind, version).await.map(|()| view(version, version))
        }
        (Version::At(version), _) => {
            let reached = reach(server, kind, version).await?;
            let (revision, version) = server.etcd.cached(kind);
            Ok(view(revision.max(reached), version.max(reached)))
        }
    }
}

/// The page that a token asks for.
fn next_page(server: &Server, kind: Kind, params: &Params) -> Result<View, Status> {
    let invalid = |why: String| Status::bad_request(format!("invalid continue token: {why}"));
    let token = ContinueToken::decode(&params.continue_token).map_err(invalid)?;
    if matches!(params.version, Version::At(_)) {
        return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
    }
    let start = format!("{}{}", params.selected.prefix, token.start);
    let now = server.etcd.revision();
    let (revision, token_version) = match token.version {
        // A rest as it is now: its further pages are as of now, too.
        None => (now, Some(now)),
        Some(version) if version > now => return Err(Status::too_large(version, now)),
        Some(version) if version < server.etcd.floor(kind) => {
            return Err(Status::continue_expired(ContinueToken { version: None, ..token }.encode()));
        }
        Some(version) => (version, Some(version)),
    };
    Ok(View { revision, version: revision, start, limit: params.limit, token_version })
}

/// Waits until the store has reached `version`, and checks that it still has it.
async fn exact(server: &Server, kind: Kind, version: u64) -> Result<(), Status> {
    wait(|| match server.etcd.consistent(kind) {
        now if now < version => Wait::Behind(now),
        now => Wait::Reached(now),
    })
    .await
    .map_err(|now| Status::too_large(version, now))?;
    if version < server.etcd.floor(kind) { Err(Status::list_expired()) } else { Ok(()) }
}

/// Waits until the cache has reached `version`; returns the version that it knows itself to have.
async fn reach(server: &Server, kind: Kind, version: u64) -> Result<u64, Status> {
    let reached = wait(|| server.etcd.not_older_than(kind, version)).await;
    reached.map_err(|now| Status::too_large(version, now))
}

/// Looks until `look` says that a version is reached, or patience is at its end.
async fn wait(look: impl Fn() -> Wait) -> Result<u64, u64> {
    let until = Instant::now() + BEHIND_PATIENCE;
    loop {
        match look() {
            Wait::Reached(version) => return Ok(version),
            Wait::Behind(now) if Instant::now() >= until => return Err(now),
            Wait::Behind(_) => sleep(BEHIND_LOOK).await,
        }
    }
}
