//! Who is asked on the node: the program while it is there, the cluster's DNS when it is not; and what the kernel
//! keeps of it.

use std::fs;

use nix::sys::signal::Signal;

use super::clients::{By, Client, ask, turn};
use super::lan::{KubeProxy, LED_HERE, Lan};
use super::process::Process;
use super::world::{SERVICE, SERVICE6, ip, nft};

/// Everybody who asks.
const PLACES: [&str; 3] = ["pod-a", "pod-b", "host"];

/// How often each one does.
const TIMES: usize = 3;

/// Has everybody ask, who has to be answered by `by`.
fn all(clients: &[Client<'_>], by: By) {
    assert_eq!(clients.len(), 24, "2 pods and the host, 4 addresses, 2 protocols");
    for client in clients {
        for _ in 0..TIMES {
            assert_eq!(ask(client), Some(by), "{}", client.name());
        }
    }
}

/// Who answers while the program is there, and after it was killed.
fn by_the_node_and_then_by_the_cluster(kube_proxy: KubeProxy, seen: &str) {
    let _turn = turn();
    let Some(lan) = Lan::behind(kube_proxy) else { return };
    let mut process = lan.start("");
    assert!(process.output().contains(&format!("kube_proxy={seen}")), "{}", process.output());
    assert!(!process.output().contains("nlink"), "what others warn of is no news: {}", process.output());
    let clients = lan.clients(&PLACES);
    all(&clients, By::Node);
    let tracked = lan.tracked();
    println!("{} rows by the node, {} tracked", clients.len(), tracked.len());
    assert_eq!(tracked, Vec::<String>::new());
    // Killed: its addresses and rules stay, and lead nowhere any more.
    process.signal(Signal::SIGKILL);
    process.wait_until_ended();
    for family in ["ip", "ip6"] {
        let live = || nft(&lan.node, &format!("list set {family} outlast live"));
        process.wait_for("nothing is led here", |_| (!live().contains("elements")).then_some(()));
    }
    all(&clients, By::Cluster);
    let tracked = lan.tracked().len();
    println!("{} rows by the cluster's DNS, {tracked} tracked", clients.len());
    assert!(tracked >= clients.len(), "each one has left a line: {tracked}");
}

#[test]
fn pods_and_the_host_are_answered_by_the_node_and_nothing_of_it_is_tracked() {
    by_the_node_and_then_by_the_cluster(KubeProxy::Nftables, "nftables");
}

#[test]
fn so_they_are_where_kube_proxy_has_chains_of_the_old_iptables() {
    by_the_node_and_then_by_the_cluster(KubeProxy::Iptables, "iptables");
}

#[test]
fn a_node_without_data_leaves_queries_to_the_cluster_s_dns_and_asks_it_nothing_itself() {
    let Some(lan) = Lan::new() else { return };
    let mut command = lan.command("");
    let [cluster, away] = ["cluster.json", "away"].map(|name| lan.node.path(name));
    fs::rename(&cluster, &away).unwrap();
    let mut process = Process::start(&mut command).serving();
    process.wait_for("some beats", |_| {
        let skipped = lan.metric("outlast_interception_skipped_beats_total", "reason=\"readiness\"");
        (skipped >= 3.0).then_some(())
    });
    assert!(!process.output().contains(LED_HERE), "{}", process.output());
    assert_eq!(lan.tracked(), Vec::<String>::new(), "probes are no questions to the cluster's DNS");
    let services = [SERVICE, SERVICE6].map(ip);
    for client in lan.clients(&PLACES).iter().filter(|client| services.contains(&client.server.ip())) {
        assert_eq!(ask(client), Some(By::Cluster), "{}", client.name());
    }
    fs::rename(&away, &cluster).unwrap();
    lan.wait_until_whole(&process);
    all(&lan.clients(&PLACES), By::Node);
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait_until_ended(), 0, "{}", process.output());
}
