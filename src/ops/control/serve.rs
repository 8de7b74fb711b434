//! The server's side: takes connections, and has each request carried out.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Handler;
use super::command::Command;
use super::place::{self, Place, Taken};
use super::wire::{self, Line, MAX_REQUEST, Refusal, RefusalKind};
use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;

/// Connections at one time. People and scripts need one each for milliseconds; who comes over the limit is told so.
const MAX_CONNECTIONS: usize = 8;

/// How long a request may take, from its connection to its result.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// How long what was too late for its asker may still take.
const FINISH_LIMIT: Duration = Duration::from_secs(60);

/// How long a reply may take to leave: a client that does not read loses it.
const WRITE_LIMIT: Duration = Duration::from_secs(1);

/// How often a path that could not be had is tried again, and one that was had is looked after: somebody may have
/// tidied up the folder.
const LOOK: Duration = Duration::from_secs(5);

/// How much that varies.
const LOOK_SPREAD: f64 = 0.2;

/// Pause after an error of accepting that is not one connection's own (no descriptors left, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Requests, by command and by what became of them.
const REQUESTS_TOTAL: &str = "outlast_control_requests_total";

/// Listens at `path` until `stop`. A path that cannot be had, because another process is still there or the folder
/// cannot be written, is tried again for as long as it takes: what else the process does, does not depend on it.
pub async fn serve(path: PathBuf, handler: Arc<dyn Handler>, metrics: Arc<Metrics>, stop: CancellationToken) {
    metrics.describe_counter(REQUESTS_TOTAL, "Requests on the control socket, by command and result.");
    let (jitter, mut said) = (Jitter::for_process(), None);
    let own_uid = match own_uid() {
        Ok(uid) => uid,
        Err(error) => return tracing::error!(%error, "no control socket: the system does not say who we are"),
    };
    let shared = Arc::new(Shared { handler, metrics, own_uid });
    while !stop.is_cancelled() {
        let problem = match take(&path).await {
            Ok((listener, place)) => {
                said = None;
                tracing::info!(path = %path.display(), "control socket is there");
                match answer_all(&listener, &place, &shared, &stop).await {
                    Ended::Stopped => return leave(place).await,
                    Ended::Removed => {
                        tracing::warn!(path = %path.display(), "somebody has removed the control socket");
                        continue;
                    }
                }
            }
            Err(problem) => problem,
        };
        if said.as_ref() != Some(&problem) {
            tracing::warn!(path = %path.display(), why = %problem,
                "no control socket, outlast ctl has nobody to ask; trying again");
            said = Some(problem);
        }
        let pause = jitter.spread(LOOK, LOOK_SPREAD);
        stop.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
}

/// What all connections share.
struct Shared {
    /// Carries out commands.
    handler: Arc<dyn Handler>,
    /// Counts them.
    metrics: Arc<Metrics>,
    /// The user that this process runs as.
    own_uid: u32,
}

/// Why a listener ended.
enum Ended {
    /// It was asked to.
    Stopped,
    /// Nobody can find it any more.
    Removed,
}

/// The user that the kernel will say we are.
fn own_uid() -> io::Result<u32> {
    // Asked in the same way as of clients, so that both are seen through the same user namespace.
    let (one, _other) = UnixStream::pair()?;
    Ok(one.peer_cred()?.uid())
}

async fn take(path: &Path) -> Result<(UnixListener, Place), String> {
    let path = path.to_owned();
    // Files are never touched on this thread: whoever asks for `/health` would wait for a disk.
    match tokio::task::spawn_blocking(move || place::take(&path)).await {
        Ok(Ok(Taken::Ours(listener, place))) => {
            UnixListener::from_std(listener).map(|l| (l, place)).map_err(|error| error.to_string())
        }
        Ok(Ok(Taken::InUse)) => Err("another process answers there".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

async fn leave(place: Place) {
    // One that panicked leaves a file that the next process replaces.
    let _ = tokio::task::spawn_blocking(move || place.leave()).await;
}

/// Answers whoever connects.
async fn answer_all(
    listener: &UnixListener,
    place: &Place,
    shared: &Arc<Shared>,
    stop: &CancellationToken,
) -> Ended {
    let mut connections = JoinSet::new();
    let mut look = interval_at(Instant::now() + LOOK, LOOK);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            _ = look.tick() => {
                let looked = place.clone();
                let ours = tokio::task::spawn_blocking(move || looked.is_ours()).await;
                if matches!(ours, Ok(false)) {
                    return Ended::Removed;
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() >= MAX_CONNECTIONS => turn_away(&stream),
                Ok((stream, _)) => drop(connections.spawn(answer(stream, shared.clone()))),
                Err(error) => {
                    tracing::debug!(%error, "accepting a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    // What was asked is answered, each within its own deadline; the process's end cuts what is left.
    while connections.join_next().await.is_some() {}
    Ended::Stopped
}

/// Tells a client that there are too many, if that can be done at once.
fn turn_away(stream: &UnixStream) {
    let busy = Refusal::new(RefusalKind::Busy, format!("{MAX_CONNECTIONS} others are asking: try again"));
    let _ = stream.try_write(&wire::reply(Err(busy)));
}

/// Answers one request.
async fn answer(mut stream: UnixStream, shared: Arc<Shared>) {
    let deadline = Instant::now() + DEADLINE;
    let mut unfinished = None;
    let (name, result) = match timeout_at(deadline, request(&mut stream, &shared)).await {
        // Who is gone is told nothing.
        Ok(None) => return,
        Ok(Some(Err(refusal))) => ("none", Err(refusal)),
        Ok(Some(Ok(command))) => {
            let name = command.name();
            let mut handling = shared.handler.handle(command);
            let handled = timeout_at(deadline, &mut handling).await.unwrap_or_else(|_| {
                unfinished = Some(handling);
                Err(late("no result"))
            });
            (name, handled)
        }
        Err(_) => ("none", Err(late("no whole request"))),
    };
    let outcome = if result.is_ok() { "ok" } else { "refused" };
    shared.metrics.counter(REQUESTS_TOTAL, &[("command", name), ("result", outcome)]).increment(1);
    let reply = wire::reply(result);
    // A client that has gone has no use for it.
    let _ = timeout(WRITE_LIMIT, async { stream.write_all(&reply).await }).await;
    // An order is not left half done because somebody has lost patience. It keeps its place among the connections.
    if let Some(handling) = unfinished {
        let _ = timeout(FINISH_LIMIT, handling).await;
    }
}

fn late(what: &str) -> Refusal {
    let text = format!("{what} within {} s; an order may yet be carried out: see status", DEADLINE.as_secs());
    Refusal::new(RefusalKind::Late, text)
}

/// Reads a request from somebody who may make one; `None` if there is nobody any more.
async fn request(stream: &mut UnixStream, shared: &Shared) -> Option<Result<Command, Refusal>> {
    let peer = match stream.peer_cred() {
        Ok(peer) => peer,
        Err(error) => return Some(Err(Refusal::failed(format!("asking the kernel who asks: {error}")))),
    };
    // Invariant: who asks is root or the user that the process runs as.
    if !is_allowed(peer.uid(), shared.own_uid) {
        let text = format!("user {} may not: root may, and user {}", peer.uid(), shared.own_uid);
        return Some(Err(Refusal::new(RefusalKind::Denied, text)));
    }
    let line = match wire::read_line(stream, MAX_REQUEST).await {
        Ok(Line::Whole(line)) => line,
        Ok(Line::TooLong) => {
            return Some(Err(Refusal::wrong(format!("a request has at most {MAX_REQUEST} bytes"))));
        }
        Ok(Line::Cut) | Err(_) => return None,
    };
    let command = wire::command(&line);
    if let Ok(command) = &command
        && command.is_order()
    {
        let pid = peer.pid().unwrap_or_default();
        tracing::warn!(?command, uid = peer.uid(), pid, "an operator gives an order");
    }
    Some(command)
}

/// Whether a user may ask.
pub(super) const fn is_allowed(uid: u32, own_uid: u32) -> bool {
    uid == 0 || uid == own_uid
}
