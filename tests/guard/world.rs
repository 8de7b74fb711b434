//! An API server with forty services, whoever follows it, and clients.

use std::path::Path;
use std::time::{Duration, Instant};

use outlast::drill::standin::faults::{Fault, Network, Rule};
use outlast::drill::standin::requests::Verb;
use outlast::drill::standin::{Config, Standin, StreamingLists};
use outlast::testkit::client::Query;
use outlast::testkit::hub::{Builder, TestHub};
use outlast::testkit::node::{self, TestNode};
use outlast::zone::object::Kind;
use serde_json::json;

/// Services that there are, each with two endpoints.
pub(crate) const SERVICES: usize = 40;

/// How long something may take that a hub or node does by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// The cluster.
pub(crate) async fn cluster(services: usize) -> Standin {
    // Lists that are lists can be told to be empty.
    let config = Config { streaming_lists: StreamingLists::Off, ..Config::default() };
    let server = Standin::start(config).await.unwrap();
    server.etcd().put(Kind::Namespace, &json!({ "metadata": { "name": "shop" } })).unwrap();
    (0..services).for_each(|n| put(&server, n));
    server
}

/// The name of a service.
pub(crate) fn name(n: usize) -> String {
    format!("s{n}.shop.svc.cluster.local.")
}

/// Creates a service with its slice.
pub(crate) fn put(server: &Standin, n: usize) {
    let ip = format!("10.96.1.{n}");
    let object = json!({
        "metadata": { "namespace": "shop", "name": format!("s{n}") },
        "spec": { "type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip] },
    });
    server.etcd().put(Kind::Service, &object).unwrap();
    slice(server, n, &format!("s{n}-1"), 0);
}

/// Creates or replaces a slice with two endpoints of this net.
pub(crate) fn slice(server: &Standin, n: usize, name: &str, net: u8) {
    let endpoint = |last: u8| json!({ "addresses": [format!("10.{}.{n}.{last}", 244 - net)], "conditions": { "ready": true } });
    let object = json!({
        "metadata": {
            "namespace": "shop", "name": name,
            "labels": { "kubernetes.io/service-name": format!("s{n}") },
        },
        "addressType": "IPv4",
        "endpoints": [endpoint(1), endpoint(2)],
        "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }],
    });
    server.etcd().put(Kind::EndpointSlice, &object).unwrap();
}

/// Deletes a service with its slice.
pub(crate) fn delete(server: &Standin, n: usize) {
    server.etcd().delete(Kind::Service, "shop", &format!("s{n}")).unwrap();
    server.etcd().delete(Kind::EndpointSlice, "shop", &format!("s{n}-1")).unwrap();
}

/// Something happens while nobody can see it, and there is no history of it: everybody has to list.
pub(crate) fn unseen(server: &Standin, happens: impl FnOnce(&Standin)) {
    server.faults().set_network(Network::Refuse);
    server.faults().cut_connections();
    happens(server);
    // So that nobody is up to date by accident.
    server.etcd().touch();
    server.etcd().forget_history();
    server.faults().set_network(Network::Open);
}

/// Lists of services and slices are empty from now on.
pub(crate) fn empty_lists(server: &Standin) {
    for kind in [Kind::Service, Kind::EndpointSlice] {
        server.faults().add(Rule::new(Fault::Empty).on(Verb::List).of(kind));
    }
}

/// A hub that holds things for so long, once it is live.
pub(crate) async fn hub(server: &Standin, hold: Duration) -> TestHub {
    let mut builder = Builder::new(server);
    builder.config.guard.hold = hold;
    let hub = builder.start();
    hub.state("live").await;
    hub
}

/// A node with these lines, once it is live.
pub(crate) async fn node(lines: &str) -> TestNode {
    let node = node::Builder::default().own_addresses(&["10.96.0.10"]).start(&format!(
        ".:0 {{\n bind 127.0.0.1\n kubernetes cluster.local in-addr.arpa {{\n {lines}\n }}\n}}\n"
    ));
    node.state("live").await;
    node
}

/// A node that follows a hub.
pub(crate) async fn follower(hub: &TestHub) -> TestNode {
    node(&format!("hub {}", hub.address)).await
}

/// A node that follows the API server, with its snapshots there.
pub(crate) async fn alone(server: &Standin, folder: &Path) -> TestNode {
    let kubeconfig = folder.join("kubeconfig");
    std::fs::write(&kubeconfig, server.kubeconfig()).unwrap();
    node(&format!("kubeconfig {}\n snapshot {}", kubeconfig.display(), folder.join("snapshots").display()))
        .await
}

/// What a name leads to, with the code and the text of its extended error.
pub(crate) async fn asked(node: &TestNode, name: &str) -> (String, Option<(u16, String)>) {
    let answer = node.client().ask(&Query::a(name).edns(1232)).await.unwrap();
    let data = answer.message.answers.iter().map(|record| format!(" {}", record.data));
    let said = format!("{:?}{}", answer.rcode(), data.collect::<String>());
    (said, answer.ede().into_iter().next())
}

/// Waits until a name leads to this.
pub(crate) async fn until_asked(node: &TestNode, name: &str, want: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (said, ede) = asked(node, name).await;
        if said == want {
            return;
        }
        assert!(Instant::now() < deadline, "{name} is {said} ({ede:?}), not {want}\n{}", shown(node));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What people see of a log.
pub(crate) fn shown(node: &TestNode) -> String {
    node.log().lines().filter(|line| !line.starts_with("[DEBUG]")).collect::<Vec<_>>().join("\n")
}

/// All services of the cluster are answered; those of `held` say why.
pub(crate) async fn all_are_answered(node: &TestNode, held: std::ops::Range<usize>, why: &str) {
    for n in 0..SERVICES {
        let (said, ede) = asked(node, &name(n)).await;
        assert_eq!(said, format!("NoError 10.96.1.{n}"), "{why}\n{}", shown(node));
        if held.contains(&n) {
            let (code, text) = ede.unwrap_or_else(|| panic!("s{n} is held and does not say so"));
            assert_eq!(code, 3, "s{n}: {text}");
            assert!(text.contains("held back") && text.contains(why), "s{n}: {text}");
        }
    }
}
