//! A node without sockets, the cluster and the upstream around it, and a clock that stands still until a script moves
//! it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use hickory_proto::rr::RecordType;
use hickory_server::net::xfer::Protocol;
use outlast::forward::cache::Persisted;
use outlast::node::carried::Carried;
use outlast::node::chain::Plugin;
use outlast::node::gate::{Gate, judge};
use outlast::node::pins::Pins;
use outlast::node::plugins::cache;
use outlast::node::query::Query;
use outlast::node::reply::encode;
use outlast::node::router::Router;
use outlast::node::setup::Environment;
use outlast::ops::jitter::Jitter;
use outlast::testkit::client::{self, Answer};
use outlast::testkit::lanes::{Crowd, Lanes};
use outlast::testkit::node::Log;
use outlast::zone::object::Object;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::begun::{Source, begin};
use super::routed::{self, whole_state};
use super::unwired::{environment, planned};
use super::upstream::Upstream;
use super::ways::{Said, Transcript, Way};

/// Often enough to let every task that can go on go on.
const TURNS: usize = 64;

/// Who asks.
const SOURCE: &str = "10.0.0.1:5353";

/// The labels that all series of a script's cache share.
const LABELS: &str = "zones=\".\"";

/// What a script plays in.
pub(super) struct World {
    /// The lines of the server block.
    pub(super) corefile: Vec<String>,
    /// The cluster.
    pub(super) objects: Vec<Object>,
    /// The world outside of it.
    pub(super) upstream: Upstream,
    /// Everything that was logged.
    pub(super) log: Log,
    /// Every reply so far.
    pub(super) transcript: Transcript,
    /// The way that queries take.
    way: Way,
    /// The node.
    node: Option<Node>,
    /// What was saved, and when.
    saved: Option<(Vec<Persisted>, Instant)>,
    /// When the script began.
    origin: Instant,
}

/// A node that runs.
struct Node {
    environment: Environment,
    router: Arc<Router>,
    /// Answers what it can inline.
    lanes: Mutex<Lanes>,
    /// Its cache.
    cache: Option<Arc<cache::Shared>>,
    /// The source's end of the queue, if there is a cluster.
    source: Option<Source>,
    /// Ends what its configuration runs.
    stop: CancellationToken,
}

/// A question and how it is asked.
pub(super) struct Ask {
    /// With the final dot.
    pub(super) name: String,
    /// RD
    pub(super) rd: bool,
    /// CD
    pub(super) cd: bool,
    /// All of it, for people.
    text: String,
    query: client::Query,
    protocol: Protocol,
    /// What becomes of it where places to wait in are scarce.
    scarcity: Scarcity,
}

/// How scarce places to wait in are.
#[derive(Clone, Copy)]
enum Scarcity {
    /// There are some.
    None,
    /// It would be at somebody else's cost.
    Dear,
    /// There is none.
    All,
}

impl Ask {
    /// Reads `NAME TYPE FLAG...`.
    pub(super) fn parse(words: &[&str]) -> Self {
        let [name, kind, flags @ ..] = words else { panic!("ask NAME TYPE") };
        let kind = if *kind == "IXFR" { RecordType::IXFR } else { kind.parse().unwrap() };
        let has = |flag: &str| flags.contains(&flag);
        for flag in flags {
            let known =
                ["do", "cd", "ad", "no-rd", "no-opt", "subnet", "tcp", "ch", "no-wait", "turned-away"];
            assert!(known.contains(flag), "no such flag: {flag}");
        }
        let mut query = client::Query::new(name, kind).id(0).rd(!has("no-rd"));
        if !has("no-opt") {
            query = query.edns(1232);
        }
        if has("do") {
            query = query.dnssec_ok();
        }
        if has("cd") {
            query = query.cd();
        }
        if has("ad") {
            query = query.ad();
        }
        if has("ch") {
            query = query.class(3);
        }
        if has("subnet") {
            query = query.option(8, b"\0\x01\x18\0\xc0\0\x02");
        }
        let protocol = if has("tcp") { Protocol::Tcp } else { Protocol::Udp };
        Self {
            name: (*name).to_owned(),
            rd: !has("no-rd"),
            cd: has("cd"),
            text: words.join(" "),
            query,
            protocol,
            scarcity: match (has("no-wait"), has("turned-away")) {
                (_, true) => Scarcity::All,
                (true, false) => Scarcity::Dear,
                (false, false) => Scarcity::None,
            },
        }
    }
}

