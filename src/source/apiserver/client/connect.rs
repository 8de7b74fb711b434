//! A kube client over our own connections: with keepalive and deadlines, or in memory.

use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, Write};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::Config;
use kube::client::{Body, ClientBuilder, ConfigExt};
use tower::{BoxError, Service, ServiceBuilder};

use super::super::transport::{MemoryConnector, Transport};
use super::deadline;

/// Silence after which the kernel asks the peer whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// Questions without an answer after which the connection is dead: 25 s after the peer was last heard of.
const KEEPALIVE_RETRIES: u32 = 3;

/// How long a connection without a request is kept: between two of the small lists that come every 10 s, not
/// for longer.
const IDLE: Duration = Duration::from_secs(30);

/// How many connections without a request are kept: a list of each kind may just have ended.
const IDLE_CONNECTIONS: usize = 4;

/// A client of `config`; nothing is sent. Has to run within a runtime; may block (files, exec plugins).
pub(super) fn client(config: &Config, transport: &Transport) -> Result<kube::Client, kube::Error> {
    match transport {
        Transport::Tcp => {
            let mut tcp = HttpConnector::new();
            tcp.enforce_http(false);
            tcp.set_nodelay(true);
            tcp.set_connect_timeout(Some(deadline::TCP));
            tcp.set_keepalive(Some(KEEPALIVE));
            tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
            tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
            secured(config, tcp)
        }
        Transport::Memory(dial) => secured(config, MemoryConnector(dial.clone())),
    }
}

/// What makes connections: TCP or in memory, with TLS or without.
trait Connector: Makes<Response: Connection + Read + Write + Send + Unpin + 'static> {}

impl<C: Makes<Response: Connection + Read + Write + Send + Unpin + 'static>> Connector for C {}

/// A service that can be shared, whatever it makes.
trait Makes: Service<Uri, Future: Send + 'static, Error: Into<BoxError>> + Clone + Send + Sync + 'static {}

impl<C> Makes for C where
    C: Service<Uri, Future: Send + 'static, Error: Into<BoxError>> + Clone + Send + Sync + 'static
{
}

/// With TLS where the address asks for it. Without, no certificates are looked for.
fn secured(config: &Config, connector: impl Connector) -> Result<kube::Client, kube::Error> {
    match config.cluster_url.scheme_str() {
        Some("https") => assembled(config, config.rustls_https_connector_with_connector(connector)?),
        _ => assembled(config, connector),
    }
}

/// Everything above the connections.
fn assembled(config: &Config, connector: impl Connector) -> Result<kube::Client, kube::Error> {
    let http = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .build(Timely(connector));
    let stack = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service::<legacy::Client<_, Body>>(http);
    Ok(ClientBuilder::new(stack, &*config.default_namespace).build())
}

/// Connects within [`deadline::CONNECT`]: names, TCP and TLS together.
#[derive(Clone)]
struct Timely<C>(C);

impl<C> Service<Uri> for Timely<C>
where
    C: Service<Uri>,
    C::Future: Send + 'static,
    C::Error: Into<BoxError>,
    C::Response: 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<C::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = self.0.call(to);
        Box::pin(async move {
            match tokio::time::timeout(deadline::CONNECT, connecting).await {
                Ok(connected) => connected.map_err(Into::into),
                Err(_) => Err(format!("no connection within {:?}", deadline::CONNECT).into()),
            }
        })
    }
}
