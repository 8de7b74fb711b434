//! One listener's server blocks: which block a name goes to, and the last word on every reply. Ahead of the blocks is
//! what an operator has pinned.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use metrics::Counter;
use tokio::time::Instant;

use super::chain::{Chain, Next, Outcome, Plugin};
use super::lane::Lane;
use super::pins::{self, Found, Pins};
use super::plugins::prometheus::{self, observation};
use super::query::Query;
use super::reply::Reply;
use crate::ops::dns_metrics::ServerMetrics;
use crate::zone::name::Labels;

/// Plugins that only see and say what others answer.
const OBSERVERS: [&str; 3] = ["prometheus", "log", "errors"];

/// The server blocks that share an address, and what is said in their name.
pub struct Router {
    /// Identity of the listener, e.g. `dns://:53`: the metrics' label `server`.
    identity: String,
    /// Zones of the blocks, longest first.
    routes: Vec<Route>,
    /// Their inline lanes, in the same order.
    lanes: Vec<Lane>,
    /// Metrics of queries that reach no block.
    metrics: Arc<ServerMetrics>,
    /// Queries whose handling panicked.
    panics: Counter,
    /// What is answered before any block is asked.
    pins: Pins,
}

/// A zone and the block that answers it.
pub struct Route {
    /// The zone.
    pub zone: Labels,
    /// Its block.
    pub block: Arc<Block>,
}

/// A server block with its plugins, in the order of the chain.
pub struct Block {
    /// The plugins.
    pub plugins: Chain,
}

impl Router {
    /// A listener of this identity, where nothing is ever pinned.
    pub fn new(
        identity: String,
        routes: Vec<Route>,
        metrics: Arc<ServerMetrics>,
        panics: Counter,
    ) -> Arc<Self> {
        Self::pinning(identity, routes, metrics, panics, Pins::default())
    }

    /// A listener of this identity, whose blocks are asked for what is not pinned.
    pub fn pinning(
        identity: String,
        mut routes: Vec<Route>,
        metrics: Arc<ServerMetrics>,
        panics: Counter,
        pins: Pins,
    ) -> Arc<Self> {
        routes.sort_by_key(|route| std::cmp::Reverse(route.zone.len()));
        let lanes = routes.iter().map(|route| Lane::new(&route.block.plugins, &identity)).collect();
        Arc::new(Self { identity, routes, lanes, metrics, panics, pins })
    }

    /// Identity of the listener, e.g. `dns://:53`.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Metrics of this listener's zones.
    pub fn metrics(&self) -> &ServerMetrics {
        &self.metrics
    }

    /// What an operator has pinned.
    pub const fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Counts a panic that was caught.
    pub fn panicked(&self) {
        self.panics.increment(1);
    }

    /// Whether questions of other classes than IN go to the plugins: one of them may have an answer.
    pub fn takes_other_classes(&self) -> bool {
        self.routes.iter().any(|r| r.block.plugins.iter().any(|p| p.takes_other_classes()))
    }

    /// Length in labels of the longest zone of a block that the name is within, if there is one.
    pub fn longest_zone(&self, name: &Labels) -> Option<usize> {
        longest_zone(&self.routes, name)
    }

    /// The block of the longest zone that the name is within. A DS record belongs to the parent's side of a
    /// zone cut (RFC 4035 §2.4), so the shortest zone but the root answers for it.
    fn block(&self, query: &Query) -> Option<&Block> {
        let mut matching = self.routes.iter().filter(|r| query.labels().is_within(&r.zone));
        let longest = matching.next()?;
        if query.kind() != RecordType::DS {
            return Some(&longest.block);
        }
        let shortest = matching.rfind(|r| !r.zone.is_empty());
        Some(&shortest.unwrap_or(longest).block)
    }

    /// The inline lane of the block that a plain question for `name` goes to; questions for DS records are not plain.
    pub fn lane(&self, name: &Labels) -> Option<&Lane> {
        let at = self.routes.iter().position(|route| name.is_within(&route.zone))?;
        self.lanes.get(at)
    }

    /// Answers a query; `None` if it gets no reply. A panic on the way is this query's SERVFAIL and nobody else's.
    pub async fn answer(&self, query: &Query) -> Option<Reply> {
        if self.pins.has(query.labels()) {
            return self.answer_pinned(query).await;
        }
        let Some(block) = self.block(query) else { return Some(self.refuse(query)) };
        let chain = Next::all(&block.plugins).run(query);
        // The plugins share nothing mutable but atomics and whole values behind locks.
        match AssertUnwindSafe(chain).catch_unwind().await {
            Ok(outcome) => outcome.into_reply(),
            Err(_) => Some(self.broken(query)),
        }
    }

    /// The same where something is pinned at the name. What is pinned is counted as by the block's `prometheus`, which
    /// does not see it.
    fn answer_pinned<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Option<Reply>> {
        let answer = async move {
            let start = Instant::now();
            let Ok(outcome) = AssertUnwindSafe(self.resolve(query)).catch_unwind().await else {
                return Some(self.broken(query));
            };
            let reply = outcome.into_reply()?;
            let counts = self.block(query).is_none() || self.has(query, prometheus::NAME);
            if reply.plugin == pins::NAME && counts {
                let len = reply.uncompressed_len(query);
                let zone = self.metrics.zone_for_labels(query.labels().iter());
                zone.record(&observation(query, reply.rcode.into(), len, reply.plugin, start));
            }
            Some(reply)
        };
        answer.boxed()
    }

