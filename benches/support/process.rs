//! Processes of the program: their output, and their end.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a process may take to print something that is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks at what it has printed.
const LOOK: Duration = Duration::from_millis(20);

/// A process of the program; killed when it goes out of scope.
pub(crate) struct Process {
    child: Child,
    /// Its standard output so far.
    output: Arc<Mutex<String>>,
}

impl Process {
    /// Starts the program; its errors go where the bench's go. Its standard input is open as long as this is.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = Arc::new(Mutex::new(String::new()));
        let (sink, pipe) = (output.clone(), BufReader::new(child.stdout.take().unwrap()));
        // Read to the end: a full pipe would hold the process up.
        std::thread::spawn(move || {
            for line in pipe.lines().map_while(Result::ok) {
                let mut sink = sink.lock().unwrap();
                sink.push_str(&line);
                sink.push('\n');
            }
        });
        Self { child, output }
    }

    /// The program with these arguments, and nothing from the environment that would configure it.
    pub(crate) fn command() -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outlast"));
        command.envs([
            ("OUTLAST_CONTROL", "off"),
            ("OUTLAST_STATUS_ADDRESS", "off"),
            ("OUTLAST_HUB_STATUS_ADDRESS", "off"),
        ]);
        for (name, _) in std::env::vars_os().filter(|(n, _)| n.as_encoded_bytes().starts_with(b"OUTLAST_")) {
            command.env_remove(name);
        }
        command
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.id()).unwrap()), signal).unwrap();
    }

    /// Writes a line to its standard input.
    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The first line of its output with this in it.
    pub(crate) fn line(&mut self, with: &str) -> Result<String, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = |output: &str| output.lines().find(|l| l.contains(with)).map(str::to_owned);
            if let Some(line) = found(&self.output.lock().unwrap()) {
                return Ok(line);
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                return Err(format!("ended with {status} before it said {with:?}"));
            }
            if Instant::now() > deadline {
                return Err(format!("never said {with:?}"));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The first address in the first line of its output with this in it.
    pub(crate) fn address(&mut self, with: &str) -> Result<SocketAddr, String> {
        let line = self.line(with)?;
        let address = line.split(['=', ' ', '"']).find_map(|word| word.parse().ok());
        address.ok_or_else(|| format!("no address in {line:?}"))
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> Result<(), String> {
        let status = self.child.wait().map_err(|e| e.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("ended with {status}")) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
