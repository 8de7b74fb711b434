//! Two nodes without sockets that have the same cluster, the same world outside, the same clock and the same luck: one
//! answers by the general handler alone, the other inline what it can, as over UDP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use outlast::node::carried::Carried;
use outlast::node::chain::Plugin;
use outlast::node::pins::Pins;
use outlast::node::pins::pin::{Span, Wanted, labels};
use outlast::node::setup::Environment;
use outlast::ops::jitter::Jitter;
use outlast::source::Update;
use outlast::testkit::lanes::Lanes;
use outlast::zone::object::Object;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::dispatcher;
use tracing::instrument::WithSubscriber;

use crate::begun::{Source, begin};
use crate::compare::Sameness;
use crate::logged::Logged;
use crate::routed::{self, whole_state};
use crate::unwired::{environment, planned};
use crate::upstream::Upstream;

/// Often enough to let every task that can go on go on.
const TURNS: usize = 64;

/// Who asks, and where.
const SOURCE: &str = "10.0.0.1:5353";
const LOCAL: &str = "127.0.0.1:53";

/// Families that do not depend on the way that an answer takes; each begins with one of these.
const COUNTED: [&str; 7] = [
    "coredns_dns_",
    "coredns_cache_",
    "coredns_local_",
    "coredns_panics_total",
    "outlast_stale_answers_total",
    "outlast_not_ready_answers_total",
    PINNED,
];

/// Answers that an operator has pinned.
const PINNED: &str = "outlast_pinned_answers_total";

/// Times are the exception.
const TIMED: &str = "_duration_seconds";

/// One of the two nodes.
struct Node {
    environment: Environment,
    /// Both ways of each listener.
    lanes: Vec<Lanes>,
    /// What an operator has pinned.
    pins: Pins,
    /// What it logs.
    logged: Logged,
    /// The source's end of the queue, if there is a cluster.
    source: Option<Source>,
    /// The world outside.
    upstream: Upstream,
    /// Ends what it runs.
    stop: CancellationToken,
}

/// Both.
pub(crate) struct Pair {
    general: Node,
    lane: Node,
    sameness: Sameness,
    source: SocketAddr,
    local: SocketAddr,
    /// Packets so far: each goes to another listener than the one before, where there are several.
    asked: usize,
}

/// What a packet is answered with.
#[derive(Debug)]
pub(crate) struct Answered {
    /// The general handler's reply, if there is one.
    pub(crate) reply: Option<Vec<u8>>,
    /// Whether the other node gave it inline.
    pub(crate) inline: bool,
}

impl Node {
    /// Starts a node in this runtime, whose time has to be paused.
    fn start(corefile: &str, outside: &[&str], origin: Instant) -> Self {
        let mut environment = environment(origin);
        // Seeded: both nodes refresh what they keep at the same time.
        environment.carried = Arc::new(Carried::with_jitter(Jitter::from_seed(1)));
        let mut plan = planned(corefile, &environment);
        let stop = CancellationToken::new();
        let source = begin(&mut plan.process, &environment, &stop);
        let upstream = Upstream::new();
        outside.iter().for_each(|line| upstream.command(&line.split_whitespace().collect::<Vec<_>>()));
        let plugin: Arc<dyn Plugin> = Arc::new(upstream.clone());
        let pins = Pins::new(&environment.metrics);
        let lanes = plan.servers.into_iter().map(|server| {
            let router = routed::router(server, &plugin, &environment.metrics, pins.clone());
            Lanes::of_router(router, &environment.metrics)
        });
        let lanes = lanes.collect();
        Self { lanes, environment, pins, logged: Logged::new(), source, upstream, stop }
    }

    async fn tell(&self, update: Update) {
        let Some((updates, _)) = &self.source else { return };
        updates.send(update).await.expect("the writer listens");
        while updates.capacity() < updates.max_capacity() {
            tokio::task::yield_now().await;
        }
    }

