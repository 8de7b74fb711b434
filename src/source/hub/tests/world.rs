//! Hubs that say what the test tells them to, and a follower whose store is the real one.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::mpsc::{self, Sender};
use tokio_util::sync::CancellationToken;

use super::super::HubSource;
use super::super::access::HubAccess;
use super::super::left::Left;
use super::super::transport::{Dial, Link, NotDialled};
use crate::feed::digests::Digests;
use crate::feed::frame::{
    Batch, Frame, Heartbeat, Packet, Plan, Request, State, Subscription, Welcome, WholeBegin, WholeEnd,
};
use crate::feed::position::Position;
use crate::feed::wire;
use crate::ops::clock::WallClock;
use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;
use crate::source::{UPDATE_QUEUE, Wanted, command};
use crate::store::Store;
use crate::store::control::Control;
use crate::store::state::{DataState, Limits};
use crate::store::writer::Writer;
use crate::trust::config::TrustConfig;
use crate::zone::Table;
use crate::zone::change::Change;
use crate::zone::object::{Key, Kind, Kinds, Namespace, Object};

type Replies = Sender<Result<wire::FollowReply, Left>>;

/// The network: one script a hub.
#[derive(Default)]
pub(super) struct Net {
    /// Where streams arrive, by hub; one that is not there is down.
    pub(super) up: Mutex<HashMap<SocketAddr, Sender<Stream>>>,
    /// Who was dialled.
    pub(super) dialled: Mutex<Vec<SocketAddr>>,
}

impl Net {
    /// How often this hub was dialled.
    pub(super) fn tries_of(&self, hub: SocketAddr) -> usize {
        self.dialled.lock().expect("a test").iter().filter(|dialled| **dialled == hub).count()
    }
}

#[async_trait]
impl Dial for Net {
    async fn dial(&self, hub: SocketAddr) -> Result<Link, NotDialled> {
        self.dialled.lock().expect("a test").push(hub);
        let door = self.up.lock().expect("a test").get(&hub).cloned();
        let Some(door) = door else { return Err(NotDialled::Unreachable("nobody is there".to_owned())) };
        let (requests, from) = mpsc::channel(8);
        let (to, replies) = mpsc::channel(64);
        door.send(Stream { from, to }).await.map_err(|_| NotDialled::Unreachable("it is gone".to_owned()))?;
        let replies = stream::unfold(replies, |mut replies: mpsc::Receiver<_>| async move {
            Some((replies.recv().await?, replies))
        });
        Ok(Link { requests, replies: replies.boxed() })
    }
}

/// A follower's stream, as the hub has it.
pub(super) struct Stream {
    pub(super) from: mpsc::Receiver<wire::FollowRequest>,
    pub(super) to: Replies,
}

impl Stream {
    /// The next subscription; pings ahead of it are not answered.
    pub(super) async fn subscription(&mut self) -> Subscription {
        loop {
            match Request::from(self.from.recv().await.expect("the follower is there")) {
                Request::Subscribe(subscription) => return *subscription,
                _ => continue,
            }
        }
    }

    /// The next subscription; pings ahead of it are answered as a hub does that is well and there.
    pub(super) async fn asked_from(&mut self, there: Position) -> Subscription {
        self.asked_with(there, Digests::NONE).await
    }

    /// The same of a hub with these digests.
    pub(super) async fn asked_with(&mut self, there: Position, digests: Digests) -> Subscription {
        loop {
            match Request::from(self.from.recv().await.expect("the follower is there")) {
                Request::Subscribe(subscription) => return *subscription,
                Request::Ping { nonce } => {
                    self.beat(nonce, State::Live, 0, there, digests).await;
                }
                Request::Unknown => panic!("it asks nothing unknown"),
            }
        }
    }

    /// Answers pings like that until the follower leaves, and asks for nothing.
    pub(super) async fn until_left(&mut self, there: Position) {
        while let Some(request) = self.from.recv().await {
            match Request::from(request) {
                Request::Ping { nonce } => self.beat(nonce, State::Live, 0, there, Digests::NONE).await,
                other => panic!("{other:?} is asked"),
            }
        }
    }

