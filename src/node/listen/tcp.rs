//! TCP (RFC 7766): a bounded number of connections, each with a bounded number of queries at work.
//!
//! Queries of one connection are answered as they are ready, not in their order (RFC 7766 §6.2.1.1): a name
//! that waits for an upstream must not hold up the cluster names behind it.
//!
//! Where connections are scarce, those without a query at work have to go, as RFC 7766 §6.2.3 allows: who gets in, and
//! for whom, is `places`'. A client whose idle connection is closed opens another one when it needs
//! it; one that is refused would have no answer.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hickory_server::net::xfer::Protocol;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::places::{Entered, Limit, Place, Places};
use super::waiting::Begun;
use super::{BEAT, Live, Received, Shared, Timeouts, bind, receive};
use crate::ops::pulse::Part;

/// Queries of one connection that may be at work at one time; the next is not read before one is answered.
const MAX_PIPELINED: usize = 32;

/// After a failed accept (no descriptors left, say): the cause does not go away by itself.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a listener that leaves goes on accepting after it has led connections elsewhere: for handshakes that began
/// before, and to see whether its own connection comes here. The kernel ends a handshake where it has a core for it: on
/// a busy node that is later than its client hears of it.
const HANDSHAKES: Duration = Duration::from_millis(100);

/// How long a connection is listened to after its listener has stopped: a query that was sent before the client could
/// hear of it is still answered.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// A TCP socket that answers, behind TLS (RFC 7858) where its listener has certificates.
pub struct TcpListener {
    /// The socket.
    socket: tokio::net::TcpListener,
    /// Where it is bound.
    address: SocketAddr,
    /// Who answers.
    live: Arc<Live>,
    /// Limits and counters.
    shared: Arc<Shared>,
}

impl TcpListener {
    /// Takes over a listening, non-blocking socket.
    pub fn new(
        socket: std::net::TcpListener,
        address: SocketAddr,
        live: Arc<Live>,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        Ok(Self { socket: tokio::net::TcpListener::from_std(socket)?, address, live, shared })
    }

