//! Sockets, handshakes and HTTP/2, each bounded.
//!
//! Followers keep one connection for as long as it lasts. Whether the other side is alive is TCP's to find out: the
//! kernel answers for a follower that is stopped, which thus is not disconnected, and nobody does for a host that is
//! gone. Where nothing is under way, keepalive finds that out within a minute; where something is, TCP sends it again for
//! a quarter of an hour, as the system has it (`tcp_retries2`). That costs a connection's buffers until then and holds
//! nobody up. `TCP_USER_TIMEOUT` would make it shorter, and would cut those that are stopped: their kernel answers, and
//! takes nothing. HTTP/2's own pings would be answered by neither.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tonic::codegen::Service as _;

use super::service::{Service, Serving};
use crate::feed::wire::hub_server::HubServer;
use crate::trust::name::Role;
use crate::trust::peer::Peer;
use crate::trust::server::Acceptor;

/// Connections that wait to be accepted: a fleet comes back at once.
const BACKLOG: i32 = 4096;

/// Connections beyond those of followers: siblings, followers that are being told that there is no room, handshakes.
const SPARE_CONNECTIONS: usize = 256;

/// How many handshakes are under way at once; the others wait in the kernel.
const MAX_HANDSHAKES: usize = 256;

/// How many of them come from one address, which is a node's: more are closed at once, and come again. Loopback is where
/// tests and drills have thousands of followers.
const MAX_HANDSHAKES_OF_ONE: usize = 16;

/// How long a handshake may take: a few round trips, on a machine that is busy. The other side, which has to wait for its
/// turn, is more patient.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(3);

/// How long a connection may go without asking for anything.
const FIRST_REQUEST: Duration = Duration::from_secs(10);

/// Streams of one connection: one to follow or to say how a sibling is, and one that is about to end.
const MAX_STREAMS: u32 = 2;

/// What a stream may send ahead: subscriptions and pings are small.
const STREAM_WINDOW: u32 = 64 << 10;

/// What a connection may send ahead; HTTP/2 gives no less.
const CONNECTION_WINDOW: u32 = 64 << 10;

/// What is buffered of replies for one stream.
const SEND_BUFFER: usize = 64 << 10;

/// Headers of a request.
const MAX_HEADERS: u32 = 8 << 10;

/// The largest request of a follower: a subscription is a few hundred bytes.
const MAX_REQUEST: usize = 16 << 10;

/// The largest one of a sibling: what operators have accepted, as hashes.
const MAX_GREETING: usize = 1 << 20;

/// Silence after which TCP asks whether the other side is there, how often it asks, and how many times.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(10), 3);

/// A pause after a connection that could not be accepted, which is most often for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket that listens.
pub(in crate::hub) struct Listener {
    /// The socket.
    socket: TcpListener,
    /// Its address, with the port that the system chose for port 0.
    pub(in crate::hub) local: SocketAddr,
}

/// Listens at this address; `[::]` takes IPv4, too. Has to be called within the runtime that serves.
pub(in crate::hub) fn bind(address: SocketAddr) -> anyhow::Result<Listener> {
    let listen = || -> io::Result<Listener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.ip() == Ipv6Addr::UNSPECIFIED {
            socket.set_only_v6(false)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from_std(socket.into())?;
        let local = socket.local_addr()?;
        Ok(Listener { socket, local })
    };
    listen().with_context(|| {
        format!("listening on {address} for followers: give --listen an address and port of this host")
    })
}

impl Listener {
    /// Takes connections until the drain begins, and serves each until its end.
    pub(in crate::hub) async fn run(self, serving: Arc<Serving>, trust: Option<Acceptor>) {
        let slots = Arc::new(Semaphore::new(serving.config.max_subscribers + SPARE_CONNECTIONS));
        let (handshakes, of_one) = (Arc::new(Semaphore::new(MAX_HANDSHAKES)), Arc::<Crowds>::default());
        let drain = serving.drain.clone();
        let accept = async {
            loop {
                // Semaphores that are never closed.
                let (Ok(slot), Ok(handshake)) =
                    (slots.clone().acquire_owned().await, handshakes.clone().acquire_owned().await)
                else {
                    return;
                };
                let (stream, peer) = match self.socket.accept().await {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::debug!(%error, "accepting a connection");
                        sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                };
                let Some(one) = of_one.enter(peer.ip()) else {
                    serving.metrics.crowded.increment(1);
                    continue;
                };
                let handshake = (handshake, one);
                let (serving, trust) = (serving.clone(), trust.clone());
                drain.spawn(async move {
                    serving.metrics.connections.increment(1.0);
                    if let Err(error) = serve(stream, peer, &serving, trust.as_ref(), handshake).await {
                        serving.metrics.failed.increment(1);
                        tracing::debug!(%peer, error = format!("{error:#}"), "connection of a follower");
                    }
                    serving.metrics.connections.decrement(1.0);
                    drop(slot);
                });
            }
        };
        let _ = drain.draining().run_until_cancelled(accept).await;
    }
}

