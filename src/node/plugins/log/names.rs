//! How questions and rcodes are spelled in logs: as CoreDNS does, so that what greps for them still finds
//! them.

use std::fmt::{self, Write};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, RecordType};

use crate::ops::rcode;
use crate::zone::name::Labels;

/// A name with its final dot. Its own special characters have a backslash (RFC 1035 §5.1), unprintable bytes are
/// `\DDD`: a name, which strangers write, can neither end a line nor look like two.
pub(in crate::node::plugins) struct NameText<'a>(pub(in crate::node::plugins) &'a Labels);

impl fmt::Display for NameText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(".");
        }
        for label in self.0.iter() {
            for &byte in label {
                match byte {
                    b'.' | b' ' | b'\'' | b'@' | b';' | b'(' | b')' | b'"' | b'\\' => {
                        f.write_char('\\')?;
                        f.write_char(char::from(byte))?;
                    }
                    b'!'..=b'~' => f.write_char(char::from(byte))?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
            f.write_char('.')?;
        }
        Ok(())
    }
}

/// A type by its mnemonic, or as RFC 3597 §5 spells unknown ones: `TYPE4711`.
pub(in crate::node::plugins) struct TypeText(pub(in crate::node::plugins) RecordType);

impl fmt::Display for TypeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            RecordType::Unknown(number) => write!(f, "TYPE{number}"),
            known => f.write_str(known.into()),
        }
    }
}

/// A class by its mnemonic, or as RFC 3597 §5 spells unknown ones: `CLASS7`.
pub(in crate::node::plugins) struct ClassText(pub(in crate::node::plugins) DNSClass);

impl fmt::Display for ClassText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            // What hickory takes for an OPT record's size is, in a question, a class without a name.
            DNSClass::Unknown(number) | DNSClass::OPT(number) => write!(f, "CLASS{number}"),
            known => f.write_str(known.into()),
        }
    }
}

/// An rcode by its mnemonic (IANA, DNS RCODEs), or its number.
pub(super) struct RcodeText(pub(super) ResponseCode);

impl fmt::Display for RcodeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = u16::from(self.0);
        match rcode::mnemonic(number) {
            Some(mnemonic) => f.write_str(mnemonic),
            None => write!(f, "{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        let labels = |labels: &[&[u8]]| Labels::from_labels(labels.iter().copied()).unwrap();
        for (name, want) in [
            (labels(&[]), "."),
            (labels(&[b"WWW", b"example"]), "www.example."),
            (labels(&[b"_dns-sd", b"a*b/c:d#"]), "_dns-sd.a*b/c:d#."),
            (labels(&[b"a.b c\"\\", b"x"]), "a\\.b\\ c\\\"\\\\.x."),
            (labels(&[b"\n[INFO]\x7f\xe9"]), "\\010[info]\\127\\233."),
        ] {
            assert_eq!(NameText(&name).to_string(), want);
        }
    }

    #[test]
    fn numbers_have_names() {
        assert_eq!(TypeText(RecordType::HTTPS).to_string(), "HTTPS");
        assert_eq!(TypeText(RecordType::from(4711)).to_string(), "TYPE4711");
        assert_eq!(ClassText(DNSClass::CH).to_string(), "CH");
        assert_eq!(ClassText(DNSClass::from(7)).to_string(), "CLASS7");
        assert_eq!(RcodeText(ResponseCode::NXDomain).to_string(), "NXDOMAIN");
        assert_eq!(RcodeText(ResponseCode::from(0, 12)).to_string(), "12");
    }
}
