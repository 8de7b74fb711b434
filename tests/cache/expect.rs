//! What a script expects of a reply. Strict: what is not mentioned must not be there.

use std::ops::RangeInclusive;
use std::time::Duration;

use hickory_proto::rr::Record;
use outlast::corefile::parse_duration;
use outlast::testkit::client::{Answer, lines};

use super::world::Ask;

/// Timers have a resolution of 1 ms, and this is paused time: it stands still while anything can go on.
const CLOSE: Duration = Duration::from_millis(5);

/// An expectation: `RCODE [DATA...] [ttl RANGE] [soa RANGE] [more COUNT] [cached] [authoritative] [ad] [tc] [no-ra]
/// [took DURATION] [ede CODE TEXT...]`.
///
/// * `DATA`: the answer section, in any order: of each record the first word of its data.
/// * `ttl`: of every record in the answer and additional sections.
/// * `soa`: there is nothing but an SOA record in the authority section, of this TTL.
/// * `more`: so many records in the additional section.
/// * `cached`: AA is set, as it is in replies from the cache.
/// * `took`: how long the answer took; without it, no time at all.
/// * `ede`: one Extended DNS Error, with this text or (`*`) any; without it, none.
///
/// Always: the question comes back as it was asked, and owner names that are the question's are spelled as it is.
#[derive(Debug, Default)]
pub(super) struct Expect<'a> {
    rcode: &'a str,
    data: Vec<&'a str>,
    ttl: Option<RangeInclusive<f64>>,
    soa: Option<RangeInclusive<f64>>,
    more: usize,
    aa: bool,
    ad: bool,
    tc: bool,
    no_ra: bool,
    took: Duration,
    ede: Option<(u16, String)>,
}

impl<'a> Expect<'a> {
    /// Reads an expectation.
    pub(super) fn parse(words: &[&'a str]) -> Self {
        let [rcode, rest @ ..] = words else { panic!("expect needs an rcode") };
        let mut expect = Self { rcode, ..Self::default() };
        let mut words = rest.iter();
        while let Some(word) = words.next() {
            let mut next = || *words.next().unwrap_or_else(|| panic!("{word} what?"));
            match *word {
                "ttl" => expect.ttl = Some(range(next())),
                "soa" => expect.soa = Some(range(next())),
                "more" => expect.more = next().parse().unwrap(),
                "cached" | "authoritative" => expect.aa = true,
                "ad" => expect.ad = true,
                "tc" => expect.tc = true,
                "no-ra" => expect.no_ra = true,
                "took" => expect.took = parse_duration(next()).unwrap(),
                "ede" => {
                    let code = next().parse().unwrap();
                    let text: Vec<&str> = words.by_ref().copied().collect();
                    expect.ede = Some((code, text.join(" ")));
                }
                data => expect.data.push(data),
            }
        }
        expect.data.sort_unstable();
        expect
    }

    /// Compares.
    pub(super) fn check(&self, ask: &Ask, answer: &Answer, took: Duration) {
        let (message, header) = (&answer.message, &answer.message.metadata);
        let show = || {
            format!(
                "{:?} {:?} authority {:?} additional {:?} ede {:?} aa {} ad {} ra {} tc {} after {took:?}",
                answer.rcode(),
                answer.answers(),
                answer.authorities(),
                answer.additionals(),
                answer.ede(),
                header.authoritative,
                header.authentic_data,
                header.recursion_available,
                header.truncation
            )
        };
        let rcode = format!("{:?}", answer.rcode()).to_ascii_uppercase();
        assert_eq!(rcode, self.rcode, "rcode of {}", show());
        let mut data: Vec<_> = message.answers.iter().map(data).collect();
        data.sort_unstable();
        assert_eq!(data, self.data, "answer section of {}", show());
        if let Some(ttl) = &self.ttl {
            let mut all = message.answers.iter().chain(&message.additionals);
            assert!(all.all(|record| ttl.contains(&record.ttl.into())), "ttl in {ttl:?} of {}", show());
        }
        let authority = &message.authorities;
        match (&self.soa, &**authority) {
            (None, []) => {}
            (Some(soa), [record]) if kind(record) == "SOA" && soa.contains(&record.ttl.into()) => {}
            _ => panic!("authority section with an soa of {:?}: {}", self.soa, show()),
        }
        assert_eq!(message.additionals.len(), self.more, "additional section of {}", show());
        let flags =
            [header.authoritative, header.authentic_data, header.truncation, !header.recursion_available];
        assert_eq!(flags, [self.aa, self.ad, self.tc, self.no_ra], "AA, AD, TC, no RA of {}", show());
        assert!(took.abs_diff(self.took) < CLOSE, "takes {:?}: {}", self.took, show());

        let mut said = answer.ede();
        if let (Some((_, want)), [(_, text)]) = (&self.ede, &mut said[..])
            && want == "*"
        {
            "*".clone_into(text);
        }
        let ede: Vec<_> = self.ede.iter().cloned().collect();
        assert_eq!(said, ede, "extended error of {}", show());

        let [question] = &*message.queries else { panic!("one question: {}", show()) };
        assert_eq!(question.name().to_string(), ask.name, "the question of {}", show());
        for record in message.answers.iter().chain(authority).chain(&message.additionals) {
            let owner = record.name.to_string();
            assert!(owner == ask.name || !owner.eq_ignore_ascii_case(&ask.name), "letter case of {}", show());
        }
        assert_eq!(header.recursion_desired, ask.rd, "RD of {}", show());
        assert_eq!(header.checking_disabled, ask.cd, "CD of {}", show());
    }
}

/// The first word of a record's data.
fn data(record: &Record) -> String {
    word(record, 4)
}

fn kind(record: &Record) -> String {
    word(record, 3)
}

fn word(record: &Record, at: usize) -> String {
    let line = lines(std::slice::from_ref(record)).remove(0);
    line.split(' ').nth(at).unwrap_or_default().to_owned()
}

/// `N` or `LOW..HIGH`, both included; either may be left out of a range.
pub(super) fn range(word: &str) -> RangeInclusive<f64> {
    let number = |text: &str, otherwise| if text.is_empty() { otherwise } else { text.parse().unwrap() };
    match word.split_once("..") {
        Some((low, high)) => number(low, 0.0)..=number(high, f64::MAX),
        None => number(word, 0.0)..=number(word, 0.0),
    }
}
