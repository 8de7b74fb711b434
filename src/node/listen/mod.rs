//! Sockets: bytes in, bytes out.
//!
//! The listeners are our own and not hickory-server's, whose UDP listener spawns a task for every packet and
//! whose TCP listener bounds neither connections nor the time that one message may take: memory here is
//! bounded by configuration, not by traffic. Parsing and encoding are hickory's.
//!
//! Invariants:
//! * What can be answered from memory is answered in the listener's own task; only a query that waits for
//!   something gets a task of its own, and of those there are at most [`MAX_WAITING`].
//! * A client that stops reading or drips its message loses its connection, not a slot for ever.

pub mod bind;
pub mod tcp;
pub mod udp;

use std::net::SocketAddr;
use std::sync::Arc;

use hickory_proto::op::ResponseCode;
use hickory_server::net::xfer::Protocol;
use metrics::Counter;
use tokio::sync::Semaphore;

use super::gate::{self, Gate};
use super::query::Query;
use super::reply::{self, Ede, EdeCode, Reply};
use super::router::Router;
use crate::ops::metrics::Metrics;

/// Queries that may wait for an upstream at one time, over all listeners. Each holds a few kilobytes; at the
/// default read timeout of 2 s this is 2,000 cold names a second with every upstream silent.
pub const MAX_WAITING: usize = 4096;

/// What all listeners of a node share.
pub struct Shared {
    /// Slots for queries that wait.
    waiting: Arc<Semaphore>,
    /// Queries refused for want of a slot.
    overloaded: Counter,
    /// TCP connections refused for want of a slot.
    refused_connections: Counter,
    /// Replies that could not be sent.
    unsent: Counter,
}

impl Shared {
    /// Registers the listeners' counters.
    pub fn new(metrics: &Metrics) -> Arc<Self> {
        metrics.describe_counter("outlast_overload_total", "What was refused because a limit was reached.");
        metrics.describe_counter("outlast_replies_unsent_total", "Replies that the kernel did not take.");
        Arc::new(Self {
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            overloaded: metrics.counter("outlast_overload_total", &[("limit", "waiting_queries")]),
            refused_connections: metrics.counter("outlast_overload_total", &[("limit", "tcp_connections")]),
            unsent: metrics.counter("outlast_replies_unsent_total", &[]),
        })
    }

    /// Returns once nothing waits any more.
    pub async fn idle(&self) {
        let all = u32::try_from(MAX_WAITING).unwrap_or(u32::MAX);
        let _ = self.waiting.acquire_many(all).await;
    }

    /// SERVFAIL with the reason: there is no slot to wait in.
    fn overloaded(&self, query: &Query) -> Option<Vec<u8>> {
        self.overloaded.increment(1);
        let text = format!("more than {MAX_WAITING} queries are waiting for upstreams");
        let ede = Some(Ede { code: EdeCode::Other, text });
        reply::encode(query, &Reply { ede, ..Reply::new(ResponseCode::ServFail, "") })
    }
}

/// What is known about a packet before its query is answered.
pub enum Received {
    /// Nothing is said to it.
    Silence,
    /// This is the reply.
    Reply(Vec<u8>),
    /// The plugins decide.
    Query(Box<Query>),
}

/// Judges a packet and answers what needs no plugin.
fn receive(
    bytes: &[u8],
    source: SocketAddr,
    local: SocketAddr,
    protocol: Protocol,
    router: &Arc<Router>,
) -> Received {
    match gate::judge(bytes, source, local, protocol, router) {
        Gate::Silence => Received::Silence,
        Gate::Reply(bytes) => Received::Reply(bytes),
        Gate::Pass(query) => Received::Query(query),
        Gate::Refuse(query) => {
            let reply = router.refuse(&query);
            reply::encode(&query, &reply).map_or(Received::Silence, Received::Reply)
        }
    }
}

/// The plugins' reply as bytes.
async fn answer(query: Box<Query>) -> Option<Vec<u8>> {
    let reply = query.router().answer(&query).await;
    reply::encode(&query, &reply)
}
