//! The options of the `kubernetes` block.

use std::time::Duration;

use hickory_proto::rr::RecordType;
use outlast::testkit::client::Query;
use outlast::testkit::node::{Builder, TestNode};
use outlast::testkit::upstream::FakeUpstream;

use super::apiserver::ApiServer;
use super::cluster::{Cluster, a, said, snapshots};

const WEB: &str = "web.shop.svc.cluster.local.";
const VAULT: &str = "vault.bank.svc.cluster.local.";
const FOUND_WEB: &str = "NoError 10.0.0.1";
const FOUND_VAULT: &str = "NoError 10.0.0.2";

/// Checks what names lead to with these lines in the block.
async fn check(cluster: &Cluster, lines: &str, want: &[(&str, &str)]) {
    let node = cluster.node(lines).await;
    for (name, want) in want {
        assert_eq!(a(&node, name).await, *want, "{name} with {lines:?}");
    }
}

#[tokio::test]
async fn kubernetes_zones() {
    let cluster = Cluster::new();
    for (zones, ours) in [("", WEB), ("cluster.local", WEB), ("other.example", "web.shop.svc.other.example.")]
    {
        let text = format!(
            "cluster.local:0 other.example:0 {{\n bind 127.0.0.1\n kubernetes {zones} {{\n source file {}\n }}\n}}\n",
            cluster.file().display()
        );
        let node = Builder::default().own_addresses(&["10.96.0.10"]).start(&text);
        node.logged("cluster data is live").await;
        assert_eq!(a(&node, ours).await, FOUND_WEB, "{zones}");
        if !zones.is_empty() {
            let other = if ours == WEB { "web.shop.svc.other.example." } else { WEB };
            assert_eq!(a(&node, other).await, "ServFail", "{zones}: {other} is nobody's");
        }
    }
}

#[tokio::test]
async fn kubernetes_namespaces() {
    let cluster = Cluster::new();
    check(&cluster, "", &[(WEB, FOUND_WEB), (VAULT, FOUND_VAULT)]).await;
    check(&cluster, "namespaces shop", &[(WEB, FOUND_WEB), (VAULT, "NXDomain")]).await;
    check(&cluster, "namespaces shop bank", &[(WEB, FOUND_WEB), (VAULT, FOUND_VAULT)]).await;
    check(&cluster, "namespaces shop\n namespaces bank", &[(WEB, FOUND_WEB), (VAULT, FOUND_VAULT)]).await;
}

#[tokio::test]
async fn kubernetes_namespace_labels() {
    let cluster = Cluster::new();
    check(&cluster, "namespace_labels team=blue", &[(WEB, "NXDomain"), (VAULT, FOUND_VAULT)]).await;
    check(&cluster, "namespace_labels team in (blue, red)", &[(WEB, FOUND_WEB), (VAULT, FOUND_VAULT)]).await;
}

#[tokio::test]
async fn kubernetes_labels() {
    let cluster = Cluster::new();
    check(&cluster, "labels app=web", &[(WEB, FOUND_WEB), (VAULT, "NXDomain")]).await;
    check(&cluster, "labels app!=web", &[(WEB, "NXDomain"), (VAULT, FOUND_VAULT)]).await;
}

#[tokio::test]
async fn kubernetes_pods() {
    let cluster = Cluster::new();
    let (real, made_up) = ("10-1-0-4.shop.pod.cluster.local.", "10-9-9-9.shop.pod.cluster.local.");
    for (lines, want) in [
        ("", ["NXDomain", "NXDomain"]),
        ("pods disabled", ["NXDomain", "NXDomain"]),
        ("pods insecure", ["NoError 10.1.0.4", "NoError 10.9.9.9"]),
        ("pods verified", ["NoError 10.1.0.4", "NXDomain"]),
    ] {
        check(&cluster, lines, &[(real, want[0]), (made_up, want[1])]).await;
    }
}

#[tokio::test]
async fn kubernetes_endpoint_pod_names() {
    let cluster = Cluster::new();
    let named = "nodes-xyz.nodes.shop.svc.cluster.local.";
    let spelled = "10-1-0-4.nodes.shop.svc.cluster.local.";
    check(&cluster, "", &[(named, "NXDomain"), (spelled, "NoError 10.1.0.4")]).await;
    check(&cluster, "endpoint_pod_names", &[(named, "NoError 10.1.0.4"), (spelled, "NXDomain")]).await;
}

