//! A hub and a node over a stand-in of the API server, within TLS and with snapshots, and an upstream that answers beside
//! one that does not, and a node with interception: every series and every label that rules, dashboards and pages name is
//! in what they export.

use std::fmt::Write;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use nix::sys::signal::Signal;
use outlast::testkit::certs::{Ca, IdentityFolder};
use outlast::testkit::client::Query;
use outlast::testkit::upstream::{Behaviour, FakeUpstream};
use outlast::trust::name::Role;
use tempfile::TempDir;

use super::expressions::{OF_TARGETS, grouped_by, named_in, selectors};
use super::files::alerts;
use super::machine::{Machine, possible};
use super::process::{PATIENCE, Process, outlast};
use super::scraped::Scraped;
use super::{dashboards, http, pages};

/// Something that names series.
struct Named {
    /// Who names them.
    place: String,
    expression: String,
    /// Labels beside those of the expression.
    labels: Vec<String>,
}

/// Everything that names series.
fn named() -> Vec<Named> {
    let plain = |(place, expression)| Named { place, expression, labels: Vec::new() };
    let mut all: Vec<_> = alerts().into_iter().map(|alert| plain((alert.name, alert.expr))).collect();
    all.extend(pages::expressions().into_iter().map(plain));
    all.extend(dashboards::variables().into_iter().map(plain));
    for panel in dashboards::panels() {
        let of_target = |target: dashboards::Target| Named {
            place: panel.place.clone(),
            labels: named_in(&target.legend).into_iter().map(str::to_owned).collect(),
            expression: target.expression,
        };
        all.extend(panel.targets.into_iter().map(of_target));
    }
    all
}

/// What is named and was not scraped, by who names it. `le` is there where a histogram's buckets are.
fn missing(scraped: &Scraped) -> Vec<String> {
    let mut missing = Vec::new();
    for Named { place, expression, labels } in named() {
        let selectors = selectors(&expression);
        let lacking = selectors.iter().flat_map(|selector| scraped.lacks(selector));
        missing.extend(lacking.map(|what| format!("{place}: {what}")));
        let labels = labels.iter().map(String::as_str).chain(grouped_by(&expression));
        let absent = labels.filter(|label| {
            !OF_TARGETS.contains(label) && !selectors.is_empty() && !scraped.has_label(&selectors, label)
        });
        missing.extend(absent.map(|label| format!("{place}: no label {label} in {expression}")));
    }
    missing
}

/// The one series that a node has only once it has left a hub.
const LEFT: &str = "outlast_hub_left_total";

/// The processes.
struct World {
    hub: Process,
    node: Process,
    /// What they cannot do without.
    _kept: (Process, [IdentityFolder; 2], TempDir, FakeUpstream, TcpListener),
}

