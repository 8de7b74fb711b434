//! Threads that ask nodes all the time, and one that judges what they answer.
//!
//! A question has a socket of its own, as a resolver's: where two processes share a port it may come to either.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::Instant;

use super::judge::{Judge, Reply, Rules};
use super::message::{Message, Question};
use super::questions;
use super::tally::{Measured, Tally};
use crate::drill::standin::etcd::Etcd;

/// How long a strict question waits for its reply.
const STRICT: Duration = Duration::from_secs(1);

/// How long a client waits in all that asks again, and for each of its tries: sooner than resolvers do, so that a gap is
/// seen as long as it is.
const STUB: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(20));

/// How long after a reply it is judged: by then what it is about is in the history.
const LATER: Duration = Duration::from_millis(100);

/// Replies that wait to be judged: minutes of them. One more is lost, and told.
const WAITING: usize = 1 << 16;

/// The largest reply.
const MAX_REPLY: usize = u16::MAX as usize;

/// How questions are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Once over UDP, and every so many times over TCP instead (never at 0). No reply within a second is a failure.
    Strict {
        /// One question in so many.
        tcp_every: u32,
    },
    /// Again and again for two seconds, as resolvers do.
    Stub,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The nodes.
    pub nodes: Vec<SocketAddr>,
    /// The questions, which are asked in turn, from the beginning again after the last. At least one.
    pub questions: Vec<Question>,
    /// Time between two questions to a node.
    pub every: Duration,
    /// How.
    pub manner: Manner,
    /// What is right.
    pub rules: Rules,
}

/// What the threads share.
struct Shared {
    /// Whether they are to end.
    stop: AtomicBool,
    /// How often each node was started anew.
    lives: Vec<AtomicU32>,
    /// What is asked, in turn.
    questions: Mutex<Arc<[Question]>>,
    /// Replies that nobody could take.
    lost: AtomicU64,
    /// Who judges, and what came of it.
    court: Mutex<(Judge, Tally)>,
}

impl Shared {
    /// What is asked now.
    fn questions(&self) -> Arc<[Question]> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Questions that are asked until it is dropped.
pub struct Load {
    /// See [`Shared`].
    shared: Arc<Shared>,
    /// The threads.
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Begins to ask, and to judge by the history of this store.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(plan: Plan, etcd: &Etcd) -> io::Result<Self> {
        let Plan { nodes, questions, every, manner, rules } = plan;
        let court = (Judge::begin(etcd, rules), Tally::new(nodes.len(), Instant::now()));
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            lives: nodes.iter().map(|_| AtomicU32::new(0)).collect(),
            questions: Mutex::new(questions.into()),
            lost: AtomicU64::new(0),
            court: Mutex::new(court),
        });
        let (replies, judged) = sync_channel(WAITING);
        let mut load = Self { shared: shared.clone(), threads: Vec::new() };
        for (node, address) in nodes.into_iter().enumerate() {
            let asker =
                Asker { node, address, every, manner, replies: replies.clone(), shared: shared.clone() };
            load.threads.push(thread("asks", move || asker.run())?);
        }
        let etcd = etcd.clone();
        load.threads.push(thread("judges", move || judge(&judged, &etcd, &shared))?);
        Ok(load)
    }

    /// A node is started anew from now on.
    pub fn new_life(&self, node: usize) {
        if let Some(life) = self.shared.lives.get(node) {
            life.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Asks about the services that there are now, of which `seed` chooses.
    pub fn choose_anew(&self, seed: u64) {
        let questions = questions::of(self.lock().0.lives(), seed);
        *self.shared.questions.lock().unwrap_or_else(PoisonError::into_inner) = questions.into();
    }

    /// What is right from now on.
    pub fn rules(&self, change: impl FnOnce(&mut Rules)) {
        change(self.lock().0.rules());
    }

    /// What is known so far.
    pub fn look<T>(&self, at: impl FnOnce(&Tally) -> T) -> T {
        at(&self.lock().1)
    }

    /// How long these take is measured from now on, and nothing of what was before.
    pub fn measure(&self, what: Measured) {
        self.lock().1.measure(what);
    }

    /// Nothing more is measured.
    pub fn measured(&self) {
        self.lock().1.measured();
    }

    /// Replies that nobody could judge, because so many came.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Asks no more; returns once all is judged, with the time of the last question.
    pub fn stop(&mut self) -> Instant {
        let end = Instant::now();
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that has panicked is told by what it did not count.
            let _ = thread.join();
        }
        end
    }

    fn lock(&self) -> MutexGuard<'_, (Judge, Tally)> {
        self.shared.court.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("outlast-{name}")).spawn(run)
}

