//! One record in the form of a zone file (RFC 1035 §5): `OWNER [TTL] [CLASS] TYPE DATA...`.
//!
//! As CoreDNS has it: TTL and class come in either order and may be missing (3600 and IN), names without a final
//! dot are absolute, `@` is the root, parentheses and comments are as in zone files. There is no `$ORIGIN` or
//! `$INCLUDE`, and one record only.
//!
//! Data of any type may be written as bytes (`\# 4 0a000001`, RFC 3597 §5).

use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, NAPTR, NS, NULL, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecoder, Restrict};

use crate::node::presentation;

/// TTL of a record that has none: CoreDNS's.
const DEFAULT_TTL: u32 = 3600;

/// The longest TTL, RFC 2181 §8.
const MAX_TTL: u32 = i32::MAX as u32;

/// The longest character string, RFC 1035 §3.3.
const MAX_STRING: usize = 255;

/// The longest data of a record, RFC 1035 §3.2.1.
const MAX_DATA: usize = u16::MAX as usize;

/// Types that are asked for or carried along, and are no records of a zone.
const NO_RECORDS: [RecordType; 8] = [
    RecordType::ANY,
    RecordType::AXFR,
    RecordType::IXFR,
    RecordType::OPT,
    RecordType::TSIG,
    RecordType::ZERO,
    RecordType::Unknown(253),
    RecordType::Unknown(254),
];

/// A word; escapes are as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    /// Its characters, without the quotes.
    text: String,
    /// Whether it was in quotes.
    quoted: bool,
}

/// Reads a record; `None` if there is nothing but white space and comments. The error says what is wrong.
pub(super) fn parse(text: &str) -> Result<Option<Record>, String> {
    let words = split(text)?;
    let Some((owner, mut rest)) = words.split_first() else { return Ok(None) };
    let owner = name(owner)?;
    let (mut ttl, mut class) = (None, None);
    let kind = loop {
        let Some((word, after)) = rest.split_first() else { return Err("the type is missing".to_owned()) };
        rest = after;
        let upper = word.text.to_ascii_uppercase();
        if ttl.is_none() && upper.starts_with(|c: char| c.is_ascii_digit()) {
            ttl = Some(seconds(&word.text)?);
        } else if class.is_none()
            && let Some(known) = class_of_records(&upper)
        {
            class = Some(known);
        } else {
            let kind = presentation::kind(&upper);
            break kind.ok_or_else(|| format!("'{}' is no TTL, class or type", word.text))?;
        }
    };
    if NO_RECORDS.contains(&kind) {
        return Err(format!("there are no records of type {kind}"));
    }
    let data = data(kind, rest).map_err(|why| format!("data of type {kind}: {why}"))?;
    let mut record = Record::from_rdata(owner, ttl.unwrap_or(DEFAULT_TTL), data);
    record.dns_class = class.unwrap_or(DNSClass::IN);
    Ok(Some(record))
}

/// Reads the data of a record alone. The error says what is wrong.
pub(in crate::node) fn parse_data(kind: RecordType, text: &str) -> Result<RData, String> {
    data(kind, &split(text)?)
}

/// Splits a record into words.
fn split(text: &str) -> Result<Vec<Word>, String> {
    let mut words: Vec<Word> = Vec::new();
    let mut chars = text.chars().peekable();
    let (mut depth, mut ended) = (0_u32, false);
    while let Some(&c) = chars.peek() {
        match c {
            '\n' => {
                chars.next();
                ended |= depth == 0 && !words.is_empty();
            }
            c if c.is_ascii_whitespace() => {
                chars.next();
            }
            ';' => while chars.next_if(|c| *c != '\n').is_some() {},
            _ if ended => return Err("there is more than one record".to_owned()),
            '(' => {
                chars.next();
                depth += 1;
            }
            ')' => {
                chars.next();
                depth = depth.checked_sub(1).ok_or("a parenthesis is closed that was never opened")?;
            }
            '"' => {
                chars.next();
                let mut text = String::new();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => {
                            text.push('\\');
                            text.push(chars.next().ok_or("a quote is never closed")?);
                        }
                        Some(c) => text.push(c),
                        None => return Err("a quote is never closed".to_owned()),
                    }
                }
                words.push(Word { text, quoted: true });
            }
            _ => {
                let mut text = String::new();
                let ends = |c: &char| c.is_ascii_whitespace() || matches!(c, ';' | '(' | ')' | '"');
                while let Some(c) = chars.next_if(|c| !ends(c)) {
                    text.push(c);
                    if c == '\\' {
                        text.push(chars.next().ok_or("an escape is not finished")?);
                    }
                }
                words.push(Word { text, quoted: false });
            }
        }
    }
    if depth > 0 { Err("a parenthesis is never closed".to_owned()) } else { Ok(words) }
}

