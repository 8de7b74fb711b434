//! Load: dnsperf, and what it says in the end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Sockets that ask, each a flow of its own to the kernel that spreads them.
const CLIENTS: u32 = 8;

/// Queries that wait for their reply, over all clients.
const OUTSTANDING: u32 = 100;

/// What dnsperf has counted.
pub(crate) struct Load {
    /// Queries that were answered.
    pub(crate) completed: u64,
    /// Queries that were not, within dnsperf's 5 s.
    pub(crate) lost: u64,
    /// Answered queries a second.
    pub(crate) rate: f64,
    /// Replies by code, as dnsperf spells them.
    codes: Vec<(String, u64)>,
}

/// Where the program is, or how to come by it.
pub(crate) fn find() -> Result<PathBuf, String> {
    super::servers::program("dnsperf")
        .ok_or_else(|| "dnsperf is missing, the load comes from it: apt-get install dnsperf".to_owned())
}

impl Load {
    /// Asks a server what is in a file, over and over.
    pub(crate) fn put(
        dnsperf: &Path,
        server: SocketAddr,
        file: &Path,
        time: Duration,
    ) -> Result<Self, String> {
        let mut command = Command::new(dnsperf);
        command.args(["-s", &server.ip().to_string(), "-p", &server.port().to_string(), "-d"]).arg(file);
        command.args(["-c", &CLIENTS.to_string(), "-q", &OUTSTANDING.to_string()]);
        command.args(["-l", &time.as_secs().max(1).to_string()]).stdin(Stdio::null());
        let done = command.output().map_err(|e| format!("dnsperf: {e}"))?;
        let text = String::from_utf8_lossy(&done.stdout);
        if !done.status.success() {
            return Err(format!("dnsperf: {}\n{text}{}", done.status, String::from_utf8_lossy(&done.stderr)));
        }
        Self::parse(&text)
            .ok_or_else(|| format!("dnsperf says something else than its release 2.10:\n{text}"))
    }

    /// Reads what dnsperf prints in the end.
    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<f64>().ok()
        };
        let codes = text.lines().find_map(|line| line.trim().strip_prefix("Response codes:"))?;
        let code = |word: &str| {
            let mut words = word.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
        };
        Some(Self {
            completed: field("Queries completed:")? as u64,
            lost: field("Queries lost:")? as u64,
            rate: field("Queries per second:")?,
            codes: codes.split(',').map(code).collect::<Option<_>>()?,
        })
    }

    /// Fails unless every reply had a code that was to be expected: NXDOMAIN for this part of them (from 0 to 1,
    /// to a hundredth: the last pass through the file is not whole), else NOERROR.
    pub(crate) fn check(&self, missing: f64) -> Result<(), String> {
        /// How far the part may be off.
        const TOLERANCE: f64 = 0.01;
        let of = |code: &str| self.codes.iter().filter(|(c, _)| c == code).map(|(_, n)| n).sum::<u64>();
        let (good, bad) = (of("NOERROR"), of("NXDOMAIN"));
        let part = bad as f64 / self.completed.max(1) as f64;
        if good + bad != self.completed || (part - missing).abs() > TOLERANCE || (missing == 0.0 && bad > 0) {
            return Err(format!("wrong replies: {:?}, {missing} of them were to be NXDOMAIN", self.codes));
        }
        Ok(())
    }
}
