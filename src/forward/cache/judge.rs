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
        RData::SOA(soa) if class.is_denial() => seconds(record.ttl).min(seconds(soa.minimum)),
        _ => seconds(record.ttl),
    }
}

/// A TTL as it was meant: one with the highest bit set is 0 (RFC 2181 §8).
const fn seconds(ttl: u32) -> u32 {
    if ttl > i32::MAX.cast_unsigned() { 0 } else { ttl }
}

/// Whether a record is a signature whose time is over. One whose time has not come is none of this: a clock that
/// begins in 1970 would have nothing kept.
fn is_expired_signature(record: &Record, unix_s: u64) -> bool {
    let RData::Unknown { code: RecordType::RRSIG, rdata } = &record.data else { return false };
    let end = rdata.anything.get(EXPIRATION).and_then(|bytes| bytes.first_chunk());
    // RFC 4034 §3.1.5: 32 bits, compared by serial number arithmetic.
    end.is_some_and(|end| u32::from_be_bytes(*end).wrapping_sub(unix_s as u32).cast_signed() < 0)
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Name;

    use super::super::policy::Bounds;
    use super::*;

    /// Records, one a line, as `owner ttl type data`.
    fn records(text: &str) -> Vec<Record> {
        let record = |line: &str| {
            let [owner, ttl, kind, data] = line.trim().splitn(4, ' ').collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            let kind: RecordType = kind.parse().unwrap();
            let data = RData::try_from_str(kind, data).unwrap();
            Record::from_rdata(Name::from_ascii(owner).unwrap(), ttl.parse().unwrap(), data)
        };
        text.split('|').map(str::trim).filter(|line| !line.is_empty()).map(record).collect()
    }

    /// A reply to a question for an address.
    struct Case {
        name: &'static str,
        rcode: ResponseCode,
        answers: &'static str,
        authority: &'static str,
        additional: &'static str,
        want: Judged,
    }

    const KEEP: fn(Class, u32) -> Judged = |class, ttl| Judged::Keep { class, ttl };
    const SOA: &str = "ex. 900 SOA ns.ex. host.ex. 1 2 3 4 60";
    const A: &str = "www.ex. 300 A 192.0.2.1";
    const ALIAS: &str = "www.ex. 40 CNAME web.ex.";

    #[test]
    fn classes_and_ttls() {
        use ResponseCode::{FormErr, NXDomain, NoError, NotImp, Refused, ServFail};
        let case = |name, rcode, [answers, authority, additional]: [&'static str; 3], want| Case {
            name,
            rcode,
            answers,
            authority,
            additional,
            want,
        };
        for case in [
            case("records", NoError, [A, "", ""], KEEP(Class::Positive, 300)),
            case(
                "the least TTL of all sections",
                NoError,
                [A, "", "x.ex. 7 A 192.0.2.2"],
                KEEP(Class::Positive, 7),
            ),
            case("raised", NoError, ["www.ex. 2 A 192.0.2.1", "", ""], KEEP(Class::Positive, 5)),
            case("capped", NoError, ["www.ex. 90000 A 192.0.2.1", "", ""], KEEP(Class::Positive, 3600)),
            case(
                "SOA of a positive reply counts as any record",
                NoError,
                [A, SOA, ""],
                KEEP(Class::Positive, 300),
            ),
            case(
                "a TTL with the highest bit set is none",
                NoError,
                ["www.ex. 2147483648 A 192.0.2.1", "", ""],
                KEEP(Class::Positive, 5),
            ),
            case(
                "the largest TTL",
                NoError,
                ["www.ex. 2147483647 A 192.0.2.1", "", ""],
                KEEP(Class::Positive, 3600),
            ),
            case("delegation", NoError, ["", "ex. 99 NS ns.ex.", ""], KEEP(Class::Positive, 99)),
            case("nothing at all", NoError, ["", "", ""], KEEP(Class::Positive, 5)),
            case(
                "an alias and its end",
                NoError,
                ["www.ex. 40 CNAME web.ex. | web.ex. 50 A 192.0.2.1", "", ""],
                KEEP(Class::Positive, 40),
            ),
            case("NODATA", NoError, ["", SOA, ""], KEEP(Class::NoData, 60)),
            case(
                "NODATA with a short SOA",
                NoError,
                ["", "ex. 20 SOA ns.ex. host.ex. 1 2 3 4 60", ""],
                KEEP(Class::NoData, 20),
            ),
            case("an alias to NODATA", NoError, [ALIAS, SOA, ""], KEEP(Class::NoData, 40)),
            case("an alias to nowhere", NoError, [ALIAS, "", ""], Judged::Pass),
            case("NXDOMAIN", NXDomain, ["", SOA, ""], KEEP(Class::NxDomain, 60)),
            case(
                "NXDOMAIN, capped",
                NXDomain,
                ["", "ex. 90000 SOA ns.ex. host.ex. 1 2 3 4 90000", ""],
                KEEP(Class::NxDomain, 1800),
            ),
            case("NXDOMAIN without SOA", NXDomain, ["", "", ""], Judged::Pass),
            case("NXDOMAIN at the end of an alias", NXDomain, [ALIAS, SOA, ""], Judged::Pass),
            case("SERVFAIL", ServFail, ["", SOA, ""], Judged::Failure),
            case("NOTIMP", NotImp, ["", "", ""], Judged::Failure),
            case("REFUSED", Refused, ["", "", ""], Judged::Pass),
            case("FORMERR", FormErr, ["", "", ""], Judged::Pass),
        ] {
            let Case { name, rcode, answers, authority, additional, want } = case;
            let (answers, authority, additional) =
                (records(answers), records(authority), records(additional));
            let said = Said {
                kind: RecordType::A,
                dnssec_ok: false,
                rcode,
                truncated: false,
                answers: &answers,
                authority: &authority,
                additional: &additional,
            };
            assert_eq!(judge(&said, &Policy::default(), 0), want, "{name}");
            let truncated = Said { truncated: true, ..said };
            assert_eq!(judge(&truncated, &Policy::default(), 0), Judged::Pass, "{name}, truncated");
            let transfer = Said { kind: RecordType::AXFR, ..said };
            assert_eq!(judge(&transfer, &Policy::default(), 0), Judged::Pass, "{name}, of a transfer");
        }
    }

    #[test]
    fn an_alias_is_an_answer_to_who_asks_for_it() {
        let answers = records(ALIAS);
        for (kind, want) in [
            (RecordType::CNAME, KEEP(Class::Positive, 40)),
            (RecordType::ANY, KEEP(Class::Positive, 40)),
            (RecordType::AAAA, Judged::Pass),
        ] {
            let said = Said {
                kind,
                dnssec_ok: false,
                rcode: ResponseCode::NoError,
                truncated: false,
                answers: &answers,
                authority: &[],
                additional: &[],
            };
            assert_eq!(judge(&said, &Policy::default(), 0), want, "{kind}");
        }
    }

    #[test]
    fn the_bounds_are_those_of_the_class() {
        let bounds = |max| Bounds { max, min: 1 };
        let policy = Policy { success: bounds(10), denial: bounds(20), ..Policy::default() };
        let (answers, soa) = (records(A), records(SOA));
        let said = |answers, authority| Said {
            kind: RecordType::A,
            dnssec_ok: false,
            rcode: ResponseCode::NoError,
            truncated: false,
            answers,
            authority,
            additional: &[],
        };
        assert_eq!(judge(&said(&answers, &[]), &policy, 0), KEEP(Class::Positive, 10));
        assert_eq!(judge(&said(&[], &soa), &policy, 0), KEEP(Class::NoData, 20));
    }

    #[test]
    fn signatures_whose_time_is_over_are_not_kept_for_who_checks_them() {
        // Type covered, algorithm, labels, TTL, expiration, inception, tag, signer and a bit of signature.
        let signature = |expiration: u32| {
            let mut wire =
                b"\0\0\x84\0\0\0\0\x01\0\0\0\0\0\0\x2e\0\x01\0\0\0\x3c\0\x15\0\x01\x08\x01\0\0\0\x3c"
                    .to_vec();
            wire.extend(expiration.to_be_bytes());
            wire.extend(b"\0\0\0\0\0\x01\0abc");
            wire[22] = u8::try_from(wire.len() - 23).unwrap();
            hickory_proto::op::Message::from_vec(&wire).unwrap().answers
        };
        for (name, expiration, dnssec_ok, unix_s, kept) in [
            ("in time", 2_000_000_000, true, 1_999_999_999, true),
            ("over", 2_000_000_000, true, 2_000_000_001, false),
            ("over, and nobody checks it", 2_000_000_000, false, 2_000_000_001, true),
            ("a clock that begins in 1970", 2_000_000_000, true, 0, true),
            ("after 2106", 100, true, (1 << 32) + 50, true),
            ("after 2106, over", 100, true, (1 << 32) + 150, false),
        ] {
            let answers = [records(A), signature(expiration)].concat();
            let said = Said {
                kind: RecordType::A,
                dnssec_ok,
                rcode: ResponseCode::NoError,
                truncated: false,
                answers: &answers,
                authority: &[],
                additional: &[],
            };
            let judged = judge(&said, &Policy::default(), unix_s);
            assert_eq!(judged, if kept { KEEP(Class::Positive, 60) } else { Judged::Pass }, "{name}");
        }
    }
}
