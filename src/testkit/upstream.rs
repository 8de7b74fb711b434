//! A scriptable upstream: a DNS server on loopback that answers from a few lines of text, misbehaves by name,
//! and remembers every query it saw.

mod authority;
mod reply;
mod zone;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use self::reply::reply;
use self::zone::Zone;
use crate::forward::Transport;

/// Ports tried until one is free for UDP and TCP both.
const PORT_TRIES: usize = 64;

/// What happens to the queries for a name.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// They are answered from the zone.
    Answer,
    /// They get no reply.
    Silent,
    /// They are answered after this time.
    Delay(Duration),
    /// They get this code and no records.
    Rcode(ResponseCode),
    /// They get NXDOMAIN with an SOA.
    NxDomain,
    /// Over UDP they get TC and no records, over TCP the answer.
    TruncateUdp,
    /// Over UDP the size that the query takes is ignored.
    IgnoreSize,
    /// Forged replies with a wrong id and NOTIMP come first, this many, then the answer.
    WrongIds(u16),
    /// A copy of the query comes first, then the answer.
    EchoFirst,
    /// The reply names another question.
    WrongQuestion,
    /// Over TCP the connection is closed without a reply.
    CloseTcp,
    /// Over TCP the connection is closed in the middle of the reply.
    HalfTcp,
    /// Over TCP the reply comes byte by byte, with this pause before each.
    DribbleTcp(Duration),
    /// Over UDP the reply comes from another port.
    OtherPort,
    /// They get these bytes, with the first two replaced by the query's id.
    Raw(Vec<u8>),
}

/// A query that a fake upstream saw.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The name, as it was asked for, with the final dot.
    pub name: String,
    /// The type.
    pub kind: RecordType,
    /// How it came.
    pub transport: Transport,
    /// Its id.
    pub id: u16,
    /// Where it came from.
    pub source: SocketAddr,
    /// The message.
    pub raw: Bytes,
}

/// What names that are neither scripted nor in the zone get.
#[derive(Clone, Copy)]
enum Mode {
    NxDomain,
    Refuse,
    Authority,
}

/// What the upstream does, and what it saw.
struct State {
    zone: Zone,
    mode: Mode,
    /// For names that are not in `by_name`.
    for_all: Behaviour,
    /// By name, in lower case with the final dot.
    by_name: HashMap<String, Behaviour>,
    seen: Vec<Seen>,
}

/// A fake upstream, over UDP and TCP on the same port; it ends when it is dropped.
///
/// Names without a record get NXDOMAIN with `. 900 IN SOA stub. host.stub. 1 60 60 60 60`, names without a
/// record of the type the same SOA with NOERROR. RA is set, AA is not.
pub struct FakeUpstream {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
    /// Aborted when dropped.
    tasks: JoinSet<()>,
}

