//! Whether a reply is right: whether what it says was true at some moment in a window before it came.
//!
//! Invariants:
//!
//! * The window ends when the reply came. It begins [`FRESH`] before the question was sent or, where the reply says how
//!   old its data is, as long before it and `SLACK` besides.
//! * A node never goes back: of one name, a later reply of the same life is not of an earlier moment.
//! * Nobody is right about a question of which nothing is known here: that is told, and counts for nothing.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::time::Instant;

use super::lives::{Lives, Moment};
use super::message::{ExtendedError, Message, Question, Type};
use super::rules::{self, Said, Seen, Subject};
use crate::drill::standin::etcd::Etcd;

/// How old an answer may be that says nothing of it: data is stale after 30 s, and is looked after every 15 s.
pub const FRESH: Duration = Duration::from_secs(45);

/// How much older than it says that it is an answer may be.
const SLACK: Duration = Duration::from_secs(15);

/// What names outside end with, and the address of each of them.
pub const OUTSIDE: (&str, Ipv4Addr) = (".example.", Ipv4Addr::new(192, 0, 2, 7));

/// Stale Answer and Stale NXDOMAIN Answer, RFC 8914 §4.4 and §4.20.
const STALE: [u16; 2] = [3, 19];

/// What answers say that are held although their object has vanished.
const HELD: &str = "held back: ";

/// Before the age in what stale answers say; and in those whose data was never proved, in which that is no age.
const AGES: [&str; 2] = ["last verified ", "not verified in the "];

/// What became of a question.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Which node was asked.
    pub node: usize,
    /// How often that node had been started anew.
    pub life: u32,
    /// When it was first asked.
    pub sent: Instant,
    /// When the reply came, or was given up.
    pub came: Instant,
    /// What was asked.
    pub question: Question,
    /// The reply, or why there is none.
    pub outcome: Result<Message, String>,
}

/// What is right besides what was true.
#[derive(Clone, Debug)]
pub struct Rules {
    /// See [`FRESH`].
    pub fresh: Duration,
    /// Whether nodes are promised never to go back.
    pub never_back: bool,
    /// When all data had been proved, within what may be [fresh](Self::fresh) then: from then on none is older than that, and
    /// none says that it is.
    pub proved: Option<Instant>,
    /// Whether nodes can know how old their data is: not those that find another time than they left.
    pub has_right_clocks: bool,
    /// Whether what vanishes in a restore is promised to go on.
    pub keeps: Keeps,
    /// For how long what was true is remembered at least, `None` for always: longer than [`fresh`](Self::fresh), and than
    /// any answer says that it is old. The stand-in's own history is forgotten as it is read then.
    pub remembers: Option<Duration>,
}

/// How often is forgotten what need not be remembered: looking for it takes a while.
const FORGETS_EVERY: Duration = Duration::from_secs(10);

impl Default for Rules {
    fn default() -> Self {
        Self {
            fresh: FRESH,
            never_back: true,
            keeps: Keeps::Nothing,
            remembers: None,
            proved: None,
            has_right_clocks: true,
        }
    }
}

/// What becomes of what vanishes in a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// It has vanished.
    Nothing,
    /// It goes on until an operator lets go of it, at this time.
    Vanished(Option<Instant>),
}

/// What is said of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was true.
    Right,
    /// It says what was not true, or not any more.
    Wrong(String),
    /// There is no proper answer, or it denies what there is.
    Failed(String),
    /// Nobody here knows.
    Unknown,
}

/// A reply with what is said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whether it is right.
    pub verdict: Verdict,
    /// Whether it says that its data is old.
    pub says_old: bool,
    /// Whether it says that it is held back.
    pub says_held: bool,
}

/// What a reply says of the age of its data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Freshness {
    /// It is old: at most so much, where that is known.
    old: Option<Option<Duration>>,
    /// It is held back.
    held: bool,
}

impl Freshness {
    /// Of the extended errors of a reply.
    fn of(errors: &[ExtendedError]) -> Self {
        let mut freshness = Self::default();
        for ExtendedError { text, .. } in errors.iter().filter(|error| STALE.contains(&error.code)) {
            let [proved, unproved] = AGES.map(|before| text.find(before).map(|at| at + before.len()));
            match (proved, unproved) {
                (Some(at), _) => freshness.old = Some(text.get(at..).and_then(longest)),
                // Nobody ever proved it, so that it may be of any age.
                (None, Some(_)) => freshness.old = Some(None),
                (None, None) => {}
            }
            freshness.held |= text.contains(HELD);
        }
        freshness
    }
}

