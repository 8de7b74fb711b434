//! The gRPC service, and what all its streams share.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::connections::may_meet;
use super::session::Session;
use crate::feed::frame::{self, Frame, Heartbeat, PROTOCOL, Packet, Plan, Welcome};
use crate::feed::greeting::Greeting;
use crate::feed::wire;
use crate::feed::wire::hub_server::Hub;
use crate::hub::gate::Gate;
use crate::hub::line::Lines;
use crate::hub::metrics::{Counts, ServeMetrics};
use crate::hub::siblings::Family;
use crate::hub::state::{State, said};
use crate::ops::drain::Drain;
use crate::ops::jitter::Jitter;
use crate::ops::metrics::BuildInfo;
use crate::source::Wanted;
use crate::store::Store;
use crate::store::state::{Facts, Limits};
use crate::trust::peer::Peer;

/// When a follower may come back to a hub that is full: it has tried others by then, and some of ours may have gone.
const FULL_AFTER: Duration = Duration::from_secs(10);

/// When a follower that is ahead of us may come back: siblings tell of a restore within this time.
const BEHIND_AFTER: Duration = Duration::from_secs(5);

/// What a hub says of itself and does for its followers.
pub(in crate::hub) struct ServingConfig {
    /// Its name, another one each time it starts.
    pub(in crate::hub) name: String,
    /// What it keeps.
    pub(in crate::hub) wanted: Wanted,
    /// How long data may go unproved.
    pub(in crate::hub) limits: Limits,
    /// How many followers there may be.
    pub(in crate::hub) max_subscribers: usize,
    /// How long followers have to move at the end.
    pub(in crate::hub) move_within: Duration,
    /// Spreads what many would do at once.
    pub(in crate::hub) jitter: Jitter,
}

/// What all streams share.
pub(in crate::hub) struct Serving {
    /// What it says of itself.
    pub(super) config: ServingConfig,
    /// The state of the data.
    pub(super) store: Arc<Store>,
    /// What there is to tell.
    pub(super) lines: Arc<Lines>,
    /// The way to whole states.
    pub(super) gate: Arc<Gate>,
    /// Every hub that is known.
    pub(super) hubs: watch::Receiver<Arc<[SocketAddr]>>,
    /// Other hubs.
    family: Arc<Family>,
    /// Room for followers.
    seats: Arc<Semaphore>,
    /// Whether there is none: said once.
    full: Fullness,
    /// Says when to stop.
    pub(super) drain: Drain,
    /// What is measured.
    pub(super) metrics: ServeMetrics,
}

/// What streams need of the hub.
pub(in crate::hub) struct Parts {
    /// The state of the data.
    pub(in crate::hub) store: Arc<Store>,
    /// What there is to tell.
    pub(in crate::hub) lines: Arc<Lines>,
    /// The way to whole states.
    pub(in crate::hub) gate: Arc<Gate>,
    /// Every hub that is known.
    pub(in crate::hub) hubs: watch::Receiver<Arc<[SocketAddr]>>,
    /// Other hubs.
    pub(in crate::hub) family: Arc<Family>,
    /// Says when to stop.
    pub(in crate::hub) drain: Drain,
}

impl Serving {
    pub(in crate::hub) fn new(config: ServingConfig, parts: Parts, metrics: ServeMetrics) -> Arc<Self> {
        let Parts { store, lines, gate, hubs, family, drain } = parts;
        let seats = Arc::new(Semaphore::new(config.max_subscribers));
        let full = Fullness::default();
        Arc::new(Self { config, store, lines, gate, hubs, family, seats, full, drain, metrics })
    }

    /// A follower is in a later epoch than we are.
    pub(super) fn follower_is_ahead(&self, epoch: u64) {
        self.family.follower_is_ahead(epoch, Instant::now());
    }

    /// How many followers there are.
    pub(in crate::hub) fn followers(&self) -> Arc<Counts> {
        self.metrics.counts()
    }

    /// How the data is, at a line whose newest state is this; with the age of what that line has been told.
    pub(super) fn pulse(&self, told: Option<&State>) -> Pulse {
        // The age first: what is proved later may be of a later state.
        let age = self.store.age();
        let generation = self.store.current();
        let mut facts = Facts { age, ..self.store.facts(&generation) };
        // What the line has not yet been told does not vouch for what it has.
        if let Some(told) = told
            && !Arc::ptr_eq(&told.reached, &generation.reached)
        {
            facts.age = facts.age.max(told.age());
        }
        let state = said(&generation, facts, self.config.wanted.kinds(), self.config.limits);
        let behind = self.family.behind();
        let (state, why) = match (told, state, behind) {
            (None, ..) => (frame::State::Empty, None),
            // Its own source proves what it has; siblings have more.
            (Some(_), frame::State::Live | frame::State::Stale, Some(behind)) => {
                (frame::State::Stale, Some(behind))
            }
            (Some(_), state, _) => (state, None),
        };
        Pulse { state, age: facts.age, at: Instant::now(), why }
    }

    /// Room for one more follower.
    fn seat(&self) -> Option<OwnedSemaphorePermit> {
        let seat = self.seats.clone().try_acquire_owned().ok();
        match self.full.asked(seat.is_some(), Instant::now()) {
            Some(Room::Gone) => {
                let most = self.config.max_subscribers;
                tracing::warn!(most, "there is no room for more followers: they are told to come back later");
            }
            Some(Room::Again) => tracing::info!("there is room for followers again"),
            None => {}
        }
        seat
    }