fn name(word: &Word) -> Result<Name, String> {
    let text = if word.text == "@" && !word.quoted { "." } else { word.text.as_str() };
    let name = if text.is_empty() { None } else { presentation::name(text) };
    name.ok_or_else(|| format!("'{}' is no domain name", word.text))
}

/// A class that records can have: `ANY` is a type here.
fn class_of_records(word: &str) -> Option<DNSClass> {
    presentation::class(word).filter(|class| !matches!(class, DNSClass::ANY | DNSClass::NONE))
}

/// A time in seconds, or with units as zone files have them: `1h30m`.
fn seconds(text: &str) -> Result<u32, String> {
    let wrong = || format!("'{text}' is no time from 0 to {MAX_TTL} seconds");
    let (mut total, mut number) = (0_u64, None::<u64>);
    for c in text.chars() {
        if let Some(digit) = c.to_digit(10) {
            number = Some((number.unwrap_or(0) * 10 + u64::from(digit)).min(u64::from(u32::MAX)));
            continue;
        }
        let unit = match c.to_ascii_lowercase() {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return Err(wrong()),
        };
        total = (total + number.take().ok_or_else(wrong)? * unit).min(u64::from(u32::MAX));
    }
    total += number.unwrap_or(0);
    u32::try_from(total).ok().filter(|ttl| *ttl <= MAX_TTL && !text.is_empty()).ok_or_else(wrong)
}

fn number<T: std::str::FromStr>(word: &Word) -> Result<T, String> {
    let plain = !word.text.is_empty() && word.text.bytes().all(|b| b.is_ascii_digit());
    let number = if plain { word.text.parse().ok() } else { None };
    number.ok_or_else(|| format!("'{}' is no number that fits", word.text))
}

/// The bytes of a character string.
fn string(word: &Word) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = word.text.as_bytes().iter();
    while let Some(&byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => presentation::escaped(&mut rest).ok_or("an escape is no byte")?,
            other => other,
        });
    }
    Ok(bytes)
}

/// A character string that may not be split.
fn short_string(word: &Word) -> Result<Box<[u8]>, String> {
    let bytes = string(word)?;
    if bytes.len() > MAX_STRING {
        return Err(format!("a string has more than {MAX_STRING} bytes"));
    }
    Ok(bytes.into())
}

fn hexadecimal(words: &[Word]) -> Result<Vec<u8>, String> {
    let digits: Option<Vec<u32>> =
        words.iter().flat_map(|w| w.text.chars()).map(|c| c.to_digit(16)).collect();
    let digits = digits.ok_or("a digit is not hexadecimal")?;
    let pairs = digits.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err("the number of hexadecimal digits is odd".to_owned());
    }
    Ok(pairs.map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
}

