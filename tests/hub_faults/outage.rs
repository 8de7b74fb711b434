//! Real nodes over real hubs that never see the API server, or that are all gone.

use std::path::Path;
use std::time::Duration;

use outlast::drill::standin::faults::Network;
use outlast::drill::standin::{Config, Standin};
use outlast::testkit::client::Query;
use outlast::testkit::hub::{Builder, TestHub};
use outlast::testkit::node::{self, TestNode};
use outlast::zone::object::Kind;
use serde_json::json;

/// A service that there is.
pub(super) const WEB: &str = "web.shop.svc.cluster.local.";

/// One that there is not.
const MISSING: &str = "missing.shop.svc.cluster.local.";

/// An API server that has it.
pub(super) async fn cluster() -> Standin {
    let server = Standin::start(Config::default()).await.unwrap();
    server.etcd().put(Kind::Namespace, &json!({ "metadata": { "name": "shop" } })).unwrap();
    put(&server, "web", "10.96.0.9");
    server
}

fn put(server: &Standin, name: &str, ip: &str) {
    let object = json!({
        "metadata": { "namespace": "shop", "name": name },
        "spec": { "type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip] },
    });
    server.etcd().put(Kind::Service, &object).unwrap();
}

/// A node with these lines, and its snapshots there.
pub(super) fn node(lines: &str, snapshots: Option<&Path>) -> TestNode {
    let snapshot = snapshots.map(|folder| format!("snapshot {}", folder.display())).unwrap_or_default();
    node::Builder::default().own_addresses(&["10.96.0.10"]).start(&format!(
        ".:0 {{\n bind 127.0.0.1\n kubernetes cluster.local in-addr.arpa {{\n {lines}\n {snapshot}\n }}\n}}\n"
    ))
}

/// Rcode and data of the answer, and the code of its extended error.
pub(super) async fn asked(node: &TestNode, name: &str) -> (String, Option<u16>) {
    let answer = node.client().ask(&Query::a(name).edns(1232)).await.unwrap();
    let data = answer.message.answers.iter().map(|record| format!(" {}", record.data));
    let said = format!("{:?}{}", answer.rcode(), data.collect::<String>());
    (said, answer.ede().first().map(|(code, _)| *code))
}

fn line(hubs: &[&TestHub]) -> String {
    let addresses: Vec<_> = hubs.iter().map(|hub| hub.address.to_string()).collect();
    format!("hub {}", addresses.join(" "))
}

/// How old the node takes its data to be, in seconds.
fn age(node: &TestNode) -> f64 {
    node.metric("outlast_data_age_seconds").unwrap()
}

#[tokio::test]
async fn a_hub_that_never_saw_the_api_server_says_so_and_its_nodes_go_on_from_their_disks() {
    let server = cluster().await;
    let folder = tempfile::tempdir().unwrap();
    let before = TestHub::live(&server).await;
    let first = node(&line(&[&before]), Some(folder.path()));
    first.state("live").await;
    first.stop().await;
    before.kill();

    server.faults().set_network(Network::Refuse);
    let hub = Builder::new(&server).start();
    let (old, new) = (node(&line(&[&hub]), Some(folder.path())), node(&line(&[&hub]), None));
    for node in [&old, &new] {
        node.logged("data of the hub is not live").await;
        assert_eq!(node.metric("outlast_hub_received_whole_states_total"), Some(0.0));
    }
    hub.state("empty").await;
    assert_eq!(asked(&old, WEB).await, ("NoError 10.96.0.9".to_owned(), Some(3)));
    assert_eq!(asked(&old, MISSING).await, ("NXDomain".to_owned(), Some(19)));
    for name in [WEB, MISSING] {
        assert_eq!(asked(&new, name).await, ("ServFail".to_owned(), Some(14)), "never a denial");
    }
    assert_eq!(old.metric("outlast_data_state{state=\"stale\"}"), Some(1.0));
    assert_eq!(new.metric("outlast_data_state{state=\"empty\"}"), Some(1.0));
    // Once it is there, everybody has it, and nobody has to be started again.
    put(&server, "late", "10.96.0.77");
    server.faults().set_network(Network::Open);
    for node in [&old, &new] {
        node.state("live").await;
        assert_eq!(
            asked(node, "late.shop.svc.cluster.local.").await,
            ("NoError 10.96.0.77".to_owned(), None)
        );
    }
}

#[tokio::test]
async fn a_hub_that_has_nothing_but_its_snapshot_serves_new_nodes_and_says_how_old_it_is() {
    let server = cluster().await;
    let folder = tempfile::tempdir().unwrap();
    let before = Builder::new(&server).snapshot(folder.path().to_owned()).start();
    before.state("live").await;
    before.stop().await;
    let stopped = std::time::Instant::now();
    server.faults().set_network(Network::Refuse);
    // Long enough for an age that is not made up.
    tokio::time::sleep(Duration::from_secs(2)).await;

    let hub = Builder::new(&server).snapshot(folder.path().to_owned()).start();
    let node = node(&format!("{}\n stale_after 15s", line(&[&hub])), None);
    let has_data = |node: &TestNode| node.metric("outlast_data_state{state=\"empty\"}") == Some(0.0);
    node.until("data that is as old as the hub's", |node| has_data(node) && age(node) >= 2.0).await;
    assert_eq!(asked(&node, WEB).await.0, "NoError 10.96.0.9");
    let (said, real) = (age(&node), stopped.elapsed().as_secs_f64());
    // Measured once a second; the hub's last proof may be as old as its checks are apart.
    assert!(said >= real - 2.0 && said <= real + 15.0, "{said} s old, it is {real} s that it was proved");
    node.state("stale").await;
    assert!(age(&node) >= 15.0);
    assert_eq!(asked(&node, WEB).await, ("NoError 10.96.0.9".to_owned(), Some(3)));
    assert_eq!(asked(&node, MISSING).await, ("NXDomain".to_owned(), Some(19)));
    assert!(node.log().contains("data of the hub is not live"), "{}", node.log());
    server.faults().set_network(Network::Open);
    // By now the hub tries every half a minute or so.
    let back = std::time::Instant::now();
    while node.metric("outlast_data_state{state=\"live\"}") != Some(1.0) {
        assert!(back.elapsed() < Duration::from_secs(90), "{}", node.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn hubs_that_come_and_go_under_queries_cost_no_answer() {
    let server = cluster().await;
    let (one, other) = (TestHub::live(&server).await, TestHub::live(&server).await);
    let node = node(&line(&[&one, &other]), None);
    node.state("live").await;
    let client = node.client();
    let mut asked = 0;
    let mut ask = async |times: usize| {
        for _ in 0..times {
            let answer = client.ask(&Query::a(WEB).edns(1232)).await.unwrap();
            assert_eq!(answer.message.answers.len(), 1, "{:?} after {asked}", answer.rcode());
            asked += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    ask(200).await;
    one.kill();
    ask(300).await;
    put(&server, "late", "10.96.0.77");
    let late = "late.shop.svc.cluster.local.";
    node.until("a change by the other hub", |node| node.log().contains("following hub")).await;
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while super::outage::asked(&node, late).await.0 != "NoError 10.96.0.77" {
        assert!(std::time::Instant::now() < deadline, "never\n{}", node.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    other.kill();
    server.etcd().delete(Kind::Service, "shop", "web").unwrap();
    ask(500).await;
    assert_eq!(node.metric("coredns_panics_total").unwrap_or(0.0), 0.0);
    assert!(asked >= 1000);
}
