//! Following a hub over gRPC.
//!
//! * [`access`]: where the hubs are, as it is configured.
//! * `choose`: which hub is next. `known`: the list of hubs, and how it outlives the process.
//! * `transport`: a connection to one hub. `dialling`: another one, dialled while one is followed.
//! * `session`: one hub, from the first word to the last; `standing`: what outlives it; `left`: why that was the last.
//! * `apply`: what a hub says, as updates of the store. `verify`: what a wrong digest leads to. `mending`: what a whole
//!   state is to mend then. `pulse`: pings and heartbeats, of which freshness is made.
//! * [`meet`]: what hubs tell each other.
//!
//! Architecture invariant: nothing here ever contacts the API server, and no name is ever looked up.
//!
//! Invariants:
//! * Only a heartbeat proves anything, and only as of the moment that its ping was sent, less the age of the hub's data.
//! * Nobody is taken back within an epoch: what a hub that is behind says of the past waits or is passed over.
//! * A state that was confirmed is exchanged for another cluster's only when somebody says so.
//! * A wrong digest leads to one whole state, and then to an alarm: never to a loop.

pub mod access;
mod apply;
mod choose;
mod dialling;
pub mod known;
mod left;
pub mod meet;
mod mending;
mod metrics;
mod pulse;
pub(crate) mod session;
mod standing;
pub(crate) mod transport;
mod verify;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::access::HubAccess;
use self::choose::{Choice, Learned, Pick};
use self::dialling::{Dialled, Dialling};
use self::known::{Keeping, Memory};
use self::left::Left;
use self::metrics::HubMetrics;
use self::session::{Others, Session};
use self::standing::{Standing, WrongHubs};
use self::transport::{Dial, Dialler, Link};
use self::verify::Verify;
use super::command::{Command, Commanded};
use super::{Update, Wanted};
use crate::feed::view::View;
use crate::ops::backoff::Policy;
use crate::ops::clock::WallClock;
use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;
use crate::source;
use crate::zone::object::Kinds;

/// Within what time a hub that is well proves its data: a heartbeat every 12 s at most, and what the hub itself has from
/// the API server by then ([`apiserver::PROVED_WITHIN`](super::apiserver::PROVED_WITHIN)).
pub const PROVED_WITHIN: Duration = Duration::from_secs(27);

/// How long a hub may be behind or stale before another one is tried: as long as it takes until data counts as stale.
const PATIENCE: Duration = Duration::from_secs(30);

/// By what part of it patience varies: all followers of a hub hear the same of it, and are not to leave it at once.
const PATIENCE_SPREAD: f64 = 0.2;

/// The longest patience: where all hubs are stale, going from one to the next helps nobody.
const MAX_PATIENCE: Duration = Duration::from_secs(600);

/// How long a hub has to have been well before it is left for one that is preferred: after all hubs were restarted in
/// turn, everybody is at the one that was first. A random time within these, so that they do not all go back at once.
const HOME_AFTER: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(900));

/// The longest time that a hub may have its followers wait: longer, and an operator's mistake outlives its correction.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(120);

/// What a source of hubs needs beside its configuration.
pub struct Means {
    /// Where the list of hubs outlives the process, if anywhere.
    pub memory: Option<Arc<dyn Memory>>,
    /// The time that certificates are judged by.
    pub clock: Arc<WallClock>,
}

/// Follows hubs, one at a time.
pub struct HubSource {
    /// Dials them.
    dial: Arc<dyn Dial>,
    /// Which one is next.
    choice: Choice,
    /// The list of hubs on the disk.
    keeping: Keeping,
    /// What outlives a session.
    standing: Standing,
    /// How long a hub may be behind or stale, at present.
    patience: Duration,
    /// Whether the store has been told that the source is lost.
    lost: bool,
    /// The next hub, where the one before was left only once it was reached.
    reached: Option<(SocketAddr, Link)>,
}

impl HubSource {
    /// Nothing is dialled before [`run`](Self::run). To be called within a runtime.
    pub fn new(
        access: &HubAccess,
        wanted: Wanted,
        means: Means,
        jitter: Jitter,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let dial = Arc::new(Dialler::new(&access.trust, means.clock, metrics));
        Self::with_dial(access, wanted, means.memory, jitter, metrics, dial)
    }

