//! Following one kind of object: a whole list where there is no way around it, then a watch, for ever.
//!
//! Invariants:
//! * Nothing of a list is served before the list is complete, is of our cluster, and is not older than what is known
//!   within the epoch.
//! * A position that is known is resumed; a list is made only when the server does not keep the position any more, when
//!   the cluster or its epoch changed, or when versions are announced that never come.
//! * Whatever fails, what is known stays, and is tried for again with full jitter. No fault is answered by a request
//!   without a wait, except the end of a watch that lived, and the discovery that there are no streaming lists.
//! * A list that somebody wants to see, to be sure, never takes the place of watching: if it fails, the watch goes on.

mod check;
mod live;
mod measure;
mod orders;
mod relist;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::measure::Measure;
use self::orders::Asked;
pub(super) use self::orders::Orders;
use super::client::Client;
use super::fault::Fault;
use super::freshness::Freshness;
use super::list::AtLeast;
use super::report::{Identity, Lineage, Report, Stop};
use super::seen::Seen;
use super::watch::Watch;
use crate::ops::backoff::{Backoff, Policy};
use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;
use crate::source::{Resume, Wanted, command};
use crate::zone::object::Kind;

/// A watch that the server ends sooner than this was none: the next one waits.
const SHORT_LIVED: Duration = Duration::from_secs(1);

/// A position that is not kept any more leads to a list within this time, at random.
const EXPIRED_SPREAD: Duration = Duration::from_secs(2);

/// A server that does not keep the position of a list younger than this is not asked for lists all the time.
const LISTS_APART: Duration = Duration::from_secs(60);

/// What the followers of all kinds are made with.
pub(super) struct Common {
    /// What the objects are needed for.
    pub(super) wanted: Wanted,
    /// To the server.
    pub(super) client: Client,
    /// To the store.
    pub(super) report: Arc<Report>,
    /// What is asked of followers.
    pub(super) orders: Orders,
    /// Counts.
    pub(super) metrics: Arc<Metrics>,
}

/// Follows one kind.
pub(super) struct Follower {
    /// The kind.
    kind: Kind,
    /// What its objects are needed for.
    wanted: Wanted,
    /// To the server.
    client: Client,
    /// To the store, together with the other kinds.
    report: Arc<Report>,
    /// For waits and checks.
    jitter: Jitter,
    /// How long to wait after a fault.
    backoff: Backoff,
    /// What is measured.
    measure: Measure,
    /// Whether the server has streaming lists, as far as is known.
    streaming: bool,
    /// Whether the last list was a stream that failed: the next one is made of pages.
    stream_failed: bool,
    /// The lineage that all below belongs to.
    lineage: Lineage,
    /// What to do next.
    plan: Plan,
    /// What is asked of it.
    asked: Asked,
    /// Which events are news. Its floor is the version up to which everything was gone over.
    seen: Seen,
    /// The version that the main watch has come to.
    position: u64,
    /// The version that the store was told last.
    told: u64,
    /// What the snapshot had been told, which is ahead of where the watch goes on from; 0 once it was listed anew.
    resumed: u64,
    /// What is proved.
    freshness: Freshness,
    /// When the kind was last listed as a whole.
    listed: Option<Instant>,
    /// Small lists that failed one after the other.
    failed_checks: u32,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// Watch on from the position.
    Watch,
    /// List everything first.
    List(Why),
}

/// Why everything is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// Nothing is known, or nothing of this cluster and epoch.
    First,
    /// The server does not keep the position any more.
    Expired,
    /// Versions were announced that never came.
    Suspicious,
    /// The cluster's store is behind the position.
    Restored,
    /// Somebody asked for it.
    Asked(command::Why),
}

impl Why {
    /// Every reason, for metrics.
    const ALL: [Self; 7] = [
        Self::First,
        Self::Expired,
        Self::Suspicious,
        Self::Restored,
        Self::Asked(command::Why::Held),
        Self::Asked(command::Why::Audit),
        Self::Asked(command::Why::Lost),
    ];

    /// As metrics and logs name it.
    const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Expired => "expired",
            Self::Suspicious => "suspicious",
            Self::Restored => "restored",
            Self::Asked(why) => why.as_str(),
        }
    }

    /// Its place in [`Self::ALL`].
    const fn index(self) -> usize {
        match self {
            Self::First => 0,
            Self::Expired => 1,
            Self::Suspicious => 2,
            Self::Restored => 3,
            Self::Asked(command::Why::Held) => 4,
            Self::Asked(command::Why::Audit) => 5,
            Self::Asked(command::Why::Lost) => 6,
        }
    }
}

