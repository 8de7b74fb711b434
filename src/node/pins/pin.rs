//! What is pinned: names, types and values as operators write them, and the table of them.
//!
//! Pure: no clock, no disk and no query is known here.

use std::collections::HashMap;
use std::time::Duration;

use hickory_proto::rr::{RData, RecordType};
use tokio::time::Instant;

use crate::node::plugins::template::record;
use crate::node::presentation;
use crate::store::control::{DEFAULT_FREEZE, MAX_FREEZE};
use crate::zone::name::Labels;

/// Types that can be pinned: those that clients in a cluster ask for.
pub const TYPES: [RecordType; 6] =
    [RecordType::A, RecordType::AAAA, RecordType::CNAME, RecordType::TXT, RecordType::SRV, RecordType::PTR];

/// Values that may be pinned at one time: an operator pins some, a script some hundreds.
pub const MAX_PINNED: usize = 1_000;

/// Values of one name and type.
pub const MAX_VALUES: usize = 16;

/// Longest value in bytes, as it is written.
pub const MAX_TEXT: usize = 512;

/// For how long something is pinned if nobody says otherwise: as what is frozen.
pub const DEFAULT_PIN: Duration = DEFAULT_FREEZE;

/// The longest time that something may be pinned for: likewise.
pub const MAX_PIN: Duration = MAX_FREEZE;

/// A record that is to be pinned.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The name.
    pub name: Labels,
    /// The type.
    pub kind: RecordType,
    /// The value.
    pub value: Value,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// As the operator wrote it.
    pub text: String,
    /// What it means.
    pub data: RData,
}

/// From when until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// When it ends by itself, Unix milliseconds: for the disk and for people.
    pub until_ms: u64,
    /// The same for this process, which no change of its clock moves.
    pub until: Instant,
}

/// The values of one name and type.
#[derive(Clone, Debug, PartialEq)]
pub struct Pin {
    /// The name.
    pub name: Labels,
    /// The type.
    pub kind: RecordType,
    /// The values, in the order in which they were pinned; at least one.
    pub values: Vec<Value>,
    /// From when until when, all of them.
    pub span: Span,
}

/// Why something cannot be pinned beside what is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// Too much is pinned.
    #[error("{MAX_PINNED} values are pinned, and no more may be: unpin some")]
    Full,
    /// Too much is pinned of this name and type.
    #[error("{MAX_VALUES} values of this name and type are pinned, and no more may be: unpin it first")]
    TooManyValues,
    /// An alias stands alone (RFC 1034 §3.6.2).
    #[error("a CNAME stands alone, and something else is pinned at this name: unpin it first")]
    Alias,
}

/// What a name and type lead to.
#[derive(Debug, PartialEq)]
pub enum Pinned<'a> {
    /// Nothing is pinned at the name.
    Nothing,
    /// Something is, and this type has nothing to do with it.
    OtherType,
    /// The name has addresses of the other family alone.
    NoAddress(&'a Pin),
    /// These are the records.
    Records(&'a Pin),
}

impl Wanted {
    /// Reads what an operator has written; a name without its final dot is absolute, too.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(name: &str, kind: &str, value: &str) -> Result<Self, String> {
        let labels = labels(name)?;
        if labels.is_empty() {
            return Err("the root cannot be pinned".to_owned());
        }
        let kind = self::kind(kind)?;
        let text = value.trim().to_owned();
        if text.len() > MAX_TEXT {
            return Err(format!("a value has at most {MAX_TEXT} bytes"));
        }
        if text.contains(char::is_control) {
            return Err("a value has no control characters".to_owned());
        }
        let data = record::parse_data(kind, &text).map_err(|why| format!("value of type {kind}: {why}"))?;
        if let RData::CNAME(target) = &data
            && Labels::from_labels(target.0.iter()).is_ok_and(|target| target == labels)
        {
            return Err("a CNAME cannot lead to its own name".to_owned());
        }
        Ok(Self { name: labels, kind, value: Value { text, data } })
    }
}

/// A name in presentation form.
///
/// # Errors
/// It is none.
pub fn labels(text: &str) -> Result<Labels, String> {
    let name = presentation::name(text).filter(|_| !text.is_empty() && !text.contains(char::is_whitespace));
    let labels = name.and_then(|name| Labels::from_labels(name.iter()).ok());
    labels.ok_or_else(|| format!("{text:?} is not a name"))
}

