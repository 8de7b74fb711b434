//! The world outside, as commands of `cache/upstream.rs` say it.

use hickory_proto::rr::RecordType;
use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

/// Names that lead somewhere, of every kind that clients meet; others are NXDOMAIN, or NODATA for other types.
pub(crate) const WORLD: [&str; 41] = [
    "soa example. 900 60",
    "has example. 3600 NS ns1.example.",
    "has example. 3600 NS ns2.example.",
    "has example. 3600 MX 10 mail.example.",
    "has example. 3600 MX 20 mail2.example.",
    "has example. 3600 TXT one",
    "has example. 3600 TXT two",
    "has www.example. 300 A 192.0.2.1",
    "has www.example. 300 AAAA 2001:db8::1",
    "has many.example. 60 A 192.0.2.11",
    "has many.example. 60 A 192.0.2.12",
    "has many.example. 60 A 192.0.2.13",
    "has many.example. 60 AAAA 2001:db8::11",
    "has many.example. 60 AAAA 2001:db8::12",
    "has brief.example. 5 A 192.0.2.21",
    "has alias.example. 300 CNAME www.example.",
    "has far.example. 300 CNAME other.test.",
    "has other.test. 120 A 192.0.2.31",
    "has chain.example. 300 CNAME a.chain.example.",
    "has a.chain.example. 300 CNAME b.chain.example.",
    "has b.chain.example. 30 CNAME c.chain.test.",
    "has c.chain.test. 300 A 192.0.2.41",
    "has c.chain.test. 300 A 192.0.2.42",
    "has dangling.example. 300 CNAME nowhere.example.",
    // Letter case as some servers have it.
    "has Cased.EXAMPLE. 300 CNAME Target.Cased.Example.",
    "has Target.Cased.Example. 300 A 192.0.2.51",
    "has shout.test. 300 CNAME WWW.SHOUT.TEST.",
    "has WWW.SHOUT.TEST. 300 A 192.0.2.52",
    "has point.example. 300 MX 10 MAIL.Point.Example.",
    "has point.example. 300 PTR Host.Point.Example.",
    "has _sip._tcp.example. 300 SRV 1 2 5060 sip.example.",
    "has _sip._tcp.example. 300 SRV 2 2 5060 sip2.example.",
    "has com. 300 NS a.com.",
    "has c. 300 A 192.0.2.61",
    "has web.other.cluster.local. 30 A 192.0.2.71",
    "has old.shop.svc.cluster.local. 30 A 192.0.2.72",
    "has 9.9.9.9.in-addr.arpa. 30 PTR nine.example.",
    "has long.example. 300 TXT aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "has mail.example. 300 A 192.0.2.91",
    "has mail2.example. 300 A 192.0.2.92",
    "has sip.example. 300 A 192.0.2.93",
];

/// Records that come along with every answer that has some.
pub(crate) const GLUE: [&str; 2] = ["has more. 60 A 192.0.2.81", "has glue.more. 60 AAAA 2001:db8::81"];

/// Names that are not there.
const ABSENT: [&str; 8] = [
    "nowhere.example.",
    "no.where.test.",
    "www.example.shop.svc.cluster.local.",
    "www.example.svc.cluster.local.",
    "www.example.cluster.local.",
    "1.2.0.192.in-addr.arpa.",
    "localhost.",
    "glue.more.",
];

/// A name, and a type that it has; without one, any type will do.
pub(crate) fn question(rng: &mut SmallRng) -> (&'static str, Option<u16>) {
    if rng.random_ratio(1, 4) {
        return (ABSENT.choose(rng).expect("there are names"), None);
    }
    let words: Vec<_> = WORLD.choose(rng).expect("there is a world").split_whitespace().collect();
    match &*words {
        // Where an alias leads is what clients want to know.
        ["has", name, _, "CNAME", ..] => (name, Some(RecordType::A.into())),
        ["has", name, _, kind, ..] if rng.random_ratio(2, 3) => {
            (name, Some(kind.parse::<RecordType>().expect("a type").into()))
        }
        [_, name, ..] => (name, None),
        _ => unreachable!("a command has words"),
    }
}