impl World {
    /// No node, and an upstream that knows nothing.
    pub(super) fn new(way: Way) -> Self {
        Self {
            corefile: Vec::new(),
            objects: Vec::new(),
            upstream: Upstream::new(),
            log: Log::start(),
            transcript: Vec::new(),
            way,
            node: None,
            saved: None,
            origin: Instant::now(),
        }
    }

    // === The node ===

    fn node(&self) -> &Node {
        self.node.as_ref().expect("a node was started")
    }

    /// Starts a node; the same seed for each script, so that jitter is the same each time.
    pub(super) async fn start(&mut self) {
        assert!(self.node.is_none(), "one node at a time");
        let mut environment = environment(self.origin);
        environment.carried = Arc::new(Carried::with_jitter(Jitter::from_seed(1)));
        self.node = Some(self.run(environment));
        settle().await;
    }

    /// Has the running node take over the Corefile as it is now.
    pub(super) async fn reload(&mut self) {
        let before = self.node.take().expect("a node was started");
        let environment = Environment {
            metrics: before.environment.metrics.clone(),
            carried: before.environment.carried.clone(),
            ..environment(self.origin)
        };
        // The new configuration is there before the old one goes.
        self.node = Some(self.run(environment));
        before.stop.cancel();
        drop(before);
        settle().await;
    }

    fn run(&self, environment: Environment) -> Node {
        let corefile: String = self.corefile.iter().map(|line| format!("{line}\n")).collect();
        environment.carried.begin();
        let mut plan = planned(&format!(".:53 {{\n{corefile}}}\n"), &environment);
        environment.carried.commit();
        let metrics = &environment.metrics;
        let stop = CancellationToken::new();
        let source = begin(&mut plan.process, &environment, &stop);
        let cache = plan.process.caches.pop().map(|kept| kept.cache);
        let server = plan.servers.pop().expect("there is a server block");
        let upstream: Arc<dyn Plugin> = Arc::new(self.upstream.clone());
        let router = routed::router(server, &upstream, metrics, Pins::default());
        let lanes = Mutex::new(Lanes::of_router(router.clone(), metrics));
        Node { router, lanes, cache, source, stop, environment }
    }

    /// Ends the node.
    pub(super) fn stop(&mut self) {
        self.node.take().expect("a node was started").stop.cancel();
    }

    // === Its cache beyond it ===

    /// What the node keeps leaves it.
    pub(super) fn save(&mut self) {
        let store = self.node().cache.as_ref().expect("there is a cache").store();
        self.saved = Some((store.export(store.now()).collect(), Instant::now()));
    }

    /// What was saved comes back, as much older as it is.
    pub(super) fn load(&mut self) {
        let (items, since) = self.saved.take().expect("something was saved");
        let store = self.node().cache.as_ref().expect("there is a cache").store();
        for item in items {
            assert!(store.import(Persisted { age: item.age + since.elapsed(), ..item }, store.now()));
        }
    }

    // === Its cluster ===

    /// The cluster's source lists everything, and proves it.
    pub(super) async fn tell_state(&mut self) {
        let (updates, wanted) = self.node().source.as_ref().expect("there is a cluster");
        for update in whole_state(&self.objects, wanted.kinds()) {
            updates.send(update).await.expect("the writer listens");
        }
        settle().await;
    }

    // === The clock ===