/// Serves one connection; the handshake's place is free again after it.
async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    serving: &Arc<Serving>,
    trust: Option<&Acceptor>,
    handshake: impl Send,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let (time, interval, retries) = KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(time).with_interval(interval).with_retries(retries);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    match trust {
        None => {
            drop(handshake);
            http(stream, serving, None).await
        }
        Some(trust) => {
            let (tls, peer) = timeout(HANDSHAKE_LIMIT, trust.accept(stream, peer))
                .await
                .with_context(|| format!("no handshake within {HANDSHAKE_LIMIT:?}"))??;
            drop(handshake);
            http(tls, serving, Some(peer)).await
        }
    }
}

/// Whether who is at the other side may speak as a hub: one by its certificate, or anybody in plain text, which is for
/// those who trust their network.
pub(super) fn may_meet(peer: Option<&Peer>) -> bool {
    peer.is_none_or(|peer| peer.role == Role::Hub)
}

/// How the path of the call ends that hubs speak to each other by.
const MEET: &str = "/Meet";

/// Who is in a handshake, by address.
#[derive(Default)]
struct Crowds(Mutex<HashMap<IpAddr, usize>>);

/// One that is in a handshake; dropped, it is through.
struct One {
    /// Among these.
    crowds: Arc<Crowds>,
    /// From here.
    from: IpAddr,
}

impl Crowds {
    /// One more from there; `None` where there are as many as there may be.
    fn enter(self: &Arc<Self>, from: IpAddr) -> Option<One> {
        let from = from.to_canonical();
        let mut crowds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = crowds.entry(from).or_default();
        if *count >= MAX_HANDSHAKES_OF_ONE && !from.is_loopback() {
            return None;
        }
        *count += 1;
        Some(One { crowds: self.clone(), from })
    }
}

impl Drop for One {
    fn drop(&mut self) {
        let mut crowds = self.crowds.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = crowds.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                crowds.remove(&self.from);
            }
        }
    }
}

/// Serves a connection that was made in memory.
pub(in crate::hub) fn take(io: tokio::io::DuplexStream, serving: &Arc<Serving>) {
    let serving = serving.clone();
    serving.drain.clone().spawn(async move {
        if let Err(error) = http(io, &serving, None).await {
            tracing::debug!(error = format!("{error:#}"), "connection of a follower");
        }
    });
}

/// HTTP/2 until the end of the connection, with somebody who has shown who it is, or in plain text.
async fn http<S>(stream: S, serving: &Arc<Serving>, peer: Option<Peer>) -> anyhow::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let asked = Arc::new(AtomicBool::new(false));
    let most = if may_meet(peer.as_ref()) { MAX_GREETING } else { MAX_REQUEST };
    let follow = HubServer::new(Service(serving.clone())).max_decoding_message_size(MAX_REQUEST);
    let meet = HubServer::new(Service(serving.clone())).max_decoding_message_size(most);
    let service = service_fn({
        let asked = asked.clone();
        move |mut request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            let service = if request.uri().path().ends_with(MEET) { &meet } else { &follow };
            if let Some(peer) = &peer {
                request.extensions_mut().insert(peer.clone());
            }
            service.clone().call(request)
        }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEADERS);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let drain = &serving.drain;
    let mut first = pin!(sleep(FIRST_REQUEST));
    let (mut waits, mut closing) = (true, false);
    loop {
        tokio::select! {
            ended = connection.as_mut() => return ended.context("serving HTTP/2"),
            () = drain.forced().cancelled() => return Ok(()),
            () = drain.closing().cancelled(), if !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
            () = first.as_mut(), if waits => {
                waits = false;
                if !asked.load(Ordering::Relaxed) {
                    anyhow::bail!("nothing was asked for");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_of_one_address_are_few_and_none_keeps_another_out() {
        let crowds = Arc::<Crowds>::default();
        let [one, other] = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse::<IpAddr>().expect("an address"));
        let mapped = "::ffff:10.0.0.1".parse().expect("an address");
        let mut entered: Vec<_> = (0..MAX_HANDSHAKES_OF_ONE).filter_map(|_| crowds.enter(one)).collect();
        assert_eq!(entered.len(), MAX_HANDSHAKES_OF_ONE);
        assert!(
            crowds.enter(one).is_none() && crowds.enter(mapped).is_none() && crowds.enter(other).is_some()
        );
        entered.pop();
        assert!(crowds.enter(mapped).is_some(), "room again");
        entered.clear();
        assert!(crowds.0.lock().expect("no panic").is_empty(), "nothing is kept of those that are through");
    }
}
