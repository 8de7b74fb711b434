//! Why an exchange with an upstream brought no reply, in the words that CoreDNS logs, so that `errors
//! consolidate` expressions written for it go on matching.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use nix::errno::Errno;

use super::query::Transport;

/// An exchange that brought no reply, e.g. `read udp 10.0.0.1:40210->8.8.8.8:53: i/o timeout`.
///
/// A clone is cheap: all queries of a connection that broke share its error.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{step} {transport} {path}: {cause}")]
pub struct ExchangeError {
    /// What was being done.
    pub(super) step: Step,
    /// Over which transport.
    pub(super) transport: Transport,
    /// Between which addresses.
    pub(super) path: Path,
    /// What went wrong.
    pub(super) cause: Cause,
}

impl ExchangeError {
    /// What went wrong.
    pub const fn cause(&self) -> &Cause {
        &self.cause
    }

    /// For clients: who failed and why, without an address or a port of ours.
    pub fn for_client(&self) -> String {
        format!("{} over {}: {}", self.path.peer, self.transport, self.cause)
    }

    /// Whether the peer ended a connection: before the query, if it is one that was used before.
    pub(super) fn is_end_of_connection(&self) -> bool {
        match &self.cause {
            Cause::Closed => true,
            Cause::Os { error, .. } => {
                matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionReset
                        | io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::BrokenPipe
                        | io::ErrorKind::NotConnected
                )
            }
            _ => false,
        }
    }
}

/// The step of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Opening a socket and connecting it.
    Dial,
    /// Sending the query.
    Write,
    /// Waiting for the reply.
    Read,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dial => "dial",
            Self::Write => "write",
            Self::Read => "read",
        })
    }
}

/// The addresses of an exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    /// Ours, once there is one.
    pub(super) local: Option<SocketAddr>,
    /// The upstream's.
    pub(super) peer: SocketAddr,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.local {
            Some(local) => write!(f, "{local}->{}", self.peer),
            None => write!(f, "{}", self.peer),
        }
    }
}

/// What went wrong in an exchange.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Cause {
    /// The time for the step was over.
    #[error("i/o timeout")]
    Timeout,
    /// The operating system refused, or told of an ICMP message: `connect: connection refused`.
    #[error("{call}: {}", reason(.error))]
    Os {
        /// The system call.
        call: &'static str,
        /// Its error.
        error: Arc<io::Error>,
    },
    /// The upstream closed the connection before a reply.
    #[error("EOF")]
    Closed,
    /// The upstream closed the connection within a reply.
    #[error("unexpected EOF")]
    ClosedWithin,
    /// The reply over TCP has fewer records than its header promises.
    #[error("malformed reply")]
    Malformed,
    /// More messages that were no reply to the query than are let pass.
    #[error("too many replies with another id")]
    Strays,
    /// TLS could not be agreed on, or the certificate is not the upstream's.
    #[error("tls: {0}")]
    Tls(Arc<str>),
    /// As many queries wait on connections to the upstream as ever may.
    #[error("too many queries in flight")]
    Busy,
}

impl Cause {
    /// What the operating system said to `call`.
    pub(super) fn os(call: &'static str, error: io::Error) -> Self {
        Self::Os { call, error: Arc::new(error) }
    }

    /// Whether it is a want of our own (room, ports, descriptors) and says nothing of the upstream.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self, Self::Busy | Self::Os { call: "bind" | "socket", .. })
    }

    /// Whether this is known at once and will be the same at once again, unlike a silence.
    pub(super) const fn is_hard(&self) -> bool {
        !matches!(self, Self::Timeout | Self::Busy)
    }

    /// A word for metrics; there are nine.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Os { error, .. } if error.kind() == io::ErrorKind::ConnectionRefused => "refused",
            Self::Os { .. } => "os",
            Self::Closed => "closed",
            Self::ClosedWithin => "closed_within",
            Self::Malformed => "malformed",
            Self::Strays => "strays",
            Self::Tls(_) => "tls",
            Self::Busy => "busy",
        }
    }
}

/// The error's text without Rust's `(os error N)`, in lower case as Go writes it.
fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_ascii_lowercase(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_are_those_that_operators_know() {
        struct Case {
            step: Step,
            transport: Transport,
            local: Option<&'static str>,
            peer: &'static str,
            cause: Cause,
            want: &'static str,
        }
        let os = |call, errno: Errno| Cause::os(call, io::Error::from_raw_os_error(errno as i32));
        let cases = [
            Case {
                step: Step::Read,
                transport: Transport::Udp,
                local: Some("10.0.0.1:53"),
                peer: "8.8.8.8:53",
                cause: Cause::Timeout,
                want: "read udp 10.0.0.1:53->8.8.8.8:53: i/o timeout",
            },
            Case {
                step: Step::Read,
                transport: Transport::Udp,
                local: Some("10.0.0.1:4000"),
                peer: "8.8.8.8:53",
                cause: os("read", Errno::ECONNREFUSED),
                want: "read udp 10.0.0.1:4000->8.8.8.8:53: read: connection refused",
            },
            Case {
                step: Step::Dial,
                transport: Transport::Tcp,
                local: None,
                peer: "[2001:db8::1]:53",
                cause: os("connect", Errno::ENETUNREACH),
                want: "dial tcp [2001:db8::1]:53: connect: network is unreachable",
            },
            Case {
                step: Step::Read,
                transport: Transport::Tcp,
                local: Some("10.0.0.1:4000"),
                peer: "8.8.8.8:53",
                cause: Cause::Closed,
                want: "read tcp 10.0.0.1:4000->8.8.8.8:53: EOF",
            },
        ];
        for Case { step, transport, local, peer, cause, want } in cases {
            let path = Path { local: local.map(|a| a.parse().unwrap()), peer: peer.parse().unwrap() };
            assert_eq!(ExchangeError { step, transport, path, cause }.to_string(), want);
        }
    }
}
