//! The part of the fixture cluster that packets are about, as a node.

use std::fs::File;
use std::path::Path;

use hickory_proto::op::ResponseCode;
use outlast::testkit::client::{Client, Query};
use outlast::testkit::cluster::write_json;
use outlast::testkit::fuzz::packet::objects;
use outlast::testkit::node::TestNode;
use tempfile::TempDir;

/// The zones that a cluster's `kubernetes` block has.
const ZONES: &str = "cluster.local in-addr.arpa ip6.arpa";

/// Code 16, which hickory reads by its other name (RFC 6895 §2.3).
pub(crate) const BADVERS: ResponseCode = ResponseCode::BADSIG;

/// A question whose reply, SERVFAIL, tells the end of the replies to a malformed packet that came before it: it is not
/// answered inline and about no name at hand, so that it takes its turn behind that packet.
pub(crate) fn marker(id: u16) -> Query {
    Query::a("marker.example.").id(id)
}

/// A node with the fixture's data.
pub(crate) struct Node {
    pub(crate) node: TestNode,
    pub(crate) client: Client,
    /// Where its data is.
    _dir: TempDir,
}

/// Starts a node with this Corefile, in which `KUBE` stands for a `kubernetes` block with the fixture's data
/// and `BIND` for loopback.
pub(crate) async fn start(corefile: &str) -> Node {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("objects.json");
    write_json(&objects(), File::create(&path).unwrap()).unwrap();
    let node = TestNode::start(&expand(corefile, &path));
    if corefile.contains("KUBE") {
        node.state("live").await;
    }
    Node { client: node.client(), node, _dir: dir }
}

/// The base profile: the cluster's names, and nothing else.
pub(crate) async fn base() -> Node {
    start(".:0 {\n BIND\n KUBE\n}").await
}

fn expand(corefile: &str, objects: &Path) -> String {
    // A TTL of 0 has no jitter.
    let kube = format!("kubernetes {ZONES} {{\n ttl 0\n source file {}\n }}", objects.display());
    corefile.replace("KUBE", &kube).replace("BIND", "bind 127.0.0.1")
}
