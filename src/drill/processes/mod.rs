//! Processes that a drill starts: hubs and nodes of the program that the drill is part of, on loopback.
//!
//! * here: one process, with its log.
//! * [`fleet`]: an API server, hubs and nodes, asked all the time.
//! * [`node`] and [`hub`]: what each is started with.
//! * [`network`]: a network of their own for some of them.
//! * [`upstream`]: what nodes ask for names outside.
//! * [`footprint`]: what a process has of its machine.
//! * `setup`: what a fleet begins with; `ports`: ports that nobody has; `scrape`: metrics.
//!
//! Invariants: a process that is dropped is killed, and nothing of this process's environment configures it.

pub mod fleet;
pub mod footprint;
pub mod hub;
pub mod network;
pub mod node;
mod ports;
pub(in crate::drill) mod scrape;
pub(in crate::drill) mod setup;
pub mod upstream;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use self::footprint::Footprint;
use crate::ops::switches::Switches;
use crate::snapshot::disk::RealDisk;

/// How long a process may take for anything that it does by itself: only a failure waits for it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(2);

/// Bytes of a log that are quoted where a process did not do what it is for.
const QUOTED: usize = 2_000;

/// Bytes of a page of memory on every machine that this runs on.
const PAGE: u64 = 4096;

/// What the variables begin with by which this process's environment would tell something to those that it starts.
const CONFIGURES: [&str; 5] = ["OUTLAST_", "KUBERNETES_SERVICE_", "NODE_NAME", "NOTIFY_SOCKET", "WATCHDOG_"];

/// A process; killed when it is dropped.
pub struct Process {
    /// What people call it.
    name: String,
    /// The process.
    child: Child,
    /// What it says.
    log: PathBuf,
}

impl Process {
    /// Starts the program with these arguments; it writes its log to `FOLDER/NAME.log`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(
        program: &Path,
        folder: &Path,
        name: &str,
        arguments: &[String],
        switches: &Switches,
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = RealDisk.append(&log).with_context(|| format!("opening {}", log.display()))?;
        let mut command = command(program, folder);
        command.env("OUTLAST_CONTROL", folder.join(format!("{name}.sock")));
        // Several drills at once would be in each other's way at its usual place.
        for variable in ["OUTLAST_STATUS_ADDRESS", "OUTLAST_HUB_STATUS_ADDRESS"] {
            command.env(variable, "off");
        }
        command.env("OUTLAST_OWNER", folder.join("owner"));
        command.env("NODE_NAME", name);
        command.envs(switches.variables(std::process::id()));
        command.args(arguments).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until it says something that has these words in it, as the `times`-th that does.
    ///
    /// # Errors
    /// It ends instead, or never says it.
    pub fn says(&mut self, words: &str, times: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log()?;
            if log.matches(words).count() >= times {
                return Ok(());
            }
            if let Some(status) = self.ended()? {
                bail!("{} ended with {status}:\n{}", self.name, end(&self.log()?));
            }
            if Instant::now() > deadline {
                bail!("{} never said {words:?}:\n{}", self.name, end(&log));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// How often its log has these words so far, those of earlier processes of that name included.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn said(folder: &Path, name: &str, words: &str) -> anyhow::Result<usize> {
        match std::fs::read_to_string(folder.join(format!("{name}.log"))) {
            Ok(log) => Ok(log.matches(words).count()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error).with_context(|| format!("reading the log of {name}")),
        }
    }

    /// What it has said.
    fn log(&self) -> anyhow::Result<String> {
        std::fs::read_to_string(&self.log).with_context(|| format!("reading {}", self.log.display()))
    }

    /// How it has ended, if it has.
    ///
    /// # Errors
    /// Nobody knows.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("looking whether {} runs", self.name))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It cannot be sent.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process id")?;
        kill_process(id, signal).with_context(|| format!("sending a signal to {}", self.name))
    }

    /// Ends it by a signal, and waits for that.
    ///
    /// # Errors
    /// It does not end.
    pub fn end(mut self, signal: Signal) -> anyhow::Result<ExitStatus> {
        self.signal(signal)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} does not end:\n{}", self.name, end(&self.log()?));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Its name and what it has; its metrics are there, and its snapshots in a folder of its own in this one.
    fn footprint(&self, metrics: SocketAddr, folder: &Path) -> anyhow::Result<(String, Footprint)> {
        let words = || format!("looking at what {} has", self.name);
        let footprint = Footprint::of(self.child.id()).with_context(words)?;
        let text = scrape::scrape(metrics).with_context(words)?;
        let tasks = scrape::sum(&text, "outlast_runtime_tasks") as u64;
        let snapshots = footprint::bytes_in(&setup::snapshots(folder, &self.name));
        Ok((self.name.clone(), Footprint { tasks, snapshots, ..footprint }))
    }

    /// Bytes of memory that it has; `None` if it has ended.
    pub fn memory(&self) -> Option<u64> {
        let path = format!("/proc/{}/statm", self.child.id());
        let statm = std::fs::read_to_string(path).ok()?;
        let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
        Some(pages * PAGE)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The end of a log.
fn end(log: &str) -> &str {
    let from = log.len().saturating_sub(QUOTED);
    let from = (from..=log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or(log.len());
    log.get(from..).unwrap_or_default()
}

/// The program in a folder, without what this process's environment would tell it.
fn command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    for (variable, _) in std::env::vars_os() {
        let configures = |prefix: &&str| variable.as_encoded_bytes().starts_with(prefix.as_bytes());
        if CONFIGURES.iter().any(configures) {
            command.env_remove(variable);
        }
    }
    command.current_dir(folder).stdin(Stdio::null());
    command
}

/// Runs the program to its end.
///
/// # Errors
/// It fails; what it said is told.
pub fn run(program: &Path, folder: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = command(program, folder);
    command.args(arguments);
    let words = || format!("outlast {}", arguments.join(" "));
    let output = command.output().with_context(words)?;
    let said = [&output.stdout[..], &output.stderr[..]].map(|bytes| String::from_utf8_lossy(bytes));
    if !output.status.success() {
        bail!("{} ended with {}: {}", words(), output.status, said.concat());
    }
    Ok(said[0].to_string())
}

/// Waits until something holds.
///
/// # Errors
/// It never does.
pub fn until(
    what: &str,
    within: Duration,
    mut holds: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + within;
    while !holds()? {
        if Instant::now() > deadline {
            bail!("not within {within:?}: {what}");
        }
        std::thread::sleep(LOOK * 10);
    }
    Ok(())
}