/// The flags with the files of an identity.
fn tls(prefix: &str, identity: &IdentityFolder) -> Vec<String> {
    let files = [("ca", "ca.crt"), ("cert", "tls.crt"), ("key", "tls.key")];
    let flag = |(flag, file)| [format!("--{prefix}tls-{flag}"), identity.path(file).display().to_string()];
    files.into_iter().flat_map(flag).collect()
}

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        // Without streams there are lists as such.
        let mut standin = outlast();
        standin.args(["drill", "standin", "--services", "20", "--streaming-lists", "off", "--kubeconfig"]);
        let standin = Process::start(standin.arg(path("kubeconfig")));
        standin.wait_for("that it serves", |p| p.output().contains('\n').then_some(()));

        let ca = Ca::new();
        let identities = [Role::Hub, Role::Node].map(|role| IdentityFolder::real(&ca, role));
        let mut hub = outlast();
        hub.args(["hub", "--listen", "127.0.0.1:0", "--move-within", "1s"]);
        for face in ["metrics", "health", "ready"] {
            hub.args([format!("--{face}-address"), "127.0.0.1:0".to_owned()]);
        }
        hub.args(tls("", &identities[0])).arg("--kubeconfig").arg(path("kubeconfig"));
        let hub = Process::start(hub.arg("--snapshot").arg(path("of-hub")));

        let upstream = FakeUpstream::start("up.test. 60 IN A 192.0.2.1").await;
        upstream.set("broken.test.", Behaviour::Rcode(ResponseCode::ServFail));
        // Nobody else takes a port of this address that is taken for TCP, and over UDP nobody answers there.
        let dead = TcpListener::bind("127.0.0.83:0").unwrap();
        fs::write(path("Corefile"), corefile(upstream.addr(), dead.local_addr().unwrap())).unwrap();
        let mut node = outlast();
        node.args(["node", "--dns-port", "0", "--node-name", "n1", "--conf"]).arg(path("Corefile"));
        node.arg("--hub").arg(hub.address("serving followers").to_string()).args(tls("hub-", &identities[1]));
        let node = Process::start(node.arg("--snapshot").arg(path("of-node"))).serving();
        Self { hub, node, _kept: (standin, identities, folder, upstream, dead) }
    }

    /// Asks for names of each kind.
    fn ask(&self) {
        for (name, rcode) in [
            ("kubernetes.default.svc.cluster.local.", None),
            ("up.test.", Some(ResponseCode::NoError)),
            ("broken.test.", Some(ResponseCode::ServFail)),
            ("dead.test.", Some(ResponseCode::ServFail)),
        ] {
            let answer = self.node.ask(&Query::a(name));
            assert!(rcode.is_none_or(|rcode| answer.rcode() == rcode), "{name}: {:?}", answer.rcode());
        }
    }
}

fn corefile(upstream: SocketAddr, dead: SocketAddr) -> String {
    let mut text = String::from(". {\n bind 127.0.0.1\n prometheus 127.0.0.1:0\n errors\n loadbalance\n");
    writeln!(text, " kubernetes cluster.local in-addr.arpa ip6.arpa").unwrap();
    writeln!(text, " forward dead.test {dead}\n forward . {upstream}\n cache 30\n loop\n reload\n}}")
        .unwrap();
    text
}

fn scrape(process: &Process) -> String {
    let (status, text) = http::get(process.address("serving /metrics"), "/metrics");
    assert_eq!(status, 200);
    text
}

/// Between two scrapes.
const PAUSE: Duration = Duration::from_millis(100);

/// Scrapes these until nothing that is named is missing, but for what `is_for_later`.
fn scrape_until_all_is_there(
    world: &World,
    scraped: &mut Scraped,
    processes: &[&Process],
    is_for_later: impl Fn(&str) -> bool,
) {
    let began = Instant::now();
    loop {
        world.ask();
        processes.iter().for_each(|process| scraped.add(&scrape(process)));
        let mut missing = missing(scraped);
        missing.retain(|what| !is_for_later(what));
        if missing.is_empty() {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{missing:#?}\n{}", world.node.output());
        std::thread::sleep(PAUSE);
    }
}

/// What a node with interception exports: it needs a network of its own.
fn scrape_interception() -> String {
    let machine = Machine::new(&[]);
    machine.write("Corefile", ".:53 {\n whoami\n}\n");
    let mut node = machine.outlast();
    node.args(["node", "--local-ip=169.254.20.10", "--extra-metrics-address=127.0.0.1:9353", "--conf"]);
    let node = Process::start(node.arg(machine.path("Corefile")));
    node.wait_for("interception", |p| p.output().contains("queries are led here").then_some(()));
    let (status, text) = machine.inside(|| http::get("127.0.0.1:9353".parse().unwrap(), "/metrics"));
    assert_eq!(status, 200);
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn every_series_that_is_named_is_there() {
    if !possible() {
        return;
    }
    let world = World::start().await;
    let mut scraped = Scraped::default();
    scraped.add(&scrape_interception());
    scrape_until_all_is_there(&world, &mut scraped, &[&world.hub, &world.node], |what| what.contains(LEFT));
    world.hub.signal(Signal::SIGTERM);
    scrape_until_all_is_there(&world, &mut scraped, &[&world.node], |_| false);
}
