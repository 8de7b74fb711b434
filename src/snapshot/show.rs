//! `outlast snapshot show` and `verify`: what a snapshot says of itself, and whether it is right.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use super::decode::Verified;
use super::format::{FormatError, ObjectError};
use super::header::{Header, KindDigest};
use crate::zone::object::{Key, Kind, Object, ObjectRef};

/// The most findings that are written out; a file can be wrong in as many ways as it has objects.
const MAX_FINDINGS: u64 = 50;

// === show ===

/// Writes what a snapshot says of itself, and what is in it by kind. `bytes` is the size of the file, `now_ms`
/// the time, Unix milliseconds.
///
/// Fails with the error of `out`, or says (as [`io::ErrorKind::InvalidData`]) which object cannot be decoded.
pub fn show(out: &mut dyn Write, snapshot: &Verified<'_>, bytes: u64, now_ms: u64) -> io::Result<()> {
    let mut counts = [0_u64; Kind::ALL.len()];
    let mut endpoints = 0;
    let decoded = snapshot.objects(|object| {
        counts[object.kind().index()] += 1;
        if let Object::EndpointSlice(slice) = &object {
            endpoints += slice.endpoints.len();
        }
    });
    decoded.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;

    let h = snapshot.header();
    let or_none = |text: &str| if text.is_empty() { "-".to_owned() } else { plain(text).into_owned() };
    writeln!(out, "zone            {}", or_none(&h.zone))?;
    writeln!(out, "cluster         {}", or_none(&h.cluster_uid))?;
    writeln!(out, "source          {}", or_none(&h.source))?;
    writeln!(out, "written         {}", When { at_ms: h.written_at_ms, now_ms })?;
    writeln!(out, "proved current  {}", When { at_ms: h.proved_at_ms, now_ms })?;
    writeln!(out, "writer          {}", or_none(&h.writer))?;
    writeln!(out, "serial          {}", h.serial)?;
    writeln!(out, "epoch           {}", h.position.epoch)?;
    writeln!(out, "labels          {}", if h.labels { "yes" } else { "no" })?;
    writeln!(out, "endpoints       {endpoints}")?;
    writeln!(out, "file            {bytes} bytes, format version {}", snapshot.version())?;
    writeln!(out, "digest version  {}", h.digest_version)?;
    writeln!(out)?;
    writeln!(out, "{:<14} {:<8} {:>8} {:>15}  DIGEST", "KIND", "COMPLETE", "OBJECTS", "POSITION")?;
    for kind in Kind::ALL {
        let complete = if h.complete.has(kind) { "yes" } else { "no" };
        let (objects, position) = (counts[kind.index()], h.position.version(kind));
        let digest = h.digests[kind.index()];
        writeln!(out, "{:<14} {complete:<8} {objects:>8} {position:>15}  {digest}", kind.as_str())?;
    }
    Ok(())
}

/// A time and how long ago it was.
struct When {
    /// Unix milliseconds.
    at_ms: u64,
    /// Unix milliseconds.
    now_ms: u64,
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.at_ms == 0 {
            return f.write_str("-");
        }
        let seconds = |ms: u64| Age(Duration::from_secs(ms / 1000));
        write!(f, "{}, ", Utc(self.at_ms / 1000))?;
        match self.now_ms.checked_sub(self.at_ms) {
            Some(age) => write!(f, "{} ago", seconds(age)),
            None => write!(f, "{} ahead of this clock", seconds(self.at_ms - self.now_ms)),
        }
    }
}

/// A duration in its two largest units.
struct Age(Duration);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = self.0.as_secs();
        match (s / 86_400, s / 3600 % 24, s / 60 % 60, s % 60) {
            (0, 0, 0, s) => write!(f, "{s}s"),
            (0, 0, m, s) => write!(f, "{m}m{s}s"),
            (0, h, m, _) => write!(f, "{h}h{m}m"),
            (d, h, ..) => write!(f, "{d}d{h}h"),
        }
    }
}