    /// The nonce of the next ping.
    pub(super) async fn ping(&mut self) -> u64 {
        match Request::from(self.from.recv().await.expect("the follower is there")) {
            Request::Ping { nonce } => nonce,
            other => panic!("{other:?} is no ping"),
        }
    }

    pub(super) async fn say(&self, frame: Frame) {
        // The follower may have left.
        let _ = self.to.send(Ok(Packet::from(&frame).into())).await;
    }

    pub(super) async fn welcome(&self, uid: &str, epoch: u64, plan: Plan) {
        self.welcome_of("hub-1", uid, epoch, plan).await;
    }

    /// The same of a hub with this name.
    pub(super) async fn welcome_of(&self, hub: &str, uid: &str, epoch: u64, plan: Plan) {
        let (hub, release) = (hub.to_owned(), "0.9.0".to_owned());
        let welcome =
            Welcome { cluster_uid: uid.to_owned(), epoch, plan, hub, release, ..Welcome::default() };
        self.say(Frame::Welcome(welcome)).await;
    }

    /// A whole state of these namespaces.
    pub(super) async fn whole(&self, uid: &str, at: Position, names: &[&str]) {
        self.whole_as(uid, at, names, of(names)).await;
    }

    /// The same, of which the hub says these digests.
    pub(super) async fn whole_as(&self, uid: &str, at: Position, names: &[&str], digests: Digests) {
        self.say(Frame::WholeBegin(WholeBegin {
            cluster_uid: uid.to_owned(),
            position: at,
            complete: Kinds::CORE,
            ..WholeBegin::default()
        }))
        .await;
        self.say(Frame::WholePart(names.iter().map(|name| add(name).into()).collect())).await;
        self.say(Frame::WholeEnd(WholeEnd { position: at, digests, holds: Vec::new() })).await;
    }

    pub(super) async fn batch(&self, uid: &str, at: Position, changes: Vec<Change>, digests: Digests) {
        self.say(Frame::Batch(Batch {
            cluster_uid: uid.to_owned(),
            position: Some(at),
            digests,
            entries: changes.into_iter().map(Into::into).collect(),
            holds: None,
        }))
        .await;
    }

    pub(super) async fn beat(&self, nonce: u64, state: State, age: u64, at: Position, digests: Digests) {
        let heartbeat = Heartbeat {
            nonce,
            state,
            age: Duration::from_secs(age),
            position: Some(at),
            digests,
            why: "because".to_owned(),
            ahead: 0,
        };
        let _ = self.to.send(Ok(heartbeat.into())).await;
    }
}

pub(super) fn namespace(name: &str) -> Object {
    Object::Namespace(Namespace { name: name.into(), labels: [].into() })
}

pub(super) fn add(name: &str) -> Change {
    Change::Upsert(namespace(name))
}

pub(super) fn remove(name: &str) -> Change {
    Change::Delete(Key { kind: Kind::Namespace, namespace: "".into(), name: name.into() })
}

pub(super) fn digests(objects: &[Object]) -> Digests {
    let table = Table::build(objects.iter().cloned(), Kinds::CORE, 1);
    Digests::of(Kinds::CORE, |kind| table.digest(kind))
}

pub(super) fn of(names: &[&str]) -> Digests {
    digests(&names.iter().map(|name| namespace(name)).collect::<Vec<_>>())
}

/// Wrong, whatever the state is.
pub(super) fn wrong() -> Digests {
    of(&["no-such-namespace"])
}

/// All kinds at this version.
pub(super) fn at(epoch: u64, version: u64) -> Position {
    Position { epoch, versions: [version, version, version, 0] }
}

pub(super) fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, n], 9953))
}

/// A follower with its store.
pub(super) struct World {
    pub(super) net: Arc<Net>,
    pub(super) doors: HashMap<SocketAddr, mpsc::Receiver<Stream>>,
    /// Where streams arrive that nobody takes.
    hanging: HashMap<SocketAddr, mpsc::Receiver<Stream>>,
    pub(super) store: Arc<Store>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) control: Control,
    pub(super) stop: CancellationToken,
}