    /// Accepts until `stop`, and what comes while it leads connections elsewhere then; connections finish the queries
    /// that they have read.
    pub async fn run(self, stop: CancellationToken) {
        let slots = Slots::new(self.shared.limits.connections, self.shared.limits.firm);
        let pulse = self.shared.pulses().register(self.address, Part::Tcp);
        let mut beats = interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            pulse.beat();
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = self.socket.accept() => accepted,
                _ = beats.tick() => continue,
            };
            match accepted {
                Ok((stream, peer)) => self.take(stream, peer, &slots, &stop),
                Err(error) => {
                    tracing::warn!(%error, address = %self.address, "accepting a connection failed");
                    pulse.beat();
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // From here on nobody may rely on it.
        drop(pulse);
        self.lead_away(&slots, &stop).await;
        // Those that the kernel has accepted already would be reset.
        self.take_waiting(&slots, &stop, None);
        drop(self.socket);
        slots.all_free().await;
    }

    /// Has another process of this node that listens here get all connections from now on: those whose handshakes are
    /// under way when a socket closes are reset. Best effort: without another one nothing changes.
    ///
    /// Which of the two the kernel knows as which is not to be learned from it. A connection of our own tells: where it
    /// comes to us, the next one is somebody else.
    async fn lead_away(&self, slots: &Slots, stop: &CancellationToken) {
        let other = match self.knock(1, slots, stop).await {
            Knock::Elsewhere => Some(1),
            first => match (first, self.knock(0, slots, stop).await) {
                (_, Knock::Elsewhere) => Some(0),
                // One that does not answer, or that a stall kept us from hearing: where we are the one, it is the other.
                (Knock::Here, Knock::Unanswered) => Some(0),
                (Knock::Unanswered, Knock::Here) => {
                    self.knock(1, slots, stop).await;
                    Some(1)
                }
                // Nobody else is there, or it is not to be learned.
                _ => None,
            },
        };
        // Once more: a listener that began meanwhile has undone it.
        let led = bind::steer(&self.socket, other.unwrap_or(bind::EVERYBODY))
            .and_then(|()| if other.is_some() { bind::hide(&self.socket) } else { Ok(()) });
        if let Err(error) = led {
            tracing::debug!(%error, address = %self.address, "leading connections to another process");
        }
    }

    /// Leads connections to the `nth` listener, tells by one of our own who that is, and serves those that come to us
    /// meanwhile.
    async fn knock(&self, nth: u32, slots: &Slots, stop: &CancellationToken) -> Knock {
        let to = bind::reachable(self.address);
        // Known before it comes here, which may be before we hear that it has come to anything.
        let begun = bind::steer(&self.socket, nth)
            .and_then(|()| knocking(to))
            .and_then(|socket| Ok((socket.local_addr()?, socket)));
        let (own, socket) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                tracing::debug!(%error, address = %self.address, "asking who gets connections");
                return Knock::Unanswered;
            }
        };
        let mut connecting = pin!(socket.connect(to));
        let mut connected = None;
        let mut over = pin!(sleep(HANDSHAKES));
        loop {
            tokio::select! {
                biased;
                // Kept until the end: one that is closed may be gone before it is accepted.
                ended = &mut connecting, if connected.is_none() => match ended {
                    Ok(stream) => connected = Some(stream),
                    Err(_) => return Knock::Unanswered,
                },
                () = &mut over => break,
                accepted = self.socket.accept() => match accepted {
                    Ok((_, peer)) if peer == own => return Knock::Here,
                    Ok((stream, peer)) => self.take(stream, peer, slots, stop),
                    // No descriptors, say: it is not to be learned.
                    Err(_) => return Knock::Unanswered,
                },
            }
        }
        // It may have come while there was no core for us.
        match (self.take_waiting(slots, stop, Some(own)), connected) {
            (true, _) => Knock::Here,
            (false, Some(_)) => Knock::Elsewhere,
            (false, None) => Knock::Unanswered,
        }
    }

    /// Serves the connections that the kernel has; whether one of them came from `own`, which is closed instead.
    fn take_waiting(&self, slots: &Slots, stop: &CancellationToken, own: Option<SocketAddr>) -> bool {
        let mut found = false;
        for _ in 0..bind::BACKLOG {
            let Ok((stream, peer)) = self.accept_waiting() else { break };
            if own == Some(peer) {
                found = true;
            } else {
                self.take(stream, peer, slots, stop);
            }
        }
        found
    }

    /// A connection that the kernel has, if there is one; asked directly, for the runtime may not have heard of it.
    fn accept_waiting(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = SockRef::from(&self.socket).accept()?;
        stream.set_nonblocking(true)?;
        let peer = peer.as_socket().ok_or(io::ErrorKind::InvalidData)?;
        Ok((TcpStream::from_std(stream.into())?, peer))
    }

    /// Serves a connection in a task of its own, if there is room for it.
    fn take(&self, stream: TcpStream, peer: SocketAddr, slots: &Slots, stop: &CancellationToken) {
        let (slot, limit) = slots.enter(peer.ip());
        if let Some(limit) = limit {
            self.shared.connection_refused(limit);
        }
        let Some(slot) = slot else { return };
        let serving = self.live.now();
        let (timeouts, tls) = (serving.timeouts, serving.tls.clone());
        let connection = Connection {
            peer,
            local: stream.local_addr().unwrap_or(self.address),
            live: self.live.clone(),
            shared: self.shared.clone(),
            timeouts,
        };
        let stop = stop.clone();
        tokio::spawn(async move {
            // Replies are single small writes; waiting to fill a segment only delays them.
            let _ = stream.set_nodelay(true);
            match tls {
                None => {
                    let (reader, writer) = stream.into_split();
                    connection.run(reader, writer, slot, stop).await;
                }
                Some(tls) => {
                    // A client that is slow with its handshake is cut off; one that fails it knows why.
                    let shaken =
                        slot.cut.run_until_cancelled(timeout(timeouts.first, tls.accept(stream))).await;
                    if let Some(Ok(Ok(stream))) = shaken {
                        let (reader, writer) = tokio::io::split(stream);
                        connection.run(reader, writer, slot, stop).await;
                    }
                }
            }
        });
    }
}