/// Judges replies until nobody asks any more.
fn judge(replies: &Receiver<Reply>, etcd: &Etcd, shared: &Shared) {
    let mut waiting = VecDeque::new();
    let mut goes_on = true;
    while goes_on || !waiting.is_empty() {
        match replies.recv_timeout(LATER / 2) {
            Ok(reply) => waiting.push_back(reply),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                goes_on = false;
                std::thread::sleep(LATER / 2);
            }
        }
        while let Some(reply) = replies.try_iter().next() {
            waiting.push_back(reply);
        }
        let is_due = |reply: &Reply| reply.came.elapsed() >= LATER;
        if !waiting.front().is_some_and(is_due) {
            continue;
        }
        let mut court = shared.court.lock().unwrap_or_else(PoisonError::into_inner);
        let (judge, tally) = &mut *court;
        judge.read(etcd);
        while let Some(reply) = waiting.pop_front_if(|reply| is_due(reply)) {
            tally.add(&reply, &judge.judge(&reply));
        }
    }
}

/// Who asks one node.
struct Asker {
    /// Which.
    node: usize,
    /// Where it is.
    address: SocketAddr,
    /// How often.
    every: Duration,
    /// How.
    manner: Manner,
    /// Where replies go.
    replies: SyncSender<Reply>,
    /// See [`Shared`].
    shared: Arc<Shared>,
}

impl Asker {
    fn run(self) {
        let mut next = Instant::now();
        // Nodes are not asked the same at the same time.
        let mut number = self.node * self.shared.questions().len() / self.shared.lives.len().max(1);
        while !self.shared.stop.load(Ordering::Relaxed) {
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            let questions = self.shared.questions();
            let Some(question) = questions.get(number % questions.len().max(1)) else { return };
            let sent = Instant::now();
            let outcome = self.ask(question, number);
            let came = Instant::now();
            let life = self.shared.lives.get(self.node).map_or(0, |life| life.load(Ordering::Relaxed));
            let reply = Reply { node: self.node, life, sent, came, question: question.clone(), outcome };
            if self.replies.try_send(reply).is_err() {
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
            }
            number += 1;
            // Those that are late are not made up for.
            next = (next + self.every).max(came);
        }
    }

    fn ask(&self, question: &Question, number: usize) -> Result<Message, String> {
        let (id, words) = (number as u16, |error: io::Error| error.to_string());
        let over_tcp = || tcp(self.address, question, id, STRICT).map_err(|e| format!("over TCP: {e}"));
        match self.manner {
            Manner::Strict { tcp_every } => {
                if number.checked_rem(tcp_every as usize) == Some(0) {
                    return over_tcp();
                }
                match ask(self.address, question, id, STRICT) {
                    // RFC 1035 §4.2.1: what does not go into a datagram is asked for over TCP.
                    Ok(message) if message.truncated => over_tcp(),
                    other => other.map_err(words),
                }
            }
            Manner::Stub => {
                let deadline = Instant::now() + STUB.0;
                loop {
                    let tried = Instant::now();
                    let error = match ask(self.address, question, id, STUB.1) {
                        Ok(message) => return Ok(message),
                        Err(error) => error,
                    };
                    let now = Instant::now();
                    if now >= deadline {
                        return Err(words(error));
                    }
                    // Nobody there is told at once, and asked again no sooner for that.
                    std::thread::sleep((tried + STUB.1).saturating_duration_since(now));
                }
            }
        }
    }
}

