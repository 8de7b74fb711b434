//! The cluster's data and its watches go on.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outlast::drill::standin::requests::ListKind;
use outlast::drill::standin::{Config, Standin};
use outlast::testkit::client::{Client, Query};
use outlast::testkit::node::TestNode;
use outlast::zone::object::Kind;
use serde_json::json;
use tempfile::TempDir;

use super::fixture::{Place, WEB_ADDRESS, block, web};

/// Between two looks.
pub(super) const LOOK: Duration = Duration::from_millis(5);

/// An API server, and how it is reached.
struct Cluster {
    standin: Standin,
    folder: TempDir,
}

impl Cluster {
    async fn new() -> Self {
        let standin = Standin::start(Config::default()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("kubeconfig"), standin.kubeconfig()).unwrap();
        let cluster = Self { standin, folder };
        cluster.standin.etcd().put(Kind::Namespace, &json!({"metadata": {"name": "shop"}})).unwrap();
        cluster.put("web", WEB_ADDRESS);
        cluster
    }

    /// A service of the namespace `shop`, labelled with its name.
    fn put(&self, name: &str, address: &str) {
        let service = json!({
            "metadata": { "namespace": "shop", "name": name, "labels": { "app": name } },
            "spec": { "type": "ClusterIP", "clusterIP": address, "clusterIPs": [address] },
        });
        self.standin.etcd().put(Kind::Service, &service).unwrap();
    }

    fn corefile(&self, lines: &str, plugins: &str) -> String {
        let folder = self.folder.path().display();
        block(&format!(
            "kubernetes cluster.local {{\n kubeconfig {folder}/kubeconfig\n snapshot {folder}/snapshots\n {lines}\n }}\n \
             {plugins}"
        ))
    }

    /// Lists in any form but the small ones that only prove, of all kinds.
    fn lists(&self) -> u64 {
        self.standin.requests().count(|asked| asked.list.is_some_and(|list| list != ListKind::Small))
    }

    /// Watches that are open.
    fn watches(&self) -> usize {
        Kind::ALL.into_iter().map(|kind| self.standin.requests().open_watches(kind)).sum()
    }
}

pub(super) async fn records(node: &TestNode, name: &str) -> Vec<String> {
    let answer = node.client().ask(&Query::a(name)).await.unwrap();
    answer.message.answers.iter().map(|r| r.data.to_string()).collect()
}

/// Asks for `web` until it is dropped; every answer has to be there.
struct Vigil {
    over: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<usize>,
}

impl Vigil {
    fn of(node: &TestNode) -> Self {
        let over = Arc::<AtomicBool>::default();
        let (until, client) = (over.clone(), Client::new(node.dns));
        let task = tokio::spawn(async move {
            let mut asked = 0;
            while !until.load(Ordering::Relaxed) {
                let answer = client.udp(&web()).await.unwrap();
                assert_eq!(
                    answer.answers().len(),
                    1,
                    "after {asked}: {:?} {:?}",
                    answer.rcode(),
                    answer.ede()
                );
                asked += 1;
            }
            asked
        });
        Self { over, task }
    }

    async fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        assert!(self.task.await.unwrap() > 0);
    }
}

/// Follows a new service to its address, and away again.
async fn follows(node: &TestNode, cluster: &Cluster, what: &str, address: &str) {
    const NEW: &str = "new.shop.svc.cluster.local.";
    cluster.put("new", address);
    while records(node, NEW).await != [address] {
        tokio::time::sleep(LOOK).await;
    }
    cluster.standin.etcd().delete(Kind::Service, "shop", "new").unwrap();
    while !records(node, NEW).await.is_empty() {
        tokio::time::sleep(LOOK).await;
    }
    assert_eq!(node.metric("outlast_data_state{state=\"live\"}"), Some(1.0), "{what}");
}

#[tokio::test]
async fn a_store_goes_on_with_its_table_and_its_watches() {
    let cluster = Cluster::new().await;
    let mut node = TestNode::start(&cluster.corefile("", ""));
    node.state("live").await;
    let lists = cluster.lists();
    let vigil = Vigil::of(&node);
    for (at, (name, text)) in [
        ("another TTL", cluster.corefile("ttl 30", "")),
        ("further plugins", cluster.corefile("ttl 30", "loadbalance\n errors")),
        ("waited for", cluster.corefile("ttl 30", "ready 127.0.0.1:0")),
        ("its limits", cluster.corefile("stale_after 40s", "")),
        ("when it is written down", cluster.corefile("stale_after 40s\n snapshot_interval 5m", "")),
        ("how much is asked", cluster.corefile("apiserver_qps 50", "")),
        ("as it was", cluster.corefile("", "")),
    ]
    .into_iter()
    .enumerate()
    {
        let generation = node.metric("outlast_data_generation");
        node.reload(&text).await.unwrap();
        assert_eq!(node.metric("outlast_data_generation"), generation, "{name}");
        follows(&node, &cluster, name, &format!("10.0.1.{at}")).await;
        assert_eq!(cluster.lists(), lists, "{name}");
    }
    vigil.end().await;
    assert!(!node.log().contains("loaded snapshot"), "nothing had to be read from the disk");
    node.until("the watches of one source, and short ones that check", |_| cluster.watches() <= 6).await;
}

