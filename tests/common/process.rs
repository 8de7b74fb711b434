//! The binary as a process: what it prints, where it answers, how it ends. Shared by the tests that start it.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use outlast::testkit::client::{Answer, Query};

/// How long a process may take for anything it does by itself: only a failure waits for it, and machines that
/// run tests are slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(10);

/// How long one question waits for its reply: packets are lost.
const REPLY: Duration = Duration::from_secs(2);

/// The command, without what this process's own environment would tell it.
pub(crate) fn outlast() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outlast"));
    isolate(&mut command);
    command
}

/// Takes everything from a command that would configure it: a test says itself what it is about.
pub(crate) fn isolate(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        // The variables of a pod are there where tests run in one.
        let prefixes = [&b"OUTLAST_"[..], b"KUBERNETES_SERVICE_"];
        if name == "NODE_NAME" || prefixes.iter().any(|p| name.as_encoded_bytes().starts_with(p)) {
            command.env_remove(name);
        }
    }
    // Processes of a machine that runs tests would be in each other's way at the usual place.
    command.envs([
        ("OUTLAST_CONTROL", "off"),
        ("OUTLAST_STATUS_ADDRESS", "off"),
        ("OUTLAST_HUB_STATUS_ADDRESS", "off"),
    ]);
    command.stdin(Stdio::null());
}

/// Runs the command to its end: exit status, standard output and standard error.
pub(crate) fn run(command: &mut Command) -> (i32, String, String) {
    let mut process = Process::start(command);
    let code = process.end();
    (code, process.output(), process.errors())
}

/// A running process; killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    stdout: Pipe,
    stderr: Pipe,
}

impl Process {
    /// Starts it; its output is read as it comes.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = Pipe::read(child.stdout.take().unwrap());
        let stderr = Pipe::read(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed on standard output so far.
    pub(crate) fn output(&self) -> String {
        self.stdout.text.lock().unwrap().clone()
    }

    /// What it has printed on standard error so far.
    pub(crate) fn errors(&self) -> String {
        self.stderr.text.lock().unwrap().clone()
    }

    /// Waits until `find` finds something.
    pub(crate) fn wait_for<T>(&self, what: &str, mut find: impl FnMut(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = find(self) {
                return found;
            }
            assert!(Instant::now() < deadline, "never: {what}\n{}{}", self.output(), self.errors());
            std::thread::sleep(LOOK);
        }
    }

    /// The address in the first log line with this in it, as in `answering dns address=127.0.0.1:4053`.
    pub(crate) fn address(&self, message: &str) -> SocketAddr {
        self.wait_for(message, |p| {
            let output = p.output();
            let line = output.lines().find(|l| l.contains(message))?;
            let word = |l: &str| l.split(['=', ' ', '"']).find_map(|w| w.parse().ok());
            word(line)
        })
    }

    /// Where it answers.
    pub(crate) fn dns(&self) -> SocketAddr {
        self.address("answering dns")
    }

    /// Waits until it answers.
    ///
    /// # Panics
    /// When it ends instead, with what it said.
    pub(crate) fn serving(mut self) -> Self {
        let deadline = Instant::now() + PATIENCE;
        while !self.output().contains("answering dns") {
            let ended = self.ended();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "does not serve ({ended:?})\n{}{}",
                self.output(),
                self.errors()
            );
            std::thread::sleep(LOOK);
        }
        self
    }

    /// Asks it over UDP, again if a packet is lost.
    pub(crate) fn ask(&self, query: &Query) -> Answer {
        let dns = self.dns();
        self.wait_for("an answer", |_| ask(dns, query))
    }

    /// Asks until the answer is as it should be.
    pub(crate) fn ask_until(&self, what: &str, query: &Query, holds: impl Fn(&Answer) -> bool) -> Answer {
        let dns = self.dns();
        self.wait_for(what, |_| ask(dns, query).filter(&holds))
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id()).unwrap();
        kill(Pid::from_raw(id), signal).unwrap();
    }

    /// Its exit status if it has ended, -1 where a signal ended it.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let status = self.child.try_wait().unwrap()?;
        Some(status.code().unwrap_or(-1))
    }

    /// Waits for its end and returns its exit status; children of it may go on and hold its outputs.
    pub(crate) fn wait_until_ended(&mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(code) = self.ended() {
                return code;
            }
            assert!(Instant::now() < deadline, "does not end\n{}{}", self.output(), self.errors());
            std::thread::sleep(LOOK);
        }
    }

    /// Waits for its end: exit status and everything it printed on standard output.
    pub(crate) fn wait(mut self) -> (i32, String) {
        let code = self.end();
        (code, self.output())
    }

    /// Waits for its end, and for all of its output.
    fn end(&mut self) -> i32 {
        let code = self.wait_until_ended();
        self.stdout.end();
        self.stderr.end();
        code
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One of its outputs, read in a thread of its own: a full pipe would hold the process up.
struct Pipe {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Pipe {
    fn read(pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let sink = text.clone();
        let reader = std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = String::new();
            while pipe.read_line(&mut line).is_ok_and(|length| length > 0) {
                sink.lock().unwrap().push_str(&line);
                line.clear();
            }
        });
        Self { text, reader: Some(reader) }
    }

    /// Waits until nothing more can come.
    fn end(&mut self) {
        self.reader.take().map(JoinHandle::join).transpose().unwrap();
    }
}

/// One question over UDP; `None` without a reply.
pub(crate) fn ask(server: SocketAddr, query: &Query) -> Option<Answer> {
    let socket = UdpSocket::bind((if server.is_ipv4() { "0.0.0.0" } else { "::" }, 0)).unwrap();
    socket.set_read_timeout(Some(REPLY)).unwrap();
    socket.connect(server).unwrap();
    socket.send(&query.bytes()).ok()?;
    let mut buffer = vec![0; 65_535];
    let len = socket.recv(&mut buffer).ok()?;
    buffer.truncate(len);
    Answer::parse(buffer).ok()
}
