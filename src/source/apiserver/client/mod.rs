//! One request to the API server: limited, measured, with deadlines; its body comes in pieces.
//!
//! Reading order: `config` (files to kube's configuration), `connect` (connections), `keeper` (the client that
//! is shared and renewed), `deadline` (how long each wait may take), and here what a request goes through.

pub(super) mod config;
mod connect;
pub(super) mod deadline;
mod keeper;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use kube::client::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use self::keeper::{Keeper, Live};
use super::access::{Access, Place};
use super::fault::{Fault, said};
use super::limiter::Bucket;
use super::metrics::{Asked, Measures, Verb};
use super::transport::Transport;
use crate::ops::metrics::Metrics;
use crate::source::kubectl::Drops;

/// How much of an error's body is read: a Status has some hundred bytes.
const MAX_ERROR_BODY: usize = 64 << 10;

/// A client for the few requests of a command, without limits and counts. Has to run within a runtime, on a thread that
/// may block.
pub(super) fn once(place: &Place) -> Result<kube::Client, String> {
    let loaded = config::load(place)?;
    connect::client(&loaded.config, &Transport::Tcp).map_err(|error| said(&error))
}

/// Speaks to one API server. Cheap to clone; all clones share connections, limits and measures.
#[derive(Clone)]
pub(super) struct Client(Arc<Shared>);

/// What the clones share.
struct Shared {
    /// The kube client.
    keeper: Keeper,
    /// `apiserver_qps` and `apiserver_burst`.
    bucket: Mutex<Bucket>,
    /// `apiserver_max_inflight`.
    slots: Option<Arc<Semaphore>>,
    /// Counts and durations.
    measures: Measures,
}

impl Client {
    /// A client; nothing is read or opened before the first request.
    pub(super) fn new(access: Access, transport: Transport, metrics: Arc<Metrics>) -> Self {
        let Access { place, limits } = access;
        let max =
            limits.max_inflight.map(|n| usize::try_from(u32::from(n)).unwrap_or(Semaphore::MAX_PERMITS));
        Self(Arc::new(Shared {
            keeper: Keeper::new(place, transport),
            bucket: Mutex::new(Bucket::new(&limits)),
            slots: max.map(|n| Arc::new(Semaphore::new(n.min(Semaphore::MAX_PERMITS)))),
            measures: Measures::new(metrics),
        }))
    }

    /// Sends a GET for `target` (path and query) and returns the body of the answer, if that is 200. A watch is
    /// then established and does not count as under way any more.
    pub(super) async fn get(
        &self,
        verb: Verb,
        resource: &'static str,
        target: &str,
    ) -> Result<Answer, Fault> {
        let live = self.0.keeper.get().await?;
        self.throttle(&live.host).await;
        let slot = self.slot().await?;
        let asked = Asked { verb, resource, host: live.host.clone() };
        let began = Instant::now();
        let response = self.head(&live, &asked, target).await?;
        let status = response.status();
        let retry_after = response.headers().get(http::header::RETRY_AFTER).cloned();
        let mut answer =
            Answer { body: response.into_body(), began, slot, unmeasured: Some((self.clone(), asked)) };
        if status == StatusCode::OK {
            if verb == Verb::Watch {
                answer.slot = None;
                answer.measure();
            }
            return Ok(answer);
        }
        if status == StatusCode::UNAUTHORIZED {
            live.doubt();
        }
        let body = answer.error_body().await;
        Err(Fault::of_response(status.as_u16(), retry_after.as_ref().and_then(|v| v.to_str().ok()), &body))
    }

