//! The thread of a UDP socket.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::SockRef;

use super::batch::{BATCH, Batch, Datagram};
use super::general::Queues;
use super::socket::{ReplySocket, Target};
use crate::node::gate;
use crate::node::lane::worker::Worker;
use crate::node::lane::{self, Outcome};
use crate::node::listen::{Live, Shared, contained};
use crate::node::router::Router;
use crate::ops::dns_metrics::{Observation, ZoneMetrics};

/// Batches that a socket answers at its end: more than its buffer holds.
const LAST_BATCHES: usize = 512;

/// The pause before the last look at a socket: the kernel puts a packet where it is to go in microseconds.
const LAST_LOOK: Duration = Duration::from_millis(2);

/// The pause after an error of the socket that nobody knows: it must not keep a core busy.
const REST: Duration = Duration::from_millis(10);

/// Answers what comes to a socket.
pub(super) struct Reader {
    /// The socket.
    socket: Arc<ReplySocket>,
    /// Who answers.
    live: Arc<Live>,
    /// Limits and counters.
    shared: Arc<Shared>,
    /// Where goes what is not answered here.
    queues: Queues,
    /// Whether to stop.
    stop: Arc<AtomicBool>,
    /// What the thread keeps.
    worker: Worker,
}

/// What there is to count of a reply, and where.
type Seen<'a> = (&'a ZoneMetrics, Observation);

impl Reader {
    pub(super) fn new(
        socket: Arc<ReplySocket>,
        live: Arc<Live>,
        shared: Arc<Shared>,
        queues: Queues,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let worker = Worker::new(shared.shard());
        Self { socket, live, shared, queues, stop, worker }
    }

    /// Answers until it is to stop, and then what has arrived.
    pub(super) fn run(mut self) {
        let mut batch = Batch::default();
        while !self.stop.load(Ordering::Relaxed) {
            match batch.receive(&self.socket.socket) {
                Ok(count) => self.answer(&mut batch, count),
                Err(error) => self.failed(&error),
            }
        }
        // What comes from now on is for the other sockets of this address, if there are any.
        self.turn_away();
        self.answer_the_last(&mut batch);
        // Where the kernel had chosen this socket for a packet just before.
        std::thread::sleep(LAST_LOOK);
        self.answer_the_last(&mut batch);
    }

    /// Answers what has arrived.
    fn answer_the_last(&mut self, batch: &mut Batch) {
        for _ in 0..LAST_BATCHES {
            match batch.receive_now(&self.socket.socket) {
                Ok(count) => self.answer(batch, count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => self.failed(&error),
            }
        }
    }

    fn failed(&self, error: &io::Error) {
        if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) {
            // An ICMP error for an earlier reply, say; the socket is as good as before.
            tracing::debug!(%error, address = %self.socket.address, "receiving on a udp socket");
            std::thread::sleep(REST);
        }
    }

    /// Has the kernel give this socket no further packets: one that is connected takes those of its peer only, and
    /// a group of sockets that share an address passes it over. Packets that have arrived stay, and replies still
    /// leave. Best effort: without it, what arrives between the last look and the close is lost.
    fn turn_away(&self) {
        let address = self.socket.address;
        let nobody = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        // Our own port: whoever could send from there is this socket.
        let nobody = SocketAddr::new(nobody, address.port());
        if let Err(error) = SockRef::from(&self.socket.socket).connect(&nobody.into()) {
            tracing::debug!(%error, %address, "closing a udp socket");
        }
    }

    /// Answers a batch of so many.
    fn answer(&mut self, batch: &mut Batch, count: usize) {
        self.worker.next_batch();
        let begun = self.worker.now();
        let serving = self.live.now();
        let mut seen = [const { None }; BATCH];
        let mut places = seen.iter_mut();
        batch.each(|datagram| {
            let answered = self.handle(datagram, &serving.router);
            if let Some(place) = places.next() {
                *place = answered;
            }
        });
        // Counted before anybody can have a reply.
        let elapsed = begun.elapsed();
        for (zone, observation) in seen.into_iter().take(count).flatten() {
            zone.record_in(&mut self.worker.shard, &Observation { elapsed, ..observation });
        }
        let unsent = batch.send(&self.socket.socket);
        if unsent > 0 {
            self.shared.unsent.increment(unsent as u64);
        }
    }

    /// Answers a datagram, or leaves it to the general handler.
    fn handle<'r>(&mut self, mut datagram: Datagram<'_>, router: &'r Arc<Router>) -> Option<Seen<'r>> {
        let Datagram { query, source, local, .. } = datagram;
        let (worker, reply) = (&mut self.worker, &mut *datagram.reply);
        let answered = contained(router, || lane::answer(router, query, source, worker, reply));
        match answered {
            Some((Outcome::Reply { len, seen }, zone)) => {
                datagram.answer(len);
                zone.zip(seen)
            }
            Some((Outcome::General { in_memory }, _)) => {
                if self.queues.leave(query, Target { source, local }, in_memory) {
                    return None;
                }
                self.shared.crowded.increment(1);
                match lane::crowded(router, query, source, &mut self.worker, datagram.reply) {
                    Some((len, seen)) => {
                        datagram.answer(len);
                        seen
                    }
                    None => {
                        fail(&mut datagram);
                        None
                    }
                }
            }
            // It panicked, which was counted.
            None => {
                fail(&mut datagram);
                None
            }
        }
    }
}

/// Answers with SERVFAIL alone what could not be handled.
fn fail(datagram: &mut Datagram<'_>) {
    let Some(failure) = gate::failure(datagram.query) else { return };
    if let Some(place) = datagram.reply.get_mut(..failure.len()) {
        place.copy_from_slice(&failure);
        datagram.answer(failure.len());
    }
}
