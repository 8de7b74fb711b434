//! An API server, two hubs and five nodes, all of them processes, with TLS: taken away and brought back in every order,
//! while clients ask every node all the time.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::load::Client;
use super::node::Node;
use super::place::{Place, address};
use super::process::{PATIENCE, Process, outlast, run};
use super::standin::ApiServer;

/// Nodes that follow the hubs.
const NODES: usize = 5;

/// Every third time a node is killed while there is nothing that it could follow.
const NODE_EVERY: usize = 3;

/// Between two that are taken away, or brought back: time enough for followers to notice, and to be half way somewhere.
const APART: Duration = Duration::from_millis(40);

/// What is taken away and brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    ApiServer,
    Hub(usize),
}

const PARTS: [Part; 3] = [Part::ApiServer, Part::Hub(0), Part::Hub(1)];

/// Every order of them.
fn orders() -> Vec<[Part; 3]> {
    let order = |[a, b, c]: [usize; 3]| [PARTS[a], PARTS[b], PARTS[c]];
    [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]].map(order).to_vec()
}

/// A hub's place, and the hub while there is one.
struct Hub {
    /// What it is started with.
    arguments: Vec<String>,
    /// Where it serves.
    address: SocketAddr,
    process: Option<Process>,
}

impl Hub {
    fn new(n: usize, addresses: [SocketAddr; 2], folder: &Path, kubeconfig: &Path) -> Self {
        let file = |name: &str| folder.join(name).display().to_string();
        let snapshots = file(&format!("snapshots-of-hub-{n}"));
        let (address, sibling) = (addresses[n], addresses[1 - n].to_string());
        let arguments = [
            ("--listen", address.to_string()),
            ("--sibling", sibling),
            ("--kubeconfig", kubeconfig.display().to_string()),
            ("--snapshot", snapshots),
            ("--snapshot-interval", "1s".to_owned()),
            ("--tls-ca", file("hub/ca.crt")),
            ("--tls-cert", file("hub/tls.crt")),
            ("--tls-key", file("hub/tls.key")),
            ("--move-within", "200ms".to_owned()),
            ("--metrics-address", "off".to_owned()),
            ("--health-address", "off".to_owned()),
            ("--ready-address", "off".to_owned()),
        ];
        let arguments = arguments.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
        Self { arguments, address, process: None }
    }

    /// Starts it, again if somebody got hold of its port while it was away.
    fn start(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut process = Process::start(outlast().arg("hub").args(&self.arguments));
            while process.ended().is_none() {
                if process.output().contains("serving followers") {
                    self.process = Some(process);
                    return;
                }
                assert!(Instant::now() < deadline, "never serves\n{}", process.output());
                std::thread::sleep(Duration::from_millis(1));
            }
            let why = process.wait_for("why it ended", |p| Some(p.errors()).filter(|e| !e.is_empty()));
            assert!(why.contains("listening on") && Instant::now() < deadline, "{why}");
        }
    }

    fn end(&mut self, signal: Signal) {
        let process = self.process.take().expect("it runs");
        process.signal(signal);
        let (code, log) = process.wait();
        assert!(code == if signal == Signal::SIGKILL { -1 } else { 0 }, "{code}: {log}");
    }
}

/// One node, and who asks it.
struct Asked {
    place: Place,
    node: Option<Node>,
    client: Client,
}

impl Asked {
    fn new(place: Place) -> Self {
        let node = Some(Node::start(&place));
        let client = Client::start(place.dns());
        Self { place, node, client }
    }

    fn node(&self) -> &Node {
        self.node.as_ref().expect("it runs")
    }

    /// SIGKILL, and again: with what is on its disk.
    fn restart(&mut self) {
        self.client.dies();
        self.node.take().expect("it runs").kill();
        self.node = Some(Node::start(&self.place));
        self.client.born();
    }

    fn until_served(&self, marker: u32) {
        self.node().until(&format!("marker {marker}"), |_| self.client.newest() == Some(marker));
    }
}

/// Everything.
struct World<'a> {
    /// Where the API server's kubeconfig is.
    control: &'a Place,
    /// What it serves.
    objects: PathBuf,
    server: Option<ApiServer>,
    /// Starts it again.
    again: Option<Box<dyn FnOnce() -> ApiServer + 'a>>,
    hubs: [Hub; 2],
    nodes: Vec<Asked>,
    /// What was published last.
    marker: u32,
}