/// Why following was interrupted.
enum Interrupt {
    /// A request failed.
    Fault(Fault),
    /// Things are not as they were.
    Stop(Stop),
    /// What is known has to be listed anew.
    List(Why),
    /// The watch is good for nothing, and another one goes on from where it is.
    Reopen,
}

impl From<Fault> for Interrupt {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Stop> for Interrupt {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl Follower {
    /// A follower of `kind` that goes on from where `resume` ends, if that is known.
    pub(super) fn new(kind: Kind, common: &Common, resume: &Resume, jitter: Jitter) -> Self {
        let Common { wanted, client, report, orders, metrics } = common;
        // Positions are worth nothing without the cluster that they are of.
        let of_ours = |version| if resume.cluster_uid.is_empty() { 0 } else { version };
        let position = of_ours(resume.position.version(kind));
        let resumed = of_ours(resume.told.version(kind));
        Self {
            lineage: *report.lineage().borrow(),
            kind,
            wanted: *wanted,
            client: client.clone(),
            report: report.clone(),
            jitter,
            backoff: Backoff::new(Policy::RECONNECT),
            measure: Measure::new(metrics, kind),
            streaming: true,
            stream_failed: false,
            plan: if position > 0 { Plan::Watch } else { Plan::List(Why::First) },
            asked: orders.to(kind),
            seen: Seen::at(position),
            position,
            told: position,
            resumed,
            freshness: Freshness::new(position),
            listed: None,
            failed_checks: 0,
        }
    }

    /// Follows until nobody listens any more.
    pub(super) async fn run(mut self) {
        let mut since = Instant::now();
        loop {
            let interrupt = match self.cycle(since).await {
                // The next connection may lead to another server.
                Ok(()) => {
                    since = Instant::now();
                    continue;
                }
                Err(interrupt) => interrupt,
            };
            since = Instant::now();
            match self.recover(interrupt).await {
                Ok(wait) => tokio::time::sleep(wait).await,
                Err(Stop::Closed) => return,
                Err(Stop::Lineage) => {
                    // The first one is that of a process that knows none yet. More of them are servers that do not
                    // agree whose they are.
                    let known = self.lineage > 0;
                    self.forget();
                    if known {
                        let wait = self.backoff.failed(Instant::now(), &self.jitter);
                        tokio::time::sleep(wait).await;
                    }
                }
            }
        }
    }

