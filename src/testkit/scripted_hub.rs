//! Hubs that say what a test tells them to, over gRPC in memory, where time may be paused; and below them pipes on which
//! a test says anything at all.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tonic::codegen::Service as _;
use tonic::{Request, Response, Status, Streaming};

use crate::feed::digests::Digests;
use crate::feed::frame::{
    Batch, Frame, Heartbeat, PROTOCOL, Packet, Plan, Request as Asked, State, Subscription, Welcome,
    WholeBegin, WholeEnd,
};
use crate::feed::position::Position;
use crate::feed::wire::hub_server::{Hub, HubServer};
use crate::feed::wire::{self, FollowReply, FollowRequest};
use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;
use crate::source::Wanted;
use crate::source::hub::HubSource;
use crate::source::hub::access::HubAccess;
use crate::source::hub::transport::{Dial, Link, NotDialled, begin, follow};
use crate::zone::Table;
use crate::zone::change::Change;
use crate::zone::object::{Kinds, Object};

/// What a pipe holds that is not read.
const PIPE: usize = 256 << 10;

/// Connections and streams that wait for the test.
const WAITING: usize = 64;

/// Replies that wait for HTTP/2 to take them.
const REPLIES: usize = 4;

/// The network between followers and hubs of a test.
#[derive(Clone, Default)]
pub struct Network(Arc<Mutex<Doors>>);

/// Where connections arrive.
#[derive(Default)]
struct Doors {
    /// By hub; one that is not there is down.
    open: HashMap<SocketAddr, mpsc::Sender<DuplexStream>>,
    /// Who was dialled, in order.
    dialled: Vec<SocketAddr>,
}

impl Network {
    fn doors(&self) -> MutexGuard<'_, Doors> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections that are made to this address arrive here, until this is dropped.
    pub fn door(&self, address: SocketAddr) -> mpsc::Receiver<DuplexStream> {
        let (door, connections) = mpsc::channel(WAITING);
        self.doors().open.insert(address, door);
        connections
    }

    /// A hub at this address, until it is dropped.
    pub fn hub(&self, address: SocketAddr) -> ScriptedHub {
        let (to, streams) = mpsc::channel(WAITING);
        let task = tokio::spawn(serve(self.door(address), to));
        ScriptedHub { address, streams, task }
    }

    /// Who was dialled, in order.
    pub fn dialled(&self) -> Vec<SocketAddr> {
        self.doors().dialled.clone()
    }

    /// A source that follows the hubs of this network.
    pub fn source(&self, access: &HubAccess, jitter: Jitter, metrics: &Arc<Metrics>) -> HubSource {
        HubSource::with_dial(access, Wanted::default(), None, jitter, metrics, Arc::new(self.clone()))
    }
}

#[async_trait]
impl Dial for Network {
    async fn dial(&self, hub: SocketAddr) -> Result<Link, NotDialled> {
        let door = {
            let mut doors = self.doors();
            doors.dialled.push(hub);
            doors.open.get(&hub).cloned()
        };
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let taken = door.is_some_and(|door| door.try_send(theirs).is_ok());
        if !taken {
            return Err(NotDialled::Unreachable("connecting: nobody is there".to_owned()));
        }
        begin(ours).await.map(follow)
    }
}

/// Serves connections until this is dropped, and they end with it.
async fn serve(mut connections: mpsc::Receiver<DuplexStream>, to: mpsc::Sender<Stream>) {
    let mut open = JoinSet::new();
    while let Some(pipe) = connections.recv().await {
        let service = HubServer::new(Service(to.clone()));
        open.spawn(async move {
            let service = service_fn(move |request| service.clone().call(request));
            // How a connection ends is the follower's to say.
            let _ =
                http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(pipe), service).await;
        });
    }
}

/// A hub without a will of its own; down once it is dropped.
pub struct ScriptedHub {
    /// Its address.
    pub address: SocketAddr,
    /// Streams of followers.
    streams: mpsc::Receiver<Stream>,
    /// Serves them.
    task: JoinHandle<()>,
}

impl ScriptedHub {
    /// The next stream of a follower.
    ///
    /// # Panics
    /// When nobody serves.
    pub async fn stream(&mut self) -> Stream {
        self.streams.recv().await.expect("it serves")
    }

    /// Serves this state to whoever comes, rightly, for ever.
    pub async fn serve(mut self, cluster: Told) {
        let mut served = JoinSet::new();
        while let Some(stream) = self.streams.recv().await {
            served.spawn(stream.serve(cluster.clone()));
        }
    }
}

impl Drop for ScriptedHub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The gRPC service.
struct Service(mpsc::Sender<Stream>);

#[async_trait]
impl Hub for Service {
    type FollowStream = Pin<Box<dyn futures_util::Stream<Item = Result<FollowReply, Status>> + Send>>;

    async fn follow(
        &self,
        request: Request<Streaming<FollowRequest>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let (to, from) = mpsc::channel(REPLIES);
        let stream = Stream { from: request.into_inner(), to };
        self.0.send(stream).await.map_err(|_| Status::unavailable("the hub is gone"))?;
        let replies =
            stream::unfold(
                from,
                |mut from: mpsc::Receiver<_>| async move { Some((from.recv().await?, from)) },
            );
        Ok(Response::new(Box::pin(replies)))
    }

