//! Sockets: bytes in, bytes out.
//!
//! The listeners are our own and not hickory-server's, whose UDP listener spawns a task for every packet and
//! whose TCP listener bounds neither connections nor the time that one message may take: memory here is
//! bounded by configuration, not by traffic. Parsing and encoding are hickory's.
//!
//! Plain questions over UDP are answered in [`super::lane`], all others here.
//!
//! Invariants:
//! * What can be answered from memory is answered in the listener's own thread or task; only a query that waits for
//!   something gets a task of its own, and of those there are at most so many (`waiting`): over the limit the oldest
//!   has to go. What does not wait is never refused for want of such a place, and a plugin that has second best at
//!   hand is told that places are scarce.
//! * A listener that is told to stop leads what is new to others, takes what comes until that has an effect, and ends
//!   once all that it took has its answer: nobody else has to be waited for.
//! * A client that stops reading or drips its message loses its connection, not a slot for ever.
//! * What runs gives a sign of life at least every [`BEAT`], with and without traffic.

pub mod bind;
mod places;
pub mod tcp;
pub mod tls;
pub mod udp;
mod waiting;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use hickory_server::net::xfer::Protocol;
use metrics::Counter;

pub use self::places::FIRM;
pub use self::waiting::MAX_WAITING;

use self::places::Limit;
use self::tls::Identity;
use self::waiting::Room;
use super::gate::{self, Gate};
use super::query::Query;
use super::reply;
use super::router::Router;
use crate::ops::metrics::Metrics;
use crate::ops::pulse::Pulses;
use crate::ops::shards::Shard;
use crate::ops::top::{Desk, Top};

/// Connections of one listening socket at one time: memory stays bounded (about 20 kB a connection). One more takes the
/// place of an idle one; where none is idle it is closed at once, and its client will ask again.
pub const MAX_CONNECTIONS: usize = 1024;

/// How often a listener gives a sign of life while nothing comes.
pub const BEAT: Duration = Duration::from_millis(50);

/// What bounds the listeners' memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// See [`MAX_WAITING`]; at least 1.
    pub waiting: usize,
    /// See [`MAX_CONNECTIONS`]; at least 1.
    pub connections: usize,
    /// See [`FIRM`].
    pub firm: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { waiting: MAX_WAITING, connections: MAX_CONNECTIONS, firm: FIRM }
    }
}

/// How long a TCP client may take, and how much it may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// How long a new connection may take for its handshake, and then for its first query.
    pub first: Duration,
    /// How long a connection may be idle between queries.
    pub idle: Duration,
    /// How long one message may take from its first byte to its last: a client that drips is cut off.
    pub message: Duration,
    /// How long one reply may take to be written: a client that does not read is cut off.
    pub write: Duration,
    /// After how many queries a connection is closed.
    pub queries: Option<NonZeroU32>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            // CoreDNS's figures for the first read, idleness and writes.
            first: Duration::from_secs(3),
            // RFC 7766 §6.2.3: "on the order of a few seconds".
            idle: Duration::from_secs(10),
            message: Duration::from_secs(3),
            write: Duration::from_secs(5),
            queries: None,
        }
    }
}

/// Who answers at a listener, and by what rules.
#[derive(Clone)]
pub struct Serving {
    /// Who answers.
    pub router: Arc<Router>,
    /// The limits of its connections.
    pub timeouts: Timeouts,
    /// Its certificates, where TLS is spoken.
    pub tls: Option<Arc<Identity>>,
}

/// What a listener serves now: a reload exchanges it while the sockets stay open. Each packet, and each message of a
/// connection, takes what is there when it comes; a connection keeps the limits that it began with.
pub struct Live(ArcSwap<Serving>);

impl Live {
    /// A listener that begins with this.
    pub fn new(serving: Serving) -> Arc<Self> {
        Arc::new(Self(ArcSwap::from_pointee(serving)))
    }

    /// What is served from now on.
    pub fn replace(&self, serving: Serving) {
        self.0.store(Arc::new(serving));
    }

    /// Who answers now.
    pub fn router(&self) -> Arc<Router> {
        self.now().router.clone()
    }

    /// What is served now.
    fn now(&self) -> Guard<Arc<Serving>> {
        self.0.load()
    }
}

/// What all listeners of a node share.
pub struct Shared {
    /// What bounds them.
    limits: Limits,
    /// Where queries wait.
    room: Arc<Room>,
    /// TCP connections closed because there were too many.
    too_many_connections: Counter,
    /// TCP connections closed because their client had too many.
    too_many_of_client: Counter,
    /// Replies that could not be sent.
    unsent: Counter,
    /// Datagrams for which there was no room in the queue of the general handler.
    crowded: Counter,
    /// Datagrams for which there was none because their client had its share.
    crowded_by_client: Counter,
    /// Where threads count.
    metrics: Arc<Metrics>,
    /// Who is alive.
    pulses: Pulses,
    /// What is asked for most, while somebody looks.
    top: Top,
    /// Where that is counted of connections.
    desk: Desk,
}