/// The data of a record; every word has to be used.
fn data(kind: RecordType, words: &[Word]) -> Result<RData, String> {
    let wrong = |usage: &str| Err(format!("write {usage}"));
    Ok(match (kind, words) {
        (_, [mark, len, digits @ ..]) if mark.text == r"\#" && !mark.quoted => {
            return bytes(kind, number::<u16>(len)?, &hexadecimal(digits)?);
        }
        (RecordType::A, [ip]) => {
            RData::A(A(ip.text.parse().map_err(|_| format!("'{}' is no IPv4 address", ip.text))?))
        }
        (RecordType::AAAA, [ip]) => {
            RData::AAAA(AAAA(ip.text.parse().map_err(|_| format!("'{}' is no IPv6 address", ip.text))?))
        }
        (RecordType::CNAME, [target]) => RData::CNAME(CNAME(name(target)?)),
        (RecordType::NS, [host]) => RData::NS(NS(name(host)?)),
        (RecordType::PTR, [host]) => RData::PTR(PTR(name(host)?)),
        (RecordType::DNAME, [target]) => unknown(kind, presentation::wire(&name(target)?)),
        (RecordType::MX, [preference, host]) => RData::MX(MX::new(number(preference)?, name(host)?)),
        (RecordType::SRV, [priority, weight, port, target]) => {
            RData::SRV(SRV::new(number(priority)?, number(weight)?, number(port)?, name(target)?))
        }
        (RecordType::SOA, [mname, rname, serial, refresh, retry, expire, minimum]) => {
            let time = |word: &Word| seconds(&word.text).map(|s| i32::try_from(s).unwrap_or(i32::MAX));
            let (refresh, retry, expire) = (time(refresh)?, time(retry)?, time(expire)?);
            let minimum = seconds(&minimum.text)?;
            RData::SOA(SOA::new(name(mname)?, name(rname)?, number(serial)?, refresh, retry, expire, minimum))
        }
        (RecordType::TXT, [_, ..]) => {
            let strings = words.iter().map(string).collect::<Result<Vec<_>, _>>()?;
            // A longer string is several, as CoreDNS has it.
            let pieces = strings.iter().flat_map(|s| match s.as_slice() {
                [] => vec![&[][..]],
                s => s.chunks(MAX_STRING).collect(),
            });
            RData::TXT(TXT::from_bytes(pieces.collect()))
        }
        (RecordType::NAPTR, [order, preference, flags, services, regexp, replacement]) => {
            RData::NAPTR(NAPTR::new(
                number(order)?,
                number(preference)?,
                short_string(flags)?,
                short_string(services)?,
                short_string(regexp)?,
                name(replacement)?,
            ))
        }
        (RecordType::DS | RecordType::CDS, [tag, algorithm, digest_type, digest @ ..])
            if !digest.is_empty() =>
        {
            let mut bytes = number::<u16>(tag)?.to_be_bytes().to_vec();
            bytes.extend([number::<u8>(algorithm)?, number::<u8>(digest_type)?]);
            bytes.extend(hexadecimal(digest)?);
            unknown(kind, bytes)
        }
        (RecordType::A | RecordType::AAAA, _) => return wrong("ADDRESS"),
        (RecordType::CNAME | RecordType::DNAME | RecordType::NS | RecordType::PTR, _) => {
            return wrong("NAME");
        }
        (RecordType::MX, _) => return wrong("PREFERENCE NAME"),
        (RecordType::SRV, _) => return wrong("PRIORITY WEIGHT PORT NAME"),
        (RecordType::SOA, _) => return wrong("MNAME RNAME SERIAL REFRESH RETRY EXPIRE MINIMUM"),
        (RecordType::TXT, _) => return wrong("TEXT..."),
        (RecordType::NAPTR, _) => return wrong("ORDER PREFERENCE FLAGS SERVICES REGEXP NAME"),
        (RecordType::DS | RecordType::CDS, _) => return wrong("TAG ALGORITHM DIGESTTYPE DIGEST"),
        (
            RecordType::CAA
            | RecordType::CERT
            | RecordType::CSYNC
            | RecordType::HINFO
            | RecordType::HTTPS
            | RecordType::OPENPGPKEY
            | RecordType::SMIMEA
            | RecordType::SSHFP
            | RecordType::SVCB
            | RecordType::TLSA,
            [_, ..],
        ) => RData::try_from_str(kind, &joined(words)).map_err(|e| e.to_string())?,
        _ => return wrong(r"it as bytes, in the form '\# LENGTH HEXADECIMAL'"),
    })
}

