//! `outlast snapshot show`: what a snapshot says of itself, and what is in it.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use super::decode::Verified;
use crate::ops::age::Age;
use crate::zone::object::{Kind, Kinds, Object};

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
    let (position, told) = ("POSITION", "TOLD");
    writeln!(
        out,
        "{:<14} {:<8} {:>8} {position:>12} {told:>12} {:<4}  DIGEST",
        "KIND", "COMPLETE", "OBJECTS", "HELD"
    )?;
    let yes = |kinds: Kinds, kind| if kinds.has(kind) { "yes" } else { "no" };
    for kind in Kind::ALL {
        let (complete, held) = (yes(h.complete, kind), yes(h.held, kind));
        let (objects, digest) = (counts[kind.index()], h.digests[kind.index()]);
        let (position, told) = (h.position.version(kind), h.told.version(kind));
        writeln!(
            out,
            "{:<14} {complete:<8} {objects:>8} {position:>12} {told:>12} {held:<4}  {digest}",
            kind.as_str()
        )?;
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

/// Unix seconds as RFC 3339 writes them; as a bare number beyond the year 9999, where only damage leads.
pub(super) struct Utc(pub(super) u64);

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

#[cfg(test)]
mod tests {
    use super::super::encode::encode;
    use super::super::header::{Header, KindDigest};
    use super::*;
    use crate::feed::position::Position;
    use crate::zone::object::{Namespace, ObjectRef};

    fn namespace(name: &str) -> Object {
        Object::Namespace(Namespace { name: name.into(), labels: [].into() })
    }

    fn header(namespaces: u64) -> Header {
        let mut header = Header {
            zone: "cluster.local.".into(),
            source: "file:\u{1b}[31mx".into(),
            position: Position { epoch: 3, versions: [11, 22, 33, 44] },
            told: Position { epoch: 3, versions: [11, 25, 33, 44] },
            held: Kinds::NONE.with(Kind::EndpointSlice),
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

KIND           COMPLETE  OBJECTS     POSITION         TOLD HELD  DIGEST
Namespace      yes             2           11           11 no    000000000000000000000000000000ab/2
Service        yes             0           22           25 no    00000000000000000000000000000000/0
EndpointSlice  yes             0           33           33 yes   00000000000000000000000000000000/0
Pod            no              0           44           44 no    00000000000000000000000000000000/0
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
}
