//! The options of the `kubernetes` block that say how the API server is reached, and how much is asked of it.

use outlast::testkit::node::TestNode;

use super::apiserver::{ApiServer, Authority};
use super::cluster::{Cluster, a, snapshots, start};

const WEB: &str = "web.shop.svc.cluster.local.";

/// Starts a node and checks the address of web.shop, once there is data.
async fn check(lines: &str, address: &str) -> TestNode {
    let node = start(lines);
    node.logged("cluster data is live").await;
    assert_eq!(a(&node, WEB).await, format!("NoError {address}"), "{lines}");
    node
}

#[tokio::test]
async fn kubernetes_endpoint() {
    let (one, other) = (ApiServer::start("10.0.0.7").await, ApiServer::start("10.0.0.8").await);
    check(&format!("endpoint {}", one.url), "10.0.0.7").await;
    assert_eq!(other.requests(), 0);
    check(&format!("endpoint {}/", other.url), "10.0.0.8").await;
    assert_eq!(other.token(), None, "there is nobody to be");
}

#[tokio::test]
async fn kubernetes_tls() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = ApiServer::start_tls("10.0.0.7", &ours).await;
    let lines = |client: &Authority, ca: &Authority| {
        let [cert, key] = ["client.crt", "client.key"].map(|name| client.file(name));
        let ca = ca.file("ca.crt");
        format!("endpoint {}\n tls {} {} {}", server.url, cert.display(), key.display(), ca.display())
    };
    for (name, lines) in [
        ("another authority's server", lines(&ours, &theirs)),
        ("another authority's client", lines(&theirs, &ours)),
        ("nobody's", format!("endpoint {}", server.url)),
    ] {
        let node = start(&lines);
        node.logged("source lost").await;
        assert_eq!(a(&node, WEB).await, "ServFail", "{name}");
        assert_eq!(server.requests(), 0, "{name}");
    }
    check(&lines(&ours, &ours), "10.0.0.7").await;
}

/// A kubeconfig with two contexts, of which the first is current.
fn kubeconfig(one: &ApiServer, two: &ApiServer) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: one\nclusters:\n\
         - {{name: first, cluster: {{server: '{}'}}}}\n\
         - {{name: second, cluster: {{server: '{}'}}}}\n\
         users:\n- {{name: alice, user: {{token: from-alice}}}}\n- {{name: bob, user: {{token: from-bob}}}}\n\
         contexts:\n- {{name: one, context: {{cluster: first, user: alice}}}}\n\
         - {{name: two, context: {{cluster: second, user: bob}}}}\n",
        one.url, two.url
    )
}

#[tokio::test]
async fn kubernetes_kubeconfig() {
    let (one, two) = (ApiServer::start("10.0.0.7").await, ApiServer::start("10.0.0.8").await);
    let folder = Cluster::new();
    let file = folder.path("kubeconfig");
    std::fs::write(&file, kubeconfig(&one, &two)).unwrap();
    let line = format!("kubeconfig {}", file.display());
    check(&line, "10.0.0.7").await;
    check(&format!("{line} one"), "10.0.0.7").await;
    assert_eq!((one.token(), two.requests()), (Some("from-alice".to_owned()), 0));
    check(&format!("{line} two"), "10.0.0.8").await;
    assert_eq!(two.token(), Some("from-bob".to_owned()));
    // It is ahead of an endpoint, and says so.
    let node = check(&format!("endpoint {}\n {line}", two.url), "10.0.0.7").await;
    let want =
        "[WARNING] plugin/kubernetes: 'endpoint' at Corefile:4 has no effect: 'kubeconfig' is ahead of it";
    assert!(node.log().contains(want), "{}", node.log());
}

/// A node comes up from its snapshot, whatever has become of the kubeconfig, and follows once it is there.
#[tokio::test]
async fn a_kubeconfig_may_come_late() {
    let server = ApiServer::start("10.0.0.7").await;
    for (name, broken) in [("not there", None), ("of no use", Some("current-context: nowhere\n"))] {
        let cluster = Cluster::new();
        let (file, folder) = (cluster.path("kubeconfig"), cluster.dir("snapshots"));
        let keep = format!("snapshot {}", folder.display());
        let before = cluster.node(&keep).await;
        before.until("a snapshot", |_| snapshots(&folder) > 0).await;
        before.stop().await;
        if let Some(text) = broken {
            std::fs::write(&file, text).unwrap();
        }

        let node = start(&format!("kubeconfig {}\n {keep}", file.display()));
        assert_eq!(a(&node, WEB).await, "NoError 10.0.0.1", "{name}: from the snapshot");
        node.logged("source lost").await;
        assert!(node.log().contains(&*file.to_string_lossy()), "{name}: {}", node.log());
        let new = cluster.path("new");
        std::fs::write(&new, kubeconfig(&server, &server)).unwrap();
        std::fs::rename(new, &file).unwrap();
        node.logged("cluster data is live").await;
        assert_eq!(a(&node, WEB).await, "NoError 10.0.0.7", "{name}");
    }
}