/// The words as one text again, for hickory.
fn joined(words: &[Word]) -> String {
    let word = |word: &Word| if word.quoted { format!("\"{}\"", word.text) } else { word.text.clone() };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// Data that hickory keeps as bytes.
fn unknown(code: RecordType, bytes: Vec<u8>) -> RData {
    RData::Unknown { code, rdata: NULL::with(bytes) }
}

/// Data of any type, from its bytes.
fn bytes(kind: RecordType, len: u16, bytes: &[u8]) -> Result<RData, String> {
    if usize::from(len) != bytes.len() || bytes.len() > MAX_DATA {
        return Err(format!("{len} bytes are announced, and {} are there", bytes.len()));
    }
    let mut decoder = BinDecoder::new(bytes);
    let read = RData::read(&mut decoder, kind, Restrict::new(len)).map_err(|e| e.to_string())?;
    Ok(if read.record_type() == kind { read } else { unknown(kind, bytes.to_vec()) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A record as hickory prints it.
    fn printed(text: &str) -> Result<Option<String>, String> {
        let print = |r: Record| {
            format!("{} {} {} {} {}", r.name.to_ascii(), r.ttl, r.dns_class, r.record_type(), r.data)
        };
        parse(text).map(|record| record.map(print))
    }

    #[test]
    fn records_are_read() {
        for (name, text, want) in [
            ("all there", "a.b. 60 IN A 10.0.0.1", "a.b. 60 IN A 10.0.0.1"),
            ("TTL behind the class", "a.b. in 1h30m a 10.0.0.1", "a.b. 5400 IN A 10.0.0.1"),
            ("neither", "a.b A 10.0.0.1 ; comment", "a.b. 3600 IN A 10.0.0.1"),
            ("another class", "a. CH A 10.0.0.1", "a. 3600 CH A 10.0.0.1"),
            ("the root", " @ 60 IN NS @", ". 60 IN NS ."),
            ("AAAA", "a. AAAA fd00::1", "a. 3600 IN AAAA fd00::1"),
            ("CNAME", "a. CNAME under_score.0\\/25.example", "a. 3600 IN CNAME under_score.0\\/25.example."),
            ("PTR", "1.0.0.10.in-addr.arpa. PTR a.", "1.0.0.10.in-addr.arpa. 3600 IN PTR a."),
            ("MX", "a. MX 10 mail.a.", "a. 3600 IN MX 10 mail.a."),
            ("SRV", "_x._tcp.a. SRV 1 2 80 b.", "_x._tcp.a. 3600 IN SRV 1 2 80 b."),
            (
                "SOA over lines",
                "a. SOA ns.a. admin.a. ( 2024010100 ; serial\n 1h 15m\n 1w 60 )",
                "a. 3600 IN SOA ns.a. admin.a. 2024010100 3600 900 604800 60",
            ),
            ("TXT", r#"a. TXT "a; \"b\" (" c\059\100"#, "a. 3600 IN TXT a; \"b\" (c;d"),
            ("NAPTR", r#"a. NAPTR 1 2 "S" "SIP+D2U" "" b."#, r#"a. 3600 IN NAPTR 1 2 "S" "SIP+D2U" "" b."#),
            ("HINFO", "a. HINFO x86 linux", "a. 3600 IN HINFO x86 linux"),
            ("a type without a name", r"a. TYPE65280 \# 2 ab CD", "a. 3600 IN Unknown q80="),
            ("a known type as bytes", r"a. A \# 4 0a000001", "a. 3600 IN A 10.0.0.1"),
        ] {
            assert_eq!(printed(text), Ok(Some(want.to_owned())), "{name}");
        }
        for nothing in ["", " \n\t", "; comment", "\n;a\n"] {
            assert_eq!(printed(nothing), Ok(None), "{nothing:?}");
        }
        assert!(printed("\n a. A 10.0.0.1\n ; end\n").unwrap().is_some());
    }

    #[test]
    fn data_on_the_wire() {
        use hickory_proto::serialize::binary::BinEncodable;
        for (text, want) in [
            ("a. DNAME b.c.", &b"\x01b\x01c\0"[..]),
            ("a. DS 12 8 2 ABcd ef01", b"\0\x0c\x08\x02\xab\xcd\xef\x01"),
            (r"a. TXT \255\000", b"\x02\xff\0"),
            (r#"a. TXT """#, b"\0"),
            (r#"a. CAA 0 issue "ca.example""#, b"\0\x05issueca.example"),
            ("a. HTTPS 1 . alpn=h2", b"\0\x01\0\0\x01\0\x03\x02h2"),
            ("a. SSHFP 4 2 ab", b"\x04\x02\xab"),
            ("a. TLSA 3 1 1 abcd", b"\x03\x01\x01\xab\xcd"),
            (r"a. LOC \# 0", b""),
        ] {
            let record = parse(text).unwrap().unwrap();
            assert_eq!(record.data.to_bytes().unwrap(), want, "{text}");
        }
        let long = parse(&format!("a. TXT {}", "x".repeat(300))).unwrap().unwrap();
        let RData::TXT(txt) = &long.data else { panic!("{long}") };
        assert_eq!(txt.txt_data.iter().map(|s| s.len()).collect::<Vec<_>>(), [255, 45]);
    }

    #[test]
    fn what_is_no_record_is_said() {
        for (text, why) in [
            ("a.", "the type is missing"),
            ("a. 60 IN", "the type is missing"),
            ("a. 60 60 A 10.0.0.1", "'60' is no TTL, class or type"),
            ("a. 2147483648 A 10.0.0.1", "is no time"),
            ("a. 5x A 10.0.0.1", "is no time"),
            ("a..b A 10.0.0.1", "'a..b' is no domain name"),
            ("<no value> A 10.0.0.1", "'value>' is no TTL, class or type"),
            ("a. FOO x", "'FOO' is no TTL, class or type"),
            ("a. ANY x", "there are no records of type ANY"),
            ("a. A 10.0.0.256", "'10.0.0.256' is no IPv4 address"),
            ("a. A 10.0.0.1 10.0.0.2", "write ADDRESS"),
            ("a. AAAA 10.0.0.1", "is no IPv6 address"),
            ("a. CNAME", "write NAME"),
            ("a. MX x b.", "'x' is no number that fits"),
            ("a. MX 70000 b.", "is no number that fits"),
            ("a. SRV 1 2 b.", "write PRIORITY WEIGHT PORT NAME"),
            ("a. SOA b.", "write MNAME RNAME"),
            ("a. TXT", "write TEXT..."),
            ("a. DS 1 2 3", "write TAG"),
            ("a. DS 1 2 3 abc", "digits is odd"),
            ("a. DS 1 2 3 xy", "not hexadecimal"),
            ("a. LOC 1", "LENGTH HEXADECIMAL"),
            (r"a. A \# 3 0a000001", "3 bytes are announced, and 4 are there"),
            (r"a. A \# 3 0a0000", "data of type A"),
            ("a. A (10.0.0.1", "a parenthesis is never closed"),
            ("a. A 10.0.0.1)", "never opened"),
            ("a. TXT \"x", "a quote is never closed"),
            (r"a. TXT x\", "an escape is not finished"),
            (r"a. TXT x\25", "an escape is no byte"),
            ("a. A 10.0.0.1\nb. A 10.0.0.2", "there is more than one record"),
        ] {
            let error = printed(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(
            text in "\\PC{0,60}",
            kind in "(A|AAAA|CAA|CERT|CNAME|CSYNC|DNAME|DS|HINFO|HTTPS|MX|NAPTR|NS|NULL|OPENPGPKEY|PTR|SMIMEA|SOA|SRV|SSHFP|SVCB|TLSA|TXT|TYPE[0-9]{1,5})",
            data in r#"([0-9]{1,3} |[a-z.=]{1,5} |"[ -~]{0,5}" |\\# |[a-f0-9]{2,8} |\(|\)|;|\\[0-9]{1,3}){0,8}"#,
        ) {
            let _ = parse(&text);
            if let Ok(Some(record)) = parse(&format!("a. {kind} {data}")) {
                use hickory_proto::serialize::binary::BinEncodable;
                let _ = record.to_bytes();
            }
        }
    }
}