    /// Connects, lists if need be, and watches until the server ends the watch. `since` is when the server was last
    /// found to be another than before: its identity has to be younger.
    async fn cycle(&mut self, since: Instant) -> Result<(), Interrupt> {
        self.identify(since).await?;
        if self.report.tells_progress() {
            self.freshness.bookmarks_tell();
        }
        let watch = match self.plan {
            Plan::List(why) => self.relist(why).await?,
            Plan::Watch => None,
        };
        self.plan = Plan::Watch;
        let watch = match watch {
            Some(watch) => watch,
            None => self.open().await?,
        };
        let opened = Instant::now();
        self.live(watch).await?;
        // The server ends each watch after its time, which is no fault, unless there was no time.
        if opened.elapsed() < SHORT_LIVED {
            let wait = self.backoff.failed(Instant::now(), &self.jitter);
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    async fn identify(&mut self, since: Instant) -> Result<(), Interrupt> {
        match self.report.identify(&self.client, since).await? {
            Identity::Ours => {}
            Identity::Foreign { why } => return Err(Fault::Denied { why }.into()),
        }
        let lineage = *self.report.lineage().borrow();
        if lineage == self.lineage { Ok(()) } else { Err(Stop::Lineage.into()) }
    }

    /// What follows from an interruption, and how long to wait before going on.
    async fn recover(&mut self, interrupt: Interrupt) -> Result<Duration, Stop> {
        let now = Instant::now();
        let fault = match interrupt {
            Interrupt::Stop(stop) => return Err(stop),
            // Whoever asks waits as long as is right.
            Interrupt::List(why @ Why::Asked(_)) => {
                self.plan = Plan::List(why);
                return Ok(Duration::ZERO);
            }
            Interrupt::List(why) => {
                self.plan = Plan::List(why);
                return Ok(self.backoff.failed(now, &self.jitter));
            }
            Interrupt::Reopen => return Ok(self.backoff.failed(now, &self.jitter)),
            Interrupt::Fault(fault) => fault,
        };
        self.measure.fault(&fault);
        let floor = match &fault {
            Fault::Busy { retry_after, .. } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        if self.gives_up_list() && !matches!(fault, Fault::Behind { .. }) {
            tracing::info!(kind = %self.kind, %fault, "a list that was asked for failed: watching on");
            return Ok(self.backoff.failed_with_floor(now, &self.jitter, floor));
        }
        match fault {
            Fault::NotStreaming { why } if self.streaming => {
                tracing::info!(kind = %self.kind, %why, "no streaming lists: listing page by page");
                self.streaming = false;
                Ok(Duration::ZERO)
            }
            Fault::Expired { why } => {
                tracing::info!(kind = %self.kind, %why, "the watch cannot go on from here: listing anew");
                // A list that expires half way is begun anew for the reason that it had.
                if self.plan != Plan::Watch {
                    return Ok(self.backoff.failed(now, &self.jitter));
                }
                self.plan = Plan::List(Why::Expired);
                if self.listed.is_some_and(|at| now.saturating_duration_since(at) < LISTS_APART) {
                    return Ok(self.backoff.failed(now, &self.jitter));
                }
                // Spread: a restarted API server tells this to everybody at once. Not more than that: those who have
                // waited for it to come back have waited enough.
                Ok(self.jitter.full(EXPIRED_SPREAD))
            }
            Fault::Behind { ref why } => {
                // Either this server's cache lags, or the cluster's store is behind: a consistent list tells.
                let known = self.highest();
                match super::list::small(&self.client, self.kind).await {
                    Ok(version) if version < known => {
                        self.plan = Plan::List(Why::Restored);
                        Ok(Duration::ZERO)
                    }
                    _ => {
                        self.lose(why.clone()).await?;
                        Ok(self.backoff.failed(now, &self.jitter))
                    }
                }
            }
            fault => {
                self.lose(fault.to_string()).await?;
                Ok(self.backoff.failed_with_floor(now, &self.jitter, floor))
            }
        }
    }

    /// Goes back to watching where a list that only would have been good to have has failed; whether there was one.
    /// Whoever asked for it asks again, and an API server that has no time for lists has to be watched all the same.
    fn gives_up_list(&mut self) -> bool {
        let for_good_measure =
            [command::Why::Held, command::Why::Audit].map(|why| Plan::List(Why::Asked(why)));
        let gives_up = self.known() > 0 && for_good_measure.contains(&self.plan);
        if gives_up {
            self.plan = Plan::Watch;
        }
        gives_up
    }

    /// Tells that the kind cannot be proved at present.
    async fn lose(&self, why: String) -> Result<(), Stop> {
        tracing::debug!(kind = %self.kind, %why, "following is interrupted");
        self.report.lose(format!("{}: {why}", self.kind)).await
    }

    /// Forgets what belonged to another lineage.
    fn forget(&mut self) {
        self.lineage = *self.report.lineage().borrow();
        self.plan = Plan::List(Why::First);
        (self.position, self.told, self.resumed) = (0, 0, 0);
        self.seen = Seen::at(0);
        self.freshness = Freshness::new(0);
    }

    /// The freshness that a list has to have for `why`.
    const fn at_least(&self, why: Why) -> AtLeast {
        match why {
            // A cache may answer, if it has come as far as we have.
            Why::Expired => AtLeast::Version(self.highest()),
            Why::First | Why::Suspicious | Why::Restored | Why::Asked(_) => AtLeast::Now,
        }
    }

    /// The version up to which all of the kind was told since this process began.
    const fn known(&self) -> u64 {
        let floor = self.seen.floor();
        if self.position > floor { self.position } else { floor }
    }

    /// The highest version that the store has anything of.
    const fn highest(&self) -> u64 {
        let known = self.known();
        if self.resumed > known { self.resumed } else { known }
    }

    async fn open(&self) -> Result<Watch, Fault> {
        let from = super::watch::From::Version(self.known());
        Watch::open(&self.client, self.kind, self.wanted, from, self.watch_timeout()).await
    }

    /// How long a watch may last: as client-go's, so that many do not end together.
    fn watch_timeout(&self) -> Duration {
        self.jitter.between(WATCH_TIMEOUT, WATCH_TIMEOUT * 2)
    }
}

/// The shortest time after which a watch is to end; the longest is twice that, as with client-go.
const WATCH_TIMEOUT: Duration = Duration::from_secs(300);