/// How long requests have waited for their turn, in seconds, all of them together.
fn waited(node: &TestNode) -> f64 {
    const SERIES: &str = "coredns_kubernetes_rest_client_rate_limiter_duration_seconds_sum{";
    let text = node.scrape();
    let sums = text.lines().filter(|line| line.starts_with(SERIES));
    sums.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// A first state takes more than three requests. The limits say how long they wait for each other, however slow
/// the machine is: a slow one has the more tokens.
async fn waits(lines: &str) -> f64 {
    let server = ApiServer::start("10.0.0.7").await;
    let node = check(&format!("endpoint {}\n {lines}", server.url), "10.0.0.7").await;
    assert!(server.requests() > 3, "{}", server.requests());
    waited(&node)
}

#[tokio::test]
async fn kubernetes_apiserver_qps() {
    let seldom = waits("apiserver_burst 1\n apiserver_qps 2").await;
    let often = waits("apiserver_burst 1\n apiserver_qps 1000").await;
    assert!(seldom >= 0.5 && often < 0.5, "{seldom} {often}");
}

#[tokio::test]
async fn kubernetes_apiserver_burst() {
    let one = waits("apiserver_qps 2\n apiserver_burst 1").await;
    let many = waits("apiserver_qps 2\n apiserver_burst 100").await;
    assert!(one >= 0.5 && many < 0.5, "{one} {many}");
}

#[tokio::test]
async fn kubernetes_apiserver_max_inflight() {
    for (line, most) in [("", 3), ("apiserver_max_inflight 2", 2), ("apiserver_max_inflight 1", 1)] {
        let server = ApiServer::start_held("10.0.0.7").await;
        let node = start(&format!("endpoint {}\n {line}", server.url));
        node.until("as many as may be", |_| server.waiting().0 == most).await;
        // Lists of namespaces, services and endpoint slices; one that was tried again is one more.
        while !node.log().contains("cluster data is live") {
            if server.waiting().0 > 0 {
                server.answer_one();
            }
            tokio::task::yield_now().await;
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        assert_eq!(server.waiting().1, most, "{line}");
        assert_eq!(a(&node, WEB).await, "NoError 10.0.0.7");
    }
}

#[tokio::test]
async fn kubernetes_startup_timeout() {
    let cluster = Cluster::new();
    let said = |node: &TestNode| {
        node.log().matches("'startup_timeout' at Corefile:5 has no effect: sockets are bound at once").count()
    };
    assert_eq!(said(&cluster.node("ttl 5").await), 0);
    assert_eq!(said(&cluster.node("startup_timeout 5s").await), 1);
    // Nor with an API server: names are answered, if only with an error, before it has said a word.
    let server = ApiServer::start_held("10.0.0.7").await;
    let node = start(&format!("endpoint {}\n startup_timeout 1h", server.url));
    assert_eq!(said(&node), 1, "{}", node.log());
    assert_eq!(a(&node, WEB).await, "ServFail");
}

/// With a file as the source none of them has an effect, and the log says so.
#[tokio::test]
async fn a_file_needs_no_connection() {
    let cluster = Cluster::new();
    for line in [
        "endpoint https://192.0.2.1:6443",
        "tls cert.pem key.pem ca.pem",
        "kubeconfig /etc/kubeconfig admin",
        "apiserver_qps 5",
        "apiserver_burst 10",
        "apiserver_max_inflight 3",
    ] {
        let option = line.split(' ').next().unwrap();
        let node = cluster.node(line).await;
        let want = format!(
            "[WARNING] plugin/kubernetes: '{option}' at Corefile:5 has no effect: the source is file:"
        );
        assert!(node.log().contains(&want), "{line}: {}", node.log());
        assert_eq!(a(&node, WEB).await, "NoError 10.0.0.1");
    }
    let plain = cluster.node("ttl 5").await;
    assert!(!plain.log().contains("has no effect"), "{}", plain.log());
}
