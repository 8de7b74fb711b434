//! A node without sockets, the world around it, and a clock that stands still until a script moves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, PTR};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_server::net::xfer::Protocol;
use outlast::corefile::{self, LoadOptions};
use outlast::node::chain::{Next, Outcome, Plugin};
use outlast::node::gate::{Gate, judge};
use outlast::node::query::Query;
use outlast::node::reply::{Reply, encode};
use outlast::node::router::{Block, Route, Router};
use outlast::node::setup::{Environment, Overrides, StoreConfig, directive_names, plan};
use outlast::node::store::Store;
use outlast::node::store::keeper::{Keeper, KeeperConfig};
use outlast::node::store::writer::Writer;
use outlast::ops::catalogue;
use outlast::ops::clock::WallClock;
use outlast::ops::dns_metrics::ServerMetrics;
use outlast::ops::jitter::Jitter;
use outlast::ops::metrics::Metrics;
use outlast::ops::readiness::{Monitor, Readiness, State};
use outlast::snapshot::disk::RealDisk;
use outlast::source::{UPDATE_QUEUE, Update, Wanted};
use outlast::testkit::client::{self, Answer};
use outlast::testkit::node::Log;
use outlast::testkit::upstream::FakeUpstream;
use outlast::zone::object::Object;
use tokio::sync::mpsc::{self, Sender};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Unix time at the beginning of a script, in milliseconds: 2026-01-01T00:00:00Z.
const BEGIN: u64 = 1_767_225_600_000;

/// Often enough to let every task that can go on go on.
const TURNS: usize = 64;

/// What a script plays in.
pub(super) struct World {
    /// Options of the `kubernetes` block.
    pub(super) options: Vec<String>,
    /// The cluster as its source sees it.
    pub(super) objects: Vec<Object>,
    /// The server of the `fallback` option.
    pub(super) fallback: Option<FakeUpstream>,
    /// Whether the fallback is a server that says nothing.
    pub(super) fallback_is_silent: bool,
    /// Questions that left the node's own zones.
    pub(super) upstream: Arc<AtomicUsize>,
    /// Everything that was logged.
    pub(super) log: Log,
    /// The node.
    node: Option<Node>,
    /// The snapshots.
    dir: tempfile::TempDir,
    /// When the script began.
    origin: Instant,
}

/// A node that runs.
struct Node {
    /// Answers.
    router: Arc<Router>,
    /// Counts.
    metrics: Arc<Metrics>,
    /// What `/ready` says.
    readiness: Readiness,
    /// What it wants of its source.
    wanted: Wanted,
    /// Its source's end of the queue.
    updates: Option<Sender<Update>>,
    /// A source that proves itself again and again.
    proving: Option<JoinHandle<()>>,
    /// Ends it.
    stop: CancellationToken,
    /// The writer's task.
    writer: JoinHandle<()>,
}

impl World {
    /// No node, no objects, an empty disk.
    pub(super) fn new() -> Self {
        Self {
            options: Vec::new(),
            objects: Vec::new(),
            fallback: None,
            fallback_is_silent: false,
            upstream: Arc::default(),
            log: Log::start(),
            node: None,
            dir: tempfile::tempdir().unwrap(),
            origin: Instant::now(),
        }
    }

    // === The node ===

    fn node(&mut self) -> &mut Node {
        self.node.as_mut().expect("a node was started")
    }

    fn corefile(&self) -> String {
        let options: String = self.options.iter().map(|line| format!("{line}\n")).collect();
        let dir = self.dir.path().display();
        format!(
            ".:0 {{\nkubernetes cluster.local in-addr.arpa ip6.arpa {{\nsource file /nowhere\nsnapshot {dir}\n\
             {options}}}\n}}\n"
        )
    }

