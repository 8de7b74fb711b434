//! Names that an operator has pinned: answered so, whatever the cluster, the Corefile and upstreams say.
//!
//! ```text
//! outlast ctl pin > control > keep (disk, end) > Pins < router, lane
//! ```
//!
//! * here: what the query path asks, and what it says then.
//! * [`pin`]: what can be pinned, and the table of it.
//! * [`keep`]: orders, the file, the end of each pin, and what is said of them.
//! * [`status`]: what people and scripts see.
//!
//! Pins are ahead of all plugins: no wrong Corefile is in their way, and `acl`, `log` and `rewrite` do not see them. They
//! outlive configurations, and are for every listener.
//!
//! A name that is pinned is there for all types, so that no client takes the NXDOMAIN of another type for the last word
//! on it (musl does). Its addresses are pinned together: where only those of one family are, there are none of the other
//! one, and nobody is led past the pin by them, or waits for an upstream that is away.
//!
//! Invariants:
//! * Where nothing is pinned, a query costs one load more.
//! * What is pinned is answered by the general handler alone; the lane leaves such names to it.
//! * What has ended is not answered, whether or not somebody has tidied it up.

pub mod keep;
pub mod pin;
pub mod status;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, Name, RData, Record};
use metrics::Counter;
use tokio::time::Instant;

use self::pin::{Pin, Pinned, Table};
use super::chain::Outcome;
use super::query::Query;
use super::reply::{Ede, EdeCode, Reply};
use crate::ops::age::Age;
use crate::ops::metrics::Metrics;
use crate::zone::name::Labels;

/// Who answers, as metrics name it.
pub const NAME: &str = "pin";

/// The longest TTL of an answer in seconds: how long clients may go on with it once it is unpinned.
const MAX_TTL: u64 = 30;

/// Answers that were given because they are pinned.
const ANSWERS_TOTAL: &str = "outlast_pinned_answers_total";

/// What is pinned in a process; clones share it.
#[derive(Clone)]
pub struct Pins(Arc<Inner>);

/// See [`Pins`].
struct Inner {
    /// Whether anything is.
    any: AtomicBool,
    /// What it is.
    table: ArcSwap<Table>,
    /// Held by the one who changes it.
    changing: Mutex<()>,
    /// Answers.
    answers: Counter,
}

/// What the pins have to say to a question.
pub enum Found {
    /// Nothing is pinned at its name.
    Nothing,
    /// The name is there, and its type is a matter of the plugins.
    Name,
    /// This is the answer. Where it is an alias for another type, the question goes on at this name.
    Reply(Box<Reply>, Option<Name>),
}

impl Default for Pins {
    /// Nothing is pinned, and nothing is counted.
    fn default() -> Self {
        Self::counted(Counter::noop())
    }
}

impl Pins {
    /// Nothing is pinned.
    pub fn new(metrics: &Metrics) -> Self {
        metrics.describe_counter(ANSWERS_TOTAL, "Answers as an operator has pinned them.");
        let answers = metrics.counter(ANSWERS_TOTAL, &[]);
        answers.increment(0);
        Self::counted(answers)
    }

    fn counted(answers: Counter) -> Self {
        let (any, table, changing) = (AtomicBool::new(false), ArcSwap::default(), Mutex::new(()));
        Self(Arc::new(Inner { any, table, changing, answers }))
    }

    /// Whether something is pinned at a name.
    pub fn has(&self, name: &Labels) -> bool {
        self.any() && self.0.table.load().has(name)
    }

    /// Whether anything is pinned at all.
    fn any(&self) -> bool {
        self.0.any.load(Ordering::Relaxed)
    }

    /// Everything that is pinned now.
    pub fn table(&self) -> Guard<Arc<Table>> {
        self.0.table.load()
    }

    /// Changes what is pinned: readers see all of it or nothing.
    pub fn change<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        let _one = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = Table::clone(&self.0.table.load());
        let done = change(&mut table);
        let any = !table.pins().is_empty();
        self.0.table.store(Arc::new(table));
        self.0.any.store(any, Ordering::Relaxed);
        done
    }

    /// What there is to say to a question; a reply is counted.
    pub fn find(&self, query: &Query) -> Found {
        if !self.any() || !query.is_query() || query.class() != DNSClass::IN {
            return Found::Nothing;
        }
        let (table, now) = (self.0.table.load(), Instant::now());
        let (pin, records) = match table.find(query.labels(), query.kind(), now) {
            Pinned::Nothing => return Found::Nothing,
            Pinned::OtherType => return Found::Name,
            Pinned::NoAddress(pin) => (pin, false),
            Pinned::Records(pin) => (pin, true),
        };
        self.0.answers.increment(1);
        let mut reply = reply(pin, now);
        if records {
            reply.answers = answers(pin, query, now);
        }
        let target = match pin.values.first().map(|value| &value.data) {
            Some(RData::CNAME(target)) if pin.kind != query.kind() => Some(target.0.clone()),
            _ => None,
        };
        Found::Reply(Box::new(reply), target)
    }
}

/// What plugins say of another type of a name at which something is pinned: there may be none, and the name is there.
pub fn there(mut outcome: Outcome) -> Outcome {
    if let Outcome::Reply(reply) = &mut outcome
        && reply.rcode == ResponseCode::NXDomain
    {
        reply.rcode = ResponseCode::NoError;
    }
    outcome
}

/// A reply without records, for what is pinned at its name.
fn reply(pin: &Pin, now: Instant) -> Reply {
    let left = Age(pin.span.until.saturating_duration_since(now));
    let text = format!("pinned by an operator, for {left} more");
    let ede = Some(Ede { code: EdeCode::ForgedAnswer, text });
    Reply { authoritative: true, ede, ..Reply::new(ResponseCode::NoError, NAME) }
}

/// The records of a pin, in the order in which they were pinned.
fn answers(pin: &Pin, query: &Query, now: Instant) -> Vec<Record> {
    let left = pin.span.until.saturating_duration_since(now).as_secs();
    // At most MAX_TTL.
    let ttl = left.min(MAX_TTL) as u32;
    let record = |data: &RData| Record::from_rdata(query.name().clone(), ttl, data.clone());
    pin.values.iter().map(|value| record(&value.data)).collect()
}

#[cfg(test)]
mod tests;
