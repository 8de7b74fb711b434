//! From what the zone found to records as they go on the wire.

use std::cell::RefCell;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record};

use super::NAME;
use super::ruling::Ttls;
use crate::node::query::Query;
use crate::node::reply::Reply;
use crate::zone::Table;
use crate::zone::answer::{Data, Host, Owner, Records, Scratch, Section};
use crate::zone::rules::{Rules, Zone};

/// SOA timers in seconds, as CoreDNS has them.
pub(super) const REFRESH: u32 = 7200;
pub(super) const RETRY: u32 = 1800;
pub(super) const EXPIRE: u32 = 86_400;

/// The first label of the SOA record's RNAME.
pub(super) const HOSTMASTER: &[u8] = b"hostmaster";

thread_local! {
    /// Room for keeping records distinct, used again by every query of a thread.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Makes the replies to one query from one generation.
#[derive(Clone, Copy)]
pub struct Encoder<'a> {
    /// The query.
    pub query: &'a Query,
    /// The zone that its name is in.
    pub zone: &'a Zone,
    /// The rules that found the answer.
    pub rules: &'a Rules,
    /// The table that it was found in.
    pub table: &'a Table,
    /// For how long it is good.
    pub ttls: Ttls,
}

impl Encoder<'_> {
    /// NOERROR with these records.
    pub fn records(&self, records: &Records<'_>) -> Reply {
        let mut reply = self.empty(ResponseCode::NoError);
        let ttl = self.ttls.records;
        let zone = self.zone_name();
        let mut each = |section: Section, owner: Owner<'_>, data: Data<'_>| {
            let owner = match owner {
                Owner::Question => Some(self.query.name().clone()),
                Owner::Host(host) => below(&host, &zone),
            };
            // A name that does not fit has no record: object names are bounded when they are read.
            let (Some(owner), Some(data)) = (owner, self.data(data, &zone)) else { return };
            let ttl = if matches!(data, RData::SOA(_)) { self.ttls.soa } else { ttl };
            let record = Record::from_rdata(owner, ttl, data);
            match section {
                Section::Answer => reply.answers.push(record),
                Section::Additional => reply.additional.push(record),
            }
        };
        SCRATCH.with_borrow_mut(|scratch| records.visit(self.table, self.rules, scratch, &mut each));
        reply
    }

    /// A reply without records but for the zone's SOA.
    pub fn negative(&self, rcode: ResponseCode) -> Reply {
        let zone = self.zone_name();
        let soa = self.soa(&zone).map(|soa| Record::from_rdata(zone, self.ttls.soa, RData::SOA(soa)));
        Reply { authority: soa.into_iter().collect(), ..self.empty(rcode) }
    }

    /// The CNAME record of the query's name.
    pub fn alias(&self, target: &Name) -> Record {
        Record::from_rdata(self.query.name().clone(), self.ttls.records, RData::CNAME(CNAME(target.clone())))
    }

    /// An authoritative reply without records.
    pub fn empty(&self, rcode: ResponseCode) -> Reply {
        Reply { authoritative: true, ..Reply::new(rcode, NAME) }
    }

    /// The zone as the query spells it.
    fn zone_name(&self) -> Name {
        self.query.name().trim_to(self.zone.name.len())
    }

    fn data(&self, data: Data<'_>, zone: &Name) -> Option<RData> {
        Some(match data {
            Data::A(ip) => RData::A(A(ip)),
            Data::Aaaa(ip) => RData::AAAA(AAAA(ip)),
            Data::Srv { weight, port, target } => {
                RData::SRV(SRV::new(0, weight, port, below(&target, zone)?))
            }
            // PTR records lead into the primary zone, whatever zone was asked.
            Data::Ptr(host) => {
                let primary = Name::from_labels(self.rules.primary()?.name.iter()).ok()?;
                RData::PTR(PTR(below(&host, &primary)?))
            }
            Data::Ns(host) => RData::NS(NS(below(&host, zone)?)),
            Data::Txt(text) => RData::TXT(TXT::new(vec![text.to_owned()])),
            Data::Soa => RData::SOA(self.soa(zone)?),
        })
    }

    fn soa(&self, zone: &Name) -> Option<SOA> {
        let mname = below(&Host::NameServer, zone)?;
        let rname = zone.prepend_label(HOSTMASTER).ok()?;
        let [refresh, retry, expire] = [REFRESH, RETRY, EXPIRE].map(u32::cast_signed);
        Some(SOA::new(mname, rname, self.table.serial(), refresh, retry, expire, self.ttls.minimum))
    }
}

/// The name of `host` below `zone`.
fn below(host: &Host<'_>, zone: &Name) -> Option<Name> {
    let mut labels: Vec<Vec<u8>> = Vec::with_capacity(8);
    host.labels(|label| labels.push(label.to_vec()));
    labels.extend(zone.iter().map(<[u8]>::to_vec));
    Name::from_labels(labels).ok()
}
