//! For tests of plugins: queries, chains and captured logs, without sockets.

use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::op::{Edns, Message, Query as Question, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_server::net::xfer::Protocol;
use hickory_server::server::Request;
use metrics::Counter;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::subscriber::DefaultGuard;

use super::chain::{Chain, Next, Outcome, Plugin};
use super::query::Query;
use super::reply;
use super::router::{Block, Route, Router};
use super::setup::{self, Environment, Overrides, Plan};
use super::task::Scope;
use crate::corefile::{self, Error, LoadOptions};
use crate::ops::clock::WallClock;
use crate::ops::dns_metrics::ServerMetrics;
use crate::ops::metrics::Metrics;
use crate::ops::ownership::Ownership;
use crate::ops::telemetry::{self, LogFormat, Telemetry};
use crate::store::Store;
use crate::zone::name::Labels;

/// A question and who asks it; the defaults are a plain UDP query without an OPT record.
#[derive(Clone)]
pub(crate) struct Ask {
    /// The name, in the letter case that is sent.
    pub(crate) name: &'static str,
    pub(crate) kind: RecordType,
    pub(crate) class: DNSClass,
    pub(crate) id: u16,
    pub(crate) recursion_desired: bool,
    pub(crate) checking_disabled: bool,
    /// Size and DO of an OPT record.
    pub(crate) edns: Option<(u16, bool)>,
    /// Options of that record: codes and data.
    pub(crate) options: &'static [(u16, &'static [u8])],
    pub(crate) protocol: Protocol,
    pub(crate) source: &'static str,
    pub(crate) local: &'static str,
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            name: "example.org.",
            kind: RecordType::A,
            class: DNSClass::IN,
            id: 7,
            recursion_desired: true,
            checking_disabled: false,
            edns: None,
            options: &[],
            protocol: Protocol::Udp,
            source: "10.240.0.1:40212",
            local: "10.96.0.10:53",
        }
    }
}

impl Ask {
    /// The query as if `router` had received it.
    pub(crate) fn by(&self, router: &Arc<Router>) -> Query {
        let mut message = Message::query();
        message.metadata.id = self.id;
        message.metadata.recursion_desired = self.recursion_desired;
        message.metadata.checking_disabled = self.checking_disabled;
        let mut question = Question::query(Name::from_ascii(self.name).unwrap(), self.kind);
        question.set_query_class(self.class);
        message.add_query(question);
        if let Some((size, dnssec_ok)) = self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(size).set_dnssec_ok(dnssec_ok);
            for (code, data) in self.options {
                edns.options_mut().insert(EdnsOption::Unknown(*code, data.to_vec()));
            }
            message.set_edns(edns);
        }
        let source = self.source.parse().unwrap();
        let request = Request::from_bytes(message.to_vec().unwrap(), source, self.protocol).unwrap();
        Query::new(request, router.clone(), self.local.parse().unwrap()).unwrap()
    }

    /// The query at a listener without blocks.
    pub(crate) fn query(&self) -> Query {
        self.by(&router(Vec::<Arc<dyn Plugin>>::new()))
    }
}

/// A listener whose one block, for every name, has these plugins.
pub(crate) fn router(plugins: impl Into<Chain>) -> Arc<Router> {
    let metrics = Arc::new(ServerMetrics::new(&Arc::new(Metrics::new()), "dns://:53", &[]));
    let route = Route { zone: Labels::root(), block: Arc::new(Block { plugins: plugins.into() }) };
    Router::new("dns://:53".to_owned(), vec![route], metrics, Counter::noop())
}

/// What plugins are set up with.
pub(crate) fn environment() -> Environment {
    Environment {
        metrics: Arc::new(Metrics::new()),
        clock: Arc::new(WallClock::new(0)),
        node_name: "node-1".to_owned(),
        overrides: Overrides::default(),
        own_addresses: None,
        in_cluster: false,
        carried: Arc::default(),
        ownership: Ownership::always(),
    }
}

/// The plugins that `body` sets up in a server block for every name; it begins on line 2 of `Corefile`.
pub(crate) fn plugins(body: &str) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let plan = plan(body, Arc::new(Metrics::new()))?;
    Ok(plan.servers[0].routes[0].block.plugins.to_vec())
}

/// What [`plugins`] sets up, whole.
fn plan(body: &str, metrics: Arc<Metrics>) -> Result<Plan, Error> {
    let environment = Environment { metrics, ..environment() };
    let names = setup::directive_names();
    let options = LoadOptions { directives: Some(&names), ..LoadOptions::default() };
    let corefile = corefile::parse(&format!(".:53 {{\n{body}\n}}\n"), "Corefile", &options)?;
    setup::plan(&corefile, &environment)
}