/// Asks once over UDP; nothing in time is an error.
///
/// # Errors
/// No reply comes, or one that cannot be read.
pub fn ask(server: SocketAddr, question: &Question, id: u16, within: Duration) -> io::Result<Message> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(server)?;
    let deadline = Instant::now() + within;
    socket.send(&question.bytes(id))?;
    let mut reply = vec![0; MAX_REPLY];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no reply in {within:?}")));
        }
        socket.set_read_timeout(Some(left))?;
        let length = match socket.recv(&mut reply) {
            Ok(length) => length,
            Err(error) if is_late(&error) => continue,
            Err(error) => return Err(error),
        };
        // Others are not for this question, and not of this server.
        if let Some(message) = matching(&reply[..length], question, id)? {
            return Ok(message);
        }
    }
}

/// Asks once over a connection of its own.
fn tcp(server: SocketAddr, question: &Question, id: u16, within: Duration) -> io::Result<Message> {
    let mut stream = TcpStream::connect_timeout(&server, within)?;
    stream.set_read_timeout(Some(within))?;
    let message = question.bytes(id);
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], &message].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut reply)?;
    matching(&reply, question, id)?.ok_or_else(|| io::Error::other("a reply to another question"))
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// The reply to this question, if it is one.
fn matching(bytes: &[u8], question: &Question, id: u16) -> io::Result<Option<Message>> {
    let message = Message::parse(bytes).map_err(io::Error::other)?;
    let answers = message.id == id && message.question.as_ref() == Some(question);
    Ok(Some(message).filter(|_| answers))
}

#[cfg(test)]
mod tests {
    use super::super::message::Type;
    use super::*;

    /// Answers each question with itself and these bits, over UDP, as often as it is asked.
    fn echo(flags: [u8; 2], every: usize) -> SocketAddr {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 512];
            for number in 0.. {
                let Ok((length, from)) = socket.recv_from(&mut bytes) else { return };
                if number % every == every - 1 {
                    bytes[2..4].copy_from_slice(&flags);
                    let _ = socket.send_to(&bytes[..length], from);
                }
            }
        });
        address
    }

    /// Asks this server like that; what became of the first questions.
    fn asked(server: SocketAddr, manner: Manner, questions: u64) -> (u64, u64) {
        let standin = tokio::runtime::Runtime::new().unwrap();
        let standin = standin.block_on(async {
            crate::drill::standin::Standin::in_memory(crate::drill::standin::Config::default()).unwrap()
        });
        let plan = Plan {
            nodes: vec![server],
            questions: vec![Question::new("ghost.shop.svc.cluster.local.", Type::A)],
            every: Duration::from_millis(1),
            manner,
            rules: Rules::default(),
        };
        let mut load = Load::start(plan, standin.etcd()).unwrap();
        while load.look(Tally::queries) < questions {
            std::thread::sleep(Duration::from_millis(5));
        }
        load.stop();
        load.look(|tally| (tally.failed(), tally.wrong()))
    }

    #[test]
    fn a_server_that_answers_is_right() {
        assert_eq!(asked(echo([0x85, 0x83], 1), Manner::Strict { tcp_every: 0 }, 50), (0, 0));
    }

    #[test]
    fn a_resolver_asks_again_where_a_strict_client_has_failed() {
        assert_eq!(asked(echo([0x85, 0x83], 2), Manner::Stub, 5), (0, 0));
        let (failed, _) = asked(echo([0x85, 0x83], 2), Manner::Strict { tcp_every: 0 }, 3);
        assert!(failed > 0);
    }

    #[test]
    fn errors_and_nobody_at_all_are_failures() {
        let (failed, _) = asked(echo([0x85, 0x82], 1), Manner::Strict { tcp_every: 0 }, 10);
        assert!(failed >= 10, "SERVFAIL");
        let (failed, _) = asked(echo([0x85, 0x83], 1), Manner::Strict { tcp_every: 1 }, 10);
        assert!(failed >= 10, "nobody listens for TCP");
    }
}