/// What became of a connection to our own address.
enum Knock {
    /// It came to us.
    Here,
    /// It came to another process.
    Elsewhere,
    /// To nobody, as far as we know.
    Unanswered,
}

/// A socket from which a process reaches its own listener.
fn knocking(to: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Its port is anybody's again at once: who closes first would keep it for a minute, and a server that comes back may
    // need it.
    socket.set_reuseaddr(true)?;
    socket.set_zero_linger()?;
    let mut any_port = to;
    any_port.set_port(0);
    socket.bind(any_port)?;
    Ok(socket)
}

/// The connections of a socket: so many are open, and at most as many again that had to go are on their way out.
struct Slots {
    /// Those that are open. Each that has no query at work can be cut off.
    places: Arc<Places<CancellationToken>>,
    /// One for each that has not ended.
    open: Arc<Semaphore>,
    /// How many may not have ended.
    most: usize,
}

/// A connection's slot.
struct Slot {
    /// Among those that are open.
    place: Place<CancellationToken>,
    /// Cut off when this is cancelled.
    cut: CancellationToken,
    /// Given back when the connection has ended.
    _open: OwnedSemaphorePermit,
}

impl Slots {
    fn new(limit: usize, firm: Duration) -> Self {
        let most = limit.max(1).saturating_mul(2);
        Self { places: Places::new(limit, firm), open: Arc::new(Semaphore::new(most)), most }
    }

    /// A slot for a connection of `client`, if there is one; and the limit if somebody has to go.
    fn enter(&self, client: IpAddr) -> (Option<Slot>, Option<Limit>) {
        let Ok(open) = self.open.clone().try_acquire_owned() else { return (None, Some(Limit::All)) };
        let cut = CancellationToken::new();
        match self.places.enter(client, Instant::now(), cut.clone()) {
            Ok(Entered { place, gone }) => {
                let limit = gone.map(|(oldest, limit)| {
                    oldest.cancel();
                    limit
                });
                (Some(Slot { place, cut, _open: open }), limit)
            }
            Err(limit) => (None, Some(limit)),
        }
    }

    /// Returns once every connection has ended.
    async fn all_free(&self) {
        let all = u32::try_from(self.most).unwrap_or(u32::MAX);
        let _ = self.open.acquire_many(all).await;
    }
}

/// One client's connection.
struct Connection {
    /// The client.
    peer: SocketAddr,
    /// The address that it connected to.
    local: SocketAddr,
    /// Who answers: each message is for those who do when it comes.
    live: Arc<Live>,
    /// Limits and counters.
    shared: Arc<Shared>,
    /// What it may take, as it was when it was accepted.
    timeouts: Timeouts,
}