impl FakeUpstream {
    /// Starts one on a free port of 127.0.0.1; `zone` has lines of `owner ttl [IN] type rdata`.
    pub async fn start(zone: &str) -> Self {
        for _ in 0..PORT_TRIES {
            // The port is free for TCP; for UDP somebody may have it.
            if let Ok(started) = Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), zone).await {
                return started;
            }
        }
        unreachable!("no port is free for UDP and TCP both")
    }

    /// Starts one at `addr`, e.g. where another one was stopped.
    ///
    /// # Errors
    ///
    /// The port is in use.
    pub async fn start_at(addr: SocketAddr, zone: &str) -> io::Result<Self> {
        let tcp = TcpListener::bind(addr).await?;
        let addr = tcp.local_addr()?;
        let udp = UdpSocket::bind(addr).await?;
        let stranger = UdpSocket::bind((addr.ip(), 0)).await?;
        let state = Arc::new(Mutex::new(State {
            zone: Zone::parse(zone),
            mode: Mode::NxDomain,
            for_all: Behaviour::Answer,
            by_name: HashMap::new(),
            seen: Vec::new(),
        }));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(state.clone(), Arc::new(Sockets { udp, stranger })));
        tasks.spawn(serve_tcp(state.clone(), tcp));
        Ok(Self { addr, state, tasks })
    }

    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on queries for `name` get this; name in any letter case, with the final dot.
    #[must_use]
    pub fn on(self, name: &str, behaviour: Behaviour) -> Self {
        self.set(name, behaviour);
        self
    }

    /// As [`FakeUpstream::on`], while it runs.
    pub fn set(&self, name: &str, behaviour: Behaviour) {
        lock(&self.state).by_name.insert(name.to_ascii_lowercase(), behaviour);
    }

    /// From now on all names that have no behaviour of their own get this.
    pub fn set_all(&self, behaviour: Behaviour) {
        lock(&self.state).for_all = behaviour;
    }

    /// From now on names that are not in the zone get REFUSED.
    pub fn refuse_unknown(&self) {
        lock(&self.state).mode = Mode::Refuse;
    }

    /// From now on it is the authority for the zones whose SOA records it has: AA is set, the zone's NS records
    /// and the addresses of hosts come with records, its SOA with negative answers; other names get REFUSED.
    pub fn be_authority(&self) {
        lock(&self.state).mode = Mode::Authority;
    }

    /// Every query so far, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.state).seen.clone()
    }

    /// How many queries came for `name`, over any transport.
    pub fn count(&self, name: &str) -> usize {
        lock(&self.state).seen.iter().filter(|seen| seen.name.eq_ignore_ascii_case(name)).count()
    }

    /// How many queries came.
    pub fn total(&self) -> usize {
        lock(&self.state).seen.len()
    }

    /// Forgets the queries so far.
    pub fn forget(&self) {
        lock(&self.state).seen.clear();
    }

    /// Stops it and waits until its port is closed.
    pub async fn stop(mut self) -> SocketAddr {
        self.tasks.shutdown().await;
        self.addr
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The UDP sockets of a fake upstream.
struct Sockets {
    /// On its port.
    udp: UdpSocket,
    /// On another port.
    stranger: UdpSocket,
}

/// A query with what is to be done to it.
struct Task {
    query: Message,
    raw: Bytes,
    behaviour: Behaviour,
    /// The reply, if there is one.
    reply: Vec<u8>,
}

/// Records a query and decides on it; `None` for what is no query.
fn take(state: &Mutex<State>, raw: &[u8], source: SocketAddr, transport: Transport) -> Option<Task> {
    let query = Message::from_vec(raw).ok()?;
    let question = query.queries.first()?;
    let name = question.name().to_ascii();
    let mut state = lock(state);
    let behaviour = state.by_name.get(&name.to_ascii_lowercase()).unwrap_or(&state.for_all).clone();
    let raw = Bytes::copy_from_slice(raw);
    let kind = question.query_type();
    state.seen.push(Seen { name, kind, transport, id: query.metadata.id, source, raw: raw.clone() });
    let mut reply = match &behaviour {
        Behaviour::Raw(bytes) => bytes.clone(),
        _ => reply(&state.zone, state.mode, &behaviour, &query, transport),
    };
    set_id(&mut reply, query.metadata.id);
    Some(Task { query, raw, behaviour, reply })
}

fn set_id(message: &mut [u8], id: u16) {
    if let Some(field) = message.get_mut(..2) {
        field.copy_from_slice(&id.to_be_bytes());
    }
}

/// The reply with another id, and NOTIMP so that it shows when somebody takes it.
fn forged(reply: &[u8], id: u16) -> Vec<u8> {
    let mut forged = reply.to_vec();
    set_id(&mut forged, id);
    if let Some(flags) = forged.get_mut(3) {
        *flags = *flags & 0xf0 | 4;
    }
    forged
}

async fn serve_udp(state: Arc<Mutex<State>>, sockets: Arc<Sockets>) {
    let mut replies = JoinSet::new();
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        tokio::select! {
            // An error is an ICMP message of an earlier reply: nothing to do with the next query.
            received = sockets.udp.recv_from(&mut buffer) => if let Ok((length, source)) = received
                && let Some(task) = take(&state, &buffer[..length], source, Transport::Udp)
            {
                replies.spawn(reply_udp(sockets.clone(), task, source));
            },
            Some(_) = replies.join_next() => {}
        }
    }
}

async fn reply_udp(sockets: Arc<Sockets>, task: Task, to: SocketAddr) {
    let Task { query, raw, behaviour, reply } = task;
    let mut from = &sockets.udp;
    match behaviour {
        Behaviour::Silent => return,
        Behaviour::Delay(time) => tokio::time::sleep(time).await,
        Behaviour::OtherPort => from = &sockets.stranger,
        Behaviour::EchoFirst => send(from, &raw, to).await,
        Behaviour::WrongIds(count) => {
            for i in 1..=count {
                send(from, &forged(&reply, query.metadata.id.wrapping_add(i)), to).await;
            }
        }
        _ => {}
    }
    send(from, &reply, to).await;
}

async fn send(socket: &UdpSocket, message: &[u8], to: SocketAddr) {
    // Who asked may be gone already; that is what some tests are about.
    let _ = socket.send_to(message, to).await;
}

async fn serve_tcp(state: Arc<Mutex<State>>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, source)) = listener.accept() => {
                let state = state.clone();
                connections.spawn(async move {
                    // Ends with an error when the other side leaves.
                    let _ = serve_connection(&state, stream, source).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(state: &Mutex<State>, mut stream: TcpStream, source: SocketAddr) -> io::Result<()> {
    loop {
        let mut raw = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut raw).await?;
        let Some(task) = take(state, &raw, source, Transport::Tcp) else { return Ok(()) };
        let length = u16::try_from(task.reply.len()).unwrap_or(u16::MAX);
        let framed = [&length.to_be_bytes()[..], &task.reply].concat();
        match task.behaviour {
            Behaviour::Silent => continue,
            Behaviour::CloseTcp => return Ok(()),
            Behaviour::HalfTcp => {
                stream.write_all(&framed[..framed.len() / 2]).await?;
                return Ok(());
            }
            Behaviour::Delay(time) => tokio::time::sleep(time).await,
            Behaviour::DribbleTcp(pause) => {
                for byte in framed {
                    tokio::time::sleep(pause).await;
                    stream.write_u8(byte).await?;
                }
                continue;
            }
            Behaviour::WrongIds(count) => {
                for i in 1..=count {
                    stream.write_all(&framed[..2]).await?;
                    stream.write_all(&forged(&task.reply, task.query.metadata.id.wrapping_add(i))).await?;
                }
            }
            _ => {}
        }
        stream.write_all(&framed).await?;
    }
}
