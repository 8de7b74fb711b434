//! A whole hub in the test's own process over an API server stand-in, and a follower that speaks its protocol by hand.

#![allow(clippy::panic, reason = "a test that is written wrong has to fail")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::Streaming;
use tonic::transport::Endpoint;

use crate::drill::standin::Standin;
use crate::feed::digests::Digests;
use crate::feed::entry::Entry;
use crate::feed::frame::{Frame, Heartbeat, PROTOCOL, Reply, Request, Subscription, Welcome};
use crate::feed::greeting::Greeting;
use crate::feed::position::Position;
use crate::feed::view::View;
use crate::feed::wire;
use crate::feed::wire::hub_client::HubClient;
use crate::feed::wire::{FollowReply, FollowRequest};
use crate::hub::audit::AUDIT_INTERVAL;
use crate::hub::config::{HISTORY_BYTES, HubConfig, MAX_SUBSCRIBERS};
use crate::hub::running::{self, Running};
use crate::ops::clock::WallClock;
use crate::ops::control::{self, Handler as _, Refusal};
use crate::ops::drain::{Drain, Limits, SIGNAL_QUEUE};
use crate::ops::metrics::Metrics;
use crate::source::Wanted;
use crate::source::apiserver::access::{self, Access, Place};
use crate::source::command::{Command, Why};
use crate::trust::config::TrustConfig;
use crate::zone::Table;
use crate::zone::held::{self, HeldSet};
use crate::zone::hold;
use crate::zone::object::{Kind, Kinds};

/// How long a test waits for something that a hub does by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// A hub that ends when it is dropped, or stopped.
pub struct TestHub {
    /// Where followers are served.
    pub address: SocketAddr,
    /// What was started.
    running: Option<Running>,
    /// Ends it.
    drain: Drain,
    /// How long followers have to move.
    move_within: Duration,
    /// Its metrics.
    metrics: Arc<Metrics>,
    /// Where its kubeconfig is.
    _folder: TempDir,
}

/// What to start a hub with.
pub struct Builder {
    /// What is configured.
    pub config: HubConfig,
    /// Where its kubeconfig is.
    folder: TempDir,
}

impl Builder {
    /// A hub over this server, on a port of loopback.
    ///
    /// # Panics
    /// When there is no temporary folder.
    pub fn new(server: &Standin) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("kubeconfig");
        std::fs::write(&file, server.kubeconfig()).expect("a kubeconfig is written");
        let place = Place::Kubeconfig { file, context: None };
        let config = HubConfig {
            listen: vec!["127.0.0.1:0".parse().expect("an address")],
            advertise: Vec::new(),
            access: Access { place, limits: access::Limits::default() },
            wanted: Wanted { labels: false, pods: true },
            limits: crate::store::state::Limits::default(),
            guard: crate::store::guard_config::GuardConfig::default(),
            snapshot: None,
            interval: Duration::from_secs(60),
            trust: TrustConfig::Plain,
            siblings: Vec::new(),
            service: None,
            audit_interval: AUDIT_INTERVAL.0,
            history_bytes: HISTORY_BYTES.0,
            max_subscribers: MAX_SUBSCRIBERS.0,
            transfers: crate::hub::admission::Limits::default(),
            move_within: Duration::from_millis(500),
            faces: Vec::new(),
        };
        Self { config, folder }
    }

    /// A place of its own for snapshots.
    #[must_use]
    pub fn snapshot(mut self, folder: PathBuf) -> Self {
        self.config.snapshot = Some(folder);
        self
    }

    /// Starts it in the current runtime.
    ///
    /// # Panics
    /// When an address cannot be bound.
    pub fn start(self) -> TestHub {
        let (metrics, clock, drain) = (Arc::new(Metrics::new()), Arc::new(WallClock::new(0)), Drain::new());
        let move_within = self.config.move_within;
        let running = running::start(self.config, &metrics, &clock, &drain, &Handle::current());
        let running = running.unwrap_or_else(|e| panic!("{e:#}"));
        let address = running.addresses[0];
        TestHub { address, running: Some(running), drain, move_within, metrics, _folder: self.folder }
    }
}

impl TestHub {
    /// Starts a hub over this server, and waits until its data is live.
    pub async fn live(server: &Standin) -> Self {
        let hub = Builder::new(server).start();
        hub.state("live").await;
        hub
    }

    /// Its metrics as text.
    pub fn scrape(&self) -> String {
        self.metrics.upkeep();
        self.metrics.render()
    }

