//! What a script expects of a reply. Strict: what is not mentioned must not be there.

use std::ops::RangeInclusive;
use std::time::Duration;

use outlast::corefile::parse_duration;
use outlast::testkit::client::Answer;

/// How far the time that an answer takes may be from what is expected: timers have a resolution of 1 ms. This is
/// paused time, which stands still while anything can go on, so that a slow machine cannot exceed it: every
/// script is played with `start_paused`, and answers over sockets are waited for while time is held.
const CLOSE: Duration = Duration::from_millis(5);

/// An expectation: `RCODE [DATA...] [ttl RANGE] [soa RANGE] [outside] [took DURATION] [ede CODE TEXT...]`.
///
/// * `DATA`: the answer section, in any order: of each record the first word of its data.
/// * `ttl`: of every record in the answer section, which all have the same.
/// * `soa`: there is nothing but an SOA record in the authority section, of this TTL.
/// * `outside`: somebody else's answer, not authoritative; ours are.
/// * `took`: how long the answer took; without it, no time at all.
/// * `ede`: one Extended DNS Error, with this text or (`*`) any; without it, none.
#[derive(Debug, Default)]
pub(super) struct Expect<'a> {
    rcode: &'a str,
    data: Vec<&'a str>,
    ttl: Option<RangeInclusive<f64>>,
    soa: Option<RangeInclusive<f64>>,
    outside: bool,
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
                "outside" => expect.outside = true,
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
    pub(super) fn check(&self, answer: &Answer, took: Duration) {
        let show = || {
            let Answer { message, .. } = answer;
            format!(
                "{:?} {:?} authority {:?} ede {:?} aa {} after {took:?}",
                answer.rcode(),
                answer.answers(),
                answer.authorities(),
                answer.ede(),
                message.metadata.authoritative
            )
        };
        let rcode = format!("{:?}", answer.rcode()).to_ascii_uppercase();
        assert_eq!(rcode, self.rcode, "rcode of {}", show());

        let answers: Vec<_> = answer.answers().iter().map(|line| Line::of(line)).collect();
        let mut data: Vec<_> = answers.iter().map(|l| &*l.data).collect();
        data.sort_unstable();
        assert_eq!(data, self.data, "answer section of {}", show());
        if let Some(ttl) = &self.ttl {
            assert!(answers.iter().all(|l| ttl.contains(&l.ttl)), "ttl in {ttl:?} of {}", show());
            assert!(answers.windows(2).all(|w| w[0].ttl == w[1].ttl), "one ttl in {}", show());
        }

        let authority: Vec<_> = answer.authorities().iter().map(|line| Line::of(line)).collect();
        match (&self.soa, &*authority) {
            (None, []) => {}
            (Some(soa), [line]) if line.kind == "SOA" && soa.contains(&line.ttl) => {}
            _ => panic!("authority section with an soa of {:?}: {}", self.soa, show()),
        }
        assert_eq!(answer.message.metadata.authoritative, !self.outside, "AA of {}", show());
        assert!(took.abs_diff(self.took) < CLOSE, "takes {:?}: {}", self.took, show());
        let mut said = answer.ede();
        if let (Some((_, want)), [(_, text)]) = (&self.ede, &mut said[..])
            && want == "*"
        {
            "*".clone_into(text);
        }
        let ede: Vec<_> = self.ede.iter().cloned().collect();
        assert_eq!(said, ede, "extended error of {}", show());
    }
}

/// A reply's rcode, and of each record in its answer section the first word of its data, sorted.
pub(super) fn in_words(answer: &Answer) -> Vec<String> {
    let mut data: Vec<_> = answer.answers().iter().map(|line| Line::of(line).data).collect();
    data.sort();
    let rcode = format!("{:?}", answer.rcode()).to_ascii_uppercase();
    std::iter::once(rcode).chain(data).collect()
}

/// A record as text.
struct Line {
    ttl: f64,
    kind: String,
    /// The first word of its data.
    data: String,
}

impl Line {
    fn of(line: &str) -> Self {
        let words: Vec<_> = line.split(' ').collect();
        let [_, ttl, _, kind, data, ..] = &*words else { panic!("no record: {line}") };
        Self { ttl: ttl.parse().unwrap(), kind: (*kind).to_owned(), data: (*data).to_owned() }
    }
}

/// `N` or `LOW..HIGH`, both included; either may be left out of a range.
pub(super) fn range(word: &str) -> RangeInclusive<f64> {
    let number = |text: &str, otherwise| if text.is_empty() { otherwise } else { text.parse().unwrap() };
    match word.split_once("..") {
        Some((low, high)) => number(low, 0.0)..=number(high, f64::MAX),
        None => number(word, 0.0)..=number(word, 0.0),
    }
}
