//! A hub in a process of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use outlast::drill::standin::Standin;
use outlast::testkit::certs::IdentityFolder;

use crate::support::cpu::Cpu;
use crate::support::memory::Memory;
use crate::support::process::Process;
use crate::support::scrape::Scrape;

/// How long a hub may take until it is live.
const PATIENCE: Duration = Duration::from_secs(120);

/// A hub; killed when it goes out of scope.
pub(crate) struct Hub {
    /// Where followers are served.
    pub(crate) address: SocketAddr,
    /// Where its metrics are.
    metrics: SocketAddr,
    process: Process,
}

/// What a hub has spent so far.
pub(crate) struct Spent {
    /// Of the processors.
    pub(crate) cpu: Duration,
    /// Of memory.
    pub(crate) memory: Memory,
    /// Bytes of what it has sent, TLS and HTTP/2 not counted.
    pub(crate) sent: f64,
}

impl Hub {
    /// Starts one, with kubeconfig and snapshots in `dir`.
    pub(crate) fn start(standin: &Standin, dir: &Path, identity: &IdentityFolder) -> Self {
        let kubeconfig = dir.join("kubeconfig");
        std::fs::write(&kubeconfig, standin.kubeconfig()).unwrap();
        let mut command = Process::command();
        command.args(["hub", "--listen", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0"]);
        command.args(["--health-address", "off", "--ready-address", "off"]);
        command.arg("--kubeconfig").arg(kubeconfig).arg("--snapshot").arg(dir.join("snapshots"));
        command.arg("--tls-ca").arg(identity.path("ca.crt"));
        command
            .arg("--tls-cert")
            .arg(identity.path("tls.crt"))
            .arg("--tls-key")
            .arg(identity.path("tls.key"));
        command.envs([
            ("OUTLAST_CONTROL", "off"),
            ("OUTLAST_STATUS_ADDRESS", "off"),
            ("OUTLAST_HUB_STATUS_ADDRESS", "off"),
        ]);
        let mut process = Process::start(&mut command);
        let serving = process.address("serving followers").unwrap();
        let metrics = process.address("serving /metrics").unwrap();
        Self { address: serving, metrics, process }
    }

    /// Waits until its data is live.
    pub(crate) async fn until_live(&self) {
        let begun = Instant::now();
        while self.metric("outlast_data_state{state=\"live\"}") != 1.0 {
            assert!(begun.elapsed() < PATIENCE, "the hub is never live");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What it has spent.
    pub(crate) fn spent(&self) -> Spent {
        Spent {
            cpu: Cpu::of(self.process.id()).total(),
            memory: Memory::of(self.process.id()),
            sent: self.metric("outlast_hub_sent_bytes_total"),
        }
    }

    /// The value of one series; 0 if there is none.
    fn metric(&self, series: &str) -> f64 {
        Scrape::of(self.metrics).unwrap().value(series)
    }
}