#[tokio::test]
async fn kubernetes_ttl() {
    let cluster = Cluster::new();
    // Jitter takes a fifth at most.
    for (lines, range) in [("", 4..=5), ("ttl 0", 0..=0), ("ttl 30", 24..=30), ("ttl 3600", 2880..=3600)] {
        let node = cluster.node(lines).await;
        let answer = node.client().ask(&Query::a(WEB)).await.unwrap();
        assert!(range.contains(&answer.message.answers[0].ttl), "{lines}: {:?}", answer.answers());
    }
}

#[tokio::test]
async fn kubernetes_noendpoints() {
    let cluster = Cluster::new();
    let headless = "nodes.shop.svc.cluster.local.";
    check(&cluster, "", &[(headless, "NoError 10.1.0.4"), (WEB, FOUND_WEB)]).await;
    let node = cluster.node("noendpoints").await;
    assert!(!a(&node, headless).await.contains("10.1.0.4"));
    assert_eq!(a(&node, WEB).await, FOUND_WEB);
}

#[tokio::test]
async fn kubernetes_fallthrough() {
    let cluster = Cluster::new();
    let (forward, reverse) = ("missing.shop.svc.cluster.local.", "9.9.9.10.in-addr.arpa.");
    let upstream =
        FakeUpstream::start(&format!("{forward} 60 A 192.0.2.7\n{reverse} 60 PTR up.example.\n")).await;
    let (up_forward, up_reverse) = ("NoError 192.0.2.7", "NoError up.example.");
    for (lines, want) in [
        ("", ["NXDomain", "NXDomain"]),
        ("fallthrough", [up_forward, up_reverse]),
        ("fallthrough in-addr.arpa", ["NXDomain", up_reverse]),
        ("fallthrough cluster.local", [up_forward, "NXDomain"]),
        ("fallthrough in-addr.arpa cluster.local", [up_forward, up_reverse]),
    ] {
        let node = cluster.node_with(lines, &format!("forward . {}", upstream.addr())).await;
        assert_eq!(a(&node, forward).await, want[0], "{lines}");
        let answer = node.client().ask(&Query::new(reverse, RecordType::PTR)).await.unwrap();
        assert_eq!(said(&answer), want[1], "{lines}");
        assert_eq!(a(&node, WEB).await, FOUND_WEB, "{lines}: names that exist stay here");
    }
}

#[tokio::test]
async fn kubernetes_ignore() {
    let cluster = Cluster::new();
    let idle = "idle.shop.svc.cluster.local.";
    check(&cluster, "", &[(idle, "NoError 10.0.0.3")]).await;
    check(&cluster, "ignore", &[(idle, "NoError 10.0.0.3")]).await;
    check(&cluster, "ignore empty_service", &[(idle, "NXDomain")]).await;
}

#[tokio::test]
async fn kubernetes_source() {
    let (one, other) = (Cluster::new(), Cluster::new());
    other.set("10.0.0.99");
    check(&one, "", &[(WEB, FOUND_WEB)]).await;
    check(&other, "", &[(WEB, "NoError 10.0.0.99")]).await;
    // The API server, named or not; a file asks it nothing.
    for (source, want) in [
        (String::new(), "NoError 10.0.0.7"),
        ("source auto".to_owned(), "NoError 10.0.0.7"),
        ("source apiserver".to_owned(), "NoError 10.0.0.7"),
        (format!("source file {}", one.file().display()), FOUND_WEB),
    ] {
        let server = ApiServer::start("10.0.0.7").await;
        let node = super::cluster::start(&format!("{source}\n endpoint {}", server.url));
        node.logged("cluster data is live").await;
        assert_eq!(a(&node, WEB).await, want, "{source}");
        assert_eq!(server.requests() > 0, want != FOUND_WEB, "{source}");
    }
}

/// A node that never sees its source.
async fn cold(lines: &str) -> TestNode {
    let node = super::cluster::start(&format!("source file /nonexistent/cluster.yaml\n {lines}"));
    node.logged("source lost").await;
    node
}

