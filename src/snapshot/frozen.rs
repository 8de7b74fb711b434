//! What an operator has frozen: a snapshot of it that rotation does not take away, and until when it is served.
//!
//! Two files: a snapshot as all others are, and `frozen.json`, which says that it counts. The mark is written last and
//! removed first, so that whatever is cut off, a mark never leads to a snapshot that is not there. What is frozen next
//! is written under the name that the mark does not have: until the mark is replaced, what was frozen before counts.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::atomic;
use super::decode::Verified;
use super::disk::{Disk, DiskError};
use super::encode::{self, EncodeError};
use super::format::MAX_FILE_BYTES;
use super::header::Header;
use super::load::Sink;
use super::save::SaveError;
use crate::zone::object::ObjectRef;

/// The snapshot: one of these, by turns.
const SNAPSHOTS: [&str; 2] = ["frozen.snap", "frozen-2.snap"];

/// The mark.
const MARK: &str = "frozen.json";

/// A mark is a line; what is longer is none.
const MAX_MARK_BYTES: u64 = 4096;

/// Version of the mark. An older one stays readable.
const VERSION: u32 = 1;

/// What is served stays what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// When it ends by itself, Unix milliseconds.
    pub until_ms: u64,
    /// The number of the snapshot that was rolled back to, if that is what it is.
    pub rolled_back_to: Option<u64>,
}

/// The mark on the disk.
#[derive(Serialize, Deserialize)]
struct MarkFile {
    /// See [`VERSION`].
    version: u32,
    /// See [`Mark`].
    since_ms: u64,
    /// See [`Mark`].
    until_ms: u64,
    /// See [`Mark`].
    #[serde(default)]
    rolled_back_to: Option<u64>,
    /// One of [`SNAPSHOTS`]; the first if it is not said.
    #[serde(default)]
    snapshot: Option<String>,
}

impl MarkFile {
    /// Reads it; `None` where there is none.
    fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Self>, String> {
        let path = dir.join(MARK);
        match disk.read(&path, MAX_MARK_BYTES) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map(Some).map_err(|e| format!("{}: {e}", path.display()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("reading {}: {error}", path.display())),
        }
    }

    /// The name of its snapshot; `None` for one that no snapshot has.
    fn snapshot(&self) -> Option<&'static str> {
        let Some(name) = &self.snapshot else { return Some(SNAPSHOTS[0]) };
        SNAPSHOTS.into_iter().find(|known| known == name)
    }
}

/// What was frozen, read back.
#[derive(Debug)]
pub struct Kept<S> {
    /// For how long.
    pub mark: Mark,
    /// What the snapshot says of itself.
    pub header: Header,
    /// The sink that took its objects.
    pub sink: S,
}

/// Keeps what is frozen in the folder `dir`, in place of what was kept before.
///
/// # Errors
/// What failed; what was kept before is still there.
pub fn keep<'a>(
    disk: &dyn Disk,
    dir: &Path,
    mark: Mark,
    header: &Header,
    objects: impl IntoIterator<Item = ObjectRef<'a>>,
) -> Result<(), SaveError> {
    // A mark that cannot be read keeps nothing that could be lost.
    let before = MarkFile::read(disk, dir).ok().flatten().and_then(|mark| mark.snapshot());
    let name = if before == Some(SNAPSHOTS[0]) { SNAPSHOTS[1] } else { SNAPSHOTS[0] };
    let path = dir.join(name);
    let failed = |path: &PathBuf, source| SaveError::Encode { path: path.clone(), source };
    atomic::replace(disk, &path, |to| encode::encode(to, header, objects).map_err(|e| failed(&path, e)))?;
    let Mark { since_ms, until_ms, rolled_back_to } = mark;
    let snapshot = Some(name.to_owned());
    let file = MarkFile { version: VERSION, since_ms, until_ms, rolled_back_to, snapshot };
    let path = dir.join(MARK);
    atomic::replace(disk, &path, |to: &mut dyn Write| {
        let text = serde_json::to_vec(&file).map_err(io::Error::from);
        let written = text.and_then(|text| to.write_all(&text));
        written.map_err(|e| failed(&path, EncodeError::Io(e)))
    })?;
    if let Some(before) = before {
        // One that stays is written over the next time.
        let _ = disk.remove(&dir.join(before));
    }
    Ok(())
}

/// Nothing is frozen any more.
///
/// # Errors
/// The disk failed.
pub fn forget(disk: &dyn Disk, dir: &Path) -> Result<(), DiskError> {
    for name in [MARK, SNAPSHOTS[0], SNAPSHOTS[1]] {
        let path = dir.join(name);
        match disk.remove(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(DiskError::at("removing", &path))?,
        }
    }
    disk.sync_dir(dir).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(DiskError::at("syncing folder", dir)(error)),
    })
}

