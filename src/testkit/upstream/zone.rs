//! What a fake upstream knows: a few records, read from text.

use std::str::FromStr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// Aliases followed for one question; more is a loop in the test's own data.
const MAX_ALIASES: usize = 8;

/// The records of a fake upstream.
#[derive(Clone, Debug, Default)]
pub(super) struct Zone(Vec<Record>);

/// What a zone says to a question.
pub(super) struct Found {
    pub(super) rcode: ResponseCode,
    pub(super) answers: Vec<Record>,
    /// Whether the negative answer's SOA belongs to it.
    pub(super) soa: bool,
}

impl Zone {
    /// Reads lines of `owner ttl [IN] type rdata`; empty ones and those that begin with `;` are skipped.
    pub(super) fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(';'));
        Self(lines.map(record).collect())
    }

    /// Reads more of them.
    pub(super) fn add(&mut self, text: &str) {
        self.0.extend(Self::parse(text).0);
    }

    /// The records, in the order of the text.
    pub(super) fn records(&self) -> &[Record] {
        &self.0
    }

    /// The answer to `name` and `kind`, aliases followed; `unknown` is what a name that is not here gets.
    pub(super) fn find(&self, name: &Name, kind: RecordType, unknown: ResponseCode) -> Found {
        let mut answers = Vec::new();
        let mut name = name.clone();
        for _ in 0..MAX_ALIASES {
            let here: Vec<&Record> = self.0.iter().filter(|r| r.name == name).collect();
            let wanted = here.iter().filter(|r| kind == RecordType::ANY || r.record_type() == kind);
            let before = answers.len();
            answers.extend(wanted.map(|&r| r.clone()));
            if answers.len() > before {
                return Found { rcode: ResponseCode::NoError, answers, soa: false };
            }
            match here.iter().find_map(|r| if let RData::CNAME(to) = &r.data { Some((r, to)) } else { None })
            {
                Some((alias, to)) => {
                    answers.push((**alias).clone());
                    name = to.0.clone();
                }
                None if here.is_empty() => {
                    return Found { rcode: unknown, answers, soa: unknown == ResponseCode::NXDomain };
                }
                None => return Found { rcode: ResponseCode::NoError, answers, soa: true },
            }
        }
        Found { rcode: ResponseCode::ServFail, answers: Vec::new(), soa: false }
    }
}

/// The SOA of every negative answer.
pub(super) fn soa() -> Record {
    record(". 900 IN SOA stub. host.stub. 1 60 60 60 60")
}

fn record(line: &str) -> Record {
    let mut rest = line;
    let mut word = || {
        let (word, behind) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        rest = behind.trim_start();
        word
    };
    let owner = Name::from_ascii(word()).expect("a record begins with its owner name");
    let ttl = word().parse().expect("a TTL in seconds follows the owner name");
    let kind = match word() {
        "IN" => word(),
        kind => kind,
    };
    let kind = RecordType::from_str(kind).expect("a record type follows the TTL");
    let rdata = RData::try_from_str(kind, rest).expect("the rest of the line is the type's RDATA");
    Record::from_rdata(owner, ttl, rdata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_find_records_aliases_and_nothing() {
        struct Case {
            name: &'static str,
            kind: RecordType,
            rcode: ResponseCode,
            answers: &'static [&'static str],
            soa: bool,
        }
        let zone = Zone::parse(
            "; a comment
             www.test. 60 A 192.0.2.1
             www.test. 60 IN A 192.0.2.2
             alias.test. 30 CNAME www.test.
             away.test. 30 CNAME gone.test.
             loop.test. 30 CNAME loop.test.
             txt.test. 5 TXT \"two words\" x",
        );
        let (ok, nx) = (ResponseCode::NoError, ResponseCode::NXDomain);
        let cases = [
            Case {
                name: "WWW.test.",
                kind: RecordType::A,
                rcode: ok,
                answers: &["192.0.2.1", "192.0.2.2"],
                soa: false,
            },
            Case { name: "www.test.", kind: RecordType::AAAA, rcode: ok, answers: &[], soa: true },
            Case {
                name: "alias.test.",
                kind: RecordType::A,
                rcode: ok,
                answers: &["www.test.", "192.0.2.1", "192.0.2.2"],
                soa: false,
            },
            Case { name: "away.test.", kind: RecordType::A, rcode: nx, answers: &["gone.test."], soa: true },
            Case {
                name: "loop.test.",
                kind: RecordType::A,
                rcode: ResponseCode::ServFail,
                answers: &[],
                soa: false,
            },
            Case {
                name: "txt.test.",
                kind: RecordType::TXT,
                rcode: ok,
                answers: &["two wordsx"],
                soa: false,
            },
            Case { name: "none.test.", kind: RecordType::A, rcode: nx, answers: &[], soa: true },
        ];
        for case in cases {
            let found = zone.find(&Name::from_ascii(case.name).unwrap(), case.kind, nx);
            let answers: Vec<String> = found.answers.iter().map(|r| r.data.to_string()).collect();
            assert_eq!((found.rcode, found.soa), (case.rcode, case.soa), "{}", case.name);
            assert_eq!(answers, case.answers, "{}", case.name);
        }
    }
}
