//! Clients that ask all the time and never ask again: what is not answered is lost.

#![allow(clippy::print_stdout, reason = "figures are for people")]

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use outlast::testkit::client::{Answer, Query};

use super::clients::{self, NSID};
use super::machine::Machine;
use super::world::{ALL, ip};

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of a message at most.
const MESSAGE: usize = 65_535;

/// What is asked for.
pub(super) const NAME: &str = "kube-dns.kube-system.svc.cluster.local.";

/// How a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// In a datagram, from another port each time.
    Udp,
    /// Over a connection of its own.
    Tcp,
    /// Over a connection that stays, for as long as the server lets it.
    Kept,
}

impl By {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Udp, Self::Tcp, Self::Kept];

    /// Queries a second of one client: 2,000 of all of [`clients`].
    const fn rate(self) -> u32 {
        match self {
            Self::Udp => 200,
            Self::Tcp => 45,
            Self::Kept => 5,
        }
    }
}

/// Someone who asks.
struct Client<'a> {
    /// Where from.
    from: (&'static str, &'a Machine),
    /// Whom.
    server: SocketAddr,
    /// How.
    by: By,
}

/// What became of the queries of one client.
pub(super) struct Tally {
    /// Who asked whom.
    pub(super) who: String,
    /// How.
    pub(super) by: By,
    /// Queries.
    pub(super) sent: usize,
    /// Those that the cluster's DNS answered.
    pub(super) elsewhere: usize,
    /// Those that were not answered: when they were sent, and what happened.
    pub(super) lost: Vec<(Instant, String)>,
    /// Connections that the server closed, without a query at work, in the very moment when the next was written.
    pub(super) crossed: usize,
}

/// Clients on both machines, which ask each address in each way.
fn clients<'a>(machines: &[(&'static str, &'a Machine)]) -> Vec<Client<'a>> {
    let each = machines.iter().flat_map(|from| ALL.map(|address| (*from, SocketAddr::new(ip(address), 53))));
    each.flat_map(|(from, server)| By::ALL.map(|by| Client { from, server, by })).collect()
}

/// Stops clients, also where a test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does something while clients on these machines ask.
pub(super) fn under_load<T>(
    machines: &[(&'static str, &Machine)],
    work: impl FnOnce() -> T,
) -> (T, Vec<Tally>) {
    let _turn = clients::turn();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ask = |client: Client<'_>| client.from.1.inside(|| client.run(&stop));
        let running: Vec<_> =
            clients(machines).into_iter().map(|client| scope.spawn(move || ask(client))).collect();
        let stops = Stop(&stop);
        let done = work();
        drop(stops);
        (done, running.into_iter().map(|client| client.join().unwrap()).collect())
    })
}

