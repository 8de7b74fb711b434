//! Opening a connection to an upstream: TCP, and TLS over it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls;

use super::tls::TlsClient;
use crate::forward::error::{Cause, ExchangeError, Path, Step};
use crate::forward::query::Transport;

/// What is sent and not acknowledged within this time breaks the connection (tcp(7), `TCP_USER_TIMEOUT`): three
/// times what an acknowledgement takes at worst.
const UNACKNOWLEDGED: Duration = Duration::from_secs(3);

/// When an idle connection is asked whether it still lives, and how often again: a peer that has gone is known
/// after about 14 s without a query having to find out.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(10), Duration::from_secs(2), 2);

/// Opens connections to one upstream.
pub(crate) struct Dialer {
    /// Where to.
    pub(crate) peer: SocketAddr,
    /// From which address, if not the system's choice.
    pub(crate) source: Option<IpAddr>,
    /// TLS, if it is spoken.
    pub(crate) tls: Option<Arc<TlsClient>>,
    /// How long opening may take.
    pub(crate) timeout: Duration,
}

/// An open connection.
pub(super) enum Stream {
    /// Plain.
    Plain(TcpStream),
    /// Within TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Dialer {
    pub(super) const fn transport(&self) -> Transport {
        if self.tls.is_some() { Transport::Tls } else { Transport::Tcp }
    }

    /// An error at `step`, between these addresses.
    pub(super) fn error(&self, step: Step, local: Option<SocketAddr>, cause: Cause) -> ExchangeError {
        let path = Path { local, peer: self.peer };
        ExchangeError { step, transport: self.transport(), path, cause }
    }

    /// Opens a connection; the address is our end of it.
    pub(super) async fn dial(&self) -> Result<(Stream, Option<SocketAddr>), ExchangeError> {
        let deadline = Instant::now() + self.timeout;
        let failed = |call| move |error| self.error(Step::Dial, None, Cause::os(call, error));
        let late = || self.error(Step::Dial, None, Cause::Timeout);
        let socket = match self.peer {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }
        .map_err(failed("socket"))?;
        if let Some(source) = self.source {
            socket.bind(SocketAddr::new(source, 0)).map_err(failed("bind"))?;
        }
        let connected = timeout_at(deadline, socket.connect(self.peer)).await.map_err(|_| late())?;
        let stream = connected.map_err(failed("connect"))?;
        tune(&stream);
        let local = stream.local_addr().ok();
        let Some(tls) = &self.tls else { return Ok((Stream::Plain(stream), local)) };
        let handshake = tls.connector.connect(tls.name.clone(), stream);
        match timeout_at(deadline, handshake).await {
            Ok(Ok(stream)) => Ok((Stream::Tls(Box::new(stream)), local)),
            Ok(Err(error)) => Err(self.error(Step::Dial, local, tls_cause(error))),
            Err(_) => Err(late()),
        }
    }
}

/// Small writes at once, and a dead peer noticed. What a system does not know it does without.
fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    let (time, interval, retries) = KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(time).with_interval(interval).with_retries(retries);
    let _ = socket.set_tcp_keepalive(&keepalive);
}

/// What a failed handshake says.
pub(super) fn tls_cause(error: io::Error) -> Cause {
    let of_tls = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()).map(ToString::to_string);
    match of_tls {
        Some(text) => Cause::Tls(text.into()),
        None if error.kind() == io::ErrorKind::UnexpectedEof => Cause::Closed,
        None => Cause::os("handshake", error),
    }
}
