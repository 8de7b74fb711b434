//! One follower's stream: what it asks, and what it is sent.
//!
//! It is pulled: the next reply is looked for when HTTP/2 has room for it, and so a follower that does not read costs
//! what is said here and in its connection's buffers, and nothing more.
//!
//! Invariants:
//! * Nothing is queued but a handful of small replies; changes are read from the line when it is their turn.
//! * A heartbeat says no more than what has been sent ahead of it: it waits for all that there was to be sent when its
//!   ping came, and is of the age that the data had then.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use tonic::{Status, Streaming};

use super::service::{Pulse, Serving};
use super::stage::{Stage, Todo};
use crate::feed::frame::{Frame, Packet, Plan, Request, Subscription};
use crate::feed::position::Position;
use crate::feed::wire::{FollowReply, FollowRequest};
use crate::hub::history::{Reason, Resumed};
use crate::hub::line::Line;
use crate::hub::metrics::Doing;

/// How long a follower has to say what it wants.
const SUBSCRIBE_LIMIT: Duration = Duration::from_secs(10);

/// How many requests are heard before the next reply: a follower that asks without end is not answered without end.
const MAX_HEARD: usize = 8;

/// One follower's stream.
pub(super) struct Session {
    /// What all share.
    serving: Arc<Serving>,
    /// What it asks.
    requests: Streaming<FollowRequest>,
    /// What is to be sent at once: a handful at most.
    out: VecDeque<FollowReply>,
    /// What it is doing.
    stage: Stage,
    /// The last ping that is not yet answered; one before it is answered by the same heartbeat.
    ping: Option<Ping>,
    /// Every hub that is known.
    hubs: watch::Receiver<Arc<[SocketAddr]>>,
    /// Whether it has to be told of them.
    tell_hubs: bool,
    /// Whether it was told to move.
    moved: bool,
    /// Whether this was all.
    over: bool,
    /// Who it is, for people.
    node: String,
    /// Where it is, if the next whole state is to mend what it has there.
    mends: Option<Position>,
    /// What it counts as.
    counted: Doing,
    /// Its room among the followers.
    _seat: OwnedSemaphorePermit,
}

/// A ping that is not yet answered.
struct Ping {
    /// Its number.
    nonce: u64,
    /// How the data was when it came.
    pulse: Pulse,
    /// What there was to be sent then, up to this boundary.
    until: u64,
}

impl Session {
    pub(super) fn new(
        serving: Arc<Serving>,
        requests: Streaming<FollowRequest>,
        seat: OwnedSemaphorePermit,
    ) -> Box<Self> {
        let counted = Doing::Waiting;
        serving.metrics.begins(counted);
        Box::new(Self {
            hubs: serving.hubs.clone(),
            serving,
            requests,
            out: VecDeque::new(),
            stage: Stage::Begun { deadline: Instant::now() + SUBSCRIBE_LIMIT },
            ping: None,
            tell_hubs: false,
            moved: false,
            over: false,
            node: String::new(),
            mends: None,
            counted,
            _seat: seat,
        })
    }

    /// The next reply, once there is one; `None` at the end.
    pub(super) async fn step(mut self: Box<Self>) -> Option<(Result<FollowReply, Status>, Box<Self>)> {
        loop {
            self.listen();
            self.tell();
            if let Some(reply) = self.out.pop_front() {
                return Some((Ok(reply), self));
            }
            if self.over {
                return None;
            }
            if let Some(reply) = self.heartbeat() {
                self.serving.metrics.heartbeats.increment(1);
                return Some((Ok(reply), self));
            }
            match self.stage.next() {
                Todo::Send(packet) => {
                    self.serving.metrics.sent.increment(packet.len() as u64);
                    return Some((Ok(packet.into()), self));
                }
                Todo::Wait => self.wait().await,
                todo => self.turn(todo),
            }
        }
    }

    /// Waits until there may be something to send.
    async fn wait(&mut self) {
        let drain = &self.serving.drain;
        tokio::select! {
            biased;
            () = drain.closing().cancelled() => self.over = true,
            () = drain.draining().cancelled(), if !self.moved => {}
            asked = self.requests.message() => self.asked(asked),
            Ok(()) = self.hubs.changed() => self.tell_hubs = true,
            () = self.stage.changed() => {}
        }
    }

    // === What it asks ===

    /// Hears what has been asked, without waiting.
    fn listen(&mut self) {
        for _ in 0..MAX_HEARD {
            // Invariant: who asks and does not read is not heard, so that what is to be sent stays a handful.
            if self.over || !self.out.is_empty() {
                return;
            }
            match self.requests.message().now_or_never() {
                Some(asked) => self.asked(asked),
                None => return,
            }
        }
    }

    fn asked(&mut self, asked: Result<Option<FollowRequest>, Status>) {
        match asked {
            Ok(Some(request)) => match Request::from(request) {
                Request::Subscribe(subscription) => self.subscribe(*subscription),
                Request::Ping { nonce } => self.pinged(nonce),
                Request::Unknown => {}
            },
            Ok(None) => self.over = true,
            Err(error) => {
                tracing::debug!(node = self.node, %error, "follower is gone");
                self.over = true;
            }
        }
    }

