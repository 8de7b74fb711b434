//! How a fake upstream answers when it is the authority for its zones (RFC 1034 §4.3.2, RFC 2308).

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::zone::Zone;

/// The reply of an authority.
#[derive(Debug)]
pub(super) struct Authoritative {
    pub(super) rcode: ResponseCode,
    pub(super) answers: Vec<Record>,
    /// The zone's NS records beside records, its SOA record beside nothing.
    pub(super) authorities: Vec<Record>,
    /// The addresses of the hosts that the other two sections name.
    pub(super) additionals: Vec<Record>,
}

/// The reply to `name` and `kind`; `None` if no zone here holds the name.
pub(super) fn find(zone: &Zone, name: &Name, kind: RecordType) -> Option<Authoritative> {
    let records = zone.records();
    let held_by = |r: &&Record| r.record_type() == RecordType::SOA && r.name.zone_of(name);
    let soa = records.iter().filter(held_by).max_by_key(|r| r.name.num_labels())?;
    let wanted = |r: &&Record| r.name == *name && [kind, RecordType::CNAME].contains(&r.record_type());
    let answers: Vec<Record> = records.iter().filter(wanted).cloned().collect();
    if answers.is_empty() {
        // A name with names below it exists (RFC 8020).
        let exists = records.iter().any(|r| name.zone_of(&r.name));
        let rcode = if exists { ResponseCode::NoError } else { ResponseCode::NXDomain };
        return Some(Authoritative {
            rcode,
            answers,
            authorities: vec![negative(soa)],
            additionals: Vec::new(),
        });
    }
    let servers = |r: &&Record| r.name == soa.name && r.record_type() == RecordType::NS;
    let authorities: Vec<Record> = records.iter().filter(servers).cloned().collect();
    let hosts: Vec<&Name> = answers.iter().chain(&authorities).filter_map(|r| host(&r.data)).collect();
    let glue = |r: &&Record| r.record_type().is_ip_addr() && hosts.contains(&&r.name);
    let additionals = records.iter().filter(glue).cloned().collect();
    Some(Authoritative { rcode: ResponseCode::NoError, answers, authorities, additionals })
}

/// The SOA record as negative answers carry it: its TTL is at most its MINIMUM (RFC 2308 §3).
fn negative(soa: &Record) -> Record {
    let mut soa = soa.clone();
    if let RData::SOA(data) = &soa.data {
        soa.ttl = soa.ttl.min(data.minimum);
    }
    soa
}

/// The host whose addresses belong beside a record.
fn host(data: &RData) -> Option<&Name> {
    match data {
        RData::NS(ns) => Some(&ns.0),
        RData::MX(mx) => Some(&mx.exchange),
        RData::SRV(srv) => Some(&srv.target),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_answers_for_its_own_zone_only() {
        struct Case {
            name: &'static str,
            kind: RecordType,
            /// `None` for a name of nobody's, else the code and how many records each section has.
            want: Option<(ResponseCode, [usize; 3])>,
        }
        let zone = Zone::parse(
            "test. 3600 SOA ns.test. h.test. 1 7200 3600 604800 60
             test. 3600 NS ns.test.
             test. 3600 MX 10 mail.test.
             ns.test. 3600 A 127.0.0.1
             mail.test. 3600 A 192.0.2.25
             a.deep.test. 3600 A 192.0.2.1",
        );
        let (ok, nx) = (ResponseCode::NoError, ResponseCode::NXDomain);
        let cases = [
            Case { name: "test.", kind: RecordType::MX, want: Some((ok, [1, 1, 2])) },
            Case { name: "MAIL.test.", kind: RecordType::A, want: Some((ok, [1, 1, 1])) },
            Case { name: "mail.test.", kind: RecordType::AAAA, want: Some((ok, [0, 1, 0])) },
            Case { name: "deep.test.", kind: RecordType::A, want: Some((ok, [0, 1, 0])) },
            Case { name: "none.test.", kind: RecordType::A, want: Some((nx, [0, 1, 0])) },
            Case { name: "other.", kind: RecordType::A, want: None },
        ];
        for case in cases {
            let found = find(&zone, &Name::from_ascii(case.name).unwrap(), case.kind);
            if let Some(found) = &found
                && found.answers.is_empty()
            {
                assert_eq!(found.authorities[0].ttl, 60, "{}", case.name);
            }
            let found = found.map(|f| (f.rcode, [f.answers.len(), f.authorities.len(), f.additionals.len()]));
            assert_eq!(found, case.want, "{} {}", case.name, case.kind);
        }
    }
}