/// The longest time that is told like that: `59s`, `5m59s`, `3h59m`, `2d23h`; the unit that was cut off is added.
fn longest(text: &str) -> Option<Duration> {
    let word = text.split([' ', ',', ';']).next()?;
    let (mut seconds, mut smallest, mut number) = (0_u64, 1_u64, String::new());
    for c in word.chars() {
        if c.is_ascii_digit() {
            number.push(c);
            continue;
        }
        smallest = match c {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return None,
        };
        seconds = seconds.checked_add(number.parse::<u64>().ok()?.checked_mul(smallest)?)?;
        number.clear();
    }
    number.is_empty().then(|| Duration::from_secs(seconds + smallest))
}

/// Whether these errors of a reply say that its data is old; held records are not.
pub fn says_old(errors: &[ExtendedError]) -> bool {
    Freshness::of(errors).old.is_some()
}

/// Judges replies by the history of a stand-in.
pub struct Judge {
    /// What was true.
    lives: Lives,
    /// What is right besides.
    rules: Rules,
    /// The earliest moment that the last reply of a node's life to a question can be of.
    last: HashMap<(usize, Question), (u32, Option<Instant>)>,
    /// When something was forgotten last.
    forgot: Instant,
}

/// A moment that a reply may be of, and what was to be said then; `None` where nobody knows.
type Candidate = (Option<Instant>, Option<Said>);

impl Judge {
    /// Begins with what the stand-in has now.
    pub fn begin(etcd: &Etcd, rules: Rules) -> Self {
        Self { lives: Lives::begin(etcd), rules, last: HashMap::new(), forgot: Instant::now() }
    }

    /// Reads what was written since. Before a reply is judged: what it says may be of the last moment.
    pub fn read(&mut self, etcd: &Etcd) {
        self.lives.read(etcd);
        let Some(remembers) = self.rules.remembers else { return };
        self.lives.forget_read(etcd);
        let now = Instant::now();
        if let Some(before) = now.checked_sub(remembers)
            && now.saturating_duration_since(self.forgot) >= FORGETS_EVERY
        {
            self.forgot = now;
            self.lives.forget(before);
            // Nothing earlier is known any more that a node could go back to.
            self.last.retain(|_, (_, at)| *at > Some(before));
        }
    }

    /// What is right besides, from now on.
    pub fn rules(&mut self) -> &mut Rules {
        &mut self.rules
    }

    /// What there is, to choose names from.
    pub fn lives(&self) -> &Lives {
        &self.lives
    }

    /// Judges a reply. Those of one node in their order.
    pub fn judge(&mut self, reply: &Reply) -> Judgement {
        let failed =
            |why: String| Judgement { verdict: Verdict::Failed(why), says_old: false, says_held: false };
        let message = match &reply.outcome {
            Ok(message) => message,
            Err(why) => return failed(why.clone()),
        };
        let freshness = Freshness::of(&message.errors);
        let too_old = freshness.old.flatten().filter(|age| self.is_too_old(*age, reply.came));
        let verdict = match Said::by(message, &reply.question.name) {
            Some(_) if too_old.is_some() => {
                Verdict::Wrong(format!("says that it is older than any data{}", told(&message.errors)))
            }
            _ if message.truncated => Verdict::Failed("the reply was cut".to_owned()),
            None => Verdict::Failed(format!("rcode {}{}", message.rcode, told(&message.errors))),
            Some(said) => self.verdict(reply, &said, freshness),
        };
        Judgement { verdict, says_old: freshness.old.is_some(), says_held: freshness.held }
    }

    /// Judges what a reply says.
    fn verdict(&mut self, reply: &Reply, said: &Said, freshness: Freshness) -> Verdict {
        let Some(candidates) = self.candidates(reply, freshness) else { return Verdict::Unknown };
        if candidates.iter().any(|(_, right)| right.is_none()) {
            return Verdict::Unknown;
        }
        let is = |candidate: &&Candidate| candidate.1.as_ref() == Some(said);
        let key = (reply.node, reply.question.clone());
        let last = self.last.get(&key).filter(|(life, _)| *life == reply.life).and_then(|(_, at)| *at);
        let last = last.filter(|_| self.rules.never_back);
        // None, which is before anything, is the least.
        if let Some((at, _)) = candidates.iter().filter(|(at, _)| *at >= last).find(is) {
            self.last.insert(key, (reply.life, *at));
            return Verdict::Right;
        }
        let ago = |at: &Option<Instant>| match at {
            Some(at) => format!("{:.1?} before", reply.came.saturating_duration_since(*at)),
            None => "ever".to_owned(),
        };
        let was = |(at, right): &Candidate| {
            format!("{} (since {})", right.as_ref().map(Said::text).unwrap_or_default(), ago(at))
        };
        let right = candidates.iter().map(was).collect::<Vec<_>>().join(", then ");
        let back = if candidates.iter().any(|candidate| is(&candidate)) { "went back: " } else { "" };
        let errors = reply.outcome.as_ref().map(|message| told(&message.errors)).unwrap_or_default();
        let why = format!("{back}says {}{errors}; right is {right}", said.text());
        if said.is_positive() || !back.is_empty() { Verdict::Wrong(why) } else { Verdict::Failed(why) }
    }