    /// The value of one series, spelled as in the text; 0 if there is no such series.
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.scrape();
        let line = text.lines().find_map(|l| l.strip_prefix(series)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(0.0)
    }

    /// Waits until the data is in this state: `live`, `stale` or `empty`.
    ///
    /// # Panics
    /// When it never is.
    pub async fn state(&self, state: &str) {
        let series = format!("outlast_data_state{{state=\"{state}\"}}");
        self.until(state, |hub| hub.metric(&series) == 1.0).await;
    }

    /// Waits until something holds.
    ///
    /// # Panics
    /// When it does not.
    pub async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(std::time::Instant::now() < deadline, "never: {what}\n{}", self.scrape());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Has its source list everything, for an audit.
    ///
    /// # Panics
    /// When it was stopped.
    pub fn relist(&self) {
        let kinds = Kinds::ALL;
        let asked = self.running().commands.ask(Command::Relist { kinds, why: Why::Audit });
        assert!(asked, "the source has an ear");
    }

    /// Orders something over its control socket, without the socket.
    ///
    /// # Errors
    /// It refuses.
    ///
    /// # Panics
    /// When it was stopped.
    pub async fn order(&self, order: control::Command) -> Result<serde_json::Value, Refusal> {
        self.running().control.handle(order).await
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs")
    }

    /// What it holds.
    ///
    /// # Panics
    /// When it was stopped.
    pub fn table(&self) -> Table {
        self.running().store.current().table.clone()
    }

    /// Ends it as SIGTERM does.
    pub async fn stop(mut self) {
        let (_signals, none) = mpsc::channel(SIGNAL_QUEUE);
        self.drain.begin();
        let within = self.move_within;
        let _ = self.drain.run(none, || Limits::with_lameduck(within)).await;
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    /// Ends it at once.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for TestHub {
    fn drop(&mut self) {
        self.drain.forced().cancel();
    }
}

/// Says something to a hub as a sibling does, and hears what it says.
///
/// # Panics
/// When there is no hub.
pub async fn meet(hub: SocketAddr, greeting: &Greeting) -> Greeting {
    let endpoint = Endpoint::from_shared(format!("http://{hub}")).expect("a URL");
    let channel = endpoint.connect().await.expect("a hub");
    let said = HubClient::new(channel).meet(wire::Greeting::from(greeting.clone())).await;
    said.expect("an answer").into_inner().into()
}

// === A follower ===

/// A follower that does what it is told, and checks every digest that it gets.
pub struct Follower {
    /// To the hub.
    requests: mpsc::Sender<FollowRequest>,
    /// From the hub.
    replies: Streaming<FollowReply>,
    /// What it has.
    pub table: Table,
    /// What is held of it.
    pub held: HeldSet,
    /// What it asks for, and where it is.
    pub standing: Subscription,
    /// The last welcome.
    pub welcome: Option<Welcome>,
    /// The hubs that it was told of.
    pub hubs: Vec<SocketAddr>,
    /// Whole states that it got, to their end.
    pub wholes: usize,
    /// Batches that it got.
    pub batches: usize,
    /// When what set changes off happened.
    pub triggered: Vec<u64>,
    /// Entries of a whole state under way.
    whole: Option<(Position, String, Vec<Entry>)>,
}

/// What a follower has, to go on with elsewhere.
#[derive(Clone, Default)]
pub struct Kept {
    /// The objects.
    pub table: Table,
    /// What is held of them.
    pub held: HeldSet,
    /// Where they are.
    pub standing: Subscription,
}

impl Kept {
    /// Nothing, and this is asked for.
    pub fn nothing(view: View) -> Self {
        let standing =
            Subscription { protocol: PROTOCOL, view, node: "n1".to_owned(), ..Subscription::default() };
        Self { standing, ..Self::default() }
    }
}

impl Follower {
    /// Connects, and subscribes with what it has. Its windows are small: what it does not read is soon not sent.
    ///
    /// # Panics
    /// When there is no hub.
    pub async fn connect(address: SocketAddr, kept: Kept) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("a URL");
        let endpoint = endpoint.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
        let channel = endpoint.connect().await.expect("a hub");
        let (requests, queue) = mpsc::channel(8);
        let queue = stream::unfold(queue, async |mut queue| Some((queue.recv().await?, queue)));
        let Kept { table, held, standing } = kept;
        let subscribe = Request::Subscribe(Box::new(standing.clone()));
        requests.send(subscribe.into()).await.expect("room for it");
        let replies = HubClient::new(channel).follow(queue).await.expect("a stream").into_inner();
        Self {
            requests,
            replies,
            table,
            held,
            standing,
            welcome: None,
            hubs: Vec::new(),
            wholes: 0,
            batches: 0,
            triggered: Vec::new(),
            whole: None,
        }
    }

