//! The options of `bind`, `debug`, `health`, `ready` and `prometheus`.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use outlast::ops::admin::Face;
use outlast::ops::readiness::{Readiness, State};
use outlast::testkit::client::Query;
use outlast::testkit::node::{Builder, TestNode};

use super::cluster::{Cluster, a};
use super::process::{Process, outlast};

const WEB: &str = "web.shop.svc.cluster.local.";

fn node(lines: &str) -> TestNode {
    TestNode::start(&format!(".:0 {{\n {lines}\n}}\n"))
}

/// Status and body, without holding up the node in this thread.
async fn get(address: SocketAddr, path: &'static str) -> (u16, String) {
    tokio::task::spawn_blocking(move || super::http::get(address, path)).await.unwrap()
}

// === bind ===

#[tokio::test]
async fn bind_addresses() {
    for (lines, want) in [
        ("bind 127.0.0.1", vec!["127.0.0.1"]),
        ("bind 127.0.0.2", vec!["127.0.0.2"]),
        ("bind 127.0.0.1 127.0.0.3 127.0.0.1", vec!["127.0.0.1", "127.0.0.3"]),
        ("bind 127.0.0.1\n bind 127.0.0.3", vec!["127.0.0.1", "127.0.0.3"]),
    ] {
        let node = node(&format!("{lines}\n forward . 127.0.0.1:9"));
        let bound: Vec<_> = node.addresses().iter().map(|a| a.ip().to_string()).collect();
        assert_eq!(bound, want, "{lines}");
        for address in node.addresses() {
            let client = outlast::testkit::client::Client::new(*address);
            client.udp(&Query::a("x.example.")).await.unwrap();
        }
    }
    let by_name = node("bind lo\n forward . 127.0.0.1:9");
    assert!(by_name.addresses().iter().any(|a| a.ip() == IpAddr::from([127, 0, 0, 1])));
    assert!(by_name.addresses().iter().all(|a| a.ip().is_loopback()));
}

#[tokio::test]
async fn bind_except() {
    let node = node("bind 127.0.0.1 127.0.0.2 {\n except 127.0.0.1\n }\n forward . 127.0.0.1:9");
    let bound: Vec<_> = node.addresses().iter().map(|a| a.ip().to_string()).collect();
    assert_eq!(bound, ["127.0.0.2"]);
}

// === debug ===

#[test]
fn debug_alone() {
    let cluster = Cluster::new();
    for (line, want) in [("", false), ("debug", true)] {
        let folder = cluster.dir(&format!("snapshots-{line}"));
        let kubernetes = format!("snapshot {}", folder.display());
        let text = cluster.corefile(&kubernetes).replace(" bind", &format!(" {line}\n bind"));
        std::fs::write(cluster.path("Corefile"), text).unwrap();
        let process = Process::start(outlast().args(["node", "--conf"]).arg(cluster.path("Corefile")));
        process.wait_for("a snapshot", |_| (super::cluster::snapshots(&folder) > 0).then_some(()));
        process.signal(Signal::SIGTERM);
        let (code, output) = process.wait();
        assert_eq!(code, 0);
        assert_eq!(output.contains("[DEBUG] "), want, "{line:?}: {output}");
    }
}

// === health ===

#[tokio::test]
async fn health_address() {
    let none = node("bind 127.0.0.1");
    assert_eq!(none.faces(), []);
    let node = node("bind 127.0.0.1\n health 127.0.0.2:0");
    let [(Face::Health, address)] = *node.faces() else { panic!("{:?}", node.faces()) };
    assert_eq!(address.ip(), IpAddr::from([127, 0, 0, 2]));
    assert_eq!(get(address, "/health").await, (200, "OK".to_owned()));
}

#[test]
fn health_lameduck() {
    let cluster = Cluster::new();
    for (block, said, least) in
        [("", "lameduck=0ns", Duration::ZERO), ("{\n lameduck 2s\n }", "lameduck=2s", Duration::from_secs(2))]
    {
        let text = cluster.corefile("").replace(" bind", &format!(" health 127.0.0.1:0 {block}\n bind"));
        std::fs::write(cluster.path("Corefile"), text).unwrap();
        let process = Process::start(outlast().args(["node", "--conf"]).arg(cluster.path("Corefile")));
        process.address("serving /health");
        let start = Instant::now();
        process.signal(Signal::SIGTERM);
        let (code, output) = process.wait();
        let took = start.elapsed();
        assert_eq!(code, 0, "{output}");
        // That it waits no longer is what it says; how long the rest takes is the machine's affair.
        assert!(output.contains(&format!("shutting down {said}")), "{block}: {output}");
        assert!(took >= least && output.contains("stopped"), "{block}: {took:?} {output}");
    }
}

// === ready ===

#[tokio::test]
async fn ready_address() {
    let cluster = Cluster::new();
    let node = cluster.node_with("", "ready 127.0.0.2:0").await;
    let [(Face::Ready, address)] = *node.faces() else { panic!("{:?}", node.faces()) };
    assert_eq!(address.ip(), IpAddr::from([127, 0, 0, 2]));
    assert_eq!(get(address, "/ready").await, (200, "OK".to_owned()));

    let text = "source file /nonexistent.yaml";
    let waiting = TestNode::start(&super::cluster::block(text, "ready 127.0.0.1:0"));
    waiting.logged("source lost").await;
    assert_eq!(get(waiting.faces()[0].1, "/ready").await, (503, "kubernetes".to_owned()));
}

/// A part that was ready and no longer is: what `/ready` says of it.
#[test]
fn ready_monitor() {
    for (block, want) in [
        ("", State::Ready),
        ("{\n monitor until-ready\n }", State::Ready),
        ("{\n monitor continuously\n }", State::Pending(vec!["kubernetes"])),
    ] {
        let plan = Builder::default().check(&format!(".:0 {{\n ready 127.0.0.1:0 {block}\n}}\n")).unwrap();
        let readiness = Readiness::new(plan.process.monitor);
        let part = readiness.register("kubernetes");
        part.set(true);
        assert_eq!(readiness.state(), State::Ready);
        part.set(false);
        assert_eq!(readiness.state(), want, "{block}");
    }
}

// === prometheus ===

#[tokio::test]
async fn prometheus_address() {
    let cluster = Cluster::new();
    let node = cluster.node_with("", "prometheus 127.0.0.2:0").await;
    let [(Face::Metrics, address)] = *node.faces() else { panic!("{:?}", node.faces()) };
    assert_eq!(address.ip(), IpAddr::from([127, 0, 0, 2]));
    let counted = |text: &str| text.lines().any(|l| l.starts_with("coredns_dns_requests_total{"));
    assert!(!counted(&get(address, "/metrics").await.1));
    a(&node, WEB).await;
    let (status, text) = get(address, "/metrics").await;
    assert!(status == 200 && counted(&text), "{text}");

    let without = cluster.node("").await;
    a(&without, WEB).await;
    assert!(!counted(&without.scrape()), "only blocks with `prometheus` count their queries");
}

#[tokio::test]
async fn prometheus_runtime_metrics() {
    for (block, want) in [("", false), ("{\n runtime_metrics\n }", true)] {
        let node = node(&format!("bind 127.0.0.1\n prometheus 127.0.0.1:0 {block}"));
        let tasks = node.metric("go_goroutines").unwrap_or_default();
        assert_eq!(tasks > 0.0, want, "{block}: {tasks}");
    }
}
