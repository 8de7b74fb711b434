//! Nodes that are stopped and go on: what they do not read grows nothing, and they catch up by themselves.
//!
//! Real processes: a hub and ten nodes. They are stopped for some seconds; `OUTLAST_TEST_STOPPED_FOR` says for how many.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use outlast::drill::cluster::Cluster;
use outlast::drill::standin::changes::Changes;
use outlast::drill::standin::{Config, Standin, seed};

use super::process::{PATIENCE, Process, outlast};

/// Nodes that are stopped.
const NODES: usize = 10;

/// For how long by default, in seconds: a ping is left without an answer in that time.
const STOPPED_FOR: u64 = 12;

/// Between two changes meanwhile.
const CHANGE_EVERY: Duration = Duration::from_millis(10);

/// What a hub may grow by all the same, in bytes: its history of these changes, and what an allocator makes of it.
const GROWTH: u64 = 12 << 20;

/// How long nodes may take until they have everything again: ten unoptimised builds that share a processor with others.
const CATCH_UP: Duration = Duration::from_secs(45);

/// A process with metrics.
struct Observed {
    process: Process,
    metrics: SocketAddr,
}

impl Observed {
    fn start(command: &mut std::process::Command) -> Self {
        let process = Process::start(command);
        let metrics = process.address("serving /metrics");
        Self { process, metrics }
    }

    fn hub(server: &Standin, dir: &Path) -> (Self, SocketAddr) {
        let kubeconfig = dir.join("kubeconfig");
        std::fs::write(&kubeconfig, server.kubeconfig()).unwrap();
        let mut command = outlast();
        command.args(["hub", "--listen", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0"]);
        command.args(["--health-address", "off", "--ready-address", "off", "--kubeconfig"]).arg(kubeconfig);
        let hub = Self::start(&mut command);
        let address = hub.process.address("serving followers");
        (hub, address)
    }

    fn node(hub: SocketAddr, dir: &Path) -> Self {
        let corefile = dir.join("Corefile");
        let text = format!(
            ".:0 {{\n bind 127.0.0.1\n prometheus 127.0.0.1:0\n kubernetes cluster.local {{\n hub {hub}\n }}\n}}\n"
        );
        std::fs::write(&corefile, text).unwrap();
        Self::start(outlast().args(["node", "--conf"]).arg(&corefile))
    }

    /// The sum of all series with this prefix.
    fn metric(&self, prefix: &str) -> f64 {
        let mut stream = TcpStream::connect(self.metrics).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let lines = text.lines().filter(|line| line.starts_with(prefix));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until a metric is at least this.
    async fn until(&self, series: &str, least: f64) {
        let deadline = Instant::now() + PATIENCE;
        while self.metric(series) < least {
            assert!(Instant::now() < deadline, "{series} is below {least}\n{}", self.process.output());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Resident memory in bytes.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }
}

const SLICES: &str = "outlast_data_resource_version{kind=\"EndpointSlice\"}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_nodes_that_are_stopped_cost_the_hub_nothing_and_catch_up() {
    let stopped_for = std::env::var("OUTLAST_TEST_STOPPED_FOR").ok();
    let stopped_for = Duration::from_secs(stopped_for.map_or(STOPPED_FOR, |text| text.parse().unwrap()));
    let dir = tempfile::tempdir().unwrap();
    let server = Standin::start(Config::default()).await.unwrap();
    seed::cluster(server.etcd(), Cluster::sized(1_000, 10_090), |_| ()).unwrap();
    let mut changes = Changes::of(server.etcd(), 1);
    let (hub, address) = Observed::hub(&server, dir.path());
    hub.until("outlast_data_state{state=\"live\"}", 1.0).await;
    let nodes: Vec<_> = (0..NODES)
        .map(|n| {
            let dir = dir.path().join(format!("{n}"));
            std::fs::create_dir(&dir).unwrap();
            Observed::node(address, &dir)
        })
        .collect();
    for node in &nodes {
        node.until("outlast_data_state{state=\"live\"}", 1.0).await;
    }
    // A log of changes and what the allocator needs for them are there before as well.
    for _ in 0..500 {
        changes.step().unwrap();
        tokio::time::sleep(CHANGE_EVERY).await;
    }
    let before = hub.memory();
    nodes.iter().for_each(|node| node.process.signal(Signal::SIGSTOP));
    let begun = Instant::now();
    let mut last = 0;
    while begun.elapsed() < stopped_for {
        last = changes.step().unwrap();
        tokio::time::sleep(CHANGE_EVERY).await;
    }
    let grown = hub.memory().saturating_sub(before);
    nodes.iter().for_each(|node| node.process.signal(Signal::SIGCONT));
    let woken = Instant::now();
    for node in &nodes {
        node.until(SLICES, last as f64).await;
    }
    let caught_up = woken.elapsed();
    // Whoever was thrown out would have come back by the next ping.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let left: Vec<_> = nodes.iter().map(|node| node.metric("outlast_hub_left_total")).collect();
    let mismatches: f64 =
        nodes.iter().map(|node| node.metric("outlast_hub_digest_mismatches_total")).sum::<f64>();
    let figures = format!(
        "stopped for {stopped_for:?} with changes up to {last}: the hub grew by {grown} bytes from {before}, all had caught \
         up after {caught_up:?}, hubs were left {left:?} times"
    );
    println!("{figures}");
    assert!(grown < GROWTH, "{figures}");
    assert!(caught_up < CATCH_UP, "{figures}");
    assert!(left.iter().all(|left| *left <= 1.0), "{figures}");
    assert_eq!(mismatches, 0.0);
}