    /// What there is to count, but for times.
    fn counts(&self) -> Vec<String> {
        self.environment.metrics.upkeep();
        let text = self.environment.metrics.render();
        let is_counted =
            |line: &&str| COUNTED.iter().any(|family| line.starts_with(family)) && !line.contains(TIMED);
        let mut lines: Vec<_> = text.lines().filter(is_counted).map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Pair {
    /// Starts both with this Corefile, which may name no `forward`: outside, there is what these commands say (see
    /// `cache/upstream.rs`).
    pub(crate) fn start(corefile: &str, outside: &[&str]) -> Self {
        let origin = Instant::now();
        let start = || Node::start(corefile, outside, origin);
        let shuffles = corefile.contains("loadbalance");
        Self {
            general: start(),
            lane: start(),
            sameness: if shuffles { Sameness::ButOrder } else { Sameness::Bytes },
            source: SOURCE.parse().unwrap(),
            local: LOCAL.parse().unwrap(),
            asked: 0,
        }
    }

    fn nodes(&self) -> [&Node; 2] {
        [&self.general, &self.lane]
    }

    /// Asks both. Packets are to be asked one after the other, so that both nodes have the same to say.
    ///
    /// # Errors
    /// Both replies, where they or what was logged are not the same.
    pub(crate) async fn ask(&mut self, packet: &[u8]) -> Result<Answered, String> {
        let Self { general, lane, source, local, .. } = self;
        let (source, local) = (*source, *local);
        let at = self.asked % general.lanes.len();
        self.asked += 1;
        let inline =
            dispatcher::with_default(&lane.logged.dispatch, || lane.lanes[at].inline(packet, source));
        let is_inline = inline.is_some();
        let other = async {
            match inline {
                Some(reply) => Some(reply),
                None => lane.lanes[at].general(packet, source, local).await,
            }
        };
        // Side by side, so that what takes time ends at the same moment.
        let (reply, other) = join(
            general.lanes[at].general(packet, source, local).with_subscriber(general.logged.dispatch.clone()),
            other.with_subscriber(lane.logged.dispatch.clone()),
        )
        .await;
        if !is_inline {
            settle().await;
        }
        let [said, also_said] = [&general, &lane].map(|node| node.logged.take());
        if self.sameness.holds(reply.as_deref(), other.as_deref()) && said == also_said {
            return Ok(Answered { reply, inline: is_inline });
        }
        let how = if is_inline { "inline" } else { "not inline" };
        let (reply, other) = (show(reply), show(other));
        Err(format!(
            "the general handler of listener {at} says\n{reply}{said}and beside the lane, {how},\n{other}{also_said}"
        ))
    }

    /// Their source lists these objects, and proves them.
    pub(crate) async fn tell_state(&self, objects: &[Object]) {
        for node in self.nodes() {
            let Some((_, wanted)) = &node.source else { continue };
            for update in whole_state(objects, wanted.kinds()) {
                node.tell(update).await;
            }
        }
        settle().await;
    }

    /// Their source says this.
    pub(crate) async fn tell(&self, update: impl Fn() -> Update) {
        for node in self.nodes() {
            node.tell(update()).await;
        }
        settle().await;
    }

    /// Something becomes of the world outside; see `cache/upstream.rs`.
    pub(crate) fn outside(&self, words: &[&str]) {
        self.nodes().iter().for_each(|node| node.upstream.command(words));
    }

    /// An operator pins this at both for so long.
    pub(crate) fn pin(&self, [name, kind, value]: [&str; 3], time: Duration) {
        for node in self.nodes() {
            let wanted = Wanted::parse(name, kind, value).unwrap();
            let span = Span { since_ms: 0, until_ms: 0, until: Instant::now() + time };
            node.pins.change(|table| table.add(wanted, span)).unwrap();
        }
    }

    /// An operator unpins a name at both.
    pub(crate) fn unpin(&self, name: &str) {
        let name = labels(name).unwrap();
        for node in self.nodes() {
            node.pins.change(|table| table.take(|pin| pin.name == name));
        }
    }

    /// Answers that were pinned, at each.
    pub(crate) fn pinned(&self) -> u64 {
        let counts = self.lane.counts();
        let count = counts.iter().find_map(|line| line.strip_prefix(PINNED)).expect("it is counted");
        count.trim().parse().unwrap()
    }

    /// So much time passes.
    pub(crate) async fn advance(&self, time: Duration) {
        tokio::time::sleep(time).await;
        settle().await;
    }

    /// Asserts that both have counted the same, and asked the same of the world outside.
    pub(crate) fn have_counted_the_same(&self) {
        let [general, lane] = self.nodes().map(Node::counts);
        let only = |these: &[String], those: &[String]| {
            these.iter().filter(|line| !those.contains(line)).cloned().collect::<Vec<_>>().join("\n")
        };
        assert!(
            general == lane,
            "the general handler counts\n{}\nand beside the lane\n{}",
            only(&general, &lane),
            only(&lane, &general)
        );
        let panics = |line: &String| line == "coredns_panics_total 0";
        assert!(general.iter().any(panics), "nothing panics");
        let [general, lane] = self.nodes().map(|node| node.upstream.take_seen(None));
        assert_eq!(general, lane, "questions to the world outside");
    }
}

/// A reply, for people.
fn show(reply: Option<Vec<u8>>) -> String {
    let Some(bytes) = reply else { return "nothing\n".to_owned() };
    let text = hickory_proto::op::Message::from_vec(&bytes).map_or_else(|e| e.to_string(), |m| m.to_string());
    format!("{text}{bytes:02x?}\n")
}

/// Lets every task go on that can, without letting time pass.
async fn settle() {
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
}
