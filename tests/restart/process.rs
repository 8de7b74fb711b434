//! The program as a child process, and a client that blocks.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use outlast::testkit::client::{Answer, Query};

use super::place::Place;

/// How long a test waits for something that a node does by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running node; killed when it is dropped.
pub(super) struct Process {
    child: Child,
    /// What it has said.
    said: Arc<Mutex<String>>,
    /// Reads what it says.
    reader: Option<JoinHandle<()>>,
    /// When it was started.
    pub(super) since: Instant,
    dns: SocketAddr,
    http: SocketAddr,
}

impl Process {
    /// Starts a node in its place.
    pub(super) fn start(place: &Place) -> Self {
        Self::spawn(place, Command::new(env!("CARGO_BIN_EXE_outlast")))
    }

    /// Starts a node that cannot write a single byte into a file, as on a full disk.
    pub(super) fn start_on_a_full_disk(place: &Place) -> Self {
        // Without the trap the signal of the limit would end the process; a full disk does not.
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_outlast")]);
        Self::spawn(place, shell)
    }

    fn spawn(place: &Place, mut command: Command) -> Self {
        let since = Instant::now();
        command.args(["node", "--conf"]).arg(place.corefile());
        // A test's own environment must not configure its nodes.
        for name in ["OUTLAST_SOURCE", "OUTLAST_SNAPSHOT", "OUTLAST_SNAPSHOT_INTERVAL"] {
            command.env_remove(name);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let output = BufReader::new(child.stdout.take().unwrap());
        let reader = std::thread::spawn({
            let said = said.clone();
            move || {
                for line in output.lines().map_while(Result::ok) {
                    let mut said = said.lock().unwrap();
                    said.push_str(&line);
                    said.push('\n');
                }
            }
        });
        Self { child, said, reader: Some(reader), since, dns: place.dns(), http: place.http() }
    }

    /// SIGKILL.
    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; what it said in all, and how it ended.
    pub(super) fn terminate(mut self) -> (ExitStatus, String) {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        (status, self.said.lock().unwrap().clone())
    }

    /// What it has said so far.
    pub(super) fn log(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Asks until there is a reply, which is its first; and how long after its start that came.
    pub(super) fn first_answer(&self, query: &Query) -> (Answer, Duration) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match ask(self.dns, query, Duration::from_millis(100), || false) {
                Ok(answer) => return (answer, self.since.elapsed()),
                Err(error) => assert!(Instant::now() < deadline, "no answer: {error}\n{}", self.log()),
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Asks a node that is there.
    pub(super) fn ask(&self, query: &Query) -> Answer {
        ask(self.dns, query, PATIENCE, || false).unwrap_or_else(|e| panic!("{e}\n{}", self.log()))
    }

    /// Status and body of `GET path`.
    pub(super) fn get(&self, path: &str) -> io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(self.http)?;
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
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < deadline, "never: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the data is in this state.
    pub(super) fn until_state(&self, state: &str) {
        let series = format!("outlast_data_state{{state=\"{state}\"}}");
        self.until(state, |node| node.metric(&series) == Some(1.0));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks over UDP, and gives up after `patience` or once `given_up` says so.
pub(super) fn ask(
    server: SocketAddr,
    query: &Query,
    patience: Duration,
    given_up: impl Fn() -> bool,
) -> io::Result<Answer> {
    let socket = UdpSocket::bind((server.ip(), 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
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