    /// Starts a node on the disk of the one before; its source has said nothing yet.
    pub(super) fn start(&mut self) {
        assert!(self.node.is_none(), "one node at a time");
        let origin = self.origin;
        let system = move || BEGIN + u64::try_from(origin.elapsed().as_millis()).unwrap();
        let environment = Environment {
            metrics: Arc::new(Metrics::new()),
            clock: Arc::new(WallClock::with_system(0, system)),
            node_name: "node-1".to_owned(),
            overrides: Overrides::default(),
            own_addresses: Some(vec!["10.96.0.10".parse().unwrap()]),
        };
        let names = directive_names();
        let options = LoadOptions { directives: Some(&names), ..LoadOptions::default() };
        let parsed =
            corefile::parse(&self.corefile(), "Corefile", &options).unwrap_or_else(|e| panic!("{e}"));
        let mut plan = plan(&parsed, &environment).unwrap_or_else(|e| panic!("{e}"));

        let metrics = &environment.metrics;
        let (config, store) = plan.process.stores.pop().expect("a kubernetes block has a store");
        let readiness = Readiness::new(Monitor::UntilReady);
        let wanted = config.wanted;
        let mut writer = writer(config, store, &environment).with_readiness(readiness.register("kubernetes"));
        writer.boot();

        let server = plan.servers.pop().expect("there is a server block");
        let upstream: Arc<dyn Plugin> = Arc::new(Upstream(self.upstream.clone()));
        let beyond = |route: Route| {
            let plugins = route.block.plugins.iter().cloned().chain([upstream.clone()]).collect();
            Route { zone: route.zone, block: Arc::new(Block { plugins }) }
        };
        let routes = server.routes.into_iter().map(beyond).collect();
        let counted = Arc::new(ServerMetrics::new(metrics, &server.identity, &server.counted));
        let router = Router::new(server.identity, routes, counted, metrics.counter(catalogue::PANICS, &[]));

        let (updates, queue) = mpsc::channel(UPDATE_QUEUE);
        let stop = CancellationToken::new();
        self.node = Some(Node {
            router,
            metrics: environment.metrics.clone(),
            readiness,
            wanted,
            updates: Some(updates),
            proving: None,
            writer: tokio::spawn(writer.run(queue, stop.clone())),
            stop,
        });
    }

    /// SIGKILL.
    pub(super) async fn crash(&mut self) {
        let mut node = self.node.take().expect("a node was started");
        node.silence();
        node.writer.abort();
        let _ = node.writer.await;
    }

    /// SIGTERM.
    pub(super) async fn stop(&mut self) {
        let mut node = self.node.take().expect("a node was started");
        node.silence();
        node.stop.cancel();
        node.writer.await.unwrap();
    }

    // === Its source ===

    /// The source says something, and the node has heard it.
    pub(super) async fn tell(&mut self, update: Update) {
        let updates = self.node().updates.clone().expect("the source has not ended");
        updates.send(update).await.expect("the writer listens");
        while updates.capacity() < updates.max_capacity() {
            tokio::task::yield_now().await;
        }
        settle().await;
    }

    /// The source sends a whole state of what is wanted, but for `without`.
    pub(super) async fn tell_state(&mut self, without: Option<outlast::zone::object::Kind>) {
        let mut kinds = self.node().wanted.kinds();
        if let Some(kind) = without {
            kinds = kinds.without(kind);
        }
        let objects = self.objects.iter().filter(|o| kinds.has(o.kind())).cloned().collect();
        self.tell(Update::State { objects, kinds }).await;
    }

    /// From now on the source proves itself again and again.
    pub(super) fn prove_every(&mut self, interval: Duration) {
        let node = self.node();
        node.silence();
        let updates = node.updates.clone().expect("the source has not ended");
        node.proving = Some(tokio::spawn(async move {
            while updates.send(Update::Fresh).await.is_ok() {
                tokio::time::sleep(interval).await;
            }
        }));
    }

    /// From now on the source proves nothing by itself.
    pub(super) fn silence(&mut self) {
        self.node().silence();
    }

