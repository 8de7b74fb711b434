//! The binary as a process: what it prints, where it answers, how it ends.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use outlast::testkit::client::{Answer, Query};

/// How long a process may take for anything it does by itself; machines that run tests are slow.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The command, without what this process's own environment would tell it.
pub(super) fn outlast() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outlast"));
    for variable in [
        "OUTLAST_SOURCE",
        "OUTLAST_SNAPSHOT",
        "OUTLAST_SNAPSHOT_INTERVAL",
        "OUTLAST_STALE_AFTER",
        "OUTLAST_MAX_STALE",
        "OUTLAST_LOG_FORMAT",
        "OUTLAST_LOG",
        "NODE_NAME",
    ] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
    command
}

/// Runs the command to its end: exit status, standard output and standard error.
pub(super) fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// A running process; killed when it is dropped.
pub(super) struct Process {
    child: Child,
    /// Everything that it has printed on standard output.
    stdout: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Process {
    pub(super) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let stdout = Arc::new(Mutex::new(String::new()));
        let (lines, sink) = (BufReader::new(child.stdout.take().unwrap()).lines(), stdout.clone());
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut sink = sink.lock().unwrap();
                sink.push_str(&line);
                sink.push('\n');
            }
        });
        Self { child, stdout, reader: Some(reader) }
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn output(&self) -> String {
        self.stdout.lock().unwrap().clone()
    }

    /// Waits until `find` finds something.
    pub(super) fn wait_for<T>(&self, what: &str, mut find: impl FnMut(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = find(self) {
                return found;
            }
            assert!(Instant::now() < deadline, "never: {what}\n{}", self.output());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The address in the first log line with this in it, as in `answering dns address=127.0.0.1:4053`.
    pub(super) fn address(&self, message: &str) -> SocketAddr {
        self.wait_for(message, |p| {
            let output = p.output();
            let line = output.lines().find(|l| l.contains(message))?;
            let word = |l: &str| l.split(['=', ' ', '"']).find_map(|w| w.parse().ok());
            word(line)
        })
    }

    /// Where it answers.
    pub(super) fn dns(&self) -> SocketAddr {
        self.address("answering dns")
    }

    /// Asks it over UDP, again if a packet is lost.
    pub(super) fn ask(&self, query: &Query) -> Answer {
        let dns = self.dns();
        self.wait_for("an answer", |_| ask(dns, query))
    }

    /// Asks until the answer is as it should be.
    pub(super) fn ask_until(&self, what: &str, query: &Query, holds: impl Fn(&Answer) -> bool) -> Answer {
        let dns = self.dns();
        self.wait_for(what, |_| ask(dns, query).filter(&holds))
    }

    pub(super) fn signal(&self, name: &str) {
        let kill = Command::new("kill").args([format!("-{name}"), self.id().to_string()]).status().unwrap();
        assert!(kill.success());
    }

    /// Waits for its end: exit status and everything it printed.
    pub(super) fn wait(mut self) -> (i32, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "does not end\n{}", self.output());
            std::thread::sleep(Duration::from_millis(20));
        };
        self.reader.take().unwrap().join().unwrap();
        (status.code().unwrap_or(-1), self.output())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One question over UDP; `None` without a reply.
pub(super) fn ask(server: SocketAddr, query: &Query) -> Option<Answer> {
    let socket = UdpSocket::bind((if server.is_ipv4() { "0.0.0.0" } else { "::" }, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    socket.connect(server).unwrap();
    socket.send(&query.bytes()).ok()?;
    let mut buffer = vec![0; 65_535];
    let len = socket.recv(&mut buffer).ok()?;
    buffer.truncate(len);
    Answer::parse(buffer).ok()
}
