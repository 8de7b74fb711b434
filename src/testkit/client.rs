//! A small DNS client for tests: writes any query, the wrong ones too, and shows replies as text.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// How long a client waits, unless told otherwise: longer than any reply that a test expects.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The EDNS option of Extended DNS Errors (RFC 8914 §2).
const EDE: u16 = 15;

// === Queries ===

/// A query to be sent. RD is set and nothing else, unless told otherwise.
#[derive(Clone, Debug)]
pub struct Query {
    id: u16,
    name: Name,
    kind: u16,
    class: u16,
    opcode: u8,
    rd: bool,
    ad: bool,
    cd: bool,
    /// UDP payload size, if there is an OPT record.
    edns: Option<u16>,
    edns_version: u8,
    dnssec_ok: bool,
    options: Vec<(u16, Vec<u8>)>,
    /// Sent instead of all of the above.
    raw: Option<Vec<u8>>,
}

impl Query {
    /// A query of class IN for `name` (letter case is kept) and `kind`, with a random id.
    pub fn new(name: &str, kind: RecordType) -> Self {
        Self {
            id: rand::random(),
            name: parse_name(name),
            kind: kind.into(),
            class: 1,
            opcode: 0,
            rd: true,
            ad: false,
            cd: false,
            edns: None,
            edns_version: 0,
            dnssec_ok: false,
            options: Vec::new(),
            raw: None,
        }
    }

    /// A query for the IPv4 addresses of `name`.
    pub fn a(name: &str) -> Self {
        Self::new(name, RecordType::A)
    }

    /// These bytes; the first two are taken for the id.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        let id = bytes.get(..2).map_or(0, |id| u16::from_be_bytes([id[0], id[1]]));
        Self { id, raw: Some(bytes), ..Self::a(".") }
    }

    /// With this id.
    #[must_use]
    pub fn id(self, id: u16) -> Self {
        Self { id, ..self }
    }

    /// Of this class, e.g. 3 for CH.
    #[must_use]
    pub fn class(self, class: u16) -> Self {
        Self { class, ..self }
    }

    /// With this opcode, 0..=15.
    #[must_use]
    pub fn opcode(self, opcode: u8) -> Self {
        Self { opcode: opcode & 0x0f, ..self }
    }

    /// With RD set or clear.
    #[must_use]
    pub fn rd(self, rd: bool) -> Self {
        Self { rd, ..self }
    }

    /// With AD set.
    #[must_use]
    pub fn ad(self) -> Self {
        Self { ad: true, ..self }
    }

    /// With CD set.
    #[must_use]
    pub fn cd(self) -> Self {
        Self { cd: true, ..self }
    }

    /// With an OPT record that takes UDP replies of `size` bytes.
    #[must_use]
    pub fn edns(self, size: u16) -> Self {
        Self { edns: Some(size), ..self }
    }

    /// With an OPT record of this version.
    #[must_use]
    pub fn edns_version(self, edns_version: u8) -> Self {
        Self { edns_version, edns: self.edns.or(Some(1232)), ..self }
    }

    /// With DO set, in an OPT record.
    #[must_use]
    pub fn dnssec_ok(self) -> Self {
        Self { dnssec_ok: true, edns: self.edns.or(Some(1232)), ..self }
    }

    /// With this EDNS option, in an OPT record.
    #[must_use]
    pub fn option(mut self, code: u16, data: &[u8]) -> Self {
        self.options.push((code, data.to_vec()));
        Self { edns: self.edns.or(Some(1232)), ..self }
    }

    /// The message.
    pub fn bytes(&self) -> Vec<u8> {
        if let Some(raw) = &self.raw {
            return raw.clone();
        }
        let mut bytes = self.id.to_be_bytes().to_vec();
        bytes.push(self.opcode << 3 | u8::from(self.rd));
        bytes.push(u8::from(self.ad) << 5 | u8::from(self.cd) << 4);
        for count in [1, 0, 0, u16::from(self.edns.is_some())] {
            bytes.extend(count.to_be_bytes());
        }
        for label in self.name.iter() {
            bytes.push(label.len() as u8);
            bytes.extend(label);
        }
        bytes.push(0);
        bytes.extend(self.kind.to_be_bytes());
        bytes.extend(self.class.to_be_bytes());
        if let Some(size) = self.edns {
            self.write_opt(size, &mut bytes);
        }
        bytes
    }

    /// RFC 6891 §6.1.2 and §6.1.3.
    fn write_opt(&self, size: u16, bytes: &mut Vec<u8>) {
        bytes.push(0);
        bytes.extend(u16::from(RecordType::OPT).to_be_bytes());
        bytes.extend(size.to_be_bytes());
        bytes.extend([0, self.edns_version, u8::from(self.dnssec_ok) << 7, 0]);
        let length: usize = self.options.iter().map(|(_, data)| 4 + data.len()).sum();
        bytes.extend((length as u16).to_be_bytes());
        for (code, data) in &self.options {
            bytes.extend(code.to_be_bytes());
            bytes.extend((data.len() as u16).to_be_bytes());
            bytes.extend(data);
        }
    }
}