/// A type that can be pinned, in any letter case.
///
/// # Errors
/// There is none of this name, or it cannot be.
pub fn kind(text: &str) -> Result<RecordType, String> {
    let kind = presentation::kind(&text.to_ascii_uppercase()).filter(|kind| TYPES.contains(kind));
    kind.ok_or_else(|| {
        let types = TYPES.map(|kind| kind.to_string()).join(", ");
        format!("{text:?} is no type that can be pinned: {types} can be")
    })
}

/// Everything that is pinned.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// What is pinned, in the order in which it was.
    pins: Vec<Pin>,
    /// Where in it a name is, by the bytes of its labels: names of the same bytes are told apart by their labels.
    by_name: HashMap<Box<[u8]>, Vec<usize>>,
}

impl Table {
    /// What is pinned, in the order in which it was.
    pub fn pins(&self) -> &[Pin] {
        &self.pins
    }

    /// Whether something is pinned at a name. Allocates nothing.
    pub fn has(&self, name: &Labels) -> bool {
        self.at(name).next().is_some()
    }

    /// What is pinned at a name.
    fn at(&self, name: &Labels) -> impl Iterator<Item = &Pin> {
        let places = self.by_name.get(name.key()).map(Vec::as_slice).unwrap_or_default();
        let pins = places.iter().filter_map(|at| self.pins.get(*at));
        pins.filter(move |pin| pin.name == *name)
    }

