//! A connection to one hub: TCP to an address, TLS, HTTP/2, and the one stream in it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};

use super::left::Left;
use crate::feed::frame::{MAX_MESSAGE_BYTES, Request};
use crate::feed::wire;
use crate::feed::wire::hub_client::HubClient;
use crate::ops::clock::WallClock;
use crate::ops::metrics::Metrics;
use crate::trust::client::Connector;
use crate::trust::config::TrustConfig;

/// How long a connection may take: three times a retransmission of the first packet.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long HTTP/2 may take to begin.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Requests that wait for the hub to take them: it takes each at once, or hangs.
const REQUEST_QUEUE: usize = 8;

/// What the hub may send ahead of what is applied, in bytes: enough for a whole state to flow between two machines, and
/// little for a node to hold.
const WINDOW: u32 = 512 << 10;

/// Why a hub was not dialled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotDialled {
    /// It could not be reached.
    #[error("{0}")]
    Unreachable(String),
    /// It is not to be believed.
    #[error("{0}")]
    Untrusted(String),
}

/// Dials hubs; another one in tests.
#[async_trait]
pub(crate) trait Dial: Send + Sync {
    /// A stream to the hub at this address, in which nothing has been said yet.
    async fn dial(&self, hub: SocketAddr) -> Result<Link, NotDialled>;
}

/// The stream to a hub.
pub(crate) struct Link {
    /// To the hub.
    pub(crate) requests: mpsc::Sender<wire::FollowRequest>,
    /// From it.
    pub(crate) replies: BoxStream<'static, Result<wire::FollowReply, Left>>,
}

impl Link {
    /// Asks something; `false` if the hub does not take what was asked before.
    pub(super) fn send(&self, request: Request) -> bool {
        self.requests.try_send(request.into()).is_ok()
    }
}

/// Dials hubs by TCP.
pub(crate) struct Dialler {
    /// Whom to believe; `None` for anybody.
    connector: Option<Connector>,
}

impl Dialler {
    /// To be called within a runtime.
    pub(crate) fn new(trust: &TrustConfig, clock: Arc<WallClock>, metrics: &Metrics) -> Self {
        let connector = match trust {
            TrustConfig::Plain => None,
            TrustConfig::Tls(files) => Some(Connector::new(files.clone(), clock, metrics)),
        };
        Self { connector }
    }
}

#[async_trait]
impl Dial for Dialler {
    async fn dial(&self, hub: SocketAddr) -> Result<Link, NotDialled> {
        self.channel(hub).await.map(follow)
    }
}

impl Dialler {
    /// A connection to the hub at this address.
    pub(super) async fn channel(&self, hub: SocketAddr) -> Result<Channel, NotDialled> {
        let unreachable = |why: String| NotDialled::Unreachable(why);
        let connect = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(hub)).await;
        let tcp = connect
            .map_err(|_| unreachable(format!("connecting: nothing came back within {CONNECT_TIMEOUT:?}")))?;
        let tcp = tcp.map_err(|e| unreachable(format!("connecting: {e}")))?;
        // Pings are small and wait for nobody.
        tcp.set_nodelay(true).map_err(|e| unreachable(format!("connecting: {e}")))?;
        let begun = async {
            match &self.connector {
                None => begin(tcp).await,
                Some(connector) => {
                    let (tls, _peer) = connector
                        .connect(tcp, hub)
                        .await
                        .map_err(|e| NotDialled::Untrusted(format!("within TLS: {e}")))?;
                    begin(tls).await
                }
            }
        };
        begun.await
    }
}

/// The stream in a connection that was made in memory.
pub(crate) async fn over(io: tokio::io::DuplexStream) -> Result<Link, NotDialled> {
    begin(io).await.map(follow)
}

/// Speaks HTTP/2 on a connection.
pub(crate) async fn begin<S>(io: S) -> Result<Channel, NotDialled>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let endpoint = Endpoint::from_static("http://hub.outlast.internal")
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .buffer_size(REQUEST_QUEUE);
    // Once: a connection that breaks is not made again behind our back.
    let io = Arc::new(Mutex::new(Some(io)));
    let connector = tower::service_fn(move |_| {
        let io = io.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move { io.map(TokioIo::new).ok_or_else(|| std::io::Error::other("the connection has ended")) }
    });
    let channel = tokio::time::timeout(BEGIN_TIMEOUT, endpoint.connect_with_connector(connector)).await;
    channel
        .map_err(|_| {
            NotDialled::Unreachable(format!("beginning HTTP/2: nothing came back within {BEGIN_TIMEOUT:?}"))
        })?
        .map_err(|e| NotDialled::Unreachable(format!("beginning HTTP/2: {e}")))
}

/// Opens the stream. The hub's first reply may wait for the first request, which therefore is not waited for here.
pub(crate) fn follow(channel: Channel) -> Link {
    let (requests, queue) = mpsc::channel(REQUEST_QUEUE);
    let queue =
        stream::unfold(
            queue,
            |mut queue: mpsc::Receiver<_>| async move { Some((queue.recv().await?, queue)) },
        );
    let mut client = HubClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let open = async move { client.follow(queue).await.map(tonic::Response::into_inner) };
    let replies = stream::once(open).try_flatten().map_err(|status| ended(&status));
    Link { requests, replies: replies.boxed() }
}

/// Why a stream ended.
fn ended(status: &tonic::Status) -> Left {
    let text = format!("{}: {}", status.code(), status.message());
    match status.code() {
        tonic::Code::Unauthenticated | tonic::Code::PermissionDenied => Left::Untrusted(text),
        // No message of ours, or one that is larger than any.
        tonic::Code::Internal
        | tonic::Code::OutOfRange
        | tonic::Code::DataLoss
        | tonic::Code::InvalidArgument => Left::Garbage(text),
        _ => Left::Closed(text),
    }
}
