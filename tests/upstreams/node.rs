//! The node under load, its folder, and ports for upstreams.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;

use nix::sys::signal::Signal;
use outlast::testkit::client::Query;
use outlast::testkit::cluster::{ns, svc, write_json};

use super::load::{WARM, warm_address, warm_name};
use super::process::{PATIENCE, Process, outlast};

/// Ports tried until one is free for UDP and TCP both.
const PORT_TRIES: usize = 64;

/// A running node; killed when it is dropped.
pub(super) struct Node {
    process: Process,
}

impl Node {
    /// A node that asks these upstreams, whose server block has these lines besides.
    pub(super) fn start(folder: &Path, upstreams: &[SocketAddr], lines: &str) -> Self {
        let upstreams: Vec<_> = upstreams.iter().map(ToString::to_string).collect();
        let corefile = format!(
            ".:0 {{\n bind 127.0.0.1\n errors\n prometheus 127.0.0.1:0\n cache\n forward . {}\n {lines}\n}}\n",
            upstreams.join(" ")
        );
        let file = folder.join("Corefile");
        fs::write(&file, corefile).unwrap();
        Self { process: Process::start(outlast().args(["node", "--conf"]).arg(file)).serving() }
    }

    /// Where it answers.
    pub(super) fn dns(&self) -> SocketAddr {
        self.process.dns()
    }

    /// Asks for every name in use once.
    pub(super) fn warm_up(&self) {
        for number in 0..WARM {
            let answer = self.process.ask(&Query::a(&warm_name(number)));
            let want = warm_address(number, false).to_string();
            assert!(answer.answers()[0].ends_with(&want), "{:?}", answer.answers());
        }
    }

    /// The sum of the series of a metric.
    pub(super) fn metric(&self, name: &str) -> f64 {
        let mut stream = TcpStream::connect(self.process.address("serving /metrics")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            (rest.starts_with(['{', ' '])).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        });
        values.sum()
    }

    /// SIGTERM, and its end.
    pub(super) fn terminate(self) {
        self.process.signal(Signal::SIGTERM);
        let (code, output) = self.process.wait();
        assert_eq!(code, 0, "{output}");
    }
}

/// Lines with which a node has a cluster, and a folder for what outlives it.
pub(super) fn with_snapshots(folder: &Path) -> String {
    let cluster = folder.join("cluster.json");
    let objects = [ns("shop"), svc("shop/web").ip("10.96.0.7").port("http", 80).build()];
    write_json(&objects, fs::File::create(&cluster).unwrap()).unwrap();
    let (cluster, snapshots) = (cluster.display(), folder.join("snapshots"));
    format!("kubernetes cluster.local {{\n source file {cluster}\n snapshot {}\n }}", snapshots.display())
}

/// A port of loopback that is free for UDP and TCP.
pub(super) fn free() -> SocketAddr {
    for _ in 0..PORT_TRIES {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        // For UDP somebody may have it.
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free for UDP and TCP both")
}