    /// The same with another way to hubs.
    pub(crate) fn with_dial(
        access: &HubAccess,
        wanted: Wanted,
        memory: Option<Arc<dyn Memory>>,
        jitter: Jitter,
        metrics: &Arc<Metrics>,
        dial: Arc<dyn Dial>,
    ) -> Self {
        let view: View = access.view(wanted.pods);
        Self {
            dial,
            choice: Choice::new(access),
            keeping: Keeping::new(memory),
            standing: Standing {
                name: access.name.clone(),
                view,
                labels: wanted.labels,
                verify: Verify::default(),
                wrong: WrongHubs::default(),
                confirmed: Kinds::NONE,
                refused: None,
                accepted: None,
                link: source::Link::default(),
                metrics: HubMetrics::new(metrics),
                jitter,
            },
            patience: PATIENCE,
            lost: false,
            reached: None,
        }
    }

    /// Follows until `stop`, or until nobody takes updates any more.
    pub async fn run(mut self, updates: Sender<Update>, mut commanded: Commanded, stop: CancellationToken) {
        let follow = async {
            if let Some(hubs) = self.keeping.load().await {
                let _ = self.choice.learn(&hubs);
            }
            while self.turn(&updates, &mut commanded).await.is_ok() {}
        };
        let _ = stop.run_until_cancelled(follow).await;
        self.standing.metrics.connected(None);
    }

    /// One hub: waits until one may be dialled, and follows it until it is left.
    async fn turn(&mut self, updates: &Sender<Update>, commanded: &mut Commanded) -> Result<(), Gone> {
        let (hub, link) = match self.reached.take() {
            Some((hub, link)) => (hub, Ok(link)),
            None => {
                let hub = self.next_hub(updates, commanded).await?;
                (hub, self.dial.dial(hub).await)
            }
        };
        let left = match link {
            Ok(link) => self.follow(hub, link, updates, commanded).await,
            Err(why) => why.into(),
        };
        let now = Instant::now();
        self.standing.metrics.connected(None);
        let nobody = |link: &mut source::Link| (link.peer, link.unwell) = (None, None);
        if matches!(left, Left::Gone) || self.standing.tell(updates, nobody).await.is_err() {
            return Err(Gone);
        }
        note(&self.standing.metrics, &mut self.choice, hub, &left);
        match &left {
            // The moment was drawn already, and data is as good as it was.
            Left::Moved => self.choice.passed(hub, now),
            // Another one was reached.
            Left::Wrong => self.choice.passed(hub, now),
            // It is as good as it was, if the other one should not be.
            Left::Home => {}
            Left::Stale { .. } | Left::Slow => {
                self.choice.passed(hub, now);
                self.patience = self.patience.saturating_mul(2).min(MAX_PATIENCE);
            }
            Left::RetryAfter { after, .. } => {
                self.choice.failed(hub, now, (*after).min(MAX_RETRY_AFTER), &self.standing.jitter);
            }
            _ => self.choice.failed(hub, now, Duration::ZERO, &self.standing.jitter),
        }
        if !matches!(left, Left::Moved | Left::Home) {
            if !std::mem::replace(&mut self.lost, true) {
                let why = format!("hub {hub}: {left}");
                updates.send(Update::Lost { why }).await.map_err(|_| Gone)?;
            }
            // All that lost the same hub do not go to the next one in the same moment.
            if self.reached.is_none() {
                let pause = self.standing.jitter.full(Policy::RECONNECT.first);
                self.pause(Instant::now() + pause, commanded).await?;
            }
        }
        Ok(())
    }

    /// Waits until there is a hub to dial.
    async fn next_hub(
        &mut self,
        updates: &Sender<Update>,
        commanded: &mut Commanded,
    ) -> Result<SocketAddr, Gone> {
        loop {
            if updates.is_closed() {
                return Err(Gone);
            }
            match self.choice.pick(Instant::now()) {
                Pick::Hub(hub) => return Ok(hub),
                Pick::Wait(until) => self.pause(until, commanded).await?,
            }
        }
    }

