//! What the hub's own data comes from: its API server; and, for a hub that has nothing at all, a sibling first.
//!
//! A sibling's whole state spares the API server the lists of a hub that is new, and is all there is while the API
//! server is down. What it tells is as old as it says. The API server's watches then go on from where the sibling had gone
//! over everything, so that what it may have missed beyond that is not missed here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::orders::ToSource;
use super::running::Starter;
use super::siblings::Family;
use crate::feed::frame::State;
use crate::feed::greeting::Greeting;
use crate::feed::position::Position;
use crate::ops::clock::WallClock;
use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;
use crate::source::hub::Means;
use crate::source::hub::access::HubAccess;
use crate::source::hub::meet::Meetings;
use crate::source::start::{self, Beginning};
use crate::source::{Resume, SourceConfig, UPDATE_QUEUE, Wanted};
use crate::store::Store;
use crate::store::guard_config::GuardConfig;
use crate::store::state::Limits;
use crate::store::writer::Writer;
use crate::trust::config::TrustConfig;
use crate::zone::object::Kinds;

/// How long siblings have to say whether they have data.
const ASK_LIMIT: Duration = Duration::from_secs(3);

/// How long after the first one that has some others may say that theirs is fresher.
const ASK_MORE: Duration = Duration::from_millis(300);

/// How long filling may take. A large cluster takes a second or two; after that the API server is asked, which is as
/// good.
const FILL_LIMIT: Duration = Duration::from_secs(10);

/// A hub that still has nothing looks after this time whether a sibling has something.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// Each time that is in vain the API server is given twice as long, up to this: it may be busy with our list.
const MAX_LOOK_AGAIN: Duration = Duration::from_secs(600);

/// Between two tries to start a source: the system has no thread to give.
const START_AGAIN: Duration = Duration::from_secs(5);

/// By what part waits vary.
const SWING: f64 = 0.2;

/// Keeps the hub's data up to date.
pub(super) struct Following {
    /// Starts the source.
    pub(super) starter: Starter,
    /// The data's writer.
    pub(super) writer: Writer,
    /// What it is read by.
    pub(super) store: Arc<Store>,
    /// The API server.
    pub(super) source: SourceConfig,
    /// The way to it, for others.
    pub(super) commands: ToSource,
    /// What is kept of objects.
    pub(super) wanted: Wanted,
    /// How long data may go unproved.
    pub(super) limits: Limits,
    /// Between two snapshots.
    pub(super) interval: Duration,
    /// Whether lists are judged.
    pub(super) guard: GuardConfig,
    /// Other hubs by address.
    pub(super) siblings: Vec<SocketAddr>,
    /// What is known of them.
    pub(super) family: Arc<Family>,
    /// Who is believed.
    pub(super) trust: TrustConfig,
    /// Asks siblings.
    pub(super) meetings: Meetings,
    /// Our name.
    pub(super) name: String,
    /// What certificates are judged by.
    pub(super) clock: Arc<WallClock>,
    /// Counts.
    pub(super) metrics: Arc<Metrics>,
    /// Spreads waits.
    pub(super) jitter: Jitter,
    /// Where sources run.
    pub(super) control: Handle,
    /// When a hub that has nothing looks at siblings again.
    pub(super) look_again: LookAgain,
}

/// When a hub that has nothing looks at siblings again; ever more rarely.
pub(super) struct LookAgain(Duration);

impl Default for LookAgain {
    fn default() -> Self {
        Self(LOOK_AGAIN)
    }
}

