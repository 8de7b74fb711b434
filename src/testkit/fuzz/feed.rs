//! What hubs and their followers say to each other.
//!
//! The first byte says what it is: a reply, a request, a greeting, or replies with their lengths ahead of them, which a
//! follower hears that is in sync.
//!
//! * What is read can be said, and read again as the same; a frame is no larger than one may be.
//! * A follower serves nothing of a state that did not come to its end, and nothing goes away without a word.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};
use prost::Message;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::feed::entry::Entry;
use crate::feed::frame::{Batch, Frame, Packet, Plan, Reply, Request};
use crate::feed::greeting::Greeting;
use crate::feed::position::Position;
use crate::feed::wire::{self, FollowReply, FollowRequest};
use crate::ops::clock::WallClock;
use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;
use crate::source::hub::HubSource;
use crate::source::hub::access::HubAccess;
use crate::source::hub::transport::{Dial, Link, NotDialled};
use crate::source::{UPDATE_QUEUE, Wanted, command};
use crate::store::Store;
use crate::store::state::Limits;
use crate::store::writer::Writer;
use crate::testkit::cluster::{ns, slice, svc};
use crate::testkit::scripted_hub::Told;
use crate::trust::config::TrustConfig;
use crate::zone::change::Change;
use crate::zone::digest;
use crate::zone::object::{Key, Object, ObjectRef};

/// Most replies that a follower hears: a sequence is short, or shows nothing new.
const MAX_REPLIES: usize = 64;

/// Requests that wait for a hub that reads none.
const REQUESTS: usize = 8;

/// Simulated: longer than it takes a follower to hear everything, and shorter than anything that it waits for.
const SETTLED: Duration = Duration::from_millis(100);

/// Takes a message, or several, behind a byte that says which.
pub(super) fn run(input: &[u8]) {
    let Some((what, bytes)) = input.split_first() else { return };
    match what % 4 {
        0 => reply(bytes),
        1 => request(bytes),
        2 => greeting(bytes),
        _ => follow(bytes),
    }
}

fn reply(bytes: &[u8]) {
    let Ok(message) = FollowReply::decode(bytes) else { return };
    let Ok(reply) = Reply::try_from(message) else { return };
    let said = match &reply {
        Reply::Frame(frame) => Packet::from(frame).into(),
        Reply::Heartbeat(heartbeat) => FollowReply::from(heartbeat.clone()),
        Reply::Unknown => return,
    };
    let again = Reply::try_from(said).expect("what was read can be said");
    assert_eq!(again, reply);
}

fn request(bytes: &[u8]) {
    let Ok(message) = FollowRequest::decode(bytes) else { return };
    let request = Request::from(message);
    assert_eq!(Request::from(FollowRequest::from(request.clone())), request);
}

fn greeting(bytes: &[u8]) {
    let Ok(message) = wire::Greeting::decode(bytes) else { return };
    let greeting = Greeting::from(message);
    assert_eq!(Greeting::from(wire::Greeting::from(greeting.clone())), greeting);
}

// === Followers ===

/// A hub that says what it is to say to whoever comes first, and then nothing for ever.
struct Hub(Mutex<Option<Vec<FollowReply>>>);

#[async_trait]
impl Dial for Hub {
    async fn dial(&self, _: SocketAddr) -> Result<Link, NotDialled> {
        let replies = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let replies = replies.ok_or_else(|| NotDialled::Unreachable("nobody is there".to_owned()))?;
        let (requests, unread) = mpsc::channel(REQUESTS);
        let silence = stream::once(async move {
            std::future::pending::<()>().await;
            drop(unread);
            Ok(FollowReply::default())
        });
        Ok(Link { requests, replies: stream::iter(replies).map(Ok).chain(silence).boxed() })
    }
}

/// What a follower has when the replies begin.
fn told() -> Told {
    let objects = vec![
        ns("shop"),
        svc("shop/web").ip("10.96.0.10").port("http", 80).build(),
        svc("shop/db").headless().build(),
        slice("shop/db-1", "db").v4("10.244.0.1").build(),
    ];
    Told { uid: "u".to_owned(), position: Position { epoch: 1, versions: [10, 10, 10, 10] }, objects }
}

