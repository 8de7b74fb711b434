//! `guard` and `guard_hold`: what becomes of a file that loses half of its services.

use std::fmt::Write as _;
use std::process::Command;

use outlast::testkit::client::Query;

use super::cluster::{Cluster, a, said};
use super::flags::{each_place, is_wrong};
use super::process::Process;

/// How many services there are at first; half of them is more than the guard lets go.
const SERVICES: usize = 30;

/// The first that goes.
const GONE: &str = "s15.shop.svc.cluster.local.";

/// What its name leads to while it is served.
const SERVED: &str = "NoError 10.96.0.15";

/// From now on the file has this many services.
fn services(cluster: &Cluster, count: usize) {
    let mut text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n".to_owned();
    for n in 0..count {
        let spec = format!("{{clusterIPs: [10.96.0.{n}], ports: [{{name: http, port: 80}}]}}");
        let metadata = format!("{{name: s{n}, namespace: shop}}");
        writeln!(text, "---\napiVersion: v1\nkind: Service\nmetadata: {metadata}\nspec: {spec}").unwrap();
    }
    let new = cluster.path("new.yaml");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, cluster.file()).unwrap();
}

/// The process of this command, which has known all services, and of whose file half is gone.
fn halved(cluster: &Cluster, mut command: Command) -> Process {
    services(cluster, SERVICES);
    let process = Process::start(&mut command);
    process.ask_until("all services", &Query::a(GONE).edns(1232), |answer| said(answer) == SERVED);
    services(cluster, SERVICES / 2);
    process
}

#[tokio::test]
async fn kubernetes_guard() {
    for (line, is_held) in [("", true), ("guard on", true), ("guard off", false)] {
        let cluster = Cluster::new();
        services(&cluster, SERVICES);
        let node = cluster.node(line).await;
        services(&cluster, SERVICES / 2);
        if is_held {
            node.logged("a list takes away too much").await;
            let answer = node.client().ask(&Query::a(GONE).edns(1232)).await.unwrap();
            assert_eq!(said(&answer), SERVED, "{line}");
            let (code, why) = answer.ede().into_iter().next().expect("it says so");
            assert!(code == 3 && why.contains("a list of services lacks 15 of 30"), "{line}: {code} {why}");
        } else {
            node.logged("deleted=15").await;
            assert_eq!(a(&node, GONE).await, "NXDomain", "{line}");
        }
    }
}

#[tokio::test]
async fn kubernetes_guard_hold() {
    for (line, want) in [("", "hold_for=3600s"), ("guard_hold 5m", "hold_for=300s")] {
        let cluster = Cluster::new();
        services(&cluster, SERVICES);
        let node = cluster.node(line).await;
        services(&cluster, SERVICES / 2);
        node.logged("a list takes away too much").await;
        assert!(node.log().contains(want), "{line}: {}", node.log());
    }
}

#[test]
fn flag_guard() {
    let cluster = Cluster::new();
    each_place(&cluster, "guard", "off", "on", |cluster, command| {
        let process = halved(cluster, command);
        process.ask_until("gone", &Query::a(GONE).edns(1232), |answer| said(answer) == "NXDomain");
    });
    each_place(&cluster, "guard", "on", "off", |cluster, command| {
        let process = halved(cluster, command);
        process.ask_until("held", &Query::a(GONE).edns(1232), |answer| {
            said(answer) == SERVED && answer.ede().iter().any(|(code, _)| *code == 3)
        });
    });
    is_wrong(&cluster, &["--guard", "half"], "write on or off");
}

#[test]
fn flag_guard_hold() {
    let cluster = Cluster::new();
    each_place(&cluster, "guard_hold", "2h", "3h", |cluster, command| {
        let process = halved(cluster, command);
        process.wait_for("the hold", |p| p.output().contains("hold_for=7200s").then_some(()));
    });
    is_wrong(&cluster, &["--guard-hold", "1s"], "is from 1m to 168h");
}
