//! The thread of a UDP socket.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::time::Instant;

use super::batch::{BATCH, Batch, Datagram};
use super::general::{Queues, why};
use super::socket::{ReplySocket, Target};
use crate::node::gate;
use crate::node::lane::worker::Worker;
use crate::node::lane::{self, Crowded, Outcome};
use crate::node::listen::places::Limit;
use crate::node::listen::{Live, Shared, bind, contained};
use crate::node::router::Router;
use crate::ops::dns_metrics::{Observation, ZoneMetrics};
use crate::ops::pulse::Part;
use crate::ops::top::Desk;

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
    /// Where it counts what is asked for most, while somebody looks.
    desk: Desk,
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
        let (worker, desk) = (Worker::new(shared.shard()), shared.top().register());
        Self { socket, live, shared, queues, stop, worker, desk }
    }

    /// Answers until it is to stop, and then what has arrived.
    pub(super) fn run(mut self) {
        let mut batch = Batch::default();
        let pulse = self.shared.pulses().register(self.socket.address, Part::Udp);
        while !self.stop.load(Ordering::Relaxed) {
            pulse.beat();
            match batch.receive(&self.socket.socket) {
                Ok(count) => self.answer(&mut batch, count),
                Err(error) => self.failed(&error),
            }
        }
        // From here on nobody may rely on it.
        drop(pulse);
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
        // Our own port: whoever could send from there is this socket.
        let nobody = bind::reachable(address);
        if let Err(error) = SockRef::from(&self.socket.socket).connect(&nobody.into()) {
            tracing::debug!(%error, %address, "closing a udp socket");
        }
    }

    /// Answers a batch of so many. A panic costs the step that it comes in, never the thread: the kernel would go on
    /// giving packets to the socket.
    fn answer(&mut self, batch: &mut Batch, count: usize) {
        let serving = self.live.now();
        let router = &serving.router;
        let mut seen = [const { None }; BATCH];
        let begun = contained(router, || self.handle_all(batch, router, &mut seen));
        // Counted before anybody can have a reply.
        contained(router, || {
            let elapsed = begun.map(|begun| begun.elapsed()).unwrap_or_default();
            for (zone, observation) in seen.into_iter().take(count).flatten() {
                zone.record_in(&mut self.worker.shard, &Observation { elapsed, ..observation });
            }
        });
        contained(router, || {
            let unsent = batch.send(&self.socket.socket);
            if unsent > 0 {
                self.shared.unsent.increment(unsent as u64);
            }
        });
        // Nobody waits for it: the replies have left.
        if self.shared.top().is_armed() {
            contained(router, || self.desk.note(|see| batch.each(|of| see(of.query, of.source.ip()))));
        }
    }

    /// Handles the datagrams of a batch, and says when it began. What there is to count goes into `seen`.
    fn handle_all<'r>(
        &mut self,
        batch: &mut Batch,
        router: &'r Arc<Router>,
        seen: &mut [Option<Seen<'r>>],
    ) -> Instant {
        self.worker.next_batch();
        let begun = self.worker.now();
        let mut places = seen.iter_mut();
        batch.each(|mut datagram| {
            let handled = contained(router, || self.handle(&mut datagram, router));
            // It panicked, which was counted.
            let answered = handled.unwrap_or_else(|| {
                fail(&mut datagram);
                None
            });
            if let Some(place) = places.next() {
                *place = answered;
            }
        });
        begun
    }

    /// Answers a datagram, or leaves it to the general handler.
    fn handle<'r>(&mut self, datagram: &mut Datagram<'_>, router: &'r Arc<Router>) -> Option<Seen<'r>> {
        let (query, source, local) = (datagram.query, datagram.source, datagram.local);
        match lane::answer(router, query, source, &mut self.worker, datagram.reply) {
            (Outcome::Reply { len, seen }, zone) => {
                datagram.answer(len);
                zone.zip(seen)
            }
            (Outcome::Silence, _) => None,
            (Outcome::General { at_hand }, _) => {
                let left = self.queues.leave(query, Target { source, local }, at_hand);
                left.err().and_then(|limit| self.crowded(datagram, router, limit))
            }
        }
    }

    /// Answers a datagram for which the general handler has no room.
    fn crowded<'r>(
        &mut self,
        datagram: &mut Datagram<'_>,
        router: &'r Arc<Router>,
        limit: Limit,
    ) -> Option<Seen<'r>> {
        let (query, source) = (datagram.query, datagram.source);
        let crowded = lane::crowded(router, query, source, why(limit), &mut self.worker, datagram.reply);
        if !matches!(crowded, Crowded::Answered { .. }) {
            self.shared.datagram_refused(limit);
        }
        match crowded {
            Crowded::Answered { len, seen } | Crowded::Refused { len, seen } => {
                datagram.answer(len);
                seen
            }
            Crowded::Silence => None,
            Crowded::NotHere => {
                fail(datagram);
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

#[cfg(test)]
mod tests {
    use std::net::{Shutdown, UdpSocket};

    use hickory_proto::op::ResponseCode;
    use metrics::{Counter, CounterFn};

    use super::*;
    use crate::node::listen::fixture::{live, panics};
    use crate::node::listen::udp::Stop;
    use crate::node::listen::udp::general::General;
    use crate::node::listen::{Timeouts, bind};
    use crate::ops::metrics::Metrics;
    use crate::testkit::client::{Answer, Query};

    /// How long a thread may take: only a failure waits for it.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Panics where somebody counts.
    struct Breaks;

    impl CounterFn for Breaks {
        fn increment(&self, _: u64) {
            panic!("as scripted");
        }

        fn absolute(&self, _: u64) {
            panic!("as scripted");
        }
    }

    /// Has a thread whose general handler takes nothing answer until the test has ended, with something broken.
    fn with_broken(part: impl FnOnce(&mut Shared, &UdpSocket), test: impl FnOnce(&UdpSocket, &Metrics)) {
        let metrics = Arc::new(Metrics::new());
        let sockets = bind::open("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let address = sockets.address;
        let socket = sockets.udp.into_iter().next().unwrap();
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(REST)).unwrap();
        let mut shared = Shared::new(&metrics);
        part(Arc::get_mut(&mut shared).unwrap(), &socket);
        let live = live(&metrics, Arc::default(), Timeouts::default());
        let socket = Arc::new(ReplySocket { socket, address });
        let (queues, general) = General::new(socket.clone(), live.clone(), shared.clone());
        drop(general);
        let stop = Stop { flag: Arc::default(), socket: socket.clone() };
        let reader = Reader::new(socket, live, shared, queues, stop.flag.clone());
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.connect(address).unwrap();
        std::thread::scope(|scope| {
            // Also where the test fails.
            let _stop = stop;
            scope.spawn(|| reader.run());
            test(&client, &metrics);
        });
    }

    #[test]
    fn a_panic_over_a_datagram_is_its_servfail_and_the_thread_goes_on() {
        let breaks =
            |shared: &mut Shared, _: &UdpSocket| shared.crowded = Counter::from_arc(Arc::new(Breaks));
        with_broken(breaks, |client, metrics| {
            for count in 1..=3 {
                client.send(&Query::a("x.").id(count).bytes()).unwrap();
                let mut reply = [0; 512];
                let len = client.recv(&mut reply).unwrap();
                let answer = Answer::parse(reply[..len].to_vec()).unwrap();
                assert_eq!((answer.message.id, answer.rcode()), (count, ResponseCode::ServFail));
                assert_eq!(panics(metrics), u64::from(count));
            }
        });
    }

    #[test]
    fn a_panic_over_a_batch_is_counted_and_the_thread_goes_on() {
        let breaks = |shared: &mut Shared, socket: &UdpSocket| {
            shared.unsent = Counter::from_arc(Arc::new(Breaks));
            // No reply leaves. That the socket is not connected is said, and it is done all the same.
            let _ = SockRef::from(socket).shutdown(Shutdown::Write);
        };
        with_broken(breaks, |client, metrics| {
            for count in 1..=3 {
                client.send(&Query::a("x.").bytes()).unwrap();
                let deadline = std::time::Instant::now() + PATIENCE;
                while panics(metrics) < count {
                    assert!(std::time::Instant::now() < deadline, "{count}");
                    std::thread::sleep(REST);
                }
            }
        });
    }
}
