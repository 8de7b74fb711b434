//! One exchange with one upstream: a query out, its reply back.
//!
//! Invariants:
//! * The query leaves as it came but for a new random id; the reply carries the client's id again.
//! * Nothing is taken for a reply that does not come from the upstream's address and port (the socket is
//!   connected), has not QR set, or carries another id (RFC 5452 §9). Each query has a socket, and so a port,
//!   of its own; the kernel draws that port at random.
//! * Dropping the future closes the socket and leaves nothing behind.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

use super::error::{Cause, ExchangeError, Path, Step};
use super::wire::{self, Question};

/// The size of a UDP reply that every query takes (RFC 1035 §4.2.1); smaller sizes in an OPT record count as
/// this one (RFC 6891 §6.2.3).
const MIN_UDP_REPLY: usize = 512;

/// The largest UDP reply read whole, whatever a client's OPT record asks for. What servers send at most by
/// default (RFC 6891 §6.2.5 suggests it); it bounds the memory of a forward. Larger ones count as truncated.
const MAX_UDP_REPLY: usize = 4096;

/// Messages that are no reply to the query, before the exchange is given up. Late replies to others cannot
/// arrive on a fresh socket, so these are forged: giving up leaves a forger 64 guesses of 65,536 a port.
const MAX_STRAYS: usize = 64;

/// How a query travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A datagram each way.
    Udp,
    /// A connection of its own.
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        })
    }
}

/// A client's query that can be forwarded: one readable question, and short enough for every transport.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The message as it came.
    message: &'a [u8],
    /// Its question.
    question: Question<'a>,
}

impl<'a> Query<'a> {
    /// Reads `message`; `None` unless it has exactly one question, uncompressed, and at most 65,535 bytes.
    pub fn read(message: &'a [u8]) -> Option<Self> {
        (message.len() <= wire::MAX_MESSAGE).then_some(())?;
        Some(Self { message, question: Question::read(message)? })
    }

    /// The name asked for, in wire format and the client's letter case.
    pub const fn name(&self) -> &'a [u8] {
        self.question.name
    }

    /// How large a UDP reply the client takes, in bytes.
    fn reply_room(&self) -> usize {
        let asked = wire::summary(self.message).and_then(|s| s.payload).map_or(MIN_UDP_REPLY, usize::from);
        asked.clamp(MIN_UDP_REPLY, MAX_UDP_REPLY)
    }

    /// The message as it leaves.
    fn with_random_id(&self) -> Vec<u8> {
        let mut sent = self.message.to_vec();
        wire::set_id(&mut sent, rand::random());
        sent
    }

    /// The reply as the client gets it: with the id of its own query.
    fn reply(&self, mut message: Vec<u8>, rcode: u16) -> Exchanged {
        wire::set_id(&mut message, wire::id(self.message).unwrap_or_default());
        // A reply may live long in a cache: nothing unused is kept with it.
        message.shrink_to_fit();
        Exchanged::Reply { message: message.into(), rcode }
    }

    /// What a message that arrived means for the query that left as `sent`.
    fn judge(&self, sent: &[u8], message: &[u8]) -> Verdict {
        // Anyone may have sent this: what does not prove that it answers `sent` is not looked at further.
        if message.len() < wire::HEADER || wire::id(message) != wire::id(sent) || !wire::is_response(message)
        {
            return Verdict::Stray;
        }
        if !Question::read(message).is_some_and(|theirs| self.question.same(&theirs)) {
            return Verdict::OtherQuestion { rcode: header_rcode(message) };
        }
        match wire::summary(message) {
            Some(summary) => Verdict::Reply { rcode: summary.rcode },
            None => Verdict::Cut,
        }
    }
}

/// What an upstream sent back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exchanged {
    /// A reply to the question, whole or marked as truncated, with the query's own id.
    Reply {
        /// The message.
        message: Bytes,
        /// Its response code, with the extended bits of an OPT record.
        rcode: u16,
    },
    /// A reply with the right id to another question, or to none.
    OtherQuestion {
        /// The response code of its header.
        rcode: u16,
    },
}

impl Exchanged {
    /// The upstream's response code.
    pub const fn rcode(&self) -> u16 {
        match self {
            Self::Reply { rcode, .. } | Self::OtherQuestion { rcode } => *rcode,
        }
    }

    /// Whether this is a reply with TC set: the whole one is to be had over TCP.
    pub fn is_truncated(&self) -> bool {
        matches!(self, Self::Reply { message, .. } if wire::is_truncated(message))
    }
}

/// Sends `query` to `upstream` and waits for its reply.
///
/// `timeout` is what connecting over TCP may
/// take, and once more what sending the query and reading the reply may take. A UDP reply that exceeds the
/// size the query takes, or ends within a record, becomes an empty one with TC set.
///
/// # Errors
///
/// [`ExchangeError`] when no reply came: the time was over, the operating system refused or reported an ICMP
/// error, the connection was closed, or what came was no DNS message.
pub async fn exchange(
    query: &Query<'_>,
    upstream: SocketAddr,
    transport: Transport,
    timeout: Duration,
) -> Result<Exchanged, ExchangeError> {
    match transport {
        Transport::Udp => over_udp(query, upstream, timeout).await,
        Transport::Tcp => over_tcp(query, upstream, timeout).await,
    }
}

