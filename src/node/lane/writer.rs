//! A reply, written into the buffer that it is sent from.

use std::fmt;
use std::net::IpAddr;

use rand::rngs::SmallRng;

use super::names::{self, Name, Names, POINTER};
use super::question::Question;
use super::shuffle::shuffle;
use crate::node::gate::HEADER;
use crate::node::opt::{self, NSID};
use crate::node::reply::EdeCode;

/// Any client takes a UDP reply of this size, RFC 1035 §4.2.1 and RFC 6891 §6.2.3.
const MIN_UDP: usize = 512;

/// QR, AA and TC in the third byte of a header, RA and AD in the fourth (RFC 1035 §4.1.1, RFC 4035 §3.2).
const RESPONSE: u8 = 0x80;
const AUTHORITATIVE: u8 = 0x04;
const RECURSION_AVAILABLE: u8 = 0x80;
const AUTHENTIC_DATA: u8 = 0x20;

/// Type, class, TTL and length of a record without its name.
const FIXED: usize = 10;

/// Length of an OPT record without options.
const OPT: usize = 11;

/// Record types, RFC 1035 §3.2.2, RFC 3596, RFC 2782.
const A: u16 = 1;
const NS: u16 = 2;
const SOA: u16 = 6;
const PTR: u16 = 12;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const SRV: u16 = 33;

/// What was to be written is not written here: it is longer than the client takes, or has an order that only the general
/// handler knows to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHere;

/// A section of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Answer.
    Answer,
    /// Authority.
    Authority,
    /// Additional, without OPT.
    Additional,
}

/// Whose record it is.
pub enum Owner<'a> {
    /// The name that was asked for.
    Question,
    /// Another one.
    Name(&'a Name),
}

/// The data of a record.
pub enum Data<'a> {
    /// A or AAAA.
    Address(IpAddr),
    /// SRV of priority 0.
    Srv {
        /// Weight.
        weight: u16,
        /// Port.
        port: u16,
        /// Target.
        target: &'a Name,
    },
    /// PTR.
    Ptr(&'a Name),
    /// NS.
    Ns(&'a Name),
    /// TXT of one string of at most 255 bytes.
    Txt(&'a str),
    /// SOA.
    Soa {
        /// MNAME.
        mname: &'a Name,
        /// RNAME.
        rname: &'a Name,
        /// SERIAL, REFRESH, RETRY, EXPIRE and MINIMUM.
        numbers: [u32; 5],
    },
}

/// What the header of a reply says beside what follows from the question.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags {
    /// AA
    pub authoritative: bool,
    /// RA
    pub recursion_available: bool,
    /// AD
    pub authentic_data: bool,
    /// Response code, without the bits of an OPT record.
    pub rcode: u8,
}

/// How a server frames what plugins say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Framing {
    /// The UDP payload size that a larger one is lowered to.
    pub max_payload: Option<u16>,
    /// Whether there is an identifier for those who ask for it, which is not written here.
    pub has_nsid: bool,
    /// Whether addresses are put into another order.
    pub shuffles: bool,
}

/// A reply that is being written.
pub struct Writer<'a> {
    /// The buffer.
    message: &'a mut [u8],
    /// How much of it is written.
    len: usize,
    /// How long the message would be without compression, as metrics count it.
    uncompressed: usize,
    /// Records by section.
    counts: [u16; 3],
    /// Where names can point to; made when the first name asks for it.
    names: Option<Names>,
    /// Length of the question's name.
    question_name: usize,
    /// What the server makes of replies.
    framing: Framing,
}

impl<'a> Writer<'a> {
    /// A reply in this buffer.
    pub const fn new(message: &'a mut [u8], framing: Framing) -> Self {
        let (len, uncompressed, question_name) = (0, 0, 0);
        Self { message, len, uncompressed, counts: [0; 3], names: None, question_name, framing }
    }

