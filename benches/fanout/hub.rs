//! A hub in a process of its own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use outlast::drill::standin::Standin;
use outlast::testkit::certs::IdentityFolder;

use crate::process::Process;
use crate::support::memory::Memory;

/// How long a hub may take until it is live.
const PATIENCE: Duration = Duration::from_secs(120);

/// The kernel's clock ticks (`USER_HZ`): what `/proc` counts processor time in on every architecture of Linux.
const TICKS_A_SECOND: u64 = 100;

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
        command.env("OUTLAST_CONTROL", "off");
        let mut process = Process::start(&mut command);
        let address = |line: String| line.split(['=', ' ', '"']).find_map(|word| word.parse().ok()).unwrap();
        let serving = address(process.line("serving followers").unwrap());
        let metrics = address(process.line("serving /metrics").unwrap());
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
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        // Behind the name, which may hold anything: utime and stime are the 14th and 15th of all, see proc(5).
        let (_, rest) = stat.rsplit_once(')').unwrap();
        let ticks: u64 = rest.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum();
        Spent {
            cpu: Duration::from_millis(ticks * 1000 / TICKS_A_SECOND),
            memory: Memory::of(self.process.id()),
            sent: self.metric("outlast_hub_sent_bytes_total"),
        }
    }

    /// The value of one series; 0 if there is none.
    fn metric(&self, series: &str) -> f64 {
        let text = get(self.metrics).unwrap();
        let line = text.lines().find_map(|l| l.strip_prefix(series)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(0.0)
    }
}

/// `GET /metrics`
fn get(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
