//! TCP (RFC 7766): a bounded number of connections, each with a bounded number of queries at work.
//!
//! Queries of one connection are answered as they are ready, not in their order (RFC 7766 §6.2.1.1): a name
//! that waits for an upstream must not hold up the cluster names behind it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_server::net::xfer::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Begun, Received, Shared, begin, receive};
use crate::node::router::Router;

/// Queries of one connection that may be at work at one time; the next is not read before one is answered.
const MAX_PIPELINED: usize = 32;

/// After a failed accept (no descriptors left, say): the cause does not go away by itself.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A TCP socket that answers for a router.
pub struct TcpListener {
    /// The socket.
    socket: tokio::net::TcpListener,
    /// Where it is bound.
    address: SocketAddr,
    /// Who answers.
    router: Arc<Router>,
    /// Limits and counters.
    shared: Arc<Shared>,
}

impl TcpListener {
    /// Takes over a listening, non-blocking socket.
    pub fn new(
        socket: std::net::TcpListener,
        address: SocketAddr,
        router: Arc<Router>,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        Ok(Self { socket: tokio::net::TcpListener::from_std(socket)?, address, router, shared })
    }

    /// Accepts until `stop`; connections then finish the queries that they have read.
    pub async fn run(self, stop: CancellationToken) {
        let connections = self.shared.limits.connections;
        let slots = Arc::new(Semaphore::new(connections));
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let Ok(slot) = slots.clone().try_acquire_owned() else {
                        self.shared.refused_connections.increment(1);
                        continue;
                    };
                    let connection = Connection {
                        peer,
                        local: stream.local_addr().unwrap_or(self.address),
                        router: self.router.clone(),
                        shared: self.shared.clone(),
                    };
                    let stop = stop.clone();
                    tokio::spawn(async move {
                        connection.run(stream, stop).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, address = %self.address, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // All slots back: every connection has ended.
        let all = u32::try_from(connections).unwrap_or(u32::MAX);
        let _ = slots.acquire_many(all).await;
    }
}

/// One client's connection.
struct Connection {
    /// The client.
    peer: SocketAddr,
    /// The address that it connected to.
    local: SocketAddr,
    /// Who answers.
    router: Arc<Router>,
    /// Limits and counters.
    shared: Arc<Shared>,
}

impl Connection {
    async fn run(self, stream: TcpStream, stop: CancellationToken) {
        // Replies are single small writes; waiting to fill a segment only delays them.
        let _ = stream.set_nodelay(true);
        let (mut reader, writer) = stream.into_split();
        let (replies, queue) = mpsc::channel(MAX_PIPELINED);
        let writing = tokio::spawn(write_all(writer, queue, self.shared.limits.write));
        let at_work = Arc::new(Semaphore::new(MAX_PIPELINED));
        let limits = self.shared.limits;
        let mut patience = limits.first;
        loop {
            let read = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = replies.closed() => break,
                read = read_message(&mut reader, patience, limits.message) => read,
            };
            let Ok(message) = read else { break };
            patience = limits.idle;
            let query = match receive(&message, self.peer, self.local, Protocol::Tcp, &self.router) {
                Received::Silence => continue,
                Received::Reply(reply) => {
                    if replies.send(reply).await.is_err() {
                        break;
                    }
                    continue;
                }
                Received::Query(query) => query,
            };
            let Ok(permit) = at_work.clone().acquire_owned().await else { break };
            match begin(query, &self.shared) {
                Begun::Done(None) => {}
                Begun::Done(Some(reply)) => {
                    if replies.send(reply).await.is_err() {
                        break;
                    }
                }
                Begun::Waits(work, slot) => {
                    let replies = replies.clone();
                    tokio::spawn(async move {
                        let reply = work.await;
                        // A client that does not read holds up nobody's queries but its own.
                        drop(slot);
                        if let Some(reply) = reply {
                            // A client that is gone needs no reply.
                            let _ = replies.send(reply).await;
                        }
                        drop(permit);
                    });
                }
            }
        }
        drop(replies);
        let _ = writing.await;
    }
}

/// Reads one message with its length in front (RFC 1035 §4.2.2): waits `patience` for it to begin, and then
/// `whole` for the rest.
async fn read_message(
    reader: &mut OwnedReadHalf,
    patience: Duration,
    whole: Duration,
) -> io::Result<Vec<u8>> {
    let first = timeout(patience, reader.read_u8()).await??;
    timeout(whole, async {
        let second = reader.read_u8().await?;
        let len = u16::from_be_bytes([first, second]);
        // Grows with what arrives, so that a length alone reserves nothing.
        let mut message = Vec::with_capacity(usize::from(len).min(1024));
        let read = reader.take(u64::from(len)).read_to_end(&mut message).await?;
        if read < usize::from(len) { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(message) }
    })
    .await?
}

/// Writes replies as they come until the last sender is gone or the client does not take one in time.
async fn write_all(mut writer: OwnedWriteHalf, mut queue: mpsc::Receiver<Vec<u8>>, patience: Duration) {
    while let Some(reply) = queue.recv().await {
        let Ok(len) = u16::try_from(reply.len()) else { continue };
        let mut framed = Vec::with_capacity(reply.len() + 2);
        framed.extend_from_slice(&len.to_be_bytes());
        framed.extend_from_slice(&reply);
        if !matches!(timeout(patience, writer.write_all(&framed)).await, Ok(Ok(()))) {
            return;
        }
    }
    let _ = writer.shutdown().await;
}
