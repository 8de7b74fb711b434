//! What becomes of a question, decided before anything is written, counted or asked: once for both ways that answers
//! take.

use std::fmt;
use std::time::Duration;

use super::{Kubernetes, held};
use crate::node::reply::EdeCode;
use crate::ops::jitter::answer_ttl;
use crate::store::Generation;
use crate::store::open_hold::OpenHold;
use crate::store::state::{DataState, Facts};
use crate::zone::answer::{Answer, Records, VERSION_TTL};
use crate::zone::lookup::{QueryType, is_private_reverse};
use crate::zone::name::Labels;
use crate::zone::object::Kinds;
use crate::zone::rules::Zone;

/// Records from stale data live at most this long, so that clients are soon back after a recovery.
const STALE_TTL: u32 = 30;

/// Negative answers from stale data live this long: what is missing may have appeared since.
pub(super) const STALE_NEGATIVE_TTL: u32 = 5;

/// SOA records live at most this long, in seconds.
const MAX_SOA_TTL: u32 = 300;

/// What becomes of a question for a name in one of our zones.
pub(super) enum Ruling<'a> {
    /// The next plugin decides.
    Next,
    /// It is not answered here.
    Refused,
    /// The data is too old to be served: so old.
    Expired(Duration),
    /// There are records.
    Records {
        /// They.
        records: Records<'a>,
        /// Whether they are about the cluster's objects.
        is_data: bool,
    },
    /// There is an alias for this name.
    Alias(&'a str),
    /// The name has no record of the type.
    NoData,
    /// There is no such name.
    NxDomain,
    /// There is no such name here; perhaps the next plugin knows it.
    PassOn,
    /// These kinds have never been seen whole.
    NotReady(Kinds),
}

/// A ruling with what is to be said of it.
pub(super) struct Ruled<'a> {
    /// The zone of the name.
    pub(super) zone: &'a Zone,
    /// What becomes of the question.
    pub(super) ruling: Ruling<'a>,
    /// What is to be said of the answer.
    pub(super) said: Said<'a>,
}

/// Whether an answer says that there is something.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// Records.
    Positive,
    /// NXDOMAIN or NODATA.
    Negative,
}

/// What is to be said of an answer.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    /// The state of the data that it is from.
    pub(super) state: DataState,
    /// Whether the data was ever proved to be current.
    pub(super) proved: bool,
    /// The data.
    pub(super) generation: &'a Generation,
    /// The hold that it is under.
    pub(super) hold: Option<&'a OpenHold>,
}

/// TTLs of one answer, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Ttls {
    /// Of records.
    pub records: u32,
    /// Of the SOA record.
    pub soa: u32,
    /// The SOA record's MINIMUM: the TTL before jitter.
    pub minimum: u32,
}

impl Ttls {
    /// Those of a denial from data of this state.
    #[must_use]
    pub(super) fn of_denial(self, state: DataState) -> Self {
        match state {
            DataState::Live => self,
            _ => Self { soa: self.soa.min(STALE_NEGATIVE_TTL), ..self },
        }
    }
}