    /// Waits, or until a command makes waiting pointless.
    async fn pause(&mut self, until: Instant, commanded: &mut Commanded) -> Result<(), Gone> {
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return Ok(()),
                // Who commands may have gone, and the source goes on.
                Some(command) = commanded.recv() => {
                    if command == Command::AcceptCluster && self.standing.accept() {
                        self.choice.forgive();
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Follows a hub until it is left.
    async fn follow(
        &mut self,
        hub: SocketAddr,
        link: Link,
        updates: &Sender<Update>,
        commanded: &mut Commanded,
    ) -> Left {
        let jitter = self.standing.jitter.fork();
        let swing = jitter.spread(Duration::from_secs(1), PATIENCE_SPREAD).as_secs_f64();
        let mut session = Session::new(hub, link, &mut self.standing, updates);
        if let Err(left) = session.subscribe("").await {
            return left;
        }
        // When to go to the first choice, once this one is well.
        let mut home_at: Option<Instant> = None;
        let mut dialling = Dialling::default();
        loop {
            let others = self.choice.has_other(hub).then(|| Others {
                patience: self.patience.mul_f64(swing),
                untried: self.choice.has_other_than(session.wrong(), Instant::now()),
            });
            match session.step(commanded, others, &mut dialling).await {
                Ok(session::Step::Nothing) => {}
                Ok(session::Step::Proved { live }) => {
                    let now = Instant::now();
                    self.choice.healthy(hub, now);
                    self.lost = false;
                    if self.keeping.is_owed() {
                        self.keeping.save(self.choice.known());
                    }
                    if live {
                        self.patience = PATIENCE;
                        let draw = || now + jitter.between(HOME_AFTER.0, HOME_AFTER.1);
                        if *home_at.get_or_insert_with(draw) <= now {
                            if self.choice.prefers_other(hub, session.wrong(), now) {
                                session.end().await;
                                return Left::Home;
                            }
                            home_at = Some(draw());
                        }
                    } else {
                        home_at = None;
                    }
                }
                Ok(session::Step::Hubs(hubs)) => {
                    if self.choice.learn(&hubs) == Learned::Changed {
                        tracing::info!(hubs = hubs.len(), "the list of hubs has changed");
                        dialling.give_up_unless(|hub| self.choice.has(hub));
                        session.others_changed();
                    }
                    self.keeping.save(self.choice.known());
                }
                Ok(session::Step::Wrong { turn_of_wrong }) => {
                    // One that is wrong still tells what happens: it is followed until another one is reached.
                    if !dialling.is_busy()
                        && let Some(other) =
                            self.choice.other_than(hub, session.wrong(), turn_of_wrong, Instant::now())
                    {
                        dialling.begin(&self.dial, other);
                    }
                    session.stays();
                }
                Ok(session::Step::Dialled(Dialled { hub: other, link: Ok(link) })) => {
                    // What was wrong may have been mended meanwhile.
                    if !session.is_trusted() {
                        session.end().await;
                        self.reached = Some((other, link));
                        return Left::Wrong;
                    }
                }
                Ok(session::Step::Dialled(Dialled { hub: other, link: Err(why) })) => {
                    note(session.metrics(), &mut self.choice, other, &why.into());
                    self.choice.failed(other, Instant::now(), Duration::ZERO, &jitter);
                }
                Err(left) => {
                    session.end().await;
                    return left;
                }
            }
        }
    }
}

/// Counts why a hub was left or not reached, and says so if that is news.
fn note(metrics: &HubMetrics, choice: &mut Choice, hub: SocketAddr, left: &Left) {
    metrics.left(left.word());
    if choice.is_news(hub, left.word()) {
        tracing::info!(%hub, reason = left.word(), why = %left, "left hub");
    } else {
        tracing::debug!(%hub, reason = left.word(), why = %left, "left hub again");
    }
}

/// Nobody takes updates any more.
#[derive(Debug)]
struct Gone;

#[cfg(test)]
mod tests;