    async fn meet(&self, _: Request<wire::Greeting>) -> Result<Response<wire::Greeting>, Status> {
        Err(Status::unimplemented("no siblings"))
    }
}

/// What a hub tells of.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// uid of the cluster.
    pub uid: String,
    /// Where it is.
    pub position: Position,
    /// All there is.
    pub objects: Vec<Object>,
}

impl Told {
    /// Its digests.
    pub fn digests(&self) -> Digests {
        let table = Table::build(self.objects.iter().cloned(), Kinds::CORE, 1);
        Digests::of(Kinds::CORE, |kind| table.digest(kind))
    }

    /// As a whole state is sent.
    pub fn frames(&self) -> [Frame; 3] {
        let begin = WholeBegin {
            cluster_uid: self.uid.clone(),
            position: self.position,
            objects: self.objects.len() as u64,
            complete: Kinds::CORE,
            ..WholeBegin::default()
        };
        let entries = self.objects.iter().cloned().map(|object| Change::Upsert(object).into()).collect();
        let end = WholeEnd { position: self.position, digests: self.digests(), holds: Vec::new() };
        [Frame::WholeBegin(begin), Frame::WholePart(entries), Frame::WholeEnd(end)]
    }

    /// What a hub says of it first.
    pub fn welcome(&self, plan: Plan) -> Frame {
        Frame::Welcome(Welcome {
            protocol: PROTOCOL,
            hub: "scripted".to_owned(),
            cluster_uid: self.uid.clone(),
            epoch: self.position.epoch,
            plan,
            ..Welcome::default()
        })
    }

    /// Changes that lead to it.
    pub fn batch(&self, changes: Vec<Change>) -> Frame {
        Frame::Batch(Batch {
            cluster_uid: self.uid.clone(),
            position: Some(self.position),
            digests: self.digests(),
            entries: changes.into_iter().map(Into::into).collect(),
            holds: None,
        })
    }

    /// The answer to a ping.
    pub fn heartbeat(&self, nonce: u64, state: State, age: Duration) -> Heartbeat {
        let why = "because".to_owned();
        Heartbeat { nonce, state, age, position: Some(self.position), digests: self.digests(), why, ahead: 0 }
    }
}

/// A follower's stream, as the hub has it.
pub struct Stream {
    /// What the follower asks.
    from: Streaming<FollowRequest>,
    /// What it is told.
    to: mpsc::Sender<Result<FollowReply, Status>>,
}

impl Stream {
    /// The next thing that is asked; `None` once the follower has left.
    pub async fn asked(&mut self) -> Option<Asked> {
        self.from.message().await.ok().flatten().map(Asked::from)
    }

    /// The next subscription; pings ahead of it are not answered.
    ///
    /// # Panics
    /// When the follower leaves.
    pub async fn subscription(&mut self) -> Subscription {
        loop {
            match self.asked().await.expect("the follower is there") {
                Asked::Subscribe(subscription) => return *subscription,
                Asked::Ping { .. } | Asked::Unknown => {}
            }
        }
    }

    /// The nonce of the next ping.
    ///
    /// # Panics
    /// When something else is asked.
    #[allow(clippy::panic, reason = "a test that is written wrong has to fail")]
    pub async fn ping(&mut self) -> u64 {
        match self.asked().await {
            Some(Asked::Ping { nonce }) => nonce,
            other => panic!("{other:?} is no ping"),
        }
    }

    /// Says anything; `false` once the follower has left.
    pub async fn reply(&self, reply: impl Into<FollowReply>) -> bool {
        self.to.send(Ok(reply.into())).await.is_ok()
    }

    /// Says a frame.
    pub async fn say(&self, frame: &Frame) -> bool {
        self.reply(Packet::from(frame)).await
    }

    /// Says all frames.
    pub async fn say_all(&self, frames: &[Frame]) -> bool {
        for frame in frames {
            if !self.say(frame).await {
                return false;
            }
        }
        true
    }

    /// Waits until the follower has left, and answers nothing meanwhile.
    pub async fn until_left(&mut self) {
        while self.asked().await.is_some() {}
    }

    /// Serves this state rightly, until the follower leaves.
    pub async fn serve(mut self, told: Told) {
        while let Some(asked) = self.asked().await {
            let there = match asked {
                Asked::Subscribe(subscription) => self.begin(&subscription, &told).await,
                Asked::Ping { nonce } => self.reply(told.heartbeat(nonce, State::Live, Duration::ZERO)).await,
                Asked::Unknown => true,
            };
            if !there {
                return;
            }
        }
    }

    /// Answers a subscription: with nothing but a welcome to those who have the state.
    pub async fn begin(&self, subscription: &Subscription, told: &Told) -> bool {
        let same = subscription.position == told.position
            && subscription.cluster_uid == told.uid
            && subscription.digests.differing(&told.digests()).is_empty();
        if same && !subscription.whole {
            return self.say(&told.welcome(Plan::Changes)).await;
        }
        self.say(&told.welcome(Plan::Whole)).await && self.say_all(&told.frames()).await
    }
}
