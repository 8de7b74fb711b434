//! Names, types, classes and rcodes as people write them: the words of zone files and of Corefiles (RFC 1035 §5.1,
//! RFC 3597 §5).
//!
//! hickory reads names as host names, which refuses names that are in use (`0/25.2.0.192.in-addr.arpa`), and knows
//! no type by number.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, Name, RecordType};

use crate::ops::rcode;

/// The longest label in bytes, RFC 1035 §2.3.4.
const MAX_LABEL: usize = 63;

/// Types without a name in hickory (IANA, Resource Record TYPEs): they can be asked for, and their data is bytes.
const OTHER_TYPES: [(&str, u16); 32] = [
    ("MD", 3),
    ("MF", 4),
    ("MB", 7),
    ("MG", 8),
    ("MR", 9),
    ("WKS", 11),
    ("MINFO", 14),
    ("RP", 17),
    ("AFSDB", 18),
    ("X25", 19),
    ("ISDN", 20),
    ("RT", 21),
    ("PX", 26),
    ("GPOS", 27),
    ("LOC", 29),
    ("KX", 36),
    ("APL", 42),
    ("IPSECKEY", 45),
    ("DHCID", 49),
    ("HIP", 55),
    ("ZONEMD", 63),
    ("SPF", 99),
    ("NID", 104),
    ("L32", 105),
    ("L64", 106),
    ("LP", 107),
    ("EUI48", 108),
    ("EUI64", 109),
    ("IXFR", 251),
    ("MAILB", 253),
    ("MAILA", 254),
    ("URI", 256),
];

/// A name, absolute with or without its final dot; `.` is the root. `\.` and `\046` stand for a dot within a label.
/// `None` if it is no domain name: a label is empty or over 63 bytes, the name over 255, an escape is unfinished.
pub fn name(text: &str) -> Option<Name> {
    let mut labels: Vec<Vec<u8>> = Vec::new();
    let mut label = Vec::new();
    let mut bytes = if text == "." { b"".iter() } else { text.as_bytes().iter() };
    // A final dot ends the name and begins no label.
    let mut ended = true;
    while let Some(&byte) = bytes.next() {
        ended = false;
        match byte {
            b'.' if label.is_empty() => return None,
            b'.' => {
                labels.push(std::mem::take(&mut label));
                ended = true;
            }
            b'\\' => label.push(escaped(&mut bytes)?),
            other => label.push(other),
        }
        if label.len() > MAX_LABEL {
            return None;
        }
    }
    if !ended {
        labels.push(label);
    }
    let mut name = Name::from_labels(labels.iter().map(Vec::as_slice)).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// The byte that an escape stands for; the backslash has been read.
pub fn escaped(bytes: &mut std::slice::Iter<'_, u8>) -> Option<u8> {
    let first = *bytes.next()?;
    if !first.is_ascii_digit() {
        return Some(first);
    }
    let digits = [first, *bytes.next()?, *bytes.next()?];
    // Signs are no digits to DNS.
    digits.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(&digits).ok()?.parse().ok())?
}

/// A name on the wire (RFC 1035 §3.1), without compression: data of types that hickory keeps as bytes.
pub fn wire(name: &Name) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len() + 1);
    for label in name.iter() {
        // A label has at most 63 bytes.
        bytes.push(label.len() as u8);
        bytes.extend(label);
    }
    bytes.push(0);
    bytes
}

/// A type by its mnemonic in upper case, or as `TYPE4711`.
pub fn kind(word: &str) -> Option<RecordType> {
    if let Some(number) = word.strip_prefix("TYPE") {
        return decimal(number).map(RecordType::from);
    }
    let other = OTHER_TYPES.iter().find(|(name, _)| *name == word);
    other.map(|(_, number)| RecordType::from(*number)).or_else(|| match word {
        // An asterisk is no type in a zone file.
        "*" => None,
        _ => word.parse().ok(),
    })
}

/// A class by its mnemonic in upper case, or as `CLASS7`.
pub fn class(word: &str) -> Option<DNSClass> {
    if let Some(number) = word.strip_prefix("CLASS") {
        return decimal(number).map(DNSClass::from);
    }
    match word {
        "*" => None,
        _ => word.parse().ok(),
    }
}

/// An rcode by its mnemonic in upper case (IANA, DNS RCODEs).
pub fn response_code(word: &str) -> Option<ResponseCode> {
    let number = (0..rcode::COUNT as u16).find(|number| rcode::mnemonic(*number) == Some(word));
    number.map(Into::into)
}

/// A number in decimal digits alone.
fn decimal(digits: &str) -> Option<u16> {
    if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_any_bytes() {
        let long = "a".repeat(63);
        for (text, want) in [
            (".", Some(vec![])),
            ("a", Some(vec!["a"])),
            ("A.b.", Some(vec!["A", "b"])),
            (r"a\.b.c", Some(vec!["a.b", "c"])),
            (r"a\046b\\", Some(vec![r"a.b\"])),
            ("0/25.2.0.192.in-addr.arpa.", Some(vec!["0/25", "2", "0", "192", "in-addr", "arpa"])),
            ("_a_b.*", Some(vec!["_a_b", "*"])),
            (&long, Some(vec![&long])),
            (&format!("{long}a"), None),
            (&[long.as_str(); 4].join("."), None),
            ("", Some(vec![])),
            ("..", None),
            ("a..b", None),
            (".a", None),
            (r"a\", None),
            (r"a\04", None),
            (r"a\256", None),
            (r"a\+46", Some(vec!["a+46"])),
            (r"a\0+6", None),
        ] {
            let got = name(text);
            let labels = |n: Name| -> Vec<String> {
                n.iter().map(|l| String::from_utf8(l.to_vec()).unwrap()).collect()
            };
            assert!(got.as_ref().is_none_or(Name::is_fqdn), "{text}");
            assert_eq!(
                got.map(labels).as_deref().map(<[_]>::to_vec),
                want.map(|w| w.iter().map(|l| (*l).to_owned()).collect()),
                "{text}"
            );
        }
    }

    #[test]
    fn types_classes_and_rcodes() {
        assert_eq!(kind("AAAA"), Some(RecordType::AAAA));
        assert_eq!(kind("ANY"), Some(RecordType::ANY));
        assert_eq!(kind("IXFR"), Some(RecordType::IXFR));
        assert_eq!(kind("URI"), Some(RecordType::Unknown(256)));
        assert_eq!(kind("TYPE1"), Some(RecordType::A));
        for wrong in ["a", "*", "TYPE", "TYPE+1", "TYPE65536", "IN", ""] {
            assert_eq!(kind(wrong), None, "{wrong}");
        }
        assert_eq!((class("IN"), class("CLASS3")), (Some(DNSClass::IN), Some(DNSClass::CH)));
        assert_eq!((class("in"), class("*"), class("A")), (None, None, None));
        assert_eq!(response_code("NXDOMAIN"), Some(ResponseCode::NXDomain));
        assert_eq!(response_code("BADCOOKIE"), Some(ResponseCode::BADCOOKIE));
        assert_eq!((response_code("nxdomain"), response_code("")), (None, None));
    }

    #[test]
    fn every_other_type_is_one_that_hickory_does_not_name() {
        for (word, number) in OTHER_TYPES {
            assert!(word.parse::<RecordType>().is_err(), "{word}");
            assert_eq!(u16::from(kind(word).unwrap()), number, "{word}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,300}") {
            let _ = (name(&text), kind(&text), class(&text), response_code(&text));
        }
    }
}
