//! A node in its place, and a client that blocks.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use outlast::testkit::client::{Answer, Query};

use super::place::Place;
use super::process::{PATIENCE, Process, isolate, outlast};

/// What a node says that finds its port taken, for DNS and for HTTP.
const TAKEN: [&str; 2] = ["another server holds it", "another process listens there"];

/// How long the first question waits before it is asked again: nobody may have been there to take it.
const FIRST: Duration = Duration::from_millis(100);

/// A running node; killed when it is dropped.
pub(super) struct Node {
    process: Process,
    dns: SocketAddr,
    http: SocketAddr,
}

impl Node {
    /// Starts a node in its place; it listens.
    pub(super) fn start(place: &Place) -> Self {
        Self::spawn(place, outlast)
    }

    /// Starts a node that cannot write a single byte into a file, as on a full disk.
    pub(super) fn start_on_a_full_disk(place: &Place) -> Self {
        Self::spawn(place, || {
            // Without the trap the signal of the limit would end the process; a full disk does not.
            let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"";
            let mut shell = Command::new("sh");
            shell.args(["-c", script, env!("CARGO_BIN_EXE_outlast")]);
            isolate(&mut shell);
            shell
        })
    }

    /// Starts a node whose command begins so, again if somebody got hold of its ports while no node had them: between two lives they are
    /// anybody's.
    pub(super) fn spawn(place: &Place, command: impl Fn() -> Command) -> Self {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut process = Process::start(command().args(["node", "--conf"]).arg(place.corefile()));
            while process.ended().is_none() {
                if process.output().contains("answering dns") {
                    return Self { process, dns: place.dns(), http: place.http() };
                }
                assert!(Instant::now() < deadline, "never listens\n{}", process.output());
                std::thread::sleep(Duration::from_millis(1));
            }
            let taken = process.wait_for("why it ended", |p| Some(p.errors()).filter(|e| !e.is_empty()));
            assert!(TAKEN.iter().any(|t| taken.contains(t)) && Instant::now() < deadline, "{taken}");
        }
    }

    /// SIGKILL.
    pub(super) fn kill(self) {
        self.process.signal(Signal::SIGKILL);
        self.process.wait();
    }

    /// SIGTERM; how it ended, and what it said in all.
    pub(super) fn terminate(self) -> (i32, String) {
        self.process.signal(Signal::SIGTERM);
        self.process.wait()
    }

    /// Has it read its Corefile again.
    pub(super) fn reload(&self) {
        self.process.signal(Signal::SIGUSR1);
    }

    /// What it has said so far.
    pub(super) fn log(&self) -> String {
        self.process.output()
    }

    /// Asks until there is a reply, which is its first.
    pub(super) fn first_answer(&self, query: &Query) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match ask(&socket(self.dns), query, FIRST, || false) {
                Ok(answer) => return answer,
                Err(error) => assert!(Instant::now() < deadline, "no answer: {error}\n{}", self.log()),
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Asks a node that is there.
    pub(super) fn ask(&self, query: &Query) -> Answer {
        let answer = ask(&socket(self.dns), query, PATIENCE, || false);
        answer.unwrap_or_else(|e| panic!("{e}\n{}", self.log()))
    }

    /// Status and body of `GET path`.
    pub(super) fn get(&self, path: &str) -> io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(self.http)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        let status = reply.split(' ').nth(1).and_then(|s| s.parse().ok());
        let (_, body) = reply.split_once("\r\n\r\n").unwrap_or_default();
        Ok((status.ok_or(io::ErrorKind::InvalidData)?, body.to_owned()))
    }

    /// The value of one series, spelled as in a scrape.
    pub(super) fn metric(&self, series: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics").ok()?;
        text.lines().find_map(|l| l.strip_prefix(series)?.strip_prefix(' '))?.trim().parse().ok()
    }

    /// Waits until something holds.
    pub(super) fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        self.process.wait_for(what, |_| holds(self).then_some(()));
    }

    /// Waits until the data is in this state.
    pub(super) fn until_state(&self, state: &str) {
        let series = format!("outlast_data_state{{state=\"{state}\"}}");
        self.until(state, |node| node.metric(&series) == Some(1.0));
    }
}

/// A socket for questions to this server.
pub(super) fn socket(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((server.ip(), 0)).unwrap();
    socket.connect(server).unwrap();
    // What [`ask`] has to notice meanwhile is noticed this soon.
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    socket
}

/// Asks over UDP, and gives up after `patience` or once `given_up` says so.
pub(super) fn ask(
    socket: &UdpSocket,
    query: &Query,
    patience: Duration,
    given_up: impl Fn() -> bool,
) -> io::Result<Answer> {
    let bytes = query.bytes();
    socket.send(&bytes)?;
    let deadline = Instant::now() + patience;
    let mut buffer = [0; 4096];
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) if buffer[..length].starts_with(&bytes[..2]) => {
                return Answer::parse(buffer[..length].to_vec());
            }
            Ok(_) => {}
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(e) => return Err(e),
        }
        if given_up() || Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}