    /// What a question leads to at `now`.
    pub fn find(&self, name: &Labels, kind: RecordType, now: Instant) -> Pinned<'_> {
        let other = match kind {
            RecordType::A => Some(RecordType::AAAA),
            RecordType::AAAA => Some(RecordType::A),
            _ => None,
        };
        let mut found = Pinned::Nothing;
        for pin in self.at(name).filter(|pin| pin.span.until > now) {
            if pin.kind == kind || pin.kind == RecordType::CNAME {
                return Pinned::Records(pin);
            }
            if Some(pin.kind) == other {
                found = Pinned::NoAddress(pin);
            } else if found == Pinned::Nothing {
                found = Pinned::OtherType;
            }
        }
        found
    }

    /// When the next of them ends.
    pub fn next_end(&self) -> Option<Instant> {
        self.pins.iter().map(|pin| pin.span.until).min()
    }

    /// Adds a value, and has it and those of the same name and type end when `span` says. The same value once more
    /// changes the time alone. Gives what is pinned of them now.
    ///
    /// # Errors
    /// There is no place for it; nothing has changed then.
    pub fn add(&mut self, wanted: Wanted, span: Span) -> Result<Pin, NoPlace> {
        let Wanted { name, kind, value } = wanted;
        let is_alone = kind == RecordType::CNAME;
        let beside = |pin: &Pin| pin.kind != kind && (is_alone || pin.kind == RecordType::CNAME);
        if self.at(&name).any(beside) {
            return Err(NoPlace::Alias);
        }
        let all: usize = self.pins.iter().map(|pin| pin.values.len()).sum();
        if let Some(pin) = self.pins.iter_mut().find(|pin| pin.name == name && pin.kind == kind) {
            if pin.values.iter().all(|known| known.data != value.data) {
                match pin.values.len() {
                    _ if is_alone => return Err(NoPlace::Alias),
                    MAX_VALUES.. => return Err(NoPlace::TooManyValues),
                    _ if all >= MAX_PINNED => return Err(NoPlace::Full),
                    _ => pin.values.push(value),
                }
            }
            pin.span = Span { since_ms: pin.span.since_ms, ..span };
            return Ok(pin.clone());
        }
        if all >= MAX_PINNED {
            return Err(NoPlace::Full);
        }
        let pin = Pin { name, kind, values: vec![value], span };
        self.pins.push(pin.clone());
        self.index();
        Ok(pin)
    }

    /// Takes away what `ends` says, and gives it.
    pub fn take(&mut self, mut ends: impl FnMut(&Pin) -> bool) -> Vec<Pin> {
        let taken: Vec<_> = self.pins.extract_if(.., |pin| ends(pin)).collect();
        self.index();
        taken
    }

    fn index(&mut self) {
        self.by_name.clear();
        for (at, pin) in self.pins.iter().enumerate() {
            self.by_name.entry(pin.name.key().into()).or_default().push(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that lasts so many seconds.
    fn span(seconds: u64) -> Span {
        let until = Instant::now() + Duration::from_secs(seconds);
        Span { since_ms: 1_000, until_ms: 1_000 + seconds * 1_000, until }
    }

    fn wanted(line: &str) -> Wanted {
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().unwrap();
        Wanted::parse(word(), word(), word()).unwrap()
    }

    fn table(lines: &[&str]) -> Table {
        let mut table = Table::default();
        for line in lines {
            table.add(wanted(line), span(60)).unwrap();
        }
        table
    }

    /// What a question leads to, in words.
    fn found(table: &Table, name: &str, kind: RecordType) -> String {
        let texts =
            |pin: &Pin| pin.values.iter().map(|value| value.text.clone()).collect::<Vec<_>>().join(" + ");
        match table.find(&labels(name).unwrap(), kind, Instant::now()) {
            Pinned::Nothing => "nothing".to_owned(),
            Pinned::OtherType => "another type".to_owned(),
            Pinned::NoAddress(_) => "no address".to_owned(),
            Pinned::Records(pin) => texts(pin),
        }
    }

    #[test]
    fn what_can_be_pinned() {
        for (name, kind, value, want) in [
            ("web.shop.svc.cluster.local", "a", "192.0.2.1", Ok(RecordType::A)),
            ("WEB.shop.", "AAAA", " 2001:db8::1 ", Ok(RecordType::AAAA)),
            ("www.example.org.", "CNAME", "other.example.org", Ok(RecordType::CNAME)),
            ("a.", "TXT", "\"two words\" three", Ok(RecordType::TXT)),
            ("_sip._tcp.a.", "SRV", "0 10 5060 sip.a.", Ok(RecordType::SRV)),
            ("1.2.0.192.in-addr.arpa", "PTR", "web.shop.", Ok(RecordType::PTR)),
            ("*.a.", "A", "192.0.2.1", Ok(RecordType::A)),
            (".", "A", "192.0.2.1", Err("the root cannot be pinned")),
            ("", "A", "192.0.2.1", Err("\"\" is not a name")),
            ("a..b", "A", "192.0.2.1", Err("\"a..b\" is not a name")),
            ("a 60 IN", "A", "192.0.2.1", Err("\"a 60 IN\" is not a name")),
            ("a.", "MX", "10 b.", Err("\"MX\" is no type that can be pinned: A, AAAA, CNAME")),
            ("a.", "TYPE1", "192.0.2.1", Ok(RecordType::A)),
            ("a.", "A", "", Err("value of type A: write ADDRESS")),
            ("a.", "A", "192.0.2.256", Err("value of type A: '192.0.2.256' is no IPv4 address")),
            ("a.", "A", "192.0.2.1 192.0.2.2", Err("value of type A: write ADDRESS")),
            ("a.", "SRV", "1 2 sip.a.", Err("value of type SRV: write PRIORITY WEIGHT PORT NAME")),
            ("a.", "CNAME", "A", Err("a CNAME cannot lead to its own name")),
            ("a.", "TXT", "a\u{1b}[2Jb", Err("a value has no control characters")),
            ("a.", "TXT", &"x".repeat(MAX_TEXT + 1), Err("a value has at most 512 bytes")),
        ] {
            let got = Wanted::parse(name, kind, value);
            match want {
                Ok(kind) => assert_eq!(got.map(|wanted| wanted.kind), Ok(kind), "{name} {value}"),
                Err(says) => {
                    let why = got.unwrap_err();
                    assert!(why.starts_with(says), "{name} {kind} {value}: {why}");
                }
            }
        }
    }

    #[test]
    fn what_questions_lead_to() {
        let table = table(&[
            "web.shop A 192.0.2.1",
            "web.shop A 192.0.2.2",
            "six.shop AAAA 2001:db8::1",
            "both.shop A 192.0.2.3",
            "both.shop AAAA 2001:db8::3",
            "alias.shop CNAME web.shop",
            "text.shop TXT hello",
            // The same bytes, another name.
            "ab.c A 192.0.2.4",
        ]);
        let (a, aaaa, txt) = (RecordType::A, RecordType::AAAA, RecordType::TXT);
        for (name, kind, want) in [
            ("web.shop", a, "192.0.2.1 + 192.0.2.2"),
            ("WEB.Shop.", a, "192.0.2.1 + 192.0.2.2"),
            ("web.shop", aaaa, "no address"),
            ("web.shop", txt, "another type"),
            ("web.shop", RecordType::ANY, "another type"),
            ("six.shop", a, "no address"),
            ("six.shop", aaaa, "2001:db8::1"),
            ("both.shop", a, "192.0.2.3"),
            ("both.shop", aaaa, "2001:db8::3"),
            ("alias.shop", a, "web.shop"),
            ("alias.shop", RecordType::ANY, "web.shop"),
            ("text.shop", txt, "hello"),
            ("text.shop", a, "another type"),
            ("a.web.shop", a, "nothing"),
            ("shop", a, "nothing"),
            ("a.bc", a, "nothing"),
            ("ab.c", a, "192.0.2.4"),
        ] {
            assert_eq!(found(&table, name, kind), want, "{name} {kind}");
            assert_eq!(table.has(&labels(name).unwrap()), want != "nothing", "{name}");
        }
    }

    #[test]
    fn a_value_that_is_pinned_again_lasts_as_it_is_said_last() {
        let mut table = table(&["web.shop A 192.0.2.1", "web.shop A 192.0.2.2"]);
        let longer = span(600);
        let pin = table.add(wanted("web.shop A 192.0.2.1"), Span { since_ms: 9_000, ..longer }).unwrap();
        assert_eq!(pin.values.len(), 2);
        assert_eq!(
            pin.span,
            Span { since_ms: 1_000, ..longer },
            "since it was first pinned, until it is said"
        );
        assert_eq!(table.pins(), [pin]);
    }

    #[test]
    fn an_alias_stands_alone() {
        let mut table = table(&["web.shop A 192.0.2.1", "alias.shop CNAME web.shop"]);
        for (line, fits) in [
            ("web.shop CNAME other.shop", false),
            ("alias.shop A 192.0.2.1", false),
            ("alias.shop CNAME other.shop", false),
            ("alias.shop CNAME web.shop.", true),
        ] {
            let added = table.add(wanted(line), span(60)).map(drop);
            assert_eq!(added, if fits { Ok(()) } else { Err(NoPlace::Alias) }, "{line}");
        }
    }

    #[test]
    fn what_is_pinned_is_bounded() {
        let mut table = Table::default();
        let mut add = |n: usize, value: usize| {
            table.add(wanted(&format!("n{n}. A 192.0.{n}.{value}")), span(60)).map(drop)
        };
        for n in 0..MAX_PINNED {
            let (n, value) = (n / MAX_VALUES, n % MAX_VALUES);
            assert_eq!(add(n, value), Ok(()));
            if value == MAX_VALUES - 1 {
                assert_eq!(add(n, MAX_VALUES), Err(NoPlace::TooManyValues));
                assert_eq!(add(n, value), Ok(()), "it is there");
            }
        }
        assert_eq!(add(200, 0), Err(NoPlace::Full));
        assert_eq!(add(MAX_PINNED / MAX_VALUES, 200), Err(NoPlace::Full));
        assert_eq!(table.take(|pin| pin.name == labels("n0.").unwrap()).len(), 1);
        assert_eq!(table.add(wanted("n200. A 192.0.2.1"), span(60)).map(drop), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_ended_is_not_there() {
        let mut table = table(&["web.shop A 192.0.2.1"]);
        table.add(wanted("web.shop TXT hello"), span(120)).unwrap();
        assert_eq!(table.next_end(), Some(span(60).until));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(found(&table, "web.shop", RecordType::A), "another type");
        let now = Instant::now();
        let ended = table.take(|pin| pin.span.until <= now);
        assert_eq!(ended.iter().map(|pin| pin.kind).collect::<Vec<_>>(), [RecordType::A]);
        assert_eq!(found(&table, "web.shop", RecordType::TXT), "hello");
        table.take(|_| true);
        assert_eq!((table.next_end(), table.has(&labels("web.shop").unwrap())), (None, false));
    }
}