    /// Lets time pass until this long after the beginning.
    pub(super) async fn advance_to(&mut self, at: Duration) {
        let at = self.origin + at;
        assert!(at >= Instant::now(), "time goes one way");
        tokio::time::sleep_until(at).await;
        settle().await;
    }

    /// Lets so much time pass.
    pub(super) async fn advance_by(&mut self, time: Duration) {
        self.advance_to(self.origin.elapsed() + time).await;
    }

    // === Its clients ===

    /// Asks so many times at once; each answer, and how long it took.
    pub(super) async fn ask(&mut self, ask: &Ask, times: usize) -> Vec<(Answer, Duration)> {
        let node = self.node();
        let answers = (0..times).map(|_| async {
            if let Some(reply) = self.ask_inline(ask) {
                return (reply, Duration::ZERO, true);
            }
            let query = pass(ask, &node.router);
            let began = Instant::now();
            let reply = node.router.answer(&query).await.expect("every query gets a reply");
            let took = began.elapsed();
            (encode(&query, &reply).expect("a reply can be encoded"), took, false)
        });
        let answers = join_all(answers).await;
        settle().await;
        let said = answers.iter().map(|(reply, _, inline)| Said {
            question: ask.text.clone(),
            reply: reply.clone(),
            inline: *inline,
        });
        self.transcript.extend(said);
        answers.into_iter().map(|(reply, took, _)| (Answer::parse(reply).unwrap(), took)).collect()
    }

    /// The lane's reply, where queries come to it.
    fn ask_inline(&self, ask: &Ask) -> Option<Vec<u8>> {
        if self.way == Way::General || ask.protocol != Protocol::Udp {
            return None;
        }
        let source = SOURCE.parse().unwrap();
        let (mut lanes, datagram) = (self.node().lanes.lock().unwrap(), ask.query.bytes());
        let inline = lanes.inline(&datagram, source);
        match ask.scarcity {
            // A queue without room comes before a waiting room without places: what is at hand is the same.
            Scarcity::All => inline.or_else(|| match lanes.crowded(&datagram, source) {
                Crowd::Answered(reply) => Some(reply),
                Crowd::Refused(_) | Crowd::Silence | Crowd::NotHere => None,
            }),
            Scarcity::None | Scarcity::Dear => inline,
        }
    }

    /// Asks, and goes away without an answer.
    pub(super) async fn ask_and_leave(&self, ask: &Ask, patience: Duration) {
        let router = &self.node().router;
        let query = pass(ask, router);
        assert!(timeout(patience, router.answer(&query)).await.is_err(), "the answer comes before");
    }

    /// The value of a series; 0 if there is none.
    pub(super) fn metric(&self, series: &str) -> f64 {
        let text = self.node().environment.metrics.render();
        // Series of a cache are named without the labels that all of them have.
        let value = text.lines().find_map(|line| {
            let (found, value) = line.rsplit_once(' ')?;
            let bare = found
                .replace("server=\"dns://:53\",", "")
                .replace(&format!(",{LABELS}"), "")
                .replace(&format!("{LABELS},"), "")
                .replace(LABELS, "")
                .replace(",view=\"\"", "")
                .replace("view=\"\"", "")
                .replace("{}", "");
            (bare == series).then(|| value.to_owned())
        });
        value.map_or(0.0, |value| value.parse().unwrap())
    }
}

/// The query as it passes the gate.
fn pass(ask: &Ask, router: &Arc<Router>) -> Arc<Query> {
    let (source, local) = (SOURCE.parse().unwrap(), "127.0.0.1:53".parse().unwrap());
    match judge(&ask.query.bytes(), source, local, ask.protocol, router) {
        Gate::Pass(query) => match ask.scarcity {
            Scarcity::None => query,
            Scarcity::Dear => Arc::new(query.without_waiting()),
            Scarcity::All => Arc::new(query.turned_away("no place".into())),
        },
        _ => panic!("{}: the gate does not let it pass", ask.name),
    }
}

/// Lets every task go on that can, without letting time pass.
async fn settle() {
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
}
