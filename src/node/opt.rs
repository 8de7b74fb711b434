//! The OPT record (RFC 6891) of queries and replies, as bytes.
//!
//! hickory's parser hides sizes below 512, which are echoed, and forgives options that overrun their record,
//! which are a malformed query (RFC 6891 §7): so the record is found, checked and copied here.

use std::ops::Range;

use super::gate::HEADER;
use super::reply::Ede;

/// Type number of the OPT record, RFC 6891 §6.1.1.
pub const TYPE: u16 = 41;

/// Option code of an Extended DNS Error, RFC 8914 §2.
pub const EDE: u16 = 15;

/// Option code of a name server's identifier, RFC 5001 §3.
pub const NSID: u16 = 3;

/// Option code of a client's subnet, RFC 7871 §6.
pub const CLIENT_SUBNET: u16 = 8;

/// Options that are sent back as they came, as CoreDNS does: NSID, EXPIRE, COOKIE, KEEPALIVE and PADDING are
/// agreed between neighbours. Client subnet is not among them: answers do not depend on it.
const ECHOED: [u16; 5] = [NSID, 9, 10, 11, 12];

/// A query's OPT record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opt {
    /// The UDP payload size that the client names, whatever it is.
    pub size: u16,
    /// Where in the message its options are.
    options: Range<usize>,
}

/// The records of a query do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Finds the OPT record of a message whose records begin at `at`, and checks that its options fill it exactly.
pub fn find(message: &[u8], mut at: usize) -> Result<Option<Opt>, Malformed> {
    let counts = [6, 8, 10].map(|at| u16_at(message, at).map(u32::from));
    let records = counts.into_iter().sum::<Option<u32>>().ok_or(Malformed)?;
    for _ in 0..records {
        let fields = skip_name(message, at).ok_or(Malformed)?;
        // Type, class and TTL come before the length of the data.
        let length = u16_at(message, fields + 8).ok_or(Malformed)?;
        let data = fields + 10..fields + 10 + usize::from(length);
        let bytes = message.get(data.clone()).ok_or(Malformed)?;
        if u16_at(message, fields) == Some(TYPE) {
            if Options(bytes).any(|option| option.is_err()) {
                return Err(Malformed);
            }
            let size = u16_at(message, fields + 2).ok_or(Malformed)?;
            return Ok(Some(Opt { size, options: data }));
        }
        at = data.end;
    }
    Ok(None)
}

/// What an OPT record of a reply says.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplyOpt<'a> {
    /// UDP payload size.
    pub size: u16,
    /// The upper eight bits of the response code.
    pub rcode_high: u8,
    /// DO (RFC 3225)
    pub dnssec_ok: bool,
    /// Options that were copied from the query; see [`Opt::echoed`].
    pub echoed: &'a [u8],
    /// An Extended DNS Error.
    pub ede: Option<&'a Ede>,
}

impl ReplyOpt<'_> {
    /// The record, of version 0. `None` if its options do not fit a record.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let mut options = self.echoed.to_vec();
        if let Some(ede) = self.ede {
            options.extend(EDE.to_be_bytes());
            options.extend(u16::try_from(2 + ede.text.len()).ok()?.to_be_bytes());
            options.extend(ede.code.number().to_be_bytes());
            options.extend(ede.text.as_bytes());
        }
        // The root's name, and then the fields in their order.
        let mut bytes = vec![0];
        bytes.extend(TYPE.to_be_bytes());
        bytes.extend(self.size.to_be_bytes());
        bytes.extend([self.rcode_high, 0, u8::from(self.dnssec_ok) << 7, 0]);
        bytes.extend(u16::try_from(options.len()).ok()?.to_be_bytes());
        bytes.extend(options);
        Some(bytes)
    }
}

impl Opt {
    /// Those options of the query `message` that a reply repeats, with their codes and lengths; a question for
    /// `nsid` is answered if there is one.
    pub fn echoed(&self, message: &[u8], nsid: Option<&[u8]>) -> Vec<u8> {
        let mut echoed = Vec::new();
        for (code, bytes) in self.echoes(message) {
            match (code, nsid.map(|id| (u16::try_from(id.len()), id))) {
                (NSID, Some((Ok(length), id))) => {
                    echoed.extend(NSID.to_be_bytes());
                    echoed.extend(length.to_be_bytes());
                    echoed.extend(id);
                }
                _ => echoed.extend(bytes),
            }
        }
        echoed
    }

    /// Those options of the query `message` that a reply repeats: the code, and all bytes with code and length.
    pub fn echoes<'m>(&self, message: &'m [u8]) -> impl Iterator<Item = (u16, &'m [u8])> + use<'m> {
        self.options(message).filter(|(code, _)| ECHOED.contains(code))
    }

    /// How many bytes its options are.
    pub const fn options_len(&self) -> usize {
        self.options.end - self.options.start
    }

    /// Whether the query `message` has an option of this code.
    pub fn has(&self, message: &[u8], code: u16) -> bool {
        self.options(message).any(|(found, _)| found == code)
    }

    fn options<'m>(&self, message: &'m [u8]) -> impl Iterator<Item = (u16, &'m [u8])> + use<'m> {
        Options(message.get(self.options.clone()).unwrap_or_default()).flatten()
    }
}