/// A name of any labels, also such as no host may have (`--1`); escapes are understood only in those of hosts.
fn parse_name(text: &str) -> Name {
    let raw = || Name::from_labels(text.trim_end_matches('.').split('.').map(str::as_bytes));
    Name::from_ascii(text).or_else(|_| raw()).expect("a test asks for a domain name")
}

// === Replies ===

/// A reply.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Decoded.
    pub message: Message,
    /// As it came.
    pub raw: Bytes,
}

impl Answer {
    /// Decodes a reply.
    ///
    /// # Errors
    ///
    /// `InvalidData` for what is no DNS message.
    pub fn parse(raw: impl Into<Bytes>) -> io::Result<Self> {
        let raw = raw.into();
        let message =
            Message::from_vec(&raw).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
        Ok(Self { message, raw })
    }

    /// Its response code, with the extended bits of an OPT record.
    pub fn rcode(&self) -> ResponseCode {
        self.message.metadata.response_code
    }

    /// The answer section as text; see [`lines`].
    pub fn answers(&self) -> Vec<String> {
        lines(&self.message.answers)
    }

    /// The authority section as text; see [`lines`].
    pub fn authorities(&self) -> Vec<String> {
        lines(&self.message.authorities)
    }

    /// The additional section as text, without OPT; see [`lines`].
    pub fn additionals(&self) -> Vec<String> {
        lines(&self.message.additionals)
    }

    /// The Extended DNS Errors: info code and extra text of each, in order.
    pub fn ede(&self) -> Vec<(u16, String)> {
        let options = self.message.edns.iter().flat_map(|edns| edns.options().as_ref());
        options
            .filter_map(|(_, option)| match option {
                EdnsOption::Unknown(EDE, data) if data.len() >= 2 => {
                    let (code, text) = data.split_at(2);
                    let code = u16::from_be_bytes([code[0], code[1]]);
                    Some((code, String::from_utf8_lossy(text).into_owned()))
                }
                _ => None,
            })
            .collect()
    }
}

/// Records as text, one `owner TTL class type rdata` each, in their order and letter case; the strings of TXT and
/// HINFO records are quoted as in a zone file.
pub fn lines(records: &[Record]) -> Vec<String> {
    records.iter().map(line).collect()
}

fn line(record: &Record) -> String {
    let strings: Vec<&[u8]> = match &record.data {
        RData::TXT(txt) => txt.txt_data.iter().map(AsRef::as_ref).collect(),
        RData::HINFO(hinfo) => vec![&hinfo.cpu, &hinfo.os],
        _ => return record.to_string(),
    };
    let quoted: Vec<String> = strings.iter().map(|s| format!("\"{}\"", s.escape_ascii())).collect();
    let Record { name, ttl, dns_class: class, .. } = record;
    format!("{name} {ttl} {class} {} {}", record.record_type(), quoted.join(" "))
}

