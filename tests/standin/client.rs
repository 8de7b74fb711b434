//! A client that sees every byte: TLS, then HTTP/1.1 by hand, chunks as they are cut.

use std::sync::Arc;
use std::time::Duration;

use outlast::drill::standin::Standin;
use outlast::drill::standin::access::USER;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By its length or the last chunk.
    Clean,
    /// The connection broke.
    Broken,
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    /// `HTTP/1.1 200 OK`
    pub(crate) status: String,
    /// In their order, as they are spelled.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, as it was cut.
    pub(crate) chunks: Vec<Vec<u8>>,
    /// How it ended.
    pub(crate) end: End,
}

impl Answer {
    /// The number in the status line.
    pub(crate) fn code(&self) -> u16 {
        self.status.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn body(&self) -> String {
        String::from_utf8(self.chunks.concat()).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.chunks.concat()).unwrap()
    }

    /// `namespace/name` of a list's items, in their order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.json()["items"].as_array().unwrap().iter().map(name_of).collect()
    }

    /// The resourceVersion of a list.
    pub(crate) fn version(&self) -> u64 {
        self.json()["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
    }

    /// Events of a watch in short: `ADDED shop/web 7`.
    pub(crate) fn events(&self) -> Vec<String> {
        self.chunks.iter().map(|chunk| short(chunk)).collect()
    }
}

fn name_of(object: &serde_json::Value) -> String {
    let metadata = &object["metadata"];
    match metadata["namespace"].as_str() {
        Some(namespace) => format!("{namespace}/{}", metadata["name"].as_str().unwrap()),
        None => metadata["name"].as_str().unwrap_or("-").to_owned(),
    }
}

/// `ADDED shop/web 7`, `BOOKMARK - 9`, `BOOKMARK end 9`, `ERROR 410`.
pub(crate) fn short(line: &[u8]) -> String {
    let event: serde_json::Value = serde_json::from_slice(line).unwrap();
    let (what, object) = (event["type"].as_str().unwrap(), &event["object"]);
    if what == "ERROR" {
        return format!("ERROR {}", object["code"]);
    }
    let version = object["metadata"]["resourceVersion"].as_str().unwrap();
    let is_end = object["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true";
    let name = if is_end && what == "BOOKMARK" { "end".to_owned() } else { name_of(object) };
    format!("{what} {name} {version}")
}

/// Any transport.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// One connection.
pub(crate) struct Connection {
    stream: TlsStream<Box<dyn Io>>,
    /// What was read and not yet taken.
    read: Vec<u8>,
}

/// An answer whose body is still coming.
pub(crate) struct Stream {
    connection: Connection,
    pub(crate) status: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Connection {
    /// In memory.
    pub(crate) async fn dial(standin: &Standin) -> Self {
        let io = standin.dial()().await.unwrap();
        Self::over(Box::new(io), standin.ca_pem()).await.unwrap()
    }

    /// Over the network.
    pub(crate) async fn tcp(standin: &Standin) -> std::io::Result<Self> {
        let io = TcpStream::connect(standin.address().unwrap()).await?;
        Self::over(Box::new(io), standin.ca_pem()).await
    }

    pub(crate) async fn over(io: Box<dyn Io>, ca_pem: &str) -> std::io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, io).await?;
        Ok(Self { stream, read: Vec::new() })
    }

    /// Sends a request and reads the head of its answer.
    pub(crate) async fn open(mut self, request: &str, token: Option<&str>) -> std::io::Result<Stream> {
        let authorization = token.map(|t| format!("Authorization: Bearer {t}\r\n")).unwrap_or_default();
        let head = format!("{request} HTTP/1.1\r\nHost: x\r\nUser-Agent: test/1\r\n{authorization}\r\n");
        self.stream.write_all(head.as_bytes()).await?;
        self.stream.flush().await?;
        let head = String::from_utf8(self.until(b"\r\n\r\n").await?).unwrap();
        let mut lines = head.trim_end().split("\r\n").map(str::to_owned);
        let status = lines.next().unwrap();
        let header = |line: String| line.split_once(": ").map(|(n, v)| (n.to_owned(), v.to_owned())).unwrap();
        Ok(Stream { status, headers: lines.map(header).collect(), connection: self })
    }

    /// Everything up to and with `mark`.
    async fn until(&mut self, mark: &[u8]) -> std::io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.read.windows(mark.len()).position(|window| window == mark) {
                return Ok(self.read.drain(..at + mark.len()).collect());
            }
            self.more().await?;
        }
    }

    async fn exactly(&mut self, size: usize) -> std::io::Result<Vec<u8>> {
        while self.read.len() < size {
            self.more().await?;
        }
        Ok(self.read.drain(..size).collect())
    }

    async fn more(&mut self) -> std::io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        match self.stream.read(&mut buffer).await? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => {
                self.read.extend_from_slice(&buffer[..n]);
                Ok(())
            }
        }
    }
}