/// The options of a record: code, and all bytes with code and length. After an error there are no more.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = Result<(u16, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = std::mem::take(&mut self.0);
        if bytes.is_empty() {
            return None;
        }
        let option = || {
            let (code, length) = (u16_at(bytes, 0)?, u16_at(bytes, 2)?);
            let (option, rest) = bytes.split_at_checked(4 + usize::from(length))?;
            Some((code, option, rest))
        };
        let Some((code, option, rest)) = option() else { return Some(Err(Malformed)) };
        self.0 = rest;
        Some(Ok((code, option)))
    }
}

/// The number at `at`, in network byte order.
pub(super) fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    message.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

/// Where the name at `at` ends in its record; what a pointer points to is not looked at.
pub(super) fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    // A name cannot begin in the header.
    debug_assert!(at >= HEADER);
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::reply::EdeCode;
    use crate::testkit::client::Query;

    /// Where the records of a query for `x.` begin.
    const AT: usize = HEADER + 3 + 4;

    #[test]
    fn an_opt_record_is_found_checked_and_echoed() {
        struct Case {
            name: &'static str,
            message: Vec<u8>,
            want: Result<Option<(u16, &'static [u8])>, Malformed>,
        }
        let with = |edit: fn(&mut Vec<u8>)| {
            let mut bytes = Query::a("x.").edns(1232).option(10, b"12345678").bytes();
            edit(&mut bytes);
            bytes
        };
        let cases = [
            Case { name: "none", message: Query::a("x.").bytes(), want: Ok(None) },
            Case { name: "bare", message: Query::a("x.").edns(7).bytes(), want: Ok(Some((7, b""))) },
            Case {
                name: "a cookie is kept, client subnet and unknown options are not",
                message: Query::a("x.")
                    .edns(512)
                    .option(8, b"\0\x01\0\0")
                    .option(10, b"c")
                    .option(65001, b"?")
                    .bytes(),
                want: Ok(Some((512, b"\0\x0a\0\x01c"))),
            },
            Case {
                name: "empty options, twice",
                message: Query::a("x.").option(3, b"").option(3, b"").bytes(),
                want: Ok(Some((1232, b"\0\x03\0\0\0\x03\0\0"))),
            },
            Case {
                name: "behind another record",
                message: with(|b| {
                    b[11] = 2;
                    b.splice(AT..AT, *b"\xc0\x0c\0\x10\0\x01\0\0\0\0\0\x02\x01t");
                }),
                want: Ok(Some((1232, b"\0\x0a\0\x0812345678"))),
            },
            Case {
                name: "option longer than its record",
                message: with(|b| b[AT + 14] = 9),
                want: Err(Malformed),
            },
            Case {
                name: "a byte behind the last option",
                message: with(|b| b[AT + 14] = 7),
                want: Err(Malformed),
            },
            Case {
                name: "record longer than the message",
                message: with(|b| b[AT + 10] = 13),
                want: Err(Malformed),
            },
            Case { name: "promised, not there", message: with(|b| b.truncate(AT)), want: Err(Malformed) },
            Case { name: "undefined label type", message: with(|b| b[AT] = 0x40), want: Err(Malformed) },
        ];
        for Case { name, message, want } in cases {
            let found = find(&message, AT);
            let got = found.map(|found| found.map(|opt| (opt.size, opt.echoed(&message, None))));
            assert_eq!(got, want.map(|w| w.map(|(size, options)| (size, options.to_vec()))), "{name}");
        }
    }

    #[test]
    fn a_reply_s_record_is_written_in_the_order_of_the_rfc() {
        let ede = Ede { code: EdeCode::StaleAnswer, text: "old".into() };
        let opt =
            ReplyOpt { size: 300, rcode_high: 1, dnssec_ok: true, echoed: b"\0\x03\0\0", ede: Some(&ede) };
        assert_eq!(
            opt.bytes().unwrap(),
            b"\0\0\x29\x01\x2c\x01\0\x80\0\0\x0d\0\x03\0\0\0\x0f\0\x05\0\x03old"
        );
        assert_eq!(ReplyOpt::default().bytes().unwrap(), b"\0\0\x29\0\0\0\0\0\0\0\0");
        let long = Ede { code: EdeCode::Other, text: "x".repeat(65_535) };
        assert_eq!(ReplyOpt { ede: Some(&long), ..ReplyOpt::default() }.bytes(), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut message = Query::a("x.").edns(1232).bytes();
            if let Ok(Some(opt)) = find(&bytes, HEADER) {
                let _ = opt.echoed(&bytes, Some(b"node-1"));
            }
            message.truncate(AT);
            message.extend(bytes);
            if let Ok(Some(opt)) = find(&message, AT) {
                prop_assert!(opt.echoed(&message, None).len() <= message.len() - AT);
            }
        }
    }
}