/// Unix seconds as RFC 3339 writes them; as a bare number beyond the year 9999, where only damage leads.
struct Utc(u64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LAST: u64 = 253_402_300_799;
        if self.0 > LAST {
            return write!(f, "{} s", self.0);
        }
        let leap =
            |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let (mut year, mut day) = (1970, self.0 / 86_400);
        while day >= 365 + u64::from(leap(year)) {
            day -= 365 + u64::from(leap(year));
            year += 1;
        }
        let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut month = 0;
        while day >= lengths[month] {
            day -= lengths[month];
            month += 1;
        }
        let (hour, minute, second) = (self.0 / 3600 % 24, self.0 / 60 % 60, self.0 % 60);
        write!(f, "{year:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", month + 1, day + 1)
    }
}

/// Text from a file for a terminal: control characters, which could steer it, are replaced.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        text.replace(char::is_control, "\u{fffd}").into()
    } else {
        text.into()
    }
}

// === verify ===

/// Computes digests anew from objects; the zone knows how.
pub trait Recompute {
    /// Version of the canonical encoding that it computes.
    fn version(&self) -> u32;

    /// Takes an object in.
    fn add(&mut self, object: ObjectRef<'_>);

    /// The digests of all objects so far, by [`Kind::index`].
    fn digests(&self) -> [KindDigest; Kind::ALL.len()];
}

/// What became of a verification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What keeps the file from being served, or should not be in any snapshot.
    pub errors: u64,
    /// What can be right but is worth a look.
    pub notes: u64,
}

impl Verdict {
    /// Whether the file is whole and consistent.
    pub const fn is_good(self) -> bool {
        self.errors == 0
    }
}

/// Something that is wrong or worth a look.
#[derive(Debug, thiserror::Error)]
enum Finding {
    /// No snapshot, or its stream is broken.
    #[error("error: {0}")]
    Format(#[from] FormatError),
    /// One object is not one; the others were looked at all the same.
    #[error("error: object {index}: {source}")]
    Object {
        /// Counted from 0.
        index: u64,
        /// What is wrong with it.
        source: ObjectError,
    },
    /// Two objects with the same identity.
    #[error("error: object {index}: {} is there twice", plain(&key.to_string()))]
    Twice {
        /// Of the second, counted from 0.
        index: u64,
        /// The identity.
        key: Key,
    },
    /// The objects have another digest than the header says.
    #[error(
        "note: digest of kind {kind} is {is}, the header says {says}: guard, freeze or an import can do that"
    )]
    Digest {
        /// The kind.
        kind: Kind,
        /// In the header.
        says: KindDigest,
        /// Computed.
        is: KindDigest,
    },
    /// The number of objects differs from what the header says.
    #[error(
        "note: {is} objects of kind {kind}, the header says {says}: guard, freeze or an import can do that"
    )]
    Count {
        /// The kind.
        kind: Kind,
        /// In the header.
        says: u64,
        /// Counted.
        is: u64,
    },
    /// The digests cannot be compared.
    #[error("note: digest version {says}, this release computes {is}: digests were not compared")]
    DigestVersion {
        /// In the header.
        says: u32,
        /// Computed.
        is: u32,
    },
}

/// Checks a whole file, down to every object, and writes what is wrong to `out`, a line each (at most some
/// fifty), then a summary. Digests are compared if there is a `recompute`, else only counted.
///
/// Fails with the error of `out` only: a broken file is a [`Verdict`].
pub fn verify(
    out: &mut dyn Write,
    file: &[u8],
    mut recompute: Option<&mut dyn Recompute>,
) -> io::Result<Verdict> {
    let mut report = Report { out, verdict: Verdict::default(), failed: None };
    let (mut seen, mut counts) = (BTreeSet::new(), [0_u64; Kind::ALL.len()]);
    let checked = Verified::new(file).and_then(|snapshot| {
        let records = snapshot.records(|index, object| {
            match object {
                Ok(object) => {
                    counts[object.kind().index()] += 1;
                    if let Some(recompute) = &mut recompute {
                        recompute.add((&object).into());
                    }
                    if let Some(key) = seen.replace(object.key()) {
                        report.error(&Finding::Twice { index, key });
                    }
                }
                Err(source) => report.error(&Finding::Object { index, source }),
            }
            Ok(())
        })?;
        Ok((snapshot.into_header(), records))
    });
    match checked {
        Ok((header, records)) => {
            compare_digests(&header, counts, recompute.as_deref(), &mut report);
            report.line(format_args!("{records} objects, written {}", Utc(header.written_at_ms / 1000)));
        }
        Err(error) => report.error(&error.into()),
    }
    report.end()
}