    /// The same from nothing.
    pub async fn fresh(address: SocketAddr, view: View) -> Self {
        Self::connect(address, Kept::nothing(view)).await
    }

    /// Asks anything.
    ///
    /// # Panics
    /// When the stream has ended.
    pub async fn ask(&self, request: FollowRequest) {
        self.requests.send(request).await.expect("the stream is open");
    }

    /// Asks for a heartbeat.
    ///
    /// # Panics
    /// When the stream has ended.
    pub async fn ping(&self, nonce: u64) {
        self.requests.send(Request::Ping { nonce }.into()).await.expect("the stream is open");
    }

    /// The next reply, applied; `None` at the end of the stream.
    ///
    /// # Panics
    /// When nothing comes, or what comes is wrong.
    pub async fn next(&mut self) -> Option<Reply> {
        let message = timeout(PATIENCE, self.replies.message()).await.expect("something comes");
        let reply = Reply::try_from(message.expect("no error")?).expect("a reply");
        if let Reply::Frame(frame) = &reply {
            self.apply(frame.clone());
        }
        Some(reply)
    }

    fn apply(&mut self, frame: Frame) {
        match frame {
            Frame::Welcome(welcome) => self.welcome = Some(welcome),
            Frame::Hubs(hubs) => self.hubs = hubs,
            Frame::WholeBegin(begin) => {
                self.whole = Some((begin.position, begin.cluster_uid, Vec::new()));
            }
            Frame::WholePart(part) => self.whole.as_mut().expect("it has begun").2.extend(part),
            Frame::WholeEnd(end) => {
                let (position, uid, entries) = self.whole.take().expect("it has begun");
                assert_eq!(position, end.position);
                (self.table, self.held) = Default::default();
                self.standing.cluster_uid = uid;
                self.entries(entries);
                self.arrived(end.position, end.digests);
                self.wholes += 1;
            }
            Frame::Batch(batch) => {
                self.standing.cluster_uid = batch.cluster_uid;
                self.entries(batch.entries);
                if let Some(position) = batch.position {
                    self.arrived(position, batch.digests);
                }
                self.batches += 1;
            }
            Frame::Move { .. } | Frame::RetryAfter { .. } | Frame::Refused { .. } | Frame::Unknown => {}
        }
    }

    fn entries(&mut self, entries: Vec<Entry>) {
        for Entry { change, held, triggered_at_ms } in entries {
            if triggered_at_ms > 0 {
                self.triggered.push(triggered_at_ms);
            }
            let _ = held::apply(&mut self.table, &mut self.held, hold::Entry { change, held }, 1);
        }
    }

    fn arrived(&mut self, position: Position, digests: Digests) {
        let kinds = self.standing.view.kinds();
        let own = Digests::of(kinds, |kind| self.held.received_digest(&self.table, kind));
        assert!(own.differing(&digests).is_empty(), "at {position:?}: {own:?}, the hub has {digests:?}");
        (self.standing.position, self.standing.digests) = (position, own);
    }

    /// Reads until something holds.
    ///
    /// # Panics
    /// When the stream ends first.
    pub async fn until(&mut self, holds: impl Fn(&Self) -> bool) {
        while !holds(self) {
            assert!(self.next().await.is_some(), "the stream has ended");
        }
    }

    /// Reads until it has the whole state.
    pub async fn whole(&mut self) {
        let wholes = self.wholes;
        self.until(|f| f.wholes > wholes).await;
    }

    /// Reads until there are so many objects of a kind.
    pub async fn count(&mut self, kind: Kind, count: usize) {
        self.until(|f| f.table.count(kind) == count).await;
    }

    /// Asks for a heartbeat, and reads until it comes.
    ///
    /// # Panics
    /// When the stream ends first.
    pub async fn heartbeat(&mut self, nonce: u64) -> Heartbeat {
        self.ping(nonce).await;
        loop {
            match self.next().await.expect("the stream is open") {
                Reply::Heartbeat(heartbeat) if heartbeat.nonce == nonce => return heartbeat,
                _ => {}
            }
        }
    }

    /// Goes, with what it has.
    pub fn leave(self) -> Kept {
        Kept { table: self.table, held: self.held, standing: self.standing }
    }
}
