//! Connections: accepted from a socket or in memory, TLS, HTTP/1.1.
//!
//! Limits: the number of connections ([`Config::max_connections`](super::super::Config)), the time that a
//! handshake and a request's head may take.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::super::faults::Network;
use super::{Server, route};

/// How long a TLS handshake may take, as in a real server.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the head of a request may take, and how long a connection may idle before it: the idle limit of a
/// real server.
const HEAD_TIMEOUT: Duration = Duration::from_secs(90);

/// Bytes of a request's head: continue tokens and selectors are long, nothing else is.
const MAX_HEAD: usize = 64 << 10;

/// Pause after an error of accepting that is not one connection's own (no descriptors left, say), and between
/// attempts to have the port again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Accepts from a socket; gives it up while connections are refused.
pub(in super::super) async fn listen(listener: TcpListener, address: SocketAddr, server: Arc<Server>) {
    let mut network = server.faults.network();
    let mut listener = Some(listener);
    let mut tasks = JoinSet::new();
    loop {
        let wanted = *network.borrow_and_update();
        if wanted == Network::Refuse {
            listener = None;
        } else if listener.is_none() {
            match bind(address) {
                Ok(bound) => listener = Some(bound),
                Err(error) => {
                    tracing::debug!(%error, %address, "listening again");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            }
        }
        server.faults.took_effect(wanted);
        let accept = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // The sender lives in the server that this task holds: it never closes.
            _ = network.changed() => {}
            accepted = accept => match accepted {
                Ok((stream, _)) => {
                    let _ = stream.set_nodelay(true);
                    accepted_one(&mut tasks, Stream::Tcp(stream), &server);
                }
                Err(error) => {
                    tracing::debug!(%error, "accepting a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// The same port once more.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(super::super::BACKLOG)
}

/// Accepts what is dialled in memory.
pub(in super::super) async fn accept_in_memory(mut connections: Receiver<DuplexStream>, server: Arc<Server>) {
    let mut tasks = JoinSet::new();
    while let Some(stream) = connections.recv().await {
        accepted_one(&mut tasks, Stream::Memory(stream), &server);
    }
    // The last one who could dial is gone; what is open goes on until the server is dropped.
    while tasks.join_next().await.is_some() {}
}

fn accepted_one(tasks: &mut JoinSet<()>, stream: Stream, server: &Arc<Server>) {
    while tasks.try_join_next().is_some() {}
    if tasks.len() < server.config.max_connections && *server.faults.network().borrow() != Network::Close {
        tasks.spawn(connection(stream, server.clone()));
    }
}

/// One connection until it ends or is cut.
async fn connection(stream: Stream, server: Arc<Server>) {
    let cut = server.faults.next_cut();
    let reset = Arc::new(AtomicBool::new(false));
    let stream = Resettable { stream, reset: reset.clone() };
    let served = pin!(handshake_and_serve(stream, reset.clone(), server));
    // Dropping the connection unserved is what cuts it. Invariant: nothing is taken from it any more after its cut.
    tokio::select! {
        biased;
        () = cut.cancelled() => reset.store(true, Ordering::Relaxed),
        () = served => {}
    }
}

async fn handshake_and_serve(stream: Resettable, reset: Arc<AtomicBool>, server: Arc<Server>) {
    if *server.faults.network().borrow() == Network::HangAtTls {
        // Whoever hangs hangs for good: a server that comes back does not remember its old handshakes.
        let _stream = stream;
        return std::future::pending().await;
    }
    let Some(tls) = &server.tls else { return serve(stream, reset, server).await };
    match timeout(HANDSHAKE_TIMEOUT, tls.acceptor.accept(stream)).await {
        Ok(Ok(stream)) => serve(stream, reset, server).await,
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake"),
        Err(_) => tracing::debug!("TLS handshake: too slow"),
    }
}

/// Serves requests until one side has had enough.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, reset: Arc<AtomicBool>, server: Arc<Server>) {
    let service = service_fn(move |request| route::answer(server.clone(), request));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .title_case_headers(true)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        // A body that ends with an error is a cut: the client is to see a reset, no clean end.
        reset.store(true, Ordering::Relaxed);
        tracing::debug!(%error, "serving a connection");
    }
}

/// A connection that says, when it is dropped, whether its end is a reset.
struct Resettable {
    /// The connection.
    stream: Stream,
    /// Set before the drop.
    reset: Arc<AtomicBool>,
}

/// How bytes travel.
enum Stream {
    /// Over loopback.
    Tcp(TcpStream),
    /// Within the process.
    Memory(DuplexStream),
}

impl Drop for Resettable {
    fn drop(&mut self) {
        if let Stream::Tcp(stream) = &self.stream
            && self.reset.load(Ordering::Relaxed)
        {
            // Without lingering, closing sends RST.
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Resettable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Memory(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Resettable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Memory(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Memory(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Memory(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
