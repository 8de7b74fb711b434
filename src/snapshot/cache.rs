//! The replies that a cache holds, on the disk: files of the same form and in the same generations as those of the
//! zone (see [`super`]), told apart by their magic, in a folder of their own.

use std::io::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message;

use super::container::{EncodeError, Layout, Parts, Writer, Written};
use super::folder::{Folder, Generation};
use super::format::{FormatError, ObjectError};
use super::load::{Found, Warning};
use super::reject::{Reason, Rejected};
use super::save::{SaveError, Saved};
use crate::feed::wire;

/// How files of cached replies are told from others.
const LAYOUT: Layout = Layout { magic: *b"\x89OUTC\r\n\x1a", version: 1 };

/// What a reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// Records, or a delegation.
    Positive,
    /// The name has no record of the type.
    NoData,
    /// There is no such name.
    NxDomain,
}

/// A reply that is kept, with the question that it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedReply {
    /// Lower case, wire format with the root label.
    pub name: Bytes,
    /// The type that was asked for.
    pub kind: u16,
    /// The class that was asked for.
    pub class: u16,
    /// DO of the query.
    pub dnssec_ok: bool,
    /// CD of the query.
    pub checking_disabled: bool,
    /// What the reply says.
    pub says: Says,
    /// The reply as the cache holds it.
    pub message: Bytes,
    /// When it came, Unix milliseconds.
    pub stored_at_ms: u64,
    /// How long it is fresh from then on, in seconds.
    pub ttl: u32,
    /// Whether somebody asked for it after it came.
    pub used: bool,
}

/// A file of replies that was read back.
#[derive(Debug)]
pub struct Restored {
    /// Its generation.
    pub generation: u64,
    /// When it was written, Unix milliseconds.
    pub written_at_ms: u64,
    /// How many replies it held.
    pub replies: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// How long reading took.
    pub elapsed: Duration,
}

/// What came of loading.
#[derive(Debug)]
pub struct Loaded {
    /// The newest file that is whole, if there is one.
    pub restored: Option<Restored>,
    /// Newer ones that are not used, newest first.
    pub rejected: Vec<Rejected>,
    /// What is worth a line in the log.
    pub warnings: Vec<Warning>,
}

impl Folder {
    /// Writes the replies of `cache` as the next generation; see [`Folder::save`] for what holds afterwards.
    ///
    /// # Errors
    /// As [`Folder::save`].
    pub fn save_replies(
        &mut self,
        cache: &str,
        written_at_ms: u64,
        replies: impl Iterator<Item = CachedReply>,
    ) -> Result<Saved, SaveError> {
        self.save_with(|to| encode(to, cache, written_at_ms, replies))
    }

    /// Hands the replies of the newest whole file of `cache` to `take`, one at a time, each with the time at which the
    /// file was written (Unix milliseconds). Files that are damaged, of
    /// another version or of another cache are renamed aside.
    ///
    /// `take` may have seen replies of a file that is then found to be damaged within its checksum: they are
    /// replies all the same.
    pub fn load_replies(&mut self, cache: &str, mut take: impl FnMut(CachedReply, u64)) -> Loaded {
        let Found { whole, rejected, warnings } =
            self.newest_whole(|folder, generation| read(folder, generation, cache, &mut take));
        Loaded { restored: whole, rejected, warnings }
    }
}

fn encode(
    to: impl Write,
    cache: &str,
    written_at_ms: u64,
    replies: impl Iterator<Item = CachedReply>,
) -> Result<Written, EncodeError> {
    let writer = format!("outlast {}", env!("CARGO_PKG_VERSION"));
    let header = wire::CacheHeader { cache: cache.to_owned(), written_at_ms, writer };
    let mut writer = Writer::begin(to, LAYOUT, &header)?;
    for reply in replies {
        writer.record(&wire::CachedReply::from(reply), || "a cached reply".to_owned())?;
    }
    writer.finish()
}

fn read(
    folder: &Folder,
    generation: &Generation,
    cache: &str,
    take: &mut impl FnMut(CachedReply, u64),
) -> Result<Restored, Reason> {
    let start = Instant::now();
    let file = folder.bytes(generation)?;
    let parts = Parts::of(&file, LAYOUT)?;
    let header = wire::CacheHeader::decode(parts.header).map_err(|e| FormatError::Header(e.to_string()))?;
    if header.cache != cache {
        return Err(Reason::Cache { found: header.cache, expected: cache.to_owned() });
    }
    let mut records = parts.records()?;
    while let Some(message) = records.next()? {
        let reply = wire::CachedReply::decode(message);
        let index = records.index - 1;
        let reply =
            reply.map_err(|source| FormatError::Object { index, source: ObjectError::Message(source) })?;
        // What is of no use does no harm either.
        if let Some(reply) = CachedReply::read(reply) {
            take(reply, header.written_at_ms);
        }
    }
    Ok(Restored {
        generation: generation.number,
        written_at_ms: header.written_at_ms,
        replies: records.index,
        bytes: file.len() as u64,
        elapsed: start.elapsed(),
    })
}

