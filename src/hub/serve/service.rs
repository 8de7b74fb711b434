//! The gRPC service, and what all its streams share.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic::{Request, Response, Status, Streaming};

use super::session::Session;
use crate::feed::frame::{self, Frame, Heartbeat, PROTOCOL, Packet, Plan, Welcome};
use crate::feed::greeting::Greeting;
use crate::feed::wire;
use crate::feed::wire::hub_server::Hub;
use crate::hub::gate::Gate;
use crate::hub::line::Lines;
use crate::hub::metrics::ServeMetrics;
use crate::hub::state::State;
use crate::ops::drain::Drain;
use crate::ops::jitter::Jitter;
use crate::ops::metrics::BuildInfo;
use crate::source::Wanted;
use crate::source::command::{Command, Commands};
use crate::store::Store;
use crate::store::state::{DataState, Facts, Limits};

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
    /// To the source.
    commands: Commands,
    /// Room for followers.
    seats: Arc<Semaphore>,
    /// Whether there was none when somebody asked last: said once.
    full: AtomicBool,
    /// Says when to stop.
    pub(super) drain: Drain,
    /// What is measured.
    pub(super) metrics: ServeMetrics,
}

impl Serving {
    #[allow(clippy::too_many_arguments, reason = "the parts of a hub, put together in one place")]
    pub(in crate::hub) fn new(
        config: ServingConfig,
        store: Arc<Store>,
        lines: Arc<Lines>,
        gate: Arc<Gate>,
        hubs: watch::Receiver<Arc<[SocketAddr]>>,
        commands: Commands,
        drain: Drain,
        metrics: ServeMetrics,
    ) -> Arc<Self> {
        let seats = Arc::new(Semaphore::new(config.max_subscribers));
        let full = AtomicBool::new(false);
        Arc::new(Self { config, store, lines, gate, hubs, commands, seats, full, drain, metrics })
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
        let state = match DataState::judge(facts, self.config.wanted.kinds(), self.config.limits) {
            DataState::Live => frame::State::Live,
            DataState::Stale { .. } | DataState::Expired { .. } => frame::State::Stale,
            DataState::Empty { .. } => frame::State::Empty,
        };
        let state = match told {
            None => frame::State::Empty,
            Some(_) if generation.frozen.is_some() => frame::State::Frozen,
            Some(_) => state,
        };
        Pulse { state, age: facts.age, at: tokio::time::Instant::now() }
    }

    /// Room for one more follower.
    fn seat(&self) -> Option<OwnedSemaphorePermit> {
        let seat = self.seats.clone().try_acquire_owned().ok();
        let was_full = self.full.swap(seat.is_none(), Ordering::Relaxed);
        match &seat {
            None if !was_full => {
                let most = self.config.max_subscribers;
                tracing::warn!(most, "there is no room for more followers: they are told to come back later");
            }
            Some(_) if was_full => tracing::info!("there is room for followers again"),
            None | Some(_) => {}
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

    /// What we say to siblings.
    fn greeting(&self) -> Greeting {
        let pulse = self.pulse(Some(&State::of(&self.store)));
        let reached = self.store.current().reached.clone();
        Greeting {
            hub: self.config.name.clone(),
            release: BuildInfo::CURRENT.version.to_owned(),
            cluster_uid: reached.cluster_uid.clone(),
            position: reached.told,
            state: pulse.state,
            age: pulse.age,
            accepted: Vec::new(),
            ..Greeting::default()
        }
    }

    /// A sibling says how it is.
    fn met(&self, sibling: &Greeting) {
        let reached = self.store.current().reached.clone();
        let is_ours = !reached.cluster_uid.is_empty() && sibling.cluster_uid == reached.cluster_uid;
        if sibling.hub != self.config.name && is_ours && sibling.position.epoch > reached.told.epoch {
            tracing::warn!(hub = %sibling.hub, epoch = sibling.position.epoch, "a sibling tells of a restore");
            // A full queue has been told already.
            let _ = self.commands.try_send(Command::BeginEpoch(sibling.position.epoch));
        }
    }
}

/// How the data was at some time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pulse {
    /// Its state.
    state: frame::State,
    /// How long ago it had been proved.
    age: Duration,
    /// When that was looked at.
    at: tokio::time::Instant,
}

impl Pulse {
    /// What is said of it now.
    pub(super) fn heartbeat(self, nonce: u64) -> Heartbeat {
        let age = self.age.saturating_add(self.at.elapsed());
        Heartbeat { nonce, state: self.state, age, ..Heartbeat::default() }
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
        self.0.met(&request.into_inner().into());
        Ok(Response::new(self.0.greeting().into()))
    }
}
