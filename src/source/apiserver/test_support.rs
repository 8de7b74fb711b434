//! For tests: a server in memory that answers each request with what a script says, and recorded answers.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsAcceptor;

use super::access::{Access, Limits, Place};
use super::client::Client;
use super::transport::Transport;
use crate::ops::metrics::Metrics;

/// What becomes of a connection after an answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    /// The next request is read.
    KeepAlive,
    /// It is closed.
    Close,
    /// Nothing more comes.
    Hang,
    /// This chunk comes again and again, after as many seconds each.
    Drip(&'static [u8], u64),
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    /// What is sent, as it is.
    pub(super) bytes: Vec<u8>,
    /// What comes then.
    pub(super) then: Then,
}

impl Reply {
    /// With a body of known length.
    pub(super) fn new(status: &str, headers: &str, body: &str) -> Self {
        let text = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len());
        Self { bytes: text.into(), then: Then::KeepAlive }
    }

    /// 200, in chunks of `size` bytes.
    pub(super) fn chunked(body: &[u8], size: usize) -> Self {
        let mut reply = Self::open(body, size);
        reply.bytes.extend_from_slice(b"0\r\n\r\n");
        reply.then = Then::KeepAlive;
        reply
    }

    /// The same without its end.
    pub(super) fn open(body: &[u8], size: usize) -> Self {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        Self { bytes: [head, chunked(body, size)].concat(), then: Then::Hang }
    }

    /// No answer at all.
    pub(super) fn hang() -> Self {
        Self { bytes: vec![], then: Then::Hang }
    }

    /// With another end.
    pub(super) fn then(mut self, then: Then) -> Self {
        self.then = then;
        self
    }
}

/// `body` in chunks of `size` bytes, without the last one.
fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in body.chunks(size) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// A server; all clones are the same one.
#[derive(Clone, Default)]
pub(super) struct Server(Arc<Mutex<Script>>);

/// What a server does and has done.
#[derive(Default)]
struct Script {
    /// The answers to come; after the last one nobody answers.
    replies: VecDeque<Reply>,
    /// The heads of the requests so far.
    heads: Vec<String>,
    /// With it, connections are over TLS.
    tls: Option<TlsAcceptor>,
}

impl Server {
    pub(super) fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        let server = Self::default();
        server.script(replies);
        server
    }

    /// Adds answers.
    pub(super) fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        self.0.lock().unwrap().replies.extend(replies);
    }

    /// Presents this certificate from now on.
    pub(super) fn secure(&self, tls: TlsAcceptor) {
        self.0.lock().unwrap().tls = Some(tls);
    }

    /// The heads of the requests so far.
    pub(super) fn heads(&self) -> Vec<String> {
        self.0.lock().unwrap().heads.clone()
    }

    /// Their targets.
    pub(super) fn targets(&self) -> Vec<String> {
        self.heads().iter().map(|head| head.split(' ').nth(1).unwrap().to_owned()).collect()
    }

    /// A client of it, with plain HTTP and these limits.
    pub(super) fn client(&self, limits: Limits) -> Client {
        let place = Place::Endpoint { url: "http://api.test:8080".to_owned(), tls: None };
        self.client_at(Access { place, limits })
    }

    pub(super) fn client_at(&self, access: Access) -> Client {
        Client::new(access, self.transport(), Arc::new(Metrics::new()))
    }

    pub(super) fn transport(&self) -> Transport {
        let server = self.clone();
        Transport::Memory(Arc::new(move || {
            let (ours, theirs) = tokio::io::duplex(64 << 10);
            tokio::spawn(server.clone().accept(theirs));
            std::future::ready(Ok(ours)).boxed()
        }))
    }

    /// Answers on a port of loopback as well; where.
    pub(super) async fn listen(&self) -> std::net::SocketAddr {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (address, server) = (listener.local_addr().unwrap(), self.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(server.clone().serve(stream));
            }
        });
        address
    }

    async fn accept(self, stream: DuplexStream) -> io::Result<()> {
        let tls = self.0.lock().unwrap().tls.clone();
        match tls {
            None => self.serve(stream).await,
            Some(tls) => self.serve(tls.accept(stream).await?).await,
        }
    }

    async fn serve(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        loop {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await?);
            }
            let reply = {
                let mut script = self.0.lock().unwrap();
                script.heads.push(String::from_utf8(head).unwrap());
                script.replies.pop_front().unwrap_or_else(Reply::hang)
            };
            stream.write_all(&reply.bytes).await?;
            stream.flush().await?;
            match reply.then {
                Then::KeepAlive => {}
                Then::Close => return stream.shutdown().await,
                Then::Hang => std::future::pending().await,
                Then::Drip(chunk, seconds) => loop {
                    tokio::time::sleep(Duration::from_secs(seconds)).await;
                    stream.write_all(&chunked(chunk, chunk.len())).await?;
                },
            }
        }
    }
}

/// The body of an answer that a real API server has given, by the name of its recording.
pub(super) fn recorded(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/standin/recordings");
    let text = std::fs::read(folder.join(format!("{name}.http"))).unwrap();
    // The request's line, an empty line, the head of the answer, an empty line, the body.
    let text = String::from_utf8(text).unwrap().replace("\r\n", "\n");
    let mut parts = text.splitn(3, "\n\n");
    parts.nth(2).unwrap_or_default().as_bytes().to_vec()
}