    /// The first reply to a subscription.
    pub(super) fn welcome(&self, protocol: u32, plan: Plan) -> Packet {
        let reached = self.store.current().reached.clone();
        Packet::from(&Frame::Welcome(Welcome {
            protocol: protocol.min(PROTOCOL),
            release: BuildInfo::CURRENT.version.to_owned(),
            hub: self.config.name.clone(),
            cluster_uid: reached.cluster_uid.clone(),
            epoch: reached.told.epoch,
            labels: self.config.wanted.labels,
            pods: self.config.wanted.pods,
            plan,
        }))
    }

    /// Sends a follower away for about this long: at least so long, so that those who are sent away together do not
    /// come back together.
    fn later(&self, after: Duration, why: &str) -> Packet {
        self.metrics.refused.increment(1);
        let after = after + self.config.jitter.full(after);
        Packet::from(&Frame::RetryAfter { after, why: why.to_owned() })
    }

    /// What a follower is told that is ahead of us.
    pub(super) fn behind(&self) -> Packet {
        self.later(BEHIND_AFTER, "this hub has yet to learn of a restore of the cluster")
    }
}

/// There is room again once nobody was refused for this long: at a hub that is full, each that goes makes room for a
/// moment.
const ROOM_AFTER: Duration = Duration::from_secs(60);

/// Whether there is room, for people.
#[derive(Default)]
struct Fullness(Mutex<Option<Instant>>);

/// What people are told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// There is none any more.
    Gone,
    /// There is some again.
    Again,
}

impl Fullness {
    /// Somebody asked for room, and got some or not. What is new, if anything.
    fn asked(&self, is_room: bool, now: Instant) -> Option<Room> {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_room {
            return refused.replace(now).is_none().then_some(Room::Gone);
        }
        let over = refused.take_if(|last| now.saturating_duration_since(*last) >= ROOM_AFTER);
        over.map(|_| Room::Again)
    }
}

/// How the data was at some time.
#[derive(Clone, Debug)]
pub(super) struct Pulse {
    /// Its state.
    state: frame::State,
    /// How long ago it had been proved.
    age: Duration,
    /// When that was looked at.
    at: Instant,
    /// Why it is as it is, where that is something else than its age.
    why: Option<Arc<String>>,
}

impl Pulse {
    /// What is said of it now.
    pub(super) fn heartbeat(&self, nonce: u64) -> Heartbeat {
        let age = self.age.saturating_add(self.at.elapsed());
        let why = match (&self.why, self.state) {
            (Some(why), _) => String::clone(why),
            (None, frame::State::Live) => String::new(),
            (None, frame::State::Stale) => "the API server does not confirm the hub's data".to_owned(),
            (None, frame::State::Empty) => "the hub has no data yet".to_owned(),
            (None, frame::State::Frozen) => "frozen by an operator".to_owned(),
        };
        Heartbeat { nonce, state: self.state, age, why, ..Heartbeat::default() }
    }
}

/// What a follower's stream yields.
type Replies = Pin<Box<dyn Stream<Item = Result<wire::FollowReply, Status>> + Send>>;

/// The service, which its streams hold on to.
pub(super) struct Service(pub(super) Arc<Serving>);

#[async_trait::async_trait]
impl Hub for Service {
    type FollowStream = Replies;

    async fn follow(
        &self,
        request: Request<Streaming<wire::FollowRequest>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let serving = self.0.clone();
        let Some(seat) = serving.seat() else {
            let full = serving.later(FULL_AFTER, "this hub has as many followers as it may have");
            return Ok(Response::new(Box::pin(stream::iter([Ok(full.into())]))));
        };
        let session = Session::new(serving, request.into_inner(), seat);
        Ok(Response::new(Box::pin(stream::unfold(session, Session::step))))
    }

    async fn meet(&self, request: Request<wire::Greeting>) -> Result<Response<wire::Greeting>, Status> {
        // Invariant: what hubs tell each other changes what all nodes get, and is heard from hubs alone.
        if !may_meet(request.extensions().get::<Peer>()) {
            return Err(Status::permission_denied("hubs meet hubs: this is the certificate of a node"));
        }
        let greeting: Greeting = request.into_inner().into();
        let known = greeting.known.clone();
        self.0.family.met(greeting).await;
        Ok(Response::new(self.0.family.greeting(&known).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_there_is_room_again_is_said_once_it_stays_so() {
        let (full, begin) = (Fullness::default(), Instant::now());
        let asked = |is_room, seconds| full.asked(is_room, begin + Duration::from_secs(seconds));
        assert_eq!(asked(true, 0), None);
        assert_eq!(asked(false, 1), Some(Room::Gone));
        for second in (2..200).step_by(2) {
            assert_eq!((asked(true, second), asked(false, second + 1)), (None, None), "{second}");
        }
        assert_eq!(asked(true, 258), None, "less than a minute after the last refusal");
        assert_eq!(asked(true, 262), Some(Room::Again));
        assert_eq!((asked(true, 263), asked(false, 264)), (None, Some(Room::Gone)));
    }
}
