//! A small cluster in which every option of the `kubernetes` block has something to decide.

use std::path::{Path, PathBuf};

use outlast::testkit::client::{Answer, Query};
use outlast::testkit::node::{Builder, TestNode};
use tempfile::TempDir;

/// What `kubectl get -o yaml` would print; ADDRESS is the cluster address of web.shop.
const CLUSTER: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: red}}
---
apiVersion: v1
kind: Namespace
metadata: {name: bank, labels: {team: blue}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {type: ClusterIP, clusterIPs: [ADDRESS], ports: [{name: http, port: 80, protocol: TCP}]}
---
apiVersion: v1
kind: Service
metadata: {name: vault, namespace: bank, labels: {app: vault}}
spec: {type: ClusterIP, clusterIPs: [10.0.0.2], ports: [{name: http, port: 80, protocol: TCP}]}
---
apiVersion: v1
kind: Service
metadata: {name: idle, namespace: shop}
spec: {type: ClusterIP, clusterIPs: [10.0.0.3], ports: [{name: http, port: 80, protocol: TCP}]}
---
apiVersion: v1
kind: Service
metadata: {name: nodes, namespace: shop}
spec: {type: ClusterIP, clusterIP: None, clusterIPs: [None], ports: [{name: raft, port: 7000, protocol: TCP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: nodes-1, namespace: shop, labels: {kubernetes.io/service-name: nodes}}
addressType: IPv4
ports: [{name: raft, port: 7000, protocol: TCP}]
endpoints:
- {addresses: [10.1.0.4], conditions: {ready: true}, targetRef: {kind: Pod, name: nodes-xyz, namespace: shop}}
---
apiVersion: v1
kind: Pod
metadata: {name: nodes-xyz, namespace: shop}
status: {phase: Running, podIP: 10.1.0.4}
"#;

/// The cluster in a folder of its own, with room for snapshots.
pub(super) struct Cluster {
    folder: TempDir,
}

impl Cluster {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cluster = Self { folder };
        cluster.set("10.0.0.1");
        cluster
    }

    /// From now on web.shop has this address.
    pub(super) fn set(&self, address: &str) {
        let new = self.path("new.yaml");
        std::fs::write(&new, CLUSTER.replace("ADDRESS", address)).unwrap();
        std::fs::rename(new, self.file()).unwrap();
    }

    pub(super) fn file(&self) -> PathBuf {
        self.path("cluster.yaml")
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A folder of this name that is there.
    pub(super) fn dir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// A server block that answers it, with further lines in the `kubernetes` block.
    pub(super) fn corefile(&self, lines: &str) -> String {
        block(&format!("source file {}\n {lines}", self.file().display()), "")
    }

    /// A node that answers it, and has the data.
    pub(super) async fn node(&self, lines: &str) -> TestNode {
        self.node_with(lines, "").await
    }

    /// The same with further plugins.
    pub(super) async fn node_with(&self, lines: &str, plugins: &str) -> TestNode {
        let node = start_with(&format!("source file {}\n {lines}", self.file().display()), plugins);
        node.logged("cluster data is live").await;
        node
    }
}

/// A node with these lines in the `kubernetes` block; it may have no data yet.
pub(super) fn start(lines: &str) -> TestNode {
    start_with(lines, "")
}

fn start_with(lines: &str, plugins: &str) -> TestNode {
    Builder::default().own_addresses(&["10.96.0.10"]).start(&block(lines, plugins))
}

/// A server block on loopback.
pub(super) fn block(kubernetes: &str, plugins: &str) -> String {
    format!(
        ".:0 {{\n bind 127.0.0.1\n kubernetes cluster.local in-addr.arpa {{\n {kubernetes}\n }}\n {plugins}\n}}\n"
    )
}

/// The snapshots in a folder.
pub(super) fn snapshots(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "snap")).count()
}

/// Rcode and data of an answer, e.g. `NoError 10.0.0.1`.
pub(super) fn said(answer: &Answer) -> String {
    let data = answer.message.answers.iter().map(|r| format!(" {}", r.data));
    format!("{:?}{}", answer.rcode(), data.collect::<String>())
}

/// What `name` leads to, asked with an OPT record.
pub(super) async fn a(node: &TestNode, name: &str) -> String {
    said(&node.client().ask(&Query::a(name).edns(1232)).await.unwrap())
}