impl Client<'_> {
    /// Asks until it is told to stop.
    fn run(&self, stop: &AtomicBool) -> Tally {
        let who = format!("{} > {}", self.from.0, self.server.ip());
        let mut tally = Tally { who, by: self.by, sent: 0, elsewhere: 0, lost: Vec::new(), crossed: 0 };
        let every = Duration::from_secs(1) / self.by.rate();
        let mut kept = None;
        let mut next = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            // By the clock: a late answer does not make the load less.
            next += every;
            let (query, at) = (Query::a(NAME).option(NSID, b"").bytes(), Instant::now());
            tally.sent += 1;
            let answered = match self.by {
                By::Udp => self.udp(&query),
                By::Tcp => connect(self.server).and_then(|mut stream| tcp(&mut stream, &query)),
                By::Kept => self.kept(&mut kept, &query, &mut tally.crossed),
            };
            match answered.and_then(|answer| who_answered(&query, &answer)) {
                Ok(who) => tally.elsewhere += usize::from(who.is_cluster()),
                Err(error) => tally.lost.push((at, error.to_string())),
            }
        }
        tally
    }

    fn udp(&self, query: &[u8]) -> io::Result<Vec<u8>> {
        let any = if self.server.is_ipv4() { "0.0.0.0" } else { "::" };
        let socket = UdpSocket::bind((any.parse::<IpAddr>().unwrap(), 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(self.server)?;
        socket.send(query)?;
        let mut answer = vec![0; MESSAGE];
        let len = socket.recv(&mut answer)?;
        answer.truncate(len);
        Ok(answer)
    }

    fn kept(&self, kept: &mut Option<TcpStream>, query: &[u8], crossed: &mut usize) -> io::Result<Vec<u8>> {
        // RFC 7766 §6.2.4: a server may close a connection that has no query at work at any time.
        let before = kept.take().filter(|stream| !has_ended(stream));
        let was_idle = before.is_some();
        let mut stream = before.map_or_else(|| connect(self.server), Ok)?;
        let answer = match tcp(&mut stream, query) {
            // The end was on its way when the query was written, which no server can know of. A client that keeps
            // connections has to have another one then. A reset is none of this: the query was there before the end.
            Err(error) if was_idle && error.kind() == io::ErrorKind::UnexpectedEof => {
                *crossed += 1;
                stream = connect(self.server)?;
                tcp(&mut stream, query)?
            }
            answer => answer?,
        };
        *kept = Some(stream);
        Ok(answer)
    }
}

fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Whether the other side has closed it.
fn has_ended(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let ended = !matches!(stream.peek(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
    stream.set_nonblocking(false).unwrap();
    ended
}

fn tcp(stream: &mut TcpStream, query: &[u8]) -> io::Result<Vec<u8>> {
    let len = u16::try_from(query.len()).unwrap().to_be_bytes();
    stream.write_all(&[&len[..], query].concat())?;
    let mut len = [0; 2];
    stream.read_exact(&mut len)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// Who has given this answer: one that has the address that was asked for.
fn who_answered(query: &[u8], answer: &[u8]) -> io::Result<clients::By> {
    let is_reply = answer.get(..2) == query.get(..2);
    let who = clients::By::of(&Answer::parse(answer.to_vec())?).filter(|_| is_reply);
    who.ok_or_else(|| io::Error::other(format!("{answer:?}")))
}

/// Prints sent, answered and lost by protocol and machine, and each loss with its time after `began`.
pub(super) fn print(title: &str, began: Instant, tallies: &[Tally], events: &[(Instant, String)]) {
    let seconds = began.elapsed().as_secs_f64();
    let all: usize = tallies.iter().map(|tally| tally.sent).sum();
    println!("{title}: {all} queries in {seconds:.1} s, {:.0} a second", all as f64 / seconds);
    for by in By::ALL {
        for machine in ["pod", "node"] {
            let of = || tallies.iter().filter(|t| t.by == by && t.who.starts_with(machine));
            let (sent, lost): (usize, usize) = (of().map(|t| t.sent).sum(), of().map(|t| t.lost.len()).sum());
            println!("  {by:?} from the {machine}: {sent} sent, {} answered, {lost} lost", sent - lost);
        }
    }
    let crossed: usize = tallies.iter().map(|tally| tally.crossed).sum();
    println!(
        "  connections that stay, closed as the next query was written, which then came over another: {crossed}"
    );
    let mut lines: Vec<_> = tallies
        .iter()
        .flat_map(|t| t.lost.iter().map(move |(at, why)| (*at, format!("lost {:?} {}: {why}", t.by, t.who))))
        .collect();
    if lines.is_empty() {
        return;
    }
    lines.extend(events.iter().cloned());
    lines.sort();
    for (at, what) in lines.iter().take(200) {
        println!("  {:8.1} ms {what}", at.saturating_duration_since(began).as_secs_f64() * 1000.0);
    }
}

/// How many queries the cluster's DNS answered.
pub(super) fn elsewhere(tallies: &[Tally]) -> usize {
    tallies.iter().map(|tally| tally.elsewhere).sum()
}

/// How many queries were lost that were asked in one of these ways.
pub(super) fn lost(tallies: &[Tally], by: &[By]) -> usize {
    tallies.iter().filter(|tally| by.contains(&tally.by)).map(|tally| tally.lost.len()).sum()
}
