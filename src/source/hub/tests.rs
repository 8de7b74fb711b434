//! Hubs that say what the test tells them to, and a store that is the real one.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::mpsc;

use super::session::COMPARE_EVERY;
use super::transport::{Link, NotDialled};
use super::*;
use crate::feed::digests::Digests;
use crate::feed::entry::Entry;
use crate::feed::frame::{
    Batch, Frame, Heartbeat, Packet, Plan, Request, State, Subscription, Welcome, WholeBegin, WholeEnd,
};
use crate::feed::position::Position;
use crate::feed::wire;
use crate::source::command;
use crate::store::Store;
use crate::store::control::Control;
use crate::store::state::{DataState, Limits};
use crate::store::status::outcome::Outcome;
use crate::store::writer::Writer;
use crate::trust::config::TrustConfig;
use crate::zone::Table;
use crate::zone::change::Change;
use crate::zone::hold::{Held, Hold};
use crate::zone::object::{Key, Kind, Kinds, Namespace, Object};

type Replies = Sender<Result<wire::FollowReply, Left>>;

/// The network: one script a hub.
#[derive(Default)]
struct Net {
    /// Where streams arrive, by hub; one that is not there is down.
    up: Mutex<HashMap<SocketAddr, Sender<Stream>>>,
    /// Who was dialled.
    dialled: Mutex<Vec<SocketAddr>>,
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
struct Stream {
    from: mpsc::Receiver<wire::FollowRequest>,
    to: Replies,
}

impl Stream {
    /// The next subscription; pings ahead of it are not answered.
    async fn subscription(&mut self) -> Subscription {
        loop {
            match Request::from(self.from.recv().await.expect("the follower is there")) {
                Request::Subscribe(subscription) => return *subscription,
                _ => continue,
            }
        }
    }

    /// The next subscription; pings ahead of it are answered as a hub does that is well and there.
    async fn asked_from(&mut self, there: Position) -> Subscription {
        self.asked_with(there, Digests::NONE).await
    }

    /// The same of a hub with these digests.
    async fn asked_with(&mut self, there: Position, digests: Digests) -> Subscription {
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
    async fn until_left(&mut self, there: Position) {
        while let Some(request) = self.from.recv().await {
            match Request::from(request) {
                Request::Ping { nonce } => self.beat(nonce, State::Live, 0, there, Digests::NONE).await,
                other => panic!("{other:?} is asked"),
            }
        }
    }

    /// The nonce of the next ping.
    async fn ping(&mut self) -> u64 {
        match Request::from(self.from.recv().await.expect("the follower is there")) {
            Request::Ping { nonce } => nonce,
            other => panic!("{other:?} is no ping"),
        }
    }

    async fn say(&self, frame: Frame) {
        // The follower may have left.
        let _ = self.to.send(Ok(Packet::from(&frame).into())).await;
    }

    async fn welcome(&self, uid: &str, epoch: u64, plan: Plan) {
        let (hub, release) = ("hub-1".to_owned(), "0.9.0".to_owned());
        let welcome =
            Welcome { cluster_uid: uid.to_owned(), epoch, plan, hub, release, ..Welcome::default() };
        self.say(Frame::Welcome(welcome)).await;
    }

    /// A whole state of these namespaces.
    async fn whole(&self, uid: &str, at: Position, names: &[&str]) {
        self.whole_as(uid, at, names, of(names)).await;
    }

    /// The same, of which the hub says these digests.
    async fn whole_as(&self, uid: &str, at: Position, names: &[&str], digests: Digests) {
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

    async fn batch(&self, uid: &str, at: Position, changes: Vec<Change>, digests: Digests) {
        self.say(Frame::Batch(Batch {
            cluster_uid: uid.to_owned(),
            position: Some(at),
            digests,
            entries: changes.into_iter().map(Into::into).collect(),
            holds: None,
        }))
        .await;
    }

    async fn beat(&self, nonce: u64, state: State, age: u64, at: Position, digests: Digests) {
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

fn namespace(name: &str) -> Object {
    Object::Namespace(Namespace { name: name.into(), labels: [].into() })
}

fn add(name: &str) -> Change {
    Change::Upsert(namespace(name))
}

fn remove(name: &str) -> Change {
    Change::Delete(Key { kind: Kind::Namespace, namespace: "".into(), name: name.into() })
}

fn digests(objects: &[Object]) -> Digests {
    let table = Table::build(objects.iter().cloned(), Kinds::CORE, 1);
    Digests::of(Kinds::CORE, |kind| table.digest(kind))
}

fn of(names: &[&str]) -> Digests {
    digests(&names.iter().map(|name| namespace(name)).collect::<Vec<_>>())
}

/// Wrong, whatever the state is.
fn wrong() -> Digests {
    of(&["no-such-namespace"])
}

/// All kinds at this version.
fn at(epoch: u64, version: u64) -> Position {
    Position { epoch, versions: [version, version, version, 0] }
}

fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, n], 9953))
}

/// A follower with its store.
struct World {
    net: Arc<Net>,
    doors: HashMap<SocketAddr, mpsc::Receiver<Stream>>,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    control: Control,
    stop: CancellationToken,
}

impl World {
    /// With so many hubs, all of them up.
    fn new(hubs: u8) -> Self {
        let (net, store, metrics) = (Arc::new(Net::default()), Store::new(), Arc::new(Metrics::new()));
        let (updates, queue) = mpsc::channel(super::super::UPDATE_QUEUE);
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
        let mut world = Self { net, doors: HashMap::new(), store, metrics, control, stop };
        (1..=hubs).for_each(|hub| world.up(address(hub)));
        world
    }

