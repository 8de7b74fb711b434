//! A plain question, taken apart in place.

use std::net::SocketAddr;

use crate::node::gate::HEADER;
use crate::node::opt::{self, Opt};
use crate::zone::name::Labels;

/// RD, in the third byte of a header (RFC 1035 §4.1.1): the only bit there that a plain question may have set.
const RECURSION_DESIRED: u8 = 0x01;

/// AD and CD, in the fourth byte (RFC 4035 §3.2): the same.
const AUTHENTIC_DATA: u8 = 0x20;
/// See [`AUTHENTIC_DATA`].
const CHECKING_DISABLED: u8 = 0x10;

/// IN, RFC 1035 §3.2.4.
const CLASS_IN: u16 = 1;

/// Types that are never answered in the lane: DS belongs to another block than all others (RFC 4035 §2.4), transfers
/// and ANY have rules of their own.
const SPECIAL: [u16; 4] = [43, 251, 252, 255];

/// An option whose content is looked at, and is a malformed query where it is wrong (RFC 7871 §7.1.2); nobody in a
/// cluster sends one.
const READ: u16 = opt::CLIENT_SUBNET;

/// DO, in the flags of an OPT record (RFC 3225).
const DNSSEC_OK: u8 = 0x80;

/// A query as stub resolvers send it: one question of class IN, and perhaps an OPT record of version 0 without a client
/// subnet. Nothing else is in the message.
pub struct Question<'a> {
    /// The message.
    bytes: &'a [u8],
    /// The name that is asked for, in lower case.
    labels: Labels,
    /// The type that is asked for.
    kind: u16,
    /// Where the question ends.
    end: usize,
    /// Its OPT record.
    opt: Option<Opt>,
    /// DO
    dnssec_ok: bool,
    /// Who asks.
    source: SocketAddr,
}

impl<'a> Question<'a> {
    /// The question of a datagram from `source`; `None` if it is not plain.
    pub fn read(bytes: &'a [u8], source: SocketAddr) -> Option<Self> {
        let header = bytes.first_chunk::<HEADER>()?;
        // Whatever else is set makes it something else than a query (RFC 1035 §4.1.1).
        let is_query = header[2] & !RECURSION_DESIRED == 0;
        if !is_query || header[3] & !(AUTHENTIC_DATA | CHECKING_DISABLED) != 0 {
            return None;
        }
        let has_opt = match header[4..] {
            [0, 1, 0, 0, 0, 0, 0, additional @ (0 | 1)] => additional == 1,
            _ => return None,
        };
        let First { name, kind, class, end } = First::read(bytes)?;
        if name.is_empty() || class != CLASS_IN || SPECIAL.contains(&kind) {
            return None;
        }
        let mut question = Self { bytes, labels: name, kind, end, opt: None, dnssec_ok: false, source };
        let rest = bytes.get(end..)?;
        if !has_opt {
            return rest.is_empty().then_some(question);
        }
        // Root, type, size, the upper bits of an rcode, version, flags, length, options.
        let &[0, _, _, _, _, 0, 0, flags, 0, _, _, ref options @ ..] = rest else { return None };
        if flags & !DNSSEC_OK != 0 {
            return None;
        }
        let opt = opt::find(bytes, end).ok()??;
        question.dnssec_ok = flags & DNSSEC_OK != 0;
        let is_plain = opt.options_len() == options.len() && !opt.has(bytes, READ);
        question.opt = Some(opt);
        is_plain.then_some(question)
    }