/// What is kept in the folder `dir`; `None` if nothing is frozen.
///
/// # Errors
/// For people: why what is there cannot be served.
pub fn load<S: Sink>(
    disk: &dyn Disk,
    dir: &Path,
    zone: &str,
    mut sink: S,
) -> Result<Option<Kept<S>>, String> {
    let Some(file) = MarkFile::read(disk, dir)? else { return Ok(None) };
    let path = dir.join(MARK);
    let MarkFile { version, since_ms, until_ms, rolled_back_to, .. } = file;
    if version > VERSION {
        return Err(format!("{}: of version {version}, and {VERSION} is known", path.display()));
    }
    let name =
        file.snapshot().ok_or_else(|| format!("{}: of a snapshot that is not known", path.display()))?;
    let path = dir.join(name);
    let file = disk.read(&path, MAX_FILE_BYTES).map_err(|e| format!("reading {}: {e}", path.display()))?;
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let verified = Verified::new(&file).map_err(|e| wrong(&e))?;
    if verified.header().zone != zone {
        return Err(wrong(&format!("of zone {}, and {zone} is served", verified.header().zone)));
    }
    verified.objects(|object| sink.take(object)).map_err(|e| wrong(&e))?;
    let mark = Mark { since_ms, until_ms, rolled_back_to };
    Ok(Some(Kept { mark, header: verified.into_header(), sink }))
}

#[cfg(test)]
mod tests {
    use super::super::disk::RealDisk;
    use super::*;
    use crate::testkit::disk::{RecordingDisk, Tear};
    use crate::zone::object::{Namespace, Object};

    #[test]
    fn what_is_kept_comes_back_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let load = || load(&RealDisk, dir.path(), "z.", Vec::new());
        assert!(load().unwrap().is_none());
        forget(&RealDisk, dir.path()).unwrap();
        let object = Object::Namespace(Namespace { name: "shop".into(), labels: [].into() });
        let header = Header { zone: "z.".into(), ..Header::default() };
        let mark = Mark { since_ms: 1, until_ms: 2, rolled_back_to: Some(7) };
        keep(&RealDisk, dir.path(), mark, &header, [ObjectRef::from(&object)]).unwrap();
        let kept = load().unwrap().unwrap();
        assert_eq!((kept.mark, kept.header.zone.as_str(), kept.sink), (mark, "z.", vec![object]));
        assert!(super::load(&RealDisk, dir.path(), "y.", Vec::new()).is_err(), "of another zone");
        forget(&RealDisk, dir.path()).unwrap();
        assert!(load().unwrap().is_none());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    /// Something frozen, recognized by since when.
    fn freeze(disk: &dyn Disk, since_ms: u64) {
        let name = format!("n{since_ms}").into();
        let object = Object::Namespace(Namespace { name, labels: [].into() });
        let header = Header { zone: "z.".into(), ..Header::default() };
        let mark = Mark { since_ms, until_ms: 9, rolled_back_to: None };
        keep(disk, Path::new("/d"), mark, &header, [ObjectRef::from(&object)]).unwrap();
    }

    /// Since when what is kept was frozen: mark and snapshot agree.
    fn frozen(disk: &dyn Disk) -> u64 {
        let kept = load(disk, Path::new("/d"), "z.", Vec::new()).unwrap().unwrap();
        assert_eq!(*kept.sink[0].key().name, format!("n{}", kept.mark.since_ms));
        kept.mark.since_ms
    }

    /// Whenever the power is cut, one of them is there whole.
    #[test]
    fn what_was_frozen_counts_until_what_is_frozen_next_does() {
        let disk = RecordingDisk::default();
        disk.make_dir(Path::new("/d")).unwrap();
        for since_ms in 1..5 {
            let before = disk.changes();
            freeze(&disk, since_ms);
            assert_eq!(frozen(&disk), since_ms);
            assert!(disk.list(Path::new("/d")).unwrap().len() <= 2, "the one before is gone");
            if since_ms == 1 {
                continue;
            }
            for changes in before..=disk.changes() {
                for image in disk.power_cuts(changes, Tear::Coarse) {
                    let found = frozen(&RecordingDisk::holding(image));
                    assert!((since_ms - 1..=since_ms).contains(&found), "{found} after {changes} changes");
                }
            }
            let cut = disk.power_cuts(disk.changes(), Tear::Coarse);
            assert!(cut.into_iter().all(|image| frozen(&RecordingDisk::holding(image)) == since_ms));
        }
    }

    #[test]
    fn a_mark_without_its_snapshot_is_said_to_be_wrong() {
        let dir = tempfile::tempdir().unwrap();
        for text in
            ["{", r#"{"version":9,"since_ms":1,"until_ms":2}"#, r#"{"version":1,"since_ms":1,"until_ms":2}"#]
        {
            std::fs::write(dir.path().join(MARK), text).unwrap();
            assert!(load(&RealDisk, dir.path(), "z.", Vec::new()).is_err(), "{text}");
        }
    }
}
