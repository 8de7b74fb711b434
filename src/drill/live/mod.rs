//! Watches an outage of a real cluster that somebody else makes: what nodes answer before, meanwhile and afterwards.
//!
//! It writes nothing, asks the API server nothing, and starts nothing. There is no history of what was true: what nodes
//! have answered before the cut is what they are held to, because from then on none of them can learn anything.
//!
//! Invariant: a cut counts only when it is real at every hub (`cut`): else the nodes would be praised for what they
//! did not have to do.

mod cut;
mod nodes;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use self::cut::{Cut, Sample};
use self::nodes::Node;
use super::ask::judge::says_old;
use super::ask::load;
use super::ask::message::{Message, Question, Type};
use super::processes::scrape;

/// How long all is watched before a cut is waited for.
const BEFORE: Duration = Duration::from_secs(30);

/// Between two rounds of questions.
const ROUND: Duration = Duration::from_secs(1);

/// How long a question waits.
const WITHIN: Duration = Duration::from_secs(1);

/// Between two looks at hubs.
const LOOK: Duration = Duration::from_secs(5);

/// Samples of a hub that are kept: minutes of them.
const MAX_SAMPLES: usize = 64;

/// When every node has to have said that its answers are old.
const DETECT: Duration = Duration::from_secs(90);

/// When every node has to have ceased to, after the end of the cut.
const RECOVER: Duration = Duration::from_secs(90);

/// What is quoted of answers that were missing or wrong.
const QUOTED: usize = 10;

/// Answers to one question that are remembered: names that change all the time have more, and are not judged then.
const MAX_ANSWERS: usize = 64;

/// How long after the last that hubs have learned nodes may answer it for the first time.
const LAG: Duration = Duration::from_secs(10);

/// Rounds without an answer that says that it is old, until a node has recovered.
const FRESH_ROUNDS: u32 = 5;

/// What is watched.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where nodes answer.
    pub dns: Vec<SocketAddr>,
    /// Names that are asked for, with a dot at the end.
    pub names: Vec<String>,
    /// Where hubs have their metrics.
    pub hubs: Vec<SocketAddr>,
    /// Where nodes have theirs.
    pub nodes: Vec<SocketAddr>,
    /// For how long at most, from the end of the first phase on.
    pub lasts: Duration,
    /// Whether to go on although nobody can tell whether the cut is real.
    pub unverified: bool,
}

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Questions.
    pub queries: u64,
    /// Without a proper answer.
    pub failed: u64,
    /// With an answer that nobody had given before the cut.
    pub wrong: u64,
    /// With an answer that said that it was old.
    pub stale: u64,
    /// Whether the cut was seen to be real at every hub.
    pub verified: bool,
    /// How long it lasted, in seconds; `None` if there was none.
    pub cut_s: Option<u64>,
    /// After how many seconds every node had said that its answers were old.
    pub detect_s: Option<u64>,
    /// The greatest age of its data in seconds that a node has said meanwhile; `None` where no node's metrics are known.
    pub oldest_s: Option<u64>,
    /// What was promised and not kept.
    pub broken: Vec<String>,
}

/// What is going on.
enum Phase {
    /// Answers are remembered.
    Before,
    /// The same, until the cut is real.
    Waiting,
    /// The cut is real, since then.
    Cut(Instant),
    /// It has ended.
    After(Instant),
}

/// Watches until the cut has ended and all is well again, or the time is over.
pub fn observe(config: &Config, say: &dyn Fn(&str)) -> Seen {
    let mut watching = Watching {
        config,
        say,
        phase: Phase::Before,
        seen: Seen::default(),
        known: HashMap::new(),
        samples: vec![Vec::new(); config.hubs.len()],
        nodes: config.nodes.iter().copied().map(Node::new).collect(),
        old: vec![None; config.dns.len()],
        fresh: vec![0; config.dns.len()],
        cut: None,
        number: 0,
    };
    if config.hubs.is_empty() && !config.unverified {
        watching.broken("not verified: nobody can tell whether the cut is real without the metrics of hubs");
        return watching.seen;
    }
    say("before: answers are remembered");
    let began = Instant::now();
    let mut looked = None;
    loop {
        let now = Instant::now();
        watching.round();
        if looked.is_none_or(|looked: Instant| looked.elapsed() >= LOOK) {
            watching.look();
            looked = Some(now);
        }
        if watching.goes_on(began) == Going::Over {
            return watching.end();
        }
        std::thread::sleep(ROUND.saturating_sub(now.elapsed()));
    }
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Going {
    /// There is more to see.
    On,
    /// All was seen.
    Over,
}

/// What is known while watching.
struct Watching<'a> {
    /// What is watched.
    config: &'a Config,
    /// Tells people.
    say: &'a dyn Fn(&str),
    /// What is going on.
    phase: Phase,
    /// What was seen.
    seen: Seen,
    /// What was answered until the cut was real, by name, and when it was first.
    known: HashMap<&'a str, BTreeMap<String, Instant>>,
    /// What hubs have said, by hub, the oldest first.
    samples: Vec<Vec<Sample>>,
    /// What nodes have said of themselves.
    nodes: Vec<Node>,
    /// By node: when it first and last said since the cut that its answers are old.
    old: Vec<Option<(Instant, Instant)>>,
    /// By node: rounds since it last said so.
    fresh: Vec<u32>,
    /// When the cut began.
    cut: Option<Instant>,
    /// Questions so far, for their ids.
    number: u16,
}

