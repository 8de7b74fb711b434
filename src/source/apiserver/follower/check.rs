//! The check beside the main watch: a small list, and a short watch that goes over everything since the last check.
//!
//! An open watch that says nothing looks like a cluster in which nothing happens. Every ten seconds a consistent list
//! of one object says how far the cluster's store has come, and a watch from the version that was last gone over
//! tells everything since, up to the bookmark that servers send two seconds before a watch's end. The watch is read to its
//! end, after which its connection serves the next request.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::super::PROVED_WITHIN;
use super::super::client::Client;
use super::super::fault::Fault;
use super::super::list;
use super::super::watch::{From, Step, Watch};
use crate::ops::jitter::Jitter;
use crate::ops::switches::{self, Protection};
use crate::source::Wanted;
use crate::zone::object::Kind;

/// Between two checks, ± [`SWING`].
const INTERVAL: Duration = Duration::from_secs(10);

/// How much the interval is jittered to either side.
const SWING: f64 = 0.2;

/// What a verifying watch asks for: the bookmark comes 2 s before this.
pub(super) const VERIFY_TIMEOUT: Duration = Duration::from_secs(3);

/// Verifying watches in one check. The first sees what a current server tells within a second; a server whose cache hears
/// of progress from its etcd every five seconds needs a second or third one.
const MAX_WATCHES: u32 = 3;

/// A check rests for at least so long before the next.
const MIN_REST: Duration = Duration::from_secs(1);

/// A verifying watch that has not ended by itself after this long is given up; half of what makes data stale.
const VERIFY_DEADLINE: Duration = Duration::from_secs(15);

/// Nobody is told of a shorter time than that.
const _: () = assert!(INTERVAL.as_secs() * 12 / 10 + VERIFY_TIMEOUT.as_secs() <= PROVED_WITHIN.as_secs());

/// Where a check stands.
enum State {
    /// The next one begins then.
    Waiting(Instant),
    /// The small list is under way.
    Listing {
        /// When it was sent.
        sent: Instant,
        /// The highest version that was known then.
        highest: u64,
        /// Its version.
        list: BoxFuture<'static, Result<u64, Fault>>,
    },
    /// The verifying watch is being opened.
    Opening(BoxFuture<'static, Result<Watch, Fault>>),
    /// The verifying watch is open.
    Verifying {
        /// When it was opened.
        opened: Instant,
        /// The watch.
        watch: Box<Watch>,
    },
}

/// What a check finds.
pub(super) enum Finding {
    /// A small list.
    SmallList {
        /// When it was sent.
        sent: Instant,
        /// The highest version that was known then.
        highest: u64,
        /// Its version.
        version: u64,
    },
    /// The next step of the verifying watch.
    Step(Box<Step>),
    /// The verifying watch has said all it had to say.
    Done {
        /// When it was opened.
        opened: Instant,
    },
    /// The check failed, and the next one is due in its time.
    Failed(Fault),
}

/// Checks, one after the other.
pub(super) struct Check {
    /// To the server.
    client: Client,
    /// The kind that is checked.
    kind: Kind,
    /// What its objects are needed for.
    wanted: Wanted,
    /// Where the check stands.
    state: State,
    /// When the current check began, or the last one.
    began: Instant,
    /// Verifying watches in the current check.
    watches: u32,
}

impl Check {
    /// The first check begins at once.
    pub(super) fn new(client: Client, kind: Kind, wanted: Wanted) -> Self {
        let now = Instant::now();
        Self { client, kind, wanted, state: State::Waiting(now), began: now, watches: 0 }
    }

    /// What the check finds next. `verified` is the version up to which everything was gone over, `highest` the highest
    /// of which anything is known. Cancel-safe.
    pub(super) async fn next(&mut self, (verified, highest): (u64, u64), jitter: &Jitter) -> Finding {
        loop {
            match &mut self.state {
                State::Waiting(_) if switches::is_off(Protection::Check) => std::future::pending().await,
                State::Waiting(until) => {
                    tokio::time::sleep_until(*until).await;
                    let (client, kind) = (self.client.clone(), self.kind);
                    let list = Box::pin(async move { list::small(&client, kind).await });
                    self.began = Instant::now();
                    self.watches = 0;
                    self.state = State::Listing { sent: self.began, highest, list };
                }
                State::Listing { sent, highest: then, list } => {
                    let (sent, then) = (*sent, *then);
                    return match list.await {
                        Ok(version) => {
                            self.open(verified);
                            Finding::SmallList { sent, highest: then, version }
                        }
                        Err(fault) => self.failed(fault, jitter),
                    };
                }
                State::Opening(watch) => match watch.await {
                    // From now on, not from when it was asked for: how long it lived says whether it said all.
                    Ok(watch) => {
                        self.state = State::Verifying { opened: Instant::now(), watch: Box::new(watch) };
                    }
                    Err(fault) => return self.failed(fault, jitter),
                },
                State::Verifying { opened, watch } => {
                    let opened = *opened;
                    return match tokio::time::timeout_at(opened + VERIFY_DEADLINE, watch.next()).await {
                        Ok(Ok(Some(step))) => Finding::Step(Box::new(step)),
                        Ok(Ok(None)) => {
                            self.rest(jitter);
                            Finding::Done { opened }
                        }
                        Ok(Err(fault)) => self.failed(fault, jitter),
                        Err(_) => {
                            let why = format!(
                                "a watch of {VERIFY_TIMEOUT:?} has not ended after {VERIFY_DEADLINE:?}"
                            );
                            self.failed(Fault::Unreachable { why }, jitter)
                        }
                    };
                }
            }
        }
    }

    /// The verifying watch has ended before it said enough: another one goes on, unless there were enough of them.
    ///
    /// Before that the server's cache is made to ask its etcd how far it is: some only do so when they have to.
    pub(super) fn again(&mut self, verified: u64) {
        if self.watches < MAX_WATCHES {
            let (client, kind) = (self.client.clone(), self.kind);
            self.open_after(verified, async move { list::nudge(&client, kind).await });
        }
    }

    /// Begins the verifying watch.
    fn open(&mut self, verified: u64) {
        self.open_after(verified, std::future::ready(Ok(())));
    }

    /// Begins the verifying watch after something else.
    fn open_after(&mut self, verified: u64, first: impl Future<Output = Result<(), Fault>> + Send + 'static) {
        let (client, kind, wanted) = (self.client.clone(), self.kind, self.wanted);
        let watch = Box::pin(async move {
            first.await?;
            Watch::open(&client, kind, wanted, From::Version(verified), VERIFY_TIMEOUT).await
        });
        self.watches += 1;
        self.state = State::Opening(watch);
    }

    /// The check is over: the next one begins in its time.
    pub(super) fn rest(&mut self, jitter: &Jitter) {
        let next = self.began + jitter.spread(INTERVAL, SWING);
        self.state = State::Waiting(next.max(Instant::now() + MIN_REST));
    }

    fn failed(&mut self, fault: Fault, jitter: &Jitter) -> Finding {
        self.rest(jitter);
        if let Fault::Busy { retry_after: Some(wait), .. } = &fault {
            self.state = State::Waiting(Instant::now() + *wait + jitter.full(INTERVAL));
        }
        Finding::Failed(fault)
    }
}