    /// SERVFAIL to a query that broke something.
    fn broken(&self, query: &Query) -> Reply {
        self.panicked();
        tracing::error!(name = %query.name(), kind = %query.kind(), "a query's handling panicked");
        Reply::new(ResponseCode::ServFail, "")
    }

    /// Whether the block for `query` has a plugin of this name.
    pub fn has(&self, query: &Query, plugin: &str) -> bool {
        self.block(query).is_some_and(|block| block.plugins.iter().any(|of| of.name() == plugin))
    }

    /// What [`answer`](Self::answer) would be if nothing were pinned, without a line of a log and without a count: nobody
    /// asked.
    pub async fn rehearse(&self, query: &Query) -> Option<Reply> {
        let unseen = |plugin: &&Arc<dyn Plugin>| !OBSERVERS.contains(&plugin.name());
        let block = self.block(query)?;
        let plugins: Chain = block.plugins.iter().filter(unseen).cloned().collect();
        let chain = Next::all(&plugins).run(query);
        AssertUnwindSafe(chain).catch_unwind().await.ok()?.into_reply()
    }

    /// The answer to a question that arose within this server: what is pinned, or else what the blocks say.
    // Boxed, because the chain may lead here again.
    pub fn resolve<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Outcome> {
        let answer = async move {
            let is_there = match self.pins.find(query) {
                Found::Nothing => false,
                Found::Name => true,
                Found::Reply(reply, None) => return Outcome::Reply(reply),
                Found::Reply(mut reply, Some(target)) => {
                    let question = query.follow_up(&target, query.kind());
                    if let Some(question) = question
                        && let Outcome::Reply(theirs) = self.resolve(&question).await
                    {
                        reply.answers.extend(theirs.answers);
                        reply.truncated = theirs.truncated;
                    }
                    // Whatever comes of that, the alias is given.
                    return Outcome::Reply(reply);
                }
            };
            let outcome = match self.block(query) {
                Some(block) => Next::all(&block.plugins).run(query).await,
                None if is_there => Reply::new(ResponseCode::NXDomain, pins::NAME).into(),
                None => self.refuse(query).into(),
            };
            if is_there { pins::there(outcome) } else { outcome }
        };
        answer.boxed()
    }

    /// REFUSED: no block of this listener is for this query.
    pub fn refuse(&self, query: &Query) -> Reply {
        let reply = Reply::new(ResponseCode::Refused, "");
        let start = Instant::now();
        let len = reply.uncompressed_len(query);
        self.metrics.dropped().record(&observation(query, reply.rcode.into(), len, "", start));
        reply
    }
}

/// Length in labels of the longest zone that the name is within, if there is one.
pub fn longest_zone(routes: &[Route], name: &Labels) -> Option<usize> {
    let matching = routes.iter().filter(|route| name.is_within(&route.zone));
    matching.map(|route| route.zone.len()).max()
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use hickory_server::net::xfer::Protocol;

    use super::*;
    use crate::node::chain::Plugin;
    use crate::node::gate::{Gate, judge};
    use crate::ops::catalogue;
    use crate::ops::metrics::Metrics;
    use crate::testkit::client;

    /// Panics for `broken.`, says NXDOMAIN otherwise.
    struct Fragile;

    #[async_trait]
    impl Plugin for Fragile {
        fn name(&self) -> &'static str {
            "fragile"
        }

        async fn serve(&self, query: &Query, _next: Next<'_>) -> Outcome {
            // Not at the first poll: a panic after a wait is caught as well.
            tokio::task::yield_now().await;
            assert_ne!(query.labels().get(0), b"broken", "as scripted");
            Reply::new(ResponseCode::NXDomain, "fragile").into()
        }
    }

    #[tokio::test]
    async fn a_panic_is_one_query_s_servfail() {
        let metrics = Arc::new(Metrics::new());
        let server = Arc::new(ServerMetrics::new(&metrics, "dns://:53", &[]));
        let block = Arc::new(Block { plugins: [Arc::new(Fragile) as Arc<dyn Plugin>].into() });
        let routes = vec![Route { zone: Labels::root(), block }];
        let panics = metrics.counter(catalogue::PANICS, &[]);
        let router = Router::new("dns://:53".into(), routes, server, panics);
        let ask = async |name| {
            let here = "127.0.0.1:53".parse().unwrap();
            let packet = client::Query::a(name).bytes();
            let Gate::Pass(query) = judge(&packet, here, here, Protocol::Udp, &router) else {
                unreachable!("a plain query passes the gate")
            };
            router.answer(&query).await.unwrap().rcode
        };
        for (name, rcode, panics) in [
            ("whole.", ResponseCode::NXDomain, 0),
            ("broken.", ResponseCode::ServFail, 1),
            ("whole.", ResponseCode::NXDomain, 1),
            ("broken.", ResponseCode::ServFail, 2),
        ] {
            assert_eq!(ask(name).await, rcode, "{name}");
            let line = format!("\n{} {panics}\n", catalogue::PANICS);
            assert!(metrics.render().contains(&line), "{name}: {line}");
        }
    }
}