impl<'a> Watching<'a> {
    /// Asks every node for every name.
    fn round(&mut self) {
        let config = self.config;
        for (node, server) in config.dns.iter().enumerate() {
            self.fresh[node] = self.fresh[node].saturating_add(1);
            for name in &config.names {
                self.number = self.number.wrapping_add(1);
                self.seen.queries += 1;
                let question = Question::new(name.as_str(), Type::A);
                match load::ask(*server, &question, self.number, WITHIN) {
                    Ok(message) => self.answered(node, name, &message),
                    Err(error) => self.failed(node, name, &error.to_string()),
                }
            }
        }
    }

    fn failed(&mut self, node: usize, name: &str, why: &str) {
        self.seen.failed += 1;
        if self.seen.broken.len() < QUOTED {
            self.broken(&format!("{}, {name}: {why}", self.config.dns[node]));
        }
    }

    fn answered(&mut self, node: usize, name: &'a str, message: &Message) {
        // NOERROR and NXDOMAIN are answers.
        if message.truncated || ![0, 3].contains(&message.rcode) {
            return self.failed(node, name, &format!("rcode {}", message.rcode));
        }
        let now = Instant::now();
        if says_old(&message.errors) {
            self.seen.stale += 1;
            self.fresh[node] = 0;
            let first = self.old[node].map_or(now, |(first, _)| first);
            self.old[node] = Some((first, now));
        }
        let rows: BTreeSet<_> =
            message.answers.iter().map(|record| format!("{} {}", record.kind, record.data)).collect();
        let rows = rows.into_iter().collect::<Vec<_>>().join(", ");
        let answer = format!("rcode {}: {rows}", message.rcode);
        let known = self.known.entry(name).or_default();
        match self.phase {
            Phase::Before | Phase::Waiting if known.len() < MAX_ANSWERS => {
                known.entry(answer).or_insert(now);
            }
            Phase::Cut(_) if known.len() < MAX_ANSWERS && !known.contains_key(&answer) => {
                let server = self.config.dns[node].to_string();
                self.wrong(&server, name, &answer);
            }
            // What has changed meanwhile is known again.
            _ => {}
        }
    }

    fn wrong(&mut self, who: &str, name: &str, answer: &str) {
        self.seen.wrong += 1;
        if self.seen.broken.len() < QUOTED {
            self.broken(&format!("{who}, {name}: says {answer}, which nobody had said before the cut"));
        }
    }

    /// The cut is real since then, which was not known at that time: what was said meanwhile counts for it.
    fn begin_cut(&mut self, since: Instant) {
        for old in &mut self.old {
            *old = old.filter(|(_, last)| *last >= since).map(|(first, last)| (first.max(since), last));
        }
        let later = |at: &Instant| *at > since + LAG;
        let mut wrong = Vec::new();
        for (name, answers) in &mut self.known {
            // A name that changes all the time is not judged.
            if answers.len() < MAX_ANSWERS {
                wrong.extend(
                    answers.iter().filter(|(_, at)| later(at)).map(|(answer, _)| (*name, answer.clone())),
                );
                answers.retain(|_, at| !later(at));
            }
        }
        for (name, answer) in wrong {
            self.wrong("a node", name, &answer);
        }
        self.seen.verified = !self.config.hubs.is_empty();
        (self.phase, self.cut) = (Phase::Cut(since), Some(since));
    }

    /// Tells of names that nobody has answered with an address: they may be misspelled, and show little.
    fn tell_of_missing(&self) {
        for name in &self.config.names {
            let answers = self.known.get(name.as_str());
            if !answers.is_some_and(|answers| answers.keys().any(|answer| answer.contains("A "))) {
                (self.say)(&format!("no node has an address for {name}: is that the name that is meant?"));
            }
        }
    }