    fn up(&mut self, hub: SocketAddr) {
        let (door, streams) = mpsc::channel(1);
        self.net.up.lock().expect("a test").insert(hub, door);
        self.doors.insert(hub, streams);
    }

    fn down(&mut self, hub: SocketAddr) {
        self.net.up.lock().expect("a test").remove(&hub);
        self.doors.remove(&hub);
    }

    /// The next stream, and the hub that it is to.
    async fn stream(&mut self) -> (SocketAddr, Stream) {
        let doors = self.doors.iter_mut().map(|(hub, door)| Box::pin(async { (*hub, door.recv().await) }));
        let (next, _, _) = futures_util::future::select_all(doors).await;
        (next.0, next.1.expect("the net is there"))
    }

    /// A follower that is in sync with one hub, cluster u, epoch 1, version 10, namespaces a and b.
    async fn in_sync(&mut self) -> (SocketAddr, Stream) {
        let (hub, mut stream) = self.stream().await;
        assert_eq!(stream.subscription().await.position.versions, [0; 4]);
        stream.welcome("u", 1, Plan::Whole).await;
        stream.whole("u", at(1, 10), &["a", "b"]).await;
        let nonce = stream.ping().await;
        stream.beat(nonce, State::Live, 0, at(1, 10), of(&["a", "b"])).await;
        self.until("live", |world| world.store.current().verified).await;
        (hub, stream)
    }