impl Kubernetes {
    /// What becomes of a question for `name`; `None` if the name is in none of our zones.
    pub(super) fn rule<'a>(
        &'a self,
        generation: &'a Generation,
        facts: Facts,
        name: &'a Labels,
        kind: QueryType,
    ) -> Option<Ruled<'a>> {
        let (zone, answer) = self.rules.lookup(&generation.table, name, kind);
        let zone = zone?;
        let state = DataState::judge(facts, self.rules.kinds(), self.policy.limits);
        let hold = held::hold(generation, name, zone, self.rules.pods, &answer);
        let said = Said { state, proved: facts.proved, generation, hold };
        let ruling = match (state, answer) {
            (DataState::Expired { .. }, Answer::NxDomain) if self.may_be_upstream(name, zone) => Ruling::Next,
            (DataState::Expired { age }, answer) if is_data(&answer) => Ruling::Expired(age),
            (_, Answer::NotOurs) => Ruling::Next,
            (_, Answer::Refused) => Ruling::Refused,
            (_, Answer::Records(records)) => {
                let is_data = has_data(&records);
                Ruling::Records { records, is_data }
            }
            (_, Answer::Alias(target)) => Ruling::Alias(target),
            (_, Answer::NoData) => Ruling::NoData,
            (_, Answer::NxDomain) if self.falls_through(name) => Ruling::PassOn,
            (_, Answer::NxDomain) => Ruling::NxDomain,
            (_, Answer::NotReady(_))
                if self.policy.forwards_while_empty || self.may_be_upstream(name, zone) =>
            {
                Ruling::Next
            }
            (_, Answer::NotReady(missing)) => Ruling::NotReady(missing),
        };
        Some(Ruled { zone, ruling, said })
    }

    /// TTLs for this name in this minute (of Unix time): what `ttl` says less jitter, and less again from stale data.
    pub(super) fn ttls(&self, name: &Labels, state: DataState, minute: u64) -> Ttls {
        let cap = if matches!(state, DataState::Live) { u32::MAX } else { STALE_TTL };
        let jittered = |ttl| answer_ttl(ttl, self.policy.node, name.key(), minute).min(cap);
        let records = jittered(self.policy.ttl);
        Ttls {
            records,
            // Negative answers and SOA records never live longer than five minutes.
            soa: if self.policy.ttl <= MAX_SOA_TTL { records } else { jittered(MAX_SOA_TTL) },
            minimum: self.policy.ttl,
        }
    }

    /// Those of the version record: the specification is ours, whatever becomes of the data.
    pub(super) fn version_ttls(&self, name: &Labels, minute: u64) -> Ttls {
        let records = answer_ttl(VERSION_TTL, self.policy.node, name.key(), minute);
        Ttls { records, soa: records, minimum: self.policy.ttl }
    }

    fn falls_through(&self, name: &Labels) -> bool {
        self.policy.fallthrough.iter().any(|zone| name.is_within(zone))
    }

    /// Whether a name of which we can say nothing may have its answer upstream. Names that only this network
    /// can know must not leak.
    fn may_be_upstream(&self, name: &Labels, zone: &Zone) -> bool {
        self.falls_through(name) && zone.reverse && !is_private_reverse(name)
    }
}

/// Whether an answer is about the cluster's objects, whose data can be old or missing.
const fn is_data(answer: &Answer<'_>) -> bool {
    match answer {
        Answer::Records(records) => has_data(records),
        Answer::Alias(_) | Answer::NoData | Answer::NxDomain => true,
        Answer::NotOurs | Answer::Refused | Answer::NotReady(_) => false,
    }
}

/// The same for records.
const fn has_data(records: &Records<'_>) -> bool {
    !matches!(records, Records::Soa | Records::Version)
}

impl<'a> Said<'a> {
    /// What clients are told of an answer that is not known to be current, or that a guard holds on to.
    pub(super) fn error(self, sign: Sign) -> Option<(EdeCode, Remark<'a>)> {
        let hold = self.hold.filter(|_| sign == Sign::Positive);
        let code = match sign {
            Sign::Positive => EdeCode::StaleAnswer,
            Sign::Negative => EdeCode::StaleNxDomain,
        };
        match self.state {
            DataState::Stale { age } => {
                let frozen = self.generation.frozen.is_some();
                Some((code, Remark { age: Some(age), proved: self.proved, frozen, hold }))
            }
            _ => hold.map(|hold| (code, Remark { age: None, proved: true, frozen: false, hold: Some(hold) })),
        }
    }
}

/// What there is to know of an answer, for people.
pub(super) struct Remark<'a> {
    /// How old stale data is.
    age: Option<Duration>,
    /// Whether it was ever proved to be current.
    proved: bool,
    /// Whether an operator has it stay what it is.
    frozen: bool,
    /// The hold that it is under.
    hold: Option<&'a OpenHold>,
}

impl fmt::Display for Remark<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(age) = self.age {
            held::write_age(f, age, self.proved, self.frozen)?;
        }
        let Some(hold) = self.hold else { return Ok(()) };
        if self.age.is_some() {
            f.write_str("; ")?;
        }
        held::write_why(f, hold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_objects_say_can_be_stale() {
        for (answer, want) in [
            (Answer::Records(Records::Soa), false),
            (Answer::Records(Records::Version), false),
            (Answer::Records(Records::NameServers), true),
            (Answer::Alias("web.example.org"), true),
            (Answer::NoData, true),
            (Answer::NxDomain, true),
            (Answer::NotOurs, false),
            (Answer::Refused, false),
            (Answer::NotReady(Kinds::CORE), false),
        ] {
            assert_eq!(is_data(&answer), want);
        }
    }
}