impl World<'_> {
    fn take(&mut self, part: Part, signal: Signal) {
        match part {
            Part::ApiServer => {
                let server = self.server.take().expect("it runs");
                self.again = Some(Box::new(server.end(self.control, signal)));
            }
            Part::Hub(n) => self.hubs[n].end(signal),
        }
    }

    fn bring(&mut self, part: Part) {
        match part {
            Part::ApiServer => self.server = self.again.take().map(|again| again()),
            Part::Hub(n) => self.hubs[n].start(),
        }
    }

    /// From its next start on the API server serves the next marker.
    fn publish(&mut self) {
        self.marker += 1;
        fs::write(&self.objects, cluster(self.marker).to_string()).unwrap();
    }

    fn until_served(&self) {
        self.nodes.iter().for_each(|asked| asked.until_served(self.marker));
    }
}

/// A cluster in which `web.shop` has the address of this marker. One of a later marker has more objects, and so a later
/// version.
fn cluster(marker: u32) -> Value {
    let namespace = |name: &str, uid: &str| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "uid": uid } });
    let service = |name: &str, ip: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "namespace": "shop", "name": name },
            "spec": { "type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "ports": [{ "port": 80 }] },
        })
    };
    let mut items = vec![
        namespace("kube-system", "7d7dd7a6-90ba-4d35-b3fd-9f5e3a1ec7b1"),
        namespace("shop", "6b1d7a3c-2f54-4a43-8d21-52c0a3a0c0de"),
    ];
    items.extend(
        (0..marker).map(|n| service(&format!("filler-{n}"), &format!("10.97.{}.{}", n / 200, n % 200 + 1))),
    );
    items.push(service("web", &address(marker).to_string()));
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

/// Certificates for hubs and nodes in a folder.
fn certificates(folder: &Path) {
    for arguments in ["init --out ca", "issue --ca ca --out hub hub", "issue --ca ca --out node node"] {
        let (code, out, error) = run(outlast().current_dir(folder).arg("certs").args(arguments.split(' ')));
        assert_eq!(code, 0, "{out}{error}");
    }
}

/// An address where nobody listens now.
fn free() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

#[test]
fn taken_away_and_brought_back_in_every_order_without_a_wrong_answer() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let control = Place::of_an_api_server("");
    let objects = folder.path().join("objects.json");
    fs::write(&objects, cluster(1).to_string()).unwrap();
    let server = ApiServer::start(&control, &["--objects", &objects.display().to_string()]);
    let addresses = [free(), free()];
    let mut hubs = [0, 1].map(|n| Hub::new(n, addresses, folder.path(), &control.kubeconfig()));
    hubs.iter_mut().for_each(Hub::start);
    let file = |name: &str| folder.path().join(name).display().to_string();
    let lines = format!(
        "hub {} {}\nhub_tls {} {} {}",
        hubs[0].address,
        hubs[1].address,
        file("node/ca.crt"),
        file("node/tls.crt"),
        file("node/tls.key")
    );
    let place = |_| Place::of_hubs(&lines, "snapshot_interval 1s");
    let nodes: Vec<_> = (0..NODES).map(place).map(Asked::new).collect();
    let mut world =
        World { control: &control, objects, server: Some(server), again: None, hubs, nodes, marker: 1 };
    // Before its first data a node has nothing to answer with.
    for asked in &world.nodes {
        asked.node().until_state("live");
        asked.node().until("a snapshot", |node| node.metric("outlast_snapshot_saves_total") >= Some(1.0));
        asked.client.born();
    }

    let began = Instant::now();
    let pairs = orders().into_iter().flat_map(|away| orders().into_iter().map(move |back| (away, back)));
    for (round, (away, back)) in pairs.enumerate() {
        world.until_served();
        for (n, part) in away.into_iter().enumerate() {
            let signal = if (round + n).is_multiple_of(2) { Signal::SIGKILL } else { Signal::SIGTERM };
            world.take(part, signal);
            std::thread::sleep(APART);
        }
        // All is gone but the nodes.
        if round.is_multiple_of(NODE_EVERY) {
            world.nodes[round / NODE_EVERY % NODES].restart();
        }
        world.publish();
        for part in back {
            world.bring(part);
            std::thread::sleep(APART);
        }
        println!("{round}: {away:?}, back {back:?}: at {:?}", began.elapsed());
    }
    world.until_served();

    let World { nodes, .. } = world;
    for Asked { node, client, .. } in nodes {
        let node = node.expect("it runs");
        let seen = client.stop();
        assert_eq!(seen.failures, [""; 0], "of {}\n{}", seen.answers, node.log());
        assert!(seen.answers > 1000, "all the time: {}", seen.answers);
        node.until_state("live");
        let panics = node.metric("coredns_panics_total").unwrap_or(0.0);
        assert_eq!(panics, 0.0);
    }
}