/// The plugins of `body`, with `last` behind them.
pub(crate) fn chain(body: &str, last: impl Fn(&Query) -> Outcome + Send + Sync + 'static) -> Chain {
    let mut chain = plugins(body).unwrap();
    chain.push(Arc::new(Last(last)));
    chain.into()
}

/// What `chain` makes of a query.
pub(crate) async fn run(chain: &Chain, ask: &Ask) -> Outcome {
    Next::all(chain).run(&ask.query()).await
}

/// A server block for every name, as it runs: its work beside the queries has begun, and ends when this is
/// dropped.
pub(crate) struct Scene {
    /// Its listener.
    router: Arc<Router>,
    /// Its plugins.
    chain: Chain,
    /// What they count.
    metrics: Arc<Metrics>,
    /// What its setup warned of.
    pub(crate) warnings: Vec<String>,
    /// Its stores.
    pub(crate) stores: Vec<Arc<Store>>,
    /// Ends its work.
    _stop: DropGuard,
}

impl Scene {
    /// The plugins of `body`, with `last` behind them; to be called within a runtime.
    pub(crate) fn new(body: &str, last: impl Fn(&Query) -> Outcome + Send + Sync + 'static) -> Self {
        let metrics = Arc::new(Metrics::new());
        let plan = plan(body, metrics.clone()).unwrap_or_else(|e| panic!("{body}: {e}"));
        let mut plugins = plan.servers[0].routes[0].block.plugins.to_vec();
        plugins.push(Arc::new(Last(last)));
        let stop = CancellationToken::new();
        let scope = Scope { stop: stop.clone(), listeners: Vec::new() };
        for start in plan.process.tasks {
            start(&scope);
        }
        let chain: Chain = plugins.into();
        Self {
            router: router(chain.clone()),
            chain,
            metrics,
            warnings: plan.process.warnings.into_iter().map(|w| w.text).collect(),
            stores: plan.process.stores.into_iter().map(|(_, store)| store).collect(),
            _stop: stop.drop_guard(),
        }
    }

    /// What it makes of a query.
    pub(crate) async fn run(&self, ask: &Ask) -> Outcome {
        Next::all(&self.chain).run(&ask.by(&self.router)).await
    }

    /// The message that the client gets, if it gets one.
    pub(crate) async fn message(&self, ask: &Ask) -> Option<Message> {
        let query = ask.by(&self.router);
        let reply = Next::all(&self.chain).run(&query).await.into_reply()?;
        Some(Message::from_vec(&reply::encode(&query, &reply).unwrap()).unwrap())
    }

    /// The rcode and the answers of the reply, the latter sorted: `example.org. 30 IN A 192.0.2.1`.
    pub(crate) async fn answers(&self, ask: &Ask) -> (ResponseCode, Vec<String>) {
        let message = self.message(ask).await.expect("there is a reply");
        let mut answers: Vec<_> = message.answers.iter().map(ToString::to_string).collect();
        answers.sort();
        (message.metadata.response_code, answers)
    }

    /// The value of one series, spelled as in a scrape; `None` if there is no such series.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let text = self.metrics.render();
        text.lines().find_map(|l| l.strip_prefix(series)?.strip_prefix(' ')?.trim().parse().ok())
    }
}

/// A plugin that answers everything.
struct Last<F>(F);

#[async_trait]
impl<F: Fn(&Query) -> Outcome + Send + Sync> Plugin for Last<F> {
    fn name(&self) -> &'static str {
        "last"
    }

    async fn serve(&self, query: &Query, _: Next<'_>) -> Outcome {
        (self.0)(query)
    }
}

/// A record of TTL 30.
pub(crate) fn record(name: &str, data: RData) -> Record {
    Record::from_rdata(Name::from_ascii(name).unwrap(), 30, data)
}

/// An A or AAAA record of TTL 30.
pub(crate) fn address(name: &str, ip: &str) -> Record {
    let data = match ip.parse().unwrap() {
        IpAddr::V4(ip) => RData::A(ip.into()),
        IpAddr::V6(ip) => RData::AAAA(ip.into()),
    };
    record(name, data)
}

/// The lines that this thread logs while it lives, in text form.
pub(crate) struct Logs {
    /// What was written.
    written: Sink,
    /// Writes it.
    telemetry: Telemetry,
    /// Ends the capture.
    _guard: DefaultGuard,
}

/// A sink that keeps what is written.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Logs {
    /// Captures what `filter` lets through; empty is everything from info on.
    pub(crate) fn capture(filter: &str) -> Self {
        let written = Sink::default();
        let filter = telemetry::parse_filter(filter).unwrap();
        let (subscriber, telemetry) = telemetry::build(LogFormat::Text, filter, written.clone()).unwrap();
        Self { written, telemetry, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// The lines since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        assert!(self.telemetry.flush(Duration::from_secs(10)));
        let bytes = std::mem::take(&mut *self.written.0.lock().unwrap());
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }
}