impl World {
    /// With so many hubs, all of them up.
    pub(super) fn new(hubs: u8) -> Self {
        let (net, store, metrics) = (Arc::new(Net::default()), Store::new(), Arc::new(Metrics::new()));
        let (updates, queue) = mpsc::channel(UPDATE_QUEUE);
        let (commands, commanded) = command::channel();
        let stop = CancellationToken::new();
        let clock = Arc::new(WallClock::new(0));
        let wanted = Wanted::default();
        let mut writer = Writer::new(store.clone(), None, wanted, Limits::default(), clock, &metrics);
        writer.asks(commands);
        let control = writer.control();
        tokio::spawn(writer.run(queue, stop.clone()));
        let access = HubAccess {
            seeds: (1..=hubs).map(address).collect(),
            trust: TrustConfig::Plain,
            headless_only: false,
            name: "n1".to_owned(),
        };
        let source = HubSource::with_dial(&access, wanted, None, Jitter::from_seed(1), &metrics, net.clone());
        tokio::spawn(source.run(updates, commanded, stop.clone()));
        let mut world =
            Self { net, doors: HashMap::new(), hanging: HashMap::new(), store, metrics, control, stop };
        (1..=hubs).for_each(|hub| world.up(address(hub)));
        world
    }

    pub(super) fn up(&mut self, hub: SocketAddr) {
        let (door, streams) = mpsc::channel(1);
        self.net.up.lock().expect("a test").insert(hub, door);
        self.doors.insert(hub, streams);
    }

    /// Whoever dials this hub waits.
    pub(super) fn hangs(&mut self, hub: SocketAddr) {
        let (door, streams) = mpsc::channel(1);
        let (_, from) = mpsc::channel(1);
        let (to, _) = mpsc::channel(1);
        // There is no room for a second one.
        assert!(door.try_send(Stream { from, to }).is_ok());
        self.net.up.lock().expect("a test").insert(hub, door);
        self.doors.remove(&hub);
        self.hanging.insert(hub, streams);
    }

    /// Who dials this hub and waits is let in.
    pub(super) async fn lets_in(&mut self, hub: SocketAddr) -> Stream {
        let mut streams = self.hanging.remove(&hub).expect("it hangs");
        let _ = streams.recv().await;
        streams.recv().await.expect("who waits is there")
    }

    pub(super) fn down(&mut self, hub: SocketAddr) {
        self.net.up.lock().expect("a test").remove(&hub);
        self.doors.remove(&hub);
    }

    /// The next stream, and the hub that it is to.
    pub(super) async fn stream(&mut self) -> (SocketAddr, Stream) {
        let doors = self.doors.iter_mut().map(|(hub, door)| Box::pin(async { (*hub, door.recv().await) }));
        let (next, _, _) = futures_util::future::select_all(doors).await;
        (next.0, next.1.expect("the net is there"))
    }

    /// A follower that is in sync with one hub, cluster u, epoch 1, version 10, namespaces a and b.
    pub(super) async fn in_sync(&mut self) -> (SocketAddr, Stream) {
        let (hub, mut stream) = self.stream().await;
        assert_eq!(stream.subscription().await.position.versions, [0; 4]);
        stream.welcome("u", 1, Plan::Whole).await;
        stream.whole("u", at(1, 10), &["a", "b"]).await;
        let nonce = stream.ping().await;
        stream.beat(nonce, State::Live, 0, at(1, 10), of(&["a", "b"])).await;
        self.until("live", |world| world.store.current().verified).await;
        (hub, stream)
    }

    pub(super) async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        for _ in 0..100_000 {
            if done(self) {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("never: {what}; {:?}", self.names());
    }

    /// Lets everything happen that can without time.
    pub(super) async fn settle(&self) {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            self.store.current().table.objects().map(|object| object.parts().1.to_owned()).collect();
        names.sort();
        names
    }

    pub(super) fn metric(&self, series: &str) -> f64 {
        let text = self.metrics.render();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
        value.unwrap_or_default()
    }

    pub(super) fn state(&self) -> DataState {
        let facts = self.store.facts(&self.store.current());
        DataState::judge(facts, Kinds::CORE, Limits::default())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