    fn pinged(&mut self, nonce: u64) {
        let state = self.stage.line().and_then(|line| line.now());
        let pulse = self.serving.pulse(state.as_deref());
        let until = self.stage.line().map_or(0, |line| *line.head().borrow());
        self.ping = Some(Ping { nonce, pulse, until });
    }

    fn subscribe(&mut self, subscription: Subscription) {
        if subscription.protocol == 0 {
            let why = "a subscription without a version of the protocol".to_owned();
            self.end(Packet::from(&Frame::Refused { why }));
            return;
        }
        self.node.clone_from(&subscription.node);
        let line = self.serving.lines.of(subscription.view);
        self.begin(&line, subscription);
    }

    /// Begins as the line's history has it.
    fn begin(&mut self, line: &Arc<Line>, subscription: Subscription) {
        let head = line.head();
        let protocol = subscription.protocol;
        self.mends = subscription.whole.then_some(subscription.position);
        let plan = match line.resume(&subscription) {
            None => {
                let subscription = Box::new(subscription);
                self.enter(Stage::Waiting { line: line.clone(), head, subscription });
                Plan::Wait
            }
            Some(Resumed::From(seq)) => {
                self.serving.metrics.resumed.increment(1);
                self.enter(Stage::Live { line: line.clone(), head, seq });
                Plan::Changes
            }
            Some(Resumed::Whole(why)) => {
                let asked = &subscription.why;
                tracing::debug!(
                    node = self.node,
                    why = why.as_str(),
                    asked,
                    "follower needs the whole state"
                );
                self.queue(line.clone(), why);
                Plan::Whole
            }
            Some(Resumed::Behind) => {
                self.serving.follower_is_ahead(subscription.position.epoch);
                let behind = self.serving.behind();
                self.end(behind);
                return;
            }
        };
        self.out.push_back(self.serving.welcome(protocol, plan).into());
        self.tell_hubs = true;
    }

    // === What it is sent ===

    /// What everybody is told.
    fn tell(&mut self) {
        if !self.moved && self.serving.drain.draining().is_cancelled() {
            self.moved = true;
            self.serving.metrics.moved.increment(1);
            let within = self.serving.config.move_within;
            self.out.push_back(Packet::from(&Frame::Move { within }).into());
        }
        if std::mem::take(&mut self.tell_hubs) {
            let hubs = self.hubs.borrow_and_update().clone();
            if !hubs.is_empty() {
                self.out.push_back(Packet::from(&Frame::Hubs(hubs.to_vec())).into());
            }
        }
    }

    /// The answer to a ping, if it is its turn.
    fn heartbeat(&mut self) -> Option<FollowReply> {
        let ping = self.ping.as_ref()?;
        let mut heartbeat = ping.pulse.heartbeat(ping.nonce);
        match &self.stage {
            Stage::Begun { .. } => return None,
            Stage::Live { line, seq, .. } => {
                // In the middle of a change there is nothing to be said either.
                let (position, digests) = line.stand(*seq).filter(|_| *seq >= ping.until)?;
                (heartbeat.position, heartbeat.digests) = (Some(position), digests);
            }
            Stage::Queued { place, .. } => {
                heartbeat.ahead = u32::try_from(place.ahead()).unwrap_or(u32::MAX);
            }
            Stage::Waiting { .. } | Stage::Whole { .. } => {}
        }
        self.ping = None;
        Some(heartbeat.into())
    }

    /// Goes on to what is to be done next.
    fn turn(&mut self, todo: Todo) {
        match todo {
            Todo::Send(_) | Todo::Wait => {}
            Todo::Late => {
                let why = "nothing was asked for in time".to_owned();
                self.end(Packet::from(&Frame::Refused { why }));
            }
            Todo::Ready(subscription) => {
                if let Some(line) = self.stage.line().cloned() {
                    self.begin(&line, *subscription);
                }
            }
            Todo::Again(line) => {
                tracing::debug!(
                    node = self.node,
                    "follower is too slow for the history: the whole state again"
                );
                self.queue(line, Reason::TooSlow);
            }
            Todo::Turn(line, permit) => {
                let Some((whole, made)) = line.whole(self.serving.config.wanted.labels, self.mends.as_ref())
                else {
                    self.queue(line, Reason::TooSlow);
                    return;
                };
                if made {
                    self.serving.metrics.made.increment(1);
                }
                let progress = whole.progress();
                self.enter(Stage::Whole { line, whole, progress, at: 0, permit });
            }
            Todo::Through(line, seq) => {
                self.serving.metrics.finished.increment(1);
                let head = line.head();
                self.enter(Stage::Live { line, head, seq });
            }
        }
    }

    /// Waits for the whole state.
    fn queue(&mut self, line: Arc<Line>, why: Reason) {
        self.serving.metrics.whole(why);
        let place = self.serving.gate.enter();
        self.enter(Stage::Queued { line, place });
    }

    fn enter(&mut self, stage: Stage) {
        let doing = stage.doing();
        let metrics = &self.serving.metrics;
        metrics.ends(self.counted);
        metrics.begins(doing);
        (self.counted, self.stage) = (doing, stage);
    }

    /// Ends with this.
    fn end(&mut self, last: Packet) {
        self.out.push_back(last.into());
        self.over = true;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.serving.metrics.ends(self.counted);
    }
}
