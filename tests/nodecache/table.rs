//! A node-local cache's Corefile with a hub beside it: what the node knows it answers itself.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use outlast::drill::standin::{Config, Standin};
use outlast::testkit::client::{Answer, Query};
use outlast::testkit::upstream::FakeUpstream;
use outlast::zone::object::Kind;
use serde_json::json;
use tempfile::TempDir;

use super::process::{Process, outlast, run};

/// A service, with one address at the cluster's own DNS and another one in the data.
const WEB: &str = "web.shop.svc.cluster.local.";
/// See [`WEB`].
const FORWARDED: &str = "192.0.2.7";
/// See [`WEB`].
const KNOWN: &str = "10.96.0.9";

/// The TTL that node-local caches keep to, in seconds.
const MAX_TTL: u32 = 30;

/// A cluster without data yet, and a Corefile that forwards everything.
struct World {
    folder: TempDir,
    api_server: Standin,
    central: FakeUpstream,
    hub: SocketAddr,
}

impl World {
    async fn new() -> Self {
        let api_server = Standin::start(Config::default()).await.unwrap();
        let namespace = json!({"metadata": {"name": "shop"}});
        api_server.etcd().put(Kind::Namespace, &namespace).unwrap();
        let service = json!({
            "metadata": {"namespace": "shop", "name": "web"},
            "spec": {"type": "ClusterIP", "clusterIP": KNOWN, "clusterIPs": [KNOWN]},
        });
        api_server.etcd().put(Kind::Service, &service).unwrap();
        let central = FakeUpstream::start(&format!("{WEB} 300 A {FORWARDED}")).await;
        // Free a moment ago: nobody else listens there on loopback.
        let hub = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let world = Self { folder: tempfile::tempdir().unwrap(), api_server, central, hub };
        let cache = "cache {\n success 9984 30\n denial 9984 5\n }";
        let block = |key: &str, cache: &str| {
            let to = world.central.addr();
            format!(
                "{key}:0 {{\n errors\n {cache}\n bind 127.0.0.1\n forward . {to} {{\n force_tcp\n }}\n}}\n"
            )
        };
        let text =
            block("cluster.local", cache) + &block("in-addr.arpa", "cache 30") + &block(".", "cache 30");
        std::fs::write(world.path("Corefile"), text).unwrap();
        std::fs::write(world.path("kubeconfig"), world.api_server.kubeconfig()).unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A subcommand for the Corefile, with the hub.
    fn command(&self, subcommand: &str) -> std::process::Command {
        let mut command = outlast();
        command.args([subcommand, "--hub", &self.hub.to_string(), "--conf"]).arg(self.path("Corefile"));
        command
    }

    fn start_hub(&self) -> Process {
        let mut command = outlast();
        command.args(["hub", "--listen", &self.hub.to_string(), "--control", "off", "--kubeconfig"]);
        command.arg(self.path("kubeconfig"));
        for face in ["--metrics-address", "--health-address", "--ready-address"] {
            command.args([face, "off"]);
        }
        Process::start(&mut command)
    }
}

fn says(answer: &Answer, address: &str) -> bool {
    answer.message.answers.iter().any(|record| record.data.to_string() == address)
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_forwarded_until_there_is_data_and_answered_from_then_on() {
    let world = World::new().await;
    let (code, _, error) = run(&mut world.command("check"));
    let added =
        "Corefile:1 - Warning: no server block has 'kubernetes': it is added here and to reverse zones";
    assert!(code == 0 && error.contains(added), "{error}");

    let node = Process::start(&mut world.command("node")).serving();
    let answer = node.ask(&Query::a(WEB));
    assert!(says(&answer, FORWARDED), "{:?}\n{}", answer.answers(), node.output());
    assert!(answer.message.answers.iter().all(|record| record.ttl <= MAX_TTL), "{:?}", answer.answers());
    let private = Query::new("7.0.96.10.in-addr.arpa.", RecordType::PTR);
    assert_eq!(node.ask(&private).rcode(), ResponseCode::NXDomain);
    assert_eq!(world.central.count("7.0.96.10.in-addr.arpa."), 1, "as without a hub");

    let _hub = world.start_hub();
    let answer = node.ask_until("the data", &Query::a(WEB), |answer| says(answer, KNOWN));
    let ttls: Vec<_> = answer.message.answers.iter().map(|record| record.ttl).collect();
    // Less a fifth at most, so that not all clients come back at once.
    assert!(ttls.iter().all(|ttl| (MAX_TTL * 4 / 5..=MAX_TTL).contains(ttl)), "{ttls:?}");
    let name = node.ask(&Query::new("9.0.96.10.in-addr.arpa.", RecordType::PTR));
    assert!(says(&name, WEB), "{:?}", name.answers());

    // Until the hub has proved it, it may not be all.
    node.ask_until("proof", &Query::a(WEB).edns(1232), |answer| answer.ede().is_empty());
    let missing = "nobody.shop.svc.cluster.local.";
    assert_eq!(node.ask(&Query::a(missing)).rcode(), ResponseCode::NXDomain);
    assert_eq!(world.central.count(missing), 0, "what is live is known to be all");
    let elsewhere = "8.0.96.10.in-addr.arpa.";
    assert_eq!(node.ask(&Query::new(elsewhere, RecordType::PTR)).rcode(), ResponseCode::NXDomain);
    assert_eq!(world.central.count(elsewhere), 1, "addresses of nodes and pods may be known there");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_domain_is_named_by_a_flag() {
    let world = World::new().await;
    let (code, _, error) = run(world.command("check").args(["--cluster-domain", "k8s.example"]));
    assert!(code == 0 && error.contains("the source of the cluster's objects has no effect"), "{error}");
    let (code, _, error) = run(world.command("check").args(["--cluster-domain", "."]));
    assert!(code == 2 && error.contains("write a domain such as cluster.local"), "{error}");
    let text = std::fs::read_to_string(world.path("Corefile")).unwrap();
    std::fs::write(world.path("Corefile"), text.replace("cluster.local", "k8s.example")).unwrap();
    let (code, _, error) = run(world.command("check").env("OUTLAST_CLUSTER_DOMAIN", "k8s.example"));
    assert!(code == 0 && error.contains("names of k8s.example. are answered"), "{error}");
}
