//! What `outlast ctl top` and the status page get: what is asked for most and by whom, who answers, and how old the data
//! is. To look is to have it counted ([`Top`]); what is shown is of the last seconds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::shown::Shown;
use crate::ops::metrics::Metrics;
use crate::ops::top::counted::Counted;
use crate::ops::top::sketch::Often;
use crate::ops::top::{ARMED, Busiest, Top, WINDOW};
use crate::store::state::DataState;
use crate::store::status::store::State;
use crate::zone::name::Labels;

/// Names and clients that are told of.
const MOST: usize = 10;

/// Scrapes that are remembered, at least a [`LEAST`] apart: what one is compared with.
const SAMPLES: usize = 64;

/// Between two of them.
const LEAST: Duration = Duration::from_secs(1);

/// Who looks.
pub struct TopReport {
    /// What is counted while somebody does.
    top: Top,
    /// What is counted anyhow.
    metrics: Arc<Metrics>,
    /// What that said when somebody looked lately, the newest last.
    samples: Mutex<VecDeque<(Instant, Counted)>>,
}

/// What is going on. Rates are counts over a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TopStatus {
    /// Name of the node.
    pub name: String,
    /// The data that answers are from.
    pub data: Vec<TopData>,
    /// The time that names and clients are of, in milliseconds; 0 where nobody has looked before.
    pub over_ms: u64,
    /// Questions in this time.
    pub questions: u64,
    /// The busiest names, the first of all first.
    pub names: Vec<Busy>,
    /// The busiest clients.
    pub clients: Vec<Busy>,
    /// The time that answers are of, in milliseconds; 0 where nobody has looked before.
    pub answered_over_ms: u64,
    /// Answers by who gave them, the most frequent first: plugins, `pin`, or nothing for the server itself. Only blocks
    /// with `prometheus` count theirs.
    pub by_source: Vec<Share>,
    /// The same answers by rcode.
    pub by_rcode: Vec<Share>,
    /// Of them those that are from data that is old.
    pub stale: u64,
}

/// Data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TopData {
    /// Of which zone.
    pub zone: String,
    /// Its state.
    pub state: State,
    /// Seconds since it was last proved to be current.
    pub age_s: u64,
}

/// A name or a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Busy {
    /// Which.
    pub what: String,
    /// Questions for it, or from it.
    pub questions: u64,
    /// By how many that may be too high.
    pub too_many: u64,
}

/// A part of all answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Share {
    /// Which.
    pub what: String,
    /// Answers.
    pub answers: u64,
}

impl TopReport {
    /// Of a process's listeners and metrics.
    pub fn new(top: Top, metrics: Arc<Metrics>) -> Self {
        Self { top, metrics, samples: Mutex::default() }
    }

    /// What is going on at the node of this name; from now on it is counted for a while.
    pub fn look(&self, name: &str, shown: &Shown) -> TopStatus {
        self.top.arm();
        let Busiest { over, questions, names, clients } = self.top.busiest(MOST);
        let busy = |what: String, often: &Often| Busy { what, questions: often.count, too_many: often.error };
        let (answered_over_ms, Counted { by_source, by_rcode, stale }) = self.answered(Instant::now());
        TopStatus {
            name: name.to_owned(),
            data: shown.stores.iter().map(|store| store.into()).collect(),
            over_ms: millis(over),
            questions,
            names: names.iter().map(|often| busy(text(&often.key), often)).collect(),
            clients: clients.iter().map(|(client, often)| busy(client.to_string(), often)).collect(),
            answered_over_ms,
            by_source: shares(by_source),
            by_rcode: shares(by_rcode),
            stale,
        }
    }

    /// The answers since somebody looked a [`WINDOW`] ago or a little earlier, and the time that it is.
    fn answered(&self, now: Instant) -> (u64, Counted) {
        let counted = Counted::read(&self.metrics.render());
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let age = |then: Instant| now.saturating_duration_since(then);
        samples.retain(|(then, _)| age(*then) < ARMED);
        // Looks are seldom exactly so far apart.
        let enough = samples.iter().rfind(|(then, _)| age(*then) + LEAST / 2 >= WINDOW);
        let since = enough.or_else(|| samples.front()).map(|(then, before)| (*then, counted.since(before)));
        if samples.back().is_none_or(|(then, _)| age(*then) >= LEAST) {
            if samples.len() == SAMPLES {
                samples.pop_front();
            }
            samples.push_back((now, counted));
        }
        since.map_or_else(Default::default, |(then, since)| (millis(age(then)), since))
    }
}

impl From<&super::shown::ShownStore> for TopData {
    fn from(of: &super::shown::ShownStore) -> Self {
        let facts = of.store.facts(&of.store.current());
        let state = DataState::judge(facts, of.config.wanted.kinds(), of.config.limits);
        Self { zone: of.config.zone.clone(), state: state.into(), age_s: facts.age.as_secs() }
    }
}

/// Parts, the largest first.
fn shares(counts: BTreeMap<String, u64>) -> Vec<Share> {
    let mut shares: Vec<_> = counts.into_iter().map(|(what, answers)| Share { what, answers }).collect();
    shares.sort_by_key(|share| std::cmp::Reverse(share.answers));
    shares
}

/// A name on the wire, in presentation form.
fn text(wire: &[u8]) -> String {
    let mut labels = Vec::new();
    let mut rest = wire;
    while let Some((len, after)) = rest.split_first().filter(|(len, _)| **len > 0) {
        let Some((label, behind)) = after.split_at_checked(usize::from(*len)) else { break };
        labels.push(label);
        rest = behind;
    }
    Labels::from_labels(labels).map_or_else(|_| String::new(), |labels| labels.to_string())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    /// Counts so many answers of an origin.
    fn count(metrics: &Metrics, count: u64) {
        metrics.counter("outlast_stale_answers_total", &[("answer", "positive")]).increment(count);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_of_the_last_seconds_however_often_somebody_looks() {
        let metrics = Arc::new(Metrics::new());
        let report = TopReport::new(Top::default(), metrics.clone());
        let look = || {
            let status = report.look("n1", &Shown::default());
            (status.answered_over_ms, status.stale)
        };
        count(&metrics, 1_000);
        assert_eq!(look(), (0, 0), "nobody has looked before");
        // One answer a second; somebody looks every half of one.
        let mut seen = Vec::new();
        for half in 1..=20 {
            advance(Duration::from_millis(500)).await;
            count(&metrics, u64::from(half % 2 == 0));
            seen.push(look());
        }
        assert_eq!(seen[..3], [(500, 0), (1_000, 1), (1_500, 1)]);
        assert_eq!(seen[9], (5_000, 5));
        assert!(seen[9..].iter().all(|(over, _)| (4_500..=5_500).contains(over)), "{seen:?}");
        // Nobody has looked for a while.
        advance(ARMED).await;
        assert_eq!(look(), (0, 0));
        assert!(report.samples.lock().unwrap().len() <= SAMPLES);
    }

    #[test]
    fn names_are_as_people_write_them() {
        for (wire, want) in [
            (&b"\x03web\x04shop\0"[..], "web.shop."),
            (b"\0", "."),
            (b"\x08<script>\0", "\\060script\\062."),
            (b"\x05a.b\"c\0", "a\\046b\\034c."),
        ] {
            assert_eq!(text(wire), want);
        }
    }
}
