//! A scriptable upstream: a DNS server on loopback that answers from a few lines of text, misbehaves by name,
//! and remembers every query it saw.

mod authority;
mod connection;
mod reply;
pub mod tls;
mod zone;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

use self::connection::{Conduct, serve_tcp};
use self::reply::reply;
use self::tls::Identity;
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
    /// They get this code, no records, and an Extended DNS Error (RFC 8914) if they have an OPT record.
    Ede(ResponseCode, u16, &'static str),
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
    /// What becomes of connections that are accepted from now on.
    conduct: Conduct,
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
        Self::open(addr, zone, None).await
    }

    /// Starts one on a free port of 127.0.0.1 that speaks TLS there instead of TCP, as `identity` says.
    pub async fn start_tls(zone: &str, identity: &Identity) -> Self {
        for _ in 0..PORT_TRIES {
            let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            if let Ok(started) = Self::open(addr, zone, Some(identity)).await {
                return started;
            }
        }
        unreachable!("no port is free for UDP and TCP both")
    }

    async fn open(addr: SocketAddr, zone: &str, identity: Option<&Identity>) -> io::Result<Self> {
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
            conduct: Conduct::default(),
        }));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(state.clone(), Arc::new(Sockets { udp, stranger })));
        tasks.spawn(serve_tcp(state.clone(), tcp, identity.map(Identity::acceptor)));
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

    /// From now on it has these records, too.
    pub fn add(&self, zone: &str) {
        lock(&self.state).zone.add(zone);
    }

    /// From now on it is the authority for the zones whose SOA records it has: AA is set, the zone's NS records
    /// and the addresses of hosts come with records, its SOA with negative answers; other names get REFUSED.
    pub fn be_authority(&self) {
        lock(&self.state).mode = Mode::Authority;
    }

    /// From now on queries of one connection are answered in their order; until then each when it is ready.
    pub fn answer_in_order(&self) {
        lock(&self.state).conduct.in_order = true;
    }

    /// Closes the connections that are open.
    pub fn close_connections(&self) {
        lock(&self.state).conduct.close();
    }

    /// The connections that are open stay so, and nothing comes over them any more; new ones are answered.
    pub fn black_hole_connections(&self) {
        lock(&self.state).conduct.mute();
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        lock(&self.state).conduct.accepted
    }

    /// How many of them resumed a TLS session.
    pub fn resumed(&self) -> usize {
        lock(&self.state).conduct.resumed
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