    /// The message.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The name that is asked for, in lower case.
    pub const fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The name as it stands in the message.
    pub fn wire_name(&self) -> &'a [u8] {
        self.bytes.get(HEADER..self.end - 4).unwrap_or_default()
    }

    /// The last `count` labels of the name as they stand in the message, with the root.
    pub fn wire_suffix(&self, count: usize) -> &'a [u8] {
        let front = self.labels.len().saturating_sub(count);
        let skipped: usize = self.labels.iter().take(front).map(|label| label.len() + 1).sum();
        self.wire_name().get(skipped..).unwrap_or_default()
    }

    /// The question as it stands in the message.
    pub fn wire_question(&self) -> &'a [u8] {
        self.bytes.get(HEADER..self.end).unwrap_or_default()
    }

    /// The type that is asked for.
    pub const fn kind(&self) -> u16 {
        self.kind
    }

    /// The message's number.
    pub fn id(&self) -> [u8; 2] {
        self.bytes.first_chunk().copied().unwrap_or_default()
    }

    /// RD, in its place in the third byte of the header.
    pub fn recursion_desired(&self) -> u8 {
        self.bytes.get(2).map_or(0, |flags| flags & RECURSION_DESIRED)
    }

    /// CD, in its place in the fourth byte of the header.
    pub fn checking_disabled(&self) -> u8 {
        self.bytes.get(3).map_or(0, |flags| flags & CHECKING_DISABLED)
    }

    /// Whether the client may be told that data is authentic: if it asked, by AD or DO (RFC 6840 §5.7 and §5.8).
    pub fn wants_authentic_data(&self) -> bool {
        self.dnssec_ok || self.bytes.get(3).is_some_and(|flags| flags & AUTHENTIC_DATA != 0)
    }

    /// DO
    pub const fn dnssec_ok(&self) -> bool {
        self.dnssec_ok
    }

    /// Its OPT record.
    pub const fn opt(&self) -> Option<&Opt> {
        self.opt.as_ref()
    }

    /// Who asks.
    pub const fn source(&self) -> SocketAddr {
        self.source
    }
}

/// The first question of a message, plain or not.
pub struct First {
    /// The name that is asked for, in lower case.
    pub name: Labels,
    /// The type that is asked for.
    pub kind: u16,
    /// Its class.
    class: u16,
    /// Where the question ends.
    end: usize,
}

impl First {
    /// The first question of a message; `None` where there is none, or it cannot be read.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut labels = RawLabels { bytes, at: HEADER };
        let name = Labels::from_labels(&mut labels).ok()?;
        // It ended at the root, and not at a pointer or the end of the message.
        if bytes.get(labels.at) != Some(&0) {
            return None;
        }
        let fields = labels.at + 1;
        let number = |at: usize| bytes.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
        Some(Self { name, kind: number(fields)?, class: number(fields + 2)?, end: fields + 4 })
    }
}

/// The labels of an uncompressed name, up to what is none.
struct RawLabels<'a> {
    /// The message.
    bytes: &'a [u8],
    /// Where the next label begins.
    at: usize,
}

