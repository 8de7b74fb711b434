//! Audits: now and then everything is listed, to find what watches have left out.
//!
//! The hop from the API server is where gaps happen. A list of everything costs it something, and so hubs make theirs
//! at random times, one at a time where they hear of each other, and not while the API server is in trouble. What a list
//! repairs is counted and named by the store's writer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::Counter;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::orders::ToSource;
use super::siblings::Family;
use crate::ops::jitter::Jitter;
use crate::ops::metrics::Metrics;
use crate::ops::switches::{self, Protection};
use crate::source::command::{Command, Why};
use crate::store::Store;
use crate::store::state::{DataState, Limits};
use crate::zone::object::Kinds;

/// Default, least and largest time between two audits. A list of a large cluster is some seconds' work for an API
/// server; what a day has left out, nobody wants to know any more.
pub const AUDIT_INTERVAL: (Duration, Duration, Duration) =
    (Duration::from_secs(30 * 60), Duration::from_secs(60), Duration::from_secs(24 * 3600));

/// By what part of it that varies: hubs that were started together do not list together.
const SWING: f64 = 0.5;

/// How long an audit is taken to last, for siblings: a large cluster is listed in less.
const LASTS: Duration = Duration::from_secs(60);

/// When it is tried again after a sibling's, or in trouble.
const AGAIN: Duration = Duration::from_secs(60);

/// After so many postponements it is made, whatever siblings do: one that always says that it audits is broken.
const MAX_POSTPONED: u32 = 10;

/// Makes audits.
pub(super) struct Audit {
    /// Between two.
    pub(super) interval: Duration,
    /// What is listed.
    pub(super) kinds: Kinds,
    /// What makes data stale.
    pub(super) limits: Limits,
    /// The data.
    pub(super) store: Arc<Store>,
    /// To the source.
    pub(super) source: ToSource,
    /// Siblings, which are told.
    pub(super) family: Arc<Family>,
    /// When the last one began, for people.
    pub(super) last: Arc<Last>,
    /// Spreads audits.
    pub(super) jitter: Jitter,
}

/// When the last audit began.
#[derive(Debug)]
pub(super) struct Last {
    /// How far apart they are, on average.
    every: Duration,
    /// When it was, if there was one.
    began: Mutex<Option<Instant>>,
}

impl Last {
    /// None yet.
    pub(super) const fn none(every: Duration) -> Self {
        Self { every, began: Mutex::new(None) }
    }

    /// How far apart audits are, on average.
    pub(super) const fn every(&self) -> Duration {
        self.every
    }

    /// How long ago.
    pub(super) fn ago(&self) -> Option<Duration> {
        self.began.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed())
    }
}

/// Counts of audits.
struct Counts {
    /// Begun.
    begun: Counter,
    /// Put off because a sibling made one.
    postponed: Counter,
    /// Put off because the data is not live.
    skipped: Counter,
}

impl Audit {
    /// Goes on until `stop`.
    pub(super) async fn run(self, metrics: Arc<Metrics>, stop: CancellationToken) {
        let name = "outlast_hub_audits_total";
        metrics.describe_counter(
            name,
            "Lists of everything to find what watches have left out: begun, postponed because another hub was at it, or \
             skipped because the API server is in trouble.",
        );
        let count = |outcome| metrics.counter(name, &[("outcome", outcome)]);
        let counts =
            Counts { begun: count("begun"), postponed: count("postponed"), skipped: count("skipped") };
        let _ = stop.run_until_cancelled(self.keep_auditing(&counts)).await;
    }

    async fn keep_auditing(&self, counts: &Counts) {
        if switches::is_off(Protection::Audit) {
            return;
        }
        loop {
            tokio::time::sleep(self.jitter.spread(self.interval, SWING)).await;
            let mut postponed = 0;
            loop {
                if !self.is_live() {
                    counts.skipped.increment(1);
                } else if self.family.is_sibling_auditing() && postponed < MAX_POSTPONED {
                    counts.postponed.increment(1);
                    postponed += 1;
                } else if self.source.ask(Command::Relist { kinds: self.kinds, why: Why::Audit }) {
                    break;
                }
                tokio::time::sleep(self.jitter.spread(AGAIN, SWING)).await;
            }
            counts.begun.increment(1);
            tracing::info!("audit: listing everything to compare");
            *self.last.began.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            self.family.audits(true);
            tokio::time::sleep(LASTS.min(self.interval / 2)).await;
            self.family.audits(false);
        }
    }

    fn is_live(&self) -> bool {
        let facts = self.store.facts(&self.store.current());
        DataState::judge(facts, self.kinds, self.limits) == DataState::Live
    }
}
