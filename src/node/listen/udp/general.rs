//! The general handler of a UDP socket: what the lane leaves goes through a bounded queue to the runtime, and is
//! answered there, or waits there for what takes time.

use std::io;

use std::sync::Arc;
use std::time::Duration;

use hickory_server::net::xfer::Protocol;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio_util::task::TaskTracker;

use super::socket::{ReplySocket, Target};
use crate::node::listen::waiting::Begun;
use crate::node::listen::{Live, Received, Shared, receive};

/// Datagrams that may stand in a queue. The handler takes about 100,000 a second: this is what comes in ten
/// milliseconds then, and at most 4 MB a socket.
pub(super) const QUEUE: usize = 1024;

/// Datagrams handled in a row before other tasks of the runtime get their turn.
const BURST: usize = 64;

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
}

/// The queues' ends in the thread of the lane.
pub(super) struct Queues {
    /// Of questions for names that some plugin has in memory: they are answered first.
    ahead: Sender<Left>,
    /// Of all others.
    others: Sender<Left>,
}

impl Queues {
    /// Leaves a datagram to the general handler; `false` if there is no room for it.
    pub(super) fn leave(&self, bytes: &[u8], target: Target, is_ahead: bool) -> bool {
        let queue = if is_ahead { &self.ahead } else { &self.others };
        match queue.try_reserve() {
            Ok(place) => {
                place.send(Left { bytes: bytes.into(), target });
                true
            }
            Err(TrySendError::Full(()) | TrySendError::Closed(())) => false,
        }
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
        (Queues { ahead: ahead_in, others: others_in }, Self { ahead, others, socket, live, shared, later })
    }

    /// Answers until the lane has gone, the queues are empty, and every reply has left.
    pub(super) async fn run(mut self) {
        let mut in_a_row = 0;
        loop {
            let left = tokio::select! {
                biased;
                Some(left) = self.ahead.recv() => left,
                Some(left) = self.others.recv() => left,
                else => break,
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

    fn handle(&self, Left { bytes, target }: Left) {
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
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(SEND_PAUSE).await,
            Err(_) => break,
        }
    }
    shared.unsent.increment(1);
}
