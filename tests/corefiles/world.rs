//! Where a Corefile is started: a machine with the files and the environment of a pod, an API server, and another
//! machine with the name servers that Corefiles name.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;

use base64::Engine;
use nix::sys::signal::Signal;
use outlast::testkit::client::{Answer, Query};
use outlast::testkit::cluster::{ns, pod, slice, svc, write_json};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::machine::{Machine, possible};
use super::process::{PATIENCE, Process, ask};
use super::programs::{program, there};
use super::servers::{Nsd, Server};

/// The way out of the machine, and the name server in its `resolv.conf`.
const OWN: &str = "172.30.0.1";
const UPSTREAM: &str = "172.30.0.2";

/// Addresses of other name servers that the Corefiles name.
const OTHERS: [&str; 9] = [
    "10.9.0.53",
    "10.9.1.53",
    "10.9.0.54",
    "10.202.30.193",
    "10.202.31.17",
    "10.96.87.4",
    "10.96.0.10",
    "10.233.0.3",
    UPSTREAM,
];

/// The one that has DoT, and its name.
const TLS: (&str, &str) = ("10.9.0.54", "dns.corp.example");

/// What every zone of all names begins with.
const ROOT: &str = ". 60 IN SOA ns. host. 1 60 60 60 5\n. 60 IN NS ns.\nns. 60 IN A 172.30.0.2\n";

/// What the name server of `resolv.conf` has.
const OUTSIDE: &str = "\
www.outside.example. 300 IN A 192.0.2.80
*.cold.example. 300 IN A 192.0.2.81
*.internal.example.net. 300 IN A 192.0.2.82
*.reddog.example.com. 300 IN A 192.0.2.82
*.dead.example.net. 300 IN A 192.0.2.82
80.2.0.192.in-addr.arpa. 300 IN PTR www.outside.example.
";

/// What the others have: zones of companies, and the cluster as its own DNS service answers.
const ELSEWHERE: &str = "\
*.corp.example. 300 IN A 192.0.2.90
*.intra.example. 300 IN A 192.0.2.90
*.team.example. 300 IN A 192.0.2.90
*.custom.example. 300 IN A 192.0.2.90
*.reloaded.example. 300 IN A 192.0.2.90
*.team-a.svc.cluster.local. 300 IN A 192.0.2.90
web.shop.svc.cluster.local. 30 IN A 10.96.0.7
7.0.96.10.in-addr.arpa. 30 IN PTR web.shop.svc.cluster.local.
";

/// The address of every name of a company.
pub(super) const ELSEWHERE_ADDRESS: &str = "192.0.2.90";