    /// What was to be said within the window of a reply, the oldest first; `None` where nobody knows.
    fn candidates(&self, reply: &Reply, freshness: Freshness) -> Option<Vec<Candidate>> {
        let Question { name, kind } = &reply.question;
        if name.ends_with(OUTSIDE.0) && *kind == Type::A {
            return Some(vec![(None, Some(Said::Records([format!("A {}", OUTSIDE.1)].into())))]);
        }
        let from = match freshness {
            Freshness { held: true, .. } => None,
            Freshness { old: Some(None), .. } => {
                self.rules.proved.and_then(|proved| proved.checked_sub(self.rules.fresh))
            }
            Freshness { old: Some(Some(age)), .. } => reply.sent.checked_sub(age + SLACK),
            Freshness { old: None, .. } => reply.sent.checked_sub(self.rules.fresh),
        };
        let window = (from, reply.came);
        match Subject::of(&reply.question)? {
            Subject::Service(key, part) => {
                let moments = self.lives.of(&key);
                let said = |seen: Option<&Seen>| rules::said(seen, &part, &reply.question, &key);
                if moments.is_empty() {
                    return Some(vec![(None, said(None))]);
                }
                let times = within(moments.iter().filter_map(|moment| self.begins(moment)), window);
                Some(times.into_iter().map(|at| (at, said(self.at(moments, at)))).collect())
            }
            Subject::Address(ip) => {
                let holders = self.lives.holders(ip);
                if holders.is_empty() {
                    return None;
                }
                let moments = holders.iter().flat_map(|(_, moments)| moments.iter());
                let times = within(moments.filter_map(|moment| self.begins(moment)), window);
                let said = |at| {
                    let seen =
                        holders.iter().filter_map(|(key, moments)| Some((*key, self.at(moments, at)?)));
                    rules::said_of(ip, seen)
                };
                Some(times.into_iter().map(|at| (at, Some(said(at)))).collect())
            }
        }
    }

    /// Whether no data can be of that age.
    fn is_too_old(&self, age: Duration, came: Instant) -> bool {
        let Some(proved) = self.rules.proved.filter(|_| self.rules.has_right_clocks) else { return false };
        // What was cut off of an age is at most a twenty-fourth of it.
        let since = came.saturating_duration_since(proved).mul_f64(1.05);
        age > since + self.rules.fresh + SLACK
    }

    /// When a moment begins for those who ask: `None` if never, within it `None` for always.
    fn begins(&self, moment: &Moment) -> Option<Option<Instant>> {
        let vanished = moment.by_restore && moment.seen.is_none();
        match self.rules.keeps {
            Keeps::Vanished(until) if vanished => until.map(|until| moment.at.max(Some(until))),
            Keeps::Vanished(_) | Keeps::Nothing => Some(moment.at),
        }
    }

    /// What a service was at this time.
    fn at<'a>(&self, moments: &'a [Moment], time: Option<Instant>) -> Option<&'a Seen> {
        let begun = |moment: &&Moment| self.begins(moment).is_some_and(|begins| begins <= time);
        moments.iter().rev().find(begun).and_then(|moment| moment.seen.as_deref())
    }
}

/// Of times at which something else began, those that are within a window or go on into it, in order. A window that
/// begins at `None` has them all.
fn within(
    times: impl Iterator<Item = Option<Instant>>,
    (from, to): (Option<Instant>, Instant),
) -> Vec<Option<Instant>> {
    let mut times: Vec<_> = times.filter(|at| at.is_none_or(|at| at <= to)).collect();
    times.sort_unstable();
    times.dedup();
    let first = from.and_then(|from| times.iter().rposition(|at| *at <= Some(from)));
    times.split_off(first.unwrap_or_default())
}

/// What extended errors say, for people.
fn told(errors: &[ExtendedError]) -> String {
    errors.iter().map(|error| format!(" ({}: {})", error.code, error.text)).collect()
}

#[cfg(test)]
mod tests;