impl Connection {
    async fn run<R, W>(self, mut reader: R, writer: W, slot: Slot, stop: CancellationToken)
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let timeouts = self.timeouts;
        let Slot { mut place, cut, _open } = slot;
        let (replies, queue) = mpsc::channel(MAX_PIPELINED);
        let writing = tokio::spawn(write_all(writer, queue, timeouts.write));
        let at_work = Arc::new(Semaphore::new(MAX_PIPELINED));
        let mut patience = timeouts.first;
        let mut left = timeouts.queries.map(NonZeroU32::get);
        let mut last_words = MAX_PIPELINED;
        while left != Some(0) && last_words > 0 {
            if stop.is_cancelled() {
                last_words -= 1;
            }
            let read = tokio::select! {
                biased;
                () = replies.closed() => break,
                () = cut.cancelled() => break,
                read = read_message(&mut reader, patience, timeouts.message, &stop) => read,
                never = rest_after(&at_work, &mut place, &cut) => match never {},
            };
            let Ok(message) = read else { break };
            // Told to go in this moment.
            if !place.work() {
                break;
            }
            patience = timeouts.idle;
            left = left.map(|left| left - 1);
            self.shared.saw(&message, self.peer);
            let received = receive(&message, self.peer, self.local, Protocol::Tcp, &self.live.now().router);
            let query = match received {
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
            match self.shared.room.begin(query) {
                Begun::Done(None) => {}
                Begun::Done(Some(reply)) => {
                    if replies.send(reply).await.is_err() {
                        break;
                    }
                }
                Begun::Waits(waits) => {
                    let replies = replies.clone();
                    tokio::spawn(async move {
                        let (reply, inside) = waits.reply().await;
                        // A client that does not read holds up nobody's queries but its own.
                        drop(inside);
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

/// Lets a connection be cut off once it has no query at work.
async fn rest_after(
    at_work: &Semaphore,
    place: &mut Place<CancellationToken>,
    cut: &CancellationToken,
) -> Infallible {
    // All of them: no query has one.
    if let Ok(all) = at_work.acquire_many(MAX_PIPELINED as u32).await {
        drop(all);
        place.rest(Instant::now(), cut.clone());
    }
    pending().await
}

/// Reads one message with its length in front (RFC 1035 §4.2.2): waits `patience` for it to begin, and then
/// `whole` for the rest. After a `stop` only what is on its way is waited for.
async fn read_message<R: AsyncRead + Unpin>(
    reader: &mut R,
    patience: Duration,
    whole: Duration,
    stop: &CancellationToken,
) -> io::Result<Vec<u8>> {
    let first = tokio::select! {
        biased;
        byte = timeout(patience, reader.read_u8()) => Some(byte??),
        () = stop.cancelled() => None,
    };
    let first = match first {
        Some(byte) => byte,
        None => timeout(LAST_WORDS, reader.read_u8()).await??,
    };
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
async fn write_all<W: AsyncWrite + Unpin>(
    mut writer: W,
    mut queue: mpsc::Receiver<Vec<u8>>,
    patience: Duration,
) {
    while let Some(reply) = queue.recv().await {
        let Ok(len) = u16::try_from(reply.len()) else { continue };
        let mut framed = Vec::with_capacity(reply.len() + 2);
        framed.extend_from_slice(&len.to_be_bytes());
        framed.extend_from_slice(&reply);
        // TLS keeps what it has encrypted until it is flushed.
        let write = async {
            writer.write_all(&framed).await?;
            writer.flush().await
        };
        if !matches!(timeout(patience, write).await, Ok(Ok(()))) {
            return;
        }
    }
    let _ = timeout(patience, writer.shutdown()).await;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use hickory_proto::op::ResponseCode;
    use socket2::{Domain, Socket, Type};
    use tokio::time::Instant;

    use super::*;
    use crate::node::listen::Limits;
    use crate::node::listen::fixture::{Scripted, counted, live};
    use crate::ops::metrics::Metrics;
    use crate::testkit::client::{Client, Query};

    /// A limit that a test waits for.
    const SHORT: Duration = Duration::from_millis(300);

    /// A limit that no test waits for.
    const LONG: Duration = Duration::from_secs(60);

    /// Socket buffers that a few replies fill, in bytes.
    const SMALL_BUFFER: usize = 4096;

    /// Connections that a client begins at once.
    const BURST: usize = 50;

    /// No limit that a test waits for.
    const PATIENT: Timeouts = Timeouts { first: LONG, idle: LONG, message: LONG, write: LONG, queries: None };

    /// A listener that ends with the test.
    struct Fixture {
        client: Client,
        server: SocketAddr,
        metrics: Arc<Metrics>,
        plugin: Arc<Scripted>,
        stop: CancellationToken,
        running: tokio::task::JoinHandle<()>,
    }

    fn start(limits: Limits, timeouts: Timeouts) -> Fixture {
        let metrics = Arc::new(Metrics::new());
        let plugin = Arc::new(Scripted::default());
        let shared = Shared::with_limits(&metrics, limits);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        // Connections inherit it.
        socket.set_send_buffer_size(SMALL_BUFFER).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(128).unwrap();
        let socket = std::net::TcpListener::from(socket);
        let server = socket.local_addr().unwrap();
        let live = live(&metrics, plugin.clone(), timeouts);
        let listener = TcpListener::new(socket, server, live, shared).unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(listener.run(stop.clone()));
        Fixture { client: Client::new(server), server, metrics, plugin, stop, running }
    }

    fn framed(query: &Query) -> Vec<u8> {
        let message = query.bytes();
        [&(message.len() as u16).to_be_bytes()[..], &message].concat()
    }

    /// A connection from `127.0.0.CLIENT`.
    async fn connect_from(client: u8, server: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, client], 0).into()).unwrap();
        socket.connect(server).await.unwrap()
    }

    /// Asks for something that is answered at once.
    async fn exchange(stream: &mut TcpStream) {
        stream.write_all(&framed(&Query::a("x."))).await.unwrap();
        read_reply(stream).await;
    }

    async fn read_reply(stream: &mut TcpStream) {
        let mut reply = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut reply).await.unwrap();
    }

    /// Waits until the server closes, and says how long that took.
    async fn closed(stream: &mut TcpStream) -> Duration {
        let start = Instant::now();
        let mut rest = Vec::new();
        let end = timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
        // A reset is an end, too: bytes were left unread.
        let _ = end.expect("the server closes the connection");
        start.elapsed()
    }

    #[tokio::test]
    async fn a_client_that_takes_too_long_is_cut_off() {
        struct Case {
            name: &'static str,
            timeouts: Timeouts,
            /// Sent at once.
            sent: Vec<u8>,
            /// Replies that come before the connection is closed.
            replies: usize,
        }
        let query = framed(&Query::a("x."));
        let cases = [
            Case {
                name: "nothing is said",
                timeouts: Timeouts { first: SHORT, ..PATIENT },
                sent: vec![],
                replies: 0,
            },
            Case {
                name: "idle after a query",
                timeouts: Timeouts { idle: SHORT, ..PATIENT },
                sent: query.clone(),
                replies: 1,
            },
            Case {
                name: "a message is begun and not ended",
                timeouts: Timeouts { message: SHORT, ..PATIENT },
                sent: query[..9].to_vec(),
                replies: 0,
            },
            Case {
                name: "half a length",
                timeouts: Timeouts { message: SHORT, ..PATIENT },
                sent: vec![0],
                replies: 0,
            },
        ];
        for Case { name, timeouts, sent, replies } in cases {
            let fixture = start(Limits::default(), timeouts);
            let mut stream = TcpStream::connect(fixture.server).await.unwrap();
            stream.write_all(&sent).await.unwrap();
            for _ in 0..replies {
                read_reply(&mut stream).await;
            }
            let took = closed(&mut stream).await;
            assert!(took >= SHORT / 2, "{name}: after {took:?}");
        }
    }

    /// A listener beside others of an address.
    fn beside(address: SocketAddr) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let metrics = Arc::new(Metrics::new());
        let bind::Sockets { address, tcp, .. } = bind::open_stream(address).unwrap();
        let live = live(&metrics, Arc::new(Scripted::default()), PATIENT);
        let shared = Shared::with_limits(&metrics, Limits::default());
        let listener = TcpListener::new(tcp, address, live, shared).unwrap();
        let stop = CancellationToken::new();
        (address, stop.clone(), tokio::spawn(listener.run(stop)))
    }

    /// Asks over new connections until told to stop, many of which are begun at once: how many were answered, and what
    /// went wrong.
    fn ask_all_the_time(server: SocketAddr, stop: &AtomicBool) -> (usize, Vec<io::Error>) {
        use std::io::{Read, Write};
        // At once: a listener that leaves does not wait for long for a client that says nothing.
        let ask = || {
            let mut stream = std::net::TcpStream::connect(server)?;
            stream.write_all(&framed(&Query::a("x.")))?;
            Ok(stream)
        };
        let hear = |mut stream: std::net::TcpStream| {
            let mut len = [0; 2];
            stream.read_exact(&mut len)?;
            stream.read_exact(&mut vec![0; usize::from(u16::from_be_bytes(len))])
        };
        let (mut answered, mut failed) = (0, Vec::new());
        while !stop.load(Ordering::Relaxed) {
            let burst: Vec<io::Result<_>> = (0..BURST).map(|_| ask()).collect();
            for stream in burst {
                match stream.and_then(hear) {
                    Ok(()) => answered += 1,
                    Err(error) => failed.push(error),
                }
            }
        }
        (answered, failed)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_connection_is_reset_when_one_of_two_listeners_leaves() {
        for (name, oldest_leaves) in [("the older one", true), ("the younger one", false)] {
            let (server, mut stop, mut running) = beside(([127, 0, 0, 1], 0).into());
            let enough = Arc::new(AtomicBool::new(false));
            let clients: Vec<_> = (0..4)
                .map(|_| {
                    let enough = enough.clone();
                    std::thread::spawn(move || ask_all_the_time(server, &enough))
                })
                .collect();
            for _ in 0..30 {
                let (_, mut newer, mut newer_running) = beside(server);
                sleep(Duration::from_millis(20)).await;
                if oldest_leaves {
                    std::mem::swap(&mut stop, &mut newer);
                    std::mem::swap(&mut running, &mut newer_running);
                }
                newer.cancel();
                newer_running.await.unwrap();
            }
            enough.store(true, Ordering::Relaxed);
            let (mut answered, mut failed) = (0, Vec::new());
            for client in clients {
                let (more, errors) = client.join().unwrap();
                answered += more;
                failed.extend(errors);
            }
            println!("{name} leaves, 30 times: {answered} connections answered, {} not", failed.len());
            assert!(failed.is_empty() && answered > 500, "{name}: {answered} answered, {failed:?}");
            stop.cancel();
            running.await.unwrap();
        }
    }

    #[tokio::test]
    async fn dripping_does_not_renew_the_deadline_of_a_message() {
        let fixture = start(Limits::default(), Timeouts { message: SHORT, ..PATIENT });
        let mut stream = TcpStream::connect(fixture.server).await.unwrap();
        let start = Instant::now();
        // A byte every tenth of the limit: the message would take three times as long.
        let mut cut = false;
        for byte in framed(&Query::a("drip.example.")) {
            if cut || stream.write_all(&[byte]).await.is_err() {
                cut = true;
                break;
            }
            if let Ok(end) = timeout(SHORT / 10, stream.read_u8()).await {
                end.expect_err("there is no reply to half a query");
                cut = true;
            }
        }
        assert!(cut && start.elapsed() >= SHORT, "cut off: {cut}, after {:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_connection_over_the_limit_is_closed_counted_and_the_place_is_used_again() {
        let fixture = start(Limits { connections: 2, firm: LONG, ..Limits::default() }, PATIENT);
        let mut first = fixture.client.connect().await.unwrap();
        let mut second = fixture.client.connect().await.unwrap();
        for connection in [&mut first, &mut second] {
            connection.pipeline(&[Query::a("x.")]).await.unwrap();
        }
        let mut third = TcpStream::connect(fixture.server).await.unwrap();
        closed(&mut third).await;
        counted(&fixture.metrics, r#"outlast_overload_total{limit="tcp_connections"} 1"#);
        second.pipeline(&[Query::a("x.")]).await.unwrap();
        drop(first);
        let again = async {
            while fixture.client.tcp(&Query::a("x.")).await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(10), again).await.expect("the place is free again");
    }

    #[tokio::test]
    async fn a_newcomer_takes_the_place_of_the_connection_that_has_been_idle_for_the_longest_time() {
        let limits = Limits { connections: 3, firm: Duration::ZERO, ..Limits::default() };
        let fixture = start(limits, PATIENT);
        let mut streams = Vec::new();
        // The first one goes on waiting.
        for (client, first) in [(2, "wait."), (3, "x."), (4, "x."), (5, "x.")] {
            let mut stream = connect_from(client, fixture.server).await;
            stream.write_all(&framed(&Query::a(first))).await.unwrap();
            if first != "wait." {
                read_reply(&mut stream).await;
            }
            exchange(&mut stream).await;
            streams.push(stream);
        }
        closed(&mut streams[1]).await;
        counted(&fixture.metrics, r#"outlast_overload_total{limit="tcp_connections"} 1"#);
        for at in [2, 3] {
            streams[at].write_all(&framed(&Query::a("wait."))).await.unwrap();
            exchange(&mut streams[at]).await;
        }
        closed(&mut connect_from(6, fixture.server).await).await;
        counted(&fixture.metrics, r#"outlast_overload_total{limit="tcp_connections"} 2"#);
        // All others have a query at work, and stay.
        for at in [0, 2, 3] {
            exchange(&mut streams[at]).await;
        }
    }

    #[tokio::test]
    async fn one_client_cannot_hold_all_connections() {
        let limits = Limits { connections: 16, firm: Duration::ZERO, ..Limits::default() };
        let fixture = start(limits, PATIENT);
        let mut other = fixture.client.connect().await.unwrap();
        other.pipeline(&[Query::a("x.")]).await.unwrap();
        let mut held = Vec::new();
        for _ in 0..30 {
            held.push(connect_from(2, fixture.server).await);
        }
        let mut newcomer = fixture.client.connect().await.unwrap();
        newcomer.pipeline(&[Query::a("x.")]).await.unwrap();
        other.pipeline(&[Query::a("x.")]).await.expect("the oldest connection, and another client's");
        for stream in &mut held[..22] {
            closed(stream).await;
        }
        counted(&fixture.metrics, r#"outlast_overload_total{limit="tcp_per_client"} 22"#);
        counted(&fixture.metrics, r#"outlast_overload_total{limit="tcp_connections"} 0"#);
    }

    #[tokio::test]
    async fn a_client_that_never_reads_is_cut_off_and_holds_up_nobody() {
        let fixture =
            start(Limits { connections: 1, waiting: 1, firm: LONG }, Timeouts { write: SHORT, ..PATIENT });
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(SMALL_BUFFER as u32).unwrap();
        let mut stream = socket.connect(fixture.server).await.unwrap();
        let start = Instant::now();
        let query = framed(&Query::a("big."));
        let mut sent = 0;
        // Its own side fills up as well once the server stops reading.
        while let Ok(Ok(())) = timeout(LONG, stream.write_all(&query)).await {
            sent += 1;
            assert!(sent < 1_000_000, "the server goes on reading for ever");
        }
        assert!(start.elapsed() >= SHORT, "cut off after {:?}", start.elapsed());
        let again = async {
            while fixture.client.tcp(&Query::a("soon.")).await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(10), again).await.expect("the place is free again");
    }

    #[tokio::test]
    async fn over_the_bound_only_what_would_wait_is_refused() {
        let fixture = start(Limits { waiting: 1, firm: LONG, ..Limits::default() }, PATIENT);
        let mut connection = fixture.client.connect().await.unwrap();
        let queries = [Query::a("wait.").id(1), Query::a("wait.").id(2).edns(1232), Query::a("local.").id(3)];
        for query in &queries {
            connection.send(query).await.unwrap();
        }
        let refused = connection.receive().await.unwrap();
        assert_eq!((refused.message.metadata.id, refused.rcode()), (2, ResponseCode::ServFail));
        assert_eq!(refused.ede(), [(0, "more than 1 queries are waiting for upstreams".to_owned())]);
        let local = connection.receive().await.unwrap();
        assert_eq!((local.message.metadata.id, local.rcode()), (3, ResponseCode::NoError));
    }

    #[tokio::test]
    async fn a_panic_before_the_plugins_is_one_query_s_servfail() {
        let fixture = start(Limits::default(), PATIENT);
        fixture.plugin.breaks_the_gate.store(true, Ordering::Relaxed);
        let mut connection = fixture.client.connect().await.unwrap();
        let replies = connection.pipeline(&[Query::a("x.").class(3), Query::a("x.").class(3)]).await.unwrap();
        assert!(replies.iter().all(|r| r.rcode() == ResponseCode::ServFail));
        counted(&fixture.metrics, "coredns_panics_total 2");
        fixture.plugin.breaks_the_gate.store(false, Ordering::Relaxed);
        let replies = connection.pipeline(&[Query::a("x.")]).await.unwrap();
        assert_eq!(replies[0].rcode(), ResponseCode::NoError);
    }

    #[tokio::test]
    async fn queries_that_were_read_are_answered_after_a_stop() {
        let fixture = start(Limits::default(), PATIENT);
        let mut connection = fixture.client.connect().await.unwrap();
        connection.send(&Query::a("soon.")).await.unwrap();
        // The first was read when the second is answered.
        connection.pipeline(&[Query::a("x.")]).await.unwrap();
        fixture.stop.cancel();
        assert_eq!(connection.receive().await.unwrap().answers(), ["soon. 5 IN A 192.0.2.0"]);
        timeout(Duration::from_secs(10), fixture.running).await.expect("connections end").unwrap();
    }
}