    /// Begins with the question. What was written before is forgotten.
    pub fn begin(&mut self, question: &Question<'_>) -> Result<(), NotHere> {
        (self.len, self.counts, self.names) = (HEADER, [0; 3], None);
        self.append(question.wire_question())?;
        self.uncompressed = self.len;
        self.question_name = question.wire_name().len();
        Ok(())
    }

    /// Begins with a message that was kept: the same question in another letter case, and one TTL for all records,
    /// whose places are `ttls`.
    pub fn begin_with(
        &mut self,
        question: &Question<'_>,
        kept: &[u8],
        ttls: &[u16],
        ttl: u32,
        uncompressed: usize,
    ) -> Result<(), NotHere> {
        (self.len, self.names) = (0, None);
        self.append(kept)?;
        let name = question.wire_question();
        self.message.get_mut(HEADER..HEADER + name.len()).ok_or(NotHere)?.copy_from_slice(name);
        for at in ttls {
            let at = usize::from(*at);
            self.message.get_mut(at..at + 4).ok_or(NotHere)?.copy_from_slice(&ttl.to_be_bytes());
        }
        let count = |at: usize| kept.get(at..)?.first_chunk().map(|count| u16::from_be_bytes(*count));
        self.counts = [6, 8, 10].map(|at| count(at).unwrap_or_default());
        self.uncompressed = uncompressed;
        Ok(())
    }

    /// Appends a record.
    pub fn record(
        &mut self,
        section: Section,
        owner: &Owner<'_>,
        ttl: u32,
        data: &Data<'_>,
    ) -> Result<(), NotHere> {
        match owner {
            Owner::Question => {
                // The root is never asked for here, and any other name is longer than a pointer.
                self.append(&(POINTER | HEADER as u16).to_be_bytes())?;
                self.uncompressed += self.question_name;
            }
            Owner::Name(name) => self.name(name, false)?,
        }
        let kind = match data {
            Data::Address(IpAddr::V4(_)) => A,
            Data::Address(IpAddr::V6(_)) => AAAA,
            Data::Srv { .. } => SRV,
            Data::Ptr(_) => PTR,
            Data::Ns(_) => NS,
            Data::Txt(_) => TXT,
            Data::Soa { .. } => SOA,
        };
        let mut fixed = [0; FIXED];
        fixed[..2].copy_from_slice(&kind.to_be_bytes());
        fixed[3] = 1;
        fixed[4..8].copy_from_slice(&ttl.to_be_bytes());
        self.plain(&fixed)?;
        let start = self.len;
        match data {
            Data::Address(IpAddr::V4(ip)) => self.plain(&ip.octets())?,
            Data::Address(IpAddr::V6(ip)) => self.plain(&ip.octets())?,
            Data::Srv { weight, port, target } => {
                let mut numbers = [0; 6];
                numbers[2..4].copy_from_slice(&weight.to_be_bytes());
                numbers[4..6].copy_from_slice(&port.to_be_bytes());
                self.plain(&numbers)?;
                self.name(target, true)?;
            }
            Data::Ptr(name) | Data::Ns(name) => self.name(name, false)?,
            Data::Txt(text) => {
                self.plain(&[u8::try_from(text.len()).map_err(|_| NotHere)?])?;
                self.plain(text.as_bytes())?;
            }
            Data::Soa { mname, rname, numbers } => {
                self.name(mname, false)?;
                self.name(rname, false)?;
                for number in numbers {
                    self.plain(&number.to_be_bytes())?;
                }
            }
        }
        let length = u16::try_from(self.len - start).map_err(|_| NotHere)?;
        self.message.get_mut(start - 2..start).ok_or(NotHere)?.copy_from_slice(&length.to_be_bytes());
        self.counts[section as usize] += 1;
        Ok(())
    }

