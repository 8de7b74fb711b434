//! Formats of log lines: taken apart once, when the Corefile is read, and filled in for each line.

use std::fmt::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

use super::names::{ClassText, NameText, RcodeText, TypeText};
use crate::node::query::Query;
use crate::node::reply::{Frame, Reply};

/// The format of a rule that names none.
pub(super) const COMMON: &str = "{remote}:{port} - {>id} \"{type} {class} {name} {proto} {size} {>do} \
                                 {>bufsize}\" {rcode} {>rflags} {rsize} {duration}";

/// What `{combined}` adds to [`COMMON`].
const COMBINED_TAIL: &str = " \"{>opcode}\"";

/// What stands where there is no value.
const NONE: &str = "-";

/// What clients take over TCP, whatever they say: RFC 1035 §4.2.2.
const TCP_SIZE: u16 = u16::MAX;

/// The placeholders.
const FIELDS: [(&str, Field); 16] = [
    ("{type}", Field::Type),
    ("{name}", Field::Name),
    ("{class}", Field::Class),
    ("{proto}", Field::Proto),
    ("{size}", Field::Size),
    ("{remote}", Field::Remote),
    ("{port}", Field::Port),
    ("{local}", Field::Local),
    ("{>id}", Field::Id),
    ("{>opcode}", Field::Opcode),
    ("{>do}", Field::DnssecOk),
    ("{>bufsize}", Field::BufferSize),
    ("{>rflags}", Field::Flags),
    ("{rcode}", Field::Rcode),
    ("{rsize}", Field::ReplySize),
    ("{duration}", Field::Duration),
];

/// A value that a line may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    /// The type that was asked for.
    Type,
    /// The name, in lower case.
    Name,
    /// The class.
    Class,
    /// `udp` or `tcp`.
    Proto,
    /// Bytes of the query.
    Size,
    /// The client's address, IPv6 in brackets.
    Remote,
    /// The client's port.
    Port,
    /// The address that was asked, IPv6 in brackets.
    Local,
    /// The message's id.
    Id,
    /// The opcode's number.
    Opcode,
    /// Whether the client wants DNSSEC records.
    DnssecOk,
    /// The largest reply that the client takes.
    BufferSize,
    /// The reply's flags, joined by commas.
    Flags,
    /// The reply's rcode.
    Rcode,
    /// The reply's bytes without name compression.
    ReplySize,
    /// Seconds from the query to the reply.
    Duration,
}

/// A part of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// Text that stands in every line.
    Literal(Box<str>),
    /// A value.
    Field(Field),
    /// What plugins say under this label.
    Fact(Box<str>),
}

/// A format of log lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format(Vec<Piece>);

impl Format {
    /// Reads a format. `{common}` and `{combined}` stand for the known formats, `{/LABEL}` for what plugins say under
    /// a label if `metadata` asks them; what is in braces and is no placeholder stays as it is, as in CoreDNS.
    pub(super) fn parse(text: &str) -> Self {
        let text = text.replace("{common}", COMMON);
        let text = text.replace("{combined}", &format!("{COMMON}{COMBINED_TAIL}"));
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text.as_str();
        // The closing brace is found first and the nearest opening one before it: `{ {name} }` has a placeholder.
        while let Some(close) = rest.find('}') {
            let (head, tail) = rest.split_at(close + 1);
            rest = tail;
            let (before, word) = head.split_at(head.rfind('{').unwrap_or(head.len()));
            literal.push_str(before);
            let field = FIELDS.iter().find(|(placeholder, _)| *placeholder == word);
            let label = || word.strip_prefix("{/")?.strip_suffix('}');
            let piece = field.map(|(_, field)| Piece::Field(*field));
            let Some(piece) = piece.or_else(|| Some(Piece::Fact(label()?.into()))) else {
                literal.push_str(word);
                continue;
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
            }
            pieces.push(piece);
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.into()));
        }
        Self(pieces)
    }
}

/// A line about one query. It is put into words only where it is printed: lines that no one wants cost
/// nothing.
pub(super) struct Line<'a> {
    /// How it looks.
    pub(super) format: &'a Format,
    /// The query.
    pub(super) query: &'a Query,
    /// Its reply; `None` if no plugin made one. What the server then says is not known here, as in CoreDNS.
    pub(super) reply: Option<&'a Reply>,
    /// From the query to the reply.
    pub(super) elapsed: Duration,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.format.0.iter().try_for_each(|piece| match piece {
            Piece::Literal(text) => f.write_str(text),
            Piece::Field(field) => self.write(*field, f),
            Piece::Fact(label) => write_fact(f, self.query.facts().and_then(|facts| facts.get(label))),
        })
    }
}

