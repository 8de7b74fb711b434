//! Clients that ask without a pause, each in a thread of its own, and count what they do not get.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use outlast::testkit::client::{Answer, Query};

use super::fixture::{LATE, LATE_ADDRESS, WEB_ADDRESS, web};

/// How long one question may take: a lost packet on loopback is one that the server lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client that asks until it is stopped.
pub(super) struct Asking {
    stop: Arc<AtomicBool>,
    /// Answers so far.
    answers: Arc<AtomicU64>,
    thread: JoinHandle<Option<String>>,
}

impl Asking {
    /// Over UDP, with a socket of its own for every question, so that each comes to any of the server's sockets.
    pub(super) fn udp(server: SocketAddr) -> Self {
        Self::datagrams(server, web(), WEB_ADDRESS)
    }

    /// The same for a name that has to wait for its upstream.
    pub(super) fn late(server: SocketAddr) -> Self {
        Self::datagrams(server, Query::a(LATE).edns(1232), LATE_ADDRESS)
    }

    fn datagrams(server: SocketAddr, query: Query, address: &'static str) -> Self {
        Self::start(move || {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.connect(server)?;
            socket.send(&query.bytes())?;
            let mut reply = [0; 4096];
            let len = socket.recv(&mut reply)?;
            judge(&reply[..len], address)
        })
    }

    /// Over one TCP connection.
    pub(super) fn tcp(server: SocketAddr) -> Self {
        let mut stream: Option<TcpStream> = None;
        Self::start(move || {
            let stream = match &mut stream {
                Some(stream) => stream,
                none => {
                    let connected = TcpStream::connect(server)?;
                    connected.set_read_timeout(Some(PATIENCE))?;
                    connected.set_nodelay(true)?;
                    none.insert(connected)
                }
            };
            exchange(stream, &web()).and_then(|reply| judge(&reply, WEB_ADDRESS))
        })
    }

    /// Over TCP, with a connection for every question.
    pub(super) fn connections(server: SocketAddr) -> Self {
        Self::start(move || {
            let mut stream = TcpStream::connect(server)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            exchange(&mut stream, &web()).and_then(|reply| judge(&reply, WEB_ADDRESS))
        })
    }

    fn start(mut ask: impl FnMut() -> io::Result<()> + Send + 'static) -> Self {
        let (stop, answers): (Arc<AtomicBool>, Arc<AtomicU64>) = Default::default();
        let (until, count) = (stop.clone(), answers.clone());
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                if let Err(error) = ask() {
                    return Some(error.to_string());
                }
                count.fetch_add(1, Ordering::Relaxed);
            }
            None
        });
        Self { stop, answers, thread }
    }

    /// Answers so far.
    pub(super) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Ends it. How many answers came, and what went wrong.
    pub(super) fn stop(self) -> (u64, Option<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let wrong = self.thread.join().unwrap();
        (self.answers.load(Ordering::Relaxed), wrong)
    }
}

/// One question on a connection.
pub(super) fn exchange(stream: &mut TcpStream, query: &Query) -> io::Result<Vec<u8>> {
    let message = query.bytes();
    stream.write_all(&[&(message.len() as u16).to_be_bytes()[..], &message].concat())?;
    let mut len = [0; 2];
    stream.read_exact(&mut len)?;
    let mut reply = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut reply)?;
    Ok(reply)
}

/// Whether a reply is the answer.
fn judge(reply: &[u8], address: &str) -> io::Result<()> {
    let answer = Answer::parse(reply.to_vec())?;
    match &*answer.answers() {
        [record] if record.ends_with(&format!(" A {address}")) => Ok(()),
        records => Err(io::Error::other(format!("{:?} {records:?} {:?}", answer.rcode(), answer.ede()))),
    }
}
