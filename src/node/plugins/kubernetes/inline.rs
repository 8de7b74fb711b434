//! Answers of the inline lane: what the zone found, written into the reply as it is found.

use hickory_proto::op::ResponseCode;

use super::records::{EXPIRE, HOSTMASTER, REFRESH, RETRY};
use super::ruling::{Ruled, Ruling, Said, Sign, Ttls};
use super::{Kubernetes, NAME};
use crate::node::lane::names::Name;
use crate::node::lane::worker::Worker;
use crate::node::lane::writer::{self, Flags, NotHere, Writer};
use crate::node::lane::{Asked, Reached, Step, Written};
use crate::store::state::DataState;
use crate::zone::Table;
use crate::zone::answer::{Data, Host, Owner, Records, Scratch, Section};
use crate::zone::lookup::QueryType;
use crate::zone::name::Labels;

impl Step for Kubernetes {
    fn has(&self, name: &Labels) -> bool {
        self.rules.zone_of(name).is_some()
    }

    fn answer(&self, asked: &Asked<'_>, worker: &mut Worker, reply: &mut Writer<'_>) -> Reached {
        let question = asked.question;
        // One generation for the whole answer.
        let generation = self.store.current();
        let facts = self.store.facts_at(&generation, worker.now());
        let kind = QueryType::from(question.kind());
        let Some(Ruled { zone, ruling, said }) = self.rule(&generation, facts, question.labels(), kind)
        else {
            return Reached::Next;
        };
        let minute = worker.minute(&self.clock);
        let ttls = match ruling {
            Ruling::Records { records: Records::Version, .. } => self.version_ttls(question.labels(), minute),
            _ => self.ttls(question.labels(), said.state, minute),
        };
        let zone = question.wire_suffix(zone.name.len());
        let draft = Draft { kubernetes: self, table: &generation.table, asked, zone, said };
        let written = match &ruling {
            Ruling::Next => return Reached::Next,
            // What comes back from elsewhere is marked on its way.
            Ruling::PassOn if matches!(said.state, DataState::Live) => return Reached::Next,
            Ruling::Records { records, is_data } => draft.records(records, *is_data, ttls, worker, reply),
            Ruling::NoData => draft.denial(ResponseCode::NoError, ttls, worker, reply),
            // The fallback has its say first, where there is one that says anything.
            Ruling::NxDomain if self.fallback_at(worker.now(), said.state).is_none() => {
                draft.denial(ResponseCode::NXDomain, ttls, worker, reply)
            }
            // The zone is its own.
            _ => return Reached::General { at_hand: true },
        };
        written.map_or(Reached::General { at_hand: true }, Reached::Reply)
    }
}

/// A reply that is about to be written.
#[derive(Clone, Copy)]
struct Draft<'a> {
    /// Whose it is.
    kubernetes: &'a Kubernetes,
    /// The data.
    table: &'a Table,
    /// What was asked.
    asked: &'a Asked<'a>,
    /// The zone on the wire, as the question spells it.
    zone: &'a [u8],
    /// What is to be said of it.
    said: Said<'a>,
}

impl<'a> Draft<'a> {
    /// NOERROR with these records.
    fn records(
        self,
        records: &Records<'a>,
        is_data: bool,
        ttls: Ttls,
        worker: &mut Worker,
        reply: &mut Writer<'_>,
    ) -> Result<Written, NotHere> {
        reply.begin(self.asked.question)?;
        self.visit(records, ttls, &mut worker.scratch, reply)?;
        self.finish(ResponseCode::NoError, is_data.then_some(Sign::Positive), worker, reply)
    }

    fn visit(
        self,
        records: &Records<'a>,
        ttls: Ttls,
        scratch: &mut Scratch,
        reply: &mut Writer<'_>,
    ) -> Result<(), NotHere> {
        let mut result = Ok(());
        let mut each = |section: Section, owner: Owner<'a>, data: Data<'a>| {
            if result.is_ok() {
                result = self.record(section, owner, data, ttls, reply);
            }
        };
        records.visit(self.table, &self.kubernetes.rules, scratch, &mut each);
        result
    }

