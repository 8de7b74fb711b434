//! Where a Corefile is started: a machine with the files and the environment of a pod, an API server, and another
//! machine with the name servers that Corefiles name.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use nix::sys::signal::Signal;
use outlast::testkit::client::{Answer, Query};

use super::machine::{Machine, possible};
use super::process::{PATIENCE, Process, ask};
use super::programs::there;
use super::servers::Server;
use super::surroundings::{OTHERS, OWN, UPSTREAM, api_server, config_map, ip, name_servers};

/// Where the Corefiles are.
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corefile/fixtures");

/// The address of every name of a company.
pub(super) const ELSEWHERE_ADDRESS: &str = "192.0.2.90";

/// Where it is started, besides its file.
pub(super) struct Place {
    /// Of `tests/corefile/fixtures`.
    pub(super) file: &'static str,
    /// Where it is asked.
    pub(super) at: &'static str,
    /// Addresses of the machine besides 127.0.0.1.
    pub(super) local: &'static [&'static str],
    /// Where its metrics are.
    pub(super) metrics: &'static str,
    /// Files beside it: of its ConfigMap, and those below `custom/`.
    pub(super) files: &'static [(&'static str, &'static str)],
}

/// A node that was started with a Corefile, and what is around it.
pub(super) struct World {
    pub(super) node: Process,
    pub(super) place: &'static Place,
    machine: Machine,
    upstream: Option<Server>,
    _elsewhere: Server,
    _outside: Machine,
    _api_server: Process,
}

/// Whether there can be one.
pub(super) fn can_be() -> bool {
    possible() && there(&["nsd"])
}

impl World {
    /// Starts it; it answers.
    pub(super) fn new(place: &'static Place) -> Self {
        Self::with_resolv_conf(place, UPSTREAM)
    }

    /// The same with another name server in `resolv.conf`.
    pub(super) fn with_resolv_conf(place: &'static Place, nameserver: &str) -> Self {
        let machine = Machine::new(place.local);
        let others: Vec<_> = OTHERS.into_iter().filter(|a| !place.local.contains(a)).collect();
        let outside = Machine::new(&others);
        machine.connect(&outside, ip(OWN), ip(UPSTREAM));
        let (upstream, elsewhere) = name_servers(&machine, &outside, &others);

        let text = fs::read_to_string(format!("{FIXTURES}/{}", place.file)).unwrap();
        config_map(&machine, "1", &text, place.files);
        let search = "search kube-system.svc.cluster.local svc.cluster.local cluster.local";
        machine.write("etc/resolv.conf", &format!("{search}\nnameserver {nameserver}\noptions ndots:5\n"));
        let (api_server, port) = api_server(&machine);
        let mut command = machine.outlast();
        command.args(["-conf", "/etc/coredns/Corefile"]);
        command.env("KUBERNETES_SERVICE_HOST", "127.0.0.1").env("KUBERNETES_SERVICE_PORT", port.to_string());
        command.env("POD_NAME", "coredns-7").env("DNS_PORT", place.at.rsplit(':').next().unwrap());
        let node = Process::start(&mut command).serving();
        Self {
            node,
            place,
            machine,
            upstream: Some(upstream),
            _elsewhere: elsewhere,
            _outside: outside,
            _api_server: api_server,
        }
    }

    /// The Corefile as it is now.
    pub(super) fn corefile(&self) -> String {
        fs::read_to_string(self.machine.path("etc/coredns/Corefile")).unwrap()
    }

    /// Where the Corefile is, seen from outside of the machine.
    pub(super) fn corefile_path(&self) -> PathBuf {
        self.machine.path("etc/coredns/Corefile")
    }

    /// Exchanges the Corefile as kubelet exchanges a ConfigMap: by one rename of a symbolic link.
    pub(super) fn replace(&self, text: &str) {
        config_map(&self.machine, "2", text, self.place.files);
    }

    /// Name servers are asked elsewhere from now on; read at the next start or reload.
    pub(super) fn set_upstream(&self) {
        self.machine.write("etc/resolv.conf", &format!("nameserver {UPSTREAM}\n"));
    }

    /// The name server of `resolv.conf` is gone.
    pub(super) fn kill_upstream(&mut self) {
        if let Some(upstream) = self.upstream.take() {
            upstream.kill();
        }
    }

    /// Asks over UDP, again if a packet is lost.
    pub(super) fn ask(&self, query: &Query) -> Answer {
        self.ask_at(self.place.at, query)
    }

    /// The same elsewhere.
    pub(super) fn ask_at(&self, at: &str, query: &Query) -> Answer {
        let at: SocketAddr = at.parse().unwrap();
        self.machine.inside(|| self.node.wait_for("an answer", |_| ask(at, query)))
    }

    /// Whether anybody answers there.
    pub(super) fn answers_at(&self, at: &str, query: &Query) -> bool {
        let at: SocketAddr = at.parse().unwrap();
        self.machine.inside(|| ask(at, query)).is_some()
    }

    /// Asks until the answer is as it should be.
    pub(super) fn ask_until(
        &self,
        what: &str,
        query: &Query,
        holds: impl Fn(&Answer) -> bool + Sync,
    ) -> Answer {
        let at: SocketAddr = self.place.at.parse().unwrap();
        self.machine.inside(|| self.node.wait_for(what, |_| ask(at, query).filter(&holds)))
    }

    /// Status and body of `GET path`, once somebody listens.
    pub(super) fn get(&self, address: &str, path: &str) -> (u16, String) {
        self.machine.inside(|| self.node.wait_for("an HTTP answer", |_| get(address, path)))
    }

    /// The sum of the series of a metric that have this in their labels.
    pub(super) fn metric(&self, name: &str, label: &str) -> f64 {
        let (_, text) = self.get(self.place.metrics, "/metrics");
        let value = |line: &str| {
            let rest = line.strip_prefix(name)?;
            let is = rest.starts_with(['{', ' ']) && rest.contains(label);
            is.then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        };
        text.lines().filter_map(value).sum()
    }

    /// Has it read its Corefile again.
    pub(super) fn reload(&self) {
        self.node.signal(Signal::SIGUSR1);
    }
}

fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).ok()?;
    let (head, body) = reply.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
