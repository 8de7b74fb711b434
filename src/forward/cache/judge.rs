//! Which replies are kept, as what, and for how long.
//!
//! The classes are CoreDNS's; the TTL of a negative reply is RFC 2308's, which CoreDNS does not follow (§5: the lesser
//! of the SOA record's TTL and its MINIMUM field).

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, Record, RecordType};

use super::entry::Class;
use super::policy::{NO_RECORD_TTL, Policy};

/// Where in the data of an RRSIG record the end of its time is (RFC 4034 §3.1).
const EXPIRATION: std::ops::Range<usize> = 8..12;

/// A reply as it came.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// Type that was asked for.
    pub kind: RecordType,
    /// Whether DNSSEC records were wanted.
    pub dnssec_ok: bool,
    /// Response code.
    pub rcode: ResponseCode,
    /// TC
    pub truncated: bool,
    /// The answer section.
    pub answers: &'a [Record],
    /// The authority section.
    pub authority: &'a [Record],
    /// The additional section, without OPT.
    pub additional: &'a [Record],
}

/// What becomes of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It is kept.
    Keep {
        /// As this.
        class: Class,
        /// For so many seconds.
        ttl: u32,
    },
    /// It is remembered as a failure.
    Failure,
    /// It is passed on as it is.
    Pass,
}

/// Judges a reply that came at `unix_s` (seconds; signatures have dates).
pub fn judge(said: &Said<'_>, policy: &Policy, unix_s: u64) -> Judged {
    if said.truncated || matches!(said.kind, RecordType::AXFR | RecordType::IXFR) {
        return Judged::Pass;
    }
    let class = match said.rcode {
        ResponseCode::ServFail | ResponseCode::NotImp => return Judged::Failure,
        // An NXDOMAIN at the end of an alias is not kept, as in CoreDNS; without an SOA record nobody knows for how
        // long it is good (RFC 2308 §5).
        ResponseCode::NXDomain if said.answers.is_empty() && said.has_soa() => Class::NxDomain,
        ResponseCode::NoError if said.leads_nowhere() => {
            if !said.has_soa() {
                return Judged::Pass;
            }
            Class::NoData
        }
        ResponseCode::NoError if said.answers.is_empty() && said.has_soa() => Class::NoData,
        ResponseCode::NoError => Class::Positive,
        _ => return Judged::Pass,
    };
    if said.dnssec_ok && said.records().any(|record| is_expired_signature(record, unix_s)) {
        return Judged::Pass;
    }
    let bounds = if class.is_denial() { policy.denial } else { policy.success };
    let least = said.records().map(|record| lifetime(record, class)).min();
    Judged::Keep { class, ttl: bounds.apply(least.unwrap_or(NO_RECORD_TTL)) }
}

impl Said<'_> {
    fn records(&self) -> impl Iterator<Item = &Record> {
        [self.answers, self.authority, self.additional].into_iter().flatten()
    }

    fn has_soa(&self) -> bool {
        self.authority.iter().any(|record| record.record_type() == RecordType::SOA)
    }

    /// Whether the answer is aliases only, and not what was asked for.
    fn leads_nowhere(&self) -> bool {
        const ALIASES: [RecordType; 3] = [RecordType::CNAME, RecordType::DNAME, RecordType::RRSIG];
        !self.answers.is_empty()
            && self.kind != RecordType::ANY
            && self.answers.iter().all(|record| {
                let kind = record.record_type();
                kind != self.kind && ALIASES.contains(&kind)
            })
    }
}

/// For how many seconds a record is good in a reply of this class.
fn lifetime(record: &Record, class: Class) -> u32 {
    match &record.data {
        RData::SOA(soa) if class.is_denial() => record.ttl.min(soa.minimum),
        _ => record.ttl,
    }
}

/// Whether a record is a signature whose time is over. One whose time has not come is none of this: a clock that
/// begins in 1970 would have nothing kept.
fn is_expired_signature(record: &Record, unix_s: u64) -> bool {
    let RData::Unknown { code: RecordType::RRSIG, rdata } = &record.data else { return false };
    let end = rdata.anything.get(EXPIRATION).and_then(|bytes| bytes.first_chunk());
    // RFC 4034 §3.1.5: 32 bits, compared by serial number arithmetic.
    end.is_some_and(|end| u32::from_be_bytes(*end).wrapping_sub(unix_s as u32).cast_signed() < 0)
}