    fn record(
        self,
        section: Section,
        owner: Owner<'_>,
        data: Data<'_>,
        ttls: Ttls,
        reply: &mut Writer<'_>,
    ) -> Result<(), NotHere> {
        let section = match section {
            Section::Answer => writer::Section::Answer,
            Section::Additional => writer::Section::Additional,
        };
        let host;
        let owner = match owner {
            Owner::Question => writer::Owner::Question,
            Owner::Host(of) => {
                host = below(&of, self.zone)?;
                writer::Owner::Name(&host)
            }
        };
        let mut write = |data: &writer::Data<'_>| reply.record(section, &owner, ttls.records, data);
        match data {
            Data::A(ip) => write(&writer::Data::Address(ip.into())),
            Data::Aaaa(ip) => write(&writer::Data::Address(ip.into())),
            Data::Srv { weight, port, target } => {
                let target = &below(&target, self.zone)?;
                write(&writer::Data::Srv { weight, port, target })
            }
            // PTR records lead into the primary zone, whatever zone was asked.
            Data::Ptr(host) => {
                let primary = &self.kubernetes.rules.primary().ok_or(NotHere)?.name;
                let name = Name::new(
                    |each| {
                        host.labels(&mut *each);
                        primary.iter().for_each(each);
                    },
                    &[0],
                );
                write(&writer::Data::Ptr(&name.ok_or(NotHere)?))
            }
            Data::Ns(host) => write(&writer::Data::Ns(&below(&host, self.zone)?)),
            Data::Txt(text) => write(&writer::Data::Txt(text)),
            Data::Soa => self.soa(section, &owner, ttls, reply),
        }
    }

    /// A reply without records but for the zone's SOA.
    fn denial(
        self,
        rcode: ResponseCode,
        ttls: Ttls,
        worker: &mut Worker,
        reply: &mut Writer<'_>,
    ) -> Result<Written, NotHere> {
        reply.begin(self.asked.question)?;
        let apex = Name::new(|_| {}, self.zone).ok_or(NotHere)?;
        let ttls = ttls.of_denial(self.said.state);
        self.soa(writer::Section::Authority, &writer::Owner::Name(&apex), ttls, reply)?;
        self.finish(rcode, Some(Sign::Negative), worker, reply)
    }

    fn soa(
        self,
        section: writer::Section,
        owner: &writer::Owner<'_>,
        ttls: Ttls,
        reply: &mut Writer<'_>,
    ) -> Result<(), NotHere> {
        let mname = &below(&Host::NameServer, self.zone)?;
        let rname = &Name::new(|each| each(HOSTMASTER), self.zone).ok_or(NotHere)?;
        let numbers = [self.table.serial(), REFRESH, RETRY, EXPIRE, ttls.minimum];
        reply.record(section, owner, ttls.soa, &writer::Data::Soa { mname, rname, numbers })
    }

    /// Ends the reply, and only then counts it.
    fn finish(
        self,
        rcode: ResponseCode,
        sign: Option<Sign>,
        worker: &mut Worker,
        reply: &mut Writer<'_>,
    ) -> Result<Written, NotHere> {
        let flags = Flags { authoritative: true, rcode: rcode.low(), ..Flags::default() };
        let error = sign.and_then(|sign| self.said.error(sign));
        let error = error.as_ref().map(|(code, text)| (*code, text as &dyn std::fmt::Display));
        let len = reply.finish(self.asked.question, flags, error, &mut worker.dice)?;
        if let Some(counter) = sign.and_then(|sign| self.kubernetes.counters.of_stale(self.said.state, sign))
        {
            counter.increment_in(&mut worker.shard, 1);
        }
        Ok(Written { len, rcode: rcode.low(), plugin: NAME })
    }
}

/// The name of `host` below a zone on the wire.
fn below(host: &Host<'_>, zone: &[u8]) -> Result<Name, NotHere> {
    Name::new(|each| host.labels(each), zone).ok_or(NotHere)
}