    /// The source's task ends.
    pub(super) async fn end_source(&mut self) {
        let node = self.node();
        node.silence();
        node.updates = None;
        settle().await;
    }

    // === The clock ===

    /// Lets time pass until this long after the beginning.
    pub(super) async fn advance_to(&self, at: Duration) {
        let at = self.origin + at;
        assert!(at >= Instant::now(), "time goes one way");
        // Time passes only when nothing else can happen: timers fire in their order, writes to the disk end.
        tokio::time::sleep_until(at).await;
        settle().await;
    }

    // === Its clients ===

    /// Asks, and says how long the reply took.
    pub(super) async fn ask(&mut self, name: &str, kind: RecordType, opt: bool) -> (Answer, Duration) {
        let mut question = client::Query::new(name, kind);
        if opt {
            question = question.edns(1232);
        }
        // While a fallback is to answer over its sockets, time stands still.
        let hold = (self.fallback.is_some() && !self.fallback_is_silent).then(hold_time);
        let router = &self.node().router;
        let local = "127.0.0.1:53".parse().unwrap();
        let gate = judge(&question.bytes(), "10.0.0.1:5353".parse().unwrap(), local, Protocol::Udp, router);
        let Gate::Pass(query) = gate else { panic!("{name}: the gate does not let it pass") };
        let began = Instant::now();
        let reply = router.answer(&query).await;
        let took = began.elapsed();
        drop(hold);
        let bytes = encode(&query, &reply).expect("a reply can be encoded");
        (Answer::parse(bytes).unwrap(), took)
    }

    /// The value of a series, spelled as in a scrape.
    pub(super) fn metric(&mut self, series: &str) -> f64 {
        let text = self.node().metrics.render();
        let value = text.lines().find_map(|l| l.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no series {series} in\n{text}")).parse().unwrap()
    }

    /// What `/ready` goes by.
    pub(super) fn is_ready(&mut self) -> bool {
        self.node().readiness.state() == State::Ready
    }
}

impl Node {
    fn silence(&mut self) {
        if let Some(proving) = self.proving.take() {
            proving.abort();
        }
    }
}

fn writer(config: StoreConfig, store: Arc<Store>, environment: &Environment) -> Writer {
    let metrics = &environment.metrics;
    let keeper = config.snapshot.map(|dir| {
        let keeper = KeeperConfig {
            max_stale: None,
            dir,
            zone: config.zone,
            source: config.source.to_string(),
            labels: config.wanted.labels,
            interval: config.interval,
        };
        let clock = environment.clock.clone();
        Keeper::open(keeper, Arc::new(RealDisk), clock, Jitter::from_seed(1), metrics)
    });
    Writer::new(store, keeper, config.wanted, config.limits, environment.clock.clone(), metrics)
}

/// Lets every task go on that can, without letting time pass.
async fn settle() {
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
}

/// Time does not pass by itself while a blocking task runs.
fn hold_time() -> std::sync::mpsc::Sender<()> {
    let (release, released) = std::sync::mpsc::channel();
    tokio::task::spawn_blocking(move || {
        // Ends with an error when the sender is dropped.
        let _ = released.recv();
    });
    release
}

/// The plugin behind `kubernetes`: stands for the world outside, and counts what reaches it.
struct Upstream(Arc<AtomicUsize>);

#[async_trait]
impl Plugin for Upstream {
    fn name(&self) -> &'static str {
        "upstream"
    }

    async fn serve(&self, query: &Query, _: Next<'_>) -> Outcome {
        self.0.fetch_add(1, Ordering::Relaxed);
        let data = match query.kind() {
            RecordType::PTR => RData::PTR(PTR(Name::from_ascii("host.upstream.").unwrap())),
            _ => RData::A(A::new(198, 51, 100, 1)),
        };
        let answers = vec![Record::from_rdata(query.name().clone(), 60, data)];
        Reply { answers, ..Reply::new(ResponseCode::NoError, "upstream") }.into()
    }
}