impl Stream {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The next chunk; `None` at the clean end.
    pub(crate) async fn chunk(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let size = self.connection.until(b"\r\n").await?;
        let size = usize::from_str_radix(std::str::from_utf8(&size).unwrap().trim_end(), 16).unwrap();
        let mut chunk = self.connection.exactly(size + 2).await?;
        assert!(chunk.ends_with(b"\r\n"), "a chunk has the size that it says");
        chunk.truncate(size);
        Ok(Some(chunk).filter(|chunk| !chunk.is_empty()))
    }

    /// The next event in short; `end` at the clean end, `broken` at another, `-` if none comes within `patience`.
    pub(crate) async fn event_within(&mut self, patience: Duration) -> String {
        match timeout(patience, self.chunk()).await {
            Err(_) => "-".to_owned(),
            Ok(Ok(Some(chunk))) => short(&chunk),
            Ok(Ok(None)) => "end".to_owned(),
            Ok(Err(_)) => "broken".to_owned(),
        }
    }

    /// The next event in short, within ten seconds.
    pub(crate) async fn event(&mut self) -> String {
        self.event_within(Duration::from_secs(10)).await
    }

    /// Everything until the end.
    pub(crate) async fn finish(self) -> Answer {
        self.finish_and_keep().await.0
    }

    /// The same, and the connection for another request.
    pub(crate) async fn finish_and_keep(mut self) -> (Answer, Connection) {
        let mut chunks = Vec::new();
        let length = self.header("Content-Length").map(|length| length.parse::<usize>().unwrap());
        let end = match length {
            Some(length) => match self.connection.exactly(length).await {
                Ok(body) => {
                    chunks.push(body);
                    End::Clean
                }
                Err(_) => End::Broken,
            },
            None => loop {
                match self.chunk().await {
                    Ok(Some(chunk)) => chunks.push(chunk),
                    Ok(None) => break End::Clean,
                    Err(_) => break End::Broken,
                }
            },
        };
        if end == End::Broken {
            // What came of the chunk that broke.
            chunks.push(std::mem::take(&mut self.connection.read));
        }
        (Answer { status: self.status, headers: self.headers, chunks, end }, self.connection)
    }
}

/// One request in memory, with the default user's token, and its whole answer.
pub(crate) async fn ask(standin: &Standin, target: &str) -> Answer {
    ask_as(standin, target, standin.token(USER).as_deref()).await
}

/// The same with a token of one's own, or none.
pub(crate) async fn ask_as(standin: &Standin, target: &str, token: Option<&str>) -> Answer {
    let request = if target.contains(' ') { target.to_owned() } else { format!("GET {target}") };
    Connection::dial(standin).await.open(&request, token).await.unwrap().finish().await
}

/// Opens a watch in memory, with the default user's token.
pub(crate) async fn open(standin: &Standin, target: &str) -> Stream {
    let token = standin.token(USER);
    Connection::dial(standin).await.open(&format!("GET {target}"), token.as_deref()).await.unwrap()
}

/// How long something takes, in the runtime's time.
pub(crate) async fn timed<T>(what: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    let result = what.await;
    (result, start.elapsed())
}