/// Addresses of the service that fits into no reply over UDP.
const MANY: u8 = 100;

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
    pub(super) fn corefile_path(&self) -> std::path::PathBuf {
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

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corefile/fixtures");

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The name server of `resolv.conf`, and the others; the latter have DoT, by an authority whose certificate is on
/// the machine.
fn name_servers(machine: &Machine, outside: &Machine, others: &[&str]) -> (Server, Server) {
    let start = |name: &str, addresses: &[&str], records: &str, tls| {
        let (folder, zone) = (outside.path(name), format!("{ROOT}{records}"));
        let nsd = Nsd { folder: &folder, addresses, zones: &[(".", &zone)], tls };
        let server = nsd.start(outside.command(program("nsd")));
        let at = SocketAddr::new(ip(addresses[0].split('@').next().unwrap()), 53);
        outside.inside(|| server.answers(at))
    };
    let upstream = start("upstream", &[UPSTREAM], OUTSIDE, None);
    let [chain, key, ca] = certificate();
    machine.write("etc/pki/ca.crt", &ca);
    outside.write("tls.crt", &chain);
    outside.write("tls.key", &key);
    let mut addresses: Vec<_> = others.iter().filter(|a| **a != UPSTREAM).map(|a| (*a).to_owned()).collect();
    addresses.push(format!("{}@5300", others[0]));
    addresses.push(format!("{}@853", TLS.0));
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    let (chain, key) = (outside.path("tls.crt"), outside.path("tls.key"));
    let elsewhere = start("elsewhere", &addresses, ELSEWHERE, Some((&*chain, &*key)));
    (upstream, elsewhere)
}

/// A certificate for the server with DoT: chain, key, and who has signed it.
fn certificate() -> [String; 3] {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![TLS.1.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    [leaf.pem(), key.serialize_pem(), issuer.pem()]
}

/// Puts the Corefile and the files beside it into `/etc/coredns` as kubelet does: in a folder that a link leads to,
/// which is exchanged at once. `custom/` is another volume.
fn config_map(machine: &Machine, version: &str, corefile: &str, files: &[(&str, &str)]) {
    let folder = machine.path("etc/coredns");
    machine.write(&format!("etc/coredns/..{version}/Corefile"), corefile);
    for (name, text) in files {
        let custom = name.starts_with("custom/");
        let place = if custom { (*name).to_owned() } else { format!("..{version}/{name}") };
        machine.write(&format!("etc/coredns/{place}"), text);
        if !custom {
            link(Path::new("..data").join(name).as_path(), &folder.join(name));
        }
    }
    link(Path::new("..data/Corefile"), &folder.join("Corefile"));
    let new = folder.join("..data_new");
    symlink(format!("..{version}"), &new).unwrap();
    fs::rename(new, folder.join("..data")).unwrap();
}

fn link(to: &Path, at: &Path) {
    if !at.is_symlink() {
        symlink(to, at).unwrap();
    }
}

/// Starts the stand-in, and gives the machine the folder of a ServiceAccount; where it listens.
fn api_server(machine: &Machine) -> (Process, u16) {
    let mut objects = vec![
        ns("default"),
        ns("kube-system"),
        ns("shop"),
        svc("default/kubernetes").ip("10.96.0.1").port("https", 443).build(),
        svc("shop/web").ip("10.96.0.7").port("http", 80).build(),
        svc("shop/storefront").ip("10.96.0.8").port("http", 80).build(),
        svc("shop/db").headless().port("sql", 5432).build(),
        slice("shop/db-1", "db").v4("10.1.1.1").v4("10.1.1.2").v4("10.1.1.3").port("sql", 5432).build(),
        svc("shop/many").headless().port("sql", 5432).build(),
        // The client is this pod: it is at the machine's own addresses.
        pod("shop/client", "127.0.0.1"),
    ];
    let slice = slice("shop/many-1", "many").port("sql", 5432);
    objects.push((1..=MANY).fold(slice, |slice, n| slice.v4(&format!("10.1.2.{n}"))).build());
    let (cluster, kubeconfig) = (machine.path("cluster.json"), machine.path("kubeconfig"));
    write_json(&objects, File::create(&cluster).unwrap()).unwrap();
    let mut command = machine.outlast();
    command.args(["drill", "standin", "--objects"]).arg(cluster).arg("--kubeconfig").arg(&kubeconfig);
    let process = Process::start(&mut command);
    process.wait_for("an API server", |p| p.output().contains('\n').then_some(()));

    let text = fs::read_to_string(kubeconfig).unwrap();
    let config: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    let cluster = &config["clusters"][0]["cluster"];
    let ca = cluster["certificate-authority-data"].as_str().unwrap();
    let ca = base64::engine::general_purpose::STANDARD.decode(ca).unwrap();
    const ACCOUNT: &str = "run/secrets/kubernetes.io/serviceaccount";
    machine.write(&format!("{ACCOUNT}/ca.crt"), std::str::from_utf8(&ca).unwrap());
    machine.write(&format!("{ACCOUNT}/token"), config["users"][0]["user"]["token"].as_str().unwrap());
    machine.write(&format!("{ACCOUNT}/namespace"), "kube-system");
    let port = cluster["server"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
    (process, port)
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