impl Shared {
    /// Registers the listeners' counters; the limits are the default ones.
    pub fn new(metrics: &Arc<Metrics>) -> Arc<Self> {
        Self::with_limits(metrics, Limits::default())
    }

    /// The same with other limits.
    pub fn with_limits(metrics: &Arc<Metrics>, limits: Limits) -> Arc<Self> {
        metrics.describe_counter("outlast_overload_total", "What was refused because a limit was reached.");
        metrics.describe_counter("outlast_replies_unsent_total", "Replies that the kernel did not take.");
        let top = Top::default();
        Arc::new(Self {
            limits,
            room: Room::new(limits.waiting, limits.firm, metrics),
            too_many_connections: metrics.counter("outlast_overload_total", &[("limit", "tcp_connections")]),
            too_many_of_client: metrics.counter("outlast_overload_total", &[("limit", "tcp_per_client")]),
            unsent: metrics.counter("outlast_replies_unsent_total", &[]),
            crowded: metrics.counter("outlast_overload_total", &[("limit", "udp_queue")]),
            crowded_by_client: metrics
                .counter("outlast_overload_total", &[("limit", "udp_queue_per_client")]),
            metrics: metrics.clone(),
            pulses: Pulses::default(),
            desk: top.register(),
            top,
        })
    }

    /// Signs of life of all listeners that are running.
    pub const fn pulses(&self) -> &Pulses {
        &self.pulses
    }

    /// What is asked for most, while somebody looks.
    pub const fn top(&self) -> &Top {
        &self.top
    }

    /// A message has come over a connection.
    fn saw(&self, message: &[u8], peer: SocketAddr) {
        if self.top.is_armed() {
            self.desk.note(|see| see(message, peer.ip()));
        }
    }

    /// Where a thread counts.
    fn shard(&self) -> Shard {
        self.metrics.shard()
    }

    /// A connection is closed because of this limit.
    fn connection_refused(&self, limit: Limit) {
        let counter = match limit {
            Limit::All => &self.too_many_connections,
            Limit::Client => &self.too_many_of_client,
        };
        counter.increment(1);
    }

    /// A datagram is turned away because of this limit.
    fn datagram_refused(&self, limit: Limit) {
        let counter = match limit {
            Limit::All => &self.crowded,
            Limit::Client => &self.crowded_by_client,
        };
        counter.increment(1);
    }
}

/// What is known about a packet before its query is answered.
enum Received {
    /// Nothing is said to it.
    Silence,
    /// This is the reply.
    Reply(Vec<u8>),
    /// The plugins decide.
    Query(Arc<Query>),
}

impl From<Option<Vec<u8>>> for Received {
    fn from(reply: Option<Vec<u8>>) -> Self {
        reply.map_or(Self::Silence, Self::Reply)
    }
}

/// Judges a packet and answers what needs no plugin.
fn receive(
    bytes: &[u8],
    source: SocketAddr,
    local: SocketAddr,
    protocol: Protocol,
    router: &Arc<Router>,
) -> Received {
    let judge = || match gate::judge(bytes, source, local, protocol, router) {
        Gate::Silence => Received::Silence,
        Gate::Reply(bytes) => Received::Reply(bytes),
        Gate::Pass(query) => Received::Query(query),
        Gate::Refuse(query) => reply::encode(&query, &router.refuse(&query)).into(),
    };
    contained(router, judge).unwrap_or_else(|| gate::failure(bytes).into())
}

/// The general handler's reply to a datagram, however long it takes; `None` if there is none.
pub async fn answer_datagram(
    bytes: &[u8],
    source: SocketAddr,
    local: SocketAddr,
    router: &Arc<Router>,
) -> Option<Vec<u8>> {
    match receive(bytes, source, local, Protocol::Udp, router) {
        Received::Silence => None,
        Received::Reply(reply) => Some(reply),
        Received::Query(query) => answer(query).await,
    }
}

/// The plugins' reply as bytes.
async fn answer(query: Arc<Query>) -> Option<Vec<u8>> {
    let reply = query.router().answer(&query).await?;
    let encode = || reply::encode(&query, &reply);
    contained(query.router(), encode).unwrap_or_else(|| gate::failure(query.bytes()))
}