// === Asking ===

/// A client of one server.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    server: SocketAddr,
    timeout: Duration,
}

impl Client {
    /// A client that waits up to 10 s.
    pub const fn new(server: SocketAddr) -> Self {
        Self { server, timeout: DEFAULT_TIMEOUT }
    }

    /// With another time to wait.
    #[must_use]
    pub const fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Asks over UDP, and over TCP if the reply is truncated.
    ///
    /// # Errors
    ///
    /// As [`Client::udp`] and [`Client::tcp`].
    pub async fn ask(&self, query: &Query) -> io::Result<Answer> {
        let answer = self.udp(query).await?;
        if answer.message.metadata.truncation { self.tcp(query).await } else { Ok(answer) }
    }

    /// Asks over UDP, from a port of its own. Replies with another id are skipped.
    ///
    /// # Errors
    ///
    /// `TimedOut` without a reply in time, `ConnectionRefused` when nobody listens, `InvalidData` for a reply
    /// that cannot be decoded.
    pub async fn udp(&self, query: &Query) -> io::Result<Answer> {
        let any = match self.server {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(self.server).await?;
        socket.send(&query.bytes()).await?;
        self.in_time(async {
            let mut buffer = vec![0; usize::from(u16::MAX)];
            loop {
                let length = socket.recv(&mut buffer).await?;
                if buffer[..length].starts_with(&query.id.to_be_bytes()) {
                    return Answer::parse(buffer[..length].to_vec());
                }
            }
        })
        .await
    }

    /// Asks over TCP, over a connection of its own.
    ///
    /// # Errors
    ///
    /// As [`Client::udp`], and `UnexpectedEof` when the server closes the connection.
    pub async fn tcp(&self, query: &Query) -> io::Result<Answer> {
        let mut connection = self.connect().await?;
        connection.send(query).await?;
        connection.receive().await
    }

    /// Opens a TCP connection for any number of queries.
    ///
    /// # Errors
    ///
    /// As [`Client::udp`].
    pub async fn connect(&self) -> io::Result<Connection> {
        let stream = self.in_time(TcpStream::connect(self.server)).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, client: *self })
    }

    async fn in_time<T>(&self, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        timeout(self.timeout, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// A TCP connection to a server.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    client: Client,
}

impl Connection {
    /// Sends a query without waiting for a reply.
    ///
    /// # Errors
    ///
    /// The connection is broken, or stuck for longer than the client waits.
    pub async fn send(&mut self, query: &Query) -> io::Result<()> {
        let message = query.bytes();
        let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.send_bytes(&[&length.to_be_bytes()[..], &message].concat()).await
    }

    /// Sends any bytes: half a length, a length without a message.
    ///
    /// # Errors
    ///
    /// As [`Connection::send`].
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Self { stream, client } = self;
        client.in_time(stream.write_all(bytes)).await
    }

    /// Waits for the next reply, whichever query it belongs to.
    ///
    /// # Errors
    ///
    /// As [`Client::tcp`].
    pub async fn receive(&mut self) -> io::Result<Answer> {
        let Self { stream, client } = self;
        client
            .in_time(async {
                let mut raw = vec![0; usize::from(stream.read_u16().await?)];
                stream.read_exact(&mut raw).await?;
                Answer::parse(raw)
            })
            .await
    }

    /// Sends all queries, then waits for as many replies; they are given in the order in which they came.
    ///
    /// # Errors
    ///
    /// As [`Connection::send`] and [`Connection::receive`].
    pub async fn pipeline(&mut self, queries: &[Query]) -> io::Result<Vec<Answer>> {
        for query in queries {
            self.send(query).await?;
        }
        let mut answers = Vec::with_capacity(queries.len());
        for _ in queries {
            answers.push(self.receive().await?);
        }
        Ok(answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::upstream::{Behaviour, FakeUpstream};

    #[test]
    fn queries_are_written_as_asked() {
        let query =
            Query::new("WwW.test.", RecordType::TXT).id(0x0102).class(3).opcode(2).rd(false).ad().cd();
        let message = Message::from_vec(&query.bytes()).unwrap();
        assert_eq!(
            query.bytes(),
            b"\x01\x02\x10\x30\x00\x01\x00\x00\x00\x00\x00\x00\x03WwW\x04test\x00\x00\x10\x00\x03"
        );
        assert_eq!(message.edns, None);

        let query = Query::a("x.").dnssec_ok().edns(4000).option(10, b"12345678").option(10, b"");
        let message = Message::from_vec(&query.bytes()).unwrap();
        let edns = message.edns.unwrap();
        assert_eq!((edns.max_payload(), edns.flags().dnssec_ok, edns.version()), (4000, true, 0));
        assert_eq!(edns.options().as_ref().len(), 2);

        assert_eq!(Query::a("--1.x.").bytes()[12..], *b"\x03--1\x01x\x00\x00\x01\x00\x01");
        assert_eq!(Query::raw(*b"abc").bytes(), b"abc");
    }

    #[test]
    fn extended_errors_are_read_from_the_opt_record() {
        // A query's OPT record reads like a reply's.
        let query = Query::a("x.").option(15, b"\x00\x03stale").option(3, b"id").option(15, b"\x00\x13");
        let answer = Answer::parse(query.bytes()).unwrap();
        assert_eq!(answer.ede(), [(3, "stale".to_owned()), (19, String::new())]);
    }

    #[tokio::test]
    async fn a_truncated_reply_is_fetched_over_tcp() {
        let upstream = FakeUpstream::start("big.test. 60 TXT \"two words\" x")
            .await
            .on("big.test.", Behaviour::TruncateUdp);
        let client = Client::new(upstream.addr());
        let query = Query::new("big.test.", RecordType::TXT);
        assert!(client.udp(&query).await.unwrap().message.metadata.truncation);
        let answer = client.ask(&query).await.unwrap();
        assert_eq!(answer.answers(), [r#"big.test. 60 IN TXT "two words" "x""#]);
        assert_eq!(upstream.count("BIG.test."), 3);
    }

    #[tokio::test]
    async fn queries_are_pipelined_over_one_connection() {
        let upstream = FakeUpstream::start("a.test. 60 A 192.0.2.1\nb.test. 60 A 192.0.2.2").await;
        let mut connection = Client::new(upstream.addr()).connect().await.unwrap();
        let answers = connection.pipeline(&[Query::a("a.test."), Query::a("b.test.")]).await.unwrap();
        let texts: Vec<_> = answers.iter().flat_map(Answer::answers).collect();
        assert_eq!(texts, ["a.test. 60 IN A 192.0.2.1", "b.test. 60 IN A 192.0.2.2"]);
        let seen = upstream.seen();
        assert_eq!(seen[0].source, seen[1].source);
    }

    #[tokio::test]
    async fn a_stopped_upstream_is_gone_and_can_come_back() {
        let upstream = FakeUpstream::start("").await;
        upstream.refuse_unknown();
        let client = Client::new(upstream.addr());
        assert_eq!(client.ask(&Query::a("x.")).await.unwrap().rcode(), ResponseCode::Refused);
        let addr = upstream.stop().await;
        assert_eq!(client.udp(&Query::a("x.")).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let back = FakeUpstream::start_at(addr, "x. 1 A 192.0.2.1").await.unwrap();
        assert_eq!(client.ask(&Query::a("x.")).await.unwrap().answers(), ["x. 1 IN A 192.0.2.1"]);
        drop(back);
    }
}