impl Line<'_> {
    fn write(&self, field: Field, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { query, reply, .. } = self;
        match field {
            Field::Type => write!(f, "{}", TypeText(query.kind())),
            Field::Name => write!(f, "{}", NameText(query.labels())),
            Field::Class => write!(f, "{}", ClassText(query.class())),
            Field::Proto => f.write_str(query.transport()),
            Field::Size => write!(f, "{}", query.bytes().len()),
            Field::Remote => write_ip(f, query.source().ip()),
            Field::Port => write!(f, "{}", query.source().port()),
            Field::Local => write_ip(f, query.local().ip()),
            Field::Id => write!(f, "{}", query.metadata().id),
            Field::Opcode => write!(f, "{}", u8::from(query.metadata().op_code)),
            Field::DnssecOk => write!(f, "{}", query.dnssec_ok()),
            Field::BufferSize => {
                write!(f, "{}", if query.is_udp() { query.max_payload() } else { TCP_SIZE })
            }
            Field::Flags => match reply {
                Some(reply) => write_flags(f, query, reply),
                None => f.write_str(NONE),
            },
            Field::Rcode => match reply {
                Some(reply) => write!(f, "{}", RcodeText(reply.rcode)),
                None => f.write_str(NONE),
            },
            Field::ReplySize => write!(f, "{}", reply.map_or(0, |reply| reply.uncompressed_len(query))),
            Field::Duration => write!(f, "{}s", self.elapsed.as_secs_f64()),
        }
    }
}

/// An address as a URI has it. IPv4 clients of an IPv6 socket are IPv4 clients.
fn write_ip(f: &mut fmt::Formatter<'_>, ip: IpAddr) -> fmt::Result {
    match ip.to_canonical() {
        IpAddr::V4(ip) => write!(f, "{ip}"),
        IpAddr::V6(ip) => write!(f, "[{ip}]"),
    }
}

/// What a plugin says; nothing that it may have from a stranger ends the line.
fn write_fact(f: &mut fmt::Formatter<'_>, fact: Option<String>) -> fmt::Result {
    let Some(fact) = fact else { return f.write_str(NONE) };
    fact.chars()
        .try_for_each(|c| if c.is_control() { write!(f, "{}", c.escape_default()) } else { f.write_char(c) })
}

