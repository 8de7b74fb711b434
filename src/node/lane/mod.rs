//! The inline lane: plain questions over UDP, answered in the thread that received them.
//!
//! ```text
//! datagram > question (taken apart in place) > block > steps of its plugins > writer > datagram
//!                │ not plain                       │ not answered at once
//!                └──────────────── bounded queue ──┴──> the general handler
//! ```
//!
//! What is answered here is answered without an allocation, a task, a channel or a lock that another thread could hold
//! for long; what needs more goes to the general handler as it came. Both say the same: `tests/lanes` compares them.
//!
//! * [`question`] reads a datagram; [`writer`] and [`names`] write the reply.
//! * [`shuffle`] is what `loadbalance` does, on the bytes of a reply.
//! * [`worker`] is what a thread keeps from one query to the next.
//!
//! A plugin says by [`Plugin::role`](super::chain::Plugin::role) what becomes of it here. What it does to a reply it
//! does in both; nothing is decided twice: steps ask what the general handler asks, and only write by themselves.
//!
//! Invariants:
//! * A step that has counted, marked or written nothing yet may leave a question to the general handler; one that
//!   has may not, but for what was written, which is forgotten.
//! * What an operator has pinned is left to the general handler, whatever the plugins have at hand.
//! * A question for which the general handler has no room is turned away only if nothing is at hand for it.
//! * A block whose plugins are not all known here has a lane up to the first such plugin: questions that come so far
//!   are left to the general handler. Whether a plugin behind it has a name in memory is known all the same.

pub mod names;
pub mod question;
pub mod shuffle;
pub mod worker;
pub mod writer;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use tokio::time::Instant;

use self::question::{First, Question};
use self::worker::Worker;
use self::writer::{Flags, Framing, NotHere, Writer};
use super::chain::Chain;
use super::gate;
use super::reply::EdeCode;
use super::router::Router;
use crate::ops::dns_metrics::{Family, Observation, PluginLabel, Proto, ZoneMetrics};
use crate::zone::name::Labels;

/// What becomes of a plugin in the lane.
pub enum Role {
    /// It is not known here: what comes to it is left to the general handler.
    General,
    /// It does nothing to plain questions that are answered here.
    None,
    /// It counts queries.
    Counts,
    /// It puts addresses into another order.
    Shuffles,
    /// It lowers the payload size of larger replies to this.
    Payload(u16),
    /// It has a name server's identifier for those who ask for it.
    Identifies,
    /// It answers.
    Answers(Arc<dyn Step>),
}

/// A plugin that answers in the lane.
pub trait Step: Send + Sync {
    /// Whether a name is one that it has in memory: the cache before it has none of these, the one behind it only
    /// these.
    fn has(&self, _name: &Labels) -> bool {
        false
    }

    /// Whether it answers questions for a name at once, whoever does it: they go ahead of others where not all can be
    /// answered. It decides nothing else.
    fn has_at_hand(&self, name: &Labels) -> bool {
        self.has(name)
    }

    /// Answers `asked.question` into `reply`, if that takes no more than memory.
    fn answer(&self, asked: &Asked<'_>, worker: &mut Worker, reply: &mut Writer<'_>) -> Reached;
}

/// A question, and what is known of it.
pub struct Asked<'a> {
    /// The question.
    pub question: &'a Question<'a>,
    /// Whether a plugin of the block has names like it in memory.
    pub in_memory: bool,
    /// Whether that plugin was asked already.
    pub is_behind: bool,
    /// Whether the general handler has no room: whatever is at hand is better than nothing.
    pub is_crowded: bool,
    /// The plugins of the block.
    plugins: &'a Chain,
}

impl Asked<'_> {
    /// When the servers that would be asked last answered again after none had; `None` if that never was.
    pub fn recovered(&self) -> Option<Instant> {
        self.plugins.iter().find_map(|plugin| plugin.recovered(self.question.wire_name()))
    }
}

/// How far a step came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// The next plugin decides; nothing was written.
    Next,
    /// It has to wait for something, or to do more than is done here.
    General {
        /// Whether the answer is there all the same: it goes ahead of others where not all can be given.
        at_hand: bool,
    },
    /// The reply is written, so many bytes.
    Reply(Written),
}

/// A reply that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its length.
    pub len: usize,
    /// Its response code.
    pub rcode: u8,
    /// The plugin that made it.
    pub plugin: &'static str,
}

