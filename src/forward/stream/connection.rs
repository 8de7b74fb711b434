//! One connection and the task that owns it: it opens it, writes queries as they come, reads replies and gives each
//! to who waits for it, and closes it.
//!
//! Invariants:
//! * At most [`MAX_PIPELINED`] queries are given to a connection and not settled; a dropped waiter keeps its place
//!   until its reply or the end of the connection, so that its id is not given out meanwhile.
//! * Every query that was given to a connection hears of its end.
//! * Nothing is taken for a reply whose id no query has that is waited for.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::Shared;
use super::dial::{Dialer, Stream, tls_cause};
use crate::forward::error::{Cause, ExchangeError, Step};
use crate::forward::query::MAX_STRAYS;
use crate::forward::wire;

/// Queries of one connection that are at work at one time. Servers that answer in the order of arrival make each
/// wait for those before it, so that more would not be answered sooner.
pub(super) const MAX_PIPELINED: usize = 64;

/// Bytes that may wait to be written before no further query is taken: a peer that does not read must not cost
/// memory.
const MAX_UNWRITTEN: usize = 64 * 1024;

/// What a connection keeps for reading while it is idle; larger replies are rare.
const READ_BUFFER: usize = 4096;

/// How long closing in good order may take (TLS says goodbye).
const CLOSING: Duration = Duration::from_secs(1);

/// What others know of a connection.
pub(super) struct Connection {
    /// Where queries are given to it; closed when it takes no more.
    queue: mpsc::Sender<Request>,
    /// Queries that were given to it and are not settled.
    load: AtomicUsize,
    /// Whether it is open, and not being opened any more.
    open: AtomicBool,
    /// A query has waited longer than is usual and nothing was read since: no new ones until something is.
    silent: AtomicBool,
    /// Another connection answered where this one did not: no new queries ever.
    retired: AtomicBool,
    /// Messages that were read.
    reads: AtomicU64,
    /// When it was begun.
    born: Instant,
}

impl Connection {
    /// Begins a connection in a task of its own; it lives for as long as `shared` does at most.
    pub(super) fn begin(shared: &Arc<Shared>) -> Arc<Self> {
        let (queue, requests) = mpsc::channel(MAX_PIPELINED);
        let connection = Arc::new(Self {
            queue,
            load: AtomicUsize::new(0),
            open: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            born: Instant::now(),
        });
        let worker = Worker::new(shared, &connection, requests);
        tokio::spawn(worker.run());
        connection
    }

    pub(super) fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    pub(super) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Whether a new query may be given to it.
    pub(super) fn takes_more(&self, max_age: Option<Duration>) -> bool {
        !self.silent.load(Ordering::Relaxed)
            && !self.retired.load(Ordering::Relaxed)
            && self.load() < MAX_PIPELINED
            && max_age.is_none_or(|max| self.born.elapsed() < max)
    }

    /// No new queries until something is read.
    pub(super) fn set_silent(&self) {
        self.silent.store(true, Ordering::Relaxed);
    }

    /// No new queries any more; it ends when those that it has are settled.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// A place on it; the caller has seen that there is one, and holds the lock that keeps it so.
    pub(super) fn place(self: &Arc<Self>) -> Place {
        self.load.fetch_add(1, Ordering::Relaxed);
        Place(self.clone())
    }
}