/// Does `work`. A panic is counted and `None`: a packet that breaks something breaks only itself.
fn contained<T>(router: &Router, work: impl FnOnce() -> T) -> Option<T> {
    // What is shared with other packets is atomics and whole values behind locks.
    let done = catch_unwind(AssertUnwindSafe(work));
    if done.is_err() {
        router.panicked();
        tracing::error!("a packet's handling panicked");
    }
    done.ok()
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::fixture::{Scripted, live};
    use super::tcp::TcpListener;
    use super::udp::UdpListener;
    use super::*;
    use crate::ops::pulse::{Part, Silent, Who};

    /// How long something may take: only a failure waits for it.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// How old a sign of life may be before it counts as none: much, where many tests share a processor.
    const OLD: Duration = Duration::from_secs(5);

    #[tokio::test(flavor = "multi_thread")]
    async fn listeners_give_signs_of_life_from_their_start_to_their_end() {
        let metrics = Arc::new(Metrics::new());
        let shared = Shared::new(&metrics);
        let sockets = bind::open("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let (place, serving) =
            (sockets.address, live(&metrics, Arc::<Scripted>::default(), Timeouts::default()));
        let missing = |part| Some(Silent { who: Who::Part { place, part }, since: None });
        let silent = || shared.pulses().silent_at(OLD, &[place]);
        let until = async |want: Option<Silent>| {
            let reached = async {
                while silent() != want {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            assert!(tokio::time::timeout(PATIENCE, reached).await.is_ok(), "{:?}, not {want:?}", silent());
        };
        let udp = sockets.udp.into_iter().next().unwrap();
        let udp = UdpListener::new(udp, place, serving.clone(), shared.clone()).unwrap();
        let tcp = TcpListener::new(sockets.tcp, place, serving, shared.clone()).unwrap();
        assert_eq!(silent(), missing(Part::Udp), "bound, and nobody reads yet");
        let (stop_udp, stop_tcp) = (CancellationToken::new(), CancellationToken::new());
        let running = tokio::spawn(udp.run(stop_udp.clone()));
        until(missing(Part::Tcp)).await;
        let accepting = tokio::spawn(tcp.run(stop_tcp.clone()));
        until(None).await;
        // Without any traffic.
        tokio::time::sleep(BEAT * 4).await;
        let limit = Duration::from_secs(60);
        assert_eq!(shared.pulses().silent(limit), None);
        stop_tcp.cancel();
        accepting.await.unwrap();
        assert_eq!(silent(), missing(Part::Tcp), "it has ended");
        stop_udp.cancel();
        running.await.unwrap();
        assert_eq!(silent(), missing(Part::Udp));
    }
}

/// What the tests of both transports start: a plugin that does as the name says.
#[cfg(test)]
mod fixture {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use hickory_proto::op::ResponseCode;
    use hickory_proto::rr::rdata::A;
    use hickory_proto::rr::{RData, Record};

    use super::*;
    use crate::node::chain::{Next, Outcome, Plugin};
    use crate::node::reply::Reply;
    use crate::node::router::{Block, Route};
    use crate::ops::catalogue;
    use crate::ops::dns_metrics::ServerMetrics;
    use crate::zone::name::Labels;

    /// Answers by the first label: `wait` never, `soon` after 100 ms, `big` with 200 addresses, `second` at once only
    /// where it may not wait, all else at once with one.
    #[derive(Default)]
    pub(super) struct Scripted {
        /// Whether the gate's question for its classes panics: before any plugin, outside of the router's care.
        pub(super) breaks_the_gate: AtomicBool,
        /// Held by each query that waits: one more than there are.
        pub(super) waiting: Arc<()>,
    }

    #[async_trait]
    impl Plugin for Scripted {
        fn name(&self) -> &'static str {
            "scripted"
        }

        fn takes_other_classes(&self) -> bool {
            assert!(!self.breaks_the_gate.load(Ordering::Relaxed), "as scripted");
            false
        }

        async fn serve(&self, query: &Query, _next: Next<'_>) -> Outcome {
            let _waits = self.waiting.clone();
            let count = match query.labels().get(0) {
                b"wait" => std::future::pending().await,
                b"second" if query.may_wait() => std::future::pending().await,
                b"soon" => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    1
                }
                b"big" => 200,
                _ => 1,
            };
            let address = |i| RData::A(A(Ipv4Addr::new(192, 0, 2, i)));
            let record = |i| Record::from_rdata(query.name().clone(), 5, address(i));
            Reply { answers: (0..count).map(record).collect(), ..Reply::new(ResponseCode::NoError, "") }
                .into()
        }
    }

    /// A listener for all names.
    pub(super) fn live(metrics: &Arc<Metrics>, plugin: Arc<Scripted>, timeouts: Timeouts) -> Arc<Live> {
        Live::new(Serving { router: router(metrics, plugin), timeouts, tls: None })
    }

    /// A router for all names.
    pub(super) fn router(metrics: &Arc<Metrics>, plugin: Arc<Scripted>) -> Arc<Router> {
        let server = Arc::new(ServerMetrics::new(metrics, "test", &[]));
        let plugin: Arc<dyn Plugin> = plugin;
        let block = Arc::new(Block { plugins: [plugin].into() });
        let routes = vec![Route { zone: Labels::root(), block }];
        Router::new("test".into(), routes, server, metrics.counter(catalogue::PANICS, &[]))
    }

    /// How many panics were caught.
    pub(super) fn panics(metrics: &Metrics) -> u64 {
        let text = metrics.render();
        let value = text.lines().find_map(|line| line.strip_prefix(catalogue::PANICS)?.trim().parse().ok());
        value.unwrap_or_default()
    }

    /// Asserts that the metrics have this line.
    pub(super) fn counted(metrics: &Metrics, line: &str) {
        let text = metrics.render();
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
}
