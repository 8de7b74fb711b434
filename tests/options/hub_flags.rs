//! Flags of `outlast hub`: each has its effect, seen by a follower that speaks the protocol by hand.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use outlast::drill::standin::faults::Network;
use outlast::drill::standin::{Config, Standin};
use outlast::feed::frame::{Frame, Reply, State};
use outlast::feed::view::View;
use outlast::testkit::certs::{Ca, Dates, IdentityFolder, Leaf};
use outlast::testkit::hub::Follower;
use outlast::trust::name::Role;
use outlast::zone::object::Kind;
use serde_json::json;
use tempfile::TempDir;

use super::apiserver::ApiServer;
use super::cluster::snapshots;
use super::http::get;
use super::hub::{Hub, files, follows, is_left_alone};
use super::process::{Process, outlast, run};

/// What followers ask for here.
const VIEW: View = View { headless_only: false, pods: false };

/// More services than the smallest history or the buffers of a stream have room for: names that do not compress.
const MANY: usize = 6000;

/// Flags of every hub here, unless a test says otherwise: nothing meets what others of this machine have.
const USUAL: [(&str, &str); 5] = [
    ("--listen", "127.0.0.1:0"),
    ("--metrics-address", "off"),
    ("--health-address", "off"),
    ("--ready-address", "off"),
    ("--control", "off"),
];

/// An API server, and a folder for hubs.
struct World {
    server: Standin,
    folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let server = Standin::start(Config::default()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("kubeconfig"), server.kubeconfig()).unwrap();
        Self { server, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// So many services, with names that begin with this.
    fn services(&self, prefix: &str, count: usize) {
        for n in 0..count {
            let salt = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let object = json!({
                "metadata": {"namespace": "shop", "name": format!("{prefix}-{salt:016x}")},
                "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"]},
            });
            self.server.etcd().put(Kind::Service, &object).unwrap();
        }
    }

    /// A hub of this API server.
    fn command(&self, arguments: &[&str]) -> Command {
        let kubeconfig = self.path("kubeconfig").to_string_lossy().into_owned();
        let usual = USUAL.into_iter().chain([("--kubeconfig", kubeconfig.as_str())]);
        let mut command = outlast();
        command.arg("hub").args(arguments);
        for (flag, value) in usual.filter(|(flag, _)| !arguments.contains(flag)) {
            command.args([flag, value]);
        }
        command
    }

    fn start(&self, arguments: &[&str]) -> Running {
        Running::of(self.command(arguments))
    }

    /// What a hub says that cannot start.
    fn wrong(&self, arguments: &[&str], want: &str) {
        let (code, _, error) = run(&mut self.command(arguments));
        assert!(code == 2 && error.contains(want), "{arguments:?}: {error}");
    }
}

/// A hub that runs until the test ends.
struct Running {
    process: Process,
    address: SocketAddr,
}

impl Running {
    fn of(mut command: Command) -> Self {
        let process = Process::start(&mut command);
        let address = process.address("serving followers");
        Self { process, address }
    }

    /// A follower that has so many services.
    async fn followed(&self, services: usize) -> Follower {
        let mut follower = Follower::fresh(self.address, VIEW).await;
        follower.whole().await;
        follower.count(Kind::Service, services).await;
        follower
    }

    /// Where a face is.
    fn face(&self, path: &str) -> SocketAddr {
        self.process.address(&format!("serving {path}"))
    }

    /// Waits until a metric is as it should be; the hub has its metrics at some port.
    fn metric(&self, series: &str, is: impl Fn(f64) -> bool) {
        let at = self.face("/metrics");
        self.process.wait_for(series, |_| {
            let (_, text) = get(at, "/metrics");
            let value = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
            is(value.unwrap_or(0.0)).then_some(())
        });
    }

    fn says(&self, text: &str) {
        self.process.wait_for(text, |p| p.output().contains(text).then_some(()));
    }
}

/// A port of loopback for the metrics.
const METRICS: [&str; 2] = ["--metrics-address", "127.0.0.1:0"];

// === Where, and from where ===

