//! One exchange over UDP.
//!
//! Invariants:
//! * Each query has a socket, and so a port, of its own; the kernel draws that port at random, and takes nothing
//!   but what comes from the upstream's address and port, because the socket is connected.
//! * Dropping the future closes the socket and leaves nothing behind.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::error::{Cause, ExchangeError, Path, Step};
use super::query::{Exchanged, MAX_STRAYS, Query, Transport, Verdict, header_rcode};
use super::wire;

/// Sends `query` to `peer`, from the address `source` if there is one, and waits until `deadline`.
///
/// A reply that exceeds the size the query takes, or ends within a record, becomes an empty one with TC set.
pub(super) async fn exchange(
    query: &Query<'_>,
    peer: SocketAddr,
    source: Option<IpAddr>,
    deadline: Instant,
) -> Result<Exchanged, ExchangeError> {
    let dial = Exchange { path: Path { local: None, peer }, deadline };
    let from = SocketAddr::new(source.unwrap_or_else(|| any(peer)), 0);
    let socket = UdpSocket::bind(from).await.map_err(|e| dial.os(Step::Dial, "bind", e))?;
    // Connected: the kernel drops what others send, and reports an ICMP refusal at once.
    socket.connect(peer).await.map_err(|e| dial.os(Step::Dial, "connect", e))?;
    let open = Exchange { path: Path { local: socket.local_addr().ok(), peer }, ..dial };

    let id = rand::random();
    let sent = query.with_id(id);
    open.timed(Step::Write, "write", socket.send(&sent)).await?;

    // Before there is a buffer, as thousands may wait here: for a packet, or for the ICMP message instead of one.
    open.timed(Step::Read, "read", socket.ready(Interest::READABLE | Interest::ERROR)).await?;
    // One byte more than fits, so that a reply that was cut by the read can be told from one that just fits.
    let room = query.reply_room();
    let mut buffer = vec![0; room + 1];
    for _ in 0..=MAX_STRAYS {
        let length = open.timed(Step::Read, "read", socket.recv(&mut buffer)).await?;
        let message = &buffer[..length];
        match query.judge(id, message) {
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

/// The unspecified address of the peer's family.
pub(super) const fn any(peer: SocketAddr) -> IpAddr {
    match peer {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// What the steps of one exchange share.
#[derive(Clone, Copy)]
struct Exchange {
    /// For error texts.
    path: Path,
    /// When the exchange is over.
    deadline: Instant,
}

impl Exchange {
    const fn error(&self, step: Step, cause: Cause) -> ExchangeError {
        ExchangeError { step, transport: Transport::Udp, path: self.path, cause }
    }

    fn os(&self, step: Step, call: &'static str, error: io::Error) -> ExchangeError {
        self.error(step, Cause::os(call, error))
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
}