/// Labels are not kept unless somebody selects by them: they have to be listed, and until they are the old
/// configuration answers.
#[tokio::test]
async fn what_a_selector_needs_is_listed_before_it_selects() {
    let cluster = Cluster::new().await;
    cluster.put("other", "10.0.0.2");
    let mut node = TestNode::start(&cluster.corefile("", ""));
    node.state("live").await;
    let other = "other.shop.svc.cluster.local.";
    assert_eq!(records(&node, other).await, ["10.0.0.2"]);
    let lists = cluster.lists();
    let vigil = Vigil::of(&node);
    node.reload(&cluster.corefile("labels app=web", "")).await.unwrap();
    assert!(records(&node, other).await.is_empty());
    assert!(cluster.lists() > lists);
    let lists = cluster.lists();
    // They are at hand for the next.
    node.reload(&cluster.corefile("", "")).await.unwrap();
    assert_eq!(records(&node, other).await, ["10.0.0.2"]);
    node.reload(&cluster.corefile("labels app=web", "")).await.unwrap();
    assert!(records(&node, other).await.is_empty());
    assert_eq!(cluster.lists(), lists);
    vigil.end().await;
}

/// What the data lacks all along holds up no other change.
#[tokio::test]
async fn a_source_that_is_gone_holds_up_nothing_that_does_not_need_it() {
    let cluster = Cluster::new().await;
    let mut node = TestNode::start(&cluster.corefile("", ""));
    node.state("live").await;
    cluster.standin.faults().set_network(outlast::drill::standin::faults::Network::Refuse);
    node.reload(&cluster.corefile("ttl 30\n stale_after 40s", "loadbalance")).await.unwrap();
    assert_eq!(records(&node, "web.shop.svc.cluster.local.").await, [WEB_ADDRESS]);
}

/// Another source takes over from what the folder has, and one without a folder only once it has told all.
#[tokio::test]
async fn another_source_takes_over_without_a_gap() {
    let cluster = Cluster::new().await;
    let place = Place::new();
    let mut node = TestNode::start(&cluster.corefile("", ""));
    node.state("live").await;
    let vigil = Vigil::of(&node);
    let file =
        format!("kubernetes cluster.local {{\n source file {}\n }}", place.path("cluster.json").display());
    node.reload(&block(&file)).await.unwrap();
    assert_eq!(records(&node, "db.shop.svc.cluster.local.").await.len(), 2, "what only the file has");
    node.until("nobody watches any more", |_| cluster.watches() == 0).await;
    let snapshots = cluster.folder.path().join("snapshots");
    node.until("the last snapshot", |_| fs::read_dir(&snapshots).is_ok_and(|all| all.count() > 0)).await;
    node.reload(&cluster.corefile("", "")).await.unwrap();
    assert!(records(&node, "db.shop.svc.cluster.local.").await.is_empty());
    vigil.end().await;
}

/// A source that says nothing takes over from nobody. The time that it is given passes with the clock paused.
#[tokio::test(start_paused = true)]
async fn a_source_that_says_nothing_takes_over_from_nobody() {
    let place = Place::new();
    let mut node = TestNode::start(&block(&place.kubernetes("")));
    node.state("live").await;
    let none = "kubernetes cluster.local {\n source file /nonexistent.json\n }";
    let begin = tokio::time::Instant::now();
    let error = node.reload(&block(none)).await.unwrap_err().to_string();
    assert_eq!(error, "file:/nonexistent.json has not yet told all of zone cluster.local.");
    assert!(begin.elapsed() >= Duration::from_secs(30));
    assert_eq!(node.client().udp(&web()).await.unwrap().answers().len(), 1);
    // For a zone that nobody answered for there is nothing to wait for.
    let other = block(&none.replace("cluster.local", "other.local")).replacen(".:0", "other.local:0", 1);
    node.reload(&format!("{}{other}", block(&place.kubernetes("")))).await.unwrap();
    assert_eq!(node.client().udp(&web()).await.unwrap().answers().len(), 1);
}

/// The old configuration answers for as long as it takes, over any number of tries.
#[tokio::test(start_paused = true)]
async fn labels_that_cannot_be_listed_yet_are_waited_for() {
    let place = Place::new();
    let mut node = TestNode::start(&block(&place.kubernetes("")));
    node.state("live").await;
    let (file, away) = (place.path("cluster.json"), place.path("away.json"));
    fs::rename(&file, &away).unwrap();
    let selecting = block(&place.kubernetes("labels app!=none\n ttl 7"));
    for _ in 0..2 {
        let error = node.reload(&selecting).await.unwrap_err().to_string();
        assert!(error.contains("has not yet told all of zone cluster.local."), "{error}");
        assert_eq!(node.client().udp(&web()).await.unwrap().answers().len(), 1);
        // One that does not need them is taken over meanwhile.
        node.reload(&block(&place.kubernetes("ttl 30"))).await.unwrap();
    }
    fs::rename(away, file).unwrap();
    // The file has to be left alone for a moment of real time before it is read.
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while let Err(error) = node.reload(&selecting).await {
        assert!(std::time::Instant::now() < deadline, "{error}");
    }
    let answer = node.client().udp(&web()).await.unwrap();
    assert!(answer.message.answers[0].ttl <= 7, "{:?}", answer.answers());
}