#[tokio::test(flavor = "multi_thread")]
async fn hub_flag_listen() {
    let world = World::new().await;
    let hub = world.start(&["--listen", "127.0.0.1:0,127.0.0.2:0"]);
    hub.followed(0).await;
    hub.says("serving followers address=127.0.0.2:");
    let mut by_variable = world.command(&["--listen", "127.0.0.1:0"]);
    by_variable.env("OUTLAST_HUB_LISTEN", "127.0.0.9:0");
    assert_eq!(Running::of(by_variable).address.ip().to_string(), "127.0.0.1", "the flag is ahead");
    world.wrong(&["--listen", "hub.example.org"], "names are not looked up");
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_flag_plain() {
    let world = World::new().await;
    world.wrong(&["--listen", "0.0.0.0:0"], "--tls-ca, --tls-cert and --tls-key, or --plain");
    world.start(&["--listen", "0.0.0.0:0", "--plain"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_flag_kubeconfig() {
    let world = World::new().await;
    world.services("web", 3);
    world.start(&[]).followed(3).await;
    let missing = world.path("missing");
    world.start(&["--kubeconfig", missing.to_str().unwrap()]).says(missing.to_str().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_flag_endpoint() {
    let server = ApiServer::start("10.0.0.7").await;
    let mut command = outlast();
    command.args(["hub", "--endpoint", &server.url]);
    command.args(USUAL.iter().flat_map(|(flag, value)| [flag, value]));
    Running::of(command).followed(1).await;
    assert!(server.requests() > 0);
}

/// Whether followers are told of this hub.
async fn tells_of(world: &World, arguments: &[&str], other: &str) {
    let (hub, other) = (world.start(arguments), other.parse().unwrap());
    hub.followed(0).await.until(|f| f.hubs.contains(&other)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_flag_advertise() {
    tells_of(&World::new().await, &["--plain", "--advertise", "192.0.2.1"], "192.0.2.1:9953").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_flag_sibling() {
    tells_of(&World::new().await, &["--plain", "--sibling", "127.0.0.7:9,192.0.2.2"], "127.0.0.7:9").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_flag_service() {
    let world = World::new().await;
    let slice = json!({
        "metadata": {"namespace": "outlast", "name": "hub-1", "labels": {"kubernetes.io/service-name": "hub"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.8"], "conditions": {"ready": true}}],
        "ports": [{"name": "grpc", "port": 9953, "protocol": "TCP"}],
    });
    world.server.etcd().put(Kind::EndpointSlice, &slice).unwrap();
    let hub = world.start(&["--plain", "--service", "outlast/hub"]);
    let other = SocketAddr::from(([127, 0, 0, 8], hub.address.port()));
    hub.followed(0).await.until(|f| f.hubs.contains(&other)).await;
    world.wrong(&["--service", "hub"], "write NAMESPACE/NAME");
}

// === What is kept ===

/// Whether a follower is told that the hub has these.
async fn has(world: &World, arguments: &[&str]) -> (bool, bool) {
    let hub = world.start(arguments);
    let welcome = hub.followed(0).await.welcome.unwrap();
    (welcome.pods, welcome.labels)
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_flag_pods() {
    let world = World::new().await;
    assert_eq!(has(&world, &[]).await, (false, false));
    assert_eq!(has(&world, &["--pods"]).await, (true, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_flag_labels() {
    assert_eq!(has(&World::new().await, &["--labels"]).await, (false, true));
}

/// Waits for snapshots in a folder.
fn kept(hub: &Running, folder: &Path, count: usize) {
    hub.process.wait_for("snapshots", |_| (snapshots(folder) >= count).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_flag_snapshot() {
    let world = World::new().await;
    world.services("web", 3);
    let folder = world.path("snapshots");
    let arguments = ["--snapshot", folder.to_str().unwrap()];
    let hub = world.start(&arguments);
    kept(&hub, &folder, 1);
    drop(hub);
    world.server.faults().set_network(Network::Refuse);
    world.start(&arguments).followed(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_flag_snapshot_interval() {
    let world = World::new().await;
    let folder = world.path("snapshots");
    let hub = world.start(&["--snapshot", folder.to_str().unwrap(), "--snapshot-interval", "1s"]);
    kept(&hub, &folder, 1);
    let began = Instant::now();
    world.services("web", 1);
    kept(&hub, &folder, 2);
    assert!(began.elapsed() < Duration::from_secs(30), "sooner than by default");
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_flag_stale_after() {
    let world = World::new().await;
    for (arguments, want) in [(&[][..], State::Live), (&["--stale-after", "1ms"], State::Stale)] {
        let hub = world.start(arguments);
        let mut follower = hub.followed(0).await;
        let mut nonce = 0;
        // What has only just come may not be proved yet.
        while follower.heartbeat(nonce).await.state != want {
            nonce += 1;
            assert!(nonce < 1000, "{arguments:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A hub of a cluster that has lost half of its services while nobody looked.
fn halved(world: &World, arguments: &[&str]) -> Running {
    let folder = world.path("snapshots");
    let _ = std::fs::remove_dir_all(&folder);
    world.services("web", 30);
    let snapshot = ["--snapshot", folder.to_str().unwrap()];
    kept(&world.start(&snapshot), &folder, 1);
    let etcd = world.server.etcd();
    for n in 0..15_u64 {
        let salt = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        etcd.delete(Kind::Service, "shop", &format!("web-{salt:016x}")).unwrap();
    }
    etcd.forget_history();
    world.start(&[&snapshot, arguments].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_flag_guard() {
    let world = World::new().await;
    let hub = halved(&world, &["--guard", "on"]);
    hub.says("a list takes away too much");
    let mut follower = hub.followed(30).await;
    follower.until(|f| f.held.len() == 15).await;
    drop(hub);
    halved(&world, &["--guard", "off"]).followed(15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_flag_guard_hold() {
    halved(&World::new().await, &["--guard-hold", "2h"]).says("hold_for=7200s");
}

// === Who is believed: one thread, which the log of a node in this process belongs to ===

/// A hub within TLS whose node is followed; without one of the three files it does not start.
async fn three_files(changed: usize) {
    let (world, ca) = (World::new().await, Ca::new());
    let (hub, node) = (IdentityFolder::real(&ca, Role::Hub), IdentityFolder::real(&ca, Role::Node));
    let paths = files(&hub);
    let names = ["--tls-ca", "--tls-cert", "--tls-key"];
    let all: Vec<&str> = names.iter().zip(&paths).flat_map(|(name, path)| [*name, path.as_str()]).collect();
    let server = ApiServer::start("10.0.0.7").await;
    let mut command = outlast();
    command.args(["hub", "--endpoint", &server.url]).args(&all);
    command.args(USUAL.iter().flat_map(|(flag, value)| [flag, value]));
    let hub = Running::of(command);
    let lines = format!("hub {}\n hub_tls {}", hub.address, files(&node).join(" "));
    follows(&lines, "10.0.0.7").await;
    let mut without = all.clone();
    without.drain(changed * 2..changed * 2 + 2);
    world.wrong(&without, names[changed]);
}

#[tokio::test]
async fn hub_flag_tls_ca() {
    three_files(0).await;
}

#[tokio::test]
async fn hub_flag_tls_cert() {
    three_files(1).await;
}

#[tokio::test]
async fn hub_flag_tls_key() {
    three_files(2).await;
}

#[tokio::test]
async fn hub_flag_cert_grace() {
    let ca = Ca::new();
    let identity = IdentityFolder::real(&ca, Role::Hub);
    // Over for three days.
    let expired = IdentityFolder::new(&ca, &Leaf::of(Role::Node).dates(Dates::real().later(-338)), &ca);
    for (grace, is_believed) in [("1h", false), ("96h", true)] {
        let flags = ["--cert-grace".to_owned(), grace.to_owned()];
        let hub = Hub::tls_with("10.0.0.7", &identity, &flags).await;
        let lines = format!("hub {}\n hub_tls {}", hub.address, files(&expired).join(" "));
        if is_believed {
            follows(&lines, "10.0.0.7").await;
        } else {
            is_left_alone(&lines, "left hub").await;
        }
    }
}

// === Limits ===

#[tokio::test(flavor = "multi_thread")]
async fn hub_flag_history_bytes() {
    let least = 65_536.0;
    for (bytes, is_enough) in [("65536", false), ("16777216", true)] {
        let world = World::new().await;
        let hub = world.start(&[METRICS[0], METRICS[1], "--history-bytes", bytes]);
        let mut follower = hub.followed(0).await;
        world.services("web", 3 * MANY);
        follower.count(Kind::Service, 3 * MANY).await;
        // Figures are brought up to date once a second.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        hub.metric("outlast_hub_history_bytes ", |kept| (kept > least) == is_enough);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_flag_max_subscribers() {
    let world = World::new().await;
    let hub = world.start(&["--max-subscribers", "1"]);
    let _first = hub.followed(0).await;
    let mut second = Follower::fresh(hub.address, VIEW).await;
    let reply = second.next().await;
    assert!(matches!(reply, Some(Reply::Frame(Frame::RetryAfter { .. }))), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_flag_transfers() {
    let world = World::new().await;
    // More than there is room for between the two.
    world.services("web", 10 * MANY);
    let hub = world.start(&[METRICS[0], METRICS[1], "--transfers", "1"]);
    hub.metric("outlast_objects{kind=\"Service\"} ", |services| services > 0.0);
    // It does not read, so that it is not sent all for as long as it counts.
    let _first = Follower::fresh(hub.address, VIEW).await;
    hub.metric("outlast_hub_transfers ", |running| running == 1.0);
    let _second = Follower::fresh(hub.address, VIEW).await;
    hub.metric("outlast_hub_queue_length ", |waiting| waiting == 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_flag_transfer_rate() {
    let world = World::new().await;
    let hub = world.start(&["--transfer-rate", "1"]);
    hub.followed(0).await;
    let began = Instant::now();
    for _ in 0..3 {
        hub.followed(0).await;
    }
    assert!(began.elapsed() > Duration::from_millis(1500), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_flag_move_within() {
    let world = World::new().await;
    let hub = world.start(&["--move-within", "1234ms"]);
    let mut follower = hub.followed(0).await;
    hub.process.signal(Signal::SIGTERM);
    loop {
        if let Reply::Frame(Frame::Move { within }) = follower.next().await.expect("told before the end") {
            break assert_eq!(within, Duration::from_millis(1234));
        }
    }
}

// === Faces ===

/// A face is where it is said to be.
async fn face(flag: &str, path: &str) {
    let world = World::new().await;
    let hub = world.start(&[flag, "127.0.0.3:0"]);
    let _follower = hub.followed(0).await;
    let at = hub.face(path);
    assert_eq!(at.ip().to_string(), "127.0.0.3");
    hub.process.wait_for(path, |_| (get(at, path).0 == 200).then_some(()));
    assert!(!world.start(&[]).process.output().contains(&format!("serving {path}")), "off");
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_flag_metrics_address() {
    face("--metrics-address", "/metrics").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_flag_health_address() {
    face("--health-address", "/health").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_flag_ready_address() {
    face("--ready-address", "/ready").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_flag_status_address() {
    let world = World::new().await;
    let mut command = world.command(&["--status-address", "127.0.0.1:0"]);
    command.env("OUTLAST_HUB_STATUS_ADDRESS", "localhost:1");
    let hub = Running::of(command);
    let at = hub.process.address("serving the status page");
    let (status, text) = get(at, "/status.json");
    assert!(status == 200 && text.contains("\"role\": \"hub\""), "{status}: {text}");
    world.wrong(&["--status-address", "10.0.0.1:1"], "write localhost:PORT");
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_flag_control() {
    let world = World::new().await;
    let socket = world.path("hub.sock");
    let hub = world.start(&["--control", socket.to_str().unwrap()]);
    let ready = || run(outlast().args(["ctl", "ready", "--socket"]).arg(&socket)).0;
    hub.process.wait_for("a socket that answers", |_| (ready() == 0).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_flag_audit_interval() {
    let world = World::new().await;
    let socket = world.path("hub.sock");
    let hub = world.start(&["--control", socket.to_str().unwrap(), "--audit-interval", "7m"]);
    hub.process.wait_for("the status", |_| {
        let (_, status, _) = run(outlast().args(["ctl", "status", "--json", "--socket"]).arg(&socket));
        status.contains("\"every_s\": 420").then_some(())
    });
    world.wrong(&["--audit-interval", "1s"], "write a duration from 1m to 24h");
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_flag_log_format() {
    let world = World::new().await;
    for (arguments, is_json) in [(&[][..], false), (&["--log-format", "json"], true)] {
        let hub = world.start(arguments);
        let line = hub.process.output().lines().find(|l| l.contains("serving followers")).map(str::to_owned);
        assert_eq!(line.unwrap().starts_with('{'), is_json, "{arguments:?}");
    }
}

/// The Service of hubs may be gone when a node starts again, or not be there yet for its kubelet.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_hubs_have_no_service_any_more_follows_those_of_the_last_time() {
    let world = World::new().await;
    world.services("first", 3);
    let hub = world.start(&[]);
    let file = world.path("Corefile");
    std::fs::write(&file, ".:0 {\n bind 127.0.0.1\n kubernetes cluster.local\n}\n").unwrap();
    let (snapshots, control) = (world.path("snapshots"), world.path("node.sock"));
    let node = |address: &str| {
        let mut command = outlast();
        command.arg("node").arg("--conf").arg(&file).arg("--snapshot").arg(&snapshots);
        command.arg("--hub-plain").arg(format!("--hub={address}")).arg("--control").arg(&control);
        Process::start(&mut command)
    };
    let follows = |process: &Process| {
        process.wait_for("live data", |p| p.output().contains("cluster data is live").then_some(()));
    };
    let mut first = node(&hub.address.to_string());
    follows(&first);
    first.wait_for("the list of hubs", |_| snapshots.join("hubs.json").exists().then_some(()));
    first.signal(Signal::SIGKILL);
    first.wait_until_ended();
    let again = node("$(OUTLAST_HUB_SERVICE_HOST)");
    follows(&again);
    let warning = format!("those of the last time are followed: {}", hub.address);
    assert!(again.output().contains(&warning), "{}", again.output());
}
