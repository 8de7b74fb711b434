//! What is counted and measured of many replies.

use std::time::Duration;

use tokio::time::Instant;

use super::judge::{Judgement, OUTSIDE, Reply, Verdict};
use super::message::Question;

/// Buckets of a histogram for each power of ten: a figure is at most 4 % too high.
const BUCKETS: usize = 64;

/// Powers of ten that a histogram has, from one microsecond on: up to 100 seconds.
const DECADES: usize = 8;

/// Replies that are quoted.
const QUOTED: usize = 20;

/// Times at which a node said that its data was old that are kept, the first ones: hours of them.
const MAX_TIMES: usize = 1 << 20;

/// The end of asking: who says in so much time before it that its data is old has not recovered.
const AT_THE_END: Duration = Duration::from_secs(2);

/// Which answers it is measured of how long they take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    /// All.
    All,
    /// Those on names outside the cluster.
    Outside,
    /// No more of them.
    Nothing,
}

impl Measured {
    fn has(self, question: &Question) -> bool {
        match self {
            Self::All => true,
            Self::Outside => question.name.ends_with(OUTSIDE.0),
            Self::Nothing => false,
        }
    }
}

/// How long answers took.
struct Histogram {
    /// How many, by time.
    counts: Vec<u64>,
    /// How many in all.
    all: u64,
}

impl Histogram {
    fn new() -> Self {
        Self { counts: vec![0; BUCKETS * DECADES], all: 0 }
    }

    fn add(&mut self, time: Duration) {
        let us = time.as_micros().max(1) as f64;
        let bucket = (us.log10() * BUCKETS as f64) as usize;
        self.counts[bucket.min(BUCKETS * DECADES - 1)] += 1;
        self.all += 1;
    }

    /// So many in a hundred took at most so long.
    fn percentile(&self, percent: u64) -> Duration {
        let wanted = (self.all * percent).div_ceil(100);
        let mut sum = 0;
        let reaches = |count: &u64| {
            sum += count;
            sum >= wanted
        };
        let bucket = self.counts.iter().position(reaches).unwrap_or_default();
        let us = if self.all == 0 { 0.0 } else { 10_f64.powf((bucket + 1) as f64 / BUCKETS as f64) };
        Duration::from_micros(us as u64)
    }
}

/// What is known of one node.
struct Node {
    /// When the first question was asked that it has not answered, if it has answered none since.
    waiting: Option<Instant>,
    /// The longest time from such a question to an answer.
    gap: Duration,
    /// When answers came that said that they were old.
    old: Vec<Instant>,
    /// Answers that said that they were held back.
    held: u64,
}

/// What is known of all.
pub struct Tally {
    /// Questions.
    queries: u64,
    /// Without a proper answer.
    failed: u64,
    /// With an answer that was never true.
    wrong: u64,
    /// With an answer that said that it was old.
    stale: u64,
    /// That nobody could judge.
    unknown: u64,
    /// How long answers took.
    times: Histogram,
    /// Which are measured.
    measured: Measured,
    /// By node.
    nodes: Vec<Node>,
    /// The first that were wrong or missing.
    quoted: Vec<String>,
    /// When asking began.
    began: Instant,
}

impl Tally {
    /// Of so many nodes that are asked from now on.
    pub fn new(nodes: usize, began: Instant) -> Self {
        let node = |_| Node { waiting: None, gap: Duration::ZERO, old: Vec::new(), held: 0 };
        Self {
            queries: 0,
            failed: 0,
            wrong: 0,
            stale: 0,
            unknown: 0,
            times: Histogram::new(),
            measured: Measured::All,
            nodes: (0..nodes).map(node).collect(),
            quoted: Vec::new(),
            began,
        }
    }

    /// Counts a reply; those of one node in their order.
    pub fn add(&mut self, reply: &Reply, judgement: &Judgement) {
        self.queries += 1;
        let why = match &judgement.verdict {
            Verdict::Right => None,
            Verdict::Wrong(why) => {
                self.wrong += 1;
                Some(("wrong", why.as_str()))
            }
            Verdict::Failed(why) => {
                self.failed += 1;
                Some(("failed", why.as_str()))
            }
            Verdict::Unknown => {
                self.unknown += 1;
                Some(("unknown", ""))
            }
        };
        if let Some((what, why)) = why.filter(|_| self.quoted.len() < QUOTED) {
            let at = reply.sent.saturating_duration_since(self.began);
            let Reply { node, life, question, .. } = reply;
            self.quoted.push(format!("{what}: {at:.1?}, node {node}.{life}, {question}: {why}"));
        }
        self.stale += u64::from(judgement.says_old);
        let Some(node) = self.nodes.get_mut(reply.node) else { return };
        if judgement.says_old && node.old.len() < MAX_TIMES {
            node.old.push(reply.came);
        }
        node.held += u64::from(judgement.says_held);
        let waiting = *node.waiting.get_or_insert(reply.sent);
        if !matches!(judgement.verdict, Verdict::Failed(_)) {
            node.gap = node.gap.max(reply.came.saturating_duration_since(waiting));
            node.waiting = None;
            if self.measured.has(&reply.question) {
                self.times.add(reply.came.saturating_duration_since(reply.sent));
            }
        }
    }

    /// How long these take is measured from now on, and nothing of what was before.
    pub fn measure(&mut self, what: Measured) {
        (self.times, self.measured) = (Histogram::new(), what);
    }

