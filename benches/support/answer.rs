//! What answers: a router over a cluster's objects, and the way from the bytes of a query to those of its reply.

use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use hickory_proto::op::{Edns, Message, Query as Question};
use hickory_proto::rr::{Name, RecordType};
use hickory_server::net::xfer::Protocol;
use outlast::corefile::{self, LoadOptions};
use outlast::node::gate::{self, Gate};
use outlast::node::lane::worker::Worker;
use outlast::node::lane::{self, Outcome};
use outlast::node::listen::udp::batch::MAX_REPLY;
use outlast::node::reply;
use outlast::node::router::Router;
use outlast::node::setup::{Environment, Overrides, ServerPlan, StoreConfig, plan};
use outlast::ops::clock::WallClock;
use outlast::ops::dns_metrics::ServerMetrics;
use outlast::ops::metrics::Metrics;
use outlast::ops::ownership::Ownership;
use outlast::source::{Listed, UPDATE_QUEUE, Update};
use outlast::store::Store;
use outlast::store::keeper::Keeper;
use outlast::store::writer::Writer;
use outlast::zone::object::{Kinds, Object};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The block that answers. Its data counts as fresh for as long as the bench may take.
const KUBERNETES: &str = "kubernetes cluster.local in-addr.arpa {\nsource file unused\nstale_after 24h\n}";

/// The zones of that block.
const ZONES: &str = "cluster.local in-addr.arpa";

/// What gives names outside an address, and keeps it: as long as the cache takes it, so that no refresh is due
/// before the bench has ended.
const OUTSIDE: &str = "cache 3600\ntemplate IN A . {\nanswer \"{{ .Name }} 3600 IN A 198.51.100.1\"\n}";

/// A server that answers as soon as somebody fills its store.
pub(crate) struct Server {
    /// Where packets come in.
    pub(crate) router: Arc<Router>,
    /// What it answers from.
    pub(crate) store: Arc<Store>,
    /// What the store is for.
    pub(crate) config: StoreConfig,
    /// Unix time.
    clock: Arc<WallClock>,
    /// What is measured.
    pub(crate) metrics: Arc<Metrics>,
}

impl Server {
    /// A server whose block has the `kubernetes` plugin and `others`, for its zones.
    pub(crate) fn new(others: &str) -> Self {
        Self::of(ZONES, others)
    }

    /// The same for these zones.
    fn of(zones: &str, others: &str) -> Self {
        let metrics = Arc::new(Metrics::new());
        let environment = Environment {
            metrics: metrics.clone(),
            clock: Arc::new(WallClock::new(0)),
            node_name: "node".into(),
            overrides: Overrides::default(),
            own_addresses: Some(vec![IpAddr::from([10, 0, 0, 1])]),
            in_cluster: false,
            carried: Arc::default(),
            ownership: Ownership::always(),
        };
        let text = format!("{zones} {{\n{others}\n{KUBERNETES}\n}}\n");
        let corefile = corefile::parse(&text, "Corefile", &LoadOptions::default()).expect("a Corefile");
        let plan = plan(&corefile, &environment).expect("a plan");
        let (config, store) = plan.process.stores.into_iter().next().expect("the plugin has a store");
        let ServerPlan { identity, routes, counted, .. } =
            plan.servers.into_iter().next().expect("a block has a listener");
        let server = Arc::new(ServerMetrics::new(&metrics, &identity, &counted));
        let router = Router::new(identity, routes, server, metrics.counter("panics", &[]));
        Self { router, store, config, clock: environment.clock, metrics }
    }

    /// What fills its store, and has it kept by `keeper`.
    pub(crate) fn writer(&self, keeper: Option<Keeper>) -> Writer {
        let (wanted, limits) = (self.config.wanted, self.config.limits);
        Writer::new(self.store.clone(), keeper, wanted, limits, self.clock.clone(), &self.metrics)
    }
}

/// A router whose block has the `kubernetes` plugin and `others`, and serves `objects`.
pub(crate) fn router(others: &str, objects: Vec<Object>) -> Arc<Router> {
    serving(Server::new(others), objects)
}

