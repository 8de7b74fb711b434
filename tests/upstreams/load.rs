//! The clients: 2,000 queries a second for names in use, sent at their times whether or not there are answers, and
//! some for names that nobody has asked for before.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hickory_proto::rr::RData;
use outlast::testkit::client::{Answer, Query};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// Names in use.
pub(super) const WARM: usize = 200;

/// Between two queries for names in use: 2,000 a second.
const PACE: Duration = Duration::from_micros(500);

/// One query in so many is for a new name, besides: 20 a second.
const COLD_EVERY: u64 = 100;

/// Sockets of the clients, as the kernel spreads over a node's sockets by port.
const SOCKETS: usize = 4;

/// How long a client waits: resolvers of hosts do not wait longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// EDE of a stale answer (RFC 8914 §4.4).
const STALE: u16 = 3;

/// The zone of names in use.
pub(super) fn warm_name(number: usize) -> String {
    format!("w{number}.warm.example.")
}

/// The address of a name in use, first and after it has been changed.
pub(super) fn warm_address(number: usize, changed: bool) -> Ipv4Addr {
    let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
    Ipv4Addr::new(198, if changed { 19 } else { 18 }, high, low)
}

/// The zone of names of which each is asked for once; all have one address.
pub(super) const COLD: (&str, &str) = ("cold.example", "192.0.2.9");

/// What a query was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// A name in use, by its number.
    Warm(usize),
    /// One that nobody has asked for before.
    Cold,
}

/// What came of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The right address.
    Good {
        /// It is the changed one.
        changed: bool,
        /// The answer says that it is stale.
        stale: bool,
    },
    /// No reply within [`PATIENCE`].
    Silence,
    /// Anything else, in words.
    Wrong(String),
}

/// A query and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) name: Name,
    /// When it was sent, since the load began.
    pub(super) sent: Duration,
    /// How long the reply took.
    pub(super) took: Duration,
    pub(super) outcome: Outcome,
}

/// Asks all the time.
pub(super) struct Load {
    begin: Instant,
    stop: watch::Sender<bool>,
    thread: JoinHandle<Vec<Sample>>,
}

impl Load {
    /// Begins to ask this server.
    pub(super) fn start(server: SocketAddr) -> Self {
        let begin = Instant::now();
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(server, begin, stopped))
        });
        Self { begin, stop, thread }
    }

    /// How long it has been going.
    pub(super) fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Goes on for this long.
    pub(super) fn go_on(&self, time: Duration) {
        std::thread::sleep(time);
    }

    /// Asks no more, waits for what is under way, and says what came of everything.
    pub(super) fn stop(self) -> Vec<Sample> {
        self.stop.send_replace(true);
        self.thread.join().unwrap()
    }
}

/// A socket and what it waits for, by id.
struct Client {
    socket: UdpSocket,
    waiting: Mutex<HashMap<u16, (Name, Instant)>>,
}

async fn run(server: SocketAddr, begin: Instant, stopped: watch::Receiver<bool>) -> Vec<Sample> {
    let mut clients = Vec::new();
    for _ in 0..SOCKETS {
        let socket = UdpSocket::bind((server.ip(), 0)).await.unwrap();
        socket.connect(server).await.unwrap();
        clients.push(Arc::new(Client { socket, waiting: Mutex::default() }));
    }
    let mut receivers = JoinSet::new();
    for client in &clients {
        receivers.spawn(receive(client.clone(), begin, stopped.clone()));
    }
    send(&clients, stopped).await;
    let mut samples = Vec::new();
    while let Some(received) = receivers.join_next().await {
        samples.append(&mut received.unwrap());
    }
    for client in clients {
        let missing = std::mem::take(&mut *client.waiting.lock().unwrap());
        samples.extend(missing.into_values().map(|(name, at)| Sample {
            name,
            sent: at - begin,
            took: PATIENCE,
            outcome: Outcome::Silence,
        }));
    }
    samples.sort_by_key(|s| s.sent);
    samples
}

async fn send(clients: &[Arc<Client>], stopped: watch::Receiver<bool>) {
    let mut pace = interval(PACE);
    // What a slow machine has missed is asked all the same.
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut count = 0_u64;
    while !*stopped.borrow() {
        pace.tick().await;
        let number = usize::try_from(count).unwrap();
        let client = &clients[number % clients.len()];
        // Sixteen bits last for half a minute, and no query waits for that long.
        let id = u16::try_from(number / clients.len() % 0x8000).unwrap();
        let warm = number % WARM;
        ask(client, id, Name::Warm(warm), &warm_name(warm)).await;
        if count.is_multiple_of(COLD_EVERY) {
            ask(client, 0x8000 + id, Name::Cold, &format!("c{count}.{}.", COLD.0)).await;
        }
        count += 1;
    }
}

async fn ask(client: &Client, id: u16, name: Name, text: &str) {
    let query = Query::a(text).id(id).edns(1232).bytes();
    let before = client.waiting.lock().unwrap().insert(id, (name, Instant::now()));
    assert!(before.is_none_or(|(_, at)| at.elapsed() >= PATIENCE), "ids do not last");
    // A node that is not there is said here; the missing reply is what counts.
    let _ = client.socket.send(&query).await;
}

async fn receive(client: Arc<Client>, begin: Instant, mut stopped: watch::Receiver<bool>) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut buffer = vec![0; 4096];
    let end = async {
        let _ = stopped.wait_for(|stopped| *stopped).await;
        sleep(PATIENCE).await;
    };
    let mut end = std::pin::pin!(end);
    loop {
        let length = tokio::select! {
            () = &mut end => return samples,
            received = client.socket.recv(&mut buffer) => match received {
                Ok(length) if length > 2 => length,
                _ => continue,
            },
        };
        let id = u16::from_be_bytes([buffer[0], buffer[1]]);
        let Some((name, at)) = client.waiting.lock().unwrap().remove(&id) else { continue };
        let took = at.elapsed();
        let outcome = if took > PATIENCE { Outcome::Silence } else { judge(name, &buffer[..length]) };
        samples.push(Sample { name, sent: at - begin, took, outcome });
    }
}

fn judge(name: Name, reply: &[u8]) -> Outcome {
    let answer = match Answer::parse(reply.to_vec()) {
        Ok(answer) => answer,
        Err(error) => return Outcome::Wrong(error.to_string()),
    };
    let address = match &*answer.message.answers {
        [record] => match &record.data {
            RData::A(a) => Some(a.0),
            _ => None,
        },
        _ => None,
    };
    let changed = match (name, address) {
        (Name::Warm(number), Some(a)) if a == warm_address(number, false) => false,
        (Name::Warm(number), Some(a)) if a == warm_address(number, true) => true,
        (Name::Cold, Some(a)) if a.to_string() == COLD.1 => false,
        _ => {
            return Outcome::Wrong(format!(
                "{name:?} {:?} {:?} {:?}",
                answer.rcode(),
                answer.answers(),
                answer.ede()
            ));
        }
    };
    Outcome::Good { changed, stale: answer.ede().iter().any(|(code, _)| *code == STALE) }
}
