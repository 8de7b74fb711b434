//! One listener: HTTP/1 with one request a connection, deadlines and limits.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long a request may take to arrive, and an answer to leave, as in CoreDNS.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// See [`READ_TIMEOUT`].
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections of one listener. Probers and scrapers need one each for milliseconds; over the limit the oldest
/// is cut, which is one that idles.
pub(super) const MAX_CONNECTIONS: usize = 64;

/// Bytes of a request's head, the least that hyper takes. Probers and scrapers need a few hundred.
const MAX_HEAD: usize = 8 << 10;
/// Header lines of a request.
const MAX_HEADERS: usize = 64;

/// How long answers may still leave once the listener closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// Pause after an error of accepting that is not one connection's own (no descriptors left, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `limit` connections at a time until `stop`, then lets answers leave. Each request is for the routes that there
/// are when it comes.
pub(super) async fn serve(
    listener: Arc<TcpListener>,
    routes: Arc<ArcSwap<Router>>,
    limit: usize,
    stop: CancellationToken,
) {
    let mut tasks = JoinSet::new();
    let mut oldest_first = VecDeque::<AbortHandle>::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "accepting a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while tasks.try_join_next().is_some() {}
        oldest_first.retain(|task| !task.is_finished());
        // Over the limit the oldest goes: idle connections must not keep the kubelet's probe out.
        if oldest_first.len() >= limit
            && let Some(oldest) = oldest_first.pop_front()
        {
            oldest.abort();
        }
        oldest_first.push_back(tasks.spawn(answer(stream, Router::clone(&routes.load()))));
    }
    // Those that the kernel has accepted already would be reset.
    for _ in 0..limit {
        let Ok(stream) = accept_waiting(&listener) else { break };
        tasks.spawn(answer(stream, Router::clone(&routes.load())));
    }
    drop(listener);
    // What is left after the limit is cut when the set is dropped.
    let _ = timeout(CLOSE_LIMIT, async { while tasks.join_next().await.is_some() {} }).await;
}

/// A connection that the kernel has, if there is one; asked directly, for the runtime may not have heard of it yet.
fn accept_waiting(listener: &TcpListener) -> io::Result<TcpStream> {
    let (stream, _) = SockRef::from(listener).accept()?;
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream.into())
}

/// Reads one request and answers it.
async fn answer(stream: TcpStream, routes: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        // One request a connection: what is bounded for a request is bounded for a connection, and those that
        // ask here come back after seconds.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    match timeout(READ_TIMEOUT + WRITE_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "answering an HTTP request"),
        Err(_) => tracing::debug!("answering an HTTP request: too slow"),
    }
}