/// What became of a question.
pub enum Outcome {
    /// The reply is in the buffer; this is to be counted, if anybody counts.
    Reply {
        /// Its length.
        len: usize,
        /// What there is to count, but for the time.
        seen: Option<Observation>,
    },
    /// Nothing is said to it: it is no query at all.
    Silence,
    /// It is the general handler's.
    General {
        /// Whether its answer is at hand there: it is ahead of others where not all can be answered.
        at_hand: bool,
    },
}

/// What becomes of a datagram for which the general handler has no room.
pub enum Crowded<'r> {
    /// Something was at hand, and is in the buffer.
    Answered {
        /// Its length.
        len: usize,
        /// What there is to count, but for the time, and where.
        seen: Option<(&'r ZoneMetrics, Observation)>,
    },
    /// SERVFAIL is in the buffer.
    Refused {
        /// Its length.
        len: usize,
        /// What there is to count, but for the time, and where.
        seen: Option<(&'r ZoneMetrics, Observation)>,
    },
    /// The block gives no reply to it.
    Silence,
    /// Nothing is written: it is no plain question, or not even that fits.
    NotHere,
}

/// A server block's plugins, as far as they are known here.
pub struct Lane {
    /// All of them.
    plugins: Chain,
    /// Those that answer, in the order of the chain.
    steps: Vec<Arc<dyn Step>>,
    /// Those behind the first plugin that is not known here: they are asked for nothing but what they have in memory.
    beyond: Vec<Arc<dyn Step>>,
    /// Whether queries are counted.
    counts: bool,
    /// What the server makes of replies.
    framing: Framing,
}

impl Lane {
    /// The lane of a block; `identity` is its listener's.
    pub fn new(plugins: &Chain, identity: &str) -> Self {
        let (steps, beyond) = (Vec::new(), Vec::new());
        let framing = Framing::default();
        let mut lane = Self { plugins: plugins.clone(), steps, beyond, counts: false, framing };
        let mut has_ended = false;
        for plugin in plugins.iter() {
            match plugin.clone().role(identity) {
                Role::None => {}
                Role::Answers(step) if has_ended => lane.beyond.push(step),
                Role::Answers(step) => lane.steps.push(step),
                Role::General => has_ended = true,
                // It would have a part in the answers of those before it.
                _ if has_ended || !lane.steps.is_empty() => has_ended = true,
                Role::Counts => lane.counts = true,
                Role::Shuffles => lane.framing.shuffles = true,
                Role::Payload(size) => lane.framing.max_payload = Some(size),
                Role::Identifies => lane.framing.has_nsid = true,
            }
        }
        lane
    }

    /// Answers a question into `buffer`, if that takes no more than memory; `is_crowded` if the general handler has no
    /// room for it.
    fn answer(
        &self,
        question: &Question<'_>,
        is_crowded: bool,
        worker: &mut Worker,
        buffer: &mut [u8],
    ) -> Outcome {
        let has = |step: &Arc<dyn Step>| step.has(question.labels());
        let holder = self.steps.iter().position(has);
        let in_memory = holder.is_some() || self.beyond.iter().any(has);
        let mut writer = Writer::new(buffer, self.framing);
        let mut is_there = false;
        for (at, step) in self.steps.iter().enumerate() {
            let is_behind = holder.is_some_and(|holder| at > holder);
            let asked = Asked { question, in_memory, is_behind, is_crowded, plugins: &self.plugins };
            let written = match step.answer(&asked, worker, &mut writer) {
                Reached::Next => continue,
                Reached::General { at_hand } => {
                    is_there = at_hand;
                    break;
                }
                Reached::Reply(written) => written,
            };
            let seen = self.counts.then(|| observed(question, &writer, written));
            return Outcome::Reply { len: written.len, seen };
        }
        Outcome::General { at_hand: is_there || self.has_at_hand(question.labels()) }
    }

    /// Whether one of the plugins answers questions for a name at once.
    fn has_at_hand(&self, name: &Labels) -> bool {
        self.steps.iter().chain(&self.beyond).any(|step| step.has_at_hand(name))
    }
}

/// Answers a datagram into `buffer`, if that takes no more than memory; and says where its answer is counted.
pub fn answer<'r>(
    router: &'r Router,
    datagram: &[u8],
    source: SocketAddr,
    worker: &mut Worker,
    buffer: &mut [u8],
) -> (Outcome, Option<&'r ZoneMetrics>) {
    let Some(question) = Question::read(datagram, source) else {
        if !gate::is_heard(datagram) {
            return (Outcome::Silence, None);
        }
        if let Some(reply) = gate::not_implemented(datagram)
            && let Some(place) = buffer.first_chunk_mut()
        {
            *place = reply;
            return (Outcome::Reply { len: reply.len(), seen: None }, None);
        }
        let is_at_hand = |First { name, .. }: First| {
            router.pins().has(&name) || router.lane(&name).is_some_and(|lane| lane.has_at_hand(&name))
        };
        let at_hand = First::read(datagram).is_some_and(is_at_hand);
        return (Outcome::General { at_hand }, None);
    };
    // Invariant: what is pinned is the general handler's.
    if router.pins().has(question.labels()) {
        return (Outcome::General { at_hand: true }, None);
    }
    let Some(lane) = router.lane(question.labels()) else {
        return (refused(&question, worker, buffer), Some(router.metrics().dropped()));
    };
    let zone = router.metrics().zone_for_labels(question.labels().iter());
    (lane.answer(&question, false, worker, buffer), Some(zone))
}