async fn over_udp(
    query: &Query<'_>,
    peer: SocketAddr,
    timeout: Duration,
) -> Result<Exchanged, ExchangeError> {
    let dial =
        Exchange { transport: Transport::Udp, path: Path { local: None, peer }, deadline: after(timeout) };
    let any = match peer {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await.map_err(|e| dial.os(Step::Dial, "bind", e))?;
    // Connected: the kernel drops what others send, and reports an ICMP refusal at once.
    socket.connect(peer).await.map_err(|e| dial.os(Step::Dial, "connect", e))?;
    let open = dial.with_local(socket.local_addr());

    let sent = query.with_random_id();
    open.timed(Step::Write, "write", socket.send(&sent)).await?;

    // One byte more than fits, so that a reply that was cut by the read can be told from one that just fits.
    let room = query.reply_room();
    let mut buffer = vec![0; room + 1];
    for _ in 0..=MAX_STRAYS {
        let length = open.timed(Step::Read, "read", socket.recv(&mut buffer)).await?;
        let message = &buffer[..length];
        match query.judge(&sent, message) {
            Verdict::Stray => {}
            Verdict::OtherQuestion { rcode } => return Ok(Exchanged::OtherQuestion { rcode }),
            Verdict::Reply { rcode } if length <= room => return Ok(query.reply(message.to_vec(), rcode)),
            Verdict::Reply { .. } | Verdict::Cut => {
                let cut = wire::truncated(message).ok_or_else(|| open.error(Step::Read, Cause::Malformed))?;
                let rcode = header_rcode(&cut);
                return Ok(query.reply(cut, rcode));
            }
        }
    }
    Err(open.error(Step::Read, Cause::Strays))
}

async fn over_tcp(
    query: &Query<'_>,
    peer: SocketAddr,
    timeout: Duration,
) -> Result<Exchanged, ExchangeError> {
    let dial =
        Exchange { transport: Transport::Tcp, path: Path { local: None, peer }, deadline: after(timeout) };
    let mut stream = dial.timed(Step::Dial, "connect", TcpStream::connect(peer)).await?;
    let open = Exchange { deadline: after(timeout), ..dial }.with_local(stream.local_addr());

    let sent = query.with_random_id();
    let length = u16::try_from(sent.len()).expect("a Query has at most 65,535 bytes");
    // Length and message in one write: two segments can cost a delayed acknowledgement.
    let framed = [&length.to_be_bytes()[..], &sent].concat();
    open.timed(Step::Write, "write", stream.write_all(&framed)).await?;

    for _ in 0..=MAX_STRAYS {
        let message = open.read_framed(&mut stream).await?;
        match query.judge(&sent, &message) {
            Verdict::Stray => {}
            Verdict::OtherQuestion { rcode } => return Ok(Exchanged::OtherQuestion { rcode }),
            Verdict::Reply { rcode } => return Ok(query.reply(message, rcode)),
            Verdict::Cut => return Err(open.error(Step::Read, Cause::Malformed)),
        }
    }
    Err(open.error(Step::Read, Cause::Strays))
}

/// What the steps of one exchange share.
#[derive(Clone, Copy)]
struct Exchange {
    transport: Transport,
    /// For error texts.
    path: Path,
    /// When the step under way is over.
    deadline: Instant,
}

impl Exchange {
    fn with_local(self, local: io::Result<SocketAddr>) -> Self {
        Self { path: Path { local: local.ok(), ..self.path }, ..self }
    }

    const fn error(&self, step: Step, cause: Cause) -> ExchangeError {
        ExchangeError { step, transport: self.transport, path: self.path, cause }
    }

    const fn os(&self, step: Step, call: &'static str, error: io::Error) -> ExchangeError {
        self.error(step, Cause::Os { call, error })
    }

    async fn timed<T>(
        &self,
        step: Step,
        call: &'static str,
        work: impl Future<Output = io::Result<T>>,
    ) -> Result<T, ExchangeError> {
        match timeout_at(self.deadline, work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(self.os(step, call, error)),
            Err(_) => Err(self.error(step, Cause::Timeout)),
        }
    }

    /// One message with its length before it (RFC 1035 §4.2.2).
    async fn read_framed(&self, stream: &mut TcpStream) -> Result<Vec<u8>, ExchangeError> {
        let length = match self.timed(Step::Read, "read", stream.read_u16()).await {
            Err(ExchangeError { cause: Cause::Os { error, .. }, .. })
                if error.kind() == io::ErrorKind::UnexpectedEof =>
            {
                return Err(self.error(Step::Read, Cause::Closed));
            }
            other => usize::from(other?),
        };
        // The buffer grows with what arrives: a length alone costs no memory.
        let mut message = Vec::new();
        self.timed(Step::Read, "read", stream.take(length as u64).read_to_end(&mut message)).await?;
        if message.len() < length {
            return Err(self.error(Step::Read, Cause::ClosedWithin));
        }
        Ok(message)
    }
}

/// What a message that arrived means for a query.
enum Verdict {
    /// Not a reply to it.
    Stray,
    /// A reply to another question.
    OtherQuestion { rcode: u16 },
    /// A reply, whole.
    Reply { rcode: u16 },
    /// A reply that ends within a record.
    Cut,
}

fn header_rcode(message: &[u8]) -> u16 {
    message.get(3).map_or(0, |flags| u16::from(flags & 0x0f))
}

fn after(timeout: Duration) -> Instant {
    Instant::now() + timeout
}