impl Following {
    /// Goes on from `resume` until `stop`, and then writes a last snapshot.
    pub(super) async fn run(mut self, mut resume: Resume, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if self.is_empty()
                && let Some(Some((hub, greeting))) = stop.run_until_cancelled(self.ask()).await
            {
                resume = self.fill(hub, &greeting, &stop).await;
            }
            self.writer.guards(self.guard.guard(self.jitter.fork()));
            self.follow(resume, &stop).await;
            resume = self.writer.reconfigure(self.wanted, self.limits, self.interval);
        }
        self.writer.finish().await;
    }

    /// Whether there is no data at all.
    fn is_empty(&self) -> bool {
        let lacks = self.wanted.kinds().minus(self.store.current().table.complete());
        !lacks.intersection(Kinds::CORE).is_empty()
    }

    /// Follows the API server until `stop`, or until a sibling has what it does not give.
    async fn follow(&mut self, resume: Resume, stop: &CancellationToken) {
        let pause = stop.child_token();
        let (updates, queue) = mpsc::channel(UPDATE_QUEUE);
        let beginning = Beginning { wanted: self.wanted, resume, updates, stop: pause.clone() };
        match (self.starter)(&self.source, beginning) {
            Ok(commands) => {
                self.commands.set(commands.clone());
                self.writer.asks(commands);
            }
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "the source does not start: trying again");
                let _ = stop.run_until_cancelled(sleep(START_AGAIN)).await;
                return;
            }
        }
        let (store, family, jitter) = (self.store.clone(), self.family.clone(), self.jitter.fork());
        let (kinds, after) = (self.wanted.kinds(), self.look_again.0);
        let hopeless = async {
            loop {
                sleep(jitter.spread(after, SWING)).await;
                if kinds.intersection(Kinds::CORE).minus(store.current().table.complete()).is_empty() {
                    return std::future::pending().await;
                }
                if family.has_data() {
                    return;
                }
            }
        };
        let watch = async {
            if pause.run_until_cancelled(hopeless).await.is_some() {
                tracing::info!("the API server gives nothing, and a sibling has data");
                pause.cancel();
            }
        };
        tokio::join!(self.writer.follow(queue, &pause), watch);
        self.look_again.0 = (after * 2).min(MAX_LOOK_AGAIN);
    }

    // === Filling ===

    /// The sibling that has the freshest data, if one has any, and what it says.
    async fn ask(&self) -> Option<(SocketAddr, Greeting)> {
        let ask = |hub: &SocketAddr| {
            let (hub, mut to) = (*hub, self.meetings.with(*hub));
            let greeting = self.family.greeting(&[]);
            async move { to.meet(greeting).await.ok().map(|said| (hub, said)) }
        };
        let mut asked: FuturesUnordered<_> = self.siblings.iter().map(ask).collect();
        let (mut best, mut until) = (None::<(SocketAddr, Greeting)>, Instant::now() + ASK_LIMIT);
        while let Ok(Some(answer)) = timeout_at(until, asked.next()).await {
            let Some((hub, said)) = answer else { continue };
            let has_data = said.state != State::Empty && !said.cluster_uid.is_empty();
            if said.hub == self.name || !has_data {
                continue;
            }
            // After a restore the later epoch is the right one.
            let rank = |said: &Greeting| (u64::MAX - said.position.epoch, said.age);
            if best.as_ref().is_none_or(|(_, best)| rank(&said) < rank(best)) {
                best = Some((hub, said));
            }
            until = until.min(Instant::now() + ASK_MORE);
        }
        best
    }

    /// Takes the whole state of a sibling, and says from where the API server's source goes on.
    async fn fill(&mut self, hub: SocketAddr, greeting: &Greeting, stop: &CancellationToken) -> Resume {
        tracing::info!(%hub, name = greeting.hub, "there is no data here: filling from a sibling");
        let access = HubAccess {
            seeds: vec![hub],
            trust: self.trust.clone(),
            headless_only: false,
            name: self.name.clone(),
        };
        let (updates, queue) = mpsc::channel(UPDATE_QUEUE);
        let ended = stop.child_token();
        let resume = self.writer.reconfigure(self.wanted, self.limits, self.interval);
        let beginning = Beginning { wanted: self.wanted, resume, updates, stop: ended.clone() };
        let means = Means { memory: None, clock: self.clock.clone() };
        let source = SourceConfig::Hub(access);
        if let Err(error) = start::start_with(&source, beginning, means, &self.metrics, &self.control) {
            tracing::warn!(error = format!("{error:#}"), "a sibling cannot be followed");
            return self.writer.reconfigure(self.wanted, self.limits, self.interval);
        }
        // Another one than the hub's judges what it tells.
        self.writer.guards(None);
        let (store, kinds) = (self.store.clone(), self.wanted.kinds());
        let filled = async {
            let mut published = store.published();
            loop {
                published.mark_unchanged();
                let current = store.current().clone();
                // With its age: what nobody has vouched for would be as young as this process.
                if current.verified && kinds.minus(current.table.complete()).is_empty() {
                    return;
                }
                if published.changed().await.is_err() {
                    return;
                }
            }
        };
        let end = async {
            let _ = ended.run_until_cancelled(timeout(FILL_LIMIT, filled)).await;
            ended.cancel();
        };
        tokio::join!(self.writer.follow(queue, &ended), end);
        self.hand_over(greeting)
    }

    /// From where the API server's source goes on after a sibling.
    fn hand_over(&mut self, greeting: &Greeting) -> Resume {
        let current = self.store.current().clone();
        if self.is_empty() {
            tracing::warn!(limit = ?FILL_LIMIT, "not filled from a sibling in time: the API server is asked");
        } else {
            let age = self.store.age();
            tracing::info!(objects = current.table.objects().count(), ?age, "filled from a sibling");
        }
        // What the sibling had told beyond that, it had not gone over: the watches begin before it.
        let reached = &current.reached;
        let same = reached.cluster_uid == greeting.cluster_uid && reached.told.epoch == greeting.proved.epoch;
        let unknown = Position { epoch: reached.told.epoch, ..Position::UNKNOWN };
        self.writer.went_over(if same { &greeting.proved } else { &unknown });
        self.writer.reconfigure(self.wanted, self.limits, self.interval)
    }
}