    /// Takes a sample of every hub and node.
    fn look(&mut self) {
        let is_cut = matches!(self.phase, Phase::Cut(_));
        for node in &mut self.nodes {
            // One that is not reached says nothing, and whoever says nothing keeps no promise.
            if let Ok(text) = scrape::scrape(node.at()) {
                node.take(nodes::Sample::of(&text), is_cut);
            }
        }
        for (samples, hub) in self.samples.iter_mut().zip(&self.config.hubs) {
            let Ok(text) = scrape::scrape(*hub) else { continue };
            let sum = |series| scrape::sum(&text, series);
            let answered = "coredns_kubernetes_rest_client_requests_total{code=\"2";
            samples.push(Sample {
                at: Instant::now(),
                age: sum("outlast_data_age_seconds"),
                ready: sum("outlast_apiserver_ready") > 0.0,
                version: sum("outlast_data_resource_version") + sum("outlast_data_generation"),
                watched: sum("outlast_apiserver_watch_age_seconds"),
                answered: text.lines().filter(|line| line.starts_with(answered)).filter_map(value).sum(),
            });
            if samples.len() > MAX_SAMPLES {
                samples.remove(0);
            }
        }
    }

    /// Since when the cut is real at every hub, or why it is none.
    fn is_cut(&self) -> Result<Instant, String> {
        if self.config.hubs.is_empty() {
            let firsts: Option<Vec<_>> = self.old.iter().map(|old| old.map(|(first, _)| first)).collect();
            return firsts
                .and_then(|firsts| firsts.into_iter().min())
                .ok_or_else(|| "not every node says that its answers are old".to_owned());
        }
        let mut since = None;
        for (hub, samples) in self.config.hubs.iter().zip(&self.samples) {
            match cut::judge(samples) {
                Cut::Real(at) => since = since.max(Some(at)),
                Cut::Not(why) => return Err(format!("hub {hub}: {why}")),
            }
        }
        since.ok_or_else(|| "there is no hub".to_owned())
    }

    /// What follows from what was seen so far.
    fn goes_on(&mut self, began: Instant) -> Going {
        let is_over = began.elapsed() >= BEFORE + self.config.lasts;
        match self.phase {
            Phase::Before if began.elapsed() >= BEFORE => {
                self.tell_of_missing();
                (self.say)("waiting for the cut");
                self.phase = Phase::Waiting;
            }
            Phase::Waiting => match self.is_cut() {
                Ok(since) => {
                    (self.say)("cut: the API server is away from every hub");
                    self.begin_cut(since);
                }
                Err(why) if is_over => {
                    self.broken(&format!("not cut: {why}"));
                    return Going::Over;
                }
                Err(_) => {}
            },
            Phase::Cut(since) => {
                let ends = match self.config.hubs.is_empty() {
                    true => self.are_fresh(),
                    false => self.samples.iter().any(|hub| hub.last().is_some_and(|last| last.ready)),
                };
                if ends || is_over {
                    self.seen.cut_s = Some(since.elapsed().as_secs());
                    self.hear(since);
                    if !ends {
                        self.broken(
                            "the time was over before the cut: nobody has seen whether nodes recover (--for)",
                        );
                        return Going::Over;
                    }
                    (self.say)("after: the API server is back");
                    self.phase = Phase::After(Instant::now());
                }
            }
            Phase::After(_) if self.are_fresh() => return Going::Over,
            Phase::After(since) if since.elapsed() >= RECOVER => {
                self.broken(&format!(
                    "answers still say that they are old {RECOVER:?} after the end of the cut"
                ));
                return Going::Over;
            }
            Phase::Before | Phase::After(_) => {}
        }
        Going::On
    }

    /// What nodes have said of themselves while the API server was away, since then.
    fn hear(&mut self, since: Instant) {
        let (cut, follows_hubs) = ((since, Instant::now()), !self.config.hubs.is_empty());
        let oldest = self.nodes.iter().filter_map(Node::oldest).max();
        self.seen.oldest_s = oldest.map(|age| age.as_secs());
        let broken = self.nodes.iter().flat_map(|node| node.broken(cut, DETECT, follows_hubs));
        self.seen.broken.extend(broken.collect::<Vec<_>>());
    }

    /// Whether no node has said for some rounds that its answers are old.
    fn are_fresh(&self) -> bool {
        self.fresh.iter().all(|rounds| *rounds > FRESH_ROUNDS)
    }

    fn broken(&mut self, why: &str) {
        self.seen.broken.push(why.to_owned());
    }

    /// What was seen in all.
    fn end(mut self) -> Seen {
        if let Some(cut) = self.cut {
            for (node, old) in self.old.clone().into_iter().enumerate() {
                let after = old.map(|(first, _)| first.saturating_duration_since(cut));
                let server = self.config.dns[node];
                match after {
                    Some(after) if after <= DETECT => {
                        self.seen.detect_s = self.seen.detect_s.max(Some(after.as_secs()));
                    }
                    Some(after) => {
                        self.broken(&format!("{server} has said after {after:.0?} that it is old"));
                    }
                    None if cut.elapsed() >= DETECT => {
                        self.broken(&format!("{server} has never said that its answers are old"));
                    }
                    // It was too short for that.
                    None => {}
                }
            }
        }
        self.seen
    }
}

/// The value of a line of metrics.
fn value(line: &str) -> Option<f64> {
    line.rsplit(' ').next()?.parse().ok()
}
