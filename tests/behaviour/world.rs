//! A node with a cluster behind it, the rest of the world, and clients with addresses of their own.

use std::path::{Path, PathBuf};

use outlast::testkit::client::{Answer, Client, Query};
use outlast::testkit::node::TestNode;
use outlast::testkit::upstream::FakeUpstream;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UdpSocket;

use super::fixture;

/// The zones of a cluster.
const ZONES: &str = "cluster.local in-addr.arpa ip6.arpa";

/// The address of a pod in the namespace `lab`: on loopback, so that a test can ask from it.
pub(crate) const POD: &str = "127.244.5.9";

/// A node and what is around it.
pub(crate) struct World {
    pub(crate) node: TestNode,
    pub(crate) upstream: FakeUpstream,
    pub(crate) client: Client,
    cluster: Cluster,
}

impl World {
    /// Starts a node, and waits for the cluster's data if it has a cluster. In the Corefile, `KUBE` stands
    /// for a `kubernetes` block, `CLUSTER` for its source alone, `STUB` for the upstream and `BIND` for
    /// loopback.
    pub(crate) async fn start(corefile: &str) -> Self {
        let world = Self::start_without_data(corefile, Cluster::new()).await;
        if expand(corefile).contains("CLUSTER") {
            world.node.state("live").await;
        }
        world
    }

    /// Starts a node, whatever it knows.
    pub(crate) async fn start_without_data(corefile: &str, cluster: Cluster) -> Self {
        let upstream = fixture::upstream().await;
        let node = TestNode::start(&complete(corefile, &cluster, &upstream));
        Self { client: node.client(), node, upstream, cluster }
    }

    /// Has the node take over another Corefile.
    pub(crate) async fn reload(&mut self, corefile: &str) -> anyhow::Result<()> {
        self.node.reload(&complete(corefile, &self.cluster, &self.upstream)).await
    }

    /// Changes the cluster.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Vec<Value>)) {
        self.cluster.change(change);
    }

    /// What a question over UDP is answered, in short.
    pub(crate) async fn ask(&self, query: &Query) -> String {
        said(query, &self.client.udp(query).await.unwrap())
    }

    /// Asks for addresses until the answer is this one.
    pub(crate) async fn until(&self, name: &str, want: &str) -> Answer {
        let (query, mut got) = (Query::a(name), String::new());
        // One look is 20 ms: a file is read again every second.
        for _ in 0..1_000 {
            let answer = self.client.udp(&query).await.unwrap();
            got = said(&query, &answer);
            if got == want {
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("{name}: {got}, not {want}");
    }

    /// What is answered to a client with this address on loopback.
    pub(crate) async fn answer_to(&self, source: &str, query: &Query) -> Answer {
        let socket = UdpSocket::bind((source, 0)).await.unwrap();
        socket.send_to(&query.bytes(), self.node.dns).await.unwrap();
        let mut buffer = vec![0; 4096];
        let len = socket.recv(&mut buffer).await.unwrap();
        Answer::parse(buffer[..len].to_vec()).unwrap()
    }

    /// Asks and compares; a case is its name, the question and what is said.
    pub(crate) async fn check(&self, cases: &[(&str, Query, &str)]) {
        for (name, query, want) in cases {
            assert_eq!(self.ask(query).await, *want, "{name}");
        }
    }
}

/// An answer in short: code, flags and an SOA in the authority section, then the answers, sorted but for
/// aliases, and the additional records behind a bar.
pub(crate) fn said(query: &Query, answer: &Answer) -> String {
    let header = &answer.message.metadata;
    let mut text = format!("{:?}", answer.rcode());
    for (flag, word) in [
        (header.authoritative, " aa"),
        (header.recursion_available, " ra"),
        (header.truncation, " tc"),
        (!answer.authorities().is_empty(), " soa"),
    ] {
        text += if flag { word } else { "" };
    }
    // The question comes back as it was asked, byte for byte.
    let asked = query.bytes();
    let end = 12 + asked[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    assert_eq!(answer.raw[12..end], asked[12..end], "the question");
    let (mut answers, mut additionals) = (answer.answers(), answer.additionals());
    answers.sort_by_key(|record| (!record.contains(" CNAME "), record.clone()));
    additionals.sort();
    for (before, records) in [(": ", answers), (" | ", additionals)] {
        if !records.is_empty() {
            text += before;
            text += &records.join(", ");
        }
    }
    text
}

/// The cluster as a file.
pub(crate) struct Cluster {
    folder: TempDir,
}

impl Cluster {
    /// The fixture's cluster, and a pod that can ask.
    pub(crate) fn new() -> Self {
        let cluster = Self { folder: TempDir::new().unwrap() };
        fixture::write(&cluster.file());
        cluster.change(|items| {
            items.push(json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "asker", "namespace": "lab"},
                "status": {"phase": "Running", "podIP": POD},
            }));
        });
        cluster
    }

    /// Where it is written.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("cluster.json")
    }

    /// Where it can be put away.
    pub(crate) fn hidden(&self) -> PathBuf {
        self.folder.path().join("hidden.json")
    }

    /// Writes it anew, in one step.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Vec<Value>)) {
        let mut list: Value = serde_json::from_slice(&std::fs::read(self.file()).unwrap()).unwrap();
        change(list["items"].as_array_mut().unwrap());
        let new = self.folder.path().join("new.json");
        std::fs::write(&new, list.to_string()).unwrap();
        std::fs::rename(new, self.file()).unwrap();
    }
}

/// With `KUBE` written out. A TTL of 0 has no jitter.
fn expand(corefile: &str) -> String {
    corefile.replace("KUBE", &format!("kubernetes {ZONES} {{\n CLUSTER\n ttl 0\n }}"))
}

fn complete(corefile: &str, cluster: &Cluster, upstream: &FakeUpstream) -> String {
    // What is taken away here is meant.
    let source = format!("source file {}\n guard off", cluster.file().display());
    expand(corefile)
        .replace("CLUSTER", &source)
        .replace("STUB", &upstream.addr().to_string())
        .replace("BIND", "bind 127.0.0.1")
}

/// The object of this kind and name.
pub(crate) fn object<'a>(items: &'a mut [Value], kind: &str, name: &str) -> &'a mut Value {
    let found = items.iter_mut().find(|item| item["kind"] == kind && item["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// Takes the object of this kind and name out.
pub(crate) fn take(items: &mut Vec<Value>, kind: &str, name: &str) -> Value {
    let at = items.iter().position(|item| item["kind"] == kind && item["metadata"]["name"] == name);
    items.remove(at.unwrap_or_else(|| panic!("no {kind} {name}")))
}

/// A file in `folder`.
pub(crate) fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}
