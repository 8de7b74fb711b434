//! The general handler of a UDP socket: what the lane leaves goes through a bounded queue to the runtime, and is
//! answered there, or waits there for what takes time.
//!
//! Who has taken its share of the queue is refused there, whoever else is. That is for names outside alone: clients of
//! the host network or behind a masquerade have one address, and the cluster's names are for all of them.

use std::io;

use std::sync::Arc;
use std::time::Duration;

use hickory_server::net::xfer::Protocol;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use super::shares::{Share, Shares};
use super::socket::{ReplySocket, Target};
use crate::node::listen::places::Limit;
use crate::node::listen::waiting::Begun;
use crate::node::listen::{Live, Received, Shared, receive};

/// Datagrams that may stand in a queue. The handler takes about 100,000 a second: this is what comes in ten
/// milliseconds then. As many of the longest that are read are 4 MB, and a socket has two queues: 8 MB.
pub(super) const QUEUE: usize = 1024;

/// Datagrams handled in a row before other tasks of the runtime get their turn.
const BURST: usize = 64;

/// Of what goes ahead, so much is handled in a row at most while others wait: who asks for it faster than it is
/// answered takes most of the handler, and not all of it.
const AHEAD: usize = 8;

/// How long the handler rests where those that have to leave the waiting room have not had their turn. What comes
/// meanwhile stays in the queue, where each client has its share.
const REST: Duration = Duration::from_millis(1);

/// How long a full send buffer is waited for: a kernel sends a packet in microseconds.
const SEND_PAUSE: Duration = Duration::from_millis(1);

/// How often it is tried.
const SEND_TRIES: usize = 50;

/// A datagram that the lane has left.
pub(super) struct Left {
    /// Its bytes.
    bytes: Box<[u8]>,
    /// Where its reply goes.
    target: Target,
    /// Its client's place in the queue, where clients have shares.
    share: Option<Share>,
}

/// The queues' ends in the thread of the lane.
pub(super) struct Queues {
    /// Of questions whose answers are at hand: they are answered first.
    ahead: Sender<Left>,
    /// Of all others.
    others: Sender<Left>,
    /// What each client has of `others`.
    shares: Arc<Shares>,
}

/// What those are told for whom there is no room.
pub(super) const fn why(limit: Limit) -> &'static str {
    match limit {
        Limit::All => "more queries come in than can be looked at",
        Limit::Client => "more queries of this client come in than can be looked at",
    }
}

impl Queues {
    /// Leaves a datagram to the general handler.
    ///
    /// # Errors
    /// The limit, if there is no room for it.
    pub(super) fn leave(&self, bytes: &[u8], target: Target, is_ahead: bool) -> Result<(), Limit> {
        let queue = if is_ahead { &self.ahead } else { &self.others };
        let free = queue.capacity();
        let place = queue.try_reserve().map_err(|_| Limit::All)?;
        let share = match is_ahead {
            true => None,
            false => Some(self.shares.take(target.source.ip(), free).ok_or(Limit::Client)?),
        };
        place.send(Left { bytes: bytes.into(), target, share });
        Ok(())
    }
}

/// Answers what is in the queues of a socket.
pub(super) struct General {
    /// The other ends of [`Queues`].
    ahead: Receiver<Left>,
    /// See [`Queues`].
    others: Receiver<Left>,
    /// Where replies are sent.
    socket: Arc<ReplySocket>,
    /// Who answers.
    live: Arc<Live>,
    /// Limits and counters.
    shared: Arc<Shared>,
    /// What is answered or sent later; the room bounds how much that is.
    later: TaskTracker,
}

impl General {
    /// A handler with empty queues.
    pub(super) fn new(socket: Arc<ReplySocket>, live: Arc<Live>, shared: Arc<Shared>) -> (Queues, Self) {
        let (ahead_in, ahead) = mpsc::channel(QUEUE);
        let (others_in, others) = mpsc::channel(QUEUE);
        let later = TaskTracker::new();
        let queues = Queues { ahead: ahead_in, others: others_in, shares: Shares::new() };
        (queues, Self { ahead, others, socket, live, shared, later })
    }

    /// Answers until the lane has gone, the queues are empty, and every reply has left.
    pub(super) async fn run(mut self) {
        let (mut in_a_row, mut ahead) = (0, 0);
        loop {
            let is_clogged = self.shared.room.is_clogged();
            let its_turn = if ahead < AHEAD || is_clogged { None } else { self.others.try_recv().ok() };
            let left = match its_turn {
                Some(left) => {
                    ahead = 0;
                    left
                }
                None => tokio::select! {
                    biased;
                    Some(left) = self.ahead.recv() => {
                        ahead = AHEAD.min(ahead + 1);
                        left
                    }
                    () = sleep(REST), if is_clogged => continue,
                    Some(left) = self.others.recv(), if !is_clogged => {
                        ahead = 0;
                        left
                    }
                    else => break,
                },
            };
            self.handle(left);
            in_a_row += 1;
            if in_a_row == BURST {
                in_a_row = 0;
                tokio::task::yield_now().await;
            }
        }
        self.later.close();
        self.later.wait().await;
    }

