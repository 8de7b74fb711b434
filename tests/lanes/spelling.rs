//! Ways to ask the same question.

use outlast::testkit::client::Query;
use rand::Rng;
use rand::rngs::SmallRng;

/// EDNS option codes: name server identifier (RFC 5001), cookie (RFC 7873).
const NSID: u16 = 3;
const COOKIE: u16 = 10;

/// A way to ask.
pub(crate) struct Spelling {
    /// For people.
    pub(crate) name: &'static str,
    /// UDP payload size that the client takes.
    pub(crate) size: u16,
    /// Makes a query so.
    pub(crate) of: fn(Query) -> Query,
}

const fn spelling(name: &'static str, size: u16, of: fn(Query) -> Query) -> Spelling {
    Spelling { name, size, of }
}

/// All ways but letter case.
pub(crate) const SPELLINGS: [Spelling; 12] = [
    spelling("without EDNS", 512, |q| q),
    spelling("EDNS 4096", 4096, |q| q.edns(4096)),
    spelling("EDNS 1232", 1232, |q| q.edns(1232)),
    spelling("EDNS 512", 512, |q| q.edns(512)),
    spelling("EDNS 7", 512, |q| q.edns(7)),
    spelling("DO", 1232, |q| q.edns(1232).dnssec_ok()),
    spelling("a cookie", 1232, |q| q.edns(1232).option(COOKIE, b"12345678")),
    spelling("NSID", 1232, |q| q.edns(1232).option(NSID, b"")),
    spelling("AD", 512, Query::ad),
    spelling("CD", 512, Query::cd),
    spelling("AD, CD and DO", 1400, |q| q.edns(1400).dnssec_ok().ad().cd()),
    spelling("without RD", 512, |q| q.rd(false)),
];

/// A name in random letter case.
pub(crate) fn mix_case(name: &str, rng: &mut SmallRng) -> String {
    let mut mixed = |c: char| if rng.random_bool(0.5) { c.to_ascii_uppercase() } else { c };
    name.chars().map(&mut mixed).collect()
}