fn follow(mut bytes: &[u8]) {
    let mut replies = Vec::new();
    while !bytes.is_empty() && replies.len() < MAX_REPLIES {
        let Ok(reply) = FollowReply::decode_length_delimited(&mut bytes) else { break };
        replies.push(reply);
    }
    let told = told();
    let mut expected = Expected::new(&told.objects);
    for reply in &replies {
        match Reply::try_from(reply.clone()) {
            Ok(Reply::Frame(frame)) => expected.hear(frame),
            Ok(Reply::Heartbeat(_) | Reply::Unknown) => {}
            // The hub is left.
            Err(_) => break,
        }
    }
    let first = [told.welcome(Plan::Whole)].into_iter().chain(told.frames());
    let said: Vec<_> = first.map(|frame| Packet::from(&frame).into()).chain(replies).collect();
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let store = served(said).await;
        expected.check(store.current().table.objects());
    });
}

/// What a follower serves that has heard all this.
async fn served(said: Vec<FollowReply>) -> Arc<Store> {
    let (store, metrics, stop) = (Store::new(), Arc::new(Metrics::new()), CancellationToken::new());
    let access = HubAccess {
        seeds: vec![SocketAddr::from(([127, 0, 0, 1], 9953))],
        trust: TrustConfig::Plain,
        headless_only: false,
        name: "n1".to_owned(),
    };
    let hub = Arc::new(Hub(Mutex::new(Some(said))));
    let source = HubSource::with_dial(&access, Wanted::ALL, None, Jitter::from_seed(1), &metrics, hub);
    let clock = Arc::new(WallClock::new(0));
    let mut writer = Writer::new(store.clone(), None, Wanted::ALL, Limits::default(), clock, &metrics);
    let (updates, queue) = mpsc::channel(UPDATE_QUEUE);
    let (commands, commanded) = command::channel();
    writer.asks(commands);
    let follower = tokio::spawn(source.run(updates, commanded, stop.clone()));
    let writing = tokio::spawn(writer.run(queue, stop.clone()));
    tokio::time::sleep(SETTLED).await;
    stop.cancel();
    follower.await.expect("a follower does not panic");
    writing.await.expect("a writer does not panic");
    store
}

/// What may be served, and what has to be.
struct Expected {
    /// Hashes of what may be served.
    may: HashSet<u128>,
    /// What has to be, as long as nothing else is said of it.
    must: HashSet<Key>,
    /// What is said of a whole state that has not ended.
    whole: HashSet<u128>,
    /// What is said of a change that has not ended.
    waiting: Vec<Entry>,
}

impl Expected {
    fn new(objects: &[Object]) -> Self {
        Self {
            may: objects.iter().map(|object| digest::hash(object.into())).collect(),
            must: objects.iter().map(Object::key).collect(),
            whole: HashSet::new(),
            waiting: Vec::new(),
        }
    }

    /// Takes what the hub says; the follower may take it, or not.
    fn hear(&mut self, frame: Frame) {
        match frame {
            Frame::WholeBegin(_) => self.whole.clear(),
            Frame::WholePart(entries) => self.whole.extend(entries.iter().flat_map(hashes)),
            Frame::WholeEnd(_) => {
                self.may.extend(self.whole.drain());
                // What was not in it does not exist.
                self.must.clear();
            }
            Frame::Batch(Batch { entries, position, .. }) => {
                self.waiting.extend(entries);
                if position.is_some() {
                    for entry in self.waiting.drain(..) {
                        self.may.extend(hashes(&entry));
                        if let Change::Delete(key) = &entry.change {
                            self.must.remove(key);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    fn check<'a>(&self, objects: impl Iterator<Item = ObjectRef<'a>>) {
        let mut must = self.must.clone();
        for object in objects {
            must.remove(&object.key());
            let key = object.key();
            assert!(
                self.may.contains(&digest::hash(object)),
                "{key} is of a state that did not come to its end"
            );
        }
        assert!(must.is_empty(), "nobody has taken {must:?} away");
    }
}

/// Hashes of what may be served of an entry.
fn hashes(entry: &Entry) -> impl Iterator<Item = u128> {
    let said = match &entry.change {
        Change::Upsert(object) => Some(digest::hash(object.into())),
        Change::Delete(_) => None,
    };
    let held = entry.held.as_ref().map(|held| digest::hash((&held.served).into()));
    said.into_iter().chain(held)
}
