//! What happens to a node while it is tested: its source changes all the time, and a client asks all the time.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use outlast::testkit::client::{Answer, Query};

use super::node::{ask, socket};
use super::place::{Place, marker};
use super::process::PATIENCE;

/// Time between two versions of the source: longer than a file has to be left alone before it is read.
const PUBLISH: Duration = Duration::from_millis(350);

/// Time between two questions of the client: it is not the load that is tested.
const PAUSE: Duration = Duration::from_millis(1);

/// Replaces the source again and again, each time with the next marker, until it is dropped.
pub(super) struct Publisher {
    /// Held for each replacement.
    pub(super) pause: Arc<Mutex<()>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Begins after `first`, which is published already.
    pub(super) fn start(place: &Arc<Place>, first: u32) -> Self {
        let (pause, stop) = (Arc::new(Mutex::new(())), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (place, pause, stop) = (place.clone(), pause.clone(), stop.clone());
            move || {
                for marker in first + 1.. {
                    std::thread::sleep(PUBLISH);
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let _held = pause.lock().unwrap();
                    place.publish(marker);
                }
            }
        });
        Self { pause, stop, thread: Some(thread) }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// What a client saw.
#[derive(Default)]
pub(super) struct Seen {
    /// Good answers.
    pub(super) answers: u64,
    /// Wrong answers, and questions without one.
    pub(super) failures: Vec<String>,
    /// The newest marker of this life.
    newest: Option<u32>,
}

/// Asks all the time.
pub(super) struct Client {
    seen: Arc<Mutex<Seen>>,
    /// Counts up with every start and every kill: odd while a node is supposed to answer.
    life: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    /// Asks this server, once it is said to be there.
    pub(super) fn start(server: SocketAddr) -> Self {
        let (seen, life, stop): (Arc<Mutex<Seen>>, Arc<AtomicU32>, Arc<AtomicBool>) = Default::default();
        let thread = std::thread::spawn({
            let (seen, life, stop) = (seen.clone(), life.clone(), stop.clone());
            move || {
                // One for all questions: with new ones all the time, one could get the node's own port one day.
                let socket = socket(server);
                while !stop.load(Ordering::Relaxed) {
                    question(&socket, &life, &seen);
                    std::thread::sleep(PAUSE);
                }
            }
        });
        Self { seen, life, stop, thread: Some(thread) }
    }

    /// From now on a node is supposed to answer.
    pub(super) fn born(&self) {
        self.seen.lock().unwrap().newest = None;
        self.life.fetch_add(1, Ordering::SeqCst);
    }

    /// The newest marker that it was served in this life.
    pub(super) fn newest(&self) -> Option<u32> {
        self.seen.lock().unwrap().newest
    }

    /// From now on the node is not supposed to answer.
    pub(super) fn dies(&self) {
        self.life.fetch_add(1, Ordering::SeqCst);
    }

    /// Stops asking.
    pub(super) fn stop(mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

/// One question, and what comes of it.
fn question(socket: &UdpSocket, life: &AtomicU32, seen: &Mutex<Seen>) {
    let born = life.load(Ordering::SeqCst);
    let over = || life.load(Ordering::SeqCst) != born;
    let reply = ask(socket, &query(), PATIENCE, over);
    let mut seen = seen.lock().unwrap();
    match reply {
        // An answer is judged whenever it comes.
        Ok(answer) => match served(&answer) {
            Ok(marker) => {
                seen.answers += 1;
                if over() || born.is_multiple_of(2) {
                    return;
                }
                if let Some(last) = seen.newest.filter(|last| marker < *last) {
                    seen.failures.push(format!("marker {marker} after {last} in one life"));
                }
                seen.newest = seen.newest.max(Some(marker));
            }
            Err(wrong) => seen.failures.push(wrong),
        },
        Err(error) if !born.is_multiple_of(2) && !over() => seen.failures.push(format!("no answer: {error}")),
        Err(_) => {}
    }
}

/// The question for the marker, by a client that understands EDE.
pub(super) fn query() -> Query {
    Query::a("web.shop.svc.cluster.local.").edns(1232)
}

/// The marker of an answer, or what is wrong with it.
pub(super) fn served(answer: &Answer) -> Result<u32, String> {
    let records = answer.answers();
    let wrong = || format!("{:?} {records:?} {:?}", answer.rcode(), answer.ede());
    match &*records {
        [record] => record.split(' ').next_back().and_then(|a| marker(a).ok()).ok_or_else(wrong),
        _ => Err(wrong()),
    }
}