    /// Ends the reply: order, header, and an OPT record where the question has one (RFC 6891 §7). Returns the length.
    ///
    /// `error` is an Extended DNS Error (RFC 8914) with its text.
    pub fn finish(
        &mut self,
        question: &Question<'_>,
        flags: Flags,
        error: Option<(EdeCode, &dyn fmt::Display)>,
        dice: &mut SmallRng,
    ) -> Result<usize, NotHere> {
        if self.framing.shuffles && flags.rcode == 0 && self.counts.iter().any(|count| *count > 1) {
            let (counts, written) = (self.counts, self.message.get_mut(..self.len).ok_or(NotHere)?);
            shuffle(written, HEADER + question.wire_question().len(), counts, dice)?;
        }
        let limit = question.opt().map_or(MIN_UDP, |opt| {
            usize::from(self.framing.max_payload.map_or(opt.size, |most| most.min(opt.size))).max(MIN_UDP)
        });
        let mut additional = self.counts[Section::Additional as usize];
        if question.opt().is_some() {
            self.opt(question, error)?;
            additional += 1;
        }
        // What is to be cut is left to the general handler.
        if self.len > limit {
            return Err(NotHere);
        }
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let [answers, authority, _] = self.counts.map(u16::to_be_bytes);
        let additional = additional.to_be_bytes();
        let id = question.id();
        let header = [
            id[0],
            id[1],
            RESPONSE | bit(flags.authoritative, AUTHORITATIVE) | question.recursion_desired(),
            bit(flags.recursion_available, RECURSION_AVAILABLE)
                | bit(flags.authentic_data, AUTHENTIC_DATA)
                | question.checking_disabled()
                | flags.rcode,
            0,
            1,
            answers[0],
            answers[1],
            authority[0],
            authority[1],
            additional[0],
            additional[1],
        ];
        self.message.get_mut(..HEADER).ok_or(NotHere)?.copy_from_slice(&header);
        Ok(self.len)
    }

    /// How long the reply would be without compression, as CoreDNS's metrics count it.
    pub const fn uncompressed_len(&self) -> usize {
        self.uncompressed
    }