    /// Nothing more is measured.
    pub fn measured(&mut self) {
        self.measured = Measured::Nothing;
    }

    /// Questions that were asked.
    pub const fn queries(&self) -> u64 {
        self.queries
    }

    /// Without a proper answer.
    pub const fn failed(&self) -> u64 {
        self.failed
    }

    /// With an answer that was never true, or not any more.
    pub const fn wrong(&self) -> u64 {
        self.wrong
    }

    /// With an answer that said that it was old.
    pub const fn stale(&self) -> u64 {
        self.stale
    }

    /// That nobody could judge.
    pub const fn unknown(&self) -> u64 {
        self.unknown
    }

    /// The first that were wrong or missing, for people.
    pub fn quoted(&self) -> &[String] {
        &self.quoted
    }

    /// 99 of 100 answers came within this time.
    pub fn p99(&self) -> Duration {
        self.times.percentile(99)
    }

    /// The longest time that a node gave no answer to those who asked; asking ended at `end`.
    pub fn gap(&self, end: Instant) -> Duration {
        let waited = |node: &Node| node.waiting.map(|since| end.saturating_duration_since(since));
        let gap = |node: &Node| node.gap.max(waited(node).unwrap_or_default());
        self.nodes.iter().map(gap).max().unwrap_or_default()
    }

    /// How many nodes have said that something is held back.
    pub fn holders(&self) -> usize {
        self.nodes.iter().filter(|node| node.held > 0).count()
    }

    /// When each node had said, from this moment on, that its answers were old; `None` if one has not.
    pub fn detected(&self, since: Instant) -> Option<Duration> {
        let first = |node: &Node| node.old.iter().find(|at| **at >= since).copied();
        let firsts: Option<Vec<_>> = self.nodes.iter().map(first).collect();
        firsts?.into_iter().max().map(|last| last - since)
    }

    /// How long after this moment an answer last said that it was old; `None` if one still did at the end.
    pub fn recovered(&self, since: Instant, end: Instant) -> Option<Duration> {
        let last = self.nodes.iter().filter_map(|node| node.old.last()).max().copied();
        match last {
            Some(last) if last + AT_THE_END > end => None,
            Some(last) => Some(last.saturating_duration_since(since)),
            None => Some(Duration::ZERO),
        }
    }

    /// Whether no node has said for this long that its answers are old.
    pub fn is_fresh(&self, for_: Duration) -> bool {
        let old = |node: &Node| node.old.last().is_some_and(|last| last.elapsed() < for_);
        !self.nodes.iter().any(old)
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{Question, Type};
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn percentiles_are_at_most_a_bucket_too_high() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.percentile(99), Duration::ZERO);
        for ms in 1..=1000 {
            histogram.add(ms * MS);
        }
        let p99 = histogram.percentile(99);
        assert!(p99 >= 990 * MS && p99 < 1040 * MS, "{p99:?}");
        histogram.add(Duration::from_secs(100_000));
        assert!(histogram.percentile(100) > Duration::from_secs(90));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_of_many_replies() {
        let began = Instant::now();
        let mut tally = Tally::new(2, began);
        let question = Question::new("web.shop.svc.cluster.local.", Type::A);
        let mut add = |node, at: u32, verdict, says_old| {
            let sent = began + at * MS;
            let outcome = Err(String::new());
            let reply = Reply { node, life: 0, sent, came: sent + MS, question: question.clone(), outcome };
            tally.add(&reply, &Judgement { verdict, says_old, says_held: node == 1 });
        };
        add(0, 9, Verdict::Right, false);
        add(1, 9, Verdict::Right, false);
        add(0, 99, Verdict::Failed("nothing came".to_owned()), false);
        add(1, 99, Verdict::Right, true);
        add(0, 199, Verdict::Wrong("A 10.0.0.1".to_owned()), true);
        add(1, 299, Verdict::Unknown, false);
        let counts = [tally.queries(), tally.failed(), tally.wrong(), tally.stale(), tally.unknown()];
        assert_eq!(counts, [6, 1, 1, 2, 1]);
        assert_eq!(tally.gap(began + 900 * MS), 101 * MS, "node 0 from 99 to 200");
        assert_eq!(tally.detected(began + 50 * MS), Some(150 * MS), "node 0 was the last");
        assert_eq!(tally.detected(began + 150 * MS), None, "node 1 did not say it again");
        assert_eq!(tally.recovered(began + 150 * MS, began + 9000 * MS), Some(50 * MS));
        assert_eq!(tally.recovered(began + 150 * MS, began + 1000 * MS), None, "so it was at the end");
        assert_eq!(tally.holders(), 1);
        assert_eq!(
            tally.quoted()[0],
            "failed: 99.0ms, node 0.0, web.shop.svc.cluster.local. A: nothing came"
        );
        assert_eq!(tally.quoted().len(), 3);
        let (sent, outcome) = (began + 300 * MS, Err(String::new()));
        let reply = Reply { node: 1, life: 0, sent, came: sent + MS, question, outcome };
        let failed = Verdict::Failed("nothing came".to_owned());
        tally.add(&reply, &Judgement { verdict: failed, says_old: false, says_held: false });
        assert_eq!(tally.gap(began + 900 * MS), 600 * MS, "node 1 from 300 on");
    }
}