#[tokio::test]
async fn kubernetes_snapshot() {
    let cluster = Cluster::new();
    let folder = cluster.dir("snapshots");
    let lines = format!("snapshot {}", folder.display());
    let node = cluster.node(&lines).await;
    node.until("a snapshot", |_| snapshots(&folder) > 0).await;
    node.stop().await;
    assert_eq!(a(&cold(&lines).await, WEB).await, FOUND_WEB);
    assert_eq!(a(&cold("").await, WEB).await, "ServFail");
}

#[tokio::test]
async fn kubernetes_snapshot_interval() {
    let cluster = Cluster::new();
    let lines =
        |name, interval| format!("snapshot {}\n snapshot_interval {interval}", cluster.dir(name).display());
    let often = cluster.node(&lines("often", "1s")).await;
    let seldom = cluster.node(&lines("seldom", "1h")).await;
    let saves = |node: &TestNode| node.metric("outlast_snapshot_saves_total").unwrap_or_default();
    often.until("the first snapshot", |n| saves(n) >= 1.0).await;
    seldom.until("the first snapshot", |n| saves(n) >= 1.0).await;
    cluster.set("10.0.0.50");
    often.until("the second snapshot", |n| saves(n) >= 2.0).await;
    seldom
        .until("the change", |n| {
            n.metric("outlast_data_generation") == often.metric("outlast_data_generation")
        })
        .await;
    cluster.set("10.0.0.51");
    often.until("the third snapshot", |n| saves(n) >= 3.0).await;
    assert_eq!(saves(&seldom), 1.0, "{}", seldom.log());
}

#[tokio::test]
async fn kubernetes_stale_after() {
    let cluster = Cluster::new();
    for (lines, stale) in [("", false), ("stale_after 1h", false), ("stale_after 1ms", true)] {
        let node = cluster.node(lines).await;
        // A look at the file makes the data live for that millisecond.
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let answer = node.client().ask(&Query::a(WEB).edns(1232)).await.unwrap();
            assert_eq!(said(&answer), FOUND_WEB);
            let codes: Vec<_> = answer.ede().into_iter().map(|(code, _)| code).collect();
            if stale && codes.is_empty() {
                continue;
            }
            assert_eq!(codes, if stale { vec![3] } else { vec![] }, "{lines}");
        }
        let counted = node.metric("outlast_stale_answers_total{answer=\"positive\"}").unwrap_or_default();
        assert_eq!(counted > 0.0, stale, "{lines}");
    }
}

#[tokio::test]
async fn kubernetes_max_stale() {
    let cluster = Cluster::new();
    for (max_stale, want) in
        [("", Some(FOUND_WEB)), ("max_stale 1h", Some(FOUND_WEB)), ("max_stale 1ms", None)]
    {
        let node = cluster.node(&format!("stale_after 1ms\n {max_stale}")).await;
        let mut expired = 0;
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let answer = node.client().ask(&Query::a(WEB).edns(1232)).await.unwrap();
            match want {
                Some(want) => assert_eq!(said(&answer), want, "{max_stale}"),
                None if answer.ede().iter().any(|(code, _)| *code == 22) => {
                    assert_eq!(said(&answer), "ServFail");
                    expired += 1;
                }
                None => {}
            }
        }
        assert_eq!(expired > 0, want.is_none(), "{max_stale}");
    }
}

#[tokio::test]
async fn kubernetes_fallback() {
    let cluster = Cluster::new();
    let new = "new.shop.svc.cluster.local.";
    let upstream = FakeUpstream::start(&format!("{new} 60 A 10.0.0.77\n{WEB} 60 A 10.0.0.78\n")).await;
    let fallback = format!("fallback {}", upstream.addr());
    for (lines, want) in [
        ("stale_after 1ms".to_owned(), "NXDomain"),
        (format!("stale_after 1h\n {fallback}"), "NXDomain"),
        (format!("stale_after 1ms\n {fallback}"), "NoError 10.0.0.77"),
    ] {
        upstream.forget();
        let node = cluster.node(&lines).await;
        let mut seen = String::new();
        for _ in 0..500 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            seen = a(&node, new).await;
            if seen == want {
                break;
            }
        }
        assert_eq!(seen, want, "{lines}");
        assert_eq!(a(&node, WEB).await, FOUND_WEB, "{lines}: what we have wins");
        assert_eq!(upstream.count(WEB), 0, "{lines}");
        assert_eq!(upstream.count(new) > 0, want != "NXDomain", "{lines}");
    }
}