fn compare_digests(
    header: &Header,
    counts: [u64; Kind::ALL.len()],
    recompute: Option<&dyn Recompute>,
    report: &mut Report<'_>,
) {
    let digests = match recompute {
        Some(r) if r.version() == header.digest_version => Some(r.digests()),
        Some(r) => {
            report.note(&Finding::DigestVersion { says: header.digest_version, is: r.version() });
            None
        }
        None => None,
    };
    for kind in Kind::ALL {
        let (says, count) = (header.digests[kind.index()], counts[kind.index()]);
        match digests.map(|d| d[kind.index()]) {
            Some(is) if is != says => report.note(&Finding::Digest { kind, says, is }),
            None if count != says.count => report.note(&Finding::Count { kind, says: says.count, is: count }),
            _ => {}
        }
    }
}

/// Writes findings as they come, and counts them.
struct Report<'a> {
    out: &'a mut dyn Write,
    verdict: Verdict,
    /// The first error of `out`; nothing is written after it.
    failed: Option<io::Error>,
}

impl Report<'_> {
    fn error(&mut self, finding: &Finding) {
        self.verdict.errors += 1;
        self.finding(finding);
    }

    fn note(&mut self, finding: &Finding) {
        self.verdict.notes += 1;
        self.finding(finding);
    }

    fn finding(&mut self, finding: &Finding) {
        if self.verdict.errors + self.verdict.notes <= MAX_FINDINGS {
            self.line(format_args!("{finding}"));
        }
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        if self.failed.is_none() {
            self.failed = writeln!(self.out, "{line}").err();
        }
    }

    fn end(mut self) -> io::Result<Verdict> {
        let Verdict { errors, notes } = self.verdict;
        if let Some(more) = (errors + notes).checked_sub(MAX_FINDINGS).filter(|more| *more > 0) {
            self.line(format_args!("and {more} more"));
        }
        match (errors, notes) {
            (0, 0) => self.line(format_args!("ok")),
            _ => self.line(format_args!("{errors} errors, {notes} notes")),
        }
        self.failed.map_or(Ok(self.verdict), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::super::encode::encode;
    use super::*;
    use crate::feed::position::Position;
    use crate::zone::object::{Kinds, Namespace};

    fn namespace(name: &str) -> Object {
        Object::Namespace(Namespace { name: name.into(), labels: [].into() })
    }

    fn header(namespaces: u64) -> Header {
        let mut header = Header {
            zone: "cluster.local.".into(),
            source: "file:\u{1b}[31mx".into(),
            position: Position { epoch: 3, versions: [11, 22, 33, 44] },
            complete: Kinds::CORE,
            digest_version: 1,
            written_at_ms: 1_790_000_000_000,
            ..Header::default()
        };
        header.digests[0] = KindDigest { hash: 0xab, count: namespaces };
        header
    }

    fn file(header: &Header, objects: &[Object]) -> Vec<u8> {
        let mut file = Vec::new();
        encode(&mut file, header, objects.iter().map(ObjectRef::from)).expect("memory takes it");
        file
    }

    #[test]
    fn a_snapshot_is_shown() {
        let file = file(&header(2), &[namespace("a"), namespace("b")]);
        let mut out = Vec::new();
        let snapshot = Verified::new(&file).expect("whole");
        show(&mut out, &snapshot, 123, 1_790_000_000_000 + 3_723_000).expect("memory takes it");
        let out = String::from_utf8(out).expect("text");
        let expected = "\
zone            cluster.local.
cluster         -
source          file:\u{fffd}[31mx
written         2026-09-21T14:13:20Z, 1h2m ago
proved current  -
writer          -
serial          0
epoch           3
labels          no
endpoints       0
file            123 bytes, format version 1
digest version  1

KIND           COMPLETE  OBJECTS        POSITION  DIGEST
Namespace      yes             2              11  000000000000000000000000000000ab/2
Service        yes             0              22  00000000000000000000000000000000/0
EndpointSlice  yes             0              33  00000000000000000000000000000000/0
Pod            no              0              44  00000000000000000000000000000000/0
";
        assert_eq!(out, expected);
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (253_402_300_800, "253402300800 s"),
            (u64::MAX, "18446744073709551615 s"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(Utc(seconds).to_string(), expected);
        }
        assert!(When { at_ms: 9000, now_ms: 4000 }.to_string().ends_with("5s ahead of this clock"));
    }

    /// Counts instead of hashing.
    struct Counting {
        version: u32,
        digests: [KindDigest; 4],
    }

    impl Recompute for Counting {
        fn version(&self) -> u32 {
            self.version
        }

        fn add(&mut self, object: ObjectRef<'_>) {
            self.digests[object.kind().index()].count += 1;
        }

        fn digests(&self) -> [KindDigest; 4] {
            self.digests
        }
    }

    #[test]
    fn what_is_wrong_is_listed() {
        struct Case {
            name: &'static str,
            file: Vec<u8>,
            recompute: Option<u32>,
            out: &'static str,
            verdict: Verdict,
        }
        let verdict = |errors, notes| Verdict { errors, notes };
        let cases = [
            Case {
                name: "right",
                file: file(&header(1), &[namespace("a")]),
                recompute: None,
                out: "1 objects, written 2026-09-21T14:13:20Z\nok\n",
                verdict: verdict(0, 0),
            },
            Case {
                name: "damaged",
                file: b"whatever".to_vec(),
                recompute: None,
                out: "error: not a snapshot\n1 errors, 0 notes\n",
                verdict: verdict(1, 0),
            },
            Case {
                name: "an object of no name, and one twice: both are told",
                file: file(&header(3), &[namespace(""), namespace("a"), namespace("a")]),
                recompute: None,
                out: "error: object 0: a Namespace without a name\n\
                      error: object 2: Namespace a is there twice\n\
                      note: 2 objects of kind Namespace, the header says 3: guard, freeze or an import can do that\n\
                      3 objects, written 2026-09-21T14:13:20Z\n2 errors, 1 notes\n",
                verdict: verdict(2, 1),
            },
            Case {
                name: "another digest",
                file: file(&header(1), &[namespace("a")]),
                recompute: Some(1),
                out: "note: digest of kind Namespace is 00000000000000000000000000000000/1, the header says \
                      000000000000000000000000000000ab/1: guard, freeze or an import can do that\n\
                      1 objects, written 2026-09-21T14:13:20Z\n0 errors, 1 notes\n",
                verdict: verdict(0, 1),
            },
            Case {
                name: "digests of another version",
                file: file(&header(1), &[namespace("a")]),
                recompute: Some(2),
                out: "note: digest version 1, this release computes 2: digests were not compared\n\
                      1 objects, written 2026-09-21T14:13:20Z\n0 errors, 1 notes\n",
                verdict: verdict(0, 1),
            },
        ];
        for Case { name, file, recompute, out, verdict } in cases {
            let mut written = Vec::new();
            let mut counting = recompute.map(|version| Counting { version, digests: Default::default() });
            let recompute = counting.as_mut().map(|c| c as &mut dyn Recompute);
            assert_eq!(verify(&mut written, &file, recompute).expect("memory takes it"), verdict, "{name}");
            assert_eq!(String::from_utf8(written).expect("text"), out, "{name}");
        }
    }

    #[test]
    fn a_long_list_of_findings_is_cut() {
        let objects: Vec<_> = (0..60).map(|_| namespace("")).collect();
        let mut out = Vec::new();
        let verdict = verify(&mut out, &file(&header(0), &objects), None).expect("memory takes it");
        assert_eq!((verdict.errors, verdict.is_good()), (60, false));
        let out = String::from_utf8(out).expect("text");
        assert_eq!(out.lines().count(), 53, "{out}");
        assert!(out.contains("and 10 more\n60 errors, 0 notes\n"), "{out}");
    }
}