    async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        for _ in 0..100_000 {
            if done(self) {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("never: {what}; {:?}", self.names());
    }

    /// Lets everything happen that can without time.
    async fn settle(&self) {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            self.store.current().table.objects().map(|object| object.parts().1.to_owned()).collect();
        names.sort();
        names
    }

    fn metric(&self, series: &str) -> f64 {
        let text = self.metrics.render();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
        value.unwrap_or_default()
    }

    fn state(&self) -> DataState {
        let facts = self.store.facts(&self.store.current());
        DataState::judge(facts, Kinds::CORE, Limits::default())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test(start_paused = true)]
async fn from_nothing_to_live_and_on() {
    let mut world = World::new(1);
    let (hub, stream) = world.in_sync().await;
    assert_eq!(world.names(), ["a", "b"]);
    assert_eq!(world.store.current().reached.position, at(1, 10));
    assert!(world.metrics.render().contains(&format!("outlast_hub_connected{{hub=\"{hub}\"}} 1")));
    let connected = world.control.status().await.connected.expect("it says who is followed");
    let said = (connected.address, connected.name, connected.release, connected.unwell);
    assert_eq!(said, (hub.to_string(), "hub-1".to_owned(), "0.9.0".to_owned(), None));
    stream.batch("u", at(1, 12), vec![add("c"), remove("a")], of(&["b", "c"])).await;
    world.until("the change", |world| world.names() == ["b", "c"]).await;
    assert_eq!(world.metric("outlast_hub_digest_mismatches_total"), 0.0);
    // A change in two batches is one.
    let entries = vec![add("d").into()];
    let half = Batch { cluster_uid: "u".to_owned(), entries, ..Batch::default() };
    stream.say(Frame::Batch(half)).await;
    world.settle().await;
    assert_eq!(world.names(), ["b", "c"]);
    stream.batch("u", at(1, 13), vec![add("e")], of(&["b", "c", "d", "e"])).await;
    world.until("both halves", |world| world.names() == ["b", "c", "d", "e"]).await;
}

#[tokio::test(start_paused = true)]
async fn freshness_is_that_of_the_ping_less_the_age() {
    let mut world = World::new(1);
    let (_, mut stream) = world.in_sync().await;
    let nonce = stream.ping().await;
    let sent = Instant::now();
    tokio::time::advance(Duration::from_secs(3)).await;
    stream.beat(nonce, State::Stale, 2, at(1, 10), of(&["a", "b"])).await;
    world.settle().await;
    assert_eq!(world.store.age().as_secs(), (Instant::now() - sent).as_secs() + 2);
    // Neither a hub that has nothing nor one that is frozen proves anything.
    for state in [State::Empty, State::Frozen] {
        let before = world.store.age();
        let nonce = stream.ping().await;
        let waited = world.store.age() - before;
        stream.beat(nonce, state, 0, at(1, 10), of(&["a", "b"])).await;
        world.settle().await;
        assert!(waited.as_secs() > 4 && world.store.age() >= before + waited, "{state:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_resumption_asks_for_what_is_missing_only_and_at_any_hub() {
    let mut world = World::new(2);
    let (hub, stream) = world.in_sync().await;
    drop(stream);
    let (other, mut stream) = world.stream().await;
    assert_ne!(other, hub, "the one that failed stands behind");
    let subscription = stream.subscription().await;
    assert_eq!((subscription.position, subscription.cluster_uid.as_str()), (at(1, 10), "u"));
    assert_eq!(subscription.digests, of(&["a", "b"]));
    assert!(!subscription.whole);
    stream.welcome("u", 1, Plan::Changes).await;
    stream.batch("u", at(1, 11), vec![add("c")], of(&["a", "b", "c"])).await;
    world.until("the change", |world| world.names() == ["a", "b", "c"]).await;
    assert_eq!(world.metric("outlast_hub_received_whole_states_total"), 1.0);
    assert_eq!(world.metric("outlast_hub_left_total{reason=\"closed\"}"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_digest_leads_to_one_whole_state_and_then_to_an_alarm() {
    let mut world = World::new(1);
    let (_, mut stream) = world.in_sync().await;
    let nonce = stream.ping().await;
    stream.beat(nonce, State::Live, 0, at(1, 10), wrong()).await;
    let subscription = stream.subscription().await;
    assert!(subscription.whole && subscription.why.contains("digests of Namespace"), "{}", subscription.why);
    stream.welcome("u", 1, Plan::Whole).await;
    // The whole state does not have the digest that the hub says it has either.
    stream.whole_as("u", at(1, 10), &["z"], wrong()).await;
    world.until("an alarm", |world| world.metric("outlast_hub_digest_alarm") == 1.0).await;
    world.settle().await;
    assert_eq!(
        world.names(),
        ["a", "b"],
        "what is not what it says does not take the place of what there was"
    );
    assert_eq!(world.metric("outlast_hub_digest_alarm"), 1.0);
    assert_eq!(world.metric("outlast_hub_digest_mismatches_total"), 2.0);
    let mismatch = world.control.status().await.mismatch.expect("it says so");
    assert!(mismatch.contains("Namespace"), "{mismatch}");
    // It is followed, not vouched for, and not asked again within the minute.
    let proved = Instant::now() - world.store.age();
    let mut pings = 0;
    let began = Instant::now();
    loop {
        match Request::from(stream.from.recv().await.expect("the follower is there")) {
            Request::Ping { nonce } => {
                pings += 1;
                stream.beat(nonce, State::Live, 0, at(1, 10), wrong()).await;
            }
            Request::Subscribe(subscription) => {
                assert!(subscription.whole);
                break;
            }
            Request::Unknown => panic!("it asks nothing unknown"),
        }
    }
    let asked_again = Instant::now() - began;
    assert!((55..90).contains(&asked_again.as_secs()) && pings >= 5, "{asked_again:?} {pings}");
    assert!(Instant::now() - world.store.age() <= proved + Duration::from_millis(5), "nothing was proved");
    assert!(matches!(world.state(), DataState::Stale { .. }), "{:?}", world.state());
    // And this time it helps.
    stream.welcome("u", 1, Plan::Whole).await;
    stream.whole("u", at(1, 11), &["a"]).await;
    world.until("healed", |world| world.metric("outlast_hub_digest_alarm") == 0.0).await;
    let nonce = stream.ping().await;
    stream.beat(nonce, State::Live, 0, at(1, 11), of(&["a"])).await;
    world.until("live", |world| matches!(world.state(), DataState::Live)).await;
    assert_eq!(world.control.status().await.mismatch, None);
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_is_frozen_is_not_left() {
    let mut world = World::new(2);
    let (hub, mut stream) = world.in_sync().await;
    for _ in 0..20 {
        let nonce = stream.ping().await;
        stream.beat(nonce, State::Frozen, 100, at(1, 10), of(&["a", "b"])).await;
    }
    world.settle().await;
    assert_eq!(*world.net.dialled.lock().expect("a test"), [hub], "minutes later, although there is another");
    assert_eq!(world.names(), ["a", "b"]);
    assert!(matches!(world.state(), DataState::Stale { age } if age.as_secs() > 100), "{:?}", world.state());
    let connected = world.control.status().await.connected.expect("it is followed");
    assert_eq!(connected.unwell.as_deref(), Some("because"));
    let nonce = stream.ping().await;
    stream.batch("u", at(1, 11), vec![remove("b")], of(&["a"])).await;
    stream.beat(nonce, State::Live, 0, at(1, 11), of(&["a"])).await;
    world.until("thawed", |world| matches!(world.state(), DataState::Live) && world.names() == ["a"]).await;
    assert_eq!(world.control.status().await.connected.expect("it is followed").unwell, None);
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_hangs_is_left_after_five_seconds() {
    let mut world = World::new(2);
    let (hub, mut stream) = world.in_sync().await;
    let _ = stream.ping().await;
    let began = Instant::now();
    let (other, _) = world.stream().await;
    let after = (Instant::now() - began).as_secs_f64();
    assert!(other != hub && (4.9..6.0).contains(&after), "{after}");
    assert_eq!(world.metric("outlast_hub_left_total{reason=\"silent\"}"), 1.0);
    assert_eq!(world.names(), ["a", "b"], "what is held is served");
}

#[tokio::test(start_paused = true)]
async fn garbage_is_left_and_counted() {
    let bytes = |bytes: &'static [u8]| wire::FollowReply {
        reply: Some(wire::follow_reply::Reply::Frame(bytes.into())),
    };
    let part = Packet::from(&Frame::WholePart(Vec::new())).into();
    let batch = Packet::from(&Frame::Batch(Batch::default())).into();
    for (name, reply) in
        [("no message", bytes(b"\xff\xff\xff")), ("a part of nothing", part), ("no welcome", batch)]
    {
        let mut world = World::new(1);
        let (_, mut stream) = world.stream().await;
        let _ = stream.subscription().await;
        stream.to.send(Ok(reply)).await.expect("the follower is there");
        let _ = world.stream().await;
        assert_eq!(world.metric("outlast_hub_left_total{reason=\"garbage\"}"), 1.0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn tries_of_a_hub_that_is_down_become_rare() {
    let world = World::new(0);
    let access = HubAccess {
        seeds: vec![address(1)],
        trust: TrustConfig::Plain,
        headless_only: false,
        name: "n1".to_owned(),
    };
    let (updates, mut queue) = mpsc::channel(4);
    let (_commands, commanded) = command::channel();
    let source = HubSource::with_dial(
        &access,
        Wanted::default(),
        None,
        Jitter::from_seed(1),
        &world.metrics,
        world.net.clone(),
    );
    tokio::spawn(source.run(updates, commanded, world.stop.clone()));
    tokio::time::sleep(Duration::from_secs(600)).await;
    let dialled = world.net.dialled.lock().expect("a test").len();
    assert!((20..=100).contains(&dialled), "{dialled}");
    assert!(matches!(queue.try_recv(), Ok(Update::Lost { why }) if why.contains("nobody is there")));
    assert!(queue.try_recv().is_err(), "said once");
}

#[tokio::test(start_paused = true)]
async fn another_cluster_is_refused_until_it_is_accepted() {
    let mut world = World::new(1);
    let (_, stream) = world.in_sync().await;
    drop(stream);
    let (_, mut stream) = world.stream().await;
    let _ = stream.subscription().await;
    stream.welcome("other", 0, Plan::Whole).await;
    stream.whole("other", at(0, 5), &["x"]).await;
    world.settle().await;
    assert_eq!(world.names(), ["a", "b"]);
    world.until("left", |world| world.metric("outlast_hub_left_total{reason=\"foreign\"}") == 1.0).await;
    let status = world.control.status().await;
    assert_eq!((status.refused_cluster.as_deref(), status.connected), (Some("other"), None));
    let accepted = world.control.accept().await.outcome;
    assert_eq!(accepted, Outcome::ClusterAccepted { uid: "other".to_owned() });
    let (_, mut stream) = world.stream().await;
    let _ = stream.subscription().await;
    stream.welcome("other", 0, Plan::Whole).await;
    stream.whole("other", at(0, 5), &["x"]).await;
    world.until("the other cluster", |world| world.names() == ["x"]).await;
    assert_eq!(world.store.current().reached.cluster_uid, "other");
    // Lower than before, in another cluster.
    world.until("its position", |world| world.store.current().reached.position == at(0, 5)).await;
    assert_eq!(world.control.status().await.refused_cluster, None);
}

#[tokio::test(start_paused = true)]
async fn another_cluster_is_accepted_also_while_one_is_connected() {
    let mut world = World::new(2);
    let (_, stream) = world.in_sync().await;
    drop(stream);
    let (_, mut stream) = world.stream().await;
    let _ = stream.subscription().await;
    stream.welcome("other", 0, Plan::Whole).await;
    world.until("left", |world| world.metric("outlast_hub_left_total{reason=\"foreign\"}") == 1.0).await;
    // The other hub says nothing: the order comes in the middle of its session.
    let (_, mut stream) = world.stream().await;
    let _ = stream.subscription().await;
    let accepted = world.control.accept().await.outcome;
    assert_eq!(accepted, Outcome::ClusterAccepted { uid: "other".to_owned() });
    world.settle().await;
    stream.welcome("other", 0, Plan::Whole).await;
    stream.whole("other", at(0, 5), &["x"]).await;
    world.until("the other cluster", |world| world.names() == ["x"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_later_epoch_is_followed_and_an_earlier_one_is_not() {
    let mut world = World::new(1);
    let (_, stream) = world.in_sync().await;
    stream.batch("u", at(2, 4), vec![remove("b")], of(&["a"])).await;
    world.until("the restored state", |world| world.names() == ["a"]).await;
    assert_eq!(world.store.current().reached.position, at(2, 4));
    drop(stream);
    let (_, mut stream) = world.stream().await;
    assert_eq!(stream.subscription().await.position, at(2, 4));
    stream.welcome("u", 1, Plan::Whole).await;
    stream.whole("u", at(1, 20), &["a", "b"]).await;
    world.until("left", |world| world.metric("outlast_hub_left_total{reason=\"behind\"}") == 1.0).await;
    assert_eq!(world.names(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_is_behind_takes_nobody_back() {
    let mut world = World::new(2);
    let (first, stream) = world.in_sync().await;
    drop(stream);
    let (second, mut stream) = world.stream().await;
    let _ = stream.subscription().await;
    // Its log does not reach back, and its state is older.
    stream.welcome("u", 1, Plan::Whole).await;
    stream.whole("u", at(1, 8), &["old"]).await;
    let nonce = stream.ping().await;
    let behind = Instant::now();
    stream.beat(nonce, State::Live, 0, at(1, 8), Digests::NONE).await;
    world.settle().await;
    assert_eq!(world.names(), ["a", "b"]);
    // It stays behind, and there is another.
    stream.until_left(at(1, 9)).await;
    let left = Instant::now();
    assert!((24..=36).contains(&(left - behind).as_secs()), "{:?}", left - behind);
    let (next, _) = world.stream().await;
    assert!(next == first && next != second);
}

/// One hub tells what does not lead to what it says it has, whole state or not: the other one is asked.
#[tokio::test(start_paused = true)]
async fn a_hub_that_is_wrong_is_left_for_another_which_is_asked_for_everything() {
    let mut world = World::new(2);
    let (wrong_hub, mut stream) = world.in_sync().await;
    let began = Instant::now();
    for (version, name) in [(11, "c"), (12, "d")] {
        tokio::time::advance(COMPARE_EVERY).await;
        stream.batch("u", at(1, version), vec![add(name)], wrong()).await;
        if version == 11 {
            // A whole state mends it, until the next change.
            assert!(stream.subscription().await.whole);
            stream.welcome("u", 1, Plan::Whole).await;
            stream.whole("u", at(1, version), &["a", "b"]).await;
            world.until("mended", |world| world.names() == ["a", "b"]).await;
            world.settle().await;
        }
    }
    world.until("alarm", |world| world.metric("outlast_hub_digest_alarm") == 1.0).await;
    let (other, mut stream) = world.stream().await;
    assert!(other != wrong_hub && (Instant::now() - began).as_secs() <= 13, "{:?}", began.elapsed());
    assert_eq!(world.metric("outlast_hub_left_total{reason=\"wrong\"}"), 1.0);
    assert!(stream.subscription().await.whole, "what is held is known to be wrong");
    stream.welcome("u", 1, Plan::Whole).await;
    stream.whole("u", at(1, 12), &["a", "b", "c", "d"]).await;
    world.until("no alarm", |world| world.metric("outlast_hub_digest_alarm") == 0.0).await;
    assert_eq!(world.names(), ["a", "b", "c", "d"]);
}

/// Hubs share whole states, and one may come from another hub a moment later than we have: nobody is taken back by it, and
/// nobody goes for that alone.
#[tokio::test(start_paused = true)]
async fn what_is_to_mend_a_state_and_is_behind_it_is_asked_for_again_once_the_hub_is_there() {
    for (name, there, wholes, left) in [
        ("it comes as far", 12, 2, 0.0),
        ("it never does", 10, 1, 1.0),
        ("it says that it has, and its whole state has not", 12, 4, 1.0),
    ] {
        let mut world = World::new(2);
        let (hub, mut stream) = world.in_sync().await;
        tokio::time::advance(COMPARE_EVERY).await;
        stream.batch("u", at(1, 11), vec![add("c")], wrong()).await;
        assert!(stream.asked_from(at(1, 10)).await.whole, "{name}");
        let began = Instant::now();
        for whole in 1..=wholes {
            if whole > 1 {
                let subscription = stream.asked_from(at(1, there)).await;
                assert!(subscription.whole && subscription.why.contains("behind"), "{}", subscription.why);
            }
            stream.welcome("u", 1, Plan::Whole).await;
            let is_there = left == 0.0 && whole == wholes;
            let (version, names) = if is_there { (there, &["a", "d"][..]) } else { (10, &["old"][..]) };
            stream.whole("u", at(1, version), names).await;
        }
        if left == 0.0 {
            assert_eq!(began.elapsed().as_secs(), 1, "{name}");
            world.until("what the hub has", |world| world.names() == ["a", "d"]).await;
            let nonce = stream.ping().await;
            stream.beat(nonce, State::Live, 0, at(1, 12), of(&["a", "d"])).await;
            world.until("proof", |world| world.store.age() <= Duration::from_secs(2)).await;
        } else {
            stream.until_left(at(1, there)).await;
            // As patiently as any hub that is behind; or after 1, 2 and 4 s.
            let most = if wholes == 1 { 24..=36 } else { 7..=8 };
            assert!(most.contains(&began.elapsed().as_secs()), "{name}: {:?}", began.elapsed());
            let (other, _) = world.stream().await;
            assert_ne!(other, hub, "{name}");
            assert_eq!(world.names(), ["a", "b", "c"], "{name}");
        }
        assert_eq!(world.metric("outlast_hub_left_total{reason=\"behind\"}"), left, "{name}");
        assert_eq!(world.metric("outlast_hub_digest_alarm"), 0.0, "{name}");
    }
}

/// One hub is alarmed about, and again, while the other one is down: it is followed for what it tells, and not for longer than the
/// other one is down.
#[tokio::test(start_paused = true)]
async fn a_hub_that_is_wrong_is_left_for_nobody_and_soon_for_one_that_was_down() {
    for alarms in [1, 2] {
        let mut world = World::new(2);
        let (wrong_hub, mut stream) = world.in_sync().await;
        let other = if wrong_hub == address(1) { address(2) } else { address(1) };
        world.down(other);
        tokio::time::advance(COMPARE_EVERY).await;
        stream.batch("u", at(1, 11), vec![add("c")], wrong()).await;
        for alarm in 1..=alarms {
            // A whole state mends it, until the next change.
            let version = 11 + alarm;
            assert!(stream.asked_with(at(1, version), wrong()).await.whole, "{alarm}");
            stream.welcome("u", 1, Plan::Whole).await;
            stream.whole("u", at(1, version), &["a", "b"]).await;
            world.until("mended", |world| world.names() == ["a", "b"]).await;
            world.settle().await;
            tokio::time::advance(COMPARE_EVERY).await;
            stream.batch("u", at(1, version + 1), vec![add("d")], wrong()).await;
            world.until("alarm", |world| world.metric("outlast_hub_digest_alarm") == 1.0).await;
        }
        let alarmed = Instant::now();
        while alarmed.elapsed() < Duration::from_secs(20) {
            let nonce = stream.ping().await;
            stream.beat(nonce, State::Live, 0, at(1, 20), wrong()).await;
        }
        stream.batch("u", at(1, 21), vec![add("e")], wrong()).await;
        world.until("what happens", |world| world.names() == ["a", "b", "d", "e"]).await;
        world.up(other);
        let back = Instant::now();
        stream.until_left(at(1, 21)).await;
        let (next, mut stream) = world.stream().await;
        assert_eq!(next, other);
        assert!(back.elapsed().as_secs() <= 36, "as often as any hub is dialled: {:?}", back.elapsed());
        assert_eq!(world.metric("outlast_hub_left_total{reason=\"wrong\"}"), 1.0);
        assert!(stream.subscription().await.whole, "nobody was alarmed about this one");
        // It is no help, and the one that is wrong is not asked for a whole state again and again for that.
        stream.say(Frame::Refused { why: "not now".to_owned() }).await;
        let (next, mut stream) = world.stream().await;
        assert_eq!(next, wrong_hub);
        assert_eq!(stream.subscription().await.whole, alarms == 1);
        if alarms > 1 {
            stream.welcome("u", 1, Plan::Changes).await;
            stream.batch("u", at(1, 22), vec![add("f")], wrong()).await;
            world.until("what happens", |world| world.names().contains(&"f".to_owned())).await;
        }
    }
}

/// Its digests are of another state than ours: what another hub has said of ours counts, until that changes.
#[tokio::test(start_paused = true)]
async fn a_hub_that_is_behind_vouches_for_what_another_one_has_confirmed() {
    for (name, changes, vouches) in
        [("nothing has changed since", false, true), ("a change, and no word of it", true, false)]
    {
        let mut world = World::new(2);
        let (_, stream) = world.in_sync().await;
        if changes {
            // So soon after the comparison before, it is not compared.
            stream.batch("u", at(1, 11), vec![add("c")], wrong()).await;
            world.until("changed", |world| world.names() == ["a", "b", "c"]).await;
        }
        drop(stream);
        tokio::time::advance(Duration::from_secs(10)).await;
        let (_, mut stream) = world.stream().await;
        let _ = stream.subscription().await;
        stream.welcome("u", 1, Plan::Whole).await;
        stream.whole("u", at(1, 8), &["old"]).await;
        // Behind, and then where we are.
        let ours: &[&str] = if changes { &["a", "b", "c"] } else { &["a", "b"] };
        for (version, names, vouches) in [(9, &["old"][..], vouches), (11, ours, true)] {
            let nonce = stream.ping().await;
            tokio::time::advance(Duration::from_secs(1)).await;
            stream.beat(nonce, State::Live, 0, at(1, version), of(names)).await;
            world.settle().await;
            assert_eq!(world.store.age().as_secs() == 1, vouches, "{name}, version {version}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_restore_has_undone_is_asked_for_and_is_no_alarm() {
    let mut world = World::new(2);
    let (_, stream) = world.in_sync().await;
    drop(stream);
    // A hub that has not had b, and goes on to a state that was restored from before it.
    let (_, mut stream) = world.stream().await;
    let _ = stream.subscription().await;
    stream.welcome("u", 1, Plan::Whole).await;
    stream.whole("u", at(1, 9), &["a"]).await;
    world.settle().await;
    assert_eq!(world.names(), ["a", "b"], "it is behind");
    stream.batch("u", at(1, 10_000), vec![add("c")], of(&["a", "c"])).await;
    assert!(stream.subscription().await.whole, "b is not what the hub has");
    stream.welcome("u", 1, Plan::Whole).await;
    stream.whole("u", at(1, 10_000), &["a", "c"]).await;
    world.until("what was restored", |world| world.names() == ["a", "c"]).await;
    assert_eq!(world.metric("outlast_hub_digest_mismatches_total"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_is_behind_and_holds_nothing_ends_no_hold() {
    let mut world = World::new(2);
    let (_, stream) = world.in_sync().await;
    let hold = Hold { id: 7, why: "a list".into(), objects: 1, held_ms: 0, remaining_ms: 5_000 };
    let held = Held { served: namespace("b"), hold: 7 };
    let entry = Entry { held: Some(held), ..Entry::from(remove("b")) };
    let batch = Batch {
        cluster_uid: "u".to_owned(),
        position: Some(at(1, 12)),
        digests: of(&["a"]),
        entries: vec![entry],
        holds: Some(vec![hold]),
    };
    stream.say(Frame::Batch(batch)).await;
    world.until("it is held", |world| world.store.current().held.len() == 1).await;
    drop(stream);
    let (_, mut stream) = world.stream().await;
    let _ = stream.subscription().await;
    stream.welcome("u", 1, Plan::Whole).await;
    stream.whole("u", at(1, 9), &["a", "b"]).await;
    world.settle().await;
    assert_eq!(world.names(), ["a", "b"], "it has yet to see that b is gone");
    // It has no guard, and says so once it is there.
    stream.batch("u", at(1, 12), vec![remove("b")], of(&["a"])).await;
    world.until("believed", |world| world.names() == ["a"]).await;
    world.until("no hold", |world| world.store.current().holds.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_stale_hub_is_left_for_another_and_ever_more_patiently() {
    let mut world = World::new(2);
    let mut lasted = Vec::new();
    let (_, mut stream) = world.in_sync().await;
    for _ in 0..4 {
        let mut stale_since = None;
        while let Some(request) = stream.from.recv().await {
            match Request::from(request) {
                Request::Ping { nonce } => {
                    stale_since.get_or_insert_with(Instant::now);
                    stream.beat(nonce, State::Stale, 100, at(1, 10), of(&["a", "b"])).await;
                }
                Request::Subscribe(_) => stream.welcome("u", 1, Plan::Changes).await,
                Request::Unknown => panic!("it asks nothing unknown"),
            }
        }
        lasted.push((Instant::now() - stale_since.expect("pings came")).as_secs());
        (_, stream) = world.stream().await;
    }
    assert!(
        lasted.windows(2).all(|pair| pair[1] * 3 >= pair[0] * 4 - 1) && (24..=36).contains(&lasted[0]),
        "{lasted:?}"
    );
}

/// At another hub it would stand at the end of the queue, and all of them would go round for ever.
#[tokio::test(start_paused = true)]
async fn who_waits_for_a_whole_state_stays_at_a_stale_hub_and_leaves_an_empty_one() {
    for (state, stays) in [(State::Stale, true), (State::Empty, false)] {
        let mut world = World::new(2);
        let (_, mut stream) = world.stream().await;
        let _ = stream.subscription().await;
        stream.welcome("u", 1, Plan::Whole).await;
        let began = Instant::now();
        let answers = async {
            while let Some(request) = stream.from.recv().await {
                let Request::Ping { nonce } = Request::from(request) else { continue };
                let queued = Heartbeat { nonce, state, ahead: 9, ..Heartbeat::default() };
                let _ = stream.to.send(Ok(queued.into())).await;
            }
        };
        let left = tokio::time::timeout(Duration::from_secs(300), answers).await;
        assert_eq!(left.is_err(), stays, "{state:?}");
        assert!(stays || (24..=36).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn hubs_that_stop_are_left_at_a_random_moment_and_the_list_is_learned() {
    let mut world = World::new(1);
    let (first, stream) = world.in_sync().await;
    world.up(address(7));
    stream.say(Frame::Hubs(vec![first, address(7)])).await;
    stream.say(Frame::Move { within: Duration::from_secs(5) }).await;
    let began = Instant::now();
    let (next, mut moved) = world.stream().await;
    assert_eq!(next, address(7));
    assert!((Instant::now() - began).as_secs() <= 5);
    assert_eq!(moved.subscription().await.position, at(1, 10));
    assert!(matches!(world.state(), DataState::Live));
    // One that asks to be left alone is, and the other is not.
    moved.say(Frame::RetryAfter { after: Duration::from_secs(20), why: "full".to_owned() }).await;
    let began = Instant::now();
    let (next, stream) = world.stream().await;
    assert_eq!(next, first);
    assert!((Instant::now() - began).as_secs() < 2);
    drop(stream);
}

/// After all hubs were restarted in turn, everybody would be at one of them.
#[tokio::test(start_paused = true)]
async fn who_is_not_at_its_first_choice_goes_back_there_some_time_later() {
    let mut world = World::new(2);
    let (first, stream) = world.in_sync().await;
    drop(stream);
    let (second, mut stream) = world.stream().await;
    assert_ne!(second, first);
    let began = Instant::now();
    // It is well, and so is its follower.
    while let Some(request) = stream.from.recv().await {
        match Request::from(request) {
            Request::Ping { nonce } => {
                stream.beat(nonce, State::Live, 0, at(1, 10), of(&["a", "b"])).await;
            }
            _ => stream.welcome("u", 1, Plan::Changes).await,
        }
    }
    let (hub, mut stream) = world.stream().await;
    assert_eq!(hub, first);
    assert!((300..=920).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert_eq!(stream.subscription().await.position, at(1, 10), "it goes on from where it is");
    stream.welcome("u", 1, Plan::Changes).await;
    assert!(matches!(world.state(), DataState::Live), "{:?}", world.state());
    assert_eq!(world.metric("outlast_hub_left_total{reason=\"home\"}"), 1.0);
    // There it stays.
    let stays = async {
        while let Some(Request::Ping { nonce }) = stream.from.recv().await.map(Request::from) {
            stream.beat(nonce, State::Live, 0, at(1, 10), of(&["a", "b"])).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(3600), stays).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn silence_at_the_start_is_not_waited_out() {
    let mut world = World::new(2);
    let (first, _stream) = world.stream().await;
    let began = Instant::now();
    let (second, _) = world.stream().await;
    assert!(first != second && (Instant::now() - began).as_secs() <= 10);
}

/// Hubs are exchanged for others with another encoding while a node's state is in doubt.
#[tokio::test(start_paused = true)]
async fn a_hub_without_digests_has_its_whole_state_trusted_where_another_one_left_doubts() {
    let mut world = World::new(1);
    let (_, mut stream) = world.in_sync().await;
    tokio::time::advance(COMPARE_EVERY).await;
    stream.batch("u", at(1, 11), vec![add("c")], wrong()).await;
    assert!(stream.subscription().await.whole);
    // Before it comes, the hub goes.
    drop(stream);
    let (_, mut stream) = world.stream().await;
    assert!(stream.subscription().await.whole);
    stream.welcome("u", 1, Plan::Whole).await;
    stream.whole_as("u", at(1, 12), &["a", "d"], Digests::NONE).await;
    world.until("what the other hub has", |world| world.names() == ["a", "d"]).await;
    let nonce = stream.ping().await;
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(world.store.age() >= Duration::from_secs(3), "{:?}", world.store.age());
    stream.beat(nonce, State::Live, 0, at(1, 12), Digests::NONE).await;
    world.until("proof", |world| world.store.age() <= Duration::from_secs(2)).await;
}