impl From<CachedReply> for wire::CachedReply {
    fn from(r: CachedReply) -> Self {
        let says = match r.says {
            Says::Positive => wire::cached_reply::Says::Positive,
            Says::NoData => wire::cached_reply::Says::NoData,
            Says::NxDomain => wire::cached_reply::Says::NxDomain,
        };
        Self {
            name: r.name,
            r#type: r.kind.into(),
            class: r.class.into(),
            dnssec_ok: r.dnssec_ok,
            checking_disabled: r.checking_disabled,
            message: r.message,
            stored_at_ms: r.stored_at_ms,
            ttl: r.ttl,
            used: r.used,
            says: says.into(),
        }
    }
}

impl CachedReply {
    /// What a record says; `None` if it has a number that means nothing here.
    fn read(r: wire::CachedReply) -> Option<Self> {
        let says = match wire::cached_reply::Says::try_from(r.says) {
            Ok(wire::cached_reply::Says::Positive) => Says::Positive,
            Ok(wire::cached_reply::Says::NoData) => Says::NoData,
            Ok(wire::cached_reply::Says::NxDomain) => Says::NxDomain,
            Err(_) => return None,
        };
        Some(Self {
            says,
            name: r.name,
            kind: r.r#type.try_into().ok()?,
            class: r.class.try_into().ok()?,
            dnssec_ok: r.dnssec_ok,
            checking_disabled: r.checking_disabled,
            message: r.message,
            stored_at_ms: r.stored_at_ms,
            ttl: r.ttl,
            used: r.used,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::snapshot::disk::RealDisk;

    fn reply(n: u8) -> CachedReply {
        CachedReply {
            name: Bytes::from(vec![1, n, 0]),
            kind: 1,
            class: 1,
            dnssec_ok: n.is_multiple_of(2),
            checking_disabled: false,
            says: [Says::Positive, Says::NoData, Says::NxDomain][usize::from(n % 3)],
            message: Bytes::from(vec![n; 64]),
            stored_at_ms: 1_767_225_600_000 + u64::from(n),
            ttl: 300,
            used: n.is_multiple_of(3),
        }
    }

    fn load(folder: &mut Folder, cache: &str) -> (Option<u64>, Vec<CachedReply>, Vec<String>) {
        let mut replies = Vec::new();
        let loaded = folder.load_replies(cache, |reply, _| replies.push(reply));
        let why = loaded.rejected.iter().map(|r| r.reason.to_string()).collect();
        (loaded.restored.map(|r| r.generation), replies, why)
    }

    #[test]
    fn replies_read_back_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(Arc::new(RealDisk), dir.path());
        assert_eq!(load(&mut folder, ".:53"), (None, Vec::new(), Vec::new()));
        let all: Vec<_> = (0..200).map(reply).collect();
        let saved = folder.save_replies(".:53", 7, all.iter().cloned()).unwrap();
        assert_eq!((saved.generation, saved.objects), (1, 200));
        assert_eq!(load(&mut folder, ".:53"), (Some(1), all, Vec::new()));
    }

    #[test]
    fn what_is_damaged_or_another_s_is_put_aside_and_the_older_file_serves() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(Arc::new(RealDisk), dir.path());
        folder.save_replies(".:53", 1, [reply(1)].into_iter()).unwrap();
        folder.save_replies("b.:53", 2, [reply(2)].into_iter()).unwrap();
        folder.save_replies(".:53", 3, [reply(3)].into_iter()).unwrap();
        let newest = folder.generations().unwrap().remove(0).path;
        let mut bytes = std::fs::read(&newest).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&newest, bytes).unwrap();
        let (generation, replies, why) = load(&mut folder, ".:53");
        assert_eq!((generation, replies), (Some(1), vec![reply(1)]));
        assert_eq!(why, ["checksum differs", "of cache b.:53, and .:53 is served"]);
    }

    #[test]
    fn a_zone_s_snapshot_is_no_file_of_replies() {
        use crate::snapshot::header::Header;
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(Arc::new(RealDisk), dir.path());
        folder.save(&Header::default(), []).unwrap();
        let (generation, replies, why) = load(&mut folder, ".:53");
        assert_eq!((generation, replies.len()), (None, 0));
        assert_eq!(why, ["not a snapshot"]);
    }
}
