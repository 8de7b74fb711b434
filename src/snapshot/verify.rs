//! `outlast snapshot verify`: whether a snapshot is right, down to every object.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Write};

use super::decode::Verified;
use super::format::{FormatError, ObjectError};
use super::header::{Header, KindDigest};
use super::show::{Utc, plain};
use crate::zone::object::{Key, Kind, ObjectRef};

/// The most findings that are written out; a file can be wrong in as many ways as it has objects.
const MAX_FINDINGS: u64 = 50;

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
        "note: digest of kind {kind} is {is}, the header says {says}: another program wrote it, or there is a bug"
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
        "note: {is} objects of kind {kind}, the header says {says}: another program wrote it, or there is a bug"
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
    /// Where they are written.
    out: &'a mut dyn Write,
    /// How many there were so far.
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
    use crate::zone::object::{Namespace, Object};

    fn namespace(name: &str) -> Object {
        Object::Namespace(Namespace { name: name.into(), labels: [].into() })
    }

    fn header(namespaces: u64) -> Header {
        let mut header = Header { digest_version: 1, written_at_ms: 1_790_000_000_000, ..Header::default() };
        header.digests[0] = KindDigest { hash: 0xab, count: namespaces };
        header
    }

    fn file(header: &Header, objects: &[Object]) -> Vec<u8> {
        let mut file = Vec::new();
        encode(&mut file, header, objects.iter().map(ObjectRef::from)).expect("memory takes it");
        file
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
                      note: 2 objects of kind Namespace, the header says 3: another program wrote it, or there is a bug\n\
                      3 objects, written 2026-09-21T14:13:20Z\n2 errors, 1 notes\n",
                verdict: verdict(2, 1),
            },
            Case {
                name: "another digest",
                file: file(&header(1), &[namespace("a")]),
                recompute: Some(1),
                out: "note: digest of kind Namespace is 00000000000000000000000000000000/1, the header says \
                      000000000000000000000000000000ab/1: another program wrote it, or there is a bug\n\
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
