//! The part of the fixture cluster that packets are about, as a node and as a router without sockets.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use hickory_proto::op::ResponseCode;
use outlast::node::router::Router;
use outlast::ops::dns_metrics::ServerMetrics;
use outlast::ops::metrics::Metrics;
use outlast::source::Wanted;
use outlast::testkit::client::{Client, Query};
use outlast::testkit::cluster::{ns, slice, svc, write_json};
use outlast::testkit::node::{Builder, TestNode};
use outlast::zone::Table;
use outlast::zone::object::Object;
use tempfile::TempDir;

/// The zones that a cluster's `kubernetes` block has.
const ZONES: &str = "cluster.local in-addr.arpa ip6.arpa";

/// Code 16, which hickory reads by its other name (RFC 6895 §2.3).
pub(crate) const BADVERS: ResponseCode = ResponseCode::BADSIG;

/// A ClusterIP service, a StatefulSet, and a headless service of 60 addresses.
fn objects() -> Vec<Object> {
    let mut herd = slice("shop/herd-1", "herd").port("p", 9);
    for host in 1..=60 {
        herd = herd.v4(&format!("10.244.9.{host}"));
    }
    let ledger = slice("shop/ledger-1", "ledger").port("sql", 5432);
    let ledger = ledger.v4("10.244.1.31").host("ledger-0").v4("10.244.2.32").host("ledger-1");
    vec![
        ns("shop"),
        svc("shop/storefront").ip("10.96.14.20").port("web", 80).build(),
        svc("shop/ledger").headless().port("sql", 5432).build(),
        ledger.build(),
        svc("shop/herd").headless().port("p", 9).build(),
        herd.build(),
    ]
}

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

/// The base profile without sockets.
pub(crate) fn router() -> Arc<Router> {
    let plan = Builder::default().check(&expand(".:0 {\n BIND\n KUBE\n}", Path::new("/nowhere.json")));
    let plan = plan.unwrap_or_else(|e| panic!("{e}"));
    for (_, store) in &plan.process.stores {
        store.hold(Table::build(objects(), Wanted::ALL.kinds(), 1));
    }
    let metrics = Arc::new(Metrics::new());
    let server = plan.servers.into_iter().next().unwrap();
    let server_metrics = Arc::new(ServerMetrics::new(&metrics, &server.identity, &[]));
    Router::new(server.identity, server.routes, server_metrics, metrics.counter("panics", &[]))
}
