//! Clients that never ask twice: each query comes from a new socket, at its own time whether the ones before were
//! answered or not, and is answered or lost.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hickory_proto::rr::rdata::opt::EdnsCode;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use outlast::ops::pulse::Part;
use outlast::testkit::client::{Answer, Client as Dns, Query};
use tokio::task::JoinSet;
use tokio::time::{interval_at, timeout};

use super::machine::Machine;
use super::world::inside;

/// What they ask for: everybody who is asked knows it.
const NAME: &str = "kube-dns.kube-system.svc.cluster.local.";

/// The EDNS option NSID (RFC 5001): who answered.
pub(super) const NSID: u16 = 3;

/// How long a client waits before its query is lost.
const LIMIT: Duration = Duration::from_secs(2);

/// How long a client goes on asking over one connection: only a failure waits for it.
const LONGEST: Duration = Duration::from_secs(20);

/// The least part of its queries that a client has to have sent: otherwise nothing was measured.
const LEAST_LOAD: f64 = 0.9;

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The program on the node.
    Node,
    /// The cluster's own DNS.
    Cluster,
}

impl By {
    /// Whether it is the cluster's own DNS.
    pub(super) fn is_cluster(&self) -> bool {
        *self == Self::Cluster
    }

    /// Who has given this answer; `None` if it is not the right one.
    pub(super) fn of(answer: &Answer) -> Option<Self> {
        let nsid = answer.message.edns.as_ref()?.option(EdnsCode::NSID)?;
        match Vec::try_from(nsid).ok()?.as_slice() {
            _ if answer.answers().len() != 1 => None,
            b"node" => Some(Self::Node),
            b"cluster" => Some(Self::Cluster),
            _ => None,
        }
    }
}

/// Somebody who asks.
#[derive(Clone, Copy)]
pub(super) struct Client<'a> {
    /// Where it is, in words.
    pub(super) place: &'static str,
    /// Where it is.
    machine: &'a Machine,
    /// Whom it asks.
    pub(super) server: SocketAddr,
    /// How.
    pub(super) part: Part,
}

impl<'a> Client<'a> {
    /// One on this machine.
    pub(super) const fn new(
        place: &'static str,
        machine: &'a Machine,
        server: SocketAddr,
        part: Part,
    ) -> Self {
        Self { place, machine, server, part }
    }

    /// In a line of a table.
    pub(super) fn name(&self) -> String {
        format!("{:5} {:13} {}", self.place, self.server.ip().to_string(), self.part.as_str())
    }
}

/// One query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// When it was sent.
    pub(super) at: Instant,
    /// Who has answered it, if anybody did in time.
    pub(super) by: Option<By>,
}

/// What a client has sent, in that order.
pub(super) struct Heard<'a> {
    /// The client.
    pub(super) client: Client<'a>,
    /// Its queries.
    pub(super) sent: Vec<Sent>,
    /// Between two of them.
    every: Duration,
}

impl Heard<'_> {
    /// The queries that were sent from `from` on and before `to`.
    pub(super) fn between(&self, from: Instant, to: Instant) -> impl Iterator<Item = &Sent> {
        self.sent.iter().filter(move |sent| (from..to).contains(&sent.at))
    }

    /// For how long nobody answered, in this time: from the first query that was lost until the one after the last.
    pub(super) fn gap(&self, from: Instant, to: Instant) -> Duration {
        let mut lost = self.between(from, to).filter(|sent| sent.by.is_none());
        let Some(first) = lost.next() else { return Duration::ZERO };
        lost.last().unwrap_or(first).at.duration_since(first.at) + self.every
    }

    /// How many queries were lost in this time.
    pub(super) fn lost(&self, from: Instant, to: Instant) -> usize {
        self.between(from, to).filter(|sent| sent.by.is_none()).count()
    }

    /// Whether every query of this time, and there are some, was answered by `by`.
    pub(super) fn all_by(&self, by: By, from: Instant, to: Instant) -> bool {
        let mut count = 0;
        self.between(from, to).inspect(|_| count += 1).all(|sent| sent.by == Some(by)) && count > 0
    }
}

/// The turn of a test that measures something under load: on two processors they would be in each other's way. Given
/// back when it is dropped.
pub(super) fn turn() -> File {
    let file = File::create(concat!(env!("CARGO_TARGET_TMPDIR"), "/load")).unwrap();
    file.lock().unwrap();
    file
}

/// One question, and who answers it.
pub(super) fn ask(client: &Client) -> Option<By> {
    inside(client.machine, async || send(client.server, client.part).await.by)
}