    fn handle(&self, Left { bytes, target, share }: Left) {
        // It does not stand in the queue any more.
        drop(share);
        let Target { source, .. } = target;
        let local = self.socket.local(target);
        let query = match receive(&bytes, source, local, Protocol::Udp, &self.live.now().router) {
            Received::Silence => return,
            Received::Reply(reply) => return self.reply(reply, target),
            Received::Query(query) => query,
        };
        match self.shared.room.begin(query) {
            Begun::Done(None) => {}
            Begun::Done(Some(reply)) => self.reply(reply, target),
            Begun::Waits(waits) => {
                let (socket, shared) = (self.socket.clone(), self.shared.clone());
                self.later.spawn(async move {
                    let (reply, inside) = waits.reply().await;
                    if let Some(reply) = reply {
                        send(&socket, &reply, target, &shared).await;
                    }
                    drop(inside);
                });
            }
        }
    }

    fn reply(&self, reply: Vec<u8>, target: Target) {
        match self.socket.send(&reply, target) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // The send buffer is full: try again when it is not, without holding up the next query.
                let (socket, shared) = (self.socket.clone(), self.shared.clone());
                let Some(inside) = shared.room.hold() else {
                    shared.unsent.increment(1);
                    return;
                };
                self.later.spawn(async move {
                    send(&socket, &reply, target, &shared).await;
                    drop(inside);
                });
            }
            Err(_) => self.shared.unsent.increment(1),
        }
    }
}

/// Sends a reply, and waits a while for room in the send buffer.
async fn send(socket: &ReplySocket, reply: &[u8], target: Target, shared: &Shared) {
    for _ in 0..SEND_TRIES {
        match socket.send(reply, target) {
            Ok(()) => return,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(SEND_PAUSE).await,
            Err(_) => break,
        }
    }
    shared.unsent.increment(1);
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use hickory_proto::op::ResponseCode;
    use tokio::net::UdpSocket as AsyncUdpSocket;

    use super::*;
    use crate::node::listen::fixture::{Scripted, live};
    use crate::node::listen::{Limits, Timeouts};
    use crate::ops::metrics::Metrics;
    use crate::testkit::client::{Answer, Query};

    /// A handler, what is left to it, and the client that has sent that.
    struct Fixture {
        queues: Queues,
        general: General,
        shared: Arc<Shared>,
        client: AsyncUdpSocket,
    }

    impl Fixture {
        async fn new(waiting: usize) -> Self {
            let metrics = Arc::new(Metrics::new());
            let shared = Shared::with_limits(&metrics, Limits { waiting, ..Limits::default() });
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = socket.local_addr().unwrap();
            let live = live(&metrics, Arc::new(Scripted::default()), Timeouts::default());
            let socket = Arc::new(ReplySocket { socket, address });
            let (queues, general) = General::new(socket, live, shared.clone());
            let client = AsyncUdpSocket::bind("127.0.0.1:0").await.unwrap();
            Self { queues, general, shared, client }
        }

        fn leave(&self, query: Query, is_ahead: bool) {
            let target = Target { source: self.client.local_addr().unwrap(), local: None };
            self.queues.leave(&query.bytes(), target, is_ahead).unwrap();
        }
    }

    /// The id and the rcode of the next reply.
    async fn reply(client: &AsyncUdpSocket) -> (u16, ResponseCode) {
        let mut bytes = [0; 512];
        let length = client.recv(&mut bytes).await.unwrap();
        let answer = Answer::parse(bytes[..length].to_vec()).unwrap();
        (answer.message.metadata.id, answer.rcode())
    }

    #[tokio::test]
    async fn what_goes_ahead_leaves_a_turn_to_others() {
        let fixture = Fixture::new(1).await;
        (0..40).for_each(|id| fixture.leave(Query::a("x.").id(id), true));
        (100..105).for_each(|id| fixture.leave(Query::a("x.").id(id), false));
        let Fixture { queues, general, client, .. } = fixture;
        drop(queues);
        general.run().await;

        let mut order = Vec::new();
        for _ in 0..45 {
            order.push(reply(&client).await.0);
        }
        let ahead: Vec<_> = order.iter().copied().filter(|id| *id < 100).collect();
        assert_eq!(ahead, (0..40).collect::<Vec<_>>());
        let turns: Vec<_> = (0..order.len()).filter(|at| order[*at] >= 100).collect();
        assert_eq!(turns, [8, 17, 26, 35, 44], "one after so many that go ahead");
    }

    #[tokio::test]
    async fn nobody_is_refused_because_others_have_yet_to_leave_the_waiting_room() {
        let fixture = Fixture::new(4).await;
        let leaving: Vec<_> = std::iter::from_fn(|| fixture.shared.room.hold()).collect();
        fixture.leave(Query::a("soon.").id(1), false);
        fixture.leave(Query::a("x.").id(2), true);
        let Fixture { queues, general, client, .. } = fixture;
        let running = tokio::spawn(general.run());
        assert_eq!(reply(&client).await, (2, ResponseCode::NoError), "what is at hand needs no room");
        drop((leaving, queues));
        assert_eq!(reply(&client).await, (1, ResponseCode::NoError));
        running.await.unwrap();
    }
}
