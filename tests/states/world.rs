//! A node without sockets, the world around it, and a clock that stands still until a script moves it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, PTR};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_server::net::xfer::Protocol;
use outlast::node::chain::{Next, Outcome, Plugin};
use outlast::node::gate::{Gate, judge};
use outlast::node::pins::Pins;
use outlast::node::query::Query;
use outlast::node::reply::{Reply, encode};
use outlast::node::router::Router;
use outlast::ops::jitter::Jitter;
use outlast::ops::metrics::Metrics;
use outlast::ops::readiness::{Monitor, Readiness, State};
use outlast::source::apiserver::{ApiServerSource, Transport};
use outlast::source::command::{self, Command, Commands};
use outlast::source::{Listed, Resume, SourceConfig, UPDATE_QUEUE, Update, Wanted};
use outlast::store::Store;
use outlast::store::control::Control;
use outlast::testkit::client::{self, Answer};
use outlast::testkit::lanes::Lanes;
use outlast::testkit::node::Log;
use outlast::testkit::upstream::FakeUpstream;
use outlast::zone::object::{Kind, Kinds, Object, Shape};
use tokio::sync::mpsc::{self, Sender};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::apiserver::ApiServer;
use super::routed::{self, whole_state};
use super::unwired::{environment, planned, unix_ms, writer};
use super::vigil::Vigil;
use super::ways::{Said, Transcript, Way};

/// Often enough to let every task that can go on go on.
const TURNS: usize = 64;

/// While time passes the world is looked at so often …
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// … but not more often than this within one step of a script, so that days pass in seconds.
const LOOKS: u32 = 300;

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
    /// Questions that are asked all the time.
    pub(super) vigils: Vec<Vigil>,
    /// Every reply so far.
    pub(super) transcript: Transcript,
    /// The API server that nodes follow; without one, the script says what the source says.
    pub(super) apiserver: Option<ApiServer>,
    /// The way that queries take.
    way: Way,
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
    /// Answers what it can inline.
    lanes: Lanes,
    /// What it answers from.
    store: Arc<Store>,
    /// Counts.
    metrics: Arc<Metrics>,
    /// What `/ready` says.
    readiness: Readiness,
    /// What it wants of its source.
    wanted: Wanted,
    /// From where it told its source to go on.
    resume: Resume,
    /// Its source's end of the queue.
    updates: Option<Sender<Update>>,
    /// A source that proves itself again and again.
    proving: Option<JoinHandle<()>>,
    /// A source that follows the API server.
    following: Option<JoinHandle<()>>,
    /// To that source.
    commands: Option<Commands>,
    /// To its writer, for operators.
    control: Control,
    /// Ends it.
    stop: CancellationToken,
    /// The writer's task.
    writer: JoinHandle<()>,
}