/// Has clients ask, each one `every` so often, until `deeds` are done.
///
/// # Panics
/// When they could not keep their pace: the figures would be those of another load.
pub(super) fn while_asking<'a, T>(
    clients: &[Client<'a>],
    every: Duration,
    deeds: impl FnOnce() -> T,
) -> (Vec<Heard<'a>>, T) {
    // Each query that is not answered keeps its socket for a while.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let (began, stop) = (Instant::now(), AtomicBool::new(false));
    let (heard, took, done) = std::thread::scope(|scope| {
        let one = |(n, client): (usize, Client<'a>)| {
            // Not all at once.
            let phase = every * n as u32 / clients.len() as u32;
            let stop = &stop;
            let asking = move || inside(client.machine, async || evenly(client, phase, every, stop).await);
            (client, scope.spawn(asking))
        };
        let running: Vec<_> = clients.iter().copied().enumerate().map(one).collect();
        // Also when the deeds fail, or nobody would ever see it.
        let stopping = Stopping(&stop);
        let done = deeds();
        drop(stopping);
        let took = began.elapsed();
        let heard = running.into_iter().map(|(client, thread)| {
            let sent = thread.join().unwrap();
            Heard { client, sent, every }
        });
        (heard.collect::<Vec<_>>(), took, done)
    });
    let wanted = took.as_secs_f64() / every.as_secs_f64();
    let least = heard.iter().map(|heard| heard.sent.len()).min().unwrap_or_default();
    let all: usize = heard.iter().map(|heard| heard.sent.len()).sum();
    println!("{} clients sent {all} queries, each one at least {least} of {wanted:.0}", clients.len());
    assert!(least as f64 >= LEAST_LOAD * wanted, "clients could not keep their pace");
    (heard, done)
}

/// Has clients stop when it is dropped.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Has clients ask over one connection each, `every` so often, until it breaks; `deed` is done once all of them were
/// answered by the node. How long after that each connection broke.
///
/// # Panics
/// When one is not answered at first, or does not break.
pub(super) fn until_broken<'a, T>(
    clients: &[Client<'a>],
    every: Duration,
    deed: impl FnOnce() -> T,
) -> (Vec<Duration>, T) {
    let (say, answered) = mpsc::channel();
    std::thread::scope(|scope| {
        let one = |client: &Client<'a>| {
            let (client, say) = (*client, say.clone());
            scope.spawn(move || inside(client.machine, async || over_one(client.server, every, say).await))
        };
        let running: Vec<_> = clients.iter().map(one).collect();
        for _ in clients {
            answered.recv_timeout(LONGEST).unwrap();
        }
        let began = Instant::now();
        let done = deed();
        let since = |broke: Instant| broke.saturating_duration_since(began);
        (running.into_iter().map(|thread| since(thread.join().unwrap())).collect(), done)
    })
}

/// Asks over one connection, and says when the node has answered for the first time; when the connection broke.
async fn over_one(server: SocketAddr, every: Duration, say: mpsc::Sender<()>) -> Instant {
    let began = Instant::now();
    let mut connection = Dns::new(server).with_timeout(LIMIT).connect().await.unwrap();
    let query = Query::a(NAME).option(NSID, b"");
    let answers = connection.pipeline(std::slice::from_ref(&query)).await.unwrap();
    assert_eq!(By::of(&answers[0]), Some(By::Node), "{server}");
    say.send(()).unwrap();
    while began.elapsed() < LONGEST {
        let asked = async {
            connection.send(&query).await?;
            connection.receive().await
        };
        match timeout(every, asked).await {
            Ok(Err(_)) => return Instant::now(),
            Ok(Ok(_)) => tokio::time::sleep(every).await,
            // Nobody yet: the next query may be somebody else's.
            Err(_) => {}
        }
    }
    panic!("{server}: the connection stays, and nobody answers");
}

/// Asks until it is to stop, and then waits for answers.
async fn evenly(client: Client<'_>, phase: Duration, every: Duration, stop: &AtomicBool) -> Vec<Sent> {
    // One that is late is not left out.
    let mut ticks = interval_at(tokio::time::Instant::now() + phase, every);
    let mut asked = JoinSet::new();
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        asked.spawn(send(client.server, client.part));
    }
    let mut sent = asked.join_all().await;
    sent.sort_by_key(|sent| sent.at);
    sent
}

/// Sends one query from a new socket.
async fn send(server: SocketAddr, part: Part) -> Sent {
    let at = Instant::now();
    let (dns, query) = (Dns::new(server).with_timeout(LIMIT), Query::a(NAME).option(NSID, b""));
    let asked = async {
        match part {
            Part::Udp => dns.udp(&query).await,
            Part::Tcp => dns.tcp(&query).await,
        }
    };
    let answer = timeout(LIMIT, asked).await.ok().and_then(Result::ok);
    Sent { at, by: answer.as_ref().and_then(By::of) }
}