/// A router that has the answers to these queries for names outside in its cache.
pub(crate) fn caching(queries: &[Vec<u8>]) -> Arc<Router> {
    let router = serving(Server::of(".", OUTSIDE), Vec::new());
    runtime().block_on(async {
        for bytes in queries {
            let Gate::Pass(query) = parse(&router, bytes) else {
                unreachable!("a plain query passes the gate")
            };
            router.answer(&query).await.expect("it has a reply");
        }
    });
    router
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}

/// The router of a server that serves `objects`.
fn serving(server: Server, objects: Vec<Object>) -> Arc<Router> {
    let (store, writer) = (server.store.clone(), server.writer(None));
    let kinds = Kinds::CORE;
    let listed = |object| Listed::Object { object, trigger: None };
    let entries = objects.into_iter().map(listed).collect();
    runtime().block_on(async {
        let (updates, queue) = mpsc::channel(UPDATE_QUEUE);
        let stop = CancellationToken::new();
        let writer = tokio::spawn(writer.run(queue, stop.clone()));
        let fresh = Update::Fresh { as_of: tokio::time::Instant::now() };
        for update in [Update::ListPart { kinds, entries }, Update::ListEnd { kinds }, fresh] {
            updates.send(update).await.expect("the writer runs");
        }
        while !store.current().verified {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        writer.await.expect("the writer stops");
    });
    server.router
}

/// The bytes of a query as stub resolvers send it: recursion desired, EDNS with 1232 bytes.
pub(crate) fn query(name: &str, kind: u16) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Question::query(name.parse::<Name>().expect("a name"), RecordType::from(kind)));
    let mut edns = Edns::new();
    edns.set_max_payload(1232).set_version(0);
    message.set_edns(edns);
    message.to_vec().expect("a message")
}

/// What the gate makes of the bytes of a query that came over UDP.
pub(crate) fn parse(router: &Arc<Router>, bytes: &[u8]) -> Gate {
    let source = SocketAddr::from(([10, 128, 3, 7], 40_000));
    let local = SocketAddr::from(([10, 96, 0, 10], 53));
    gate::judge(black_box(bytes), source, local, Protocol::Udp, router)
}

/// A thread of the inline lane without its socket.
pub(crate) struct Inline<'r> {
    /// Who answers.
    router: &'r Router,
    /// What the thread keeps.
    worker: Worker,
    /// Where it would send from.
    buffer: Box<[u8; MAX_REPLY]>,
}

impl<'r> Inline<'r> {
    /// One that counts in cells of its own.
    pub(crate) fn new(router: &'r Router) -> Self {
        Self { router, worker: Worker::new(Metrics::new().shard()), buffer: Box::new([0; MAX_REPLY]) }
    }

    /// The bytes of the reply; nothing where the lane leaves the query to the general handler, or it gets none.
    pub(crate) fn answer(&mut self, bytes: &[u8]) -> &[u8] {
        let source = SocketAddr::from(([10, 128, 3, 7], 40_000));
        let answered =
            lane::answer(self.router, black_box(bytes), source, &mut self.worker, &mut *self.buffer);
        match answered {
            (Outcome::Reply { len, seen }, zone) => {
                if let Some((zone, seen)) = zone.zip(seen) {
                    zone.record_in(&mut self.worker.shard, &seen);
                }
                &self.buffer[..len]
            }
            (Outcome::General { .. } | Outcome::Silence, _) => &[],
        }
    }
}

/// The bytes of the reply.
pub(crate) fn answer(router: &Arc<Router>, bytes: &[u8]) -> Vec<u8> {
    let Gate::Pass(query) = parse(router, bytes) else { return Vec::new() };
    let answer = pin!(router.answer(&query));
    // What the table answers is there at once, as it is for a listener.
    let Poll::Ready(Some(answer)) = answer.poll(&mut Context::from_waker(Waker::noop())) else {
        return Vec::new();
    };
    reply::encode(&query, &answer).unwrap_or_default()
}