/// A query's place on a connection; dropping it frees the place.
pub(super) struct Place(Arc<Connection>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Place {
    pub(super) const fn connection(&self) -> &Arc<Connection> {
        &self.0
    }

    /// Gives `message` to the connection; what becomes of it comes later. `None` comes of a connection that has
    /// ended without a word.
    pub(super) fn send(self, message: &[u8]) -> oneshot::Receiver<Settled> {
        let (reply, settled) = oneshot::channel();
        let connection = self.0.clone();
        // Full it cannot be, for it has as many places as there are; closed it may be: then the receiver hears that
        // there is no sender.
        let _ = connection.queue.try_send(Request { message: message.to_vec(), reply, place: self });
        settled
    }
}

/// What became of a query: the id that it left with and the reply.
pub(super) type Settled = Result<(u16, Vec<u8>), ExchangeError>;

/// A query for a connection.
struct Request {
    /// The message; its id is the connection's to choose.
    message: Vec<u8>,
    /// Who waits for the reply.
    reply: oneshot::Sender<Settled>,
    /// Freed when it is settled.
    place: Place,
}

/// A query that was sent.
struct Pending {
    /// Who waits for the reply; `None` once it was told that there is none in time.
    reply: Option<oneshot::Sender<Settled>>,
    /// When it was sent.
    sent: Instant,
    /// How many messages had been read when it was sent.
    reads: u64,
    /// Freed when it is settled.
    _place: Place,
}

/// The task that owns a connection.
struct Worker {
    /// Whether anybody may still want it; it does not keep the pool alive.
    shared: Weak<Shared>,
    /// Opens it.
    dialer: Arc<Dialer>,
    /// What others know of it; does not keep its queue open.
    handle: Weak<Connection>,
    /// Queries for it.
    requests: mpsc::Receiver<Request>,
    /// How long it may be idle.
    expire: Duration,
    /// How old it may become.
    max_age: Option<Duration>,
    /// When it was begun.
    born: Instant,
    /// Our end, once it is open.
    local: Option<SocketAddr>,
    /// Sent and not answered, by id.
    pending: HashMap<u16, Pending>,
    /// How many of those are waited for.
    waiting: usize,
    /// Messages in a row that were no reply.
    strays: usize,
    /// Messages that were read.
    reads: u64,
    /// When it was last used.
    used: Instant,
}

/// Why a connection ends.
enum End {
    /// It is not needed any more.
    Done,
    /// It broke.
    Broken(ExchangeError),
}

impl Worker {
    fn new(shared: &Arc<Shared>, connection: &Arc<Connection>, requests: mpsc::Receiver<Request>) -> Self {
        Self {
            shared: Arc::downgrade(shared),
            dialer: shared.dialer.clone(),
            handle: Arc::downgrade(connection),
            requests,
            expire: shared.limits.expire,
            max_age: shared.limits.max_age,
            born: connection.born,
            local: None,
            pending: HashMap::new(),
            waiting: 0,
            strays: 0,
            reads: 0,
            used: connection.born,
        }
    }

    async fn run(mut self) {
        let end = match self.dialer.dial().await {
            Ok((stream, local)) => {
                self.local = local;
                self.used = Instant::now();
                if let Some(handle) = self.handle.upgrade() {
                    handle.open.store(true, Ordering::Relaxed);
                }
                match stream {
                    Stream::Plain(stream) => self.serve(stream).await,
                    Stream::Tls(stream) => self.serve(*stream).await,
                }
            }
            Err(error) => End::Broken(error),
        };
        // Invariant: who waits hears of the end; a query that came too late is told that there is no connection.
        self.requests.close();
        let error = match end {
            End::Done => self.error(Step::Write, Cause::Closed),
            End::Broken(error) => error,
        };
        while let Ok(request) = self.requests.try_recv() {
            let _ = request.reply.send(Err(error.clone()));
        }
        for reply in self.pending.into_values().filter_map(|pending| pending.reply) {
            let _ = reply.send(Err(error.clone()));
        }
    }

    async fn serve<S: AsyncRead + AsyncWrite>(&mut self, stream: S) -> End {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let (mut read, mut unwritten) = (BytesMut::new(), Unwritten::default());
        let end = loop {
            let deadline = self.next_deadline();
            read.reserve(READ_BUFFER);
            // Every branch can be given up without a loss.
            let step = tokio::select! {
                request = self.requests.recv(), if unwritten.bytes.len() < MAX_UNWRITTEN => match request {
                    Some(request) => {
                        self.take(request, &mut unwritten.bytes);
                        Ok(())
                    }
                    // The pool is gone, and with it everybody who waits: each has a handle of the queue.
                    None => Err(End::Done),
                },
                got = reader.read_buf(&mut read) => self.took_in(got, &mut read),
                wrote = unwritten.write_to(&mut writer), if unwritten.is_any() => {
                    wrote.map_err(|e| self.broken(Step::Write, "write", e))
                }
                () = sleep_until(deadline) => self.deadline(),
            };
            if let Err(end) = step {
                break end;
            }
        };
        let _ = timeout(CLOSING, writer.shutdown()).await;
        end
    }

    /// Takes a query on: it is written as soon as there is room.
    fn take(&mut self, request: Request, unwritten: &mut BytesMut) {
        let Request { mut message, reply, place } = request;
        if reply.is_closed() {
            return;
        }
        let mut id = rand::random();
        // At most MAX_PIPELINED of 65,536 are taken.
        while self.pending.contains_key(&id) {
            id = rand::random();
        }
        wire::set_id(&mut message, id);
        // A Query has at most 65,535 bytes.
        unwritten.put_u16(u16::try_from(message.len()).unwrap_or(u16::MAX));
        unwritten.put_slice(&message);
        let now = Instant::now();
        self.used = now;
        self.waiting += 1;
        let reads = self.reads;
        self.pending.insert(id, Pending { reply: Some(reply), sent: now, reads, _place: place });
    }

    /// Gives whole messages of what was read to who waits for them.
    fn took_in(&mut self, read: io::Result<usize>, bytes: &mut BytesMut) -> Result<(), End> {
        match read {
            Ok(0) if bytes.is_empty() => return Err(End::Broken(self.error(Step::Read, Cause::Closed))),
            Ok(0) => return Err(End::Broken(self.error(Step::Read, Cause::ClosedWithin))),
            Ok(_) => {}
            Err(error) => return Err(self.broken(Step::Read, "read", error)),
        }
        while let Some(message) = next_message(bytes) {
            self.deliver(message)?;
        }
        if bytes.is_empty() && bytes.capacity() > 2 * READ_BUFFER {
            *bytes = BytesMut::new();
        }
        if self.waiting == 0 && self.is_surplus() {
            return Err(End::Done);
        }
        Ok(())
    }

    fn deliver(&mut self, message: Vec<u8>) -> Result<(), End> {
        let id = wire::id(&message).filter(|_| message.len() >= wire::HEADER && wire::is_response(&message));
        let Some((id, pending)) = id.and_then(|id| Some((id, self.pending.remove(&id)?))) else {
            self.strays += 1;
            if self.strays > MAX_STRAYS {
                return Err(End::Broken(self.error(Step::Read, Cause::Strays)));
            }
            return Ok(());
        };
        let now = Instant::now();
        self.strays = 0;
        self.reads += 1;
        self.used = now;
        if let Some(handle) = self.handle.upgrade() {
            handle.reads.store(self.reads, Ordering::Relaxed);
            handle.silent.store(false, Ordering::Relaxed);
        }
        if let Some(shared) = self.shared.upgrade() {
            shared.sample(now.saturating_duration_since(pending.sent));
        }
        if let Some(reply) = pending.reply {
            self.waiting -= 1;
            // Who waited may have got a reply elsewhere.
            let _ = reply.send(Ok((id, message)));
        }
        Ok(())
    }

    /// Whether there are idle connections enough without this one, or it is not to be used again.
    fn is_surplus(&self) -> bool {
        let (Some(shared), Some(handle)) = (self.shared.upgrade(), self.handle.upgrade()) else {
            return true;
        };
        let too_old = self.max_age.is_some_and(|max| self.born.elapsed() >= max);
        too_old || handle.retired.load(Ordering::Relaxed) || shared.has_idle_enough(&handle)
    }

    /// When something is due: a reply, or the end of an idle connection.
    fn next_deadline(&self) -> Instant {
        let waited_for = self.pending.values().filter(|pending| pending.reply.is_some());
        if let Some(oldest) = waited_for.map(|pending| pending.sent).min() {
            return oldest + self.dialer.timeout;
        }
        let idle = self.used + self.expire;
        self.max_age.map_or(idle, |max| idle.min(self.born + max))
    }

    fn deadline(&mut self) -> Result<(), End> {
        let now = Instant::now();
        let error = self.error(Step::Read, Cause::Timeout);
        let mut gone = false;
        for pending in self.pending.values_mut().filter(|p| now >= p.sent + self.dialer.timeout) {
            let Some(reply) = pending.reply.take() else { continue };
            self.waiting -= 1;
            let _ = reply.send(Err(error.clone()));
            // Nothing at all has come since: the peer is not there any more.
            gone |= pending.reads == self.reads;
        }
        if gone {
            return Err(End::Broken(error));
        }
        let aged = self.max_age.is_some_and(|max| now >= self.born + max);
        let idle = self.waiting == 0 && self.requests.is_empty();
        if idle && (aged || now >= self.used + self.expire) { Err(End::Done) } else { Ok(()) }
    }

    fn error(&self, step: Step, cause: Cause) -> ExchangeError {
        self.dialer.error(step, self.local, cause)
    }

    fn broken(&self, step: Step, call: &'static str, error: io::Error) -> End {
        let cause = match tls_cause(error) {
            Cause::Os { error, .. } => Cause::Os { call, error },
            cause => cause,
        };
        End::Broken(self.error(step, cause))
    }
}

/// Queries, with their lengths before them, on their way out.
#[derive(Default)]
struct Unwritten {
    /// What is not written.
    bytes: BytesMut,
    /// Whether something that was written has not left yet: TLS holds it back.
    held: bool,
}

impl Unwritten {
    fn is_any(&self) -> bool {
        self.held || !self.bytes.is_empty()
    }

    /// Writes some of it; can be given up at any time.
    async fn write_to(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        if self.bytes.is_empty() {
            writer.flush().await?;
            self.held = false;
            return Ok(());
        }
        self.held = true;
        if writer.write_buf(&mut self.bytes).await? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(())
    }
}

/// Cuts the first message off what was read, if it is there whole (RFC 1035 §4.2.2).
fn next_message(bytes: &mut BytesMut) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]));
    if bytes.len() < 2 + length {
        return None;
    }
    bytes.advance(2);
    let message = bytes[..length].to_vec();
    bytes.advance(length);
    Some(message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_come_out_whole_however_they_arrive(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..600), 0..8),
            pieces in proptest::collection::vec(1_usize..700, 1..20),
        ) {
            let framed = |message: &Vec<u8>| [&(message.len() as u16).to_be_bytes()[..], message].concat();
            let stream: Vec<u8> = messages.iter().flat_map(framed).collect();
            let (mut bytes, mut rest, mut got) = (BytesMut::new(), &stream[..], Vec::new());
            for size in pieces.iter().cycle() {
                let (piece, more) = rest.split_at((*size).min(rest.len()));
                bytes.put_slice(piece);
                while let Some(message) = next_message(&mut bytes) {
                    got.push(message);
                }
                rest = more;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(got, messages);
            prop_assert!(bytes.is_empty());
        }
    }
}