/// The flags of the reply's header. TC is there only if the reply came truncated from elsewhere: whether it fits
/// the client is found out when it is sent.
fn write_flags(f: &mut fmt::Formatter<'_>, query: &Query, reply: &Reply) -> fmt::Result {
    let asked = query.metadata();
    let Frame { recursion_desired, checking_disabled, .. } = reply.frame;
    f.write_str("qr")?;
    [
        (reply.authoritative, "aa"),
        (reply.truncated, "tc"),
        (recursion_desired.unwrap_or(query.is_query() && asked.recursion_desired), "rd"),
        (reply.recursion_available, "ra"),
        (reply.authentic_data, "ad"),
        (checking_disabled.unwrap_or(query.is_query() && asked.checking_disabled), "cd"),
    ]
    .into_iter()
    .filter(|(set, _)| *set)
    .try_for_each(|(_, flag)| {
        f.write_char(',')?;
        f.write_str(flag)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hickory_proto::op::ResponseCode;
    use hickory_proto::rr::{DNSClass, RecordType};
    use hickory_server::net::xfer::Protocol;
    use proptest::prelude::*;

    use super::*;
    use crate::node::facts::Facts;
    use crate::node::test_support::{Ask, address};

    fn line(format: &str, ask: &Ask, reply: Option<&Reply>) -> String {
        let elapsed = Duration::from_micros(1_250);
        Line { format: &Format::parse(format), query: &ask.query(), reply, elapsed }.to_string()
    }

    fn answer() -> Reply {
        Reply {
            authoritative: true,
            answers: vec![address("example.org.", "192.0.2.1")],
            ..Reply::new(ResponseCode::NoError, "kubernetes")
        }
    }

    #[test]
    fn every_placeholder_has_its_value() {
        struct Case {
            format: &'static str,
            ask: Ask,
            want: &'static str,
        }
        let plain = Ask::default;
        let v6 = || Ask { source: "[fd00::7]:5353", local: "[fd00::a]:53", ..Ask::default() };
        let cases = [
            Case { format: "{type}", ask: plain(), want: "A" },
            Case { format: "{type}", ask: Ask { kind: RecordType::from(4711), ..plain() }, want: "TYPE4711" },
            Case { format: "{name}", ask: Ask { name: "ExAmple.ORG.", ..plain() }, want: "example.org." },
            Case { format: "{class}", ask: Ask { class: DNSClass::CH, ..plain() }, want: "CH" },
            Case { format: "{proto}", ask: plain(), want: "udp" },
            Case { format: "{proto}", ask: Ask { protocol: Protocol::Tcp, ..plain() }, want: "tcp" },
            Case { format: "{size}", ask: plain(), want: "29" },
            Case { format: "{size}", ask: Ask { edns: Some((1232, false)), ..plain() }, want: "40" },
            Case { format: "{remote}", ask: plain(), want: "10.240.0.1" },
            Case { format: "{remote}", ask: v6(), want: "[fd00::7]" },
            Case {
                format: "{remote}",
                ask: Ask { source: "[::ffff:10.0.0.9]:1", ..plain() },
                want: "10.0.0.9",
            },
            Case { format: "{port}", ask: v6(), want: "5353" },
            Case { format: "{local}", ask: plain(), want: "10.96.0.10" },
            Case { format: "{local}", ask: v6(), want: "[fd00::a]" },
            Case { format: "{>id}", ask: Ask { id: 65_535, ..plain() }, want: "65535" },
            Case { format: "{>opcode}", ask: plain(), want: "0" },
            Case { format: "{>do}", ask: plain(), want: "false" },
            Case { format: "{>do}", ask: Ask { edns: Some((1232, true)), ..plain() }, want: "true" },
            Case { format: "{>bufsize}", ask: plain(), want: "512" },
            Case { format: "{>bufsize}", ask: Ask { edns: Some((1232, false)), ..plain() }, want: "1232" },
            Case { format: "{>bufsize}", ask: Ask { protocol: Protocol::Tcp, ..plain() }, want: "65535" },
            Case { format: "{>rflags}", ask: plain(), want: "qr,aa,rd" },
            Case {
                format: "{>rflags}",
                ask: Ask { recursion_desired: false, checking_disabled: true, ..plain() },
                want: "qr,aa,cd",
            },
            Case { format: "{rcode}", ask: plain(), want: "NOERROR" },
            Case { format: "{duration}", ask: plain(), want: "0.00125s" },
            Case { format: "{/kubernetes/namespace}", ask: plain(), want: "-" },
        ];
        for Case { format, ask, want } in cases {
            assert_eq!(line(format, &ask, Some(&answer())), want, "{format}");
        }
    }

    #[test]
    fn the_reply_s_size_counts_its_records() {
        let two = Reply { answers: [answer().answers, answer().answers].concat(), ..answer() };
        for reply in [answer(), two] {
            let want = reply.uncompressed_len(&Ask::default().query());
            assert_eq!(line("{rsize}", &Ask::default(), Some(&reply)), want.to_string());
        }
    }

    #[test]
    fn all_flags() {
        let reply = Reply { truncated: true, recursion_available: true, authentic_data: true, ..answer() };
        let ask = Ask { checking_disabled: true, ..Ask::default() };
        assert_eq!(line("{>rflags}", &ask, Some(&reply)), "qr,aa,tc,rd,ra,ad,cd");
    }

    #[test]
    fn known_formats() {
        let ask = Ask::default();
        let size = answer().uncompressed_len(&ask.query());
        let common = format!(
            "10.240.0.1:40212 - 7 \"A IN example.org. udp 29 false 512\" NOERROR qr,aa,rd {size} 0.00125s"
        );
        assert_eq!(line(COMMON, &ask, Some(&answer())), common);
        assert_eq!(line("{common}", &ask, Some(&answer())), common);
        assert_eq!(line("{combined}", &ask, Some(&answer())), format!("{common} \"0\""));
        assert_eq!(line("x {common} y", &ask, Some(&answer())), format!("x {common} y"));
    }

    #[test]
    fn without_a_reply_there_is_none_of_its_values() {
        assert_eq!(line("{rcode} {>rflags} {rsize} {duration}", &Ask::default(), None), "- - 0 0.00125s");
    }

    #[test]
    fn what_is_no_placeholder_stays() {
        for (format, want) in [
            ("", ""),
            ("no braces", "no braces"),
            ("{nonsense} {>ID} {}", "{nonsense} {>ID} {}"),
            ("{ {type} }", "{ A }"),
            ("{{type}}", "{A}"),
            ("} {type", "} {type"),
            ("a{type}{proto}b", "aAudpb"),
            ("{/a}{/b}", "--"),
            ("é{type}é", "éAé"),
        ] {
            assert_eq!(line(format, &Ask::default(), None), want, "{format}");
        }
    }

    #[test]
    fn facts_are_what_plugins_say() {
        let facts = Facts::default();
        facts.set("kubernetes/namespace", "shop");
        facts.set("kubernetes/port-name", "");
        facts.set("a/b", "x\n[INFO]\u{1b}");
        let query = Ask::default().query().with_facts(Arc::new(facts));
        for (format, want) in [
            ("{/kubernetes/namespace}", "shop"),
            ("<{/kubernetes/port-name}>", "<>"),
            ("{/kubernetes/service}", "-"),
            ("{/kubernetes/namespace}{/a}{type}", "shop-A"),
            ("{/a/b}", "x\\n[INFO]\\u{1b}"),
        ] {
            let line =
                Line { format: &Format::parse(format), query: &query, reply: None, elapsed: Duration::ZERO };
            assert_eq!(line.to_string(), want, "{format}");
        }
    }

    proptest! {
        #[test]
        fn any_format_is_read(text in r"([{}>/]|type|name|\PC){0,20}") {
            let format = Format::parse(&text);
            let literals = |p: &Piece| matches!(p, Piece::Literal(_));
            prop_assert!(!format.0.windows(2).any(|pair| pair.iter().all(literals)), "{:?}", format);
        }
    }
}
