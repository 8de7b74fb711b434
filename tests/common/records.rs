//! Replies as rows of text, and when two sections are the same: shared by the tests that compare with answers
//! written down beforehand.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use outlast::testkit::client::{Answer, lines};
use serde::Deserialize;

/// The smallest share of a recorded TTL that jitter may leave.
pub(crate) const TTL_SHARE: f64 = 0.7;

/// A record: owner name, TTL in seconds, type, RDATA; the serial of a SOA record as `*`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Row(pub String, pub u32, pub String, pub String);

impl Row {
    /// Reads `owner ttl IN type rdata`.
    pub(crate) fn parse(line: &str) -> Self {
        let mut parts = line.splitn(5, ' ');
        let mut part = || parts.next().expect("a record has five parts").to_owned();
        let (owner, ttl, _class, kind, rdata) = (part(), part(), part(), part(), part());
        let rdata = if kind == "SOA" { without_serial(&rdata) } else { rdata };
        Self(owner, ttl.parse().expect("a TTL in seconds"), kind, rdata)
    }

    /// All but the TTL.
    fn fact(&self) -> (&str, &str, &str) {
        (&self.0, &self.2, &self.3)
    }
}

/// SOA RDATA whose serial, the time of the last change, is masked.
fn without_serial(rdata: &str) -> String {
    let mut words: Vec<&str> = rdata.split(' ').collect();
    words[2] = "*";
    words.join(" ")
}

/// What two replies are compared by.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Reply {
    /// As RFC 1035 spells it, e.g. `NXDOMAIN`.
    pub rcode: String,
    /// Whether AA is set.
    pub aa: bool,
    /// The answer section.
    pub answer: Vec<Row>,
    /// The authority section.
    pub authority: Vec<Row>,
    /// The additional section without OPT.
    pub additional: Vec<Row>,
}

impl Reply {
    /// Whether the replies agree: the code, AA, and every section as a set; see [`same`].
    pub(crate) fn agrees_with(&self, want: &Self) -> bool {
        (&self.rcode, self.aa) == (&want.rcode, want.aa)
            && same(&self.answer, &want.answer)
            && same(&self.authority, &want.authority)
            && same(&self.additional, &want.additional)
    }
}

impl From<&Answer> for Reply {
    fn from(answer: &Answer) -> Self {
        let rcode = match answer.rcode() {
            ResponseCode::NoError => "NOERROR".to_owned(),
            ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
            ResponseCode::ServFail => "SERVFAIL".to_owned(),
            ResponseCode::Refused => "REFUSED".to_owned(),
            other => format!("{other:?}"),
        };
        let rows = |records| lines(records).iter().map(|line| Row::parse(&plain(line))).collect();
        let message = &answer.message;
        Self {
            rcode,
            aa: message.metadata.authoritative,
            answer: rows(&message.answers),
            authority: rows(&message.authorities),
            additional: rows(&message.additionals),
        }
    }
}

/// Text as the recordings have it: hickory escapes a dash that leads a label (`\--1`), others do not.
pub(crate) fn plain(text: &str) -> String {
    text.replace("\\-", "-")
}

/// Whether two sections hold the same records, letter case included, in any order. A TTL may be lower than the
/// one wanted, down to [`TTL_SHARE`] of it and never higher, and is the same for a whole RRset (RFC 2181 §5.2).
pub(crate) fn same(got: &[Row], want: &[Row]) -> bool {
    let (mut got, mut want): (Vec<&Row>, Vec<&Row>) = (got.iter().collect(), want.iter().collect());
    // With the TTL last, records are paired by what they say.
    got.sort_by_key(|r| (r.fact(), r.1));
    want.sort_by_key(|r| (r.fact(), r.1));
    let facts = got.iter().map(|r| r.fact()).eq(want.iter().map(|r| r.fact()));
    let lowest = |ttl: u32| (f64::from(ttl) * TTL_SHARE) as u32;
    let in_range = |(got, want): (&&Row, &&Row)| (lowest(want.1)..=want.1).contains(&got.1);
    let even = |a: &Row, b: &Row| !a.0.eq_ignore_ascii_case(&b.0) || a.2 != b.2 || a.1 == b.1;
    facts && got.iter().zip(&want).all(in_range) && got.iter().all(|a| got.iter().all(|b| even(a, b)))
}

/// A type by its name in zone files.
pub(crate) fn record_type(text: &str) -> RecordType {
    match text {
        // Has no name in the parser.
        "IXFR" => RecordType::IXFR,
        _ => text.parse().unwrap_or_else(|e| panic!("{text} is a record type: {e}")),
    }
}