/// REFUSED: no block of the listener is for this question.
fn refused(question: &Question<'_>, worker: &mut Worker, buffer: &mut [u8]) -> Outcome {
    let mut reply = Writer::new(buffer, Framing::default());
    match without_records(question, ResponseCode::Refused, None, worker, &mut reply) {
        Ok(written) => Outcome::Reply { len: written.len, seen: Some(observed(question, &reply, written)) },
        Err(NotHere) => Outcome::General { at_hand: true },
    }
}

/// Answers a datagram for which the general handler has no room, for the reason `why`: with what is at hand, or else
/// with SERVFAIL.
pub fn crowded<'r>(
    router: &'r Router,
    datagram: &[u8],
    source: SocketAddr,
    why: &str,
    worker: &mut Worker,
    buffer: &mut [u8],
) -> Crowded<'r> {
    let Some(First { name, kind, .. }) = First::read(datagram) else { return Crowded::NotHere };
    let Some(lane) = router.lane(&name) else { return Crowded::NotHere };
    // Plugins have nothing to say of what is pinned.
    let is_pinned = router.pins().has(&name);
    if !is_pinned && lane.plugins.iter().any(|plugin| plugin.drops(source.ip(), &name, kind.into())) {
        return Crowded::Silence;
    }
    let Some(question) = Question::read(datagram, source) else { return Crowded::NotHere };
    let zone = router.metrics().zone_for_labels(question.labels().iter());
    if !is_pinned && let Outcome::Reply { len, seen } = lane.answer(&question, true, worker, buffer) {
        return Crowded::Answered { len, seen: seen.map(|seen| (zone, seen)) };
    }
    let error: (EdeCode, &dyn fmt::Display) = (EdeCode::Other, &why);
    let mut reply = Writer::new(buffer, lane.framing);
    match without_records(&question, ResponseCode::ServFail, Some(error), worker, &mut reply) {
        Ok(written) => {
            let seen = lane.counts.then(|| (zone, observed(&question, &reply, written)));
            Crowded::Refused { len: written.len, seen }
        }
        Err(NotHere) => Crowded::NotHere,
    }
}

/// Writes a reply of the server's own.
fn without_records(
    question: &Question<'_>,
    rcode: ResponseCode,
    error: Option<(EdeCode, &dyn fmt::Display)>,
    worker: &mut Worker,
    reply: &mut Writer<'_>,
) -> Result<Written, NotHere> {
    reply.begin(question)?;
    let flags = Flags { rcode: rcode.low(), ..Flags::default() };
    let len = reply.finish(question, flags, error, &mut worker.dice)?;
    Ok(Written { len, rcode: flags.rcode, plugin: "" })
}

/// What there is to count of a reply; the time is not known yet.
fn observed(question: &Question<'_>, writer: &Writer<'_>, written: Written) -> Observation {
    Observation {
        qtype: question.kind(),
        proto: Proto::Udp,
        family: Family::from(question.source().ip()),
        do_bit: question.dnssec_ok(),
        request_len: question.bytes().len(),
        response_len: writer.uncompressed_len(),
        rcode: written.rcode.into(),
        plugin: PluginLabel::of(written.plugin),
        elapsed: Duration::ZERO,
    }
}

#[cfg(test)]
mod tests;
