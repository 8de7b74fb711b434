//! How connections to the API server are made: over the network, or, for tests in paused time, in memory.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tower::Service;

/// Makes one connection in memory.
pub type Dial = Arc<dyn Fn() -> BoxFuture<'static, io::Result<DuplexStream>> + Send + Sync>;

/// How connections are made.
#[derive(Clone)]
pub enum Transport {
    /// TCP, with keepalive.
    Tcp,
    /// To a server in this process. TLS and HTTP above it are the same.
    Memory(Dial),
}

/// Makes connections in memory, whatever address is asked for.
#[derive(Clone)]
pub(super) struct MemoryConnector(pub(super) Dial);

impl Service<http::Uri> for MemoryConnector {
    type Response = TokioIo<InMemory>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<InMemory>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let dialled = (self.0)();
        Box::pin(async move { Ok(TokioIo::new(InMemory(dialled.await?))) })
    }
}

/// A connection in memory.
pub(super) struct InMemory(DuplexStream);

impl Connection for InMemory {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for InMemory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for InMemory {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