impl World {
    /// No node, no objects, an empty disk.
    pub(super) fn new(way: Way) -> Self {
        Self {
            options: Vec::new(),
            objects: Vec::new(),
            fallback: None,
            fallback_is_silent: false,
            upstream: Arc::default(),
            log: Log::start(),
            vigils: Vec::new(),
            transcript: Vec::new(),
            apiserver: None,
            way,
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
        let source = match self.apiserver {
            Some(_) => format!("kubeconfig {dir}/kubeconfig"),
            None => "source file /nowhere".to_owned(),
        };
        format!(
            ".:0 {{\nkubernetes cluster.local in-addr.arpa ip6.arpa {{\n{source}\nsnapshot {dir}/snapshots\n\
             {options}}}\n}}\n"
        )
    }

    /// From now on nodes follow an API server that has all objects.
    pub(super) fn serve(&mut self, how: &[&str]) {
        let server = ApiServer::serve(how, &self.objects);
        server.write_kubeconfig(self.dir.path());
        self.apiserver = Some(server);
    }

    /// Does something to the API server, and lets it happen.
    pub(super) async fn apiserver(&mut self, words: &[&str]) {
        self.apiserver.as_mut().expect("there is an API server").play(words, self.dir.path());
        settle().await;
    }

    /// Asserts that the node has what the API server has.
    pub(super) fn is_exact(&mut self) {
        let node = self.node.as_ref().expect("a node was started");
        let server = self.apiserver.as_ref().expect("there is an API server");
        server.is_exact(&node.store, node.wanted);
    }

    /// Starts a node on the disk of the one before; its source has said nothing yet.
    pub(super) fn start(&mut self) {
        assert!(self.node.is_none(), "one node at a time");
        let environment = environment(self.origin);
        let mut plan = planned(&self.corefile(), &environment);

        let metrics = &environment.metrics;
        let (config, store) = plan.process.stores.pop().expect("a kubernetes block has a store");
        let source = config.source.clone();
        let readiness = Readiness::new(Monitor::UntilReady);
        let wanted = config.wanted;
        let mut writer =
            writer(config, store.clone(), &environment).with_readiness(readiness.register("kubernetes"));
        let resume = writer.boot();

        let server = plan.servers.pop().expect("there is a server block");
        let upstream: Arc<dyn Plugin> = Arc::new(Upstream(self.upstream.clone()));
        let router = routed::router(server, &upstream, metrics, Pins::default());
        let lanes = Lanes::of_router(router.clone(), metrics);

        let (updates, queue) = mpsc::channel(UPDATE_QUEUE);
        let stop = CancellationToken::new();
        let (mut following, mut to_source) = (None, None);
        let updates = match (source, &self.apiserver) {
            (SourceConfig::ApiServer(access), Some(server)) => {
                let source = ApiServerSource::new(access, wanted, resume.clone(), metrics.clone());
                let (commands, commanded) = command::channel();
                writer.asks(commands.clone());
                to_source = Some(commands);
                let source = source.over(Transport::Memory(server.dial())).obeying(commanded);
                let source = source.with_jitter(Jitter::from_seed(1));
                following = Some(tokio::spawn(source.run(updates, stop.clone())));
                None
            }
            _ => Some(updates),
        };
        self.node = Some(Node {
            router,
            lanes,
            store,
            metrics: environment.metrics.clone(),
            readiness,
            wanted,
            resume,
            updates,
            proving: None,
            following,
            commands: to_source,
            control: writer.control(),
            writer: tokio::spawn(writer.run(queue, stop.clone())),
            stop,
        });
    }

    /// SIGKILL.
    pub(super) async fn crash(&mut self) {
        let mut node = self.node.take().expect("a node was started");
        node.silence();
        node.stop.cancel();
        node.writer.abort();
        let _ = node.writer.await;
        if let Some(source) = node.following {
            source.abort();
        }
        settle().await;
    }

    /// SIGTERM.
    pub(super) async fn stop(&mut self) {
        let mut node = self.node.take().expect("a node was started");
        node.silence();
        node.stop.cancel();
        node.writer.await.unwrap();
        if let Some(source) = node.following {
            source.await.unwrap();
        }
    }

    // === Its source ===

    /// The source says something, and the node has heard it.
    pub(super) async fn tell(&mut self, update: Update) {
        self.tell_at_once([update]).await;
    }

    /// The source says several things in one go, and the node has heard them.
    async fn tell_at_once(&mut self, all: impl IntoIterator<Item = Update>) {
        let updates = self.node().updates.clone().expect("the source has not ended");
        for update in all {
            updates.send(update).await.expect("the writer listens");
        }
        while updates.capacity() < updates.max_capacity() {
            tokio::task::yield_now().await;
        }
        settle().await;
    }

    /// The source lists everything that is wanted, but for `without`, and proves it.
    pub(super) async fn tell_state(&mut self, without: Option<Kind>) {
        let mut kinds = self.node().wanted.kinds();
        if let Some(kind) = without {
            kinds = kinds.without(kind);
        }
        let state = whole_state(&self.objects, kinds);
        self.tell_at_once(state).await;
    }

    /// The source sends a part of a list.
    pub(super) async fn tell_part(&mut self, kinds: Kinds, object: Object) {
        let entries = vec![Listed::Object { object, trigger: None }];
        self.tell(Update::ListPart { kinds, entries }).await;
    }

    /// The source proves that everything was current so long ago.
    pub(super) async fn prove(&mut self, ago: Duration) {
        self.tell(Update::Fresh { as_of: Instant::now() - ago }).await;
    }

    /// From now on the source proves itself again and again.
    pub(super) fn prove_every(&mut self, interval: Duration) {
        let node = self.node();
        node.silence();
        let updates = node.updates.clone().expect("the source has not ended");
        node.proving = Some(tokio::spawn(async move {
            while updates.send(Update::Fresh { as_of: Instant::now() }).await.is_ok() {
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

    /// Asks the source for something, and lets it happen.
    pub(super) async fn command(&mut self, command: Command) {
        let commands = self.node().commands.clone().expect("it follows an API server");
        commands.send(command).await.expect("the source is there");
        settle().await;
    }

    /// An operator accepts what is held back or refused.
    pub(super) async fn accept(&mut self) {
        self.node().control.clone().accept().await;
        settle().await;
    }

    // === The clock ===

    /// Lets time pass until this long after the beginning.
    pub(super) async fn advance_to(&mut self, at: Duration) {
        let at = self.origin + at;
        assert!(at >= Instant::now(), "time goes one way");
        let step = (at.duration_since(Instant::now()) / LOOKS).max(LOOK_EVERY);
        while self.node.is_some() && Instant::now() + step < at {
            // Time passes only when nothing else can happen: timers fire in their order, writes to the disk end.
            tokio::time::sleep(step).await;
            self.look().await;
        }
        tokio::time::sleep_until(at).await;
        self.look().await;
    }

    /// Lets so much time pass.
    pub(super) async fn advance_by(&mut self, time: Duration) {
        self.advance_to(self.origin.elapsed() + time).await;
    }

    /// What has to hold at any time.
    async fn look(&mut self) {
        settle().await;
        let Some(node) = &self.node else { return };
        if let Some(server) = &mut self.apiserver {
            server.is_honest(&node.store, node.wanted);
        }
        let vigils = std::mem::take(&mut self.vigils);
        for vigil in &vigils {
            let (answer, _) = self.ask(&vigil.name, vigil.kind, true).await;
            vigil.check(&answer, self.origin.elapsed());
        }
        self.vigils = vigils;
    }

    // === Its clients ===

    /// Asks, and says how long the reply took.
    pub(super) async fn ask(&mut self, name: &str, kind: RecordType, opt: bool) -> (Answer, Duration) {
        let mut question = client::Query::new(name, kind).id(0);
        if opt {
            question = question.edns(1232);
        }
        let bytes = question.bytes();
        let source = "10.0.0.1:5353".parse().unwrap();
        let inline = match self.way {
            Way::Lane => self.node().lanes.inline(&bytes, source),
            Way::General => None,
        };
        let is_inline = inline.is_some();
        let (reply, took) = match inline {
            Some(reply) => (reply, Duration::ZERO),
            None => self.ask_generally(name, &bytes, source).await,
        };
        let question = format!("{name} {kind}");
        self.transcript.push(Said { question, reply: reply.clone(), inline: is_inline });
        let answer = Answer::parse(reply).unwrap();
        // One that says nothing is waited for, or left alone.
        let is_asked = self.fallback.is_some() && !(self.fallback_is_silent && took.is_zero());
        let has_its_say = is_asked && answer.rcode() == ResponseCode::NXDomain;
        let is_for_others = has_its_say || self.is_alias(name) || !is_from_the_table(&answer);
        assert!(
            self.way == Way::General || is_inline || is_for_others,
            "{name} {kind} is answered from the table, and not inline: {:?}",
            answer.message
        );
        (answer, took)
    }

    /// Whether a name is an ExternalName service's: somebody has to look where it leads.
    fn is_alias(&self, name: &str) -> bool {
        self.objects.iter().any(|object| match object {
            Object::Service(o) if matches!(o.shape, Shape::ExternalName(_)) => {
                name.trim_end_matches('.') == format!("{}.{}.svc.cluster.local", o.name, o.namespace)
            }
            _ => false,
        })
    }

    /// The general handler's reply.
    async fn ask_generally(
        &mut self,
        name: &str,
        question: &[u8],
        source: SocketAddr,
    ) -> (Vec<u8>, Duration) {
        // While a fallback is to answer over its sockets, time stands still.
        let hold = (self.fallback.is_some() && !self.fallback_is_silent).then(hold_time);
        let router = &self.node().router;
        let local = "127.0.0.1:53".parse().unwrap();
        let gate = judge(question, source, local, Protocol::Udp, router);
        let Gate::Pass(query) = gate else { panic!("{name}: the gate does not let it pass") };
        let began = Instant::now();
        let reply = router.answer(&query).await.expect("every query gets a reply");
        let took = began.elapsed();
        drop(hold);
        (encode(&query, &reply).expect("a reply can be encoded"), took)
    }

    /// The value of a series, spelled as in a scrape.
    pub(super) fn metric(&mut self, series: &str) -> f64 {
        let text = self.node().metrics.render();
        let value = text.lines().find_map(|l| l.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no series {series} in\n{text}")).parse().unwrap()
    }

    /// From where the node told its source to go on when it started.
    pub(super) fn resume(&mut self) -> Resume {
        self.node().resume.clone()
    }

    /// Unix time, in milliseconds.
    pub(super) fn unix_ms(&self) -> u64 {
        unix_ms(self.origin)
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

/// Whether a reply is our own, and says more than what is missing to say more.
fn is_from_the_table(answer: &Answer) -> bool {
    let header = &answer.message.metadata;
    header.authoritative && matches!(header.response_code, ResponseCode::NoError | ResponseCode::NXDomain)
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