impl<'a> Iterator for RawLabels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        // Longer lengths are pointers, or undefined (RFC 1035 §4.1.4).
        let length = self.bytes.get(self.at).filter(|length| (1..=63).contains(*length))?;
        let label = self.bytes.get(self.at + 1..)?.get(..usize::from(*length))?;
        self.at += 1 + label.len();
        Some(label)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::testkit::client::Query;

    const CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5353);

    #[test]
    fn what_stub_resolvers_send_is_plain() {
        struct Case {
            name: &'static str,
            message: Vec<u8>,
            want: Option<(u16, bool)>,
        }
        let a = || Query::a("Web.Default.svc.cluster.local.");
        let edit = |query: Query, edit: fn(&mut Vec<u8>)| {
            let mut bytes = query.bytes();
            edit(&mut bytes);
            bytes
        };
        let case = |name, message, want| Case { name, message, want };
        for Case { name, message, want } in [
            case("without EDNS", a().bytes(), Some((0, false))),
            case("with EDNS", a().edns(1232).bytes(), Some((1232, false))),
            case("with a cookie", a().edns(1232).option(10, b"12345678").bytes(), Some((1232, false))),
            case("with a client subnet", a().option(8, b"\0\x01\x18\0\xc0\0\x02").bytes(), None),
            case("with half a client subnet", a().option(8, b"\0\x01\x18\0\xc0").bytes(), None),
            case("a small size", a().edns(7).bytes(), Some((7, false))),
            case("without RD", edit(a(), |b| b[2] = 0), Some((0, false))),
            case("AD and CD", edit(a(), |b| b[3] = 0x30), Some((0, false))),
            case("DO", edit(a().edns(512), |b| set_from_end(b, 4, 0x80)), Some((512, true))),
            case("a reply", edit(a(), |b| b[2] |= 0x80), None),
            case("a NOTIFY", edit(a(), |b| b[2] |= 4 << 3), None),
            case("TC", edit(a(), |b| b[2] |= 2), None),
            case("an rcode", edit(a(), |b| b[3] = 3), None),
            case("Z", edit(a(), |b| b[3] = 0x40), None),
            case("two questions", edit(a(), |b| b[5] = 2), None),
            case("an answer", edit(a(), |b| b[7] = 1), None),
            case("256 questions", edit(a(), |b| b[4] = 1), None),
            case("two records", edit(a().edns(512), |b| b[11] = 2), None),
            case("a byte behind the question", edit(a(), |b| b.push(0)), None),
            case("a byte behind the OPT record", edit(a().edns(512), |b| b.push(0)), None),
            case("an OPT record of another version", edit(a().edns(512), |b| set_from_end(b, 5, 1)), None),
            case("the upper bits of an rcode", edit(a().edns(512), |b| set_from_end(b, 6, 1)), None),
            case("another flag than DO", edit(a().edns(512), |b| set_from_end(b, 3, 1)), None),
            case("another record than OPT", edit(a().edns(512), |b| set_from_end(b, 9, 250)), None),
            case("the OPT record of a name", edit(a().edns(512), |b| set_from_end(b, 11, 1)), None),
            case("class CH", a().class(3).bytes(), None),
            case("DS", Query::new("x.", 43.into()).bytes(), None),
            case("AXFR", Query::new("x.", 252.into()).bytes(), None),
            case("ANY", Query::new("x.", 255.into()).bytes(), None),
            case("the root", Query::a(".").bytes(), None),
            case("a pointer", edit(a(), |b| b[12] = 0xc0), None),
            case("cut off", edit(a(), |b| b.truncate(20)), None),
            case("a header alone", edit(a(), |b| b.truncate(12)), None),
            case("nothing", Vec::new(), None),
        ] {
            let question = Question::read(&message, CLIENT);
            let got = question.as_ref().map(|q| (q.opt().map_or(0, |opt| opt.size), q.dnssec_ok()));
            assert_eq!(got, want, "{name}");
            if let Some(question) = question {
                assert_eq!(question.labels().to_string(), "web.default.svc.cluster.local.", "{name}");
                assert_eq!(
                    question.wire_name(),
                    b"\x03Web\x07Default\x03svc\x07cluster\x05local\0",
                    "{name}"
                );
                assert_eq!(question.wire_suffix(2), b"\x07cluster\x05local\0", "{name}");
                assert_eq!(question.wire_question().len(), question.wire_name().len() + 4, "{name}");
            }
        }
    }

    /// Overwrites the byte so far from the end.
    fn set_from_end(bytes: &mut [u8], back: usize, byte: u8) {
        let at = bytes.len() - back;
        bytes[at] = byte;
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120), flip: u16, to: u8) {
            let _ = Question::read(&bytes, CLIENT);
            let mut plain = Query::a("a.b.").edns(1232).option(10, b"12345678").bytes();
            let at = usize::from(flip) % plain.len();
            plain[at] = to;
            if let Some(question) = Question::read(&plain, CLIENT) {
                let _ = (question.wire_name(), question.wire_suffix(1), question.labels());
            }
            plain.truncate(at);
            let _ = Question::read(&plain, CLIENT);
        }
    }
}