    /// Appends the OPT record of a reply.
    fn opt(
        &mut self,
        question: &Question<'_>,
        error: Option<(EdeCode, &dyn fmt::Display)>,
    ) -> Result<(), NotHere> {
        let Some(theirs) = question.opt() else { return Ok(()) };
        let size = self.framing.max_payload.map_or(theirs.size, |most| most.min(theirs.size));
        let mut record = [0; OPT];
        record[1..3].copy_from_slice(&opt::TYPE.to_be_bytes());
        record[3..5].copy_from_slice(&size.to_be_bytes());
        record[7] = u8::from(question.dnssec_ok()) << 7;
        self.plain(&record)?;
        let options = self.len;
        for (code, bytes) in theirs.echoes(question.bytes()) {
            if code == NSID && self.framing.has_nsid {
                return Err(NotHere);
            }
            self.plain(bytes)?;
        }
        if let Some((code, text)) = error {
            let start = self.len;
            self.plain(&[0; 6])?;
            fmt::write(self, format_args!("{text}")).map_err(|_| NotHere)?;
            let length = u16::try_from(self.len - start - 4).map_err(|_| NotHere)?;
            let head = [opt::EDE.to_be_bytes(), length.to_be_bytes(), code.number().to_be_bytes()];
            self.message.get_mut(start..start + 6).ok_or(NotHere)?.copy_from_slice(head.as_flattened());
        }
        let length = u16::try_from(self.len - options).map_err(|_| NotHere)?;
        self.message.get_mut(options - 2..options).ok_or(NotHere)?.copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// Appends a name.
    fn name(&mut self, name: &Name, whole: bool) -> Result<(), NotHere> {
        self.uncompressed += name.wire_len();
        let (message, len) = (&mut *self.message, &mut self.len);
        let names = self.names.get_or_insert_with(|| Names::new(message, HEADER));
        if whole { names.write_whole(message, len, name) } else { names.write(message, len, name) }
    }

    /// Appends bytes that are as long without compression.
    fn plain(&mut self, bytes: &[u8]) -> Result<(), NotHere> {
        self.uncompressed += bytes.len();
        self.append(bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), NotHere> {
        names::append(self.message, &mut self.len, bytes)
    }
}

impl fmt::Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.plain(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use rand::SeedableRng;

    use super::*;
    use crate::testkit::client::Query;

    const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5353);

    /// `test.` on the wire.
    const ZONE: &[u8] = b"\x04test\0";

    /// A name below [`ZONE`].
    fn below(labels: &[&str]) -> Name {
        Name::new(|each| labels.iter().for_each(|label| each(label.as_bytes())), ZONE).unwrap()
    }

    /// What the closure writes in reply to a query, and its length without compression.
    fn reply(
        query: &Query,
        framing: Framing,
        write: impl FnOnce(&mut Writer<'_>, &Question<'_>, &mut SmallRng) -> Result<usize, NotHere>,
    ) -> Result<(Vec<u8>, usize), NotHere> {
        let (bytes, mut buffer) = (query.bytes(), [0; 4096]);
        let question = Question::read(&bytes, CLIENT).unwrap();
        let mut writer = Writer::new(&mut buffer, framing);
        writer.begin(&question).unwrap();
        let len = write(&mut writer, &question, &mut SmallRng::seed_from_u64(1))?;
        let uncompressed = writer.uncompressed_len();
        Ok((buffer[..len].to_vec(), uncompressed))
    }

    const ADDRESS: Data<'_> = Data::Address(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1)));

    #[test]
    fn an_address_belongs_to_the_name_as_it_was_asked() {
        let query = Query::a("Web.test.").id(0x0102);
        let (bytes, uncompressed) = reply(&query, Framing::default(), |writer, question, dice| {
            writer.record(Section::Answer, &Owner::Question, 5, &ADDRESS)?;
            writer.finish(question, Flags { authoritative: true, ..Flags::default() }, None, dice)
        })
        .unwrap();
        let want = [
            // RD and AA; a question, an answer.
            &b"\x01\x02\x85\0\0\x01\0\x01\0\0\0\0"[..],
            b"\x03Web\x04test\0\0\x01\0\x01",
            b"\xc0\x0c\0\x01\0\x01\0\0\0\x05\0\x04\x0a\x60\0\x01",
        ]
        .concat();
        assert_eq!(bytes, want);
        assert_eq!(uncompressed, want.len() - 2 + 10);
    }

    #[test]
    fn a_service_is_written_in_full_and_its_address_points_there() {
        let query = Query::new("_p._tcp.web.test.", 33.into()).id(0).rd(false).cd();
        let target = &below(&["a", "web"]);
        let (bytes, _) = reply(&query, Framing::default(), |writer, question, dice| {
            let service = Data::Srv { weight: 50, port: 80, target };
            writer.record(Section::Answer, &Owner::Question, 5, &service)?;
            writer.record(Section::Additional, &Owner::Name(target), 5, &ADDRESS)?;
            writer.finish(question, Flags::default(), None, dice)
        })
        .unwrap();
        let want = [
            // CD comes back.
            &b"\0\0\x80\x10\0\x01\0\x01\0\0\0\x01"[..],
            b"\x02_p\x04_tcp\x03web\x04test\0\0\x21\0\x01",
            b"\xc0\x0c\0\x21\0\x01\0\0\0\x05\0\x12\0\0\0\x32\0\x50\x01a\x03web\x04test\0",
            b"\xc0\x34\0\x01\0\x01\0\0\0\x05\0\x04\x0a\x60\0\x01",
        ]
        .concat();
        assert_eq!(bytes, want);
    }

    #[test]
    fn a_denial_from_old_data_says_so_in_its_opt_record() {
        // A cookie is echoed, DO too; the size is lowered.
        let query = Query::a("no.test.").id(0).edns(4096).dnssec_ok().option(10, b"12345678");
        let framing = Framing { max_payload: Some(1232), ..Framing::default() };
        let (bytes, _) = reply(&query, framing, |writer, question, dice| {
            let (apex, mname, rname) = (below(&[]), below(&["ns"]), below(&["host"]));
            let soa = Data::Soa { mname: &mname, rname: &rname, numbers: [7, 1, 2, 3, 4] };
            writer.record(Section::Authority, &Owner::Name(&apex), 5, &soa)?;
            let flags = Flags { authoritative: true, rcode: 3, ..Flags::default() };
            writer.finish(question, flags, Some((EdeCode::StaleNxDomain, &"3m old")), dice)
        })
        .unwrap();
        let want = [
            &b"\0\0\x85\x03\0\x01\0\0\0\x01\0\x01"[..],
            b"\x02no\x04test\0\0\x01\0\x01",
            b"\xc0\x0f\0\x06\0\x01\0\0\0\x05\0\x20\x02ns\xc0\x0f\x04host\xc0\x0f",
            b"\0\0\0\x07\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04",
            b"\0\0\x29\x04\xd0\0\0\x80\0\0\x18\0\x0a\0\x0812345678",
            b"\0\x0f\0\x08\0\x133m old",
        ]
        .concat();
        assert_eq!(bytes, want);
    }

    #[test]
    fn what_is_kept_gets_another_letter_case_and_ttl() {
        let kept = b"\0\0\x81\x80\0\x01\0\x01\0\0\0\0\x03web\x04test\0\0\x01\0\x01\
            \xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\x60\0\x01";
        let query = Query::a("wEb.tEst.").id(0x0102);
        let (bytes, uncompressed) = reply(&query, Framing::default(), |writer, question, dice| {
            writer.begin_with(question, kept, &[32], 9, 50)?;
            writer.finish(question, Flags { recursion_available: true, ..Flags::default() }, None, dice)
        })
        .unwrap();
        let want = b"\x01\x02\x81\x80\0\x01\0\x01\0\0\0\0\x03wEb\x04tEst\0\0\x01\0\x01\
            \xc0\x0c\0\x01\0\x01\0\0\0\x09\0\x04\x0a\x60\0\x01";
        assert_eq!((&bytes[..], uncompressed), (&want[..], 50));
    }

    #[test]
    fn what_may_not_fit_is_left_alone() {
        struct Case {
            name: &'static str,
            query: Query,
            framing: Framing,
            /// How many addresses, 16 bytes each.
            records: usize,
            fits: bool,
        }
        let ask = || Query::a("web.test.");
        let framing = Framing::default;
        // Header and question are 26 bytes, an OPT record 11.
        for Case { name, query, framing, records, fits } in [
            Case { name: "just", query: ask(), framing: framing(), records: 30, fits: true },
            Case { name: "too many", query: ask(), framing: framing(), records: 31, fits: false },
            Case { name: "a small size", query: ask().edns(7), framing: framing(), records: 29, fits: true },
            Case { name: "and OPT", query: ask().edns(7), framing: framing(), records: 30, fits: false },
            Case {
                name: "a large size",
                query: ask().edns(1232),
                framing: framing(),
                records: 74,
                fits: true,
            },
            Case {
                name: "a large size that is lowered",
                query: ask().edns(1232),
                framing: Framing { max_payload: Some(1200), ..framing() },
                records: 74,
                fits: false,
            },
            Case {
                name: "an identifier that is not asked for",
                query: ask().edns(1232),
                framing: Framing { has_nsid: true, ..framing() },
                records: 1,
                fits: true,
            },
            Case {
                name: "an identifier",
                query: ask().option(NSID, b""),
                framing: Framing { has_nsid: true, ..framing() },
                records: 1,
                fits: false,
            },
        ] {
            let written = reply(&query, framing, |writer, question, dice| {
                for _ in 0..records {
                    writer.record(Section::Answer, &Owner::Question, 5, &ADDRESS)?;
                }
                writer.finish(question, Flags::default(), None, dice)
            });
            assert_eq!(written.is_ok(), fits, "{name}");
        }
    }
}
