//! What hubs have told goes on, wherever the next configuration looks for hubs.

use outlast::drill::standin::{Config, Standin};
use outlast::testkit::hub::TestHub;
use outlast::testkit::node::TestNode;
use outlast::zone::object::Kind;
use serde_json::json;
use tempfile::TempDir;

use super::fixture::{block, free};
use super::stores::records;

const WEB: &str = "web.shop.svc.cluster.local.";
const NEW: &str = "new.shop.svc.cluster.local.";

/// The name of an endpoint of web.shop, which is not headless.
const ENDPOINT: &str = "7-0.web.shop.svc.cluster.local.";

/// A hub with web.shop.
async fn hub() -> (Standin, TestHub) {
    let standin = Standin::start(Config::default()).await.unwrap();
    standin.etcd().put(Kind::Namespace, &json!({"metadata": {"name": "shop"}})).unwrap();
    put(&standin, "web", "10.0.0.1");
    let slice = json!({
        "metadata": { "namespace": "shop", "name": "web-1", "labels": { "kubernetes.io/service-name": "web" } },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }],
        "endpoints": [{ "addresses": ["10.244.0.7"], "hostname": "7-0", "conditions": { "ready": true } }],
    });
    standin.etcd().put(Kind::EndpointSlice, &slice).unwrap();
    let hub = TestHub::live(&standin).await;
    (standin, hub)
}

/// A service of the namespace `shop`.
fn put(standin: &Standin, name: &str, address: &str) {
    let service = json!({
        "metadata": { "namespace": "shop", "name": name },
        "spec": { "type": "ClusterIP", "clusterIP": address, "clusterIPs": [address] },
    });
    standin.etcd().put(Kind::Service, &service).unwrap();
}

fn corefile(lines: &str) -> String {
    block(&format!("kubernetes cluster.local {{\n {lines}\n }}"))
}

async fn until(node: &TestNode, name: &str, address: &str) {
    while records(node, name).await != [address] {
        tokio::time::sleep(super::stores::LOOK).await;
    }
}

/// Nobody is there: what was known a moment ago is served all the same, and not what the last snapshot had.
#[tokio::test]
async fn other_hubs_that_cannot_be_reached_take_nobody_back() {
    for in_memory in [false, true] {
        let (standin, hub) = hub().await;
        let folder = TempDir::new().unwrap();
        let snapshot =
            if in_memory { String::new() } else { format!("snapshot {}/s", folder.path().display()) };
        let mut node = TestNode::start(&corefile(&format!("hub {}\n {snapshot}", hub.address)));
        node.state("live").await;
        put(&standin, "new", "10.0.0.2");
        until(&node, NEW, "10.0.0.2").await;
        hub.kill();
        let nobody = format!("hub {}\n cert_grace 120h\n {snapshot}", free());
        node.reload(&corefile(&nobody)).await.unwrap();
        assert_eq!(records(&node, NEW).await, ["10.0.0.2"], "in memory: {in_memory}");
        assert_eq!(records(&node, WEB).await, ["10.0.0.1"], "in memory: {in_memory}");
        // And the next one that is there goes on from where this one was.
        let next = TestHub::live(&standin).await;
        node.reload(&corefile(&format!("hub {}\n {snapshot}", next.address))).await.unwrap();
        put(&standin, "new", "10.0.0.3");
        until(&node, NEW, "10.0.0.3").await;
        assert!(!node.log().contains("loaded snapshot"), "{}", node.log());
        next.kill();
    }
}

/// What is refused changes nothing, the hub that is followed neither.
#[tokio::test]
async fn a_reload_that_is_refused_leaves_the_hub_where_it_is() {
    let (standin, hub) = hub().await;
    let mut node = TestNode::start(&corefile(&format!("hub {}", hub.address)));
    node.state("live").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let plugins = format!("prometheus {}", taken.local_addr().unwrap());
    let refused = block(&format!("kubernetes cluster.local {{\n hub {}\n }}\n {plugins}", free()));
    node.reload(&refused).await.unwrap_err();
    put(&standin, "new", "10.0.0.2");
    until(&node, NEW, "10.0.0.2").await;
}

/// Slices of headless services are not all slices: these are asked for, and nobody takes the digests for wrong.
#[tokio::test]
async fn other_endpoints_are_asked_for_whole() {
    let (_standin, hub) = hub().await;
    let folder = TempDir::new().unwrap();
    let lines = |endpoints: &str| {
        format!("hub {}\n snapshot {}/s\n endpoints {endpoints}", hub.address, folder.path().display())
    };
    let mut node = TestNode::start(&corefile(&lines("headless")));
    node.state("live").await;
    assert!(records(&node, ENDPOINT).await.is_empty());
    node.reload(&corefile(&lines("all"))).await.unwrap();
    until(&node, ENDPOINT, "10.244.0.7").await;
    assert_eq!(node.metric("outlast_hub_digest_mismatches_total"), Some(0.0));
    // The same at a restart.
    node.stop().await;
    let node = TestNode::start(&corefile(&lines("headless")));
    assert_eq!(records(&node, ENDPOINT).await, ["10.244.0.7"], "until the hub has told");
    node.until("it has", |node| node.metric("outlast_hub_received_whole_states_total") == Some(1.0)).await;
    while !records(&node, ENDPOINT).await.is_empty() {
        tokio::time::sleep(super::stores::LOOK).await;
    }
    assert_eq!(node.metric("outlast_hub_digest_mismatches_total"), Some(0.0));
}
