//! A node that follows an API server, and what its metrics say of it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::process::Process;
use crate::support::scrape::Scrape;

/// How long a node may take for a list.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// Between two looks at the metrics.
const LOOK: Duration = Duration::from_millis(50);

/// Numbers that do not change for so many looks count as all there is, where nobody knows how many there are.
const STEADY: usize = 60;

/// Kinds that every node follows.
const KINDS: [&str; 3] = ["Namespace", "Service", "EndpointSlice"];

/// A running node.
pub(crate) struct Node {
    process: Process,
    /// Where its metrics are.
    metrics: SocketAddr,
}

/// How far a node is.
#[derive(Clone, PartialEq)]
pub(crate) struct Progress {
    /// Whether its data is live.
    live: bool,
    /// Endpoint addresses that it holds.
    endpoints: u64,
    /// How far it has come, by kind.
    versions: [u64; KINDS.len()],
}

impl Progress {
    /// Whether the source has proved the data.
    pub(crate) const fn is_live(&self) -> bool {
        self.live
    }

    /// Whether every kind has come further than any had before.
    pub(crate) fn is_past(&self, before: &Self) -> bool {
        let newest = before.versions.iter().max();
        self.versions.iter().all(|version| Some(version) > newest)
    }

    /// Whether it knows how far every kind has come.
    pub(crate) fn is_known(&self) -> bool {
        self.versions.iter().all(|version| *version > 0)
    }
}

impl Node {
    /// Starts one with a snapshot folder in `dir`.
    pub(crate) fn start(kubeconfig: &Path, dir: &Path) -> Result<Self, String> {
        let corefile = dir.join("Corefile");
        let text = format!(
            ".:0 {{\n bind 127.0.0.1\n prometheus 127.0.0.1:0\n kubernetes cluster.local in-addr.arpa ip6.arpa {{\n \
             kubeconfig {}\n snapshot {}\n }}\n}}\n",
            kubeconfig.display(),
            dir.join("snapshot").display()
        );
        std::fs::write(&corefile, text).map_err(|e| e.to_string())?;
        let mut command = Process::command();
        command.args(["node", "--quiet", "--conf"]).arg(&corefile).stderr(Stdio::inherit());
        let mut process = Process::start(&mut command);
        let metrics = process.address("serving /metrics")?;
        Ok(Self { process, metrics })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends it, with a last snapshot.
    pub(crate) fn stop(&mut self) -> Result<(), String> {
        self.process.signal(Signal::SIGTERM);
        self.process.wait()
    }

    /// Waits until it is live and holds so many endpoints; or, where nobody knows how many, no more come.
    pub(crate) fn wait_until_synced(&self, endpoints: Option<u64>) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        let (mut last, mut steady) = (None, 0);
        while Instant::now() < deadline {
            let now = self.progress()?;
            steady = if last.as_ref() == Some(&now) { steady + 1 } else { 0 };
            let all = endpoints.map_or(steady >= STEADY, |endpoints| now.endpoints == endpoints);
            if now.live && all {
                return Ok(());
            }
            last = Some(now);
            std::thread::sleep(LOOK);
        }
        Err(format!("not in sync within {PATIENCE:?}"))
    }

    /// How far it is now.
    pub(crate) fn progress(&self) -> Result<Progress, String> {
        let scrape = Scrape::of(self.metrics).map_err(|e| format!("reading metrics: {e}"))?;
        let value = |series: &str| scrape.value(series) as u64;
        Ok(Progress {
            live: value("outlast_data_state{state=\"live\"}") == 1,
            endpoints: value("outlast_endpoints"),
            versions: KINDS.map(|kind| value(&format!("outlast_data_resource_version{{kind=\"{kind}\"}}"))),
        })
    }
}

/// Takes the position out of the newest snapshot of `dir`: out into what kubectl prints, and in again.
pub(crate) fn remove_position(dir: &Path) -> Result<(), String> {
    let (folder, objects) = (dir.join("snapshot"), dir.join("objects.json"));
    let run = |words: &[&str], paths: [&Path; 2]| -> Result<Vec<u8>, String> {
        let [first, second] = paths;
        let mut command = Process::command();
        command.arg("snapshot").args(&words[..1]).arg(first).args(&words[1..]);
        if words.len() > 1 {
            command.arg(second);
        }
        let done = command.output().map_err(|e| e.to_string())?;
        if done.status.success() {
            Ok(done.stdout)
        } else {
            Err(format!("snapshot {words:?}: {}", done.status))
        }
    };
    let exported = run(&["export"], [&folder, &folder])?;
    std::fs::write(&objects, exported).map_err(|e| e.to_string())?;
    for entry in std::fs::read_dir(&folder).map_err(|e| e.to_string())? {
        std::fs::remove_file(entry.map_err(|e| e.to_string())?.path()).map_err(|e| e.to_string())?;
    }
    run(&["import", "--out"], [&objects, &folder.join("gen-00000000000000000001.snap")]).map(drop)
}