    /// Waits for `apiserver_qps`. Cancel-safe: nothing is taken before it is there.
    async fn throttle(&self, host: &str) {
        let began = Instant::now();
        loop {
            let now = Instant::now();
            let taken = self.0.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(now);
            match taken {
                Ok(()) => return self.0.measures.throttled(host, now - began),
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    /// Waits for one of `apiserver_max_inflight`.
    async fn slot(&self) -> Result<Option<OwnedSemaphorePermit>, Fault> {
        let Some(slots) = &self.0.slots else { return Ok(None) };
        match tokio::time::timeout(deadline::SLOT, slots.clone().acquire_owned()).await {
            Ok(slot) => Ok(Some(slot.expect("the semaphore is never closed"))),
            Err(_) => {
                let why = "all of apiserver_max_inflight are taken".to_owned();
                Err(Fault::Busy { retry_after: None, why })
            }
        }
    }

    /// Sends the request and waits for the head of its answer.
    async fn head(&self, live: &Live, asked: &Asked, target: &str) -> Result<http::Response<Body>, Fault> {
        let request = http::Request::get(target)
            .header(http::header::ACCEPT, "application/json")
            .body(Body::empty())
            .map_err(|e| Fault::Malformed { why: format!("asking for {target}: {e}") })?;
        let what = "waiting for the head of the answer";
        let sent = deadline::until(Instant::now() + deadline::HEAD, what, live.kube.send(request)).await;
        let failed = match sent {
            Ok(Ok(response)) => {
                self.0.measures.answered(asked, response.status().as_str());
                return Ok(response);
            }
            Ok(Err(error)) => Fault::Unreachable { why: format!("{}: {}", live.host, said(&error)) },
            Err(late) => late,
        };
        self.0.measures.unanswered(asked);
        // Connections that are kept may be as dead as this one, and the address, CA or certificate be another.
        live.doubt();
        Err(failed)
    }
}

/// What was left out of objects and is not reported yet. Reported as a whole, since a list or a minute of events
/// may hold the same mistake a thousand times.
pub(super) struct LeftOut {
    /// Where to.
    client: Client,
    /// What.
    pub(super) drops: Drops,
}

impl LeftOut {
    /// Nothing yet.
    pub(super) fn new(client: Client) -> Self {
        Self { client, drops: Drops::default() }
    }

    /// Counts and logs it.
    pub(super) fn report(&mut self) {
        self.client.0.measures.dropped(&std::mem::take(&mut self.drops));
    }
}

impl Drop for LeftOut {
    fn drop(&mut self) {
        self.report();
    }
}

/// The body of an answer.
pub(super) struct Answer {
    /// What has not been read of it.
    body: Body,
    /// When it was asked for.
    began: Instant,
    /// Held until the end.
    slot: Option<OwnedSemaphorePermit>,
    /// Whom to tell how long it took, until that is told.
    unmeasured: Option<(Client, Asked)>,
}

impl Answer {
    /// When it was asked for.
    pub(super) const fn began(&self) -> Instant {
        self.began
    }

    /// The next piece of the body, if it comes until `at`; `None` at its end. Cancel-safe.
    pub(super) async fn piece(&mut self, at: Instant, what: &str) -> Result<Option<Bytes>, Fault> {
        loop {
            match deadline::until(at, what, self.body.frame()).await? {
                None => {
                    self.measure();
                    self.slot = None;
                    return Ok(None);
                }
                // Trailers say nothing.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    _ => {}
                },
                Some(Err(error)) => {
                    return Err(Fault::Unreachable { why: format!("the answer was cut: {}", said(&error)) });
                }
            }
        }
    }

    /// As much of an error's body as comes.
    async fn error_body(&mut self) -> Vec<u8> {
        let at = Instant::now() + deadline::ERROR;
        let mut read = Vec::new();
        while read.len() < MAX_ERROR_BODY
            && let Ok(Some(piece)) = self.piece(at, "reading an error").await
        {
            let room = MAX_ERROR_BODY - read.len();
            read.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        self.measure();
        read
    }

    /// Tells how long it took, once.
    fn measure(&mut self) {
        if let Some((client, asked)) = self.unmeasured.take() {
            client.0.measures.took(&asked, self.began.elapsed());
        }
    }
}

#[cfg(test)]
mod tests;
