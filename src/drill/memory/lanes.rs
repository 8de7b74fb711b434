//! Both ways that an answer takes over UDP, side by side: the inline lane's and the general handler's.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::node::lane::worker::Worker;
use crate::node::lane::{self, Crowded, Outcome};
use crate::node::listen::{self, Live, Serving, Timeouts};
use crate::node::router::Router;
use crate::ops::dns_metrics::{Observation, ZoneMetrics};
use crate::ops::metrics::Metrics;

/// Why the general handler has no room.
const CROWDED: &str = "there is no room";

/// A thread of the lane without its socket.
pub struct Lanes {
    /// Who answers.
    live: Arc<Live>,
    /// What the thread keeps.
    worker: Worker,
    /// Where it would send from.
    buffer: Vec<u8>,
}

/// What the lane makes of a datagram for which the general handler has no room.
#[derive(Debug)]
pub enum Crowd {
    /// A reply with what was at hand.
    Answered(Vec<u8>),
    /// A reply without.
    Refused(Vec<u8>),
    /// No reply, as of the block.
    Silence,
    /// None that is written here.
    NotHere,
}

impl Lanes {
    /// One of a listener whose queries are counted there.
    pub fn new(live: Arc<Live>, metrics: &Metrics) -> Self {
        let buffer = vec![0; listen::udp::batch::MAX_REPLY];
        Self { live, worker: Worker::new(metrics.shard()), buffer }
    }

    /// One of a listener with this router, whose queries are counted there.
    pub fn of_router(router: Arc<Router>, metrics: &Metrics) -> Self {
        Self::new(Live::new(Serving { router, timeouts: Timeouts::default(), tls: None }), metrics)
    }

    /// The lane's reply to a datagram; `None` where it leaves it to the general handler, or says nothing.
    pub fn inline(&mut self, datagram: &[u8], source: SocketAddr) -> Option<Vec<u8>> {
        self.worker.next_batch();
        let router: Arc<Router> = self.live.router();
        match lane::answer(&router, datagram, source, &mut self.worker, &mut self.buffer) {
            (Outcome::Reply { len, seen }, zone) => {
                self.count(zone.zip(seen));
                Some(self.buffer[..len].to_vec())
            }
            (Outcome::General { .. } | Outcome::Silence, _) => None,
        }
    }

    /// The lane's reply to a datagram for which the general handler has no room.
    pub fn crowded(&mut self, datagram: &[u8], source: SocketAddr) -> Crowd {
        self.worker.next_batch();
        let router: Arc<Router> = self.live.router();
        match lane::crowded(&router, datagram, source, CROWDED, &mut self.worker, &mut self.buffer) {
            Crowded::Answered { len, seen } => {
                self.count(seen);
                Crowd::Answered(self.buffer[..len].to_vec())
            }
            Crowded::Refused { len, seen } => {
                self.count(seen);
                Crowd::Refused(self.buffer[..len].to_vec())
            }
            Crowded::Silence => Crowd::Silence,
            Crowded::NotHere => Crowd::NotHere,
        }
    }

    fn count(&mut self, seen: Option<(&ZoneMetrics, Observation)>) {
        if let Some((zone, seen)) = seen {
            zone.record_in(&mut self.worker.shard, &seen);
        }
    }

    /// The general handler's reply to the same; `None` where it gives none.
    pub async fn general(&self, datagram: &[u8], source: SocketAddr, local: SocketAddr) -> Option<Vec<u8>> {
        listen::answer_datagram(datagram, source, local, &self.live.router()).await
    }
}
